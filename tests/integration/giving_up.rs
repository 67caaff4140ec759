//! Old servers that are given up on the way from one ring to the other: dead ones hold up nobody,
//! and what they have when they come back is not read.

use serde_json::{Value, json};

use twinring::routing::Phase::{self, Fence, Prepare, Stable, Warm};

use crate::expansion::moving;
use crate::fleet::{TIMES, get, memcacheds, on_the_way, put, set, value};
use crate::leading::Led;
use crate::support::{LONG, PoolSpec, Proxy, Scratch, wait_until};

/// A fleet in phase warm, and keys that were set before: one that moves away from a server of the old
/// ring, one that moves away from another.
struct Stage {
    led: Led,
    /// The index and the name of the server, and a key of it.
    old: usize,
    name: String,
    key: String,
    other: String,
}

impl Stage {
    fn new() -> Self {
        let led = Led::new();
        let keys = moving(200);
        let (key, old, _) = keys[0].clone();
        let other = keys.iter().find(|(_, at, _)| *at != old).unwrap().0.clone();
        let mut client = led.proxies[0].client();
        for key in [&key, &other] {
            assert_eq!(set(&mut client, key, "a"), "STORED\r\n");
        }
        let five = led.list(5);
        led.done(&["start", &five, "--format", "list"], "-> prepare, epoch 2");
        led.done(&["advance"], "-> fence, epoch 3");
        led.done(&["advance"], "-> warm, epoch 4");
        Self { led, old, name: format!("server{}", old + 1), key, other }
    }

    fn give_up(&self) {
        let Self { led, name, .. } = self;
        let told = led.done(&["dead", name, "--timeout", "60"], "");
        for went in [
            format!("warm -> warm ({name} unread), epoch 5, acknowledged by all 2 proxies"),
            format!("({name} unread) -> warm ({name} skipped), epoch 6, acknowledged by all 2"),
        ] {
            assert!(told.contains(&went), "{told}");
        }
        led.done(&["status"], &format!("phase warm ({name} skipped), acknowledged"));
        let ahead = format!("phase warm\n{name} is given up: as in phase new\nget\tget at ");
        led.done(&["explain", &self.key, "--pool", "pool0"], &ahead);
    }
}

#[test]
fn keys_of_a_dead_old_server_can_be_changed_once_it_is_given_up() {
    let mut stage = Stage::new();
    stage.led.servers[stage.old].kill();
    let mut clients = stage.led.proxies.each_ref().map(|proxy| proxy.client());
    for client in &mut clients {
        let refused = set(client, &stage.key, "b");
        assert!(refused.starts_with("SERVER_ERROR"), "{refused}");
    }
    stage.give_up();
    let Stage { led, old, name, key, other } = &mut stage;
    let [one, two] = &mut clients;
    assert_eq!(get(two, key), "END\r\n");
    one.ask(format!("add {key} 0 0 1\r\n1\r\n"), "STORED\r\n");
    assert_eq!(get(two, key), value(key, "1"));
    two.ask(format!("incr {key} 1\r\n"), "2\r\n");
    assert_eq!(set(one, key, "b"), "STORED\r\n");
    assert_eq!(get(two, key), value(key, "b"));
    two.ask(format!("delete {key}\r\n"), "DELETED\r\n");
    assert_eq!(get(one, key), "END\r\n");
    assert_eq!(get(one, other), value(other, "a"), "others are copied as ever");
    led.refused(&["rollback"], &format!("some are given up: {name} skipped"));
    led.refused(&["dead", name], &format!("{name} is given up already"));
    led.refused(&["dead", "server5"], "server5 is given up, and no server of the current ring");
    for args in [&["dead", &**name, "--back"][..], &["dead", name, "--back", "--clean", "x"]] {
        assert_eq!(led.expand(args).0, 2, "{args:?}");
    }
    led.servers[*old].restart();
    led.done(&["dead", name, "--back", "--clean", name], "-> warm, epoch 8, acknowledged by all 2");
    led.refused(&["dead", name, "--back", "--clean", name], &format!("{name} is not given up"));
    assert_eq!(set(one, key, "c"), "STORED\r\n");
    led.done(&["rollback"], "warm -> fence, epoch 9");
    assert_eq!(get(two, key), "END\r\n");
    led.refused(&["dead", name], "in phase warm, drain or new alone, not in fence");
}

