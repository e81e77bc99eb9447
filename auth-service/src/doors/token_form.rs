//! What is sent to `/token`, as OAuth2 has it (RFC 6749, sections 3.2 and 4.3): a form, and perhaps a client's name and secret by HTTP
//! Basic.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use schemars::JsonSchema;
use shared::ErrorReason;
use shared::doors::Refusal;

use crate::token_scopes::TokenScopes;

const GRANT_TYPE: &str = "grant_type";
const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const SCOPE: &str = "scope";
const SCOPE_RULE: &str =
    "must be of chat, generate, embed, list_models, inference, models and account, with spaces between, or be left out";
const CLIENT_ID: &str = "client_id";
const CLIENT_SECRET: &str = "client_secret";

/// The form, for those who read of it. Parameters beside these are ignored, as OAuth2 wants.
#[derive(JsonSchema)]
#[schemars(rename = "TokenRequest")]
#[expect(dead_code, reason = "a form may have a parameter twice, which no struct can say: it is read as pairs")]
pub(super) struct TokenForm {
    /// `password`: the only one yet.
    grant_type: String,
    /// The user's name.
    username: String,
    /// The user's password.
    password: String,
    /// What the token is to be used for, with spaces between: `inference`, `models`, `account`. Without it, all that the user may do.
    scope: Option<String>,
    /// Taken, and not looked at: no clients are registered.
    client_id: Option<String>,
    /// Empty or absent: a client that isn't registered has no secret.
    client_secret: Option<String>,
}

/// A log-in by the password grant.
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct PasswordGrant {
    pub(super) user_name: String,
    pub(super) password: String,
    pub(super) scopes: TokenScopes,
}

/// Reads a form, and the header by which a client may say who it is.
pub(super) fn parse(form: Vec<(String, String)>, headers: &HeaderMap) -> Result<PasswordGrant, Refusal> {
    let mut form = Form::new(form)?;
    refuse_client(basic_client(headers)?, &mut form)?;
    match form.take(GRANT_TYPE).as_deref() {
        Some("password") => {}
        Some(_) => {
            let must = "must be password: no other grant is there yet";
            let refusal = Refusal::invalid(GRANT_TYPE, must);
            return Err(Refusal { reason: ErrorReason::NotSupported, ..refusal });
        }
        None => return Err(missing(&[GRANT_TYPE])),
    }
    let (Some(user_name), Some(password)) = (form.take(USERNAME), form.take(PASSWORD)) else {
        return Err(missing(&[USERNAME, PASSWORD]));
    };
    let scopes = TokenScopes::parse(&form.take(SCOPE).unwrap_or_default()).ok_or_else(|| Refusal::invalid(SCOPE, SCOPE_RULE))?;
    Ok(PasswordGrant { user_name, password, scopes })
}

/// What [`parse`] refuses, one of each kind.
pub(super) fn refusals() -> Vec<Refusal> {
    let sent = |more: &[(&str, &str)]| {
        let whole = [(GRANT_TYPE, "password"), (USERNAME, "ada"), (PASSWORD, "a pass phrase")];
        whole.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let other = vec![(GRANT_TYPE.to_owned(), "refresh_token".to_owned())];
    let wrong = [Vec::new(), sent(&[(USERNAME, "ada")]), other, sent(&[(SCOPE, "openid")]), sent(&[(CLIENT_SECRET, "any")])];
    wrong.into_iter().filter_map(|form| parse(form, &HeaderMap::new()).err()).collect()
}

/// A form's parameters, each once. One without a value is as if it was not sent.
struct Form(Vec<(String, String)>);

impl Form {
    fn new(mut form: Vec<(String, String)>) -> Result<Self, Refusal> {
        form.sort_unstable();
        if let Some(twice) = form.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let known = [GRANT_TYPE, USERNAME, PASSWORD, SCOPE, CLIENT_ID, CLIENT_SECRET].into_iter().find(|name| *name == twice[0].0);
            return Err(malformed(known.unwrap_or("each parameter"), "must be sent once"));
        }
        form.retain(|(_, value)| !value.is_empty());
        Ok(Self(form))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let place = self.0.iter().position(|(each, _)| each == name)?;
        Some(self.0.swap_remove(place).1)
    }
}

/// A client's name and secret as HTTP Basic has them, each percent-encoded before (RFC 6749, section 2.3.1).
#[derive(PartialEq, Eq)]
struct BasicClient {
    id: String,
    secret: String,
}

/// The client that the `authorization` header names. Another scheme than Basic says nothing of a client.
fn basic_client(headers: &HeaderMap) -> Result<Option<BasicClient>, Refusal> {
    let Some(sent) = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes) else { return Ok(None) };
    let scheme_end = sent.iter().position(|byte| *byte == b' ').unwrap_or(sent.len());
    if !sent[..scheme_end].eq_ignore_ascii_case(b"basic") {
        return Ok(None);
    }
    let decoded = STANDARD.decode(sent[scheme_end..].trim_ascii()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
    let (id, secret) =
        pair.ok_or_else(|| malformed("the authorization header", "must be Basic with a client's name and secret in base64"))?;
    Ok(Some(BasicClient { id: id.to_owned(), secret: secret.to_owned() }))
}

