//! A port for a server that can't choose one itself, or for nobody.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A loopback port that nobody else is given while this lives. Nothing listens on it, so connections are refused, until a server does that
/// was told to.
///
/// The port is bound and not listened on. Linux gives a bound port to nobody who asks for any, and lets a server listen on it that asks for
/// it by its number, since both set SO_REUSEADDR. Other systems don't: there, the port is free again and was unused a moment ago.
#[derive(Debug)]
pub struct ReservedPort {
    address: SocketAddr,
    _bound: Option<TcpSocket>,
}

impl ReservedPort {
    /// Reserves one of 127.0.0.1.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Ipv4Addr::LOCALHOST)
    }

    /// Reserves one of this loopback address.
    #[must_use]
    pub fn of(host: Ipv4Addr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("SO_REUSEADDR");
        socket.bind((host, 0).into()).expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        Self { address, _bound: cfg!(target_os = "linux").then_some(socket) }
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.address.port()
    }

    /// Its address on this machine.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Default for ReservedPort {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_reserved_port_refuses_connections_and_is_listened_on_by_its_number_more_than_once() {
        let port = ReservedPort::new();
        for _ in 0..2 {
            assert_eq!(TcpStream::connect(port.address()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
            let listener = TcpListener::bind(port.address()).unwrap();
            TcpStream::connect(port.address()).unwrap();
            drop(listener);
        }
    }

    #[test]
    fn nobody_who_asks_for_any_port_is_given_a_reserved_one() {
        let port = ReservedPort::new();
        let others: Vec<_> = (0..1_000).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
        assert!(others.iter().all(|other| other.local_addr().unwrap() != port.address()));
    }
}
