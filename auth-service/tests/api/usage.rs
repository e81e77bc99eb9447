//! `Accounts.GetUsage`: what an account's calls used, over gRPC and over JSON.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;

use auth_service::ids::AccountId;
use auth_service::store::Checkpoint;
use auth_service::usage::Day;
use serde_json::json;
use shared::ErrorReason;
use shared::proto::auth as pb;
use tonic::Code;

use crate::http::http;
use crate::support::*;

async fn usage(server: &mut Server, credential: &str, first: &str, last: &str) -> Result<pb::GetUsageResponse, tonic::Status> {
    let request = pb::GetUsageRequest { first_day: first.into(), last_day: last.into(), ..Default::default() };
    Ok(server.accounts.get_usage(with(credential, request)).await?.into_inner())
}

/// Makes a call of so many tokens, and pays for it.
async fn call(server: &mut Server, key: &str, request_id: &str, model: &str, (input, output): (u32, u32)) {
    let held = grant(server.check(pb::CheckRequest { model: model.into(), ..chat(key, request_id) }).await.unwrap());
    let usage = pb::TokenUsage { input_tokens: Some(input), output_tokens: Some(output), estimated: false };
    let settle = pb::SettleRequest { hold: held.hold, outcome: pb::Outcome::Completed.into(), usage: Some(usage) };
    server.settle(settle).await.unwrap();
}

/// Today, by the clock that stamped what was done last.
async fn today(server: &mut Server, credential: &str) -> String {
    usage(server, credential, "", "").await.unwrap().last_day
}

#[tokio::test]
async fn calls_are_summed_by_day_and_model_for_whoever_may_read_the_account_and_the_same_in_json() {
    let mut server = start().await;
    let token = server.user("mario").await;
    let key = server.key(&token, pb::CreateApiKeyRequest::default()).await.key;
    let before = today(&mut server, &token).await;
    for (number, (model, tokens)) in [("tiny", (10, 20)), ("tiny", (1, 2)), ("other", (5, 5))].into_iter().enumerate() {
        call(&mut server, &key, &format!("r{number}"), model, tokens).await;
    }
    let used = usage(&mut server, &key, "", "").await.unwrap();
    let after = today(&mut server, &token).await;
    let mut by_model = BTreeMap::<&str, (i64, i64, i64, i64)>::new();
    for row in &used.rows {
        assert!(row.day == before || row.day == after, "{row:?}");
        let sum = by_model.entry(&row.model).or_default();
        *sum = (sum.0 + row.calls(), sum.1 + row.input_tokens(), sum.2 + row.output_tokens(), sum.3 + row.charged_credits());
    }
    assert_eq!(by_model, BTreeMap::from([("other", (1, 5, 5, 1)), ("tiny", (2, 11, 22, 2))]));
    assert_eq!(used.complete_from_day, used.first_day);
    let me = server.accounts.get_me(with(&token, pb::GetMeRequest {})).await.unwrap().into_inner();
    assert_eq!(used.account_id, me.account_id);
    assert_eq!(Day::parse(&used.last_day).unwrap(), Day::parse(&used.first_day).unwrap().plus(29));

    let bearer = format!("Bearer {token}");
    let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
    let body = json!({ "firstDay": used.first_day, "lastDay": used.last_day }).to_string();
    let reply = http(server.address, "POST /tollgate.auth.v1.Accounts/GetUsage", &headers, &body).await;
    let told = reply.json();
    assert_eq!((reply.status, told["completeFromDay"].as_str()), (200, Some(used.first_day.as_str())), "{}", reply.body);
    let row = told["rows"].as_array().unwrap().iter().find(|row| row["model"] == "other").unwrap().clone();
    let expected =
        json!({ "model": "other", "calls": "1", "inputTokens": "5", "outputTokens": "5", "chargedCredits": "1", "day": row["day"] });
    assert_eq!(row, expected);
    // Nothing of somebody else's.
    let luigi = server.user("luigi").await;
    assert!(usage(&mut server, &luigi, "", "").await.unwrap().rows.is_empty());
}

#[tokio::test]
async fn usage_needs_the_scope_account_and_days_of_the_calendar_in_their_order_and_at_most_ninety_two() {
    let mut server = start().await;
    let token = server.user("mario").await;
    let chat_only = server.key(&token, pb::CreateApiKeyRequest { scopes: vec!["chat".into()], ..Default::default() }).await.key;
    assert_refused(usage(&mut server, &chat_only, "", "").await, Code::PermissionDenied, ErrorReason::ScopeRequired);
    assert_refused(usage(&mut server, "nonsense", "", "").await, Code::Unauthenticated, ErrorReason::CredentialInvalid);
    for (first, last, fields) in [
        ("yesterday", "2026-02-30", &["first_day", "last_day"][..]),
        ("", "2026-1-1", &["last_day"]),
        ("2026-01-02", "2026-01-01", &["first_day"]),
        ("9999-01-01", "", &["first_day"]),
        ("2026-01-01", "2026-04-03", &["first_day"]),
        ("1970-01-01", "9999-12-31", &["first_day"]),
    ] {
        let refused = usage(&mut server, &token, first, last).await;
        let status = assert_refused(refused, Code::InvalidArgument, ErrorReason::InvalidArgument);
        let violated: Vec<String> = shared::error::violations_of(&status).into_iter().map(|(field, _)| field).collect();
        assert_eq!(violated, fields, "{first} {last}");
    }
    for (first, last) in [("2026-01-01", "2026-04-02"), ("1970-01-01", "1970-01-01"), ("", "1970-01-01"), ("", "9999-12-31")] {
        let used = usage(&mut server, &token, first, last).await.unwrap();
        assert!(used.rows.is_empty() && used.last_day == last && used.complete_from_day == used.first_day, "{used:?}");
    }
}

#[tokio::test]
async fn entries_that_an_export_folded_say_from_which_day_on_usage_is_whole() {
    let mut server = start().await;
    let token = server.user("mario").await;
    let key = server.key(&token, pb::CreateApiKeyRequest::default()).await.key;
    for number in 0..3 {
        call(&mut server, &key, &format!("r{number}"), "tiny", (1, 1)).await;
    }
    let account = AccountId::parse(&usage(&mut server, &token, "", "").await.unwrap().account_id).unwrap();
    let part = server.store.oldest_entries(&account, 0, 3).await.unwrap();
    let folded = Checkpoint::fold(None, &part.entries).unwrap().unwrap();
    assert!(server.store.fold_ledger(&account, 1, folded).await.unwrap());
    let used = usage(&mut server, &token, "", "").await.unwrap();
    let calls: i64 = used.rows.iter().map(pb::UsageRow::calls).sum();
    assert_eq!(calls, 1, "the grant and two calls are folded: {used:?}");
    assert_eq!(used.complete_from_day, Day::of_ms(folded.at_ms).plus(1).to_string());
    let earlier = usage(&mut server, &token, "2026-01-01", "2026-01-31").await.unwrap();
    assert_eq!(earlier.complete_from_day, "2026-02-01", "nothing of then is there");
}
