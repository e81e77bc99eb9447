//! TCP connections to what this service asks: auth-service and Ollama.

use std::io;
use std::time::Duration;

use http::Uri;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

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
        match timeout(share, TcpStream::connect(address)).await.unwrap_or_else(|_| Err(too_late())) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
