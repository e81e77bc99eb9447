//! The ledger's oldest entries, exported and folded.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use auth_service::hold::Outcome;
use auth_service::ledger_export::{Destination, ExportError, Exported, export};
use auth_service::store::{AccountSnapshot, Balance, CheckAnswer, Checkpoint, GrantAnswer, GrantRequest, LedgerPage};

use crate::fixture::{Fixture, Person, by_token, event, one_credit, used};

/// Longer than requests are remembered, as the configuration demands.
const RETENTION: Duration = Duration::from_secs(7200);

/// Each line by its account and entry, and how often it is there.
pub(crate) type Lines = BTreeMap<(String, u64), Vec<serde_json::Value>>;

pub(crate) fn lines(path: &Path) -> Lines {
    let mut lines = Lines::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let text = |field: &str| line[field].as_str().unwrap().to_owned();
        lines.entry((text("accountId"), text("ledgerEntryId").parse().unwrap())).or_default().push(line);
    }
    lines
}

async fn export_to(f: &Fixture, path: &Path, retention: Option<Duration>) -> Exported {
    let mut exported = Exported::default();
    let destination = Destination::file(path).await.unwrap();
    export(&*f.store, &destination, retention, &mut exported).await.unwrap();
    exported
}

/// Charges one credit for each of so many requests.
async fn spend(f: &Fixture, person: &Person, requests: impl IntoIterator<Item = u32>) {
    for i in requests {
        let held = f.hold(person, one_credit(&format!("r{i}"), "a")).await;
        f.settle(&held.terms, Outcome::Completed, 1).await;
    }
}

async fn grant(f: &Fixture, person: &Person, request_id: &str, credits: i64) -> GrantAnswer {
    let (account, granted_by) = (person.account.clone(), person.id.clone());
    let (request_id, note) = (request_id.to_owned(), "for \"you\"".to_owned());
    f.store.grant(GrantRequest { account, credits, request_id, note, granted_by }, event()).await.unwrap()
}

fn numbers(page: &LedgerPage) -> (Vec<u64>, Option<u64>) {
    (page.entries.iter().map(|entry| entry.entry).collect(), page.checkpoint.map(|checkpoint| checkpoint.last_entry))
}

fn kept(snapshot: &AccountSnapshot) -> (Option<Checkpoint>, Vec<u64>) {
    (snapshot.checkpoint, snapshot.ledger.iter().map(|entry| entry.entry).collect())
}

