//! The integration tests: one program, real servers, raw bytes. `tests/run` installs what they
//! need and runs them.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails by a panic"
)]

mod admin;
mod binary;
mod cache_large;
mod cache_redis;
mod cache_tracking;
mod cli;
mod clients;
mod compat;
mod conf;
mod crossing;
mod dedicated;
mod deploy;
mod docs;
mod expand;
mod expansion;
mod faults;
mod filling;
mod fleet;
mod giving_up;
mod holding;
mod leading;
mod limits;
mod memcache_auth;
mod memcached_perl;
mod moving;
mod nanny;
mod near;
mod pipelines;
mod placement;
mod publishing;
mod pubsub;
mod readme;
mod redis_commands;
mod redis_pool;
mod redis_tcl;
mod reload;
mod resp3;
mod soak;
#[path = "../soak/mod.rs"]
mod soak_load;
mod standalone;
mod support;
mod sweeping;
mod tidy;
mod tls;
mod topology;
mod topology_tls;
mod transcripts;
mod walking;
