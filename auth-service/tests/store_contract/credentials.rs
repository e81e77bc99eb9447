//! Who is let in.

use std::time::Duration;

use auth_service::ids::{KeyId, UserId};
use auth_service::keyring::MAX_LIVE_API_KEYS;
use auth_service::store::{CheckAnswer, CheckRequest, KeyAnswer, Permission, PresentedCredential, Principal, Refusal, Scope, UserChange};
use auth_service::user::Role;

use crate::fixture::{Fixture, Person, create_key, event, one_credit, permission, revoke_key};

fn model(name: &str) -> Permission {
    Permission { model: name.to_owned(), ..permission(Scope::Chat) }
}

pub(crate) async fn an_api_key_is_listed_as_it_was_made(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let first = f.key(&ada, 1, |key| key.models = vec!["llama*".to_owned(), "a, b %".to_owned(), String::new()]).await;
    assert_eq!(first.created_at_ms, f.now_ms());
    f.advance(Duration::from_millis(1));
    let second = f
        .key(&ada, 2, |key| {
            key.name = String::new();
            key.scopes = vec![Scope::Chat, Scope::Models, Scope::Account];
            key.networks = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
            key.expires_at_ms = Some(f.now_ms() + 5);
        })
        .await;
    assert_eq!(f.keys(&ada).await, [first, second.clone()]);
    // A repetition, whose answer was lost.
    let KeyAnswer::Done { key, is_change: false, .. } = create_key(&*f.store, &ada.account, 2, second.clone()).await else { panic!() };
    assert_eq!((key.key, f.keys(&ada).await.len()), (second, 2));
}

pub(crate) async fn a_key_is_refused_when_unknown_expired_or_revoked(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let bob = f.person("bob", 10).await;
    let key = f.key(&ada, 1, |key| key.expires_at_ms = Some(f.now_ms() + 1000)).await;
    let good = CheckAnswer::Allowed(Principal {
        user_id: ada.id.clone(),
        role: Role::User,
        key_id: Some(key.key_id.clone()),
        key_secret: 1,
        session_id: None,
        membership: None,
    });
    assert_eq!(f.check_key(&ada, 1, permission(Scope::Chat), None).await, good);
    assert_eq!(f.check_key(&ada, 2, permission(Scope::Chat), None).await, CheckAnswer::Refused(Refusal::CredentialUnknown));
    // The same secret is unknown in another account.
    assert_eq!(f.check_key(&bob, 1, permission(Scope::Chat), None).await, CheckAnswer::Refused(Refusal::CredentialUnknown));
    f.advance(Duration::from_millis(999));
    assert_eq!(f.check_key(&ada, 1, permission(Scope::Chat), None).await, good);
    f.advance(Duration::from_millis(1));
    assert_eq!(f.check_key(&ada, 1, permission(Scope::Chat), None).await, CheckAnswer::Refused(Refusal::CredentialExpired));
    revoke_key(&*f.store, &ada.account, &key.key_id).await.unwrap();
    assert_eq!(f.check_key(&ada, 1, permission(Scope::Chat), None).await, CheckAnswer::Refused(Refusal::CredentialRevoked));
}

pub(crate) async fn a_revocation_keeps_its_first_time(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let key = f.key(&ada, 1, |_| {}).await;
    let at_ms = f.now_ms();
    let revoked = revoke_key(&*f.store, &ada.account, &key.key_id).await.unwrap();
    assert_eq!(revoked.revoked_at_ms, Some(at_ms));
    f.advance(Duration::from_secs(1));
    assert_eq!(revoke_key(&*f.store, &ada.account, &key.key_id).await, Some(revoked.clone()));
    assert_eq!(f.keys(&ada).await, [revoked]);
    assert_eq!(revoke_key(&*f.store, &ada.account, &KeyId::random().unwrap()).await, None);
}

