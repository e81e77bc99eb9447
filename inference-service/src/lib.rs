//! Streams a model's answer after the call was authenticated and paid for.
//!
//! One call, by module: [`service`] reads it, [`caller`] finds its credential, [`prompt`] checks it, [`auth_client`] has it admitted and
//! gives a grant, [`engine`] answers, and [`chat_stream`] streams the answer and settles the grant. What has one answer, such as
//! embeddings, is settled by `metered_call`. [`timers`] end what takes too long, and extend holds. `readiness` asks whether calls can be
//! answered at all.

pub mod auth_client;
mod call_end;
pub mod call_failure;
pub mod caller;
pub mod capability;
pub mod chat_stream;
pub mod command_line;
pub mod config;
pub mod doors;
pub mod engine;
#[cfg(fuzzing)]
pub mod fuzzing;
mod metered_call;
pub mod modelfile;
pub mod prompt;
mod readiness;
pub mod service;
pub mod startup;
mod tcp;
pub mod timers;
