//! What is meant by a name or an id: one of the caller's organizations, or somebody in one.

use std::time::Duration;

use tollgate_client::proto::auth::{Member, Organization, ServiceAccount};
use tollgate_client::{Client, Error};

use crate::failure::Failure;

/// How long an id is looked up among names; it may be of an account that is in no list.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(3);

/// What a text names among these, each of an id and a name: ids count before names.
fn among<'a, T>(named: &str, all: &'a [T], id_and_name: impl Fn(&T) -> (&str, &str)) -> Vec<&'a T> {
    let by_id: Vec<&T> = all.iter().filter(|one| id_and_name(one).0 == named).collect();
    if by_id.is_empty() { all.iter().filter(|one| id_and_name(one).1 == named).collect() } else { by_id }
}

/// The ids of accounts, users and service accounts have this form. A name may have it too.
fn has_form_of_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn id_of(organization: &Organization) -> (&str, &str) {
    (&organization.account_id, &organization.name)
}

/// The id of the account that is meant: by its id, or by the name of one of the caller's organizations.
pub(crate) async fn account_id(client: &Client, named: &str) -> Result<String, Failure> {
    if !has_form_of_id(named) {
        return one_of(named, &client.organizations().await?);
    }
    // Not every account is in the list, and not every credential may see it.
    match tokio::time::timeout(LOOK_UP_WITHIN, client.organizations()).await {
        Ok(Ok(organizations)) if !among(named, &organizations, id_of).is_empty() => one_of(named, &organizations),
        _ => Ok(named.to_owned()),
    }
}

fn one_of(named: &str, organizations: &[Organization]) -> Result<String, Failure> {
    match among(named, organizations, id_of).as_slice() {
        // Whoever makes an organization names it, and can add anybody: the name would stand for the account whose id it is.
        [one] if one.account_id != named && has_form_of_id(named) => {
            let why = "could be another account's id, and is the name of one of your organizations; say that one by its id";
            Err(Failure::NotThere(format!("{named:?} {why}: {}", one.account_id)))
        }
        [one] => Ok(one.account_id.clone()),
        [] => {
            let names: Vec<String> = organizations.iter().map(|one| format!("{:?}", one.name)).collect();
            let there = if names.is_empty() { "you are a member of none".to_owned() } else { format!("yours: {}", names.join(", ")) };
            Err(Failure::NotThere(format!("there is no organization {named:?}; {there}")))
        }
        several => {
            let ids: Vec<&str> = several.iter().map(|one| one.account_id.as_str()).collect();
            Err(Failure::NotThere(format!("{named:?} is the name of several organizations; say which by its id: {}", ids.join(", "))))
        }
    }
}

/// One of the caller's organizations.
pub(crate) async fn organization(client: &Client, named: &str) -> Result<Organization, Failure> {
    let mut organizations = client.organizations().await?;
    let id = one_of(named, &organizations)?;
    organizations.retain(|one| one.account_id == id);
    organizations.pop().ok_or_else(|| Failure::NotThere(format!("there is no organization {named:?}")))
}

/// A member, by name or id. Upper case is folded in names.
pub(crate) async fn member(client: &Client, account_id: &str, named: &str) -> Result<Member, Failure> {
    let members = client.members(account_id).await?;
    let folded = named.to_ascii_lowercase();
    let found = members.iter().find(|member| member.user_id == named).or_else(|| members.iter().find(|member| member.user_name == folded));
    found.cloned().ok_or_else(|| Failure::NotThere(format!("{named:?} is no member; tollgate orgs members shows who is")))
}

/// A service account, by name or id.
pub(crate) async fn service_account(client: &Client, account_id: &str, named: &str) -> Result<ServiceAccount, Failure> {
    let all = client.service_accounts(account_id).await?;
    let found = among(named, &all, |one| (&one.service_account_id, &one.name)).first().copied().cloned();
    found.ok_or_else(|| {
        Failure::NotThere(format!("there is no service account {named:?}; tollgate service-accounts list shows what there is"))
    })
}

