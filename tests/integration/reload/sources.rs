//! Pools with a source of servers come, change and go by a reload, under load and out of ZooKeeper;
//! what cannot be taken over leaves the sources as they were, too.

use std::fs;
use std::net::TcpStream;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Stand, connections_of, draw, memcache_load, pool, server, under_load};
use crate::support::{
    Client, Ensemble, LONG, Memcached, Port, Scratch, http_get, version, wait_until,
};

const CHANGES: u64 = 30;
/// An ensemble that starts again takes its time, and so does who asks it again.
const PATIENCE: Duration = LONG.saturating_mul(3);

/// A pool with a source, and servers of its own if any are given.
fn followed(name: &str, port: &Port, topology: &str, servers: &[String]) -> String {
    let text = pool(name, port, &format!("topology: {{ {topology} }}"), servers);
    if servers.is_empty() { text.replace("    servers:\n", "") } else { text }
}

fn of_file(scratch: &Scratch, name: &str, format: &str) -> String {
    format!("source: file, path: {}, format: {format}", scratch.path().join(name).display())
}

fn of_zookeeper(connect: &str, path: &str, more: &str) -> String {
    format!(
        "source: zookeeper, connect: \"{connect}\", path: {path}, session_timeout: 4s, \
         startup_wait: 1s{more}"
    )
}

/// A list of servers, named by their numbers, written in one step.
fn write_list(scratch: &Scratch, name: &str, servers: &[(usize, u16)]) {
    let entry = |(number, port): &(usize, u16)| format!("127.0.0.1:{port}:1:s{number}\n");
    let fresh = scratch.file("fresh", &servers.iter().map(entry).collect::<String>());
    fs::rename(fresh, scratch.path().join(name)).expect("a rename");
}

impl Stand {
    /// Takes over what has no pool at this port, and waits until nobody listens there.
    fn closes(&self, pools: &str, port: &Port) -> String {
        let said = self.apply(pools);
        let closed = || TcpStream::connect(("127.0.0.1", port.number())).is_err();
        assert!(wait_until(PATIENCE, closed), "somebody listens");
        said
    }

    fn reaches(&self, series: &str, value: Option<f64>) {
        let reached = wait_until(PATIENCE, || self.metric(series) == value);
        let now = self.metric(series);
        assert!(reached, "{series}: {now:?}, not {value:?}:\n{}", self.process.output());
    }

    /// What operators see of the sources.
    fn sources(&self) -> Vec<Value> {
        let (_, text) = http_get(self.admin.number(), "/topology");
        serde_json::from_str(&text).expect("JSON")
    }
}

/// Servers by their numbers, and the port of each.
fn numbered(servers: &[Memcached]) -> Vec<(usize, u16)> {
    servers.iter().map(Memcached::port).enumerate().collect()
}

