//! Users in Redis.

use std::time::Duration;

use super::RedisStore;
use super::change::new_rights_version;
use super::millis;
use super::move_script::grant_id;
use super::scripts::ScriptCall;
use super::stored::unreadable;
use crate::access::Member;
use crate::identity::{Identity, IdentityHash, UsedProof};
use crate::ids::{AccountId, UserId};
use crate::session::Session;
use crate::store::{
    AuditEvent, NAME_CLAIM_LIFE, NewUser, STARTING_GRANT_NOTE, STARTING_GRANT_REQUEST_ID, StoreError, UserCreation, records,
};
use crate::user::{UserName, UserRecord};

/// What became of the claim of a name.
enum Claim {
    /// It is ours.
    Ours {
        /// Since when.
        at_ms: i64,
    },
    /// It is the name of a user.
    Taken,
    /// Somebody else claimed it a short while ago, and their user isn't made.
    InProgress {
        /// When that claim is over.
        retry_after: Duration,
    },
}

/// What is made together with a user whom an identity signs in.
pub(super) struct SignedIn {
    pub(super) hash: IdentityHash,
    pub(super) identity: Identity,
    pub(super) proof: UsedProof,
    pub(super) session: Session,
    pub(super) event: AuditEvent,
}

/// What became of a user who was to be made.
pub(super) enum MadeUser {
    Created(UserRecord),
    NameTaken,
    NameInProgress { retry_after: Duration },
    IdentityTaken,
    ProofUsed,
}

impl RedisStore {
    pub(super) async fn make_user(&self, user: NewUser, event: &AuditEvent) -> Result<UserCreation, StoreError> {
        Ok(match self.make_user_with(user, event, |_, _| Ok(None)).await? {
            MadeUser::Created(user) => UserCreation::Created(user),
            MadeUser::NameTaken => UserCreation::NameTaken,
            MadeUser::NameInProgress { retry_after } => UserCreation::NameInProgress { retry_after },
            MadeUser::IdentityTaken | MadeUser::ProofUsed => return Err(unreadable("the answer to the making of a user")),
        })
    }

    /// Makes a user, with an identity that signs them in where `signed_in` gives one for the user and the time of their making.
    pub(super) async fn make_user_with(
        &self,
        user: NewUser,
        event: &AuditEvent,
        signed_in: impl FnOnce(&UserRecord, i64) -> Result<Option<SignedIn>, StoreError>,
    ) -> Result<MadeUser, StoreError> {
        let claimed_at_ms = match self.claim_name(&user).await? {
            Claim::Ours { at_ms } => at_ms,
            Claim::Taken => return Ok(MadeUser::NameTaken),
            Claim::InProgress { retry_after } => return Ok(MadeUser::NameInProgress { retry_after }),
        };
        let account = AccountId::from(&user.user_id);
        // Before the account, so that no account is ever missed by the walk, and no user by a list.
        self.register(&account, &user.user_name, &user.user_id).await?;
        let starting_credits = user.starting_credits;
        let record = user.into_record(claimed_at_ms);
        let member = Member::of_new_user(record.role);
        let signed_in = signed_in(&record, claimed_at_ms)?;
        let event = signed_in.as_ref().map_or(event, |signed_in| &signed_in.event);
        let parts = ["acct", "members", "user", "log"].map(|part| self.keys.account_part(&account, part));
        let mut keys: Vec<_> = parts.into_iter().chain([self.keys.audit(event.log_of_change())]).collect();
        if let Some(SignedIn { hash, proof, .. }) = &signed_in {
            keys.extend([self.keys.identity(*hash), self.keys.used_proof(&proof.hash)]);
            keys.extend(["sessions", "identities"].map(|part| self.keys.account_part(&account, part)));
        }
        let mut call = ScriptCall::new(&self.scripts.create_user, keys.iter());
        call.arg(self.now()).arg(record.user_id.as_str()).arg(&records::user_bytes(&record)[..]).arg(&records::member_bytes(&member)[..]);
        // Half of the claim's life: by the time that somebody else may take the name, this script has run or never will.
        call.arg(claimed_at_ms + millis(NAME_CLAIM_LIFE) / 2).arg(starting_credits).arg(grant_id(STARTING_GRANT_REQUEST_ID));
        call.arg(&records::grant_entry_bytes(STARTING_GRANT_REQUEST_ID, &record.user_id, STARTING_GRANT_NOTE)[..]);
        call.arg(&new_rights_version()?.to_bytes()).arg(&records::audit_event_bytes(event)[..]);
        if let Some(SignedIn { hash, proof, session, identity, .. }) = &signed_in {
            call.arg(proof.ends_at_ms.saturating_sub(claimed_at_ms).max(1)).arg(session.session_id.as_str());
            call.arg(&records::session_bytes(session)[..]).arg(&hash.to_bytes()[..]).arg(&records::identity_bytes(identity)[..]);
        }
        let answer: Vec<Vec<u8>> = self.run(&call).await?;
        match &answer[..] {
            [word, stored] if word == b"created" => {
                records::user(&record.user_id, stored).map(MadeUser::Created).ok_or_else(|| unreadable("a user"))
            }
            [word] if word == b"linked" => Ok(MadeUser::IdentityTaken),
            [word] if word == b"used" => Ok(MadeUser::ProofUsed),
            [word] if word == b"late" => Err(StoreError::Unavailable("making the user took too long".to_owned())),
            _ => Err(unreadable("the answer to the making of a user")),
        }
    }

