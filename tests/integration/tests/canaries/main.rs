//! Secrets are sent through every path, right and wrong, to both services at the level `trace`, and then looked for: in what was logged, in
//! what was answered, and in all that the store has written.

mod account_page;
mod doors;
mod identity;
mod issuers;
mod spray;
mod stage;

use integration::redis_server::RedisServer;
use serde_json::json;

use stage::{PASSWORD, Stage};

async fn every_path(redis: Option<RedisServer>) {
    let mut stage = Stage::start(redis).await;
    let operator = stage.operator().await;
    stage.lives(&operator).await;
    let held = stage.user("bea").await;
    stage.doors(&held).await;
    stage.oauth2(&held).await;
    stage.account_page(&operator).await;
    stage.issuers(&held).await;
    let forged = forge(&held.token);
    stage.note_token(&forged, "a forged token");
    let callers = [operator.token.clone(), held.token.clone(), held.key.clone(), forged, stage.service_credential.clone()];
    let guest = stage.user("gil").await;
    let mut shown_once = stage.second_factor().await.to_vec();
    shown_once.extend([stage.organizations(&held, &guest).await, stage.devices(&held).await]);
    shown_once.extend([stage.begun().await.sign_in, stage.id_token(json!({}))]);
    stage.spray(&[guest.token], &shown_once).await;
    // Last, since a credential in the right field is revoked.
    let texts = [PASSWORD.to_owned(), operator.key.clone(), held.refresh_token.clone()];
    stage.spray(&callers, &texts).await;
    if let Some(redis) = &mut stage.redis {
        redis.kill();
        // The store is away: whatever is said of it says nothing of the call.
        stage.spray(&callers[1..3], &texts[..1]).await;
        stage.oauth2(&held).await;
        stage.account_page_without_store().await;
    }
    stage.look();
}

/// A token with the signature of somebody else.
fn forge(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    format!("{signed}.{}", signature.chars().rev().collect::<String>())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_log_an_answer_or_sqlite_whatever_path_it_went_at_every_level() {
    every_path(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_log_an_answer_or_redis_whatever_path_it_went_also_while_the_store_is_away() {
    every_path(Some(RedisServer::start())).await;
}
