//! Organizations: their members, roles and caps, and invitations to them.

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};
use tollgate_client::proto::auth::{Invitation, Member, MemberRole, Organization};
use tollgate_client::{Capped, Client, InvitationOptions};

use crate::cap::{self, Cap, parse_cap};
use crate::display::{json_text, json_time, time};
use crate::duration::parse_duration;
use crate::failure::Failure;
use crate::named;
use crate::output::{Output, hint};
use crate::password;
use crate::question;
use crate::table::Table;

/// `ORG` is an organization's name or id, `USER` a member's.
#[derive(Debug, Subcommand)]
pub(crate) enum Organizations {
    /// Make an organization, whose first owner you are
    Create {
        /// Its name, for people
        name: String,
    },
    /// List the organizations that you are a member of
    List,
    /// Show an organization, and what its account has
    Show {
        /// The organization: its name or id
        org: String,
    },
    /// List an organization's members
    Members {
        /// The organization: its name or id
        org: String,
    },
    /// Make a user a member; owners and operators only
    Add {
        /// The organization: its name or id
        org: String,
        /// User name
        user: String,
        /// Make them an owner
        #[arg(long)]
        owner: bool,
        /// Credits that they may spend in a calendar month [default: none]
        #[arg(long, value_name = "N", value_parser = parse_cap, default_value = "none", hide_default_value = true)]
        cap: Cap,
    },
    /// End a membership: the member's keys there are revoked, and what runs ends; owners and operators only
    Remove {
        /// The organization: its name or id
        org: String,
        /// The member: user name or id
        user: String,
    },
    /// End your own membership
    Leave {
        /// The organization: its name or id
        org: String,
    },
    /// Make a member an owner, or an owner a member; owners and operators only
    Role {
        /// The organization: its name or id
        org: String,
        /// The member: user name or id
        user: String,
        /// What they may do
        #[arg(value_enum)]
        role: Role,
    },
    /// Bound what a member, or a service account, spends in a calendar month (UTC); owners and operators only
    Cap {
        /// The organization: its name or id
        org: String,
        /// The member, or the service account: name or id
        user: String,
        /// Credits a month, or none
        #[arg(value_parser = parse_cap)]
        cap: Cap,
    },
    /// Make an invitation and print its code, this once: to be given to one person; owners and operators only
    Invite {
        /// The organization: its name or id
        org: String,
        /// Whoever accepts it becomes an owner
        #[arg(long)]
        owner: bool,
        /// Credits that they may spend in a calendar month [default: none]
        #[arg(long, value_name = "N", value_parser = parse_cap, default_value = "none", hide_default_value = true)]
        cap: Cap,
        /// How long it is good, such as 12h or 30d [default: 7d]
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        expires_in: Option<Duration>,
        /// Who it is for, in the list of invitations
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        note: String,
    },
    /// List the invitations that are open, without their codes; owners and operators only
    Invitations {
        /// The organization: its name or id
        org: String,
    },
    /// Take an invitation back; owners and operators only
    Withdraw {
        /// The organization: its name or id
        org: String,
        /// The invitation's id, from `orgs invitations`
        id: String,
    },
    /// Become a member by an invitation's code, which is asked for or read from the first line of standard input
    Join {
        /// Don't ask
        #[arg(long)]
        yes: bool,
    },
}

/// What a member may do in an organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Also changes members, caps, invitations and service accounts
    Owner,
    /// Spends credits, and makes keys
    Member,
}

impl From<Role> for MemberRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Owner => Self::Owner,
            Role::Member => Self::Member,
        }
    }
}

fn role_of(owner: bool) -> MemberRole {
    if owner { MemberRole::Owner } else { MemberRole::Member }
}

/// A role in a word.
pub(crate) fn role(role: MemberRole) -> &'static str {
    match role {
        MemberRole::Owner => "owner",
        MemberRole::Member | MemberRole::Unspecified => "member",
    }
}

fn with_article(of: MemberRole) -> &'static str {
    match of {
        MemberRole::Owner => "an owner",
        MemberRole::Member | MemberRole::Unspecified => "a member",
    }
}

