//! `auth-service export-ledger`, the process itself, on a store that this process uses at the same time.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use auth_service::hold::Outcome;
use auth_service::store::AccountSnapshot;

use crate::fixture::{Fixture, Home, Person, event, one_credit, sqlite_file};
use crate::ledger::lines;
use crate::limits;

const SECRET: &str = "00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f";
const SOON: Duration = Duration::from_secs(40);

/// The command, with a retention that everything of the fixture's own time is older than.
fn export_ledger(f: &Fixture, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_auth-service"));
    command.env_clear().env("TOLLGATE_LEDGER_RETENTION", "1h").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    match &f.home {
        Home::Sqlite(folder) => command.env("TOLLGATE_DATA_DIR", folder.path()),
        Home::Redis(server) => command
            .env("TOLLGATE_REDIS_URL", server.url())
            .env("TOLLGATE_JWT_SECRETS", format!("k:{SECRET}"))
            .env("TOLLGATE_SERVICE_CREDENTIALS", SECRET),
    };
    command.arg("export-ledger").args(arguments);
    command
}

fn export_to(f: &Fixture, file: &Path) -> Output {
    export_ledger(f, &["--to", file.to_str().unwrap()]).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Its exit status and what it said, when it ends by itself.
fn ended(mut child: Child) -> (Option<i32>, String) {
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > SOON {
            child.kill().unwrap();
            panic!("it doesn't end");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    // Standard output may be read by somebody else.
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (child.wait().unwrap().code(), text)
}

fn signal(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap().success());
}

/// A user with one entry for their credits and four for charges, all of long ago.
async fn ada(f: &Fixture) -> (Person, AccountSnapshot) {
    let ada = f.person("ada", 20).await;
    for i in 0..4 {
        let held = f.hold(&ada, one_credit(&format!("r{i}"), "a")).await;
        f.settle(&held.terms, Outcome::Completed, 1).await;
    }
    let snapshot = f.snapshot(&ada).await;
    (ada, snapshot)
}

/// Exports to a file, whatever was exported before: all five entries are there in the end.
async fn is_exported_next_time(f: &Fixture, ada: &Person, file: &Path) {
    let output = export_to(f, file);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(lines(file).len(), 5);
    assert_eq!(f.snapshot(ada).await.checkpoint.unwrap().last_entry, 5);
}

/// Reads the lines of a process but for the end of the last one.
fn read_without_the_last_end(child: &mut Child, lines: usize) {
    let output = child.stdout.as_mut().unwrap();
    let (mut text, mut byte) = (Vec::new(), [0]);
    loop {
        output.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
        let ends = text.iter().filter(|byte| **byte == b'\n').count();
        let last = text.rsplit(|byte| *byte == b'\n').next().unwrap();
        if ends == lines - 1 && serde_json::from_slice::<serde_json::Value>(last).is_ok() {
            return;
        }
    }
}

pub(crate) async fn the_command_exports_what_is_old_beside_those_who_use_the_store(f: Fixture) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.jsonl");
    let (ada, _) = ada(&f).await;
    // From here on, entries are new.
    let now_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    f.advance(Duration::from_millis((now_ms - f.now_ms()).unsigned_abs()));
    let child = export_ledger(&f, &["--to", file.to_str().unwrap()]).spawn().unwrap();
    for i in 4..14 {
        let held = f.hold(&ada, one_credit(&format!("r{i}"), "a")).await;
        f.settle(&held.terms, Outcome::Completed, 1).await;
    }
    let (code, said) = ended(child);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("export_ledger") && said.contains("audit"), "{said}");
    let snapshot = f.snapshot(&ada).await;
    assert_eq!((snapshot.checkpoint.unwrap().last_entry, snapshot.ledger.len(), snapshot.balance.spent), (5, 10, 14));
    assert_eq!(lines(&file).len(), 5);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // Once more there is nothing to do.
    let again = export_to(&f, &file);
    assert_eq!((again.status.code(), lines(&file).len()), (Some(0), 5), "{}", said);
}

pub(crate) async fn without_a_retention_the_command_writes_all_to_standard_output_and_folds_nothing(f: Fixture) {
    let (ada, before) = ada(&f).await;
    for arguments in [&[][..], &["--to", "-"]] {
        let output = export_ledger(&f, arguments).env_remove("TOLLGATE_LEDGER_RETENTION").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        let written: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(written.iter().map(|line| line["credits"].as_i64().unwrap()).collect::<Vec<_>>(), [20, -1, -1, -1, -1]);
        assert_eq!(f.snapshot(&ada).await, before);
    }
}

