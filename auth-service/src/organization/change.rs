//! What becomes of an organization, its members, invitations and service accounts, when somebody wants to change it.

use shared::ErrorReason;
use shared::ledger::credits;

use crate::ids::{InvitationId, UserId};
use crate::keyring;
use crate::month::Month;
use crate::organization::standing::{Asker, Authority, asker};
use crate::organization::{
    Invitation, KnownOrganization, Limit, MAX_INVITATIONS, MAX_MEMBERS, MAX_MEMBERSHIPS, MAX_SERVICE_ACCOUNTS, MemberRole, Membership,
    MonthUsage, Organization, People, Person, Principal,
};
use crate::store::{AuditEvent, Refusal, Revocation, Revoked, StoredSecret};
use crate::user::UserRecord;

pub use crate::organization::request::{OrganizationAnswer, OrganizationChange, OrganizationRefusal, OrganizationRequest};
pub use crate::organization::standing::asker_of;

/// Principals of whom one change forgets what they spent.
const MOST_USAGES_DROPPED: usize = 100;

/// What is written in the same step, if nothing has changed since it was decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrganizationChanges {
    /// Places that are new, take the place of theirs, or (`None`) end.
    pub places: Vec<(UserId, Option<Membership>)>,
    /// What users' own accounts know of the organization from now on; `None`: nothing.
    pub known: Vec<(UserId, Option<KnownOrganization>)>,
    /// A new invitation.
    pub invitation: Option<Invitation>,
    /// Invitations that are removed.
    pub dropped: Vec<InvitationId>,
    /// API keys' secrets that take the place of those with the same hash.
    pub secrets: Vec<StoredSecret>,
    /// Hashes of secrets that are removed.
    pub dropped_secrets: Vec<[u8; 32]>,
    /// Of whom it is no longer kept what they spent in a month.
    pub dropped_usages: Vec<UserId>,
    /// What is told to those who must end what runs.
    pub revocations: Vec<Revocation>,
    /// What is recorded.
    pub event: Option<AuditEvent>,
}

/// What a rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The answer, once the changes are written.
    pub answer: OrganizationAnswer,
    /// `None`: nothing is written.
    pub changes: Option<OrganizationChanges>,
}

impl Decision {
    fn nothing(answer: OrganizationAnswer) -> Self {
        Self { answer, changes: None }
    }
}

/// All that a change is decided from.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'s> {
    /// The organization.
    pub organization: &'s Organization,
    /// Those whom [`OrganizationRequest::people`] names, and of its other owners those who were read until one could act.
    pub people: &'s People,
    /// All secrets of its account's keys, where some of them may end.
    pub secrets: &'s [StoredSecret],
    /// What is counted of its principals' months, also of those who are gone, where one goes.
    pub usages: &'s [(UserId, MonthUsage)],
    /// By the store's clock.
    pub now_ms: i64,
}

/// Decides about a change.
#[must_use]
pub fn on_change(situation: Situation<'_>, request: &OrganizationRequest, event: &AuditEvent) -> Decision {
    changed(situation, request, event).unwrap_or_else(|refusal| Decision::nothing(OrganizationAnswer::Refused(refusal)))
}

fn changed(situation: Situation<'_>, request: &OrganizationRequest, event: &AuditEvent) -> Result<Decision, OrganizationRefusal> {
    let Situation { organization, people, now_ms, .. } = situation;
    if let OrganizationChange::WithdrawShown { code_hash } = &request.change {
        let invitation = shown(organization, code_hash).map(|invitation| &invitation.invitation_id);
        return Ok(situation.withdraw(invitation, event.clone()));
    }
    let credential = request.asked_by.as_ref().ok_or(OrganizationRefusal::Credential(Refusal::CredentialUnknown))?;
    let asker = asker(credential, people, now_ms)?;
    let event = event.clone().to_object(&organization.account);
    if let OrganizationChange::Accept { code_hash } = &request.change {
        return situation.accept(asker, code_hash, event);
    }
    // Whoever leaves needs nobody's leave.
    let leaves =
        matches!(&request.change, OrganizationChange::RemoveMember { user } if user == asker.id && organization.role_of(user).is_some());
    let event = match if leaves { Ok(Authority::Owner) } else { asker.in_charge(organization, &request.operator, now_ms) }? {
        Authority::Owner => event,
        Authority::Operator => event.by_operator(),
    };
    match &request.change {
        OrganizationChange::Invite { .. } => situation.invite(asker, &request.change, event),
        OrganizationChange::Withdraw { invitation_id } => Ok(situation.withdraw(Some(invitation_id), event)),
        OrganizationChange::AddMember { user, role, monthly_cap } => situation.add(user, *role, *monthly_cap, event),
        OrganizationChange::RemoveMember { user } => situation.remove_member(user, event),
        OrganizationChange::SetRole { user, role } => situation.set_role(user, *role, event),
        OrganizationChange::SetCap { principal, monthly_cap } => situation.set_cap(principal, *monthly_cap, event),
        OrganizationChange::CreateServiceAccount { id, name, monthly_cap } => situation.create_robot(asker, id, name, *monthly_cap, event),
        OrganizationChange::RemoveServiceAccount { id } => situation.remove_robot(id, event),
        OrganizationChange::Accept { .. } | OrganizationChange::WithdrawShown { .. } => Err(OrganizationRefusal::NotFound),
    }
}

