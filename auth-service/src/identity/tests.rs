use super::*;
use crate::ids::SessionId;
use crate::store::AuditAction;
use crate::token_scopes::TokenScopes;
use crate::user_state::test_user::{LIMITS, NOW_MS, id, state};

fn new(number: usize) -> NewSession {
    NewSession {
        session_id: id(number),
        family_hash: [7; 32],
        token_hash: [1; 32],
        client: String::new(),
        address: None,
        method: SignInMethod::Issuer { issuer: "i".to_owned(), subject: "s".to_owned() },
        scopes: TokenScopes::All,
    }
}

fn event() -> AuditEvent {
    AuditEvent::new(AuditAction::SignInWithIssuer)
}

fn standing(state: &UserState) -> Standing {
    Standing { linked_to: Some(state.user.user_id.clone()), is_used: false }
}

fn begin(state: &UserState, standing: &Standing) -> IssuerSessionStart {
    on_issuer_sign_in(state, standing, &new(1), LIMITS, NOW_MS, &event()).answer
}

#[test]
fn of_whom_an_identity_was_proved_everything_that_keeps_a_user_out_keeps_them_out() {
    let good = state(Vec::new());
    assert!(matches!(begin(&good, &standing(&good)), IssuerSessionStart::Begun(session) if session.session_id == id(1)));
    assert_eq!(begin(&good, &Standing { is_used: true, ..standing(&good) }), IssuerSessionStart::ProofUsed);
    assert_eq!(begin(&good, &Standing { linked_to: None, is_used: false }), IssuerSessionStart::NotLinked);
    type Change = fn(&mut UserState);
    let out: [(Change, Refusal); 6] = [
        (|state| state.user.disabled = true, Refusal::UserDisabled),
        (|state| state.member.disabled = true, Refusal::UserDisabled),
        (|state| state.user.locked = true, Refusal::UserLocked),
        (|state| state.member.locked = true, Refusal::UserLocked),
        (|state| state.user.reset_ends_at_ms = Some(NOW_MS + 1), Refusal::PasswordChangeRequired),
        (|state| state.member.password_change_required = true, Refusal::PasswordChangeRequired),
    ];
    for (change, refusal) in out {
        let mut state = state(Vec::new());
        change(&mut state);
        assert_eq!(begin(&state, &standing(&state)), IssuerSessionStart::Refused(refusal));
    }
}

#[test]
fn no_two_identities_have_one_hash_whichever_part_a_character_belongs_to() {
    let hashes =
        [("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc"), ("c", "ab")].map(|(issuer, subject)| IdentityHash::of(issuer, subject));
    for (place, hash) in hashes.iter().enumerate() {
        assert!(!hashes[..place].contains(hash), "{place}");
    }
}

#[test]
fn a_token_without_a_session_links_nothing_and_an_api_key_neither() {
    let state = state(Vec::new());
    let proof = UsedProof { hash: [1; 32], ends_at_ms: NOW_MS };
    let proved = ProvedIdentity { issuer: "i".to_owned(), subject: "s".to_owned(), email: String::new(), proof };
    let standing = Standing { linked_to: None, is_used: false };
    let link = |asked_by| on_link(&state, &[], &standing, &asked_by, &proved, NOW_MS, &event()).answer;
    let token = |session: Option<SessionId>| PresentedCredential::AccessToken {
        user_id: state.user.user_id.clone(),
        session,
        issued_at_ms: NOW_MS,
    };
    assert_eq!(link(token(None)), LinkAnswer::RecentSignInRequired);
    assert_eq!(link(token(Some(id(9)))), LinkAnswer::Refused(Refusal::CredentialRevoked));
    assert_eq!(link(PresentedCredential::ApiKey { secret_hash: [0; 32] }), LinkAnswer::Refused(Refusal::CredentialUnknown));
}

#[test]
fn a_link_takes_a_proof_of_just_now_which_an_approved_device_has_not_and_the_second_factor_where_there_is_one() {
    let session = |method: SignInMethod, created_at_ms: i64, second_factor_at_ms: Option<i64>| Session {
        session_id: id(1),
        created_at_ms,
        last_used_at_ms: NOW_MS,
        refresh_expires_at_ms: NOW_MS + 1_000_000,
        ends_at_ms: NOW_MS + 1_000_000,
        tokens_valid_from_ms: state(Vec::new()).member.tokens_valid_from_ms,
        client: String::new(),
        address: None,
        method,
        scopes: TokenScopes::All,
        family_hash: [7; 32],
        token_hash: [1; 32],
        previous: None,
        second_factor_at_ms,
    };
    let link = |session: Session, has_factor: bool| {
        let mut state = state(vec![session]);
        if has_factor {
            let mut factor = second_factor::SecondFactor::begin(second_factor::TotpSecret::from_bytes([1; 20]), NOW_MS);
            factor.enabled_at_ms = Some(NOW_MS);
            state.second_factor = Some(factor);
        }
        let proof = UsedProof { hash: [1; 32], ends_at_ms: NOW_MS };
        let proved = ProvedIdentity { issuer: "i".to_owned(), subject: "s".to_owned(), email: String::new(), proof };
        let standing = Standing { linked_to: None, is_used: false };
        let user_id = state.user.user_id.clone();
        let asked_by = PresentedCredential::AccessToken { user_id, session: Some(id(1)), issued_at_ms: NOW_MS };
        matches!(on_link(&state, &[], &standing, &asked_by, &proved, NOW_MS, &event()).answer, LinkAnswer::Linked(_))
    };
    let long_ago_ms = NOW_MS - 20 * 60 * 1000;
    for (method, created_at_ms, proved_at_ms, has_factor, links) in [
        (SignInMethod::Password, NOW_MS, None, false, true),
        (SignInMethod::Password, long_ago_ms, None, false, false),
        (SignInMethod::Device, NOW_MS, None, false, false),
        (SignInMethod::Device, NOW_MS, Some(NOW_MS), true, true),
        (SignInMethod::Password, NOW_MS, None, true, false),
        (SignInMethod::Password, long_ago_ms, Some(NOW_MS), true, true),
        (SignInMethod::Password, long_ago_ms, Some(long_ago_ms), true, false),
    ] {
        let case = format!("{method:?} {created_at_ms} {proved_at_ms:?} {has_factor}");
        assert_eq!(link(session(method, created_at_ms, proved_at_ms), has_factor), links, "{case}");
    }
}
