//! Bounds: large values in little memory, and what goes beyond a limit is refused and forgotten.

use crate::support::{Client, LONG, Memcached, PoolSpec, Proxy, Redis, wait_until};

/// What all buffers of the proxy may hold in these tests.
const BUFFERS: &str = "buffers: 32MiB";
const BUFFERS_KIB: u64 = 32 << 10;
/// What the process needs beside its buffers, with room for the allocator's rounding. (An empty
/// process has 5 to 10 MiB.)
const PROCESS_KIB: u64 = 32 << 10;

#[test]
fn values_larger_than_all_buffers_pass_through_memcache() {
    let memcached = Memcached::with(&["-m", "512", "-I", "80m"]);
    let pool = PoolSpec::memcache(&[memcached.port()]).set("timeout", 20_000);
    let proxy = Proxy::twinring_with(&[BUFFERS], vec![pool]);
    let mut client = proxy.client();
    for mebibytes in [1, 8, 33, 64] {
        let value = pattern(mebibytes << 20);
        client.send(format!("set a 0 0 {}\r\n", value.len()));
        client.send(&value);
        client.ask("\r\n", "STORED\r\n");
        client.ask("get a\r\n", format!("VALUE a 0 {}\r\n", value.len()));
        client.expect(&value);
        client.expect("\r\nEND\r\n");
    }
    expect_small(&proxy);
}

#[test]
fn values_larger_than_all_buffers_pass_through_redis() {
    let redis = Redis::start(&[]);
    let pool = PoolSpec::redis(&[redis.port()]).set("timeout", 20_000);
    let proxy = Proxy::twinring_with(&[BUFFERS], vec![pool]);
    let mut client = proxy.client();
    for mebibytes in [1, 8, 33, 64] {
        let value = pattern(mebibytes << 20);
        client.send(format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${}\r\n", value.len()));
        client.send(&value);
        client.ask("\r\n", "+OK\r\n");
        client.ask("*2\r\n$3\r\nGET\r\n$1\r\na\r\n", format!("${}\r\n", value.len()));
        client.expect(&value);
        client.expect("\r\n");
    }
    expect_small(&proxy);
}

#[test]
fn many_large_values_at_once_share_the_buffers() {
    let memcached = Memcached::with(&["-m", "512", "-I", "20m"]);
    let pool = PoolSpec::memcache(&[memcached.port()]).set("timeout", 20_000);
    let proxy = Proxy::twinring_with(&[BUFFERS], vec![pool]);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let mut client = proxy.client();
            scope.spawn(move || {
                let value = vec![b'a' + number; 10 << 20];
                for _ in 0..3 {
                    client.send(format!("set k{number} 0 0 {}\r\n", value.len()));
                    client.send(&value);
                    client.ask("\r\n", "STORED\r\n");
                    client.ask(
                        format!("get k{number}\r\n"),
                        format!("VALUE k{number} 0 {}\r\n", value.len()),
                    );
                    client.expect(&value);
                    client.expect("\r\nEND\r\n");
                }
            });
        }
    });
    expect_small(&proxy);
}

