//! Organizations: read with all that decides about them, decided by a rule, and written, in one savepoint.

use std::collections::BTreeMap;

use rusqlite::params;

use super::account::Account;
use super::columns::record;
use super::context::Context;
use super::failure::StoreResult;
use super::users::rights_changed;
use super::{api_keys, audit, member_usage, user_changes};
use crate::ids::{AccountId, UserId};
use crate::organization::change::{self, OrganizationAnswer, OrganizationChanges, OrganizationRequest, Situation, asker_of, on_change};
use crate::organization::creation::{Creation, NewOrganization, on_create};
use crate::organization::{Invitation, KnownOrganization, Membership, Organization, OrganizationRecord, People, Person};
use crate::store::{AuditEvent, ListedOrganization, OrganizationPage, OrganizationPlace, PresentedCredential, records};

pub(super) fn create(
    context: Context<'_>,
    new: &NewOrganization,
    asked_by: &PresentedCredential,
    event: &AuditEvent,
) -> StoreResult<OrganizationAnswer> {
    let people = people(context, asker_of(asked_by))?;
    let made = on_create(new, asked_by, &people, context.now_ms, event);
    let (creation, maker) = match (made, asker_of(asked_by)) {
        (Ok(creation), Some(maker)) => (creation, maker),
        (Ok(_), None) => return Ok(OrganizationAnswer::Refused(change::OrganizationRefusal::NotFound)),
        (Err(refusal), _) => return Ok(OrganizationAnswer::Refused(refusal)),
    };
    let Creation { record, place, event, is_repetition, .. } = creation;
    let answer = OrganizationAnswer::Place { id: maker.clone(), place: Some(place.clone()), user: None };
    if is_repetition {
        return Ok(answer);
    }
    let sql = "INSERT INTO organizations (account_id, created_by, record) VALUES (?, ?, ?)";
    context.connection.prepare_cached(sql)?.execute(params![new.account, maker, records::organization_bytes(&record)])?;
    Account::create(context, &new.account)?;
    put_place(context, &new.account, maker, &place)?;
    audit::append_change(context, &event)?;
    Ok(answer)
}

pub(super) fn change(context: Context<'_>, request: &OrganizationRequest, event: &AuditEvent) -> StoreResult<OrganizationAnswer> {
    let Some(organization) = read(context, &request.account)? else {
        return Ok(OrganizationAnswer::Refused(change::OrganizationRefusal::NotFound));
    };
    let mut people = people(context, request.people(&organization).iter())?;
    for owner in request.other_owners(&organization) {
        if let Some(person) = person(context, owner)? {
            let can_act = person.can_act();
            people.insert(owner.clone(), person);
            if can_act {
                break;
            }
        }
    }
    let (secrets, usages) = if request.ends_place_of().is_some() {
        (api_keys::secrets(context, &request.account)?, member_usage::stored(context, &request.account)?)
    } else {
        (Vec::new(), Vec::new())
    };
    let (organization, people) = (&organization, &people);
    let situation = Situation { organization, people, secrets: &secrets, usages: &usages, now_ms: context.now_ms };
    let change::Decision { answer, changes } = on_change(situation, request, event);
    if let Some(changes) = changes {
        write(context, &request.account, changes)?;
    }
    Ok(answer)
}

fn write(context: Context<'_>, account: &AccountId, changes: OrganizationChanges) -> StoreResult<()> {
    // What users' own accounts know of it, the tables tell.
    let OrganizationChanges { places, known: _, invitation, dropped, secrets, dropped_secrets, dropped_usages, revocations, event } =
        changes;
    for (id, place) in places {
        match place {
            Some(place) => put_place(context, account, &id, &place)?,
            None => {
                let sql = "DELETE FROM members WHERE account_id = ? AND user_id = ?";
                context.connection.prepare_cached(sql)?.execute(params![account, id])?;
            }
        }
    }
    for id in dropped {
        let sql = "DELETE FROM invitations WHERE account_id = ? AND invitation_id = ?";
        context.connection.prepare_cached(sql)?.execute(params![account, id])?;
    }
    if let Some(invitation) = invitation {
        let sql = "INSERT INTO invitations (account_id, invitation_id, record) VALUES (?, ?, ?)";
        let bytes = records::invitation_bytes(&invitation);
        context.connection.prepare_cached(sql)?.execute(params![account, invitation.invitation_id, bytes])?;
    }
    for id in dropped_usages {
        let sql = "DELETE FROM member_usage WHERE account_id = ? AND user_id = ?";
        context.connection.prepare_cached(sql)?.execute(params![account, id])?;
    }
    api_keys::write(context, account, &secrets, &dropped_secrets)?;
    rights_changed(context, account)?;
    if let Some(event) = event {
        audit::append_change(context, &event)?;
    }
    context.revoked.borrow_mut().extend(revocations);
    Ok(())
}

