use super::*;
use crate::access::{RightsVersion, RightsVersions};
use crate::ids::{AccountId, KeyId, SessionId};
use crate::price::Price;
use crate::store::PresentedCredential;

const ACCOUNT: &str = "0123456789abcdef";

fn terms(attempt_id: &str, price: Price) -> Terms {
    Terms::new(Fields {
        account: AccountId::parse(ACCOUNT).unwrap(),
        user_id: UserId::parse(ACCOUNT).unwrap(),
        key_id: Some(KeyId::parse("0123456789ab").unwrap()),
        request_id: "a.request, with=signs".to_owned().replace(' ', "_"),
        attempt_id: attempt_id.to_owned(),
        fingerprint: vec![0, 255, 7],
        model: "llama3.2:1b".to_owned(),
        price,
        held_credits: price.of(100, 200),
        max_input_tokens: 100,
        max_output_tokens: 200,
        standing: Some(standing()),
    })
}

fn standing() -> Standing {
    let version = |byte| RightsVersion::from_bytes([byte; 8]);
    let rights_versions = RightsVersions { account: version(3), home: Some(version(4)) };
    Standing { credential: PresentedCredential::ApiKey { secret_hash: [7; 32] }, rights_versions, good_until_ms: Some(5_000) }
}

fn by_token() -> Price {
    Price { per_call: 3, per_1k_input_tokens: 10, per_1k_output_tokens: 1000 }
}

fn used(input_tokens: u32, output_tokens: u32) -> TokenUsage {
    TokenUsage { input_tokens, output_tokens, estimated: false }
}

fn open(attempt_id: &str) -> HoldRecord {
    HoldRecord { terms: terms(attempt_id, by_token()), usage: used(4, 5), expires_at_ms: 60_000, resolved: None }
}

fn resolved(attempt_id: &str, resolution: Resolution) -> HoldRecord {
    let outcome = (resolution != Resolution::Expired).then_some(Outcome::Completed);
    let settlement = Settlement { resolution, outcome, usage: used(4, 5), charge: 6, charged_credits: 6, uncollected_credits: 0 };
    open(attempt_id).resolve(&settlement, 50, Some(7), 1000)
}

/// The table's rows, in its order; `None` stands for no hold.
fn rows() -> [Option<HoldRecord>; 6] {
    [
        None,
        Some(open("a")),
        Some(resolved("a", Resolution::Settled)),
        Some(resolved("a", Resolution::Refunded)),
        Some(resolved("a", Resolution::Expired)),
        Some(resolved("a", Resolution::SettledLate)),
    ]
}

fn check(before: Option<&HoldRecord>, attempt_id: &str, funds: Funds) -> CheckDecision {
    let wanted = terms(attempt_id, by_token());
    let charge = ChargeRequest {
        request_id: wanted.request_id.clone(),
        attempt_id: attempt_id.to_owned(),
        fingerprint: wanted.fingerprint.clone(),
        price: wanted.price,
        max_input_tokens: 100,
        max_output_tokens: 200,
        require_full: false,
    };
    let (account, user_id, key_id) = (wanted.account.clone(), wanted.user_id.clone(), wanted.key_id.clone());
    let holder = Holder { account, user_id, key_id, standing: standing() };
    on_check(before, &holder, &wanted.model, &charge, funds)
}

const FUNDS: Funds = Funds { available: 1000, open_holds: 0, max_open_holds: 2, more_is_due: false, refund_wait: None, left_of_cap: None };

#[test]
fn check_by_the_same_attempt_is_what_the_table_says() {
    let held = CheckDecision::Hold(terms("a", by_token()));
    let expected = [
        held,
        CheckDecision::AlreadyHeld,
        CheckDecision::Recorded,
        CheckDecision::Recorded,
        CheckDecision::Recorded,
        CheckDecision::Recorded,
    ];
    assert_eq!(rows().map(|before| check(before.as_ref(), "a", FUNDS)), expected);
}

#[test]
fn check_by_another_attempt_is_what_the_table_says() {
    let held = || CheckDecision::Hold(terms("b", by_token()));
    let expected = [
        held(),
        CheckDecision::Refuse(Refusal::RequestInProgress),
        CheckDecision::Recorded,
        held(),
        CheckDecision::Recorded,
        CheckDecision::Recorded,
    ];
    assert_eq!(rows().map(|before| check(before.as_ref(), "b", FUNDS)), expected);
}

#[test]
fn another_fingerprint_under_the_same_id_is_refused_whatever_the_hold_is() {
    for mut before in rows().into_iter().flatten() {
        before.terms = Terms::new(Fields { fingerprint: vec![1], ..(*before.terms).clone() });
        assert_eq!(check(Some(&before), "a", FUNDS), CheckDecision::Refuse(Refusal::RequestIdReused), "{before:?}");
    }
}

