//! What the operator is told and refused: servers that cannot hand keys to each other, keys that are
//! too large, the walk by `twinring expand`.

use super::{Stage, ask, moving, staying};
use crate::expand::{done, refused, told};
use crate::support::{Client, LONG, Redis, valkey, wait_until};

fn file(stage: &Stage) -> String {
    stage.proxies[0].config().display().to_string()
}

/// Makes a list of so many elements.
fn list(stage: &Stage, key: &str, elements: usize) {
    let script = "for i = 1, ARGV[1] do redis.call('RPUSH', KEYS[1], i) end";
    let reply = ask(&mut stage.client(), &format!("EVAL \"{script}\" 1 {key} {elements}"));
    assert_eq!(reply, "$-1\r\n");
}

#[test]
fn the_walk_by_command_there_and_back() {
    let stage = Stage::new("");
    let (file, mut client) = (file(&stage), stage.client());
    let keys = moving(30);
    for (key, ..) in &keys {
        client.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    }
    let plan = done(&["plan", "-c", &file]);
    let words = ["servers that keys come from 2, go to 1: redis ", "keys that move: 30 of 30 "];
    assert!(words.iter().all(|words| plan.contains(words)), "{plan}");
    let all = ["prepare", "fence", "warm", "drain", "new"];
    for to in all {
        assert!(done(&["advance", "-c", &file, "--to", to]).contains(&format!("-> {to}, ack")));
    }
    let status = done(&["status", "-c", &file]);
    let told = ["phase new", "keys moved\t30\n", "keys that were at both\t0\n"];
    assert!(told.iter().all(|words| status.contains(words)), "{status}");
    // Nothing stale is left at the old servers.
    for to in ["drain", "warm", "fence", "prepare", "stable"] {
        assert!(done(&["rollback", "-c", &file, "--to", to]).contains(&format!("-> {to}, ack")));
    }
    for (key, ..) in &keys {
        client.ask(format!("GET {key}\r\n"), "$1\r\n1\r\n");
    }
    // The probes leave nothing behind.
    assert_eq!(done(&["plan", "-c", &file]).lines().last().unwrap().split(": ").last(), Some("0"));
    client.ask("DBSIZE\r\n", ":30\r\n");
}

#[test]
fn a_key_is_explained() {
    let stage = Stage::new("");
    let (file, (key, old, _)) = (file(&stage), moving(1).remove(0));
    let explain = |key: &str| done(&["explain", key, "-c", &file, "--pool", "pool0"]);
    let text = explain(&key);
    assert!(text.contains("it moves\nphase stable\ncommands\tat server"), "{text}");
    stage.walk(&[super::Prepare, super::Fence, super::Warm]);
    stage.settle();
    let way =
        format!("commands\tMIGRATE at server{}, unless it is known to be at server3", old + 1);
    assert!(explain(&key).contains(&way), "{}", explain(&key));
    assert!(explain(&staying(1)[0]).contains("it does not move\nphase warm\ncommands\tat server"));
}

#[test]
fn servers_that_cannot_hand_keys_over_keep_the_fence_shut() {
    let mut stage = Stage::new("");
    let file = file(&stage);
    let admin = format!("127.0.0.1:{}", stage.proxies[0].admin_port());
    done(&["advance", "-c", &file, "--to", "prepare"]);
    refused(&["advance", "--admin", &admin], "needs the configuration (-c FILE)");
    let plan_and_step = |stage: &Stage, why: &str| {
        refused(&["plan", "-c", &file], why);
        refused(&["advance", "-c", &file], why);
        assert_eq!(super::report(&stage.proxies[0])["phase"], "prepare", "{why}");
    };
    // A policy that differs.
    stage.server(2).ask("CONFIG SET maxmemory-policy allkeys-lru\r\n", "+OK\r\n");
    plan_and_step(&stage, "maxmemory-policy allkeys-lru, where keys come from noeviction");
    stage.server(2).ask("CONFIG SET maxmemory-policy noeviction\r\n", "+OK\r\n");
    // MIGRATE is not allowed.
    stage.server(0).ask("ACL SETUSER default -migrate\r\n", "+OK\r\n");
    plan_and_step(&stage, "MIGRATE to server3: NOPERM");
    stage.server(0).ask("ACL SETUSER default +@all\r\n", "+OK\r\n");
    // RESTORE is not.
    stage.server(2).ask("ACL SETUSER default -restore\r\n", "+OK\r\n");
    plan_and_step(&stage, "MIGRATE to server3: ERR Target instance replied with error: NOPERM");
    stage.server(2).ask("ACL SETUSER default +@all\r\n", "+OK\r\n");
    // Something is there already.
    let (key, ..) = &moving(1)[0];
    stage.server(2).ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    plan_and_step(&stage, &format!("it has 1 keys that are to come from other servers, as {key}"));
    stage.server(2).ask("FLUSHALL\r\n", "+OK\r\n");
    // Nobody is there.
    stage.servers[2].kill();
    plan_and_step(&stage, "Connection refused");
    stage.servers[2].restart();
    done(&["advance", "-c", &file, "--to", "fence"]);
}

