//! Caches that need no memory but that of keys and values.

use std::collections::{BinaryHeap, VecDeque};

use super::Cache;
use super::workload::{NEVER, Request, Workload};

/// What is evicted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// What was read or stored longest ago: LRU.
    Access,
    /// What was stored longest ago: FIFO.
    Arrival,
    /// What is needed last, or never before it expires (Belady). With objects of one size and
    /// without writes nothing is better; of objects of many sizes it is a good guess.
    Need,
}

/// A cache by one of these orders. An object that has expired is found out when it is read.
pub(super) struct Ideal {
    order: Order,
    room: u64,
    used: u64,
    entries: Vec<Entry>,
    /// Object and rank in the order of ranks, for those that only grow. Those whose object has
    /// another rank by now are passed over.
    queue: VecDeque<(u32, u32)>,
    /// The same, the highest rank first.
    heap: BinaryHeap<(u32, u32)>,
}

/// An object; it is there if it has bytes.
#[derive(Clone, Copy, Default)]
struct Entry {
    bytes: u32,
    rank: u32,
    expiry: u64,
}

impl Ideal {
    /// Empty, with room for so many bytes of keys and values.
    pub(super) fn new(order: Order, workload: &Workload, room: u64) -> Self {
        Self {
            order,
            room,
            used: 0,
            entries: vec![Entry::default(); workload.objects],
            queue: VecDeque::new(),
            heap: BinaryHeap::new(),
        }
    }

    fn drop_entry(&mut self, object: u32) {
        let entry = &mut self.entries[object as usize];
        self.used -= u64::from(entry.bytes);
        entry.bytes = 0;
    }

    fn rank(&mut self, object: u32, rank: u32) {
        self.entries[object as usize].rank = rank;
        match self.order {
            Order::Need => self.heap.push((rank, object)),
            Order::Access | Order::Arrival => self.queue.push_back((rank, object)),
        }
    }

    fn evict(&mut self) {
        let next = match self.order {
            Order::Need => self.heap.pop(),
            Order::Access | Order::Arrival => self.queue.pop_front(),
        };
        let Some((rank, object)) = next else { return };
        if self.entries[object as usize].rank == rank {
            self.drop_entry(object);
        }
    }

    /// The next read that an object which dies at `expiry` will serve.
    fn need(request: &Request, expiry: u64) -> u32 {
        if request.next_ms < expiry { request.next } else { NEVER }
    }
}

impl Cache for Ideal {
    fn read(&mut self, nth: usize, request: &Request) -> bool {
        let entry = self.entries[request.object as usize];
        if entry.bytes == 0 {
            return false;
        }
        if entry.expiry <= request.at_ms {
            self.drop_entry(request.object);
            return false;
        }
        match self.order {
            Order::Access => self.rank(request.object, nth as u32),
            Order::Arrival => {}
            Order::Need => self.rank(request.object, Self::need(request, entry.expiry)),
        }
        true
    }

    fn put(&mut self, nth: usize, request: &Request) {
        self.drop_entry(request.object);
        if u64::from(request.bytes) > self.room {
            return;
        }
        let expiry = request.expiry_ms().unwrap_or(u64::MAX);
        let entry = &mut self.entries[request.object as usize];
        (entry.bytes, entry.expiry) = (request.bytes, expiry);
        self.used += u64::from(request.bytes);
        let rank = if self.order == Order::Need { Self::need(request, expiry) } else { nth as u32 };
        self.rank(request.object, rank);
        while self.used > self.room {
            self.evict();
        }
    }
}
