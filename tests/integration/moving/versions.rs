//! What versions of a topology do to Redis pools beside their phases: out of a file, with keys that
//! stay, with other addresses, back to one ring; and sessions with ZooKeeper that end meanwhile.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};
use twinring::routing::Phase::{self, Drain, Fence, New, Prepare, Stable, Warm};

use super::fleet::{Led, RESTS};
use super::{ask, command, has_settled, moving, odd, report};
use crate::fleet::metric;
use crate::support::{Client, LONG, PoolSpec, Proxy, Redis, Relay, Scratch, version, wait_until};

/// A proxy that follows a file.
struct Filed {
    servers: Vec<Redis>,
    proxy: Proxy,
    file: PathBuf,
    _scratch: Scratch,
}

impl Filed {
    fn new(settings: &str) -> Self {
        let servers: Vec<Redis> = (0..3).map(|_| Redis::start(&[])).collect();
        let ports: Vec<u16> = servers.iter().map(Redis::port).collect();
        let scratch = Scratch::new();
        let file = scratch.file("servers.json", &version(1, &ports[..2]).to_string());
        let topology = format!("{{ source: file, path: {}, snapshot: off }}", file.display());
        let pool = PoolSpec::redis(&[])
            .set("timeout", 5000)
            .set("topology", topology)
            .set("expansion", format!("{{ migrate_timeout: 5s, {settings} }}"));
        let proxy = Proxy::twinring_with(&["workers: 2"], vec![pool]);
        let filed = Self { servers, proxy, file, _scratch: scratch };
        filed.wait_for(1);
        filed
    }

    fn wait_for(&self, epoch: u64) {
        let there = || metric(&self.proxy, "twinring_topology_epoch") == epoch as f64;
        assert!(wait_until(LONG, there), "{}", self.proxy.process.output());
    }

    /// The version of a phase; in `stable` with the new servers if it is the end.
    fn version(&self, epoch: u64, phase: Phase, ends: bool) -> Value {
        let ports: Vec<u16> = self.servers.iter().map(Redis::port).collect();
        let mut version = version(epoch, if ends { &ports } else { &ports[..2] });
        version["phase"] = json!(phase.name());
        if phase != Stable {
            let target = crate::support::version(epoch, &ports)["rings"]["current"].clone();
            version["rings"]["target"] = target;
        }
        version
    }

    /// Has the file say this, and waits until it is in force, be it that it has not settled.
    fn put(&self, version: &Value) {
        let next = self.file.with_extension("next");
        std::fs::write(&next, version.to_string()).unwrap();
        std::fs::rename(next, &self.file).unwrap();
        self.wait_for(version["epoch"].as_u64().unwrap());
    }

    /// Has the file say this, and waits until it has settled.
    fn write(&self, version: &Value) {
        self.put(version);
        if version["phase"] != "stable" {
            let phase = || report(&self.proxy)["phase"] == version["phase"];
            assert!(wait_until(LONG, phase), "{}", self.proxy.process.output());
            assert!(wait_until(LONG, || has_settled(&self.proxy)));
        }
    }

    fn go(&self, epoch: u64, phase: Phase) {
        self.write(&self.version(epoch, phase, false));
    }

    fn server(&self, at: usize) -> Client {
        Client::connect(self.servers[at].port())
    }

    /// Waits until so many clients of a server are blocked.
    fn blocked(&self, at: usize, count: usize) {
        let words = format!("blocked_clients:{count}\r\n");
        let blocked = || ask(&mut self.server(at), "INFO clients").contains(&words);
        assert!(wait_until(LONG, blocked), "{}", ask(&mut self.server(at), "INFO clients"));
    }
}

#[test]
fn a_file_leads_a_proxy_there_and_back_and_each_step_waits_for_the_sweep() {
    let filed = Filed::new("sweep: 50,");
    let (mut client, keys) = (filed.proxy.client(), moving(60));
    let mut count = |value: usize| {
        for (key, ..) in keys.iter().take(20) {
            client.ask(format!("INCR {key}\r\n"), format!(":{value}\r\n"));
        }
    };
    count(1);
    for (key, old, _) in keys.iter().skip(20) {
        filed.server(*old).ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    }
    [Prepare, Fence, Warm].into_iter().zip(2..).for_each(|(phase, epoch)| filed.go(epoch, phase));
    count(2);
    // The step after it is not taken before nothing is left.
    filed.put(&filed.version(5, Drain, false));
    filed.put(&filed.version(6, New, false));
    assert_eq!(ask(&mut filed.server(2), "DBSIZE"), ":60\r\n");
    count(3);
    let back = [Drain, Warm, Fence, Prepare, Stable];
    back.into_iter().zip(7..).for_each(|(phase, epoch)| filed.go(epoch, phase));
    assert_eq!(ask(&mut filed.server(2), "DBSIZE"), ":0\r\n");
    count(4);
    let there = [Prepare, Fence, Warm, Drain, New];
    there.into_iter().zip(12..).for_each(|(phase, epoch)| filed.go(epoch, phase));
    filed.write(&filed.version(17, Stable, true));
    count(5);
    assert_eq!(ask(&mut filed.server(2), "DBSIZE"), ":60\r\n");
}

