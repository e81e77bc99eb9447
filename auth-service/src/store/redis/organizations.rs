//! Organizations in Redis: read with all that decides about them, decided by a rule, and written if nothing of it has changed since.

use std::collections::BTreeMap;

use super::RedisStore;
use super::api_keys::{self, Fields, removed, replaced};
use super::change::{Change, Compared, MAX_TRIES, OtherAccount, Part, Replacement, changing_too_quickly, new_rights_version};
use super::member_usage::{StoredUsages, usages};
use super::stored::{Counters, unreadable};
use super::user_changes::Read;
use crate::access::RightsVersion;
use crate::ids::{AccountId, InvitationId, UserId};
use crate::organization::change::{
    Decision, OrganizationAnswer, OrganizationChanges, OrganizationRefusal, OrganizationRequest, Situation, asker_of, on_change,
};
use crate::organization::creation::{Creation, NewOrganization, on_create};
use crate::organization::{Invitation, KnownOrganization, Membership, Organization, OrganizationRecord, People, Person};
use crate::store::{
    AuditEvent, ListedOrganization, OrganizationPage, OrganizationPlace, PresentedCredential, StoreError, StoredSecret, records,
};

/// An organization as read, and what counts for a change of it.
struct ReadOrganization {
    organization: Organization,
    rights_version: RightsVersion,
    secrets: Vec<StoredSecret>,
    /// By the ids of principals, as it is stored.
    usages: StoredUsages,
    now_ms: i64,
}

/// People as read, and the rights versions of their own accounts.
#[derive(Default)]
struct ReadPeople {
    people: People,
    versions: BTreeMap<UserId, RightsVersion>,
}

impl RedisStore {
    pub(super) async fn make_organization(
        &self,
        new: &NewOrganization,
        asked_by: &PresentedCredential,
        event: &AuditEvent,
    ) -> Result<OrganizationAnswer, StoreError> {
        let Some(maker) = asker_of(asked_by) else { return Ok(OrganizationAnswer::Refused(OrganizationRefusal::NotFound)) };
        let mut is_registered = false;
        for _ in 0..MAX_TRIES {
            let mut read = ReadPeople::default();
            let now_ms = self.read_person(&mut read, maker).await?.unwrap_or_default();
            let creation = match on_create(new, asked_by, &read.people, now_ms, event) {
                Ok(creation) => creation,
                Err(refusal) => return Ok(OrganizationAnswer::Refused(refusal)),
            };
            let Creation { record, place, known, event, is_repetition } = creation;
            let answer = OrganizationAnswer::Place { id: maker.clone(), place: Some(place.clone()), user: None };
            let Some(rights_version) = read.versions.get(maker).copied().filter(|_| !is_repetition) else { return Ok(answer) };
            if !is_registered {
                // Before the account, so that no account is ever missed by the walk.
                self.register_organization(&new.account).await?;
                is_registered = true;
            }
            let part = |name| self.keys.account_part(&new.account, name);
            let counters = Counters::of_new_account(new_rights_version()?);
            let change = Change {
                compared: vec![Compared { key: part("acct"), field: b"counters".to_vec(), expected: Vec::new() }],
                replacements: vec![
                    Replacement::at(part("acct"), "counters", counters),
                    Replacement::at(part("members"), maker.as_str(), records::membership_bytes(&place)),
                    Replacement::at(part("org"), "", records::organization_bytes(&record)),
                    self.replaced_known(maker, &new.account, Some(&known)),
                ],
                event: Some(&event),
                ..Change::new(AccountId::from(maker), rights_version)
            };
            if self.replace_records(&self.scripts.replace, change).await? {
                return Ok(answer);
            }
        }
        Err(changing_too_quickly())
    }