pub(crate) async fn a_key_is_good_for_its_scopes_and_models_only(f: Fixture) {
    let ada = f.person("ada", 10).await;
    f.key(&ada, 1, |key| {
        key.models = vec!["llama3*".to_owned(), "*:1b".to_owned(), "a*b*c, d%20".to_owned()];
        key.scopes = vec![Scope::Chat];
    })
    .await;
    f.key(&ada, 2, |key| key.models = vec![String::new()]).await;
    for name in ["llama3", "llama3.2:3b", "qwen:1b", "axxbxxc, d%20", ""] {
        assert!(matches!(f.check_key(&ada, 1, model(name), None).await, CheckAnswer::Allowed(_)), "{name}");
    }
    for name in ["llama2", "xllama3", "qwen:1bx", "a%20b%2cc", "axxbxxc, d "] {
        assert_eq!(f.check_key(&ada, 1, model(name), None).await, CheckAnswer::Refused(Refusal::ModelNotAllowed), "{name}");
    }
    // A list with an empty pattern is not an empty list.
    assert_eq!(f.check_key(&ada, 2, model("llama3"), None).await, CheckAnswer::Refused(Refusal::ModelNotAllowed));
    assert_eq!(f.check_key(&ada, 1, permission(Scope::Account), None).await, CheckAnswer::Refused(Refusal::ScopeRequired));
    assert_eq!(f.check_key(&ada, 1, permission(Scope::Models), None).await, CheckAnswer::Refused(Refusal::ScopeRequired));
}

pub(crate) async fn a_caller_is_told_which_models_it_may_name(f: Fixture) {
    let ada = f.person("ada", 10).await;
    f.key(&ada, 1, |key| key.models = vec!["library/*".to_owned(), "Hf.co/A/B*".to_owned()]).await;
    let asked =
        |credential| CheckRequest { account: ada.account.clone(), credential, permission: model(""), charge: None, caller_address: None };
    let key = |secret| PresentedCredential::ApiKey { secret_hash: [secret; 32] };
    let rights = f.store.authorize(asked(key(1))).await.unwrap().unwrap();
    for (name, allowed) in [("llama3:70b", true), ("hf.co/a/bx:q4", true), ("hf.co/evil/big", false), ("someone/llama3", false)] {
        assert_eq!(rights.allow(name), allowed, "{name}");
        let checked = f.check_key(&ada, 1, model(name), None).await;
        assert_eq!(matches!(checked, CheckAnswer::Allowed(_)), allowed, "{name}: {checked:?}");
    }
    let rights = f.store.authorize(f.request(&ada, None)).await.unwrap().unwrap();
    assert!(rights.allow("hf.co/evil/big"), "an access token isn't limited");
    assert_eq!(f.store.authorize(asked(key(2))).await.unwrap(), Err(Refusal::CredentialUnknown));
}

/// Every text of these characters, up to a length.
fn texts(characters: &str, most: usize) -> Vec<String> {
    let mut texts = vec![String::new()];
    let mut from = 0;
    for _ in 0..most {
        let longer: Vec<_> = texts[from..].iter().flat_map(|text| characters.chars().map(move |one| format!("{text}{one}"))).collect();
        from = texts.len();
        texts.extend(longer);
    }
    texts
}

/// The plainest way to match.
fn tries(pattern: &str, name: &str) -> bool {
    match pattern.chars().next() {
        None => name.is_empty(),
        Some('*') => (0..=name.len()).any(|taken| tries(&pattern[1..], &name[taken..])),
        Some(one) => name.strip_prefix(one).is_some_and(|rest| tries(&pattern[1..], rest)),
    }
}

pub(crate) async fn a_keys_patterns_match_as_those_of_prices_do(f: Fixture) {
    let mut patterns = texts("ab*", 3);
    patterns.extend(["ab*ba", "a*b*a", "*ab*a*", "a*ab", "**b", "a%*", "a.*", "[ab]*", "a-*b", "*a*b*a*"].map(str::to_owned));
    let names: Vec<_> =
        texts("ab", 4).into_iter().filter(|name| !name.is_empty()).chain(["a%b", "a.b", "a-ab"].map(str::to_owned)).collect();
    let ada = f.person("ada", 0).await;
    for (number, pattern) in (0..).zip(&patterns) {
        let key = f.key(&ada, number, |key| key.models = vec![pattern.clone()]).await;
        for name in &names {
            let answer = f.check_key(&ada, number, model(name), None).await;
            let expected = tries(pattern, name);
            assert_eq!(matches!(answer, CheckAnswer::Allowed(_)), expected, "{pattern} {name}: {answer:?}");
        }
        revoke_key(&*f.store, &ada.account, &key.key_id).await;
    }
}

