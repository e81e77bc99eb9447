//! What both of Tollgate's services use: the wire contract, its errors, and the plumbing of a service (configuration from the
//! environment, secrets, logs, serving and draining).
//!
//! It admits only what both services use today.

pub mod admission;
pub mod caller_address;
pub mod codec;
mod connections;
pub mod counted_message;
pub mod credential_form;
pub mod data_folder;
pub mod descriptors;
pub mod env;
pub mod error;
pub mod essential;
pub mod gathered_writes;
pub mod healthcheck;
mod holding_body;
mod log_writer;
pub mod message_guard;
pub mod model_name;
mod places;
mod receive_budget;
pub mod request_context;
pub mod runtime;
pub mod secret;
pub mod serving;
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
    /// The descriptors of all of them, for server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}

pub use proto::error::ErrorReason;
