//! `twinring expand`: what the operator is told and refused, on the way from four real memcached to
//! five.

use std::process::{Command, Output, Stdio};

use twinring::routing::Place;

use crate::expansion::{Stage, moving, rings};
use crate::support::{PoolSpec, Proxy, Scratch};

fn expand(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
    command.arg("expand").args(args).stdin(Stdio::null());
    command.output().expect("twinring")
}

/// What it prints, on both ways, and its exit code.
pub(super) fn told(args: &[&str]) -> (i32, String) {
    let output = expand(args);
    let text = [&*output.stdout, &*output.stderr].concat();
    (output.status.code().expect("it ends by itself"), String::from_utf8(text).expect("text"))
}

/// What it prints; it must succeed.
pub(super) fn done(args: &[&str]) -> String {
    let (code, text) = told(args);
    assert_eq!(code, 0, "{args:?}: {text}");
    text
}

pub(super) fn refused(args: &[&str], why: &str) {
    let (code, text) = told(args);
    assert!(code == 1 && text.contains(why), "{args:?}: {code} {text}");
}

/// The files and addresses of a stage's one proxy.
fn places(proxy: &Proxy) -> (String, String) {
    (proxy.config().display().to_string(), format!("127.0.0.1:{}", proxy.admin_port()))
}

/// The line that a step prints, without how long it took.
fn step(line: &str) -> &str {
    line.split_once(',').map_or(line, |(head, _)| head)
}

#[test]
fn the_plan_says_what_moves_without_a_process() {
    let mut stage = Stage::new();
    let (file, _) = places(&stage.proxies[0]);
    stage.proxies[0].process.kill();
    let plan = done(&["plan", "-c", &file]);
    let keys = 40_000;
    let rings = rings();
    let (mut moved, mut lost) = (0, [0; 5]);
    for number in 0..keys {
        if let Some(Place::Moved { old, .. }) = rings.place(scattered(number).as_bytes()) {
            moved += 1;
            lost[old] += 1;
        }
    }
    let share = |count: i32| f64::from(count) / f64::from(keys) * 100.0;
    let head = plan.lines().next().unwrap();
    let said = between(head, "pool pool0: 4 servers -> 5 servers, ", " % of the keys move");
    assert!((said - share(moved)).abs() < 1.0, "{head} {}", share(moved));
    for (server, lost) in (1..).zip(lost) {
        let row = plan.lines().find(|line| line.starts_with(&format!("server{server}\t"))).unwrap();
        let loses = between(row, "loses ", " %");
        assert!((loses - share(lost)).abs() < 1.0, "{row} {}", share(lost));
        assert_eq!(between(row, "gains ", " %") > 0.0, server == 5, "{row}");
    }
    // As many reads more as keys move; a set asks three servers in warm, where one was enough.
    let reads = plan.lines().find(|line| line.starts_with("extra reads: in warm")).unwrap();
    assert!((between(reads, "at most ", " of 100 gets") - said).abs() < 0.1, "{reads}");
    let sets = plan.lines().find(|line| line.starts_with("extra requests for 100 sets")).unwrap();
    assert!((between(sets, "prepare ", ",") - said).abs() < 0.1, "{sets}");
    assert!((between(sets, "warm ", ",") - 2.0 * said).abs() < 0.1, "{sets}");
}

/// The number that stands between two texts in a line.
fn between(line: &str, before: &str, after: &str) -> f64 {
    let (_, rest) = line.split_once(before).unwrap_or_else(|| panic!("{before:?} in {line}"));
    rest.split_once(after).unwrap_or_else(|| panic!("{after:?} in {line}")).0.parse().unwrap()
}

