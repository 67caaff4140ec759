//! Commands that concern several servers of a Redis pool at once.

use std::collections::BTreeSet;

use crate::support::{Client, PoolSpec, Proxy, Redis};

struct Pool {
    proxy: Proxy,
    servers: Vec<Redis>,
}

impl Pool {
    fn start(settings: &[(&str, &str)]) -> Self {
        let servers: Vec<Redis> = (0..3).map(|_| Redis::start(&[])).collect();
        let ports: Vec<u16> = servers.iter().map(Redis::port).collect();
        let mut pool = PoolSpec::redis(&ports).set("hash_tag", "\"{}\"").set("timeout", 5000);
        for (key, value) in settings {
            pool = pool.set(key, value);
        }
        Self { proxy: Proxy::twinring(pool), servers }
    }

    fn client(&self) -> Client {
        Client::connect(self.proxy.port())
    }

    /// Stores keys of which every server has some, and says which.
    fn fill(&self) -> BTreeSet<String> {
        let keys: BTreeSet<String> = (0..300).map(|n| format!("key:{}", n * 7919)).collect();
        let mut client = self.client();
        for key in &keys {
            client.ask(format!("SET {key} v\r\n"), "+OK\r\n");
        }
        keys
    }

    /// Two keys on different servers.
    fn apart(&self) -> (String, String) {
        let mut on_first = Client::connect(self.servers[0].port());
        let there = |client: &mut Client, key: &str| {
            client.send(format!("EXISTS {key}\r\n"));
            client.redis_reply() == b":1\r\n"
        };
        let keys = self.fill();
        let (here, elsewhere): (Vec<String>, Vec<String>) =
            keys.into_iter().partition(|key| there(&mut on_first, key));
        assert!(here.len() > 20 && elsewhere.len() > 20, "{} {}", here.len(), elsewhere.len());
        (here[0].clone(), elsewhere[0].clone())
    }
}

/// The strings in an array reply.
fn strings(frame: &[u8]) -> Vec<String> {
    let text = String::from_utf8(frame.to_vec()).expect("a text");
    text.lines().skip(1).filter(|line| !line.starts_with(['$', '*'])).map(str::to_owned).collect()
}

#[test]
fn keys_are_found_over_all_servers_once_each() {
    let pool = Pool::start(&[("allow_scan", "true")]);
    let keys = pool.fill();
    let mut client = pool.client();
    client.ask("DBSIZE\r\n", ":300\r\n");
    client.send("KEYS key:*\r\n");
    let found = strings(&client.redis_reply());
    assert_eq!((found.len(), BTreeSet::from_iter(found)), (300, keys.clone()));
    for options in ["", " COUNT 7", " MATCH key:* COUNT 1000"] {
        let (mut cursor, mut found, mut steps) = ("0".to_owned(), BTreeSet::new(), 0);
        loop {
            client.send(format!("SCAN {cursor}{options}\r\n"));
            let mut step = strings(&client.redis_reply()).into_iter();
            cursor = step.next().expect("a cursor");
            found.extend(step);
            steps += 1;
            if cursor == "0" {
                break;
            }
            assert!(steps < 1000, "it does not end");
        }
        assert_eq!(found, keys);
        assert!(steps >= 3, "each server is asked");
    }
    let mut drawn = BTreeSet::new();
    for _ in 0..200 {
        client.send("RANDOMKEY\r\n");
        drawn.extend(strings(&client.redis_reply()));
    }
    assert!(drawn.is_subset(&keys) && drawn.len() > 50, "{} keys", drawn.len());
}

#[test]
fn keys_are_not_told_where_the_pool_does_not_allow_it() {
    let pool = Pool::start(&[]);
    let mut client = pool.client();
    for command in ["KEYS *", "SCAN 0", "RANDOMKEY"] {
        let name = command.split(' ').next().unwrap_or_default();
        let error = format!("-ERR {name} is not allowed here, see allow_scan\r\n");
        client.ask(format!("{command}\r\n"), error);
    }
    client.ask("PING\r\n", "+PONG\r\n");
}