/// The invitation whose code has this hash.
pub(super) fn shown<'o>(organization: &'o Organization, code_hash: &[u8; 32]) -> Option<&'o Invitation> {
    organization.invitations.iter().find(|invitation| invitation.code_hash == *code_hash)
}

impl<'s> Situation<'s> {
    fn invite(self, asker: Asker<'_>, wanted: &OrganizationChange, event: AuditEvent) -> Result<Decision, OrganizationRefusal> {
        let OrganizationChange::Invite { invitation_id, code_hash, role, monthly_cap, note, life } = wanted else {
            return Err(OrganizationRefusal::NotFound);
        };
        let invitations = &self.organization.invitations;
        if let Some(made) = invitations.iter().find(|made| made.invitation_id == *invitation_id) {
            // The store's own repetition of a call whose answer was lost.
            return Ok(Decision::nothing(OrganizationAnswer::Invited(made.clone())));
        }
        let over = self.over();
        if invitations.len() - over.len() >= MAX_INVITATIONS {
            return Err(OrganizationRefusal::Full(Limit::Invitations));
        }
        let invitation = Invitation {
            invitation_id: invitation_id.clone(),
            code_hash: *code_hash,
            role: *role,
            monthly_cap: *monthly_cap,
            note: note.clone(),
            created_by: asker.id.clone(),
            created_at_ms: self.now_ms,
            ends_at_ms: self.now_ms.saturating_add(i64::try_from(life.as_millis()).unwrap_or(i64::MAX)),
        };
        let event = said(event, format!("invitation {invitation_id}, {}", terms(*role, *monthly_cap)));
        let changes = OrganizationChanges {
            invitation: Some(invitation.clone()),
            dropped: over,
            event: Some(event),
            ..OrganizationChanges::default()
        };
        Ok(Decision { answer: OrganizationAnswer::Invited(invitation), changes: Some(changes) })
    }

    /// Invitations whose time is over. They go with whatever else is changed of invitations.
    fn over(self) -> Vec<InvitationId> {
        let is_over = |invitation: &&Invitation| !invitation.is_open(self.now_ms);
        self.organization.invitations.iter().filter(is_over).map(|invitation| invitation.invitation_id.clone()).collect()
    }

    fn withdraw(self, id: Option<&InvitationId>, event: AuditEvent) -> Decision {
        let found = self.organization.invitations.iter().find(|invitation| Some(&invitation.invitation_id) == id);
        let Some(invitation) = found else { return Decision::nothing(OrganizationAnswer::Withdrawn(None)) };
        let id = invitation.invitation_id.clone();
        let event = said(event.to_object(&self.organization.account), format!("invitation {id}"));
        let changes = OrganizationChanges { dropped: vec![id.clone()], event: Some(event), ..OrganizationChanges::default() };
        Decision { answer: OrganizationAnswer::Withdrawn(Some(id)), changes: Some(changes) }
    }

    fn accept(self, asker: Asker<'_>, code_hash: &[u8; 32], event: AuditEvent) -> Result<Decision, OrganizationRefusal> {
        let invitation = shown(self.organization, code_hash).ok_or(OrganizationRefusal::InvitationInvalid)?;
        let inviter = self.people.get(&invitation.created_by).map(Person::record);
        if !invitation.is_open(self.now_ms) || !inviter.is_some_and(|inviter| self.organization.may_invite(&inviter)) {
            return Err(OrganizationRefusal::InvitationInvalid);
        }
        let Invitation { invitation_id, role, monthly_cap, .. } = invitation;
        let event = said(event, format!("invitation {invitation_id}, {}", terms(*role, *monthly_cap)));
        let mut decision = self.join(asker.id, asker.person, *role, *monthly_cap, event)?;
        decision.changes.iter_mut().for_each(|changes| changes.dropped.push(invitation_id.clone()));
        Ok(decision)
    }

    fn add(self, user: &UserId, role: MemberRole, cap: Option<i64>, event: AuditEvent) -> Result<Decision, OrganizationRefusal> {
        let person = self.people.get(user).filter(|person| !person.state.is_disabled()).ok_or(OrganizationRefusal::UserNotFound)?;
        self.join(user, person, role, cap, said(event, terms(role, cap)))
    }

