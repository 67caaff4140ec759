//! Every sample configuration is accepted, and serves.

use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use crate::support::{LONG, Port, Process, Sample, Scratch, wait_until};

#[test]
fn every_sample_is_accepted() {
    for sample in Sample::all() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(sample.name());
        let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
        let output = command.arg("check").arg(path).output().expect("twinring check");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{}: {said}", sample.name());
    }
}

#[test]
fn a_sample_that_is_spoiled_is_not_accepted() {
    let scratch = Scratch::new();
    for sample in Sample::all() {
        let text = sample.text().replacen("  servers:", "  severs:", 1);
        let text = text.replacen("  memory:", "  memroy:", 1);
        let file = scratch.file("spoiled.yml", &text);
        let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
        let output = command.arg("check").arg(file).output().expect("twinring check");
        assert_eq!(output.status.code(), Some(78), "{}", sample.name());
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("severs") || said.contains("memroy"), "{}: {said}", sample.name());
    }
}

#[test]
fn twemproxy_accepts_the_sample_in_its_own_form() {
    let (scratch, mut count) = (Scratch::new(), 0);
    for sample in Sample::all().iter().filter(|sample| sample.is_twemproxys()) {
        // `reuseport` is in twemproxy's source, but in no release yet.
        let lines = sample.text().lines().filter(|line| !line.trim().starts_with("reuseport:"));
        let file = scratch.file(sample.name(), &lines.collect::<Vec<_>>().join("\n"));
        let output = Command::new("nutcracker").arg("-t").arg("-c").arg(file).output();
        let output = output.expect("nutcracker");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", sample.name());
        count += 1;
    }
    assert!(count > 0, "no sample is a nutcracker.yml");
}

#[test]
fn every_sample_serves() {
    for sample in Sample::all() {
        let scratch = Scratch::new();
        let (moved, _ports) = sample.moved(&scratch);
        let file = scratch.file(sample.name(), moved.text());
        // A nutcracker.yml is served under twemproxy's name, where every port can be chosen.
        let name = if sample.is_twemproxys() { "nutcracker" } else { "twinring" };
        let program = scratch.path().join(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_twinring"), &program).expect("a link");
        let mut command = Command::new(program);
        command.arg("-c").arg(file);
        let stats = Port::take();
        if sample.is_twemproxys() {
            command.args(["-a", "127.0.0.1", "-s"]).arg(stats.number().to_string());
            command.arg("-o").arg(scratch.path().join("log"));
        }
        let mut process = Process::start(command);
        for (pool, listen) in moved.listeners() {
            let ready = wait_until(LONG, || accepts(&listen));
            let ended = process.wait_end(std::time::Duration::ZERO);
            assert!(ready, "{} {pool}: {listen}, {ended:?}\n{}", sample.name(), process.output());
        }
    }
}

/// True if somebody accepts there.
fn accepts(listen: &str) -> bool {
    match listen.strip_prefix("127.0.0.1:") {
        Some(port) => {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port.parse().expect("a port"))).is_ok()
        }
        None => UnixStream::connect(listen.split(' ').next().expect("a path")).is_ok(),
    }
}
