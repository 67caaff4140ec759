//! Faults of the host and of the process's own life, and of requests that several servers answer.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::fleet::{Fleet, fetch, found};
use super::text;
use crate::support::{
    Client, Fake, LONG, Memcached, PoolSpec, Port, Process, Proxy, Redis, Scratch, wait_until,
};

#[test]
fn f63_port_in_use() {
    let taken = Memcached::start();
    let (scratch, admin) = (Scratch::new(), Port::take());
    let file = scratch.file(
        "twinring.yml",
        &format!(
            "admin: {{ listen: \"127.0.0.1:{}\" }}\npools:\n  web:\n    listen: 127.0.0.1:{}\n    \
             servers:\n      - 127.0.0.1:1:1 a\n",
            admin.number(),
            taken.port()
        ),
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
    command.arg("-c").arg(file);
    let mut process = Process::start(command);
    let status = process.wait_end(LONG).expect("it goes on although its port is taken");
    assert_eq!(status.code(), Some(1));
    let wanted = format!("bind 127.0.0.1:{}: Address already in use", taken.port());
    assert!(process.output().contains(&wanted), "{}", process.output());
}

#[test]
fn f64_term_under_load() {
    let servers: Vec<Memcached> = (0..3).map(|_| Memcached::start()).collect();
    let ports: Vec<u16> = servers.iter().map(Memcached::port).collect();
    let pool = PoolSpec::memcache(&ports).set("timeout", 5000);
    let mut proxy = Proxy::twinring_with(&["drain_timeout: 5s"], vec![pool]);
    let mut clients: Vec<Client> = (0..10).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("get a\r\n".repeat(1000));
    }
    for client in &mut clients {
        client.expect("END\r\n");
    }
    proxy.terminate();
    for client in &mut clients {
        client.expect("END\r\n".repeat(999));
    }
    drop(clients);
    let status = proxy.process.wait_end(LONG).expect("it ends when its clients have gone");
    assert_eq!(status.code(), Some(0), "{}", proxy.process.output());
}

#[test]
fn f64_term_ends_in_time_whatever_clients_do() {
    let memcached = Memcached::start();
    let pool = PoolSpec::memcache(&[memcached.port()]).set("timeout", 5000);
    let mut proxy = Proxy::twinring_with(&["drain_timeout: 500ms"], vec![pool]);
    let mut idle = proxy.client();
    idle.ask("get a\r\n", "END\r\n");
    proxy.terminate();
    let status = proxy.process.wait_end(LONG).expect("it ends although a client stays");
    assert_eq!(status.code(), Some(0), "{}", proxy.process.output());
}

#[test]
fn f66_nothing_to_do_costs_nothing() {
    let fleet = Fleet::start(|pool| pool.set("timeout", 5000));
    let idle: Vec<Client> = (0..200).map(|_| fleet.proxy.client()).collect();
    fleet.proxy.client().ask(fetch(&fleet.keys[0][0]), found(&fleet.keys[0][0]));
    let ticks = fleet.proxy.process.cpu_ticks();
    assert!(!wait_until(Duration::from_millis(500), || false));
    let spent = fleet.proxy.process.cpu_ticks() - ticks;
    assert!(spent < 5, "{spent} ticks of 10 ms in half a second with {} idle clients", idle.len());
}

#[test]
fn f67_multi_get_over_a_dead_node() {
    for (partial, error) in [("miss", None), ("error", Some(text::REFUSED))] {
        let mut fleet = Fleet::start(|pool| pool.set("timeout", 5000).set("partial", partial));
        fleet.servers[1].kill();
        let (a, dead, b) = (&fleet.keys[0][0], &fleet.keys[1][0], &fleet.keys[2][0]);
        let mut client = fleet.proxy.client();
        for _ in 0..10 {
            client.send(format!("get {a} {dead} {b}\r\n"));
            match error {
                Some(error) => client.expect(error),
                None => {
                    client.expect(found(a).trim_end_matches("END\r\n"));
                    client.expect(found(b));
                }
            }
            // One whole reply, and the client goes on.
            client.ask(fetch(a), found(a));
        }
    }
}

#[test]
fn f67_mget_over_a_dead_node() {
    let mut servers: Vec<Redis> = (0..3).map(|_| Redis::start(&[])).collect();
    let ports: Vec<u16> = servers.iter().map(Redis::port).collect();
    let proxy = Proxy::twinring(PoolSpec::redis(&ports).set("timeout", 5000));
    let mut client = proxy.client();
    servers[1].kill();
    let keys: Vec<String> = (0..50).map(|number| format!("k{number}")).collect();
    for verb in ["MGET", "DEL", "EXISTS"] {
        client.ask(format!("{verb} {}\r\n", keys.join(" ")), "-ERR Connection refused\r\n");
        client.ask("PING\r\n", "+PONG\r\n");
    }
}

#[test]
fn f68_a_write_of_unknown_outcome_is_never_sent_again() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    // Takes a request, and dies without a word.
    let fake = Fake::start(move |mut stand| {
        if let Some(request) = stand.memcache_request() {
            log.lock().unwrap().push(String::from_utf8(request).expect("text"));
        }
    });
    let pool = PoolSpec::memcache(&[fake.port()]).set("server_failure_limit", 1000);
    let proxy = Proxy::twinring(pool.set("timeout", 5000));
    let mut client = proxy.client();
    let mut arrives = |request: &dyn Fn(usize) -> String| {
        let before = seen.lock().unwrap().len();
        let mut count = 0;
        // While the proxy waits before it connects again, requests fail without being sent.
        wait_until(LONG, || {
            count += 1;
            client.ask(request(count), text::RESET);
            seen.lock().unwrap().len() > before
        })
    };
    for round in 0..3 {
        assert!(arrives(&|count| format!("set s{round}-{count} 0 0 1\r\n1\r\n")));
        assert!(arrives(&|count| format!("incr i{round}-{count} 1\r\n")));
        assert!(arrives(&|count| format!("delete d{round}-{count}\r\n")));
    }
    assert!(arrives(&|count| format!("get g-{count}\r\n")));
    let seen = seen.lock().unwrap();
    for request in seen.iter() {
        let times = seen.iter().filter(|other| *other == request).count();
        let allowed = if request.starts_with("get ") { 2 } else { 1 };
        assert!(times <= allowed, "{request:?} was sent {times} times");
    }
}
