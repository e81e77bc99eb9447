//! Random changes of one organization by several processes at once, compared with what was promised.

use std::cell::Cell;
use std::sync::Arc;

use auth_service::ids::AccountId;
use auth_service::organization::change::OrganizationChange;
use auth_service::organization::{MemberRole, Principal};
use auth_service::store::clock::Clock;
use auth_service::store::sqlite::SqliteStore;
use auth_service::store::{Store, StoreLimits};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::fixture::{RedisServer, event, sqlite_file};
use crate::organizations::{NAMES, OPERATOR, Party, Step, USERS, act, begin, by_key, change, create, invite, make_key, role_of, withdraw};

/// Invitations that are open when a round begins.
const INVITATIONS: u8 = 3;

/// Plays rounds of what comes at once, and compares after each what all of it together promises.
fn keep_their_promises(runtime: &Runtime, stores: &[Arc<dyn Store>]) {
    let cases = Cell::new(0);
    let config = ProptestConfig { cases: 16, failure_persistence: None, max_shrink_iters: 16, ..ProptestConfig::default() };
    proptest!(config, |(rounds in proptest::collection::vec(proptest::collection::vec(act(), 2..9), 1..4))| {
        cases.set(cases.get() + 1);
        let rounds: Vec<Vec<Step>> = rounds.into_iter().map(|round| round.into_iter().map(|(_, step)| step).collect()).collect();
        runtime.block_on(play(stores, &format!("case{}user", cases.get()), &rounds));
    });
}

/// What one of those at once came to.
#[derive(Debug)]
struct Came {
    step: Step,
    answer: String,
    /// That of the key that it makes, if it does.
    secret: u8,
}

async fn play(stores: &[Arc<dyn Store>], name: &str, rounds: &[Vec<Step>]) {
    let mut party = Party::of(&*stores[0], name).await;
    for (number, round) in rounds.iter().enumerate() {
        // Each round in an organization of its own, with two owners, a member with a key, and open invitations.
        let account = made(&*stores[0], &mut party, &format!("of {number}")).await;
        let shared = Arc::new(party);
        let mut tasks = tokio::task::JoinSet::new();
        for (place, step) in round.iter().enumerate() {
            let (store, party) = (Arc::clone(&stores[place % stores.len()]), Arc::clone(&shared));
            let (account, step, secret) = (account.clone(), step.clone(), 10 + u8::try_from(place).unwrap());
            tasks.spawn(async move {
                let answer = perform(&*store, &party, &account, &step, secret).await;
                Came { step, answer, secret }
            });
        }
        let came = tasks.join_all().await;
        promised(&*stores[0], &shared, &account, &came).await;
        party = Arc::into_inner(shared).unwrap();
    }
}

/// By the operator, who leaves it at once.
async fn made(store: &dyn Store, party: &mut Party, name: &str) -> AccountId {
    for user in 0..USERS {
        store.set_disabled(&party.users[user], false, "", event()).await.unwrap();
        party.sessions[user] = begin(store, &party.users[user]).await;
    }
    let (account, answer) = create(store, party, OPERATOR, name).await;
    assert_eq!(answer, "Owner None");
    let by = |by: usize| Some(party.credential(by));
    for (user, role) in [(0, MemberRole::Owner), (1, MemberRole::Owner), (2, MemberRole::Member)] {
        let user = party.users[user].clone();
        change(store, &account, by(OPERATOR), OrganizationChange::AddMember { user, role, monthly_cap: None }).await;
    }
    let user = party.users[OPERATOR].clone();
    assert_eq!(change(store, &account, by(OPERATOR), OrganizationChange::RemoveMember { user }).await, "ended");
    for code in 0..INVITATIONS {
        assert_eq!(change(store, &account, by(usize::from(code % 2)), invite(code, false)).await, "invited");
    }
    assert_eq!(make_key(store, &account, party, 2, 1).await, "made");
    account
}

