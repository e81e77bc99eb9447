use super::*;
use crate::session::{NewSession, Shown, SignInMethod, on_begin};
use crate::store::{AuditAction, Revoked};
use crate::token_scopes::TokenScopes;
use crate::user_state::test_user::{LIMITS, NOW_MS, id, state};
use crate::user_state::{on_complete_reset, on_reset_second_factor};

const SECRET: [u8; 20] = *b"12345678901234567890";
const CODES: [[u8; 32]; 2] = [[1; 32], [2; 32]];
/// A time step, in ms.
const STEP_MS: i64 = 30_000;
const MINUTE_MS: i64 = 60_000;

fn event() -> AuditEvent {
    AuditEvent::new(AuditAction::SignIn)
}

/// What the app shows at a time.
fn code_at(ms: i64) -> PresentedCode {
    let totp = totp_rs::Builder::new().with_secret(SECRET.to_vec()).build().unwrap();
    PresentedCode::App(totp.generate(ms as u64 / 1000).to_string())
}

fn wrong_code() -> PresentedCode {
    // No code of the tests' times.
    PresentedCode::App("000000".to_owned())
}

fn session(number: usize) -> Session {
    Session {
        session_id: id(number),
        created_at_ms: NOW_MS,
        last_used_at_ms: NOW_MS,
        refresh_expires_at_ms: NOW_MS + 1_000_000_000,
        ends_at_ms: NOW_MS + 1_000_000_000,
        tokens_valid_from_ms: 5,
        client: String::new(),
        address: None,
        method: SignInMethod::Password,
        scopes: TokenScopes::All,
        family_hash: [7; 32],
        token_hash: [0; 32],
        previous: None,
        second_factor_at_ms: None,
    }
}

/// A user with one, and two sessions.
fn enrolled() -> UserState {
    let factor =
        SecondFactor { enabled_at_ms: Some(1), recovery_codes: CODES.to_vec(), ..SecondFactor::begin(TotpSecret::from_bytes(SECRET), 1) };
    UserState { second_factor: Some(factor), ..state(vec![session(1), session(2)]) }
}

fn after(state: &UserState, changes: Option<UserChanges>) -> UserState {
    let mut state = state.clone();
    let Some(changes) = changes else { return state };
    match changes.second_factor {
        Some(FactorRecordChange::Put(factor)) => state.second_factor = Some(factor),
        Some(FactorRecordChange::Removed) => state.second_factor = None,
        None => {}
    }
    for put in changes.put {
        state.sessions.retain(|one| one.session_id != put.session_id);
        state.sessions.push(put);
    }
    state.sessions.retain(|one| !changes.ended.contains(&one.session_id));
    state
}

fn change(state: &mut UserState, attempt: u8, change: FactorChange, now_ms: i64) -> FactorAnswer {
    attempted(state, AttemptId::from_bytes([attempt; 16]), change, now_ms)
}

fn attempted(state: &mut UserState, attempt: AttemptId, change: FactorChange, now_ms: i64) -> FactorAnswer {
    let request = FactorChangeRequest { session: id(1), attempt, change };
    let Decision { answer, changes } = on_change(state, &request, now_ms, &event());
    *state = after(state, changes);
    answer
}

fn step_up(state: &mut UserState, code: PresentedCode, now_ms: i64) -> FactorAnswer {
    attempted(state, AttemptId::draw().unwrap(), FactorChange::StepUp { code }, now_ms)
}

fn done(at_ms: i64) -> FactorAnswer {
    FactorAnswer::Done { at_ms, by_recovery_code: false }
}

fn begin(state: &UserState, code: Option<&PresentedCode>, now_ms: i64) -> Decision<SessionStart> {
    let new = NewSession {
        session_id: id(9),
        family_hash: [7; 32],
        token_hash: [0; 32],
        client: String::new(),
        address: None,
        method: SignInMethod::Password,
        scopes: TokenScopes::All,
    };
    on_begin(state, Shown { verified_hash: "hash", code }, &new, LIMITS, now_ms, &event())
}

