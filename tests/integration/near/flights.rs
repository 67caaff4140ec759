//! Concurrent misses of one key: one question to the server, whichever workers they are on; and what
//! becomes of those who wait when that is not answered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use crate::support::{Client, Fake, LONG, PoolSpec, Proxy, Stand, wait_until};

/// Clients that ask at once, dealt out among the workers.
const CLIENTS: usize = 8;

/// Tries to have all of them wait at the same time: whoever waits for another worker does not do so
/// for long, and a slow machine may have it ask for itself.
const ROUNDS: usize = 30;

/// A memcached that answers fills when it is told to, and counts them.
#[derive(Default)]
struct Gate {
    fills: AtomicU64,
    plain: AtomicU64,
    open: Mutex<bool>,
    opened: Condvar,
    value: Mutex<String>,
}

impl Gate {
    fn set_open(&self, open: bool) {
        *self.open.lock().unwrap() = open;
        self.opened.notify_all();
    }

    fn serve(&self, mut stand: Stand) {
        while let Some(request) = stand.memcache_request() {
            let text = String::from_utf8(request).expect("a text");
            let key = text.split([' ', '\r']).nth(1).unwrap_or_default().to_owned();
            if let Some(value) = text.strip_prefix("set ") {
                *self.value.lock().unwrap() = value.lines().nth(1).expect("a value").to_owned();
                stand.reply("STORED\r\n");
                continue;
            }
            let fills = text.starts_with("mg ");
            let count = if fills { &self.fills } else { &self.plain };
            count.fetch_add(1, Ordering::SeqCst);
            if fills && key.starts_with('k') {
                let open = self.open.lock().unwrap();
                drop(self.opened.wait_while(open, |open| !*open).unwrap());
            }
            if fills && key.starts_with("bad") {
                // The connection ends.
                return;
            }
            let value = self.value.lock().unwrap().clone();
            stand.reply(match fills {
                true => format!("VA 1 k{key} f0 t-1 c1\r\n{value}\r\n"),
                false => found(&key, &value),
            });
        }
    }
}

fn found(key: &str, value: &str) -> String {
    format!("VALUE {key} 0 1\r\n{value}\r\nEND\r\n")
}

/// Two workers in front of it, both connected.
fn two_workers(gate: &Arc<Gate>) -> (Fake, Proxy, Vec<Client>) {
    *gate.value.lock().unwrap() = "1".to_owned();
    let shared = Arc::clone(gate);
    let server = Fake::start(move |stand| shared.serve(stand));
    let near = "{ memory: 8MiB, admit: all, max_age: 10s }";
    let pool = PoolSpec::memcache(&[server.port()]).set("near_cache", near).set("timeout", 5000);
    let proxy = Proxy::twinring_with(&["workers: 2"], vec![pool]);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.ask("get warm\r\n", found("warm", "1"));
    }
    (server, proxy, clients)
}

fn joined(proxy: &Proxy) -> f64 {
    proxy.metrics().get("twinring_near_cache_joined_total", &[])
}

/// One client asks for a key, which the server does not answer yet, and then the others, one request
/// of which is for it, until all of them wait; how often the server was asked.
fn ask_together(
    (gate, proxy): (&Gate, &Proxy),
    key: &str,
    (first, others): (&mut Client, &mut [Client]),
    more: &str,
) -> u64 {
    *gate.value.lock().unwrap() = "1".to_owned();
    let (fills, before) = (gate.fills.load(Ordering::SeqCst), joined(proxy));
    gate.set_open(false);
    first.send(format!("get {key}\r\n"));
    assert!(wait_until(LONG, || gate.fills.load(Ordering::SeqCst) == fills + 1));
    others.iter_mut().for_each(|client| client.send(format!("get {key}\r\n{more}")));
    let all = before + others.len() as f64;
    assert!(wait_until(LONG, || joined(proxy) >= all), "{} have joined", joined(proxy) - before);
    let asked = gate.fills.load(Ordering::SeqCst) - fills;
    gate.set_open(true);
    first.expect(found(key, "1"));
    others.iter_mut().for_each(|client| client.expect(found(key, "1")));
    asked
}

#[test]
fn all_workers_ask_for_a_key_once() {
    let gate = Arc::new(Gate::default());
    let (_server, proxy, mut clients) = two_workers(&gate);
    let (first, others) = clients.split_first_mut().unwrap();
    let once = (0..ROUNDS).any(|round| {
        let key = format!("k{round}");
        ask_together((&gate, &proxy), &key, (first, others), "") == 1
    });
    assert!(once, "every worker asks");
}

/// What a client asks for behind a read that waits does not overtake it.
#[test]
fn what_waits_is_not_overtaken() {
    let gate = Arc::new(Gate::default());
    let (_server, proxy, mut clients) = two_workers(&gate);
    let (first, others) = clients.split_first_mut().unwrap();
    for (round, client) in others.chunks_mut(1).enumerate() {
        let key = format!("k{round}");
        let more = format!("set {key} 0 0 1\r\n2\r\nget {key}\r\n");
        ask_together((&gate, &proxy), &key, (first, client), &more);
        client[0].expect(format!("STORED\r\n{}", found(&key, "2")));
    }
}

#[test]
fn who_waits_in_vain_asks_alone() {
    let gate = Arc::new(Gate::default());
    let (_server, proxy, mut clients) = two_workers(&gate);
    gate.set_open(true);
    for round in 0..ROUNDS {
        let key = format!("bad{round}");
        clients.iter_mut().for_each(|client| client.send(format!("get {key}\r\n")));
        for client in &mut clients {
            let reply = client.memcache_reply();
            let failed = reply.starts_with(b"SERVER_ERROR Connection reset");
            assert!(failed || reply == found(&key, "1").as_bytes(), "{reply:?}");
        }
    }
    assert!(joined(&proxy) > 0.0 && gate.plain.load(Ordering::SeqCst) > 0, "nobody has waited");
}
