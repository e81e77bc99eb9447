//! Logins and sign-ups of many, of attackers, and behind a proxy.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use shared::ErrorReason;
use shared::error::reason_of;
use shared::proto::auth as pb;
use shared::proto::auth::accounts_client::AccountsClient;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::support::*;

/// How each of many logins at once ended; `None`: it succeeded.
async fn at_once(
    accounts: &AccountsClient<Channel>,
    logins: impl IntoIterator<Item = (String, String)>,
) -> HashMap<Option<ErrorReason>, usize> {
    let running: Vec<_> = logins
        .into_iter()
        .map(|(user_name, password)| {
            let mut accounts = accounts.clone();
            tokio::spawn(async move { accounts.login(pb::LoginRequest { user_name, password, ..Default::default() }).await })
        })
        .collect();
    let mut ended = HashMap::new();
    for login in running {
        let reason = login.await.unwrap().err().map(|status| reason_of(&status).unwrap());
        *ended.entry(reason).or_default() += 1;
    }
    ended
}

/// Guesses that came late enough to be compared too, at the most: one a second after the free ones, one two seconds after that, and so on;
/// and one for each failure that is forgotten, which happens every half minute.
fn later(began: Instant) -> usize {
    let seconds = began.elapsed().as_secs();
    (seconds + 1).ilog2() as usize + usize::try_from(seconds / 30).unwrap()
}

#[tokio::test]
async fn right_logins_of_one_user_at_once_all_succeed() {
    let mut server = start().await;
    server.sign_up("mario").await;
    for count in [12, 30] {
        let logins = (0..count).map(|_| ("mario".to_owned(), PASSWORD.to_owned()));
        assert_eq!(at_once(&server.accounts, logins).await, HashMap::from([(None, count)]));
    }
}

#[tokio::test]
async fn of_a_thousand_guesses_at_once_five_are_compared() {
    let mut server = start().await;
    server.sign_up("mario").await;
    let guesses = (0..1000).map(|number| ("mario".to_owned(), format!("a wrong guess, number {number}")));
    let began = Instant::now();
    let ended = at_once(&server.accounts, guesses).await;
    let of = |reason| ended.get(&Some(reason)).copied().unwrap_or_default();
    let (compared, put_off) = (of(ErrorReason::LoginFailed), of(ErrorReason::RateLimited));
    assert!(compared + put_off == 1000 && (5..=5 + later(began)).contains(&compared), "{ended:?}");
}

#[tokio::test]
async fn many_names_with_one_password_each_are_stopped_at_thirty() {
    let server = start().await;
    let stuffed = (0..200).map(|number| (format!("user{number}"), "a password that leaked elsewhere".to_owned()));
    let began = Instant::now();
    let ended = at_once(&server.accounts, stuffed).await;
    let compared = ended.get(&Some(ErrorReason::LoginFailed)).copied().unwrap_or_default();
    assert!((30..=30 + later(began)).contains(&compared), "{ended:?}");
    let mut elsewhere = server.accounts_from(IpAddr::from([127, 0, 0, 2])).await;
    let login = pb::LoginRequest { user_name: "user0".into(), password: "another".into(), ..Default::default() };
    assert_refused(elsewhere.login(login).await, Code::Unauthenticated, ErrorReason::LoginFailed);
}

#[tokio::test]
async fn a_flood_of_wrong_logins_from_one_address_keeps_no_known_user_out() {
    let mut server = start().await;
    server.user("mario").await;
    for number in 0..30 {
        let guess = server.try_login(&format!("user{number}"), "a wrong password").await;
        assert_refused(guess, Code::Unauthenticated, ErrorReason::LoginFailed);
    }
    // As in the attack: the flood goes on, and the rightful user comes in between.
    for number in 30..50 {
        let _refused = server.try_login(&format!("user{number}"), "a wrong password").await;
        server.login("mario").await;
    }
    // One of them may be compared, when its time has come.
    let mut guesses = JoinSet::new();
    for number in 0..5 {
        let (mut accounts, user_name) = (server.accounts.clone(), format!("luigi{number}"));
        let guess = pb::LoginRequest { user_name, password: "a wrong password".into(), ..Default::default() };
        guesses.spawn(async move { accounts.login(guess).await });
    }
    let refused = guesses.join_all().await.into_iter().filter(|guess| {
        let reason = reason_of(guess.as_ref().unwrap_err());
        assert!(matches!(reason, Some(ErrorReason::LoginFailed | ErrorReason::RateLimited)), "{guess:?}");
        reason == Some(ErrorReason::RateLimited)
    });
    assert!(refused.count() >= 4);
}

#[tokio::test]
async fn a_script_with_an_old_password_locks_nobody_out() {
    let mut server = start().await;
    server.sign_up("mario").await;
    for _ in 0..40 {
        let reason = reason_of(&server.try_login("mario", "the password of last year").await.unwrap_err()).unwrap();
        assert!(matches!(reason, ErrorReason::LoginFailed | ErrorReason::RateLimited), "{reason:?}");
    }
    server.login("mario").await;
}

#[tokio::test]
async fn sign_up_on_loopback_is_closed_to_callers_behind_a_proxy_unless_it_is_open_expressly() {
    let behind_a_proxy = |name: &str, header: &'static str| {
        let message = pb::SignUpRequest { user_name: name.into(), password: PASSWORD.into(), ..Default::default() };
        let mut request = Request::new(message);
        request.metadata_mut().insert(header, "192.0.2.7".parse().unwrap());
        request
    };
    let mut server = start().await;
    for header in ["x-forwarded-for", "x-real-ip", "forwarded", "via"] {
        let refused = server.accounts.sign_up(behind_a_proxy("mario", header)).await;
        assert_refused(refused, Code::PermissionDenied, ErrorReason::SignUpClosed);
    }
    server.sign_up("mario").await;
    let mut open = start_with(&[("TOLLGATE_SIGNUP", "open")]).await;
    open.accounts.sign_up(behind_a_proxy("mario", "x-forwarded-for")).await.unwrap();
}
