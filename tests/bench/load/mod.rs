//! The load generator: one thread, one epoll, no allocation per request; a storm has its own.
//!
//! ```text
//!   generator ── arrivals ─▶ client ── requests ─▶ proxy
//!       ▲                       │
//!       └── tally ◀── checked ──┴◀── replies
//! ```
//!
//! * [`Workload`] says what to ask for, [`exchange`] makes requests and checks replies,
//! * [`client`] is one connection, [`storm`] the ones that come and go, [`idle`] those that stay,
//! * [`Generator`] moves bytes and keeps time, [`Tally`] is what came of it.
//!
//! At a fixed rate latency counts from the moment at which a request was due, not from when it
//! could be sent, so that a stall of the proxy is charged to all who waited.

mod client;
mod exchange;
mod generator;
mod idle;
mod storm;
mod tally;

pub(crate) use exchange::selfcheck;
pub(crate) use generator::Generator;
pub(crate) use idle::{fill, idle_clients};
pub(crate) use tally::Tally;

use crate::wire::Protocol;

/// What is asked of a proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    /// The protocol.
    pub(crate) protocol: Protocol,
    /// Steady clients.
    pub(crate) clients: usize,
    /// Requests that a client sends together; it waits for all replies before the next.
    pub(crate) depth: usize,
    /// Of 1,000 requests so many read; the others write.
    pub(crate) reads_permille: u32,
    /// Reads are mg, of one key (memcache).
    pub(crate) meta: bool,
    /// Keys of one read, at most 128.
    pub(crate) keys_per_read: u32,
    /// Bytes of a value, at least 16.
    pub(crate) value_bytes: usize,
    /// Sizes of values, so many and each half of the one before, of which each key has one.
    pub(crate) sizes: u32,
    /// Distinct keys.
    pub(crate) keys: u32,
    /// How they are drawn: by Zipf's law with this exponent; 0 is uniformly.
    pub(crate) skew: f64,
    /// Requests a second; `None`: each client sends as soon as it has its replies.
    pub(crate) rate: Option<f64>,
}

impl Workload {
    /// The workload of the keys whose values are halved so many times.
    fn halved(&self, times: u32) -> Self {
        Self { value_bytes: self.value_bytes >> times, ..*self }
    }

    /// What all its keys begin with; one for each size of value, as all share the servers.
    pub(crate) fn key_prefix(&self) -> String {
        format!("bench:{:09}:", self.value_bytes)
    }
}
