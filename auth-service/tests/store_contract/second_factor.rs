//! The second factor: each code is good once, whoever shows it at the same time, and what it lets through ends by the store's clock.

use std::sync::Arc;
use std::time::Duration;

use auth_service::ids::SessionId;
use auth_service::second_factor::{
    AttemptId, FactorAnswer, FactorChange, FactorChangeRequest, PresentedCode, RecoveryCodes, SecondFactorStatus, TotpSecret,
};
use auth_service::session::{SessionStart, Shown};
use auth_service::store::{AuditAction, AuditEvent, AuditQuery, AuditRange, CheckAnswer, CheckRequest, Permission, Refusal, Scope, Store};
use auth_service::user::Role;

use crate::fixture::{Fixture, Home, PASSWORD_HASH, Person, event, sqlite_file};
use crate::sessions::{Signed, credential, new_session};

const SECRET: [u8; 20] = *b"the canary's own key";
const STEP: Duration = Duration::from_secs(30);

/// What the app shows at a time.
pub(crate) fn code_at(ms: i64) -> PresentedCode {
    let totp = totp_rs::Builder::new().with_secret(SECRET.to_vec()).build().unwrap();
    PresentedCode::App(totp.generate(u64::try_from(ms).unwrap() / 1000).to_string())
}

pub(crate) async fn change(store: &dyn Store, signed: &Signed, change: FactorChange, event: AuditEvent) -> FactorAnswer {
    let request = FactorChangeRequest { session: signed.id.clone(), attempt: AttemptId::draw().unwrap(), change };
    store.change_second_factor(&signed.person.id, request, event).await.unwrap().unwrap()
}

impl Fixture {
    /// Turns the second factor on, and goes to the next code.
    pub(crate) async fn enroll(&self, signed: &Signed) -> RecoveryCodes {
        let begin = FactorChange::Begin { secret: TotpSecret::from_bytes(SECRET), verified_hash: PASSWORD_HASH.to_owned() };
        assert!(matches!(change(&*self.store, signed, begin, event()).await, FactorAnswer::Done { .. }));
        let recovery_codes = RecoveryCodes::draw().unwrap();
        let confirm = FactorChange::Confirm { code: code_at(self.now_ms()), recovery_codes: recovery_codes.hashes() };
        assert!(matches!(change(&*self.store, signed, confirm, event()).await, FactorAnswer::Done { .. }));
        self.advance(STEP);
        recovery_codes
    }

    async fn begin_with(&self, person: &Person, code: Option<&PresentedCode>) -> (SessionId, SessionStart) {
        let id = SessionId::random().unwrap();
        let shown = Shown { verified_hash: PASSWORD_HASH, code };
        let start = self.store.begin_session(&person.id, shown, new_session(&id, "a client"), event()).await.unwrap();
        (id, start)
    }

    async fn step_up(&self, signed: &Signed, code: PresentedCode) -> FactorAnswer {
        change(&*self.store, signed, FactorChange::StepUp { code }, event()).await
    }

