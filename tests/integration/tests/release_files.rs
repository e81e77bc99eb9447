//! The files that are published beside the binaries of a release.

use std::path::Path;
use std::process::Command;

use integration::process_pair::ProcessPair;
use integration::processes::binary;
use integration::scripted_upstream::ScriptedUpstream;
use serde_json::Value;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/release-files");

#[tokio::test]
async fn a_release_has_each_services_openapi_and_the_descriptors_as_they_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("files");
    let programs = binary("auth-service").parent().unwrap().to_owned();
    // Nothing of the environment is read: a release is built where no service is configured.
    let made = Command::new(SCRIPT).args([&files, &programs]).env("TOLLGATE_PRICES", "nonsense").output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let upstream = ScriptedUpstream::start().await;
    let processes = ProcessPair::start(&upstream.url(), &[]);
    for (name, url) in [("openapi-auth.json", processes.auth.url()), ("openapi-inference.json", processes.inference.url())] {
        let (file, served) = (json(&read(&files.join(name))), json(&fetch(&format!("{url}/openapi.json"))));
        assert_eq!(file["openapi"], "3.1.0");
        assert!(file == served, "{name} is not what is served");
        assert_eq!(read(&files.join("descriptors.pb")), fetch(&format!("{url}/descriptors.pb")));
    }
    assert_eq!(std::fs::read_dir(&files).unwrap().count(), 3);
    assert_eq!(Command::new(SCRIPT).output().unwrap().status.code(), Some(64), "it says how it is used");
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn fetch(url: &str) -> Vec<u8> {
    let done = Command::new("curl").args(["-sSf", "--max-time", "20", url]).output().unwrap();
    assert!(done.status.success(), "{url}: {}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}
