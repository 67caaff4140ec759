//! The store, with its index and all its overhead in the memory that it is given.

use twinring::storage::{NewItem, Store, Time};

use super::Cache;
use super::workload::{Request, Workload};

/// Time between two rounds of upkeep, and steps of one, as in the server.
const UPKEEP_MS: u64 = 100;
const SWEEP_STEPS: usize = 64;

/// A store that lives in the time of a workload.
pub(super) struct Real {
    store: Store,
    key: Vec<u8>,
    value: Vec<u8>,
    /// When it is swept next.
    upkeep_ms: u64,
}

impl Real {
    /// Empty, with so much memory.
    pub(super) fn new(workload: &Workload, memory: u64) -> Self {
        let largest = workload.requests.iter().map(|request| request.bytes).max();
        Self {
            store: Store::new(crate::settings(memory)),
            key: vec![b'k'; workload.key_bytes],
            value: vec![b'v'; largest.unwrap_or(0) as usize],
            upkeep_ms: 0,
        }
    }

    /// The key of the request and its time.
    fn turn(&mut self, request: &Request) -> Time {
        self.key[..4].copy_from_slice(&request.object.to_le_bytes());
        let now = Time::from_millis(request.at_ms);
        if request.at_ms >= self.upkeep_ms {
            self.store.sweep(now, SWEEP_STEPS);
            self.upkeep_ms = request.at_ms + UPKEEP_MS;
        }
        now
    }
}

impl Cache for Real {
    fn read(&mut self, _nth: usize, request: &Request) -> bool {
        let now = self.turn(request);
        let key = self.store.key(&self.key);
        self.store.lock(key, now).read(key, now).is_some()
    }

    fn put(&mut self, _nth: usize, request: &Request) {
        let now = self.turn(request);
        let len = (request.bytes as usize).saturating_sub(self.key.len());
        let expiry = request.expiry_ms().map(Time::from_millis);
        let item = NewItem { value: &[&self.value[..len]], expiry, ..NewItem::default() };
        let key = self.store.key(&self.key);
        // What is refused is not there, which is all that is looked at here.
        _ = self.store.lock(key, now).put(key, &item, now);
    }
}