    /// What an operator's change by the session's access token is refused for.
    async fn operators_refusal(&self, signed: &Signed) -> Option<Refusal> {
        let permission = Permission { admin: true, step_up: true, ..Permission::of(Scope::Account) };
        let account = signed.person.account.clone();
        let request = CheckRequest { account, credential: credential(signed), permission, charge: None, caller_address: None };
        match self.store.check(request).await.unwrap() {
            CheckAnswer::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

pub(crate) async fn of_sixteen_sign_ins_at_once_with_one_code_one_begins(f: Fixture) {
    let f = Arc::new(f);
    let ada = f.person("ada", 5).await;
    let recovery_codes = f.enroll(&f.sign_in(&ada).await).await.reveal();
    let other: Arc<dyn Store> = f.elsewhere().await;
    for code in [code_at(f.now_ms()), PresentedCode::parse(&recovery_codes[3]).unwrap()] {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..16 {
            let store = if number % 2 == 0 { Arc::clone(&f.store) } else { Arc::clone(&other) };
            let (person, code) = (ada.clone(), code.clone());
            tasks.spawn(async move {
                let shown = Shown { verified_hash: PASSWORD_HASH, code: Some(&code) };
                store.begin_session(&person.id, shown, new_session(&SessionId::random().unwrap(), ""), event()).await.unwrap()
            });
        }
        let starts = tasks.join_all().await;
        let begun = starts.iter().filter(|start| matches!(start, SessionStart::Begun(_))).count();
        let refused = starts.iter().filter(|start| matches!(start, SessionStart::SecondFactorWrong | SessionStart::SecondFactorWait(_)));
        assert_eq!((begun, refused.count()), (1, 15), "{code:?}: {starts:?}");
        // Those that came too late count as wrong, until the next right one.
        f.advance(Duration::from_secs(24 * 3600));
    }
}

pub(crate) async fn of_sixteen_step_ups_at_once_with_one_code_one_is_done(f: Fixture) {
    let f = Arc::new(f);
    let ada = f.person("ada", 5).await;
    let signed = f.sign_in(&ada).await;
    f.enroll(&signed).await;
    let (code, other) = (code_at(f.now_ms()), f.elsewhere().await);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..16 {
        let store = if number % 2 == 0 { Arc::clone(&f.store) } else { Arc::clone(&other) };
        let (signed, code) = (signed.clone(), code.clone());
        tasks.spawn(async move { change(&*store, &signed, FactorChange::StepUp { code }, event()).await });
    }
    let done = tasks.join_all().await.into_iter().filter(|answer| matches!(answer, FactorAnswer::Done { .. })).count();
    assert_eq!(done, 1);
}

pub(crate) async fn a_step_up_counts_for_fifteen_minutes_of_the_stores_clock_in_its_own_session_and_a_refresh_does_not_prolong_it(
    f: Fixture,
) {
    let root = f.person_with_role("root", 5, Role::Admin).await;
    let (signed, other) = (f.sign_in(&root).await, f.sign_in(&root).await);
    assert_eq!(f.operators_refusal(&signed).await, Some(Refusal::StepUpRequired));
    f.enroll(&signed).await;
    f.advance(Duration::from_secs(15 * 60));
    assert_eq!(f.operators_refusal(&signed).await, Some(Refusal::StepUpRequired));
    let at_ms = f.now_ms();
    assert_eq!(f.step_up(&signed, code_at(at_ms)).await, FactorAnswer::Done { at_ms, by_recovery_code: false });
    assert_eq!(f.operators_refusal(&signed).await, None);
    assert_eq!(f.operators_refusal(&other).await, Some(Refusal::StepUpRequired), "another session of the same user");
    f.advance(Duration::from_secs(14 * 60));
    let refreshed = f.refresh(&signed, 0, 1).await.unwrap();
    assert_eq!(refreshed.second_factor_at_ms, Some(at_ms), "a refresh keeps it");
    f.advance(Duration::from_millis(60_000 - 1));
    assert_eq!(f.operators_refusal(&signed).await, None);
    f.advance(Duration::from_millis(1));
    assert_eq!(f.operators_refusal(&signed).await, Some(Refusal::StepUpRequired), "and prolongs nothing");
    let up = f.step_up(&signed, code_at(f.now_ms())).await;
    assert!(matches!(up, FactorAnswer::Done { .. }), "{up:?}");
    assert_eq!(f.operators_refusal(&signed).await, None);
    // A credential that has no session can't.
    let permission = Permission { admin: true, step_up: true, ..Permission::of(Scope::Chat) };
    let without = f.store.check(CheckRequest { permission: permission.clone(), ..f.request(&root, None) }).await.unwrap();
    assert_eq!(without, CheckAnswer::Refused(Refusal::StepUpRequired));
    let key = f.key(&root, 1, |_| {}).await;
    let by_key = CheckRequest { permission, ..by_key(&f, &root) };
    assert_eq!(f.store.check(by_key).await.unwrap(), CheckAnswer::Refused(Refusal::StepUpRequired), "{key:?}");
}

fn by_key(f: &Fixture, person: &Person) -> CheckRequest {
    use auth_service::store::PresentedCredential;
    CheckRequest { credential: PresentedCredential::ApiKey { secret_hash: [1; 32] }, ..f.request(person, None) }
}

pub(crate) async fn a_sign_in_without_a_code_begins_nothing_and_one_with_a_code_says_when_it_was_proved(f: Fixture) {
    let ada = f.person("ada", 5).await;
    f.enroll(&f.sign_in(&ada).await).await;
    let before = f.session_ids(&ada).await;
    assert_eq!(f.begin_with(&ada, None).await.1, SessionStart::SecondFactorRequired);
    assert_eq!(f.begin_with(&ada, Some(&code_at(f.now_ms() + 90_000))).await.1, SessionStart::SecondFactorWrong);
    assert_eq!(f.session_ids(&ada).await, before);
    let at_ms = f.now_ms();
    let (id, start) = f.begin_with(&ada, Some(&code_at(at_ms))).await;
    let SessionStart::Begun(session) = start else { panic!("{start:?}") };
    assert_eq!(session.second_factor_at_ms, Some(at_ms));
    assert_eq!(f.store.sessions(&ada.id).await.unwrap().iter().find(|session| session.session_id == id).unwrap(), &session);
    let status = f.store.second_factor(&ada.id, Some(&id)).await.unwrap().unwrap();
    let enabled_at_ms = Some(at_ms - STEP.as_millis() as i64);
    assert_eq!(status, SecondFactorStatus { enabled_at_ms, recovery_codes_left: 10, proved_at_ms: Some(at_ms) });
    // A store that is opened again knows of it.
    let elsewhere = f.elsewhere().await;
    assert_eq!(elsewhere.second_factor(&ada.id, Some(&id)).await.unwrap(), Some(status));
}

pub(crate) async fn wrong_codes_count_in_the_store_and_so_for_all_processes(f: Fixture) {
    let ada = f.person("ada", 5).await;
    let recovery_codes = f.enroll(&f.sign_in(&ada).await).await.reveal();
    let elsewhere = f.elsewhere().await;
    let wrong = code_at(f.now_ms() + 90_000);
    for number in 0..5 {
        let store = if number % 2 == 0 { &f.store } else { &elsewhere };
        let shown = Shown { verified_hash: PASSWORD_HASH, code: Some(&wrong) };
        let start = store.begin_session(&ada.id, shown, new_session(&SessionId::random().unwrap(), ""), event()).await.unwrap();
        assert_eq!(start, SessionStart::SecondFactorWrong, "{number}");
    }
    let right = code_at(f.now_ms());
    assert_eq!(f.begin_with(&ada, Some(&right)).await.1, SessionStart::SecondFactorWait(Duration::from_secs(30)));
    // With a wrong password nobody is told, and nobody makes anybody wait.
    let guess = Shown { verified_hash: "another", code: Some(&right) };
    let start = f.store.begin_session(&ada.id, guess, new_session(&SessionId::random().unwrap(), ""), event()).await.unwrap();
    assert_eq!(start, SessionStart::PasswordReplaced);
    let recovery = PresentedCode::parse(&recovery_codes[0]);
    assert!(matches!(f.begin_with(&ada, recovery.as_ref()).await.1, SessionStart::Begun(_)), "a recovery code never waits");
    assert!(matches!(f.begin_with(&ada, Some(&right)).await.1, SessionStart::Begun(_)), "and a right one ends the wait");
}

pub(crate) async fn a_second_factor_that_is_reset_is_gone_with_all_sessions_and_what_the_operator_may_is_looked_at_in_the_same_step(
    f: Fixture,
) {
    let (ada, root) = (f.person("ada", 5).await, f.person_with_role("root", 0, Role::Admin).await);
    let signed = f.sign_in(&ada).await;
    f.enroll(&signed).await;
    let by = |person: &Person| AuditEvent { actor: Some(person.id.clone()), ..AuditEvent::new(AuditAction::ResetSecondFactor) };
    let reset = async |person: &Person, event: AuditEvent| f.store.reset_second_factor(&person.id, event).await.unwrap().unwrap();
    assert_eq!(reset(&ada, by(&ada)).await.refused, Some(Refusal::RoleRequired));
    assert_eq!(reset(&root, by(&root)).await.refused, Some(Refusal::OtherOperatorRequired));
    f.store.set_locked(&root.id, true, "", event()).await.unwrap();
    assert_eq!(reset(&ada, by(&root)).await.refused, Some(Refusal::UserLocked));
    f.store.set_locked(&root.id, false, "", event()).await.unwrap();
    assert_eq!(f.begin_with(&ada, None).await.1, SessionStart::SecondFactorRequired);
    let change = reset(&ada, by(&root)).await;
    assert!(change.changed && change.refused.is_none());
    assert_eq!(f.refusal(&signed).await, Some(Refusal::CredentialRevoked));
    assert!(!reset(&ada, by(&root)).await.changed, "idempotent");
    assert!(matches!(f.begin_with(&ada, None).await.1, SessionStart::Begun(_)));
    assert_eq!(f.store.second_factor(&ada.id, None).await.unwrap(), Some(SecondFactorStatus::default()));
    let query =
        AuditQuery { user: Some(ada.id.clone()), action: Some(AuditAction::ResetSecondFactor), range: AuditRange::Newest, limit: 10 };
    assert_eq!(f.store.audit_events(&query).await.unwrap().events.len(), 0, "recorded for whom the event names");
    let query = AuditQuery { user: Some(root.id.clone()), ..query };
    assert_eq!(f.store.audit_events(&query).await.unwrap().events.len(), 1, "once");
}

pub(crate) async fn a_change_of_the_second_factor_that_races_the_end_of_its_session_is_seen_or_sees_it(f: Fixture) {
    let f = Arc::new(f);
    for race in 0..16 {
        let ada = f.person(&format!("ada{race}"), 5).await;
        let signed = f.sign_in(&ada).await;
        f.enroll(&signed).await;
        let (g, one, code) = (Arc::clone(&f), signed.clone(), code_at(f.now_ms()));
        let removal = tokio::spawn(async move { change(&*g.store, &one, FactorChange::Remove { code }, event()).await });
        let (g, id) = (Arc::clone(&f), ada.id.clone());
        let end = tokio::spawn(async move { g.store.end_all_sessions(&id, event()).await.unwrap() });
        let (removed, ended) = (removal.await.unwrap(), end.await.unwrap());
        assert_eq!(ended, Some(1));
        let is_on = f.store.second_factor(&ada.id, None).await.unwrap().unwrap().enabled_at_ms.is_some();
        match removed {
            FactorAnswer::Done { .. } => assert!(!is_on),
            FactorAnswer::Refused(Refusal::CredentialRevoked) => assert!(is_on),
            other => panic!("{other:?}"),
        }
        assert_eq!(f.session_ids(&ada).await, []);
    }
}

pub(crate) async fn neither_a_recovery_code_nor_a_code_is_in_what_the_store_keeps(f: Fixture) {
    let ada = f.person("ada", 5).await;
    let signed = f.sign_in(&ada).await;
    let recovery_codes = f.enroll(&signed).await.reveal();
    let code = code_at(f.now_ms());
    assert!(matches!(f.begin_with(&ada, Some(&code)).await.1, SessionStart::Begun(_)));
    let PresentedCode::App(code) = code else { panic!("no app's") };
    f.step_up(&signed, PresentedCode::parse(&recovery_codes[0]).unwrap()).await;
    let kept: Vec<u8> = match &f.home {
        Home::Redis(server) => {
            let mut connection = server.connection();
            let key = format!("tg:{{{}}}:second_factor", ada.id);
            let record: Vec<u8> = redis::cmd("GET").arg(key).query(&mut connection).unwrap();
            let events: redis::Value = redis::cmd("XRANGE").arg("tg:audit:changes").arg("-").arg("+").query(&mut connection).unwrap();
            [record, format!("{events:?}").into_bytes()].concat()
        }
        Home::Sqlite(folder) => {
            let mut kept = Vec::new();
            for entry in std::fs::read_dir(sqlite_file(folder.path()).parent().unwrap()).unwrap() {
                kept.extend(std::fs::read(entry.unwrap().path()).unwrap());
            }
            kept
        }
    };
    let has = |text: &str| kept.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has(std::str::from_utf8(&SECRET).unwrap()), "the app's secret is kept as it is, as SECURITY.md says: it is looked for rightly");
    for recovery in &recovery_codes {
        assert!(!has(recovery) && !has(&recovery.replace('-', "")), "{recovery}");
    }
    assert!(!has(&code), "{code}");
}