#[test]
fn the_second_factor_counts_once_the_app_has_proved_that_it_has_the_secret() {
    let mut user = state(vec![session(1)]);
    let secret = TotpSecret::from_bytes(SECRET);
    let started = FactorChange::Begin { secret, verified_hash: "hash".to_owned() };
    let confirm = |code| FactorChange::Confirm { code, recovery_codes: CODES.to_vec() };
    assert_eq!(change(&mut user, 1, confirm(code_at(NOW_MS)), NOW_MS), FactorAnswer::NotSetUp);
    assert_eq!(change(&mut user, 2, started.clone(), NOW_MS), done(NOW_MS));
    assert_eq!(status(&user, None), SecondFactorStatus::default());
    assert!(matches!(begin(&user, None, NOW_MS).answer, SessionStart::Begun(_)), "it doesn't count yet");
    assert_eq!(change(&mut user, 3, FactorChange::StepUp { code: code_at(NOW_MS) }, NOW_MS), FactorAnswer::NotSetUp);
    assert_eq!(change(&mut user, 4, confirm(wrong_code()), NOW_MS), FactorAnswer::Wrong);
    let too_late_ms = NOW_MS + 15 * MINUTE_MS;
    assert_eq!(change(&mut user.clone(), 5, confirm(code_at(too_late_ms)), too_late_ms), FactorAnswer::NotSetUp);
    assert_eq!(change(&mut user, 6, confirm(code_at(NOW_MS)), NOW_MS), done(NOW_MS));
    let now = SecondFactorStatus { enabled_at_ms: Some(NOW_MS), recovery_codes_left: 2, proved_at_ms: Some(NOW_MS) };
    assert_eq!(status(&user, Some(&id(1))), now);
    assert_eq!(change(&mut user, 6, confirm(code_at(NOW_MS)), NOW_MS), done(NOW_MS), "a repetition, whose answer was lost");
    assert_eq!(change(&mut user, 7, confirm(code_at(NOW_MS)), NOW_MS), FactorAnswer::SetUp);
    assert_eq!(change(&mut user, 8, started, NOW_MS), FactorAnswer::SetUp);
    assert_eq!(begin(&user, Some(&code_at(NOW_MS)), NOW_MS).answer, SessionStart::SecondFactorWrong, "confirming has used it");
}

#[test]
fn enrolling_takes_the_password_or_a_sign_in_of_just_now_where_there_is_none() {
    let started = |hash: &str| FactorChange::Begin { secret: TotpSecret::from_bytes(SECRET), verified_hash: hash.to_owned() };
    let mut user = state(vec![session(1)]);
    assert_eq!(change(&mut user, 1, started("another"), NOW_MS), FactorAnswer::PasswordReplaced);
    assert_eq!(change(&mut user, 2, started(""), NOW_MS), FactorAnswer::PasswordReplaced);
    user.user.password_hash = String::new();
    assert_eq!(change(&mut user, 3, started(""), NOW_MS + 15 * MINUTE_MS), FactorAnswer::RecentSignInRequired);
    assert_eq!(change(&mut user, 4, started(""), NOW_MS + 15 * MINUTE_MS - 1), done(NOW_MS + 15 * MINUTE_MS - 1));
    let mut device = user.clone();
    device.sessions[0].method = SignInMethod::Device;
    device.second_factor = None;
    assert_eq!(change(&mut device, 6, started(""), NOW_MS), FactorAnswer::RecentSignInRequired, "somebody approved it, and proved nothing");
    user.user.reset_ends_at_ms = Some(NOW_MS);
    assert_eq!(change(&mut user, 5, started(""), NOW_MS), FactorAnswer::PasswordChangeRequired);
}

