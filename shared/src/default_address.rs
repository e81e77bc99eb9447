//! Where the services listen, and where they are looked for, unless somebody says otherwise: on this machine alone.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// Where auth-service listens.
pub const AUTH_LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 50051));
/// Where auth-service is looked for.
pub const AUTH_URL: &str = "http://127.0.0.1:50051";
/// Where inference-service listens.
pub const INFERENCE_LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 50052));
/// Where inference-service is looked for.
pub const INFERENCE_URL: &str = "http://127.0.0.1:50052";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_looked_for_where_it_listens() {
        for (url, listen) in [(AUTH_URL, AUTH_LISTEN), (INFERENCE_URL, INFERENCE_LISTEN)] {
            assert_eq!(url, format!("http://{listen}"));
        }
    }
}
