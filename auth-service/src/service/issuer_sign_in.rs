//! How people sign in with an issuer, and which identities sign a user in.

use std::fmt::Display;
use std::time::Instant;

use prost_types::Timestamp;
use reqwest::Url;
use shared::credential_form::holds_credential;
use shared::proto::auth as pb;
use tonic::Request;

use crate::identity::{Identity, IssuerSessionStart, LinkAnswer, ProvedIdentity, UnlinkAnswer};
use crate::ids::UserId;
use crate::profile;
use crate::service::accounts::AccountsService;
use crate::service::authorizer::Caller;
use crate::service::call::Call;
use crate::service::contract::timestamp;
use crate::service::service_error::ServiceError;
use crate::service::sign_in::{SignedIn, new_session};
use crate::service::sign_up_policy::Origin;
use crate::service::user_fields::user_name;
use crate::service::violations::{Violation, Violations, plain_text};
use crate::session::{NewSession, SignInMethod};
use crate::sign_in_issuers::{BegunFor, BegunSignIn, LinkedSession, Proof, ProvedPerson, SignInIssuerConfig, name_of, numbered};
use crate::store::{AuditAction, AuditEvent, IssuerUserCreation, NewUser};
use crate::token_scopes::TokenScopes;
use crate::user::{Role, UserRecord};

/// Where the account page has an issuer send people back to, with the issuer's name behind it. Each has an address of its own, which alone
/// is registered there: no issuer can have another one's codes brought to where its own are awaited (RFC 9700, section 4.4).
const CALLBACK: &str = "/account/sign-in/callback";
/// The same as a route.
pub(crate) const CALLBACK_ROUTE: &str = "/account/sign-in/callback/{issuer}";
/// Characters of an address to come back to.
const MOST_OF_REDIRECT: usize = 512;
/// Characters of a code, and of a state.
const MOST_OF_CODE: usize = 4096;
/// How often a sign-in is tried whose user comes or goes meanwhile.
const MOST_TRIES: usize = 4;
/// Names that are tried one after the other for a new user; then some with a random number.
const COUNTED_NAMES: u64 = 9;
const MOST_NAMES: u64 = COUNTED_NAMES + 6;

/// Somebody who signed in with an issuer.
pub(crate) struct IssuerSignIn {
    pub(crate) signed_in: SignedIn,
    pub(crate) user: UserRecord,
    /// Whether this made the user.
    pub(crate) created: bool,
}

impl AccountsService {
    pub(super) fn answer_list_sign_in_issuers(&self) -> pb::ListSignInIssuersResponse {
        pb::ListSignInIssuersResponse { issuers: self.issuers.configs().map(issuer).collect() }
    }

    pub(super) async fn answer_begin_sign_in(
        &self,
        request: Request<pb::BeginSignInRequest>,
    ) -> Result<pb::BeginSignInResponse, ServiceError> {
        let pb::BeginSignInRequest { issuer: name, redirect_uri } = request.into_inner();
        let config = self.issuers.named(&name)?;
        let own = self.public_url.as_ref().map(|url| page_callback(url, &config.name));
        if !redirect_uri.is_empty() && own.as_deref() != Some(&redirect_uri) && !is_on_loopback(&redirect_uri, &config.name) {
            let expected = format!(
                "must be empty, the account page's own, or an address on loopback by its number and port, whose path ends with the \
                 issuer's name: http://127.0.0.1:<port>/callback/{name}, http://[::1]:<port>/callback/{name}",
                name = config.name
            );
            return Err(ServiceError::field("redirect_uri", expected));
        }
        let begun = self.issuers.begin(&name, &redirect_uri, BegunFor::Holder).await?;
        let BegunSignIn { nonce, sign_in, authorization_url, state, ends_at } = begun;
        Ok(pb::BeginSignInResponse {
            nonce,
            sign_in,
            authorization_url,
            state,
            expires_at: Some(Timestamp::from(ends_at)),
            issuer: Some(issuer(config)),
        })
    }

