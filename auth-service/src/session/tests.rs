use super::*;
use crate::store::{AuditAction, Scope};
use crate::user::UserRecord;
use crate::user_state::test_user::{LIMITS, NOW_MS, id, state};

fn new(number: usize) -> NewSession {
    NewSession {
        session_id: id(number),
        family_hash: [7; 32],
        token_hash: [1; 32],
        client: "a client".to_owned(),
        address: None,
        method: SignInMethod::Password,
        scopes: TokenScopes::Only(vec![Scope::Account]),
    }
}

fn session(number: usize, last_used_at_ms: i64) -> Session {
    let NewSession { session_id, family_hash, token_hash, client, address, method, scopes } = new(number);
    Session {
        session_id,
        created_at_ms: last_used_at_ms,
        last_used_at_ms,
        refresh_expires_at_ms: last_used_at_ms + 100_000,
        ends_at_ms: last_used_at_ms + 1_000_000,
        tokens_valid_from_ms: 5,
        client,
        address,
        method,
        scopes,
        family_hash,
        token_hash,
        previous: None,
        second_factor_at_ms: None,
    }
}

fn event() -> AuditEvent {
    AuditEvent::new(AuditAction::SignIn)
}

fn start(state: &UserState, verified: &str) -> Decision<SessionStart> {
    on_begin(state, Shown::password(verified), &new(0), LIMITS, NOW_MS, &event())
}

fn with_user(change: impl FnOnce(&mut UserRecord)) -> UserState {
    let mut state = state(Vec::new());
    change(&mut state.user);
    state
}

#[test]
fn a_sign_in_looks_at_disabled_locked_reset_and_the_password_in_the_step_that_begins_the_session() {
    let begun = start(&state(Vec::new()), "hash");
    let SessionStart::Begun(session) = begun.answer else { panic!("refused") };
    let times = (session.created_at_ms, session.refresh_expires_at_ms, session.ends_at_ms, session.tokens_valid_from_ms);
    assert_eq!(times, (NOW_MS, NOW_MS + 100_000, NOW_MS + 1_000_000, 5));
    let changes = begun.changes.unwrap();
    assert_eq!((changes.put, changes.event.unwrap().subject_id), (vec![session], id(0).to_string()));
    for (refused, what, answer) in [
        (with_user(|user| user.disabled = true), "disabled", SessionStart::Refused),
        (with_user(|user| user.locked = true), "locked", SessionStart::Refused),
        (with_user(|user| user.password_hash = "another".to_owned()), "changed", SessionStart::PasswordReplaced),
        (with_user(|user| user.reset_ends_at_ms = Some(NOW_MS + 1)), "reset", SessionStart::PasswordChangeRequired),
        (with_user(|user| user.reset_ends_at_ms = Some(NOW_MS)), "reset long ago", SessionStart::Refused),
    ] {
        assert_eq!(start(&refused, "hash"), Decision::nothing(answer), "{what}");
    }
}

#[test]
fn with_one_session_too_many_the_one_unused_for_longest_ends_and_those_past_their_time_go_without_a_word() {
    let mut sessions: Vec<_> = (1..=MAX_SESSIONS).map(|number| session(number, NOW_MS - 10_000 + number as i64)).collect();
    sessions.swap(0, 50);
    let (unused, idle) = (session(500, NOW_MS - 20_000), session(501, NOW_MS - 100_000));
    let old = Session { ends_at_ms: NOW_MS, ..session(502, NOW_MS - 1) };
    let of_before = Session { tokens_valid_from_ms: 4, ..session(503, NOW_MS - 1) };
    // With room for one.
    let room: Vec<_> = sessions[1..].iter().cloned().chain([idle.clone(), old.clone(), of_before.clone()]).collect();
    let changes = start(&state(room), "hash").changes.unwrap();
    assert_eq!((changes.ended, changes.revocations), (vec![id(501), id(502), id(503)], Vec::new()));
    let full: Vec<_> = sessions[1..].iter().cloned().chain([unused, idle]).collect();
    let changes = start(&state(full), "hash").changes.unwrap();
    assert_eq!(changes.ended, [id(501), id(500)]);
    assert_eq!(changes.revocations.iter().map(|one| &one.revoked).collect::<Vec<_>>(), [&Revoked::Session(id(500))]);
}

/// What is shown, by the last byte of its hash; the family's is 7.
fn shown(token: u8) -> Refresh {
    Refresh {
        session_id: id(1),
        family_hash: [7; 32],
        token_hash: [token; 32],
        next_token_hash: [token + 100; 32],
        is_shared: false,
        address: None,
    }
}

