//! Random sign-ins of devices beside what ends their approvals, one after the other, compared with a plain model.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use auth_service::device_sign_in::{AnswerRefusal, DeviceExchange, DeviceQuestion, DeviceStart, NewDeviceSignIn, UserCode};
use auth_service::ids::SessionId;
use auth_service::session::{SessionStart, Shown};
use auth_service::store::clock::Clock;
use auth_service::store::sqlite::SqliteStore;
use auth_service::store::{Refusal, Store, StoreLimits};
use auth_service::token_scopes::TokenScopes;
use auth_service::user_state::PasswordChange;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::fixture::{PASSWORD_HASH, Person, RedisServer, START_MS, event, new_user, sqlite_file};
use crate::identity::{by, new_session};
use crate::{LIMITS, current_thread};

/// How long a session of these tests lives without a refresh, of which there is none.
const IDLE_MS: i64 = 400_000;
const LIFE_MS: i64 = 600_000;

fn limits() -> StoreLimits {
    StoreLimits { session_idle: Duration::from_millis(400_000), session_lifetime: Duration::from_millis(2_000_000), ..LIMITS }
}

/// Which one, counted from the newest one back.
type Back = usize;

#[derive(Debug, Clone)]
enum Step {
    SignIn {
        user: usize,
    },
    EndSession {
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
    ChangePassword {
        user: usize,
        session: Back,
    },
    Begin,
    Answer {
        user: usize,
        session: Back,
        device: Back,
        approves: bool,
    },
    Ask {
        device: Back,
    },
    /// By the user who approved, or by another.
    Exchange {
        device: Back,
        other: bool,
    },
    Wait {
        ms: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let user = || prop_oneof![3 => Just(0_usize), 1 => Just(1)];
    let back = || prop_oneof![5 => Just(0_usize), 2 => 1..3_usize];
    let seldom = || prop_oneof![1 => Just(true), 4 => Just(false)];
    prop_oneof![
        4 => user().prop_map(|user| Step::SignIn { user }),
        1 => (user(), back()).prop_map(|(user, session)| Step::EndSession { user, session }),
        1 => user().prop_map(|user| Step::EndAll { user }),
        1 => (user(), seldom()).prop_map(|(user, disabled)| Step::Disable { user, disabled }),
        1 => (user(), seldom()).prop_map(|(user, locked)| Step::Lock { user, locked }),
        1 => (user(), back()).prop_map(|(user, session)| Step::ChangePassword { user, session }),
        4 => Just(Step::Begin),
        9 => (user(), back(), back(), seldom())
            .prop_map(|(user, session, device, denies)| Step::Answer { user, session, device, approves: !denies }),
        5 => back().prop_map(|device| Step::Ask { device }),
        9 => (back(), seldom()).prop_map(|(device, other)| Step::Exchange { device, other }),
        4 => prop_oneof![6 => 1..7_000_i64, 1 => 100_000..700_000_i64].prop_map(|ms| Step::Wait { ms }),
    ]
}

#[derive(Debug, Clone)]
struct Session {
    id: SessionId,
    end_ms: i64,
    live: bool,
}

struct User {
    person: Person,
    password: String,
    disabled: bool,
    locked: bool,
    /// How often all of their tokens were ended.
    endings: u32,
    sessions: Vec<Session>,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    Open,
    Approved { user: usize, session: usize, endings: u32 },
    Denied { user: usize },
    Used { user: usize, session: usize, at_ms: i64 },
}

struct Device {
    number: u32,
    end_ms: i64,
    asked_ms: Option<i64>,
    interval_ms: i64,
    state: State,
}

struct Model {
    now_ms: i64,
    users: Vec<User>,
    devices: Vec<Device>,
}

fn place(len: usize, back: Back) -> Option<usize> {
    len.checked_sub(1 + back)
}

impl Model {
    fn is_live(&self, user: usize, session: usize) -> bool {
        let one = &self.users[user].sessions[session];
        one.live && self.now_ms < one.end_ms
    }

    /// Why a user can do nothing in a session.
    fn refusal(&self, user: usize, session: usize) -> Option<&'static str> {
        let of = &self.users[user];
        if of.disabled {
            Some("UserDisabled")
        } else if of.locked {
            Some("UserLocked")
        } else {
            (!self.is_live(user, session)).then_some("over")
        }
    }

    fn end_all(&mut self, user: usize) {
        self.users[user].endings += 1;
        self.users[user].sessions.iter_mut().for_each(|one| one.live = false);
    }

    fn sign_in(&mut self, user: usize, id: SessionId) -> usize {
        let end_ms = self.now_ms + IDLE_MS;
        self.users[user].sessions.push(Session { id, end_ms, live: true });
        self.users[user].sessions.len() - 1
    }

    fn answer(&mut self, user: usize, session: usize, device: usize, approves: bool) -> &'static str {
        if let Some(refusal) = self.refusal(user, session) {
            return refusal;
        }
        let endings = self.users[user].endings;
        let one = &mut self.devices[device];
        let wanted = if approves { State::Approved { user, session, endings } } else { State::Denied { user } };
        if self.now_ms >= one.end_ms {
            return "Unknown";
        }
        let mine = match &one.state {
            State::Open => true,
            State::Approved { user: by, .. } => *by == user,
            state => *state == wanted,
        };
        if mine {
            one.state = wanted;
        }
        if mine { "answered" } else { "Unknown" }
    }

