//! Redis's own tests, written in Tcl, with twinring in front of one redis-server.
//!
//! tests/run fetches Redis's source and adds `tests/redis/beside.tcl` to its client, so that what is
//! said about the server alone (CONFIG, DEBUG, INFO …) goes past the proxy. A unit is run as Redis's
//! own test program runs it for a server that is there already; we are the side that tells it what
//! to run and hears what came of it.
//!
//! ```text
//!  we ─▶ run unit/multi ─▶ tclsh test_helper.tcl ─▶ twinring ─▶ redis-server
//!  we ◀─ ok, err, skip … done ◀──┘    └──────── beside ─────────────▲
//! ```
//! Not run are units about one server (persistence, replication, memory, its log and latency, ACL,
//! MONITOR, CLIENT, TRACKING, pauses, modules; HyperLogLogs, by PFDEBUG), those of Redis Cluster, TLS of the server, and what
//! Redis says cannot be run at a server that is there already. Parts that need DEBUG, SAVE or
//! replication are left out by their tags.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::{PoolSpec, Proxy, Redis, Scratch};

/// A unit, how many of its tests pass at least, and those that are left out (a name, or a pattern
/// behind a slash) with the reason.
type Unit = (&'static str, usize, &'static [(&'static str, &'static str)]);

const QUEUED: &str = "it queues a command without a key";
const KILL: &str = "SCRIPT KILL and FUNCTION KILL concern one server";
const LONG: &str = "it takes long, and nothing of it is the proxy's";
const LIMIT: &str = "a limit of the proxy comes first";
const COUNTED: &str = "connections are counted, which sessions share";
const CLIENT: &str = "the proxy does not have that CLIENT subcommand";
const COMMAND: &str = "the proxy does not have COMMAND GETKEYS";

const UNITS: [Unit; 22] = [
    (
        "unit/scripting",
        150,
        &[
            ("/kill", KILL),
            ("/[Tt]imedout|timeout|BUSY", KILL),
            ("Script return recursive object", LIMIT),
            ("Script ACL check", "users are the proxy's"),
        ],
    ),
    (
        "unit/functions",
        70,
        &[
            ("/kill", KILL),
            ("/function stats", "FUNCTION STATS concerns one server"),
            ("FUNCTION - test wrong subcommand", "the proxy has words of its own for it"),
            ("/command get keys", COMMAND),
        ],
    ),
    (
        "unit/multi",
        20,
        &[
            ("EXEC fails if there are errors while queueing commands #2", QUEUED),
            ("/OOM", QUEUED),
            ("EXEC with at least one use-memory command should fail", QUEUED),
            ("/MULTI with", QUEUED),
            ("/script timeout", KILL),
        ],
    ),
    (
        "unit/pubsub",
        8,
        &[
            ("/two clients", COUNTED),
            ("/PUBLISH.SUBSCRIBE after UNSUBSCRIBE", COUNTED),
            ("/NUMPAT", "its clients unsubscribe without being waited for"),
            ("/REPLY OFF", CLIENT),
            ("/eyspace notif", "what concerns one key's server is published on every server alike"),
        ],
    ),
    ("unit/type/list", 200, &[("/client unblock", CLIENT)]),
    ("unit/type/zset", 250, &[("/ZDIFF fuzzing", LONG)]),
    ("unit/type/stream", 50, &[("XRANGE fuzzing", LONG)]),
    ("unit/type/stream-cgroups", 40, &[]),
    ("unit/type/set", 85, &[("SDIFF fuzzing", LONG)]),
    ("unit/type/hash", 60, &[("/fuzzing #. - 512|Stress test the hash", LONG)]),
    ("unit/type/string", 60, &[("/fuzzing", LONG)]),
    ("unit/type/incr", 20, &[]),
    ("unit/expire", 45, &[]),
    ("unit/keyspace", 35, &[]),
    ("unit/scan", 14, &[("/4906", LONG)]),
    ("unit/sort", 35, &[("/get keys|correctly", COMMAND)]),
    ("unit/bitops", 40, &[]),
    ("unit/bitfield", 14, &[]),
    ("unit/geo", 50, &[("/fuzzy", LONG)]),
    ("unit/protocol", 15, &[("Out of range multibulk payload length", LIMIT)]),
    ("unit/other", 5, &[("/PIPELINING", LONG)]),
    ("unit/quit", 3, &[]),
];

