use shared::ErrorReason;

use super::*;
use crate::session::SignInMethod;
use crate::store::{AuditAction, Revoked, Scope};
use crate::user_state::test_user::{LIMITS, NOW_MS, id, state};

const SECOND_MS: i64 = 1000;

fn device(state: DeviceState) -> DeviceSignIn {
    let DeviceStart::Begun(sign_in) = on_begin(&new_device(), 0, None, NOW_MS) else { panic!("full") };
    DeviceSignIn { state, ..sign_in }
}

fn new_device() -> NewDeviceSignIn {
    NewDeviceSignIn {
        user_code: UserCode::parse("BCDF-GHJK").unwrap(),
        device_hash: [9; 32],
        client: "a notebook".to_owned(),
        address: Some("192.0.2.7".parse().unwrap()),
        scopes: TokenScopes::Only(vec![Scope::Account]),
    }
}

fn new_session(number: usize) -> NewSession {
    NewSession {
        session_id: id(number),
        family_hash: [7; 32],
        token_hash: [1; 32],
        client: "curl".to_owned(),
        address: None,
        method: SignInMethod::Password,
        scopes: TokenScopes::All,
    }
}

fn event() -> AuditEvent {
    AuditEvent::new(AuditAction::DeviceSignIn)
}

/// A user with session 1.
fn ada() -> UserState {
    let mut ada = state(Vec::new());
    let begun = session::begin(&ada, &new_session(1), LIMITS, NOW_MS, &event(), UserChanges::default());
    let SessionStart::Begun(session) = begun.answer else { panic!("refused") };
    ada.sessions.push(session);
    ada
}

fn approved() -> DeviceSignIn {
    let approval = on_answer(Some(&device(DeviceState::Open)), &ada(), &id(1), true, NOW_MS, &event());
    assert_eq!(approval.answer, Ok(()));
    approval.sign_in.unwrap()
}

fn exchange(sign_in: &DeviceSignIn, user: &UserState, now_ms: i64) -> DeviceDecision<DeviceExchange> {
    on_exchange(Some(sign_in), user, &new_session(2), LIMITS, now_ms, &event())
}

#[test]
fn ten_thousand_are_kept_and_the_next_waits_until_the_first_is_over() {
    assert!(matches!(on_begin(&new_device(), MAX_OPEN - 1, Some(NOW_MS + 1), NOW_MS), DeviceStart::Begun(_)));
    for (first, wait) in [(Some(NOW_MS + 7_000), 7_000), (None, 0), (Some(NOW_MS - 1), 0), (Some(i64::MAX), 600_000)] {
        let retry_after = Duration::from_millis(wait);
        assert_eq!(on_begin(&new_device(), MAX_OPEN, first, NOW_MS), DeviceStart::Full { retry_after }, "{first:?}");
    }
}

#[test]
fn a_question_that_comes_too_early_makes_all_later_ones_wait_five_seconds_longer() {
    let mut sign_in = device(DeviceState::Open);
    let mut now_ms = NOW_MS;
    let mut ask = |after_ms: i64| {
        now_ms += after_ms;
        let (answer, next) = on_question(&sign_in, now_ms);
        sign_in = next.unwrap_or_else(|| sign_in.clone());
        match answer {
            DeviceQuestion::Pending { wait } => (true, wait.as_secs()),
            DeviceQuestion::TooEarly { wait } => (false, wait.as_secs()),
            other => panic!("{other:?}"),
        }
    };
    let seconds = SECOND_MS;
    // The first may come at once; a way of its own may bring one a little early.
    assert_eq!([ask(0), ask(5 * seconds), ask(4 * seconds)], [(true, 5), (true, 5), (true, 5)]);
    assert_eq!([ask(4 * seconds - 1), ask(5 * seconds), ask(15 * seconds)], [(false, 10), (false, 15), (true, 15)]);
    // A clock that went back keeps nobody waiting.
    assert_eq!(ask(-3600 * seconds), (true, 15));
    assert_eq!((0..200).map(|_| ask(0)).last(), Some((false, LIFE.as_secs())));
}