    fn ask(&mut self, device: usize) -> String {
        let now_ms = self.now_ms;
        let one = &mut self.devices[device];
        if now_ms >= one.end_ms {
            return "Over".to_owned();
        }
        match one.state {
            State::Denied { .. } => "Denied".to_owned(),
            State::Approved { .. } | State::Used { .. } => "Approved".to_owned(),
            State::Open => {
                let early = one.asked_ms.is_some_and(|before_ms| now_ms - before_ms < one.interval_ms - 1000);
                one.asked_ms = Some(now_ms);
                one.interval_ms += if early { 5000 } else { 0 };
                format!("{} {}", if early { "TooEarly" } else { "Pending" }, one.interval_ms)
            }
        }
    }

    fn exchange(&mut self, device: usize, user: usize, id: SessionId) -> &'static str {
        let (now_ms, state) = (self.now_ms, self.devices[device].state.clone());
        if now_ms >= self.devices[device].end_ms {
            return "Over";
        }
        match state {
            State::Approved { user: by, session, endings } if by == user => {
                if endings != self.users[user].endings || self.refusal(user, session).is_some() {
                    return "ApprovalEnded";
                }
                let session = self.sign_in(user, id);
                self.devices[device].state = State::Used { user, session, at_ms: now_ms };
                "Begun"
            }
            State::Used { user: by, session, at_ms } if by == user => {
                if now_ms - at_ms >= self.devices[device].interval_ms - 1000 {
                    self.users[user].sessions[session].live = false;
                }
                "Over"
            }
            _ => "Over",
        }
    }
}

fn new_device(number: u32) -> NewDeviceSignIn {
    let letters = b"BCDFGHJKLMNPQRSTVWXZ";
    let code: String = (0..8).map(|place| char::from(letters[(number / 20_u32.pow(place) % 20) as usize])).collect();
    let mut device_hash = [0; 32];
    device_hash[..4].copy_from_slice(&number.to_le_bytes());
    let (user_code, client) = (UserCode::parse(&code).unwrap(), "a notebook".to_owned());
    NewDeviceSignIn { user_code, device_hash, client, address: None, scopes: TokenScopes::All }
}

fn refusal(refusal: AnswerRefusal) -> String {
    match refusal {
        AnswerRefusal::Unknown => "Unknown".to_owned(),
        AnswerRefusal::Refused(Refusal::CredentialRevoked | Refusal::CredentialExpired) => "over".to_owned(),
        AnswerRefusal::Refused(refusal) => format!("{refusal:?}"),
    }
}

