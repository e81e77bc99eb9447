//! Sign-ins with one issuer's identity, links and unlinks of it, and what keeps users out, by several processes at once, compared with what
//! was promised.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

use auth_service::identity::{IssuerSessionStart, LinkAnswer, ProvedIdentity, UnlinkAnswer};
use auth_service::ids::{SessionId, UserId};
use auth_service::session::{SessionStart, Shown};
use auth_service::store::clock::Clock;
use auth_service::store::sqlite::SqliteStore;
use auth_service::store::{IssuerUserCreation, Store, StoreLimits};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::fixture::{PASSWORD_HASH, Person, RedisServer, event, new_user, sqlite_file};
use crate::identity::{by, check, new_session};
use crate::identity_together::several_threads;
use crate::issuer_identities::{proved, session_by, user_by_issuer};

const ISSUER: &str = "https://issuer.example";

/// What is done at once, by one of two users or by nobody who is known.
#[derive(Debug, Clone, Copy)]
enum Together {
    FirstSignIn,
    /// With a proof of its own.
    SignIn(usize),
    /// With the proof that all of these show.
    SignInByOneProof(usize),
    Link(usize),
    Unlink(usize),
    EndAll(usize),
    Disable(usize, bool),
    Lock(usize, bool),
}

fn together() -> impl Strategy<Value = Together> {
    let user = || 0..2_usize;
    prop_oneof![
        2 => Just(Together::FirstSignIn),
        5 => user().prop_map(Together::SignIn),
        3 => user().prop_map(Together::SignInByOneProof),
        5 => user().prop_map(Together::Link),
        4 => user().prop_map(Together::Unlink),
        1 => user().prop_map(Together::EndAll),
        1 => (user(), any::<bool>()).prop_map(|(user, disabled)| Together::Disable(user, disabled)),
        1 => (user(), any::<bool>()).prop_map(|(user, locked)| Together::Lock(user, locked)),
    ]
}

/// What one of those at once came to.
#[derive(Debug, PartialEq)]
enum Came {
    Created(UserId, SessionId),
    Begun { user: usize, session: SessionId, by_one_proof: bool },
    Linked,
    Unlinked,
    Nothing,
}

/// One of the two users, with a session that just began.
#[derive(Debug, Clone)]
struct Signed {
    person: Person,
    session: SessionId,
}

/// What those of a round share.
struct Round {
    subject: String,
    users: [Signed; 2],
}

impl Round {
    /// The identity that this round is about.
    fn proved(&self, proof: u8) -> ProvedIdentity {
        let mut hash = [proof; 32];
        hash[..12].copy_from_slice(&self.users[0].session.as_str().as_bytes()[..12]);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        proved(ISSUER.to_owned(), self.subject.clone(), hash, now.as_millis() as i64)
    }
}

/// Plays rounds of what comes at once, and compares after each what all of it together promises.
fn keep_their_promises(runtime: &Runtime, stores: &[Arc<dyn Store>]) {
    let cases = Cell::new(0);
    let config = ProptestConfig { cases: 24, failure_persistence: None, max_shrink_iters: 16, ..ProptestConfig::default() };
    let round = || (any::<bool>(), proptest::collection::vec(together(), 2..10));
    proptest!(config, |(rounds in proptest::collection::vec(round(), 1..5))| {
        cases.set(cases.get() + 1);
        runtime.block_on(play(stores, &format!("case{}", cases.get()), &rounds));
    });
}