#[test]
fn each_step_is_good_once_and_none_before_one_that_was_used() {
    let mut user = enrolled();
    assert_eq!(step_up(&mut user, code_at(NOW_MS), NOW_MS), done(NOW_MS));
    for ms in [0, 1, STEP_MS] {
        assert_eq!(step_up(&mut user, code_at(NOW_MS), NOW_MS + ms), FactorAnswer::Wrong, "{ms}");
    }
    assert_eq!(step_up(&mut user, code_at(NOW_MS - STEP_MS), NOW_MS), FactorAnswer::Wrong, "it was before one that was used");
    assert_eq!(step_up(&mut user, code_at(NOW_MS + STEP_MS), NOW_MS), done(NOW_MS), "an app's clock may be ahead");
    assert_eq!(step_up(&mut user, code_at(NOW_MS + 3 * STEP_MS), NOW_MS), FactorAnswer::Wrong);
}

#[test]
fn a_clock_that_was_ahead_neither_shuts_a_user_out_nor_lets_a_step_be_used_twice() {
    let mut user = enrolled();
    let ahead_ms = NOW_MS + 60 * MINUTE_MS;
    assert_eq!(step_up(&mut user, code_at(ahead_ms), ahead_ms), done(ahead_ms));
    assert_eq!(step_up(&mut user, code_at(NOW_MS), NOW_MS), done(NOW_MS));
    assert_eq!(step_up(&mut user, code_at(ahead_ms), ahead_ms), FactorAnswer::Wrong);
    for step in 1..40 {
        let ms = ahead_ms + step * STEP_MS;
        assert_eq!(step_up(&mut user, code_at(ms), ms), done(ms));
    }
    assert_eq!(user.second_factor.unwrap().used_steps.len(), REMEMBERED_STEPS);
}

#[test]
fn a_repetition_of_a_step_up_whose_answer_was_lost_says_the_same() {
    let mut user = enrolled();
    let up = FactorChange::StepUp { code: code_at(NOW_MS) };
    assert_eq!(change(&mut user, 1, up.clone(), NOW_MS), done(NOW_MS));
    assert_eq!(change(&mut user, 1, up.clone(), NOW_MS + 5), done(NOW_MS));
    assert_eq!(change(&mut user, 2, up, NOW_MS + 5), FactorAnswer::Wrong);
}

#[test]
fn a_sign_in_needs_a_code_only_after_the_right_password_and_proves_the_factor_with_it() {
    let user = enrolled();
    assert_eq!(begin(&user, None, NOW_MS).answer, SessionStart::SecondFactorRequired);
    let wrong_password = Shown { verified_hash: "another", code: Some(&code_at(NOW_MS)) };
    let Decision { answer, changes } = begin(&user, Some(&code_at(NOW_MS)), NOW_MS);
    let SessionStart::Begun(begun) = answer else { panic!("{answer:?}") };
    assert_eq!(begun.second_factor_at_ms, Some(NOW_MS));
    let event = changes.as_ref().unwrap().event.clone().unwrap();
    assert_eq!((event.detail.as_str(), event.subject_id.as_str()), ("with a code of the app", begun.session_id.as_str()));
    let again = begin(&after(&user, changes), Some(&code_at(NOW_MS)), NOW_MS);
    assert_eq!(again, Decision::nothing(SessionStart::Begun(begun)), "a repetition, whose answer was lost");
    // Of what is wrong with the password or the user, nothing of the factor is told.
    let mut disabled = user.clone();
    disabled.member.disabled = true;
    assert_eq!(begin(&disabled, None, NOW_MS), Decision::nothing(SessionStart::Refused));
    let new = NewSession {
        session_id: id(9),
        family_hash: [7; 32],
        token_hash: [0; 32],
        client: String::new(),
        address: None,
        method: SignInMethod::Password,
        scopes: TokenScopes::All,
    };
    let replaced = on_begin(&user, wrong_password, &new, LIMITS, NOW_MS, &event);
    assert_eq!(replaced, Decision::nothing(SessionStart::PasswordReplaced));
    // Nor does an operator's reset of the password let anybody past it.
    let mut reset = user.clone();
    reset.user.reset_ends_at_ms = Some(NOW_MS + 1000);
    let complete = |code| on_complete_reset(&reset, Shown { verified_hash: "hash", code }, "own", &new, LIMITS, NOW_MS, &event).answer;
    let (wrong, right) = (wrong_code(), code_at(NOW_MS));
    assert_eq!(complete(None), SessionStart::SecondFactorRequired);
    assert_eq!(complete(Some(&wrong)), SessionStart::SecondFactorWrong);
    assert!(matches!(complete(Some(&right)), SessionStart::Begun(session) if session.second_factor_at_ms == Some(NOW_MS)));
}

