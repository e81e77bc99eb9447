//! The `inference-service` binary; it only wires.

use std::process::ExitCode;

use clap::Parser;
use inference_service::command_line::CommandLine;
use shared::env::ProcessEnvironment;

/// A call makes some dozens of small allocations, most of which another thread gives back: what this allocator is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    let run = async { command_line.run(&ProcessEnvironment, shared::serving::shutdown_signal()).await };
    shared::runtime::block_on("inference-service", run)
}
