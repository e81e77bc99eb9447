//! Sessions.

use prost::Message;

use super::api_key::{scope_numbers, scopes};
use super::{VERSION, Versioned, decode};
use crate::access::SessionRights;
use crate::ids::SessionId;
use crate::session::{PreviousToken, Session, SignInMethod};
use crate::token_scopes::TokenScopes;

versioned!(StoredSession);

/// A session, beside its id.
#[derive(Clone, PartialEq, Message)]
struct StoredSession {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(int64, tag = "2")]
    created_at_ms: i64,
    #[prost(int64, tag = "3")]
    last_used_at_ms: i64,
    #[prost(int64, tag = "4")]
    refresh_expires_at_ms: i64,
    #[prost(int64, tag = "5")]
    ends_at_ms: i64,
    #[prost(int64, tag = "6")]
    tokens_valid_from_ms: i64,
    #[prost(string, tag = "7")]
    client: String,
    /// Empty: not known.
    #[prost(string, tag = "8")]
    address: String,
    #[prost(uint32, tag = "9")]
    method: u32,
    /// Whether it may do no more than `scopes`.
    #[prost(bool, tag = "10")]
    is_limited: bool,
    #[prost(uint32, repeated, tag = "11")]
    scopes: Vec<u32>,
    #[prost(bytes = "vec", tag = "12")]
    family_hash: Vec<u8>,
    #[prost(bytes = "vec", tag = "13")]
    token_hash: Vec<u8>,
    #[prost(message, optional, tag = "14")]
    previous: Option<StoredPrevious>,
    /// 0: never.
    #[prost(int64, tag = "15")]
    second_factor_at_ms: i64,
    #[prost(string, tag = "16")]
    issuer: String,
    #[prost(string, tag = "17")]
    subject: String,
}

#[derive(Clone, PartialEq, Message)]
struct StoredPrevious {
    #[prost(bytes = "vec", tag = "1")]
    token_hash: Vec<u8>,
    #[prost(int64, tag = "2")]
    rotated_at_ms: i64,
    #[prost(bool, tag = "3")]
    accepted_again: bool,
}

/// How a session began. These never change.
const PASSWORD: u32 = 1;
const ISSUER: u32 = 2;
const DEVICE: u32 = 3;

pub(in crate::store) fn session_bytes(session: &Session) -> Vec<u8> {
    let (is_limited, scopes) = match &session.scopes {
        TokenScopes::All => (false, Vec::new()),
        TokenScopes::Only(scopes) => (true, scope_numbers(scopes)),
    };
    let (method, issuer, subject) = match &session.method {
        SignInMethod::Password => (PASSWORD, "", ""),
        SignInMethod::Issuer { issuer, subject } => (ISSUER, issuer.as_str(), subject.as_str()),
        SignInMethod::Device => (DEVICE, "", ""),
    };
    let previous = session.previous.map(|previous| StoredPrevious {
        token_hash: previous.token_hash.to_vec(),
        rotated_at_ms: previous.rotated_at_ms,
        accepted_again: previous.accepted_again,
    });
    let stored = StoredSession {
        version: VERSION,
        created_at_ms: session.created_at_ms,
        last_used_at_ms: session.last_used_at_ms,
        refresh_expires_at_ms: session.refresh_expires_at_ms,
        ends_at_ms: session.ends_at_ms,
        tokens_valid_from_ms: session.tokens_valid_from_ms,
        client: session.client.clone(),
        address: session.address.map(|address| address.to_string()).unwrap_or_default(),
        method,
        is_limited,
        scopes,
        family_hash: session.family_hash.to_vec(),
        token_hash: session.token_hash.to_vec(),
        previous,
        second_factor_at_ms: session.second_factor_at_ms.unwrap_or_default(),
        issuer: issuer.to_owned(),
        subject: subject.to_owned(),
    };
    stored.encode_to_vec()
}

