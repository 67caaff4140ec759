//! The admin thread: signals, HTTP, statistics, the log.

pub mod log;