/// Tags of parts that are left out.
const WITHOUT: &str = "-needs:repl -needs:debug -needs:save -needs:reset -slow -large-memory";

/// As many run at a time; mostly they wait.
const TOGETHER: usize = 4;

/// A unit that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn rediss_own_tests_pass() {
    let next = AtomicUsize::new(0);
    let failed: Vec<String> = std::thread::scope(|scope| {
        let work = || {
            let mut failed = Vec::new();
            while let Some(unit) = UNITS.get(next.fetch_add(1, Ordering::Relaxed)) {
                failed.extend(run(unit).err().map(|why| format!("{}: {why}", unit.0)));
            }
            failed
        };
        let workers: Vec<_> = (0..TOGETHER).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    });
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), UNITS.len(), failed.join("\n"));
}

/// Runs a unit; what it complains of if it fails.
fn run(&(unit, least, without): &Unit) -> Result<(), String> {
    let redis = Redis::start(&["--enable-debug-command", "yes"]);
    let pool = PoolSpec::redis(&[redis.port()]).set("allow_scan", true).set("allow_flush", true);
    // Redis itself is as slow as it likes.
    let pool = pool.set("timeout", 60_000);
    let proxy = Proxy::twinring(pool);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let scratch = Scratch::new();
    let port = listener.local_addr().expect("its address").port();
    let mut tester = Tester::start(&scratch, port, (proxy.port(), redis.port()), without);
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

/// Redis's program that runs units.
struct Tester(Child);

impl Tester {
    fn start(
        scratch: &Scratch,
        port: u16,
        (proxy, server): (u16, u16),
        without: &[(&str, &str)],
    ) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/redis");
        assert!(folder.exists(), "no {}: tests/run makes it", folder.display());
        // It keeps what it writes in `tests/tmp` below where it is started.
        std::fs::create_dir_all(scratch.path().join("tests/tmp")).expect("a folder");
        for name in ["support", "unit", "helpers", "assets", "test_helper.tcl"] {
            let (from, to) =
                (folder.join("tests").join(name), scratch.path().join("tests").join(name));
            std::os::unix::fs::symlink(from, to).expect("a link");
        }
        let mut command = Command::new("tclsh");
        command.current_dir(scratch.path()).arg("tests/test_helper.tcl");
        command.args(["--host", "127.0.0.1", "--port", &proxy.to_string()]);
        command.args(["--singledb", "--ignore-encoding", "--ignore-digest", "--durable"]);
        command.args(["--tags", WITHOUT, "--client", &port.to_string()]);
        without.iter().for_each(|(name, _)| _ = command.args(["--skiptest", name]));
        command.env("PROXY", proxy.to_string()).env("SERVER", server.to_string());
        Self(command.stdout(Stdio::null()).spawn().expect("tclsh"))
    }

    fn accepted(&mut self, listener: &TcpListener) -> Result<TcpStream, String> {
        listener.set_nonblocking(true).map_err(|error| error.to_string())?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).map_err(|error| error.to_string())?;
                    return Ok(stream);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => return Err(error.to_string()),
            }
            if let Ok(Some(status)) = self.0.try_wait() {
                return Err(format!("tclsh: {status}"));
            }
        }
        Err("tclsh did not come".to_owned())
    }
}

impl Drop for Tester {
    fn drop(&mut self) {
        // It waits for the next unit for ever.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What is said with it: the length of a packet, a line end, the packet.
struct Talk(BufReader<TcpStream>);

impl Talk {
    fn with(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        Self(BufReader::new(stream))
    }

    fn say(&mut self, packet: &str) {
        let text = format!("{}\n{packet}", packet.len());
        self.0.get_mut().write_all(text.as_bytes()).expect("tclsh listens");
    }

    /// The next packet: its first word, and the rest.
    fn hear(&mut self) -> Result<(String, String), String> {
        let mut line = String::new();
        self.0.read_line(&mut line).map_err(|error| error.to_string())?;
        let length = line.trim().parse::<usize>().map_err(|_| "tclsh has ended".to_owned())?;
        let mut packet = vec![0; length];
        self.0.read_exact(&mut packet).map_err(|error| error.to_string())?;
        let packet = String::from_utf8_lossy(&packet).into_owned();
        let (status, rest) = packet.split_once(' ').unwrap_or((&packet, ""));
        Ok((status.to_owned(), rest.to_owned()))
    }
}
