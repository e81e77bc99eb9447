//! The benchmark of the hot path: Tollgate's real services as processes, beside baselines that do the least that can be done, in the same
//! run. Every figure is a ratio of two things measured in turn, in several rounds, in random order; the report has the median and the
//! spread.
//!
//! One program plays all parts, each in a process of its own: the run itself ([`rounds`]), the [`baseline`] services, the [`upstream`], and
//! the [`load`], which measures one thing and ends.

pub mod baseline;
pub mod chain;
pub mod command_line;
pub mod gauge;
pub mod http_client;
pub mod ledger;
pub mod load;
pub mod percentiles;
pub mod report;
pub mod rounds;
pub mod rows;
pub mod testbed;
pub mod upstream;

/// The baselines' contract.
#[allow(missing_docs, unreachable_pub, clippy::allow_attributes, reason = "generated; the comments are in the proto")]
pub mod proto {
    tonic::include_proto!("tollgate.bench.v1");
}
