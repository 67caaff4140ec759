//! Free ports and scratch folders, each its holder's alone for as long as the value lives.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use socket2::{Domain, Socket, Type};

/// A port of 127.0.0.1 on which one process after another may listen.
///
/// The port is taken by a bound socket that never listens. Linux lets another socket listen beside
/// it if both have SO_REUSEADDR, as every server here sets it, but gives the port to nobody who
/// asks for *any* port; so tests running at the same time cannot meet on it, even while the server
/// is down.
pub(crate) struct Port {
    number: u16,
    _hold: Socket,
}

impl Port {
    /// Takes a free port.
    pub(crate) fn take() -> Self {
        let hold = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        // Bound before SO_REUSEADDR is set: with it, the system could hand out a port that
        // another holder has.
        hold.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        hold.set_reuse_address(true).expect("SO_REUSEADDR");
        let address = hold.local_addr().expect("its address").as_socket_ipv4();
        Self { number: address.expect("an IPv4 address").port(), _hold: hold }
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

/// An empty folder that goes away with the value. Its path is short enough for a unix socket.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("twinring-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a scratch folder");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file and returns its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a scratch file");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A folder left behind does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
