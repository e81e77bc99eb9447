//! Audit events and revocations, as they are stored beside their times.

use prost::Message;
use shared::ErrorReason;

use super::{VERSION, Versioned, decode};
use crate::ids::{AccountId, KeyId, SessionId, UserId};
use crate::store::{AuditAction, AuditEvent, Revocation, Revoked};

versioned!(StoredAuditEvent, StoredRevocation);

#[derive(Clone, PartialEq, Message)]
struct StoredAuditEvent {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(uint32, tag = "2")]
    action: u32,
    /// Empty: none; of all texts.
    #[prost(string, tag = "3")]
    actor: String,
    #[prost(string, tag = "4")]
    actor_name: String,
    #[prost(string, tag = "5")]
    actor_credential: String,
    #[prost(string, tag = "6")]
    subject: String,
    #[prost(string, tag = "7")]
    subject_name: String,
    #[prost(string, tag = "8")]
    subject_id: String,
    /// The number of an `ErrorReason`. 0: it worked.
    #[prost(int32, tag = "9")]
    failure: i32,
    #[prost(string, tag = "10")]
    address: String,
    #[prost(string, tag = "11")]
    request_id: String,
    #[prost(string, tag = "12")]
    client: String,
    #[prost(string, tag = "13")]
    detail: String,
    #[prost(bool, tag = "14")]
    by_operator: bool,
}

#[derive(Clone, PartialEq, Message)]
struct StoredRevocation {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(string, tag = "2")]
    user_id: String,
    #[prost(string, optional, tag = "3")]
    key_id: Option<String>,
    /// 0: all of the key's.
    #[prost(uint32, tag = "4")]
    secret: u32,
    #[prost(string, optional, tag = "5")]
    session_id: Option<String>,
    #[prost(bool, tag = "6")]
    tokens_only: bool,
    /// The number of an `ErrorReason`.
    #[prost(int32, tag = "7")]
    reason: i32,
    /// Of a membership.
    #[prost(string, optional, tag = "8")]
    account: Option<String>,
}

pub(in crate::store) fn audit_event_bytes(event: &AuditEvent) -> Vec<u8> {
    let text = |id: &Option<UserId>| id.as_ref().map(ToString::to_string).unwrap_or_default();
    let AuditEvent { actor_name, actor_credential, subject_name, subject_id, request_id, client, detail, .. } = event.clone();
    let stored = StoredAuditEvent {
        version: VERSION,
        action: event.action.number(),
        actor: text(&event.actor),
        actor_name,
        actor_credential,
        subject: text(&event.subject),
        subject_name,
        subject_id,
        failure: event.failure.map_or(0, Into::into),
        address: event.address.map(|address| address.to_string()).unwrap_or_default(),
        request_id,
        client,
        detail,
        by_operator: event.by_operator,
    };
    stored.encode_to_vec()
}

/// `None` also for an action of a later release.
pub(in crate::store) fn audit_event(bytes: &[u8]) -> Option<AuditEvent> {
    let stored: StoredAuditEvent = decode(bytes)?;
    let id = |text: &str| if text.is_empty() { Some(None) } else { UserId::parse(text).map(Some) };
    let failure = if stored.failure == 0 { None } else { Some(ErrorReason::try_from(stored.failure).ok()?) };
    let address = if stored.address.is_empty() { None } else { Some(stored.address.parse().ok()?) };
    let StoredAuditEvent { actor_name, actor_credential, subject_name, subject_id, request_id, client, detail, .. } = stored;
    Some(AuditEvent {
        action: AuditAction::of_number(stored.action)?,
        actor: id(&stored.actor)?,
        actor_name,
        actor_credential,
        subject: id(&stored.subject)?,
        subject_name,
        subject_id,
        failure,
        address,
        request_id,
        client,
        detail,
        by_operator: stored.by_operator,
    })
}

pub(in crate::store) fn revocation_bytes(revocation: &Revocation) -> Vec<u8> {
    let Revocation { user_id, revoked, reason } = revocation;
    let all = StoredRevocation { version: VERSION, user_id: user_id.to_string(), reason: (*reason).into(), ..Default::default() };
    let stored = match revoked {
        Revoked::Everything => all,
        Revoked::Tokens => StoredRevocation { tokens_only: true, ..all },
        Revoked::Session(session_id) => StoredRevocation { session_id: Some(session_id.to_string()), tokens_only: true, ..all },
        Revoked::Key { key_id, secret } => StoredRevocation { key_id: Some(key_id.to_string()), secret: *secret, ..all },
        Revoked::Membership { account } => StoredRevocation { account: Some(account.to_string()), ..all },
    };
    stored.encode_to_vec()
}

pub(in crate::store) fn revocation(bytes: &[u8]) -> Option<Revocation> {
    let StoredRevocation { user_id, key_id, secret, session_id, tokens_only, reason, account, .. } = decode(bytes)?;
    let revoked = match (key_id, session_id) {
        (None, None) if account.is_some() => Revoked::Membership { account: AccountId::parse(&account?)? },
        (Some(key_id), None) => Revoked::Key { key_id: KeyId::parse(&key_id)?, secret },
        (None, Some(session_id)) => Revoked::Session(SessionId::parse(&session_id)?),
        (None, None) if tokens_only => Revoked::Tokens,
        (None, None) => Revoked::Everything,
        (Some(_), Some(_)) => return None,
    };
    Some(Revocation { user_id: UserId::parse(&user_id)?, revoked, reason: ErrorReason::try_from(reason).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audit_events_and_revocations_are_read_as_they_were_written() {
        let user = || UserId::parse("0123456789abcdef").unwrap();
        let plain = AuditEvent::new(AuditAction::SignUp);
        let full = AuditEvent {
            actor: Some(user()),
            actor_name: "ada".to_owned(),
            actor_credential: "abcdefghijkl".to_owned(),
            subject: Some(user()),
            subject_name: "ada".to_owned(),
            subject_id: "0123456789ab".to_owned(),
            failure: Some(ErrorReason::RoleRequired),
            address: Some("2001:db8::7".parse().unwrap()),
            request_id: "r 1".to_owned(),
            client: "a \"client\"\n".to_owned(),
            detail: "why".to_owned(),
            by_operator: true,
            ..AuditEvent::new(AuditAction::DisableUser)
        };
        for event in [plain, full] {
            assert_eq!(audit_event(&audit_event_bytes(&event)), Some(event));
        }
        let key_id = KeyId::parse("0123456789ab").unwrap();
        for revoked in [
            Revoked::Everything,
            Revoked::Tokens,
            Revoked::Session(SessionId::parse("abcdefghijkl").unwrap()),
            Revoked::Key { key_id: key_id.clone(), secret: 0 },
            Revoked::Key { key_id, secret: 7 },
            Revoked::Membership { account: AccountId::parse("fedcba9876543210").unwrap() },
        ] {
            let one = Revocation { user_id: user(), revoked, reason: ErrorReason::UserDisabled };
            assert_eq!(revocation(&revocation_bytes(&one)), Some(one));
        }
        assert_eq!(audit_event(b""), None);
        assert_eq!(revocation(b""), None);
    }
}
