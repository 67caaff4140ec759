//! What the integration tests stand on.
//!
//! ```text
//!  Client ──▶ Proxy (twinring, or nutcracker to prove a test) ──▶ Memcached | Redis | Fake
//!     └──────────────── the same bytes, without a proxy ────────────▶┘
//! ```
//! Every process listens on a free port of 127.0.0.1 that the test holds, is waited for, and is
//! killed by its own id when its value is dropped. Nothing sleeps for a fixed time: [`wait`] polls.

mod cache;
mod client;
mod fake;
mod ports;
mod process;
mod proxy;
mod random;
mod relay;
mod sample;
mod servers;
mod tls;
mod transcript;
mod wait;
mod zookeeper;

pub(crate) use cache::Cache;
pub(crate) use client::{Client, frame};
pub(crate) use fake::{Fake, Stand, Store};
pub(crate) use ports::{Port, Scratch};
pub(crate) use process::Process;
pub(crate) use proxy::{PoolSpec, Proxy, http_get, twinring_as_nutcracker};
pub(crate) use random::Random;
pub(crate) use relay::Relay;
pub(crate) use sample::Sample;
pub(crate) use servers::{Memcached, Redis, fetched, valkey, valkey_9};
pub(crate) use tls::{Authority, Files, TlsClient};
pub(crate) use transcript::{Cut, Transcript, escaped};
pub(crate) use wait::{LONG, wait_until};
pub(crate) use zookeeper::{Ensemble, Zoo, version};
