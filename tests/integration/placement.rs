//! Every key where twemproxy puts it: what one proxy writes, the other reads.
//!
//! Servers have names here as they would have had at their own addresses, so that the ring is the
//! same although every server listens on a free port.

use serde_json::Value;

use crate::support::{Client, LONG, PoolSpec, Port, Proxy, Sample, Store, frame, wait_until};

/// A pool to place keys in.
struct Case {
    what: String,
    redis: bool,
    /// Name and weight of each server, in file order.
    servers: Vec<(String, String)>,
    /// Names of servers that are down and taken off the ring.
    eject: Vec<String>,
    /// Settings that decide placement.
    settings: Vec<(String, String)>,
    keys: Vec<Vec<u8>>,
    /// The name of the server of each key, where the vectors say so.
    places: Option<Vec<String>>,
    /// False for rings that twemproxy does not have.
    twemproxy: bool,
}

/// A case with its servers running.
struct Scene {
    stores: Vec<(String, Store)>,
    /// Ports of the servers that are down: held, so that nobody listens there.
    _down: Vec<Port>,
    entries: Vec<String>,
}

#[test]
fn keys_are_where_the_vectors_say() {
    let vectors: Value =
        serde_json::from_str(include_str!("../vectors/rings.json")).expect("the vectors");
    let pools = vectors["pools"].as_array().expect("pools");
    assert!(pools.len() > 30, "hardly a vector");
    for pool in pools {
        check(&Case::of_vectors(pool));
    }
}

#[test]
fn keys_are_where_twemproxy_puts_them_for_every_sample() {
    let keys: Vec<Vec<u8>> = (0..200).map(|n| format!("user:{{{n}}}:x{n}").into_bytes()).collect();
    let mut compared = 0;
    for sample in Sample::all() {
        for (name, pool) in sample.pools() {
            let get = |key: &str| pool.setting(key).unwrap_or("");
            let distribution = get("distribution");
            // twemproxy has no other ring, and nobody can say where `random` puts a key.
            if !matches!(distribution, "" | "ketama" | "modula") {
                continue;
            }
            let placing = ["hash", "hash_tag", "distribution"];
            let settings = placing.into_iter().filter_map(|key| {
                pool.setting(key).map(|value| (key.to_owned(), value.to_owned()))
            });
            check(&Case {
                what: format!("{} {name}", sample.name()),
                redis: get("redis") == "true" || get("protocol") == "redis",
                servers: pool.servers().iter().map(|entry| named(entry)).collect(),
                eject: Vec::new(),
                settings: settings.collect(),
                keys: keys.clone(),
                places: None,
                twemproxy: true,
            });
            compared += 1;
        }
    }
    assert!(compared > 5, "hardly a sample");
}

impl Case {
    fn of_vectors(pool: &Value) -> Self {
        let text = |key: &str| pool[key].as_str().map(str::to_owned);
        let entries = pool["servers"].as_array().expect("servers");
        let entries = entries.iter().map(|server| server["entry"].as_str().expect("an entry"));
        let order = pool["expect"]["order"].as_array().expect("an order");
        let place = pool["expect"]["place"].as_object().expect("places");
        let name_at = |index: &Value| {
            let index = usize::try_from(index.as_u64().expect("an index")).unwrap();
            order[index].as_str().expect("a name").to_owned()
        };
        let distribution = text("distribution").expect("a distribution");
        let mut settings = vec![
            ("hash".to_owned(), text("hash").unwrap()),
            ("distribution".to_owned(), distribution),
        ];
        settings.extend(text("hash_tag").map(|tag| ("hash_tag".to_owned(), format!("\"{tag}\""))));
        let eject = pool["eject"].as_array().into_iter().flatten();
        Self {
            what: text("pool").expect("a name"),
            redis: true,
            servers: entries.map(named).collect(),
            eject: eject.map(|name| name.as_str().expect("a name").to_owned()).collect(),
            twemproxy: !settings[1].1.starts_with("ketama_fnv"),
            settings,
            keys: place.keys().map(|key| from_hex(key)).collect(),
            places: Some(place.values().map(name_at).collect()),
        }
    }

    fn pool(&self, entries: Vec<String>) -> PoolSpec {
        let pool = PoolSpec::of(self.redis, entries).set("timeout", 5000);
        let pool = self.settings.iter().fold(pool, |pool, (key, value)| pool.set(key, value));
        if self.eject.is_empty() {
            return pool;
        }
        // Off the ring with the first failure, and not back while the test runs.
        pool.set("auto_eject_hosts", true)
            .set("server_failure_limit", 1)
            .set("server_retry_timeout", 3_600_000)
    }
}

