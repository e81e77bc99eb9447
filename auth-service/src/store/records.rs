//! What both stores keep and only Rust reads, as bytes: protobuf messages, opaque to Lua and SQL.
//!
//! Fields may be added: releases that run side by side pass over what they don't know. Whatever changes the meaning of the fields that
//! stand takes another version, and is refused by releases before it. What can't be read is `None`.

use prost::Message;

use super::{Checkpoint, EntryKind, LedgerEntry};
use crate::access::Member;
use crate::hold::{Outcome, Resolution, Settlement, Terms, TokenUsage};
use crate::ids::{KeyId, UserId};
use crate::user::{Role, UserName, UserRecord};

const VERSION: u32 = 1;

/// Reads a message of this version.
fn decode<M: Versioned>(bytes: &[u8]) -> Option<M> {
    M::decode(bytes).ok().filter(|message| message.version() == VERSION)
}

trait Versioned: Message + Default {
    fn version(&self) -> u32;
}

macro_rules! versioned {
    ($($name:ident),+) => { $(
        impl Versioned for $name {
            fn version(&self) -> u32 {
                self.version
            }
        }
    )+ };
}

versioned!(StoredUser, StoredMember, StoredEnding, StoredEntry, StoredCheckpoint);

/// A user, beside their id.
#[derive(Clone, PartialEq, Message)]
struct StoredUser {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(string, tag = "2")]
    user_name: String,
    #[prost(string, tag = "3")]
    password_hash: String,
    #[prost(string, tag = "4")]
    full_name: String,
    #[prost(string, tag = "5")]
    email: String,
    #[prost(uint32, tag = "6")]
    role: u32,
    #[prost(bool, tag = "7")]
    disabled: bool,
    #[prost(int64, tag = "8")]
    created_at_ms: i64,
    #[prost(bool, tag = "9")]
    locked: bool,
    #[prost(int64, optional, tag = "10")]
    reset_ends_at_ms: Option<i64>,
    #[prost(string, tag = "11")]
    state_reason: String,
}

/// A user's place in an account.
#[derive(Clone, PartialEq, Message)]
struct StoredMember {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(uint32, tag = "2")]
    role: u32,
    #[prost(bool, tag = "3")]
    disabled: bool,
    #[prost(int64, tag = "4")]
    tokens_valid_from_ms: i64,
    #[prost(bool, tag = "5")]
    locked: bool,
    #[prost(bool, tag = "6")]
    password_change_required: bool,
}

/// What is recorded of a hold beside its terms and figures.
#[derive(Clone, PartialEq, Message)]
struct StoredEnding {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(bool, tag = "2")]
    estimated: bool,
    /// 0: none.
    #[prost(uint32, tag = "3")]
    outcome: u32,
    #[prost(int64, tag = "4")]
    uncollected_credits: i64,
}

/// What a ledger entry records beside its figures.
#[derive(Clone, PartialEq, Message)]
struct StoredEntry {
    #[prost(uint32, tag = "1")]
    version: u32,
    /// 0: a grant.
    #[prost(uint32, tag = "2")]
    resolution: u32,
    #[prost(string, tag = "3")]
    request_id: String,
    #[prost(string, tag = "4")]
    user_id: String,
    #[prost(string, optional, tag = "5")]
    key_id: Option<String>,
    #[prost(string, tag = "6")]
    model: String,
    #[prost(uint32, tag = "7")]
    input_tokens: u32,
    #[prost(uint32, tag = "8")]
    output_tokens: u32,
    #[prost(bool, tag = "9")]
    estimated: bool,
    #[prost(string, tag = "10")]
    note: String,
}

/// What stands for an account's oldest ledger entries.
#[derive(Clone, PartialEq, Message)]
struct StoredCheckpoint {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(uint64, tag = "2")]
    last_entry: u64,
    #[prost(int64, tag = "3")]
    granted: i64,
    #[prost(int64, tag = "4")]
    charged: i64,
    #[prost(int64, tag = "5")]
    available: i64,
    #[prost(int64, tag = "6")]
    at_ms: i64,
}