#[test]
fn a_phase_that_comes_with_other_addresses_is_walked_with_those() {
    let filed = Filed::new("sweep: 200,");
    let relays: Vec<Relay> = filed.servers.iter().map(|it| Relay::to(it.port())).collect();
    let elsewhere = |version: &mut Value, server: usize| {
        for ring in ["current", "target"] {
            let nodes = version["rings"][ring]["nodes"].as_array_mut();
            if let Some(node) = nodes.and_then(|nodes| nodes.get_mut(server)) {
                node["addr"] = json!(format!("127.0.0.1:{}", relays[server].port()));
            }
        }
    };
    let (mut client, keys) = (filed.proxy.client(), moving(90));
    let mut counts = vec![0; keys.len()];
    let mut count = |from: usize| {
        for at in (from..keys.len()).step_by(3) {
            counts[at] += 1;
            client.ask(format!("INCR {}\r\n", keys[at].0), format!(":{}\r\n", counts[at]));
        }
    };
    (0..3).for_each(&mut count);
    for (epoch, phase) in (2..).zip([Prepare, Fence, Warm, Drain, New]) {
        let mut version = filed.version(epoch, phase, false);
        // An old server has another one again with warm, the new one with drain.
        let (relayed, left): (&[usize], _) = match phase {
            Warm => (&[2], Some(0)),
            Drain => (&[], Some(2)),
            New => (&[], None),
            _ => (&[0, 2], None),
        };
        relayed.iter().for_each(|server| elsewhere(&mut version, *server));
        filed.write(&version);
        // Nobody is where it was.
        left.iter().for_each(|server: &usize| relays[*server].cut());
        if phase != Fence {
            count(epoch as usize % 3);
        }
    }
    (0..3).for_each(&mut count);
    assert_eq!(ask(&mut filed.server(2), "DBSIZE"), ":90\r\n");
    assert_eq!(metric(&filed.proxy, "twinring_expansion_split_brain_total"), 0.0);
}

#[test]
fn who_blocks_goes_on_waiting_when_the_pool_has_one_ring_again() {
    let filed = Filed::new("");
    let (key, old, new) = moving(1).remove(0);
    let mut writer = filed.proxy.client();
    // Back where it came from.
    filed.go(2, Prepare);
    let mut waits = filed.proxy.client();
    waits.send(format!("BLPOP {key} 0\r\n"));
    filed.blocked(old, 1);
    filed.go(3, Stable);
    writer.ask(format!("RPUSH {key} one\r\n"), ":1\r\n");
    let popped = |word: &str| format!("*2\r\n${}\r\n{key}\r\n$3\r\n{word}\r\n", key.len());
    waits.expect(popped("one"));
    // And where it has come to.
    [Prepare, Fence, Warm, Drain, New]
        .into_iter()
        .zip(4..)
        .for_each(|(phase, epoch)| filed.go(epoch, phase));
    waits.send(format!("BLPOP {key} 0\r\n"));
    filed.blocked(new, 1);
    filed.write(&filed.version(9, Stable, true));
    writer.ask(format!("RPUSH {key} two\r\n"), ":1\r\n");
    waits.expect(popped("two"));
}

#[test]
fn keys_that_are_pinned_in_the_version_stay_for_all_proxies() {
    let led = Led::with(2, 10, "{ fence: 10s, migrate_timeout: 5s, big_key_elements: 100 }");
    let keys = moving(10);
    let (long, old, _) = &keys[0];
    let script = "for i = 1, 200 do redis.call('RPUSH', KEYS[1], i) end";
    let mut client = led.client(0);
    assert_eq!(ask(&mut client, &format!("EVAL \"{script}\" 1 {long}")), "$-1\r\n");
    for (key, ..) in &keys[1..] {
        client.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    }
    let (code, text) = led.start();
    assert!(code == 1 && text.contains("1 keys are too large to be moved: give them to"), "{text}");
    let pins = led.scratch.file("pins", &format!("{long}\n\n{long}\n")).display().to_string();
    let (code, text) = led.start_with(&["--pin", &pins]);
    assert!(code == 0 && text.contains("-> prepare, epoch 2"), "{text}");
    assert!(led.step(&["status"]).contains("keys that stay\t1\n"));
    assert_eq!(report(&led.proxies[1])["pinned"], json!([long]));
    for phase in ["fence", "warm", "drain", "new"] {
        led.step(&["advance", "--to", phase]);
        for proxy in 0..2 {
            led.client(proxy).ask(format!("LLEN {long}\r\n"), ":200\r\n");
        }
    }
    let has = |at: usize, key: &str| {
        ask(&mut Client::connect(led.servers[at].port()), &format!("EXISTS {key}")) == ":1\r\n"
    };
    assert!(has(*old, long) && !has(2, long) && has(2, &keys[1].0));
    let (code, text) = led.expand(&["finish"]);
    assert!(code == 1 && text.contains("1 keys are pinned to their old servers"), "{text}");
    led.step(&["rollback", "--to", "drain"]);
    led.client(0).ask(format!("LLEN {long}\r\n"), ":200\r\n");
    led.step(&["advance", "--to", "new"]);
    led.step(&["finish", "--unpin"]);
    led.client(1).ask(format!("LLEN {long}\r\nGET {}\r\n", keys[1].0), ":0\r\n$1\r\n1\r\n");
}

