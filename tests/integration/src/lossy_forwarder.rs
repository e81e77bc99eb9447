//! A forwarder of TCP connections that loses what passes on those that it has, in one direction or in both, or closes them, and serves new
//! ones: a network between that has forgotten them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing.
    Nothing,
    /// What comes back.
    Answers,
    /// What comes from either side.
    All,
}

/// A running forwarder. Dropping it ends it.
#[derive(Debug)]
pub struct LossyForwarder {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    loss: Mutex<Loss>,
    /// Connections with a lower number lose what is lost, for good: their streams have a gap.
    alive_from: AtomicUsize,
    accepted: AtomicUsize,
    /// Ends the connections that there are.
    end: Mutex<CancellationToken>,
}

impl State {
    fn loss(&self) -> MutexGuard<'_, Loss> {
        self.loss.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) -> MutexGuard<'_, CancellationToken> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what comes on this connection is lost.
    fn loses(&self, number: usize, is_answer: bool) -> bool {
        let loss = *self.loss();
        let is_dead = number < self.alive_from.load(Ordering::SeqCst);
        is_dead || loss == Loss::All || (loss == Loss::Answers && is_answer)
    }
}

impl LossyForwarder {
    /// Starts one on a free port of 127.0.0.1, which loses nothing.
    #[expect(clippy::expect_used, reason = "only tests call this, and a panic is how they fail")]
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let state = Arc::new(State {
            loss: Mutex::new(Loss::Nothing),
            alive_from: AtomicUsize::default(),
            accepted: AtomicUsize::default(),
            end: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, target, Arc::clone(&state)));
        Self { address, state, accepting }
    }

    /// For the URL of what is behind it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on so much is lost. Connections that have lost something lose all from then on.
    pub fn lose(&self, loss: Loss) {
        *self.state.loss() = loss;
        if loss == Loss::Nothing {
            self.state.alive_from.store(self.state.accepted.load(Ordering::SeqCst), Ordering::SeqCst);
        }
    }

    /// Closes the connections that it has.
    pub fn close(&self) {
        std::mem::take(&mut *self.state.end()).cancel();
    }
}

impl Drop for LossyForwarder {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, state: Arc<State>) {
    // Dropped with this task: that closes every connection.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        let number = state.accepted.fetch_add(1, Ordering::SeqCst);
        let Ok(far) = TcpStream::connect(target).await else { continue };
        let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
        let end = state.end().clone();
        connections.spawn(end.clone().run_until_cancelled_owned(pass(near_read, far_write, number, false, Arc::clone(&state))));
        connections.spawn(end.run_until_cancelled_owned(pass(far_read, near_write, number, true, Arc::clone(&state))));
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, number: usize, is_answer: bool, state: Arc<State>) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if !state.loses(number, is_answer) && to.write_all(&bytes[..count]).await.is_err() {
            break;
        }
    }
}
