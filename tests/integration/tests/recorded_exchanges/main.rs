//! Every recorded exchange with Ollama, through the whole stack: gRPC in, events, codes, reasons and credits out.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod answer_summary;
mod bench;
mod call;
mod replays;
mod rows;