pub(crate) async fn what_needs_an_admin_refuses_others(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let root = f.person_with_role("root", 0, Role::Admin).await;
    let ask = async |person: &Person| {
        let mut request = f.request(person, None);
        request.permission.admin = true;
        f.store.check(request).await.unwrap()
    };
    assert_eq!(ask(&ada).await, CheckAnswer::Refused(Refusal::RoleRequired));
    assert_eq!(
        ask(&root).await,
        CheckAnswer::Allowed(Principal {
            user_id: root.id.clone(),
            role: Role::Admin,
            key_id: None,
            key_secret: 0,
            session_id: None,
            membership: None
        })
    );
}

pub(crate) async fn a_disabled_users_credentials_are_refused_and_old_tokens_stay_refused(f: Fixture) {
    let ada = f.person("ada", 10).await;
    f.key(&ada, 1, |_| {}).await;
    let old = f.request(&ada, None);
    assert!(matches!(f.store.check(old.clone()).await.unwrap(), CheckAnswer::Allowed(_)));
    f.advance(Duration::from_secs(1));
    let UserChange { user: disabled, changed: true, .. } = f.store.set_disabled(&ada.id, true, "", event()).await.unwrap().unwrap() else {
        panic!("not changed");
    };
    assert!(disabled.disabled);
    assert_eq!(f.store.user_by_id(&ada.id).await.unwrap(), Some(disabled.clone()));
    let again = f.store.set_disabled(&ada.id, true, "", event()).await.unwrap();
    assert_eq!(again, Some(UserChange { user: disabled, changed: false, refused: None }));
    assert_eq!(f.store.check(old.clone()).await.unwrap(), CheckAnswer::Refused(Refusal::UserDisabled));
    assert_eq!(f.check_key(&ada, 1, permission(Scope::Chat), None).await, CheckAnswer::Refused(Refusal::UserDisabled));
    assert_eq!(f.check(&ada, one_credit("r", "a")).await, CheckAnswer::Refused(Refusal::UserDisabled));
    assert!(!f.store.set_disabled(&ada.id, false, "", event()).await.unwrap().unwrap().user.disabled);
    assert_eq!(f.store.check(old).await.unwrap(), CheckAnswer::Refused(Refusal::CredentialRevoked));
    assert!(matches!(f.check_key(&ada, 1, permission(Scope::Chat), None).await, CheckAnswer::Allowed(_)));
    // A token of the same second is good: its time of issue has no finer.
    assert!(matches!(f.store.check(f.request(&ada, None)).await.unwrap(), CheckAnswer::Allowed(_)));
}

pub(crate) async fn disabling_or_enabling_again_changes_nothing(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let old = f.request(&ada, None);
    f.advance(Duration::from_secs(1));
    f.store.set_disabled(&ada.id, false, "", event()).await.unwrap();
    assert!(matches!(f.store.check(old.clone()).await.unwrap(), CheckAnswer::Allowed(_)));
    for _ in 0..2 {
        f.advance(Duration::from_secs(1));
        f.store.set_disabled(&ada.id, true, "", event()).await.unwrap();
        assert_eq!(f.store.check(old.clone()).await.unwrap(), CheckAnswer::Refused(Refusal::UserDisabled));
    }
    f.store.set_disabled(&ada.id, false, "", event()).await.unwrap();
    // Issued in the second in which the user was enabled.
    let new = f.request(&ada, None);
    for _ in 0..2 {
        assert!(matches!(f.store.check(new.clone()).await.unwrap(), CheckAnswer::Allowed(_)));
        assert_eq!(f.store.check(old.clone()).await.unwrap(), CheckAnswer::Refused(Refusal::CredentialRevoked));
        f.advance(Duration::from_secs(1));
        f.store.set_disabled(&ada.id, false, "", event()).await.unwrap();
    }
}

