//! Sign-ins of devices.

use std::time::Duration;

use prost::Message;

use super::api_key::{scope_numbers, scopes};
use super::{VERSION, Versioned, decode};
use crate::device_sign_in::{Approval, DeviceSignIn, DeviceState, UserCode};
use crate::ids::{SessionId, UserId};
use crate::token_scopes::TokenScopes;

versioned!(StoredDeviceSignIn);

/// A sign-in, beside its user code.
#[derive(Clone, PartialEq, Message)]
struct StoredDeviceSignIn {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(bytes = "vec", tag = "2")]
    device_hash: Vec<u8>,
    #[prost(string, tag = "3")]
    client: String,
    /// Empty: not known.
    #[prost(string, tag = "4")]
    address: String,
    /// Whether it may do no more than `scopes`.
    #[prost(bool, tag = "5")]
    is_limited: bool,
    #[prost(uint32, repeated, tag = "6")]
    scopes: Vec<u32>,
    #[prost(int64, tag = "7")]
    requested_at_ms: i64,
    #[prost(int64, tag = "8")]
    ends_at_ms: i64,
    #[prost(uint64, tag = "9")]
    interval_s: u64,
    #[prost(int64, optional, tag = "10")]
    asked_at_ms: Option<i64>,
    #[prost(uint32, tag = "11")]
    state: u32,
    /// Who answered.
    #[prost(string, tag = "12")]
    user_id: String,
    /// Approved: in which session. Used: which it became.
    #[prost(string, tag = "13")]
    session_id: String,
    #[prost(int64, tag = "14")]
    tokens_valid_from_ms: i64,
    #[prost(int64, tag = "15")]
    used_at_ms: i64,
}

/// What became of it. These never change.
const OPEN: u32 = 1;
const APPROVED: u32 = 2;
const DENIED: u32 = 3;
const USED: u32 = 4;

pub(in crate::store) fn device_sign_in_bytes(sign_in: &DeviceSignIn) -> Vec<u8> {
    let (is_limited, scopes) = match &sign_in.scopes {
        TokenScopes::All => (false, Vec::new()),
        TokenScopes::Only(scopes) => (true, scope_numbers(scopes)),
    };
    let of_state = match &sign_in.state {
        DeviceState::Open => StoredDeviceSignIn { state: OPEN, ..StoredDeviceSignIn::default() },
        DeviceState::Approved(Approval { user_id, session_id, tokens_valid_from_ms }) => StoredDeviceSignIn {
            state: APPROVED,
            user_id: user_id.to_string(),
            session_id: session_id.to_string(),
            tokens_valid_from_ms: *tokens_valid_from_ms,
            ..StoredDeviceSignIn::default()
        },
        DeviceState::Denied { by } => StoredDeviceSignIn { state: DENIED, user_id: by.to_string(), ..StoredDeviceSignIn::default() },
        DeviceState::Used { user_id, session_id, at_ms } => StoredDeviceSignIn {
            state: USED,
            user_id: user_id.to_string(),
            session_id: session_id.to_string(),
            used_at_ms: *at_ms,
            ..StoredDeviceSignIn::default()
        },
    };
    let stored = StoredDeviceSignIn {
        version: VERSION,
        device_hash: sign_in.device_hash.to_vec(),
        client: sign_in.client.clone(),
        address: sign_in.address.map(|address| address.to_string()).unwrap_or_default(),
        is_limited,
        scopes,
        requested_at_ms: sign_in.requested_at_ms,
        ends_at_ms: sign_in.ends_at_ms,
        interval_s: sign_in.interval.as_secs(),
        asked_at_ms: sign_in.asked_at_ms,
        ..of_state
    };
    stored.encode_to_vec()
}

pub(in crate::store) fn device_sign_in(user_code: &UserCode, bytes: &[u8]) -> Option<DeviceSignIn> {
    let stored: StoredDeviceSignIn = decode(bytes)?;
    let user = || UserId::parse(&stored.user_id);
    let session = || SessionId::parse(&stored.session_id);
    let state = match stored.state {
        OPEN => DeviceState::Open,
        APPROVED => {
            let tokens_valid_from_ms = stored.tokens_valid_from_ms;
            DeviceState::Approved(Approval { user_id: user()?, session_id: session()?, tokens_valid_from_ms })
        }
        DENIED => DeviceState::Denied { by: user()? },
        USED => DeviceState::Used { user_id: user()?, session_id: session()?, at_ms: stored.used_at_ms },
        _ => return None,
    };
    let scopes = scopes(&stored.scopes)?;
    Some(DeviceSignIn {
        user_code: user_code.clone(),
        device_hash: stored.device_hash.try_into().ok()?,
        client: stored.client,
        address: if stored.address.is_empty() { None } else { Some(stored.address.parse().ok()?) },
        scopes: if stored.is_limited { TokenScopes::Only(scopes) } else { TokenScopes::All },
        requested_at_ms: stored.requested_at_ms,
        ends_at_ms: stored.ends_at_ms,
        interval: Duration::from_secs(stored.interval_s),
        asked_at_ms: stored.asked_at_ms,
        state,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Scope;

    #[test]
    fn a_devices_sign_in_is_read_as_it_was_written() {
        let user_id = UserId::parse("0123456789abcdef").unwrap();
        let session_id = SessionId::parse("abcdefghijkl").unwrap();
        let user_code = UserCode::parse("BCDFGHJK").unwrap();
        let one = DeviceSignIn {
            user_code: user_code.clone(),
            device_hash: [1; 32],
            client: "né \"x\"".to_owned(),
            address: Some("2001:db8::1".parse().unwrap()),
            scopes: TokenScopes::Only(vec![Scope::Account]),
            requested_at_ms: 1,
            ends_at_ms: 2,
            interval: Duration::from_secs(10),
            asked_at_ms: Some(0),
            state: DeviceState::Open,
        };
        let approval = Approval { user_id: user_id.clone(), session_id: session_id.clone(), tokens_valid_from_ms: 3 };
        for state in [
            DeviceState::Open,
            DeviceState::Approved(approval),
            DeviceState::Denied { by: user_id.clone() },
            DeviceState::Used { user_id, session_id, at_ms: 4 },
        ] {
            let limited = DeviceSignIn { state, ..one.clone() };
            let plain =
                DeviceSignIn { address: None, scopes: TokenScopes::All, asked_at_ms: None, client: String::new(), ..limited.clone() };
            for sign_in in [limited, plain] {
                assert_eq!(device_sign_in(&user_code, &device_sign_in_bytes(&sign_in)), Some(sign_in));
            }
        }
        assert_eq!(device_sign_in(&user_code, b""), None);
    }
}