    pub(super) async fn replace_in_organization(
        &self,
        request: &OrganizationRequest,
        event: &AuditEvent,
    ) -> Result<OrganizationAnswer, StoreError> {
        let script = if request.only_restricts() { &self.scripts.restrict } else { &self.scripts.replace };
        for _ in 0..MAX_TRIES {
            let ends_place = request.ends_place_of().is_some();
            let Some(ReadOrganization { organization, rights_version, secrets, usages: stored, now_ms }) =
                self.read_organization(&request.account, ends_place).await?
            else {
                return Ok(OrganizationAnswer::Refused(OrganizationRefusal::NotFound));
            };
            let ReadPeople { people, versions } = self.read_people(request, &organization).await?;
            let usages = usages(&stored)?;
            let (organization, people) = (&organization, &people);
            let situation = Situation { organization, people, secrets: &secrets, usages: &usages, now_ms };
            let Decision { answer, changes } = on_change(situation, request, event);
            let Some(changes) = changes else { return Ok(answer) };
            let change = Change {
                others: others(versions, &changes),
                compared: self.dropped_usages(&request.account, &changes, &stored),
                replacements: self.organization_replacements(&request.account, &changes),
                event: changes.event.as_ref(),
                revocations: changes.revocations,
                ..Change::new(request.account.clone(), rights_version)
            };
            if self.replace_records(script, change).await? {
                return Ok(answer);
            }
        }
        Err(changing_too_quickly())
    }

    /// What is counted of those of whom it is no longer kept, as it was read: a call that ends meanwhile changes it, and no rights.
    fn dropped_usages(&self, account: &AccountId, changes: &OrganizationChanges, stored: &StoredUsages) -> Vec<Compared> {
        let is_dropped = |id: &str| changes.dropped_usages.iter().any(|dropped| dropped.as_str() == id);
        let compared = |(id, bytes): &(String, Vec<u8>)| Compared {
            key: self.keys.account_part(account, "usage"),
            field: id.clone().into_bytes(),
            expected: bytes.clone(),
        };
        stored.iter().filter(|(id, _)| is_dropped(id)).map(compared).collect()
    }

    fn organization_replacements(&self, account: &AccountId, changes: &OrganizationChanges) -> Vec<Replacement> {
        let OrganizationChanges { places, known, invitation, dropped, secrets, dropped_secrets, dropped_usages, .. } = changes;
        let invitations = self.keys.account_part(account, "invitations");
        let place = |(id, place): &(UserId, Option<Membership>)| {
            Replacement::of(Part::Members, id.as_str(), place.as_ref().map(records::membership_bytes).unwrap_or_default())
        };
        let withdrawn = |id: &InvitationId| Replacement::at(invitations.clone(), id.as_str(), Vec::new());
        let invited = |invitation: &Invitation| {
            Replacement::at(invitations.clone(), invitation.invitation_id.as_str(), records::invitation_bytes(invitation))
        };
        let known = known.iter().map(|(user, known)| self.replaced_known(user, account, known.as_ref()));
        let secrets = secrets.iter().map(replaced).chain(dropped_secrets.iter().flat_map(removed));
        let usage = self.keys.account_part(account, "usage");
        let forgotten = dropped_usages.iter().map(|id| Replacement::at(usage.clone(), id.as_str(), Vec::new()));
        let rest = dropped.iter().map(withdrawn).chain(invitation.iter().map(invited)).chain(forgotten);
        places.iter().map(place).chain(known).chain(rest).chain(secrets).collect()
    }

    /// What a user's own account knows of an organization.
    fn replaced_known(&self, user: &UserId, organization: &AccountId, known: Option<&KnownOrganization>) -> Replacement {
        let key = self.keys.account_part(&AccountId::from(user), "orgs");
        Replacement::at(key, organization.as_str(), known.map(records::known_organization_bytes).unwrap_or_default())
    }

