//! Random changes of organizations, their members, invitations and service accounts, one after the other, compared with a plain model.

use std::collections::BTreeMap;
use std::time::Duration;

use auth_service::ids::{AccountId, InvitationId, SessionId, UserId};
use auth_service::organization::change::{OrganizationAnswer, OrganizationChange, OrganizationRequest};
use auth_service::organization::creation::NewOrganization;
use auth_service::organization::{MemberRole, Principal};
use auth_service::session::Shown;
use auth_service::store::{
    CheckAnswer, CheckRequest, KeyAnswer, KeyChange, KeyChangeRequest, Permission, PresentedCredential, Scope, Store,
};
use auth_service::user::Role;
use proptest::prelude::*;

use crate::fixture::{PASSWORD_HASH, event, new_key, new_secret, new_user, permission};
use crate::identity::new_session;
use crate::new_stores::{on_redis, on_sqlite};

/// Users of each case; the last one is an operator.
pub(crate) const USERS: usize = 4;
pub(crate) const OPERATOR: usize = USERS - 1;
pub(crate) const NAMES: [&str; 3] = ["ci", "CI", "bot"];

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Create { by: usize, name: usize },
    Add { by: usize, user: usize, owner: bool },
    Remove { by: usize, user: usize },
    SetRole { by: usize, user: usize, owner: bool },
    SetCap { by: usize, user: usize, cap: Option<i64> },
    Invite { by: usize, owner: bool },
    Withdraw { by: usize, invitation: usize },
    Show { invitation: usize },
    Accept { by: usize, invitation: usize },
    CreateRobot { by: usize, name: usize },
    EndRobot { by: usize, robot: usize },
    MakeKey { by: usize },
    Disable { user: usize, disabled: bool },
}

/// What is done, and in which organization, counted from the newest one back.
pub(crate) type Act = (usize, Step);

pub(crate) fn act() -> impl Strategy<Value = Act> {
    let user = || 0..USERS;
    let by = || prop_oneof![3 => Just(0), 2 => Just(1), 1 => Just(2), 1 => Just(OPERATOR)];
    let step = prop_oneof![
        1 => (by(), 0..NAMES.len()).prop_map(|(by, name)| Step::Create { by, name }),
        5 => (by(), user(), any::<bool>()).prop_map(|(by, user, owner)| Step::Add { by, user, owner }),
        4 => (by(), user()).prop_map(|(by, user)| Step::Remove { by, user }),
        3 => (by(), user(), any::<bool>()).prop_map(|(by, user, owner)| Step::SetRole { by, user, owner }),
        1 => (by(), user(), proptest::option::of(0..9_i64)).prop_map(|(by, user, cap)| Step::SetCap { by, user, cap }),
        4 => (by(), any::<bool>()).prop_map(|(by, owner)| Step::Invite { by, owner }),
        1 => (by(), 0..3_usize).prop_map(|(by, invitation)| Step::Withdraw { by, invitation }),
        1 => (0..3_usize).prop_map(|invitation| Step::Show { invitation }),
        5 => (user(), 0..3_usize).prop_map(|(by, invitation)| Step::Accept { by, invitation }),
        2 => (by(), 0..NAMES.len()).prop_map(|(by, name)| Step::CreateRobot { by, name }),
        1 => (by(), 0..3_usize).prop_map(|(by, robot)| Step::EndRobot { by, robot }),
        3 => user().prop_map(|by| Step::MakeKey { by }),
        2 => (user(), any::<bool>()).prop_map(|(user, disabled)| Step::Disable { user, disabled }),
    ];
    (prop_oneof![4 => Just(0_usize), 1 => Just(1)], step)
}

/// Whoever takes part, as the store knows them.
pub(crate) struct Party {
    pub(crate) users: Vec<UserId>,
    pub(crate) sessions: Vec<SessionId>,
}

impl Party {
    pub(crate) async fn of(store: &dyn Store, name: &str) -> Self {
        let mut party = Self { users: Vec::new(), sessions: Vec::new() };
        for number in 0..USERS {
            let role = if number == OPERATOR { Role::Admin } else { Role::User };
            let user = auth_service::store::NewUser { role, ..new_user(&format!("{name}{number}"), 0) };
            party.users.push(user.user_id.clone());
            store.create_user(user, event()).await.unwrap();
            party.sessions.push(begin(store, &party.users[number]).await);
        }
        party
    }

