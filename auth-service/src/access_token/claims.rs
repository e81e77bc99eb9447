//! What an access token says.

use jsonwebtoken::Validation;
use serde::{Deserialize, Serialize};

use super::token_keys::VerifyingKey;
use super::{AUDIENCE, Signed, VerifiedToken};
use crate::ids::{SessionId, UserId};
use crate::token_scopes::TokenScopes;

/// Characters of a `sid` that names no session.
pub(super) const SID_WITHOUT_SESSION: usize = 22;

/// All but `scope` are required, and each must have exactly this type: a list as `aud`, or a string as `nbf`, is refused.
#[derive(Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) aud: String,
    pub(super) sub: String,
    pub(super) sid: String,
    pub(super) iat: u64,
    pub(super) nbf: u64,
    pub(super) exp: u64,
    pub(super) jti: String,
    /// As RFC 9068 has it. Absent: all that the user may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<String>,
}

/// The claims of a token with a good signature, of one of these issuers and for us. Its times are not looked at.
pub(super) fn verified(token: &str, key: &VerifyingKey, issuers: &[&str]) -> Option<Claims> {
    let mut validation = Validation::new(key.algorithm);
    // Times are ours to compare (`Signed::at`): a refusal says by how much they differ.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.set_issuer(issuers);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    let claims = jsonwebtoken::decode::<Claims>(token, &key.key, &validation).ok()?.claims;
    (issuers.contains(&claims.iss.as_str()) && claims.aud == AUDIENCE).then_some(claims)
}

impl Claims {
    /// What they come to; `None` when one of them can't be.
    pub(super) fn into_signed(self) -> Option<Signed> {
        if self.jti.is_empty() {
            return None;
        }
        let user_id = UserId::parse(&self.sub)?;
        let issued_at_ms = i64::try_from(self.iat).ok()?.checked_mul(1000)?;
        let scopes = self.scope.map_or(TokenScopes::All, |claim| TokenScopes::of_claim(&claim));
        let session = SessionId::parse(&self.sid);
        // A name that no session can have would be good for as long as it says.
        if session.is_none() && !is_of_no_session(&self.sid) {
            return None;
        }
        let token = VerifiedToken { user_id, issued_at_ms, session, expires_at_s: self.exp, scopes };
        Some(Signed { token, from: self.nbf.max(self.iat), exp: self.exp })
    }
}

/// Whether a token with this `sid` belongs to no session: a release before sessions drew longer ones than any session has.
fn is_of_no_session(sid: &str) -> bool {
    sid.len() == SID_WITHOUT_SESSION && sid.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
