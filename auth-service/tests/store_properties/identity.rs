//! Random changes of one user's sessions, password and state, beside Checks, one after the other, compared with a plain model.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};

use auth_service::ids::SessionId;
use auth_service::session::{NewSession, Refresh, RefreshAnswer, RefreshRefusal, SessionStart, Shown, SignInMethod};
use auth_service::store::clock::Clock;
use auth_service::store::sqlite::SqliteStore;
use auth_service::store::{CheckAnswer, CheckRequest, PresentedCredential, Scope, Store};
use auth_service::token_scopes::TokenScopes;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::fixture::{PASSWORD_HASH, Person, RedisServer, START_MS, event, new_user, permission, sqlite_file};
use crate::{LIMITS, current_thread};

/// Which session: in a step, counted from the newest one back; in the model, from the first one on.
type Number = usize;

#[derive(Debug, Clone)]
enum Step {
    /// With the password in force, or one that isn't.
    Begin {
        right: bool,
    },
    /// The token of so many rotations before the newest; `forged`: of another family.
    Refresh {
        session: Number,
        back: usize,
        forged: bool,
    },
    Check {
        session: Number,
    },
    /// A token that has no session, issued now.
    CheckWithout,
    End {
        session: Number,
    },
    EndByToken {
        session: Number,
        forged: bool,
    },
    EndAll,
    ChangePassword {
        session: Number,
        right: bool,
    },
    Reset,
    CompleteReset {
        right: bool,
    },
    Disable(bool),
    Lock(bool),
    Rehash,
    List,
    Wait(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let session = || prop_oneof![4 => Just(0_usize), 1 => 1..4_usize];
    let mostly = || prop_oneof![5 => Just(true), 1 => Just(false)];
    prop_oneof![
        5 => mostly().prop_map(|right| Step::Begin { right }),
        16 => (session(), prop_oneof![6 => Just(0_usize), 3 => Just(1), 1 => 2..4_usize], prop_oneof![9 => Just(false), 1 => Just(true)])
            .prop_map(|(session, back, forged)| Step::Refresh { session, back, forged }),
        6 => session().prop_map(|session| Step::Check { session }),
        1 => Just(Step::CheckWithout),
        1 => session().prop_map(|session| Step::End { session }),
        1 => (session(), mostly()).prop_map(|(session, right)| Step::EndByToken { session, forged: !right }),
        1 => Just(Step::EndAll),
        2 => (session(), mostly()).prop_map(|(session, right)| Step::ChangePassword { session, right }),
        1 => Just(Step::Reset),
        2 => mostly().prop_map(|right| Step::CompleteReset { right }),
        1 => prop_oneof![1 => Just(true), 2 => Just(false)].prop_map(Step::Disable),
        1 => prop_oneof![1 => Just(true), 2 => Just(false)].prop_map(Step::Lock),
        1 => Just(Step::Rehash),
        2 => Just(Step::List),
        4 => prop_oneof![8 => 1..60_i64, 1 => 200..400_i64].prop_map(Step::Wait),
    ]
}

impl Step {
    /// With its session counted from the first one on; behind the last one when there is none.
    fn placed(&self, sessions: usize) -> Self {
        let place = |back: &Number| sessions.checked_sub(1 + back).unwrap_or(sessions);
        match self.clone() {
            Self::Refresh { session, back, forged } => Self::Refresh { session: place(&session), back, forged },
            Self::Check { session } => Self::Check { session: place(&session) },
            Self::End { session } => Self::End { session: place(&session) },
            Self::EndByToken { session, forged } => Self::EndByToken { session: place(&session), forged },
            Self::ChangePassword { session, right } => Self::ChangePassword { session: place(&session), right },
            step => step,
        }
    }
}

#[derive(Debug, Clone)]
struct Known {
    id: SessionId,
    used_ms: i64,
    idle_end_ms: i64,
    end_ms: i64,
    /// The names of its tokens, each in force in turn; the last one is now.
    tokens: Vec<u8>,
    rotated_ms: i64,
    accepted_again: bool,
    /// The one that the last rotation replaced.
    before: Option<u8>,
    live: bool,
}

/// What should be so, in the plainest words.
struct Model {
    now_ms: i64,
    disabled: bool,
    locked: bool,
    password: String,
    reset_end_ms: Option<i64>,
    sessions: Vec<Known>,
    drawn: u8,
}

/// A session that is over is past its time until it is dropped, which happens with another change, and unknown from then on.
const OVER: &str = "over";
/// Where tests need other bounds than seconds: a one-time password lasts a day.
const DAY_MS: i64 = 24 * 3600 * 1000;

impl Model {
    fn is_live(&self, number: Number) -> bool {
        self.sessions.get(number).is_some_and(|one| one.live && self.now_ms < one.idle_end_ms && self.now_ms < one.end_ms)
    }

