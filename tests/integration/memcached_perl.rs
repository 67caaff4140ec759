//! memcached's own tests, written in Perl, with twinring in memcached's place, and in front of it.
//!
//! tests/run fetches memcached's source and lays its tests beside an adapter
//! (`tests/memcached/`) that takes memcached's flags. Run here is what holds for a cache that is
//! not memcached: not what looks at slabs, LRU queues, the crawler, prefixes, log watchers, UDP,
//! TLS or memcached's proxy. In front of memcached these are run that hold
//! for a proxy as well; not run are, beside those that need what no cache client sees:
//!
//! * about the server's own connections, or its doors, of which the proxy's are others: ascii-auth,
//!   conn-limits, idle-timeout, maxconns, shutdown, stats, stats-conns, udp, watcher, binary ones;
//! * about how memcached is started, which the proxy is not: 00-startup, daemonize, issue_50,
//!   issue_67, startfile;
//! * of which Debian's memcached leaves parts out: issue_140, issue_260, misbehave, refhang,
//!   slabhang, whitespace, and those with external storage;
//! * about slabs as an operator moves them: dyn-maxbytes, slabs-reassign, strtol-testing;
//! * where the proxy has words of its own, so that nothing is taken for a request that is not one:
//!   cas (a storage line that is short of a word: its data are thrown away), issue_70 (a length that
//!   no value can have ends the connection), malicious-commands (HTTP is closed).

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::Scratch;

/// Those that must pass in its place, without a part left out but for what is below.
const IN_PLACE: [&str; 27] = [
    "binary",
    "binary-get",
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

/// Those that must pass in front of it, likewise.
const IN_FRONT: [&str; 35] = [
    "64bit",
    "bogus-commands",
    "chunked-items",
    "dash-M",
    "evictions",
    "expirations",
    "flags",
    "flush-all",
    "getandtouch",
    "getset",
    "incrdecr",
    "issue_104",
    "issue_108",
    "issue_14",
    "issue_152",
    "issue_163",
    "issue_183",
    "issue_192",
    "issue_22",
    "issue_29",
    "issue_3",
    "issue_41",
    "issue_42",
    "issue_61",
    "issue_68",
    "item_size_max",
    "line-lengths",
    "lru",
    "metaget",
    "multiversioning",
    "noreply",
    "quit",
    "stats-detail",
    "touch",
    "unixsocket",
];

/// What is not as they expect: `stats settings` has no `maxconns` of 1024, as any number of clients
/// may come.
const FAILS: [(&str, &str); 1] = [("binary", "not ok 2659")];

/// As many run at a time; mostly they wait.
const TOGETHER: usize = 6;

#[test]
fn memcacheds_own_tests_pass() {
    all_pass(&IN_PLACE, None);
}

#[test]
fn memcacheds_own_tests_pass_in_front_of_it() {
    let scratch = Scratch::new();
    all_pass(&IN_FRONT, Some(scratch.path()));
}

/// Runs tests; with `sockets`, a folder, in front of a memcached that has its socket there.
fn all_pass(tests: &[&str], sockets: Option<&Path>) {
    let next = AtomicUsize::new(0);
    let failed: Vec<String> = std::thread::scope(|scope| {
        let work = || {
            let mut failed = Vec::new();
            while let Some(name) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                failed.extend(run(name, sockets).err().map(|why| format!("{name}: {why}")));
            }
            failed
        };
        let workers: Vec<_> = (0..TOGETHER).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    });
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), tests.len(), failed.join("\n"));
}

/// Runs a test; what it complains of if it fails, or leaves a part out.
fn run(name: &str, sockets: Option<&Path>) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("target/memcached");
    assert!(folder.exists(), "no {}: tests/run makes it", folder.display());
    let mut command = Command::new("timeout");
    // The servers of a test that takes far too long end with it.
    command.args(["--signal=KILL", "180", "perl", "-MRealTime", &format!("t/{name}.t")]);
    command.current_dir(folder);
    command.env("PERL5LIB", root.join("tests/memcached"));
    command.env("TWINRING", env!("CARGO_BIN_EXE_twinring"));
    sockets.map(|folder| command.env("IN_FRONT", folder));
    let output = command.output().expect("perl");
    let said = String::from_utf8_lossy(&output.stdout);
    let passed = said.lines().filter(|line| line.starts_with("ok ")).count();
    let failed: Vec<&str> = said.lines().filter(|line| line.starts_with("not ok ")).collect();
    let known: Vec<&str> =
        FAILS.iter().filter(|(of, _)| *of == name).map(|(_, line)| *line).collect();
    let ended = output.status.success() || !known.is_empty();
    if ended && failed == known && passed > 0 && !said.to_lowercase().contains("# skip") {
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
