//! Sessions: how they begin, are kept and end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use auth_service::hold::Outcome;
use auth_service::ids::SessionId;
use auth_service::session::{MAX_SESSIONS, NewSession, Refresh, RefreshAnswer, RefreshRefusal, Session, SessionStart, Shown, SignInMethod};
use auth_service::store::{CheckAnswer, CheckRequest, ExtendAnswer, PresentedCredential, Refusal, Scope};
use auth_service::token_scopes::TokenScopes;

use crate::fixture::{Fixture, PASSWORD_HASH, Person, event, one_credit, permission, used};

const MINUTE: Duration = Duration::from_secs(60);

/// A session of a test, whose tokens are numbers.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    pub(crate) person: Person,
    pub(crate) id: SessionId,
}

pub(crate) fn new_session(id: &SessionId, client: &str) -> NewSession {
    NewSession {
        session_id: id.clone(),
        family_hash: [7; 32],
        token_hash: [0; 32],
        client: client.to_owned(),
        address: Some("192.0.2.7".parse().unwrap()),
        method: SignInMethod::Password,
        scopes: TokenScopes::Only(vec![Scope::Account]),
    }
}

pub(crate) fn shown(id: &SessionId, token: u8, next: u8) -> Refresh {
    Refresh {
        session_id: id.clone(),
        family_hash: [7; 32],
        token_hash: [token; 32],
        next_token_hash: [next; 32],
        is_shared: false,
        address: None,
    }
}

impl Fixture {
    /// Tries to begin a session with the password that this hash stands for.
    pub(crate) async fn begin(&self, person: &Person, verified: &str) -> (SessionId, SessionStart) {
        let id = SessionId::random().unwrap();
        let start = self.store.begin_session(&person.id, Shown::password(verified), new_session(&id, "a client"), event()).await.unwrap();
        (id, start)
    }

    pub(crate) async fn sign_in(&self, person: &Person) -> Signed {
        let (id, start) = self.begin(person, PASSWORD_HASH).await;
        assert!(matches!(&start, SessionStart::Begun(session) if session.session_id == id), "{start:?}");
        Signed { person: person.clone(), id }
    }

    pub(crate) async fn refresh(&self, signed: &Signed, token: u8, next: u8) -> Result<Session, RefreshRefusal> {
        match self.store.refresh_session(&signed.person.id, shown(&signed.id, token, next), event()).await.unwrap() {
            RefreshAnswer::Rotated(session) => Ok(session),
            RefreshAnswer::Refused(refusal) => Err(refusal),
        }
    }

    /// What a Check by the session's access token is refused for; once as one that is known, and once without a charge.
    pub(crate) async fn refusal(&self, signed: &Signed) -> Option<Refusal> {
        let by_hold = self.store.check(by_session(signed, Some("refusal"))).await.unwrap();
        let answers = [by_hold, self.store.check(by_session(signed, None)).await.unwrap()];
        let refusals = answers.map(|answer| if let CheckAnswer::Refused(refusal) = answer { Some(refusal) } else { None });
        assert_eq!(refusals[0], refusals[1]);
        refusals[0]
    }

    pub(crate) async fn session_ids(&self, person: &Person) -> Vec<SessionId> {
        self.store.sessions(&person.id).await.unwrap().into_iter().map(|session| session.session_id).collect()
    }
}

/// A Check by an access token of the session, which says that it was issued at the beginning of time.
pub(crate) fn by_session(signed: &Signed, request: Option<&str>) -> CheckRequest {
    CheckRequest {
        account: signed.person.account.clone(),
        credential: credential(signed),
        permission: permission(Scope::Chat),
        charge: request.map(|id| one_credit(id, "a")),
        caller_address: None,
    }
}

pub(crate) fn credential(signed: &Signed) -> PresentedCredential {
    PresentedCredential::AccessToken { user_id: signed.person.id.clone(), session: Some(signed.id.clone()), issued_at_ms: 0 }
}