#[test]
fn a_recovery_code_is_good_once_and_says_how_many_are_left() {
    let user = enrolled();
    let code = PresentedCode::Recovery(CODES[0]);
    let Decision { answer, changes } = begin(&user, Some(&code), NOW_MS);
    assert!(matches!(answer, SessionStart::Begun(_)), "{answer:?}");
    assert_eq!(changes.as_ref().unwrap().event.as_ref().unwrap().detail, "with a recovery code; 1 are left");
    let mut user = after(&user, changes);
    assert_eq!(step_up(&mut user, code, NOW_MS), FactorAnswer::Wrong);
    let up = step_up(&mut user, PresentedCode::Recovery(CODES[1]), NOW_MS);
    assert_eq!(up, FactorAnswer::Done { at_ms: NOW_MS, by_recovery_code: true });
    assert_eq!(status(&user, None).recovery_codes_left, 0);
    let anew = FactorChange::NewRecoveryCodes { code: code_at(NOW_MS), recovery_codes: vec![[3; 32]] };
    assert_eq!(change(&mut user, 9, anew.clone(), NOW_MS), done(NOW_MS));
    assert_eq!(change(&mut user, 9, anew, NOW_MS), done(NOW_MS), "a repetition, whose answer was lost");
    assert_eq!(user.second_factor.unwrap().recovery_codes, [[3; 32]]);
}

#[test]
fn wrong_codes_make_the_next_ones_wait_longer_and_longer_and_a_recovery_code_never_waits() {
    let mut user = enrolled();
    let mut now_ms = NOW_MS;
    for _ in 0..FREE_FAILURES {
        assert_eq!(step_up(&mut user, wrong_code(), now_ms), FactorAnswer::Wrong);
    }
    let mut waits = Vec::new();
    for _ in 0..10 {
        let FactorAnswer::Wait(wait) = step_up(&mut user, wrong_code(), now_ms) else { panic!("no wait") };
        let is_over_ms = now_ms + wait.as_millis() as i64;
        let before = user.clone();
        assert!(matches!(step_up(&mut user, code_at(is_over_ms - 1), is_over_ms - 1), FactorAnswer::Wait(_)), "a right code waits too");
        assert!(matches!(step_up(&mut user, PresentedCode::Recovery([9; 32]), is_over_ms - 1), FactorAnswer::Wait(_)));
        assert_eq!(user, before, "what waits writes nothing");
        let by_code = step_up(&mut user.clone(), PresentedCode::Recovery(CODES[0]), now_ms);
        assert!(matches!(by_code, FactorAnswer::Done { .. }), "{by_code:?}");
        now_ms = is_over_ms;
        assert_eq!(step_up(&mut user, wrong_code(), now_ms), FactorAnswer::Wrong);
        waits.push(wait.as_secs());
    }
    assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]);
    // A right one sets it to nothing, and so does a day without any.
    let right_ms = now_ms + 3_600_000;
    let mut proved = user.clone();
    assert_eq!(step_up(&mut proved, code_at(right_ms), right_ms), done(right_ms));
    assert_eq!(step_up(&mut proved, wrong_code(), right_ms), FactorAnswer::Wrong);
    assert_eq!(proved.second_factor.unwrap().failures, 1);
    let next_day_ms = now_ms + 24 * 3_600_000;
    assert_eq!(step_up(&mut user, wrong_code(), next_day_ms), FactorAnswer::Wrong);
    assert_eq!(user.second_factor.unwrap().failures, 1);
}

#[test]
fn a_clock_that_went_back_makes_nobody_wait_longer_than_the_longest_wait() {
    let mut user = enrolled();
    let far_ms = NOW_MS + 12 * 3_600_000;
    for _ in 0..FREE_FAILURES {
        step_up(&mut user, wrong_code(), far_ms);
    }
    assert_eq!(step_up(&mut user, code_at(NOW_MS), NOW_MS), FactorAnswer::Wait(FIRST_WAIT));
}

