//! Old servers that are given up on the way from one ring to the other: dead ones hold up nobody,
//! and what they have when they come back is not read. A fleet is led, one proxy alone goes by its
//! admin listener and its file.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use twinring::routing::Phase::{self, Fence, Prepare, Stable, Warm};

use crate::expand::{done, refused};
use crate::expansion::{Stage as Alone, moving};
use crate::fleet::{TIMES, get, memcacheds, on_the_way, put, set, value};
use crate::leading::Led;
use crate::support::{LONG, PoolSpec, Process, Proxy, Scratch, http_get, wait_until};

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
    let shown = Command::new(env!("CARGO_BIN_EXE_twinring"))
        .args(["topology", "show", "-c", &proxy.config().display().to_string()])
        .output()
        .expect("twinring");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains(&format!("  old server {name} is given up: skipped\n")), "{shown}");
    let told = done(&["status", "--admin", &format!("127.0.0.1:{}", proxy.admin_port())]);
    assert!(told.contains(&format!("phase warm ({name} skipped), acknowledged by all")), "{told}");
    let (_, report) = http_get(proxy.admin_port(), "/topology");
    assert!(report.contains(&format!("\"dead_old\":{{\"{name}\":\"skipped\"}}")), "{report}");
}

/// One proxy alone in phase warm, and a dead old server of it.
struct Single {
    stage: Alone,
    old: usize,
    name: String,
    /// Moves away from it, as `other` moves away from another.
    key: String,
    other: String,
    file: String,
}

impl Single {
    fn new() -> Self {
        let mut stage = Alone::new();
        let keys = moving(200);
        let (key, old, _) = keys[0].clone();
        let other = keys.iter().find(|(_, at, _)| *at != old).unwrap().0.clone();
        let mut client = stage.client();
        for key in [&key, &other] {
            assert_eq!(set(&mut client, key, "a"), "STORED\r\n");
        }
        let (name, file) =
            (format!("server{}", old + 1), stage.proxies[0].config().display().to_string());
        refused(&["dead", &name, "-c", &file], "warm, drain or new alone, not in stable");
        stage.walk(&[Prepare, Fence, Warm]);
        stage.wait_settled();
        stage.servers[old].kill();
        Self { stage, old, name, key, other, file }
    }

    /// The file says where the pool is, and that the server is skipped.
    fn write(&self) {
        let text = fs::read_to_string(&self.file).unwrap();
        let now = format!("phase: warm, dead_old: {{ {}: skipped }},", self.name);
        fs::write(&self.file, text.replace("phase: stable,", &now)).unwrap();
    }

    fn dead<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&["dead", &self.name, "-c", &self.file, "--timeout", "60"], more].concat()
    }

    /// The process is started anew.
    fn restart(&mut self) {
        let proxy = &mut self.stage.proxies[0];
        let port = proxy.port();
        proxy.process.kill();
        let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
        command.arg("-c").arg(&self.file);
        proxy.process = Process::start(command);
        proxy.process.wait_for(port);
    }
}

#[test]
fn one_proxy_alone_gives_an_old_server_up_once_its_file_says_so() {
    let single = Single::new();
    let Single { stage, name, key, other, file, .. } = &single;
    let mut client = stage.client();
    refused(&single.dead(&[]), &format!("write  dead_old: {{ {name}: skipped }}"));
    refused(&["dead", "server5", "-c", file], "server5 is given up, and no server of the current");
    single.write();
    let reload = Command::new(env!("CARGO_BIN_EXE_twinring"))
        .args(["reload", "-c", file])
        .output()
        .expect("twinring");
    assert_eq!(String::from_utf8_lossy(&reload.stdout), "nothing has changed\n");
    assert!(set(&mut client, key, "b").starts_with("SERVER_ERROR"), "nothing has changed");
    let mut told = done(&single.dead(&["--to", "unread"]));
    assert_eq!(get(&mut client, key), "END\r\n");
    assert!(set(&mut client, key, "b").starts_with("SERVER_ERROR"), "it is asked still");
    told += &done(&single.dead(&[]));
    for went in [
        format!("pool pool0: warm -> warm ({name} unread), acknowledged by all workers (1) in "),
        format!("pool pool0: warm ({name} unread) -> warm ({name} skipped), acknowledged by all"),
    ] {
        assert!(told.contains(&went), "{told}");
    }
    refused(&single.dead(&[]), &format!("{name} is given up already"));
    let status = done(&["status", "-c", file]);
    assert!(status.contains(&format!("phase warm ({name} skipped), acknowledged")), "{status}");
    let explained = done(&["explain", key, "--pool", "pool0", "-c", file]);
    assert!(explained.contains(&format!("{name} is given up: as in phase new")), "{explained}");
    let (_, report) = http_get(stage.proxies[0].admin_port(), "/expansion");
    assert!(report.contains(&format!("\"dead_old\":{{\"{name}\":\"skipped\"}}")), "{report}");
    assert_eq!(get(&mut client, key), "END\r\n");
    assert_eq!(set(&mut client, key, "b"), "STORED\r\n");
    assert_eq!(get(&mut client, key), value(key, "b"));
    assert_eq!(get(&mut client, other), value(other, "a"), "others are copied as ever");
    refused(&["rollback", "-c", file], &format!("some are given up: {name} skipped"));
}

#[test]
fn a_process_that_is_started_anew_knows_from_its_file_who_is_given_up() {
    let mut single = Single::new();
    single.write();
    done(&single.dead(&[]));
    let key = single.key.clone();
    let mut client = single.stage.client();
    assert_eq!(set(&mut client, &key, "b"), "STORED\r\n");
    // It comes back with what it had.
    single.stage.servers[single.old].restart();
    let mut there = single.stage.servers[single.old].client();
    assert_eq!(set(&mut there, &key, "a"), "STORED\r\n");
    for round in ["b", "c"] {
        assert_eq!(get(&mut client, &key), value(&key, round));
        client.ask(format!("delete {key}\r\n"), "DELETED\r\n");
        assert_eq!(get(&mut client, &key), "END\r\n", "{round}: what it has is not read");
        single.restart();
        client = single.stage.client();
        assert_eq!(get(&mut client, &key), "END\r\n", "{round}: nor by the next process");
        assert_eq!(set(&mut client, &key, "c"), "STORED\r\n");
    }
    there.ask("flush_all\r\n", "OK\r\n");
    single.stage.wait_settled();
    let (name, file) = (&single.name, &single.file);
    let back = single.dead(&["--back", "--clean", name]);
    let told = done(&back);
    assert!(told.contains("-> warm, acknowledged by all workers (1) in "), "{told}");
    assert!(told.contains(&format!("the file still says dead_old: {name} skipped")), "{told}");
    refused(&back, &format!("{name} is not given up"));
    assert_eq!(set(&mut client, &key, "d"), "STORED\r\n");
    done(&["rollback", "-c", file]);
    assert_eq!(get(&mut client, &key), "END\r\n");
}