    fn end_all(&mut self) -> usize {
        let live = (0..self.sessions.len()).filter(|number| self.is_live(*number)).count();
        self.sessions.iter_mut().for_each(|one| one.live = false);
        live
    }

    fn draw(&mut self) -> u8 {
        self.drawn = self.drawn.wrapping_add(1);
        self.drawn
    }

    fn begin(&mut self, id: SessionId, token: u8) {
        let (idle, life) = (LIMITS.session_idle.as_millis() as i64, LIMITS.session_lifetime.as_millis() as i64);
        self.sessions.push(Known {
            id,
            used_ms: self.now_ms,
            idle_end_ms: self.now_ms + idle.min(life),
            end_ms: self.now_ms + life,
            tokens: vec![token],
            rotated_ms: 0,
            accepted_again: false,
            before: None,
            live: true,
        });
    }

    fn refresh(&mut self, number: Number, token: u8, next: u8, forged: bool) -> String {
        if self.disabled {
            return "UserDisabled".to_owned();
        }
        if self.locked {
            return "UserLocked".to_owned();
        }
        if self.reset_end_ms.is_some() {
            return "PasswordChangeRequired".to_owned();
        }
        let now_ms = self.now_ms;
        let is_live = self.is_live(number);
        let one = &mut self.sessions[number];
        if !is_live {
            return OVER.to_owned();
        }
        if forged {
            return "Invalid".to_owned();
        }
        if *one.tokens.last().unwrap() == token {
            (one.before, one.rotated_ms, one.accepted_again) = (Some(token), now_ms, false);
        } else if one.before == Some(token) && !one.accepted_again && now_ms - one.rotated_ms < 30_000 {
            one.accepted_again = true;
        } else {
            one.live = false;
            return "Reused".to_owned();
        }
        one.tokens.push(next);
        one.used_ms = now_ms;
        one.idle_end_ms = (now_ms + LIMITS.session_idle.as_millis() as i64).min(one.end_ms);
        "Rotated".to_owned()
    }

    fn check(&self, number: Number) -> String {
        if self.disabled {
            return "UserDisabled".to_owned();
        }
        if self.locked {
            return "UserLocked".to_owned();
        }
        if self.is_live(number) { "Allowed".to_owned() } else { OVER.to_owned() }
    }

