//! Large values in the cache server: they go to the store while they come in, and from there to
//! the client; the process stays within its memory.

use std::fs;

use crate::support::{Cache, Client, LONG, wait_until};

const MIB: usize = 1 << 20;

/// A value that tells where a byte of it has gone astray.
fn value(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 7 % 251) as u8 ^ seed).collect()
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn storage(line: &str, value: &[u8]) -> Vec<u8> {
    joined(&[line.as_bytes(), b"\r\n", value, b"\r\n"])
}

fn command(args: &[&[u8]]) -> Vec<u8> {
    let bulk = |arg: &&[u8]| joined(&[format!("${}\r\n", arg.len()).as_bytes(), arg, b"\r\n"]);
    let args: Vec<u8> = [format!("*{}\r\n", args.len()).into_bytes()]
        .into_iter()
        .chain(args.iter().map(bulk))
        .flatten()
        .collect();
    args
}

/// Sends in parts whose lengths go through `cuts`, again and again.
fn send_cut(client: &mut Client, bytes: &[u8], cuts: &[usize]) {
    let (mut rest, mut cuts) = (bytes, cuts.iter().cycle());
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(*cuts.next().expect("a cut")));
        client.send(now);
        rest = later;
    }
}

const CUTS: &[&[usize]] = &[&[usize::MAX], &[65_536], &[1, 299_999, 7, 262_144], &[100_001]];

#[test]
fn memcache_values_come_in_whatever_their_pieces() {
    let cache = Cache::start(&["--memory", "64MiB", "--max-value", "8MiB"]);
    let (mut client, len) = (cache.memcache(), 3 * MIB + 5);
    for (seed, cuts) in (0..).zip(CUTS) {
        let (first, second) = (value(seed, len), value(seed + 100, len));
        let get = |value: &[u8]| {
            joined(&[format!("VALUE k 9 {len}\r\n").as_bytes(), value, b"\r\nEND\r\n"])
        };
        let set = storage(&format!("set k 9 0 {len}"), &first);
        send_cut(&mut client, &joined(&[&set, b"get k\r\n"]), cuts);
        client.expect(joined(&[b"STORED\r\n", &get(&first)]));
        send_cut(&mut client, &storage(&format!("add k 9 0 {len}"), &second), cuts);
        client.expect("NOT_STORED\r\n");
        let quiet = storage(&format!("replace k 9 0 {len} noreply"), &second);
        send_cut(&mut client, &joined(&[&quiet, b"get k\r\n"]), cuts);
        client.expect(get(&second));
        // The end of the value is not where it was said to be.
        let broken = storage(&format!("set k 9 0 {}", len - 2), &first);
        send_cut(&mut client, &joined(&[&broken, b"mn\r\n"]), cuts);
        client.expect("CLIENT_ERROR bad data chunk\r\nERROR\r\nMN\r\n");
        let meta = storage(&format!("ms k {len} s O1"), &first);
        send_cut(&mut client, &meta, cuts);
        client.expect(format!("HD s{len} O1\r\n"));
        let appended = storage(&format!("append k 9 0 {len}"), &second);
        send_cut(&mut client, &joined(&[&appended, b"mg k s v\r\n"]), cuts);
        client.expect(joined(&[
            format!("STORED\r\nVA {} s{}\r\n", 2 * len, 2 * len).as_bytes(),
            &first,
            &second,
            b"\r\n",
        ]));
    }
}

