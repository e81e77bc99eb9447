//! What the real services keep in memory after their first calls.
#![cfg(target_os = "linux")]

use integration::polling::{SOON, until};
use integration::process_pair::ProcessPair;
use integration::scripted_upstream::ScriptedUpstream;

/// Memory of no file, in KiB: less than one hash of a password takes, which is 19 MiB. The code itself takes some 9 MiB more, of a release
/// build.
const MOST_KIB: u64 = 15 << 10;

#[tokio::test]
async fn a_service_keeps_little_after_its_first_call_and_nothing_of_a_password_hash() {
    let upstream = ScriptedUpstream::start().await;
    let processes = ProcessPair::start(&upstream.url(), &[]);
    // A sign-up and a login: with the one at the start, three hashes of 19 MiB.
    let key = processes.user().await;
    assert_eq!(processes.chat(&key).await.unwrap().charged(), Some(1));
    for process in [&processes.auth, &processes.inference] {
        until("little memory", SOON, || async { (process.resident_kib() <= MOST_KIB).then_some(()) }).await;
    }
}
