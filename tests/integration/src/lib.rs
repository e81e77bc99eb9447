//! The parts of the integration tests: both services in this process or as real processes, a real Redis, and a scripted upstream for what a
//! real Ollama won't do on command.

pub mod certificates;
pub mod grpcurl;
pub mod hostile_http1;
pub mod http_client;
pub mod http_docs;
pub mod lossy_forwarder;
pub mod many_callers;
pub mod oidc_issuer;
pub mod polling;
pub mod process_pair;
pub mod processes;
pub mod raw_http2;
pub mod recorded;
pub mod redis_server;
pub mod reserved_port;
pub mod scripted_upstream;
pub mod shell;
pub mod shown_answers;
pub mod stack;
#[cfg(target_os = "linux")]
pub mod terminal;