    pub(crate) fn credential(&self, by: usize) -> PresentedCredential {
        let session = Some(self.sessions[by].clone());
        PresentedCredential::AccessToken { user_id: self.users[by].clone(), session, issued_at_ms: 0 }
    }
}

pub(crate) async fn begin(store: &dyn Store, user: &UserId) -> SessionId {
    let id = SessionId::random().unwrap();
    store.begin_session(user, Shown::password(PASSWORD_HASH), new_session(&id, 1), event()).await.unwrap();
    id
}

pub(crate) fn role_of(owner: bool) -> MemberRole {
    if owner { MemberRole::Owner } else { MemberRole::Member }
}

/// An answer in words.
pub(crate) fn told(answer: OrganizationAnswer) -> String {
    match answer {
        OrganizationAnswer::Place { place: None, .. } => "ended".to_owned(),
        OrganizationAnswer::Place { place: Some(place), .. } => match place.principal {
            Principal::User(role) => format!("{role:?} {:?}", place.monthly_cap),
            Principal::ServiceAccount { name, .. } => name,
        },
        OrganizationAnswer::Invited(_) => "invited".to_owned(),
        OrganizationAnswer::Withdrawn(found) => if found.is_some() { "withdrawn" } else { "nothing to withdraw" }.to_owned(),
        OrganizationAnswer::Refused(refusal) => format!("{refusal:?}"),
    }
}

pub(crate) async fn create(store: &dyn Store, party: &Party, by: usize, name: &str) -> (AccountId, String) {
    let account = AccountId::random().unwrap();
    let new = NewOrganization { account: account.clone(), name: name.to_owned() };
    (account, told(store.create_organization(new, &party.credential(by), event()).await.unwrap()))
}

pub(crate) async fn change(
    store: &dyn Store,
    account: &AccountId,
    asked_by: Option<PresentedCredential>,
    change: OrganizationChange,
) -> String {
    let operator = Permission { admin: true, ..Permission::of(Scope::Account) };
    told(store.change_organization(OrganizationRequest { account: account.clone(), asked_by, operator, change }, event()).await.unwrap())
}

pub(crate) fn invite(code: u8, owner: bool) -> OrganizationChange {
    OrganizationChange::Invite {
        invitation_id: InvitationId::parse(&format!("{code:012}")).unwrap(),
        code_hash: [code; 32],
        role: role_of(owner),
        monthly_cap: None,
        note: String::new(),
        life: Duration::from_secs(3600),
    }
}

pub(crate) fn withdraw(code: u8) -> OrganizationChange {
    OrganizationChange::Withdraw { invitation_id: InvitationId::parse(&format!("{code:012}")).unwrap() }
}

