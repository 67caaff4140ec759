//! A relay on a port of its own, which can be cut: what is under way and what comes hangs, as behind a
//! firewall that drops everything.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How often a relay looks whether it is cut.
const LOOK: Duration = Duration::from_millis(10);

/// To one other port.
pub(crate) struct Relay {
    port: u16,
    cut: Arc<AtomicBool>,
    end: Arc<AtomicBool>,
}

impl Relay {
    pub(crate) fn to(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let (cut, end) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let flags = (Arc::clone(&cut), Arc::clone(&end));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if flags.1.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else {
                    continue;
                };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let ends = (from.try_clone().expect("a handle"), to.try_clone().expect("one"));
                    let flags = flags.clone();
                    thread::spawn(move || pass(ends, &flags));
                }
            }
        });
        Self { port, cut, end }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Nothing passes from now on.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// Everything passes again, also what was held up.
    pub(crate) fn heal(&self) {
        self.cut.store(false, Ordering::Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        // Whoever waits for the next client gets one.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

/// Passes on what comes, until either side has gone.
fn pass(
    (mut from, mut to): (TcpStream, TcpStream),
    (cut, end): &(Arc<AtomicBool>, Arc<AtomicBool>),
) {
    from.set_read_timeout(Some(LOOK)).expect("a timeout");
    let mut bytes = vec![0; 64 * 1024];
    while !end.load(Ordering::Relaxed) {
        if cut.load(Ordering::Relaxed) {
            thread::park_timeout(LOOK);
            continue;
        }
        match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => {
                while cut.load(Ordering::Relaxed) && !end.load(Ordering::Relaxed) {
                    thread::park_timeout(LOOK);
                }
                if to.write_all(&bytes[..count]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = to.shutdown(std::net::Shutdown::Both);
}
