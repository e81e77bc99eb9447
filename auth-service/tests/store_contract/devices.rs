//! Sign-ins of devices: each step looks at who approved, whatever happened since, and no code is good twice.

use std::sync::Arc;
use std::time::Duration;

use auth_service::device_sign_in::{
    AnswerRefusal, DeviceExchange, DeviceQuestion, DeviceSignIn, DeviceStart, LIFE, MAX_OPEN, NewDeviceSignIn, UserCode,
};
use auth_service::ids::SessionId;
use auth_service::session::{NewSession, SignInMethod};
use auth_service::store::{AuditAction, AuditEvent, AuditQuery, AuditRange, Refusal, Scope, Store, StoreLimits};
use auth_service::token_scopes::TokenScopes;
use auth_service::user_state::PasswordChange;

use crate::fixture::{Fixture, Home, PASSWORD_HASH, Person, event, sqlite_file};
use crate::sessions::{Signed, credential, new_session};
use crate::user_states::{ENDINGS, Ending, RACES, at_once, end, racer};

const SECOND: Duration = Duration::from_secs(1);

/// The sign-in of a test's device, by its number.
fn new_device(number: u32) -> NewDeviceSignIn {
    let letters = b"BCDFGHJKLMNPQRSTVWXZ";
    let code: String = (0..8).map(|place| char::from(letters[(number / 20_u32.pow(place) % 20) as usize])).collect();
    let mut device_hash = [0; 32];
    device_hash[..4].copy_from_slice(&number.to_le_bytes());
    NewDeviceSignIn {
        user_code: UserCode::parse(&code).unwrap(),
        device_hash,
        client: "a notebook".to_owned(),
        address: Some("192.0.2.9".parse().unwrap()),
        scopes: TokenScopes::Only(vec![Scope::Account]),
    }
}

fn of(action: AuditAction) -> AuditEvent {
    AuditEvent::new(action)
}

/// Like a session that the device asks for: with more than was approved.
fn asked_session(id: &SessionId) -> NewSession {
    NewSession { method: SignInMethod::Password, scopes: TokenScopes::All, ..new_session(id, "curl") }
}

impl Fixture {
    async fn try_begin_device(&self, number: u32) -> DeviceStart {
        self.store.begin_device_sign_in(new_device(number), of(AuditAction::BeginDeviceSignIn)).await.unwrap()
    }

    async fn begin_device(&self, number: u32) -> DeviceSignIn {
        match self.try_begin_device(number).await {
            DeviceStart::Begun(sign_in) => sign_in,
            other => panic!("{other:?}"),
        }
    }

    /// One that this user approved.
    pub(crate) async fn approved(&self, number: u32, by: &Signed) -> DeviceSignIn {
        let device = self.begin_device(number).await;
        assert_eq!(answer(&*self.store, &device, by, true).await, Ok(()));
        device
    }

    async fn question(&self, device: &DeviceSignIn) -> DeviceQuestion {
        self.store.question_of_device(&device.device_hash).await.unwrap()
    }
}

async fn answer(store: &dyn Store, device: &DeviceSignIn, by: &Signed, approves: bool) -> Result<(), AnswerRefusal> {
    let action = if approves { AuditAction::ApproveDevice } else { AuditAction::DenyDevice };
    store.answer_device_sign_in(&device.user_code, &by.person.id, &by.id, approves, of(action)).await.unwrap()
}

pub(crate) async fn exchange(store: &dyn Store, device: &DeviceSignIn, person: &Person) -> (SessionId, DeviceExchange) {
    let id = SessionId::random().unwrap();
    let new = asked_session(&id);
    let exchange = store.exchange_device_code(&device.device_hash, &person.id, new, of(AuditAction::DeviceSignIn)).await.unwrap();
    (id, exchange)
}

pub(crate) fn begun(person: &Person, (id, exchange): (SessionId, DeviceExchange)) -> Option<Signed> {
    match exchange {
        DeviceExchange::Begun(session) => {
            assert_eq!(session.session_id, id);
            Some(Signed { person: person.clone(), id })
        }
        DeviceExchange::Over | DeviceExchange::ApprovalEnded => None,
    }
}