    async fn read_organization(&self, account: &AccountId, ends_place: bool) -> Result<Option<ReadOrganization>, StoreError> {
        let part = |name| self.keys.account_part(account, name);
        let mut pipeline = ::redis::pipe();
        // The version first: if the rest is later, the version is out of date, and nothing is replaced.
        pipeline.hget(part("acct"), "counters").get(part("org")).hgetall(part("members")).hgetall(part("invitations")).cmd("TIME");
        type Parts = (Option<Vec<u8>>, Option<Vec<u8>>, Fields<Vec<u8>>, Fields<Vec<u8>>, (i64, i64));
        type WithPlace = (Fields<Vec<u8>>, Fields<i64>, StoredUsages);
        let (counters, record, members, invitations, time): Parts = self.query(&pipeline).await?;
        let Some((counters, record)) = counters.zip(record) else { return Ok(None) };
        let (secrets, usages) = if ends_place {
            let mut pipeline = ::redis::pipe();
            pipeline.hgetall(part("keys")).hgetall(part("used")).hgetall(part("usage"));
            let (keys, used, usages): WithPlace = self.query(&pipeline).await?;
            (api_keys::secrets(&keys, used)?, usages)
        } else {
            (Vec::new(), Vec::new())
        };
        let organization = Organization {
            account: account.clone(),
            record: organization(&record)?,
            places: members.iter().map(|(id, bytes)| Ok((user_id(id)?, membership(bytes)?))).collect::<Result<_, StoreError>>()?,
            invitations: invitations.iter().map(invitation).collect::<Result<_, _>>()?,
        };
        let rights_version = Counters::rights_version(&counters)?;
        Ok(Some(ReadOrganization { organization, rights_version, secrets, usages, now_ms: self.time_ms(time) }))
    }

    pub(super) async fn find_invitation(&self, account: &AccountId, code_hash: &[u8; 32]) -> Result<bool, StoreError> {
        let mut pipeline = ::redis::pipe();
        let (found,): (Fields<Vec<u8>>,) = self.query(pipeline.hgetall(self.keys.account_part(account, "invitations"))).await?;
        let invitations = found.iter().map(invitation).collect::<Result<Vec<_>, _>>()?;
        Ok(invitations.iter().any(|one| one.code_hash == *code_hash))
    }

    pub(super) async fn look_at_organization(&self, account: &AccountId) -> Result<Option<Organization>, StoreError> {
        let read = self.read_organization(account, false).await?;
        Ok(read.map(|ReadOrganization { organization, now_ms, .. }| organization.with_open_invitations(now_ms)))
    }

    /// Those whom a change is decided from, and of the other owners as many as it takes to find one who can act.
    async fn read_people(&self, request: &OrganizationRequest, organization: &Organization) -> Result<ReadPeople, StoreError> {
        let mut read = ReadPeople::default();
        for id in request.people(organization) {
            self.read_person(&mut read, &id).await?;
        }
        for owner in request.other_owners(organization) {
            if !read.people.contains_key(owner) {
                self.read_person(&mut read, owner).await?;
            }
            if read.people.get(owner).is_some_and(Person::can_act) {
                break;
            }
        }
        Ok(read)
    }

    /// Adds a user to those who were read; answers when it was, and nothing of no user.
    async fn read_person(&self, people: &mut ReadPeople, id: &UserId) -> Result<Option<i64>, StoreError> {
        // The version is read with the state, and before what follows.
        let Some(Read { state, rights_version, now_ms }) = self.read_user_state(id).await? else { return Ok(None) };
        let organizations = self.known_organizations(id).await?;
        people.people.insert(id.clone(), Person { state, organizations });
        people.versions.insert(id.clone(), rights_version);
        Ok(Some(now_ms))
    }

    async fn known_organizations(&self, user: &UserId) -> Result<BTreeMap<AccountId, KnownOrganization>, StoreError> {
        let key = self.keys.account_part(&AccountId::from(user), "orgs");
        let (fields,): (Vec<(String, Vec<u8>)>,) = self.query(::redis::pipe().hgetall(key)).await?;
        let read = |(account, bytes): &(String, Vec<u8>)| Some((AccountId::parse(account)?, records::known_organization(bytes)?));
        fields.iter().map(|field| read(field).ok_or_else(|| unreadable("a user's organization"))).collect()
    }

