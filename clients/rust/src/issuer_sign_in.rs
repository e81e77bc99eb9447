//! Signing in with an OpenID issuer, such as Google, and the identities there that sign a user in.
//!
//! By a code: [`Client::begin_sign_in`] says where to send the person; the issuer sends them back to the redirect address with a code and a
//! state; [`IssuerSignIn::with_code`] makes a [`Proof`] of both, and [`Client::sign_in`] ends it. By an ID token: [`Proof::id_token`].

use std::fmt;
use std::time::SystemTime;

use crate::client::Client;
use crate::error::Error;
use crate::proto::auth::{
    BeginSignInRequest, ExchangeIdTokenRequest, Identity, IssuerProof, LinkIdentityRequest, ListIdentitiesRequest,
    ListSignInIssuersRequest, SignInIssuer, UnlinkIdentityRequest,
};
use crate::session::{Session, SignedIn};

/// A sign-in that has begun.
#[derive(Clone)]
pub struct IssuerSignIn {
    /// With whom.
    pub issuer: SignInIssuer,
    /// Where to send the person. Empty without a redirect address.
    pub authorization_url: String,
    /// To be bound into an ID token that the caller gets by itself.
    pub nonce: String,
    /// Until when it must be over; `None` when the service didn't say.
    pub expires_at: Option<SystemTime>,
    state: String,
    sign_in: String,
}

impl IssuerSignIn {
    /// Whether this is the state that must come back with the code. What comes with another one is not of this sign-in.
    #[must_use]
    pub fn has_state(&self, state: &str) -> bool {
        !self.state.is_empty() && self.state == state
    }

    /// By the code and the state that the issuer sent the person back with.
    #[must_use]
    pub fn with_code(&self, authorization_code: impl Into<String>, state: impl Into<String>) -> Proof {
        Proof(IssuerProof {
            sign_in: self.sign_in.clone(),
            authorization_code: authorization_code.into(),
            state: state.into(),
            ..IssuerProof::default()
        })
    }

    /// By an ID token that has this sign-in's nonce.
    #[must_use]
    pub fn with_id_token(&self, id_token: impl Into<String>) -> Proof {
        Proof(IssuerProof { sign_in: self.sign_in.clone(), id_token: id_token.into(), ..IssuerProof::default() })
    }
}

// Whoever has the state and the rest can end the sign-in.
impl fmt::Debug for IssuerSignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuerSignIn").field("issuer", &self.issuer.name).field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// What proves an issuer's identity, once. `Debug` doesn't show it.
#[derive(Clone)]
pub struct Proof(IssuerProof);

impl Proof {
    /// An ID token, where that is all there is: its issuer is found by the token.
    #[must_use]
    pub fn id_token(id_token: impl Into<String>) -> Self {
        Self(IssuerProof { id_token: id_token.into(), ..IssuerProof::default() })
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof(…)")
    }
}

impl Client {
    /// The issuers that one can sign in with.
    pub async fn sign_in_issuers(&self) -> Result<Vec<SignInIssuer>, Error> {
        let answer = self.accounts().list_sign_in_issuers(self.anonymous_request(ListSignInIssuersRequest {})).await;
        Ok(self.connections.auth.answer(answer, None)?.issuers)
    }

    /// Begins a sign-in with an issuer, by its name; empty where there is one alone. `redirect_uri` is where the issuer sends the person
    /// back to, an address on loopback whose path ends with the issuer's name, such as `http://127.0.0.1:41234/callback/google`; empty for
    /// a caller that gets an ID token by itself. Take what comes back at that path alone: another issuer's code must not get there.
    pub async fn begin_sign_in(&self, issuer: &str, redirect_uri: &str) -> Result<IssuerSignIn, Error> {
        let message = BeginSignInRequest { issuer: issuer.to_owned(), redirect_uri: redirect_uri.to_owned() };
        let answer = self.accounts().begin_sign_in(self.anonymous_request(message)).await;
        let begun = self.connections.auth.answer(answer, None)?;
        Ok(IssuerSignIn {
            issuer: begun.issuer.unwrap_or_default(),
            authorization_url: begun.authorization_url,
            nonce: begun.nonce,
            expires_at: begun.expires_at.and_then(|time| time.try_into().ok()),
            state: begun.state,
            sign_in: begun.sign_in,
        })
    }

