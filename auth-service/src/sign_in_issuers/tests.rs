//! When what an issuer says of itself is read again, and what counts meanwhile.

use std::sync::Arc;

use serde_json::json;
use shared::secret::Secret;

use super::oidc_issuer::{OidcIssuer, Trouble};
use super::*;
use crate::access_token::SigningSecret;

const HOUR: Duration = Duration::from_secs(3600);

fn issuers(issuer: &OidcIssuer, times: ProviderTimes) -> Arc<SignInIssuers> {
    let secret = SigningSecret { kid: "1".to_owned(), secret: Secret::generate().unwrap().0 };
    let tokens = AccessTokens::new(&[secret], HOUR, Duration::ZERO).unwrap();
    let config = SignInIssuerConfig {
        name: "one".to_owned(),
        issuer: issuer.url(),
        client_id: super::oidc_issuer::CLIENT_ID.to_owned(),
        client_secret: None,
        scopes: vec!["openid".to_owned()],
    };
    Arc::new(SignInIssuers::with_times(vec![config], &tokens, Duration::ZERO, times).unwrap())
}

/// Nothing is kept, and everything may be read at once.
const AT_ONCE: ProviderTimes = ProviderTimes {
    between_unknown: Duration::ZERO,
    retry: Duration::ZERO,
    keep: (Duration::ZERO, Duration::ZERO),
    keep_unsaid: HOUR,
    use_for: HOUR,
    read: Duration::from_secs(5),
    wait: Duration::from_secs(6),
};

async fn prove(issuers: &SignInIssuers, id_token: &str) -> Result<ProvedPerson, ProofError> {
    issuers.prove(Proof::IdToken { sign_in: "", id_token }, None, None).await
}

#[tokio::test]
async fn what_an_issuer_says_is_kept_as_its_server_says_within_bounds() {
    let reads = async |cache_control: &str, times: ProviderTimes| {
        let issuer = OidcIssuer::start().await;
        issuer.behaviour().cache_control = cache_control.to_owned();
        let issuers = issuers(&issuer, times);
        for _ in 0..3 {
            prove(&issuers, &issuer.id_token(json!({}))).await.unwrap();
        }
        issuer.requests("/jwks")
    };
    let bounded = ProviderTimes { keep: (Duration::ZERO, HOUR), ..AT_ONCE };
    assert_eq!(reads("max-age=3600", bounded).await, 1);
    assert_eq!(reads("no-store", bounded).await, 3);
    assert_eq!(reads("max-age=0", bounded).await, 3);
    assert_eq!(reads("", bounded).await, 1, "nothing is said");
    assert_eq!(reads("no-store", ProviderTimes { keep: (HOUR, HOUR), ..AT_ONCE }).await, 1, "the least");
    assert_eq!(reads("max-age=99999999", AT_ONCE).await, 3, "the most");
}

#[tokio::test]
async fn while_an_issuer_is_down_what_was_read_last_counts_for_a_time_and_not_for_ever() {
    let issuer = OidcIssuer::start().await;
    let kept = issuers(&issuer, AT_ONCE);
    let forgotten = issuers(&issuer, ProviderTimes { use_for: Duration::ZERO, ..AT_ONCE });
    for issuers in [&kept, &forgotten] {
        prove(issuers, &issuer.id_token(json!({}))).await.unwrap();
    }
    issuer.trouble("*", Some(Trouble::Status("503 Service Unavailable".to_owned())));
    prove(&kept, &issuer.id_token(json!({}))).await.unwrap();
    let refused = prove(&forgotten, &issuer.id_token(json!({}))).await;
    assert!(matches!(refused, Err(ProofError::IssuerUnavailable { .. })), "{refused:?}");
    issuer.trouble("*", None);
    prove(&forgotten, &issuer.id_token(json!({}))).await.unwrap();
}