pub(crate) async fn run(client: &Client, command: Organizations, output: &mut Output) -> Result<(), Failure> {
    match command {
        Organizations::Create { name } => {
            let made = client.create_organization(&name).await?;
            let said = format!("{} is an organization, and you are its owner: account {}", made.name, made.account_id);
            output.said(&said, record(&made))
        }
        Organizations::List => {
            let organizations = client.organizations().await?;
            let mut table = Table::new(&["NAME", "ROLE", ">CAP", ">SPENT", "CREATED", "ID"]);
            let records: Vec<Value> = organizations.iter().map(record).collect();
            for one in organizations {
                let me = one.me.unwrap_or_default();
                let (role, cap, spent) = (role(me.role()), cap::cell(me.monthly_cap_credits), cap::cell(me.spent_this_month_credits));
                table.row([one.name, role.to_owned(), cap, spent, time(one.created_at), one.account_id]);
            }
            output.records(&records, &table)
        }
        Organizations::Show { org } => show(client, &org, output).await,
        Organizations::Members { org } => members(client, &org, output).await,
        Organizations::Add { org, user, owner, cap: Cap(cap) } => {
            let account = named::account_id(client, &org).await?;
            let member = client.add_member(&account, &user, role_of(owner), cap).await?;
            let said = format!("{} is {} of {org}, {}", member.user_name, with_article(member.role()), cap::words(cap));
            output.said(&said, member_record(&member))
        }
        Organizations::Remove { org, user } => {
            let account = named::account_id(client, &org).await?;
            let member = named::member(client, &account, &user).await?;
            client.remove_member(&account, &member.user_id).await?;
            let said = format!("{} is no member of {org} any more; their keys there are revoked", member.user_name);
            output.said(&said, json!({"accountId": account, "userId": member.user_id, "userName": member.user_name}))
        }
        Organizations::Leave { org } => {
            let account = named::account_id(client, &org).await?;
            client.leave_organization(&account).await?;
            output.said(&format!("you are no member of {org} any more; your keys there are revoked"), json!({"accountId": account}))
        }
        Organizations::Role { org, user, role } => {
            let account = named::account_id(client, &org).await?;
            let member = named::member(client, &account, &user).await?;
            let member = client.set_member_role(&account, &member.user_id, role.into()).await?;
            output.said(&format!("{} is {} of {org}", member.user_name, with_article(member.role())), member_record(&member))
        }
        Organizations::Cap { org, user, cap: Cap(cap) } => {
            let account = named::account_id(client, &org).await?;
            let id = named::principal_id(client, &account, &user).await?;
            let (id, name) = match client.set_member_cap(&account, &id, cap).await? {
                Capped::Member(member) => (member.user_id, member.user_name),
                Capped::ServiceAccount(one) => (one.service_account_id, one.name),
            };
            let said = format!("{name} spends {org}'s credits {}", cap::words(cap));
            output.said(&said, json!({"accountId": account, "id": id, "name": name, "monthlyCapCredits": cap}))
        }
        Organizations::Invite { org, owner, cap: Cap(cap), expires_in, note } => {
            let account = named::account_id(client, &org).await?;
            let options = InvitationOptions { role: role_of(owner), monthly_cap_credits: cap, lifetime: expires_in, note };
            let made = client.invite_member(&account, options).await?;
            let mut document = invitation_record(&made.invitation);
            document["invitationCode"] = made.code.as_str().into();
            output.said(&made.code, document)?;
            let end = time(made.invitation.expires_at);
            let becomes = with_article(made.invitation.role());
            hint(&format!("whoever enters it at tollgate orgs join until {end} becomes {becomes} of {org}; it can't be shown again"));
            Ok(())
        }
        Organizations::Invitations { org } => invitations(client, &org, output).await,
        Organizations::Withdraw { org, id } => {
            let account = named::account_id(client, &org).await?;
            client.withdraw_invitation(&account, &id).await?;
            output.said(&format!("invitation {id} is withdrawn"), json!({"accountId": account, "invitationId": id}))
        }
        Organizations::Join { yes } => join(client, yes, output).await,
    }
}

