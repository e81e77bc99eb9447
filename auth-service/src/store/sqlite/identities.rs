//! Issuers' identities, and what their proofs leave: read, decided by a rule, and written, in one savepoint.

use rusqlite::{OptionalExtension, params};

use super::audit;
use super::columns::record;
use super::context::Context;
use super::failure::{Failure, StoreResult};
use super::user_changes::{read, write};
use super::users::{by_name, insert};
use crate::identity::{
    Identity, IdentityHash, IssuerSessionStart, LinkAnswer, ProvedIdentity, Standing, UnlinkAnswer, UsedProof, on_issuer_sign_in, on_link,
    on_unlink,
};
use crate::ids::UserId;
use crate::session::NewSession;
use crate::store::new_user::first_session;
use crate::store::{AuditEvent, IssuerUserCreation, NewUser, PresentedCredential, records};
use crate::user_state::Decision;

/// Proofs past their end that each new one removes.
const FORGOTTEN_AT_ONCE: u32 = 16;

pub(super) fn user_of(context: Context<'_>, hash: IdentityHash) -> StoreResult<Option<UserId>> {
    let sql = "SELECT user_id FROM identities WHERE identity_hash = ?";
    Ok(context.connection.prepare_cached(sql)?.query_row([hash.to_bytes()], |row| row.get(0)).optional()?)
}

pub(super) fn list(context: Context<'_>, id: &UserId) -> StoreResult<Vec<Identity>> {
    let mut statement = context.connection.prepare_cached("SELECT record FROM identities WHERE user_id = ?")?;
    let mut rows = statement.query([id])?;
    let mut identities = Vec::new();
    while let Some(row) = rows.next()? {
        identities.push(record(row, 0, "an identity", records::identity)?);
    }
    identities.sort_by(|one, other| (one.linked_at_ms, &one.issuer).cmp(&(other.linked_at_ms, &other.issuer)));
    Ok(identities)
}

pub(super) fn begin_session(
    context: Context<'_>,
    id: &UserId,
    proved: &ProvedIdentity,
    new: &NewSession,
    event: &AuditEvent,
) -> StoreResult<IssuerSessionStart> {
    let Some(state) = read(context, id)? else { return Ok(IssuerSessionStart::NotLinked) };
    let standing = standing(context, proved)?;
    let Decision { answer, changes } = on_issuer_sign_in(&state, &standing, new, context.limits.sessions(), context.now_ms, event);
    if let Some(changes) = changes {
        write(context, id, changes)?;
        use_up(context, proved.proof)?;
    }
    Ok(answer)
}

pub(super) fn create_user(
    context: Context<'_>,
    new_user: NewUser,
    proved: &ProvedIdentity,
    new: &NewSession,
    event: &AuditEvent,
) -> StoreResult<IssuerUserCreation> {
    if let Some(user) = by_name(context, &new_user.user_name)? {
        let made = if user.user_id == new_user.user_id { read(context, &user.user_id)? } else { None };
        let session = made.and_then(|state| state.sessions.into_iter().find(|session| session.session_id == new.session_id));
        // The same user: a repetition of what happened, whose answer was lost.
        return Ok(session.map_or(IssuerUserCreation::NameTaken, |session| IssuerUserCreation::Created(user, session)));
    }
    let standing = standing(context, proved)?;
    if standing.linked_to.is_some() {
        return Ok(IssuerUserCreation::IdentityTaken);
    }
    if standing.is_used {
        return Ok(IssuerUserCreation::ProofUsed);
    }
    let starting_credits = new_user.starting_credits;
    let user = new_user.into_record(context.now_ms);
    let first = first_session(&user, new, context.limits.sessions(), context.now_ms, event);
    let (session, event) = first.ok_or_else(|| Failure::corrupt("a new user has no session"))?;
    insert(context, &user, starting_credits)?;
    let sql = "INSERT INTO sessions (user_id, session_id, record) VALUES (?, ?, ?)";
    context.connection.prepare_cached(sql)?.execute(params![user.user_id, session.session_id, records::session_bytes(&session)])?;
    put(context, &user.user_id, &proved.linked(context.now_ms))?;
    use_up(context, proved.proof)?;
    audit::append_change(context, &event)?;
    Ok(IssuerUserCreation::Created(user, session))
}

pub(super) fn link(
    context: Context<'_>,
    id: &UserId,
    asked_by: &PresentedCredential,
    proved: &ProvedIdentity,
    event: &AuditEvent,
) -> StoreResult<Option<LinkAnswer>> {
    let Some(state) = read(context, id)? else { return Ok(None) };
    let (identities, standing) = (list(context, id)?, standing(context, proved)?);
    let Decision { answer, changes } = on_link(&state, &identities, &standing, asked_by, proved, context.now_ms, event);
    if let (Some(changes), LinkAnswer::Linked(identity)) = (changes, &answer) {
        write(context, id, changes)?;
        put(context, id, identity)?;
        use_up(context, proved.proof)?;
    }
    Ok(Some(answer))
}

pub(super) fn unlink(
    context: Context<'_>,
    id: &UserId,
    asked_by: Option<&PresentedCredential>,
    identity: (&str, &str),
    event: &AuditEvent,
) -> StoreResult<Option<UnlinkAnswer>> {
    let Some(state) = read(context, id)? else { return Ok(None) };
    let identities = list(context, id)?;
    let Decision { answer, changes } = on_unlink(&state, &identities, asked_by, identity, context.now_ms, event);
    if let Some(changes) = changes {
        write(context, id, changes)?;
        let sql = "DELETE FROM identities WHERE identity_hash = ?";
        context.connection.prepare_cached(sql)?.execute([IdentityHash::of(identity.0, identity.1).to_bytes()])?;
    }
    Ok(Some(answer))
}

fn standing(context: Context<'_>, proved: &ProvedIdentity) -> StoreResult<Standing> {
    let sql = "SELECT 1 FROM used_proofs WHERE proof_hash = ?";
    let is_used = context.connection.prepare_cached(sql)?.exists([proved.proof.hash])?;
    Ok(Standing { linked_to: user_of(context, proved.hash())?, is_used })
}

fn put(context: Context<'_>, id: &UserId, identity: &Identity) -> StoreResult<()> {
    let hash = IdentityHash::of(&identity.issuer, &identity.subject).to_bytes();
    let sql = "INSERT INTO identities (identity_hash, user_id, record) VALUES (?, ?, ?)";
    context.connection.prepare_cached(sql)?.execute(params![hash, id, records::identity_bytes(identity)])?;
    Ok(())
}

/// Records that a proof was used, and forgets some that would be good for nothing anyway.
fn use_up(context: Context<'_>, proof: UsedProof) -> StoreResult<()> {
    let sql = "INSERT INTO used_proofs (proof_hash, ends_at_ms) VALUES (?, ?)";
    context.connection.prepare_cached(sql)?.execute(params![proof.hash, proof.ends_at_ms])?;
    let sql = "DELETE FROM used_proofs WHERE proof_hash IN (SELECT proof_hash FROM used_proofs WHERE ends_at_ms <= ? ORDER BY ends_at_ms \
               LIMIT ?)";
    context.connection.prepare_cached(sql)?.execute(params![context.now_ms, FORGOTTEN_AT_ONCE])?;
    Ok(())
}
