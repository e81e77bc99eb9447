//! Service accounts: programs that belong to an organization.

use clap::Subcommand;
use serde_json::{Value, json};
use tollgate_client::proto::auth::ServiceAccount;
use tollgate_client::{Capped, Client};

use crate::cap::{self, Cap, parse_cap};
use crate::display::{json_text, json_time, time};
use crate::failure::Failure;
use crate::named;
use crate::output::{Output, hint};
use crate::table::Table;

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceAccounts {
    /// Make a service account; owners and operators only
    Create {
        /// The organization: its name or id
        org: String,
        /// Its name, for people; unique within the organization
        name: String,
        /// Credits that it may spend in a calendar month [default: none]
        #[arg(long, value_name = "N", value_parser = parse_cap, default_value = "none", hide_default_value = true)]
        cap: Cap,
    },
    /// List an organization's service accounts
    List {
        /// The organization: its name or id
        org: String,
    },
    /// Remove a service account: its keys are revoked, and what runs ends; owners and operators only
    Remove {
        /// The organization: its name or id
        org: String,
        /// The service account: its name or id
        name: String,
    },
    /// Bound what a service account spends in a calendar month (UTC); owners and operators only
    Cap {
        /// The organization: its name or id
        org: String,
        /// The service account: its name or id
        name: String,
        /// Credits a month, or none
        #[arg(value_parser = parse_cap)]
        cap: Cap,
    },
}

pub(crate) async fn run(client: &Client, command: ServiceAccounts, output: &mut Output) -> Result<(), Failure> {
    match command {
        ServiceAccounts::Create { org, name, cap: Cap(cap) } => {
            let account = named::account_id(client, &org).await?;
            let made = client.create_service_account(&account, &name, cap).await?;
            let said = format!("{} is a service account of {org}, {}", made.name, cap::words(cap));
            output.said(&said, record(&made))?;
            hint(&format!("tollgate keys create --account {account} --service-account {} makes a key of it", made.service_account_id));
            Ok(())
        }
        ServiceAccounts::List { org } => {
            let account = named::account_id(client, &org).await?;
            let all = client.service_accounts(&account).await?;
            let mut table = Table::new(&["NAME", ">CAP", ">SPENT", "BY", "CREATED", "ID"]);
            let records: Vec<Value> = all.iter().map(record).collect();
            // Whoever made it may have left since.
            let names = named::names(client, &account).await.unwrap_or_default();
            for one in all {
                let by = names.iter().find(|(id, _)| *id == one.created_by).map_or(one.created_by, |(_, name)| name.clone());
                let (cap, spent) = (cap::cell(one.monthly_cap_credits), cap::cell(one.spent_this_month_credits));
                table.row([one.name, cap, spent, by, time(one.created_at), one.service_account_id]);
            }
            output.records(&records, &table)
        }
        ServiceAccounts::Remove { org, name } => {
            let account = named::account_id(client, &org).await?;
            let one = named::service_account(client, &account, &name).await?;
            client.remove_service_account(&account, &one.service_account_id).await?;
            output.said(&format!("service account {} is removed; its keys are revoked", one.name), record(&one))
        }
        ServiceAccounts::Cap { org, name, cap: Cap(cap) } => {
            let account = named::account_id(client, &org).await?;
            let one = named::service_account(client, &account, &name).await?;
            let one = match client.set_member_cap(&account, &one.service_account_id, cap).await? {
                Capped::ServiceAccount(capped) => capped,
                Capped::Member(_) => one,
            };
            output.said(&format!("{} spends {org}'s credits {}", one.name, cap::words(cap)), record(&one))
        }
    }
}

fn record(one: &ServiceAccount) -> Value {
    json!({
        "serviceAccountId": one.service_account_id,
        "accountId": json_text(&one.account_id),
        "name": one.name,
        "createdAt": json_time(one.created_at),
        "createdBy": json_text(&one.created_by),
        "monthlyCapCredits": one.monthly_cap_credits,
        "spentThisMonthCredits": one.spent_this_month_credits,
    })
}