/// The names of a pool's servers.
fn named(stand: &Stand, pool: &str) -> Vec<String> {
    let of = |report: &Value| {
        let names = report["servers"].as_array().into_iter().flatten();
        names.map(|it| it["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    stand.sources().iter().find(|it| it["pool"] == pool).map(of).unwrap_or_default()
}

fn stored_by(server: &Memcached) -> bool {
    let mut client = server.client();
    client.send("get k\r\n");
    client.memcache_reply().starts_with(b"VALUE")
}

/// A client of a pool stores a key there.
fn store(client: &mut Client) {
    client.ask("set k 0 0 1\r\nv\r\n", "STORED\r\n");
}

#[test]
fn pools_with_a_source_come_and_go_and_their_figures_with_them() {
    let servers = [Memcached::start(), Memcached::start()];
    let all = numbered(&servers);
    let (scratch, a, b) = (Scratch::new(), Port::take(), Port::take());
    let one = pool("one", &a, "", &[server(servers[0].port(), 1, "s")]);
    let stand = Stand::start("workers: 2\n", &one, &a);
    let mut stays = Client::connect(a.number());
    store(&mut stays);
    for round in 0..3 {
        write_list(&scratch, "list", &all[1..]);
        let two = followed("two", &b, &of_file(&scratch, "list", "list"), &[]);
        let said = stand.apply(&format!("{one}{two}"));
        assert_eq!(said, format!("pools.two: added, 127.0.0.1:{}\n", b.number()));
        // It has its servers when it is there.
        let mut client = Client::connect(b.number());
        store(&mut client);
        assert!(stored_by(&servers[1]), "round {round}");
        stand.reaches("twinring_topology_source{pool=\"two\",state=\"live\"}", Some(1.0));
        write_list(&scratch, "list", &all);
        stand.reaches("twinring_topology_applied_total{pool=\"two\"}", Some(2.0));
        assert_eq!(named(&stand, "two").len(), 2);
        assert_eq!(
            stand.closes(&one, &b),
            format!("pools.two: removed, 127.0.0.1:{}\n", b.number())
        );
        client.expect_closed();
        assert!(stand.sources().is_empty());
        assert_eq!(stand.metric("twinring_topology_applied_total{pool=\"two\"}"), None);
        stays.ask("get k\r\n", "VALUE k 0 1\r\nv\r\nEND\r\n");
    }
}

#[test]
fn a_source_gives_way_to_another_under_load_and_nobody_notices() {
    let servers: Vec<Memcached> = (0..8).map(|_| Memcached::start()).collect();
    let all = numbered(&servers);
    let (scratch, port) = (Scratch::new(), Port::take());
    write_list(&scratch, "list0", &all[..7]);
    write_list(&scratch, "list1", &all[1..]);
    let entry = |(number, port): &(usize, u16)| server(*port, 1, &format!("s{number}"));
    let own: Vec<String> = all[..7].iter().map(entry).collect();
    let with = |number: u64| match number {
        2 => pool("main", &port, "", &own),
        _ => followed("main", &port, &of_file(&scratch, &format!("list{number}"), "list"), &[]),
    };
    let stand = Stand::start("workers: 2\n", &with(0), &port);
    let mut early: Vec<Client> = (0..2).map(|_| Client::connect(port.number())).collect();
    for client in &mut early {
        (0..400).for_each(|key| client.ask(format!("get {key}w\r\n"), "END\r\n"));
    }
    let before = connections_of(&servers[3]);
    let mut state = 11;
    let mut number = 0;
    let change = |_| {
        number = (number + 1 + draw(&mut state, 2)) % 3;
        stand.apply(&with(number));
        match number {
            // What is in force is that of the source that is named now.
            0 | 1 => {
                stand.reaches("twinring_topology_source{pool=\"main\",state=\"live\"}", Some(1.0))
            }
            _ => assert!(stand.sources().is_empty()),
        }
    };
    let answered = under_load(|it, stop| memcache_load(port.number(), it, stop), change, CHANGES);
    assert!(answered > CHANGES * 10, "{answered}");
    assert_eq!(
        connections_of(&servers[3]),
        before + 1,
        "a server that stays keeps its connections"
    );
    let errors = stand.metric("twinring_forward_errors_total{pool=\"main\"}");
    assert_eq!((stand.reloads("ok"), errors), (CHANGES, Some(0.0)));
    early.iter_mut().for_each(|client| client.ask("get w\r\n", "END\r\n"));
}

/// Two znodes of one ensemble, and the file's own servers, in turn.
#[test]
fn a_source_in_zookeeper_gives_way_under_load_and_nobody_notices() {
    let servers: Vec<Memcached> = (0..8).map(|_| Memcached::start()).collect();
    let ports: Vec<u16> = servers.iter().map(Memcached::port).collect();
    let (port, ensemble) = (Port::take(), Ensemble::single());
    let zoo = ensemble.client();
    zoo.publish("/a", &version(1, &ports[..7]));
    zoo.publish("/b", &version(1, &ports));
    let own: Vec<String> =
        (1..).zip(&ports[..7]).map(|(at, port)| server(*port, 1, &format!("server{at}"))).collect();
    let with = |number: u64| {
        let path = ["/a", "/b"].get(number as usize);
        let source = path.map(|path| of_zookeeper(&ensemble.connect(), path, ", snapshot: off"));
        source.map_or_else(
            || pool("main", &port, "", &own),
            |source| followed("main", &port, &source, &[]),
        )
    };
    let stand = Stand::start("workers: 2\n", &with(0), &port);
    let mut early = Client::connect(port.number());
    let mut epochs = [1, 1];
    let change = |round: u64| {
        let number = (round + 1) % 3;
        stand.apply(&with(number));
        let Some(epoch) = epochs.get_mut(number as usize) else {
            return assert!(stand.sources().is_empty());
        };
        // It is followed from now on, whoever was before.
        *epoch += 1;
        let ports = if number == 0 { &ports[..7] } else { &ports[..] };
        zoo.publish(["/a", "/b"][number as usize], &version(*epoch, ports));
        stand.reaches("twinring_topology_epoch{pool=\"main\"}", Some(*epoch as f64));
        stand.reaches("twinring_topology_source{pool=\"main\",state=\"live\"}", Some(1.0));
    };
    let answered = under_load(|it, stop| memcache_load(port.number(), it, stop), change, 12);
    assert!(answered > 120, "{answered}");
    let errors = stand.metric("twinring_forward_errors_total{pool=\"main\"}");
    assert_eq!((stand.reloads("ok"), errors), (12, Some(0.0)));
    early.ask("get w\r\n", "END\r\n");
}

/// What a new source says is admitted as if the old one had said it.
#[test]
fn servers_in_force_stay_until_the_new_source_is_admitted() {
    let servers: Vec<Memcached> = (0..4).map(|_| Memcached::start()).collect();
    let all = numbered(&servers);
    let (scratch, port) = (Scratch::new(), Port::take());
    write_list(&scratch, "list", &all);
    let good = followed("main", &port, &of_file(&scratch, "list", "list"), &[]);
    let stand = Stand::start("", &good, &port);
    let mut client = Client::connect(port.number());
    // It is not there yet.
    let said = stand.apply(&followed("main", &port, &of_file(&scratch, "next", "native"), &[]));
    let path = scratch.path().join("next");
    assert_eq!(
        said,
        format!("pools.main.topology: file {} native is followed now\n", path.display())
    );
    store(&mut client);
    assert_eq!(named(&stand, "main").len(), 4);
    // It would take away three of four.
    let fresh = scratch.file("fresh", &version(7, &[all[0].1]).to_string());
    fs::rename(fresh, &path).expect("a rename");
    let refused =
        || stand.metric("twinring_topology_rejected_total{pool=\"main\",reason=\"shrink\"}");
    assert!(wait_until(PATIENCE, || refused() > Some(0.0)), "{}", stand.process.output());
    assert_eq!(named(&stand, "main").len(), 4);
    store(&mut client);
    // The same source, which may take away more.
    let more = format!("{}, max_removal_ratio: 1", of_file(&scratch, "next", "native"));
    assert_eq!(stand.apply(&followed("main", &port, &more, &[])), "pools.main.topology: changed\n");
    stand.reaches("twinring_topology_epoch{pool=\"main\"}", Some(7.0));
    assert_eq!(named(&stand, "main"), ["server1"]);
    store(&mut client);
    // What the old source says does not matter any more.
    write_list(&scratch, "list", &all[1..]);
    fs::remove_file(&path).expect("removed");
    let gone =
        || stand.metric("twinring_topology_rejected_total{pool=\"main\",reason=\"deleted\"}");
    assert!(wait_until(PATIENCE, || gone() > Some(0.0)), "{}", stand.process.output());
    assert_eq!(named(&stand, "main"), ["server1"]);
    // Without a source the servers are those of the file.
    let own = pool("main", &port, "", &[server(all[2].1, 1, "own")]);
    let said = stand.apply(&own);
    assert!(said.contains("topology: none any more, servers are as in the file"), "{said}");
    assert!(said.contains("servers: own added") && said.contains("server1 removed"), "{said}");
    store(&mut client);
    assert!(stored_by(&servers[2]) && stand.sources().is_empty());
}

#[test]
fn sources_in_zookeeper_come_change_and_go() {
    let servers = [Memcached::start(), Memcached::start(), Memcached::start()];
    let ports: Vec<u16> = servers.iter().map(Memcached::port).collect();
    let (a, b, scratch) = (Port::take(), Port::take(), Scratch::new());
    let ensemble = Ensemble::single();
    let zoo = ensemble.client();
    zoo.publish("/one", &version(3, &ports[..1]));
    zoo.publish("/two", &version(5, &ports[1..2]));
    zoo.publish("/three", &version(2, &ports[1..]));
    let more = |name: &str| format!(", snapshot: {}", scratch.path().join(name).display());
    let at = |path: &str, name: &str| of_zookeeper(&ensemble.connect(), path, &more(name));
    let one = followed("one", &a, &at("/one", "one"), &[]);
    let stand = Stand::start("workers: 2\n", &one, &a);
    let acks = |path: &str| {
        let folder = format!("{path}/acks");
        let texts =
            zoo.children(&folder).into_iter().filter_map(|id| zoo.get(&format!("{folder}/{id}")));
        texts.collect::<Vec<String>>()
    };
    let says = |path: &str, epoch: u64| {
        let said = wait_until(PATIENCE, || {
            let acks = acks(path);
            acks.len() == 1 && acks[0].contains(&format!("\"epoch\":{epoch}"))
        });
        assert!(said, "{path}: {:?}\n{}", acks(path), stand.process.output());
    };
    let silent = |path: &str| {
        let silent = wait_until(PATIENCE, || acks(path).is_empty());
        assert!(silent, "{path}: {:?}\n{}", acks(path), stand.process.output());
    };
    says("/one", 3);
    let first = acks("/one");
    let mut stays = Client::connect(a.number());
    store(&mut stays);
    for round in 0..3 {
        stand.apply(&format!("{one}{}", followed("two", &b, &at("/two", "two"), &[])));
        let mut client = Client::connect(b.number());
        store(&mut client);
        assert!(stored_by(&servers[1]), "round {round}");
        says("/two", 5 + round);
        zoo.publish("/two", &version(6 + round, &ports[1..2]));
        says("/two", 6 + round);
        // Another znode of the same ensemble.
        stand.apply(&format!("{one}{}", followed("two", &b, &at("/three", "two"), &[])));
        says("/three", 2);
        silent("/two");
        assert_eq!(named(&stand, "two").len(), 2);
        store(&mut client);
        stand.closes(&one, &b);
        silent("/three");
        client.expect_closed();
        assert_eq!(stand.metric("twinring_topology_epoch{pool=\"two\"}"), None);
    }
    // The other pool has had one session all the time, and hears of what happens at once.
    assert_eq!(acks("/one"), first);
    zoo.publish("/one", &version(4, &ports[..1]));
    says("/one", 4);
    // The last one takes the session with it, which nobody waits to expire.
    let none = pool("one", &a, "", &[server(ports[0], 1, "server1")]);
    let said = stand.apply(&none);
    assert_eq!(said, "pools.one.topology: none any more, servers are as in the file\n");
    silent("/one");
    stays.ask("get k\r\n", "VALUE k 0 1\r\nv\r\nEND\r\n");
    stand.apply(&one);
    says("/one", 4);
    stays.ask("get k\r\n", "VALUE k 0 1\r\nv\r\nEND\r\n");
}

#[test]
fn a_pool_that_comes_without_its_ensemble_begins_with_what_it_knows() {
    let servers = [Memcached::start(), Memcached::start()];
    let ports: Vec<u16> = servers.iter().map(Memcached::port).collect();
    let (a, b, scratch) = (Port::take(), Port::take(), Scratch::new());
    let mut ensemble = Ensemble::single();
    ensemble.client().publish("/web", &version(3, &ports[..1]));
    let kept = format!(", snapshot: {}", scratch.path().join("kept").display());
    let source = of_zookeeper(&ensemble.connect(), "/web", &kept);
    let one = pool("one", &a, "", &[server(ports[1], 1, "s")]);
    let stand = Stand::start("", &one, &a);
    let web = |servers: &[String]| format!("{one}{}", followed("web", &b, &source, servers));
    stand.apply(&web(&[]));
    stand.reaches("twinring_topology_epoch{pool=\"web\"}", Some(3.0));
    assert!(wait_until(PATIENCE, || scratch.path().join("kept").exists()), "no snapshot");
    stand.closes(&one, &b);
    ensemble.kill(0);
    stand.apply(&web(&[]));
    let state = |state: &str| format!("twinring_topology_source{{pool=\"web\",state=\"{state}\"}}");
    assert_eq!(stand.metric(&state("snapshot")), Some(1.0), "{}", stand.process.output());
    store(&mut Client::connect(b.number()));
    assert!(stored_by(&servers[0]));
    stand.closes(&one, &b);
    fs::remove_file(scratch.path().join("kept")).expect("removed");
    stand.apply(&web(&[server(ports[1], 1, "own")]));
    assert_eq!(stand.metric(&state("fallback")), Some(1.0));
    let mut client = Client::connect(b.number());
    store(&mut client);
    assert!(stored_by(&servers[1]));
    stand.closes(&one, &b);
    stand.apply(&web(&[]));
    assert_eq!(stand.metric(&state("none")), Some(1.0));
    let mut client = Client::connect(b.number());
    client.send("get k\r\n");
    assert!(client.memcache_reply().starts_with(b"SERVER_ERROR"));
    ensemble.restart(0, false);
    stand.reaches(&state("live"), Some(1.0));
    store(&mut client);
}

#[test]
fn what_is_refused_leaves_the_sources_as_they_were() {
    let servers: Vec<Memcached> = (0..3).map(|_| Memcached::start()).collect();
    let ports: Vec<u16> = servers.iter().map(Memcached::port).collect();
    let (a, b) = (Port::take(), Port::take());
    let ensemble = Ensemble::single();
    let zoo = ensemble.client();
    zoo.publish("/one", &version(1, &ports[..2]));
    zoo.publish("/two", &version(1, &ports[..2]));
    let at = |path: &str| of_zookeeper(&ensemble.connect(), path, ", snapshot: off");
    let one = followed("one", &a, &at("/one"), &[]);
    let stand = Stand::start("", &one, &a);
    let acks = |path: &str| zoo.children(&format!("{path}/acks")).len();
    assert!(wait_until(PATIENCE, || acks("/one") == 1), "{}", stand.process.output());
    // Everything could be taken over but the address of a third pool.
    let taken = ports[0];
    let mut bad = followed("one", &a, &at("/two"), &[]) + &followed("two", &b, &at("/two"), &[]);
    bad += &format!("  more:\n    listen: 127.0.0.1:{taken}\n    servers: [ 127.0.0.1:1:1 ]\n");
    stand.write(&bad);
    let (code, why) = stand.refused();
    assert!(code == Some(1) && why.contains("Address already in use"), "{why}");
    assert_eq!((acks("/one"), acks("/two")), (1, 0));
    assert_eq!(stand.sources().len(), 1);
    // On the way from one ring to another the others count on what it says.
    let mut on_the_way = version(2, &ports[..2]);
    on_the_way["phase"] = json!("prepare");
    on_the_way["rings"]["target"] = version(2, &ports)["rings"]["current"].clone();
    zoo.publish("/one", &on_the_way);
    stand.reaches("twinring_topology_epoch{pool=\"one\"}", Some(2.0));
    let two = followed("two", &b, &at("/two"), &[]);
    for (pools, why) in [
        (two.clone(), "pools.one: its fleet counts on it until the way to the other ring is over"),
        (followed("one", &a, &at("/two"), &[]), "pools.one.topology: what the source is"),
        (pool("one", &a, "", &[server(taken, 1, "s")]), "pools.one.topology: what the source is"),
    ] {
        stand.write(&pools);
        let (code, said) = stand.refused();
        assert!(code == Some(1) && said.contains(why) && said.contains("phase prepare"), "{said}");
        assert_eq!((acks("/one"), acks("/two")), (1, 0));
    }
    // Beside it others come.
    stand.apply(&format!("{one}{two}"));
    assert!(wait_until(PATIENCE, || acks("/two") == 1), "{}", stand.process.output());
    zoo.publish("/one", &version(3, &ports[..2]));
    stand.reaches("twinring_topology_phase{pool=\"one\",phase=\"stable\"}", Some(1.0));
    stand.apply(&two);
    assert!(wait_until(PATIENCE, || acks("/one") == 0), "{}", stand.process.output());
}

/// A pool that comes on its way goes by two rings from the start, out of a source or the file.
#[test]
fn a_pool_may_come_on_its_way_to_another_ring() {
    let servers: Vec<Memcached> = (0..3).map(|_| Memcached::start()).collect();
    let ports: Vec<u16> = servers.iter().map(Memcached::port).collect();
    let (a, b, c, scratch) = (Port::take(), Port::take(), Port::take(), Scratch::new());
    let one = pool("one", &a, "", &[server(ports[0], 1, "s")]);
    let stand = Stand::start("workers: 2\n", &one, &a);
    let mut there = version(2, &ports[..2]);
    there["phase"] = json!("warm");
    there["rings"]["target"] = version(2, &ports)["rings"]["current"].clone();
    scratch.file("now", &there.to_string());
    let two = followed("two", &b, &of_file(&scratch, "now", "native"), &[]);
    let entry = |(at, port): (usize, &u16)| server(*port, 1, &format!("server{}", at + 1));
    let own: Vec<String> = ports.iter().enumerate().map(entry).collect();
    let target: String = own.iter().map(|server| format!(" '{server}',")).collect();
    let way = format!("expansion: {{ phase: warm, servers: [{target} ] }}");
    let three = pool("three", &c, &way, &own[..2]);
    for _ in 0..2 {
        stand.apply(&format!("{one}{two}{three}"));
        for (name, port) in [("two", &b), ("three", &c)] {
            // A value of before, on the old server of a key that moves, is found.
            let mut client = Client::connect(port.number());
            let moved = (0..200).filter(|number| {
                let key = format!("{name}{number}");
                servers[..2].iter().for_each(|old| {
                    old.client().ask(format!("set {key} 0 0 1\r\nv\r\n"), "STORED\r\n");
                });
                client.ask(format!("get {key}\r\n"), format!("VALUE {key} 0 1\r\nv\r\nEND\r\n"));
                let mut new = servers[2].client();
                new.send(format!("get {key}\r\n"));
                new.memcache_reply().starts_with(b"VALUE")
            });
            let moved = moved.count();
            assert!(moved > 5 && moved < 150, "{name}: {moved} of 200");
            let (_, text) = http_get(stand.admin.number(), &format!("/expansion?pool={name}"));
            let shown: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(shown[0]["phase"], "warm", "{text}");
        }
        stand.closes(&one, &b);
        let closed = || TcpStream::connect(("127.0.0.1", c.number())).is_err();
        assert!(wait_until(PATIENCE, closed), "somebody listens");
        servers[2].client().ask("flush_all\r\n", "OK\r\n");
    }
}

/// Nobody is kept waiting, whatever a new source does.
#[test]
fn a_source_that_does_not_answer_delays_no_other() {
    let servers = [Memcached::start()];
    let (a, b) = (Port::take(), Port::take());
    let ensemble = Ensemble::single();
    ensemble.client().publish("/web", &version(1, &[servers[0].port()]));
    ensemble.freeze();
    let one = pool("one", &a, "", &[server(servers[0].port(), 1, "s")]);
    let stand = Stand::start("", &one, &a);
    let source = of_zookeeper(&ensemble.connect(), "/web", ", snapshot: off");
    let web = followed("web", &b, &source.replace("startup_wait: 1s", "startup_wait: 30s"), &[]);
    let change = |_: u64| {
        let said = stand.apply(&format!("{one}{web}"));
        assert_eq!(said, format!("pools.web: added, 127.0.0.1:{}\n", b.number()));
    };
    let load = |it: u64, stop: &AtomicBool| memcache_load(a.number(), it, stop);
    assert!(under_load(load, change, 1) > 10);
    let mut client = Client::connect(b.number());
    client.send("get k\r\n");
    assert!(client.memcache_reply().starts_with(b"SERVER_ERROR"));
    ensemble.thaw();
    stand.reaches("twinring_topology_epoch{pool=\"web\"}", Some(1.0));
    store(&mut client);
}