    /// Ends a sign-in with an issuer, and begins a session. The first time makes the user, where sign-up is open. `client` is what the list
    /// of sessions shows; empty: what this library calls itself.
    pub async fn sign_in(&self, proof: Proof, client: &str) -> Result<SignedIn, Error> {
        let message = ExchangeIdTokenRequest { proof: Some(proof.0), client: client.to_owned(), ..Default::default() };
        let answer = self.accounts().exchange_id_token(self.anonymous_request(message)).await;
        let mut answer = self.connections.auth.answer(answer, None)?;
        let (user_name, created) = (std::mem::take(&mut answer.user_name), answer.created);
        Ok(SignedIn { session: Session::of_issuer(answer)?, user_name, created })
    }

    /// The issuers' identities that sign the user in.
    pub async fn identities(&self) -> Result<Vec<Identity>, Error> {
        self.identities_of("").await
    }

    /// The issuers' identities that sign another user in; for operators.
    pub async fn identities_of(&self, user_name: &str) -> Result<Vec<Identity>, Error> {
        let message = ListIdentitiesRequest { user_name: user_name.to_owned() };
        let answer = self.accounts().list_identities(self.request(message)).await;
        Ok(self.connections.auth.answer(answer, None)?.identities)
    }

    /// Lets an issuer's identity sign the user in from now on. Needs a session that began, or passed its second factor, within the last 15
    /// minutes.
    pub async fn link_identity(&self, proof: Proof) -> Result<Identity, Error> {
        let answer = self.accounts().link_identity(self.request(LinkIdentityRequest { proof: Some(proof.0) })).await;
        Ok(self.connections.auth.answer(answer, None)?.identity.unwrap_or_default())
    }

    /// The identity signs the user in no longer, and the sessions that it began end: how many. The last way to sign in stays.
    pub async fn unlink_identity(&self, issuer: &str, subject: &str) -> Result<u32, Error> {
        self.unlink_identity_of("", issuer, subject).await
    }

    /// The same for another user; for operators.
    pub async fn unlink_identity_of(&self, user_name: &str, issuer: &str, subject: &str) -> Result<u32, Error> {
        let (issuer, subject, user_name) = (issuer.to_owned(), subject.to_owned(), user_name.to_owned());
        let message = UnlinkIdentityRequest { issuer, subject, user_name };
        let answer = self.accounts().unlink_identity(self.request(message)).await;
        Ok(self.connections.auth.answer(answer, None)?.ended_sessions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(state: &str) -> IssuerSignIn {
        IssuerSignIn {
            issuer: SignInIssuer { name: "google".into(), ..SignInIssuer::default() },
            authorization_url: "https://issuer.example/?state=canary".into(),
            nonce: "canary".into(),
            expires_at: None,
            state: state.into(),
            sign_in: "canary".into(),
        }
    }

    #[test]
    fn nothing_that_could_end_a_sign_in_is_shown() {
        let sign_in = begun("canary");
        let shown = format!("{sign_in:?} {:?} {:?}", sign_in.with_code("canary", "canary"), Proof::id_token("canary"));
        assert!(shown.contains("google") && !shown.contains("canary"), "{shown}");
    }

    #[test]
    fn a_state_is_of_a_sign_in_when_it_is_the_same_and_no_state_is_of_none() {
        assert!(begun("one").has_state("one"));
        for wrong in ["", "on", "onee", "One"] {
            assert!(!begun("one").has_state(wrong), "{wrong}");
        }
        assert!(!begun("").has_state(""), "without a redirect address nothing comes back");
    }
}