pub(crate) async fn a_device_that_is_approved_gets_one_session_with_what_was_approved(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let signed = f.sign_in(&ada).await;
    let device = f.begin_device(1).await;
    assert_eq!((device.requested_at_ms, device.interval), (f.now_ms(), 5 * SECOND));
    assert_eq!(f.store.device_sign_in(&device.user_code).await.unwrap(), Some(device.clone()));
    assert_eq!(answer(&*f.store, &device, &signed, true).await, Ok(()));
    assert_eq!(answer(&*f.store, &device, &signed, true).await, Ok(()), "a repetition");
    assert_eq!(f.question(&device).await, DeviceQuestion::Approved(ada.id.clone()));
    // Whoever else says to have approved has nothing of it.
    let bob = f.person("bob", 0).await;
    assert_eq!(exchange(&*f.store, &device, &bob).await.1, DeviceExchange::Over);
    let (id, got) = exchange(&*f.store, &device, &ada).await;
    let DeviceExchange::Begun(session) = got else { panic!("{got:?}") };
    assert_eq!((&session.session_id, session.client.as_str(), &session.method), (&id, "a notebook", &SignInMethod::Device));
    assert_eq!((&session.scopes, session.tokens_valid_from_ms), (&TokenScopes::Only(vec![Scope::Account]), 0));
    let of_device = Signed { person: ada.clone(), id: id.clone() };
    assert_eq!(f.refusal(&of_device).await, None);
    // The same call, whose answer was lost.
    let repeated = f.store.exchange_device_code(&device.device_hash, &ada.id, asked_session(&id), of(AuditAction::DeviceSignIn)).await;
    assert_eq!(repeated.unwrap(), DeviceExchange::Begun(session));
    assert_eq!(f.session_ids(&ada).await.len(), 2);
    // It lives by itself from then on.
    assert!(f.store.end_session(&ada.id, &signed.id, event()).await.unwrap());
    assert_eq!(f.refusal(&of_device).await, None);
    assert!(f.refresh(&of_device, 0, 1).await.is_ok());
}

pub(crate) async fn a_device_code_is_good_for_nothing_before_it_is_approved_and_after_its_time(f: Fixture) {
    let ada = f.person("ada", 0).await;
    let signed = f.sign_in(&ada).await;
    let (open, good) = (f.begin_device(1).await, f.approved(2, &signed).await);
    assert_eq!(exchange(&*f.store, &open, &ada).await.1, DeviceExchange::Over);
    f.advance(LIFE - Duration::from_millis(1));
    assert_eq!(f.question(&open).await, DeviceQuestion::Pending { wait: 5 * SECOND });
    assert_eq!(f.question(&good).await, DeviceQuestion::Approved(ada.id.clone()));
    f.advance(Duration::from_millis(1));
    for device in [&open, &good] {
        assert_eq!(f.question(device).await, DeviceQuestion::Over);
        assert_eq!(f.store.device_sign_in(&device.user_code).await.unwrap(), None);
        assert_eq!(answer(&*f.store, device, &signed, true).await, Err(AnswerRefusal::Unknown));
        assert_eq!(exchange(&*f.store, device, &ada).await.1, DeviceExchange::Over);
    }
    let unknown = f.store.question_of_device(&[9; 32]).await.unwrap();
    assert_eq!((unknown, f.session_ids(&ada).await), (DeviceQuestion::Over, vec![signed.id]));
}

pub(crate) async fn sixteen_exchanges_at_once_give_one_session(f: Fixture) {
    let f = Arc::new(f);
    for number in 0..4 {
        let ada = f.person(&format!("ada{number}"), 20).await;
        let signed = f.sign_in(&ada).await;
        let device = f.approved(number, &signed).await;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (f, device, ada) = (Arc::clone(&f), device.clone(), ada.clone());
            tasks.spawn(async move { begun(&ada, exchange(&*f.store, &device, &ada).await) });
        }
        let got: Vec<Signed> = tasks.join_all().await.into_iter().flatten().collect();
        assert_eq!(got.len(), 1);
        assert_eq!(f.refusal(&got[0]).await, None);
        assert_eq!(f.session_ids(&ada).await.len(), 2);
    }
}

