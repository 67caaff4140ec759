//! Scripted servers: a closure plays the server's side of every connection.
//!
//! For what a real server never does: malformed, late, early or missing replies. [`Store`] is a
//! small server in memory, for tests that need more servers than the machine should run processes.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::client::Client;

/// The server's side of one accepted connection.
pub(crate) struct Stand {
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
        Self::at(Ipv4Addr::LOCALHOST, port, script)
    }

    /// Listens on another address of this machine.
    pub(crate) fn at(
        address: Ipv4Addr,
        port: u16,
        script: impl Fn(Stand) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((address, port)).expect("listen");
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
        accepted.fetch_add(1, Ordering::SeqCst);
        let script = Arc::clone(script);
        thread::spawn(move || script(Stand { client: Client::over(stream) }));
    }
}

/// A server in memory that knows only how to set and get, and tells which keys it was given.
pub(crate) struct Store {
    fake: Fake,
    items: Arc<Mutex<Items>>,
}

type Items = HashMap<Vec<u8>, Vec<u8>>;

impl Store {
    /// Speaks RESP or the memcache protocol.
    pub(crate) fn start(redis: bool) -> Self {
        let items = Arc::new(Mutex::new(Items::new()));
        let shared = Arc::clone(&items);
        let fake = Fake::start(move |mut stand| {
            loop {
                let request = if redis {
                    stand.redis_request()
                } else {
                    stand.memcache_request().map(|request| words_of(&request))
                };
                let Some(request) = request else { return };
                let reply = answer(&mut shared.lock().unwrap(), redis, &request);
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

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.items.lock().unwrap().clear();
    }
}

/// A memcache request as verb, key and value; only for values without spaces.
fn words_of(request: &[u8]) -> Vec<Vec<u8>> {
    let words: Vec<&[u8]> = request.split(|byte| b" \r\n".contains(byte)).collect();
    let words: Vec<&[u8]> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let value = (words.len() > 2).then(|| words[words.len() - 1]);
    words.iter().take(2).copied().chain(value).map(<[u8]>::to_vec).collect()
}

fn answer(items: &mut Items, redis: bool, request: &[Vec<u8>]) -> Vec<u8> {
    match (request[0].to_ascii_uppercase().as_slice(), &request[1..]) {
        (b"SET", [key, value]) => {
            items.insert(key.clone(), value.clone());
            if redis { b"+OK\r\n".to_vec() } else { b"STORED\r\n".to_vec() }
        }
        (b"GET", [key]) => match (items.get(key), redis) {
            (Some(value), true) => {
                [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
            }
            (Some(value), false) => {
                let length = format!(" 0 {}\r\n", value.len());
                [b"VALUE ", key.as_slice(), length.as_bytes(), value, b"\r\nEND\r\n"].concat()
            }
            (None, true) => b"$-1\r\n".to_vec(),
            (None, false) => b"END\r\n".to_vec(),
        },
        _ if redis => b"-ERR not in this test\r\n".to_vec(),
        _ => b"ERROR\r\n".to_vec(),
    }
}
