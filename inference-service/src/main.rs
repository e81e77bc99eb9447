//! The `inference-service` binary; it only wires.

use std::process::ExitCode;

use clap::Parser;
use inference_service::command_line::CommandLine;
use shared::env::{EXIT_USAGE, ProcessEnvironment};

/// A call makes some dozens of small allocations, most of which another thread gives back: what this allocator is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match CommandLine::try_parse() {
        Ok(command_line) => {
            let run = async { command_line.run(&ProcessEnvironment, shared::serving::shutdown_signal()).await };
            shared::runtime::block_on("inference-service", run)
        }
        Err(error) => {
            // Help and version are no mistakes; what clap can't print, nobody reads.
            let printed = error.print();
            if error.use_stderr() || printed.is_err() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS }
        }
    }
}
