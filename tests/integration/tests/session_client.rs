//! The Rust client in a session: it refreshes by itself, once for all that share it, and says when the session is over.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use integration::lossy_forwarder::{Loss, LossyForwarder};
use integration::polling::{SOON, until};
use integration::reserved_port::ReservedPort;
use integration::scripted_upstream::{Gate, Script, ScriptedUpstream};
use integration::stack::{PASSWORD, Plan, Stack, chat_request};
use tollgate_client::{Client, Error, ErrorReason, Event, Session, on_refresh};

/// A user who has just logged in.
async fn signed_in(stack: &Stack) -> (Client, Session) {
    let client = client(stack);
    client.sign_up("ada", PASSWORD, Default::default()).await.unwrap();
    let session = client.login("ada", PASSWORD).await.unwrap();
    (client, session)
}

fn client(stack: &Stack) -> Client {
    let url = |address| format!("http://{address}");
    Client::new(url(stack.auths[0].address()), url(stack.inferences[0].address())).unwrap()
}

fn ago() -> Option<SystemTime> {
    Some(SystemTime::now() - Duration::from_secs(1))
}

/// The session when four fifths of its token's life are over.
fn due(session: &Session) -> Session {
    Session { refresh_at: ago(), ..session.clone() }
}

/// The session when its token is over.
fn over(session: &Session) -> Session {
    Session { expires_at: ago(), ..due(session) }
}

/// A client in the session, and how often it was refreshed.
fn counted(client: &Client, session: Session) -> (Client, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::default());
    let counting = Arc::clone(&count);
    let seen = on_refresh(move |_| {
        counting.fetch_add(1, Ordering::SeqCst);
    });
    (client.with_stored_session(session, seen), count)
}

