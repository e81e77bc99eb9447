//! A terminal with a person before it: a pseudo-terminal, and a screen that shows what a real one would.

use std::fs::File;
use std::num::NonZero;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{InputModes, LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::polling::{SOON, until};
use crate::processes::binary;
use crate::shell::Shell;

/// So many that what is looked for stands on one line.
const COLUMNS: u16 = 200;
const ROWS: u16 = 50;
/// What a conversation waits with.
pub const PLACEHOLDER: &str = ">>> Send a message (/? for help)";

/// A running command, and what its terminal shows.
pub struct Terminal {
    /// Both ends of a terminal are one; tokio reads and writes it as it does a pipe.
    keyboard: Sender,
    shown: Arc<Mutex<Shown>>,
    /// Reads what is shown.
    eyes: JoinHandle<()>,
    child: Child,
}

struct Shown {
    screen: vt100::Parser,
    /// All bytes that ever came.
    bytes: Vec<u8>,
}

/// What to run, and where.
pub struct Setting {
    command: Command,
    standard_output: Option<Stdio>,
    standard_error: Option<Stdio>,
}

impl Setting {
    /// `tollgate` with these arguments.
    pub fn of(shell: &Shell, arguments: &[&str]) -> Self {
        // It makes the pseudo-terminal the session's own, so that Ctrl-C is a signal, and becomes the command: the process id stays.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(binary("tollgate")).args(arguments).env_clear().envs(&shell.environment);
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("TERM", "xterm-256color").kill_on_drop(true);
        Self { command, standard_output: None, standard_error: None }
    }

    /// With a variable set.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// With standard error elsewhere.
    pub fn with_error_to(mut self, file: File) -> Self {
        self.standard_error = Some(file.into());
        self
    }

    /// With standard output elsewhere.
    pub fn with_output_to(mut self, file: File) -> Self {
        self.standard_output = Some(file.into());
        self
    }

    /// Starts it.
    pub fn open(mut self) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        resize(&master, COLUMNS, ROWS);
        let name = ptsname(&master, Vec::new()).unwrap();
        let side = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let terminal = || Stdio::from(side.try_clone().unwrap());
        self.command.stdin(terminal());
        self.command.stdout(self.standard_output.take().unwrap_or_else(terminal));
        self.command.stderr(self.standard_error.take().unwrap_or_else(terminal));
        let child = self.command.spawn().unwrap();
        // The command has the only ones: when it ends, reading ends.
        drop((self.command, side));
        rustix::io::ioctl_fionbio(&master, true).unwrap();
        let screen_side = Receiver::from_owned_fd_unchecked(master.try_clone().unwrap()).unwrap();
        let keyboard = Sender::from_owned_fd_unchecked(master).unwrap();
        let shown = Arc::new(Mutex::new(Shown { screen: vt100::Parser::new(size(ROWS), size(COLUMNS), 0), bytes: Vec::new() }));
        let eyes = tokio::spawn(look(screen_side, Arc::clone(&shown)));
        Terminal { keyboard, shown, eyes, child }
    }
}

/// Reads what comes, until the command ends.
async fn look(mut screen_side: Receiver, shown: Arc<Mutex<Shown>>) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = screen_side.read(&mut buffer).await {
        let mut shown = shown.lock().unwrap();
        shown.screen.process(&buffer[..read]);
        shown.bytes.extend_from_slice(&buffer[..read]);
    }
}

fn size(lines: u16) -> NonZero<u16> {
    NonZero::new(lines).unwrap()
}

