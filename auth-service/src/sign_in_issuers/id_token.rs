//! What an ID token must be. `openidconnect` verifies its header, its signature, its issuer, its audience, its end and its nonce; what it
//! leaves to us is here.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::{CoreGenderClaim, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm};
use openidconnect::{
    AdditionalClaims, ClaimsVerificationError, ClientId, IdToken, IdTokenClaims, IdTokenVerifier, IssuerUrl, JsonWebKeySet, Nonce,
    SignatureVerificationError,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{OLDEST_TOKEN, ProofError, is_same, unix_seconds};

/// What our nonces begin with. A token that has one belongs to a sign-in, and is good with that alone.
pub(super) const NONCE_PREFIX: &str = "tgn_";
/// Longer tokens aren't read.
const MOST_CHARACTERS: usize = 12 * 1024;
/// Bytes of a subject (OpenID Connect Core, section 2).
const MOST_OF_SUBJECT: usize = 255;

/// Claims that the library doesn't know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct MoreClaims {
    /// From when on it counts.
    nbf: Option<f64>,
    /// What a log-out token has (OpenID Connect Back-Channel Logout), which is of the same issuer, for the same client, and no ID token.
    events: Option<Value>,
}

impl AdditionalClaims for MoreClaims {}

pub(super) type OurIdToken = IdToken<MoreClaims, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;
type OurClaims = IdTokenClaims<MoreClaims, CoreGenderClaim>;

/// What the nonce must be.
#[derive(Debug, Clone, Copy)]
pub(super) enum NonceRule<'a> {
    /// This one.
    Is(&'a str),
    /// None, or one that isn't ours.
    NoneOfOurs,
}

/// What an issuer says of a person. It decides nothing; users are shown it, and a new user's name is made from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PersonClaims {
    /// May be empty.
    pub preferred_username: String,
    /// May be empty.
    pub full_name: String,
    /// May be empty, and anything.
    pub email: String,
}

/// A good ID token.
#[derive(Debug, Clone)]
pub(super) struct Verified {
    pub(super) subject: String,
    pub(super) person: PersonClaims,
    pub(super) issued_at_s: u64,
    pub(super) expires_at_s: u64,
}

/// Why a token is no good one.
#[derive(Debug)]
pub(super) enum Unfit {
    /// The issuer may have published its key since.
    NoSuchKey,
    /// It is not good, whatever keys there are.
    Refused(ProofError),
}

impl Unfit {
    fn because(why: &'static str) -> Self {
        Self::Refused(ProofError::Invalid(why))
    }
}

/// Whom a token must be from and for.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a IssuerUrl,
    pub(super) client_id: &'a ClientId,
    pub(super) keys: &'a JsonWebKeySet<CoreJsonWebKey>,
    /// What the issuer signs with; none of them symmetric.
    pub(super) algorithms: &'a [CoreJwsSigningAlgorithm],
    pub(super) leeway: Duration,
}

pub(super) fn parse(text: &str) -> Result<OurIdToken, ProofError> {
    if text.len() > MOST_CHARACTERS {
        return Err(ProofError::Invalid("the ID token is too long"));
    }
    text.parse().map_err(|_| ProofError::Invalid("this is no ID token, or one with a claim that is not as it must be"))
}

/// Verifies a token.
pub(super) fn verify(token: &OurIdToken, expected: &Expected<'_>, nonce: NonceRule<'_>) -> Result<Verified, Unfit> {
    let now = i64::try_from(unix_seconds()).unwrap_or(i64::MAX);
    let leeway = i64::try_from(expected.leeway.as_secs()).unwrap_or(i64::MAX);
    let (issuer, client_id) = (expected.issuer.clone(), expected.client_id.clone());
    // A public client's: no secret is ever taken for a key, whatever a token says.
    let verifier = IdTokenVerifier::new_public_client(client_id, issuer, expected.keys.clone())
        .set_allowed_algs(expected.algorithms.iter().cloned())
        .set_issue_time_verifier_fn(move |issued| {
            if issued.timestamp() > now.saturating_add(leeway) { Err("it was issued in the future".to_owned()) } else { Ok(()) }
        });
    let nonce_rule = |found: Option<&Nonce>| {
        let is_right = match (nonce, found) {
            (NonceRule::Is(expected), Some(found)) => is_same(found.secret(), expected),
            (NonceRule::Is(_), None) => false,
            (NonceRule::NoneOfOurs, found) => !found.is_some_and(|found| found.secret().starts_with(NONCE_PREFIX)),
        };
        if is_right { Ok(()) } else { Err("another nonce".to_owned()) }
    };
    let claims = token.claims(&verifier, nonce_rule).map_err(unfit)?;
    judge_the_rest(claims, expected, nonce, now, leeway)
}