/// Does a step on a store and on the model; both answers in words.
async fn both(store: &dyn Store, model: &mut Model, numbers: &Cell<u32>, step: &Step) -> (String, String) {
    let nothing = || (String::new(), String::new());
    match *step {
        Step::SignIn { user } => {
            let id = SessionId::random().unwrap();
            let of = &model.users[user];
            let start = store.begin_session(&of.person.id, Shown::password(&of.password), new_session(&id, 1), event()).await.unwrap();
            let begins = !of.disabled && !of.locked;
            if begins {
                model.sign_in(user, id);
            }
            (matches!(start, SessionStart::Begun(_)).to_string(), begins.to_string())
        }
        Step::EndSession { user, session } => {
            let Some(session) = place(model.users[user].sessions.len(), session) else { return nothing() };
            let was_live = model.is_live(user, session);
            let of = &mut model.users[user];
            let ended = store.end_session(&of.person.id, &of.sessions[session].id, event()).await.unwrap();
            of.sessions[session].live = false;
            (ended.to_string(), was_live.to_string())
        }
        Step::EndAll { user } => {
            store.end_all_sessions(&model.users[user].person.id, event()).await.unwrap().unwrap();
            model.end_all(user);
            nothing()
        }
        Step::Disable { user, disabled } => {
            let changed = store.set_disabled(&model.users[user].person.id, disabled, "", event()).await.unwrap().unwrap().changed;
            let changes = model.users[user].disabled != disabled;
            if changes {
                model.end_all(user);
                model.users[user].disabled = disabled;
            }
            (changed.to_string(), changes.to_string())
        }
        Step::Lock { user, locked } => {
            let changed = store.set_locked(&model.users[user].person.id, locked, "", event()).await.unwrap().unwrap().changed;
            let changes = model.users[user].locked != locked;
            if changes {
                model.end_all(user);
                model.users[user].locked = locked;
            }
            (changed.to_string(), changes.to_string())
        }
        Step::ChangePassword { user, session } => {
            let Some(session) = place(model.users[user].sessions.len(), session) else { return nothing() };
            let of = &model.users[user];
            let asked_by = by(&of.person, Some(&of.sessions[session].id), 0);
            let new = format!("{} and more", of.password);
            let change = store.change_password(&of.person.id, &asked_by, &of.password, &new, event()).await.unwrap().unwrap();
            let changes = model.refusal(user, session).is_none();
            if changes {
                model.end_all(user);
                model.users[user].sessions[session].live = true;
                model.users[user].password = new;
            }
            (matches!(change, PasswordChange::Changed { .. }).to_string(), changes.to_string())
        }
        Step::Begin => {
            let number = numbers.get();
            numbers.set(number + 1);
            let start = store.begin_device_sign_in(new_device(number), event()).await.unwrap();
            let (state, end_ms) = (State::Open, model.now_ms + LIFE_MS);
            model.devices.push(Device { number, end_ms, asked_ms: None, interval_ms: 5000, state });
            (matches!(start, DeviceStart::Begun(_)).to_string(), true.to_string())
        }
        Step::Answer { user, session, device, approves } => {
            let Some(session) = place(model.users[user].sessions.len(), session) else { return nothing() };
            let Some(device) = place(model.devices.len(), device) else { return nothing() };
            let (code, of) = (new_device(model.devices[device].number).user_code, &model.users[user]);
            let answer = store.answer_device_sign_in(&code, &of.person.id, &of.sessions[session].id, approves, event()).await.unwrap();
            let answer = answer.map_or_else(refusal, |()| "answered".to_owned());
            (answer, model.answer(user, session, device, approves).to_owned())
        }
        Step::Ask { device } => {
            let Some(device) = place(model.devices.len(), device) else { return nothing() };
            let question = store.question_of_device(&new_device(model.devices[device].number).device_hash).await.unwrap();
            let told = match question {
                DeviceQuestion::Pending { wait } => format!("Pending {}", wait.as_millis()),
                DeviceQuestion::TooEarly { wait } => format!("TooEarly {}", wait.as_millis()),
                DeviceQuestion::Denied => "Denied".to_owned(),
                DeviceQuestion::Over => "Over".to_owned(),
                DeviceQuestion::Approved(_) => "Approved".to_owned(),
            };
            (told, model.ask(device))
        }
        Step::Exchange { device, other } => {
            let Some(device) = place(model.devices.len(), device) else { return nothing() };
            let approver = match model.devices[device].state {
                State::Open | State::Denied { .. } => 0,
                State::Approved { user, .. } | State::Used { user, .. } => user,
            };
            let (user, id) = (if other { 1 - approver } else { approver }, SessionId::random().unwrap());
            let hash = new_device(model.devices[device].number).device_hash;
            let person = &model.users[user].person.id;
            let got = store.exchange_device_code(&hash, person, new_session(&id, 1), event()).await.unwrap();
            let got = match got {
                DeviceExchange::Begun(session) if session.session_id == id => "Begun",
                DeviceExchange::Begun(_) => "another's session",
                DeviceExchange::Over => "Over",
                DeviceExchange::ApprovalEnded => "ApprovalEnded",
            };
            (got.to_owned(), model.exchange(device, user, id).to_owned())
        }
        Step::Wait { .. } => nothing(),
    }
}

