//! What is stored, as the contract's messages say it, and back.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost_types::Timestamp;
use shared::error::reason_name;
use shared::proto::auth as pb;

use crate::access_token::PublicKey;
use crate::hold::{HoldRecord, Outcome, Resolution, TokenUsage};
use crate::ids::{AccountId, SessionId};
use crate::networks;
use crate::price::MAX_TOKENS;
use crate::revocation_feed::Told;
use crate::scope;
use crate::session::{Session, SignInMethod};
use crate::store::{Balance, Checkpoint, EntryKind, LedgerEntry, ListedKey, ListedSecret, Principal, Revocation, Revoked, earlier};
use crate::token_scopes::TokenScopes;
use crate::user::{Role, UserRecord};

/// Milliseconds since 1970 as a timestamp.
#[must_use]
pub fn timestamp(ms: i64) -> Timestamp {
    let nanos = i32::try_from(ms.rem_euclid(1000) * 1_000_000).unwrap_or_default();
    Timestamp { seconds: ms.div_euclid(1000), nanos }
}

/// A timestamp in milliseconds since 1970; `None` when it is out of range.
#[must_use]
pub fn milliseconds(timestamp: &Timestamp) -> Option<i64> {
    let nanos = (0..1_000_000_000).contains(&timestamp.nanos).then_some(timestamp.nanos)?;
    // Past the year 9999, the JSON form of a timestamp doesn't go.
    let seconds = (0..253_402_300_800).contains(&timestamp.seconds).then_some(timestamp.seconds)?;
    Some(seconds * 1000 + i64::from(nanos / 1_000_000))
}

/// A user, without the password's hash.
#[must_use]
pub fn user(record: UserRecord) -> pb::User {
    pb::User {
        user_id: record.user_id.to_string(),
        user_name: record.user_name.to_string(),
        full_name: record.full_name,
        email: record.email,
        role: role(record.role).into(),
        disabled: record.disabled,
        created_at: Some(timestamp(record.created_at_ms)),
        locked: record.locked,
        password_change_required: record.reset_ends_at_ms.is_some(),
        state_reason: String::new(),
    }
}

/// The same, with what is for operators alone.
#[must_use]
pub fn user_for_operators(record: UserRecord) -> pb::User {
    let state_reason = record.state_reason.clone();
    pb::User { state_reason, ..user(record) }
}

fn role(role: Role) -> pb::Role {
    match role {
        Role::User => pb::Role::User,
        Role::Admin => pb::Role::Admin,
    }
}

/// Who called, for services.
#[must_use]
pub fn principal(principal: &Principal, account: &AccountId) -> pb::Principal {
    pb::Principal {
        user_id: principal.user_id.to_string(),
        account_id: account.to_string(),
        api_key_id: principal.key_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        session_id: principal.session_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        api_key_secret: principal.key_secret,
    }
}

/// What a watch is told.
#[must_use]
pub fn revocation(told: Told) -> pb::WatchRevocationsResponse {
    let cursor = told.cursor().to_string();
    let (revocation, has_gap) = match told {
        Told::Revoked(_, revocation) => (Some(revocation), false),
        Told::Nothing(_) => (None, false),
        Told::Gap(_) => (None, true),
    };
    let Some(Revocation { user_id, revoked, reason }) = revocation else {
        return pb::WatchRevocationsResponse { cursor, has_gap, ..Default::default() };
    };
    let all =
        pb::WatchRevocationsResponse { user_id: user_id.to_string(), reason: reason_name(reason).to_owned(), cursor, ..Default::default() };
    match revoked {
        Revoked::Everything => all,
        Revoked::Tokens => pb::WatchRevocationsResponse { tokens_only: true, ..all },
        Revoked::Session(session) => pb::WatchRevocationsResponse { session_id: session.to_string(), tokens_only: true, ..all },
        Revoked::Key { key_id, secret } => pb::WatchRevocationsResponse { api_key_id: key_id.to_string(), api_key_secret: secret, ..all },
        Revoked::Membership { account } => pb::WatchRevocationsResponse { account_id: account.to_string(), ..all },
    }
}

