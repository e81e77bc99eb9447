//! Files that earlier releases wrote are brought up when they are opened, and everything in them reads the same.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use auth_service::hold::{Fields, HoldRecord, Outcome, Resolution, ResolvedHold, Terms, TokenUsage};
use auth_service::ids::{KeyId, UserId};
use auth_service::model_pattern::PatternRule;
use auth_service::price::Price;
use auth_service::store::clock::Clock;
use auth_service::store::sqlite::SqliteStore;
use auth_service::store::{
    AccountSnapshot, ApiKeyRecord, Balance, CheckAnswer, EntryKind, GrantAnswer, GrantRequest, LedgerEntry, ListedKey, ListedSecret,
    Permission, Refusal, Scope, Store, StoreOpenError,
};
use auth_service::user::{Role, UserName, UserRecord};

use crate::fixture::{Fixture, Home, Person, START_MS, by_token, event, one_credit, permission, sqlite_file};
use crate::limits;

/// A file of version 4, with what its release could leave there.
const VERSION_4: &str = include_str!("fixtures/version_4.sql");
/// Makes the schema what it was in version 3, when due holds lay by account.
const TO_VERSION_3: &str = "
    DROP INDEX holds_due;
    CREATE INDEX holds_due ON holds (account_id, expires_at_ms, hold_id) WHERE resolution IS NULL;
    PRAGMA user_version = 3;";
/// Makes the schema what it was in version 2, when holds lay in the order of their digests.
const TO_VERSION_2: &str = "
    CREATE TABLE holds_2 (
        account_id TEXT NOT NULL, hold_id TEXT NOT NULL, user_id TEXT NOT NULL, key_id TEXT, request_id TEXT NOT NULL,
        attempt_id TEXT NOT NULL, fingerprint TEXT NOT NULL, model TEXT NOT NULL, per_call INTEGER NOT NULL,
        per_1k_input_tokens INTEGER NOT NULL, per_1k_output_tokens INTEGER NOT NULL, held_credits INTEGER NOT NULL,
        max_input_tokens INTEGER NOT NULL, max_output_tokens INTEGER NOT NULL, input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL, estimated INTEGER NOT NULL, expires_at_ms INTEGER NOT NULL, resolution TEXT, outcome TEXT,
        charged_credits INTEGER, uncollected_credits INTEGER, remaining_credits INTEGER, ledger_entry INTEGER, resolved_at_ms INTEGER,
        forget_at_ms INTEGER, PRIMARY KEY (account_id, hold_id)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO holds_2 SELECT account_id, hold_id, user_id, key_id, request_id, attempt_id, fingerprint, model, per_call,
        per_1k_input_tokens, per_1k_output_tokens, held_credits, max_input_tokens, max_output_tokens, input_tokens, output_tokens,
        estimated, expires_at_ms, resolution, outcome, charged_credits, uncollected_credits, remaining_credits, ledger_entry,
        resolved_at_ms, forget_at_ms FROM holds;
    DROP TABLE holds;
    ALTER TABLE holds_2 RENAME TO holds;
    CREATE INDEX holds_due ON holds (account_id, expires_at_ms, hold_id) WHERE resolution IS NULL;
    CREATE INDEX holds_to_forget ON holds (account_id, forget_at_ms, hold_id) WHERE resolution IS NOT NULL;
    PRAGMA user_version = 2;";
/// The same from there, in version 1.
const TO_VERSION_1: &str =
    "ALTER TABLE accounts DROP COLUMN access; ALTER TABLE accounts DROP COLUMN next_due_ms; PRAGMA user_version = 1;";

fn ada() -> Person {
    let id = UserId::parse("AdaLovelace00001").unwrap();
    Person { account: (&id).into(), id }
}

fn root() -> UserId {
    UserId::parse("RootAdmin0000001").unwrap()
}

fn key(number: u8) -> KeyId {
    KeyId::parse(&format!("Key{number:09}")).unwrap()
}

/// A file of version 4, taken back by these steps, and opened.
async fn opened(back: &[&str]) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let path = sqlite_file(folder.path());
    write(&path, back);
    let (clock, hand) = Clock::fixed(START_MS);
    let store = Arc::new(SqliteStore::open(&path, limits(), clock).unwrap());
    Fixture { store, hand, limits: limits(), home: Home::Sqlite(folder) }
}

