//! Lists of users.

use auth_service::store::{MAX_USERS_LOOKED_AT, StateFilter, Store, UserPage, UserQuery};
use auth_service::user::UserName;

use crate::fixture::{Fixture, event, new_user};

/// All users, or those with this prefix, from the first.
pub(crate) fn all(prefix: &str, limit: u32) -> UserQuery {
    UserQuery { prefix: prefix.to_owned(), state: None, after: None, limit }
}

pub(crate) fn names(page: &UserPage) -> Vec<&str> {
    page.users.iter().map(|user| user.user_name.as_str()).collect()
}

/// The names on each page, to the last one.
pub(crate) async fn pages(store: &dyn Store, mut query: UserQuery) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    loop {
        let page = store.users(&query).await.unwrap();
        pages.push(names(&page).into_iter().map(str::to_owned).collect());
        let Some(next) = page.next else { return pages };
        assert!(query.after.is_none_or(|before| before < next), "a list goes on");
        query.after = Some(next);
    }
}

pub(crate) async fn users_are_listed_by_name_page_by_page_and_each_once(f: Fixture) {
    assert_eq!(pages(&*f.store, all("", 2)).await, [Vec::<String>::new()]);
    for name in ["dora", "ada", "Cleo", "bob", "ada-2"] {
        f.person(name, 0).await;
    }
    assert_eq!(pages(&*f.store, all("", 2)).await, [vec!["ada", "ada-2"], vec!["bob", "cleo"], vec!["dora"]]);
    assert_eq!(pages(&*f.store, all("", 5)).await, [["ada", "ada-2", "bob", "cleo", "dora"]], "the last page says that it is");
    let ada = f.store.users(&all("", 1)).await.unwrap().users.remove(0);
    assert_eq!(f.store.user_by_name(&UserName::parse("ada").unwrap()).await.unwrap(), Some(ada), "users as they are");
}

pub(crate) async fn a_prefix_lists_those_whose_names_begin_with_it_and_nobody_else(f: Fixture) {
    for name in ["abc", "ab-", "ab_", "ab.c", "abcd", "ab-c", "aba", "abz", "ab9", "acb", "aab", "zzz", "ab0"] {
        f.person(name, 0).await;
    }
    let one_page = async |prefix: &str| pages(&*f.store, all(prefix, 100)).await.concat();
    assert_eq!(one_page("ab").await, ["ab-", "ab-c", "ab.c", "ab0", "ab9", "ab_", "aba", "abc", "abcd", "abz"]);
    assert_eq!(one_page("abc").await, ["abc", "abcd"]);
    assert_eq!(one_page("ab-").await, ["ab-", "ab-c"]);
    assert_eq!(one_page("z").await, ["zzz"]);
    assert_eq!(one_page("abcde").await, Vec::<String>::new());
    assert_eq!(one_page("zzzz").await, Vec::<String>::new());
    assert_eq!(pages(&*f.store, all("abc", 1)).await, [["abc"], ["abcd"]]);
    // A page of one list, taken as the beginning of another.
    let after = f.store.users(&all("", 2)).await.unwrap().next;
    assert_eq!(after.as_ref().map(|after| after.name.as_str()), Some("ab-"));
    let other = UserQuery { after, ..all("ac", 5) };
    assert_eq!(names(&f.store.users(&other).await.unwrap()), ["acb"]);
}

pub(crate) async fn users_who_are_added_while_a_list_is_read_keep_nobody_from_it_and_bring_nobody_twice(f: Fixture) {
    for name in ["bbb", "ddd", "fff", "hhh"] {
        f.person(name, 0).await;
    }
    let first = f.store.users(&all("", 2)).await.unwrap();
    assert_eq!(names(&first), ["bbb", "ddd"]);
    for name in ["aaa", "ccc", "ddd-", "eee", "zzz"] {
        f.person(name, 0).await;
    }
    let rest = UserQuery { after: first.next, ..all("", 10) };
    assert_eq!(names(&f.store.users(&rest).await.unwrap()), ["ddd-", "eee", "fff", "hhh", "zzz"]);
}

pub(crate) async fn a_page_of_a_state_that_few_are_in_looks_at_so_many_and_says_where_to_go_on(f: Fixture) {
    let people = MAX_USERS_LOOKED_AT + 120;
    for number in 0..people {
        let user = new_user(&format!("user{number:04}"), 0);
        let id = user.user_id.clone();
        f.store.create_user(user, event()).await.unwrap();
        if [7, 8, people - 1].contains(&number) {
            f.store.set_disabled(&id, true, "", event()).await.unwrap();
        }
    }
    let of_state = |state, limit| UserQuery { state: Some(state), ..all("", limit) };
    let last = format!("user{:04}", people - 1);
    assert_eq!(pages(&*f.store, of_state(StateFilter::Disabled, 10)).await, [vec!["user0007", "user0008"], vec![&last]]);
    assert_eq!(pages(&*f.store, of_state(StateFilter::Disabled, 1)).await, [vec!["user0007"], vec!["user0008"], vec![], vec![&last]]);
    assert_eq!(pages(&*f.store, of_state(StateFilter::Locked, 10)).await, [Vec::<String>::new(), Vec::new()]);
    let enabled = pages(&*f.store, of_state(StateFilter::Enabled, 400)).await;
    assert_eq!(enabled.iter().map(Vec::len).collect::<Vec<_>>(), [400, people - 400 - 3]);
}
