//! Issuers' identities: who is signed in by one, what proofs leave, and what happens at once.

use std::sync::Arc;
use std::time::Duration;

use auth_service::device_sign_in::DeviceExchange;
use auth_service::identity::{IdentityHash, IssuerSessionStart, LinkAnswer, MAX_IDENTITIES, ProvedIdentity, UnlinkAnswer, UsedProof};
use auth_service::ids::{AccountId, SessionId, UserId};
use auth_service::second_factor::RECENT;
use auth_service::session::{NewSession, SignInMethod};
use auth_service::store::{IssuerUserCreation, NewUser, Refusal};

use crate::devices;
use crate::fixture::{Fixture, Home, Person, event, new_user, sqlite_file};
use crate::sessions::{Signed, credential, new_session};

const ISSUER: &str = "https://issuer.example";
/// Races of each kind.
const RACES: usize = 24;

fn proved_by(f: &Fixture, issuer: &str, subject: &str, proof: u8) -> ProvedIdentity {
    let proof = UsedProof { hash: [proof; 32], ends_at_ms: f.now_ms() + 600_000 };
    ProvedIdentity { issuer: issuer.to_owned(), subject: subject.to_owned(), email: "ada@example.com".to_owned(), proof }
}

fn proved(f: &Fixture, subject: &str, proof: u8) -> ProvedIdentity {
    proved_by(f, ISSUER, subject, proof)
}

fn session_of(proved: &ProvedIdentity, id: &SessionId) -> NewSession {
    let method = SignInMethod::Issuer { issuer: proved.issuer.clone(), subject: proved.subject.clone() };
    NewSession { method, ..new_session(id, "a client") }
}

/// A user who has no password.
fn user_by_issuer(name: &str) -> NewUser {
    NewUser { password_hash: String::new(), ..new_user(name, 7) }
}

impl Fixture {
    async fn first_sign_in(&self, name: &str, proved: &ProvedIdentity) -> IssuerUserCreation {
        let session = session_of(proved, &SessionId::random().unwrap());
        self.store.create_issuer_user(user_by_issuer(name), proved, session, event()).await.unwrap()
    }

    async fn by_identity(&self, id: &UserId, proved: &ProvedIdentity) -> (SessionId, IssuerSessionStart) {
        let session = SessionId::random().unwrap();
        let start = self.store.begin_issuer_session(id, proved, session_of(proved, &session), event()).await.unwrap();
        (session, start)
    }

    async fn link(&self, signed: &Signed, proved: &ProvedIdentity) -> LinkAnswer {
        self.store.link_identity(&signed.person.id, &credential(signed), proved, event()).await.unwrap().unwrap()
    }

    async fn unlink(&self, signed: &Signed, issuer: &str, subject: &str) -> UnlinkAnswer {
        let asked_by = credential(signed);
        self.store.unlink_identity(&signed.person.id, Some(&asked_by), (issuer, subject), event()).await.unwrap().unwrap()
    }