#[test]
fn redis_values_come_in_whatever_their_pieces() {
    let cache = Cache::start(&["--memory", "64MiB", "--max-value", "8MiB"]);
    let (mut client, len) = (cache.redis(), 3 * MIB + 5);
    let bulk = |value: &[u8]| joined(&[format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"]);
    for (seed, cuts) in (0..).zip(CUTS) {
        let (a, b) = (value(seed, len), value(seed + 100, len));
        let mut ask = |requests: &[Vec<u8>], reply: &[u8]| {
            send_cut(&mut client, &requests.concat(), cuts);
            client.expect(reply);
        };
        let get = command(&[b"GET", b"k"]);
        ask(&[command(&[b"SET", b"k", &a]), get.clone()], &joined(&[b"+OK\r\n", &bulk(&a)]));
        ask(&[command(&[b"SET", b"k", &b, b"NX", b"EX", b"100"])], b"$-1\r\n");
        ask(
            &[command(&[b"SET", b"k", &b, b"what"]), get.clone()],
            &joined(&[b"-ERR syntax error\r\n", &bulk(&a)]),
        );
        let timed = command(&[b"SETEX", b"k", b"100", &b]);
        ask(&[timed, command(&[b"TTL", b"k"])], b"+OK\r\n:100\r\n");
        ask(&[command(&[b"GETSET", b"k", &a])], &bulk(&b));
        ask(&[command(&[b"SETNX", b"k", &b])], b":0\r\n");
        let queued = [command(&[b"MULTI"]), command(&[b"SET", b"k", &b]), command(&[b"EXEC"])];
        ask(&queued, b"+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
        ask(
            &[command(&[b"STRLEN", b"k"]), get],
            &joined(&[format!(":{len}\r\n").as_bytes(), &bulk(&b)]),
        );
    }
}

#[test]
fn a_reply_of_many_large_values_is_bounded_though_they_are_not_copied() {
    let cache = Cache::start(&["--memory", "64MiB"]);
    let (mut memcache, mut redis) = (cache.memcache(), cache.redis());
    let text = value(5, MIB);
    memcache.ask(storage(&format!("set k 0 0 {MIB}"), &text), "STORED\r\n");
    // 32 MiB is what a client may be owed.
    redis.ask(
        format!("MGET{}\r\nPING\r\n", " k".repeat(40)),
        "-ERR the reply is larger than the limit\r\n+PONG\r\n",
    );
    memcache.ask(
        format!("get{}\r\nmn\r\n", " k".repeat(40)),
        "SERVER_ERROR out of memory writing get response\r\nMN\r\n",
    );
    redis.send("MGET k k\r\n");
    let one = joined(&[format!("${MIB}\r\n").as_bytes(), &text, b"\r\n"]);
    redis.expect(joined(&[b"*2\r\n", &one, &one]));
}

#[test]
fn who_goes_away_in_the_middle_of_a_value_leaves_nothing() {
    let cache = Cache::start(&["--memory", "64MiB", "--max-value", "30MiB"]);
    let mut client = cache.memcache();
    client.ask("set k 0 0 1\r\nx\r\n", "STORED\r\n");
    for _ in 0..8 {
        let mut other = cache.memcache();
        other.send(format!("set k 0 0 {}\r\n", 30 * MIB));
        other.send(value(1, 25 * MIB));
    }
    let gone = wait_until(LONG, || cache.metrics().get("twinring_client_connections", &[]) <= 1.0);
    assert!(gone, "clients stay");
    client.ask("get k\r\n", "VALUE k 0 1\r\nx\r\nEND\r\n");
    // All memory can be had again.
    client.send(storage(&format!("set k 0 0 {}", 30 * MIB), &value(2, 30 * MIB)));
    client.expect("STORED\r\n");
}

#[test]
fn large_and_small_values_stay_within_the_memory_together() {
    let cache = Cache::start(&["--memory", "64MiB", "--max-value", "30MiB"]);
    let mut client = cache.memcache();
    let small: Vec<u8> = (0..2000)
        .flat_map(|n| storage(&format!("set small{n} 0 0 1000 noreply"), &value(n as u8, 1000)))
        .collect();
    for round in 0..12 {
        for len in [20_000, 300_000, MIB, 5 * MIB, 30 * MIB] {
            let set = storage(&format!("set large{round}:{len} 0 0 {len}"), &value(round, len));
            client.ask(set, "STORED\r\n");
            client.send(format!("get large{round}:{len}\r\n"));
            client.expect(joined(&[
                format!("VALUE large{round}:{len} 0 {len}\r\n").as_bytes(),
                &value(round, len),
                b"\r\nEND\r\n",
            ]));
        }
        client.ask(joined(&[&small, b"mn\r\n"]), "MN\r\n");
        let resident = resident(&cache);
        assert!(resident * 100 <= 64 * MIB * 105, "{resident} bytes in round {round}");
    }
}

/// The most that has been resident of the process, in bytes.
fn resident(cache: &Cache) -> usize {
    let status =
        fs::read_to_string(format!("/proc/{}/status", cache.process.id())).expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}