#[test]
fn what_an_old_server_has_when_it_is_back_is_not_read() {
    let mut stage = Stage::new();
    stage.led.servers[stage.old].process.freeze();
    stage.give_up();
    let Stage { led, old, key, .. } = &mut stage;
    let [one, two] = &mut led.proxies.each_ref().map(|proxy| proxy.client());
    assert_eq!(set(one, key, "b"), "STORED\r\n");
    two.ask(format!("delete {key}\r\n"), "DELETED\r\n");
    led.servers[*old].process.thaw();
    let mut there = led.servers[*old].client();
    assert_eq!(get(&mut there, key), value(key, "a"), "it has it still");
    for client in [one, two] {
        for _ in 0..3 {
            assert_eq!(get(client, key), "END\r\n");
            client.ask(format!("gets {key}\r\n"), "END\r\n");
            client.ask(format!("mg {key} v\r\n"), "EN\r\n");
        }
    }
    led.servers[*old].kill();
    for (to, epoch) in [("drain", 7), ("new", 8)] {
        led.done(&["advance", "--to", to], &format!(", epoch {epoch}, acknowledged by all 2"));
    }
    led.done(&["finish"], "-> stable, epoch 9, acknowledged by all 2 proxies");
}

#[test]
fn one_proxy_gives_an_old_server_up_by_its_file() {
    let (mut servers, ports) = memcacheds();
    let scratch = Scratch::new();
    let file = scratch.path().join("topology.json");
    let given_up = |epoch, phase: Phase, how: Value| -> Value {
        let mut version = on_the_way(epoch, phase, &ports);
        version["dead_old"] = how;
        version
    };
    put(&file, &given_up(1, Stable, json!({})));
    let topology = format!("{{ source: file, path: {} }}", file.display());
    let pool = PoolSpec::memcache(&[]).set("topology", topology).set("expansion", TIMES);
    let proxy = Proxy::twinring(pool);
    let mut client = proxy.client();
    let (key, old, _) = moving(1).remove(0);
    assert_eq!(set(&mut client, &key, "a"), "STORED\r\n");
    let count = |name: &str, label| proxy.metrics().get(name, &[("pool", "pool0"), label]);
    for (epoch, phase) in (2..).zip([Prepare, Fence, Warm]) {
        put(&file, &given_up(epoch, phase, json!({})));
        let there = || count("twinring_topology_phase", ("phase", phase.name())) == 1.0;
        assert!(wait_until(LONG, there), "{phase:?} {}", proxy.process.output());
    }
    servers[old].kill();
    let refused = |client: &mut _| set(client, &key, "b").starts_with("SERVER_ERROR");
    assert!(refused(&mut client));
    let name = format!("server{}", old + 1);
    put(&file, &given_up(5, Warm, json!({ &name: "skipped" })));
    let rejected = || count("twinring_topology_rejected_total", ("reason", "phase")) >= 1.0;
    assert!(wait_until(LONG, rejected), "{}", proxy.process.output());
    assert!(refused(&mut client));
    put(&file, &given_up(6, Warm, json!({ &name: "unread" })));
    assert!(wait_until(LONG, || get(&mut client, &key) == "END\r\n"));
    assert!(refused(&mut client));
    put(&file, &given_up(7, Warm, json!({ &name: "skipped" })));
    assert!(wait_until(LONG, || set(&mut client, &key, "b") == "STORED\r\n"));
    assert_eq!(get(&mut client, &key), value(&key, "b"));
    let line = format!(
        "msg=\"old servers given up\" pool=pool0 from=\"{name} unread\" to=\"{name} skipped\""
    );
    let log = || proxy.process.output();
    assert!(wait_until(LONG, || log().contains(&line)), "{}", log());
}
