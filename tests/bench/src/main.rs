//! The `tollgate-bench` binary; it only wires.

use std::process::ExitCode;

use bench::command_line::CommandLine;
use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    CommandLine::parse().run().await
}