#[test]
fn the_whole_way_there_and_back() {
    let stage = Stage::new();
    let (file, admin) = places(&stage.proxies[0]);
    let mut client = stage.client();
    let keys = moving(20);
    for (key, ..) in &keys {
        client.ask(format!("set {key} 0 0 1\r\nv\r\n"), "STORED\r\n");
    }
    let get = |client: &mut crate::support::Client| {
        for (key, ..) in &keys {
            client.ask(format!("get {key}\r\n"), format!("VALUE {key} 0 1\r\nv\r\nEND\r\n"));
        }
    };
    for (from, to) in [("stable", "prepare"), ("prepare", "fence"), ("fence", "warm")] {
        let line = done(&["advance", "-c", &file, "--to", to]);
        assert_eq!(step(&line), format!("pool pool0: {from} -> {to}"));
        assert!(line.contains("acknowledged by all workers (") && line.lines().count() == 1);
        get(&mut client);
    }
    let status = done(&["status", "--admin", &admin]);
    for line in [
        "pool pool0: phase warm, acknowledged by all workers (",
        "fallbacks: hits\t20\n",
        "fills: won\t20\n",
        "fills: lost\t0\n",
        "operations under way\t0\n",
    ] {
        assert!(status.contains(line), "{line}: {status}");
    }
    for (way, steps) in [
        ("advance", &["warm -> drain", "drain -> new"][..]),
        (
            "rollback",
            &[
                "new -> drain",
                "drain -> warm",
                "warm -> fence",
                "fence -> prepare",
                "prepare -> stable",
            ],
        ),
    ] {
        for wanted in steps {
            let mut args = vec![way, "--admin", &admin, "--pool", "pool0"];
            if *wanted == "new -> drain" {
                refused(&args, "--accept-stale");
                args.push("--accept-stale");
            }
            assert_eq!(step(&done(&args)), format!("pool pool0: {wanted}"));
        }
    }
    refused(&["rollback", "--admin", &admin], "stable is the first phase");
    let status = done(&["status", "-c", &file, "--pool", "pool0"]);
    assert!(status.starts_with("pool pool0: phase stable, acknowledged"), "{status}");
}

#[test]
fn no_step_is_taken_that_skips_or_comes_too_early() {
    let stage = Stage::with(1, "cas_quarantine: 0, stub_ttl: 3s,");
    let (file, admin) = places(&stage.proxies[0]);
    refused(
        &["advance", "-c", &file, "--to", "warm"],
        "from stable this goes to prepare, not to warm",
    );
    refused(&["advance", "-c", &file, "--to", "stable"], "one step at a time");
    refused(&["rollback", "-c", &file], "stable is the first phase");
    for _ in 0..3 {
        done(&["advance", "-c", &file]);
    }
    // Stubs live for three seconds: until then nobody acknowledges phase drain.
    refused(&["advance", "--admin", &admin, "--timeout", "0"], "went to drain, which workers 0");
    refused(&["advance", "--admin", &admin], "drain has not been acknowledged by all workers yet");
    refused(&["rollback", "--admin", &admin], "drain has not been acknowledged by all workers yet");
    let status = done(&["status", "--admin", &admin]);
    assert!(status.contains("phase drain, not acknowledged by workers 0"), "{status}");
}

#[test]
fn the_file_says_where_a_restart_begins_and_no_more() {
    let stage = Stage::new();
    let (file, admin) = places(&stage.proxies[0]);
    let text = std::fs::read_to_string(&file).unwrap();
    let write = |from: &str, to: &str| std::fs::write(&file, text.replace(from, to)).unwrap();
    let reload = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
        let output = command.args(["reload", "-c", &file]).output().expect("twinring");
        let text = [&*output.stdout, &*output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("text"))
    };
    write("phase: stable", "phase: prepare");
    assert_eq!(reload(), (Some(0), "nothing has changed\n".to_owned()));
    let line = done(&["advance", "-c", &file]);
    assert!(!line.contains("the file"), "{line}");
    let line = done(&["advance", "-c", &file]);
    assert!(line.ends_with("; the file still says phase: prepare\n"), "{line}");
    // Another change passes, and the phase stays that of the process.
    write("phase: stable,", "phase: warm,");
    let changed =
        std::fs::read_to_string(&file).unwrap().replace("allow_flush: true", "timeout: 3s");
    std::fs::write(&file, changed).unwrap();
    let (code, said) = reload();
    assert!(code == Some(0) && said.contains("timeout"), "{said}");
    let status = done(&["status", "--admin", &admin]);
    assert!(status.starts_with("pool pool0: phase fence, acknowledged"), "{status}");
    write("stub_ttl: 1s", "stub_ttl: 2s");
    let (code, said) = reload();
    assert!(code == Some(1) && said.contains("pool0.expansion: needs a restart"), "{said}");
}

