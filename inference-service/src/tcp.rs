//! TCP connections to what this service asks: auth-service and Ollama.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::Uri;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// Between two probes of a connection on which nothing is said, and before the first.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(3);
/// How long what was sent may be unacknowledged.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_FOR: Duration = Duration::from_secs(10);

/// A URL's host as it is looked up: an address of IPv6 has brackets in a URL, and none elsewhere.
pub(crate) fn bare_host(url: &Uri) -> Option<&str> {
    let host = url.host()?;
    Some(host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host))
}

/// Connects within this time, by a name or an address. What is written goes out at once.
///
/// One address is tried after the other, each for its share of the time: one at which nobody answers leaves some for the next.
pub(crate) async fn connect(host: &str, port: u16, within: Duration) -> io::Result<TcpStream> {
    let addresses: Vec<_> = lookup_host((host, port)).await?.collect();
    let share = within / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address has this name");
    for address in addresses {
        let too_late = || io::Error::new(io::ErrorKind::TimedOut, format!("{address} gave no connection within {share:?}"));
        match timeout(share, connect_to(address)).await.unwrap_or_else(|_| Err(too_late())) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Connects to an address. What is written goes out at once.
pub(crate) async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    notice_silence(&stream)?;
    Ok(stream)
}

/// Has the operating system notice within seconds that nobody is there any more: a waiting connection by keep-alive probes, one that has
/// something to send by what is not acknowledged. Else it would take from ten minutes to two hours.
fn notice_silence(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new().with_time(KEEP_ALIVE_EVERY).with_interval(KEEP_ALIVE_EVERY).with_retries(3);
    socket.set_tcp_keepalive(&probes)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_FOR))?;
    Ok(())
}

#[cfg(test)]
pub(crate) mod silent_forwarder;

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn every_connection_is_told_to_notice_within_seconds_that_nobody_is_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = connect("127.0.0.1", listener.local_addr().unwrap().port(), Duration::from_secs(5)).await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(
            (socket.tcp_keepalive_time().unwrap(), socket.tcp_keepalive_interval().unwrap(), socket.tcp_user_timeout().unwrap()),
            (KEEP_ALIVE_EVERY, KEEP_ALIVE_EVERY, Some(UNACKNOWLEDGED_FOR))
        );
    }
}