    /// A user whom an identity has signed in.
    async fn person_by_identity(&self, name: &str, proved: &ProvedIdentity) -> Signed {
        match self.first_sign_in(name, proved).await {
            IssuerUserCreation::Created(user, session) => {
                let account = AccountId::from(&user.user_id);
                Signed { person: Person { id: user.user_id, account }, id: session.session_id }
            }
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) async fn the_first_sign_in_makes_the_user_the_identity_and_the_session_in_one_step(f: Fixture) {
    let (recorded, ada) = (f.recorded_changes(), proved(&f, "1001", 1));
    let session = session_of(&ada, &SessionId::random().unwrap());
    let user = user_by_issuer("ada");
    let made = f.store.create_issuer_user(user.clone(), &ada, session.clone(), event()).await.unwrap();
    let IssuerUserCreation::Created(record, begun) = &made else { panic!("{made:?}") };
    assert_eq!((&record.user_id, record.password_hash.as_str(), &begun.method), (&user.user_id, "", &session.method));
    assert_eq!(f.recorded_changes() - recorded, 1);
    assert_eq!(f.store.user_of_identity(&ada.hash()).await.unwrap().as_ref(), Some(&user.user_id));
    let [identity] = <[_; 1]>::try_from(f.store.identities(&user.user_id).await.unwrap()).unwrap();
    assert_eq!(identity, ada.linked(f.now_ms()));
    let person = Person { account: AccountId::from(&user.user_id), id: user.user_id.clone() };
    assert_eq!(f.snapshot(&person).await.balance.available, 7);
    let signed = Signed { person, id: begun.session_id.clone() };
    assert_eq!(f.refusal(&signed).await, None);
    // A repetition, whose answer was lost.
    assert_eq!(f.store.create_issuer_user(user, &ada, session, event()).await.unwrap(), made);
    assert_eq!(f.recorded_changes() - recorded, 1);
    // Its proof was used, the identity and the name are taken, and nothing is left of what was tried.
    assert_eq!(f.first_sign_in("eve", &proved(&f, "2002", 1)).await, IssuerUserCreation::ProofUsed);
    assert_eq!(f.first_sign_in("eve", &proved(&f, "1001", 2)).await, IssuerUserCreation::IdentityTaken);
    assert_eq!(f.first_sign_in("ada", &proved(&f, "2002", 3)).await, IssuerUserCreation::NameTaken);
    assert_eq!(f.store.user_of_identity(&IdentityHash::of(ISSUER, "2002")).await.unwrap(), None);
    // The same subject of another issuer is somebody else.
    let other = f.person_by_identity("ada2", &proved_by(&f, "https://other.example", "1001", 4)).await;
    assert_ne!(other.person.id, signed.person.id);
    assert_eq!(f.recorded_changes() - recorded, 2);
}

pub(crate) async fn sixteen_first_sign_ins_at_once_with_one_identity_make_one_user(f: Fixture) {
    let f = Arc::new(f);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..16 {
        let (f, ada) = (Arc::clone(&f), proved(&f, "1001", number));
        tasks.spawn(async move { f.first_sign_in(&format!("ada{number}"), &ada).await });
    }
    let answers = tasks.join_all().await;
    let made: Vec<_> = answers.iter().filter(|answer| matches!(answer, IssuerUserCreation::Created(..))).collect();
    assert_eq!(made.len(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| **answer == IssuerUserCreation::IdentityTaken).count(), 15, "{answers:?}");
}

pub(crate) async fn sixteen_sign_ins_at_once_with_one_proof_begin_one_session(f: Fixture) {
    let ada = f.person_by_identity("ada", &proved(&f, "1001", 1)).await;
    let f = Arc::new(f);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (f, id, again) = (Arc::clone(&f), ada.person.id.clone(), proved(&f, "1001", 2));
        tasks.spawn(async move { f.by_identity(&id, &again).await.1 });
    }
    let answers = tasks.join_all().await;
    assert_eq!(answers.iter().filter(|answer| matches!(answer, IssuerSessionStart::Begun(_))).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| **answer == IssuerSessionStart::ProofUsed).count(), 15, "{answers:?}");
    assert_eq!(f.session_ids(&ada.person).await.len(), 2);
    // Its own repetition is answered as the first time.
    let (id, third) = (SessionId::random().unwrap(), proved(&f, "1001", 3));
    let begin = async || f.store.begin_issuer_session(&ada.person.id, &third, session_of(&third, &id), event()).await.unwrap();
    let first = begin().await;
    assert!(matches!(first, IssuerSessionStart::Begun(_)));
    assert_eq!(begin().await, first);
}

pub(crate) async fn a_proof_is_known_until_its_end_and_forgotten_then(f: Fixture) {
    let ada = f.person_by_identity("ada", &proved(&f, "1001", 1)).await;
    for number in 2..40 {
        f.by_identity(&ada.person.id, &proved(&f, "1001", number)).await;
    }
    f.advance(Duration::from_secs(601));
    assert!(matches!(f.by_identity(&ada.person.id, &proved(&f, "1001", 99)).await.1, IssuerSessionStart::Begun(_)));
    match &f.home {
        Home::Redis(server) => {
            // By Redis's own time, which the test doesn't move.
            let key = format!("tg:used_proofs:{}", "02".repeat(32));
            let left_ms: i64 = redis::cmd("PTTL").arg(key).query(&mut server.connection()).unwrap();
            assert!((1..=600_000).contains(&left_ms), "{left_ms}");
        }
        Home::Sqlite(folder) => {
            let connection = rusqlite::Connection::open(sqlite_file(folder.path())).unwrap();
            let kept: u32 = connection.query_row("SELECT count(*) FROM used_proofs", [], |row| row.get(0)).unwrap();
            assert!(kept <= 40 - 16, "each new one takes some with it: {kept}");
        }
    }
}

