//! A prompt written in the person's own editor.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use tokio::process::Command;
use tollgate_client::new_request_id;

use super::signals::Interrupts;
use crate::text_file::read_text;

const FALLBACK: &str = if cfg!(windows) { "notepad" } else { "vi" };

/// What the person makes of this text, in `$VISUAL`, `$EDITOR`, or what every system has. Ctrl-C is the editor's meanwhile.
pub(super) async fn compose(text: &str, interrupts: &mut Interrupts) -> Result<String, String> {
    let named = |variable: &str| std::env::var(variable).ok().filter(|value| !value.trim().is_empty());
    let editor = named("VISUAL").or_else(|| named("EDITOR")).unwrap_or_else(|| FALLBACK.to_owned());
    let path = std::env::temp_dir().join(format!("tollgate-prompt-{}.txt", new_request_id()));
    let composed = edited(text, &editor, &path, interrupts).await;
    // It may not have been made.
    let _ = fs::remove_file(&path);
    composed
}

async fn edited(text: &str, editor: &str, path: &Path, interrupts: &mut Interrupts) -> Result<String, String> {
    write(path, text).map_err(|error| format!("{} can't be written: {error}", path.display()))?;
    let mut words = editor.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or(FALLBACK));
    let mut child = command.args(words).arg(path).spawn().map_err(|error| format!("the editor {editor:?} can't be run: {error}"))?;
    let status = loop {
        tokio::select! {
            () = interrupts.next() => {}
            status = child.wait() => break status,
        }
    };
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("the editor {editor:?} ended with {status}")),
        Err(error) => return Err(format!("the editor {editor:?} can't be waited for: {error}")),
    }
    let text = read_text(path).map_err(|failure| failure.to_string())?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Nobody else may read it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}