pub(crate) async fn a_clock_that_jumped_shuts_a_user_out_only_until_disabled_and_enabled_again(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let year = Duration::from_secs(365 * 24 * 3600);
    f.advance(year);
    f.store.set_disabled(&ada.id, true, "", event()).await.unwrap();
    f.hand.fetch_sub(i64::try_from(year.as_millis()).unwrap(), std::sync::atomic::Ordering::SeqCst);
    f.store.set_disabled(&ada.id, false, "", event()).await.unwrap();
    assert!(matches!(f.store.check(f.request(&ada, None)).await.unwrap(), CheckAnswer::Allowed(_)));
    // Also when both were done while the clock was wrong.
    f.advance(year);
    f.store.set_disabled(&ada.id, true, "", event()).await.unwrap();
    f.store.set_disabled(&ada.id, false, "", event()).await.unwrap();
    f.hand.fetch_sub(i64::try_from(year.as_millis()).unwrap(), std::sync::atomic::Ordering::SeqCst);
    let token = f.request(&ada, None);
    assert_eq!(f.store.check(token.clone()).await.unwrap(), CheckAnswer::Refused(Refusal::CredentialRevoked));
    f.store.set_disabled(&ada.id, true, "", event()).await.unwrap();
    f.store.set_disabled(&ada.id, false, "", event()).await.unwrap();
    assert!(matches!(f.store.check(token).await.unwrap(), CheckAnswer::Allowed(_)));
}

pub(crate) async fn a_token_pays_from_no_account_of_others(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let bob = f.person("bob", 10).await;
    let mut request = f.request(&ada, Some(one_credit("r", "a")));
    request.account = bob.account.clone();
    assert_eq!(f.store.check(request).await.unwrap(), CheckAnswer::Refused(Refusal::NotAMember));
    let id = UserId::random().unwrap();
    let nobody = Person { account: (&id).into(), id };
    assert_eq!(f.store.check(f.request(&nobody, None)).await.unwrap(), CheckAnswer::Refused(Refusal::CredentialUnknown));
}

pub(crate) async fn an_account_has_a_bound_of_live_keys(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let mut last = None;
    for secret in 0..u8::try_from(MAX_LIVE_API_KEYS).unwrap() {
        last = Some(f.key(&ada, secret, |_| {}).await);
    }
    let last = last.unwrap();
    assert_eq!(create_key(&*f.store, &ada.account, 200, last.clone()).await, KeyAnswer::TooManyKeys);
    assert_eq!(f.check_key(&ada, 200, permission(Scope::Chat), None).await, CheckAnswer::Refused(Refusal::CredentialUnknown));
    // Revoked ones don't count, and of them the newest hundred are kept.
    for key in f.keys(&ada).await {
        f.advance(Duration::from_millis(1));
        revoke_key(&*f.store, &ada.account, &key.key_id).await.unwrap();
    }
    let newest = f.key(&ada, 201, |_| {}).await;
    f.advance(Duration::from_millis(1));
    revoke_key(&*f.store, &ada.account, &newest.key_id).await.unwrap();
    let keys = f.keys(&ada).await;
    assert_eq!(keys.len(), MAX_LIVE_API_KEYS);
    assert!(keys.iter().any(|key| key.key_id == newest.key_id));
}

pub(crate) async fn keys_that_are_made_and_ended_at_once_are_all_made_and_all_ended(f: Fixture) {
    let ada = f.person("ada", 0).await;
    let fixture = std::sync::Arc::new(f);
    let mut tasks = tokio::task::JoinSet::new();
    for secret in 0..24 {
        let (f, ada) = (fixture.clone(), ada.clone());
        tasks.spawn(async move { f.key(&ada, secret, |_| {}).await.key_id });
    }
    let keys = tasks.join_all().await;
    assert_eq!(fixture.keys(&ada).await.len(), keys.len());
    let mut tasks = tokio::task::JoinSet::new();
    for key in keys {
        let (store, account) = (fixture.store.clone(), ada.account.clone());
        tasks.spawn(async move { revoke_key(&*store, &account, &key).await.unwrap() });
    }
    assert!(tasks.join_all().await.iter().all(|key| key.revoked_at_ms.is_some()));
}