async fn play(stores: &[Arc<dyn Store>], name: &str, rounds: &[(bool, Vec<Together>)]) {
    let mut people = Vec::new();
    for user in ["ada", "bob"] {
        let user = new_user(&format!("{name}-{user}"), 5);
        people.push(Person { id: user.user_id.clone(), account: (&user.user_id).into() });
        stores[0].create_user(user, event()).await.unwrap();
    }
    for (number, (is_linked, actions)) in rounds.iter().enumerate() {
        // Each round with users who may sign in, and with another identity, which the first one has or nobody.
        let [ada, bob] = [begin(&*stores[0], &people[0]).await, begin(&*stores[0], &people[1]).await];
        let round = Arc::new(Round { subject: format!("{name} {number}"), users: [ada, bob] });
        if *is_linked {
            assert_eq!(link(&*stores[0], &round, 0, 255).await, Came::Linked);
        }
        let mut tasks = tokio::task::JoinSet::new();
        for (place, action) in actions.iter().copied().enumerate() {
            let (store, round) = (Arc::clone(&stores[place % stores.len()]), Arc::clone(&round));
            let name = format!("{name}-{number}-{place}");
            tasks.spawn(async move { perform(&*store, &round, action, &name, place as u8).await });
        }
        let came = tasks.join_all().await;
        promised(&*stores[0], &round, *is_linked, actions, &came).await;
        // Whoever has it gives it back: they may have one of an issuer.
        for person in &people {
            let signed = begin(&*stores[0], person).await;
            let of = (ISSUER, round.subject.as_str());
            stores[0].unlink_identity(&person.id, Some(&by(person, Some(&signed.session), 0)), of, event()).await.unwrap();
        }
    }
}

async fn begin(store: &dyn Store, person: &Person) -> Signed {
    store.set_locked(&person.id, false, "", event()).await.unwrap();
    store.set_disabled(&person.id, false, "", event()).await.unwrap();
    let session = SessionId::random().unwrap();
    let begun = store.begin_session(&person.id, Shown::password(PASSWORD_HASH), new_session(&session, 1), event()).await.unwrap();
    assert!(matches!(begun, SessionStart::Begun(_)), "{begun:?}");
    Signed { person: person.clone(), session }
}

async fn link(store: &dyn Store, round: &Round, user: usize, proof: u8) -> Came {
    let Signed { person, session } = &round.users[user];
    match store.link_identity(&person.id, &by(person, Some(session), 0), &round.proved(proof), event()).await.unwrap().unwrap() {
        LinkAnswer::Linked(_) => Came::Linked,
        _ => Came::Nothing,
    }
}

async fn perform(store: &dyn Store, round: &Round, action: Together, name: &str, place: u8) -> Came {
    let person = |user: usize| &round.users[user].person;
    match action {
        Together::FirstSignIn => {
            let (proved, session, user) = (round.proved(place), SessionId::random().unwrap(), user_by_issuer(name));
            let id = user.user_id.clone();
            match store.create_issuer_user(user, &proved, session_by(&proved, &session), event()).await.unwrap() {
                IssuerUserCreation::Created(..) => Came::Created(id, session),
                _ => Came::Nothing,
            }
        }
        Together::SignIn(user) | Together::SignInByOneProof(user) => {
            let by_one_proof = matches!(action, Together::SignInByOneProof(_));
            let (proved, session) = (round.proved(if by_one_proof { 254 } else { place }), SessionId::random().unwrap());
            match store.begin_issuer_session(&person(user).id, &proved, session_by(&proved, &session), event()).await.unwrap() {
                IssuerSessionStart::Begun(_) => Came::Begun { user, session, by_one_proof },
                _ => Came::Nothing,
            }
        }
        Together::Link(user) => link(store, round, user, place).await,
        Together::Unlink(user) => {
            let Signed { person, session } = &round.users[user];
            let of = (ISSUER, round.subject.as_str());
            match store.unlink_identity(&person.id, Some(&by(person, Some(session), 0)), of, event()).await.unwrap().unwrap() {
                UnlinkAnswer::Unlinked { .. } => Came::Unlinked,
                _ => Came::Nothing,
            }
        }
        Together::EndAll(user) => {
            store.end_all_sessions(&person(user).id, event()).await.unwrap();
            Came::Nothing
        }
        Together::Disable(user, disabled) => {
            store.set_disabled(&person(user).id, disabled, "", event()).await.unwrap();
            Came::Nothing
        }
        Together::Lock(user, locked) => {
            store.set_locked(&person(user).id, locked, "", event()).await.unwrap();
            Came::Nothing
        }
    }
}

