//! An address that leads to one Redis and then to another, as a failover's does.

use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Forwards connections. What is connected stays where it was connected to.
pub(crate) struct Forwarder {
    port: u16,
    target: Arc<Mutex<u16>>,
    silent: watch::Sender<()>,
    accepting: JoinHandle<()>,
}

impl Forwarder {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (target, silent) = (Arc::new(Mutex::new(port)), watch::Sender::new(()));
        let (to, silence) = (Arc::clone(&target), silent.clone());
        let accepting = tokio::spawn(async move {
            // Ends, with all connections, when it is aborted.
            let mut connections = JoinSet::new();
            while let Ok((mut here, _)) = listener.accept().await {
                let (port, mut silence) = (*to.lock().unwrap(), silence.subscribe());
                connections.spawn(async move {
                    let mut there = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    tokio::select! {
                        _ended = copy_bidirectional(&mut here, &mut there) => return,
                        _silent = silence.changed() => {}
                    }
                    // Both sides stay open.
                    std::future::pending().await
                });
            }
        });
        Self { port: own, target, silent, accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// New connections lead there from now on.
    pub(crate) fn lead_to(&self, port: u16) {
        *self.target.lock().unwrap() = port;
    }

    /// The connections that are there pass nothing on any more, and stay open.
    pub(crate) fn silence(&self) {
        self.silent.send_replace(());
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
