use std::time::Duration;

use super::*;
use crate::ids::UserId;
use crate::model_pattern::PatternRule;
use crate::store::Scope;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn key(number: i64, expires_at_ms: Option<i64>, revoked_at_ms: Option<i64>) -> ApiKeyRecord {
    ApiKeyRecord {
        key_id: KeyId::parse(&format!("{number:012}")).unwrap(),
        user_id: UserId::parse("0123456789abcdef").unwrap(),
        name: String::new(),
        scopes: vec![Scope::Chat],
        models: Vec::new(),
        pattern_rule: PatternRule::ByPart,
        networks: Vec::new(),
        created_at_ms: number,
        expires_at_ms,
        revoked_at_ms,
    }
}

fn hash(number: i64) -> [u8; 32] {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&number.to_le_bytes());
    hash
}

/// A key's first secret.
fn stored(key: ApiKeyRecord) -> StoredSecret {
    let secret_hash = hash(key.created_at_ms);
    let secret = SecretRecord {
        number: 1,
        hint: String::new(),
        created_at_ms: key.created_at_ms,
        ends_at_ms: None,
        revoked_at_ms: None,
        made_by: None,
    };
    StoredSecret { secret_hash, key, secret, last_used_at_ms: Some(7) }
}

fn drawn(number: i64) -> NewSecret {
    NewSecret { secret_hash: hash(number), hint: format!("tg_{number}") }
}

fn request(id: &str, wanted: &str) -> Option<KeyRequest> {
    Some(KeyRequest::new(&UserId::parse("0123456789abcdef").unwrap(), id, wanted.as_bytes()))
}

pub(super) fn create(number: i64, request: Option<KeyRequest>) -> KeyChange {
    KeyChange::Create { key: key(number, None, None), secret: drawn(number), request }
}

pub(super) fn rotate(key: i64, secret: i64, grace_ms: u64, request: Option<KeyRequest>) -> KeyChange {
    let key_id = KeyId::parse(&format!("{key:012}")).unwrap();
    KeyChange::Rotate { key_id, secret: drawn(secret), grace: Duration::from_millis(grace_ms), request }
}

fn revoke(key: i64) -> KeyChange {
    KeyChange::Revoke { key_id: KeyId::parse(&format!("{key:012}")).unwrap() }
}

fn revoke_secret(key: i64, number: u32) -> KeyChange {
    KeyChange::RevokeSecret { key_id: KeyId::parse(&format!("{key:012}")).unwrap(), number }
}

/// A keyring to which changes are made.
struct Ring(Vec<StoredSecret>);

impl Ring {
    fn change(&mut self, change: &KeyChange, now_ms: i64) -> Decision {
        let decision = on_change(&self.0, change, now_ms);
        let is_new = |row: &StoredSecret| decision.put.iter().any(|put| put.secret_hash == row.secret_hash);
        self.0.retain(|row| !decision.dropped.contains(&row.secret_hash) && !is_new(row));
        self.0.extend(decision.put.clone());
        decision
    }

    /// The secrets that are good, by their hashes' numbers.
    fn good(&self, now_ms: i64) -> Vec<i64> {
        let mut good: Vec<i64> = self.0.iter().filter(|row| is_in_force(row, now_ms)).map(|row| row.secret_hash).map(number_of).collect();
        good.sort_unstable();
        good
    }
}

fn number_of(hash: [u8; 32]) -> i64 {
    i64::from_le_bytes(hash[..8].try_into().unwrap())
}

/// The numbers of the secrets that were revoked; 0: all of the key.
fn revoked_numbers(decision: &Decision) -> Vec<u32> {
    let number = |revocation: &Revocation| match &revocation.revoked {
        Revoked::Key { secret, .. } => *secret,
        other => panic!("{other:?}"),
    };
    decision.revoked.iter().map(number).collect()
}

fn secret_numbers(answer: &KeyAnswer) -> (Option<u32>, Vec<u32>) {
    let KeyAnswer::Done { key, number, .. } = answer else { panic!("{answer:?}") };
    (*number, key.secrets.iter().map(|secret| secret.secret.number).collect())
}