async fn show(client: &Client, org: &str, output: &mut Output) -> Result<(), Failure> {
    let organization = named::organization(client, org).await?;
    let balance = client.with_account(&organization.account_id)?.balance().await?.balance.unwrap_or_default();
    let mut document = record(&organization);
    document["availableCredits"] = balance.available_credits().into();
    let me = organization.me.unwrap_or_default();
    let fields = [
        ("organization", organization.name),
        ("account", organization.account_id),
        ("your role", role(me.role()).to_owned()),
        ("your cap", cap::cell(me.monthly_cap_credits)),
        ("you spent", cap::cell(me.spent_this_month_credits)),
        ("available", balance.available_credits().to_string()),
        ("since", time(organization.created_at)),
    ];
    output.record(&fields, document)
}

async fn members(client: &Client, org: &str, output: &mut Output) -> Result<(), Failure> {
    let account = named::account_id(client, org).await?;
    let members = client.members(&account).await?;
    let mut table = Table::new(&["NAME", "ROLE", "STATE", ">CAP", ">SPENT", "SINCE", "ID"]);
    let records: Vec<Value> = members.iter().map(member_record).collect();
    for member in members {
        let state = if member.disabled { "disabled" } else { "active" };
        let (cap, spent) = (cap::cell(member.monthly_cap_credits), cap::cell(member.spent_this_month_credits));
        let role = role(member.role()).to_owned();
        table.row([member.user_name, role, state.to_owned(), cap, spent, time(member.added_at), member.user_id]);
    }
    output.records(&records, &table)
}

async fn invitations(client: &Client, org: &str, output: &mut Output) -> Result<(), Failure> {
    let account = named::account_id(client, org).await?;
    let invitations = client.invitations(&account).await?;
    let mut table = Table::new(&["ID", "ROLE", ">CAP", "BY", "CREATED", "EXPIRES", "NOTE"]);
    let records: Vec<Value> = invitations.iter().map(invitation_record).collect();
    for one in invitations {
        let (role, cap) = (role(one.role()).to_owned(), cap::cell(one.monthly_cap_credits));
        table.row([one.invitation_id, role, cap, one.created_by_name, time(one.created_at), time(one.expires_at), one.note]);
    }
    output.records(&records, &table)
}

async fn join(client: &Client, yes: bool, output: &mut Output) -> Result<(), Failure> {
    let code = password::read_secret("invitation", "Invitation code: ")?;
    let to = client.invitation(&code).await?;
    let what = format!("{} of {}, {}", with_article(to.role()), to.organization_name, cap::words(to.monthly_cap_credits));
    if !yes && question::somebody_is_there() {
        hint(&format!("{} invites you to become {what}", to.created_by_name));
        if !question::is_answered_yes("Accept?")? {
            return Err(Failure::Declined("nothing was accepted; the invitation stays good until it ends".to_owned()));
        }
    }
    let organization = client.accept_invitation(&code).await?;
    output.said(&format!("you are {what}: account {}", organization.account_id), record(&organization))
}

fn record(organization: &Organization) -> Value {
    let me = organization.me.as_ref();
    json!({
        "accountId": organization.account_id,
        "name": organization.name,
        "createdAt": json_time(organization.created_at),
        "role": me.map(|me| role(me.role())),
        "monthlyCapCredits": me.and_then(|me| me.monthly_cap_credits),
        "spentThisMonthCredits": me.and_then(|me| me.spent_this_month_credits),
    })
}

fn member_record(member: &Member) -> Value {
    json!({
        "userId": member.user_id,
        "userName": member.user_name,
        "role": role(member.role()),
        "addedAt": json_time(member.added_at),
        "monthlyCapCredits": member.monthly_cap_credits,
        "spentThisMonthCredits": member.spent_this_month_credits,
        "disabled": member.disabled,
    })
}

fn invitation_record(invitation: &Invitation) -> Value {
    json!({
        "invitationId": invitation.invitation_id,
        "accountId": invitation.account_id,
        "organizationName": json_text(&invitation.organization_name),
        "role": role(invitation.role()),
        "monthlyCapCredits": invitation.monthly_cap_credits,
        "note": json_text(&invitation.note),
        "createdBy": json_text(&invitation.created_by),
        "createdByName": json_text(&invitation.created_by_name),
        "createdAt": json_time(invitation.created_at),
        "expiresAt": json_time(invitation.expires_at),
    })
}