pub(crate) async fn a_device_code_that_comes_again_later_ends_the_session_that_it_began_and_begins_none(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let signed = f.sign_in(&ada).await;
    let device = f.approved(1, &signed).await;
    let got = begun(&ada, exchange(&*f.store, &device, &ada).await).unwrap();
    f.advance(Duration::from_millis(3999));
    assert_eq!(exchange(&*f.store, &device, &ada).await.1, DeviceExchange::Over);
    assert_eq!(f.refusal(&got).await, None, "a device that asked twice");
    f.advance(Duration::from_millis(1));
    assert_eq!(exchange(&*f.store, &device, &ada).await.1, DeviceExchange::Over);
    assert_eq!(f.refusal(&got).await, Some(Refusal::CredentialRevoked));
    assert_eq!(f.session_ids(&ada).await, [signed.id]);
}

/// Begins for each ending a device that was approved, in a session that it ends.
pub(crate) async fn what_ends_the_session_of_who_approved_ends_the_approval_and_gives_the_device_nothing(f: Fixture) {
    for (number, ending) in (0..).zip(ENDINGS) {
        let (signed, other) = racer(&f, 0, ending).await;
        let device = f.approved(number, &signed).await;
        f.advance(SECOND);
        end(&*f.store, ending, &signed, &other).await;
        assert_eq!(exchange(&*f.store, &device, &signed.person).await.1, DeviceExchange::ApprovalEnded, "{ending:?}");
        // Nor when the user is in force again.
        if matches!(ending, Ending::Disable | Ending::Lock) {
            f.store.set_disabled(&signed.person.id, false, "", event()).await.unwrap();
            f.store.set_locked(&signed.person.id, false, "", event()).await.unwrap();
            f.sign_in(&signed.person).await;
        }
        assert_eq!(exchange(&*f.store, &device, &signed.person).await.1, DeviceExchange::ApprovalEnded, "{ending:?}");
    }
    // A password that is changed in the session that approved, which goes on.
    let ada = f.person("ada", 20).await;
    let signed = f.sign_in(&ada).await;
    let device = f.approved(100, &signed).await;
    f.advance(SECOND);
    let changed = f.store.change_password(&ada.id, &credential(&signed), PASSWORD_HASH, "$argon2id$v=19$new", event()).await.unwrap();
    assert_eq!(changed, Some(PasswordChange::Changed { ended_sessions: 0 }));
    assert_eq!(f.refusal(&signed).await, None);
    assert_eq!(exchange(&*f.store, &device, &ada).await.1, DeviceExchange::ApprovalEnded);
    // Its user may approve again.
    assert_eq!(answer(&*f.store, &device, &signed, true).await, Ok(()));
    assert!(begun(&ada, exchange(&*f.store, &device, &ada).await).is_some());
    // And a session that wasn't refreshed in time.
    let bob = f.person("bob", 0).await;
    f.advance(LIFE);
    let signed = f.sign_in(&bob).await;
    f.advance(f.limits.session_idle - SECOND);
    let device = f.approved(101, &signed).await;
    f.advance(SECOND);
    assert_eq!(exchange(&*f.store, &device, &bob).await.1, DeviceExchange::ApprovalEnded);
}

pub(crate) async fn an_approval_that_races_whatever_ends_its_session_gives_nothing_that_outlives_it(f: Fixture) {
    let f = Arc::new(f);
    let mut number = 0;
    for ending in ENDINGS {
        for race in 0..RACES {
            number += 1;
            let (signed, other) = racer(&f, race, ending).await;
            let device = f.begin_device(number).await;
            f.advance(SECOND);
            let (g, h) = (Arc::clone(&f), Arc::clone(&f));
            let (by, asked) = (signed.clone(), device.clone());
            let approve = async move { answer(&*g.store, &asked, &by, true).await };
            let ended = signed.clone();
            let ending_it = async move { end(&*h.store, ending, &ended, &other).await };
            let (_, ()) = at_once(race, approve, ending_it).await;
            let got = exchange(&*f.store, &device, &signed.person).await.1;
            assert!(!matches!(got, DeviceExchange::Begun(_)), "{ending:?} {race}: {got:?}");
        }
        f.advance(LIFE);
    }
}

