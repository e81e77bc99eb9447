//! Issuers' identities in Redis, and what their proofs leave. An identity has a key of its own with the id of its user; its record is with
//! the user. Both change together with the rights version of the user's account.

use std::time::Duration;

use super::RedisStore;
use super::change::{Change, Compared, MAX_TRIES, Replacement, changing_too_quickly};
use super::stored::unreadable;
use super::user_changes::Read;
use super::users::{MadeUser, SignedIn};
use crate::identity::{
    Identity, IdentityHash, IssuerSessionStart, LinkAnswer, ProvedIdentity, Standing, UnlinkAnswer, on_issuer_sign_in, on_link, on_unlink,
};
use crate::ids::{AccountId, UserId};
use crate::session::NewSession;
use crate::store::new_user::first_session;
use crate::store::{AuditEvent, IssuerUserCreation, NewUser, PresentedCredential, StoreError, records};
use crate::user_state::Decision;

/// What a used proof's key holds.
const USED: &[u8] = b"1";

impl RedisStore {
    pub(super) async fn find_user_of_identity(&self, identity: IdentityHash) -> Result<Option<UserId>, StoreError> {
        let (user,): (Option<String>,) = self.query(::redis::pipe().get(self.keys.identity(identity))).await?;
        user.map(|user| UserId::parse(&user).ok_or_else(|| unreadable("whom an identity signs in"))).transpose()
    }

    pub(super) async fn list_identities(&self, id: &UserId) -> Result<Vec<Identity>, StoreError> {
        let (records,): (Vec<(Vec<u8>, Vec<u8>)>,) = self.query(::redis::pipe().hgetall(self.identities_key(id))).await?;
        let read = |(_, record): &(Vec<u8>, Vec<u8>)| records::identity(record);
        let mut identities = records.iter().map(read).collect::<Option<Vec<_>>>().ok_or_else(|| unreadable("an identity"))?;
        identities.sort_by(|one, other| (one.linked_at_ms, &one.issuer).cmp(&(other.linked_at_ms, &other.issuer)));
        Ok(identities)
    }

    pub(super) async fn sign_in_by_identity(
        &self,
        id: &UserId,
        proved: &ProvedIdentity,
        new: &NewSession,
        event: &AuditEvent,
    ) -> Result<IssuerSessionStart, StoreError> {
        for _ in 0..MAX_TRIES {
            let Some(Read { state, rights_version, now_ms }) = self.read_user_state(id).await? else {
                return Ok(IssuerSessionStart::NotLinked);
            };
            let standing = self.standing(proved).await?;
            let Decision { answer, changes } = on_issuer_sign_in(&state, &standing, new, self.limits.sessions(), now_ms, event);
            let Some(changes) = changes else { return Ok(answer) };
            let change = Change {
                compared: self.compared(proved, &standing),
                replacements: self.replacements(id, &changes).into_iter().chain([self.used(proved, now_ms)]).collect(),
                event: changes.event.as_ref(),
                revocations: changes.revocations,
                ..Change::new(AccountId::from(id), rights_version)
            };
            if self.replace_records(&self.scripts.replace, change).await? {
                return Ok(answer);
            }
        }
        Err(changing_too_quickly())
    }

    pub(super) async fn make_user_by_identity(
        &self,
        user: NewUser,
        proved: &ProvedIdentity,
        new: &NewSession,
        event: &AuditEvent,
    ) -> Result<IssuerUserCreation, StoreError> {
        let standing = self.standing(proved).await?;
        let is_made = standing.linked_to.as_ref() == Some(&user.user_id);
        // Before a name is claimed for nothing. The script looks again.
        if !is_made && standing.linked_to.is_some() {
            return Ok(IssuerUserCreation::IdentityTaken);
        }
        if !is_made && standing.is_used {
            return Ok(IssuerUserCreation::ProofUsed);
        }
        let id = user.user_id.clone();
        let made = self.make_user_with(user, event, |user, now_ms| {
            let first = first_session(user, new, self.limits.sessions(), now_ms, event);
            let (session, event) = first.ok_or_else(|| StoreError::Corrupt("a new user has no session".to_owned()))?;
            let (hash, identity, proof) = (proved.hash(), proved.linked(now_ms), proved.proof);
            Ok(Some(SignedIn { hash, identity, proof, session, event }))
        });
        match made.await? {
            MadeUser::Created(user) => {
                // As it is stored: an earlier try may have made it.
                let read = self.read_user_state(&id).await?.ok_or_else(|| unreadable("a user who was just made"))?;
                let session = read.state.sessions.into_iter().find(|session| session.session_id == new.session_id);
                let session = session.ok_or_else(|| StoreError::Unavailable("the session of a new user has ended already".to_owned()))?;
                Ok(IssuerUserCreation::Created(user, session))
            }
            MadeUser::NameTaken | MadeUser::NameInProgress { .. } => Ok(IssuerUserCreation::NameTaken),
            MadeUser::IdentityTaken => Ok(IssuerUserCreation::IdentityTaken),
            MadeUser::ProofUsed => Ok(IssuerUserCreation::ProofUsed),
        }
    }

