//! An organization with members and a service account, on any store.

use auth_service::ids::{AccountId, SessionId, UserId};
use auth_service::organization::MemberRole;
use auth_service::organization::change::{OrganizationAnswer, OrganizationChange, OrganizationRequest};
use auth_service::organization::creation::NewOrganization;
use auth_service::session::{NewSession, SessionStart, Shown, SignInMethod};
use auth_service::store::{CheckRequest, GrantRequest, Permission, PresentedCredential, Scope, Store, StoreLimits};
use auth_service::token_scopes::TokenScopes;
use std::time::Duration;

use crate::LIMITS;
use crate::fixture::{PASSWORD_HASH, START_MS, event, new_user, permission};

/// What is due is always resolved at once, nothing is forgotten, and sessions last.
pub(crate) const ROOMY: StoreLimits = StoreLimits {
    hold_ttl: Duration::from_millis(100),
    forget_after: Duration::from_secs(3600 * 24 * 3650),
    max_open_holds: 1000,
    max_remembered_requests: 100_000,
    max_free_requests: 100_000,
    refunds: auth_service::refunds::RefundLimit { burst: 1_000_000, every: Duration::from_millis(1) },
    sweep_batch: 1000,
    session_idle: Duration::from_secs(3600 * 24 * 3650),
    session_lifetime: Duration::from_secs(3600 * 24 * 3650),
    ..LIMITS
};
pub(crate) const CREDITS: i64 = 60;
/// The owner, a member, and a service account.
pub(crate) const OWNER: usize = 0;
pub(crate) const MEMBER: usize = 1;
pub(crate) const ROBOT: usize = 2;

/// Who acts, by those numbers.
#[derive(Debug, Clone)]
pub(crate) struct Company {
    pub(crate) account: AccountId,
    pub(crate) people: [UserId; 3],
    session: SessionId,
}

impl Company {
    /// One with credits. `number` tells those of one store apart.
    pub(crate) async fn make(store: &dyn Store, number: u32) -> Self {
        let (owner, member) = (new_user(&format!("owner{number}"), 0), new_user(&format!("member{number}"), 0));
        let people = [owner.user_id.clone(), member.user_id.clone(), UserId::random().unwrap()];
        for user in [owner, member] {
            store.create_user(user, event()).await.unwrap();
        }
        let session = SessionId::random().unwrap();
        let new = NewSession {
            session_id: session.clone(),
            family_hash: [7; 32],
            token_hash: [0; 32],
            client: String::new(),
            address: None,
            method: SignInMethod::Password,
            scopes: TokenScopes::All,
        };
        let begun = store.begin_session(&people[OWNER], Shown::password(PASSWORD_HASH), new, event()).await.unwrap();
        assert!(matches!(begun, SessionStart::Begun(_)), "{begun:?}");
        let company = Self { account: AccountId::from(&UserId::random().unwrap()), people, session };
        let new = NewOrganization { account: company.account.clone(), name: "Plumbers".to_owned() };
        let made = store.create_organization(new, &company.by_session(), event()).await.unwrap();
        assert!(matches!(made, OrganizationAnswer::Place { .. }), "{made:?}");
        let (account, granted_by) = (company.account.clone(), company.people[OWNER].clone());
        let grant = GrantRequest { account, credits: CREDITS, request_id: "first".to_owned(), note: String::new(), granted_by };
        store.grant(grant, event()).await.unwrap();
        company.add(store).await;
        let robot =
            OrganizationChange::CreateServiceAccount { id: company.people[ROBOT].clone(), name: "ci".to_owned(), monthly_cap: None };
        company.change(store, robot).await;
        company
    }

    fn by_session(&self) -> PresentedCredential {
        PresentedCredential::AccessToken {
            user_id: self.people[OWNER].clone(),
            session: Some(self.session.clone()),
            issued_at_ms: START_MS,
        }
    }

    /// A token of somebody's, issued after whatever will become of their others.
    pub(crate) fn token(&self, who: usize) -> PresentedCredential {
        let issued_at_ms = START_MS + 1000 * 3600 * 24 * 365;
        PresentedCredential::AccessToken { user_id: self.people[who].clone(), session: None, issued_at_ms }
    }

    pub(crate) fn request(&self, who: usize) -> CheckRequest {
        let (account, credential, permission) = (self.account.clone(), self.token(who), permission(Scope::Chat));
        CheckRequest { account, credential, permission, charge: None, caller_address: None }
    }

    /// Changes it, as its owner.
    pub(crate) async fn change(&self, store: &dyn Store, change: OrganizationChange) {
        let operator = Permission { scope: Scope::Account, admin: true, ..permission(Scope::Account) };
        let request = OrganizationRequest { account: self.account.clone(), asked_by: Some(self.by_session()), operator, change };
        let answer = store.change_organization(request, event()).await.unwrap();
        assert!(matches!(answer, OrganizationAnswer::Place { .. }), "{answer:?}");
    }

    pub(crate) async fn add(&self, store: &dyn Store) {
        let user = self.people[MEMBER].clone();
        self.change(store, OrganizationChange::AddMember { user, role: MemberRole::Member, monthly_cap: None }).await;
    }

    pub(crate) async fn remove(&self, store: &dyn Store) {
        self.change(store, OrganizationChange::RemoveMember { user: self.people[MEMBER].clone() }).await;
    }

    pub(crate) async fn set_cap(&self, store: &dyn Store, who: usize, monthly_cap: Option<i64>) {
        self.change(store, OrganizationChange::SetCap { principal: self.people[who].clone(), monthly_cap }).await;
    }
}