#[test]
fn a_check_is_refused_for_want_of_places_or_refunds_before_credits_and_credits_may_come_back_while_more_is_due() {
    let full = Funds { open_holds: 2, available: 0, ..FUNDS };
    assert_eq!(check(None, "a", full), CheckDecision::Refuse(Refusal::TooManyOpenHolds));
    assert_eq!(check(None, "a", Funds { more_is_due: true, ..full }), CheckDecision::Refuse(Refusal::SweepInProgress));
    let retry_after = Duration::from_millis(7);
    let often_refunded = Funds { available: 0, refund_wait: Some(retry_after), ..FUNDS };
    assert_eq!(check(None, "a", often_refunded), CheckDecision::Refuse(Refusal::TooManyRefunds { retry_after }));
    let poor = Funds { available: 4, ..FUNDS };
    let refused = Refusal::InsufficientCredits { needed: 5, available: 4 };
    assert_eq!(check(None, "a", poor), CheckDecision::Refuse(refused));
    assert_eq!(check(None, "a", Funds { more_is_due: true, ..poor }), CheckDecision::Refuse(Refusal::SweepInProgress));
    let CheckDecision::Hold(part) = check(None, "a", Funds { available: 50, ..FUNDS }) else { panic!("not held") };
    assert_eq!((part.held_credits, part.max_output_tokens), (50, 46));
}

#[test]
fn extend_is_what_the_table_says() {
    let extend = |hold: Option<HoldRecord>, attempt_id| on_extend(hold.as_ref(), &terms(attempt_id, by_token()), used(2, 500));
    let resolved = ExtendDecision::Resolved;
    // Neither figure falls, and both stay within the hold.
    let extended = ExtendDecision::Extend(used(4, 200));
    assert_eq!(rows().map(|hold| extend(hold, "a")), [ExtendDecision::NotFound, extended, resolved, resolved, resolved, resolved]);
    assert_eq!(rows().map(|hold| extend(hold, "b")), [ExtendDecision::NotFound, resolved, resolved, resolved, resolved, resolved]);
}

#[test]
fn settle_is_what_the_table_says() {
    let settle = |hold: Option<HoldRecord>, attempt_id| {
        on_settle(hold.as_ref(), &terms(attempt_id, by_token()), Outcome::Completed, used(10, 20), 1000)
    };
    let settled = Settlement {
        resolution: Resolution::Settled,
        outcome: Some(Outcome::Completed),
        usage: used(10, 20),
        charge: 24,
        charged_credits: 24,
        uncollected_credits: 0,
    };
    // Six of them were charged when it expired.
    let late = Settlement { resolution: Resolution::SettledLate, charge: 18, ..settled };
    let (not_found, recorded) = (SettleDecision::NotFound, SettleDecision::Recorded);
    assert_eq!(
        rows().map(|hold| settle(hold, "a")),
        [not_found, SettleDecision::Resolve(settled), recorded, recorded, SettleDecision::Resolve(late), recorded]
    );
    let superseded = SettleDecision::Superseded;
    assert_eq!(rows().map(|hold| settle(hold, "b")), [not_found, superseded, superseded, superseded, superseded, superseded]);
}

#[test]
fn release_is_what_the_table_says() {
    let release = |hold: Option<HoldRecord>, attempt_id| on_release(hold.as_ref(), attempt_id);
    let refunded = Settlement {
        resolution: Resolution::Refunded,
        outcome: Some(Outcome::NothingGenerated),
        usage: used(0, 0),
        charge: 0,
        charged_credits: 0,
        uncollected_credits: 0,
    };
    let (nothing, resolved) = (ReleaseDecision::NothingHeld, ReleaseDecision::Resolved);
    assert_eq!(
        rows().map(|hold| release(hold, "a")),
        [nothing, ReleaseDecision::Release(refunded), resolved, ReleaseDecision::Released, resolved, resolved]
    );
    assert_eq!(rows().map(|hold| release(hold, "b")), [nothing; 6], "another attempt's hold stays");
}

#[test]
fn what_is_charged_is_what_the_table_says_and_never_more_than_was_held() {
    let terms = terms("a", by_token());
    let charged = |outcome, usage| settlement(&terms, outcome, usage).charge;
    for outcome in [Outcome::Completed, Outcome::Cancelled, Outcome::UpstreamFailed] {
        assert_eq!(charged(outcome, used(0, 0)), 3);
        assert_eq!(charged(outcome, used(10, 20)), 24);
        assert_eq!(charged(outcome, used(1_000_000, 1_000_000)), 204, "{outcome:?}");
    }
    let nothing = settlement(&terms, Outcome::NothingGenerated, used(10, 20));
    assert_eq!((nothing.charge, nothing.resolution, nothing.usage), (0, Resolution::Refunded, used(0, 0)));
    let expired = on_expiry(&open("a"));
    assert_eq!((expired.charge, expired.resolution, expired.outcome), (6, Resolution::Expired, None));
}

