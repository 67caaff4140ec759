//! The command line: exit codes, streams, and the lines that tools look for.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::{Client, LONG, Port, Scratch, twinring_as_nutcracker, wait_until};

/// Arguments that end by themselves. `good.yml` and `bad.yml` are there, `none.yml` is not.
const ARGS: &[&[&str]] = &[
    &["-h"],
    &["--help"],
    &["-V"],
    &["--version"],
    &["-hV"],
    &["-D"],
    &["-Dt"],
    &["-t", "-c", "good.yml"],
    &["-tc", "good.yml"],
    &["--test-conf", "--conf-file=good.yml"],
    &["-t", "-c", "good.yml", "extra"],
    &["-t", "-c", "bad.yml"],
    &["-t", "-c", "none.yml"],
    &["-c", "bad.yml", "-o", "log"],
    &["-x"],
    &["-?"],
    &["--foo"],
    &["--s", "1"],
    &["-c"],
    &["-o"],
    &["-p"],
    &["-a"],
    &["-s"],
    &["-s", "x"],
    &["-s", "0"],
    &["-s", "70000"],
    &["-i", "x"],
    &["-v", "x"],
    &["-v", "-1"],
    &["-m", "x"],
    &["-m", "0"],
    &["-m", "511"],
    &["-m", "16777217"],
];

#[test]
fn the_command_line_answers_as_twemproxys() {
    let scratch = Scratch::new();
    scratch.file("good.yml", "a:\n  listen: 127.0.0.1:1\n  servers:\n  - 127.0.0.1:2:1\n");
    scratch.file("bad.yml", "a:\n  listen: 127.0.0.1:1\n");
    for args in ARGS {
        let [theirs, ours] = [Command::new("nutcracker"), twinring_as_nutcracker()]
            .map(|mut command| command.args(*args).current_dir(scratch.path()).output().unwrap());
        assert_eq!(theirs.status.code(), ours.status.code(), "{args:?}");
        assert_eq!(theirs.stdout, ours.stdout, "{args:?}");
        assert_eq!(line_of(&theirs), line_of(&ours), "{args:?}");
    }
}

/// The line that says what it is about; for `-t` that is the last one.
fn line_of(output: &Output) -> Option<String> {
    let text = String::from_utf8_lossy(&output.stderr);
    let ours = |line: &&str| line.starts_with("nutcracker: ") || line.starts_with("This is ");
    text.lines().rfind(ours).map(str::to_owned)
}

#[test]
fn a_daemon_leaves_its_starter_and_can_be_found_by_its_files() {
    for command in [Command::new("nutcracker"), twinring_as_nutcracker()] {
        daemonize(command);
    }
}

fn daemonize(mut command: Command) {
    let (scratch, port, stats) = (Scratch::new(), Port::take(), Port::take());
    let socket = scratch.path().join("socket");
    let conf = format!(
        "a:\n  listen: 127.0.0.1:{}\n  servers:\n  - 127.0.0.1:2:1\n\
         b:\n  listen: {}\n  servers:\n  - 127.0.0.1:2:1\n",
        port.number(),
        socket.display()
    );
    scratch.file("c.yml", &conf);
    command.args(["-d", "-c", "c.yml", "-o", "log", "-p", "pid", "-a", "127.0.0.1", "-s"]);
    let started = command.arg(stats.number().to_string()).current_dir(scratch.path()).output();
    let started = started.expect("a start");
    assert!(started.status.success() && started.stderr.is_empty(), "{started:?}");
    let pid = scratch.path().join("pid");
    assert!(wait_until(LONG, || accepts(port.number()) && pid.exists()));
    assert!(Client::connect(stats.number()).read_to_end().ends_with(b"}\n"));
    assert_eq!((mode(&pid), mode(&scratch.path().join("log"))), (0o644, 0o644));
    // Nobody set a mode, and there is no umask: whoever runs beside it may connect.
    assert_eq!(mode(&socket), 0o777);
    let id = std::fs::read_to_string(&pid).expect("a pid");
    let parent = std::fs::read_to_string(format!("/proc/{id}/cmdline")).expect("it runs");
    assert!(parent.starts_with("nutcracker\0-d\0-c\0c.yml\0"), "{parent:?}");
    let killed = Command::new("kill").arg(&id).status().expect("kill");
    assert!(killed.success() && wait_until(LONG, || !accepts(port.number())));
}

fn accepts(port: u16) -> bool {
    std::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).expect("a file").permissions().mode() & 0o777
}