/// What Valkey 9 hands over, Redis 7.0 does not take: nobody is let into a phase that nothing leads out
/// of.
#[test]
fn there_is_no_way_back_to_servers_that_are_older() {
    let servers = vec![Redis::start(&[]), Redis::start(&[]), Redis::start_program(&valkey(), &[])];
    let stage = Stage::over(servers, (1, ""), &[]);
    let (file, mut client) = (file(&stage), stage.client());
    let keys = moving(5);
    for (key, ..) in &keys {
        client.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    }
    let plan = done(&["plan", "-c", &file]);
    let words = "no way back once keys have moved: server server3";
    assert!(plan.contains(words) && plan.contains("DUMP payload version"), "{plan}");
    for to in ["prepare", "fence", "warm"] {
        done(&["advance", "-c", &file, "--to", to]);
    }
    let all_there = |client: &mut Client| {
        keys.iter().for_each(|(key, ..)| client.ask(format!("GET {key}\r\n"), "$1\r\n1\r\n"));
    };
    all_there(&mut client);
    done(&["rollback", "-c", &file, "--to", "fence"]);
    let admin = format!("127.0.0.1:{}", stage.proxies[0].admin_port());
    refused(&["rollback", "--admin", &admin], "needs the configuration (-c FILE)");
    refused(&["rollback", "-c", &file], "not back to prepare:\n  server server3");
    for to in ["warm", "drain", "new"] {
        done(&["advance", "-c", &file, "--to", to]);
    }
    all_there(&mut client);
    client.ask("DBSIZE\r\n", ":5\r\n");
}

#[test]
fn big_keys_are_pinned_moved_or_deleted() {
    let limits = "big_key_elements: 100, big_key_bytes: 50KiB,";
    let keys = moving(4);
    let (long, large, small) = (&keys[0].0, &keys[1].0, &keys[2].0);
    let make = |stage: &Stage| {
        list(stage, long, 101);
        list(stage, small, 100);
        list(stage, &staying(1)[0], 5000);
        let text = "x".repeat(60 * 1024);
        stage.client().ask(format!("SET {large} {text}\r\n"), "+OK\r\n");
        done(&["advance", "-c", &file(stage), "--to", "prepare"]);
    };
    // Pinned, or not at all.
    let stage = Stage::new(limits);
    make(&stage);
    let (code, plan) = told(&["plan", "-c", &file(&stage)]);
    assert!(code == 1 && plan.contains("larger than 51200 bytes or 100 elements: 2\n"), "{plan}");
    assert!(plan.contains(&format!("  {long}\tserver")) && plan.contains("\tlist\t101 elements\t"));
    assert!(plan.contains(&format!("  {large}\tserver")) && !plan.contains(small), "{plan}");
    refused(&["advance", "-c", &file(&stage)], "2 keys are too large to be moved");
    // A pin in the file alone is of no use.
    let text = std::fs::read_to_string(stage.proxies[0].config()).unwrap();
    let pinned = text.replace(limits, &format!("{limits} pin: [ {long}, {large} ],"));
    std::fs::write(stage.proxies[0].config(), pinned).unwrap();
    refused(&["advance", "-c", &file(&stage)], "the process has other keys under pin:");

    let stage = Stage::new(&format!("{limits} pin: [ {long}, {large} ],"));
    make(&stage);
    for to in ["fence", "warm", "drain", "new"] {
        done(&["advance", "-c", &file(&stage), "--to", to]);
    }
    assert!(stage.has(keys[0].1, long) && stage.has(keys[1].1, large) && stage.has(2, small));
    stage.client().ask(format!("LLEN {long}\r\n"), ":101\r\n");

    let stage = Stage::new(&format!("{limits} big_keys: move,"));
    make(&stage);
    for to in ["fence", "warm"] {
        done(&["advance", "-c", &file(&stage), "--to", to]);
    }
    assert!(wait_until(LONG, || stage.has(2, long) && stage.has(2, large)));

    let stage = Stage::new(&format!("{limits} big_keys: delete,"));
    make(&stage);
    let text = done(&["advance", "-c", &file(&stage), "--to", "fence"]);
    assert!(text.starts_with("pool pool0: 2 big keys deleted\n"), "{text}");
    done(&["advance", "-c", &file(&stage), "--to", "warm"]);
    stage.client().ask(format!("EXISTS {long} {large} {small}\r\n"), ":1\r\n");
}