    pub(super) async fn list_organizations(&self, user: &UserId) -> Result<Vec<OrganizationPlace>, StoreError> {
        let known = self.known_organizations(user).await?;
        let accounts: Vec<AccountId> = known.into_iter().filter(|(_, known)| known.is_member).map(|(account, _)| account).collect();
        if accounts.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = ::redis::pipe();
        for account in &accounts {
            let part = |name| self.keys.account_part(account, name);
            pipeline.get(part("org")).hget(part("members"), user.as_str());
        }
        let mut found: Vec<Option<Vec<u8>>> = self.query(&pipeline).await?;
        let mut places = Vec::new();
        for (account, found) in accounts.into_iter().zip(found.chunks_exact_mut(2)) {
            let [record, place] = found else { return Err(unreadable("a user's organizations")) };
            // Of a membership that has just ended, there is nothing.
            let Some((record, place)) = record.take().zip(place.take()) else { continue };
            places.push(OrganizationPlace { account, record: organization(&record)?, place: membership(&place)? });
        }
        Ok(places)
    }

    /// All organizations, as far as one page goes. Each is in the index before it is made.
    pub(super) async fn page_of_organizations(&self, after: Option<&AccountId>, limit: u32) -> Result<OrganizationPage, StoreError> {
        let start = after.map_or_else(|| "-".to_owned(), |after| format!("({after}"));
        // One more tells whether something follows.
        let wanted = limit as usize + 1;
        let mut pipeline = ::redis::pipe();
        pipeline.cmd("ZRANGEBYLEX").arg(self.keys.organizations()).arg(start).arg("+").arg("LIMIT").arg(0).arg(wanted);
        let (ids,): (Vec<String>,) = self.query(&pipeline).await?;
        let follows = ids.len() == wanted;
        let parse = |id: &String| AccountId::parse(id).ok_or_else(|| unreadable("the index of organizations"));
        let accounts = ids.iter().take(limit as usize).map(parse).collect::<Result<Vec<_>, _>>()?;
        let next = accounts.last().filter(|_| follows).cloned();
        if accounts.is_empty() {
            return Ok(OrganizationPage { organizations: Vec::new(), next });
        }
        let mut pipeline = ::redis::pipe();
        for account in &accounts {
            pipeline.get(self.keys.account_part(account, "org"));
        }
        let found: Vec<Option<Vec<u8>>> = self.query(&pipeline).await?;
        let listed = |(account, bytes): (AccountId, Option<Vec<u8>>)| {
            let record = records::organization(&bytes?);
            if record.is_none() {
                // It must not keep the list from all others.
                tracing::error!(%account, "an organization's record can't be read");
            }
            Some(ListedOrganization { account, record: record? })
        };
        Ok(OrganizationPage { organizations: accounts.into_iter().zip(found).filter_map(listed).collect(), next })
    }
}

/// The users' accounts that a change is decided from; whose memberships change, get another version.
fn others(versions: BTreeMap<UserId, RightsVersion>, changes: &OrganizationChanges) -> Vec<OtherAccount> {
    let other = |(id, rights_version)| {
        let changes = changes.known.iter().any(|(user, _)| *user == id);
        OtherAccount { account: AccountId::from(&id), rights_version, changes }
    };
    versions.into_iter().map(other).collect()
}

fn user_id(bytes: &[u8]) -> Result<UserId, StoreError> {
    std::str::from_utf8(bytes).ok().and_then(UserId::parse).ok_or_else(|| unreadable("a member's id"))
}

fn organization(bytes: &[u8]) -> Result<OrganizationRecord, StoreError> {
    records::organization(bytes).ok_or_else(|| unreadable("an organization"))
}

fn membership(bytes: &[u8]) -> Result<Membership, StoreError> {
    records::membership(bytes).ok_or_else(|| unreadable("a place in an organization"))
}

fn invitation((id, bytes): &(Vec<u8>, Vec<u8>)) -> Result<Invitation, StoreError> {
    let id = std::str::from_utf8(id).ok().and_then(InvitationId::parse);
    id.and_then(|id| records::invitation(&id, bytes)).ok_or_else(|| unreadable("an invitation"))
}
