//! The command line: the run, and the parts that it has other processes of this program play.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use integration::redis_server::AppendOnly;

use crate::rounds::{Part, Plan};
use crate::testbed::Pinning;
use crate::{baseline, chain, load, rounds, upstream};

/// Measures Tollgate's hot path beside baselines, in one run. `make bench` starts it; docs/benchmarks.md says what the figures mean.
#[derive(Debug, Parser)]
#[command(name = "tollgate-bench")]
pub struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures, prints the report, and writes it as JSON. Fails when a ledger is wrong.
    Run {
        /// Rounds; each measures everything once, in random order.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Seconds that each thing is measured in each round; four times as long where it is called at a rate.
        #[arg(long, default_value_t = 1.0)]
        seconds: f64,
        /// Redis's modes.
        #[arg(long, value_enum, value_delimiter = ',', default_values_t = [RedisMode::Off, RedisMode::Everysec, RedisMode::Always])]
        redis: Vec<RedisMode>,
        /// What is measured.
        #[arg(long, value_enum, value_delimiter = ',', default_values_t = Part::ALL)]
        parts: Vec<Part>,
        /// Idle streams at which memory is read.
        #[arg(long, value_delimiter = ',', default_values_t = [1000, 5000])]
        streams: Vec<usize>,
        /// Processors for the services and the baselines, such as `0` (as for `taskset -c`).
        #[arg(long)]
        pin_services: Option<String>,
        /// Processors for the load and the upstream.
        #[arg(long)]
        pin_load: Option<String>,
        /// Processors for Redis.
        #[arg(long)]
        pin_redis: Option<String>,
        /// A folder on the disk that stores are put on; by default, beside this program.
        #[arg(long)]
        folder: Option<PathBuf>,
        /// What was built, for the report.
        #[arg(long, default_value = "")]
        commit: String,
        /// Prints the table as docs/benchmarks.md has it.
        #[arg(long)]
        markdown: bool,
        /// Where the JSON goes.
        #[arg(long)]
        report: PathBuf,
    },
    /// Plays the baselines.
    #[command(hide = true)]
    Baselines {
        #[arg(long)]
        redis: String,
        #[arg(long)]
        answer_bytes: usize,
        #[arg(long)]
        record_bytes: usize,
    },
    /// Plays the chain.
    #[command(hide = true)]
    Chain {
        #[arg(long)]
        scripts: String,
        #[arg(long)]
        upstream: String,
        #[arg(long)]
        request_bytes: usize,
    },
    /// Plays the upstream.
    #[command(hide = true)]
    Upstream,
    /// Does the job on standard input.
    #[command(hide = true)]
    Load,
}

/// When Redis writes its append-only file to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RedisMode {
    /// There is none.
    Off,
    /// Once a second.
    Everysec,
    /// Before it answers.
    Always,
}

impl RedisMode {
    fn append_only(self) -> (&'static str, AppendOnly) {
        match self {
            Self::Off => ("aof off", AppendOnly::Off),
            Self::Everysec => ("everysec", AppendOnly::EverySecond),
            Self::Always => ("always", AppendOnly::Always),
        }
    }
}

impl CommandLine {
    /// Does what the command line says.
    pub async fn run(self) -> ExitCode {
        match self.command {
            Command::Run {
                rounds,
                seconds,
                redis,
                parts,
                streams,
                pin_services,
                pin_load,
                pin_redis,
                folder,
                commit,
                markdown,
                report,
            } => {
                let plan = Plan {
                    rounds,
                    measured: Duration::from_secs_f64(seconds),
                    modes: redis.into_iter().map(RedisMode::append_only).collect(),
                    parts,
                    idle_streams: streams,
                    pinning: Pinning { services: pin_services, load: pin_load, redis: pin_redis },
                    folder,
                    commit,
                };
                let done = rounds::run(&plan).await;
                println!("{}", if markdown { done.markdown() } else { done.text() });
                let json = serde_json::to_string_pretty(&done).expect("a report in JSON");
                if let Err(error) = std::fs::write(&report, json + "\n") {
                    eprintln!("tollgate-bench: the report can't be written to {}: {error}", report.display());
                    return ExitCode::FAILURE;
                }
                println!("as JSON: {}", report.display());
                if done.ledger_is_right() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
            }
            Command::Baselines { redis, answer_bytes, record_bytes } => {
                baseline::serve(&redis, answer_bytes, record_bytes).await;
                ExitCode::FAILURE
            }
            Command::Chain { scripts, upstream, request_bytes } => {
                chain::serve(&scripts, &upstream, request_bytes).await;
                ExitCode::FAILURE
            }
            Command::Upstream => {
                upstream::serve().await;
                ExitCode::FAILURE
            }
            Command::Load => {
                load::work().await;
                ExitCode::SUCCESS
            }
        }
    }
}
