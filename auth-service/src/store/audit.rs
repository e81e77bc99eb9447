//! What operators look up later: who changed what, and who tried to.

use std::net::IpAddr;

use shared::ErrorReason;

use super::Principal;
use super::audit_page::AuditLog;
use crate::ids::UserId;
use crate::user::UserName;

/// Makes the actions, with the number that each is stored as and the name that it is listed under. Neither ever changes.
macro_rules! actions {
    ($($(#[$doc:meta])* $action:ident = $number:literal $name:literal),+ $(,)?) => {
        /// What was done, or tried.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum AuditAction {
            $($(#[$doc])* $action),+
        }

        impl AuditAction {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$action),+];

            /// The name that it is listed under.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$action => $name),+
                }
            }

            pub(super) fn number(self) -> u32 {
                match self {
                    $(Self::$action => $number),+
                }
            }

            pub(super) fn of_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$action),)+
                    _ => None,
                }
            }
        }
    };
}

actions! {
    /// A user made themselves.
    SignUp = 1 "sign_up",
    /// A session began.
    SignIn = 2 "sign_in",
    /// A refresh token was shown a second time, which ended its session. No other refresh is recorded.
    Refresh = 3 "refresh",
    /// A user ended their own session.
    SignOut = 4 "sign_out",
    /// A user ended all of their sessions.
    SignOutEverywhere = 5 "sign_out_everywhere",
    /// A user ended one of their sessions.
    RevokeSession = 6 "revoke_session",
    /// A user changed their password.
    ChangePassword = 7 "change_password",
    /// A user chose a password in place of an operator's.
    CompletePasswordReset = 8 "complete_password_reset",
    /// Somebody showed a credential, to have it revoked.
    RevokeCredential = 9 "revoke_credential",
    /// A user made an API key.
    CreateApiKey = 10 "create_api_key",
    /// A user gave an API key another secret.
    RotateApiKey = 11 "rotate_api_key",
    /// A user revoked an API key or one of its secrets.
    RevokeApiKey = 12 "revoke_api_key",
    /// An operator made a user.
    CreateUser = 13 "create_user",
    /// The command `create-admin` made an operator.
    CreateAdmin = 14 "create_admin",
    /// An operator disabled a user.
    DisableUser = 15 "disable_user",
    /// An operator enabled a user.
    EnableUser = 16 "enable_user",
    /// An operator locked a user.
    LockUser = 17 "lock_user",
    /// An operator unlocked a user.
    UnlockUser = 18 "unlock_user",
    /// An operator reset a user's password.
    ResetPassword = 19 "reset_password",
    /// An operator granted credits.
    GrantCredits = 20 "grant_credits",
    /// An operator was to list users. Only what was refused is recorded.
    ListUsers = 21 "list_users",
    /// An operator was to list audit events. Only what was refused is recorded.
    ListAuditEvents = 22 "list_audit_events",
    /// An operator was to make or remove a model. Whether it worked, inference-service logs.
    ManageModels = 24 "manage_models",
    /// The command `export-ledger` exported ledger entries, and folded those that were old enough.
    ExportLedger = 25 "export_ledger",
    /// A user made an organization.
    CreateOrganization = 30 "create_organization",
    /// An owner invited somebody to an organization.
    InviteMember = 31 "invite_member",
    /// An owner took an invitation back.
    WithdrawInvitation = 32 "withdraw_invitation",
    /// A user became a member by an invitation.
    AcceptInvitation = 33 "accept_invitation",
    /// An owner made a user a member.
    AddMember = 34 "add_member",
    /// An owner ended a membership, or a member left.
    RemoveMember = 35 "remove_member",
    /// An owner made a member an owner, or an owner a member.
    SetMemberRole = 36 "set_member_role",
    /// An owner bounded what a member or a service account spends.
    SetMemberCap = 37 "set_member_cap",
    /// An owner made a service account.
    CreateServiceAccount = 38 "create_service_account",
    /// An owner ended a service account.
    RemoveServiceAccount = 39 "remove_service_account",
    /// A session began with an issuer's identity.
    SignInWithIssuer = 45 "sign_in_with_issuer",
    /// An issuer's identity signed in for the first time, which made a user.
    SignUpWithIssuer = 46 "sign_up_with_issuer",
    /// A user let an issuer's identity sign them in.
    LinkIdentity = 47 "link_identity",
    /// A user took that away from an identity.
    UnlinkIdentity = 48 "unlink_identity",
    /// A device without a browser asked to be signed in.
    BeginDeviceSignIn = 50 "begin_device_sign_in",
    /// A user approved the sign-in of a device.
    ApproveDevice = 51 "approve_device",
    /// A user denied it.
    DenyDevice = 52 "deny_device",
    /// A device that was approved got its session. Failed: its code was shown again, which ended the session, or the approval counted no
    /// longer.
    DeviceSignIn = 53 "device_sign_in",
    /// A user was given the secret of an authenticator app. It doesn't count yet.
    BeginSecondFactor = 55 "begin_second_factor",
    /// A user turned their second factor on.
    EnableSecondFactor = 56 "enable_second_factor",
    /// A user turned their second factor off.
    DisableSecondFactor = 57 "disable_second_factor",
    /// A user proved their second factor anew.
    StepUp = 58 "step_up",
    /// A user made new recovery codes.
    CreateRecoveryCodes = 59 "create_recovery_codes",
    /// A recovery code was used up: for what, an event of the same call says.
    UseRecoveryCode = 60 "use_recovery_code",
    /// An operator turned a user's second factor off, or a command on the store's host did.
    ResetSecondFactor = 61 "reset_second_factor",
    /// An operator was to list all organizations. Only what was refused is recorded.
    ListAllOrganizations = 62 "list_all_organizations",
}