pub(crate) async fn an_exchange_that_races_whatever_ends_the_approval_gives_no_session_that_outlives_it(f: Fixture) {
    let f = Arc::new(f);
    let mut number = 0;
    for ending in ENDINGS {
        // The first time one after the other: it began before, and what ends all sessions ends it too.
        for race in 0..=RACES {
            number += 1;
            let (signed, other) = racer(&f, race, ending).await;
            let device = f.approved(number, &signed).await;
            f.advance(SECOND);
            let (g, h) = (Arc::clone(&f), Arc::clone(&f));
            let person = signed.person.clone();
            let ask = async move { begun(&person, exchange(&*g.store, &device, &person).await) };
            let ended = signed.clone();
            let ending_it = async move { end(&*h.store, ending, &ended, &other).await };
            let got = if race == RACES {
                let got = ask.await;
                ending_it.await;
                assert!(got.is_some(), "{ending:?}");
                got
            } else {
                at_once(race, ask, ending_it).await.0
            };
            // Where it began, what ends one session has ended that alone.
            let one_alone = matches!(ending, Ending::EndOne | Ending::ByToken);
            if let Some(got) = got {
                assert_eq!(f.refusal(&got).await.is_none(), one_alone, "{ending:?} {race}");
            }
        }
        f.advance(LIFE);
    }
}

pub(crate) async fn of_an_approval_and_a_denial_at_once_the_denial_counts_unless_it_was_refused(f: Fixture) {
    let f = Arc::new(f);
    let ada = f.person("ada", 20).await;
    let (here, there) = (f.sign_in(&ada).await, f.sign_in(&ada).await);
    for race in 0..RACES {
        let device = f.begin_device(u32::try_from(race).unwrap()).await;
        let (g, h) = (Arc::clone(&f), Arc::clone(&f));
        let (one, other) = (here.clone(), there.clone());
        let (asked, denied) = (device.clone(), device.clone());
        let approve = async move {
            let approved = answer(&*g.store, &asked, &one, true).await;
            (approved, begun(&one.person, exchange(&*g.store, &asked, &one.person).await))
        };
        let deny = async move { answer(&*h.store, &denied, &other, false).await };
        let ((approved, got), denied) = at_once(race, approve, deny).await;
        match denied {
            // The device had its session by then.
            Err(refusal) => assert_eq!((refusal, approved, got.is_some()), (AnswerRefusal::Unknown, Ok(()), true)),
            Ok(()) => {
                assert!(got.is_none(), "{approved:?}");
                assert_eq!(f.question(&device).await, DeviceQuestion::Denied);
                assert_eq!(exchange(&*f.store, &device, &ada).await.1, DeviceExchange::Over);
            }
        }
    }
}

pub(crate) async fn of_two_users_who_approve_one_device_at_once_one_has_it(f: Fixture) {
    let f = Arc::new(f);
    let (ada, bob) = (f.person("ada", 0).await, f.person("bob", 0).await);
    let (of_ada, of_bob) = (f.sign_in(&ada).await, f.sign_in(&bob).await);
    for race in 0..RACES {
        let device = f.begin_device(u32::try_from(race).unwrap()).await;
        let both = [&of_ada, &of_bob].map(|by| {
            let (f, by, device) = (Arc::clone(&f), by.clone(), device.clone());
            async move { answer(&*f.store, &device, &by, true).await }
        });
        let [one, other] = both;
        let answers = at_once(race, one, other).await;
        let (has, has_not) = match answers {
            (Ok(()), Err(AnswerRefusal::Unknown)) => (&ada, &bob),
            (Err(AnswerRefusal::Unknown), Ok(())) => (&bob, &ada),
            other => panic!("{other:?}"),
        };
        assert_eq!(f.question(&device).await, DeviceQuestion::Approved(has.id.clone()));
        assert_eq!(exchange(&*f.store, &device, has_not).await.1, DeviceExchange::Over);
        assert!(begun(has, exchange(&*f.store, &device, has).await).is_some());
    }
}

