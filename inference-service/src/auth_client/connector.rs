//! How connections to auth-service are made.

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use shared::gathered_writes::GatheredWrites;
use tokio::net::TcpStream;
use tonic::transport::Uri;
use tower::{Service, service_fn};

type ConnectError = <HttpConnector as Service<Uri>>::Error;

/// Connects over TCP. A request's head and message leave in one write, and so do those of calls that begin together: auth-service is woken up
/// once for all that it then reads.
pub(super) fn connector() -> impl Service<Uri, Response = TokioIo<GatheredWrites<TcpStream>>, Error = ConnectError, Future: Send> + Send {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    service_fn(move |address| {
        let connecting = tcp.call(address);
        async { Ok(TokioIo::new(GatheredWrites::new(connecting.await?.into_inner()))) }
    })
}
