//! Each way, by an account with one credit, beside somebody who pays.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::stage::{Account, Stage};
use crate::ways::Way;
use crate::{refusals, ways};
pub(crate) use integration::polling::SOON;

pub(crate) const MIB: usize = 1 << 20;
/// The bucket of refunds is out of the way.
pub(crate) const OFTEN_REFUNDED: (&str, &str) = ("TOLLGATE_REFUND_BURST", "1000000");

/// Every way. Guessing comes last: logins from here have to wait after it.
pub(crate) fn all_ways() -> Vec<Way> {
    let ways = [ways::refunded(), refusals::late(), vec![ways::gratis()], ways::repeated()];
    let more = [refusals::refused(), refusals::free(), refusals::other_keys(), refusals::api_keys(), refusals::guesses()];
    ways.into_iter().chain(more).flatten().collect()
}

/// What came of an attack.
pub(crate) struct Report {
    pub(crate) way: &'static str,
    /// Calls by how they ended.
    pub(crate) ended: BTreeMap<String, usize>,
    /// Bytes that the store keeps since.
    pub(crate) kept: usize,
    pub(crate) seconds: f32,
}

/// Goes a way as fast as a few callers can. Somebody who pays chats meanwhile, and is served each time.
pub(crate) async fn go(stage: &Stage, way: Way, attacker: &Account, honest_chats: usize) -> Report {
    let began = std::time::Instant::now();
    let before = stage.kept_bytes().await;
    let Way { name, calls, callers: at_once, ends_with, spends: _, call } = way;
    let (call, next, (progress, progressed)) = (Arc::new(call), Arc::new(AtomicUsize::new(0)), watch::channel(0));
    let mut callers = JoinSet::new();
    for _ in 0..at_once {
        let (call, next, progress, attacker) = (call.clone(), next.clone(), progress.clone(), attacker.clone());
        callers.spawn(async move {
            let mut ended = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= calls {
                    return ended;
                }
                ended.push(timeout(SOON, call(attacker.clone(), number)).await.expect("a call ends"));
                progress.send_modify(|done| *done += 1);
            }
        });
    }
    let honest = async {
        let mut progressed = progressed;
        for chat in 0..honest_chats {
            progressed.wait_for(|done| *done >= chat * calls / honest_chats).await.unwrap();
            stage.honest_chat().await;
        }
    };
    let (all, ()) = tokio::join!(callers.join_all(), honest);
    let mut ended = BTreeMap::new();
    for one in all.into_iter().flatten() {
        *ended.entry(one).or_default() += 1;
    }
    stage.settled(attacker).await;
    let kept = stage.kept_bytes().await.saturating_sub(before);
    let report = Report { way: name, ended, kept, seconds: began.elapsed().as_secs_f32() };
    // Shown when the test fails, or runs with --nocapture.
    println!("{report}");
    for expected in ends_with {
        assert!(report.ended.contains_key(*expected), "{name}: no call ended with {expected}");
    }
    report
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { way, ended, kept, seconds } = self;
        write!(f, "{kept:>9} bytes  {seconds:5.1} s  {way}: {ended:?}")
    }
}

/// Each way by an account of its own.
pub(crate) async fn each_way_leaves_less_than_a_mebibyte(stage: Stage) {
    let mut reports = Vec::new();
    for (number, way) in all_ways().into_iter().enumerate() {
        let (name, spends) = (way.name, way.spends);
        let attacker = stage.sign_up(&format!("attacker{number}")).await;
        reports.push(go(&stage, way, &attacker, 20).await);
        let balance = stage.settled(&attacker).await.balance;
        assert_eq!((balance.available, balance.held, balance.spent, balance.granted), (1 - spends, 0, spends, 1), "{name}");
    }
    let above: Vec<_> = reports.iter().filter(|report| report.kept >= MIB).map(|report| report.way).collect();
    assert!(above.is_empty(), "more than 1 MiB is kept after {above:#?}");
}

/// Whatever is kept for a while, all of it by one account, and its calls come to nothing as often as it likes.
pub(crate) async fn everything_together_leaves_less_than_a_mebibyte(stage: Stage) {
    let attacker = stage.sign_up("attacker").await;
    let before = stage.kept_bytes().await;
    for way in refusals::api_keys().into_iter().chain([ways::full(), ways::gratis()]) {
        go(&stage, way, &attacker, 5).await;
    }
    let kept = stage.kept_bytes().await - before;
    assert!(kept < MIB, "{kept} bytes are kept");
}

#[tokio::test]
async fn an_account_with_one_credit_leaves_less_than_1_mib_on_sqlite_whichever_way_it_goes() {
    each_way_leaves_less_than_a_mebibyte(Stage::on_sqlite(&[]).await).await;
}

#[tokio::test]
async fn an_account_with_one_credit_leaves_less_than_1_mib_on_redis_whichever_way_it_goes() {
    each_way_leaves_less_than_a_mebibyte(Stage::on_redis(&[]).await).await;
}

#[tokio::test]
async fn without_a_bound_on_refunds_one_account_leaves_less_than_1_mib_of_everything_together_on_sqlite() {
    everything_together_leaves_less_than_a_mebibyte(Stage::on_sqlite(&[OFTEN_REFUNDED]).await).await;
}

#[tokio::test]
async fn without_a_bound_on_refunds_one_account_leaves_less_than_1_mib_of_everything_together_on_redis() {
    everything_together_leaves_less_than_a_mebibyte(Stage::on_redis(&[OFTEN_REFUNDED]).await).await;
}
