//! The program of Redis and of Valkey that runs a unit of their tests, and the talk with it.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::PATIENCE;
use crate::support::Scratch;

/// Tags of parts that are left out.
const WITHOUT: &str = "-needs:repl -needs:debug -needs:save -needs:reset -slow -large-memory";

/// The servers' program that runs units.
pub(super) struct Tester(Child);

impl Tester {
    /// Starts that of `folder` in `scratch`; it will come to `port` and test the proxy at one port
    /// with the server at the other.
    pub(super) fn start<'a>(
        (folder, scratch): (&Path, &Scratch),
        port: u16,
        (proxy, server): (u16, u16),
        without: impl Iterator<Item = &'a (&'static str, &'static str)>,
    ) -> Self {
        assert!(folder.exists(), "no {}: tests/run makes it", folder.display());
        // It keeps what it writes in `tests/tmp` below where it is started.
        std::fs::create_dir_all(scratch.path().join("tests/tmp")).expect("a folder");
        for name in ["support", "unit", "helpers", "assets", "test_helper.tcl"] {
            let (from, to) =
                (folder.join("tests").join(name), scratch.path().join("tests").join(name));
            std::os::unix::fs::symlink(from, to).expect("a link");
        }
        let mut command = Command::new("tclsh");
        command.current_dir(scratch.path()).arg("tests/test_helper.tcl");
        command.args(["--host", "127.0.0.1", "--port", &proxy.to_string()]);
        command.args(["--singledb", "--ignore-encoding", "--ignore-digest", "--durable"]);
        command.args(["--tags", WITHOUT, "--client", &port.to_string()]);
        without.for_each(|(name, _)| _ = command.args(["--skiptest", name]));
        command.env("PROXY", proxy.to_string()).env("SERVER", server.to_string());
        // Valkey's looks for its server, which runs already.
        command.env("VALKEY_BIN_DIR", folder);
        Self(command.stdout(Stdio::null()).spawn().expect("tclsh"))
    }

    /// What it talks over.
    pub(super) fn accepted(&mut self, listener: &TcpListener) -> Result<TcpStream, String> {
        listener.set_nonblocking(true).map_err(|error| error.to_string())?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).map_err(|error| error.to_string())?;
                    return Ok(stream);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => return Err(error.to_string()),
            }
            if let Ok(Some(status)) = self.0.try_wait() {
                return Err(format!("tclsh: {status}"));
            }
        }
        Err("tclsh did not come".to_owned())
    }
}

impl Drop for Tester {
    fn drop(&mut self) {
        // It waits for the next unit for ever.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What is said with it: the length of a packet, a line end, the packet.
pub(super) struct Talk(BufReader<TcpStream>);

impl Talk {
    pub(super) fn with(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        Self(BufReader::new(stream))
    }

    pub(super) fn say(&mut self, packet: &str) {
        let text = format!("{}\n{packet}", packet.len());
        self.0.get_mut().write_all(text.as_bytes()).expect("tclsh listens");
    }

    /// The next packet: its first word, and the rest.
    pub(super) fn hear(&mut self) -> Result<(String, String), String> {
        let mut line = String::new();
        self.0.read_line(&mut line).map_err(|error| error.to_string())?;
        let length = line.trim().parse::<usize>().map_err(|_| "tclsh has ended".to_owned())?;
        let packet = self.packet(length).map_err(|error| error.to_string())?;
        let packet = String::from_utf8_lossy(&packet).into_owned();
        let (status, rest) = packet.split_once(' ').unwrap_or((&packet, ""));
        Ok((status.to_owned(), rest.to_owned()))
    }

    /// As many characters as it meant: on the way each of its line ends has become two.
    fn packet(&mut self, length: usize) -> std::io::Result<Vec<u8>> {
        let mut packet = Vec::with_capacity(length);
        let mut byte = [0];
        while packet.len() < length {
            self.0.read_exact(&mut byte)?;
            match (packet.last(), byte[0]) {
                (Some(b'\r'), b'\n') => *packet.last_mut().expect("a byte") = b'\n',
                (_, byte) => packet.push(byte),
            }
        }
        Ok(packet)
    }
}
