//! The list of all organizations.

use auth_service::ids::AccountId;

use crate::fixture::Fixture;

impl Fixture {
    /// The names on each page, by so many.
    async fn pages_of_organizations(&self, limit: u32) -> Vec<Vec<String>> {
        let (mut pages, mut after) = (Vec::new(), None::<AccountId>);
        loop {
            let page = self.store.all_organizations(after.as_ref(), limit).await.unwrap();
            assert!(page.organizations.is_sorted_by_key(|one| one.account.clone()));
            pages.push(page.organizations.into_iter().map(|one| one.record.name).collect());
            after = page.next;
            if after.is_none() {
                return pages;
            }
        }
    }
}

pub(crate) async fn the_pages_of_all_organizations_have_each_once_whoever_is_a_member_and_end(f: Fixture) {
    assert_eq!(f.pages_of_organizations(3).await, [Vec::<String>::new()]);
    let (ada, bob) = (f.signed("ada").await, f.signed("bob").await);
    let names = ["Physics", "Painters", "Printers", "Plumbers", "Poets", "Ärzte"];
    for (number, name) in names.iter().enumerate() {
        f.create(if number % 2 == 0 { &ada } else { &bob }, name).await.unwrap();
    }
    let mut expected = names.map(str::to_owned);
    expected.sort();
    for (limit, sizes) in [(1, &[1, 1, 1, 1, 1, 1][..]), (2, &[2, 2, 2]), (4, &[4, 2]), (6, &[6]), (500, &[6])] {
        let pages = f.pages_of_organizations(limit).await;
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), sizes, "by {limit}");
        let mut found: Vec<String> = pages.concat();
        found.sort();
        assert_eq!(found, expected, "by {limit}");
    }
}
