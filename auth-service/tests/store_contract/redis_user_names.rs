//! The index of user names, which only Redis needs: stores of earlier releases have none, and such releases may run beside this one.

use ::redis::Commands;
use auth_service::store::Store;
use auth_service::store::clock::Clock;

use crate::fixture::{Fixture, Person, RedisServer, event, new_user};
use crate::limits;
use crate::redis_only::server;
use crate::user_list::{all, pages};

/// Takes users from the index, as if a release before it had made them.
fn forget(f: &Fixture, people: &[(&str, &Person)]) {
    for (name, person) in people {
        server(f).command(&["ZREM", "tg:user_names", &format!("{name}!{}", person.id)]);
    }
}

async fn listed(f: &Fixture) -> Vec<String> {
    pages(&*f.store, all("", 100)).await.concat()
}

#[tokio::test]
async fn a_store_of_an_earlier_release_lists_its_users_from_the_first_call_on() {
    let f = Fixture::redis(limits()).await;
    for number in 0..40 {
        f.person(&format!("user{number:02}"), 0).await;
    }
    server(&f).command(&["DEL", "tg:user_names"]);
    let f = f.open_again(limits()).await;
    assert_eq!(listed(&f).await.len(), 40);
}

#[tokio::test]
async fn users_are_listed_though_their_index_was_lost_also_when_others_were_made_since() {
    let f = Fixture::redis(limits()).await;
    for number in 0..40 {
        f.person(&format!("user{number:02}"), 0).await;
    }
    server(&f).command(&["DEL", "tg:user_names"]);
    assert_eq!(listed(&f).await.len(), 40);
    server(&f).command(&["DEL", "tg:user_names"]);
    f.person("zoe", 0).await;
    assert_eq!(listed(&f).await.len(), 41);
}

#[tokio::test]
async fn users_that_an_earlier_release_makes_beside_this_one_are_listed_at_once_and_a_walk_adds_them_too() {
    let f = Fixture::redis(limits()).await;
    let (ada, bob) = (f.person("ada", 0).await, f.person("bob", 0).await);
    f.person("cleo", 0).await;
    forget(&f, &[("ada", &ada)]);
    assert_eq!(listed(&f).await, ["ada", "bob", "cleo"]);
    let entries = || server(&f).connection().zcard::<_, usize>("tg:user_names").unwrap();
    forget(&f, &[("bob", &bob)]);
    assert_eq!(entries(), 2);
    f.walk().await;
    assert_eq!((entries(), listed(&f).await), (3, ["ada", "bob", "cleo"].map(str::to_owned).to_vec()));
}

#[tokio::test]
async fn an_account_that_was_registered_and_never_made_keeps_no_user_from_the_index_and_no_walk_busy() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 0).await;
    // By an earlier release, and by this one.
    server(&f).command(&["ZADD", "tg:accounts:{0}", "0", "0000000000000001"]);
    server(&f).command(&["ZADD", "tg:accounts:{1}", "0", "0000000000000002"]);
    server(&f).command(&["ZADD", "tg:user_names", "0", "bob!0000000000000002"]);
    assert_eq!(listed(&f).await, ["ada"], "a name whose user was never made is passed over");
    f.walk().await;
    let read = server(&f).calls_of("get");
    f.walk().await;
    assert_eq!(server(&f).calls_of("get"), read, "nothing is looked for twice");
    forget(&f, &[("ada", &ada)]);
    f.walk().await;
    assert_eq!(listed(&f).await, ["ada"]);
}

#[tokio::test]
async fn a_user_who_was_being_made_while_the_index_was_filled_is_listed_once_it_is_filled_again() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 0).await;
    f.person("bob", 0).await;
    forget(&f, &[("ada", &ada)]);
    // The store counts one that is missing, and finds none: Ada's record is still on its way.
    let user = format!("tg:{{{}}}:user", ada.id);
    server(&f).command(&["RENAME", &user, "aside"]);
    let f = f.open_again(limits()).await;
    server(&f).command(&["RENAME", "aside", &user]);
    assert_eq!(listed(&f).await, ["bob"]);
    // Another process. The same one looks again after ten minutes.
    let f = f.open_again(limits()).await;
    assert_eq!(listed(&f).await, ["ada", "bob"]);
}

#[tokio::test]
async fn a_full_redis_without_an_index_is_opened_all_the_same_and_says_so_instead_of_listing_nobody() {
    let f = Fixture::redis(limits()).await;
    f.person("ada", 0).await;
    server(&f).command(&["DEL", "tg:user_names"]);
    server(&f).command(&["CONFIG", "SET", "maxmemory", "1"]);
    let f = f.open_again(limits()).await;
    assert!(f.store.users(&all("", 10)).await.is_err());
    server(&f).command(&["CONFIG", "SET", "maxmemory", "0"]);
    f.walk().await;
    assert_eq!(listed(&f).await, ["ada"]);
}

#[tokio::test]
async fn a_record_that_can_not_be_read_keeps_the_list_and_the_walk_from_nobody_else() {
    let f = Fixture::redis(limits()).await;
    let (ada, _) = (f.person("ada", 0).await, f.person("bob", 0).await);
    server(&f).command(&["SET", &format!("tg:{{{}}}:user", ada.id), "nonsense"]);
    assert_eq!(listed(&f).await, ["bob"]);
    server(&f).command(&["DEL", "tg:user_names"]);
    f.walk().await;
    assert_eq!(listed(&f).await, ["bob"]);
}

#[tokio::test]
async fn a_page_takes_two_round_trips_however_many_users_there_are() {
    let server = RedisServer::start(&["--appendfsync", "no"]);
    let store = server.store(limits(), Clock::Store).await;
    for number in 0..60 {
        store.create_user(new_user(&format!("user{number:02}"), 0), event()).await.unwrap();
    }
    let counted = || (server.calls_of("zrangebylex"), server.calls_of("get"));
    let before = counted();
    assert_eq!(store.users(&all("", 10)).await.unwrap().users.len(), 10);
    let after = counted();
    assert_eq!((after.0 - before.0, after.1 - before.1), (1, 10));
}
