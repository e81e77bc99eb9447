//! Where exported lines go: a file that is appended to, or standard output. [`Destination::keep`] answers once what it was given is kept.
//!
//! A file keeps lines once they are synced to its disk. A pipe keeps nothing: its reader may go away, as `head` does, with lines in the
//! pipe that nobody reads. So the last line's end is held back until the reader has taken everything before it, and then is waited for
//! as well. Only a reader that came back for more takes it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::ioctl_fionread;
use tokio::io::Interest;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

/// How often is looked whether a pipe's reader has taken all, or a file is no longer locked.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What to do where entries would be lost for good.
const KEEPS_NOTHING: &str = "it keeps nothing of what is then folded; name a file (--to FILE), or --to /dev/null to throw entries away";

/// Why lines can't be written, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{name} can't be written: {error}; {advice}. What was not written stays in the store")]
pub struct OutputError {
    name: String,
    error: io::Error,
    advice: &'static str,
}

/// Where lines go.
#[derive(Debug)]
pub struct Destination {
    name: String,
    output: Output,
}

#[derive(Debug)]
enum Output {
    /// On a disk.
    File(Arc<File>),
    /// To a reader.
    Pipe {
        file: Arc<File>,
        /// Knows when there is no reader any more.
        watch: pipe::Sender,
    },
    /// To a device, which is told and not asked.
    Other(Arc<File>),
}

impl Destination {
    /// Standard output. `must_keep`: not one that keeps nothing, such as a terminal, `/dev/null`, or one that was closed.
    ///
    /// # Errors
    /// When it can't be used, or keeps nothing and must.
    pub fn standard_output(must_keep: bool) -> Result<Self, OutputError> {
        let name = "standard output".to_owned();
        let standard_output = io::stdout();
        if must_keep && (standard_output.is_terminal() || is_null(standard_output.as_fd()).unwrap_or(true)) {
            return Err(OutputError { name, error: io::ErrorKind::Unsupported.into(), advice: KEEPS_NOTHING });
        }
        let file = standard_output.as_fd().try_clone_to_owned().map(File::from);
        match file.and_then(|file| Output::of(Arc::new(file))) {
            Ok(output) => Ok(Self { name, output }),
            Err(error) => Err(refusal(name, error)),
        }
    }

    /// A file to append to, made readable by its owner alone where there is none. It is locked: an export that writes to it is waited for.
    ///
    /// # Errors
    /// When it can't be opened, read or locked.
    pub async fn file(path: &Path) -> Result<Self, OutputError> {
        let name = path.display().to_string();
        match Output::append_to(path).await {
            Ok(output) => Ok(Self { name, output }),
            Err(error) => Err(refusal(name, error)),
        }
    }

    /// Writes whole lines, and answers when they are kept. Given up, it may have written a part of them.
    ///
    /// # Errors
    /// When they are not kept, or it isn't known.
    pub async fn keep(&self, lines: Vec<u8>) -> Result<(), OutputError> {
        self.output.keep(lines).await.map_err(|error| refusal(self.name.clone(), error))
    }
}

impl Output {
    fn of(file: Arc<File>) -> io::Result<Self> {
        let kind = file.metadata()?.file_type();
        if kind.is_file() {
            Ok(Self::File(file))
        } else if kind.is_fifo() {
            // Unchecked: nothing is written by it, so that others who have this end of the pipe find it as it was.
            let watch = pipe::Sender::from_file_unchecked(file.try_clone()?)?;
            Ok(Self::Pipe { file, watch })
        } else {
            Ok(Self::Other(file))
        }
    }

    async fn append_to(path: &Path) -> io::Result<Self> {
        let is_file = fs::metadata(path).map_or(true, |there| there.is_file());
        let mut options = OpenOptions::new();
        // A pipe or a device is only written: who reads from it, too, would take its lines from its reader.
        options.read(is_file).append(true).create(is_file).mode(0o600);
        let opened = path.to_owned();
        // A named pipe's end is opened when somebody opens the other one.
        let file = on_thread(move || options.open(opened)).await?;
        if is_file {
            lock(&file, path).await?;
            end_broken_line(&file)?;
            // The name, too, must be there after a crash.
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(folder)?.sync_all()?;
        }
        Self::of(Arc::new(file))
    }

    async fn keep(&self, mut lines: Vec<u8>) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        match self {
            Self::File(file) => {
                write(file, lines).await?;
                let file = Arc::clone(file);
                on_thread(move || file.sync_data()).await
            }
            Self::Other(file) => write(file, lines).await,
            Self::Pipe { file, watch } => {
                let end = lines.split_off(lines.len() - 1);
                for part in [lines, end] {
                    write(file, part).await?;
                    taken(watch).await?;
                }
                Ok(())
            }
        }
    }
}

async fn write(file: &Arc<File>, bytes: Vec<u8>) -> io::Result<()> {
    let file = Arc::clone(file);
    on_thread(move || (&*file).write_all(&bytes)).await
}

/// Whether it is `/dev/null`.
fn is_null(output: BorrowedFd<'_>) -> io::Result<bool> {
    let output = File::from(output.try_clone_to_owned()?).metadata()?;
    Ok(output.file_type().is_char_device() && output.rdev() == fs::metadata("/dev/null")?.rdev())
}

/// Waits until no other process has locked the file.
async fn lock(file: &File, path: &Path) -> io::Result<()> {
    let mut waits = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if waits => {}
            Err(TryLockError::WouldBlock) => {
                tracing::info!(file = %path.display(), "another export writes to the file; waiting for its end");
            }
        }
        waits = true;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Ends a line that an export broke off in, so that it spoils no other.
fn end_broken_line(mut file: &File) -> io::Result<()> {
    if file.metadata()?.len() == 0 {
        return Ok(());
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}

/// Does what may take for ever, such as a write into a full pipe, on a thread of its own. Given up, it goes on, and ends with the process:
/// a runtime's own thread would keep the process from its end.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let (answer, answered) = oneshot::channel();
    std::thread::Builder::new().name("export".to_owned()).spawn(move || {
        // Whoever gave it up doesn't ask.
        let _ = answer.send(work());
    })?;
    answered.await.map_err(io::Error::other)?
}

/// Waits until the pipe's reader has taken all that is in it.
async fn taken(pipe: &pipe::Sender) -> io::Result<()> {
    while ioctl_fionread(pipe)? > 0 {
        tokio::select! {
            // There is no reader any more.
            gone = pipe.ready(Interest::ERROR) => {
                gone?;
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    Ok(())
}

fn refusal(name: String, error: io::Error) -> OutputError {
    use io::ErrorKind as Kind;
    let advice = match error.kind() {
        Kind::BrokenPipe => "what reads the lines went away before it had all of them; use one that reads to the end",
        Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => "make room, or name a file on another disk (--to FILE)",
        Kind::NotFound => "make its folder, or name another file (--to FILE)",
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => {
            "make it readable and writable for this user, or name another file (--to FILE)"
        }
        Kind::IsADirectory | Kind::NotADirectory => "name a file (--to FILE)",
        _ => "name another file (--to FILE), or - for standard output",
    };
    OutputError { name, error, advice }
}