#[test]
fn a_hundred_keys_in_force_are_the_limit_and_those_past_their_time_or_revoked_do_not_count() {
    let mut ring = Ring((0..99).map(|number| stored(key(number, Some(11), None))).collect());
    ring.0.extend([stored(key(200, Some(10), None)), stored(key(201, None, Some(5)))]);
    assert!(matches!(ring.change(&create(300, None), 10).answer, KeyAnswer::Done { .. }));
    assert_eq!(ring.change(&create(301, None), 10).answer, KeyAnswer::TooManyKeys);
    // Another secret is no other key.
    assert!(matches!(ring.change(&rotate(300, 302, 1000, None), 10).answer, KeyAnswer::Done { .. }));
    assert!(matches!(ring.change(&create(303, None), 11).answer, KeyAnswer::Done { .. }), "ninety-nine are past their time");
}

#[test]
fn of_the_keys_that_ended_the_newest_hundred_are_kept_whether_revoked_or_past_their_time() {
    let revoked = (0..80).map(|number| stored(key(number, None, Some(2 * number))));
    let ended = (0..80).map(|number| stored(key(100 + number, Some(2 * number + 1), None)));
    let mut ring = Ring(revoked.chain(ended).chain([stored(key(500, Some(1001), None))]).collect());
    let dropped: BTreeSet<i64> = ring.change(&revoke(500), 1000).dropped.into_iter().map(number_of).collect();
    // Of the hundred and sixty that had ended, ninety-nine are left beside the new one: the oldest are those before 61.
    assert_eq!(dropped, (0..=30).chain(100..130).collect());
    let KeyAnswer::Done { key, is_change, .. } = ring.change(&revoke(500), 2000).answer else { panic!() };
    assert_eq!((key.key.revoked_at_ms, is_change), (Some(1000), false), "a revocation keeps its first time");
    assert_eq!(ring.change(&revoke(77_777), 1000).answer, KeyAnswer::NotFound);
}

#[test]
fn after_a_rotation_both_secrets_are_good_until_the_old_ones_time_and_no_millisecond_longer() {
    let mut ring = Ring(vec![stored(key(1, None, None))]);
    let decision = ring.change(&rotate(1, 2, 1000, None), 50);
    assert_eq!((secret_numbers(&decision.answer), decision.revoked), ((Some(2), vec![2, 1]), vec![]));
    assert_eq!((ring.good(1049), ring.good(1050)), (vec![1, 2], vec![2]));
    assert!(ring.0.iter().all(|row| row.key == key(1, None, None)), "both are of one key");
}

#[test]
fn no_rotation_makes_a_secret_or_its_key_last_longer() {
    let mut ring = Ring(vec![stored(key(1, Some(5000), None))]);
    ring.change(&rotate(1, 2, 1000, None), 0);
    // Much later, and with a longer grace.
    ring.change(&rotate(1, 3, 100_000_000, None), 500);
    assert_eq!((ring.good(999), ring.good(1000), ring.good(4999), ring.good(5000)), (vec![1, 2, 3], vec![2, 3], vec![2, 3], vec![]));
    // The clock went back: what was said before stands.
    ring.change(&rotate(1, 4, 600, None), -10_000);
    assert_eq!((ring.good(-9401), ring.good(-9400)), (vec![1, 2, 3, 4], vec![4]));
    assert_eq!(ring.change(&rotate(1, 5, 1, None), 5000).answer, KeyAnswer::NotInForce, "a key past its time stays so");
}

#[test]
fn a_rotation_without_grace_revokes_all_secrets_before() {
    let mut ring = Ring(vec![stored(key(1, None, None))]);
    ring.change(&rotate(1, 2, 1000, None), 0);
    assert_eq!(revoked_numbers(&ring.change(&rotate(1, 3, 0, None), 10)), [1, 2]);
    assert_eq!(ring.good(10), [3]);
    assert!(ring.0.iter().all(|row| row.revoked_at_ms() == (row.secret.number < 3).then_some(10)));
}

