//! What is sent to OAuth2's endpoints (RFC 6749, sections 3.2, 4.3 and 6; RFC 7009; RFC 7662; RFC 8628): a form, and perhaps a client's
//! name and secret by HTTP Basic.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use schemars::JsonSchema;
use shared::ErrorReason;
use shared::doors::Refusal;

use crate::service::violations::plain_text;
use crate::token_scopes::TokenScopes;

/// Characters of a device's name for itself.
const MOST_CLIENT_CHARACTERS: usize = 200;
const GRANT_TYPE: &str = "grant_type";
const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const SECOND_FACTOR_CODE: &str = "second_factor_code";
const SCOPE: &str = "scope";
const CLIENT_ID: &str = "client_id";
const CLIENT_SECRET: &str = "client_secret";
const REFRESH_TOKEN: &str = "refresh_token";
pub(super) const SHOWN_TOKEN: &str = "token";
const TOKEN_TYPE_HINT: &str = "token_type_hint";
const DEVICE_CODE: &str = "device_code";
/// The grant by which a device asks what became of its sign-in (RFC 8628, section 3.4).
pub(super) const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Where a credential was shown from that a service asks about: ours, and not OAuth2's.
pub(super) const CALLER_ADDRESS: &str = "caller_address";
/// All parameters, so that a refusal can name one without repeating what was sent.
const ALL: [&str; 12] = [
    GRANT_TYPE,
    USERNAME,
    PASSWORD,
    SECOND_FACTOR_CODE,
    SCOPE,
    CLIENT_ID,
    CLIENT_SECRET,
    REFRESH_TOKEN,
    SHOWN_TOKEN,
    TOKEN_TYPE_HINT,
    CALLER_ADDRESS,
    DEVICE_CODE,
];

/// The form, for those who read of it. Parameters beside these are ignored, as OAuth2 wants.
#[derive(JsonSchema)]
#[schemars(rename = "TokenRequest")]
#[expect(dead_code, reason = "a form may have a parameter twice, which no struct can say: it is read as pairs")]
pub(super) struct TokenForm {
    /// `password`, `refresh_token` or `urn:ietf:params:oauth:grant-type:device_code`.
    grant_type: String,
    /// With `password`: the user's name.
    username: Option<String>,
    /// With `password`: the user's password.
    password: Option<String>,
    /// With `password`, where the user has a second factor: six digits of the app, or a recovery code. Ours, and not OAuth2's.
    second_factor_code: Option<String>,
    /// With `refresh_token`: the refresh token. It is good once; the answer has the next one.
    refresh_token: Option<String>,
    /// With the device grant: the device code. What was asked for with it, and approved, is what the token may be used for.
    device_code: Option<String>,
    /// What the token is to be used for, with spaces between. Without it, all that the user may do, or what the session may.
    scope: Option<String>,
    /// A name for the session, as its user sees it. Nobody is known by it: no clients are registered.
    client_id: Option<String>,
    /// Empty or absent: a client that isn't registered has no secret.
    client_secret: Option<String>,
}

/// What a device without a browser sends to begin its sign-in. Parameters beside these are ignored.
#[derive(JsonSchema)]
#[schemars(rename = "DeviceAuthorizationRequest")]
#[expect(dead_code, reason = "as with TokenForm")]
pub(super) struct DeviceForm {
    /// What the device calls itself, as whoever approves is shown it. Nobody is known by it: no clients are registered.
    client_id: Option<String>,
    /// Empty or absent: a client that isn't registered has no secret.
    client_secret: Option<String>,
    /// What its tokens are to be used for, with spaces between. Without it, all that the user may do.
    scope: Option<String>,
}

/// What is sent to have a token revoked. Parameters beside these are ignored.
#[derive(JsonSchema)]
#[schemars(rename = "RevocationRequest")]
#[expect(dead_code, reason = "as with TokenForm")]
pub(super) struct RevocationForm {
    /// An access token, a refresh token or an API key.
    token: String,
    /// Taken, and not looked at: a token says itself what it is.
    token_type_hint: Option<String>,
    /// Taken, and not looked at.
    client_id: Option<String>,
    /// Empty or absent: no client has a secret.
    client_secret: Option<String>,
}

/// What is sent to ask what a token is. Parameters beside these are ignored.
#[derive(JsonSchema)]
#[schemars(rename = "IntrospectionRequest")]
pub(super) struct IntrospectionForm {
    /// An access token, a refresh token or an API key.
    pub(super) token: String,
    /// Taken, and not looked at: a token says itself what it is.
    #[expect(dead_code, reason = "for those who read of it")]
    token_type_hint: Option<String>,
    /// The IP address from which it was shown, for API keys that are limited to networks: without it they aren't in force.
    pub(super) caller_address: Option<String>,
}