    fn join(
        self,
        id: &UserId,
        person: &Person,
        role: MemberRole,
        cap: Option<i64>,
        event: AuditEvent,
    ) -> Result<Decision, OrganizationRefusal> {
        let organization = self.organization;
        if organization.places.contains_key(id) {
            return Err(OrganizationRefusal::AlreadyAMember);
        }
        let members = organization.places.values().filter(|place| matches!(place.principal, Principal::User(_))).count();
        if members >= MAX_MEMBERS {
            return Err(OrganizationRefusal::Full(Limit::Members));
        }
        if person.memberships() >= MAX_MEMBERSHIPS {
            return Err(OrganizationRefusal::Full(Limit::Memberships));
        }
        let place = Membership { principal: Principal::User(role), monthly_cap: cap, added_at_ms: self.now_ms };
        let is_maker = person.organizations.get(&organization.account).is_some_and(|known| known.is_maker);
        let known = KnownOrganization { name: organization.record.name.clone(), is_member: true, is_maker };
        let mut decision = self.put(id, place, Some(person), event);
        decision.changes.iter_mut().for_each(|changes| changes.known.push((id.clone(), Some(known.clone()))));
        Ok(decision)
    }

    /// Puts a place there, or in the place of another.
    fn put(self, id: &UserId, place: Membership, person: Option<&Person>, event: AuditEvent) -> Decision {
        let answer = of_place(id, Some(place.clone()), person);
        if self.organization.places.get(id) == Some(&place) {
            return Decision::nothing(answer);
        }
        let event = to_principal(event, id, person);
        let places = vec![(id.clone(), Some(place))];
        Decision { answer, changes: Some(OrganizationChanges { places, event: Some(event), ..OrganizationChanges::default() }) }
    }

    fn member(self, user: &UserId) -> Result<(&'s Membership, MemberRole), OrganizationRefusal> {
        let place = self.organization.places.get(user).ok_or(OrganizationRefusal::MemberNotFound)?;
        match place.principal {
            Principal::User(role) => Ok((place, role)),
            Principal::ServiceAccount { .. } => Err(OrganizationRefusal::MemberNotFound),
        }
    }

    /// Requires that an owner other than this one can act.
    fn keep_an_owner(self, goes: &UserId) -> Result<(), OrganizationRefusal> {
        let can_act = |owner: &UserId| self.people.get(owner).is_some_and(Person::can_act);
        if self.organization.owners_but(goes).any(can_act) { Ok(()) } else { Err(OrganizationRefusal::LastOwner) }
    }

    fn remove_member(self, user: &UserId, event: AuditEvent) -> Result<Decision, OrganizationRefusal> {
        if self.member(user)?.1 == MemberRole::Owner {
            self.keep_an_owner(user)?;
        }
        let person = self.people.get(user);
        let known = person.and_then(|person| person.organizations.get(&self.organization.account)).filter(|known| known.is_maker);
        let known = known.map(|known| KnownOrganization { is_member: false, ..known.clone() });
        let mut decision = self.end(user, person, event);
        decision.changes.iter_mut().for_each(|changes| changes.known.push((user.clone(), known.clone())));
        Ok(decision)
    }

    /// Ends a place, and with it its keys there and its invitations: who comes again begins anew.
    fn end(self, id: &UserId, person: Option<&Person>, event: AuditEvent) -> Decision {
        let stays = |one: &UserId| one != id && self.organization.places.contains_key(one);
        let keyring::Ended { put, dropped } = keyring::on_end_of(self.secrets, id, stays, self.now_ms);
        let account = self.organization.account.clone();
        let revocation =
            Revocation { user_id: id.clone(), revoked: Revoked::Membership { account }, reason: ErrorReason::AccountNotAllowed };
        let changes = OrganizationChanges {
            places: vec![(id.clone(), None)],
            dropped: self.made_by(id),
            secrets: put,
            dropped_secrets: dropped,
            dropped_usages: self.past_usages(id),
            revocations: vec![revocation],
            event: Some(to_principal(event, id, person)),
            ..OrganizationChanges::default()
        };
        Decision { answer: of_place(id, None, person), changes: Some(changes) }
    }

    /// Whose usage counts no more, once a place ends: of those who are gone, what is from before the last month. Who comes again in the
    /// same month finds what they spent, also where the clock went back to the last one; a service account never comes again. What is held
    /// is kept until it is settled.
    fn past_usages(self, ends: &UserId) -> Vec<UserId> {
        let last_month = Month::of_ms(Month::of_ms(self.now_ms).start_ms - 1);
        let places = &self.organization.places;
        let never_returns = |id: &UserId| places.get(id).is_some_and(|place| matches!(place.principal, Principal::ServiceAccount { .. }));
        let is_past = |(id, usage): &&(UserId, MonthUsage)| {
            let is_gone = id == ends || !places.contains_key(id);
            is_gone && usage.held == 0 && (usage.month_start_ms < last_month.start_ms || never_returns(id))
        };
        // Of each that goes, at most one is kept: so many at a time leave none behind.
        self.usages.iter().filter(is_past).take(MOST_USAGES_DROPPED).map(|(id, _)| id.clone()).collect()
    }