    pub(super) async fn answer_exchange_id_token(
        &self,
        request: Request<pb::ExchangeIdTokenRequest>,
    ) -> Result<pb::ExchangeIdTokenResponse, ServiceError> {
        let (origin, (metadata, extensions, message)) = (Origin::of(&request), request.into_parts());
        let call = Call::new(&metadata, &extensions);
        let pb::ExchangeIdTokenRequest { id_token, proof, client } = &message;
        let mut violations = Violations::default();
        let client = violations.keep(plain_text("client", client.clone(), 200));
        let proof = violations.keep(match (proof, id_token.as_str()) {
            (Some(_), token) if !token.is_empty() => Err(Violation::new("id_token", "must be empty beside a proof")),
            (Some(proof), _) => parse_proof("proof", proof),
            (None, "") => Err(Violation::new("proof", "must be there, with a code or an ID token")),
            (None, id_token) => Ok(Proof::IdToken { sign_in: "", id_token }),
        });
        let (client, proof) = violations.finish(client.zip(proof))?;
        let IssuerSignIn { signed_in, user, created } = self.sign_in_with_issuer(call, origin, proof, &client).await?;
        let SignedIn { access_token, refresh_token, session, .. } = signed_in;
        Ok(pb::ExchangeIdTokenResponse {
            access_token: access_token.token,
            expires_at: Some(access_token.expires_at.into()),
            refresh_token: refresh_token.reveal().to_owned(),
            refresh_expires_at: Some(timestamp(session.refresh_expires_at_ms)),
            session_id: session.session_id.to_string(),
            user_name: user.user_name.to_string(),
            created,
        })
    }

    /// Signs in whomever a proof names, by whichever door; the first time, this makes the user where sign-up is open to whoever calls.
    pub(crate) async fn sign_in_with_issuer(
        &self,
        call: Call<'_>,
        origin: Origin,
        proof: Proof<'_>,
        client: &str,
    ) -> Result<IssuerSignIn, ServiceError> {
        let ProvedPerson { identity, person } = self.issuers.prove(proof, call.address, None).await?;
        let email = if profile::is_email(&identity.email) { identity.email } else { String::new() };
        let identity = ProvedIdentity { email, ..identity };
        call.know(|event| AuditEvent { detail: identity.issuer.clone(), ..event });
        let mut is_admitted = false;
        for _ in 0..MOST_TRIES {
            if let Some(id) = self.store.user_of_identity(&identity.hash()).await? {
                if let Some(signed_in) = self.sign_in_known(call, &id, &identity, client).await? {
                    return Ok(signed_in);
                }
                continue;
            }
            if !is_admitted {
                if !self.sign_up.admits(origin) {
                    return Err(ServiceError::SignUpClosed);
                }
                self.sign_ups.admit(origin.address, Instant::now()).map_err(|retry_after| ServiceError::Throttled { retry_after })?;
                is_admitted = true;
            }
            if let Some(signed_in) = self.sign_up_with_issuer(call, &identity, &person, client).await? {
                return Ok(signed_in);
            }
        }
        Err(ServiceError::IdTokenInvalid("the identity is being linked or unlinked right now; sign in again"))
    }

    /// Begins a session of the user whom an identity signs in; `None`: it has ceased to.
    async fn sign_in_known(
        &self,
        call: Call<'_>,
        id: &UserId,
        identity: &ProvedIdentity,
        client: &str,
    ) -> Result<Option<IssuerSignIn>, ServiceError> {
        let user = self.user(id).await?;
        call.know(|event| event.to_user(id, &user.user_name));
        let (first, new) = issuer_session(call, id, identity, client)?;
        let event = AuditEvent { detail: identity.issuer.clone(), ..call.event(AuditAction::SignInWithIssuer) };
        let event = AuditEvent { actor: Some(id.clone()), actor_name: user.user_name.to_string(), ..event.to_user(id, &user.user_name) };
        match self.store.begin_issuer_session(id, identity, new, event).await? {
            IssuerSessionStart::Begun(session) => {
                let signed_in = self.signed_in(id, first, session, TokenScopes::All)?;
                Ok(Some(IssuerSignIn { signed_in, user, created: false }))
            }
            IssuerSessionStart::Refused(refusal) => Err(ServiceError::Store(refusal)),
            IssuerSessionStart::ProofUsed => Err(used_before()),
            IssuerSessionStart::NotLinked => Ok(None),
        }
    }

