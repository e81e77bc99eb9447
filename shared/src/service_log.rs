//! The log of the service beside which a command runs, in a container: `docker compose exec` shows what a command writes to whoever typed
//! it, and to nobody else. The audit trail belongs into the service's log.

use std::fs::{self, File, OpenOptions};
use std::path::Path;

/// Logs this event, and once more into the log of the service that is process 1 of this container, where there is one. A line that can't
/// be written there is missing there: what it tells has happened.
pub fn log_beside_the_service(event: impl Fn()) {
    event();
    if let Some(log) = open(Path::new("/proc")) {
        write_to(log, event);
    }
}

/// Standard error of process 1, if that is the same program as this one: on a host it is another.
fn open(processes: &Path) -> Option<File> {
    let program = |process: &str| fs::read_link(processes.join(process).join("exe")).ok();
    // Process 1 itself would log twice.
    if std::process::id() == 1 || program("1")? != program("self")? {
        return None;
    }
    OpenOptions::new().append(true).open(processes.join("1/fd/2")).ok()
}

/// As JSON, which logs are that no terminal shows.
fn write_to(log: File, event: impl Fn()) {
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(std::sync::Mutex::new(log)).finish();
    tracing::subscriber::with_default(subscriber, event);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A `/proc` whose process 1 runs this program, and whose own process runs that one.
    fn processes(first: &str, this: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (process, program) in [("1", first), ("self", this)] {
            fs::create_dir_all(folder.path().join(process).join("fd")).unwrap();
            symlink(program, folder.path().join(process).join("exe")).unwrap();
        }
        fs::write(folder.path().join("1/fd/2"), "what the service wrote\n").unwrap();
        folder
    }

    #[test]
    fn what_a_command_did_is_a_line_in_the_log_of_the_service_that_is_process_1() {
        let folder = processes("/usr/local/bin/auth-service", "/usr/local/bin/auth-service");
        write_to(open(folder.path()).unwrap(), || tracing::info!(target: "audit", action = "create_admin", "an admin was made"));
        let log = fs::read_to_string(folder.path().join("1/fd/2")).unwrap();
        let lines: Vec<_> = log.lines().collect();
        assert_eq!((lines.len(), lines[0]), (2, "what the service wrote"), "{log}");
        let fields = ["\"level\":\"INFO\"", "\"message\":\"an admin was made\"", "\"action\":\"create_admin\"", "\"target\":\"audit\""];
        assert!(fields.iter().all(|field| lines[1].contains(field)), "{log}");
    }

    #[test]
    fn on_a_host_process_1_is_another_program_and_is_left_alone() {
        assert!(open(processes("/usr/lib/systemd/systemd", "/usr/local/bin/auth-service").path()).is_none());
        assert!(open(tempfile::tempdir().unwrap().path()).is_none(), "nothing is known of process 1");
    }
}