pub(crate) async fn standard_output_that_is_read_to_its_end_is_folded_whether_it_is_a_pipe_or_a_file(f: Fixture) {
    let folder = tempfile::tempdir().unwrap();
    let (ada, _) = ada(&f).await;
    let piped = export_ledger(&f, &[]).output().unwrap();
    assert_eq!((piped.status.code(), piped.stdout.iter().filter(|byte| **byte == b'\n').count()), (Some(0), 5), "{}", said(&piped));
    assert_eq!(f.snapshot(&ada).await.checkpoint.unwrap().last_entry, 5);
    let file = folder.path().join("ledger");
    let held = f.hold(&ada, one_credit("later", "a")).await;
    f.settle(&held.terms, Outcome::Completed, 1).await;
    let redirected = export_ledger(&f, &[]).stdout(File::create(&file).unwrap()).output().unwrap();
    assert_eq!((redirected.status.code(), lines(&file).len()), (Some(0), 1), "{}", said(&redirected));
    assert_eq!(f.snapshot(&ada).await.checkpoint.unwrap().last_entry, 6);
}

pub(crate) async fn a_pipe_whose_reader_goes_away_ends_the_command_before_it_folds_what_was_not_read(f: Fixture) {
    let folder = tempfile::tempdir().unwrap();
    let (ada, before) = ada(&f).await;
    // One that reads nothing, though all of it fits into the pipe.
    let mut child = export_ledger(&f, &[]).spawn().unwrap();
    drop(child.stdout.take());
    let (code, said) = ended(child);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("went away") && said.contains("stays in the store") && said.contains("0 of them folded"), "{said}");
    assert_eq!(f.snapshot(&ada).await, before);
    // One that has read all of it, and wants only a part.
    let mut child = export_ledger(&f, &[]).spawn().unwrap();
    let head = Command::new("head").args(["-n", "1"]).stdin(child.stdout.take().unwrap()).output().unwrap();
    assert_eq!(head.stdout.iter().filter(|byte| **byte == b'\n').count(), 1);
    let (code, said) = ended(child);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(f.snapshot(&ada).await, before);
    is_exported_next_time(&f, &ada, &folder.path().join("ledger")).await;
}

pub(crate) async fn standard_output_that_keeps_nothing_is_refused_before_anything_is_folded(f: Fixture) {
    let (ada, before) = ada(&f).await;
    let mut closed = Command::new("sh");
    closed.args(["-c", "exec \"$0\" export-ledger >&-", env!("CARGO_BIN_EXE_auth-service")]);
    closed.env_clear().envs(export_ledger(&f, &[]).get_envs().filter_map(|(name, value)| Some((name, value?))));
    for mut command in [closed, export_ledger(&f, &[])] {
        let output = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("keeps nothing") && said.contains("--to FILE"), "{said}");
        assert_eq!(f.snapshot(&ada).await, before);
    }
    // By its name it is meant.
    assert_eq!(export_to(&f, Path::new("/dev/null")).status.code(), Some(0));
    assert_eq!(f.snapshot(&ada).await.checkpoint.unwrap().last_entry, 5);
}

pub(crate) async fn an_account_that_contradicts_itself_is_passed_over_and_named_and_all_others_are_exported(f: Fixture) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger");
    let (ada, _) = ada(&f).await;
    let bob = f.person("bob", 3).await;
    match &f.home {
        Home::Redis(server) => server.command(&["XDEL", &format!("tg:{{{}}}:log", ada.account), "2-0"]),
        Home::Sqlite(folder) => {
            let outside = rusqlite::Connection::open(sqlite_file(folder.path())).unwrap();
            outside.execute("DELETE FROM ledger WHERE account_id = ? AND entry = 2", [ada.account.as_str()]).unwrap();
        }
    }
    let output = export_to(&f, &file);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(ada.account.as_str()) && said.contains("ledger entry 3"), "{said}");
    assert!(said.contains("1 ledger entries were written, and 1 of them folded. 1 accounts contradict themselves"), "{said}");
    assert_eq!(lines(&file).into_keys().collect::<Vec<_>>(), [(bob.account.to_string(), 1)]);
    let wrong = f.store.snapshot(&ada.account).await.unwrap().unwrap();
    assert_eq!((wrong.checkpoint, wrong.ledger.len()), (None, 4));
    assert!(!wrong.violations().is_empty());
}

pub(crate) async fn a_named_pipe_that_nobody_reads_does_not_keep_a_signal_from_ending_the_command(f: Fixture) {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (ada, before) = ada(&f).await;
    let child = export_ledger(&f, &["--to", pipe.to_str().unwrap()]).spawn().unwrap();
    // SIGTERM is watched from the time at which something is waited for.
    let started = Instant::now();
    let watches = || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        u64::from_str_radix(caught, 16).unwrap() & (1 << 14) != 0
    };
    while !watches() {
        assert!(started.elapsed() < SOON, "it never watches SIGTERM");
        std::thread::sleep(Duration::from_millis(2));
    }
    signal(&child, "TERM");
    let (code, said) = ended(child);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("a signal stopped the export"), "{said}");
    assert_eq!(f.snapshot(&ada).await, before);
}

