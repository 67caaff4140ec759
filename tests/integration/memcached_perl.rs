//! memcached's own tests, written in Perl, with twinring in memcached's place.
//!
//! tests/run fetches memcached's source and lays its tests beside an adapter
//! (`tests/memcached/`) that takes memcached's flags. Run here is what holds for a cache that is
//! not memcached: not what looks at slabs, LRU queues, the crawler, prefixes, log watchers, the
//! binary protocol, UDP, TLS or memcached's proxy.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Those that must pass, without a part left out.
const TESTS: [&str; 25] = [
    "bogus-commands",
    "cas",
    "chunked-items",
    "dash-M",
    "evictions",
    "expirations",
    "flags",
    "getandtouch",
    "incrdecr",
    "issue_104",
    "issue_108",
    "issue_152",
    "issue_192",
    "issue_3",
    "issue_41",
    "issue_68",
    "issue_70",
    "item_size_max",
    "line-lengths",
    "metaget",
    "multiversioning",
    "noreply",
    "quit",
    "touch",
    "unixsocket",
];

/// As many run at a time; mostly they wait.
const TOGETHER: usize = 6;

#[test]
fn memcacheds_own_tests_pass() {
    let next = AtomicUsize::new(0);
    let failed: Vec<String> = std::thread::scope(|scope| {
        let work = || {
            let mut failed = Vec::new();
            while let Some(name) = TESTS.get(next.fetch_add(1, Ordering::Relaxed)) {
                failed.extend(run(name).err().map(|why| format!("{name}: {why}")));
            }
            failed
        };
        let workers: Vec<_> = (0..TOGETHER).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    });
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), TESTS.len(), failed.join("\n"));
}

/// Runs a test; what it complains of if it fails, or leaves a part out.
fn run(name: &str) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("target/memcached");
    assert!(folder.exists(), "no {}: tests/run makes it", folder.display());
    let mut command = Command::new("timeout");
    // The servers of a test that takes far too long end with it.
    command.args(["--signal=KILL", "180", "perl", "-MRealTime", &format!("t/{name}.t")]);
    command.current_dir(folder);
    command.env("PERL5LIB", root.join("tests/memcached"));
    command.env("TWINRING", env!("CARGO_BIN_EXE_twinring"));
    let output = command.output().expect("perl");
    let said = String::from_utf8_lossy(&output.stdout);
    let passed = said.lines().filter(|line| line.starts_with("ok ")).count();
    if output.status.success() && passed > 0 && !said.to_lowercase().contains("# skip") {
        return Ok(());
    }
    // Its notes go to standard error, among what the servers log.
    let errors = String::from_utf8_lossy(&output.stderr);
    let notes: String = errors
        .lines()
        .filter(|line| line.starts_with('#'))
        .take(20)
        .fold(String::new(), |notes, line| {
            format!("{notes}\n  {}", line.chars().take(200).collect::<String>())
        });
    Err(format!("{}, {passed} passed{notes}", output.status))
}