#[test]
fn a_key_is_explained_as_it_is_treated() {
    let stage = Stage::new();
    let proxy = &stage.proxies[0];
    let (file, admin) = places(proxy);
    let (key, old, new) = moving(1).remove(0);
    let (old_name, new_name) = (format!("server{}", old + 1), format!("server{}", new + 1));
    let explain = || done(&["explain", &key, "-c", &file, "--pool", "pool0"]);
    let place = format!("{key}: old server {old_name}, new server {new_name}: it moves\n");
    assert_eq!(
        explain(),
        format!(
            "{place}phase stable\nget\tget at {old_name}\nset\tset at {old_name}\ndelete\tdelete at {old_name}\n"
        )
    );
    for _ in 0..3 {
        done(&["advance", "--admin", &admin]);
    }
    let warm = format!(
        "{place}phase warm\n\
         get\tget at {new_name}; if it is not there, get at {old_name} and copy that to {new_name}\n\
         set\tdelete at {old_name}, then set at {new_name}, then delete at {old_name}\n\
         delete\tdelete at {old_name}, then delete at {new_name}\n"
    );
    assert_eq!(explain(), warm);
    // So it is: the set leaves nothing at the old server, the get brings a copy.
    let (mut client, mut at_old, mut at_new) =
        (stage.client(), stage.servers[old].client(), stage.servers[new].client());
    at_old.ask(format!("set {key} 0 0 1\r\na\r\n"), "STORED\r\n");
    client.ask(format!("get {key}\r\n"), format!("VALUE {key} 0 1\r\na\r\nEND\r\n"));
    at_new.ask(format!("get {key}\r\n"), format!("VALUE {key} 0 1\r\na\r\nEND\r\n"));
    client.ask(format!("set {key} 0 0 1\r\nb\r\n"), "STORED\r\n");
    at_old.ask(format!("get {key}\r\n"), "END\r\n");
    at_new.ask(format!("get {key}\r\n"), format!("VALUE {key} 0 1\r\nb\r\nEND\r\n"));
    let stays = stays();
    let text = done(&["explain", &stays, "-c", &file, "--pool", "pool0", "--admin", &admin]);
    assert!(text.contains(": it does not move\nphase warm\n"), "{text}");
    // What the file says counts where no process does; a process with other rings is another.
    let other = Scratch::new();
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace(&format!("127.0.0.1:{}", proxy.admin_port()), "127.0.0.1:1");
    let elsewhere = other.file("other.yml", &text).display().to_string();
    let told_of = done(&["explain", &key, "-c", &elsewhere, "--pool", "pool0"]);
    assert!(
        told_of.contains("phase stable (of ") && told_of.contains("no process answers"),
        "{told_of}"
    );
    let heavier = other.file("heavier.yml", &text.replace(":1 server5", ":7 server5"));
    let heavier = heavier.display().to_string();
    let args = ["explain", &key, "-c", &heavier, "--pool", "pool0", "--admin", &admin];
    refused(&args, "the process has other rings");
}

/// A key that does not move.
fn stays() -> String {
    let rings = rings();
    let mut keys = (0..).map(|number| format!("stays{number}"));
    keys.find(|key| matches!(rings.place(key.as_bytes()), Some(Place::One(_)))).unwrap()
}

#[test]
fn what_cannot_be_done_is_said_by_the_exit_code() {
    let proxy = Proxy::twinring(PoolSpec::memcache(&[1]));
    let (file, admin) = places(&proxy);
    refused(&["plan", "-c", &file], "no pool with expansion:");
    refused(&["plan", "-c", &file, "--pool", "pool0"], "no pool pool0 with expansion:");
    refused(&["status", "--admin", &admin], "no pool with two rings");
    refused(&["advance", "--admin", &admin, "--pool", "nope"], "no pool nope with two rings");
    refused(&["status", "--admin", "127.0.0.1:1"], "no answer");
    for args in [
        &["plan"][..],
        &["walk"],
        &["explain", "key"],
        &["explain", "key", "--pool", "pool0"],
        &["advance", "--to", "soon"],
        &["advance", "--accept-stale"],
    ] {
        assert_eq!(told(args).0, 2, "{args:?}");
    }
    assert_eq!(told(&["plan", "-c", "/nonexistent.yml"]).0, 78);
    assert_eq!(told(&["status", "-c", "/nonexistent.yml"]).0, 78);
}

/// Keys whose hashes spread, as those of numbers in a row do not.
fn scattered(number: i32) -> String {
    let mixed = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{:016x}", mixed ^ (mixed >> 29))
}