fn write(path: &Path, back: &[&str]) {
    let connection = rusqlite::Connection::open(path).unwrap();
    for step in [VERSION_4].iter().chain(back) {
        connection.execute_batch(step).unwrap();
    }
}

fn usage(input_tokens: u32, output_tokens: u32, estimated: bool) -> TokenUsage {
    TokenUsage { input_tokens, output_tokens, estimated }
}

/// Terms of a request by token, as [`by_token`] asks for them.
fn terms(request_id: &str, key_id: Option<KeyId>) -> Terms {
    Terms::new(Fields {
        account: ada().account,
        user_id: ada().id,
        key_id,
        request_id: request_id.to_owned(),
        attempt_id: "a".to_owned(),
        fingerprint: vec![0xf0, 0x0d],
        model: "llama3".to_owned(),
        price: Price { per_call: 1, per_1k_input_tokens: 0, per_1k_output_tokens: 1000 },
        held_credits: 11,
        max_input_tokens: 100,
        max_output_tokens: 10,
        standing: None,
    })
}

fn entry(number: u64, kind: EntryKind, credits: i64, available: i64, request_id: &str, before_ms: i64) -> LedgerEntry {
    let at_ms = START_MS - before_ms;
    let (request_id, user_id) = (request_id.to_owned(), ada().id);
    let model = if kind == EntryKind::Grant { String::new() } else { "llama3".to_owned() };
    LedgerEntry {
        entry: number,
        kind,
        credits,
        available,
        request_id,
        user_id,
        key_id: None,
        model,
        usage: None,
        at_ms,
        note: String::new(),
    }
}

/// What is in the file, but for the rounds that were laid aside.
fn expected() -> AccountSnapshot {
    let resolved = |resolution, outcome, charged_credits, uncollected_credits, remaining_credits, ledger_entry, before_ms| {
        let (at_ms, ledger_entry) = (START_MS - before_ms, Some(ledger_entry));
        Some(ResolvedHold { resolution, outcome, charged_credits, uncollected_credits, remaining_credits, ledger_entry, at_ms })
    };
    let again = Fields {
        attempt_id: "c".to_owned(),
        price: Price { per_call: 1, per_1k_input_tokens: 0, per_1k_output_tokens: 0 },
        held_credits: 1,
        max_output_tokens: 200,
        ..(*terms("again", Some(key(1)))).clone()
    };
    let (settled, refunded, expired, late) = (
        EntryKind::Resolved(Resolution::Settled),
        EntryKind::Resolved(Resolution::Refunded),
        EntryKind::Resolved(Resolution::Expired),
        EntryKind::Resolved(Resolution::SettledLate),
    );
    AccountSnapshot {
        balance: Balance { available: 78, held: 12, spent: 15, lapsed: 0, granted: 105 },
        open: vec![
            HoldRecord { terms: Terms::new(again), usage: usage(0, 0, false), expires_at_ms: START_MS + 52_000, resolved: None },
            HoldRecord { terms: terms("open", None), usage: usage(7, 4, true), expires_at_ms: START_MS + 60_000, resolved: None },
        ],
        remembered: vec![
            HoldRecord {
                terms: terms("expired", Some(key(2))),
                usage: usage(7, 3, false),
                expires_at_ms: START_MS - 4000,
                resolved: resolved(Resolution::Expired, None, 3, 0, 98, 6, 4000),
            },
            HoldRecord {
                terms: terms("late", None),
                usage: usage(7, 10, true),
                expires_at_ms: START_MS - 3000,
                resolved: resolved(Resolution::SettledLate, Some(Outcome::Cancelled), 8, 3, 78, 8, 1000),
            },
            HoldRecord {
                terms: terms("settled", None),
                usage: usage(7, 3, false),
                expires_at_ms: START_MS + 50_000,
                resolved: resolved(Resolution::Settled, Some(Outcome::Completed), 4, 0, 96, 2, 10_000),
            },
        ],
        ledger: vec![
            LedgerEntry { note: "starting credits".to_owned(), ..entry(1, EntryKind::Grant, 100, 100, "starting-credits", 20_000) },
            LedgerEntry { usage: Some(usage(7, 3, false)), ..entry(2, settled, -4, 96, "settled", 10_000) },
            LedgerEntry { usage: Some(usage(0, 0, false)), key_id: Some(key(1)), ..entry(3, refunded, 0, 96, "again", 9000) },
            LedgerEntry { usage: Some(usage(0, 0, false)), key_id: Some(key(1)), ..entry(4, refunded, 0, 96, "again", 8000) },
            LedgerEntry {
                user_id: root(),
                note: "thank you, 100 % \"really\"".to_owned(),
                ..entry(5, EntryKind::Grant, 5, 101, "g 1", 7000)
            },
            LedgerEntry { usage: Some(usage(7, 3, false)), key_id: Some(key(2)), ..entry(6, expired, -3, 98, "expired", 4000) },
            LedgerEntry { usage: Some(usage(7, 2, false)), ..entry(7, expired, -2, 84, "late", 3000) },
            LedgerEntry { usage: Some(usage(7, 10, true)), ..entry(8, late, -6, 78, "late", 1000) },
        ],
        checkpoint: None,
        usage: Vec::new(),
    }
}

