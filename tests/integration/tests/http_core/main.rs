//! What every request over HTTP goes through before and after its door, on real sockets.

mod admission;
mod connections;
mod framing;
mod routing;
mod server;