fn resize(master: impl AsFd, columns: u16, rows: u16) {
    tcsetwinsize(master, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

impl Terminal {
    /// A conversation that waits for its first line.
    pub async fn chat(shell: &Shell, more: &[&str]) -> Self {
        let terminal = Setting::of(shell, &[&["chat", "smollm2"], more].concat()).open();
        terminal.until(PLACEHOLDER).await;
        terminal
    }

    /// What the screen shows, without blanks at the ends.
    pub fn screen(&self) -> String {
        let contents = self.shown.lock().unwrap().screen.screen().contents();
        contents.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_owned()
    }

    /// All that ever came.
    pub fn bytes(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap().bytes).into_owned()
    }

    /// Waits until the screen is as this says, and shows it.
    pub async fn until_screen(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let started = std::time::Instant::now();
        until(what, SOON + SOON, || async {
            let screen = self.screen();
            assert!(started.elapsed() < SOON, "no {what} on the screen:\n{screen}");
            is(&screen).then_some(screen)
        })
        .await
    }

    /// Waits until the screen shows this.
    pub async fn until(&self, part: &str) -> String {
        self.until_screen(part, |screen| screen.contains(part)).await
    }

    /// Waits until what is typed isn't shown: a prompt stands there a moment before.
    pub async fn until_nothing_is_echoed(&self) {
        until("no echo", SOON, || async {
            let modes = rustix::termios::tcgetattr(&self.keyboard).unwrap().local_modes;
            (!modes.contains(rustix::termios::LocalModes::ECHO)).then_some(())
        })
        .await;
    }

    /// Types.
    pub fn types(&self, keys: &str) {
        assert_eq!(rustix::io::write(&self.keyboard, keys.as_bytes()).unwrap(), keys.len(), "that much must be pasted");
    }

    /// Types more than a terminal takes at once.
    pub async fn pastes(&self, keys: &str) {
        let mut rest = keys.as_bytes();
        while !rest.is_empty() {
            self.keyboard.writable().await.unwrap();
            if let Ok(written) = self.keyboard.try_write(rest) {
                rest = &rest[written..];
            }
        }
    }

    /// Types a line at the prompt and waits for the next prompt, below what came of the line.
    pub async fn does(&self, line: &str, part: &str) -> String {
        let before = self.shown.lock().unwrap().bytes.len();
        self.types(&format!("{line}\r"));
        // The screen shows the old prompt until the line is read, and may show the part from before: it is looked at after the next one.
        let invitation = PLACEHOLDER.trim_start_matches('>').trim_start().as_bytes();
        let is_asked_again = || self.shown.lock().unwrap().bytes[before..].windows(invitation.len()).any(|part| part == invitation);
        self.until_screen(&format!("prompt below {part:?}"), |_| is_asked_again()).await;
        self.until_screen(part, |screen| screen.contains(part) && screen.ends_with(PLACEHOLDER)).await
    }

    /// Begins a new screen.
    pub async fn clear(&self) {
        self.types("\u{c}");
        self.until_screen("an empty screen", |screen| screen == PLACEHOLDER).await;
    }

    /// Changes the window's size.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.shown.lock().unwrap().screen.screen_mut().set_size(size(rows), size(columns));
        resize(&self.keyboard, columns, rows);
    }

    /// Whether it shows what is typed, by lines, and turns Enter into an end of a line, as it did at first.
    pub fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.keyboard).unwrap();
        modes.local_modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
            && modes.input_modes.contains(InputModes::ICRNL | InputModes::IXON)
    }

    /// Sends a signal.
    pub async fn signal(&self, signal: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().await.unwrap().success());
    }

    /// Ctrl-C again and again, as by somebody who sees nothing happen, until it ends: its exit code.
    pub async fn is_interrupted_until_it_ends(&mut self) -> i32 {
        let started = std::time::Instant::now();
        loop {
            self.signal("INT").await;
            match timeout(Duration::from_millis(50), self.child.wait()).await {
                Ok(status) => return status.unwrap().code().unwrap(),
                Err(_) => assert!(started.elapsed() < SOON, "it still runs"),
            }
        }
    }

    /// Waits for its end: its exit code. The terminal is cooked again.
    pub async fn ends(&mut self) -> i32 {
        let status = self.end().await;
        status.code().unwrap_or_else(|| panic!("{status}: {}", self.screen()))
    }

    /// Waits for its end by a signal: its number. The terminal is cooked again.
    pub async fn ends_by_signal(&mut self) -> i32 {
        let status = self.end().await;
        status.signal().unwrap_or_else(|| panic!("{status}: {}", self.screen()))
    }

    async fn end(&mut self) -> ExitStatus {
        let status = timeout(SOON, self.child.wait()).await.unwrap_or_else(|_| panic!("it still runs:\n{}", self.screen())).unwrap();
        assert!(self.is_cooked(), "{}", self.screen());
        status
    }

    /// Nobody reads any more what the command writes: it waits in the terminal, and then the command waits.
    pub async fn is_not_read_until_stuck(&self) {
        self.eyes.abort();
        let path = format!("/proc/{}/syscall", self.child.id().unwrap());
        until("a write to standard output that waits", SOON, || async {
            let call = std::fs::read_to_string(&path).unwrap();
            let mut fields = call.split(' ');
            // `write`, on x86-64 and on ARM.
            (matches!(fields.next(), Some("1" | "64")) && fields.next() == Some("0x1")).then_some(())
        })
        .await;
    }

    /// The terminal is closed, as by the window's button: the command's end is the caller's to wait for.
    pub async fn hangs_up(self) -> Child {
        self.eyes.abort();
        // Aborted, and so without what it had.
        let _ = self.eyes.await;
        self.child
    }
}
