//! What shells and `man` know of the command: made from the same description as its help.

use std::fs;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use serde_json::json;

use crate::failure::Failure;
use crate::output::Output;

/// Prints what a shell completes words by.
pub(crate) fn completions(mut command: Command, shell: Shell, output: &mut Output) -> Result<(), Failure> {
    refuse_json("completions", output)?;
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    output.raw(&script)
}

/// Writes a page for each command into a folder, or prints the first one.
pub(crate) fn pages(command: Command, folder: Option<&Path>, output: &mut Output) -> Result<(), Failure> {
    let Some(folder) = folder else {
        refuse_json("a page of the manual", output)?;
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(command).render(&mut page);
        rendered.map_err(|source| Failure::Io { what: "the page can't be made".to_owned(), source })?;
        return output.raw(&page);
    };
    let written = fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder));
    written.map_err(|source| Failure::Io { what: format!("{} can't be written", folder.display()), source })?;
    output.said(&format!("the manual is in {0}: man -l {0}/tollgate.1", folder.display()), json!({"folder": folder}))
}

fn refuse_json(what: &str, output: &Output) -> Result<(), Failure> {
    if output.is_json() { Err(Failure::Usage(format!("{what} can't be had as JSON"))) } else { Ok(()) }
}
