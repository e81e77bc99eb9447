//! The replicas of auth-service, and which of them takes the next call.
//!
//! Each address of each URL's name is a replica, with one connection that all its calls share. The first call connects; concurrent callers
//! wait. A call goes to the connection with the fewest calls in progress.
//!
//! A connection that broke, or on which GOAWAY came, takes no more calls. It is opened again after the names were looked up. A replica that
//! can't be reached is tried again with back-off, and at once when no other is there. One that answers with UNAVAILABLE is passed over for
//! a second.
//!
//! When this service's certificate or its authorities change, each connection with TLS is replaced. It is used until another one is there.
//!
//! Nothing here runs by itself: each call starts what is due, and waits for it only when no connection is open.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use http::uri::Authority;
use http::{Request, Response};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::auth_tls::AuthTls;
use super::auth_urls::{AuthUrl, AuthUrls};
use super::connection::{Connection, KeepAlive, ResponseBody};
use super::watch::WatchSeat;

/// How long a look-up may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause after the first failed attempt to connect. It doubles with each further one.
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// Between two tries to replace a connection whose certificate or authorities are no longer those in force.
const RENEW_EVERY: Duration = Duration::from_secs(10);

/// Looks the addresses of a host and port up.
pub(super) type Resolver = Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// How long what is known of a replica counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    pub(super) keep_alive: KeepAlive,
    /// How old the addresses of a name become: a replica that was added is found within this time.
    pub(super) lookup_interval: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { keep_alive: KeepAlive::default(), lookup_interval: Duration::from_secs(30) }
    }
}

/// Sends each request to one of the replicas. Cheap to clone.
#[derive(Clone)]
pub(super) struct Balancer {
    inner: Arc<Inner>,
}

struct Inner {
    urls: AuthUrls,
    tls: Option<AuthTls>,
    resolver: Resolver,
    timing: Timing,
    state: Mutex<State>,
    /// Notified when a look-up or an attempt to connect has ended.
    changed: Notify,
}

struct State {
    replicas: Vec<Replica>,
    lookup: Option<AbortOnDropHandle<()>>,
    next_lookup: Instant,
    /// Where the search for the least busy replica begins: equals take turns.
    first: usize,
    /// Why the last look-up or attempt to connect failed.
    last_error: String,
}

struct Replica {
    address: SocketAddr,
    authority: Authority,
    /// The name of its certificate, where it is spoken to over TLS.
    tls: Option<ServerName<'static>>,
    link: Link,
    /// Failed attempts to connect since the last successful one.
    failures: u32,
    /// The attempt to replace a connection that is still used.
    renewal: Option<AbortOnDropHandle<()>>,
    /// When there may be another.
    renew_at: Instant,
}

enum Link {
    Down {
        retry_at: Instant,
    },
    Connecting {
        _task: AbortOnDropHandle<()>,
    },
    /// Referred to by each call in progress, too: the references are the count of calls.
    Up(Arc<Connection>),
}

impl Balancer {
    /// A balancer that has no connection yet.
    pub(super) fn new(urls: AuthUrls, tls: Option<AuthTls>) -> Self {
        let lookup = |host: String, port| -> BoxFuture<'static, _> {
            Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
        };
        Self::with(urls, tls, Arc::new(lookup), Timing::default())
    }

    pub(super) fn with(urls: AuthUrls, tls: Option<AuthTls>, resolver: Resolver, timing: Timing) -> Self {
        let state = State { replicas: Vec::new(), lookup: None, next_lookup: Instant::now(), first: 0, last_error: String::new() };
        let inner = Inner { urls, tls, resolver, timing, state: Mutex::new(state), changed: Notify::new() };
        Self { inner: Arc::new(inner) }
    }

    /// An open connection, as far as is known; for a watch, to a replica that the other one isn't at.
    async fn connection(&self, seat: Option<&WatchSeat>) -> Result<Arc<Connection>, Status> {
        let mut retried = false;
        loop {
            let changed = self.inner.changed.notified();
            {
                let mut state = self.inner.lock();
                let now = Instant::now();
                let taken = seat.and_then(WatchSeat::taken);
                let connection = state.least_busy(now, taken);
                // No reason to hurry the others.
                let is_seated_elsewhere = connection.is_none() && taken.is_some() && state.is_up();
                if connection.is_none() && !is_seated_elsewhere && !retried {
                    retried = true;
                    state.retry_at_once(now);
                }
                if state.is_lookup_due(now) {
                    state.lookup = Some(AbortOnDropHandle::new(tokio::spawn(Arc::clone(&self.inner).look_up())));
                }
                if let Some(connection) = connection {
                    self.inner.renew(&mut state, now);
                    return Ok(connection);
                }
                if is_seated_elsewhere {
                    return Err(Status::unavailable("the other watch has the only replica that can be reached"));
                }
                if !state.is_connecting() {
                    return Err(Status::unavailable(format!("connecting: {}", state.last_error)));
                }
            }
            changed.await;
        }
    }
}

