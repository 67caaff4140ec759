//! Redis's and Valkey's own tests, written in Tcl, with twinring in front of one such server.
//!
//! tests/run fetches the two sources and adds `tests/redis/beside.tcl` to their client, so that what
//! is said about the server alone (CONFIG, DEBUG, INFO …) goes past the proxy; Valkey's server is
//! built from the same source. A unit is run as their own test program runs it for a server that is
//! there already; we are the side that tells it what to run and hears what came of it.
//!
//! ```text
//!  we ─▶ run unit/multi ─▶ tclsh test_helper.tcl ─▶ twinring ─▶ redis-server
//!  we ◀─ ok, err, skip … done ◀──┘    └──────── beside ─────────────▲
//! ```
//! Not run are units about one server (persistence, replication, memory, its log and latency, ACL,
//! MONITOR, CLIENT, TRACKING, pauses, modules; HyperLogLogs, by PFDEBUG), those of Redis Cluster,
//! TLS of the server, and what cannot be run at a server that is there already. Parts that need
//! DEBUG, SAVE or replication are left out by their tags.

mod tester;
mod units;

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use self::tester::{Talk, Tester};
use self::units::{UNITS, Unit, VALKEY};
use crate::support::{PoolSpec, Proxy, Redis, Scratch, fetched, valkey};

/// As many run at a time; mostly they wait.
const TOGETHER: usize = 4;

/// A unit that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server and its tests.
struct Kind {
    program: PathBuf,
    folder: PathBuf,
    /// What is left out beside what is of both.
    without: &'static [(&'static str, &'static str)],
}

#[test]
fn rediss_own_tests_pass() {
    all_pass(&Kind { program: "redis-server".into(), folder: fetched("redis"), without: &[] });
}

#[test]
fn valkeys_own_tests_pass() {
    let folder = fetched("valkey");
    all_pass(&Kind { program: valkey(), folder, without: &VALKEY });
}

fn all_pass(kind: &Kind) {
    let next = AtomicUsize::new(0);
    let failed: Vec<String> = std::thread::scope(|scope| {
        let work = || {
            let mut failed = Vec::new();
            while let Some(unit) = UNITS.get(next.fetch_add(1, Ordering::Relaxed)) {
                failed.extend(run(kind, unit).err().map(|why| format!("{}: {why}", unit.0)));
            }
            failed
        };
        let workers: Vec<_> = (0..TOGETHER).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    });
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), UNITS.len(), failed.join("\n"));
}

/// Runs a unit; what it complains of if it fails.
fn run(kind: &Kind, &(unit, least, without): &Unit) -> Result<(), String> {
    let redis = Redis::start_program(&kind.program, &["--enable-debug-command", "yes"]);
    let pool = PoolSpec::redis(&[redis.port()]).set("allow_scan", true).set("allow_flush", true);
    // The server is as slow as it likes.
    let pool = pool.set("timeout", 60_000);
    let proxy = Proxy::twinring(pool);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let scratch = Scratch::new();
    let port = listener.local_addr().expect("its address").port();
    let without = without.iter().chain(kind.without);
    let ports = (proxy.port(), redis.port());
    let mut tester = Tester::start((&kind.folder, &scratch), port, ports, without);
    let mut talk = Talk::with(tester.accepted(&listener)?);
    let (mut passed, mut wrong) = (0, Vec::new());
    loop {
        let (status, text) = talk.hear().map_err(|why| format!("after {passed} tests: {why}"))?;
        match status.as_str() {
            "ready" => talk.say(&format!("run {unit}")),
            "ok" => passed += 1,
            "err" | "exception" => wrong.push(text),
            "done" => break,
            _ => {}
        }
        if status == "exception" {
            break;
        }
    }
    match wrong.as_slice() {
        [] if passed >= least => Ok(()),
        [] => Err(format!("{passed} passed, {least} should")),
        _ => Err(format!("{passed} passed\n  {}", wrong.join("\n  "))),
    }
}
