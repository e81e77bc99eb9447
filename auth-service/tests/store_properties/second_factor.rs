//! Random changes of one user's second factor beside sign-ins, Checks and what ends sessions, one after the other, compared with a plain
//! model.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};

use auth_service::ids::SessionId;
use auth_service::second_factor::{AttemptId, FactorAnswer, FactorChange, FactorChangeRequest, PresentedCode, TotpSecret};
use auth_service::session::{SessionStart, Shown};
use auth_service::store::clock::Clock;
use auth_service::store::sqlite::SqliteStore;
use auth_service::store::{CheckAnswer, CheckRequest, Permission, Scope, Store, StoreLimits};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::current_thread;
use crate::fixture::{PASSWORD_HASH, Person, RedisServer, START_MS, event, new_user, sqlite_file};
use crate::identity::{by, new_session};

const SECRET: [u8; 20] = [7; 20];
const STEP_MS: i64 = 30_000;
const RECENT_MS: i64 = 15 * 60_000;

/// A code that is shown.
#[derive(Debug, Clone, Copy)]
enum Code {
    /// Of so many time steps from now.
    App(i64),
    WrongApp,
    /// By its number.
    Recovery(u8),
}

/// Sessions are counted from the newest one back.
#[derive(Debug, Clone)]
enum Step {
    Begin { code: Option<Code> },
    TurnOn { session: usize },
    TurnOff { session: usize, code: Code },
    NewCodes { session: usize, code: Code },
    Prove { session: usize, code: Code },
    CheckStepUp { session: usize },
    Reset,
    EndAll,
    Wait(i64),
}

fn code() -> impl Strategy<Value = Code> {
    prop_oneof![5 => (-2..3_i64).prop_map(Code::App), 3 => Just(Code::WrongApp), 2 => (0..4_u8).prop_map(Code::Recovery)]
}

fn step() -> impl Strategy<Value = Step> {
    let session = || prop_oneof![4 => Just(0_usize), 1 => 1..3_usize];
    prop_oneof![
        5 => proptest::option::weighted(0.8, code()).prop_map(|code| Step::Begin { code }),
        2 => session().prop_map(|session| Step::TurnOn { session }),
        1 => (session(), code()).prop_map(|(session, code)| Step::TurnOff { session, code }),
        1 => (session(), code()).prop_map(|(session, code)| Step::NewCodes { session, code }),
        4 => (session(), code()).prop_map(|(session, code)| Step::Prove { session, code }),
        4 => session().prop_map(|session| Step::CheckStepUp { session }),
        1 => Just(Step::Reset),
        1 => Just(Step::EndAll),
        4 => prop_oneof![Just(1_i64), Just(STEP_MS), Just(10 * STEP_MS), Just(RECENT_MS), Just(3_600_000)].prop_map(Step::Wait),
    ]
}

#[derive(Debug, Clone, Default)]
struct Factor {
    last_step: i64,
    recovery_codes: BTreeSet<u8>,
    failures: u32,
    failed_ms: i64,
}

/// What should be so, in the plainest words. No clock goes back here.
struct Model {
    now_ms: i64,
    factor: Option<Factor>,
    /// Live ones, with when each has proved the factor.
    sessions: Vec<(SessionId, Option<i64>)>,
}

impl Model {
    fn step(&self) -> i64 {
        self.now_ms / STEP_MS
    }