/// What holds whichever came first.
async fn promised(store: &dyn Store, round: &Round, was_linked: bool, actions: &[Together], came: &[Came]) {
    let count = |is: fn(&Came) -> bool| came.iter().filter(|one| is(one)).count();
    // It signs one user in or nobody, as those who linked it and unlinked it were told, and the users' own lists say.
    let holder = store.user_of_identity(&round.proved(0).hash()).await.unwrap();
    let linked = usize::from(was_linked) + count(|one| matches!(one, Came::Linked | Came::Created(..)));
    assert_eq!(linked - count(|one| *one == Came::Unlinked), usize::from(holder.is_some()), "{actions:?} {came:?}");
    let created = came.iter().filter_map(|one| if let Came::Created(id, session) = one { Some((id, session)) } else { None });
    let created: Vec<_> = created.collect();
    let known = round.users.iter().map(|user| &user.person.id);
    for id in known.chain(created.iter().map(|(id, _)| *id)) {
        let has = store.identities(id).await.unwrap().iter().any(|one| one.issuer == ISSUER && one.subject == round.subject);
        assert_eq!(has, holder.as_ref() == Some(id), "{actions:?} {came:?}");
    }
    for (id, session) in created {
        // Nobody here takes it from them.
        assert_eq!(holder.as_ref(), Some(id), "{actions:?} {came:?}");
        assert!(store.sessions(id).await.unwrap().iter().any(|one| one.session_id == *session), "{actions:?} {came:?}");
    }
    assert!(count(|one| matches!(one, Came::Begun { by_one_proof: true, .. })) <= 1, "a proof is good once: {actions:?} {came:?}");
    for (number, Signed { person, .. }) in round.users.iter().enumerate() {
        let live: BTreeSet<_> = store.sessions(&person.id).await.unwrap().into_iter().map(|one| one.session_id).collect();
        let user = store.user_by_id(&person.id).await.unwrap().unwrap();
        if user.disabled || user.locked {
            assert_eq!(live, BTreeSet::new(), "{actions:?} {came:?}");
        }
        let ends = |action: &Together| match action {
            Together::Unlink(user) | Together::EndAll(user) | Together::Disable(user, _) | Together::Lock(user, _) => *user == number,
            _ => false,
        };
        for one in came {
            let Came::Begun { user, session, .. } = one else { continue };
            if *user != number {
                continue;
            }
            let is_live = live.contains(session);
            assert!(!is_live || holder.as_ref() == Some(&person.id), "unlinking ends it: {actions:?} {came:?}");
            assert!(is_live || actions.iter().any(ends), "nothing has ended it: {actions:?} {came:?}");
            let answer = check(store, person, by(person, Some(session), 0)).await;
            assert_eq!(answer == "Allowed", is_live, "{answer}: {actions:?} {came:?}");
        }
    }
}

#[test]
fn what_sqlite_promises_of_issuers_identities_to_many_at_once_is_kept() {
    let (runtime, folder) = (several_threads(), tempfile::tempdir().unwrap());
    let store = runtime.block_on(async { SqliteStore::open(&sqlite_file(folder.path()), StoreLimits::default(), Clock::Store).unwrap() });
    keep_their_promises(&runtime, &[Arc::new(store)]);
}

#[test]
fn what_redis_promises_of_issuers_identities_to_many_processes_at_once_is_kept() {
    let (runtime, server) = (several_threads(), RedisServer::start(&["--appendfsync", "no"]));
    let mut stores: Vec<Arc<dyn Store>> = Vec::new();
    for _ in 0..3 {
        stores.push(Arc::new(runtime.block_on(server.store(StoreLimits::default(), Clock::Store))));
    }
    keep_their_promises(&runtime, &stores);
}