#[test]
fn a_key_has_five_secrets_in_force_at_most_and_of_those_that_ended_the_newest_five_are_kept() {
    let mut ring = Ring(vec![stored(key(1, None, None))]);
    for secret in 2..=5 {
        assert!(matches!(ring.change(&rotate(1, secret, 1000, None), 0).answer, KeyAnswer::Done { .. }));
    }
    assert_eq!(ring.change(&rotate(1, 6, 1000, None), 999).answer, KeyAnswer::TooManySecrets);
    assert!(matches!(ring.change(&rotate(1, 6, 0, None), 999).answer, KeyAnswer::Done { .. }), "without grace there is room");
    for secret in 7..=30 {
        ring.change(&rotate(1, secret, 0, None), 1000);
    }
    let (made, listed) = secret_numbers(&ring.change(&rotate(1, 31, 0, None), 1000).answer);
    assert_eq!((made, ring.0.len(), listed.len()), (Some(31), 6, 7), "the answer is from before the oldest was dropped");
    assert_eq!(list(&ring.0)[0].secrets.iter().map(|secret| secret.secret.number).collect::<Vec<_>>(), [31, 30, 29, 28, 27, 26]);
}

#[test]
fn either_secret_is_revoked_at_once_and_the_key_with_the_last_that_is_in_force() {
    for (first, second) in [(1, 2), (2, 1)] {
        let mut ring = Ring(vec![stored(key(1, None, None))]);
        ring.change(&rotate(1, 2, 1000, None), 0);
        let by_number = ring.change(&revoke_secret(1, first), 10);
        assert_eq!(revoked_numbers(&by_number), [first]);
        assert_eq!(ring.good(10), [i64::from(second)]);
        let again = ring.change(&revoke_secret(1, first), 11);
        assert!(matches!(again.answer, KeyAnswer::Done { is_change: false, .. }) && again.put.is_empty());
        let shown = KeyChange::RevokeShown { secret_hash: hash(i64::from(second)) };
        let last = ring.change(&shown, 12);
        assert_eq!(revoked_numbers(&last), [0], "all of the key");
        assert_eq!((ring.good(12), list(&ring.0)[0].key.revoked_at_ms), (vec![], Some(12)));
        assert_eq!(ring.change(&rotate(1, 3, 1000, None), 13).answer, KeyAnswer::NotInForce);
    }
    let mut ring = Ring(vec![stored(key(1, None, None))]);
    assert_eq!(ring.change(&revoke_secret(1, 2), 0).answer, KeyAnswer::NotFound);
    assert_eq!(ring.change(&revoke_secret(1, 0), 0).answer, KeyAnswer::NotFound);
    assert_eq!(ring.change(&KeyChange::RevokeShown { secret_hash: hash(9) }, 0).answer, KeyAnswer::NotFound);
}

#[test]
fn a_secret_that_is_past_its_time_is_revoked_without_its_key() {
    let mut ring = Ring(vec![stored(key(1, None, None))]);
    ring.change(&rotate(1, 2, 10, None), 0);
    assert!(matches!(ring.change(&revoke_secret(1, 1), 50).answer, KeyAnswer::Done { is_change: true, .. }));
    assert_eq!((ring.good(50), list(&ring.0)[0].key.revoked_at_ms), (vec![2], None));
}

#[test]
fn the_repetition_of_a_creation_gives_the_same_key_another_secret_and_the_lost_one_is_dead() {
    let mut ring = Ring(Vec::new());
    let first = ring.change(&create(1, request("r", "a key")), 0);
    let repeated = ring.change(&create(2, request("r", "a key")), DAY_MS - 1);
    assert_eq!((secret_numbers(&first.answer).0, secret_numbers(&repeated.answer)), (Some(1), (Some(2), vec![2])));
    assert_eq!(revoked_numbers(&repeated), [1]);
    assert_eq!((ring.good(DAY_MS), list(&ring.0).len(), list(&ring.0)[0].key.key_id.as_str()), (vec![2], 1, "000000000001"));
    assert_eq!(ring.0[0].last_used_at_ms, None, "the new secret wasn't used");
    // A day after the first one, and not after its repetition.
    assert_eq!(secret_numbers(&ring.change(&create(3, request("r", "a key")), DAY_MS).answer).0, Some(1));
    assert_eq!(list(&ring.0).len(), 2);
}

