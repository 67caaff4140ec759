//! Bytes to messages and back: pure, no I/O, no clock.

pub mod memcache;
pub mod redis;