    /// Makes the user of an identity that signs nobody in, with the first name that is free; `None`: it signs somebody in by now.
    async fn sign_up_with_issuer(
        &self,
        call: Call<'_>,
        identity: &ProvedIdentity,
        person: &crate::sign_in_issuers::PersonClaims,
        client: &str,
    ) -> Result<Option<IssuerSignIn>, ServiceError> {
        let name = name_of(person);
        let kept =
            |text: &str, most| if profile::is_plain(text, most) && !holds_credential(text) { text.to_owned() } else { String::new() };
        let (full_name, email) = (kept(&person.full_name, 200), kept(&person.email, profile::MAX_EMAIL));
        let email = if profile::is_email(&email) { email } else { String::new() };
        for number in 1..=MOST_NAMES {
            let number = if number <= COUNTED_NAMES { number } else { 1_000_000 + u64::from(getrandom::u32()? % 9_000_000) };
            let user_name = numbered(&name, number).ok_or_else(|| ServiceError::defect("a new user's name is none"))?;
            let user_id = UserId::random()?;
            let user = NewUser {
                user_id: user_id.clone(),
                user_name: user_name.clone(),
                password_hash: String::new(),
                full_name: full_name.clone(),
                email: email.clone(),
                role: Role::User,
                starting_credits: self.starting_credits,
            };
            let (first, new) = issuer_session(call, &user_id, identity, client)?;
            let event = AuditEvent { detail: identity.issuer.clone(), ..call.event(AuditAction::SignUpWithIssuer) };
            let event =
                AuditEvent { actor: Some(user_id.clone()), actor_name: user_name.to_string(), ..event.to_user(&user_id, &user_name) };
            match self.store.create_issuer_user(user, identity, new, event).await? {
                IssuerUserCreation::Created(user, session) => {
                    tracing::info!(
                        target: "audit", action = "sign_up_with_issuer", actor = %user.user_id, subject = %user.user_id,
                        "a user signed up with an issuer"
                    );
                    let signed_in = self.signed_in(&user_id, first, session, TokenScopes::All)?;
                    return Ok(Some(IssuerSignIn { signed_in, user, created: true }));
                }
                IssuerUserCreation::NameTaken => {}
                IssuerUserCreation::IdentityTaken => return Ok(None),
                IssuerUserCreation::ProofUsed => return Err(used_before()),
            }
        }
        Err(ServiceError::UserNameTaken)
    }

    pub(super) async fn answer_list_identities(
        &self,
        request: Request<pb::ListIdentitiesRequest>,
    ) -> Result<pb::ListIdentitiesResponse, ServiceError> {
        let name = &request.get_ref().user_name;
        let id = if name.is_empty() {
            self.authorizer.reader(Call::of(&request)).await?.principal.user_id
        } else {
            self.authorizer.operator_reading(Call::of(&request)).await?;
            self.named_user(name).await?.user_id
        };
        let identities = self.store.identities(&id).await?;
        Ok(pb::ListIdentitiesResponse { identities: identities.into_iter().map(|identity| self.shown(identity)).collect() })
    }

    pub(super) async fn answer_link_identity(
        &self,
        request: Request<pb::LinkIdentityRequest>,
    ) -> Result<pb::LinkIdentityResponse, ServiceError> {
        let (metadata, extensions, message) = request.into_parts();
        let call = Call::new(&metadata, &extensions);
        let caller = self.authorizer.signed_in(call).await?;
        let proof = message.proof.as_ref().ok_or_else(|| Violation::new("proof", "must be there, with a code or an ID token"))?;
        let identity = self.link_by(call, &caller, parse_proof("proof", proof)?).await?;
        Ok(pb::LinkIdentityResponse { identity: Some(self.shown(identity)) })
    }

