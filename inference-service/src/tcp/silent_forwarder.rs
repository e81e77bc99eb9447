//! A forwarder of TCP connections that can go silent on those it has, and serves new ones: what a network between does that has forgotten
//! them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// A running forwarder.
pub(crate) struct SilentForwarder {
    pub(crate) address: SocketAddr,
    /// Connections with a lower number get nothing through, in either direction, and stay open.
    alive_from: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
    passed_bytes: Arc<AtomicUsize>,
}

impl SilentForwarder {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (alive_from, accepted, passed_bytes): (Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
        let forwarder =
            Self { address, alive_from: Arc::clone(&alive_from), accepted: Arc::clone(&accepted), passed_bytes: Arc::clone(&passed_bytes) };
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let number = accepted.fetch_add(1, Ordering::SeqCst);
                let far = TcpStream::connect(target).await.unwrap();
                let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                tokio::spawn(pass(near_read, far_write, number, Arc::clone(&alive_from), Arc::default()));
                tokio::spawn(pass(far_read, near_write, number, Arc::clone(&alive_from), Arc::clone(&passed_bytes)));
            }
        });
        forwarder
    }

    /// Goes silent on all connections there are. What comes is still read, and so acknowledged.
    pub(crate) fn forget_connections(&self) {
        self.alive_from.store(self.accepted(), Ordering::SeqCst);
    }

    /// Connections made so far.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Bytes that came back so far.
    pub(crate) fn passed_bytes(&self) -> usize {
        self.passed_bytes.load(Ordering::SeqCst)
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: usize,
    alive_from: Arc<AtomicUsize>,
    passed_bytes: Arc<AtomicUsize>,
) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if number >= alive_from.load(Ordering::SeqCst) && to.write_all(&bytes[..count]).await.is_err() {
            break;
        }
        passed_bytes.fetch_add(count, Ordering::SeqCst);
    }
}