    fn prove(&mut self, code: Code) -> &'static str {
        let (now_ms, step) = (self.now_ms, self.step());
        let factor = self.factor.as_mut().unwrap();
        if now_ms - factor.failed_ms >= 24 * 3_600_000 {
            factor.failures = 0;
        }
        let wait_ms = if factor.failures < 5 { 0 } else { (30_000_i64 << (factor.failures - 5).min(20)).min(3_600_000) };
        let waits = now_ms < factor.failed_ms + wait_ms;
        let is_right = match code {
            Code::Recovery(number) => factor.recovery_codes.remove(&number),
            Code::App(_) | Code::WrongApp if waits => return "Wait",
            Code::App(from_now) if from_now.abs() <= 1 && step + from_now > factor.last_step => {
                factor.last_step = step + from_now;
                true
            }
            Code::App(_) | Code::WrongApp => false,
        };
        if is_right {
            factor.failures = 0;
            return "Proved";
        }
        if waits {
            return "Wait";
        }
        factor.failures += 1;
        factor.failed_ms = now_ms;
        "Wrong"
    }

    /// A change by a session that needs a code; what it comes to.
    fn change(&mut self, session: &SessionId, code: Code) -> &'static str {
        if !self.sessions.iter().any(|(id, _)| id == session) {
            return "Refused";
        }
        if self.factor.is_none() {
            return "NotSetUp";
        }
        match self.prove(code) {
            "Proved" => {
                let now_ms = self.now_ms;
                self.sessions.iter_mut().filter(|(id, _)| id == session).for_each(|(_, proved_ms)| *proved_ms = Some(now_ms));
                "Done"
            }
            other => other,
        }
    }
}

fn recovery(number: u8) -> [u8; 32] {
    [number; 32]
}

fn shown(code: Code, now_ms: i64) -> PresentedCode {
    let totp = totp_rs::Builder::new().with_secret(SECRET.to_vec()).build().unwrap();
    let at = |steps: i64| totp.generate(((now_ms + steps * STEP_MS) / 1000) as u64).to_string();
    match code {
        Code::App(from_now) => PresentedCode::App(at(from_now)),
        Code::WrongApp => {
            let near: Vec<String> = (-3..4).map(at).collect();
            PresentedCode::App((0..10).map(|number| format!("{number:06}")).find(|code| !near.contains(code)).unwrap())
        }
        Code::Recovery(number) => PresentedCode::Recovery(recovery(number)),
    }
}

fn told(answer: &FactorAnswer) -> &'static str {
    match answer {
        FactorAnswer::Done { .. } => "Done",
        FactorAnswer::Refused(_) => "Refused",
        FactorAnswer::NotSetUp => "NotSetUp",
        FactorAnswer::SetUp => "SetUp",
        FactorAnswer::Wrong => "Wrong",
        FactorAnswer::Wait(_) => "Wait",
        FactorAnswer::PasswordReplaced | FactorAnswer::PasswordChangeRequired | FactorAnswer::RecentSignInRequired => "unexpected",
    }
}

async fn change(store: &dyn Store, person: &Person, session: &SessionId, change: FactorChange) -> FactorAnswer {
    let request = FactorChangeRequest { session: session.clone(), attempt: AttemptId::draw().unwrap(), change };
    store.change_second_factor(&person.id, request, event()).await.unwrap().unwrap()
}

