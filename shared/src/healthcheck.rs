//! The `healthcheck` subcommand: asks the service that listens on an address of this host whether it can answer calls, or whether it lives.

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
    /// It lives, and can't answer calls of this service now.
    #[error("{address} is NOT_SERVING {service}: its log says what it lacks, or that it stops")]
    NotReady {
        /// Where it listens.
        address: SocketAddr,
        /// Which service.
        service: String,
    },
    /// The process stops.
    #[error("{address} stops: it is NOT_SERVING")]
    Draining {
        /// Where it listens.
        address: SocketAddr,
    },
}

/// The name to ask for when only the process's life counts.
pub const PROCESS: &str = "";

/// Asks the process that listens on `listen` whether it serves `service`, such as `tollgate.auth.v1.Auth`, or lives ([`PROCESS`]). A
/// wildcard address is asked on loopback.
pub async fn check(listen: SocketAddr, service: &str) -> Result<(), Unhealthy> {
    let address = SocketAddr::new(on_loopback(listen.ip()), listen.port());
    let unreachable = |source| Unhealthy::Unreachable { address, source };
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(unreachable)?
        .connect_timeout(Duration::from_secs(2))
        .timeout(Duration::from_secs(2));
    let channel = endpoint.connect().await.map_err(unreachable)?;
    let service = service.to_owned();
    let answer = HealthClient::new(channel).check(HealthCheckRequest { service: service.clone() }).await;
    let answer = answer.map_err(|status| Unhealthy::Refused { address, status: Box::new(status) })?;
    match answer.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        _ if service == PROCESS => Err(Unhealthy::Draining { address }),
        _ => Err(Unhealthy::NotReady { address, service }),
    }
}

fn on_loopback(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}