pub(crate) async fn whoever_is_disabled_locked_or_signed_out_approves_nothing(f: Fixture) {
    for (number, ending) in (0..).zip(ENDINGS) {
        let (signed, other) = racer(&f, 0, ending).await;
        let device = f.begin_device(number).await;
        f.advance(SECOND);
        end(&*f.store, ending, &signed, &other).await;
        let refusal = match ending {
            Ending::Disable => Refusal::UserDisabled,
            Ending::Lock => Refusal::UserLocked,
            Ending::Reset => Refusal::PasswordChangeRequired,
            Ending::EndAll | Ending::EndOne | Ending::ByToken | Ending::ChangePassword => Refusal::CredentialRevoked,
        };
        for approves in [true, false] {
            let refused = answer(&*f.store, &device, &signed, approves).await;
            assert_eq!(refused, Err(AnswerRefusal::Refused(refusal)), "{ending:?}");
        }
        assert_eq!(f.question(&device).await, DeviceQuestion::Pending { wait: 5 * SECOND });
    }
}

pub(crate) async fn questions_that_come_too_early_are_told_to_slow_down_also_at_once(f: Fixture) {
    let device = f.begin_device(1).await;
    let wait = 5 * SECOND;
    assert_eq!(f.question(&device).await, DeviceQuestion::Pending { wait });
    f.advance(wait);
    assert_eq!(f.question(&device).await, DeviceQuestion::Pending { wait });
    f.advance(Duration::from_millis(3999));
    assert_eq!(f.question(&device).await, DeviceQuestion::TooEarly { wait: 10 * SECOND });
    f.advance(10 * SECOND);
    assert_eq!(f.question(&device).await, DeviceQuestion::Pending { wait: 10 * SECOND });
    // Of those that come at once, one is in time.
    f.advance(10 * SECOND);
    let f = Arc::new(f);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (f, device) = (Arc::clone(&f), device.clone());
        tasks.spawn(async move { f.question(&device).await });
    }
    let answers = tasks.join_all().await;
    let in_time = answers.iter().filter(|answer| matches!(answer, DeviceQuestion::Pending { .. })).count();
    let early = answers.iter().filter(|answer| matches!(answer, DeviceQuestion::TooEarly { .. })).count();
    assert_eq!((in_time, early), (1, 7), "{answers:?}");
    let kept = f.store.device_sign_in(&device.user_code).await.unwrap().unwrap();
    assert_eq!(kept.interval, 45 * SECOND);
}

pub(crate) async fn ten_thousand_sign_ins_are_kept_and_room_comes_with_the_end_of_the_oldest(f: Fixture) {
    let first = f.begin_device(0).await;
    f.advance(60 * SECOND);
    let f = Arc::new(f);
    let mut tasks = tokio::task::JoinSet::new();
    // Some more than there is room for, at once.
    for number in 1..MAX_OPEN + 20 {
        let f = Arc::clone(&f);
        tasks.spawn(async move { f.try_begin_device(number).await });
    }
    let mut kept = 1;
    while let Some(start) = tasks.join_next().await {
        match start.unwrap() {
            DeviceStart::Begun(_) => kept += 1,
            DeviceStart::Full { retry_after } => assert_eq!(retry_after, LIFE - 60 * SECOND),
            DeviceStart::CodeTaken => panic!("another's code"),
        }
    }
    assert_eq!(kept, MAX_OPEN);
    assert_eq!(records(&f), u64::from(MAX_OPEN));
    // Nobody's is displaced, and the first that is over gives its place to one.
    assert_eq!(f.question(&first).await, DeviceQuestion::Pending { wait: 5 * SECOND });
    f.advance(LIFE - 60 * SECOND);
    assert!(matches!(f.try_begin_device(20_000).await, DeviceStart::Begun(_)));
    assert_eq!(f.try_begin_device(20_001).await, DeviceStart::Full { retry_after: 60 * SECOND });
    assert_eq!(f.question(&first).await, DeviceQuestion::Over);
    f.advance(60 * SECOND);
    assert!(matches!(f.try_begin_device(20_001).await, DeviceStart::Begun(_)));
    assert_eq!(records(&f), 2, "what is over takes no place");
}