pub(crate) async fn folding_leaves_balances_grants_receipts_and_the_numbers_of_entries_right(f: Fixture) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.jsonl");
    let ada = f.person("ada", 20).await;
    spend(&f, &ada, 0..3).await;
    let first = grant(&f, &ada, "g", 5).await;
    let folded_at_ms = f.now_ms();
    f.advance(RETENTION + Duration::from_millis(1));
    let held = f.hold(&ada, by_token("open", "a")).await;
    spend(&f, &ada, 3..5).await;
    let before = f.snapshot(&ada).await;

    assert_eq!(export_to(&f, &file, Some(RETENTION)).await, Exported { written: 5, folded: 5, passed_over: 0 });
    let after = f.snapshot(&ada).await;
    let checkpoint = Checkpoint { last_entry: 5, granted: 25, charged: 3, available: 22, at_ms: folded_at_ms };
    assert_eq!(kept(&after), (Some(checkpoint), vec![6, 7]));
    assert_eq!(after, AccountSnapshot { ledger: before.ledger[5..].to_vec(), checkpoint: Some(checkpoint), ..before.clone() });
    assert_eq!(f.store.balance(&ada.account).await.unwrap(), Some(before.balance));
    // What was granted is known for as long as the account is, and a receipt as long as requests are remembered.
    let GrantAnswer::Granted { entry, .. } = first else { panic!("{first:?}") };
    assert_eq!(grant(&f, &ada, "g", 5).await, GrantAnswer::Replayed { entry, balance: before.balance });
    let receipt = f.store.receipt(&ada.account, &ada.id, "r4").await.unwrap().unwrap();
    assert_eq!(receipt.resolved.unwrap().ledger_entry, Some(7));
    assert!(matches!(f.check(&ada, one_credit("r4", "b")).await, CheckAnswer::Recorded(..)));

    // All of it, again, and on: numbers go on where they were.
    f.advance(RETENTION + Duration::from_millis(1));
    assert_eq!(f.walk().await, 1);
    assert_eq!(export_to(&f, &file, Some(RETENTION)).await, Exported { written: 2, folded: 2, passed_over: 0 });
    f.store.settle(&held.terms, Outcome::Completed, used(1)).await.unwrap();
    spend(&f, &ada, 5..7).await;
    let last = f.snapshot(&ada).await;
    assert_eq!(last.checkpoint, Some(Checkpoint { last_entry: 7, charged: 5, available: 9, ..last.checkpoint.unwrap() }));
    assert_eq!(last.ledger.iter().map(|entry| entry.entry).collect::<Vec<_>>(), (8..8 + last.ledger.len() as u64).collect::<Vec<_>>());
    // The lines are the entries that were there.
    let lines = lines(&file);
    assert_eq!(lines.len(), 7);
    for entry in &before.ledger {
        let [line] = &lines[&(ada.account.to_string(), entry.entry)][..] else { panic!("twice") };
        assert_eq!((line["credits"].as_i64(), line["availableCredits"].as_i64()), (Some(entry.credits), Some(entry.available)));
        assert_eq!((line["requestId"].as_str(), line["userId"].as_str()), (Some(entry.request_id.as_str()), Some(ada.id.as_str())));
    }
}

pub(crate) async fn pages_end_with_the_checkpoint_and_stay_right_when_it_is_made_between_two_of_them(f: Fixture) {
    let folder = tempfile::tempdir().unwrap();
    let ada = f.person("ada", 20).await;
    spend(&f, &ada, 0..4).await;
    f.advance(RETENTION + Duration::from_millis(1));
    spend(&f, &ada, 4..6).await;
    let page = async |before, limit| numbers(&f.store.ledger_entries(&ada.account, before, limit).await.unwrap());
    // Two pages from before it is made.
    assert_eq!(page(None, 2).await, (vec![7, 6], None));
    assert_eq!(page(Some(6), 2).await, (vec![5, 4], None));
    export_to(&f, &folder.path().join("ledger"), Some(RETENTION)).await;
    assert_eq!(page(Some(4), 2).await, (vec![], Some(5)), "it includes 5 and 4, as its number says");
    assert_eq!(page(Some(6), 2).await, (vec![], Some(5)));
    assert_eq!(page(None, 2).await, (vec![7, 6], None), "it is on the next page");
    assert_eq!(page(None, 3).await, (vec![7, 6], Some(5)));
    assert_eq!(page(Some(7), 1).await, (vec![6], None));
    assert_eq!(page(Some(1), 9).await, (vec![], Some(5)));
    assert_eq!(page(Some(0), 9).await, (vec![], Some(5)));
    assert_eq!(page(None, 0).await, (vec![], None));
    // What is listed adds up to what was granted less what was charged.
    let all = f.store.ledger_entries(&ada.account, None, 100).await.unwrap();
    let sum = all.entries.iter().map(|entry| entry.credits).sum::<i64>() + all.checkpoint.unwrap().credits();
    assert_eq!(sum, 20 - 6);
}

