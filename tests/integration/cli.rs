//! The command line as people and scripts use it: what it prints, with which exit code.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{LONG, Port, Process, Scratch, wait_until};

fn twinring(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_twinring"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_names_every_command_and_exit_code() {
    let help = twinring(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let words = ["demo", "check", "locate", "ring", "completions", "--config", "78", "TERM"];
    for word in words {
        assert!(out(&help).contains(word), "{word} is not in the help:\n{}", out(&help));
    }
    assert!(out(&twinring(&["--version"])).starts_with("twinring "));
    assert!(out(&twinring(&["completions", "bash"])).contains("twinring"));
    assert!(out(&twinring(&["man"])).contains(".TH twinring"));
}

#[test]
fn wrong_usage_is_told_apart_from_a_bad_file() {
    assert_eq!(twinring(&["--nonsense"]).status.code(), Some(2));
    let both = twinring(&["-c", "conf/twinring.yml", "--memory", "64MiB"]);
    assert_eq!(both.status.code(), Some(2));
    assert!(err(&both).contains("configuration"), "{}", err(&both));
    let missing = twinring(&["-c", "/nonexistent.yml"]);
    assert_eq!(missing.status.code(), Some(78));
    assert!(err(&missing).contains("/nonexistent.yml"), "{}", err(&missing));
}

/// It executes itself again for the allocator's option, of which nobody is to notice anything.
#[test]
fn a_server_is_found_by_its_name_and_has_its_arguments_and_files() {
    let scratch = Scratch::new();
    let (called, port) = (scratch.path().join("my-twinring"), Port::take());
    symlink(env!("CARGO_BIN_EXE_twinring"), &called).expect("a link");
    let address = format!("127.0.0.1:{}", port.number());
    let pool = format!("{{ listen: \"{address}\", servers: [127.0.0.1:1:1] }}");
    // The file is a pipe, which can be read once.
    let script = format!("exec {} -c <(echo 'pools: {{ a: {pool} }}')", called.display());
    for (given, delay) in [(None, "10"), (Some("0"), "0")] {
        let mut command = Command::new("bash");
        command.args(["-c", &script]).envs(given.map(|value| ("MIMALLOC_PURGE_DELAY", value)));
        let mut server = Process::start(command);
        server.wait_for(port.number());
        let of = |file: &str| {
            std::fs::read_to_string(format!("/proc/{}/{file}", server.id())).expect("it runs")
        };
        assert_eq!(of("comm"), "my-twinring\n");
        assert!(of("cmdline").starts_with(&format!("{}\0-c\0/dev/fd/", called.display())));
        let option = format!("MIMALLOC_PURGE_DELAY={delay}");
        assert!(of("environ").split('\0').any(|entry| entry == option), "{option} is not set");
    }
}

#[test]
fn check_lists_all_errors_at_once_with_their_places() {
    let scratch = Scratch::new();
    let file = scratch.path().join("bad.yml");
    std::fs::write(
        &file,
        "pools:\n  a:\n    listen: nowhere\n    wat: 1\n    servers: [x]\n  b:\n    servers: []\n",
    )
    .expect("a file");
    let file = file.to_str().expect("a plain path");
    for args in [["check", file].as_slice(), &["-t", "-c", file], &["-c", file]] {
        let checked = twinring(args);
        assert_eq!(checked.status.code(), Some(78), "{args:?}");
        for place in ["bad.yml:3:", "bad.yml:4:", "bad.yml:5:", "bad.yml:7:"] {
            assert!(err(&checked).contains(place), "{place} in\n{}", err(&checked));
        }
    }
}

/// Writes a pool of the vectors as a configuration.
fn write_pool(pool: &Value) -> String {
    let mut text = String::from("pools:\n  p:\n    listen: 127.0.0.1:1\n    protocol: redis\n");
    for key in ["hash", "hash_tag", "distribution"] {
        if let Some(value) = pool[key].as_str() {
            text += &format!("    {key}: \"{value}\"\n");
        }
    }
    text += "    servers:\n";
    for server in pool["servers"].as_array().expect("servers") {
        text += &format!("      - \"{}\"\n", server["entry"].as_str().expect("an entry"));
    }
    text
}

#[test]
fn locate_and_balance_agree_with_the_vectors() {
    let vectors: Value =
        serde_json::from_str(include_str!("../vectors/rings.json")).expect("the vectors");
    let scratch = Scratch::new();
    let mut looked = 0;
    for pool in vectors["pools"].as_array().expect("pools") {
        // Offline, every server counts as live.
        if pool["eject"].as_array().is_some_and(|list| !list.is_empty()) {
            continue;
        }
        let file = scratch.path().join("pool.yml");
        std::fs::write(&file, write_pool(pool)).expect("a file");
        let file = file.to_str().expect("a plain path");
        let order = pool["expect"]["order"].as_array().expect("an order");
        let places = pool["expect"]["place"].as_object().expect("places");
        // Arguments are text; the other keys are the routing tests' business.
        let keys: Vec<(String, &Value)> = places
            .iter()
            .filter_map(|(key, place)| Some((text_of(key)?, place)))
            .filter(|(key, _)| !key.is_empty() && !key.starts_with('-'))
            .collect();
        let mut args = vec!["locate", "-c", file];
        args.extend(keys.iter().map(|(key, _)| key.as_str()));
        let located = twinring(&args);
        let lines = out(&located);
        assert_eq!(lines.lines().count(), keys.len(), "{}{}", lines, err(&located));
        for (line, (key, place)) in lines.lines().zip(&keys) {
            let wanted = &order[place.as_u64().expect("an index") as usize];
            let found = line.split('\t').nth(2);
            assert_eq!(found, wanted.as_str(), "{key:?} of pool {}", pool["pool"]);
            looked += 1;
        }
        let balance = out(&twinring(&["ring", "balance", "-c", file]));
        let points: Vec<String> = pool["expect"]["points"]
            .as_array()
            .expect("points")
            .iter()
            .map(|points| format!("points={points}"))
            .collect();
        if pool["distribution"] != "modula" {
            for (line, points) in balance.lines().zip(points) {
                assert!(line.contains(&points), "{points} in {line}");
            }
            let total = pool["expect"]["total"].as_u64().expect("a total");
            let dump = out(&twinring(&["ring", "dump", "-c", file]));
            assert_eq!(dump.lines().count() as u64, total, "pool {}", pool["pool"]);
        }
    }
    assert!(looked > 1000, "only {looked} keys were looked for");
}

fn text_of(hex: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> = hex
        .as_bytes()
        .chunks(2)
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok())
        .collect();
    String::from_utf8(bytes?).ok()
}

