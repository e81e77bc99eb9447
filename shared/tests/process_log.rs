//! The log of a process that ends, whichever way: all of its lines are there. And it ends, though nobody reads them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "the parts that the tests share")]

use std::io::Read;
use std::pin::pin;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use shared::runtime::block_on;
use shared::serving::shutdown_signal;
use shared::telemetry::{LogConfig, LogFormat, report_fatal};

/// Says to this test's own binary which process it is.
const PART: &str = "TOLLGATE_TEST_PART";
/// Lines that each process logs: far more than a pipe takes.
const LINES: u64 = 4_000;
const SOON: Duration = Duration::from_secs(40);

/// The process that this binary plays when [`PART`] names one.
fn play(part: &str) -> ExitCode {
    block_on("a-service", async {
        LogConfig { filter: "info".to_owned(), format: LogFormat::Json }.install();
        let mut shutdown = pin!(shutdown_signal());
        tokio::select! {
            biased;
            // Watches signals from here on.
            () = &mut shutdown => {}
            () = std::future::ready(()) => {}
        }
        (0..LINES).for_each(|number| tracing::info!(number, "settled"));
        match part {
            "that returns" => ExitCode::SUCCESS,
            "that lost what it needs" => {
                report_fatal("a-service", &"the timer panicked");
                ExitCode::from(70)
            }
            "that panics" => panic!("on purpose"),
            _ => {
                shutdown.await;
                tracing::info!("draining");
                std::future::pending().await
            }
        }
    })
}

#[test]
fn the_process_that_the_tests_start() {
    let Ok(part) = std::env::var(PART) else { return };
    let code = play(&part);
    // As from a main function.
    std::process::exit(if code == ExitCode::SUCCESS { 0 } else { 70 });
}

/// Starts this binary as such a process.
fn start(part: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_process_that_the_tests_start", "--nocapture"]).env(PART, part).env_remove("RUST_BACKTRACE");
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn exit_code(child: &mut Child) -> Option<i32> {
    let give_up = Instant::now() + SOON;
    while Instant::now() < give_up {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    panic!("the process still runs");
}

/// Reads the log to its end, on a thread of its own. The receiver hears when the last of [`LINES`] was read.
fn read_log(child: &mut Child) -> (mpsc::Receiver<()>, JoinHandle<String>) {
    let mut stderr = child.stderr.take().unwrap();
    let (all_are_here, heard) = mpsc::channel();
    let reading = std::thread::spawn(move || {
        let (mut log, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            let length = stderr.read(&mut piece).unwrap();
            if length == 0 {
                return String::from_utf8(log).unwrap();
            }
            log.extend_from_slice(&piece[..length]);
            let end = String::from_utf8_lossy(&log[log.len().saturating_sub(2 * piece.len())..]);
            if end.contains(&format!("\"number\":{}", LINES - 1)) {
                // Whoever has heard it once may be gone.
                let _ = all_are_here.send(());
            }
        }
    });
    (heard, reading)
}

/// All lines that were logged are there, in order and each of them whole. Answers what follows them.
fn behind_all_lines(log: &str) -> Vec<&str> {
    let (settled, behind): (Vec<&str>, Vec<&str>) = log.lines().partition(|line| line.contains("\"settled\""));
    for (number, line) in settled.iter().enumerate() {
        let whole = line.starts_with("{\"timestamp\"") && line.ends_with('}') && line.contains(&format!("\"number\":{number}"));
        assert!(whole, "line {number} is {line}");
    }
    assert_eq!(settled.len() as u64, LINES);
    assert!(log.ends_with(&behind.iter().map(|line| format!("{line}\n")).collect::<String>()), "they come last: {behind:?}");
    behind
}

fn log_of_one_that_ends(part: &str, code: i32) -> String {
    let mut child = start(part);
    let (_, reading) = read_log(&mut child);
    let log = reading.join().unwrap();
    assert_eq!(exit_code(&mut child), Some(code), "{part}");
    log
}

#[test]
fn a_process_that_returns_has_logged_all_of_its_lines() {
    assert!(behind_all_lines(&log_of_one_that_ends("that returns", 0)).is_empty());
}

#[test]
fn a_process_that_exits_70_has_logged_all_of_its_lines_and_then_why() {
    let log = log_of_one_that_ends("that lost what it needs", 70);
    assert_eq!(behind_all_lines(&log), ["a-service: the timer panicked"]);
}

#[test]
fn a_process_that_panics_has_logged_all_of_its_lines_and_then_the_panic() {
    let log = log_of_one_that_ends("that panics", 101);
    let behind = behind_all_lines(&log);
    assert!(behind[1].starts_with("thread '") && behind[1].contains("panicked at shared/tests/process_log.rs:"), "{behind:?}");
    assert_eq!(behind[2], "on purpose");
}

#[test]
fn a_process_that_gets_a_second_signal_has_logged_all_of_its_lines_and_then_that() {
    let mut child = start("that is stopped twice");
    let (all_are_here, reading) = read_log(&mut child);
    all_are_here.recv_timeout(SOON).unwrap();
    let give_up = Instant::now() + SOON;
    // Signals that come together are one: again until it ends.
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < give_up, "the process still runs");
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(exit_code(&mut child), Some(128 + 15));
    let log = reading.join().unwrap();
    let behind = behind_all_lines(&log);
    assert!(behind[0].contains("\"draining\""), "{behind:?}");
    assert_eq!(behind[1..], ["tollgate: a second signal: ended at once, without waiting for running calls"]);
}

#[test]
fn a_process_whose_log_nobody_reads_ends_all_the_same() {
    for (part, code) in [("that returns", 0), ("that lost what it needs", 70), ("that panics", 101)] {
        assert_eq!(exit_code(&mut start(part)), Some(code), "{part}");
    }
}
