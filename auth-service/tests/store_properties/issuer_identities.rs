//! Random sign-ins with issuers' identities, links and unlinks, beside what keeps a user out, one after the other, compared with a plain
//! model.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};

use auth_service::identity::{IdentityHash, IssuerSessionStart, LinkAnswer, ProvedIdentity, UnlinkAnswer, UsedProof};
use auth_service::ids::SessionId;
use auth_service::session::{NewSession, SessionStart, Shown, SignInMethod};
use auth_service::store::clock::Clock;
use auth_service::store::sqlite::SqliteStore;
use auth_service::store::{IssuerUserCreation, NewUser, Store, StoreLimits};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::current_thread;
use crate::fixture::{RedisServer, START_MS, event, new_user, sqlite_file};
use crate::identity::{by, check, new_session};
use crate::issuer_model::{Back, Linked, MINUTE_MS, Model, OVER, Proof, User, issuer, subject};

/// Identities, of two issuers: two in a row have one subject.
const IDENTITIES: usize = 6;

/// Users are counted from the first one on, and round again behind the last.
#[derive(Debug, Clone)]
enum Step {
    /// Of somebody who would be a new user.
    FirstSignIn {
        identity: usize,
        proof: Proof,
    },
    SignIn {
        user: usize,
        identity: usize,
        proof: Proof,
    },
    /// With the password in force.
    Begin {
        user: usize,
    },
    Link {
        user: usize,
        session: Back,
        identity: usize,
        proof: Proof,
    },
    Unlink {
        user: usize,
        session: Back,
        identity: usize,
    },
    Check {
        user: usize,
        session: Back,
    },
    EndAll {
        user: usize,
    },
    Disable {
        user: usize,
        disabled: bool,
    },
    Lock {
        user: usize,
        locked: bool,
    },
    Reset {
        user: usize,
    },
    CompleteReset {
        user: usize,
    },
    Wait {
        ms: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let user = || prop_oneof![3 => Just(0_usize), 2 => 1..4_usize];
    let session = || prop_oneof![4 => Just(0_usize), 1 => 1..4_usize];
    let identity = || prop_oneof![2 => Just(0_usize), 3 => 0..IDENTITIES];
    let proof = || prop_oneof![5 => Just(Proof::Fresh), 1 => (0..4_usize).prop_map(Proof::Again)];
    let seldom = || prop_oneof![1 => Just(true), 2 => Just(false)];
    prop_oneof![
        2 => (identity(), proof()).prop_map(|(identity, proof)| Step::FirstSignIn { identity, proof }),
        8 => (user(), identity(), proof()).prop_map(|(user, identity, proof)| Step::SignIn { user, identity, proof }),
        4 => user().prop_map(|user| Step::Begin { user }),
        8 => (user(), session(), identity(), proof())
            .prop_map(|(user, session, identity, proof)| Step::Link { user, session, identity, proof }),
        5 => (user(), session(), identity()).prop_map(|(user, session, identity)| Step::Unlink { user, session, identity }),
        3 => (user(), session()).prop_map(|(user, session)| Step::Check { user, session }),
        1 => user().prop_map(|user| Step::EndAll { user }),
        1 => (user(), seldom()).prop_map(|(user, disabled)| Step::Disable { user, disabled }),
        1 => (user(), seldom()).prop_map(|(user, locked)| Step::Lock { user, locked }),
        1 => user().prop_map(|user| Step::Reset { user }),
        2 => user().prop_map(|user| Step::CompleteReset { user }),
        3 => prop_oneof![4 => 1..1000_i64, 1 => Just(15 * MINUTE_MS)].prop_map(|ms| Step::Wait { ms }),
    ]
}

/// A user who has no password.
pub(crate) fn user_by_issuer(name: &str) -> NewUser {
    NewUser { password_hash: String::new(), ..new_user(name, 5) }
}

/// Good for longer than any list of steps takes.
pub(crate) fn proved(issuer: String, subject: String, hash: [u8; 32], now_ms: i64) -> ProvedIdentity {
    let proof = UsedProof { hash, ends_at_ms: now_ms + 1_000_000_000 };
    ProvedIdentity { issuer, subject, email: String::new(), proof }
}

pub(crate) fn session_by(proved: &ProvedIdentity, id: &SessionId) -> NewSession {
    let method = SignInMethod::Issuer { issuer: proved.issuer.clone(), subject: proved.subject.clone() };
    NewSession { method, ..new_session(id, 1) }
}

/// Does a step on a store and on the model; both answers in words.
async fn both(store: &dyn Store, name: &str, model: &mut Model, step: &Step) -> (String, String) {
    let nothing = || (String::new(), String::new());
    let now_ms = model.now_ms;
    let known = |model: &Model, user: usize| user % model.users.len();
    let place = |model: &Model, user: usize, back: Back| model.users[user].sessions.len().checked_sub(1 + back);
    let shown = |model: &mut Model, identity: usize, proof: Proof| {
        proved(issuer(identity), format!("{name} {}", subject(identity)), model.proof(proof), now_ms)
    };
    match *step {
        Step::FirstSignIn { identity, proof } => {
            let new = user_by_issuer(&format!("{name}-{}", model.users.len()));
            let (proved, session) = (shown(model, identity, proof), SessionId::random().unwrap());
            let made = store.create_issuer_user(new.clone(), &proved, session_by(&proved, &session), event()).await.unwrap();
            let made = match made {
                IssuerUserCreation::Created(..) => "Created".to_owned(),
                other => format!("{other:?}"),
            };
            (made, model.first_sign_in(&new, identity, proved.proof.hash, session).to_owned())
        }
        Step::SignIn { user, identity, proof } => {
            let user = known(model, user);
            let (proved, session) = (shown(model, identity, proof), SessionId::random().unwrap());
            let id = model.users[user].person.id.clone();
            let start = match store.begin_issuer_session(&id, &proved, session_by(&proved, &session), event()).await.unwrap() {
                IssuerSessionStart::Begun(_) => "Begun".to_owned(),
                IssuerSessionStart::Refused(refusal) => format!("{refusal:?}"),
                other => format!("{other:?}"),
            };
            (start, model.sign_in(user, identity, proved.proof.hash, session).to_owned())
        }
        Step::Begin { user } => {
            let user = known(model, user);
            let user = &mut model.users[user];
            if user.password.is_empty() {
                return nothing();
            }
            let session = SessionId::random().unwrap();
            let shown = Shown::password(&user.password);
            let start = store.begin_session(&user.person.id, shown, new_session(&session, 1), event()).await.unwrap();
            let expected = match user.refusal() {
                Some(_) => "Refused",
                None if user.is_reset => "PasswordChangeRequired",
                None => {
                    user.begin(session, None, now_ms);
                    "Begun"
                }
            };
            (if matches!(start, SessionStart::Begun(_)) { "Begun".to_owned() } else { format!("{start:?}") }, expected.to_owned())
        }
        Step::Link { user, session, identity, proof } => {
            let user = known(model, user);
            let Some(session) = place(model, user, session) else { return nothing() };
            let proved = shown(model, identity, proof);
            let person = &model.users[user].person;
            let asked_by = by(person, Some(&model.users[user].sessions[session].id), 0);
            let answer = match store.link_identity(&person.id, &asked_by, &proved, event()).await.unwrap().unwrap() {
                LinkAnswer::Linked(_) => "Linked".to_owned(),
                LinkAnswer::Refused(refusal) => over(&format!("{refusal:?}")),
                other => format!("{other:?}"),
            };
            (answer, model.link(user, session, identity, proved.proof.hash).to_owned())
        }
        Step::Unlink { user, session, identity } => {
            let user = known(model, user);
            let Some(session) = place(model, user, session) else { return nothing() };
            let person = &model.users[user].person;
            let asked_by = by(person, Some(&model.users[user].sessions[session].id), 0);
            let of = (issuer(identity), format!("{name} {}", subject(identity)));
            let answer = match store.unlink_identity(&person.id, Some(&asked_by), (&of.0, &of.1), event()).await.unwrap().unwrap() {
                UnlinkAnswer::Unlinked { ended_sessions } => format!("Unlinked({ended_sessions})"),
                UnlinkAnswer::Refused(refusal) => over(&format!("{refusal:?}")),
                other => format!("{other:?}"),
            };
            (answer, model.unlink(user, session, identity))
        }
        Step::Check { user, session } => {
            let user = known(model, user);
            let Some(session) = place(model, user, session) else { return nothing() };
            let user = &model.users[user];
            let answer = check(store, &user.person, by(&user.person, Some(&user.sessions[session].id), 0)).await;
            (over(&answer), user.acting(session).map_or_else(str::to_owned, |_| "Allowed".to_owned()))
        }
        _ => state_change(store, model, step).await,
    }
}

/// What has to do with a user alone.
async fn state_change(store: &dyn Store, model: &mut Model, step: &Step) -> (String, String) {
    let (now_ms, users) = (model.now_ms, model.users.len());
    match *step {
        Step::EndAll { user } => {
            let user = &mut model.users[user % users];
            let ended = store.end_all_sessions(&user.person.id, event()).await.unwrap().unwrap();
            (ended.to_string(), user.end(|_| true).to_string())
        }
        Step::Disable { user, disabled } => {
            let user = &mut model.users[user % users];
            let changed = store.set_disabled(&user.person.id, disabled, "", event()).await.unwrap().unwrap().changed;
            let changes = user.disabled != disabled;
            if changes {
                user.end(|_| true);
                user.disabled = disabled;
            }
            (changed.to_string(), changes.to_string())
        }
        Step::Lock { user, locked } => {
            let user = &mut model.users[user % users];
            let changed = store.set_locked(&user.person.id, locked, "", event()).await.unwrap().unwrap().changed;
            let changes = user.locked != locked;
            if changes {
                user.end(|_| true);
                user.locked = locked;
            }
            (changed.to_string(), changes.to_string())
        }
        Step::Reset { user } => {
            let user = &mut model.users[user % users];
            user.password = format!("one time {now_ms}");
            store.reset_password(&user.person.id, &user.password, event()).await.unwrap().unwrap();
            user.end(|_| true);
            user.is_reset = true;
            (String::new(), String::new())
        }
        Step::CompleteReset { user } => {
            let user = &mut model.users[user % users];
            let (session, new) = (SessionId::random().unwrap(), format!("chosen {now_ms}"));
            let shown = Shown::password(&user.password);
            let start = store.complete_password_reset(&user.person.id, shown, &new, new_session(&session, 1), event()).await.unwrap();
            let completes = user.is_reset && user.refusal().is_none();
            if completes {
                (user.password, user.is_reset) = (new, false);
                user.begin(session, None, now_ms);
            }
            (matches!(start, SessionStart::Begun(_)).to_string(), completes.to_string())
        }
        _ => (String::new(), String::new()),
    }
}

fn over(answer: &str) -> String {
    answer.replace("CredentialExpired", OVER).replace("CredentialRevoked", OVER)
}

/// Whom each identity signs in, what each user has, and which sessions are live: the same in both.
async fn compare(store: &dyn Store, name: &str, model: &Model) -> Result<(), TestCaseError> {
    for identity in 0..IDENTITIES {
        let hash = IdentityHash::of(&issuer(identity), &format!("{name} {}", subject(identity)));
        let holder = model.holder(identity).map(|user| model.users[user].person.id.clone());
        prop_assert_eq!(store.user_of_identity(&hash).await.unwrap(), holder, "identity {}", identity);
    }
    for user in &model.users {
        let listed = store.identities(&user.person.id).await.unwrap();
        let listed: Vec<_> = listed.into_iter().map(|one| (one.linked_at_ms, one.issuer, one.subject, one.linked_by)).collect();
        let known = |one: &Linked| (one.at_ms, issuer(one.identity), format!("{name} {}", subject(one.identity)), one.proof);
        let mut linked: Vec<_> = user.linked.iter().map(known).collect();
        linked.sort();
        prop_assert_eq!(listed, linked);
        let sessions: BTreeSet<_> = store.sessions(&user.person.id).await.unwrap().into_iter().map(|one| one.session_id).collect();
        let live: BTreeSet<_> = user.sessions.iter().filter(|one| one.live).map(|one| one.id.clone()).collect();
        prop_assert_eq!(sessions, live);
    }
    Ok(())
}

async fn agree(store: &dyn Store, hand: &AtomicI64, name: &str, steps: &[Step]) -> Result<BTreeSet<String>, TestCaseError> {
    hand.store(START_MS, Ordering::SeqCst);
    let users = ["ada", "bob"].map(|user| new_user(&format!("{name}-{user}"), 5));
    let mut model = Model { now_ms: START_MS, users: users.iter().map(User::new).collect(), proofs: Vec::new(), used: BTreeSet::new() };
    for user in users {
        store.create_user(user, event()).await.unwrap();
    }
    let mut reached = BTreeSet::new();
    for (number, step) in steps.iter().enumerate() {
        if let Step::Wait { ms } = step {
            hand.fetch_add(*ms, Ordering::SeqCst);
            model.now_ms += ms;
        }
        let (answer, expected) = both(store, name, &mut model, step).await;
        prop_assert_eq!(&answer, &expected, "step {}: {:?}", number, step);
        compare(store, name, &model).await?;
        reached.insert(answer);
    }
    Ok(reached)
}

/// What the scene comes to.
const REACHED: [&str; 15] = [
    "Allowed",
    "Begun",
    "Created",
    "IdentityTaken",
    "Last",
    "Linked",
    "NotFound",
    "NotLinked",
    "PasswordChangeRequired",
    "ProofUsed",
    "RecentSignInRequired",
    "Taken",
    "Unlinked(1)",
    "UserDisabled",
    "UserLocked",
];

/// Steps that come to each answer, whatever is drawn at random.
fn scene() -> Vec<Step> {
    use Step::{Begin, CompleteReset, Disable, FirstSignIn, Lock, Reset, Wait};
    let fresh = Proof::Fresh;
    let sign_in = |user, identity| Step::SignIn { user, identity, proof: fresh };
    let link = |user, identity| Step::Link { user, session: 0, identity, proof: fresh };
    let unlink = |user, session, identity| Step::Unlink { user, session, identity };
    let check = |user| Step::Check { user, session: 0 };
    let mut scene = vec![FirstSignIn { identity: 0, proof: fresh }, FirstSignIn { identity: 2, proof: Proof::Again(0) }];
    scene.extend([FirstSignIn { identity: 0, proof: fresh }, sign_in(2, 0), sign_in(0, 0), unlink(2, 0, 0), link(2, 1), link(2, 3)]);
    scene.extend([unlink(2, 0, 5), sign_in(2, 1), check(2), unlink(2, 1, 1), check(2), sign_in(2, 1)]);
    // A user with a password, whose sign-in is no more recent, and who is kept out and let in again.
    scene.extend([Begin { user: 0 }, Wait { ms: 15 * MINUTE_MS }, link(0, 2), Begin { user: 0 }, link(0, 2), sign_in(0, 2)]);
    scene.extend([Disable { user: 0, disabled: true }, sign_in(0, 2), link(0, 1), unlink(0, 0, 2), Disable { user: 0, disabled: false }]);
    scene.extend([
        unlink(0, 0, 2),
        sign_in(0, 2),
        Lock { user: 0, locked: true },
        sign_in(0, 2),
        check(0),
        Lock { user: 0, locked: false },
    ]);
    scene.extend([check(0), Reset { user: 0 }, sign_in(0, 2), CompleteReset { user: 0 }, sign_in(0, 2), check(0), unlink(0, 0, 2)]);
    scene
}

fn agrees_with_the_model(runtime: &Runtime, store: &dyn Store, hand: &AtomicI64) {
    let reached = runtime.block_on(agree(store, hand, "scene", &scene())).unwrap();
    let missed: Vec<_> = REACHED.iter().filter(|one| !reached.contains(**one)).collect();
    assert!(missed.is_empty(), "never came to {missed:?}");
    let cases = Cell::new(0);
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in proptest::collection::vec(step(), 1..60))| {
        cases.set(cases.get() + 1);
        runtime.block_on(agree(store, hand, &format!("case{}", cases.get()), &steps))?;
    });
}

#[test]
fn sqlite_and_the_model_agree_on_issuers_identities_after_every_step() {
    let (runtime, folder) = (current_thread(), tempfile::tempdir().unwrap());
    let (clock, hand) = Clock::fixed(START_MS);
    let store = runtime.block_on(async { SqliteStore::open(&sqlite_file(folder.path()), StoreLimits::default(), clock).unwrap() });
    agrees_with_the_model(&runtime, &store, &hand);
}

#[test]
fn redis_and_the_model_agree_on_issuers_identities_after_every_step() {
    let (runtime, server) = (current_thread(), RedisServer::start(&["--appendfsync", "no"]));
    let (clock, hand) = Clock::fixed(START_MS);
    let store = runtime.block_on(server.store(StoreLimits::default(), clock));
    agrees_with_the_model(&runtime, &store, &hand);
}
