//! The list of all organizations, for operators: what is asked for, and the pages.

use shared::proto::auth as pb;

use crate::ids::AccountId;
use crate::service::ledger_page::page_size;
use crate::service::organization_fields::MOST_NAME_CHARACTERS;
use crate::service::organizations::organization;
use crate::service::violations::{Violation, Violations, plain_text};
use crate::store::{ListedOrganization, OrganizationPage, Store, StoreError};

/// Organizations that one page looks at, where they are looked for by name.
const MOST_LOOKED_AT: u32 = 500;

/// What a request asks for.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// What names begin with, in lower case; empty: all.
    prefix: String,
    /// Behind which one; `None`: from the first.
    after: Option<AccountId>,
    /// So many at most.
    limit: u32,
}

pub(crate) fn parse(request: &pb::ListAllOrganizationsRequest) -> Result<Wanted, Vec<Violation>> {
    let mut violations = Violations::default();
    let limit = violations.keep(page_size(request.page_size));
    let after = violations.keep(page_start(&request.page_token));
    let prefix = violations.keep(plain_text("name_prefix", request.name_prefix.trim_start().to_lowercase(), MOST_NAME_CHARACTERS));
    let wanted = || Some(Wanted { prefix: prefix?, after: after?, limit: limit? });
    violations.into_result(wanted())
}

/// A page, as the contract has it.
pub(crate) async fn page(store: &dyn Store, wanted: Wanted) -> Result<pb::ListAllOrganizationsResponse, StoreError> {
    let Wanted { prefix, after, limit } = wanted;
    let looked_at = if prefix.is_empty() { limit } else { MOST_LOOKED_AT };
    let (found, next) = matching(store.all_organizations(after.as_ref(), looked_at).await?, &prefix, limit);
    let told = |one: ListedOrganization| organization(&one.account, &one.record, None);
    Ok(pb::ListAllOrganizationsResponse {
        organizations: found.into_iter().map(told).collect(),
        next_page_token: next.as_ref().map(page_token).unwrap_or_default(),
    })
}

/// Those whose names begin with this, and where the next page begins.
fn matching(looked_at: OrganizationPage, prefix: &str, limit: u32) -> (Vec<ListedOrganization>, Option<AccountId>) {
    let mut matching = looked_at.organizations.into_iter().filter(|one| one.record.name.to_lowercase().starts_with(prefix));
    let found: Vec<_> = matching.by_ref().take(limit as usize).collect();
    let next = if matching.next().is_some() { found.last().map(|last| last.account.clone()) } else { looked_at.next };
    (found, next)
}

/// Where a page starts: opaque, so that it may come to name something else.
fn page_token(account: &AccountId) -> String {
    format!("o{account}")
}

fn page_start(token: &str) -> Result<Option<AccountId>, Violation> {
    if token.is_empty() {
        return Ok(None);
    }
    let account = token.strip_prefix('o').and_then(AccountId::parse);
    account.map(Some).ok_or_else(|| Violation::new("page_token", "must be a next_page_token of this method, or empty"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UserId;
    use crate::organization::OrganizationRecord;

    #[test]
    fn a_page_of_those_with_a_name_ends_where_it_is_full_or_all_were_looked_at_and_misses_none() {
        let account = |number: usize| AccountId::parse(&format!("{number:016}")).unwrap();
        let created_by = UserId::parse("0123456789abcdef").unwrap();
        let one = |(number, name): (usize, &&str)| ListedOrganization {
            account: account(number),
            record: OrganizationRecord { name: (*name).to_owned(), created_at_ms: 0, created_by: created_by.clone() },
        };
        let names = ["Physics", "Ph", "physics B", "Éphys", "PHYSICIANS"];
        for (prefix, limit, found, next) in [
            ("phys", 9, &[0, 2, 4][..], Some(7)),
            ("phys", 3, &[0, 2, 4], Some(7)),
            ("phys", 2, &[0, 2], Some(2)),
            ("phys", 1, &[0], Some(0)),
            ("éph", 1, &[3], Some(7)),
            ("nobody", 1, &[], Some(7)),
            ("", 5, &[0, 1, 2, 3, 4], Some(7)),
        ] {
            let looked_at = OrganizationPage { organizations: names.iter().enumerate().map(one).collect(), next: Some(account(7)) };
            let (those, after) = matching(looked_at, prefix, limit);
            let accounts: Vec<_> = those.into_iter().map(|one| one.account).collect();
            assert_eq!((accounts, after), (found.iter().copied().map(account).collect(), next.map(account)), "{prefix} {limit}");
        }
        assert_eq!(page_start(&page_token(&account(7))), Ok(Some(account(7))));
        assert_eq!(page_start(""), Ok(None));
        assert!(["o", "o123", "u0123456789abcdef", "o0123456789abcdef0", "é"].iter().all(|token| page_start(token).is_err()));
    }
}