#[test]
fn keys_of_one_command_on_several_servers_are_refused_whatever_the_command() {
    let pool = Pool::start(&[]);
    let (a, b) = pool.apart();
    let mut client = pool.client();
    for command in [
        format!("RENAME {a} {b}"),
        format!("MSETNX {a} 1 {b} 2"),
        format!("SDIFF {a} {b}"),
        format!("SDIFFSTORE {a} {b}"),
        format!("BITOP NOT {a} {b}"),
        format!("ZUNION 2 {a} {b}"),
        format!("ZUNIONSTORE {a} 1 {b}"),
        format!("EVAL return 2 {a} {b}"),
        format!("LMPOP 2 {a} {b} LEFT"),
        format!("PFCOUNT {a} {b}"),
        format!("GEORADIUS {a} 1 1 1 km STORE {b}"),
        format!("SORT {a} STORE {b}"),
        format!("LCS {a} {b}"),
    ] {
        let error = "-CROSSSLOT keys of one command are on several servers, use a hash tag\r\n";
        client.ask(format!("{command}\r\n"), error);
    }
    let error = "-CROSSSLOT BY and GET name keys that may be on other servers, use a hash tag\r\n";
    client.ask(format!("SORT {a} BY w_*\r\n"), error);
    client.ask(format!("SORT_RO {a} GET {{{b}}}*\r\n"), error);
    let error = "-ERR a script without keys cannot be routed to one of several servers\r\n";
    client.ask("EVAL return 0\r\nFCALL_RO f 0 x\r\n", error.repeat(2));
    client.ask(format!("GET {b}\r\n"), "$1\r\nv\r\n");
    // A script too long to be held is looked at before it is sent anywhere.
    let script = "-".repeat(2 << 20);
    client.send(format!("*5\r\n$4\r\nEVAL\r\n${}\r\n{script}\r\n$1\r\n2\r\n", script.len()));
    client.send(format!("${}\r\n{a}\r\n${}\r\n{b}\r\n", a.len(), b.len()));
    let error = "-CROSSSLOT keys of one command are on several servers, use a hash tag\r\n";
    client.expect(error);
    client.ask(format!("GET {a}\r\n"), "$1\r\nv\r\n");
    // And so is one with a long argument, which begins to be sent when its keys are known.
    client
        .send(format!("*6\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n$1\r\n2\r\n${}\r\n{a}\r\n", a.len()));
    client.send(format!("${}\r\n{b}\r\n${}\r\n{script}\r\n", b.len(), script.len()));
    client.expect(error);
    client.ask(format!("GET {a}\r\n"), "$1\r\nv\r\n");
}

#[test]
fn a_script_is_there_only_if_every_server_has_it() {
    let mut pool = Pool::start(&[]);
    let (a, b) = pool.apart();
    let mut client = pool.client();
    let sha = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    client.ask("SCRIPT LOAD \"return 1\"\r\n", format!("$40\r\n{sha}\r\n"));
    for key in [&a, &b] {
        client.ask(format!("EVALSHA {sha} 1 {key}\r\n"), ":1\r\n");
    }
    client.ask(format!("SCRIPT EXISTS {sha}\r\n"), "*1\r\n:1\r\n");
    Client::connect(pool.servers[0].port()).ask("SCRIPT FLUSH\r\n", "+OK\r\n");
    client.ask(format!("SCRIPT EXISTS {sha}\r\n"), "*1\r\n:0\r\n");
    let missing = "-NOSCRIPT No matching script. Please use EVAL.\r\n";
    client.ask(format!("EVALSHA {sha} 1 {a}\r\n"), missing);
    client.ask(format!("EVALSHA {sha} 1 {b}\r\n"), ":1\r\n");
    pool.servers[0].kill();
    client.ask("DBSIZE\r\n", "-ERR Connection refused\r\n");
    client.send("SCRIPT LOAD \"return 1\"\r\n");
    assert!(client.redis_reply().starts_with(b"-ERR "));
}
