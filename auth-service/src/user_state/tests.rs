use super::test_user::{LIMITS, NOW_MS, id};
use super::*;
use crate::session::SignInMethod;
use crate::store::AuditAction;
use crate::token_scopes::TokenScopes;

fn session(number: usize) -> Session {
    Session {
        session_id: id(number),
        created_at_ms: NOW_MS,
        last_used_at_ms: NOW_MS,
        refresh_expires_at_ms: NOW_MS + 100_000,
        ends_at_ms: NOW_MS + 1_000_000,
        tokens_valid_from_ms: 5,
        client: String::new(),
        address: None,
        method: SignInMethod::Password,
        scopes: TokenScopes::All,
        family_hash: [7; 32],
        token_hash: [1; 32],
        previous: None,
        second_factor_at_ms: None,
    }
}

fn state() -> UserState {
    test_user::state(vec![session(1), session(2), session(3)])
}

fn event() -> AuditEvent {
    AuditEvent::new(AuditAction::DisableUser)
}

fn revoked(changes: &UserChanges) -> Vec<&Revoked> {
    changes.revocations.iter().map(|one| &one.revoked).collect()
}

#[test]
fn disabling_and_locking_end_all_sessions_and_what_is_so_already_changes_nothing() {
    for (new, told) in [(NewState::Disabled(true), Revoked::Everything), (NewState::Locked(true), Revoked::Tokens)] {
        let Decision { answer, changes } = on_new_state(&state(), new, None, "why", NOW_MS, &event());
        let changes = changes.unwrap();
        assert!(answer.changed && answer.user.state_reason == "why", "{new:?}");
        assert_eq!((&changes.ended[..], revoked(&changes)), (&[id(1), id(2), id(3)][..], vec![&told]));
        let member = changes.member.unwrap();
        assert_eq!((member.disabled, member.locked), (answer.user.disabled, answer.user.locked));
        assert_eq!(member.tokens_valid_from_ms, NOW_MS);
        let after = UserState { user: answer.user.clone(), member, ..state() };
        let again = on_new_state(&after, new, None, "another", NOW_MS, &event());
        assert_eq!(again, Decision::nothing(UserChange { user: answer.user, changed: false, refused: None }));
    }
}

#[test]
fn a_reason_stays_as_long_as_the_user_is_disabled_or_locked() {
    let mut now = state();
    let mut set = |new, reason: &str| {
        now.user = on_new_state(&now, new, None, reason, NOW_MS, &event()).answer.user;
        (now.user.disabled, now.user.locked, now.user.state_reason.clone())
    };
    assert_eq!(set(NewState::Disabled(true), "left"), (true, false, "left".to_owned()));
    assert_eq!(set(NewState::Locked(true), "leaked"), (true, true, "leaked".to_owned()));
    assert_eq!(set(NewState::Disabled(false), ""), (false, true, "leaked".to_owned()));
    assert_eq!(set(NewState::Locked(false), ""), (false, false, String::new()));
}

fn token(session: Option<SessionId>) -> PresentedCredential {
    PresentedCredential::AccessToken { user_id: state().user.user_id, session, issued_at_ms: NOW_MS }
}

fn change(state: &UserState, asked_by: &PresentedCredential) -> Decision<PasswordChange> {
    on_change_password(state, asked_by, "hash", "new", NOW_MS, &event())
}

#[test]
fn a_password_change_ends_every_other_session_and_tokens_that_have_none() {
    let decision = change(&state(), &token(Some(id(2))));
    assert_eq!(decision.answer, PasswordChange::Changed { ended_sessions: 2 });
    let changes = decision.changes.unwrap();
    assert_eq!(changes.user.as_ref().unwrap().password_hash, "new");
    assert_eq!(changes.member.unwrap().tokens_valid_from_ms, NOW_MS);
    assert_eq!(changes.put, [Session { tokens_valid_from_ms: NOW_MS, ..session(2) }], "the current one goes on");
    assert_eq!(changes.ended, [id(1), id(3)]);
    let mut told = revoked(&changes);
    told.reverse();
    assert_eq!(told, [&Revoked::Session(id(1)), &Revoked::Session(id(3))]);
    let by_old_token = change(&state(), &token(None));
    assert_eq!(by_old_token.answer, PasswordChange::Changed { ended_sessions: 3 });
}