pub(in crate::store) fn session(session_id: &SessionId, bytes: &[u8]) -> Option<Session> {
    let stored: StoredSession = decode(bytes)?;
    let scopes = scopes(&stored.scopes)?;
    let previous = match stored.previous {
        None => None,
        Some(StoredPrevious { token_hash, rotated_at_ms, accepted_again }) => {
            Some(PreviousToken { token_hash: token_hash.try_into().ok()?, rotated_at_ms, accepted_again })
        }
    };
    Some(Session {
        session_id: session_id.clone(),
        created_at_ms: stored.created_at_ms,
        last_used_at_ms: stored.last_used_at_ms,
        refresh_expires_at_ms: stored.refresh_expires_at_ms,
        ends_at_ms: stored.ends_at_ms,
        tokens_valid_from_ms: stored.tokens_valid_from_ms,
        client: stored.client,
        address: if stored.address.is_empty() { None } else { Some(stored.address.parse().ok()?) },
        method: match stored.method {
            PASSWORD => SignInMethod::Password,
            ISSUER => SignInMethod::Issuer { issuer: stored.issuer, subject: stored.subject },
            DEVICE => SignInMethod::Device,
            _ => return None,
        },
        scopes: if stored.is_limited { TokenScopes::Only(scopes) } else { TokenScopes::All },
        family_hash: stored.family_hash.try_into().ok()?,
        token_hash: stored.token_hash.try_into().ok()?,
        previous,
        second_factor_at_ms: some_time(stored.second_factor_at_ms),
    })
}

/// 0 stands for never.
fn some_time(ms: i64) -> Option<i64> {
    (ms != 0).then_some(ms)
}

/// The part of a session that Check reads.
pub(in crate::store) fn session_rights(bytes: &[u8]) -> Option<SessionRights> {
    let StoredSession { tokens_valid_from_ms, ends_at_ms, refresh_expires_at_ms, second_factor_at_ms, created_at_ms, .. } = decode(bytes)?;
    let (ends_at_ms, second_factor_at_ms) = (ends_at_ms.min(refresh_expires_at_ms), some_time(second_factor_at_ms));
    Some(SessionRights { tokens_valid_from_ms, ends_at_ms, created_at_ms, second_factor_at_ms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Scope;

    #[test]
    fn a_session_is_read_as_it_was_written() {
        let one = Session {
            session_id: SessionId::parse("abcdefghijkl").unwrap(),
            created_at_ms: 1,
            last_used_at_ms: 2,
            refresh_expires_at_ms: 3,
            ends_at_ms: 4,
            tokens_valid_from_ms: 5,
            client: "né \"x\"\n".to_owned(),
            address: Some("192.0.2.7".parse().unwrap()),
            method: SignInMethod::Password,
            scopes: TokenScopes::Only(vec![Scope::Account]),
            family_hash: [1; 32],
            token_hash: [2; 32],
            previous: Some(PreviousToken { token_hash: [3; 32], rotated_at_ms: 6, accepted_again: true }),
            second_factor_at_ms: Some(7),
        };
        let plain = Session { address: None, scopes: TokenScopes::All, previous: None, client: String::new(), ..one.clone() };
        let with_issuer = SignInMethod::Issuer { issuer: "https://issuer.example".to_owned(), subject: "1234".to_owned() };
        let by_issuer = Session { method: with_issuer, ..one.clone() };
        let by_device = Session { method: SignInMethod::Device, ..one.clone() };
        for one in [one, plain, by_issuer, by_device] {
            let bytes = session_bytes(&one);
            assert_eq!(
                session_rights(&bytes),
                Some(SessionRights { tokens_valid_from_ms: 5, ends_at_ms: 3, created_at_ms: 1, second_factor_at_ms: Some(7) })
            );
            assert_eq!(session(&one.session_id, &bytes), Some(one));
        }
        assert_eq!(session(&SessionId::parse("abcdefghijkl").unwrap(), b""), None);
    }
}