#[test]
fn what_is_due_late_is_charged_as_far_as_there_are_credits_and_the_rest_is_recorded() {
    let expired = resolved("a", Resolution::Expired);
    let late = |outcome, available| match on_settle(Some(&expired), &expired.terms, outcome, used(10, 20), available) {
        SettleDecision::Resolve(settlement) => settlement,
        other => panic!("{other:?}"),
    };
    let poor = late(Outcome::Completed, 5);
    assert_eq!((poor.charge, poor.charged_credits, poor.uncollected_credits), (5, 11, 13));
    let nothing = late(Outcome::NothingGenerated, 1000);
    assert_eq!((nothing.charge, nothing.charged_credits, nothing.uncollected_credits, nothing.usage), (0, 6, 0, used(4, 5)));
    assert_eq!(nothing.resolution, Resolution::SettledLate);
}

#[test]
fn a_handle_that_was_altered_extends_and_settles_nothing() {
    let hold = open("a");
    let handle = hold.terms.to_handle();
    assert_eq!(Terms::from_handle(&handle).as_ref(), Some(&hold.terms));
    let altered = [
        Terms::new(Fields { held_credits: 1_000_000, ..(*hold.terms).clone() }),
        Terms::new(Fields { price: Price { per_call: 0, ..by_token() }, ..(*hold.terms).clone() }),
        Terms::new(Fields { max_output_tokens: 1, ..(*hold.terms).clone() }),
        Terms::new(Fields { key_id: None, ..(*hold.terms).clone() }),
        Terms::new(Fields { standing: None, ..(*hold.terms).clone() }),
        Terms::new(Fields { standing: Some(Standing { good_until_ms: None, ..standing() }), ..(*hold.terms).clone() }),
    ];
    for altered in altered {
        assert_eq!(on_extend(Some(&hold), &altered, used(1, 1)), ExtendDecision::NotFound);
        assert_eq!(on_settle(Some(&hold), &altered, Outcome::Completed, used(1, 1), 1000), SettleDecision::NotFound);
    }
}

#[test]
fn what_is_no_handle_is_none() {
    let handle = open("a").terms.to_handle();
    let long = format!("hold_{}", "A".repeat(5000));
    // Cut in the middle of a field. (Cut behind one it can be read, and the store compares its bytes.)
    for wrong in ["", "hold_", "hold_!", &handle[1..], &handle[..handle.len() - 8], &format!("{handle}="), &long] {
        assert_eq!(Terms::from_handle(wrong), None, "{wrong}");
    }
}

#[test]
fn a_resolved_request_is_forgotten_at_its_time_and_an_open_hold_never() {
    let hour = Duration::from_secs(3600);
    let settled = resolved("a", Resolution::Settled);
    assert!(!settled.is_forgotten(hour, 1000 + 3_599_999));
    assert!(settled.is_forgotten(hour, 1000 + 3_600_000));
    assert!(!open("a").is_forgotten(hour, i64::MAX));
}

#[test]
fn a_handle_says_what_it_was_made_with_and_one_of_a_release_that_did_not_say_so_is_read() {
    let user_id = UserId::parse(ACCOUNT).unwrap();
    let token = |session| PresentedCredential::AccessToken { user_id: user_id.clone(), session, issued_at_ms: 1_700_000_000_000 };
    let session = SessionId::parse("abcdefghijkl").unwrap();
    for standing in [
        Some(standing()),
        Some(Standing { good_until_ms: None, ..standing() }),
        Some(Standing { credential: token(None), ..standing() }),
        Some(Standing { credential: token(Some(session)), ..standing() }),
        None,
    ] {
        let terms = Terms::new(Fields { standing: standing.clone(), ..(*open("a").terms).clone() });
        assert_eq!(Terms::from_handle(&terms.to_handle()).unwrap().standing, standing);
    }
    // As the release before made it.
    let old = "hold_CAESEDAxMjM0NTY3ODlhYmNkZWYaEDAxMjM0NTY3ODlhYmNkZWYiDDAxMjM0NTY3ODlhYioBcjIBYToB8EIGbGxhbWEzSAFgAWhkcMgB";
    let old = Terms::from_handle(old).unwrap();
    assert_eq!((old.request_id.as_str(), old.held_credits, old.max_output_tokens, &old.standing), ("r", 1, 200, &None));
}