    /// Lets a proved identity sign the caller in from now on, by whichever door.
    pub(crate) async fn link_by(&self, call: Call<'_>, caller: &Caller, proof: Proof<'_>) -> Result<Identity, ServiceError> {
        let id = &caller.principal.user_id;
        let of_session = caller.principal.session_id.clone();
        let of_session = of_session.map(|session_id| LinkedSession { user_id: id.clone(), session_id });
        let ProvedPerson { identity, .. } = self.issuers.prove(proof, call.address, of_session.as_ref()).await?;
        let email = if profile::is_email(&identity.email) { identity.email.clone() } else { String::new() };
        let identity = ProvedIdentity { email, ..identity };
        let user = self.user(id).await?;
        call.know(|event| AuditEvent { detail: identity.issuer.clone(), ..event.to_user(id, &user.user_name) });
        let event = AuditEvent { detail: identity.issuer.clone(), ..call.event(AuditAction::LinkIdentity).by(&caller.principal) };
        let event = AuditEvent { actor_name: user.user_name.to_string(), ..event.to_user(id, &user.user_name) };
        match self.store.link_identity(id, &caller.credential, &identity, event).await? {
            Some(LinkAnswer::Linked(identity)) => {
                tracing::info!(target: "audit", action = "link_identity", actor = %id, subject = %id, "an identity was linked");
                Ok(identity)
            }
            Some(LinkAnswer::Refused(refusal)) => Err(ServiceError::Store(refusal)),
            Some(LinkAnswer::RecentSignInRequired) => Err(ServiceError::RecentSignInRequired),
            Some(LinkAnswer::ProofUsed) => Err(used_before()),
            Some(LinkAnswer::Taken) => Err(ServiceError::IdentityLinked),
            Some(LinkAnswer::TooMany) => Err(ServiceError::TooManyIdentities),
            None => Err(ServiceError::defect("an authenticated user has no record")),
        }
    }

    pub(super) async fn answer_unlink_identity(
        &self,
        request: Request<pb::UnlinkIdentityRequest>,
    ) -> Result<pb::UnlinkIdentityResponse, ServiceError> {
        let (metadata, extensions, message) = request.into_parts();
        let call = Call::new(&metadata, &extensions);
        let pb::UnlinkIdentityRequest { issuer, subject, user_name: name } = &message;
        let event = call.event(AuditAction::UnlinkIdentity);
        let (actor, asked_by, user, event) = if name.is_empty() {
            let Caller { principal, credential, .. } = self.authorizer.signed_in(call).await?;
            let user = self.user(&principal.user_id).await?;
            let event = AuditEvent { actor_name: user.user_name.to_string(), detail: kept_issuer(issuer), ..event.by(&principal) };
            (principal.user_id, Some(credential), user, event)
        } else {
            let operator = self.authorizer.operator(call).await?;
            let event = event.by(&operator).by_operator();
            let event = AuditEvent { detail: format!("{}; {}", event.detail, kept_issuer(issuer)), ..event };
            (operator.user_id, None, self.named_user(name).await?, event)
        };
        let id = &user.user_id;
        call.know(|event| event.to_user(id, &user.user_name));
        let event = event.to_user(id, &user.user_name);
        match self.store.unlink_identity(id, asked_by.as_ref(), (issuer, subject), event).await? {
            Some(UnlinkAnswer::Unlinked { ended_sessions }) => {
                tracing::info!(target: "audit", action = "unlink_identity", %actor, subject = %id, "an identity was unlinked");
                Ok(pb::UnlinkIdentityResponse { ended_sessions })
            }
            Some(UnlinkAnswer::Refused(refusal)) => Err(ServiceError::Store(refusal)),
            Some(UnlinkAnswer::NotFound) => Err(ServiceError::IdentityNotFound),
            Some(UnlinkAnswer::Last) => Err(ServiceError::LastSignInMethod),
            None => Err(ServiceError::defect("an authenticated user has no record")),
        }
    }

    /// Whom an operator names.
    async fn named_user(&self, name: &str) -> Result<UserRecord, ServiceError> {
        self.store.user_by_name(&user_name(name)?).await?.ok_or(ServiceError::UserNotFound)
    }

    fn shown(&self, identity: Identity) -> pb::Identity {
        let Identity { issuer, subject, email, linked_at_ms, .. } = identity;
        let issuer_name = self.issuers.configs().find(|config| config.issuer == issuer).map(|config| config.name.clone());
        let issuer_name = issuer_name.unwrap_or_default();
        pb::Identity { issuer, issuer_name, subject, email, linked_at: Some(timestamp(linked_at_ms)) }
    }
}

fn issuer(config: &SignInIssuerConfig) -> pb::SignInIssuer {
    pb::SignInIssuer { name: config.name.clone(), issuer: config.issuer.clone(), client_id: config.client_id.clone() }
}

