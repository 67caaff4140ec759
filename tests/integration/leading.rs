//! `twinring expand` for a whole fleet: one leads all proxies by ZooKeeper, and waits for each.

use std::process::{Command, Stdio};

use crate::expansion::moving;
use crate::fleet::{
    WEB, acks, all_acknowledge, following_for, memcacheds, metric, on_the_way, resting,
};
use crate::support::{Ensemble, LONG, Memcached, Proxy, Scratch, Zoo, wait_until};

use twinring::routing::Phase::{Prepare, Stable};

/// Two proxies that follow a pool of four servers, and the operator's files.
pub(super) struct Led {
    pub(super) servers: Vec<Memcached>,
    zoo: Zoo,
    pub(super) proxies: [Proxy; 2],
    scratch: Scratch,
    ports: Vec<u16>,
    _ensemble: Ensemble,
}

impl Led {
    pub(super) fn new() -> Self {
        let (servers, ports) = memcacheds();
        let (ensemble, scratch) = (Ensemble::single(), Scratch::new());
        let zoo = ensemble.client();
        zoo.publish(WEB, &on_the_way(1, Stable, &ports));
        let connect = ensemble.connect();
        // Long enough for a few commands: who is frozen shall be there still.
        let proxy = || Proxy::twinring(following_for(4, &connect, "off"));
        let proxies = [proxy(), proxy()];
        let led = Self { servers, zoo, proxies, scratch, ports, _ensemble: ensemble };
        led.all_acknowledge(1);
        led
    }

    fn all_acknowledge(&self, epoch: u64) {
        all_acknowledge(&self.zoo, &[&self.proxies[0], &self.proxies[1]], epoch);
    }

    /// A command, with the configuration of one of them.
    pub(super) fn expand(&self, args: &[&str]) -> (i32, String) {
        let file = self.proxies[0].config().display().to_string();
        expand(&[args, &["-c", &file]].concat())
    }

    pub(super) fn done(&self, args: &[&str], part: &str) -> String {
        let (code, text) = self.expand(args);
        assert!(code == 0 && text.contains(part), "{args:?}: {code} {text}");
        text
    }

    pub(super) fn refused(&self, args: &[&str], why: &str) {
        let (code, text) = self.expand(args);
        assert!(code == 1 && text.contains(why), "{args:?}: {code} {text}");
    }

    /// A plain list of the first servers.
    pub(super) fn list(&self, count: usize) -> String {
        list(&self.scratch, &self.ports[..count])
    }
}

/// What the command says, and its exit code.
pub(super) fn expand(args: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
    let output = command.arg("expand").args(args).stdin(Stdio::null()).output().expect("twinring");
    let text = [&*output.stdout, &*output.stderr].concat();
    (output.status.code().expect("it ends by itself"), String::from_utf8(text).expect("text"))
}

/// A file with a plain list of servers on these ports.
pub(super) fn list(scratch: &Scratch, ports: &[u16]) -> String {
    let line = |(number, port): (usize, &u16)| format!("127.0.0.1:{port}:1:server{}\n", number + 1);
    let text: String = ports.iter().enumerate().map(line).collect();
    scratch.file(&format!("{}.list", ports.len()), &text).display().to_string()
}

