//! A hold's handle: what was given out, to the byte.

use auth_service::hold::{Fields, Outcome, Terms};
use auth_service::ids::{AccountId, KeyId, UserId};
use auth_service::store::{ExtendAnswer, SettleAnswer};

use crate::credits::expired;
use crate::fixture::{Fixture, altered, by_token, of_attempt, used};

/// A handle with each of its fields altered, one at a time. The names are left: another name is another hold.
fn alterations(handle: &Terms) -> Vec<(&'static str, Terms)> {
    type Alteration = (&'static str, fn(&mut Fields));
    let one: [Alteration; 10] = [
        ("a key", |fields| fields.key_id = Some(KeyId::random().unwrap())),
        ("fingerprint", |fields| fields.fingerprint.push(0)),
        ("no fingerprint", |fields| fields.fingerprint.clear()),
        ("model", |fields| fields.model.push('x')),
        ("per_call", |fields| fields.price.per_call = 0),
        ("per_1k_input_tokens", |fields| fields.price.per_1k_input_tokens += 1),
        ("per_1k_output_tokens", |fields| fields.price.per_1k_output_tokens = 0),
        ("held_credits", |fields| fields.held_credits += 1),
        ("max_input_tokens", |fields| fields.max_input_tokens += 1),
        ("max_output_tokens", |fields| fields.max_output_tokens -= 1),
    ];
    one.into_iter().map(|(name, change)| (name, altered(handle, change))).collect()
}

pub(crate) async fn a_handle_that_was_altered_in_any_field_settles_and_extends_nothing_and_the_hold_stays(f: Fixture) {
    let ada = f.person("ada", 40).await;
    let bob = f.person("bob", 40).await;
    let held = f.hold(&ada, by_token("r", "a")).await;
    f.store.extend(&held.terms, used(3)).await.unwrap();
    let before = f.snapshot(&ada).await;
    for (name, handle) in alterations(&held.terms) {
        assert_eq!(f.store.extend(&handle, used(9)).await.unwrap(), ExtendAnswer::NotFound, "{name}");
        for outcome in [Outcome::Completed, Outcome::NothingGenerated] {
            assert_eq!(f.store.settle(&handle, outcome, used(0)).await.unwrap(), SettleAnswer::NotFound, "{name}");
        }
        assert_eq!(f.snapshot(&ada).await, before, "{name}");
    }
    // Another name is another hold, and another attempt is superseded.
    let elsewhere: [(&str, Terms); 4] = [
        ("account", altered(&held.terms, |fields| fields.account = bob.account.clone())),
        ("no account", altered(&held.terms, |fields| fields.account = AccountId::random().unwrap())),
        ("user", altered(&held.terms, |fields| fields.user_id = UserId::random().unwrap())),
        ("request", altered(&held.terms, |fields| fields.request_id.push('x'))),
    ];
    for (name, handle) in elsewhere {
        assert_eq!(f.store.extend(&handle, used(9)).await.unwrap(), ExtendAnswer::NotFound, "{name}");
        assert_eq!(f.store.settle(&handle, Outcome::Completed, used(0)).await.unwrap(), SettleAnswer::NotFound, "{name}");
        assert_eq!(f.snapshot(&ada).await, before, "{name}");
    }
    assert_eq!(f.store.settle(&of_attempt(&held.terms, "b"), Outcome::Completed, used(0)).await.unwrap(), SettleAnswer::Superseded);
    // The handle that was given out is still good; once it is resolved, altered ones get no receipt, and take nothing late.
    let record = f.settle(&held.terms, Outcome::Completed, 4).await;
    let (expired, _) = expired(&f, &ada, "s").await;
    let before = f.snapshot(&ada).await;
    for (name, handle) in alterations(&held.terms).into_iter().chain(alterations(&expired)) {
        assert_eq!(f.store.settle(&handle, Outcome::Completed, used(9)).await.unwrap(), SettleAnswer::NotFound, "{name}");
        assert_eq!(f.store.extend(&handle, used(9)).await.unwrap(), ExtendAnswer::NotFound, "{name}");
    }
    assert_eq!(f.snapshot(&ada).await, before);
    assert_eq!(f.settle(&held.terms, Outcome::Completed, 9).await, record);
}