pub(crate) async fn a_sign_in_with_an_identity_looks_at_disabled_locked_reset_and_unlinked_in_its_own_step(f: Fixture) {
    let ada = f.person_by_identity("ada", &proved(&f, "1001", 1)).await;
    let id = ada.person.id.clone();
    let start = async |proof| f.by_identity(&id, &proved(&f, "1001", proof)).await.1;
    f.store.set_disabled(&id, true, "", event()).await.unwrap();
    assert_eq!(start(2).await, IssuerSessionStart::Refused(Refusal::UserDisabled));
    f.store.set_disabled(&id, false, "", event()).await.unwrap();
    f.store.set_locked(&id, true, "", event()).await.unwrap();
    assert_eq!(start(2).await, IssuerSessionStart::Refused(Refusal::UserLocked));
    f.store.set_locked(&id, false, "", event()).await.unwrap();
    // What was refused has used nothing up.
    assert!(matches!(start(2).await, IssuerSessionStart::Begun(_)));
    f.store.reset_password(&id, "$argon2id$one-time", event()).await.unwrap();
    assert_eq!(start(3).await, IssuerSessionStart::Refused(Refusal::PasswordChangeRequired));
    let bob = f.person("bob", 0).await;
    assert_eq!(f.by_identity(&bob.id, &proved(&f, "1001", 4)).await.1, IssuerSessionStart::NotLinked);
    assert_eq!(f.by_identity(&UserId::random().unwrap(), &proved(&f, "1001", 4)).await.1, IssuerSessionStart::NotLinked);
}

pub(crate) async fn a_sign_in_with_an_identity_that_races_a_disable_a_lock_or_an_unlink_leaves_no_session(f: Fixture) {
    let f = Arc::new(f);
    for race in 0..3 * RACES {
        let subject = race.to_string();
        let person = f.person(&format!("user{race}"), 20).await;
        let signed = f.sign_in(&person).await;
        let mut by = proved(&f, &subject, 0);
        by.proof.hash = hash_of(race, 0);
        assert!(matches!(f.link(&signed, &by).await, LinkAnswer::Linked(_)));
        by.proof.hash = hash_of(race, 1);
        let (g, id) = (Arc::clone(&f), person.id.clone());
        let begin = tokio::spawn(async move { g.by_identity(&id, &by).await });
        let (g, one) = (Arc::clone(&f), signed.clone());
        let end = tokio::spawn(async move {
            match race % 3 {
                0 => drop(g.store.set_disabled(&one.person.id, true, "", event()).await.unwrap()),
                1 => drop(g.store.set_locked(&one.person.id, true, "", event()).await.unwrap()),
                _ => assert!(matches!(g.unlink(&one, ISSUER, &subject).await, UnlinkAnswer::Unlinked { .. })),
            }
        });
        let (begun, ended) = tokio::join!(begin, end);
        ended.unwrap();
        let (id, start) = begun.unwrap();
        let session = Signed { person: person.clone(), id: id.clone() };
        assert!(f.refusal(&session).await.is_some(), "{race}: {start:?}");
        assert!(!f.session_ids(&person).await.contains(&id), "{race}: {start:?}");
        assert!(f.refresh(&session, 0, 1).await.is_err(), "{race}: {start:?}");
    }
}

fn hash_of(race: usize, number: u8) -> [u8; 32] {
    let mut hash = [number; 32];
    hash[..8].copy_from_slice(&(race as u64 + 1).to_be_bytes());
    hash
}

pub(crate) async fn an_identity_is_linked_once_to_one_user_by_a_recent_session_in_force(f: Fixture) {
    let (ada, bob) = (f.person("ada", 0).await, f.person("bob", 0).await);
    let (signed, other) = (f.sign_in(&ada).await, f.sign_in(&bob).await);
    let recorded = f.recorded_changes();
    let one = proved(&f, "1001", 1);
    let linked = f.link(&signed, &one).await;
    assert_eq!(linked, LinkAnswer::Linked(one.linked(f.now_ms())));
    assert_eq!(f.link(&signed, &one).await, linked, "a repetition, whose answer was lost");
    assert_eq!(f.recorded_changes() - recorded, 1);
    assert_eq!(f.link(&other, &proved(&f, "1001", 2)).await, LinkAnswer::Taken, "it signs another user in");
    assert_eq!(f.link(&signed, &proved(&f, "1001", 3)).await, LinkAnswer::Taken);
    assert_eq!(f.link(&signed, &proved(&f, "2002", 4)).await, LinkAnswer::Taken, "the user has one of this issuer");
    assert_eq!(f.link(&other, &proved(&f, "3003", 1)).await, LinkAnswer::ProofUsed);
    f.advance(RECENT + Duration::from_millis(1));
    assert_eq!(f.link(&other, &proved(&f, "3003", 5)).await, LinkAnswer::RecentSignInRequired);
    let fresh = f.sign_in(&bob).await;
    f.store.end_session(&bob.id, &other.id, event()).await.unwrap();
    assert_eq!(f.link(&other, &proved(&f, "3003", 5)).await, LinkAnswer::Refused(Refusal::CredentialRevoked));
    assert!(matches!(f.link(&fresh, &proved(&f, "3003", 5)).await, LinkAnswer::Linked(_)));
    for number in 1..MAX_IDENTITIES {
        let issuer = format!("https://{number}.example");
        let proof = u8::try_from(100 + number).unwrap();
        assert!(matches!(f.link(&fresh, &proved_by(&f, &issuer, "3003", proof)).await, LinkAnswer::Linked(_)), "{number}");
    }
    assert_eq!(f.store.identities(&bob.id).await.unwrap().len(), MAX_IDENTITIES);
    assert_eq!(f.link(&fresh, &proved_by(&f, "https://more.example", "3003", 200)).await, LinkAnswer::TooMany);
    f.store.set_disabled(&bob.id, true, "", event()).await.unwrap();
    assert_eq!(f.unlink(&fresh, ISSUER, "3003").await, UnlinkAnswer::Refused(Refusal::UserDisabled));
}

