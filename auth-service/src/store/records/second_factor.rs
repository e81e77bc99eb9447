//! Second factors. A recovery code is kept as its hash alone; an app's secret is kept as it is, for codes are computed from it.

use prost::Message;

use super::{VERSION, Versioned, decode};
use crate::second_factor::{AttemptId, SecondFactor, TotpSecret};

versioned!(StoredSecondFactor);

/// A second factor, beside its user's id. It has no `Debug`: it holds the secret.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct StoredSecondFactor {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(bytes = "vec", tag = "2")]
    secret: Vec<u8>,
    #[prost(int64, tag = "3")]
    begun_at_ms: i64,
    #[prost(int64, optional, tag = "4")]
    enabled_at_ms: Option<i64>,
    #[prost(uint64, repeated, tag = "5")]
    used_steps: Vec<u64>,
    #[prost(bytes = "vec", repeated, tag = "6")]
    recovery_codes: Vec<Vec<u8>>,
    #[prost(uint32, tag = "7")]
    failures: u32,
    #[prost(int64, tag = "8")]
    failed_at_ms: i64,
    /// Empty: none.
    #[prost(bytes = "vec", tag = "9")]
    last_attempt: Vec<u8>,
}

impl std::fmt::Debug for StoredSecondFactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredSecondFactor").finish_non_exhaustive()
    }
}

pub(in crate::store) fn second_factor_bytes(factor: &SecondFactor) -> Vec<u8> {
    let SecondFactor { begun_at_ms, enabled_at_ms, failures, failed_at_ms, .. } = *factor;
    let stored = StoredSecondFactor {
        version: VERSION,
        secret: factor.secret.to_bytes().to_vec(),
        begun_at_ms,
        enabled_at_ms,
        used_steps: factor.used_steps.clone(),
        recovery_codes: factor.recovery_codes.iter().map(|hash| hash.to_vec()).collect(),
        failures,
        failed_at_ms,
        last_attempt: factor.last_attempt.map(|attempt| attempt.to_bytes().to_vec()).unwrap_or_default(),
    };
    stored.encode_to_vec()
}

pub(in crate::store) fn second_factor(bytes: &[u8]) -> Option<SecondFactor> {
    let stored: StoredSecondFactor = decode(bytes)?;
    let StoredSecondFactor { begun_at_ms, enabled_at_ms, used_steps, failures, failed_at_ms, last_attempt, .. } = stored;
    let last_attempt = if last_attempt.is_empty() { None } else { Some(AttemptId::from_bytes(last_attempt.try_into().ok()?)) };
    let recovery_codes = stored.recovery_codes.into_iter().map(|hash| hash.try_into().ok()).collect::<Option<_>>()?;
    let secret = TotpSecret::from_bytes(stored.secret.try_into().ok()?);
    Some(SecondFactor { secret, begun_at_ms, enabled_at_ms, used_steps, recovery_codes, failures, failed_at_ms, last_attempt })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_factor_is_read_as_it_was_written() {
        let pending = SecondFactor::begin(TotpSecret::from_bytes([7; 20]), 5);
        let whole = SecondFactor {
            enabled_at_ms: Some(6),
            used_steps: vec![u64::MAX, 1],
            recovery_codes: vec![[1; 32], [2; 32]],
            failures: 3,
            failed_at_ms: 7,
            last_attempt: Some(AttemptId::from_bytes([9; 16])),
            ..pending.clone()
        };
        for factor in [pending, whole] {
            assert_eq!(second_factor(&second_factor_bytes(&factor)), Some(factor));
        }
        assert_eq!(second_factor(b""), None);
        assert_eq!(format!("{:?}", StoredSecondFactor { secret: b"canary".to_vec(), ..Default::default() }), "StoredSecondFactor { .. }");
    }
}
