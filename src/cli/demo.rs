//! `twinring demo`: the main job, on cache shards of our own.
//!
//! ```text
//!  client ─▶ memcache pool ─▶ ring ─▶ three memcache shards ┐
//!  client ─▶ Redis pool ────▶ ring ─▶ three Redis shards    ┴ all in this process
//! ```
//! Says what to try, and serves until it is interrupted.

use std::fmt::Write;
use std::io;
use std::net::TcpListener;

use super::{FAILED, complain, print, run};
use crate::config;

/// Shards behind each pool.
const SHARDS: usize = 3;

/// Memory of each shard.
const SHARD_MEMORY: &str = "16MiB";

/// Where the pools listen if they can: memcache, Redis, admin.
const PORTS: [u16; 3] = [22121, 22122, 9900];

/// Runs the demonstration; the exit code.
pub(super) fn run() -> u8 {
    match prepare() {
        Ok(text) => {
            let parsed = config::parse(&text, "demo", false);
            parsed.map_or_else(
                |errors| {
                    complain(&format!("{errors}\n"));
                    FAILED
                },
                run::serve_config,
            )
        }
        Err(error) => {
            complain(&format!("twinring demo: {error}\n"));
            FAILED
        }
    }
}

/// Finds ports, writes the configuration, and says what to try.
fn prepare() -> io::Result<String> {
    let mut taken = Vec::new();
    let fronts: Vec<u16> =
        PORTS.iter().map(|&port| free_port(port, &mut taken)).collect::<io::Result<_>>()?;
    let mut shards =
        || -> io::Result<Vec<u16>> { (0..SHARDS).map(|_| free_port(0, &mut taken)).collect() };
    let (memcache, redis) = (shards()?, shards()?);
    let mut text = format!("admin: {{ listen: 127.0.0.1:{} }}\npools:\n", fronts[2]);
    write_pool(&mut text, ("memcache", fronts[0]), &memcache);
    write_pool(&mut text, ("redis", fronts[1]), &redis);
    // Nobody may connect before the listeners are those that serve.
    drop(taken);
    introduce(&fronts, &memcache, &redis);
    Ok(text)
}

/// `wanted` if nobody has it, otherwise any port. It is held in `taken` until all are found, so
/// that none is given twice.
fn free_port(wanted: u16, taken: &mut Vec<TcpListener>) -> io::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", wanted))
        .or_else(|_| TcpListener::bind(("127.0.0.1", 0)))?;
    let port = listener.local_addr()?.port();
    taken.push(listener);
    Ok(port)
}

/// A pool, and the shards behind it.
fn write_pool(text: &mut String, (protocol, port): (&str, u16), shards: &[u16]) {
    let _ = writeln!(text, "  {protocol}:\n    listen: 127.0.0.1:{port}");
    let _ = writeln!(text, "    protocol: {protocol}\n    servers:");
    for (number, shard) in (1..).zip(shards) {
        let _ = writeln!(text, "      - 127.0.0.1:{shard}:1 {protocol}{number}");
    }
    for (number, shard) in (1..).zip(shards) {
        let _ = writeln!(text, "  {protocol}{number}:\n    listen: 127.0.0.1:{shard}");
        let _ = writeln!(text, "    protocol: {protocol}\n    memory: {SHARD_MEMORY}");
    }
}

fn introduce(fronts: &[u16], memcache: &[u16], redis: &[u16]) {
    let list = |ports: &[u16]| {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        ports.join(", ")
    };
    print(&format!(
        "Three memcache shards on ports {} and three Redis shards on ports {} of 127.0.0.1.\n\
         In front of them: a memcache pool on port {mc}, a Redis pool on port {redis_port}.\n\n\
         Try, in another terminal:\n\
         \x20 printf 'set hello 0 0 5\\r\\nworld\\r\\nget hello\\r\\nquit\\r\\n' | nc 127.0.0.1 {mc}\n\
         \x20 redis-cli -p {redis_port} mset a 1 b 2 c 3\n\
         \x20 redis-cli -p {redis_port} mget a b c\n\
         \x20 curl -s http://127.0.0.1:{admin}/metrics | grep backend_requests_total\n\n\
         Ctrl-C ends everything.\n",
        list(memcache),
        list(redis),
        mc = fronts[0],
        redis_port = fronts[1],
        admin = fronts[2],
    ));
}