/// Numbers that stand for a type's values, in stored messages and in columns. They never change.
macro_rules! numbered {
    ($(#[$doc:meta])* $encode:ident, $decode:ident, $type:ident { $($variant:ident = $number:literal),+ $(,)? }) => {
        $(#[$doc])*
        pub(super) fn $encode(value: $type) -> u32 {
            match value {
                $($type::$variant => $number),+
            }
        }

        $(#[$doc])*
        pub(super) fn $decode(number: u32) -> Option<$type> {
            match number {
                $($number => Some($type::$variant),)+
                _ => None,
            }
        }
    };
}

// Behind the macros, which they use.
mod api_key;
mod device_sign_in;
mod events;
mod identity;
mod organization;
mod second_factor;
mod session;

pub(super) use self::api_key::{key_rights, secret, secret_bytes};
pub(super) use self::device_sign_in::{device_sign_in, device_sign_in_bytes};
pub(super) use self::events::{audit_event, audit_event_bytes, revocation, revocation_bytes};
pub(super) use self::identity::{identity, identity_bytes};
pub(super) use self::organization::membership;
pub(super) use self::organization::{
    invitation, invitation_bytes, known_organization, known_organization_bytes, membership_bytes, organization, organization_bytes,
};
pub(super) use self::second_factor::{second_factor, second_factor_bytes};
pub(super) use self::session::{session, session_bytes, session_rights};

numbered!(role_number, role, Role { User = 1, Admin = 2 });
numbered!(outcome_number, outcome, Outcome { Completed = 1, Cancelled = 2, UpstreamFailed = 3, NothingGenerated = 4 });
numbered!(
    /// A resolved hold's state. 0 is an open one, and a grant in the ledger.
    resolution_number, resolution, Resolution { Settled = 1, Refunded = 2, Expired = 3, SettledLate = 4 }
);

pub(super) fn user_bytes(user: &UserRecord) -> Vec<u8> {
    let UserRecord { password_hash, full_name, email, disabled, locked, reset_ends_at_ms, state_reason, created_at_ms, .. } = user.clone();
    let (user_name, role) = (user.user_name.to_string(), role_number(user.role));
    let stored = StoredUser {
        version: VERSION,
        user_name,
        password_hash,
        full_name,
        email,
        role,
        disabled,
        created_at_ms,
        locked,
        reset_ends_at_ms,
        state_reason,
    };
    stored.encode_to_vec()
}

pub(super) fn user(user_id: &UserId, bytes: &[u8]) -> Option<UserRecord> {
    let stored: StoredUser = decode(bytes)?;
    let StoredUser { password_hash, full_name, email, disabled, created_at_ms, locked, reset_ends_at_ms, state_reason, .. } = stored;
    Some(UserRecord {
        user_id: user_id.clone(),
        user_name: UserName::parse(&stored.user_name)?,
        password_hash,
        full_name,
        email,
        role: role(stored.role)?,
        disabled,
        locked,
        reset_ends_at_ms,
        state_reason,
        created_at_ms,
    })
}

pub(super) fn member_bytes(member: &Member) -> Vec<u8> {
    let Member { role, disabled, locked, password_change_required, tokens_valid_from_ms } = *member;
    let role = role_number(role);
    StoredMember { version: VERSION, role, disabled, tokens_valid_from_ms, locked, password_change_required }.encode_to_vec()
}

pub(super) fn member(bytes: &[u8]) -> Option<Member> {
    let StoredMember { role: number, disabled, tokens_valid_from_ms, locked, password_change_required, .. } = decode(bytes)?;
    Some(Member { role: role(number)?, disabled, locked, password_change_required, tokens_valid_from_ms })
}

/// What is recorded of an open hold beside its terms and figures: whether its usage is estimated.
pub(super) fn progress_bytes(estimated: bool) -> Vec<u8> {
    StoredEnding { version: VERSION, estimated, outcome: 0, uncollected_credits: 0 }.encode_to_vec()
}

/// The same of a resolved one.
pub(super) fn ending_bytes(settlement: &Settlement) -> Vec<u8> {
    let Settlement { outcome, usage, uncollected_credits, .. } = *settlement;
    let outcome = outcome.map_or(0, outcome_number);
    StoredEnding { version: VERSION, estimated: usage.estimated, outcome, uncollected_credits }.encode_to_vec()
}

/// What [`progress_bytes`] and [`ending_bytes`] recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) estimated: bool,
    pub(super) outcome: Option<Outcome>,
    pub(super) uncollected_credits: i64,
}

pub(super) fn ending(bytes: &[u8]) -> Option<Ending> {
    let StoredEnding { estimated, outcome: number, uncollected_credits, .. } = decode(bytes)?;
    let outcome = if number == 0 { None } else { Some(outcome(number)?) };
    Some(Ending { estimated, outcome, uncollected_credits })
}

/// The ledger entry of a hold's resolution, beside its figures.
pub(super) fn resolution_entry_bytes(terms: &Terms, settlement: &Settlement) -> Vec<u8> {
    let Settlement { resolution, usage, .. } = *settlement;
    let stored = StoredEntry {
        version: VERSION,
        resolution: resolution_number(resolution),
        request_id: terms.request_id.clone(),
        user_id: terms.user_id.to_string(),
        key_id: terms.key_id.as_ref().map(ToString::to_string),
        model: terms.model.clone(),
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        estimated: usage.estimated,
        note: String::new(),
    };
    stored.encode_to_vec()
}

/// The ledger entry of a grant, beside its figures.
pub(super) fn grant_entry_bytes(request_id: &str, granted_by: &UserId, note: &str) -> Vec<u8> {
    let stored = StoredEntry {
        version: VERSION,
        request_id: request_id.to_owned(),
        user_id: granted_by.to_string(),
        note: note.to_owned(),
        ..StoredEntry::default()
    };
    stored.encode_to_vec()
}

/// The figures of a ledger entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntryFigures {
    pub(super) entry: u64,
    pub(super) credits: i64,
    pub(super) available: i64,
    pub(super) at_ms: i64,
}

pub(super) fn ledger_entry(figures: EntryFigures, bytes: &[u8]) -> Option<LedgerEntry> {
    let stored: StoredEntry = decode(bytes)?;
    let EntryFigures { entry, credits, available, at_ms } = figures;
    let StoredEntry { resolution: number, request_id, input_tokens, output_tokens, estimated, model, note, .. } = stored;
    let (kind, usage) = match number {
        0 => (EntryKind::Grant, None),
        number => (EntryKind::Resolved(resolution(number)?), Some(TokenUsage { input_tokens, output_tokens, estimated })),
    };
    let user_id = UserId::parse(&stored.user_id)?;
    let key_id = match stored.key_id {
        Some(key_id) => Some(KeyId::parse(&key_id)?),
        None => None,
    };
    Some(LedgerEntry { entry, kind, credits, available, request_id, user_id, key_id, model, usage, at_ms, note })
}

pub(super) fn checkpoint_bytes(checkpoint: &Checkpoint) -> Vec<u8> {
    let Checkpoint { last_entry, granted, charged, available, at_ms } = *checkpoint;
    StoredCheckpoint { version: VERSION, last_entry, granted, charged, available, at_ms }.encode_to_vec()
}

pub(super) fn checkpoint(bytes: &[u8]) -> Option<Checkpoint> {
    let StoredCheckpoint { last_entry, granted, charged, available, at_ms, .. } = decode(bytes)?;
    Some(Checkpoint { last_entry, granted, charged, available, at_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = "0123456789abcdef";

    fn user_id() -> UserId {
        UserId::parse(USER).unwrap()
    }

    #[test]
    fn users_and_members_are_read_as_they_were_written_whatever_their_texts_hold() {
        let ada = UserRecord {
            user_id: user_id(),
            user_name: UserName::parse("ada").unwrap(),
            password_hash: "$argon2id$…".to_owned(),
            full_name: "né, 100 % = \"mine\"\n\0".to_owned(),
            email: String::new(),
            role: Role::Admin,
            disabled: true,
            locked: true,
            reset_ends_at_ms: Some(0),
            state_reason: "left the company".to_owned(),
            created_at_ms: 12,
        };
        assert_eq!(user(&user_id(), &user_bytes(&ada)), Some(ada));
        let place = Member {
            role: Role::User,
            disabled: false,
            locked: true,
            password_change_required: true,
            tokens_valid_from_ms: 1_700_000_000_000,
        };
        assert_eq!(member(&member_bytes(&place)), Some(place));
        let folded = Checkpoint { last_entry: u64::MAX, granted: 1 << 40, charged: 1, available: 0, at_ms: -1 };
        assert_eq!(checkpoint(&checkpoint_bytes(&folded)), Some(folded));
    }

    #[test]
    fn what_is_of_another_version_or_cut_off_can_not_be_read() {
        let later = StoredMember { version: 2, role: 1, ..StoredMember::default() };
        assert_eq!(member(&later.encode_to_vec()), None);
        assert_eq!(member(b""), None);
        let whole = member_bytes(&Member {
            role: Role::User,
            disabled: true,
            locked: false,
            password_change_required: false,
            tokens_valid_from_ms: 5,
        });
        assert_eq!(member(&whole[..whole.len() - 1]), None);
        assert_eq!(member(&StoredMember { version: 1, role: 9, ..StoredMember::default() }.encode_to_vec()), None);
    }

    #[test]
    fn fields_that_a_later_release_added_are_passed_over() {
        let mut bytes = member_bytes(&Member {
            role: Role::User,
            disabled: false,
            locked: false,
            password_change_required: false,
            tokens_valid_from_ms: 7,
        });
        // Field 100, a text of two bytes.
        bytes.extend([0xa2, 0x06, 2, b'h', b'i']);
        assert_eq!(
            member(&bytes),
            Some(Member { role: Role::User, disabled: false, locked: false, password_change_required: false, tokens_valid_from_ms: 7 })
        );
    }

    #[test]
    fn what_is_kept_is_written_as_it_was_by_the_first_release() {
        let place = Member { role: Role::Admin, disabled: true, locked: false, password_change_required: false, tokens_valid_from_ms: 300 };
        assert_eq!(member_bytes(&place), [8, 1, 16, 2, 24, 1, 32, 0xac, 2]);
        assert_eq!(progress_bytes(true), [8, 1, 16, 1]);
        let folded = Checkpoint { last_entry: 300, granted: 10, charged: 4, available: 6, at_ms: 7 };
        assert_eq!(checkpoint_bytes(&folded), [8, 1, 16, 0xac, 2, 24, 10, 32, 4, 40, 6, 48, 7]);
    }
}