/// What the library leaves to us: who was authorized, when it begins, and what kind of token it is.
fn judge_the_rest(claims: &OurClaims, expected: &Expected<'_>, nonce: NonceRule<'_>, now: i64, leeway: i64) -> Result<Verified, Unfit> {
    if claims.authorized_party().is_some_and(|party| party != expected.client_id) {
        return Err(Unfit::because("the ID token was made for another client (azp)"));
    }
    let more = claims.additional_claims();
    #[expect(clippy::cast_precision_loss, reason = "a time in seconds")]
    if more.nbf.is_some_and(|nbf| nbf > now.saturating_add(leeway) as f64) {
        return Err(Unfit::because("the ID token is not valid yet"));
    }
    if more.events.is_some() {
        return Err(Unfit::because("this is a log-out token, and no ID token"));
    }
    let (issued, expires) = (claims.issue_time().timestamp(), claims.expiration().timestamp());
    let oldest = i64::try_from(OLDEST_TOKEN.as_secs()).unwrap_or(i64::MAX);
    if matches!(nonce, NonceRule::NoneOfOurs) && issued < now.saturating_sub(oldest) {
        return Err(Unfit::because("the ID token was issued more than 24 hours ago"));
    }
    let subject = claims.subject().as_str();
    if !(1..=MOST_OF_SUBJECT).contains(&subject.len()) || subject.chars().any(char::is_control) {
        return Err(Unfit::because("the ID token's subject is empty, too long, or has control characters"));
    }
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let person = PersonClaims {
        preferred_username: text(claims.preferred_username().map(|name| name.as_str())),
        full_name: text(claims.name().and_then(|name| name.get(None)).map(|name| name.as_str())),
        email: text(claims.email().map(|email| email.as_str())),
    };
    let seconds = |seconds: i64| u64::try_from(seconds).unwrap_or_default();
    Ok(Verified { subject: subject.to_owned(), person, issued_at_s: seconds(issued), expires_at_s: seconds(expires) })
}

/// What the library says, without repeating what the token says.
fn unfit(error: ClaimsVerificationError) -> Unfit {
    Unfit::because(match error {
        ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey) => return Unfit::NoSuchKey,
        ClaimsVerificationError::SignatureVerification(
            SignatureVerificationError::NoSignature
            | SignatureVerificationError::DisallowedAlg(_)
            | SignatureVerificationError::UnsupportedAlg(_),
        ) => "the ID token is not signed as its issuer signs",
        ClaimsVerificationError::SignatureVerification(_) => "the ID token's signature is not its issuer's",
        ClaimsVerificationError::Expired(_) => "the ID token is past its time, or not valid yet",
        ClaimsVerificationError::InvalidAudience(_) => "the ID token is for another client, or for others too",
        ClaimsVerificationError::InvalidIssuer(_) => "the ID token is of another issuer",
        ClaimsVerificationError::InvalidNonce(_) => "the ID token's nonce is not that of the sign-in",
        _ => "this is no ID token that can be used here",
    })
}

/// The issuer and the audiences that a token claims. Nothing is verified.
pub(super) fn claimed_issuer(token: &str) -> Option<(String, Vec<String>)> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Some(Vec<String>),
    }
    #[derive(Deserialize)]
    struct Claimed {
        iss: String,
        aud: Audience,
    }
    if token.len() > MOST_CHARACTERS {
        return None;
    }
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let Claimed { iss, aud } = serde_json::from_slice(&payload).ok()?;
    Some((
        iss,
        match aud {
            Audience::One(one) => vec![one],
            Audience::Some(some) => some,
        },
    ))
}