pub(crate) async fn a_sessions_tokens_are_good_until_it_ends_and_no_longer(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let (one, other) = (f.sign_in(&ada).await, f.sign_in(&ada).await);
    let CheckAnswer::Held(principal, _) = f.store.check(by_session(&one, Some("r"))).await.unwrap() else { panic!("refused") };
    assert_eq!((principal.session_id, principal.key_secret), (Some(one.id.clone()), 0));
    assert_eq!((f.refusal(&one).await, f.refusal(&other).await), (None, None));
    assert!(f.store.end_session(&ada.id, &one.id, event()).await.unwrap());
    assert_eq!((f.refusal(&one).await, f.refusal(&other).await), (Some(Refusal::CredentialRevoked), None));
    assert_eq!(f.refresh(&one, 0, 1).await, Err(RefreshRefusal::Revoked));
    assert!(!f.store.end_session(&ada.id, &one.id, event()).await.unwrap(), "a repetition");
    assert_eq!(f.session_ids(&ada).await, [other.id]);
    // Of nobody, and of somebody else.
    let bob = f.person("bob", 0).await;
    let borrowed = Signed { person: bob.clone(), id: one.id };
    assert_eq!(f.refusal(&borrowed).await, Some(Refusal::CredentialRevoked));
    assert_eq!(f.refresh(&borrowed, 0, 1).await, Err(RefreshRefusal::Revoked));
}

pub(crate) async fn a_session_is_listed_as_it_began_and_the_one_used_last_comes_first(f: Fixture) {
    let ada = f.person("ada", 0).await;
    let (first, start) = f.begin(&ada, PASSWORD_HASH).await;
    let SessionStart::Begun(session) = start else { panic!("refused") };
    let NewSession { client, address, method, scopes, .. } = new_session(&first, "a client");
    assert_eq!((&session.client, session.address, &session.method, &session.scopes), (&client, address, &method, &scopes));
    assert_eq!((session.created_at_ms, session.last_used_at_ms), (f.now_ms(), f.now_ms()));
    assert_eq!(f.store.sessions(&ada.id).await.unwrap(), std::slice::from_ref(&session));
    // A repetition, whose answer was lost.
    let again = f.store.begin_session(&ada.id, Shown::password(PASSWORD_HASH), new_session(&first, "a client"), event()).await.unwrap();
    assert_eq!(again, SessionStart::Begun(session));
    f.advance(MINUTE);
    let second = f.sign_in(&ada).await;
    assert_eq!(f.session_ids(&ada).await, [second.id.clone(), first.clone()]);
    f.advance(MINUTE);
    let signed = Signed { person: ada.clone(), id: first.clone() };
    let refreshed = f.refresh(&signed, 0, 1).await.unwrap();
    assert_eq!((refreshed.last_used_at_ms, refreshed.address), (f.now_ms(), None));
    assert_eq!(f.session_ids(&ada).await, [first, second.id]);
}

pub(crate) async fn sixteen_refreshes_at_once_with_one_token_give_one_success_and_its_lost_reply_twin(f: Fixture) {
    let ada = f.person("ada", 5).await;
    let signed = f.sign_in(&ada).await;
    let f = Arc::new(f);
    let mut tasks = tokio::task::JoinSet::new();
    for next in 1..=16 {
        let (f, signed) = (Arc::clone(&f), signed.clone());
        tasks.spawn(async move { f.refresh(&signed, 0, next).await });
    }
    let answers = tasks.join_all().await;
    let count = |wanted: fn(&Result<Session, RefreshRefusal>) -> bool| answers.iter().filter(|answer| wanted(answer)).count();
    assert_eq!(count(Result::is_ok), 2, "{answers:?}");
    assert_eq!(count(|answer| *answer == Err(RefreshRefusal::Reused)), 1, "{answers:?}");
    assert_eq!(count(|answer| *answer == Err(RefreshRefusal::Revoked)), 13, "{answers:?}");
    // The third time ended the session: neither of both tokens is good.
    assert_eq!(f.refusal(&signed).await, Some(Refusal::CredentialRevoked));
    for token in 0..=16 {
        assert_eq!(f.refresh(&signed, token, 99).await, Err(RefreshRefusal::Revoked));
    }
}