#[test]
fn a_password_change_looks_at_the_user_the_session_and_the_password_in_its_own_step() {
    let with = |edit: fn(&mut UserState)| {
        let mut state = state();
        edit(&mut state);
        change(&state, &token(Some(id(2))))
    };
    let refused = |refusal| Decision::nothing(PasswordChange::Refused(refusal));
    assert_eq!(with(|state| state.user.disabled = true), refused(Refusal::UserDisabled));
    assert_eq!(with(|state| state.user.locked = true), refused(Refusal::UserLocked));
    assert_eq!(with(|state| state.sessions.truncate(1)), refused(Refusal::CredentialRevoked));
    assert_eq!(with(|state| state.member.tokens_valid_from_ms = 6), refused(Refusal::CredentialRevoked));
    assert_eq!(with(|state| state.sessions[1].ends_at_ms = NOW_MS), refused(Refusal::CredentialExpired));
    let pending = with(|state| state.user.reset_ends_at_ms = Some(NOW_MS + 1));
    assert_eq!(pending, Decision::nothing(PasswordChange::PasswordChangeRequired));
    let replaced = with(|state| state.user.password_hash = "another".to_owned());
    assert_eq!(replaced, Decision::nothing(PasswordChange::PasswordReplaced));
    let repeated = with(|state| state.user.password_hash = "new".to_owned());
    assert_eq!(repeated, Decision::nothing(PasswordChange::Changed { ended_sessions: 0 }));
    let key = PresentedCredential::ApiKey { secret_hash: [0; 32] };
    assert_eq!(change(&state(), &key), refused(Refusal::CredentialUnknown));
}

#[test]
fn a_one_time_password_lasts_a_day_and_is_good_once() {
    let reset = on_reset_password(&state(), "one time", NOW_MS, &event());
    let changes = reset.changes.unwrap();
    assert_eq!(reset.answer.reset_ends_at_ms, Some(NOW_MS + 24 * 3600 * 1000));
    assert_eq!((changes.ended.len(), revoked(&changes)), (3, vec![&Revoked::Tokens]));
    let pending = UserState { user: reset.answer.clone(), sessions: Vec::new(), ..state() };
    assert_eq!(on_reset_password(&pending, "one time", NOW_MS + 1, &event()), Decision::nothing(reset.answer), "a repetition");
    let new = NewSession {
        session_id: id(9),
        family_hash: [7; 32],
        token_hash: [1; 32],
        client: String::new(),
        address: None,
        method: SignInMethod::Password,
        scopes: TokenScopes::All,
    };
    let complete =
        |state: &UserState, verified, now_ms| on_complete_reset(state, Shown::password(verified), "own", &new, LIMITS, now_ms, &event());
    let last_ms = NOW_MS + 24 * 3600 * 1000 - 1;
    let done = complete(&pending, "one time", last_ms);
    assert!(matches!(&done.answer, SessionStart::Begun(session) if session.session_id == id(9)));
    let user = done.changes.clone().unwrap().user.unwrap();
    assert_eq!((user.password_hash.as_str(), user.reset_ends_at_ms), ("own", None));
    let refused = Decision::nothing(SessionStart::Refused);
    assert_eq!(complete(&pending, "one time", last_ms + 1), refused, "too late");
    assert_eq!(complete(&pending, "hash", NOW_MS), refused, "the password before it");
    assert_eq!(complete(&UserState { user, ..pending.clone() }, "one time", NOW_MS), refused, "a second time");
    let set = |edit: fn(&mut UserRecord)| {
        let mut state = pending.clone();
        edit(&mut state.user);
        complete(&state, "one time", NOW_MS)
    };
    assert_eq!([set(|user| user.disabled = true), set(|user| user.locked = true)], [refused.clone(), refused]);
    let begun = UserState { sessions: done.changes.unwrap().put, ..pending };
    assert_eq!(complete(&begun, "one time", NOW_MS), Decision::nothing(done.answer), "a repetition");
}

#[test]
fn a_password_that_is_hashed_anew_ends_nothing() {
    let changes = on_rehash(&state(), "hash", "stronger").changes.unwrap();
    let user = UserRecord { password_hash: "stronger".to_owned(), ..state().user };
    assert_eq!(changes, UserChanges { user: Some(user), ..UserChanges::default() });
    assert_eq!(on_rehash(&state(), "another", "stronger"), Decision::nothing(()));
}

#[test]
fn a_lock_that_a_release_before_locks_wrote_out_of_one_row_still_keeps_the_user_out_and_can_be_taken_back() {
    let mut half = state();
    half.member.locked = true;
    let new = NewSession {
        session_id: id(9),
        family_hash: [7; 32],
        token_hash: [1; 32],
        client: String::new(),
        address: None,
        method: SignInMethod::Password,
        scopes: TokenScopes::All,
    };
    let begun = session::on_begin(&half, Shown::password("hash"), &new, LIMITS, NOW_MS, &event());
    assert_eq!(begun, Decision::nothing(SessionStart::Refused));
    let asked = change(&half, &token(Some(id(2))));
    assert_eq!(asked.answer, PasswordChange::Refused(Refusal::UserLocked));
    let unlocked = on_new_state(&half, NewState::Locked(false), None, "", NOW_MS, &event());
    assert!(unlocked.answer.changed && !unlocked.changes.unwrap().member.unwrap().locked);
    let locked = on_new_state(&half, NewState::Locked(true), None, "why", NOW_MS, &event());
    assert!(locked.answer.changed && locked.answer.user.locked);
}