    fn listed(&self) -> Vec<SessionId> {
        let mut live: Vec<_> = (0..self.sessions.len()).filter(|number| self.is_live(*number)).collect();
        live.sort_by_key(|number| {
            let one = &self.sessions[*number];
            (one.used_ms, one.end_ms, one.id.clone())
        });
        live.into_iter().rev().map(|number| self.sessions[number].id.clone()).collect()
    }
}

pub(crate) fn new_session(id: &SessionId, token: u8) -> NewSession {
    NewSession {
        session_id: id.clone(),
        family_hash: [7; 32],
        token_hash: [token; 32],
        client: String::new(),
        address: None,
        method: SignInMethod::Password,
        scopes: TokenScopes::All,
    }
}

pub(crate) fn by(person: &Person, session: Option<&SessionId>, issued_at_ms: i64) -> PresentedCredential {
    PresentedCredential::AccessToken { user_id: person.id.clone(), session: session.cloned(), issued_at_ms }
}

pub(crate) async fn check(store: &dyn Store, person: &Person, credential: PresentedCredential) -> String {
    let account = person.account.clone();
    let request = CheckRequest { account, credential, permission: permission(Scope::Chat), charge: None, caller_address: None };
    match store.check(request).await.unwrap() {
        CheckAnswer::Allowed(_) => "Allowed".to_owned(),
        CheckAnswer::Refused(refusal) => format!("{refusal:?}"),
        other => panic!("{other:?}"),
    }
}

/// Does a step on a store and on the model; both answers in words.
async fn both(store: &dyn Store, person: &Person, model: &mut Model, step: &Step) -> (String, String) {
    let id = &person.id;
    let step = &step.placed(model.sessions.len());
    let has = |model: &Model, number: &Number| *number < model.sessions.len();
    let nothing = || (String::new(), String::new());
    match step {
        Step::Begin { right } => {
            let (session, token) = (SessionId::random().unwrap(), model.draw());
            let verified = if *right { model.password.clone() } else { "another".to_owned() };
            let start = store.begin_session(id, Shown::password(&verified), new_session(&session, token), event()).await.unwrap();
            let expected = if model.disabled || model.locked {
                "Refused"
            } else if !right {
                "PasswordReplaced"
            } else {
                match model.reset_end_ms {
                    None => {
                        model.begin(session, token);
                        "Begun"
                    }
                    Some(end_ms) if model.now_ms < end_ms => "PasswordChangeRequired",
                    Some(_) => "Refused",
                }
            };
            (started(&start), expected.to_owned())
        }
        Step::Refresh { session, back, forged } if has(model, session) => {
            let one = &model.sessions[*session];
            let Some(token) = one.tokens.iter().rev().nth(*back).copied() else { return nothing() };
            let (session_id, next) = (one.id.clone(), model.draw());
            let (family_hash, token_hash) = ([if *forged { 8 } else { 7 }; 32], [token; 32]);
            let shown = Refresh { session_id, family_hash, token_hash, next_token_hash: [next; 32], is_shared: false, address: None };
            let answer = match store.refresh_session(id, shown, event()).await.unwrap() {
                RefreshAnswer::Rotated(_) => "Rotated".to_owned(),
                RefreshAnswer::Refused(RefreshRefusal::Invalid) if !model.is_live(*session) => OVER.to_owned(),
                RefreshAnswer::Refused(RefreshRefusal::Revoked | RefreshRefusal::Expired) => OVER.to_owned(),
                RefreshAnswer::Refused(refusal) => format!("{refusal:?}"),
            };
            (answer, model.refresh(*session, token, next, *forged))
        }
        Step::Check { session } if has(model, session) => {
            (over(check(store, person, by(person, Some(&model.sessions[*session].id), 0)).await), model.check(*session))
        }
        Step::CheckWithout => {
            let expected = if model.disabled {
                "UserDisabled"
            } else if model.locked {
                "UserLocked"
            } else if model.reset_end_ms.is_some() {
                "PasswordChangeRequired"
            } else {
                "Allowed"
            };
            (check(store, person, by(person, None, model.now_ms - model.now_ms % 1000)).await, expected.to_owned())
        }
        Step::End { session } if has(model, session) => {
            let was_live = model.is_live(*session);
            let ended = store.end_session(id, &model.sessions[*session].id, event()).await.unwrap();
            if was_live {
                model.sessions[*session].live = false;
            }
            (ended.to_string(), was_live.to_string())
        }
        Step::EndByToken { session, forged } if has(model, session) => {
            let ends = model.is_live(*session) && !forged;
            let family = [if *forged { 8 } else { 7 }; 32];
            let ended = store.end_session_of(id, &model.sessions[*session].id, family, event()).await.unwrap();
            if ends {
                model.sessions[*session].live = false;
            }
            (ended.to_string(), ends.to_string())
        }
        Step::EndAll => {
            let ended = store.end_all_sessions(id, event()).await.unwrap().unwrap();
            (ended.to_string(), model.end_all().to_string())
        }
        Step::ChangePassword { session, right } if has(model, session) => {
            let (verified, new) =
                (if *right { model.password.clone() } else { "another".to_owned() }, format!("password {}", model.draw()));
            let asked_by = by(person, Some(&model.sessions[*session].id), 0);
            let change = store.change_password(id, &asked_by, &verified, &new, event()).await.unwrap().unwrap();
            let refusal = model.check(*session);
            let expected = if refusal != "Allowed" {
                format!("Refused({refusal})")
            } else if model.reset_end_ms.is_some() {
                "PasswordChangeRequired".to_owned()
            } else if !right {
                "PasswordReplaced".to_owned()
            } else {
                let ended_sessions = model.end_all() - 1;
                model.sessions[*session].live = true;
                model.password = new;
                format!("Changed {{ ended_sessions: {ended_sessions} }}")
            };
            (over(format!("{change:?}")), expected)
        }
        Step::Reset => {
            let one_time = format!("one time {}", model.draw());
            let user = store.reset_password(id, &one_time, event()).await.unwrap().unwrap();
            model.end_all();
            (model.password, model.reset_end_ms) = (one_time, Some(model.now_ms + DAY_MS));
            (format!("{:?}", user.reset_ends_at_ms), format!("{:?}", model.reset_end_ms))
        }
        Step::CompleteReset { right } => {
            let (session, token, new) = (SessionId::random().unwrap(), model.draw(), format!("chosen {}", model.drawn));
            let verified = if *right { model.password.clone() } else { "another".to_owned() };
            let start =
                store.complete_password_reset(id, Shown::password(&verified), &new, new_session(&session, token), event()).await.unwrap();
            let is_open = model.reset_end_ms.is_some_and(|end_ms| model.now_ms < end_ms);
            let completes = *right && is_open && !model.disabled && !model.locked;
            if completes {
                (model.password, model.reset_end_ms) = (new, None);
                model.begin(session, token);
            }
            (started(&start), if completes { "Begun" } else { "Refused" }.to_owned())
        }
        Step::Disable(disabled) => {
            let changed = store.set_disabled(id, *disabled, "", event()).await.unwrap().unwrap().changed;
            let changes = model.disabled != *disabled;
            if changes {
                model.end_all();
                model.disabled = *disabled;
            }
            (changed.to_string(), changes.to_string())
        }
        Step::Lock(locked) => {
            let changed = store.set_locked(id, *locked, "", event()).await.unwrap().unwrap().changed;
            let changes = model.locked != *locked;
            if changes {
                model.end_all();
                model.locked = *locked;
            }
            (changed.to_string(), changes.to_string())
        }
        Step::Rehash => {
            let new = format!("hashed anew {}", model.draw());
            store.replace_password_hash(id, &model.password, &new).await.unwrap();
            model.password = new;
            nothing()
        }
        Step::List => {
            let listed: Vec<_> = store.sessions(id).await.unwrap().into_iter().map(|one| one.session_id).collect();
            (format!("{listed:?}"), format!("{:?}", model.listed()))
        }
        Step::Refresh { .. }
        | Step::Check { .. }
        | Step::End { .. }
        | Step::EndByToken { .. }
        | Step::ChangePassword { .. }
        | Step::Wait(_) => nothing(),
    }
}

fn over(answer: String) -> String {
    answer.replace("CredentialExpired", OVER).replace("CredentialRevoked", OVER)
}

fn started(start: &SessionStart) -> String {
    match start {
        SessionStart::Begun(_) => "Begun".to_owned(),
        other => format!("{other:?}"),
    }
}

async fn agree(store: &dyn Store, hand: &AtomicI64, name: &str, steps: &[Step]) -> Result<BTreeSet<String>, TestCaseError> {
    hand.store(START_MS, Ordering::SeqCst);
    let user = new_user(name, 5);
    let person = Person { id: user.user_id.clone(), account: (&user.user_id).into() };
    store.create_user(user, event()).await.unwrap();
    let mut model = Model {
        now_ms: START_MS,
        disabled: false,
        locked: false,
        password: PASSWORD_HASH.to_owned(),
        reset_end_ms: None,
        sessions: Vec::new(),
        drawn: 0,
    };
    let mut reached = BTreeSet::new();
    for (number, step) in steps.iter().enumerate() {
        if let Step::Wait(ms) = step {
            hand.fetch_add(*ms, Ordering::SeqCst);
            model.now_ms += ms;
        }
        let (answer, expected) = both(store, &person, &mut model, step).await;
        prop_assert_eq!(&answer, &expected, "step {}: {:?}", number, step);
        if matches!(step, Step::Refresh { .. } | Step::Begin { .. } | Step::Check { .. }) {
            reached.insert(answer);
        }
    }
    Ok(reached)
}

/// What the scenes come to.
const REACHED: [&str; 11] = [
    "Allowed",
    "Begun",
    OVER,
    "Invalid",
    "PasswordChangeRequired",
    "PasswordReplaced",
    "Refused",
    "Reused",
    "Rotated",
    "UserDisabled",
    "UserLocked",
];

/// Steps that come to each answer, whatever is drawn at random. Sessions are counted from the last one back.
fn scenes() -> [Vec<Step>; 5] {
    use Step::{Begin, Check, CheckWithout, Disable, EndAll, Lock, Reset, Wait};
    let begin = Begin { right: true };
    let check = Check { session: 0 };
    let refresh = |back, forged| Step::Refresh { session: 0, back, forged };
    [
        // A session is refreshed, and a lost reply made good, until a token is used a second time.
        vec![begin.clone(), check.clone(), refresh(0, false), refresh(0, true), refresh(1, false), refresh(2, false), check.clone()],
        vec![Begin { right: false }, begin.clone(), Wait(400), refresh(0, false), EndAll, check.clone()],
        vec![begin.clone(), Disable(true), begin.clone(), check.clone(), refresh(0, false), CheckWithout, Disable(false), check.clone()],
        vec![begin.clone(), Lock(true), begin.clone(), check.clone(), refresh(0, false), CheckWithout, Lock(false), check.clone()],
        vec![begin.clone(), Reset, begin, check, refresh(0, false), CheckWithout, Step::CompleteReset { right: true }, CheckWithout],
    ]
}

fn agrees_with_the_model(runtime: &Runtime, store: &dyn Store, hand: &AtomicI64) {
    let mut reached = BTreeSet::new();
    for (number, scene) in scenes().iter().enumerate() {
        reached.extend(runtime.block_on(agree(store, hand, &format!("scene{number}"), scene)).unwrap());
    }
    let missed: Vec<_> = REACHED.iter().filter(|one| !reached.contains(**one)).collect();
    assert!(missed.is_empty(), "never came to {missed:?}");
    let users = Cell::new(0);
    let config = ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in proptest::collection::vec(step(), 1..60))| {
        users.set(users.get() + 1);
        runtime.block_on(agree(store, hand, &format!("user{}", users.get()), &steps))?;
    });
}

#[test]
fn sqlite_and_the_model_agree_on_sessions_and_user_states_after_every_step() {
    let (runtime, folder) = (current_thread(), tempfile::tempdir().unwrap());
    let (clock, hand) = Clock::fixed(START_MS);
    let store = runtime.block_on(async { SqliteStore::open(&sqlite_file(folder.path()), LIMITS, clock).unwrap() });
    agrees_with_the_model(&runtime, &store, &hand);
}

#[test]
fn redis_and_the_model_agree_on_sessions_and_user_states_after_every_step() {
    let (runtime, server) = (current_thread(), RedisServer::start(&["--appendfsync", "no"]));
    let (clock, hand) = Clock::fixed(START_MS);
    let store = runtime.block_on(server.store(LIMITS, clock));
    agrees_with_the_model(&runtime, &store, &hand);
}
