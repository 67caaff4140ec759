//! The cache server: twinring without servers behind it, over every kind of listener.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Cache, Client, LONG, Port, Process, Scratch, wait_until};

/// Runs the program with `input` on its standard input; its exit code and what it wrote.
fn on_stdio(protocol: &str, input: &[u8]) -> (Option<i32>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_twinring"))
        .args(["--stdio", protocol])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("its input").write_all(input).expect("to write");
    let output = child.wait_with_output().expect("its end");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn both_protocols_see_the_same_items() {
    let cache = Cache::start(&[]);
    cache.memcache().ask("set hello 0 0 5\r\nworld\r\n", "STORED\r\n");
    cache.redis().ask("GET hello\r\n", "$5\r\nworld\r\n");
    cache.redis().ask("SET other 12\r\n", "+OK\r\n");
    cache.memcache().ask("incr other 1\r\nget other\r\n", "13\r\nVALUE other 0 2\r\n13\r\nEND\r\n");
}

#[test]
fn workers_share_one_store() {
    let cache = Cache::start(&["--workers", "3"]);
    let mut clients: Vec<Client> = (0..6).map(|_| cache.memcache()).collect();
    clients[0].ask("set n 0 0 1\r\n0\r\n", "STORED\r\n");
    for (done, client) in (1..).zip(&mut clients) {
        client.ask("incr n 1\r\n", format!("{done}\r\n"));
    }
}

#[test]
fn a_pipe_is_a_client() {
    let (code, said) = on_stdio("memcache", b"set a 0 0 1\r\nx\r\nget a\r\n");
    assert_eq!((code, said.as_str()), (Some(0), "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n"));
    let (code, said) = on_stdio("redis", b"SET a 1\r\nINCR a\r\nQUIT\r\nGET a\r\n");
    assert_eq!((code, said.as_str()), (Some(0), "+OK\r\n:2\r\n+OK\r\n"));
    let (code, said) = on_stdio("memcache", b"version\r\n");
    assert!(code == Some(0) && said.starts_with("VERSION "), "{code:?} {said}");
}

#[test]
fn a_ping_is_answered_by_a_pong() {
    let (code, said) = on_stdio("ping", b"PING\r\nwhat\r\nping\n");
    assert_eq!((code, said.as_str()), (Some(0), "PONG\r\nERROR\r\nPONG\r\n"));
    let (port, scratch) = (Port::take(), Scratch::new());
    let text = format!(
        "admin: {{ listen: off }}\npools:\n  p:\n    listen: 127.0.0.1:{}\n    protocol: ping\n",
        port.number()
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
    command.arg("-c").arg(scratch.file("ping.yml", &text));
    let mut process = Process::start(command);
    process.wait_for(port.number());
    Client::connect(port.number()).ask("PING\r\n".repeat(1000), "PONG\r\n".repeat(1000));
}

#[test]
fn a_unix_socket_has_the_mode_that_it_was_given() {
    use std::os::unix::fs::PermissionsExt;

    let scratch = Scratch::new();
    let path = scratch.path().join("cache.sock");
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
    command.args(["--admin", "off", "--redis", "off", "--memcache"]);
    command.arg(format!("{} 0640", path.display()));
    let mut process = Process::start(command);
    let mut client = None;
    assert!(
        wait_until(LONG, || {
            client = UnixStream::connect(&path).ok();
            client.is_some()
        }),
        "nobody listens on the socket"
    );
    let mode = std::fs::metadata(&path).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    process.signal(Signal::TERM);
    drop(client);
    assert_eq!(process.wait_end(LONG).and_then(|status| status.code()), Some(0));
    assert!(!path.exists(), "the socket's file is left behind");
}

#[test]
fn a_silent_client_is_closed_and_one_that_talks_is_not() {
    let cache = Cache::start(&["--idle-timeout", "2s", "--workers", "1"]);
    let (mut silent, mut talking) = (cache.memcache(), cache.memcache());
    silent.ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) || silent_is_open(&cache) {
        talking.ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
        assert!(begun.elapsed() < LONG, "the silent client is still there");
    }
    assert!(begun.elapsed() >= Duration::from_millis(1900), "closed after {:?}", begun.elapsed());
    silent.expect_closed();
    talking.ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
}

/// True until a client has been closed for its silence.
fn silent_is_open(cache: &Cache) -> bool {
    let closed = cache
        .metrics()
        .get("twinring_client_disconnects_total", &[("pool", "memcache"), ("reason", "timeout")]);
    closed < 1.0
}

#[test]
fn the_largest_value_is_what_was_asked_for() {
    let cache = Cache::start(&["--max-value", "100KiB"]);
    let mut client = cache.memcache();
    let set = |bytes: usize| format!("set k 0 0 {bytes}\r\n{}\r\n", "x".repeat(bytes));
    client.ask(set(100 << 10), "STORED\r\n");
    client.ask(set((100 << 10) + 1), "SERVER_ERROR object too large for cache\r\n");
    client.ask("get other\r\n", "END\r\n");
}

#[test]
fn a_cell_is_as_large_as_was_asked_for() {
    let cache = Cache::start(&["--storage", "cuckoo", "--item-size", "64"]);
    let mut client = cache.memcache();
    let set =
        |key: &str, bytes: usize| format!("set {key} 0 0 {bytes}\r\n{}\r\n", "x".repeat(bytes));
    client.ask(set("k", 35), "STORED\r\n");
    client.ask(set("key", 34), "SERVER_ERROR object too large for cache\r\n");
    client.ask("append k 0 0 1\r\ny\r\n", "NOT_STORED\r\n");
    client.ask(set("k", 36), "SERVER_ERROR object too large for cache\r\n");
    client.ask("get k\r\n", "END\r\n");
    let mut client = cache.redis();
    let refusal = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
    client.ask(format!("SET k {} EX 100\r\n", "x".repeat(35)), "+OK\r\n");
    client.ask(format!("SET k {} EX 100\r\n", "x".repeat(36)), refusal);
    client.ask("APPEND k y\r\n", refusal);
    client.ask(format!("SET {} v\r\n", "k".repeat(36)), refusal);
    client.ask("STRLEN k\r\n", ":35\r\n");
    client.ask(
        "CONFIG GET proto-max-bulk-len\r\n",
        "*2\r\n$18\r\nproto-max-bulk-len\r\n$2\r\n36\r\n",
    );
}

#[test]
fn cells_that_are_full_evict_or_refuse() {
    let set = |number: u32| format!("set {number:08} 0 0 4\r\nitem\r\n");
    for eviction in ["random", "expiry", "none"] {
        let cache =
            Cache::start(&["--storage", "cuckoo", "--memory", "2MiB", "--eviction", eviction]);
        let mut client = cache.memcache();
        let (mut stored, mut refused) = (0, 0);
        for first in (0..30_000).step_by(100) {
            client.send((first..first + 100).map(set).collect::<String>());
            for _ in 0..100 {
                match &*client.read_line() {
                    b"STORED\r\n" => stored += 1,
                    b"SERVER_ERROR out of memory storing object\r\n" => refused += 1,
                    other => panic!("{}", other.escape_ascii()),
                }
            }
        }
        let figure = |name: &str| cache.metrics().get(name, &[("store", "main")]);
        assert!(wait_until(LONG, || figure("twinring_store_stored_total") == f64::from(stored)));
        let (items, evicted) =
            (figure("twinring_store_items"), figure("twinring_store_evicted_total"));
        assert!(items > 15_000.0 && items + evicted == f64::from(stored), "{items} + {evicted}");
        assert_eq!((refused > 0, evicted > 0.0), (eviction == "none", eviction != "none"));
    }
}

#[test]
fn what_is_stored_is_told() {
    let cache = Cache::start(&["--memory", "512MiB"]);
    cache.memcache().ask("set k 0 0 5\r\nvalue\r\n", "STORED\r\n");
    let figure = |name: &str| cache.metrics().get(name, &[("store", "main")]);
    // Told for the first time a moment after the start.
    let items = || cache.metrics().sum("twinring_store_items", &[("store", "main")]);
    assert!(wait_until(LONG, || items() == Some(1.0)));
    assert_eq!(figure("twinring_store_bytes"), 6.0);
    assert_eq!(figure("twinring_store_memory_limit_bytes"), f64::from(512 << 20));
    cache.redis().ask("SET k v PX 1\r\n", "+OK\r\n");
    assert!(wait_until(LONG, || figure("twinring_store_expired_total") == 1.0));
}