/// A log-in by the password grant.
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct PasswordGrant {
    pub(super) user_name: String,
    pub(super) password: String,
    /// May be empty.
    pub(super) second_factor_code: String,
    pub(super) scopes: TokenScopes,
    /// What the client calls itself.
    pub(super) client: Option<String>,
}

/// A refresh token that is to be replaced.
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct RefreshGrant {
    pub(super) refresh_token: String,
    /// `None`: what the session may be used for.
    pub(super) scopes: Option<TokenScopes>,
}

/// A device that asks what became of its sign-in.
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct DeviceGrant {
    pub(super) device_code: String,
}

/// A device's sign-in that is to begin.
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct DeviceAuthorization {
    /// What the device calls itself.
    pub(super) client: Option<String>,
    pub(super) scopes: TokenScopes,
}

/// What a token is given for.
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) enum Grant {
    Password(PasswordGrant),
    Refresh(RefreshGrant),
    Device(DeviceGrant),
}

/// Reads a form that is sent to `/token`, and the header by which a client may say who it is.
pub(super) fn parse(form: Vec<(String, String)>, headers: &HeaderMap) -> Result<Grant, Refusal> {
    let mut form = Form::new(form)?;
    let client = name_client(basic_client(headers)?, &mut form)?;
    let grant_type = form.take(GRANT_TYPE);
    match grant_type.as_deref() {
        Some("password") => {
            let (Some(user_name), Some(password)) = (form.take(USERNAME), form.take(PASSWORD)) else {
                return Err(missing(&[USERNAME, PASSWORD]));
            };
            let second_factor_code = form.take(SECOND_FACTOR_CODE).unwrap_or_default();
            let scopes = scopes(&mut form)?.unwrap_or_default();
            Ok(Grant::Password(PasswordGrant { user_name, password, second_factor_code, scopes, client }))
        }
        Some("refresh_token") => {
            let refresh_token = form.take(REFRESH_TOKEN).ok_or_else(|| missing(&[REFRESH_TOKEN]))?;
            Ok(Grant::Refresh(RefreshGrant { refresh_token, scopes: scopes(&mut form)? }))
        }
        Some(DEVICE_GRANT) => {
            let device_code = form.take(DEVICE_CODE).ok_or_else(|| missing(&[DEVICE_CODE]))?;
            Ok(Grant::Device(DeviceGrant { device_code }))
        }
        Some(_) => {
            let must = format!("must be password, refresh_token or {DEVICE_GRANT}: no other grant is there");
            let refusal = Refusal::invalid(GRANT_TYPE, must);
            Err(Refusal { reason: ErrorReason::NotSupported, ..refusal })
        }
        None => Err(missing(&[GRANT_TYPE])),
    }
}

/// What is asked for by `scope`; `None`: nothing is said.
fn scopes(form: &mut Form) -> Result<Option<TokenScopes>, Refusal> {
    form.take(SCOPE).map(|scope| TokenScopes::parse(&scope).ok_or_else(no_scope)).transpose()
}

/// Reads a form that is sent to `/device_authorization`, and the header by which a client may say who it is.
pub(super) fn parse_device(form: Vec<(String, String)>, headers: &HeaderMap) -> Result<DeviceAuthorization, Refusal> {
    let mut form = Form::new(form)?;
    let client = name_client(basic_client(headers)?, &mut form)?;
    if client.as_ref().is_some_and(|name| plain_text(CLIENT_ID, name.clone(), MOST_CLIENT_CHARACTERS).is_err()) {
        let must = format!("must have at most {MOST_CLIENT_CHARACTERS} characters that can be seen: whoever approves is shown it");
        return Err(Refusal::invalid(CLIENT_ID, must));
    }
    Ok(DeviceAuthorization { client, scopes: scopes(&mut form)?.unwrap_or_default() })
}

/// Reads a form that is sent to `/revoke`: the token.
pub(super) fn parse_revocation(form: Vec<(String, String)>, headers: &HeaderMap) -> Result<String, Refusal> {
    let mut form = Form::new(form)?;
    name_client(basic_client(headers)?, &mut form)?;
    form.take(SHOWN_TOKEN).ok_or_else(|| missing(&[SHOWN_TOKEN]))
}

/// Reads a form that is sent to `/introspect`, by somebody who was let in.
pub(super) fn parse_introspection(form: Vec<(String, String)>) -> Result<IntrospectionForm, Refusal> {
    let mut form = Form::new(form)?;
    let token = form.take(SHOWN_TOKEN).ok_or_else(|| missing(&[SHOWN_TOKEN]))?;
    Ok(IntrospectionForm { token, token_type_hint: form.take(TOKEN_TYPE_HINT), caller_address: form.take(CALLER_ADDRESS) })
}

