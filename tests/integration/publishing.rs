//! `twinring topology publish`: the servers of a pool in ZooKeeper, from the first version on.

use std::process::Command;

use crate::fleet::{WEB, all_acknowledge, following_for, memcacheds, metric};
use crate::leading::{expand, list};
use crate::support::{Ensemble, Proxy, Scratch, Zoo};

/// Two proxies that follow a pool of which nothing is there yet.
struct Stage {
    proxies: [Proxy; 2],
    zoo: Zoo,
    scratch: Scratch,
    _ensemble: Ensemble,
}

impl Stage {
    fn new() -> Self {
        let ensemble = Ensemble::single();
        let proxy = || Proxy::twinring(following_for(4, &ensemble.connect(), "off"));
        let proxies = [proxy(), proxy()];
        Self { proxies, zoo: ensemble.client(), scratch: Scratch::new(), _ensemble: ensemble }
    }

    fn file(&self) -> String {
        self.proxies[0].config().display().to_string()
    }

    fn publish(&self, ports: &[u16], more: &[&str]) -> (i32, String) {
        let servers = list(&self.scratch, ports);
        let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
        command.args(["topology", "publish", &servers, "--format", "list", "-c", &self.file()]);
        let output = command.args(more).output().expect("twinring");
        let text = [&*output.stdout, &*output.stderr].concat();
        (output.status.code().expect("a code"), String::from_utf8(text).expect("text"))
    }

    fn done(&self, ports: &[u16], more: &[&str], part: &str) {
        let (code, text) = self.publish(ports, more);
        assert!(code == 0 && text.contains(part), "{more:?}: {code} {text}");
    }

    fn refused(&self, ports: &[u16], more: &[&str], why: &str) {
        let (code, text) = self.publish(ports, more);
        assert!(code == 1 && text.contains(why), "{more:?}: {code} {text}");
    }

    fn follow(&self, epoch: u64) {
        all_acknowledge(&self.zoo, &[&self.proxies[0], &self.proxies[1]], epoch);
        for proxy in &self.proxies {
            assert_eq!(metric(proxy, "twinring_topology_epoch"), epoch as f64);
        }
    }
}

#[test]
fn a_pool_has_its_servers_from_the_first_version_on() {
    let (stage, (_servers, ports)) = (Stage::new(), memcacheds());
    stage.refused(&ports[..2], &[], "there is nothing at its path");
    stage.done(&ports[..2], &["--first", "--reason", "a beginning"], "epoch 1, 2 servers");
    stage.follow(1);
    stage.refused(&ports[..2], &["--first"], "there is a version already at");
    // Another address under a name moves no key.
    let moved = [ports[0], ports[4]];
    stage.done(&moved, &[], "0.00 % of the keys move");
    stage.follow(2);
    stage.refused(&ports[..3], &[], "expand start takes them along");
    stage.done(&ports[..3], &["--rehash"], "epoch 3, acknowledged by all 2 proxies");
    stage.follow(3);
    let (code, text) = expand(&["status", "-c", &stage.file()]);
    assert!(code == 0 && text.contains("may hold old values\tserver1, server2"), "{text}");
    // More than proxies take without being told that it is meant.
    stage.refused(&ports[..2], &["--rehash"], "server1, server2 may hold values from before");
    let clean = ["--rehash", "--clean", "server1", "--clean", "server2"];
    stage.done(&ports[..2], &clean, "epoch 4, acknowledged by all 2 proxies");
    stage.follow(4);
    assert!(stage.zoo.get(&format!("{WEB}/versions/0000000004")).is_some());
}

#[test]
fn nobody_publishes_while_another_is_behind_or_walks() {
    let (stage, (_servers, ports)) = (Stage::new(), memcacheds());
    stage.done(&ports[..4], &["--first"], "epoch 1, 4 servers");
    stage.follow(1);
    let target = list(&stage.scratch, &ports);
    let start = ["start", &target, "--format", "list", "-c", &stage.file()];
    assert_eq!(expand(&start).0, 0);
    stage.refused(&ports[..4], &[], "it is in phase prepare: servers are published in stable");
    assert_eq!(expand(&["rollback", "-c", &stage.file()]).0, 0);
    stage.follow(3);
    let ghost = format!("{WEB}/acks/ghost");
    stage.zoo.put(&ghost, "{}");
    let moved = [ports[4], ports[1], ports[2], ports[3]];
    stage.refused(&moved, &[], "acknowledged by 2 of 3 proxies, not by ghost");
    stage.zoo.delete(&ghost);
    stage.done(&moved, &[], "epoch 4, acknowledged by all 2 proxies");
}