async fn users_read_the_same(f: &Fixture) {
    let password_hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".to_owned();
    let user = UserRecord {
        user_id: ada().id,
        user_name: UserName::parse("ada").unwrap(),
        password_hash: password_hash.clone(),
        full_name: "Ada Lovelace".to_owned(),
        email: "ada@example.org".to_owned(),
        role: Role::User,
        disabled: false,
        locked: false,
        reset_ends_at_ms: None,
        state_reason: String::new(),
        created_at_ms: START_MS - 20_000,
    };
    let admin = UserRecord {
        user_id: root(),
        user_name: UserName::parse("-root").unwrap(),
        full_name: String::new(),
        email: String::new(),
        role: Role::Admin,
        disabled: true,
        locked: false,
        reset_ends_at_ms: None,
        state_reason: String::new(),
        created_at_ms: START_MS - 30_000,
        ..user.clone()
    };
    for user in [user, admin] {
        assert_eq!(f.store.user_by_name(&user.user_name).await.unwrap(), Some(user.clone()));
        assert_eq!(f.store.user_by_id(&user.user_id).await.unwrap(), Some(user));
    }
    // The disabled admin, whose tokens of before are no longer good once enabled.
    let administrator = Person { account: (&root()).into(), id: root() };
    let check = async |issued_before_ms: i64| {
        let mut request = f.request(&administrator, None);
        request.permission.admin = true;
        if let auth_service::store::PresentedCredential::AccessToken { issued_at_ms, .. } = &mut request.credential {
            *issued_at_ms = START_MS - issued_before_ms;
        }
        f.store.check(request).await.unwrap()
    };
    assert_eq!(check(0).await, CheckAnswer::Refused(Refusal::UserDisabled));
    f.store.set_disabled(&root(), false, "", event()).await.unwrap();
    assert!(matches!(check(0).await, CheckAnswer::Allowed(_)));
    assert_eq!(check(6500).await, CheckAnswer::Refused(Refusal::CredentialRevoked));
}

