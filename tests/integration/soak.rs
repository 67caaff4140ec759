//! The soak in short: some seconds of full load on a cache server, and nothing goes wrong.
//!
//! `cargo bench --bench soak -- --minutes 10` is the long one.

use std::time::Duration;

use crate::soak_load::{Plan, Target, run};
use crate::support::{Cache, Fake};

/// The server's `--memory`.
const MEMORY_MIB: u64 = 128;

/// What may be resident beside it, in percent.
const BESIDE_PERCENT: u64 = 5;

#[test]
fn nothing_is_lost_or_mixed_up_under_full_load() {
    let memory = format!("{MEMORY_MIB}MiB");
    let cache = Cache::start(&["--memory", &memory, "--max-value", "4MiB"]);
    let target = Target {
        pid: cache.process.id(),
        memcache: cache.memcache_port(),
        redis: cache.redis_port(),
    };
    let plan = Plan {
        time: Duration::from_secs(6),
        clients: 40,
        resident_bytes_max: (MEMORY_MIB << 20) * (100 + BESIDE_PERCENT) / 100,
    };
    let (report, outcome) = run(target, &plan);
    outcome.unwrap_or_else(|why| panic!("{why}\n{report:?}"));
    // It was a load, of all kinds, and more than the memory holds.
    assert!(report.requests > 10_000 && report.connections > 40, "{report:?}");
    assert!(report.hits > 1000 && report.misses > 1000, "{report:?}");
    assert!(report.resident_peak_bytes > report.resident_start_bytes, "{report:?}");
    assert!(cache.metrics().get("twinring_store_evicted_total", &[("store", "main")]) > 0.0);
}

#[test]
fn what_is_wrong_ends_the_soak() {
    for (reply, why) in [
        ("VALUE KEY 0 3\r\nold\r\nEND\r\n", "is old"),
        ("VALUE other 0 3\r\nold\r\nEND\r\n", "unexpected reply"),
        ("ERROR\r\n", "unexpected reply"),
        ("VALUE KEY 0 3\r\nolder\r\nEND\r\n", "without an end"),
        ("", "the connection was closed"),
    ] {
        let server = Fake::start(move |mut stand| {
            while let Some(request) = stand.memcache_request() {
                let line = String::from_utf8_lossy(&request).into_owned();
                let mut words = line.split_whitespace();
                match (words.next(), words.next()) {
                    (Some("get"), _) if reply.is_empty() => return,
                    (Some("get"), Some(key)) => stand.reply(reply.replace("KEY", key)),
                    (Some("set"), _) => stand.reply("STORED\r\n"),
                    _ => stand.reply("NOT_FOUND\r\n"),
                }
            }
        });
        let found = ended_by((server.port(), server.port()), u64::MAX);
        assert!(found.contains(why), "{reply:?}: {found}");
    }
    let cache = Cache::start(&["--max-value", "4MiB"]);
    let found = ended_by((cache.memcache_port(), cache.redis_port()), 1 << 20);
    assert!(found.contains("are resident"), "{found}");
}

/// What ends the soak of a server, whose memory is taken to be that of this process.
fn ended_by((memcache, redis): (u16, u16), resident_bytes_max: u64) -> String {
    let target = Target { pid: std::process::id(), memcache, redis };
    let plan = Plan { time: Duration::from_secs(10), clients: 1, resident_bytes_max };
    run(target, &plan).1.expect_err("it goes on")
}
