//! Upper bounds on what clients and servers may send, and why each default is what it is.

use std::time::Duration;

use crate::config::settings::{Limits, Protocol};
use crate::config::source::{Section, Value};

/// memcached's own limit (`KEY_MAX_LENGTH`).
const KEY_BYTES_MEMCACHE: usize = 250;
/// Far above any sane Redis key, and small enough to be held whole.
const KEY_BYTES_REDIS: usize = 64 << 10;
/// A value passes through without being held whole, so the servers' limits matter more: this is
/// twice Redis's 512 MiB and memcached's largest `-I`.
const VALUE_BYTES: u64 = 1 << 30;
/// Bounds the fan-out of one request; far above the thousand keys that applications ask for.
const KEYS_PER_REQUEST: usize = 16_384;
/// `MSET` of the most keys, twice over.
const ARGS_PER_REQUEST: usize = 65_536;
/// Two thousand keys of 250 bytes in one memcache get. Lines that are no get are bounded at 2 KiB
/// by the protocol.
const LINE_BYTES: usize = 512 << 10;
/// Far deeper than pipelining pays.
const PIPELINE_DEPTH: usize = 1_024;
/// A client that reads this far behind is not going to catch up.
const CLIENT_OUTPUT_BYTES: usize = 32 << 20;
/// At 100,000 requests a second a tenth of a second of work.
const SERVER_QUEUE: usize = 10_000;
/// Sessions of one worker that may be in a transaction, or blocked, on one server; further ones are
/// told so. Redis itself takes 10,000 clients.
const DEDICATED_CONNECTIONS: usize = 128;
/// A request that stands still for this long is abandoned or an attack.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// The bounds of a memcache pool that sets none.
const NATIVE: Limits = Limits {
    key_bytes: KEY_BYTES_MEMCACHE,
    value_bytes: VALUE_BYTES,
    keys_per_request: KEYS_PER_REQUEST,
    args_per_request: ARGS_PER_REQUEST,
    line_bytes: LINE_BYTES,
    pipeline_depth: PIPELINE_DEPTH,
    client_output_bytes: CLIENT_OUTPUT_BYTES,
    server_queue: SERVER_QUEUE,
    dedicated_connections: DEDICATED_CONNECTIONS,
    request_time: REQUEST_TIME,
};

/// twemproxy bounds nothing but keys, and its users rely on it: MGETs of large values are answered
/// whole. In its place the bounds keep only what is beyond any use from growing without end.
const COMPAT: Limits = Limits {
    key_bytes: KEY_BYTES_MEMCACHE,
    value_bytes: u32::MAX as u64,
    keys_per_request: 1 << 20,
    args_per_request: 1 << 21,
    line_bytes: 64 << 20,
    pipeline_depth: PIPELINE_DEPTH,
    client_output_bytes: 2 << 30,
    server_queue: 1 << 20,
    dedicated_connections: DEDICATED_CONNECTIONS,
    request_time: Duration::from_secs(3600),
};

/// The bounds of a pool that sets none; `compat` if it must behave as twemproxy's.
pub(super) fn defaults(protocol: Protocol, compat: bool) -> Limits {
    let limits = if compat { COMPAT } else { NATIVE };
    match protocol {
        Protocol::Memcache | Protocol::Ping => limits,
        Protocol::Redis => Limits { key_bytes: KEY_BYTES_REDIS, ..limits },
    }
}

/// Reads a pool's `limits:`; `compat` if it must behave as twemproxy's.
pub(super) fn read(value: Option<&Value<'_>>, protocol: Protocol, compat: bool) -> Limits {
    let mut limits = defaults(protocol, compat);
    let Some(section) = value.and_then(Section::open) else { return limits };
    let number = |key, slot: &mut usize| {
        if let Some(number) = section.number(key, 1).and_then(|n| usize::try_from(n).ok()) {
            *slot = number;
        }
    };
    number("keys_per_request", &mut limits.keys_per_request);
    number("args_per_request", &mut limits.args_per_request);
    number("pipeline_depth", &mut limits.pipeline_depth);
    number("server_queue", &mut limits.server_queue);
    number("dedicated_connections", &mut limits.dedicated_connections);
    let size = |key, slot: &mut usize| {
        if let Some(bytes) = section.size(key).and_then(|bytes| usize::try_from(bytes).ok()) {
            *slot = bytes;
        }
    };
    size("key", &mut limits.key_bytes);
    size("line", &mut limits.line_bytes);
    size("client_output", &mut limits.client_output_bytes);
    limits.value_bytes = section.size("value").unwrap_or(limits.value_bytes);
    limits.request_time = section.duration("request_time").unwrap_or(limits.request_time);
    check(&section, &limits, protocol);
    section.close();
    limits
}

fn check(section: &Section<'_>, limits: &Limits, protocol: Protocol) {
    let refuse = |key, reason: &str| {
        if let Some(value) = section.take(key) {
            value.refuse(reason);
        }
    };
    if protocol == Protocol::Memcache && limits.key_bytes > KEY_BYTES_MEMCACHE {
        refuse("key", "memcache keys have at most 250 bytes");
    }
    if limits.request_time.is_zero() {
        refuse("request_time", "must be at least 1ms");
    }
}