impl Scene {
    fn of(case: &Case) -> Self {
        let mut scene = Self { stores: Vec::new(), _down: Vec::new(), entries: Vec::new() };
        for (name, weight) in &case.servers {
            let port = if case.eject.contains(name) {
                let port = Port::take();
                let number = port.number();
                scene._down.push(port);
                number
            } else {
                let store = Store::start(case.redis);
                let number = store.port();
                scene.stores.push((name.clone(), store));
                number
            };
            scene.entries.push(format!("\"127.0.0.1:{port}:{weight} {name}\""));
        }
        scene
    }

    fn clear(&self) {
        self.stores.iter().for_each(|(_, store)| store.clear());
    }
}

/// What one proxy writes is where the vectors say and where the other looks; both ways round.
fn check(case: &Case) {
    let scene = Scene::of(case);
    let ours = Proxy::twinring(case.pool(scene.entries.clone()));
    if !case.twemproxy {
        check_from(case, &scene, &ours, &ours);
        return;
    }
    let theirs = Proxy::nutcracker(case.pool(scene.entries.clone()));
    check_from(case, &scene, &theirs, &ours);
    scene.clear();
    check_from(case, &scene, &ours, &theirs);
}

fn check_from(case: &Case, scene: &Scene, writer: &Proxy, reader: &Proxy) {
    for (proxy, what) in [(writer, "writer"), (reader, "reader")] {
        // The first requests to a server that is down are what takes it off the ring.
        let settled = wait_until(LONG, || write_all(case, &mut proxy.client()));
        assert!(settled, "{}: the {what} cannot store every key", case.what);
    }
    scene.clear();
    assert!(write_all(case, &mut writer.client()), "{}: not stored", case.what);
    for (index, key) in case.keys.iter().enumerate() {
        let Some(places) = &case.places else { break };
        let holders = scene.stores.iter().filter(|(_, store)| store.holds(key));
        let holders: Vec<&str> = holders.map(|(name, _)| name.as_str()).collect();
        assert_eq!(holders, [places[index].as_str()], "{}: {}", case.what, key.escape_ascii());
    }
    let mut client = reader.client();
    for (index, key) in case.keys.iter().enumerate() {
        client.send(get(case.redis, key));
        let wanted = value_reply(case.redis, key, index);
        let got = client.try_expect(&wanted);
        got.unwrap_or_else(|why| panic!("{}: {}: {why}", case.what, key.escape_ascii()));
    }
}

/// Stores every key; true if every one was stored.
fn write_all(case: &Case, client: &mut Client) -> bool {
    let stored: &[u8] = if case.redis { b"+OK\r\n" } else { b"STORED\r\n" };
    let requests: Vec<Vec<u8>> =
        case.keys.iter().enumerate().map(|(index, key)| set(case.redis, key, index)).collect();
    client.send(requests.concat());
    let replies = case.keys.iter().map(|_| {
        let reply = client.try_take(if case.redis { frame::resp } else { frame::memcache_reply });
        reply.is_ok_and(|reply| reply == stored)
    });
    // Every reply is read, also those after one that is wrong.
    replies.filter(|right| !right).count() == 0
}

fn set(redis: bool, key: &[u8], index: usize) -> Vec<u8> {
    let value = format!("value-{index}");
    if redis {
        return resp(&[b"SET", key, value.as_bytes()]);
    }
    let line = format!(" 0 0 {}\r\n{value}\r\n", value.len());
    [b"set ", key, line.as_bytes()].concat()
}

fn get(redis: bool, key: &[u8]) -> Vec<u8> {
    if redis { resp(&[b"GET", key]) } else { [b"get ", key, b"\r\n"].concat() }
}

fn value_reply(redis: bool, key: &[u8], index: usize) -> Vec<u8> {
    let value = format!("value-{index}");
    if redis {
        return format!("${}\r\n{value}\r\n", value.len()).into_bytes();
    }
    let rest = format!(" 0 {}\r\n{value}\r\nEND\r\n", value.len());
    [b"VALUE ", key, rest.as_bytes()].concat()
}

fn resp(arguments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend(format!("${}\r\n", argument.len()).bytes());
        bytes.extend_from_slice(argument);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// Name and weight of a server as twemproxy reads its entry: the name is what follows the space,
/// else the host where the port is memcached's own, else host and port; of a unix socket, its path
/// with a colon.
fn named(entry: &str) -> (String, String) {
    let (address, name) = entry.split_once(' ').map_or((entry, None), |(a, n)| (a, Some(n)));
    let (place, weight) = address.rsplit_once(':').expect("a weight");
    let derived = match place.strip_suffix(":11211") {
        _ if place.starts_with('/') => format!("{place}:"),
        Some(host) => host.to_owned(),
        None => place.to_owned(),
    };
    (name.map_or(derived, str::to_owned), weight.to_owned())
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let pairs = digits.map(|pair| std::str::from_utf8(pair).expect("hexadecimal"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal")).collect()
}
