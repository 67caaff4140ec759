//! The catalogue of faults: one test for each, named after its number there.
//!
//! Whatever breaks, a reply goes to the request that asked for it or to nobody, others go on, and
//! afterwards everything works again. [`servers`] holds faults of servers, [`clients`] those of
//! clients, [`names`] those of names, [`process`] those of the host and of the process's life.

mod clients;
mod fleet;
mod names;
mod process;
mod servers;
mod topology;

/// Error lines of memcache pools, as clients see them.
mod text {
    pub(super) const REFUSED: &str = "SERVER_ERROR Connection refused\r\n";
    pub(super) const RESET: &str = "SERVER_ERROR Connection reset by peer\r\n";
    pub(super) const TIMED_OUT: &str = "SERVER_ERROR Connection timed out\r\n";
    pub(super) const BAD_REPLY: &str = "SERVER_ERROR bad backend response\r\n";
    pub(super) const TOO_LARGE: &str = "SERVER_ERROR object too large\r\n";
    pub(super) const QUEUE_FULL: &str = "SERVER_ERROR backend queue full\r\n";
}