impl Service<Request<Body>> for Balancer {
    type Response = Response<ResponseBody>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let balancer = self.clone();
        let seat = request.extensions_mut().remove::<WatchSeat>();
        Box::pin(async move {
            let connection = balancer.connection(seat.as_ref()).await?;
            if let Some(seat) = &seat
                && !seat.take(connection.address())
            {
                return Err(Status::unavailable("the other watch has this replica"));
            }
            connection.send(request).await
        })
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What a panic leaves behind is at worst a connection that is not used.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks the names up, and connects to the replicas that are due. A name that is slow to be found keeps no other from being used.
    async fn look_up(self: Arc<Self>) {
        let mut lookups: FuturesUnordered<_> = self.urls.iter().map(async |url| (url, self.addresses(url).await)).collect();
        while let Some((url, found)) = lookups.next().await {
            let mut state = self.lock();
            let now = Instant::now();
            match found {
                Ok(addresses) => state.set_addresses(url, &addresses, now),
                // What was known before may still be right.
                Err(error) => state.last_error = format!("{} can't be looked up: {error}", url.host),
            }
            for replica in state.replicas.iter_mut().filter(|replica| replica.is_due(now)) {
                let connect = Arc::clone(&self).connect(replica.address, replica.authority.clone(), replica.tls.clone());
                replica.link = Link::Connecting { _task: AbortOnDropHandle::new(tokio::spawn(connect)) };
            }
            drop(state);
            self.changed.notify_waiters();
        }
        let mut state = self.lock();
        state.next_lookup = Instant::now() + self.timing.lookup_interval;
        state.lookup = None;
        drop(state);
        self.changed.notify_waiters();
    }

    /// Begins to replace connections that use another configuration of TLS than the one in force.
    fn renew(self: &Arc<Self>, state: &mut State, now: Instant) {
        let Some(tls) = &self.tls else { return };
        for replica in state.replicas.iter_mut().filter(|replica| replica.renew_at <= now) {
            if let Link::Up(connection) = &replica.link
                && connection.is_outdated(tls)
            {
                replica.renew_at = now + RENEW_EVERY;
                let connect = Arc::clone(self).connect(replica.address, replica.authority.clone(), replica.tls.clone());
                replica.renewal = Some(AbortOnDropHandle::new(tokio::spawn(connect)));
            }
        }
    }

    async fn addresses(&self, url: &AuthUrl) -> io::Result<Vec<SocketAddr>> {
        let addresses = timeout(LOOKUP_TIMEOUT, (self.resolver)(url.host.clone(), url.port)).await??;
        if addresses.is_empty() { Err(io::Error::other("it has no address")) } else { Ok(addresses) }
    }

    async fn connect(self: Arc<Self>, address: SocketAddr, authority: Authority, host: Option<ServerName<'static>>) {
        let opened = match (host, &self.tls) {
            (None, _) => Connection::open(address, authority, self.timing.keep_alive, None).await,
            (Some(host), Some(tls)) => Connection::open(address, authority, self.timing.keep_alive, Some(tls.for_connection(&host))).await,
            // Never in plaintext, where TLS was asked for.
            (Some(_), None) => Err(io::Error::other("TLS is asked for, and isn't configured")),
        };
        let mut state = self.lock();
        match opened {
            Ok(connection) => state.connected(address, connection),
            Err(error) => state.not_connected(address, &error),
        }
        self.changed.notify_waiters();
    }
}

