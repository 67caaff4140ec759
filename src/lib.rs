//! twinring: a memcached and Redis proxy in the manner of twemproxy.
//!
//! ```text
//!             ┌──────────┐ sockets, in batches  ┌─────────────┐ pipelined  ┌─────────┐
//!  clients ──▶│ listener ├─────────────────────▶│ worker 0..N ├───────────▶│ servers │
//!             └──────────┘                      └──────┬──────┘            └─────────┘
//!             ┌──────────┐ signals (drain)             │ counters
//!  operator ─▶│  admin   │◀────────────────────────────┘
//!             └──────────┘
//! ```
//!
//! The modules are listed in the order in which a request meets them; a module uses only modules
//! below itself, which `tests/integration/tidy.rs` checks.
//!
//! * [`process`]: the composition root; builds the parts and starts the threads.
//! * [`control`]: the admin thread: signals, HTTP, statistics.
//! * [`frontend`]: accept, worker, session, pipeline (the order of replies).
//! * [`service`]: what becomes of one request: local reply, one server, or split and merged.
//! * [`routing`]: key to server: hash tag, hash, ring.
//! * [`cache`]: commands on stored items, where a pool has no servers.
//! * [`backend`]: server connections, what is in flight on them, their health.
//! * [`protocol`]: bytes to messages and back, pure.
//! * [`storage`]: stored items: shards, each a single-writer engine.
//! * [`net`]: listeners, sockets, and the driver that moves bytes.
//! * [`config`]: YAML to checked settings, once.
//! * [`topology`], [`signal`], [`metrics`]: plain values.
//!
//! Words: a *client* connects to us and has a *session* of *requests*; a *pool* is a named set of
//! *servers*; a *connection* leads to one server; the *ring* gives each key a server by the
//! server's *node name*.

pub mod backend;
pub mod cache;
pub mod config;
pub mod control;
pub mod frontend;
pub mod metrics;
pub mod net;
pub mod process;
pub mod protocol;
pub mod routing;
pub mod service;
pub mod signal;
pub mod storage;
pub mod topology;

pub mod cli;