    pub(super) async fn link(
        &self,
        id: &UserId,
        asked_by: &PresentedCredential,
        proved: &ProvedIdentity,
        event: &AuditEvent,
    ) -> Result<Option<LinkAnswer>, StoreError> {
        for _ in 0..MAX_TRIES {
            let Some(Read { state, rights_version, now_ms }) = self.read_user_state(id).await? else { return Ok(None) };
            // After the user: if they changed meanwhile, the version is out of date, and nothing is written.
            let (identities, standing) = (self.list_identities(id).await?, self.standing(proved).await?);
            let Decision { answer, changes } = on_link(&state, &identities, &standing, asked_by, proved, now_ms, event);
            let (Some(changes), LinkAnswer::Linked(identity)) = (changes, &answer) else { return Ok(Some(answer)) };
            let put = [
                Replacement::at(self.keys.identity(proved.hash()), Vec::new(), id.as_str().as_bytes().to_vec()),
                Replacement::at(self.identities_key(id), proved.hash().to_bytes(), records::identity_bytes(identity)),
                self.used(proved, now_ms),
            ];
            let change = Change {
                compared: self.compared(proved, &standing),
                replacements: self.replacements(id, &changes).into_iter().chain(put).collect(),
                event: changes.event.as_ref(),
                revocations: changes.revocations,
                ..Change::new(AccountId::from(id), rights_version)
            };
            if self.replace_records(&self.scripts.replace, change).await? {
                return Ok(Some(answer));
            }
        }
        Err(changing_too_quickly())
    }

    pub(super) async fn unlink(
        &self,
        id: &UserId,
        asked_by: Option<&PresentedCredential>,
        (issuer, subject): (&str, &str),
        event: &AuditEvent,
    ) -> Result<Option<UnlinkAnswer>, StoreError> {
        let hash = IdentityHash::of(issuer, subject);
        for _ in 0..MAX_TRIES {
            let Some(Read { state, rights_version, now_ms }) = self.read_user_state(id).await? else { return Ok(None) };
            let identities = self.list_identities(id).await?;
            let Decision { answer, changes } = on_unlink(&state, &identities, asked_by, (issuer, subject), now_ms, event);
            let Some(changes) = changes else { return Ok(Some(answer)) };
            let dropped = [
                Replacement::at(self.keys.identity(hash), Vec::new(), Vec::new()),
                Replacement::at(self.identities_key(id), hash.to_bytes(), Vec::new()),
            ];
            let change = Change {
                replacements: self.replacements(id, &changes).into_iter().chain(dropped).collect(),
                event: changes.event.as_ref(),
                revocations: changes.revocations,
                ..Change::new(AccountId::from(id), rights_version)
            };
            if self.replace_records(&self.scripts.restrict, change).await? {
                return Ok(Some(answer));
            }
        }
        Err(changing_too_quickly())
    }

    /// A hash of the user's identities, by their hashes.
    fn identities_key(&self, id: &UserId) -> String {
        self.keys.account_part(&AccountId::from(id), "identities")
    }

    async fn standing(&self, proved: &ProvedIdentity) -> Result<Standing, StoreError> {
        let keys = (self.keys.identity(proved.hash()), self.keys.used_proof(&proved.proof.hash));
        let (user, is_used): (Option<String>, bool) = self.query(::redis::pipe().get(keys.0).exists(keys.1)).await?;
        let linked_to = user.map(|user| UserId::parse(&user).ok_or_else(|| unreadable("whom an identity signs in"))).transpose()?;
        Ok(Standing { linked_to, is_used })
    }

    /// What must be as the decision was made from: whom the identity signs in, and that the proof wasn't used.
    fn compared(&self, proved: &ProvedIdentity, standing: &Standing) -> Vec<Compared> {
        let user = standing.linked_to.as_ref().map(|user| user.as_str().as_bytes().to_vec()).unwrap_or_default();
        vec![
            Compared { key: self.keys.identity(proved.hash()), field: Vec::new(), expected: user },
            Compared { key: self.keys.used_proof(&proved.proof.hash), field: Vec::new(), expected: Vec::new() },
        ]
    }

    fn used(&self, proved: &ProvedIdentity, now_ms: i64) -> Replacement {
        let left_ms = u64::try_from(proved.proof.ends_at_ms.saturating_sub(now_ms)).unwrap_or_default().max(1);
        let used = Replacement::at(self.keys.used_proof(&proved.proof.hash), Vec::new(), USED.to_vec());
        Replacement { life: Some(Duration::from_millis(left_ms)), ..used }
    }
}