impl State {
    /// Whether there is a connection.
    fn is_up(&self) -> bool {
        self.replicas.iter().any(|replica| matches!(replica.link, Link::Up(_)))
    }

    /// The connection with the fewest calls in progress, `but_for` those to this address. Those that take no more calls are given up.
    fn least_busy(&mut self, now: Instant, but_for: Option<SocketAddr>) -> Option<Arc<Connection>> {
        self.first = self.first.wrapping_add(1);
        let count = self.replicas.len();
        loop {
            let in_turn = (0..count).map(|step| (self.first.wrapping_add(step)) % count);
            let free = in_turn.filter(|index| Some(self.replicas[*index].address) != but_for);
            let up = free.filter_map(|index| Some((index, self.replicas[index].load(now)?)));
            let (index, _) = up.min_by_key(|(_, load)| *load)?;
            let link = &mut self.replicas[index].link;
            match link {
                Link::Up(connection) if connection.is_open() => return Some(Arc::clone(connection)),
                _ => *link = Link::Down { retry_at: now },
            }
        }
    }

    /// Ends all back-offs: no other replica serves meanwhile.
    fn retry_at_once(&mut self, now: Instant) {
        for replica in &mut self.replicas {
            if let Link::Down { retry_at } = &mut replica.link {
                *retry_at = now;
            }
        }
        if self.replicas.is_empty() {
            self.next_lookup = now;
        }
    }

    fn is_lookup_due(&self, now: Instant) -> bool {
        self.lookup.is_none() && (now >= self.next_lookup || self.replicas.iter().any(|replica| replica.is_due(now)))
    }

    fn is_connecting(&self) -> bool {
        self.lookup.is_some() || self.replicas.iter().any(|replica| matches!(replica.link, Link::Connecting { .. }))
    }

    /// Adds and removes replicas, so that those of this name are the ones at these addresses.
    fn set_addresses(&mut self, url: &AuthUrl, addresses: &[SocketAddr], now: Instant) {
        self.replicas.retain(|replica| replica.authority != url.authority || addresses.contains(&replica.address));
        for &address in addresses {
            // One that two names have counts once.
            if !self.replicas.iter().any(|replica| replica.address == address) {
                let (authority, tls) = (url.authority.clone(), url.tls.clone());
                self.replicas.push(Replica {
                    address,
                    authority,
                    tls,
                    link: Link::Down { retry_at: now },
                    failures: 0,
                    renewal: None,
                    renew_at: now,
                });
            }
        }
    }

    fn connected(&mut self, address: SocketAddr, connection: Connection) {
        if let Some(replica) = self.replicas.iter_mut().find(|replica| replica.address == address) {
            if replica.failures > 0 {
                tracing::info!(%address, "auth-service can be reached again");
            }
            if replica.renewal.take().is_some() {
                tracing::info!(%address, "auth-service is asked on a new connection, which uses the new TLS files");
            }
            (replica.link, replica.failures) = (Link::Up(Arc::new(connection)), 0);
        }
    }

    fn not_connected(&mut self, address: SocketAddr, error: &io::Error) {
        self.last_error = format!("{address}: {error}");
        if let Some(replica) = self.replicas.iter_mut().find(|replica| replica.address == address) {
            if matches!(replica.link, Link::Up(_)) {
                replica.renewal = None;
                tracing::warn!(%address, %error, "auth-service can't be reached with the new TLS files; the old connection is used");
                return;
            }
            replica.failures += 1;
            if replica.failures == 1 {
                tracing::warn!(%address, %error, "auth-service can't be reached there");
            }
            replica.link = Link::Down { retry_at: Instant::now() + backoff(replica.failures) };
        }
    }
}

impl Replica {
    /// What is against giving it the next call: that it answers with UNAVAILABLE, then its calls in progress. `None` without a connection.
    fn load(&self, now: Instant) -> Option<(bool, usize)> {
        match &self.link {
            Link::Up(connection) => Some((connection.is_unavailable(now), Arc::strong_count(connection))),
            Link::Down { .. } | Link::Connecting { .. } => None,
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        matches!(self.link, Link::Down { retry_at } if retry_at <= now)
    }
}

/// The pause after so many failed attempts in a row.
fn backoff(failures: u32) -> Duration {
    MIN_BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(MAX_BACKOFF)
}

#[cfg(test)]
mod tests;