pub(crate) async fn an_entry_exactly_as_old_as_the_retention_is_kept_and_folded_a_millisecond_later(f: Fixture) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger");
    let ada = f.person("ada", 20).await;
    f.advance(RETENTION);
    assert_eq!(export_to(&f, &file, Some(RETENTION)).await, Exported::default());
    assert_eq!(kept(&f.snapshot(&ada).await), (None, vec![1]));
    assert_eq!(std::fs::read(&file).unwrap(), b"");
    f.advance(Duration::from_millis(1));
    assert_eq!(export_to(&f, &file, Some(RETENTION)).await, Exported { written: 1, folded: 1, passed_over: 0 });
    assert_eq!(export_to(&f, &file, Some(RETENTION)).await, Exported::default());
    assert_eq!(f.snapshot(&ada).await.checkpoint.unwrap().last_entry, 1);
}

pub(crate) async fn without_a_retention_all_is_written_and_nothing_is_folded(f: Fixture) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger");
    // More accounts than one step of the walk has, and one with more entries than one call reads.
    let ada = f.person("ada", 1000).await;
    for i in 0..250 {
        grant(&f, &ada, &format!("g{i}"), 1).await;
    }
    let mut expected = BTreeSet::from_iter((1..=251).map(|entry| (ada.account.to_string(), entry)));
    for i in 0..300 {
        let person = f.person(&format!("user{i}"), i % 2).await;
        expected.extend((i % 2 == 1).then(|| (person.account.to_string(), 1)));
    }
    let before = f.snapshot(&ada).await;
    assert_eq!(export_to(&f, &file, None).await, Exported { written: 401, folded: 0, passed_over: 0 });
    assert_eq!(f.snapshot(&ada).await, before);
    let written = lines(&file);
    assert!(written.values().all(|lines| lines.len() == 1));
    assert_eq!(written.into_keys().collect::<BTreeSet<_>>(), expected);
    // Appended.
    export_to(&f, &file, None).await;
    assert!(lines(&file).values().all(|lines| lines.len() == 2));
    // All of it can be folded.
    f.advance(RETENTION + Duration::from_millis(1));
    let folded = export_to(&f, &folder.path().join("old"), Some(RETENTION)).await;
    assert_eq!(folded, Exported { written: 401, folded: 401, passed_over: 0 });
    assert_eq!(kept(&f.snapshot(&ada).await).1, Vec::<u64>::new());
}

pub(crate) async fn two_exports_at_once_write_and_fold_every_entry_and_the_store_folds_it_once(f: Fixture) {
    let folder = tempfile::tempdir().unwrap();
    let ada = f.person("ada", 5000).await;
    for i in 0..2400 {
        grant(&f, &ada, &format!("g{i}"), 1).await;
    }
    let bob = f.person("bob", 7).await;
    f.advance(RETENTION + Duration::from_millis(1));
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    let (first, second) = tokio::join!(export_to(&f, &one, Some(RETENTION)), export_to(&f, &other, Some(RETENTION)));
    assert!(first.folded + second.folded >= 2402, "{first:?} {second:?}");
    // What was granted would not add up if an entry were folded twice, or never.
    for (person, entries) in [(&ada, 2401), (&bob, 1)] {
        let (checkpoint, left) = kept(&f.snapshot(person).await);
        assert_eq!((checkpoint.unwrap().last_entry, left), (entries, vec![]));
    }
    let written: BTreeSet<_> = lines(&one).into_keys().chain(lines(&other).into_keys()).collect();
    assert_eq!(written.len(), 2402);
    assert_eq!(f.store.balance(&ada.account).await.unwrap().unwrap(), Balance { available: 7400, granted: 7400, ..Balance::default() });
}

