//! Scripted servers: a closure plays the server's side of every connection.
//!
//! For what a real server never does: malformed, late, early or missing replies. [`Store`] is a
//! small Redis in memory, for tests that need more servers than the machine should run processes.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::client::Client;

/// The server's side of one accepted connection.
pub(crate) struct Stand {
    /// How many connections were accepted before this one.
    pub(crate) index: usize,
    pub(crate) client: Client,
}

impl Stand {
    /// The next memcache request that is not a proxy's question whether the server lives (that
    /// one is answered); `None` at the end of the connection.
    pub(crate) fn memcache_request(&mut self) -> Option<Vec<u8>> {
        loop {
            let request = self.client.memcache_request()?;
            if request != b"version\r\n" {
                return Some(request);
            }
            self.reply("VERSION 1.6.0\r\n");
        }
    }

    /// The next Redis request, likewise without PING, AUTH, SELECT and CLIENT.
    pub(crate) fn redis_request(&mut self) -> Option<Vec<Vec<u8>>> {
        loop {
            let request = self.client.redis_request()?;
            match request[0].to_ascii_uppercase().as_slice() {
                b"PING" => self.reply("+PONG\r\n"),
                b"AUTH" | b"SELECT" | b"CLIENT" => self.reply("+OK\r\n"),
                _ => return Some(request),
            }
        }
    }

    /// Sends a reply; a proxy that has closed meanwhile is no fault of the script.
    pub(crate) fn reply(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.client.try_send(bytes.as_ref());
    }

    /// Says nothing more and waits for the other side to close; false if it does not.
    pub(crate) fn hold(&mut self) -> bool {
        while let Ok(_ignored) = self.client.try_take(|bytes| {
            let length = bytes.len();
            (length > 0).then_some(length)
        }) {}
        self.client.try_expect_closed().is_ok()
    }
}

/// A listener whose connections are played by a closure, each on a thread of its own.
pub(crate) struct Fake {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
}

impl Fake {
    /// Listens on a free port.
    pub(crate) fn start(script: impl Fn(Stand) + Send + Sync + 'static) -> Self {
        Self::on(0, script)
    }

    /// Listens on a port that the test holds.
    pub(crate) fn on(port: u16, script: impl Fn(Stand) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("listen");
        let address = listener.local_addr().expect("its address");
        let stop = Arc::new(AtomicBool::new(false));
        let accepted = Arc::new(AtomicUsize::new(0));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&accepted));
        thread::spawn(move || accept(&listener, &stopped, &count, &Arc::new(script)));
        Self { address, stop, accepted }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then drops the listener.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept<S: Fn(Stand) + Send + Sync + 'static>(
    listener: &TcpListener,
    stop: &AtomicBool,
    accepted: &AtomicUsize,
    script: &Arc<S>,
) {
    for stream in listener.incoming() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let index = accepted.fetch_add(1, Ordering::SeqCst);
        let script = Arc::clone(script);
        thread::spawn(move || script(Stand { index, client: Client::over(stream) }));
    }
}

/// A Redis in memory that knows GET and SET, and tells which keys it was given.
pub(crate) struct Store {
    fake: Fake,
    items: Arc<Mutex<HashMap<Vec<u8>, Vec<u8>>>>,
}

impl Store {
    pub(crate) fn start() -> Self {
        let items = Arc::new(Mutex::new(HashMap::new()));
        let shared = Arc::clone(&items);
        let fake = Fake::start(move |mut stand| {
            while let Some(request) = stand.redis_request() {
                let reply = Self::answer(&mut shared.lock().unwrap(), &request);
                stand.reply(reply);
            }
        });
        Self { fake, items }
    }

    pub(crate) fn port(&self) -> u16 {
        self.fake.port()
    }

    /// True if the key was written here.
    pub(crate) fn holds(&self, key: &[u8]) -> bool {
        self.items.lock().unwrap().contains_key(key)
    }

    fn answer(items: &mut HashMap<Vec<u8>, Vec<u8>>, request: &[Vec<u8>]) -> Vec<u8> {
        match (request[0].to_ascii_uppercase().as_slice(), &request[1..]) {
            (b"SET", [key, value]) => {
                items.insert(key.clone(), value.clone());
                b"+OK\r\n".to_vec()
            }
            (b"GET", [key]) => items.get(key).map_or(b"$-1\r\n".to_vec(), |value| {
                [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
            }),
            _ => b"-ERR not in this test\r\n".to_vec(),
        }
    }
}