pub(crate) async fn unlinking_ends_the_sessions_that_the_identity_began_and_the_last_way_to_sign_in_stays(f: Fixture) {
    let ada = f.person_by_identity("ada", &proved(&f, "1001", 1)).await;
    assert_eq!(f.unlink(&ada, ISSUER, "1001").await, UnlinkAnswer::Last);
    assert_eq!(f.unlink(&ada, ISSUER, "2002").await, UnlinkAnswer::NotFound);
    let second = proved_by(&f, "https://second.example", "1", 2);
    assert!(matches!(f.link(&ada, &second).await, LinkAnswer::Linked(_)));
    let (by_second, start) = f.by_identity(&ada.person.id, &proved_by(&f, "https://second.example", "1", 3)).await;
    assert!(matches!(start, IssuerSessionStart::Begun(_)));
    assert_eq!(f.unlink(&ada, "https://second.example", "1").await, UnlinkAnswer::Unlinked { ended_sessions: 1 });
    assert_eq!(f.session_ids(&ada.person).await, std::slice::from_ref(&ada.id));
    let ended = Signed { person: ada.person.clone(), id: by_second };
    assert_eq!(f.refusal(&ended).await, Some(Refusal::CredentialRevoked));
    assert_eq!(f.refusal(&ada).await, None);
    assert_eq!(f.store.user_of_identity(&second.hash()).await.unwrap(), None);
    // It may be linked again, to anybody.
    let bob = f.person("bob", 0).await;
    let bob = f.sign_in(&bob).await;
    assert!(matches!(f.link(&bob, &proved_by(&f, "https://second.example", "1", 4)).await, LinkAnswer::Linked(_)));
    assert_eq!(f.unlink(&bob, "https://second.example", "1").await, UnlinkAnswer::Unlinked { ended_sessions: 0 }, "a password is left");
}

pub(crate) async fn unlinking_an_identity_ends_what_its_sessions_have_approved_for_devices(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let signed = f.sign_in(&ada).await;
    assert!(matches!(f.link(&signed, &proved(&f, "1001", 1)).await, LinkAnswer::Linked(_)));
    let (id, start) = f.by_identity(&ada.id, &proved(&f, "1001", 2)).await;
    assert!(matches!(start, IssuerSessionStart::Begun(_)));
    let by_identity = Signed { person: ada.clone(), id };
    let (of_a_session, open) = (f.approved(1, &by_identity).await, f.approved(2, &by_identity).await);
    let device = devices::begun(&ada, devices::exchange(&*f.store, &of_a_session, &ada).await).unwrap();
    assert_eq!(f.refusal(&device).await, None);
    // Whoever had the identity and has it no more: neither its session is left, nor what it let in.
    assert_eq!(f.unlink(&signed, ISSUER, "1001").await, UnlinkAnswer::Unlinked { ended_sessions: 2 });
    for ended in [&by_identity, &device] {
        assert_eq!(f.refusal(ended).await, Some(Refusal::CredentialRevoked));
        assert!(f.refresh(ended, 0, 1).await.is_err());
    }
    assert_eq!(devices::exchange(&*f.store, &open, &ada).await.1, DeviceExchange::ApprovalEnded);
    assert_eq!(f.session_ids(&ada).await, std::slice::from_ref(&signed.id));
    assert_eq!(f.refusal(&signed).await, None, "it began by the password");
}

pub(crate) async fn of_two_users_who_link_one_identity_at_once_one_has_it(f: Fixture) {
    let f = Arc::new(f);
    for race in 0..RACES {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..2 {
            let person = f.person(&format!("user{race}-{number}"), 0).await;
            let signed = f.sign_in(&person).await;
            let mut by = proved(&f, &race.to_string(), 0);
            by.proof.hash = hash_of(race, number);
            let f = Arc::clone(&f);
            tasks.spawn(async move { f.link(&signed, &by).await });
        }
        let answers = tasks.join_all().await;
        assert_eq!(answers.iter().filter(|answer| matches!(answer, LinkAnswer::Linked(_))).count(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|answer| **answer == LinkAnswer::Taken).count(), 1, "{answers:?}");
    }
}