/// A session, without what is kept of its tokens. `current`: that of the access token that asks.
#[must_use]
pub fn session(session: Session, current: Option<&SessionId>) -> pb::Session {
    let scopes = match &session.scopes {
        TokenScopes::All => Vec::new(),
        TokenScopes::Only(scopes) => scope::names(scopes).into_iter().map(str::to_owned).collect(),
    };
    let (method, issuer) = match session.method {
        SignInMethod::Password => (pb::SignInMethod::Password, String::new()),
        SignInMethod::Issuer { issuer, .. } => (pb::SignInMethod::Issuer, issuer),
        SignInMethod::Device => (pb::SignInMethod::Device, String::new()),
    };
    pb::Session {
        current: current == Some(&session.session_id),
        session_id: session.session_id.to_string(),
        created_at: Some(timestamp(session.created_at_ms)),
        last_used_at: Some(timestamp(session.last_used_at_ms)),
        refresh_expires_at: Some(timestamp(session.refresh_expires_at_ms)),
        ends_at: Some(timestamp(session.ends_at_ms)),
        client: session.client,
        address: session.address.map(|address| address.to_string()).unwrap_or_default(),
        method: method.into(),
        scopes,
        second_factor_at: session.second_factor_at_ms.map(timestamp),
        issuer,
    }
}

/// An API key, without its secrets' hashes.
#[must_use]
pub fn api_key(listed: ListedKey) -> pb::ApiKey {
    let ListedKey { key, secrets } = listed;
    let last_used_at_ms = secrets.iter().filter_map(|secret| secret.last_used_at_ms).max();
    pb::ApiKey {
        api_key_id: key.key_id.to_string(),
        name: key.name,
        hint: secrets.first().map(|newest| newest.secret.hint.clone()).unwrap_or_default(),
        scopes: scope::names(&key.scopes).into_iter().map(str::to_owned).collect(),
        models: key.models,
        created_at: Some(timestamp(key.created_at_ms)),
        expires_at: key.expires_at_ms.map(timestamp),
        revoked_at: key.revoked_at_ms.map(timestamp),
        networks: key.networks.iter().map(networks::shown).collect(),
        last_used_at: last_used_at_ms.map(timestamp),
        secrets: secrets.into_iter().map(|secret| api_key_secret(secret, key.expires_at_ms, key.revoked_at_ms)).collect(),
        user_id: key.user_id.to_string(),
    }
}

/// One of a key's secrets. It ends with its key, if not before.
fn api_key_secret(listed: ListedSecret, key_expires_at_ms: Option<i64>, key_revoked_at_ms: Option<i64>) -> pb::ApiKeySecret {
    let ListedSecret { secret, last_used_at_ms } = listed;
    pb::ApiKeySecret {
        number: secret.number,
        hint: secret.hint,
        created_at: Some(timestamp(secret.created_at_ms)),
        expires_at: earlier(secret.ends_at_ms, key_expires_at_ms).map(timestamp),
        revoked_at: earlier(secret.revoked_at_ms, key_revoked_at_ms).map(timestamp),
        last_used_at: last_used_at_ms.map(timestamp),
    }
}

/// A key with which others verify access tokens.
#[must_use]
pub fn json_web_key(key: PublicKey) -> pb::JsonWebKey {
    pb::JsonWebKey {
        kty: "OKP".to_owned(),
        crv: "Ed25519".to_owned(),
        alg: "EdDSA".to_owned(),
        r#use: "sig".to_owned(),
        kid: key.kid,
        x: URL_SAFE_NO_PAD.encode(key.key),
    }
}

/// An account's credits.
#[must_use]
pub fn balance(balance: Balance) -> pb::Balance {
    pb::Balance {
        available_credits: Some(balance.available),
        held_credits: Some(balance.held),
        spent_credits: Some(balance.spent),
        lapsed_credits: Some(balance.lapsed),
        granted_credits: Some(balance.granted),
    }
}

/// Usage as it was reported: figures above any possible one are cut, and the store clamps them to the hold.
#[must_use]
pub fn reported_usage(usage: Option<pb::TokenUsage>) -> TokenUsage {
    let usage = usage.unwrap_or_default();
    TokenUsage {
        input_tokens: usage.input_tokens().min(MAX_TOKENS),
        output_tokens: usage.output_tokens().min(MAX_TOKENS),
        estimated: usage.estimated,
    }
}