    /// Invitations that a user made.
    fn made_by(self, user: &UserId) -> Vec<InvitationId> {
        let of_user = |invitation: &&Invitation| invitation.created_by == *user;
        self.organization.invitations.iter().filter(of_user).map(|invitation| invitation.invitation_id.clone()).collect()
    }

    fn set_role(self, user: &UserId, role: MemberRole, event: AuditEvent) -> Result<Decision, OrganizationRefusal> {
        let (place, before) = self.member(user)?;
        let is_demoted = before == MemberRole::Owner && role == MemberRole::Member;
        if is_demoted {
            self.keep_an_owner(user)?;
        }
        let place = Membership { principal: Principal::User(role), ..place.clone() };
        let mut decision = self.put(user, place, self.people.get(user), said(event, role_name(role).to_owned()));
        if is_demoted {
            decision.changes.iter_mut().for_each(|changes| changes.dropped = self.made_by(user));
        }
        Ok(decision)
    }

    fn set_cap(self, principal: &UserId, cap: Option<i64>, event: AuditEvent) -> Result<Decision, OrganizationRefusal> {
        let place = self.organization.places.get(principal).ok_or(OrganizationRefusal::MemberNotFound)?;
        let place = Membership { monthly_cap: cap, ..place.clone() };
        Ok(self.put(principal, place, self.people.get(principal), said(event, cap_name(cap))))
    }

    fn create_robot(
        self,
        asker: Asker<'_>,
        id: &UserId,
        name: &str,
        cap: Option<i64>,
        event: AuditEvent,
    ) -> Result<Decision, OrganizationRefusal> {
        let mut others = 0;
        for (other, place) in &self.organization.places {
            let Principal::ServiceAccount { name: taken, .. } = &place.principal else { continue };
            if other == id {
                // The store's own repetition of a call whose answer was lost.
                return Ok(Decision::nothing(of_place(id, Some(place.clone()), None)));
            }
            if is_same_name(taken, name) {
                return Err(OrganizationRefusal::NameTaken);
            }
            others += 1;
        }
        if others >= MAX_SERVICE_ACCOUNTS {
            return Err(OrganizationRefusal::Full(Limit::ServiceAccounts));
        }
        let principal = Principal::ServiceAccount { name: name.to_owned(), created_by: asker.id.clone() };
        let place = Membership { principal, monthly_cap: cap, added_at_ms: self.now_ms };
        Ok(self.put(id, place, None, said(event, format!("service account {name}, {}", cap_name(cap)))))
    }

    fn remove_robot(self, id: &UserId, event: AuditEvent) -> Result<Decision, OrganizationRefusal> {
        match self.organization.places.get(id).map(|place| &place.principal) {
            Some(Principal::ServiceAccount { name, .. }) => Ok(self.end(id, None, said(event, format!("service account {name}")))),
            Some(Principal::User(_)) | None => Err(OrganizationRefusal::MemberNotFound),
        }
    }
}

impl Person {
    /// The user, by whichever row takes more away.
    fn record(&self) -> UserRecord {
        let (disabled, locked) = (self.state.is_disabled(), self.state.is_locked());
        UserRecord { disabled, locked, ..self.state.user.clone() }
    }
}

/// Whether people would take two names for the same.
pub(super) fn is_same_name(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

fn of_place(id: &UserId, place: Option<Membership>, person: Option<&Person>) -> OrganizationAnswer {
    OrganizationAnswer::Place { id: id.clone(), place, user: person.map(|person| Box::new(person.record())) }
}

fn to_principal(event: AuditEvent, id: &UserId, person: Option<&Person>) -> AuditEvent {
    match person {
        Some(person) => event.to_user(id, &person.state.user.user_name),
        None => AuditEvent { subject: Some(id.clone()), ..event },
    }
}

/// Says something of an event, beside what is said of it.
fn said(event: AuditEvent, detail: String) -> AuditEvent {
    let detail = if event.detail.is_empty() { detail } else { format!("{}; {detail}", event.detail) };
    AuditEvent { detail, ..event }
}

fn terms(role: MemberRole, cap: Option<i64>) -> String {
    format!("{}, {}", role_name(role), cap_name(cap))
}

fn role_name(role: MemberRole) -> &'static str {
    match role {
        MemberRole::Member => "member",
        MemberRole::Owner => "owner",
    }
}

fn cap_name(cap: Option<i64>) -> String {
    cap.map_or_else(|| "no cap".to_owned(), |cap| format!("{} a month", credits(cap)))
}