async fn agree(
    store: &dyn Store,
    hand: &AtomicI64,
    name: &str,
    numbers: &Cell<u32>,
    steps: &[Step],
) -> Result<BTreeSet<String>, TestCaseError> {
    let mut users = Vec::new();
    for one in ["a", "b"] {
        let user = new_user(&format!("{name}-{one}"), 0);
        let person = Person { id: user.user_id.clone(), account: (&user.user_id).into() };
        store.create_user(user, event()).await.unwrap();
        let password = PASSWORD_HASH.to_owned();
        users.push(User { person, password, disabled: false, locked: false, endings: 0, sessions: Vec::new() });
    }
    let mut model = Model { now_ms: hand.load(Ordering::SeqCst), users, devices: Vec::new() };
    let mut reached = BTreeSet::new();
    for (number, step) in steps.iter().enumerate() {
        // A millisecond at the least: what ends all tokens is told apart by its time.
        let ms = if let Step::Wait { ms } = step { *ms } else { 1 };
        hand.fetch_add(ms, Ordering::SeqCst);
        model.now_ms += ms;
        let (answer, expected) = both(store, &mut model, numbers, step).await;
        prop_assert_eq!(&answer, &expected, "step {}: {:?}", number, step);
        reached.insert(answer);
        for user in &model.users {
            let listed: BTreeSet<_> = store.sessions(&user.person.id).await.unwrap().into_iter().map(|one| one.session_id).collect();
            let live = user.sessions.iter().filter(|one| one.live && model.now_ms < one.end_ms).map(|one| one.id.clone());
            prop_assert_eq!(listed, live.collect::<BTreeSet<_>>(), "after step {}: {:?}", number, step);
        }
    }
    Ok(reached)
}

/// What the scenes come to.
const REACHED: [&str; 12] = [
    "Approved",
    "ApprovalEnded",
    "Begun",
    "Denied",
    "Over",
    "Pending 5000",
    "TooEarly 10000",
    "Unknown",
    "UserDisabled",
    "UserLocked",
    "answered",
    "over",
];

/// Steps that come to each answer, whatever is drawn at random.
fn scenes() -> [Vec<Step>; 5] {
    let sign_in = Step::SignIn { user: 0 };
    let answer = |approves| Step::Answer { user: 0, session: 0, device: 0, approves };
    let (ask, exchange) = (Step::Ask { device: 0 }, Step::Exchange { device: 0, other: false });
    let ended = |step: Step| vec![Step::SignIn { user: 0 }, Step::Begin, answer(true), step, exchange.clone(), answer(true)];
    [
        vec![
            Step::Begin,
            ask.clone(),
            ask.clone(),
            sign_in.clone(),
            answer(true),
            ask.clone(),
            exchange.clone(),
            exchange.clone(),
            answer(false),
        ],
        vec![
            sign_in.clone(),
            Step::Begin,
            answer(true),
            answer(false),
            ask.clone(),
            answer(true),
            exchange.clone(),
            Step::Wait { ms: LIFE_MS },
            ask,
        ],
        ended(Step::Disable { user: 0, disabled: true }),
        ended(Step::Lock { user: 0, locked: true }),
        [ended(Step::EndAll { user: 0 }), vec![sign_in, answer(true), exchange.clone(), Step::Wait { ms: 5000 }, exchange]].concat(),
    ]
}

fn agrees_with_the_model(runtime: &Runtime, store: &dyn Store, hand: &AtomicI64) {
    let (mut reached, numbers) = (BTreeSet::new(), Cell::new(0));
    for (number, scene) in scenes().iter().enumerate() {
        reached.extend(runtime.block_on(agree(store, hand, &format!("scene{number}"), &numbers, scene)).unwrap());
    }
    let missed: Vec<_> = REACHED.iter().filter(|one| !reached.contains(**one)).collect();
    assert!(missed.is_empty(), "never came to {missed:?}");
    let users = Cell::new(0);
    let config = ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in proptest::collection::vec(step(), 1..60))| {
        users.set(users.get() + 1);
        runtime.block_on(agree(store, hand, &format!("user{}", users.get()), &numbers, &steps))?;
    });
}

#[test]
fn sqlite_and_the_model_agree_on_sign_ins_of_devices_after_every_step() {
    let (runtime, folder) = (current_thread(), tempfile::tempdir().unwrap());
    let (clock, hand) = Clock::fixed(START_MS);
    let store = runtime.block_on(async { SqliteStore::open(&sqlite_file(folder.path()), limits(), clock).unwrap() });
    agrees_with_the_model(&runtime, &store, &hand);
}

#[test]
fn redis_and_the_model_agree_on_sign_ins_of_devices_after_every_step() {
    let (runtime, server) = (current_thread(), RedisServer::start(&["--appendfsync", "no"]));
    let (clock, hand) = Clock::fixed(START_MS);
    let store = runtime.block_on(server.store(limits(), clock));
    agrees_with_the_model(&runtime, &store, &hand);
}