/// What the list of large keys says of one can be written into the file of those that are to stay.
#[test]
fn a_key_of_any_bytes_is_pinned_as_it_is_listed() {
    let led = Led::with(1, 10, "{ fence: 10s, migrate_timeout: 5s, big_key_elements: 100 }");
    let script = b"for i = 1, 200 do redis.call('RPUSH', KEYS[1], i) end";
    let odd = odd();
    let mut client = led.client(0);
    for (key, ..) in &odd {
        client.ask(command(&[b"EVAL", script, b"1", key]), "$-1\r\n");
    }
    let (code, listed) = led.plan();
    assert!(code == 1 && listed.contains("2 keys are too large to be moved"), "{listed}");
    let entries = listed.lines().filter(|line| line.contains("200 elements"));
    let entries: Vec<&str> = entries.filter_map(|line| line.trim().split('\t').next()).collect();
    assert_eq!(entries.len(), 2, "{listed}");
    let with = |text: &str| {
        let pins = led.scratch.file("pins", text).display().to_string();
        led.start_with(&["--pin", &pins])
    };
    let (code, text) = with("base64:no\n");
    assert!(code == 1 && text.contains("\"base64:no\" is not base64"), "{text}");
    let (code, text) = with(&format!("{}\n{}\n", entries[0], entries[1]));
    assert!(code == 0 && text.contains("-> prepare, epoch 2"), "{text}");
    for phase in ["fence", "warm", "drain", "new"] {
        led.step(&["advance", "--to", phase]);
    }
    for (key, old, _) in &odd {
        client.ask(command(&[b"LLEN", key]), ":200\r\n");
        let mut server = Client::connect(led.servers[*old].port());
        server.ask(command(&[b"EXISTS", key]), ":1\r\n");
    }
}

#[test]
fn in_another_session_servers_are_looked_through_anew() {
    let led = Led::new(2, 4);
    let (code, text) = led.start();
    assert_eq!(code, 0, "{text}");
    for phase in ["fence", "warm", "drain"] {
        led.step(&["advance", "--to", phase]);
    }
    // All have found nothing. One is cut off; meanwhile others may have been there and back.
    led.relay.cut();
    led.there(1, 5);
    let (key, old, new) = moving(1).remove(0);
    Client::connect(led.servers[old].port()).ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    led.relay.heal();
    led.there(2, 5);
    let has =
        |at: usize| ask(&mut Client::connect(led.servers[at].port()), &format!("EXISTS {key}"));
    assert_eq!((has(old), has(new)), (":0\r\n".to_owned(), ":1\r\n".to_owned()));
}

#[test]
fn a_reply_that_has_begun_ends_out_of_sight() {
    let led = Led::new(1, 4);
    let (key, ..) = moving(1).remove(0);
    let (code, text) = led.start();
    assert_eq!(code, 0, "{text}");
    led.step(&["advance", "--to", "fence"]);
    led.step(&["advance", "--to", "warm"]);
    let mut client = led.client(0);
    let length = 100_000_001;
    client.ask(format!("SETRANGE {key} {} x\r\n", length - 1), format!(":{length}\r\n"));
    client.send(format!("GET {key}\r\n"));
    let head = format!("${length}\r\n");
    let mut take = |bytes: usize| {
        let taken = client.try_take(|there| (there.len() >= bytes).then_some(bytes));
        taken.unwrap_or_else(|why| panic!("{why}:\n{}", led.proxies[0].metrics().ends()))
    };
    assert_eq!(take(head.len()), head.as_bytes());
    led.ensemble.freeze();
    let (mut left, piece, start) = (length, 16 * 1024, Instant::now());
    // A client that takes too little would be given up; one that takes all has its reply too soon.
    let fenced = wait_until(LONG, || {
        let due = (length as f64 * start.elapsed().div_duration_f64(LONG * 2)) as usize;
        while length - left < due.max(piece) {
            assert!(take(piece).iter().all(|byte| *byte == 0));
            left -= piece;
        }
        led.fenced(0)
    });
    assert!(fenced, "it is not out of sight");
    let rest = take(left + 2);
    assert!(rest.ends_with(b"\0\0x\r\n"));
    client.ask(format!("GET {key}\r\n"), RESTS);
    led.ensemble.thaw();
}