#[test]
fn the_repetition_of_a_rotation_replaces_what_it_made_and_prolongs_nothing() {
    let mut ring = Ring(vec![stored(key(1, None, None))]);
    ring.change(&rotate(1, 2, 1000, request("r", "rotate 1")), 0);
    ring.change(&rotate(1, 3, 1000, request("r", "rotate 1")), 900);
    assert_eq!((ring.good(999), ring.good(1000)), (vec![1, 3], vec![3]));
    // Another rotation ends what the first one made; its repetition ends no later.
    ring.change(&rotate(1, 4, 500, request("s", "rotate 1")), 1000);
    ring.change(&rotate(1, 5, 1000, request("r", "rotate 1")), 1400);
    assert_eq!((ring.good(1499), ring.good(1500)), (vec![4, 5], vec![4]));
    assert_eq!(ring.change(&rotate(1, 6, 1000, request("r", "rotate 1")), 1500).answer, KeyAnswer::NotInForce);
}

#[test]
fn a_request_id_with_other_fields_is_refused_whatever_it_is_for() {
    let mut ring = Ring(vec![stored(key(1, None, None))]);
    ring.change(&create(2, request("r", "a key")), 0);
    let before = ring.0.clone();
    for other in [create(3, request("r", "another")), rotate(1, 3, 0, request("r", "rotate 1"))] {
        assert_eq!(ring.change(&other, 1).answer, KeyAnswer::RequestIdReused);
    }
    assert_eq!(ring.0, before);
    // Somebody else's request has the same id.
    let of_another = KeyRequest::new(&UserId::parse("ffffffffffffffff").unwrap(), "r", b"a key");
    assert!(matches!(ring.change(&create(4, Some(of_another)), 1).answer, KeyAnswer::Done { .. }));
    assert_eq!(list(&ring.0).len(), 3);
}

#[test]
fn what_a_request_made_and_somebody_revoked_does_not_come_back_by_its_repetition() {
    for revocation in [revoke(1), revoke_secret(1, 2)] {
        let mut ring = Ring(vec![stored(key(1, None, None))]);
        ring.change(&rotate(1, 2, 1000, request("r", "rotate 1")), 0);
        ring.change(&revocation, 1);
        assert_eq!(ring.change(&rotate(1, 3, 1000, request("r", "rotate 1")), 2).answer, KeyAnswer::NotInForce);
    }
}

#[test]
fn sixteen_repetitions_leave_one_good_secret_of_one_key() {
    let mut ring = Ring(Vec::new());
    for secret in 1..=16 {
        ring.change(&create(secret, request("r", "a key")), secret);
    }
    assert_eq!((ring.good(16), ring.0.len(), list(&ring.0).len()), (vec![16], 1, 1));
    // The store's own repetition of the last one is that one.
    let KeyAnswer::Done { is_change, number, .. } = ring.change(&create(16, request("r", "a key")), 17).answer else { panic!() };
    assert_eq!((is_change, number), (false, Some(16)));
}

#[test]
fn a_key_whose_answer_was_given_keeps_its_number_for_good() {
    let mut ring = Ring(vec![stored(key(1, None, None))]);
    let mut seen = BTreeSet::new();
    for secret in 2..60 {
        let grace_ms = if secret % 3 == 0 { 0 } else { 5 };
        let number = secret_numbers(&ring.change(&rotate(1, secret, grace_ms, None), secret * 2).answer).0;
        assert!(seen.insert(number), "number {number:?} came again");
        if secret % 5 == 0 {
            ring.change(&revoke_secret(1, number.unwrap() - 1), secret * 2);
        }
    }
}

#[test]
fn of_keys_whose_users_have_no_place_any_more_the_newest_hundred_are_kept_whoever_they_were_of() {
    let user = |number: i64| UserId::parse(&format!("{number:016}")).unwrap();
    let of = |number: i64| StoredSecret {
        key: ApiKeyRecord { user_id: user(number), ..key(number, None, None) },
        ..stored(key(number, None, None))
    };
    let stays = |one: &UserId| *one == user(0);
    let mut rows = vec![of(0)];
    for number in 1..=250 {
        rows.push(of(number));
        let Ended { put, dropped } = on_end_of(&rows, &user(number), stays, number);
        rows.retain(|row| !dropped.contains(&row.secret_hash) && !put.iter().any(|put| put.secret_hash == row.secret_hash));
        rows.extend(put);
        assert!(rows.iter().all(|row| row.key.revoked_at_ms.is_some() == (row.key.user_id != user(0))), "{number}");
    }
    let mut kept: Vec<i64> = rows.iter().map(|row| row.key.created_at_ms).collect();
    kept.sort_unstable();
    assert_eq!(kept, std::iter::once(0).chain(151..=250).collect::<Vec<_>>());
}