/// Anybody's program is a client, under any name; none has a secret.
fn refuse_client(basic: Option<BasicClient>, form: &mut Form) -> Result<(), Refusal> {
    let (id, secret) = (form.take(CLIENT_ID), form.take(CLIENT_SECRET));
    let basic = basic.filter(|client| !(client.id.is_empty() && client.secret.is_empty()));
    if secret.is_some() || basic.as_ref().is_some_and(|client| !client.secret.is_empty()) {
        let message = "no clients are registered here, so none has a secret: leave client_secret out, or empty; client_id may be anything";
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, ErrorReason::CredentialInvalid, message));
    }
    if basic.is_some_and(|client| id.is_some_and(|id| id != client.id)) {
        return Err(malformed(CLIENT_ID, "must be the one of the authorization header, or be left out"));
    }
    Ok(())
}

fn malformed(what: &str, must: &str) -> Refusal {
    Refusal { reason: ErrorReason::MessageMalformed, ..Refusal::invalid(what, must) }
}

fn missing(names: &[&str]) -> Refusal {
    let fields = names.iter().map(|name| ((*name).to_owned(), "must be sent".to_owned())).collect();
    let (names, verb) = (names.join(" and "), if names.len() > 1 { "all must be sent" } else { "must be sent" });
    let message = format!("{names} {verb}, in the body, as application/x-www-form-urlencoded");
    Refusal { fields, ..Refusal::new(StatusCode::BAD_REQUEST, ErrorReason::InvalidArgument, message) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Scope;

    const GOOD: [(&str, &str); 3] = [("grant_type", "password"), ("username", "ada"), ("password", "canary")];

    fn read(more: &[(&str, &str)], authorization: Option<&str>) -> Result<PasswordGrant, Refusal> {
        parse(pairs(&[&GOOD[..], more].concat()), &headers(authorization))
    }

    fn pairs(form: &[(&str, &str)]) -> Vec<(String, String)> {
        form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn headers(authorization: Option<&str>) -> HeaderMap {
        authorization.iter().map(|value| (AUTHORIZATION, HeaderValue::from_str(value).unwrap())).collect()
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[test]
    fn what_oauth2_lets_be_sent_beside_the_grant_is_taken() {
        let all = PasswordGrant { user_name: "ada".to_owned(), password: "canary".to_owned(), scopes: TokenScopes::All };
        let more: [&[(&str, &str)]; 5] =
            [&[], &[("scope", "")], &[("client_id", "any"), ("client_secret", "")], &[("audience", "x"), ("state", "y")], &[("otp", "")]];
        for more in more {
            assert_eq!(read(more, None).as_ref().ok(), Some(&all), "{more:?}");
        }
        for authorization in [basic(":"), basic("any:"), "Bearer an-old-one".to_owned(), "basic Og==".to_owned()] {
            assert_eq!(read(&[], Some(&authorization)).as_ref().ok(), Some(&all), "{authorization}");
        }
        assert!(read(&[("client_id", "any")], Some(&basic("any:"))).is_ok());
        assert_eq!(read(&[("scope", "account")], None).unwrap().scopes, TokenScopes::Only(vec![Scope::Account]));
    }

    #[test]
    fn what_oauth2_forbids_is_refused_and_no_value_that_was_sent_is_repeated() {
        for (form, authorization, reason) in [
            (&[("password", "canary")][..], None, ErrorReason::MessageMalformed),
            (&[("username", "canary")], None, ErrorReason::MessageMalformed),
            (&[("canary", "1"), ("canary", "2")], None, ErrorReason::MessageMalformed),
            (&[("scope", "account"), ("scope", "")], None, ErrorReason::MessageMalformed),
            (&[("scope", "canary")], None, ErrorReason::InvalidArgument),
            (&[("client_id", "any"), ("client_secret", "canary")], None, ErrorReason::CredentialInvalid),
            (&[], Some(basic("any:canary")), ErrorReason::CredentialInvalid),
            (&[("client_id", "canary")], Some(basic("any:")), ErrorReason::MessageMalformed),
            (&[], Some("Basic canary".to_owned()), ErrorReason::MessageMalformed),
            (&[], Some("Basic".to_owned()), ErrorReason::MessageMalformed),
        ] {
            let refusal = read(form, authorization.as_deref()).unwrap_err();
            assert_eq!(refusal.reason, reason, "{form:?} {authorization:?}");
            assert!(!format!("{refusal:?}").contains("canary"), "{refusal:?}");
        }
    }

    #[test]
    fn a_grant_of_another_type_and_what_lacks_are_told_by_name() {
        for other in
            ["refresh_token", "client_credentials", "authorization_code", "Password", "urn:ietf:params:oauth:grant-type:device_code"]
        {
            let refusal = parse(pairs(&[("grant_type", other)]), &HeaderMap::new()).unwrap_err();
            assert_eq!(
                (refusal.status.as_u16(), refusal.reason, refusal.fields[0].0.as_str()),
                (400, ErrorReason::NotSupported, "grant_type")
            );
        }
        for (form, named) in [
            (&GOOD[1..], &["grant_type"][..]),
            (&GOOD[..2], &["username", "password"]),
            (&[GOOD[0], GOOD[2]], &["username", "password"]),
            (&[], &["grant_type"]),
            (&[("grant_type", "")], &["grant_type"]),
        ] {
            let refusal = parse(pairs(form), &HeaderMap::new()).unwrap_err();
            assert_eq!(refusal.reason, ErrorReason::InvalidArgument);
            assert_eq!(refusal.fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), named);
        }
    }
}
