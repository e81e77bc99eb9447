//! The `healthcheck` subcommand: asks the service that listens on an address of this host whether it can answer calls, or whether it lives,
//! in plaintext or over TLS.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::env::{Reader, Strings};
use crate::tls;

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

/// What the service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTP/2.
    Plaintext,
    /// HTTP/2 in TLS.
    Tls,
}

impl Transport {
    /// What a service speaks that has these variables.
    #[must_use]
    pub fn of(strings: &dyn Strings) -> Self {
        if Reader::new(strings).string(tls::TLS_VARIABLES[0].name).is_some() { Self::Tls } else { Self::Plaintext }
    }
}

/// Asks the process that listens on `listen` whether it serves `service`, such as `tollgate.auth.v1.Auth`, or lives ([`PROCESS`]). A
/// wildcard address is asked on loopback.
pub async fn check(listen: SocketAddr, service: &str) -> Result<(), Unhealthy> {
    check_over(Transport::Plaintext, listen, service).await
}

/// The same, over what the service speaks. Its certificate is not judged: what is asked is no secret, and the one asked is this host.
pub async fn check_over(transport: Transport, listen: SocketAddr, service: &str) -> Result<(), Unhealthy> {
    let address = SocketAddr::new(on_loopback(listen.ip()), listen.port());
    let channel = connect(transport, address).await.map_err(|source| Unhealthy::Unreachable { address, source })?;
    let service = service.to_owned();
    let answer = HealthClient::new(channel).check(HealthCheckRequest { service: service.clone() }).await;
    let answer = answer.map_err(|status| Unhealthy::Refused { address, status: Box::new(status) })?;
    match answer.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        _ if service == PROCESS => Err(Unhealthy::Draining { address }),
        _ => Err(Unhealthy::NotReady { address, service }),
    }
}

async fn connect(transport: Transport, address: SocketAddr) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let endpoint = endpoint.connect_timeout(Duration::from_secs(2)).timeout(Duration::from_secs(2));
    match transport {
        Transport::Plaintext => endpoint.connect().await,
        Transport::Tls => {
            let connector = tower::service_fn(move |_: http::Uri| async move {
                let config = tls::unverified_config().map_err(io::Error::other)?;
                let stream = TcpStream::connect(address).await?;
                Ok::<_, io::Error>(TokioIo::new(tls::connect(Arc::new(config), address.ip().into(), stream).await?))
            });
            endpoint.connect_with_connector(connector).await
        }
    }
}

fn on_loopback(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}