fn refresh(session: &Session, shown: &Refresh, now_ms: i64) -> Decision<RefreshAnswer> {
    on_refresh(&state(vec![session.clone()]), shown, LIMITS, now_ms, &event())
}

fn rotated(decision: Decision<RefreshAnswer>) -> Session {
    let RefreshAnswer::Rotated(session) = decision.answer else { panic!("refused: {decision:?}") };
    assert_eq!(decision.changes.map(|changes| (changes.put, changes.event)), Some((vec![session.clone()], None)));
    session
}

#[test]
fn a_refresh_rotates_moves_the_idle_end_and_never_the_absolute_one() {
    let first = Session { ends_at_ms: NOW_MS + 150_000, ..session(1, NOW_MS) };
    let address = Some("192.0.2.1".parse().unwrap());
    let second = rotated(refresh(&first, &Refresh { address, ..shown(1) }, NOW_MS + 20_000));
    assert_eq!((second.last_used_at_ms, second.refresh_expires_at_ms, second.address), (NOW_MS + 20_000, NOW_MS + 120_000, address));
    let third = rotated(refresh(&second, &shown(101), NOW_MS + 100_000));
    assert_eq!((third.refresh_expires_at_ms, third.ends_at_ms), (NOW_MS + 150_000, NOW_MS + 150_000));
    assert_eq!((&third.client, third.created_at_ms, &third.scopes), (&first.client, first.created_at_ms, &first.scopes));
    assert_eq!((third.token_hash, third.previous.unwrap().token_hash), ([201; 32], [101; 32]));
}

#[test]
fn the_previous_token_is_accepted_once_more_within_thirty_seconds_and_what_the_lost_reply_gave_is_dead() {
    let second = rotated(refresh(&session(1, NOW_MS), &shown(1), NOW_MS));
    for (after_ms, accepted) in [(0, true), (29_999, true), (30_000, false), (-29_999, true), (-30_000, false)] {
        let again = refresh(&second, &Refresh { next_token_hash: [50; 32], ..shown(1) }, NOW_MS + after_ms);
        assert_eq!(matches!(again.answer, RefreshAnswer::Rotated(_)), accepted, "{after_ms}");
    }
    let twin = rotated(refresh(&second, &Refresh { next_token_hash: [50; 32], ..shown(1) }, NOW_MS + 10));
    for (token, why) in [(1, "a third time"), (101, "what the lost reply gave"), (9, "of long ago")] {
        let reused = refresh(&twin, &shown(token), NOW_MS + 20);
        assert_eq!(reused.answer, RefreshAnswer::Refused(RefreshRefusal::Reused), "{why}");
        let changes = reused.changes.unwrap();
        assert_eq!((changes.ended, changes.revocations.len()), (vec![id(1)], 1), "{why}");
        assert_eq!(changes.event.unwrap().failure, Some(ErrorReason::RefreshTokenReused), "{why}");
    }
    // The next rotation may lose its reply too.
    let next = rotated(refresh(&twin, &shown(50), NOW_MS + 30));
    assert_eq!(next.previous, Some(PreviousToken { token_hash: [50; 32], rotated_at_ms: NOW_MS + 30, accepted_again: false }));
}

#[test]
fn tabs_that_show_one_token_get_the_same_next_one_for_thirty_seconds_and_after_that_it_is_reused() {
    let by_tab = |token: u8| Refresh { is_shared: true, ..shown(token) };
    let second = rotated(refresh(&session(1, NOW_MS), &by_tab(1), NOW_MS));
    assert_eq!((second.token_hash, second.previous.unwrap().token_hash), ([101; 32], [1; 32]));
    for after_ms in [0, 10, 29_999, -29_999] {
        // However often, and whichever of both they have by then.
        for token in [1, 101] {
            let again = refresh(&second, &by_tab(token), NOW_MS + after_ms);
            assert_eq!(again, Decision::nothing(RefreshAnswer::Rotated(second.clone())), "{token} after {after_ms}");
        }
    }
    let reused = refresh(&second, &by_tab(1), NOW_MS + 30_000);
    assert_eq!(reused.answer, RefreshAnswer::Refused(RefreshRefusal::Reused));
    assert_eq!(reused.changes.unwrap().ended, [id(1)]);
    let third = rotated(refresh(&second, &by_tab(101), NOW_MS + 30_000));
    assert_eq!((third.token_hash, third.last_used_at_ms), ([201; 32], NOW_MS + 30_000));
    let of_long_ago = refresh(&third, &by_tab(1), NOW_MS + 30_001);
    assert_eq!(of_long_ago.answer, RefreshAnswer::Refused(RefreshRefusal::Reused));
    // Whoever isn't a tab is given another token each time.
    assert!(refresh(&second, &shown(101), NOW_MS + 10).changes.is_some());
    // One that a former secret of ours derived otherwise is accepted once more, as everybody's is.
    let otherwise = Refresh { next_token_hash: [50; 32], ..by_tab(1) };
    assert_eq!(rotated(refresh(&second, &otherwise, NOW_MS + 10)).token_hash, [50; 32]);
}