/// What is recorded of an issuer that somebody names: it is in force, so that it has a bounded length.
fn kept_issuer(issuer: &str) -> String {
    issuer.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn used_before() -> ServiceError {
    ServiceError::IdTokenInvalid("it was used before: each sign-in is good once")
}

fn issuer_session(
    call: Call<'_>,
    id: &UserId,
    identity: &ProvedIdentity,
    client: &str,
) -> Result<(crate::refresh_token::RefreshToken, NewSession), ServiceError> {
    let (first, new) = new_session(call, id, client, &TokenScopes::All)?;
    let method = SignInMethod::Issuer { issuer: identity.issuer.clone(), subject: identity.subject.clone() };
    Ok((first, NewSession { method, ..new }))
}

fn parse_proof<'p>(field: &'static str, proof: &'p pb::IssuerProof) -> Result<Proof<'p>, Violation> {
    let pb::IssuerProof { sign_in, id_token, authorization_code: code, state } = proof;
    let wrong = |expected: &str| Err(Violation::new(field, expected));
    if code.len() > MOST_OF_CODE || state.len() > MOST_OF_CODE {
        return wrong("must have a code and a state of at most 4096 characters");
    }
    match (id_token.as_str(), code.as_str()) {
        ("", "") => wrong("must have an id_token or an authorization_code"),
        (id_token, "") if state.is_empty() => Ok(Proof::IdToken { sign_in, id_token }),
        (_, "") => wrong("must have a state with an authorization_code alone"),
        ("", code) if !sign_in.is_empty() && !state.is_empty() => Ok(Proof::Code { sign_in, code, state }),
        ("", _) => wrong("must have the sign_in and the state that belong to the authorization_code"),
        _ => wrong("must have an id_token or an authorization_code, and not both"),
    }
}

/// Where the account page of this origin has an issuer send people back to.
pub(crate) fn page_callback(origin: &impl Display, issuer_name: &str) -> String {
    format!("{origin}{CALLBACK}/{issuer_name}")
}

/// Whether an address is one of this host, by its number: a name may lead elsewhere (RFC 8252, sections 7.3 and 8.3). Its path ends with
/// the issuer's name, for the reason of [`CALLBACK`]: it is no other issuer's, also where an issuer takes any path of this host.
fn is_on_loopback(text: &str, issuer_name: &str) -> bool {
    if text.len() > MOST_OF_REDIRECT || !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return false;
    }
    let Ok(url) = Url::parse(text) else { return false };
    let is_bare = url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    let is_here = ["http://127.0.0.1:", "http://[::1]:"].iter().any(|start| text.starts_with(start));
    let is_its_own = url.path().rsplit_once('/').is_some_and(|(_, last)| last == issuer_name);
    is_here && is_bare && is_its_own && url.scheme() == "http" && matches!(url.host_str(), Some("127.0.0.1" | "[::1]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_to_come_back_to_is_on_loopback_by_its_number_and_is_the_issuers_own() {
        let port_alone = "http://127.0.0.1:80/one";
        for good in ["http://127.0.0.1:1/one", "http://127.0.0.1:65535/callback/one?x=1", "http://[::1]:8080/a/one", port_alone] {
            assert!(is_on_loopback(good, "one"), "{good}");
        }
        let long = format!("http://127.0.0.1:1/{}/one", "x".repeat(600));
        for wrong in [
            "https://127.0.0.1:1/one",
            "http://localhost:1/one",
            "http://127.0.0.1/one",
            "http://127.0.0.1:1@evil.example/one",
            "http://127.0.0.1:1/one#x",
            "http://u@127.0.0.1:1/one",
            "http://127.0.0.2:1/one",
            "http://0x7f000001:1/one",
            "http://127.0.0.1.evil.example:1/one",
            "http://evil.example/one",
            "http://127.0.0.1:1/one x",
            "http://127.0.0.1:1/\\evil/one",
            "http://127.0.0.1:1\\@evil.example/one",
            "tollgate://callback/one",
            "javascript:alert(1)",
            long.as_str(),
            // Another issuer's, or nobody's.
            "http://127.0.0.1:1/",
            "http://127.0.0.1:1/two",
            "http://127.0.0.1:1/one/",
            "http://127.0.0.1:1/one/two",
            "http://127.0.0.1:1/one/../two",
            "http://127.0.0.1:1/two?/one",
            "http://127.0.0.1:1/everyone",
            "http://127.0.0.1:1/ONE",
        ] {
            assert!(!is_on_loopback(wrong, "one"), "{wrong}");
        }
    }
}