pub(crate) async fn make_key(store: &dyn Store, account: &AccountId, party: &Party, by: usize, secret: u8) -> String {
    let change = KeyChange::Create { key: new_key(&party.users[by]), secret: new_secret(secret), request: None };
    let request = KeyChangeRequest { account: account.clone(), asker: Some(party.credential(by)), change };
    match store.change_api_keys(request, event()).await.unwrap() {
        KeyAnswer::Done { .. } => "made".to_owned(),
        KeyAnswer::Refused(refusal) => format!("{refusal:?}"),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn by_key(store: &dyn Store, account: &AccountId, secret: u8) -> String {
    let credential = PresentedCredential::ApiKey { secret_hash: [secret; 32] };
    let request =
        CheckRequest { account: account.clone(), credential, permission: permission(Scope::Chat), charge: None, caller_address: None };
    match store.check(request).await.unwrap() {
        CheckAnswer::Allowed(_) => "allowed".to_owned(),
        CheckAnswer::Refused(refusal) => format!("{refusal:?}"),
        other => panic!("{other:?}"),
    }
}

/// An organization, in the plainest words.
#[derive(Debug, Default)]
struct Known {
    name: usize,
    /// Whether each is an owner, and their caps.
    members: BTreeMap<usize, (bool, Option<i64>)>,
    /// Each with who made it and whether to an owner; `None`: it is good for nothing any more.
    invitations: Vec<(u8, Option<(usize, bool)>)>,
    /// Each with its id and name; `None`: it is ended.
    robots: Vec<(UserId, Option<usize>)>,
    /// Each with whose it is; `None`: it is dead for good.
    keys: Vec<(u8, usize, bool)>,
}

#[derive(Debug, Default)]
struct Model {
    organizations: Vec<Known>,
    disabled: [bool; USERS],
}

impl Model {
    /// Why somebody may not do what owners may.
    fn not_in_charge(&self, at: usize, by: usize) -> Option<&'static str> {
        let member = self.organizations[at].members.get(&by);
        match member {
            _ if self.disabled[by] => Some("Credential(UserDisabled)"),
            Some((true, _)) => None,
            _ if by == OPERATOR => None,
            Some((false, _)) => Some("OwnerRequired"),
            None => Some("NotFound"),
        }
    }

    fn another_owner_can_act(&self, at: usize, but: usize) -> bool {
        self.organizations[at].members.iter().any(|(user, (owner, _))| *owner && *user != but && !self.disabled[*user])
    }

    fn join(&mut self, at: usize, user: usize, owner: bool) -> String {
        if self.organizations[at].members.contains_key(&user) {
            return "AlreadyAMember".to_owned();
        }
        self.organizations[at].members.insert(user, (owner, None));
        format!("{:?} None", role_of(owner))
    }

    fn drop_invitations_of(&mut self, at: usize, user: usize) {
        for (_, open) in &mut self.organizations[at].invitations {
            *open = open.filter(|(maker, _)| *maker != user);
        }
    }

    fn remove(&mut self, at: usize, by: usize, user: usize) -> String {
        let leaves = by == user && !self.disabled[by] && self.organizations[at].members.contains_key(&by);
        if let Some(refused) = self.not_in_charge(at, by).filter(|_| !leaves) {
            return refused.to_owned();
        }
        match self.organizations[at].members.get(&user) {
            None => return "MemberNotFound".to_owned(),
            Some((true, _)) if !self.another_owner_can_act(at, user) => return "LastOwner".to_owned(),
            Some(_) => {}
        }
        self.organizations[at].members.remove(&user);
        self.drop_invitations_of(at, user);
        self.organizations[at].keys.iter_mut().filter(|key| key.1 == user).for_each(|key| key.2 = false);
        "ended".to_owned()
    }

    fn set_role(&mut self, at: usize, by: usize, user: usize, owner: bool) -> String {
        if let Some(refused) = self.not_in_charge(at, by) {
            return refused.to_owned();
        }
        let Some((was_owner, cap)) = self.organizations[at].members.get(&user).copied() else { return "MemberNotFound".to_owned() };
        if was_owner && !owner {
            if !self.another_owner_can_act(at, user) {
                return "LastOwner".to_owned();
            }
            self.drop_invitations_of(at, user);
        }
        self.organizations[at].members.insert(user, (owner, cap));
        format!("{:?} {cap:?}", role_of(owner))
    }

    fn withdraw(&mut self, at: usize, invitation: usize) -> String {
        let found = self.organizations[at].invitations.iter_mut().rev().nth(invitation);
        let was_open = found.and_then(|(_, open)| open.take()).is_some();
        if was_open { "withdrawn" } else { "nothing to withdraw" }.to_owned()
    }

    fn accept(&mut self, at: usize, by: usize, invitation: usize) -> String {
        if self.disabled[by] {
            return "Credential(UserDisabled)".to_owned();
        }
        let known = &self.organizations[at];
        let open = known.invitations.iter().rev().nth(invitation).and_then(|(_, open)| *open);
        let counts = |maker: usize| known.members.get(&maker).is_some_and(|(owner, _)| *owner) || maker == OPERATOR;
        let Some((_, owner)) = open.filter(|(maker, _)| counts(*maker) && !self.disabled[*maker]) else {
            return "InvitationInvalid".to_owned();
        };
        let joined = self.join(at, by, owner);
        if joined != "AlreadyAMember" {
            self.withdraw(at, invitation);
        }
        joined
    }
}

async fn run(store: &dyn Store, acts: &[Act]) {
    let mut party = Party::of(store, "user").await;
    let (mut model, mut accounts, mut codes) = (Model::default(), Vec::new(), 0_u8);
    for (back, step) in std::iter::once(&(0, Step::Create { by: 0, name: 2 })).chain(acts) {
        let at = accounts.len().saturating_sub(1 + back);
        let (expected, answer) = take(store, &mut party, &mut model, &mut accounts, at, &mut codes, step).await;
        assert_eq!(answer, expected, "{step:?}");
        compare(store, &party, &model, &accounts).await;
    }
}

/// Takes a step on both sides: what the model says, and what the store does.
async fn take(
    store: &dyn Store,
    party: &mut Party,
    model: &mut Model,
    accounts: &mut Vec<AccountId>,
    at: usize,
    codes: &mut u8,
    step: &Step,
) -> (String, String) {
    if let Step::Create { by, name } = *step {
        let taken =
            model.organizations.iter().any(|one| one.members.contains_key(&by) && NAMES[one.name].eq_ignore_ascii_case(NAMES[name]));
        let (account, answer) = create(store, party, by, NAMES[name]).await;
        let expected = match (model.disabled[by], taken) {
            (true, _) => "Credential(UserDisabled)",
            (false, true) => "NameTaken",
            (false, false) => {
                accounts.push(account);
                model.organizations.push(Known { name, members: BTreeMap::from([(by, (true, None))]), ..Known::default() });
                "Owner None"
            }
        };
        return (expected.to_owned(), answer);
    }
    let account = accounts[at].clone();
    // Behind the last one there is none, by a code that no invitation has.
    let code = |invitation: usize| model.organizations[at].invitations.iter().rev().nth(invitation).map_or(255, |(code, _)| *code);
    let asked_by = |by: usize| Some(party.credential(by));
    match *step {
        Step::Add { by, user, owner } => {
            let wanted = OrganizationChange::AddMember { user: party.users[user].clone(), role: role_of(owner), monthly_cap: None };
            let answer = change(store, &account, asked_by(by), wanted).await;
            let refused = model.not_in_charge(at, by).or(model.disabled[user].then_some("UserNotFound"));
            (refused.map_or_else(|| model.join(at, user, owner), str::to_owned), answer)
        }
        Step::Remove { by, user } => {
            let answer = change(store, &account, asked_by(by), OrganizationChange::RemoveMember { user: party.users[user].clone() }).await;
            (model.remove(at, by, user), answer)
        }
        Step::SetRole { by, user, owner } => {
            let wanted = OrganizationChange::SetRole { user: party.users[user].clone(), role: role_of(owner) };
            let answer = change(store, &account, asked_by(by), wanted).await;
            (model.set_role(at, by, user, owner), answer)
        }
        Step::SetCap { by, user, cap } => {
            let wanted = OrganizationChange::SetCap { principal: party.users[user].clone(), monthly_cap: cap };
            let answer = change(store, &account, asked_by(by), wanted).await;
            let refused = model.not_in_charge(at, by);
            let set = model.organizations[at].members.get_mut(&user).filter(|_| refused.is_none());
            let set = set.map(|member| {
                member.1 = cap;
                format!("{:?} {cap:?}", role_of(member.0))
            });
            (set.unwrap_or_else(|| refused.unwrap_or("MemberNotFound").to_owned()), answer)
        }
        Step::Invite { by, owner } => {
            *codes += 1;
            let answer = change(store, &account, asked_by(by), invite(*codes, owner)).await;
            let refused = model.not_in_charge(at, by);
            let open = refused.is_none().then_some((by, owner));
            model.organizations[at].invitations.push((*codes, open));
            (refused.unwrap_or("invited").to_owned(), answer)
        }
        Step::Withdraw { by, invitation } => {
            let answer = change(store, &account, asked_by(by), withdraw(code(invitation))).await;
            (model.not_in_charge(at, by).map_or_else(|| model.withdraw(at, invitation), str::to_owned), answer)
        }
        Step::Show { invitation } => {
            let wanted = OrganizationChange::WithdrawShown { code_hash: [code(invitation); 32] };
            let answer = change(store, &account, None, wanted).await;
            (model.withdraw(at, invitation), answer)
        }
        Step::Accept { by, invitation } => {
            let wanted = OrganizationChange::Accept { code_hash: [code(invitation); 32] };
            let answer = change(store, &account, asked_by(by), wanted).await;
            (model.accept(at, by, invitation), answer)
        }
        Step::CreateRobot { by, name } => {
            let id = UserId::random().unwrap();
            let wanted = OrganizationChange::CreateServiceAccount { id: id.clone(), name: NAMES[name].to_owned(), monthly_cap: None };
            let answer = change(store, &account, asked_by(by), wanted).await;
            let is_taken = |(_, one): &(UserId, Option<usize>)| one.is_some_and(|one| NAMES[one].eq_ignore_ascii_case(NAMES[name]));
            let taken = model.organizations[at].robots.iter().any(is_taken).then_some("NameTaken");
            let refused = model.not_in_charge(at, by).or(taken);
            if refused.is_none() {
                model.organizations[at].robots.push((id, Some(name)));
            }
            (refused.unwrap_or(NAMES[name]).to_owned(), answer)
        }
        Step::EndRobot { by, robot } => {
            let refused = model.not_in_charge(at, by);
            let found = model.organizations[at].robots.iter_mut().rev().nth(robot);
            let id = found.as_ref().map_or_else(|| UserId::random().unwrap(), |(id, _)| id.clone());
            let ended = found.filter(|_| refused.is_none()).and_then(|(_, name)| name.take());
            let answer = change(store, &account, asked_by(by), OrganizationChange::RemoveServiceAccount { id }).await;
            (refused.unwrap_or(if ended.is_some() { "ended" } else { "MemberNotFound" }).to_owned(), answer)
        }
        Step::MakeKey { by } => {
            *codes += 1;
            let answer = make_key(store, &account, party, by, *codes).await;
            let expected = match (model.disabled[by], model.organizations[at].members.contains_key(&by)) {
                (_, false) => "NotAMember",
                (true, true) => "UserDisabled",
                (false, true) => {
                    model.organizations[at].keys.push((*codes, by, true));
                    "made"
                }
            };
            (expected.to_owned(), answer)
        }
        Step::Disable { user, disabled } => {
            store.set_disabled(&party.users[user], disabled, "", event()).await.unwrap();
            if model.disabled[user] && !disabled {
                party.sessions[user] = begin(store, &party.users[user]).await;
            }
            model.disabled[user] = disabled;
            (String::new(), String::new())
        }
        Step::Create { .. } => (String::new(), String::new()),
    }
}

/// All that can be looked at is what the model says.
async fn compare(store: &dyn Store, party: &Party, model: &Model, accounts: &[AccountId]) {
    for (known, account) in model.organizations.iter().zip(accounts) {
        let found = store.organization(account).await.unwrap().unwrap();
        let members: BTreeMap<usize, (bool, Option<i64>)> = (0..USERS)
            .filter_map(|user| {
                let role = found.role_of(&party.users[user])?;
                Some((user, (role == MemberRole::Owner, found.places[&party.users[user]].monthly_cap)))
            })
            .collect();
        assert_eq!(members, known.members);
        let mut open: Vec<u8> = found.invitations.iter().map(|one| one.code_hash[0]).collect();
        open.sort_unstable();
        assert_eq!(open, known.invitations.iter().filter(|(_, open)| open.is_some()).map(|(code, _)| *code).collect::<Vec<_>>());
        let robots = known.robots.iter().filter(|(_, name)| name.is_some()).count();
        assert_eq!(found.places.len(), members.len() + robots);
        for (secret, user, live) in &known.keys {
            let expected = match (live, model.disabled[*user]) {
                (false, _) => "CredentialRevoked",
                (true, true) => "UserDisabled",
                (true, false) => "allowed",
            };
            assert_eq!(by_key(store, account, *secret).await, expected, "{secret}");
        }
    }
    for (user, id) in party.users.iter().enumerate() {
        let mut listed: Vec<_> = store.organizations_of(id).await.unwrap().into_iter().map(|place| place.account).collect();
        let of_user = model.organizations.iter().zip(accounts).filter(|(one, _)| one.members.contains_key(&user));
        let mut expected: Vec<_> = of_user.map(|(_, account)| account.clone()).collect();
        listed.sort();
        expected.sort();
        assert_eq!(listed, expected, "{user}");
    }
}

#[test]
fn random_changes_of_organizations_on_sqlite_are_what_a_plain_model_says() {
    on_sqlite(act(), run);
}

#[test]
fn random_changes_of_organizations_on_redis_are_what_a_plain_model_says() {
    on_redis(act(), run);
}