pub(crate) async fn calls_go_on_while_the_ledger_is_folded_and_none_of_their_entries_is_lost(f: Fixture) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger");
    let ada = f.person("ada", 5000).await;
    for i in 0..500 {
        grant(&f, &ada, &format!("g{i}"), 1).await;
    }
    f.advance(RETENTION + Duration::from_millis(1));
    let calls = async {
        // All the while, and never for ever.
        for i in 0..150 {
            spend(&f, &ada, [i]).await;
            f.snapshot(&ada).await;
            let page = f.store.ledger_entries(&ada.account, None, 1000).await.unwrap();
            let folded = page.checkpoint.map_or(0, |checkpoint| checkpoint.last_entry);
            let newest = page.entries[0].entry;
            assert_eq!(page.entries.iter().map(|entry| entry.entry).collect::<Vec<_>>(), (folded + 1..=newest).rev().collect::<Vec<_>>());
        }
    };
    let (exported, ()) = tokio::join!(export_to(&f, &file, Some(RETENTION)), calls);
    assert_eq!(exported, Exported { written: 501, folded: 501, passed_over: 0 });
    let (checkpoint, entries) = kept(&f.snapshot(&ada).await);
    assert_eq!((checkpoint.unwrap().last_entry, entries), (501, (502..=651).collect()));
}

pub(crate) async fn what_can_not_be_written_is_not_folded(f: Fixture) {
    let ada = f.person("ada", 20).await;
    spend(&f, &ada, 0..3).await;
    f.advance(RETENTION + Duration::from_millis(1));
    let before = f.snapshot(&ada).await;
    // The kernel's own full disk.
    let full = Destination::file(Path::new("/dev/full")).await.unwrap();
    let mut exported = Exported::default();
    let refused = export(&*f.store, &full, Some(RETENTION), &mut exported).await.unwrap_err();
    assert!(matches!(&refused, ExportError::Output(error) if error.to_string().contains("make room")), "{refused}");
    assert_eq!(exported, Exported::default());
    assert_eq!(f.snapshot(&ada).await, before);
}

pub(crate) async fn a_fold_of_what_is_not_the_oldest_writes_nothing_and_the_same_fold_twice_is_one(f: Fixture) {
    let ada = f.person("ada", 20).await;
    spend(&f, &ada, 0..4).await;
    let read = f.store.oldest_entries(&ada.account, 0, 3).await.unwrap();
    assert_eq!((read.now_ms, read.checkpoint, read.entries.len()), (f.now_ms(), None, 3));
    let two = Checkpoint::fold(None, &read.entries[..2]).unwrap().unwrap();
    let three = Checkpoint::fold(None, &read.entries).unwrap().unwrap();
    assert!(!f.store.fold_ledger(&ada.account, 2, three).await.unwrap());
    assert_eq!(kept(&f.snapshot(&ada).await), (None, vec![1, 2, 3, 4, 5]));
    assert!(f.store.fold_ledger(&ada.account, 1, two).await.unwrap());
    assert!(f.store.fold_ledger(&ada.account, 1, two).await.unwrap(), "its answer was lost, and it is sent again");
    assert!(!f.store.fold_ledger(&ada.account, 1, three).await.unwrap());
    assert_eq!(kept(&f.snapshot(&ada).await), (Some(two), vec![3, 4, 5]));
    let rest = f.store.oldest_entries(&ada.account, 3, 9).await.unwrap();
    assert_eq!((rest.checkpoint, rest.entries.iter().map(|entry| entry.entry).collect::<Vec<_>>()), (Some(two), vec![4, 5]));
    let all = Checkpoint::fold(Some(two), &f.store.oldest_entries(&ada.account, 0, 9).await.unwrap().entries).unwrap().unwrap();
    assert!(f.store.fold_ledger(&ada.account, 3, all).await.unwrap());
    assert!(!f.store.fold_ledger(&ada.account, 3, two).await.unwrap(), "there is none left to be folded");
    spend(&f, &ada, [9]).await;
    assert_eq!(kept(&f.snapshot(&ada).await), (Some(all), vec![6]));
    let nobody = auth_service::ids::AccountId::parse("0000000000000000").unwrap();
    assert_eq!(f.store.oldest_entries(&nobody, 0, 9).await.unwrap().entries, []);
    assert!(!f.store.fold_ledger(&nobody, 1, two).await.unwrap());
}
