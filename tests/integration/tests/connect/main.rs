//! Connect and gRPC-Web on both services: real processes, plain HTTP over real sockets, real curl.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod bounds;
mod grpc_web;
mod stage;
mod streams;
mod unary;