#[test]
fn a_value_beyond_its_limit_is_refused_with_its_data() {
    let (memcached, redis) = (Memcached::start(), Redis::start(&[]));
    let limit = |pool: PoolSpec| pool.set("timeout", 5000).set("limits", "{ value: 1000 }");
    let value = "x".repeat(1000);
    let long = "flush_all\r\n".repeat(1000);

    let proxy = Proxy::twinring(limit(PoolSpec::memcache(&[memcached.port()])));
    let mut client = proxy.client();
    client.ask(format!("set a 0 0 1000\r\n{value}\r\n"), "STORED\r\n");
    client.send(format!("set a 0 0 {}\r\n{long}\r\n", long.len()));
    expect_error(&mut client, "SERVER_ERROR ");
    client.ask("get a\r\n", format!("VALUE a 0 1000\r\n{value}\r\nEND\r\n"));
    client.send(format!("set a 0 0 {} noreply\r\n{long}\r\n", long.len()));
    client.ask("get a\r\n", format!("VALUE a 0 1000\r\n{value}\r\nEND\r\n"));

    let proxy = Proxy::twinring(limit(PoolSpec::redis(&[redis.port()])));
    let mut client = proxy.client();
    client.ask(format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1000\r\n{value}\r\n"), "+OK\r\n");
    client.send(format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${}\r\n{long}\r\n", long.len()));
    expect_error(&mut client, "-ERR ");
    proxy.client().ask("GET a\r\n", format!("$1000\r\n{value}\r\n"));
}

#[test]
fn too_many_keys_or_arguments_are_refused() {
    let (memcached, redis) = (Memcached::start(), Redis::start(&[]));
    let limits = "{ keys_per_request: 10, args_per_request: 20 }";
    let limit = |pool: PoolSpec| pool.set("timeout", 5000).set("limits", limits);

    let proxy = Proxy::twinring(limit(PoolSpec::memcache(&[memcached.port()])));
    let mut client = proxy.client();
    client.ask(format!("get{}\r\n", " a".repeat(10)), "END\r\n");
    client.send(format!("get{}\r\n", " a".repeat(11)));
    expect_error(&mut client, "CLIENT_ERROR ");
    client.ask("get a\r\n", "END\r\n");

    let proxy = Proxy::twinring(limit(PoolSpec::redis(&[redis.port()])));
    let mut client = proxy.client();
    client.ask(format!("DEL{}\r\n", " a".repeat(10)), ":0\r\n");
    client.ask(format!("SADD s{}\r\n", " a".repeat(18)), ":1\r\n");
    for request in [format!("DEL{}\r\n", " a".repeat(11)), format!("SADD s{}\r\n", " a".repeat(19))]
    {
        let mut client = proxy.client();
        client.send(request);
        expect_error(&mut client, "-ERR ");
    }
}

#[test]
fn idle_clients_cost_little() {
    const CLIENTS: u64 = 2000;
    let memcached = Memcached::start();
    let proxy = Proxy::twinring(PoolSpec::memcache(&[memcached.port()]).set("timeout", 5000));
    proxy.client().ask("get a\r\n", "END\r\n");
    let before = proxy.process.resident_kib();
    let value = "x".repeat(10_000);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| proxy.client()).collect();
    for client in &mut clients {
        // Each has had a buffer once.
        client.ask(format!("set a 0 0 10000\r\n{value}\r\n"), "STORED\r\n");
        client.ask("get a\r\n", format!("VALUE a 0 10000\r\n{value}\r\nEND\r\n"));
    }
    let after = proxy.process.resident_kib();
    // 8 KiB each: less than the 32 KiB that twemproxy's two mbufs take.
    assert!(after < before + 8 * CLIENTS, "{} KiB for each", (after - before) / CLIENTS);
}

/// Bytes of which no two nearby blocks are alike, so that a piece lost or sent twice is seen.
fn pattern(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    let mut count = 0_u64;
    while bytes.len() < length {
        count = count.wrapping_add(1);
        bytes.extend(count.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn expect_error(client: &mut Client, start: &str) {
    let line = client.read_line();
    assert!(line.starts_with(start.as_bytes()), "{}", line.escape_ascii());
}

/// The proxy has never needed more than its buffers and itself.
fn expect_small(proxy: &Proxy) {
    let peak = proxy.process.resident_peak_kib();
    assert!(peak < BUFFERS_KIB + PROCESS_KIB, "{peak} KiB at most");
}

/// A flood of new clients takes no core from those that are there.
#[test]
fn who_accepts_clients_stands_back_for_those_who_serve_them() {
    let memcached = Memcached::start();
    let proxy = Proxy::twinring(PoolSpec::memcache(&[memcached.port()]));
    let id = proxy.process.id();
    // A thread takes its name and its priority itself, once it runs.
    let stands_back = || {
        let threads = niceness_by_thread(id);
        let of = |name: &str| threads.iter().find(|(it, _)| it == name).map(|(_, nice)| *nice);
        of("worker-0").zip(of("listener")).is_some_and(|(worker, listener)| listener > worker)
    };
    assert!(wait_until(LONG, stands_back), "{:?}", niceness_by_thread(id));
}

/// Name and niceness of each thread of the process `id`, of those that have not ended meanwhile.
fn niceness_by_thread(id: u32) -> Vec<(String, i32)> {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).expect("its threads");
    let stats = tasks.flatten().filter_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        // proc(5): the 19th field, of which the first two are gone.
        Some((name.to_owned(), rest.split(' ').nth(16)?.parse().ok()?))
    });
    stats.collect()
}