#[test]
fn no_step_is_taken_before_all_have_acknowledged_the_last() {
    let led = Led::new();
    let [four, five] = [4, 5].map(|count| led.list(count));
    let again = ["start", &five, "--format", "list"];
    let with = |more: &[&'static str]| [&again[..], more].concat();
    led.done(&["status"], "epoch 1, phase stable, acknowledged by all 2 proxies");
    let plan = led.done(&["plan", &five, "--format", "list"], "4 servers -> 5 servers");
    led.refused(&["plan"], "it has one ring: name the servers to come");
    led.refused(&["start", &four, "--format", "list"], "no key would move");
    led.refused(&with(&["--proxies", "3"]), "2 proxies are there, not 3");
    led.refused(&["advance"], "there is no expansion: start one");
    let went = "pool pool0: stable -> prepare, epoch 2, acknowledged by all 2 proxies in ";
    let signed = with(&["--author", "ops", "--reason", "it is full", "--proxies", "2"]);
    let told = led.done(&signed, went);
    assert!(told.starts_with(&plan), "{told} {plan}");
    led.done(&["status"], "  by ops: it is full\n");
    assert_eq!(led.done(&["plan"], ""), plan);
    led.refused(&again, "it is in phase prepare: an expansion starts from stable");
    led.refused(&["advance", "--to", "warm"], "from prepare this goes to fence, not to warm");
    led.refused(&["finish"], "it is in phase prepare");
    let (rests, key) = (resting(), moving(1).remove(0).0);
    led.done(&["explain", &key, "--pool", "pool0"], ": it moves\nphase prepare\n");
    led.done(&["explain", &rests, "--pool", "pool0"], ": it does not move\nphase prepare\n");
    // Who does not answer is waited for, and nothing is written in the meantime.
    led.proxies[1].process.freeze();
    led.refused(&["advance", "--timeout", "0"], "went to fence, epoch 3, acknowledged by ");
    let one_does = || acks(&led.zoo).iter().any(|ack| ack["epoch"] == 3);
    assert!(wait_until(LONG, one_does), "{:?}", acks(&led.zoo));
    led.refused(&["advance"], "fence is acknowledged by 1 of 2 proxies, not by ");
    led.refused(&["rollback"], "fence is acknowledged by 1 of 2 proxies, not by ");
    led.proxies[1].process.thaw();
    led.all_acknowledge(3);
    led.done(&["rollback"], "fence -> prepare, epoch 4");
}

#[test]
fn who_may_go_by_one_ring_and_servers_with_old_values_are_thought_of() {
    let led = Led::new();
    let [four, five] = [4, 5].map(|count| led.list(count));
    let start = ["start", &five, "--format", "list"];
    led.done(&start, "stable -> prepare, epoch 2");
    led.done(&["rollback", "--to", "stable"], "prepare -> stable, epoch 3");
    led.done(&["status"], "  may hold old values\tserver5\n");
    led.refused(&start, "server5 may hold values from before");
    let clean = [&start[..], &["--clean", "server5"]].concat();
    led.done(&clean, "stable -> prepare, epoch 4");
    // Had it been cut off before it knew of two rings, it would go on by one.
    led.proxies[1].process.freeze();
    assert!(wait_until(LONG, || acks(&led.zoo).len() == 1), "{:?}", acks(&led.zoo));
    led.refused(&["advance"], "prepare is acknowledged by 1 of 2 proxies, not by ");
    let status = led.done(&["status"], "--gone");
    let behind = status.lines().find_map(|line| line.strip_prefix("  behind\t")).unwrap();
    let (gone, _) = behind.split_once(": it was there").unwrap();
    led.done(&["advance", "--gone", gone], "prepare -> fence, epoch 5, acknowledged by all 1");
    led.proxies[1].process.thaw();
    led.all_acknowledge(5);
    for (to, epoch) in [("warm", 6), ("drain", 7), ("new", 8)] {
        let went = format!("-> {to}, epoch {epoch}, acknowledged by all 2 proxies in ");
        led.done(&["advance", "--to", to], &went);
    }
    led.refused(&["advance"], "new is the last phase: finish it");
    led.refused(&["rollback"], "--accept-stale");
    led.done(&["rollback", "--accept-stale"], "new -> drain, epoch 9");
    led.done(&["advance"], "drain -> new, epoch 10");
    led.done(&["finish"], "new -> stable, epoch 11, acknowledged by all 2 proxies");
    let servers = |proxy: &Proxy| metric(proxy, "twinring_node_up");
    assert!(wait_until(LONG, || led.proxies.iter().all(|it| servers(it) == 5.0)));
    led.refused(
        &["start", &four, "--format", "list"],
        "server1, server2, server3, server4 may hold values",
    );
}

#[test]
fn a_proxy_counts_those_who_are_behind() {
    let (_servers, ports) = memcacheds();
    let ensemble = Ensemble::single();
    let zoo = ensemble.client();
    zoo.publish(WEB, &on_the_way(1, Stable, &ports));
    let proxy = Proxy::twinring(following_for(4, &ensemble.connect(), "off"));
    all_acknowledge(&zoo, &[&proxy], 1);
    // Another one, of which nothing is there but what it says: the same as ours in an epoch.
    let node = format!("{WEB}/acks/other");
    let other = |epoch: u64| {
        let told = || acks(&zoo).into_iter().find(|ack| ack["epoch"] == epoch);
        assert!(wait_until(LONG, || told().is_some()), "{:?}", acks(&zoo));
        zoo.put(&node, told().unwrap().to_string());
    };
    let behind = |count: f64| {
        let counted = || metric(&proxy, "twinring_topology_proxies_behind") == count;
        // A look that the ensemble does not answer in time is followed by another.
        assert!(wait_until(LONG * 3, counted), "{count}: {:?}", acks(&zoo));
    };
    other(1);
    zoo.publish(WEB, &on_the_way(2, Prepare, &ports));
    behind(1.0);
    // Out of sight of ZooKeeper it is as it was seen last.
    ensemble.freeze();
    assert!(wait_until(LONG, || metric(&proxy, "twinring_zk_session_state") == 0.0));
    behind(1.0);
    ensemble.thaw();
    zoo.delete(&node);
    behind(0.0);
    zoo.put(&node, "{}");
    behind(1.0);
    other(2);
    behind(0.0);
}
