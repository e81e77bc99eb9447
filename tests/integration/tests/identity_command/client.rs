//! The Rust client where the command doesn't go: ID tokens that a program got by itself, and codes that nobody has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use integration::oidc_issuer::OidcIssuer;
use integration::scripted_upstream::ScriptedUpstream;
use integration::stack::{PASSWORD, Plan, Stack};
use serde_json::json;
use tollgate_client::{Client, ErrorReason, Proof};

use crate::person::Person;

/// Somebody who hasn't signed in.
pub(crate) fn client_of(stack: &Stack) -> Client {
    Client::builder().auth_url(format!("http://{}", stack.auths[0].address())).build().unwrap()
}

#[tokio::test]
async fn an_id_token_signs_in_once_with_its_sign_ins_nonce_and_once_where_it_is_all_there_is() {
    let (upstream, issuer) = (ScriptedUpstream::start().await, OidcIssuer::start().await);
    let issuers = json!([issuer.entry("lab")]).to_string();
    let stack = Plan::with_upstream(&upstream.url()).set("TOLLGATE_OIDC_ISSUERS", &issuers).start().await;
    let anybody = client_of(&stack);
    assert_eq!(anybody.sign_in_issuers().await.unwrap()[0].name, "lab");

    let begun = anybody.begin_sign_in("", "").await.unwrap();
    assert!(begun.authorization_url.is_empty() && !begun.nonce.is_empty(), "nobody is sent anywhere");
    let token = issuer.id_token(json!({ "nonce": begun.nonce }));
    let other = anybody.begin_sign_in("lab", "").await.unwrap();
    let refused = anybody.sign_in(other.with_id_token(&token), "").await.unwrap_err();
    assert_eq!(refused.reason(), Some(ErrorReason::IdTokenInvalid), "it is another sign-in's");
    let first = anybody.sign_in(begun.with_id_token(&token), "a program").await.unwrap();
    assert!(first.created && first.user_name == "ada", "{first:?}");
    let again = anybody.sign_in(begun.with_id_token(&token), "").await.unwrap_err();
    assert!(again.reason().is_some(), "{again}");

    let alone = issuer.id_token(json!({ "jti": "another" }));
    let second = anybody.sign_in(Proof::id_token(&alone), "").await.unwrap();
    assert!(!second.created && second.user_name == "ada", "{second:?}");
    anybody.sign_in(Proof::id_token(&alone), "").await.unwrap_err();
    let sessions = anybody.with_session(second.session).sessions().await.unwrap();
    assert!(sessions.iter().any(|session| session.client == "a program" && session.issuer == issuer.url()), "{sessions:?}");
}

#[tokio::test]
async fn a_call_that_needs_the_second_factor_anew_asks_three_times_at_most_and_is_sent_again_once_it_is_proved() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).set("TOLLGATE_REQUIRE_ADMIN_TOTP", "true").start().await;
    let boss = Person::operator(&stack).await;
    Person::signed_up(&stack, "ada").await;
    let session = client_of(&stack).login("root.admin", PASSWORD).await.unwrap();
    let operator = client_of(&stack).with_session(session);
    let (_, codes) = boss.with_totp().await;

    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let wrong = operator.with_step_up(move || {
        count.fetch_add(1, Ordering::SeqCst);
        async { Some("0000-0000-0000-0000".to_owned()) }
    });
    let refused = wrong.disable_user("ada", "").await.unwrap_err();
    assert_eq!((refused.reason(), asked.load(Ordering::SeqCst)), (Some(ErrorReason::SecondFactorInvalid), 3));
    let refused = operator.with_step_up(async || None).disable_user("ada", "").await.unwrap_err();
    assert_eq!(refused.reason(), Some(ErrorReason::StepUpRequired), "there is no code");

    let code = codes[0].clone();
    let right = operator.with_step_up(move || {
        let code = code.clone();
        async move { Some(code) }
    });
    assert!(right.disable_user("ada", "left").await.unwrap().disabled);
    // It holds for the session, whoever asks by it.
    assert!(!operator.enable_user("ada").await.unwrap().disabled);
}
