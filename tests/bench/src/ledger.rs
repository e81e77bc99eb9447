//! Accounts for the load, made in the store itself, and the question that every run ends with: is the ledger right?

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use auth_service::access_token::AccessTokens;
use auth_service::api_key::ApiKey;
use auth_service::config::Config;
use auth_service::ids::{AccountId, KeyId, UserId};
use auth_service::model_pattern::PatternRule;
use auth_service::password::PasswordHashing;
use auth_service::startup::open_store;
use auth_service::store::{
    ApiKeyRecord, AuditAction, AuditEvent, KeyAnswer, KeyChange, KeyChangeRequest, NewSecret, NewUser, Scope, Store,
};
use auth_service::user::{Role, UserName};

/// The store that auth-service serves from, opened a second time.
pub struct Ledgers {
    store: Arc<dyn Store>,
    tokens: AccessTokens,
    /// Of [`PASSWORD`].
    password_hash: String,
}

/// Some accounts, and what calls on them.
#[derive(Debug, Clone)]
pub struct Accounts {
    ids: Vec<AccountId>,
    /// The name of each one's user.
    pub user_names: Vec<String>,
    /// An API key of each.
    pub api_keys: Vec<String>,
    /// An access token of each.
    pub access_tokens: Vec<String>,
}

/// The password of every user.
pub const PASSWORD: &str = "it is me, the benchmark";

/// How long what is held may take to be settled, after the load is over.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

impl Ledgers {
    /// Opens what an auth-service with this environment serves from.
    pub async fn open(environment: &BTreeMap<String, String>) -> Self {
        let config = Config::read(environment).expect("a configuration");
        let store = open_store(&config).await.expect("the store opens");
        let tokens = AccessTokens::new(&config.signing_secrets, Duration::from_secs(3600), config.clock_leeway).expect("a signing secret");
        let hashing = PasswordHashing::new(config.hashing).expect("threads that hash");
        let password_hash = hashing.rehash(PASSWORD).await.expect("a hash");
        Self { store, tokens, password_hash }
    }

    /// Makes accounts with these credits each.
    pub async fn accounts(&self, count: usize, credits: i64) -> Accounts {
        let mut accounts = Accounts { ids: Vec::new(), user_names: Vec::new(), api_keys: Vec::new(), access_tokens: Vec::new() };
        for _ in 0..count {
            let user_id = UserId::random().expect("randomness");
            let user = NewUser {
                user_id: user_id.clone(),
                user_name: UserName::parse(&format!("bench-{user_id}")).expect("a user name"),
                password_hash: self.password_hash.clone(),
                full_name: String::new(),
                email: String::new(),
                role: Role::User,
                starting_credits: credits,
            };
            accounts.user_names.push(user.user_name.to_string());
            self.store.create_user(user, AuditEvent::new(AuditAction::CreateUser)).await.expect("a user is made");
            let account = AccountId::from(&user_id);
            let key = ApiKey::random(account.clone()).expect("randomness");
            let record = ApiKeyRecord {
                key_id: KeyId::random().expect("randomness"),
                user_id: user_id.clone(),
                name: "bench".to_owned(),
                scopes: Scope::ALL.to_vec(),
                models: Vec::new(),
                pattern_rule: PatternRule::ByPart,
                networks: Vec::new(),
                created_at_ms: 0,
                expires_at_ms: None,
                revoked_at_ms: None,
            };
            let secret = NewSecret { secret_hash: key.secret_hash(), hint: key.hint() };
            let change = KeyChange::Create { key: record, secret, request: None };
            let request = KeyChangeRequest { account: account.clone(), asker: None, change };
            let made = self.store.change_api_keys(request, AuditEvent::new(AuditAction::CreateApiKey)).await.expect("the store answers");
            assert!(matches!(made, KeyAnswer::Done { .. }), "a key is made");
            accounts.ids.push(account);
            accounts.api_keys.push(key.reveal().to_owned());
            accounts.access_tokens.push(self.tokens.issue(&user_id).expect("a token").token);
        }
        accounts
    }

    /// What is wrong with the ledger of some accounts after `admitted` calls of one credit each; empty: nothing. Waits until nothing is
    /// held.
    pub async fn mistakes(&self, accounts: &Accounts, admitted: u64) -> Vec<String> {
        let give_up = Instant::now() + SETTLED_WITHIN;
        let (mut mistakes, mut spent, mut entries) = (Vec::new(), 0, 0);
        for id in &accounts.ids {
            let snapshot = loop {
                let snapshot = self.store.snapshot(id).await.expect("the store answers").expect("an account");
                if snapshot.balance.held == 0 || Instant::now() > give_up {
                    break snapshot;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            mistakes.extend(snapshot.violations().into_iter().map(|violation| format!("account {id}: {violation}")));
            if snapshot.balance.held != 0 {
                mistakes.push(format!("account {id}: {} credits are still held", snapshot.balance.held));
            }
            spent += snapshot.balance.spent;
            entries += snapshot.ledger.iter().filter(|entry| entry.credits < 0).count();
        }
        if u64::try_from(spent) != Ok(admitted) {
            mistakes.push(format!("{admitted} calls of one credit were admitted, and {spent} credits are spent"));
        }
        if entries as u64 != admitted {
            mistakes.push(format!("{admitted} calls were admitted, and the ledger has {entries} charges"));
        }
        mistakes
    }
}