/// Sixteen calls at once, of clones in tasks of their own.
async fn sixteen_at_once(client: &Client) {
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let client = client.clone();
        calls.spawn(async move { client.get_me().await });
    }
    for me in calls.join_all().await {
        assert_eq!(me.unwrap().user.unwrap().user_name, "ada");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_calls_at_once_refresh_once_whether_the_token_is_due_over_or_refused() {
    let upstream = ScriptedUpstream::start().await;
    let plan = Plan::with_upstream(&upstream.url()).set("TOLLGATE_ACCESS_TOKEN_TTL", "4s").set("TOLLGATE_CLOCK_LEEWAY", "0s");
    let refusing = plan.start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (anybody, session) = signed_in(&stack).await;

    let (client, refreshed) = counted(&anybody, due(&session));
    sixteen_at_once(&client).await;
    assert_eq!(refreshed.load(Ordering::SeqCst), 1, "ahead of the end");
    let next = client.session().unwrap();
    assert_eq!(next.session_id, session.session_id);
    assert_ne!(next.refresh_token, session.refresh_token);

    let (client, refreshed) = counted(&anybody, over(&next));
    sixteen_at_once(&client).await;
    assert_eq!(refreshed.load(Ordering::SeqCst), 1, "after the end");

    // By this host's clock the token is good for ever; the service says when it isn't.
    let (anybody, session) = signed_in(&refusing).await;
    let fixed = anybody.with_credential(session.access_token.clone());
    until("the token's end", SOON, || async {
        let refused = fixed.get_me().await.err()?;
        assert_eq!(refused.reason(), Some(ErrorReason::CredentialExpired));
        Some(())
    })
    .await;
    let (client, refreshed) = counted(&anybody, Session { refresh_at: None, expires_at: None, ..session });
    client.get_me().await.unwrap();
    assert_eq!(refreshed.load(Ordering::SeqCst), 1, "when it is refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_that_are_refused_together_share_one_refresh() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (anybody, session) = signed_in(&stack).await;
    // Another session's token, which was revoked since: refused at the service, good by this host's clock.
    let other = anybody.login("ada", PASSWORD).await.unwrap();
    anybody.with_session(other.clone()).logout().await.unwrap();
    let (client, refreshed) = counted(&anybody, Session { access_token: other.access_token, refresh_at: None, ..session });
    sixteen_at_once(&client).await;
    assert_eq!(refreshed.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_client_in_a_session_shows_neither_of_its_tokens() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (anybody, session) = signed_in(&stack).await;
    let client = anybody.with_session(session.clone());
    let shown = format!("{client:?} {:?} {:#?}", client.session(), client.with_session(session.clone()));
    assert!(shown.contains(&session.session_id), "{shown}");
    for secret in [session.access_token.expose(), session.refresh_token.as_ref().unwrap().expose()] {
        assert!(!shown.contains(&secret[secret.len() - 12..]), "{shown}");
    }
}

#[tokio::test]
async fn while_the_token_is_good_nobody_refreshes() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (anybody, session) = signed_in(&stack).await;
    let (client, refreshed) = counted(&anybody, session);
    sixteen_at_once(&client).await;
    assert_eq!(refreshed.load(Ordering::SeqCst), 0);
    client.refresh().await.unwrap();
    assert_eq!(refreshed.load(Ordering::SeqCst), 1, "but when it is told to");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_refresh_whose_reply_is_lost_is_repeated_with_the_same_token_and_the_session_lives() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (anybody, session) = signed_in(&stack).await;
    let watching = anybody.with_session(anybody.login("ada", PASSWORD).await.unwrap());
    let used = async |id: &str| {
        let sessions = watching.sessions().await.unwrap();
        sessions.into_iter().find(|session| session.session_id == id).unwrap().last_used_at.unwrap()
    };
    let before = used(&session.session_id).await;
    let forwarder = LossyForwarder::to(stack.auths[0].address()).await;
    let far = Client::builder().auth_url(forwarder.url()).call_timeout(Duration::from_secs(4)).build().unwrap();
    // So that a connection stands which can lose an answer.
    far.with_session(session.clone()).get_me().await.unwrap();
    let (client, refreshed) = counted(&far, session.clone());
    forwarder.lose(Loss::Answers);
    let refreshing = {
        let client = client.clone();
        tokio::spawn(async move { client.refresh().await })
    };
    until("the refresh whose answer is lost", SOON, || async { (used(&session.session_id).await != before).then_some(()) }).await;
    forwarder.lose(Loss::Nothing);
    let renewed = refreshing.await.unwrap().unwrap();
    assert_eq!(renewed.session_id, session.session_id);
    assert_eq!(refreshed.load(Ordering::SeqCst), 1);
    client.refresh().await.unwrap();
    client.get_me().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_caller_who_goes_away_in_the_middle_of_a_refresh_loses_no_session() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (anybody, mut session) = signed_in(&stack).await;
    for after in 0..40 {
        let client = anybody.with_session(over(&session));
        // Given up before, in the middle of, or after the refresh. One lost answer is forgiven by the service, and no other.
        for _ in 0..3 {
            let _ = tokio::time::timeout(Duration::from_micros(after * 100), client.get_me()).await;
        }
        client.get_me().await.unwrap();
        session = client.session().unwrap();
    }
    anybody.with_session(session).refresh().await.unwrap();
}

#[tokio::test]
async fn a_refresh_cuts_no_answer_that_runs() {
    let upstream = ScriptedUpstream::start().await;
    let gate = Gate::new();
    upstream.script("/api/chat", Script::stream().gated_tokens(&gate, &["first", " second"]).done("stop", 5, 2));
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (anybody, session) = signed_in(&stack).await;
    let client = anybody.with_session(session);
    let mut answer = client.chat(chat_request("smollm2", "hi")).await.unwrap();
    gate.open(1);
    let mut said = String::new();
    while said != "first" {
        if let Event::Delta(delta) = answer.next().await.unwrap().unwrap() {
            said.push_str(&delta.content);
        }
    }
    let (one, two) = (client.refresh().await.unwrap(), client.refresh().await.unwrap());
    assert_ne!(one.refresh_token, two.refresh_token);
    gate.open(1);
    let rest = answer.complete().await.unwrap();
    assert_eq!(rest.content, " second");
    assert_eq!(rest.finished.receipt.unwrap().charged_credits, Some(1));
}

#[tokio::test]
async fn a_chat_begins_with_a_token_that_is_refreshed_first_and_keeps_its_request_id() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::chat(&["Hello"]));
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (anybody, session) = signed_in(&stack).await;
    let client = anybody.with_session(over(&session));
    let request = || tollgate_client::proto::inference::ChatRequest { request_id: "order-7".into(), ..chat_request("smollm2", "hi") };
    assert_eq!(client.chat(request()).await.unwrap().complete().await.unwrap().content, "Hello");
    client.logout().await.unwrap();
    let refused = client.chat(request()).await.unwrap_err();
    assert!(matches!(refused, Error::SessionEnded(_)), "{refused:?}");
    assert_eq!(refused.request_id(), Some("order-7"));
}

