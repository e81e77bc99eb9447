//! Slots for connections: a limit in all, and one for each network.
//!
//! A connection has proved itself once a call on it was authenticated. When no slot is free, the oldest connection that has not proved
//! itself and on which no call runs is closed, and the new one gets its slot. So somebody who opens connections by the thousand closes only
//! their own, and a health check always gets in.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::caller_address::{CallerAddress, network};
use crate::tls::{ClientCertificate, PeerCertificate};

/// Calls that run at a time on a connection which has not proved itself.
const CALLS_BEFORE_PROOF: usize = 32;
/// What proof adds to them: as many as the connection's streams.
const CALLS_AFTER_PROOF: usize = 1 << 20;
/// How often a shortage of slots is logged, at most.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotLimits {
    /// In all.
    pub total: usize,
    /// Of one network. Listed proxies have no such limit: they stand for many.
    pub per_network: usize,
}

/// A connection, as the calls on it see it.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    /// The connection's own address, or what a listed proxy's PROXY header says.
    pub(crate) address: CallerAddress,
    /// Cancelled when the connection must end now.
    pub(crate) evicted: CancellationToken,
    proved: AtomicBool,
    running: AtomicU32,
    /// HTTP/1.1 requests whose head is whole.
    begun: AtomicU32,
    /// Whether the next of them can be read in two ways.
    doubted: AtomicBool,
    /// What calls wait for on a connection that has not proved itself.
    pub(crate) call_permits: Arc<Semaphore>,
    /// When the last call ended, or the connection was accepted; milliseconds since `accepted`.
    idle_since_ms: AtomicU32,
    accepted: Instant,
    /// What its client showed of itself, where it did. Boxed: few do.
    certificate: OnceLock<Box<PeerCertificate>>,
}

impl ConnectionState {
    pub(crate) fn new(address: CallerAddress) -> Self {
        Self {
            address,
            evicted: CancellationToken::new(),
            proved: AtomicBool::new(false),
            running: AtomicU32::new(0),
            begun: AtomicU32::new(0),
            doubted: AtomicBool::new(false),
            call_permits: Arc::new(Semaphore::new(CALLS_BEFORE_PROOF)),
            idle_since_ms: AtomicU32::new(0),
            accepted: Instant::now(),
            certificate: OnceLock::new(),
        }
    }

    pub(crate) fn is_proved(&self) -> bool {
        self.proved.load(Ordering::Relaxed)
    }

    /// Its client showed this certificate.
    pub(crate) fn show(&self, certificate: PeerCertificate) {
        // A connection has one handshake.
        let _ = self.certificate.set(Box::new(certificate));
    }

    /// Ready once the certificate that its client showed is no longer good; never, where it showed none.
    pub(crate) fn certificate_lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        match self.certificate.get() {
            Some(certificate) => Box::pin(certificate.lost()),
            // Takes no memory.
            None => Box::pin(std::future::pending()),
        }
    }

    /// What the certificate of its client is worth now.
    pub(crate) fn certificate(&self) -> ClientCertificate {
        self.certificate.get().map_or(ClientCertificate::None, |certificate| certificate.worth())
    }

    /// A call on it was authenticated.
    pub(crate) fn prove(&self) {
        if !self.is_proved() && !self.proved.swap(true, Ordering::Relaxed) {
            self.call_permits.add_permits(CALLS_AFTER_PROOF);
        }
    }

    /// Since when no call runs on it; `None` while one does.
    pub(crate) fn idle_for(&self) -> Option<Duration> {
        if self.running.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let since = Duration::from_millis(self.idle_since_ms.load(Ordering::Relaxed).into());
        Some(self.accepted.elapsed().saturating_sub(since))
    }

    /// The head of an HTTP/1.1 request is whole. Answers whether it can be read in one way alone.
    pub(crate) fn begin_request(&self) -> bool {
        self.begun.fetch_add(1, Ordering::Relaxed);
        !self.doubted.swap(false, Ordering::Relaxed)
    }

    /// The next request can be read in two ways.
    pub(crate) fn doubt_next_request(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    /// How many requests have begun; the count may start again from 0.
    pub(crate) fn begun_requests(&self) -> u32 {
        self.begun.load(Ordering::Relaxed)
    }

    /// A call on it runs until this is dropped.
    pub(crate) fn run(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(self))
    }
}