/// What [`parse`] refuses, one of each kind.
pub(super) fn refusals() -> Vec<Refusal> {
    let sent = |more: &[(&str, &str)]| {
        let whole = [(GRANT_TYPE, "password"), (USERNAME, "ada"), (PASSWORD, "a pass phrase")];
        whole.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let other = vec![(GRANT_TYPE.to_owned(), "client_credentials".to_owned())];
    let wrong = [Vec::new(), sent(&[(USERNAME, "ada")]), other, sent(&[(SCOPE, "openid")]), sent(&[(CLIENT_SECRET, "any")])];
    wrong.into_iter().filter_map(|form| parse(form, &HeaderMap::new()).err()).collect()
}

/// The same of [`parse_device`].
pub(super) fn refusals_to_devices() -> Vec<Refusal> {
    let wrong = [(SCOPE, "openid"), (CLIENT_ID, "\n"), (CLIENT_SECRET, "any")];
    let form = |(name, value): (&str, &str)| vec![(name.to_owned(), value.to_owned())];
    wrong.into_iter().filter_map(|sent| parse_device(form(sent), &HeaderMap::new()).err()).collect()
}

/// A scope that can't be given.
pub(super) fn no_scope() -> Refusal {
    let all = shared::scope::ALL.join(", ");
    Refusal::invalid(SCOPE, format!("must be of {all}, with spaces between and within what was granted before, or be left out"))
}

/// A form's parameters, each once. One without a value is as if it was not sent.
struct Form(Vec<(String, String)>);

impl Form {
    fn new(mut form: Vec<(String, String)>) -> Result<Self, Refusal> {
        form.sort_unstable();
        if let Some(twice) = form.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let known = ALL.into_iter().find(|name| *name == twice[0].0);
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
pub(super) struct BasicClient {
    pub(super) id: String,
    pub(super) secret: String,
}

/// The client that the `authorization` header names. Another scheme than Basic says nothing of a client.
pub(super) fn basic_client(headers: &HeaderMap) -> Result<Option<BasicClient>, Refusal> {
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

/// The name of the client. Anybody's program is one, under any name; none has a secret.
fn name_client(basic: Option<BasicClient>, form: &mut Form) -> Result<Option<String>, Refusal> {
    let (id, secret) = (form.take(CLIENT_ID), form.take(CLIENT_SECRET));
    let basic = basic.filter(|client| !(client.id.is_empty() && client.secret.is_empty()));
    if secret.is_some() || basic.as_ref().is_some_and(|client| !client.secret.is_empty()) {
        let message = "no clients are registered here, so none has a secret: leave client_secret out, or empty; client_id may be anything";
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, ErrorReason::CredentialInvalid, message));
    }
    if basic.as_ref().is_some_and(|client| id.as_ref().is_some_and(|id| *id != client.id)) {
        return Err(malformed(CLIENT_ID, "must be the one of the authorization header, or be left out"));
    }
    Ok(id.or(basic.map(|client| client.id)).filter(|name| !name.is_empty()))
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
        parse(pairs(&[&GOOD[..], more].concat()), &headers(authorization)).map(|grant| match grant {
            Grant::Password(grant) => grant,
            other => panic!("{other:?}"),
        })
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
        let named = |client: Option<&str>| PasswordGrant {
            user_name: "ada".to_owned(),
            password: "canary".to_owned(),
            second_factor_code: String::new(),
            scopes: TokenScopes::All,
            client: client.map(str::to_owned),
        };
        let more: [&[(&str, &str)]; 5] =
            [&[], &[("scope", "")], &[("client_id", ""), ("client_secret", "")], &[("audience", "x"), ("state", "y")], &[("otp", "")]];
        for more in more {
            assert_eq!(read(more, None).ok(), Some(named(None)), "{more:?}");
        }
        for authorization in [basic(":"), "Bearer an-old-one".to_owned(), "basic Og==".to_owned()] {
            assert_eq!(read(&[], Some(&authorization)).ok(), Some(named(None)), "{authorization}");
        }
        for (more, authorization) in [(&[("client_id", "any")][..], None), (&[], Some(basic("any:")))] {
            assert_eq!(read(more, authorization.as_deref()).ok(), Some(named(Some("any"))));
        }
        assert!(read(&[("client_id", "any")], Some(&basic("any:"))).is_ok());
        assert_eq!(read(&[("scope", "account")], None).unwrap().scopes, TokenScopes::Only(vec![Scope::Account]));
    }

    #[test]
    fn whoever_asks_for_an_unknown_scope_is_told_every_name_that_is_taken() {
        let refused = read(&[("scope", "canary")], None).unwrap_err();
        for name in shared::scope::ALL {
            assert!(read(&[("scope", name)], None).is_ok(), "{name}");
            assert!(refused.message.split([' ', ',']).any(|word| word == name), "{name}: {}", refused.message);
        }
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
        for other in ["client_credentials", "authorization_code", "Password", "device_code", "urn:ietf:params:oauth:grant-type:jwt-bearer"]
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
            (&[("grant_type", "refresh_token")], &["refresh_token"]),
            (&[("grant_type", "refresh_token"), ("refresh_token", ""), ("username", "ada")], &["refresh_token"]),
            (&[("grant_type", DEVICE_GRANT)], &["device_code"]),
        ] {
            let refusal = parse(pairs(form), &HeaderMap::new()).unwrap_err();
            assert_eq!(refusal.reason, ErrorReason::InvalidArgument);
            assert_eq!(refusal.fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), named);
        }
    }

    #[test]
    fn a_refresh_token_is_taken_with_fewer_scopes_or_with_those_that_it_has() {
        let of = |more: &[(&str, &str)]| {
            let form = [&[("grant_type", "refresh_token"), ("refresh_token", "tgr_canary")][..], more].concat();
            parse(pairs(&form), &HeaderMap::new())
        };
        let grant = |scopes| Grant::Refresh(RefreshGrant { refresh_token: "tgr_canary".to_owned(), scopes });
        assert_eq!(of(&[]).ok(), Some(grant(None)));
        assert_eq!(of(&[("scope", ""), ("client_id", "any")]).ok(), Some(grant(None)));
        assert_eq!(of(&[("scope", "account")]).ok(), Some(grant(Some(TokenScopes::Only(vec![Scope::Account])))));
        for (more, reason) in [
            (("scope", "openid"), ErrorReason::InvalidArgument),
            (("refresh_token", "tgr_other"), ErrorReason::MessageMalformed),
            (("client_secret", "canary"), ErrorReason::CredentialInvalid),
        ] {
            let refusal = of(&[more]).unwrap_err();
            assert_eq!(refusal.reason, reason, "{more:?}");
            assert!(!format!("{refusal:?}").contains("canary"), "{refusal:?}");
        }
    }

    #[test]
    fn a_device_says_its_name_and_scopes_and_what_nobody_could_read_is_refused() {
        let of = |form: &[(&str, &str)]| parse_device(pairs(form), &HeaderMap::new());
        let named = |client: Option<&str>, scopes| DeviceAuthorization { client: client.map(str::to_owned), scopes };
        assert_eq!(of(&[]).ok(), Some(named(None, TokenScopes::All)));
        let account = TokenScopes::Only(vec![Scope::Account]);
        assert_eq!(of(&[("client_id", "né"), ("scope", "account"), ("x", "y")]).ok(), Some(named(Some("né"), account)));
        let long = "x".repeat(201);
        for (form, field) in [
            (&[("client_id", "a\u{202e}canary")][..], Some("client_id")),
            (&[("client_id", "a\ncanary")], Some("client_id")),
            (&[("client_id", long.as_str())], Some("client_id")),
            (&[("scope", "canary")], Some("scope")),
            (&[("client_id", "any"), ("client_secret", "canary")], None),
            (&[("scope", "account"), ("scope", "account")], Some("scope")),
        ] {
            let refusal = of(form).unwrap_err();
            assert_eq!(refusal.fields.first().map(|(name, _)| name.as_str()), field, "{form:?}");
            assert!(!format!("{refusal:?}").contains("canary"), "{refusal:?}");
        }
    }

    #[test]
    fn what_is_sent_about_a_token_is_the_token_and_whatever_else_is_ignored() {
        let form = pairs(&[("token", "canary"), ("token_type_hint", "made_up"), ("client_id", "any"), ("x", "y")]);
        assert_eq!(parse_revocation(form.clone(), &HeaderMap::new()).ok().as_deref(), Some("canary"));
        assert_eq!(parse_introspection(form).map(|form| form.token).ok().as_deref(), Some("canary"));
        for wrong in [&[][..], &[("token", "")], &[("token", "canary"), ("token", "canary")]] {
            for refusal in [parse_revocation(pairs(wrong), &HeaderMap::new()).err(), parse_introspection(pairs(wrong)).err()] {
                let refusal = refusal.unwrap();
                assert!(refusal.status == StatusCode::BAD_REQUEST && !format!("{refusal:?}").contains("canary"), "{refusal:?}");
            }
        }
        let secret = pairs(&[("token", "canary"), ("client_secret", "canary")]);
        assert_eq!(parse_revocation(secret, &HeaderMap::new()).unwrap_err().status, StatusCode::UNAUTHORIZED);
    }
}