#[tokio::test]
async fn what_ends_a_session_is_an_error_of_its_own_kind_with_the_reason_and_no_more_calls_are_made() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (anybody, session) = signed_in(&stack).await;
    let admin = anybody.login("root.admin", PASSWORD);
    let operator = {
        stack.admin_token().await;
        anybody.with_session(admin.await.unwrap())
    };
    let ended = async |client: &Client| {
        let error = client.get_me().await.unwrap_err();
        assert!(matches!(error, Error::SessionEnded(_)), "{error:?}");
        assert!(!error.is_retryable());
        error.reason().unwrap()
    };
    let log_in = async || anybody.with_session(anybody.login("ada", PASSWORD).await.unwrap());

    // Somebody else has used the token: two rotations on, it is neither the current nor the last one.
    let (mine, thiefs) = (anybody.with_session(session.clone()), anybody.with_session(over(&session)));
    mine.refresh().await.unwrap();
    mine.refresh().await.unwrap();
    assert_eq!(ended(&thiefs).await, ErrorReason::RefreshTokenReused);
    assert_eq!(ended(&mine).await, ErrorReason::CredentialRevoked);

    let (one, other) = (log_in().await, log_in().await);
    other.revoke_session(&one.session().unwrap().session_id).await.unwrap();
    assert_eq!(ended(&one).await, ErrorReason::CredentialRevoked);

    let one = log_in().await;
    assert!(other.change_password(PASSWORD, "another pass phrase of mine").await.unwrap() >= 1);
    assert_eq!(ended(&one).await, ErrorReason::CredentialRevoked);
    other.get_me().await.unwrap();
    other.change_password("another pass phrase of mine", "and yet another pass phrase").await.unwrap();

    assert!(other.logout_everywhere().await.unwrap() >= 1);
    assert_eq!(ended(&other).await, ErrorReason::CredentialRevoked);

    let one = anybody.with_session(anybody.login("ada", "and yet another pass phrase").await.unwrap());
    let due = anybody.with_session(over(&one.session().unwrap()));
    operator.disable_user("ada", "left").await.unwrap();
    assert_eq!(ended(&due).await, ErrorReason::UserDisabled);
}

#[tokio::test]
async fn while_the_service_is_away_the_token_is_used_to_its_end_and_asked_for_once() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (_, session) = signed_in(&stack).await;
    let nobody = ReservedPort::new();
    let inference = format!("http://{}", stack.inferences[0].address());
    let cut_off = Client::new(format!("http://{}", nobody.address()), inference).unwrap();

    let client = cut_off.with_session(due(&session));
    assert_eq!(client.list_models().await.unwrap().len(), 1, "the token is still good");
    let client = cut_off.with_session(over(&session));
    let failed = client.list_models().await.unwrap_err();
    assert!(matches!(failed, Error::Unreachable { .. }) && failed.is_retryable(), "{failed:?}");
    let failed = client.chat(chat_request("smollm2", "hi")).await.unwrap_err();
    assert!(failed.request_id().is_some(), "{failed:?}");

    // It was not used up.
    let client = self::client(&stack).with_session(over(&session));
    client.get_me().await.unwrap();
}

#[tokio::test]
async fn an_observer_is_shown_each_new_refresh_token_and_the_last_one_continues_the_session() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (anybody, session) = signed_in(&stack).await;
    let seen: Arc<Mutex<Vec<Session>>> = Arc::default();
    let shown = Arc::clone(&seen);
    let client = anybody.with_stored_session(session.clone(), on_refresh(move |session| shown.lock().unwrap().push(session.clone())));
    for _ in 0..3 {
        client.refresh().await.unwrap();
    }
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|each| each.session_id == session.session_id));
    let continued = anybody.with_session(over(&seen[2]));
    continued.get_me().await.unwrap();
    // Whoever has only the tokens before has none.
    let refused = anybody.with_session(over(&seen[0])).get_me().await.unwrap_err();
    assert_eq!(refused.reason(), Some(ErrorReason::RefreshTokenReused));
}