pub(crate) async fn a_reused_refresh_token_ends_its_session_and_no_other(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let (one, other) = (f.sign_in(&ada).await, f.sign_in(&ada).await);
    for token in 0..3 {
        f.advance(MINUTE);
        f.refresh(&one, token, token + 1).await.unwrap();
    }
    assert_eq!(f.refusal(&one).await, None);
    assert_eq!(f.refresh(&one, 1, 9).await, Err(RefreshRefusal::Reused));
    assert_eq!(f.refresh(&one, 3, 4).await, Err(RefreshRefusal::Revoked), "the thief's, or the owner's");
    assert_eq!(f.refusal(&one).await, Some(Refusal::CredentialRevoked));
    assert_eq!(f.refusal(&other).await, None);
    assert!(f.refresh(&other, 0, 1).await.is_ok());
}

pub(crate) async fn a_lost_reply_is_made_good_once_within_thirty_seconds(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let signed = f.sign_in(&ada).await;
    f.refresh(&signed, 0, 1).await.unwrap();
    f.advance(Duration::from_millis(29_999));
    f.refresh(&signed, 0, 2).await.unwrap();
    assert_eq!(f.refresh(&signed, 2, 3).await.unwrap().session_id, signed.id);
    // Later than that it is reuse.
    let late = f.sign_in(&ada).await;
    f.refresh(&late, 0, 1).await.unwrap();
    f.advance(Duration::from_secs(30));
    assert_eq!(f.refresh(&late, 0, 2).await, Err(RefreshRefusal::Reused));
    // What the lost reply gave is reuse too, once the token before it was accepted again.
    let twice = f.sign_in(&ada).await;
    f.refresh(&twice, 0, 1).await.unwrap();
    f.refresh(&twice, 0, 2).await.unwrap();
    assert_eq!(f.refresh(&twice, 1, 3).await, Err(RefreshRefusal::Reused));
}

pub(crate) async fn a_token_with_a_forged_family_changes_nothing(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let signed = f.sign_in(&ada).await;
    f.refresh(&signed, 0, 1).await.unwrap();
    let before = f.store.sessions(&ada.id).await.unwrap();
    for token in [0, 1, 9] {
        let forged = Refresh { family_hash: [8; 32], ..shown(&signed.id, token, 2) };
        let answer = f.store.refresh_session(&ada.id, forged, event()).await.unwrap();
        assert_eq!(answer, RefreshAnswer::Refused(RefreshRefusal::Invalid));
        assert!(!f.store.end_session_of(&ada.id, &signed.id, [8; 32], event()).await.unwrap());
    }
    assert_eq!((f.store.sessions(&ada.id).await.unwrap(), f.refusal(&signed).await), (before, None));
    assert!(f.store.end_session_of(&ada.id, &signed.id, [7; 32], event()).await.unwrap(), "by whichever token of the family");
    assert_eq!(f.refusal(&signed).await, Some(Refusal::CredentialRevoked));
}

pub(crate) async fn a_session_ends_when_it_is_idle_and_at_its_absolute_end(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let (idle, kept) = (f.sign_in(&ada).await, f.sign_in(&ada).await);
    let (mut token, began_ms) = (0, f.now_ms());
    let ends_ms = began_ms + i64::try_from(f.limits.session_lifetime.as_millis()).unwrap();
    let step = f.limits.session_idle - Duration::from_millis(1);
    while f.now_ms() + i64::try_from(step.as_millis()).unwrap() < ends_ms {
        f.advance(step);
        let refreshed = f.refresh(&kept, token, token + 1).await.unwrap();
        assert_eq!(refreshed.ends_at_ms, ends_ms);
        token += 1;
        if token == 1 {
            f.advance(Duration::from_millis(1));
            assert_eq!(f.refresh(&idle, 0, 1).await, Err(RefreshRefusal::Expired));
            assert_eq!(f.refresh(&idle, 0, 1).await, Err(RefreshRefusal::Revoked), "it is dropped");
            f.refresh(&kept, token, token + 1).await.unwrap();
            token += 1;
        }
    }
    f.advance(Duration::from_millis(u64::try_from(ends_ms - f.now_ms() - 1).unwrap()));
    assert_eq!(f.refusal(&kept).await, None);
    f.advance(Duration::from_millis(1));
    assert_eq!(f.refusal(&kept).await, Some(Refusal::CredentialExpired));
    assert_eq!(f.session_ids(&ada).await, []);
    assert_eq!(f.refresh(&kept, token, token + 1).await, Err(RefreshRefusal::Expired));
}

