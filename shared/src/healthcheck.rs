//! The `healthcheck` subcommand: asks the service that listens on an address of this host whether it serves. For container health checks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Why a service isn't healthy.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// Nothing answers there.
    #[error("{address} can't be reached: {source}")]
    Unreachable {
        /// Where it should listen.
        address: SocketAddr,
        /// What went wrong.
        source: tonic::transport::Error,
    },
    /// The health service refused.
    #[error("{address} answered {status}")]
    Refused {
        /// Where it listens.
        address: SocketAddr,
        /// What it said.
        status: Box<tonic::Status>,
    },
    /// It says that it doesn't serve.
    #[error("{address} is not serving")]
    NotServing {
        /// Where it listens.
        address: SocketAddr,
    },
}

/// Asks for the health of the service that listens on `listen`; a wildcard address is asked on loopback.
pub async fn check(listen: SocketAddr) -> Result<(), Unhealthy> {
    let address = SocketAddr::new(on_loopback(listen.ip()), listen.port());
    let unreachable = |source| Unhealthy::Unreachable { address, source };
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(unreachable)?
        .connect_timeout(Duration::from_secs(2))
        .timeout(Duration::from_secs(2));
    let channel = endpoint.connect().await.map_err(unreachable)?;
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
    let answer = answer.map_err(|status| Unhealthy::Refused { address, status: Box::new(status) })?;
    if answer.into_inner().status() == ServingStatus::Serving { Ok(()) } else { Err(Unhealthy::NotServing { address }) }
}

fn on_loopback(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}
