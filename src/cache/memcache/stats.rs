//! stats: what memcached tells of itself, as far as it has a meaning here.
//!
//! Counters are summed over all workers; `stats reset` sets them aside.

use std::borrow::Cow;
use std::fmt::{Display, Write};

use crate::cache::Context;
use crate::cache::memcache::VERSION;
use crate::metrics::PoolMetric;

/// Names of counters, each the sum of some of ours.
const COUNTERS: [(&str, &[PoolMetric]); 28] = [
    ("cmd_get", &[PoolMetric::Hits, PoolMetric::Misses]),
    ("cmd_set", &[PoolMetric::CacheSets]),
    ("cmd_flush", &[PoolMetric::CacheFlushes]),
    ("cmd_touch", &[PoolMetric::TouchHits, PoolMetric::TouchMisses]),
    ("cmd_meta", &[PoolMetric::CacheMetas]),
    ("get_hits", &[PoolMetric::Hits]),
    ("get_misses", &[PoolMetric::Misses]),
    ("get_expired", &[]),
    ("get_flushed", &[]),
    ("delete_misses", &[PoolMetric::DeleteMisses]),
    ("delete_hits", &[PoolMetric::DeleteHits]),
    ("incr_misses", &[PoolMetric::IncrMisses]),
    ("incr_hits", &[PoolMetric::IncrHits]),
    ("decr_misses", &[PoolMetric::DecrMisses]),
    ("decr_hits", &[PoolMetric::DecrHits]),
    ("cas_misses", &[PoolMetric::CasMisses]),
    ("cas_hits", &[PoolMetric::CasHits]),
    ("cas_badval", &[PoolMetric::CasMismatches]),
    ("touch_hits", &[PoolMetric::TouchHits]),
    ("touch_misses", &[PoolMetric::TouchMisses]),
    ("store_too_large", &[PoolMetric::StoresTooLarge]),
    ("store_no_memory", &[PoolMetric::StoresNoMemory]),
    ("auth_cmds", &[]),
    ("auth_errors", &[]),
    ("bytes_read", &[PoolMetric::RequestBytes]),
    ("bytes_written", &[PoolMetric::ResponseBytes]),
    ("total_connections", &[PoolMetric::ClientConnectionsTotal]),
    ("idle_kicks", &[PoolMetric::DisconnectTimeout]),
];

/// The lines of the statistics that the words behind `stats` name.
pub(super) fn stats(context: &Context<'_>, words: [&[u8]; 3]) -> Cow<'static, str> {
    let mut lines = String::new();
    match words[0] {
        b"" => general(context, &mut lines),
        b"settings" => settings(context, &mut lines),
        b"items" => items(context, &mut lines),
        b"slabs" => slabs(context, &mut lines),
        b"sizes" => stat(&mut lines, "sizes_status", "disabled"),
        b"conns" => {}
        b"cachedump" if words[2].is_empty() => return "CLIENT_ERROR bad command line\r\n".into(),
        // There are no slab classes to dump.
        b"cachedump" => {}
        b"detail" => return detail(words[1]).into(),
        b"reset" => {
            context.cache.registry.set_aside(context.cache.pool);
            return "RESET\r\n".into();
        }
        _ => return "ERROR\r\n".into(),
    }
    lines.push_str("END\r\n");
    lines.into()
}

fn stat(lines: &mut String, name: &str, value: impl Display) {
    // Writing to a string cannot fail.
    let _ = write!(lines, "STAT {name} {value}\r\n");
}

fn general(context: &Context<'_>, lines: &mut String) {
    let (cache, now) = (context.cache, context.now);
    let (registry, pool) = (&cache.registry, cache.pool);
    let usage = cache.store.usage(now.time);
    stat(lines, "pid", std::process::id());
    stat(lines, "uptime", now.time.millis() / 1000);
    stat(lines, "time", now.wall_millis / 1000);
    stat(lines, "version", VERSION);
    stat(lines, "pointer_size", usize::BITS);
    stat(lines, "curr_connections", registry.pool(pool, PoolMetric::ClientConnections));
    for (name, metrics) in COUNTERS {
        let sum: u64 = metrics.iter().map(|metric| registry.pool_since(pool, *metric)).sum();
        stat(lines, name, sum);
    }
    stat(lines, "limit_maxbytes", cache.store.settings().memory);
    stat(lines, "accepting_conns", 1);
    stat(lines, "threads", registry.layout().workers.len());
    stat(lines, "bytes", usage.bytes);
    stat(lines, "curr_items", usage.items);
    stat(lines, "total_items", usage.stored);
    stat(lines, "expired_unfetched", 0);
    stat(lines, "evicted_unfetched", 0);
    stat(lines, "evictions", usage.evicted);
    stat(lines, "reclaimed", usage.expired);
}

fn settings(context: &Context<'_>, lines: &mut String) {
    let cache = context.cache;
    stat(lines, "maxbytes", cache.store.settings().memory);
    stat(lines, "evictions", "on");
    stat(lines, "num_threads", cache.registry.layout().workers.len());
    stat(lines, "stat_key_prefix", ":");
    stat(lines, "detail_enabled", "no");
    stat(lines, "cas_enabled", "yes");
    stat(lines, "auth_enabled_sasl", "no");
    stat(lines, "item_size_max", cache.value_max);
    stat(lines, "flush_enabled", "yes");
    stat(lines, "binding_protocol", "auto-negotiate");
}

/// All items are of one class.
fn items(context: &Context<'_>, lines: &mut String) {
    let usage = context.cache.store.usage(context.now.time);
    if usage.items == 0 {
        return;
    }
    stat(lines, "items:1:number", usage.items);
    stat(lines, "items:1:mem_requested", usage.bytes);
    stat(lines, "items:1:evicted", usage.evicted);
    stat(lines, "items:1:reclaimed", usage.expired);
}

fn slabs(context: &Context<'_>, lines: &mut String) {
    let usage = context.cache.store.usage(context.now.time);
    stat(lines, "active_slabs", u8::from(usage.items > 0));
    stat(lines, "total_malloced", usage.memory);
}

/// Nothing is counted by prefix.
fn detail(word: &[u8]) -> &'static str {
    match word {
        b"on" | b"off" => "OK\r\n",
        b"dump" => "END\r\n",
        _ => "CLIENT_ERROR usage: stats detail on|off|dump\r\n",
    }
}
