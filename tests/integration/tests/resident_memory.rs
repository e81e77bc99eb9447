//! What the real services keep in memory after their first calls.
#![cfg(target_os = "linux")]

use std::time::Duration;

use integration::polling::until;
use integration::process_pair::ProcessPair;
use integration::scripted_upstream::ScriptedUpstream;

/// Memory of no file, in KiB. In a debug build, 10 MiB were measured of auth-service: 6 of the heap, and 2 of addresses in the binary,
/// which are written when it is loaded. The code itself takes some 9 MiB more, of a release build.
const MOST_KIB: u64 = 12 << 10;
/// What the start has freed, some 3 MiB, is given back once threads end that have had nothing to do for ten seconds.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_service_keeps_little_after_its_first_call_and_nothing_of_a_password_hash() {
    let upstream = ScriptedUpstream::start().await;
    let processes = ProcessPair::start(&upstream.url(), &[]);
    // A sign-up and a login: with the one at the start, three hashes of 19 MiB.
    let key = processes.user().await;
    assert_eq!(processes.chat(&key).await.unwrap().charged(), Some(1));
    for process in [&processes.auth, &processes.inference] {
        until("little memory", SETTLED_WITHIN, || async { (process.resident_kib() <= MOST_KIB).then_some(()) }).await;
    }
}