pub(crate) async fn keys_past_their_time_do_not_count_and_are_kept_within_a_bound(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let all = u8::try_from(MAX_LIVE_API_KEYS).unwrap();
    let start_ms = f.now_ms();
    let mut made = Vec::new();
    for secret in 0..all {
        made.push(f.key(&ada, secret, |key| key.expires_at_ms = Some(start_ms + 1000 + i64::from(secret))).await);
    }
    let more = async |secret| {
        let key = auth_service::store::ApiKeyRecord { key_id: KeyId::random().unwrap(), expires_at_ms: None, ..made[0].clone() };
        create_key(&*f.store, &ada.account, secret, key).await
    };
    f.advance(Duration::from_millis(999));
    assert_eq!(more(100).await, KeyAnswer::TooManyKeys, "none is past its time yet");
    f.advance(Duration::from_millis(1));
    assert!(matches!(more(101).await, KeyAnswer::Done { .. }), "the first one's time is over");
    assert_eq!(more(102).await, KeyAnswer::TooManyKeys, "one made room for one");
    f.advance(Duration::from_millis(i64::from(all).unsigned_abs()));
    // All of the hundred are past their time: another hundred have room, and those that ended are still listed, but not without bound.
    for secret in 103..202 {
        f.key(&ada, secret, |key| key.expires_at_ms = Some(f.now_ms() + 1)).await;
    }
    assert_eq!(f.keys(&ada).await.len(), 2 * MAX_LIVE_API_KEYS);
    assert_eq!(more(202).await, KeyAnswer::TooManyKeys);
    f.advance(Duration::from_millis(1));
    f.key(&ada, 203, |_| {}).await;
    let keys = f.keys(&ada).await;
    assert_eq!(keys.len(), MAX_LIVE_API_KEYS + 2, "those in force, and the newest hundred of the others");
    assert!(made.iter().rev().take(1).all(|key| keys.contains(key)) && made[..90].iter().all(|key| !keys.contains(key)));
    assert_eq!(f.check_key(&ada, 0, permission(Scope::Chat), None).await, CheckAnswer::Refused(Refusal::CredentialUnknown));
    assert_eq!(f.check_key(&ada, 201, permission(Scope::Chat), None).await, CheckAnswer::Refused(Refusal::CredentialExpired));
    assert!(matches!(f.check_key(&ada, 101, permission(Scope::Chat), None).await, CheckAnswer::Allowed(_)));
}

pub(crate) async fn a_keys_patterns_count_whatever_case_they_were_kept_in(f: Fixture) {
    let ada = f.person("ada", 0).await;
    f.key(&ada, 1, |key| key.models = vec!["Llama3*".to_owned()]).await;
    assert!(matches!(f.check_key(&ada, 1, model("llama3.2"), None).await, CheckAnswer::Allowed(_)));
    assert_eq!(f.check_key(&ada, 1, model("qwen3"), None).await, CheckAnswer::Refused(Refusal::ModelNotAllowed));
}

pub(crate) async fn a_new_key_leaves_those_that_are_known_what_they_may(f: Fixture) {
    let ada = f.person("ada", 10).await;
    f.key(&ada, 1, |key| key.models = vec!["llama3".to_owned()]).await;
    let check =
        async |secret: u8, name: &str, request_id: &str| f.check_key(&ada, secret, model(name), Some(one_credit(request_id, "a"))).await;
    assert!(matches!(check(1, "llama3", "r1").await, CheckAnswer::Held(..)));
    assert_eq!(check(2, "llama3", "r2").await, CheckAnswer::Refused(Refusal::CredentialUnknown));
    let second = f.key(&ada, 2, |_| {}).await;
    assert!(matches!(check(1, "llama3", "r3").await, CheckAnswer::Held(..)));
    assert_eq!(check(1, "qwen3", "r4").await, CheckAnswer::Refused(Refusal::ModelNotAllowed));
    assert!(matches!(f.check(&ada, one_credit("r5", "a")).await, CheckAnswer::Held(..)));
    let CheckAnswer::Held(principal, held) = check(2, "qwen3", "r6").await else { panic!("refused") };
    assert_eq!((principal.key_id, held.remaining_credits), (Some(second.key_id), 6));
}

pub(crate) async fn a_refused_credential_writes_nothing(f: Fixture) {
    let ada = f.person("ada", 10).await;
    f.hold(&ada, one_credit("r", "a")).await;
    f.pass_ttl();
    let before = f.snapshot(&ada).await;
    let request = CheckRequest {
        account: ada.account.clone(),
        credential: PresentedCredential::ApiKey { secret_hash: [9; 32] },
        permission: permission(Scope::Chat),
        charge: Some(one_credit("s", "a")),
        caller_address: None,
    };
    assert_eq!(f.store.check(request).await.unwrap(), CheckAnswer::Refused(Refusal::CredentialUnknown));
    assert_eq!(f.snapshot(&ada).await, before);
}