fn usage(usage: TokenUsage) -> pb::TokenUsage {
    pb::TokenUsage { input_tokens: Some(usage.input_tokens), output_tokens: Some(usage.output_tokens), estimated: usage.estimated }
}

fn outcome(outcome: Outcome) -> pb::Outcome {
    match outcome {
        Outcome::Completed => pb::Outcome::Completed,
        Outcome::Cancelled => pb::Outcome::Cancelled,
        Outcome::UpstreamFailed => pb::Outcome::UpstreamFailed,
        Outcome::NothingGenerated => pb::Outcome::NothingGenerated,
    }
}

fn state(resolution: Resolution) -> pb::RequestState {
    match resolution {
        Resolution::Settled => pb::RequestState::Settled,
        Resolution::Refunded => pb::RequestState::Refunded,
        Resolution::Expired => pb::RequestState::Expired,
        Resolution::SettledLate => pb::RequestState::SettledLate,
    }
}

/// What became of a request.
#[must_use]
pub fn receipt(record: HoldRecord) -> pb::Receipt {
    let held = pb::Receipt {
        request_id: record.terms.request_id.clone(),
        state: pb::RequestState::Held.into(),
        model: record.terms.model.clone(),
        held_credits: Some(record.terms.held_credits),
        usage: Some(usage(record.usage)),
        ..Default::default()
    };
    let Some(resolved) = record.resolved else { return held };
    pb::Receipt {
        state: state(resolved.resolution).into(),
        outcome: resolved.outcome.map_or(pb::Outcome::Unspecified, outcome).into(),
        charged_credits: Some(resolved.charged_credits),
        uncollected_credits: Some(resolved.uncollected_credits),
        remaining_credits: Some(resolved.remaining_credits),
        ledger_entry_id: resolved.ledger_entry.map(|entry| entry.to_string()).unwrap_or_default(),
        resolved_at: Some(timestamp(resolved.at_ms)),
        ..held
    }
}

/// One entry of the ledger.
#[must_use]
pub fn ledger_entry(entry: LedgerEntry) -> pb::LedgerEntry {
    let kind = match entry.kind {
        EntryKind::Grant => pb::LedgerEntryKind::Grant,
        EntryKind::Resolved(Resolution::Settled) => pb::LedgerEntryKind::Settle,
        EntryKind::Resolved(Resolution::Refunded) => pb::LedgerEntryKind::Refund,
        EntryKind::Resolved(Resolution::Expired) => pb::LedgerEntryKind::Expire,
        EntryKind::Resolved(Resolution::SettledLate) => pb::LedgerEntryKind::SettleLate,
    };
    pb::LedgerEntry {
        ledger_entry_id: entry.entry.to_string(),
        kind: kind.into(),
        credits: Some(entry.credits),
        available_credits: Some(entry.available),
        request_id: entry.request_id,
        user_id: entry.user_id.to_string(),
        api_key_id: entry.key_id.map(|id| id.to_string()).unwrap_or_default(),
        model: entry.model,
        usage: entry.usage.map(usage),
        created_at: Some(timestamp(entry.at_ms)),
        note: entry.note,
        folded_entries: None,
    }
}

/// What stands for an account's oldest entries, as an entry.
#[must_use]
pub fn checkpoint(checkpoint: Checkpoint) -> pb::LedgerEntry {
    pb::LedgerEntry {
        ledger_entry_id: checkpoint.last_entry.to_string(),
        kind: pb::LedgerEntryKind::Checkpoint.into(),
        credits: Some(checkpoint.credits()),
        available_credits: Some(checkpoint.available),
        created_at: Some(timestamp(checkpoint.at_ms)),
        folded_entries: Some(checkpoint.last_entry),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_survive_the_round_trip_and_nonsense_is_refused() {
        for ms in [0, 1, 999, 1_700_000_000_123] {
            assert_eq!(milliseconds(&timestamp(ms)), Some(ms));
        }
        for (seconds, nanos) in [(-1, 0), (1, -1), (1, 1_000_000_000), (i64::MAX, 0)] {
            assert_eq!(milliseconds(&Timestamp { seconds, nanos }), None);
        }
    }
}