#[tokio::test]
async fn an_issuer_that_is_slow_in_each_of_two_steps_has_one_time_for_both_and_is_not_asked_again_at_once_for_whoever_comes_next() {
    let issuer = OidcIssuer::start().await;
    let times = ProviderTimes { retry: HOUR, read: Duration::from_millis(1500), wait: HOUR, ..AT_ONCE };
    let issuers = issuers(&issuer, times);
    // Each by itself is in time.
    for path in ["/.well-known/openid-configuration", "/jwks"] {
        issuer.trouble(path, Some(Trouble::Late(Duration::from_millis(1000))));
    }
    let refused = prove(&issuers, &issuer.id_token(json!({}))).await;
    assert!(matches!(refused, Err(ProofError::IssuerUnavailable { .. })), "{refused:?}");
    // It would answer at once by now, and nobody asks it.
    for path in ["/.well-known/openid-configuration", "/jwks"] {
        issuer.trouble(path, None);
    }
    let asked = issuer.requests("*");
    for _ in 0..3 {
        let refused = prove(&issuers, &issuer.id_token(json!({}))).await;
        assert!(matches!(refused, Err(ProofError::IssuerUnavailable { .. })), "{refused:?}");
    }
    assert_eq!(issuer.requests("*"), asked);
    let usual = ProviderTimes::default();
    assert!(
        usual.read < usual.wait && usual.wait < usual.retry,
        "who waits for a read learns that it failed, and so do those who come then"
    );
}

#[tokio::test]
async fn a_key_that_was_taken_back_verifies_nothing_once_the_keys_were_read_again() {
    let issuer = OidcIssuer::start().await;
    let issuers = issuers(&issuer, AT_ONCE);
    let before = issuer.id_token(json!({}));
    issuer.rotate("key-2", false);
    assert!(matches!(prove(&issuers, &before).await, Err(ProofError::Invalid(_))));
    prove(&issuers, &issuer.id_token(json!({}))).await.unwrap();
}

#[tokio::test]
async fn a_sign_in_past_its_time_proves_nothing() {
    let issuer = OidcIssuer::start().await;
    let issuers = issuers(&issuer, AT_ONCE);
    let begun = issuers.begin("one", "", BegunFor::Holder).await.unwrap();
    let pending = issuers.pending(&begun.sign_in).unwrap();
    let over = PendingSignIn { ends_at_s: unix_seconds(), ..pending };
    let sign_in = issuers.sealer.seal(&over).unwrap();
    assert!(matches!(issuers.pending(&sign_in), Err(ProofError::SignInExpired)));
    let id_token = issuer.id_token(json!({ "nonce": begun.nonce }));
    let late = issuers.prove(Proof::IdToken { sign_in: &sign_in, id_token: &id_token }, None, None).await;
    assert!(matches!(late, Err(ProofError::SignInExpired)), "{late:?}");
    let proved = issuers.prove(Proof::IdToken { sign_in: &begun.sign_in, id_token: &id_token }, None, None).await.unwrap();
    // Its proof is known for longer than the sign-in could be shown.
    let life_ms = i64::try_from(SIGN_IN_LIFE.as_millis()).unwrap();
    assert!(proved.identity.proof.ends_at_ms > i64::try_from(unix_seconds() * 1000).unwrap() + life_ms);
}

#[tokio::test]
async fn a_proof_without_a_sign_in_is_known_for_longer_than_its_token_is_taken_however_long_that_says_it_is_good() {
    let issuer = OidcIssuer::start().await;
    let issuers = issuers(&issuer, AT_ONCE);
    let now = unix_seconds();
    let ends = async |changes| prove(&issuers, &issuer.id_token(changes)).await.unwrap().identity.proof.ends_at_ms;
    let hour = ends(json!({ "exp": now + 3600 })).await;
    assert!(hour > i64::try_from((now + 3600) * 1000).unwrap());
    let years = ends(json!({ "exp": now + 10 * 365 * 86_400 })).await;
    let day = i64::try_from((now + OLDEST_TOKEN.as_secs()) * 1000).unwrap();
    assert!((day..day + 3_600_000).contains(&years), "a token is taken for a day after its time of issue at most");
}
