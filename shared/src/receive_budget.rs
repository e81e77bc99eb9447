//! Bytes of messages that are being received, of all connections together: never more than a fixed number, and of one network's never more
//! than a part of that.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A unit of the budget: what is asked for is rounded up to it.
const UNIT_BYTES: usize = 4096;

/// A budget of bytes.
#[derive(Debug, Clone)]
pub(crate) struct ReceiveBudget(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    units: Arc<Semaphore>,
    most_of_one_network: usize,
    /// Only networks that have something.
    by_network: Mutex<HashMap<IpAddr, usize>>,
}

/// Bytes taken from a budget; they go back when this is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct BudgetPermit {
    budget: Arc<Budget>,
    network: IpAddr,
    units: usize,
    _permit: OwnedSemaphorePermit,
}

impl ReceiveBudget {
    /// So many bytes in all, of which one network may have `most_of_one_network`.
    #[must_use]
    pub(crate) fn new(bytes: usize, most_of_one_network: usize) -> Self {
        let units = |bytes: usize| (bytes / UNIT_BYTES).max(1);
        Self(Arc::new(Budget {
            units: Arc::new(Semaphore::new(units(bytes))),
            most_of_one_network: units(most_of_one_network),
            by_network: Mutex::default(),
        }))
    }

    /// Takes bytes for a network, now or not at all.
    pub(crate) fn try_take(&self, network: IpAddr, bytes: usize) -> Option<BudgetPermit> {
        let units = bytes.div_ceil(UNIT_BYTES).max(1);
        let permit = Arc::clone(&self.0.units).try_acquire_many_owned(u32::try_from(units).ok()?).ok()?;
        let mut by_network = self.0.by_network.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = by_network.entry(network).or_default();
        if *taken + units > self.0.most_of_one_network {
            if *taken == 0 {
                by_network.remove(&network);
            }
            return None;
        }
        *taken += units;
        Some(BudgetPermit { budget: Arc::clone(&self.0), network, units, _permit: permit })
    }
}

impl Drop for BudgetPermit {
    fn drop(&mut self) {
        let mut by_network = self.budget.by_network.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = by_network.get_mut(&self.network) {
            *taken = taken.saturating_sub(self.units);
            if *taken == 0 {
                by_network.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_never_takes_what_others_need_and_all_of_it_comes_back() {
        let budget = ReceiveBudget::new(64 << 10, 32 << 10);
        let network = |last: u8| IpAddr::from([192, 0, 2, last]);
        let first: Vec<BudgetPermit> = (0..9).map_while(|_| budget.try_take(network(1), UNIT_BYTES)).collect();
        assert_eq!(first.len(), 8, "half of it, a unit at a time");
        let second = budget.try_take(network(2), 32 << 10).unwrap();
        assert!(budget.try_take(network(3), 1).is_none(), "all of it is taken");
        drop(second);
        assert!(budget.try_take(network(3), 1).is_some());
        assert!(budget.try_take(network(2), 33 << 10).is_none());
        drop(first);
        assert!(budget.0.by_network.lock().unwrap().is_empty());
        assert_eq!(budget.0.units.available_permits(), 16);
    }
}