#[test]
fn a_device_that_asks_without_end_has_no_more_written_than_one_that_asks_when_it_may_and_gets_its_session_all_the_same() {
    let writes_of = |every_ms: i64| {
        let mut sign_in = device(DeviceState::Open);
        let mut writes = 0;
        for now_ms in (NOW_MS..NOW_MS + 599_999).step_by(usize::try_from(every_ms).unwrap()) {
            if let (_, Some(next)) = on_question(&sign_in, now_ms) {
                (sign_in, writes) = (next, writes + 1);
            }
        }
        (sign_in, writes)
    };
    // As early as it may.
    let (_, of_one_that_obeys) = writes_of(4 * SECOND_MS);
    assert_eq!(of_one_that_obeys, 150);
    for every_ms in [1, 10, 3 * SECOND_MS] {
        let (asked, writes) = writes_of(every_ms);
        assert!(writes <= of_one_that_obeys, "{writes}, every {every_ms} ms");
        let approved = on_answer(Some(&asked), &ada(), &id(1), true, NOW_MS, &event()).sign_in.unwrap();
        assert!(matches!(on_question(&approved, NOW_MS), (DeviceQuestion::Approved(_), None)));
        assert!(matches!(exchange(&approved, &ada(), NOW_MS).answer, DeviceExchange::Begun(_)));
    }
}

#[test]
fn a_sign_in_is_over_at_its_time_and_not_a_millisecond_before() {
    let (open, end_ms) = (device(DeviceState::Open), NOW_MS + 600_000);
    assert_eq!(on_question(&open, end_ms), (DeviceQuestion::Over, None));
    assert!(matches!(on_question(&open, end_ms - 1).0, DeviceQuestion::Pending { .. }));
    let mut ada = ada();
    ada.sessions[0].refresh_expires_at_ms = i64::MAX;
    ada.sessions[0].ends_at_ms = i64::MAX;
    assert_eq!(on_answer(Some(&open), &ada, &id(1), true, end_ms, &event()).answer, Err(AnswerRefusal::Unknown));
    assert_eq!(exchange(&approved(), &ada, end_ms).answer, DeviceExchange::Over);
    assert!(matches!(exchange(&approved(), &ada, end_ms - 1).answer, DeviceExchange::Begun(_)));
}

#[test]
fn a_session_has_the_name_and_the_scopes_that_were_approved_whatever_the_device_says_later() {
    let decided = exchange(&approved(), &ada(), NOW_MS + 1);
    let DeviceExchange::Begun(session) = decided.answer else { panic!("refused") };
    assert_eq!((session.client.as_str(), &session.method), ("a notebook", &SignInMethod::Device));
    assert_eq!(session.scopes, TokenScopes::Only(vec![Scope::Account]));
    assert_eq!(session.second_factor_at_ms, None);
    assert_eq!(decided.changes.unwrap().put, [session]);
    assert!(matches!(decided.sign_in.unwrap().state, DeviceState::Used { session_id, .. } if session_id == id(2)));
}

#[test]
fn an_approval_ends_with_whatever_ends_the_tokens_of_who_gave_it() {
    let good = approved();
    for (change, refusal) in [
        ((|ada| ada.user.disabled = true) as fn(&mut UserState), Refusal::UserDisabled),
        (|ada| ada.member.disabled = true, Refusal::UserDisabled),
        (|ada| ada.user.locked = true, Refusal::UserLocked),
        (|ada| ada.member.locked = true, Refusal::UserLocked),
        (|ada| ada.user.reset_ends_at_ms = Some(NOW_MS + 1), Refusal::PasswordChangeRequired),
        (|ada| ada.sessions.clear(), Refusal::CredentialRevoked),
        (|ada| ada.sessions[0].ends_at_ms = NOW_MS, Refusal::CredentialExpired),
        (|ada| ada.member.tokens_valid_from_ms = 6, Refusal::CredentialRevoked),
    ] {
        let mut ada = ada();
        change(&mut ada);
        assert_eq!(exchange(&good, &ada, NOW_MS), DeviceDecision::nothing(DeviceExchange::ApprovalEnded), "{refusal:?}");
        let answer = on_answer(Some(&device(DeviceState::Open)), &ada, &id(1), true, NOW_MS, &event());
        assert_eq!(answer, DeviceDecision::nothing(Err(AnswerRefusal::Refused(refusal))));
    }
    // A password change keeps the session that asked for it, and not what was approved before.
    let mut ada = ada();
    ada.member.tokens_valid_from_ms = 6;
    ada.sessions[0].tokens_valid_from_ms = 6;
    assert_eq!(exchange(&good, &ada, NOW_MS).answer, DeviceExchange::ApprovalEnded);
}