pub(crate) async fn a_process_that_is_killed_between_writing_and_folding_leaves_entries_written_twice_and_none_lost(f: Fixture) {
    let folder = tempfile::tempdir().unwrap();
    let (ada, before) = ada(&f).await;
    let mut child = export_ledger(&f, &[]).spawn().unwrap();
    read_without_the_last_end(&mut child, 5);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(f.snapshot(&ada).await, before);
    is_exported_next_time(&f, &ada, &folder.path().join("ledger")).await;
}

pub(crate) async fn a_signal_ends_the_command_and_what_was_not_written_is_not_folded(f: Fixture) {
    let folder = tempfile::tempdir().unwrap();
    let (ada, before) = ada(&f).await;
    for name in ["TERM", "INT"] {
        let mut child = export_ledger(&f, &[]).spawn().unwrap();
        read_without_the_last_end(&mut child, 5);
        signal(&child, name);
        let (code, said) = ended(child);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("a signal stopped the export. 0 ledger entries were written, and 0 of them folded"), "{said}");
        assert_eq!(f.snapshot(&ada).await, before);
    }
    is_exported_next_time(&f, &ada, &folder.path().join("ledger")).await;
}

pub(crate) async fn a_file_that_can_not_be_written_is_refused_with_what_to_do_and_nothing_is_folded(f: Fixture) {
    let folder = tempfile::tempdir().unwrap();
    let (ada, before) = ada(&f).await;
    let missing = folder.path().join("missing/ledger");
    let below_a_file = folder.path().join("file/ledger");
    fs::write(folder.path().join("file"), "").unwrap();
    for (path, advice) in [
        (folder.path(), "name a file"),
        (&missing, "make its folder"),
        (&below_a_file, "name a file"),
        (Path::new("/dev/full"), "make room"),
        (Path::new("/proc/version"), "name another file"),
    ] {
        let output = export_to(&f, path);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(advice) && said.contains(path.to_str().unwrap()), "{said}");
        assert!(said.contains("What was not written stays in the store"), "{said}");
        assert_eq!(f.snapshot(&ada).await, before);
    }
    is_exported_next_time(&f, &ada, &folder.path().join("ledger")).await;
}

pub(crate) async fn a_file_is_appended_to_and_a_line_that_broke_off_spoils_no_other(f: Fixture) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger");
    ada(&f).await;
    fs::write(&file, "{\"accountId\":\"x\"}\n{\"accou").unwrap();
    let output = export_to(&f, &file);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[1]), (7, "{\"accountId\":\"x\"}", "{\"accou"));
    assert!(lines[2..].iter().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{text}");
}

pub(crate) async fn a_file_that_another_export_writes_to_is_waited_for(f: Fixture) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger");
    let (ada, before) = ada(&f).await;
    let mut other = File::create(&file).unwrap();
    other.lock().unwrap();
    let mut child = export_ledger(&f, &["--to", file.to_str().unwrap()]).spawn().unwrap();
    let mut log = [0; 4096];
    let read = child.stderr.as_mut().unwrap().read(&mut log).unwrap();
    let line = String::from_utf8_lossy(&log[..read]).into_owned();
    assert!(line.contains("another export writes to the file"), "{line}");
    assert_eq!(f.snapshot(&ada).await, before);
    other.write_all(b"{\"accountId\":\"x\",\"ledgerEntryId\":\"1\"}\n").unwrap();
    drop(other);
    let (code, said) = ended(child);
    assert_eq!((code, lines(&file).len()), (Some(0), 6), "{said}");
}

#[tokio::test]
async fn a_full_redis_is_given_room_by_an_export() {
    let folder = tempfile::tempdir().unwrap();
    let f = Fixture::redis(limits()).await;
    let Home::Redis(server) = &f.home else { panic!("not Redis") };
    let ada = f.person("ada", 1).await;
    for i in 0..2000 {
        let (account, granted_by, note) = (ada.account.clone(), ada.id.clone(), "n".repeat(200));
        let grant = auth_service::store::GrantRequest { account, credits: 1, request_id: format!("g{i}"), note, granted_by };
        f.store.grant(grant, event()).await.unwrap();
    }
    let used = server.counted("memory", "used_memory:");
    server.command(&["CONFIG", "SET", "maxmemory", &used.to_string()]);
    let check = || f.store.check(f.request(&ada, Some(one_credit("r", "a"))));
    assert!(check().await.is_err());
    let output = export_to(&f, &folder.path().join("ledger"));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let freed = used - server.counted("memory", "used_memory:");
    assert!(freed > 2000 * 100, "{freed}");
    check().await.unwrap();
    f.snapshot(&ada).await;
}
