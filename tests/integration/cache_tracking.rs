//! CLIENT TRACKING of a cache of ours: who has read a key is told when it changes, by whomever, and
//! as redis-server tells it.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cache_redis::LIKE_A_CACHE;
use crate::support::{Cache, Client, LONG, Random, Redis, Transcript, escaped, wait_until};

/// What every tracking client is told when everything is removed.
const FLUSHED: &str = ">2\r\n$10\r\ninvalidate\r\n_\r\n";

fn invalidated(key: &str) -> String {
    format!(">2\r\n$10\r\ninvalidate\r\n*1\r\n${}\r\n{key}\r\n", key.len())
}

/// A RESP3 client of the server at a port that has sent CLIENT TRACKING with these words.
fn tracking(port: u16, words: &str) -> Client {
    let mut client = Client::connect(port);
    client.send("HELLO 3\r\n");
    client.redis_reply();
    client.ask(format!("CLIENT TRACKING {words}\r\n"), "+OK\r\n");
    client
}

/// The client has been told nothing that it has not taken yet.
fn expect_nothing(client: &mut Client) {
    client.ask("PING\r\n", "+PONG\r\n");
}

/// Has a client read keys, whatever they hold.
fn read(client: &mut Client, keys: &[&str]) {
    client.send(format!("MGET {}\r\n", keys.join(" ")));
    client.redis_reply();
}

/// What clients of the comparison say; KEY stands for one of a few.
const FORMS: [&str; 77] = [
    "GET KEY",
    "GET KEY",
    "GET KEY",
    "GET KEY",
    "MGET KEY KEY KEY",
    "MGET KEY KEY KEY",
    "STRLEN KEY",
    "GETRANGE KEY 0 2",
    "GETRANGE KEY x 2",
    "SUBSTR KEY 0 1",
    "GETBIT KEY 3",
    "BITCOUNT KEY",
    "BITCOUNT KEY 1",
    "EXISTS KEY KEY",
    "TYPE KEY",
    "TOUCH KEY",
    "EXPIRETIME nothing",
    "OBJECT FREQ KEY",
    "LCS KEY KEY",
    "LCS KEY KEY FOO",
    "DECR KEY",
    "GET KEY KEY",
    "SET KEY 1",
    "SET KEY abc",
    "SET KEY 1 NX",
    "SET KEY 2 XX GET",
    "SET KEY 2 EX 1000",
    "SET KEY 2 FOO",
    "SETNX KEY 1",
    "SETEX KEY 1000 1",
    "GETSET KEY 5",
    "GETDEL KEY",
    "GETEX KEY",
    "GETEX KEY EX 1000",
    "GETEX KEY PERSIST",
    "MSET KEY 1 KEY 2 KEY 3",
    "MSETNX KEY 1 KEY 2",
    "APPEND KEY x",
    "APPEND KEY y",
    "SETRANGE KEY 1 z",
    "SETBIT KEY 3 1",
    "INCR KEY",
    "INCRBY KEY 5",
    "INCRBYFLOAT KEY 1.5",
    "DEL KEY",
    "DEL KEY KEY",
    "UNLINK KEY KEY",
    "RENAME KEY KEY",
    "RENAMENX KEY KEY",
    "COPY KEY KEY",
    "COPY KEY KEY REPLACE",
    "EXPIRE KEY 1000",
    "EXPIRE KEY 1000 NX",
    "EXPIRE KEY -1",
    "PERSIST KEY",
    "FLUSHALL",
    "MULTI",
    "MULTI",
    "EXEC",
    "EXEC",
    "EXEC",
    "DISCARD",
    "CLIENT CACHING YES",
    "CLIENT CACHING YES",
    "CLIENT CACHING NO",
    "CLIENT CACHING FOO",
    "CLIENT GETNAME",
    "CLIENT FOO",
    "CLIENT TRACKINGINFO",
    "CLIENT GETREDIR",
    "CLIENT TRACKING ON",
    "CLIENT TRACKING ON NOLOOP",
    "CLIENT TRACKING ON OPTIN",
    "CLIENT TRACKING ON OPTOUT NOLOOP",
    "CLIENT TRACKING ON OPTIN OPTOUT",
    "CLIENT TRACKING OFF",
    "HELLO FOO",
];