/// Does a step on a store and on the model; both answers in words.
async fn both(
    store: &dyn Store,
    person: &Person,
    model: &mut Model,
    all: &mut Vec<SessionId>,
    step: &Step,
) -> (&'static str, &'static str) {
    let session = |back: &usize| all.iter().rev().nth(*back).cloned();
    match step {
        Step::Begin { code } => {
            let id = SessionId::random().unwrap();
            let presented = code.map(|code| shown(code, model.now_ms));
            let showing = Shown { verified_hash: PASSWORD_HASH, code: presented.as_ref() };
            let start = match store.begin_session(&person.id, showing, new_session(&id, 1), event()).await.unwrap() {
                SessionStart::Begun(_) => "Begun",
                SessionStart::SecondFactorRequired => "Required",
                SessionStart::SecondFactorWrong => "Wrong",
                SessionStart::SecondFactorWait(_) => "Wait",
                SessionStart::Refused | SessionStart::PasswordReplaced | SessionStart::PasswordChangeRequired => "unexpected",
            };
            let expected = match (&model.factor, code) {
                (None, _) => "Begun",
                (Some(_), None) => "Required",
                (Some(_), Some(code)) => match model.prove(*code) {
                    "Proved" => "Begun",
                    other => other,
                },
            };
            if expected == "Begun" {
                model.sessions.push((id.clone(), model.factor.as_ref().map(|_| model.now_ms)));
                all.push(id);
            }
            (start, expected)
        }
        Step::TurnOn { session: back } => {
            let Some(session) = session(back) else { return ("", "") };
            let begin = FactorChange::Begin { secret: TotpSecret::from_bytes(SECRET), verified_hash: PASSWORD_HASH.to_owned() };
            let mut answer = change(store, person, &session, begin).await;
            if matches!(answer, FactorAnswer::Done { .. }) {
                let (code, recovery_codes) = (shown(Code::App(0), model.now_ms), (0..4).map(recovery).collect());
                answer = change(store, person, &session, FactorChange::Confirm { code, recovery_codes }).await;
            }
            let place = model.sessions.iter().position(|(id, _)| *id == session);
            let expected = match (place, &model.factor) {
                (None, _) => "Refused",
                (Some(_), Some(_)) => "SetUp",
                (Some(place), None) => {
                    model.factor = Some(Factor { last_step: model.step(), recovery_codes: (0..4).collect(), ..Factor::default() });
                    model.sessions[place].1 = Some(model.now_ms);
                    "Done"
                }
            };
            (told(&answer), expected)
        }
        Step::TurnOff { session: back, code } => {
            let Some(session) = session(back) else { return ("", "") };
            let answer = change(store, person, &session, FactorChange::Remove { code: shown(*code, model.now_ms) }).await;
            let expected = model.change(&session, *code);
            if expected == "Done" {
                model.factor = None;
                model.sessions.iter_mut().for_each(|(_, proved_ms)| *proved_ms = None);
            }
            (told(&answer), expected)
        }
        Step::NewCodes { session: back, code } => {
            let Some(session) = session(back) else { return ("", "") };
            let renewed =
                FactorChange::NewRecoveryCodes { code: shown(*code, model.now_ms), recovery_codes: (0..4).map(recovery).collect() };
            let answer = change(store, person, &session, renewed).await;
            let expected = model.change(&session, *code);
            if expected == "Done" {
                model.factor.as_mut().unwrap().recovery_codes = (0..4).collect();
            }
            (told(&answer), expected)
        }
        Step::Prove { session: back, code } => {
            let Some(session) = session(back) else { return ("", "") };
            let answer = change(store, person, &session, FactorChange::StepUp { code: shown(*code, model.now_ms) }).await;
            (told(&answer), model.change(&session, *code))
        }
        Step::CheckStepUp { session: back } => {
            let Some(session) = session(back) else { return ("", "") };
            let (account, permission) = (person.account.clone(), Permission { step_up: true, ..Permission::of(Scope::Chat) });
            let request =
                CheckRequest { account, credential: by(person, Some(&session), 0), permission, charge: None, caller_address: None };
            let answer = match store.check(request).await.unwrap() {
                CheckAnswer::Allowed(_) => "Allowed",
                CheckAnswer::Refused(auth_service::store::Refusal::StepUpRequired) => "StepUpRequired",
                _ => "Refused",
            };
            let expected = match model.sessions.iter().find(|(id, _)| *id == session) {
                None => "Refused",
                Some((_, Some(proved_ms))) if model.now_ms - proved_ms < RECENT_MS => "Allowed",
                Some(_) => "StepUpRequired",
            };
            (answer, expected)
        }
        Step::Reset => {
            let changed = store.reset_second_factor(&person.id, event()).await.unwrap().unwrap().changed;
            let expected = model.factor.take().is_some();
            if expected {
                model.sessions.clear();
            }
            (if changed { "reset" } else { "none" }, if expected { "reset" } else { "none" })
        }
        Step::EndAll => {
            store.end_all_sessions(&person.id, event()).await.unwrap().unwrap();
            model.sessions.clear();
            ("", "")
        }
        Step::Wait(_) => ("", ""),
    }
}