async fn perform(store: &dyn Store, party: &Party, account: &AccountId, step: &Step, secret: u8) -> String {
    let code = |invitation: usize| u8::try_from(invitation).unwrap();
    let id = |user: usize| party.users[user].clone();
    let (by, wanted) = match *step {
        Step::Create { by, name } => return create(store, party, by, NAMES[name]).await.1,
        Step::Show { invitation } => {
            let wanted = OrganizationChange::WithdrawShown { code_hash: [code(invitation); 32] };
            return change(store, account, None, wanted).await;
        }
        Step::MakeKey { by } => return make_key(store, account, party, by, secret).await,
        Step::Disable { user, disabled } => {
            store.set_disabled(&party.users[user], disabled, "", event()).await.unwrap();
            return String::new();
        }
        Step::Add { by, user, owner } => (by, OrganizationChange::AddMember { user: id(user), role: role_of(owner), monthly_cap: None }),
        Step::Remove { by, user } => (by, OrganizationChange::RemoveMember { user: id(user) }),
        Step::SetRole { by, user, owner } => (by, OrganizationChange::SetRole { user: id(user), role: role_of(owner) }),
        Step::SetCap { by, user, cap } => (by, OrganizationChange::SetCap { principal: id(user), monthly_cap: cap }),
        Step::Invite { by, owner } => (by, invite(secret, owner)),
        Step::Withdraw { by, invitation } => (by, withdraw(code(invitation))),
        Step::Accept { by, invitation } => (by, OrganizationChange::Accept { code_hash: [code(invitation); 32] }),
        Step::CreateRobot { by, name } => {
            let id = auth_service::ids::UserId::random().unwrap();
            (by, OrganizationChange::CreateServiceAccount { id, name: NAMES[name].to_owned(), monthly_cap: None })
        }
        Step::EndRobot { by, .. } => (by, OrganizationChange::RemoveServiceAccount { id: id(by) }),
    };
    change(store, account, Some(party.credential(by)), wanted).await
}

/// What holds whichever came first.
async fn promised(store: &dyn Store, party: &Party, account: &AccountId, came: &[Came]) {
    let found = store.organization(account).await.unwrap().unwrap();
    let owner = Principal::User(MemberRole::Owner);
    assert!(found.places.values().any(|place| place.principal == owner), "an owner stays: {came:?}");
    for (user, id) in party.users.iter().enumerate() {
        let listed = store.organizations_of(id).await.unwrap().into_iter().any(|place| place.account == *account);
        assert_eq!(listed, found.role_of(id).is_some(), "{user}: {came:?}");
    }
    for invitation in 0..INVITATIONS {
        let is_it = |one: usize| one == usize::from(invitation);
        let uses = came.iter().filter(|Came { step, answer, .. }| match step {
            Step::Accept { invitation, .. } => is_it(*invitation) && answer == "Member None",
            Step::Withdraw { invitation, .. } | Step::Show { invitation } => is_it(*invitation) && answer == "withdrawn",
            _ => false,
        });
        let (uses, is_open) = (uses.count(), found.invitations.iter().any(|one| one.code_hash == [invitation; 32]));
        assert!(uses <= 1 && (uses == 0 || !is_open), "{invitation} is good once: {came:?}");
    }
    let of_one_name = |one: &&Came| matches!(one.step, Step::CreateRobot { .. }) && one.answer.eq_ignore_ascii_case(NAMES[0]);
    assert!(came.iter().filter(of_one_name).count() <= 1, "a name is one service account's: {came:?}");
    // Nobody has a key that is good who is no member, or disabled; nor one of before the end of a membership.
    let made = came.iter().filter_map(|one| match one.step {
        Step::MakeKey { by } if one.answer == "made" => Some((by, one.secret)),
        _ => None,
    });
    for (user, secret) in made.chain([(2, 1)]) {
        let id = &party.users[user];
        let in_force = found.role_of(id).is_some() && !store.user_by_id(id).await.unwrap().unwrap().disabled;
        let ended = |one: &Came| matches!(one.step, Step::Remove { user: one, .. } if one == user) && one.answer == "ended";
        let was_removed = came.iter().any(ended);
        let is_good = by_key(store, account, secret).await == "allowed";
        assert!(in_force || !is_good, "{user} {secret}: {came:?}");
        assert!(was_removed || is_good == in_force, "{user} {secret}: {came:?}");
        assert!(secret != 1 || !was_removed || !is_good, "{user} {secret}: {came:?}");
    }
}

fn several_threads() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap()
}

#[test]
fn what_sqlite_promises_of_organizations_to_many_at_once_is_kept() {
    let (runtime, folder) = (several_threads(), tempfile::tempdir().unwrap());
    let store = runtime.block_on(async { SqliteStore::open(&sqlite_file(folder.path()), StoreLimits::default(), Clock::Store).unwrap() });
    keep_their_promises(&runtime, &[Arc::new(store)]);
}

#[test]
fn what_redis_promises_of_organizations_to_many_processes_at_once_is_kept() {
    let (runtime, server) = (several_threads(), RedisServer::start(&["--appendfsync", "no"]));
    let mut stores: Vec<Arc<dyn Store>> = Vec::new();
    for _ in 0..3 {
        stores.push(Arc::new(runtime.block_on(server.store(StoreLimits::default(), Clock::Store))));
    }
    keep_their_promises(&runtime, &stores);
}