impl AuditAction {
    /// Whether operators alone do it, or whoever has the store's host.
    fn is_an_operators(self) -> bool {
        match self {
            Self::SignUp
            | Self::SignIn
            | Self::Refresh
            | Self::SignOut
            | Self::SignOutEverywhere
            | Self::RevokeSession
            | Self::ChangePassword
            | Self::CompletePasswordReset
            | Self::RevokeCredential
            | Self::CreateApiKey
            | Self::RotateApiKey
            | Self::RevokeApiKey
            | Self::SignInWithIssuer
            | Self::SignUpWithIssuer
            | Self::LinkIdentity
            | Self::UnlinkIdentity
            | Self::CreateOrganization
            | Self::InviteMember
            | Self::WithdrawInvitation
            | Self::AcceptInvitation
            | Self::AddMember
            | Self::RemoveMember
            | Self::SetMemberRole
            | Self::SetMemberCap
            | Self::CreateServiceAccount
            | Self::RemoveServiceAccount
            | Self::BeginSecondFactor
            | Self::EnableSecondFactor
            | Self::DisableSecondFactor
            | Self::StepUp
            | Self::CreateRecoveryCodes
            | Self::UseRecoveryCode
            | Self::BeginDeviceSignIn
            | Self::ApproveDevice
            | Self::DenyDevice
            | Self::DeviceSignIn => false,
            Self::CreateUser
            | Self::CreateAdmin
            | Self::DisableUser
            | Self::EnableUser
            | Self::LockUser
            | Self::UnlockUser
            | Self::ResetPassword
            | Self::GrantCredits
            | Self::ListUsers
            | Self::ListAllOrganizations
            | Self::ListAuditEvents
            | Self::ManageModels
            | Self::ExportLedger
            | Self::ResetSecondFactor => true,
        }
    }
}

/// Something that was changed or tried. It never holds a secret: callers give it no text that could be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// What.
    pub action: AuditAction,
    /// Who did it; `None`: nobody who is known, or a command on the store's host.
    pub actor: Option<UserId>,
    /// The name that the actor signed in with. Of a name that no user has, nothing: it may be a password in the wrong field.
    pub actor_name: String,
    /// The session or API key that the actor used, by its id; may be empty.
    pub actor_credential: String,
    /// To which user.
    pub subject: Option<UserId>,
    /// Their name; may be empty.
    pub subject_name: String,
    /// To which key or session, by its id; may be empty.
    pub subject_id: String,
    /// Why it was refused or failed; `None`: it worked.
    pub failure: Option<ErrorReason>,
    /// Where the call came from.
    pub address: Option<IpAddr>,
    /// The call's request id; may be empty.
    pub request_id: String,
    /// What the client called itself; may be empty.
    pub client: String,
    /// What is to be said beside it; may be empty.
    pub detail: String,
    /// Whether an operator did, as one, what else a user does.
    pub by_operator: bool,
}

impl AuditEvent {
    /// Something that worked, of which nothing else is known yet.
    #[must_use]
    pub fn new(action: AuditAction) -> Self {
        Self {
            action,
            actor: None,
            actor_name: String::new(),
            actor_credential: String::new(),
            subject: None,
            subject_name: String::new(),
            subject_id: String::new(),
            failure: None,
            address: None,
            request_id: String::new(),
            client: String::new(),
            detail: String::new(),
            by_operator: false,
        }
    }

    /// Which log keeps it where it changed nothing, or failed.
    pub(super) fn log(&self) -> AuditLog {
        if self.failure.is_some() { AuditLog::Attempts } else { self.log_of_change() }
    }

    /// Which log keeps it with what it changed: also one that failed and, by that, ended a session.
    pub(super) fn log_of_change(&self) -> AuditLog {
        if self.action == AuditAction::BeginDeviceSignIn {
            // Anybody may ask: it must not push out what users changed.
            AuditLog::Attempts
        } else if self.by_operator || self.action.is_an_operators() {
            AuditLog::Operators
        } else {
            AuditLog::Changes
        }
    }

    /// The same, done by this caller.
    #[must_use]
    pub fn by(self, actor: &Principal) -> Self {
        let session = actor.session_id.as_ref().map(ToString::to_string);
        let credential = session.or_else(|| actor.key_id.as_ref().map(ToString::to_string));
        Self { actor: Some(actor.user_id.clone()), actor_credential: credential.unwrap_or_default(), ..self }
    }

    /// The same, done by an operator as one: kept with what operators do, and said so.
    #[must_use]
    pub fn by_operator(self) -> Self {
        Self { detail: "as an operator".to_owned(), by_operator: true, ..self }
    }

    /// The same, done to this user.
    #[must_use]
    pub fn to_user(self, user_id: &UserId, user_name: &UserName) -> Self {
        Self { subject: Some(user_id.clone()), subject_name: user_name.to_string(), ..self }
    }

    /// The same, done to this key or session.
    #[must_use]
    pub fn to_object(self, id: impl ToString) -> Self {
        Self { subject_id: id.to_string(), ..self }
    }

    /// The same, that failed.
    #[must_use]
    pub fn failed(self, why: ErrorReason) -> Self {
        Self { failure: Some(why), ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_action_has_a_number_and_a_name_of_its_own() {
        let names: BTreeSet<_> = AuditAction::ALL.iter().map(|action| action.name()).collect();
        assert_eq!(names.len(), AuditAction::ALL.len());
        for action in AuditAction::ALL {
            assert_eq!(AuditAction::of_number(action.number()), Some(*action));
        }
    }
}