fn request(random: &mut Random) -> String {
    let form = FORMS[random.below(FORMS.len())];
    let words = form.split(' ').map(|word| match word {
        "KEY" => ["a", "b", "c", "d", "e"][random.below(5)],
        word => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Everything up to the answer to a PING: other replies, and what is pushed. Pushes in a row are
/// put in order, since RENAME of Redis names its keys the other way round, and one flush in EXEC
/// counts as much as two.
fn answers(client: &mut Client, replies: usize) -> Vec<String> {
    client.send("PING\r\n");
    let mut answers: Vec<String> = Vec::new();
    let (mut left, mut run) = (replies + 1, 0);
    while left > 0 {
        let frame = escaped(&client.redis_reply());
        let pushed = frame.starts_with('>');
        left -= usize::from(!pushed);
        answers.push(frame);
        if pushed {
            answers[run..].sort();
        } else {
            run = answers.len();
        }
    }
    answers.dedup_by(|a, b| a == b && a.starts_with('>') && a.contains('_'));
    answers
}

/// Has three clients of redis-server and of a cache do the same; what they do not see alike.
fn compare(seed: u64) -> Result<(), String> {
    let (redis, ours) = (Redis::start(&LIKE_A_CACHE), Cache::start(&[]));
    let all = |port: u16| {
        let mut clients = [tracking(port, "ON"), tracking(port, "OFF"), Client::connect(port)];
        clients[2].ask("CLIENT TRACKING ON\r\n", "+OK\r\n");
        clients
    };
    let mut servers = [all(redis.port()), all(ours.redis_port())];
    let (mut random, mut log, mut queueing) = (Random(seed), Vec::new(), [false; 3]);
    for _ in 0..600 {
        let (number, words) = (random.below(3), request(&mut random));
        // What is pushed is settled at the end of EXEC here, and command by command in Redis.
        if queueing[number] && words.starts_with("CLIENT TRACKING O") {
            continue;
        }
        match words.as_str() {
            "MULTI" => queueing[number] = true,
            "EXEC" | "DISCARD" => queueing[number] = false,
            _ => {}
        }
        let seen = servers.each_mut().map(|clients| {
            clients[number].send(Transcript::command(&words));
            let mut seen = answers(&mut clients[number], 1);
            for (other, client) in clients.iter_mut().enumerate() {
                seen.push(format!("{other}:"));
                seen.extend(answers(client, 0));
            }
            seen
        });
        log.push(format!("{number}: {words}"));
        let [wanted, got] = seen;
        if wanted != got {
            let last = log[log.len().saturating_sub(12)..].join("\n  ");
            return Err(format!(
                "seed {seed}, after\n  {last}\n  wanted: {wanted:?}\n  got:    {got:?}"
            ));
        }
    }
    Ok(())
}

#[test]
fn clients_are_told_what_redis_tells_them() {
    let wrong: Vec<String> = (1..=8).filter_map(|seed| compare(seed * 7919).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_a_client_changes_itself_it_is_told_behind_the_reply() {
    let (redis, ours) = (Redis::start(&[]), Cache::start(&[]));
    for port in [redis.port(), ours.redis_port()] {
        let mut client = tracking(port, "ON");
        client.ask("MGET b a\r\n", "*2\r\n_\r\n_\r\n");
        let told = [invalidated("a"), invalidated("b")].concat();
        client.ask("MSET a 1 b 2\r\n", format!("+OK\r\n{told}"));
        client.ask("MULTI\r\nGET a\r\nSET a 2\r\nGET b\r\nEXEC\r\nPING\r\n", {
            let queued = "+QUEUED\r\n".repeat(3);
            let told = invalidated("a");
            format!("+OK\r\n{queued}*3\r\n$1\r\n1\r\n+OK\r\n$1\r\n2\r\n{told}+PONG\r\n")
        });
        client.ask("FLUSHALL\r\n", format!("+OK\r\n{FLUSHED}"));
        let mut quiet = tracking(port, "ON NOLOOP");
        quiet.ask("GET a\r\nSET a 1\r\nGET a\r\n", "_\r\n+OK\r\n$1\r\n1\r\n");
        client.ask("SET a 2\r\n", "+OK\r\n");
        quiet.expect(invalidated("a"));
        // Replies that are not wanted do not take pushes with them.
        client.ask(
            "GET a\r\nCLIENT REPLY OFF\r\nSET a 3\r\n",
            ["$1\r\n2\r\n", &invalidated("a")].concat(),
        );
    }
}

#[test]
fn every_change_by_a_memcache_client_is_told() {
    let cache = Cache::start(&["--workers", "2", "--max-value", "1KiB"]);
    let (mut reader, mut writer) = (tracking(cache.redis_port(), "ON"), cache.memcache());
    let large = format!("set k 0 0 2000\r\n{}\r\n", "x".repeat(2000));
    for change in [
        "set k 0 0 1\r\n2\r\n",
        "set k 0 0 1 noreply\r\n2\r\nmn\r\n",
        "replace k 0 0 1\r\n2\r\n",
        "append k 0 0 1\r\n2\r\n",
        "prepend k 0 0 1\r\n2\r\n",
        "incr k 1\r\n",
        "decr k 1\r\n",
        "touch k 100\r\n",
        "gat 100 k\r\n",
        "delete k\r\n",
        &large,
        "ms k 1\r\n2\r\n",
        "ms k 1 MA\r\n2\r\n",
        "ma k\r\n",
        "mg k T100\r\n",
        "md k\r\n",
        "md k I\r\n",
        "md k x\r\n",
    ] {
        writer.ask("set k 0 0 1\r\n1\r\n", "STORED\r\n");
        read(&mut reader, &["k"]);
        writer.send(change);
        writer.memcache_reply();
        let told = reader.try_expect(invalidated("k").as_bytes());
        assert!(told.is_ok(), "{change}: {told:?}");
        expect_nothing(&mut reader);
    }
    writer.ask("delete k\r\n", "DELETED\r\n");
    for change in ["add k 0 0 1\r\n1\r\n", "mg new N100\r\n"] {
        read(&mut reader, &["k", "new"]);
        writer.send(change);
        writer.memcache_reply();
        assert!(reader.redis_reply().starts_with(b">2\r\n"), "{change}");
    }
    writer.ask("set k 0 0 1\r\n1\r\n", "STORED\r\n");
    expect_told(&mut reader, "k");
    read(&mut reader, &["k", "gone"]);
    for look in ["get k gone\r\n", "gets k\r\n", "mg k t s\r\n", "delete gone\r\n"] {
        writer.send(look);
        writer.memcache_reply();
        expect_nothing(&mut reader);
    }
    writer.ask("add k 0 0 1\r\n2\r\ncas k 0 0 1 1\r\n2\r\n", "NOT_STORED\r\nEXISTS\r\n");
    expect_nothing(&mut reader);
    writer.ask("flush_all\r\n", "OK\r\n");
    reader.expect(FLUSHED);
    expect_nothing(&mut reader);
}

/// Takes pushes until one is of this key.
fn expect_told(client: &mut Client, key: &str) {
    while client.redis_reply() != invalidated(key).as_bytes() {}
}

#[test]
fn what_comes_with_time_is_told_without_anybody_asking() {
    let cache = Cache::start(&["--workers", "2"]);
    let (mut writer, mut reader) = (cache.redis(), tracking(cache.redis_port(), "ON"));
    let set = Instant::now();
    writer.ask("SET k 1 PX 2000\r\nSET stays 1 EX 100\r\n", "+OK\r\n+OK\r\n");
    reader.ask("GET k\r\nGET stays\r\n", "$1\r\n1\r\n$1\r\n1\r\n");
    reader.expect(invalidated("k"));
    // Moments are whole milliseconds.
    assert!(set.elapsed() >= Duration::from_millis(1990), "too early: {:?}", set.elapsed());
    reader.ask("GET k\r\n", "_\r\n");
    // Another expiry is a change; then it has its time.
    writer.ask("PEXPIRE stays 2000\r\n", ":1\r\n");
    reader.expect(invalidated("stays"));
    read(&mut reader, &["stays"]);
    reader.expect(invalidated("stays"));
    cache.memcache().ask("flush_all 2\r\n", "OK\r\n");
    let flushed = Instant::now();
    reader.ask("SET k 1\r\n", ["+OK\r\n", &invalidated("k")].concat());
    reader.ask("GET k\r\n", "$1\r\n1\r\n");
    reader.expect(FLUSHED);
    assert!(flushed.elapsed() >= Duration::from_millis(1900), "early: {:?}", flushed.elapsed());
    reader.ask("GET k\r\n", "_\r\n");
}

#[test]
fn a_full_table_tells_of_what_it_forgets() {
    let settings = ["memory: 4MiB", "tracking_table_max_keys: 100"];
    let cache = Cache::configured(2, &settings);
    let mut reader = tracking(cache.redis_port(), "ON");
    let asked: String = (0..1000).map(|number| format!("GET key{number}\r\n")).collect();
    reader.send(asked);
    let (mut replies, mut pushes) = (0, 0);
    while replies < 1000 || pushes < 900 {
        let pushed = reader.redis_reply().starts_with(b">");
        *(if pushed { &mut pushes } else { &mut replies }) += 1;
    }
    expect_nothing(&mut reader);
    reader.send("INFO stats\r\n");
    let info = String::from_utf8(reader.redis_reply()).unwrap();
    assert!(info.contains("\r\ntracking_total_keys:100\r\n"), "{info}");
    let figure = |name: &str| cache.metrics().get(name, &[("store", "main")]);
    assert!(wait_until(LONG, || figure("twinring_store_tracked_keys") == 100.0));
    assert_eq!(figure("twinring_store_tracking_clients"), 1.0);
    assert!(wait_until(LONG, || figure("twinring_store_invalidations_total") == 900.0));
    // The last ones are tracked still.
    cache.redis().ask("SET key999 1\r\n", "+OK\r\n");
    reader.expect(invalidated("key999"));
    // Who goes takes what is remembered for it along.
    drop(reader);
    assert!(wait_until(LONG, || figure("twinring_store_tracked_keys") == 0.0));
    assert_eq!(figure("twinring_store_tracking_clients"), 0.0);
}

#[test]
fn who_does_not_take_what_it_is_told_is_cut() {
    let cache = Cache::configured(2, &["limits: { client_output: 64KiB }"]);
    let (mut reader, mut writer) = (tracking(cache.redis_port(), "ON"), cache.redis());
    // More than sockets hold on the way, which is not the session's.
    let keys: Vec<String> = (0..3000).map(|number| format!("{number:0>8000}")).collect();
    let cut = |cache: &Cache| {
        let labels = [("pool", "redis"), ("reason", "slow_reader")];
        cache.metrics().get("twinring_client_disconnects_total", &labels)
    };
    for key in &keys {
        reader.ask(format!("EXISTS {key}\r\n"), ":0\r\n");
    }
    for key in &keys {
        writer.ask(format!("SET {key} 1\r\n"), "+OK\r\n");
    }
    assert!(wait_until(LONG, || cut(&cache) == 1.0));
    writer.ask("PING\r\n", "+PONG\r\n");
}

/// Keys of the race.
const KEYS: usize = 20;

/// A client with a cache of its own, which is as good as what it is told.
struct Near {
    client: Client,
    copies: HashMap<usize, Vec<u8>>,
    hits: usize,
}

impl Near {
    fn new(port: u16) -> Self {
        Self { client: tracking(port, "ON"), copies: HashMap::new(), hits: 0 }
    }

    /// Takes frames up to a reply.
    fn reply(&mut self) -> Vec<u8> {
        loop {
            let frame = self.client.redis_reply();
            if frame.first() != Some(&b'>') {
                return frame;
            }
            let text = String::from_utf8(frame).unwrap();
            let key = text.rsplit_once("key").and_then(|(_, rest)| rest.trim_end().parse().ok());
            self.copies.remove(&key.unwrap_or_else(|| panic!("{text:?} names no key of ours")));
        }
    }

    /// Asks for all that it does not know, in one go.
    fn round(&mut self) {
        let wanted: Vec<usize> =
            (0..KEYS).filter(|number| !self.copies.contains_key(number)).collect();
        self.hits += KEYS - wanted.len();
        let gets = wanted.iter().map(|number| format!("GET key{number}\r\n"));
        self.client.send(gets.chain(["PING\r\n".to_owned()]).collect::<String>());
        for number in wanted {
            let value = self.reply();
            self.copies.insert(number, value);
        }
        assert_eq!(self.reply(), b"+PONG\r\n");
    }
}

/// Changes keys in all ways for a while; both protocols.
fn write_for_a_while(cache: &Cache, seed: u64) {
    let (mut redis, mut memcache) = (cache.redis(), cache.memcache());
    let mut random = Random(seed);
    for turn in 0..1500 {
        let key = format!("key{}", random.below(KEYS));
        let other = format!("key{}", random.below(KEYS));
        let value = format!("{seed}:{turn}");
        let command = match random.below(12) {
            0 => format!("DEL {key}"),
            1 => format!("SET {key} {value} PX {}", 1 + random.below(20)),
            2 => format!("RENAME {key} {other}"),
            3 => format!("COPY {key} {other} REPLACE"),
            4 => format!("APPEND {key} +"),
            5 => format!("MSET {key} {value} {other} {value}"),
            6 => format!("PEXPIRE {key} {}", 1 + random.below(20)),
            7..10 => format!("SET {key} {value}"),
            _ => {
                let len = value.len();
                memcache.ask(format!("set {key} 0 0 {len}\r\n{value}\r\n"), "STORED\r\n");
                continue;
            }
        };
        redis.send(format!("{command}\r\n"));
        redis.redis_reply();
    }
}

#[test]
fn copies_that_clients_keep_end_as_the_items_do() {
    let cache = &Cache::start(&["--workers", "3"]);
    std::thread::scope(|scope| {
        let writers = [1, 2, 3].map(|seed| scope.spawn(move || write_for_a_while(cache, seed)));
        let writers = Arc::new(writers);
        let readers = [(); 4].map(|()| {
            let writers = Arc::clone(&writers);
            let done = move || writers.iter().all(|writer| writer.is_finished());
            scope.spawn(move || {
                let mut near = Near::new(cache.redis_port());
                while !done() {
                    near.round();
                }
                near
            })
        });
        let mut readers = readers.map(|reader| reader.join().unwrap());
        let mut truth = cache.redis();
        truth.send("HELLO 3\r\n");
        truth.redis_reply();
        // What has an expiry goes within a tenth of a second, by a push.
        let same = wait_until(LONG, || {
            let now: Vec<_> = (0..KEYS)
                .map(|number| {
                    truth.send(format!("GET key{number}\r\n"));
                    truth.redis_reply()
                })
                .collect();
            readers.iter_mut().all(|near| {
                near.client.send("PING\r\n");
                near.reply();
                (0..KEYS)
                    .all(|number| near.copies.get(&number).is_none_or(|copy| *copy == now[number]))
            })
        });
        assert!(same, "a copy is not what the item is");
        assert!(readers.iter().all(|near| near.hits > 100), "nothing was ever read from a copy");
    });
}

#[test]
fn redis_py_keeps_its_cache_coherent() {
    let cache = Cache::start(&["--workers", "2"]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join("target/venv/bin/python"));
    command.arg(root.join("tests/python/redis_near.py"));
    let ports = [cache.redis_port(), cache.memcache_port()];
    command.args(ports.map(|port| port.to_string()));
    let output = command.output().expect("the interpreter that tests/run prepares");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