/// The id of a member or of a service account. A name that is both one's and the other's is refused: members choose theirs.
pub(crate) async fn principal_id(client: &Client, account_id: &str, named: &str) -> Result<String, Failure> {
    let member = if_there(member(client, account_id, named).await)?.map(|one| one.user_id);
    let service_account = if_there(service_account(client, account_id, named).await)?.map(|one| one.service_account_id);
    one_principal(named, member, service_account)
}

fn one_principal(named: &str, member: Option<String>, service_account: Option<String>) -> Result<String, Failure> {
    match (member, service_account) {
        (Some(member), Some(service_account)) if member != named && service_account != named => Err(Failure::NotThere(format!(
            "{named:?} is the name of a member, {member}, and of a service account, {service_account}; say which by its id"
        ))),
        (_, Some(id)) if id == named => Ok(id),
        (Some(id), _) | (None, Some(id)) => Ok(id),
        (None, None) => Err(Failure::NotThere(format!("{named:?} is neither a member nor a service account"))),
    }
}

fn if_there<T>(found: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match found {
        Ok(one) => Ok(Some(one)),
        Err(Failure::NotThere(_)) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Names of all members and service accounts by their ids, as far as the caller may see them.
pub(crate) async fn names(client: &Client, account_id: &str) -> Result<Vec<(String, String)>, Error> {
    let members = client.members(account_id).await?.into_iter().map(|member| (member.user_id, member.user_name));
    let service_accounts = client.service_accounts(account_id).await?.into_iter().map(|one| (one.service_account_id, one.name));
    Ok(members.chain(service_accounts).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn organizations(all: &[(&str, &str)]) -> Vec<Organization> {
        let one = |(id, name): &(&str, &str)| Organization { account_id: (*id).into(), name: (*name).into(), ..Organization::default() };
        all.iter().map(one).collect()
    }

    #[test]
    fn an_organization_is_meant_by_its_id_or_by_a_name_that_is_one_organizations_alone() {
        let all = organizations(&[("0123456789abcdef", "team"), ("0123456789abcdeF", "lab"), ("0123456789abcdeG", "lab")]);
        assert_eq!(one_of("team", &all).unwrap(), "0123456789abcdef");
        assert_eq!(one_of("0123456789abcdeF", &all).unwrap(), "0123456789abcdeF");
        let several = one_of("lab", &all).unwrap_err().to_string();
        assert!(several.contains("0123456789abcdeF, 0123456789abcdeG"), "{several}");
        let none = one_of("Team", &all).unwrap_err().to_string();
        assert!(none.contains("yours: \"team\""), "{none}");
        assert!(one_of("team", &[]).unwrap_err().to_string().contains("member of none"));
    }

    #[test]
    fn a_name_that_is_anothers_id_means_the_one_whose_id_it_is() {
        let all = organizations(&[("0123456789abcdef", "0123456789abcdeF"), ("0123456789abcdeF", "team")]);
        assert_eq!(one_of("0123456789abcdeF", &all).unwrap(), "0123456789abcdeF");
    }

    #[test]
    fn a_name_of_a_member_and_of_a_service_account_is_refused_with_both_ids() {
        let id = |text: &str| Some(text.to_owned());
        let both = one_principal("nightly", id("M"), id("S")).unwrap_err().to_string();
        assert!(both.contains("a member, M,") && both.contains("a service account, S;"), "{both}");
        assert_eq!(one_principal("S", id("M"), id("S")).unwrap(), "S");
        assert_eq!(one_principal("M", id("M"), id("S")).unwrap(), "M");
        assert_eq!(one_principal("nightly", id("M"), None).unwrap(), "M");
        assert_eq!(one_principal("nightly", None, id("S")).unwrap(), "S");
        assert!(one_principal("nightly", None, None).unwrap_err().to_string().contains("neither"));
    }

    #[test]
    fn a_name_in_the_form_of_an_id_takes_no_other_accounts_place() {
        let all = organizations(&[("0123456789abcdef", "0123456789abcdeF"), ("0123456789abcdeG", "team")]);
        let refused = one_of("0123456789abcdeF", &all).unwrap_err().to_string();
        assert!(refused.contains("its id: 0123456789abcdef"), "{refused}");
        assert_eq!(one_of("0123456789abcdef", &all).unwrap(), "0123456789abcdef");
    }
}