/// A call that runs on a connection.
#[derive(Debug)]
pub(crate) struct Running(Arc<ConnectionState>);

impl Drop for Running {
    fn drop(&mut self) {
        let now = u32::try_from(self.0.accepted.elapsed().as_millis()).unwrap_or(u32::MAX);
        self.0.idle_since_ms.store(now, Ordering::Relaxed);
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The slots of a listener.
#[derive(Debug)]
pub(crate) struct ConnectionSlots {
    limits: SlotLimits,
    taken: Mutex<TakenSlots>,
}

#[derive(Debug, Default)]
struct TakenSlots {
    /// By the order in which they were accepted.
    connections: BTreeMap<u64, Arc<ConnectionState>>,
    by_network: HashMap<IpAddr, BTreeMap<u64, Arc<ConnectionState>>>,
    next: u64,
    warned: Option<Instant>,
}

/// A slot; dropped, it is free again.
#[derive(Debug)]
#[must_use]
pub(crate) struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    number: u64,
    network: IpAddr,
}

/// Why there is no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The network has as many as it may, all of them at work or proved.
    Network,
    /// All slots are taken by connections at work or proved.
    Total,
}

impl ConnectionSlots {
    pub(crate) fn new(limits: SlotLimits) -> Arc<Self> {
        Arc::new(Self { limits, taken: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, TakenSlots> {
        // Held for some map operations; nothing in it is half done after any of them.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a slot for a connection. When there is none, an older connection that is of no use gives way.
    pub(crate) fn take(self: &Arc<Self>, state: &Arc<ConnectionState>) -> Result<ConnectionSlot, Full> {
        let network = network(state.address.ip);
        let mut taken = self.lock();
        let of_network = taken.by_network.get(&network);
        let exempt = state.address.through_proxy;
        if !exempt && of_network.is_some_and(|connections| connections.len() >= self.limits.per_network) {
            let displaced = of_network.and_then(displaceable);
            taken.warn(&self.limits, network, displaced.is_some());
            let (number, displaced) = displaced.ok_or(Full::Network)?;
            displaced.evicted.cancel();
            taken.remove(number, network);
        }
        if taken.connections.len() >= self.limits.total {
            let displaced = displaceable(&taken.connections);
            taken.warn(&self.limits, network, displaced.is_some());
            let (number, displaced) = displaced.ok_or(Full::Total)?;
            displaced.evicted.cancel();
            taken.remove(number, crate::caller_address::network(displaced.address.ip));
        } else if taken.connections.len() * 10 >= self.limits.total * 9 {
            taken.warn(&self.limits, network, true);
        }
        let number = taken.next;
        taken.next += 1;
        taken.connections.insert(number, Arc::clone(state));
        taken.by_network.entry(network).or_default().insert(number, Arc::clone(state));
        Ok(ConnectionSlot { slots: Arc::clone(self), number, network })
    }
}

/// The oldest connection that has not proved itself and on which no call runs.
fn displaceable(connections: &BTreeMap<u64, Arc<ConnectionState>>) -> Option<(u64, Arc<ConnectionState>)> {
    let mut of_no_use = connections.iter().filter(|(_, state)| !state.is_proved() && state.idle_for().is_some());
    of_no_use.next().map(|(number, state)| (*number, Arc::clone(state)))
}

impl TakenSlots {
    fn remove(&mut self, number: u64, network: IpAddr) {
        self.connections.remove(&number);
        if let Some(connections) = self.by_network.get_mut(&network) {
            connections.remove(&number);
            if connections.is_empty() {
                self.by_network.remove(&network);
            }
        }
    }

    fn warn(&mut self, limits: &SlotLimits, network: IpAddr, place_found: bool) {
        if self.warned.is_some_and(|warned| warned.elapsed() < WARN_EVERY) {
            return;
        }
        self.warned = Some(Instant::now());
        let (taken, of_network) = (self.connections.len(), self.by_network.get(&network).map_or(0, BTreeMap::len));
        let (total, per_network) = (limits.total, limits.per_network);
        tracing::warn!(taken, total, %network, of_network, per_network, place_found, "places for connections run short");
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let Self { slots, number, network } = self;
        slots.lock().remove(*number, *network);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SlotLimits = SlotLimits { total: 6, per_network: 3 };

    fn from(last: u8) -> Arc<ConnectionState> {
        Arc::new(ConnectionState::new(CallerAddress { ip: IpAddr::from([192, 0, 2, last]), through_proxy: false }))
    }

    #[test]
    fn who_opens_connections_by_the_thousand_only_displaces_his_own() {
        let slots = ConnectionSlots::new(LIMITS);
        let other = from(1);
        let _other = slots.take(&other).unwrap();
        let flood: Vec<_> = (0..1_000).map(|_| from(2)).collect();
        let _slots: Vec<_> = flood.iter().map(|state| slots.take(state).unwrap()).collect();
        assert!(!other.evicted.is_cancelled());
        assert_eq!(flood.iter().filter(|state| !state.evicted.is_cancelled()).count(), LIMITS.per_network);
        assert!(!flood[999].evicted.is_cancelled(), "the newest stay");
    }

    #[test]
    fn what_is_proved_or_at_work_is_never_displaced() {
        let slots = ConnectionSlots::new(LIMITS);
        let (proved, working) = (from(1), from(1));
        let _held = [slots.take(&proved).unwrap(), slots.take(&working).unwrap()];
        proved.prove();
        let running = working.run();
        let silent: Vec<_> = (0..3).map(|_| from(1)).collect();
        let _silent: Vec<_> = silent.iter().map(|state| slots.take(state).unwrap()).collect();
        assert!(!proved.evicted.is_cancelled() && !working.evicted.is_cancelled());
        silent[2].prove();
        assert_eq!(slots.take(&from(1)).unwrap_err(), Full::Network);
        drop(running);
        assert!(slots.take(&from(1)).is_ok(), "its call has ended");
        assert!(working.evicted.is_cancelled());
    }

    #[test]
    fn a_full_house_makes_room_for_who_comes_next_and_a_slot_comes_back() {
        let slots = ConnectionSlots::new(LIMITS);
        let many: Vec<_> = (0..6).map(from).collect();
        let held: Vec<_> = many.iter().map(|state| slots.take(state).unwrap()).collect();
        let _next = slots.take(&from(9)).unwrap();
        assert!(many[0].evicted.is_cancelled() && !many[1].evicted.is_cancelled());
        many.iter().for_each(|state| state.prove());
        drop(held);
        assert_eq!(slots.lock().connections.len(), 1);
        assert_eq!(slots.lock().by_network.len(), 1);
    }

    #[test]
    fn listed_proxies_stand_for_many_and_have_no_limit_of_their_own() {
        let slots = ConnectionSlots::new(LIMITS);
        let proxy = || Arc::new(ConnectionState::new(CallerAddress { ip: IpAddr::from([10, 0, 0, 1]), through_proxy: true }));
        let all: Vec<_> = (0..5).map(|_| proxy()).collect();
        let _held: Vec<_> = all.iter().map(|state| slots.take(state).unwrap()).collect();
        assert!(all.iter().all(|state| !state.evicted.is_cancelled()));
    }

    #[test]
    fn a_connection_is_idle_from_the_end_of_its_last_call() {
        let state = from(1);
        let (first, second) = (state.run(), state.run());
        drop(first);
        assert_eq!(state.idle_for(), None);
        drop(second);
        assert!(state.idle_for().is_some_and(|idle| idle < Duration::from_secs(10)));
    }
}