async fn agree(store: &dyn Store, hand: &AtomicI64, name: &str, steps: &[Step]) -> Result<BTreeSet<&'static str>, TestCaseError> {
    hand.store(START_MS, Ordering::SeqCst);
    let user = new_user(name, 5);
    let person = Person { id: user.user_id.clone(), account: (&user.user_id).into() };
    store.create_user(user, event()).await.unwrap();
    let (mut model, mut all) = (Model { now_ms: START_MS, factor: None, sessions: Vec::new() }, Vec::new());
    let mut reached = BTreeSet::new();
    for (number, step) in steps.iter().enumerate() {
        if let Step::Wait(ms) = step {
            hand.fetch_add(*ms, Ordering::SeqCst);
            model.now_ms += ms;
        }
        let (answer, expected) = both(store, &person, &mut model, &mut all, step).await;
        prop_assert_eq!(answer, expected, "step {}: {:?}", number, step);
        let status = store.second_factor(&person.id, None).await.unwrap().unwrap();
        let left = model.factor.as_ref().map(|factor| factor.recovery_codes.len());
        prop_assert_eq!((status.enabled_at_ms.is_some(), status.recovery_codes_left), (left.is_some(), left.unwrap_or(0)), "{}", number);
        reached.insert(answer);
    }
    Ok(reached)
}

/// What the scene comes to.
const REACHED: [&str; 12] =
    ["Allowed", "Begun", "Done", "NotSetUp", "Refused", "Required", "SetUp", "StepUpRequired", "Wait", "Wrong", "none", "reset"];

/// Steps that come to each answer, whatever is drawn at random.
fn scene() -> Vec<Step> {
    use Step::{Begin, CheckStepUp, EndAll, NewCodes, Prove, Reset, TurnOff, TurnOn, Wait};
    let (begin, on, check) = (|code| Begin { code }, TurnOn { session: 0 }, CheckStepUp { session: 0 });
    let mut scene = vec![begin(None), Reset, Prove { session: 0, code: Code::App(0) }, on.clone(), on.clone(), check.clone(), begin(None)];
    scene.extend([begin(Some(Code::App(0))), begin(Some(Code::App(1))), check.clone(), Wait(RECENT_MS), check.clone()]);
    scene.extend((0..6).map(|_| begin(Some(Code::WrongApp))));
    scene.extend([
        begin(Some(Code::App(0))),
        Prove { session: 0, code: Code::Recovery(2) },
        check.clone(),
        Prove { session: 0, code: Code::Recovery(2) },
    ]);
    scene.extend([
        NewCodes { session: 0, code: Code::App(0) },
        Prove { session: 0, code: Code::Recovery(2) },
        TurnOff { session: 0, code: Code::App(1) },
    ]);
    scene.extend([check.clone(), begin(None), Wait(STEP_MS), on, Reset, check.clone(), begin(None), EndAll, check]);
    scene
}

fn agrees_with_the_model(runtime: &Runtime, store: &dyn Store, hand: &AtomicI64) {
    let reached = runtime.block_on(agree(store, hand, "scene", &scene())).unwrap();
    let missed: Vec<_> = REACHED.iter().filter(|one| !reached.contains(**one)).collect();
    assert!(missed.is_empty(), "never came to {missed:?}");
    let users = Cell::new(0);
    let config = ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in proptest::collection::vec(step(), 1..60))| {
        users.set(users.get() + 1);
        runtime.block_on(agree(store, hand, &format!("user{}", users.get()), &steps))?;
    });
}

#[test]
fn sqlite_and_the_model_agree_on_the_second_factor_after_every_step() {
    let (runtime, folder) = (current_thread(), tempfile::tempdir().unwrap());
    let (clock, hand) = Clock::fixed(START_MS);
    let store = runtime.block_on(async { SqliteStore::open(&sqlite_file(folder.path()), StoreLimits::default(), clock).unwrap() });
    agrees_with_the_model(&runtime, &store, &hand);
}

#[test]
fn redis_and_the_model_agree_on_the_second_factor_after_every_step() {
    let (runtime, server) = (current_thread(), RedisServer::start(&["--appendfsync", "no"]));
    let (clock, hand) = Clock::fixed(START_MS);
    let store = runtime.block_on(server.store(StoreLimits::default(), clock));
    agrees_with_the_model(&runtime, &store, &hand);
}
