//! Three memcached behind one proxy, and which keys live at which of them.

use crate::support::{Client, LONG, Memcached, PoolSpec, Proxy, wait_until};

/// Keys that a fleet starts with.
const KEYS: usize = 90;

/// Three servers, named `server1` to `server3`, a proxy, and keys that are stored.
pub(super) struct Fleet {
    pub(super) proxy: Proxy,
    pub(super) servers: Vec<Memcached>,
    /// The keys of each server.
    pub(super) keys: Vec<Vec<String>>,
}

impl Fleet {
    /// `settings` are those of the pool.
    pub(super) fn start(settings: impl FnOnce(PoolSpec) -> PoolSpec) -> Self {
        let servers: Vec<Memcached> = (0..3).map(|_| Memcached::start()).collect();
        let ports: Vec<u16> = servers.iter().map(Memcached::port).collect();
        let proxy = Proxy::twinring(settings(PoolSpec::memcache(&ports).set("hash", "md5")));
        let mut fleet = Self { proxy, servers, keys: vec![Vec::new(); 3] };
        let mut client = fleet.proxy.client();
        for number in 0..KEYS {
            let key = format!("key:{number}");
            client.ask(store(&key), "STORED\r\n");
            let holder = fleet.servers.iter().position(|server| {
                let mut direct = server.client();
                direct.send(fetch(&key));
                direct.memcache_reply() == found(&key).into_bytes()
            });
            fleet.keys[holder.expect("some server has the key")].push(key);
        }
        assert!(fleet.keys.iter().all(|keys| keys.len() > 5), "a ring without balance");
        fleet
    }

    /// Waits until every key is answered again, found or not, and stores it anew.
    pub(super) fn expect_healed(&self) {
        let healed = wait_until(LONG, || {
            let mut client = self.proxy.client();
            self.keys.iter().flatten().all(|key| {
                client.send(store(key));
                client.memcache_reply() == b"STORED\r\n"
            })
        });
        assert!(healed, "not all servers are used again");
        let mut client = self.proxy.client();
        for key in self.keys.iter().flatten() {
            client.ask(fetch(key), found(key));
        }
    }

    /// The keys of all servers but one.
    pub(super) fn keys_but_of(&self, server: usize) -> Vec<&String> {
        let others = self.keys.iter().enumerate().filter(|(index, _)| *index != server);
        others.flat_map(|(_, keys)| keys).collect()
    }
}

/// The request that stores a key's value.
pub(super) fn store(key: &str) -> String {
    let value = format!("value of {key}");
    format!("set {key} 0 0 {}\r\n{value}\r\n", value.len())
}

pub(super) fn fetch(key: &str) -> String {
    format!("get {key}\r\n")
}

/// The reply to [`fetch`] for a key that is stored.
pub(super) fn found(key: &str) -> String {
    let value = format!("value of {key}");
    format!("VALUE {key} 0 {}\r\n{value}\r\nEND\r\n", value.len())
}

/// Nothing may be left in the pipe: the next reply is that of the next request, then the end.
pub(super) fn expect_clean(client: &mut Client, key: &str) {
    client.ask(fetch(key), found(key));
    client.half_close();
    client.expect_closed();
}