#[test]
fn a_refresh_is_refused_for_the_first_of_its_reasons_and_a_forged_family_changes_nothing() {
    let one = session(1, NOW_MS);
    let of = |change: fn(&mut UserRecord)| {
        let mut state = state(vec![one.clone()]);
        change(&mut state.user);
        on_refresh(&state, &shown(1), LIMITS, NOW_MS, &event())
    };
    let nothing = |refusal| Decision::nothing(RefreshAnswer::Refused(refusal));
    assert_eq!(of(|user| (user.disabled, user.locked) = (true, true)), nothing(RefreshRefusal::UserDisabled));
    assert_eq!(of(|user| (user.locked, user.reset_ends_at_ms) = (true, Some(1))), nothing(RefreshRefusal::UserLocked));
    assert_eq!(of(|user| user.reset_ends_at_ms = Some(1)), nothing(RefreshRefusal::PasswordChangeRequired));
    assert_eq!(refresh(&session(2, NOW_MS), &shown(1), NOW_MS), nothing(RefreshRefusal::Revoked));
    for token in [1, 9] {
        let forged = Refresh { family_hash: [8; 32], ..shown(token) };
        assert_eq!(refresh(&one, &forged, NOW_MS), nothing(RefreshRefusal::Invalid));
        assert_eq!(refresh(&one, &forged, NOW_MS + 10_000_000), nothing(RefreshRefusal::Invalid));
    }
    let dropped = |decision: Decision<RefreshAnswer>| (decision.answer, decision.changes.unwrap().ended);
    let expired = (RefreshAnswer::Refused(RefreshRefusal::Expired), vec![id(1)]);
    assert_eq!(dropped(refresh(&one, &shown(1), NOW_MS + 100_000)), expired, "idle");
    let ends = Session { ends_at_ms: NOW_MS + 10, ..one.clone() };
    assert_eq!(dropped(refresh(&ends, &shown(1), NOW_MS + 10)), expired, "absolute");
    assert!(matches!(refresh(&ends, &shown(1), NOW_MS + 9).answer, RefreshAnswer::Rotated(_)));
    // A release before sessions disabled and enabled the user.
    let before = Session { tokens_valid_from_ms: 4, ..one };
    let revoked = (RefreshAnswer::Refused(RefreshRefusal::Revoked), vec![id(1)]);
    assert_eq!(dropped(refresh(&before, &shown(1), NOW_MS)), revoked);
}

#[test]
fn steps_that_are_repeated_because_their_answer_was_lost_change_nothing_more() {
    let begun = start(&state(Vec::new()), "hash").changes.unwrap().put;
    assert_eq!(start(&state(begun.clone()), "hash"), Decision::nothing(SessionStart::Begun(begun[0].clone())));
    let second = rotated(refresh(&session(1, NOW_MS), &shown(1), NOW_MS));
    assert_eq!(refresh(&second, &shown(1), NOW_MS), Decision::nothing(RefreshAnswer::Rotated(second)));
}

#[test]
fn a_session_ends_by_its_id_or_by_any_token_of_its_family_and_all_end_with_tokens_that_have_none() {
    let both = state(vec![session(1, NOW_MS), session(2, NOW_MS)]);
    let ended = on_end(&both, &id(1), NOW_MS, &event());
    let changes = ended.changes.unwrap();
    assert_eq!((ended.answer, changes.ended, changes.member), (true, vec![id(1)], None));
    assert_eq!(on_end(&both, &id(3), NOW_MS, &event()), Decision::nothing(false));
    assert_eq!(on_end(&both, &id(1), NOW_MS + 100_000, &event()), Decision::nothing(false), "it is over by itself");
    assert_eq!(on_end_by_token(&both, &id(1), [8; 32], NOW_MS, &event()), Decision::nothing(false));
    assert_eq!(on_end_by_token(&both, &id(1), [7; 32], NOW_MS, &event()), on_end(&both, &id(1), NOW_MS, &event()));
    let all = on_end_all(&both, NOW_MS, &event());
    let changes = all.changes.unwrap();
    assert_eq!((all.answer, changes.ended), (2, vec![id(1), id(2)]));
    assert_eq!(changes.member.unwrap().tokens_valid_from_ms, NOW_MS);
    assert_eq!(changes.revocations.iter().map(|one| &one.revoked).collect::<Vec<_>>(), [&Revoked::Tokens]);
}