async fn keys_read_the_same(f: &Fixture) {
    let live = ApiKeyRecord {
        key_id: key(1),
        user_id: ada().id,
        name: "laptop, of \"Ada\"".to_owned(),
        scopes: [&Scope::INFERENCE[..], &[Scope::Account]].concat(),
        models: vec!["Llama*".to_owned(), "a, \"b\"".to_owned()],
        pattern_rule: PatternRule::Whole,
        networks: Vec::new(),
        created_at_ms: START_MS - 15_000,
        expires_at_ms: None,
        revoked_at_ms: None,
    };
    let revoked = ApiKeyRecord {
        key_id: key(2),
        name: String::new(),
        scopes: [&Scope::INFERENCE[..], &[Scope::Models]].concat(),
        models: Vec::new(),
        created_at_ms: START_MS - 14_000,
        revoked_at_ms: Some(START_MS - 5000),
        ..live.clone()
    };
    let ended = ApiKeyRecord {
        key_id: key(3),
        name: "ended".to_owned(),
        scopes: Scope::INFERENCE.to_vec(),
        models: Vec::new(),
        created_at_ms: START_MS - 13_000,
        expires_at_ms: Some(START_MS - 2000),
        ..live.clone()
    };
    assert_eq!(f.keys(&ada()).await, [live, revoked, ended]);
    for ListedKey { key, secrets } in f.store.api_keys(&ada().account).await.unwrap() {
        let [ListedSecret { secret, last_used_at_ms: None }] = &secrets[..] else { panic!("{secrets:?}") };
        assert_eq!((secret.number, secret.hint.as_str(), secret.created_at_ms), (1, "tg_AdaL…wxyz", key.created_at_ms));
        assert_eq!((secret.ends_at_ms, secret.revoked_at_ms, secret.made_by), (None, None, None));
    }
    let check = async |secret, permission: Permission| f.check_key(&ada(), secret, permission, None).await;
    assert!(matches!(check(1, permission(Scope::Chat)).await, CheckAnswer::Allowed(_)));
    let another_model = Permission { model: "qwen3".to_owned(), ..permission(Scope::Chat) };
    assert_eq!(check(1, another_model).await, CheckAnswer::Refused(Refusal::ModelNotAllowed));
    assert_eq!(check(1, permission(Scope::Models)).await, CheckAnswer::Refused(Refusal::ScopeRequired));
    assert_eq!(check(2, permission(Scope::Chat)).await, CheckAnswer::Refused(Refusal::CredentialRevoked));
    assert_eq!(check(3, permission(Scope::Chat)).await, CheckAnswer::Refused(Refusal::CredentialExpired));
}

async fn is_brought_up(back: &[&str]) {
    let f = opened(back).await;
    assert_eq!(f.snapshot(&ada()).await, expected());
    users_read_the_same(&f).await;
    keys_read_the_same(&f).await;
    assert_eq!(f.store.receipt(&ada().account, &ada().id, "late").await.unwrap().as_ref(), Some(&expected().remembered[1]));
    let grant =
        |credits| GrantRequest { account: ada().account, credits, request_id: "g 1".to_owned(), note: String::new(), granted_by: ada().id };
    assert_eq!(f.store.grant(grant(5), event()).await.unwrap(), GrantAnswer::Replayed { entry: 5, balance: expected().balance });
    assert_eq!(f.store.grant(grant(6), event()).await.unwrap(), GrantAnswer::RequestIdReused);

    // An open hold's new handle is what Check answers to its repetition.
    let held = f.hold(&ada(), by_token("open", "a")).await;
    assert_eq!((&held.terms, held.expires_at_ms), (&terms("open", None), START_MS + 60_000));
    let record = f.settle(&held.terms, Outcome::Completed, 5).await;
    assert_eq!(record.resolved.unwrap().charged_credits, 6);
    // An expired request is settled late, one that was settled answers its record.
    let late = f.settle(&terms("expired", Some(key(2))), Outcome::Completed, 4).await;
    assert_eq!(late.resolved.unwrap().charged_credits, 5);
    assert_eq!(f.settle(&terms("settled", None), Outcome::Completed, 9).await, expected().remembered[2]);
    assert_eq!(f.check(&ada(), one_credit("settled", "b")).await, CheckAnswer::Recorded(principal(), expected().remembered[2].clone()));
    // The other open hold is found when it is due, and all requests when they are to be forgotten.
    f.advance(Duration::from_millis(51_999));
    assert_eq!(f.walk().await, 0);
    f.advance(Duration::from_millis(1));
    assert_eq!(f.walk().await, 1);
    assert_eq!(f.snapshot(&ada()).await.remembered.len(), 5);
    f.hand.store(START_MS - 1000 + 3_600_000, Ordering::SeqCst);
    f.walk().await;
    assert_eq!(f.snapshot(&ada()).await.remembered.len(), 3, "settled late and settled before the file was brought up");
    f.advance(f.limits.forget_after);
    f.walk().await;
    let snapshot = f.snapshot(&ada()).await;
    assert_eq!((snapshot.open, snapshot.remembered), (Vec::new(), Vec::new()));
    assert_eq!(snapshot.balance, Balance { available: 105 - 23, held: 0, spent: 23, lapsed: 0, granted: 105 });
}