    /// Takes a name for a user.
    async fn claim_name(&self, user: &NewUser) -> Result<Claim, StoreError> {
        let mut replaceable = String::new();
        // Twice at most: the second time, it is somebody else who is quicker.
        for _ in 0..2 {
            let mut call = ScriptCall::new(&self.scripts.claim_name, std::iter::once(self.keys.name(&user.user_name)));
            call.arg(self.now()).arg(user.user_id.as_str()).arg(&replaceable);
            let answer: Vec<String> = self.run(&call).await?;
            match &answer[..] {
                [word, claim] if word == "claimed" => return parse_claim(claim).map(|(_, at_ms)| Claim::Ours { at_ms }),
                [word, claim, age_ms] if word == "taken" => {
                    let (owner, _) = parse_claim(claim)?;
                    if self.find_user(&owner).await?.is_some() {
                        return Ok(Claim::Taken);
                    }
                    let age_ms: i64 = age_ms.parse().map_err(|_| unreadable("the age of a claim"))?;
                    let left_ms = millis(NAME_CLAIM_LIFE).saturating_sub(age_ms);
                    if left_ms > 0 {
                        // Never longer than a whole life, should the clock have gone back.
                        let retry_after = Duration::from_millis(left_ms.unsigned_abs()).min(NAME_CLAIM_LIFE);
                        return Ok(Claim::InProgress { retry_after });
                    }
                    claim.clone_into(&mut replaceable);
                }
                _ => return Err(unreadable("the answer to a claim of a name")),
            }
        }
        Ok(Claim::InProgress { retry_after: NAME_CLAIM_LIFE })
    }

    pub(super) async fn find_user_by_name(&self, name: &UserName) -> Result<Option<UserRecord>, StoreError> {
        let (claim,): (Option<String>,) = self.query(::redis::pipe().get(self.keys.name(name))).await?;
        let owner = match claim {
            Some(claim) => parse_claim(&claim)?.0,
            // Nobody's id: the look-up takes as long whether there is such a name or not.
            None => UserId::parse("0000000000000000").ok_or_else(|| unreadable("nobody's id"))?,
        };
        // A claim whose user was never made, or is just being made, is nobody's yet.
        self.find_user(&owner).await
    }

    pub(super) async fn find_user(&self, id: &UserId) -> Result<Option<UserRecord>, StoreError> {
        let (record,): (Option<Vec<u8>>,) = self.query(::redis::pipe().get(self.keys.user(id))).await?;
        record.map(|record| records::user(id, &record).ok_or_else(|| unreadable("a user"))).transpose()
    }

    /// The time that was set, or what Redis says it is, in seconds and microseconds.
    pub(super) fn time_ms(&self, (seconds, micros): (i64, i64)) -> i64 {
        self.clock.fixed_ms().unwrap_or(seconds * 1000 + micros / 1000)
    }
}

/// Reads `<user id>|<claimed at, ms>`.
fn parse_claim(claim: &str) -> Result<(UserId, i64), StoreError> {
    let parse = || {
        let (user, at_ms) = claim.split_once('|')?;
        Some((UserId::parse(user)?, at_ms.parse().ok()?))
    };
    parse().ok_or_else(|| unreadable("the claim of a user name"))
}