#[test]
fn what_was_proved_by_a_factor_counts_no_longer_in_any_session_once_it_is_off() {
    let mut user = enrolled();
    for session in &mut user.sessions {
        session.second_factor_at_ms = Some(NOW_MS);
    }
    assert_eq!(change(&mut user.clone(), 1, FactorChange::Remove { code: wrong_code() }, NOW_MS), FactorAnswer::Wrong);
    assert_eq!(change(&mut user, 2, FactorChange::Remove { code: code_at(NOW_MS) }, NOW_MS), done(NOW_MS));
    assert_eq!(user.second_factor, None);
    assert!(user.sessions.len() == 2 && user.sessions.iter().all(|session| session.second_factor_at_ms.is_none()));
    assert_eq!(change(&mut user, 3, FactorChange::Remove { code: code_at(NOW_MS) }, NOW_MS), FactorAnswer::NotSetUp);
}

#[test]
fn who_asks_must_be_in_force_in_the_same_step() {
    let up = || FactorChange::StepUp { code: code_at(NOW_MS) };
    let mut user = enrolled();
    user.user.disabled = true;
    assert_eq!(change(&mut user, 1, up(), NOW_MS), FactorAnswer::Refused(Refusal::UserDisabled));
    user = enrolled();
    user.member.locked = true;
    assert_eq!(change(&mut user, 1, up(), NOW_MS), FactorAnswer::Refused(Refusal::UserLocked));
    user = enrolled();
    user.member.tokens_valid_from_ms = 6;
    assert_eq!(change(&mut user, 1, up(), NOW_MS), FactorAnswer::Refused(Refusal::CredentialRevoked));
    user = enrolled();
    user.sessions.remove(0);
    assert_eq!(change(&mut user, 1, up(), NOW_MS), FactorAnswer::Refused(Refusal::CredentialRevoked));
    user = enrolled();
    assert_eq!(change(&mut user, 1, up(), NOW_MS + 1_000_000_000), FactorAnswer::Refused(Refusal::CredentialExpired));
}

#[test]
fn an_operator_resets_another_users_factor_and_never_their_own_and_ends_the_sessions() {
    let user = enrolled();
    let mut operator = state(Vec::new());
    operator.user.user_id = crate::ids::UserId::parse("fedcba9876543210").unwrap();
    assert_eq!(on_reset_second_factor(&user, Some(&operator), NOW_MS, &event()).answer.refused, Some(Refusal::RoleRequired));
    operator.member.role = crate::user::Role::Admin;
    let mut own = user.clone();
    own.member.role = crate::user::Role::Admin;
    let refused = on_reset_second_factor(&own, Some(&own), NOW_MS, &event());
    assert_eq!((refused.answer.refused, refused.changes), (Some(Refusal::OtherOperatorRequired), None));
    for asked_by in [Some(&operator), None] {
        let Decision { answer, changes } = on_reset_second_factor(&user, asked_by, NOW_MS, &event());
        let changes = changes.unwrap();
        assert!(answer.changed && changes.event.is_some());
        assert_eq!((changes.second_factor.as_ref(), changes.ended.len()), (Some(&FactorRecordChange::Removed), 2));
        assert_eq!(changes.revocations[0].revoked, Revoked::Tokens);
        assert_eq!(changes.member.unwrap().tokens_valid_from_ms, NOW_MS);
        let again = on_reset_second_factor(&after(&user, Some(changes)), asked_by, NOW_MS, &event());
        assert!(!again.answer.changed && again.changes.is_none());
    }
}

#[test]
fn a_factor_is_recent_for_fifteen_minutes() {
    let recent_ms = 15 * MINUTE_MS;
    assert_eq!([0, recent_ms - 1, recent_ms, -recent_ms].map(|ms| is_recent(NOW_MS, NOW_MS + ms)), [true, true, false, false]);
}
