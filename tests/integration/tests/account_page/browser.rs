//! The browser itself: what a test leaves behind, and what it sees that goes wrong.

use std::sync::Arc;

use integration::polling::until;

use crate::chromedriver::{Browser, Chromedriver};
use crate::page::SOON;

/// The command lines of the processes that have this in theirs, but for this test's own. Linux only.
fn processes_with(part: &str) -> Vec<String> {
    let command_line = |process: std::fs::DirEntry| {
        let line = std::fs::read(process.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(part).then_some(line)
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(command_line).collect()
}

#[tokio::test]
async fn a_test_that_panics_leaves_no_process_of_its_browser_behind() {
    let Some(driver) = Chromedriver::of_its_own("a_test_that_panics_leaves_no_process_of_its_browser_behind") else { return };
    let browser = Browser::open(&driver).await;
    let profile = browser.profile().display().to_string();
    assert!(!processes_with(&profile).is_empty());
    let panics = tokio::spawn(async move {
        let _held: (Browser, Arc<Chromedriver>) = (browser, driver);
        panic!("as a test does");
    });
    assert!(panics.await.unwrap_err().is_panic());
    until("its processes to be gone", SOON, || async { processes_with(&profile).is_empty().then_some(()) }).await;
    assert!(!std::path::Path::new(&profile).exists(), "its profile is still there");
}