pub(crate) async fn of_more_than_a_hundred_sessions_the_one_unused_for_longest_ends(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let mut all = Vec::new();
    for _ in 0..MAX_SESSIONS {
        f.advance(Duration::from_millis(1));
        all.push(f.sign_in(&ada).await);
    }
    f.advance(Duration::from_millis(1));
    f.refresh(&all[0], 0, 1).await.unwrap();
    f.advance(Duration::from_millis(1));
    let newest = f.sign_in(&ada).await;
    assert_eq!((f.refusal(&all[0]).await, f.refusal(&all[1]).await), (None, Some(Refusal::CredentialRevoked)));
    let kept: BTreeSet<_> = f.session_ids(&ada).await.into_iter().collect();
    assert_eq!(kept.len(), MAX_SESSIONS);
    assert!(kept.contains(&newest.id) && kept.contains(&all[0].id) && !kept.contains(&all[1].id));
}

pub(crate) async fn a_refresh_changes_nothing_that_a_running_call_depends_on(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let signed = f.sign_in(&ada).await;
    let CheckAnswer::Held(_, held) = f.store.check(by_session(&signed, Some("r"))).await.unwrap() else { panic!("refused") };
    f.advance(Duration::from_secs(1));
    f.refresh(&signed, 0, 1).await.unwrap();
    let answer = f.store.extend(&held.terms, used(3)).await.unwrap();
    assert!(matches!(answer, ExtendAnswer::Extended { .. }), "{answer:?}");
    f.refresh(&signed, 1, 2).await.unwrap();
    let record = f.settle(&held.terms, Outcome::Completed, 5).await;
    assert_eq!(record.resolved.unwrap().charged_credits, 1);
    // The token that it was held with is as good as before.
    assert_eq!(f.refusal(&signed).await, None);
}

pub(crate) async fn ending_all_sessions_ends_tokens_that_have_none_and_lets_the_user_sign_in_again(f: Fixture) {
    let ada = f.person("ada", 20).await;
    // As a release before sessions issued it: it counts until it ends.
    let of_before = f.request(&ada, None);
    let signed = [f.sign_in(&ada).await, f.sign_in(&ada).await];
    assert!(matches!(f.store.check(of_before.clone()).await.unwrap(), CheckAnswer::Allowed(_)));
    f.advance(Duration::from_secs(1));
    assert_eq!(f.store.end_all_sessions(&ada.id, event()).await.unwrap(), Some(2));
    for one in &signed {
        assert_eq!(f.refusal(one).await, Some(Refusal::CredentialRevoked));
    }
    assert_eq!(f.store.check(of_before).await.unwrap(), CheckAnswer::Refused(Refusal::CredentialRevoked));
    let again = f.sign_in(&ada).await;
    assert_eq!((f.refusal(&again).await, f.session_ids(&ada).await), (None, vec![again.id]));
    assert!(matches!(f.store.check(f.request(&ada, None)).await.unwrap(), CheckAnswer::Allowed(_)));
    assert_eq!(f.store.end_all_sessions(&f.person("bob", 0).await.id, event()).await.unwrap(), Some(0));
    let nobody = auth_service::ids::UserId::random().unwrap();
    assert_eq!(f.store.end_all_sessions(&nobody, event()).await.unwrap(), None);
    let (person, id) = (Person { account: (&nobody).into(), id: nobody }, SessionId::random().unwrap());
    assert_eq!(f.begin(&person, PASSWORD_HASH).await.1, SessionStart::Refused);
    assert_eq!(f.refresh(&Signed { person: person.clone(), id: id.clone() }, 0, 1).await, Err(RefreshRefusal::Invalid));
    assert!(!f.store.end_session(&person.id, &id, event()).await.unwrap());
    assert_eq!(f.session_ids(&person).await, []);
}
