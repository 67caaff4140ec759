//! The admin thread: signals, HTTP, statistics, the log.
//!
//! ```text
//!  signals ─▶ signals ─┬▶ Life + wake ─▶ listener, workers
//!                      ├▶ reload ─▶ Reloader ─ swap ─▶ listener, workers
//!                      └▶ log level, log file
//!  HTTP ────▶ http ────┐
//!                      ├─ read ─ Registry ◀─ count ─ listener, workers
//!  port 22222 ▶ stats ─┘
//! ```
//! Everything here runs on one thread with its own runtime. It reads counters and publishes the
//! phase; it never waits for a worker, so it answers whatever load they carry.

mod answers;
mod doors;
mod given;
mod http;
mod log;
pub mod nanny;
mod parts;
mod plane;
mod reload;
mod serve;
mod signals;
mod stats;
#[cfg(test)]
mod testing;
pub mod topology;

pub use doors::Doors;
pub use log::{Log, level_of_verbosity};
pub use parts::{ControlPlane, HotKey, HotKeys};
pub use plane::run;
pub use reload::{Applied, Refused, Reloader, Source};
pub use signals::{FAULT, die_of_fault, hold_faults};
