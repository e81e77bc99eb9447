//! What Tollgate's services and clients agree on: the wire contract, its errors, and the rules of what it carries (credentials, model
//! names, request ids), and TLS.
//!
//! With the feature `server`, also what both services are made of: configuration, secrets, logs, serving and draining. Clients do without
//! it, and compile on Windows.
//!
//! It admits only what two of them use today.

pub mod codec;
pub mod counted_message;
pub mod credential_form;
pub mod default_address;
pub mod env;
pub mod error;
pub mod ledger;
pub mod model_name;
pub mod request_id;
pub mod runtime;
pub mod scope;
pub mod tls;

// What serves.
#[cfg(feature = "server")]
pub mod admission;
#[cfg(feature = "server")]
pub mod asked_host;
#[cfg(feature = "server")]
pub mod authorization;
#[cfg(feature = "server")]
pub mod call_record;
#[cfg(feature = "server")]
pub mod caller_address;
#[cfg(feature = "server")]
mod connection_slots;
#[cfg(feature = "server")]
mod connections;
#[cfg(feature = "server")]
pub mod data_folder;
#[cfg(feature = "server")]
pub mod doors;
#[cfg(feature = "server")]
pub mod essential;
#[cfg(feature = "server")]
pub mod gathered_writes;
#[cfg(feature = "server")]
pub mod healthcheck;
#[cfg(feature = "server")]
mod holding_body;
#[cfg(feature = "server")]
pub mod key_in_path;
#[cfg(feature = "server")]
mod log_writer;
#[cfg(feature = "server")]
pub mod message_guard;
#[cfg(feature = "server")]
pub mod open_files;
#[cfg(feature = "server")]
mod receive_budget;
#[cfg(feature = "server")]
pub mod request_context;
#[cfg(feature = "server")]
pub mod secret;
#[cfg(feature = "server")]
mod seldom_said;
#[cfg(feature = "server")]
pub mod service_log;
#[cfg(feature = "server")]
pub mod serving;
#[cfg(feature = "server")]
pub mod telemetry;

/// The generated contract: one module per proto package.
#[allow(missing_docs, unreachable_pub, clippy::allow_attributes, reason = "generated; the comments are in the protos")]
pub mod proto {
    /// Package `tollgate.auth.v1`.
    pub mod auth {
        tonic::include_proto!("tollgate.auth.v1");
    }
    /// Package `tollgate.inference.v1`.
    pub mod inference {
        tonic::include_proto!("tollgate.inference.v1");
    }
    /// Package `tollgate.error.v1`.
    pub mod error {
        tonic::include_proto!("tollgate.error.v1");
    }
    // `Debug` of the messages that have a secret in them, or what people ask a model.
    include!(concat!(env!("OUT_DIR"), "/hidden.rs"));

    /// The descriptors of all of them, for server reflection: with the comments.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
    /// The same without comments, for what the process itself looks up in them. Comments would take several times the memory.
    pub const CONTRACT_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/contract.bin"));
}

pub use proto::error::ErrorReason;
