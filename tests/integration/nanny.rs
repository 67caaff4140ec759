//! The nanny: a server that dies is marked down by a quorum, and up when it is back.

use std::process::Command;

use serde_json::Value;

use crate::support::{
    Ensemble, LONG, Memcached, PoolSpec, Process, Proxy, Scratch, Zoo, version, wait_until,
};

const WEB: &str = "/twinring/web";
const PATIENCE: std::time::Duration = LONG.saturating_mul(4);

/// A nanny of its own name over the pool at [`WEB`].
fn nanny(ensemble: &Ensemble, scratch: &Scratch, id: &str, more: &[&str]) -> Process {
    let text = format!(
        "pools:\n  web:\n    listen: 127.0.0.1:1\n    topology: {{ source: zookeeper, connect: \
         \"{}\", path: {WEB}, session_timeout: 2s }}\n",
        ensemble.connect()
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
    command.arg("nanny").arg("-c").arg(scratch.file(&format!("{id}.yml"), &text));
    command.args(["--pool", "web", "--id", id, "--window", "1", "--hold", "1"]);
    command.args(["--flap-time", "2", "--fail-window", "1"]).args(more);
    Process::start(command)
}

/// Epoch, author and the states of the servers, as the active version has them.
fn active(zoo: &Zoo) -> (u64, String, Vec<String>) {
    let json = |path: &str| -> Value {
        serde_json::from_str(&zoo.get(path).expect("a node")).expect("JSON")
    };
    let epoch = json(&format!("{WEB}/topology"))["active"].as_u64().expect("an epoch");
    let version = json(&format!("{WEB}/versions/{epoch:010}"));
    let nodes = version["rings"]["current"]["nodes"].as_array().expect("nodes").clone();
    let state = |node: &Value| node["state"].as_str().unwrap_or("up").to_owned();
    let author = version["author"].as_str().unwrap_or_default().to_owned();
    (epoch, author, nodes.iter().map(state).collect())
}

#[test]
fn two_who_agree_mark_a_server_that_dies_and_one_alone_does_not() {
    let (mut first, second, third) = (Memcached::start(), Memcached::start(), Memcached::start());
    let ports = [first.port(), second.port(), third.port()];
    let (ensemble, scratch) = (Ensemble::single(), Scratch::new());
    let zoo = ensemble.client();
    zoo.publish(WEB, &version(1, &ports));
    let topology = format!(
        "{{ source: zookeeper, connect: \"{}\", path: {WEB}, snapshot: off }}",
        ensemble.connect()
    );
    let proxy = Proxy::twinring(PoolSpec::memcache(&[]).set("topology", topology));
    let one = nanny(&ensemble, &scratch, "one", &[]);
    let observers =
        |count| wait_until(PATIENCE, || zoo.children(&format!("{WEB}/view")).len() == count);
    assert!(observers(1), "{}", one.output());
    first.kill();
    // Alone it decides nothing, however long it looks.
    let seen = wait_until(PATIENCE, || {
        let view = zoo.get(&format!("{WEB}/view/one")).unwrap_or_default();
        view.contains("\"failing\":[\"server1\"]")
    });
    assert!(seen, "{}", one.output());
    assert_eq!(active(&zoo).0, 1);
    let two = nanny(&ensemble, &scratch, "two", &[]);
    let marked = wait_until(PATIENCE, || active(&zoo).2 == ["down", "up", "up"]);
    assert!(marked, "{:?}\n{}\n{}", active(&zoo), one.output(), two.output());
    let (epoch, author, _) = active(&zoo);
    assert_eq!((epoch, author.as_str()), (2, "twinring nanny"));
    let followed = wait_until(PATIENCE, || {
        proxy.metrics().sum("twinring_topology_epoch", &[("pool", "pool0")]) == Some(2.0)
    });
    assert!(followed, "{}", proxy.process.output());
}

#[test]
fn the_mark_of_an_elected_nanny_is_taken_away_by_its_successor() {
    let (mut first, second) = (Memcached::start(), Memcached::start());
    let (ensemble, scratch) = (Ensemble::single(), Scratch::new());
    let zoo = ensemble.client();
    zoo.publish(WEB, &version(1, &[first.port(), second.port()]));
    let one = nanny(&ensemble, &scratch, "one", &[]);
    let stands = wait_until(PATIENCE, || zoo.children(&format!("{WEB}/nanny")).len() == 1);
    assert!(stands, "{}", one.output());
    let two = nanny(&ensemble, &scratch, "two", &[]);
    let three = nanny(&ensemble, &scratch, "three", &[]);
    first.kill();
    let down = wait_until(PATIENCE, || active(&zoo).2 == ["down", "up"]);
    assert!(down, "{:?}\n{}\n{}", active(&zoo), one.output(), two.output());
    // The line comes a moment after the version.
    let elected = wait_until(PATIENCE, || one.output().contains("msg=marked"));
    assert!(elected, "the first has stood for longest:\n{}", one.output());
    drop(one);
    first.restart();
    let up = wait_until(PATIENCE, || active(&zoo).2 == ["up", "up"]);
    assert!(up, "{:?}\n{}\n{}", active(&zoo), two.output(), three.output());
    assert_eq!(active(&zoo).1, "twinring nanny");
}

#[test]
fn a_dry_run_writes_nothing() {
    let (mut first, second) = (Memcached::start(), Memcached::start());
    let (ensemble, scratch) = (Ensemble::single(), Scratch::new());
    let zoo = ensemble.client();
    zoo.publish(WEB, &version(1, &[first.port(), second.port()]));
    let dry = nanny(&ensemble, &scratch, "one", &["--quorum", "1", "--dry-run"]);
    first.kill();
    let said = wait_until(PATIENCE, || dry.output().contains("this is a dry run"));
    assert!(said, "{}", dry.output());
    assert_eq!((active(&zoo).0, zoo.children(&format!("{WEB}/versions")).len()), (1, 1));
}