#[test]
fn an_unknown_pool_is_named_with_those_that_are_there() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/nutcracker.yml");
    let located = twinring(&["locate", "-c", sample, "--pool", "nope", "key"]);
    assert_eq!(located.status.code(), Some(1));
    assert!(err(&located).contains("nope") && err(&located).contains("alpha"), "{}", err(&located));
}

/// A child that does not outlive its test, however that ends.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        // Either it has ended already, or it does now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_demo_serves_what_it_promises_and_leaves_nothing_behind() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
    command.arg("demo").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut owned = Owned(command.spawn().expect("the program starts"));
    let demo = &mut owned.0;
    let mut lines = BufReader::new(demo.stdout.take().expect("its output")).lines();
    let mut told = String::new();
    while !told.contains("Ctrl-C") {
        told += &lines.next().expect("more to be told").expect("a line");
        told.push('\n');
    }
    let port = |before: &str| -> u16 {
        let rest = told.split(before).nth(1).unwrap_or_else(|| panic!("{before:?} in\n{told}"));
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a port")
    };
    let talk = |port: u16, request: &[u8]| {
        let mut client = None;
        assert!(
            wait_until(LONG, || {
                client = TcpStream::connect(("127.0.0.1", port)).ok();
                client.is_some()
            }),
            "nobody listens on {port}"
        );
        let mut client = client.expect("a connection");
        client.write_all(request).expect("to write");
        let mut reply = String::new();
        client.read_to_string(&mut reply).expect("to read");
        reply
    };
    let memcache = talk(
        port("a memcache pool on port "),
        b"set hello 0 0 5\r\nworld\r\nget hello\r\nquit\r\n",
    );
    assert_eq!(memcache, "STORED\r\nVALUE hello 0 5\r\nworld\r\nEND\r\n");
    let redis = talk(port("a Redis pool on port "), b"mset a 1 b 2\r\nmget a b\r\nquit\r\n");
    assert_eq!(redis, "+OK\r\n*2\r\n$1\r\n1\r\n$1\r\n2\r\n+OK\r\n");
    let shard = port("Three memcache shards on ports ");
    let id = i32::try_from(demo.id()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(id, Signal::INT).expect("to interrupt it");
    assert_eq!(demo.wait().expect("its end").code(), Some(0));
    let gone = wait_until(LONG, || TcpStream::connect(("127.0.0.1", shard)).is_err());
    assert!(gone, "a shard of the demo is still there");
}