#[test]
fn a_device_code_that_comes_again_gives_nothing_and_from_the_next_question_on_ends_its_session() {
    let mut ada = ada();
    let DeviceDecision { sign_in, changes, .. } = exchange(&approved(), &ada, NOW_MS);
    let used = sign_in.unwrap();
    ada.sessions.extend(changes.unwrap().put);
    // The same call, whose answer was lost on its way from the store.
    assert!(matches!(exchange(&used, &ada, NOW_MS).answer, DeviceExchange::Begun(session) if session.session_id == id(2)));
    let again = |now_ms| on_exchange(Some(&used), &ada, &new_session(3), LIMITS, now_ms, &event());
    assert_eq!(again(NOW_MS + 3999), DeviceDecision::nothing(DeviceExchange::Over));
    let late = again(NOW_MS + 4000);
    assert_eq!((late.answer, late.sign_in), (DeviceExchange::Over, None));
    let changes = late.changes.unwrap();
    assert_eq!((changes.ended, changes.put), (vec![id(2)], Vec::new()));
    assert_eq!(changes.revocations[0].revoked, Revoked::Session(id(2)));
    assert_eq!(changes.event.unwrap().failure, Some(ErrorReason::DeviceCodeExpired));
    ada.sessions.retain(|session| session.session_id != id(2));
    let over = on_exchange(Some(&used), &ada, &new_session(3), LIMITS, NOW_MS + 5000, &event());
    assert_eq!(over, DeviceDecision::nothing(DeviceExchange::Over), "it is ended once");
}

#[test]
fn a_denial_counts_until_the_session_begins_and_nobody_answers_what_another_has() {
    let (ada, mut bob) = (ada(), ada());
    bob.user.user_id = UserId::parse("fedcba9876543210").unwrap();
    let answer = |sign_in: &DeviceSignIn, user: &UserState, approves| on_answer(Some(sign_in), user, &id(1), approves, NOW_MS, &event());
    let good = approved();
    assert_eq!(answer(&good, &ada, true), DeviceDecision::nothing(Ok(())), "a repetition");
    let denied = answer(&good, &ada, false);
    assert_eq!(denied.answer, Ok(()));
    let denied = denied.sign_in.unwrap();
    assert_eq!(on_question(&denied, NOW_MS), (DeviceQuestion::Denied, None));
    assert_eq!(exchange(&denied, &ada, NOW_MS).answer, DeviceExchange::Over);
    assert_eq!(answer(&denied, &ada, false), DeviceDecision::nothing(Ok(())), "a repetition");
    let used = exchange(&good, &ada, NOW_MS).sign_in.unwrap();
    for (sign_in, user, approves) in [
        (&denied, &ada, true),
        (&used, &ada, true),
        (&used, &ada, false),
        (&good, &bob, true),
        (&good, &bob, false),
        (&denied, &bob, false),
    ] {
        let unknown = DeviceDecision::nothing(Err(AnswerRefusal::Unknown));
        assert_eq!(answer(sign_in, user, approves), unknown, "{:?} {approves}", sign_in.state);
    }
    // What one approved is no other's session.
    assert_eq!(exchange(&good, &bob, NOW_MS).answer, DeviceExchange::Over);
    assert_eq!(on_exchange(None, &ada, &new_session(2), LIMITS, NOW_MS, &event()).answer, DeviceExchange::Over);
    assert_eq!(on_answer(None, &ada, &id(1), true, NOW_MS, &event()).answer, Err(AnswerRefusal::Unknown));
}

#[test]
fn whoever_approved_in_a_session_that_ended_may_approve_again_in_another() {
    let good = approved();
    let mut ada = ada();
    ada.sessions[0].session_id = id(5);
    assert_eq!(exchange(&good, &ada, NOW_MS).answer, DeviceExchange::ApprovalEnded);
    let again = on_answer(Some(&good), &ada, &id(5), true, NOW_MS, &event());
    assert_eq!(again.answer, Ok(()));
    assert!(matches!(exchange(&again.sign_in.unwrap(), &ada, NOW_MS).answer, DeviceExchange::Begun(_)));
}