fn principal() -> auth_service::store::Principal {
    auth_service::store::Principal { user_id: ada().id, role: Role::User, key_id: None, key_secret: 0, session_id: None, membership: None }
}

#[tokio::test]
async fn a_file_of_the_first_schema_is_brought_up_and_its_due_holds_are_found() {
    is_brought_up(&[TO_VERSION_2, TO_VERSION_1]).await;
}

#[tokio::test]
async fn a_file_of_the_second_schema_is_brought_up() {
    is_brought_up(&[TO_VERSION_2]).await;
}

#[tokio::test]
async fn a_file_of_the_third_schema_is_brought_up() {
    is_brought_up(&[TO_VERSION_3]).await;
}

#[tokio::test]
async fn a_file_of_the_fourth_schema_is_brought_up_without_what_was_laid_aside() {
    is_brought_up(&[]).await;
}

/// Tables and indexes, as SQLite keeps them.
fn schema(path: &Path) -> Vec<String> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut statement = connection.prepare("SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY name").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn a_file_that_was_brought_up_has_the_schema_of_a_new_one_and_is_opened_again_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    write(&old, &[TO_VERSION_2, TO_VERSION_1]);
    for path in [&old, &new] {
        drop(SqliteStore::open(path, limits(), Clock::Store).unwrap());
    }
    assert_eq!(schema(&old), schema(&new));
    let store = SqliteStore::open(&old, limits(), Clock::Fixed(Arc::new(AtomicI64::new(START_MS)))).unwrap();
    assert_eq!(store.snapshot(&ada().account).await.unwrap(), Some(expected()));
}

#[tokio::test]
async fn a_file_that_can_not_be_brought_up_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = sqlite_file(folder.path());
    write(&path, &["UPDATE holds SET outcome = 'mislaid' WHERE request_id = 'settled'"]);
    let before = schema(&path);
    let refused = SqliteStore::open(&path, limits(), Clock::Store);
    assert!(matches!(&refused, Err(StoreOpenError::Unusable(text)) if text.contains("can't be read")), "{refused:?}");
    assert_eq!(schema(&path), before);
    rusqlite::Connection::open(&path).unwrap().execute("UPDATE holds SET outcome = 'completed' WHERE request_id = 'settled'", []).unwrap();
    SqliteStore::open(&path, limits(), Clock::Store).unwrap();
}

#[tokio::test]
async fn a_file_of_a_later_schema_is_refused_in_words_that_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = sqlite_file(folder.path());
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 11).unwrap();
    let refused = SqliteStore::open(&path, limits(), Clock::Store);
    assert!(matches!(&refused, Err(StoreOpenError::Unusable(text)) if text.contains("version 11") && text.contains("later release")));
}