/// Sign-ins that the store counts.
fn records(f: &Fixture) -> u64 {
    match &f.home {
        Home::Redis(server) => redis::cmd("ZCARD").arg("tg:devices_due").query(&mut server.connection()).unwrap(),
        Home::Sqlite(folder) => {
            let file = rusqlite::Connection::open(sqlite_file(folder.path())).unwrap();
            file.query_row("SELECT count(*) FROM device_sign_ins", [], |row| row.get(0)).unwrap()
        }
    }
}

pub(crate) async fn a_code_that_is_taken_is_given_to_nobody_else(f: Fixture) {
    let device = f.begin_device(1).await;
    let other = new_device(2);
    for taken in [
        NewDeviceSignIn { user_code: device.user_code.clone(), ..other.clone() },
        NewDeviceSignIn { device_hash: device.device_hash, ..other.clone() },
    ] {
        let start = f.store.begin_device_sign_in(taken, of(AuditAction::BeginDeviceSignIn)).await.unwrap();
        assert_eq!(start, DeviceStart::CodeTaken);
    }
    assert_eq!(f.store.device_sign_in(&device.user_code).await.unwrap(), Some(device));
    assert_eq!(f.store.device_sign_in(&other.user_code).await.unwrap(), None);
}

async fn recorded(f: &Fixture, action: AuditAction) -> Vec<String> {
    let (mut details, mut next) = (Vec::new(), Some(AuditRange::Newest));
    while let Some(range) = next {
        let page = f.store.audit_events(&AuditQuery { user: None, action: Some(action), range, limit: 500 }).await.unwrap();
        details.extend(page.events.into_iter().map(|recorded| recorded.event.detail));
        next = page.next;
    }
    details
}

pub(crate) async fn each_step_of_a_device_is_in_the_audit_log_once_and_anybodys_beginnings_push_out_no_change(f: Fixture) {
    let limits = StoreLimits { max_audit_changes: 1000, max_audit_attempts: 1000, ..f.limits };
    let f = f.open_again(limits).await;
    let ada = f.person("ada", 0).await;
    let signed = f.sign_in(&ada).await;
    let (first, second) = (f.begin_device(1).await, f.begin_device(2).await);
    for _ in 0..2 {
        f.advance(SECOND);
        assert_eq!(answer(&*f.store, &first, &signed, true).await, Ok(()));
        assert_eq!(answer(&*f.store, &second, &signed, false).await, Ok(()));
        f.question(&first).await;
    }
    f.advance(SECOND);
    assert!(begun(&ada, exchange(&*f.store, &first, &ada).await).is_some());
    assert!(begun(&ada, exchange(&*f.store, &first, &ada).await).is_none());
    for (action, details) in [
        (AuditAction::BeginDeviceSignIn, &["", ""][..]),
        (AuditAction::ApproveDevice, &["a notebook"]),
        (AuditAction::DenyDevice, &["a notebook"]),
        (AuditAction::DeviceSignIn, &[""]),
    ] {
        assert_eq!(recorded(&f, action).await, details, "{action:?}");
    }
    for number in 3..2003 {
        f.begin_device(number).await;
    }
    assert_eq!(recorded(&f, AuditAction::ApproveDevice).await.len(), 1);
}

pub(crate) async fn no_code_of_a_device_is_kept_but_as_a_hash_and_the_user_code_no_longer_than_it_counts(f: Fixture) {
    let device = f.begin_device(1).await;
    match &f.home {
        Home::Redis(server) => {
            let mut connection = server.connection();
            let keys: Vec<String> = redis::cmd("KEYS").arg("tg:device*").query(&mut connection).unwrap();
            assert_eq!(keys.len(), 3, "{keys:?}");
            for key in
                [format!("tg:devices:{}", device.user_code.letters()), format!("tg:device_codes:{}", hex::encode(device.device_hash))]
            {
                assert!(keys.contains(&key), "{key} of {keys:?}");
                let life_ms: i64 = redis::cmd("PTTL").arg(&key).query(&mut connection).unwrap();
                assert!((1..=600_000).contains(&life_ms), "{key}: {life_ms}");
            }
        }
        Home::Sqlite(_) => {
            f.advance(LIFE);
            f.begin_device(2).await;
            assert_eq!(records(&f), 1);
        }
    }
}