fn put_place(context: Context<'_>, account: &AccountId, id: &UserId, place: &Membership) -> StoreResult<()> {
    let sql = "INSERT OR REPLACE INTO members (account_id, user_id, record) VALUES (?, ?, ?)";
    context.connection.prepare_cached(sql)?.execute(params![account, id, records::membership_bytes(place)])?;
    Ok(())
}

fn people<'i>(context: Context<'_>, ids: impl IntoIterator<Item = &'i UserId>) -> StoreResult<People> {
    let mut people = People::new();
    for id in ids {
        if let Some(person) = person(context, id)? {
            people.insert(id.clone(), person);
        }
    }
    Ok(people)
}

fn person(context: Context<'_>, id: &UserId) -> StoreResult<Option<Person>> {
    let Some(state) = user_changes::read(context, id)? else { return Ok(None) };
    Ok(Some(Person { state, organizations: known(context, id)? }))
}

/// The organizations that a user is a member of, or has made.
fn known(context: Context<'_>, id: &UserId) -> StoreResult<BTreeMap<AccountId, KnownOrganization>> {
    let sql = "SELECT account_id, organizations.record, 1, created_by = ?1 \
               FROM organizations JOIN members USING (account_id) WHERE members.user_id = ?1 \
               UNION SELECT account_id, record, EXISTS (SELECT 1 FROM members WHERE members.account_id = organizations.account_id \
               AND members.user_id = ?1), 1 FROM organizations WHERE created_by = ?1";
    let mut statement = context.connection.prepare_cached(sql)?;
    let mut rows = statement.query([id])?;
    let mut known = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let OrganizationRecord { name, .. } = record(row, 1, "an organization", records::organization)?;
        known.insert(row.get(0)?, KnownOrganization { name, is_member: row.get(2)?, is_maker: row.get(3)? });
    }
    Ok(known)
}

pub(super) fn read(context: Context<'_>, account: &AccountId) -> StoreResult<Option<Organization>> {
    let sql = "SELECT record FROM organizations WHERE account_id = ?";
    let mut statement = context.connection.prepare_cached(sql)?;
    let mut rows = statement.query([account])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let record = record(row, 0, "an organization", records::organization)?;
    let (places, invitations) = (places(context, account)?, invitations(context, account)?);
    Ok(Some(Organization { account: account.clone(), record, places, invitations }))
}

fn places(context: Context<'_>, account: &AccountId) -> StoreResult<BTreeMap<UserId, Membership>> {
    let mut statement = context.connection.prepare_cached("SELECT user_id, record FROM members WHERE account_id = ?")?;
    let mut rows = statement.query([account])?;
    let mut places = BTreeMap::new();
    while let Some(row) = rows.next()? {
        places.insert(row.get(0)?, record(row, 1, "a place in an organization", records::membership)?);
    }
    Ok(places)
}

pub(super) fn invitations(context: Context<'_>, account: &AccountId) -> StoreResult<Vec<Invitation>> {
    let mut statement = context.connection.prepare_cached("SELECT invitation_id, record FROM invitations WHERE account_id = ?")?;
    let mut rows = statement.query([account])?;
    let mut invitations = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        invitations.push(record(row, 1, "an invitation", |bytes| records::invitation(&id, bytes))?);
    }
    Ok(invitations)
}

pub(super) fn of_user(context: Context<'_>, user: &UserId) -> StoreResult<Vec<OrganizationPlace>> {
    let sql = "SELECT account_id, organizations.record, members.record FROM members JOIN organizations USING (account_id) \
               WHERE user_id = ?";
    let mut statement = context.connection.prepare_cached(sql)?;
    let mut rows = statement.query([user])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(OrganizationPlace {
            account: row.get(0)?,
            record: record(row, 1, "an organization", records::organization)?,
            place: record(row, 2, "a place in an organization", records::membership)?,
        });
    }
    Ok(found)
}

/// All organizations, as far as one page goes.
pub(super) fn list(context: Context<'_>, after: Option<&AccountId>, limit: u32) -> StoreResult<OrganizationPage> {
    // One more tells whether something follows.
    let sql = "SELECT account_id, record FROM organizations WHERE account_id > ? ORDER BY account_id LIMIT ?";
    let mut statement = context.connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![after.map(AccountId::as_str).unwrap_or_default(), i64::from(limit) + 1])?;
    let (mut organizations, mut last) = (Vec::new(), None);
    for _ in 0..limit {
        let Some(row) = rows.next()? else { return Ok(OrganizationPage { organizations, next: None }) };
        let account: AccountId = row.get(0)?;
        match record(row, 1, "an organization", records::organization) {
            Ok(record) => organizations.push(ListedOrganization { account: account.clone(), record }),
            // It must not keep the list from all others.
            Err(_) => tracing::error!(%account, "an organization's record can't be read"),
        }
        last = Some(account);
    }
    let next = if rows.next()?.is_some() { last } else { None };
    Ok(OrganizationPage { organizations, next })
}
