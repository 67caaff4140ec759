//! Commands against a model, and what no other server can be asked about.

mod model;

use std::sync::Arc;

use self::model::TOO_LONG;
use super::{Session, execute, refuse};
use crate::cache::{After, Cache, Context, Now};
use crate::config::Secret;
use crate::metrics::{PoolMetric, PoolShape, Registry};
use crate::protocol::redis::{parse, write_command};
use crate::protocol::{Output, Parsed, Request, Rules};
use crate::storage::{Eviction, Settings, Storage, Store, Time};

const VALUE_MAX: usize = 10_000;

const RULES: Rules = Rules {
    compat: false,
    cache: true,
    lenient_lf: false,
    key_bytes: 250,
    value_bytes: 1 << 20,
    keys_per_request: 1000,
    args_per_request: 1000,
    line_bytes: 4096,
};

/// A cache with a clock that stands still.
struct Place {
    cache: Cache,
    now: Now,
}

impl Place {
    fn new() -> Self {
        let shape = PoolShape {
            name: "cache".to_owned(),
            protocol: "redis",
            servers: Vec::new(),
            near_cache: false,
            connections: 1,
        };
        let settings = Settings {
            memory: 16 << 20,
            item_max: VALUE_MAX + 1000,
            shards: 4,
            version: 0,
            storage: Storage::Segcache,
            eviction: Eviction::None,
        };
        let cache = Cache {
            store: Arc::new(Store::new(settings)),
            registry: Arc::new(Registry::new(vec![shape], 1)),
            pool: 0,
            value_max: VALUE_MAX,
            reply_max: 32 << 20,
        };
        let now = Now { time: Time::from_millis(5_000), wall_millis: 1_700_000_000_000 };
        Self { cache, now }
    }

    fn pass(&mut self, millis: u64) {
        self.now.time = self.now.time.after(millis);
        self.now.wall_millis += millis;
    }

    /// The reply to a request, its words separated by spaces.
    fn ask(&self, session: &mut Session, words: &str) -> String {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        String::from_utf8_lossy(&self.send(session, &words).0).into_owned()
    }

    fn send(&self, session: &mut Session, words: &[&[u8]]) -> (Vec<u8>, After) {
        let (mut bytes, mut out, mut args) = (Vec::new(), Output::default(), Vec::new());
        write_command(words.iter().copied(), &mut bytes);
        let counters = &self.cache.registry.layout().workers[0].pools[0].clone();
        let context = Context { cache: &self.cache, counters, now: self.now, incoming: None };
        let after = match parse(&bytes, &RULES, &mut args) {
            Parsed::Request(head) => {
                let request = Request { head: &head, bytes: &bytes, args: &args };
                execute(&context, session, request, &mut out)
            }
            Parsed::Refused { refusal: Some(refusal), .. } => {
                refuse(session, &refusal, &mut out);
                After::Stay
            }
            other => panic!("{other:?}"),
        };
        (out.into_bytes(), after)
    }
}

#[test]
fn watched_keys_that_change_in_any_way_stop_a_transaction() {
    let changes = [
        "SET a 2",
        "APPEND a x",
        "INCR a",
        "DEL a",
        "PEXPIRE a 5",
        "PERSIST b",
        "RENAME a z",
        "GETEX a PX 500",
        "MSET z 1 b 2",
        "FLUSHALL",
        "COPY c b REPLACE",
        "SETBIT a 1 1",
        "GETDEL b",
    ];
    for change in changes {
        let place = Place::new();
        let (mut one, mut two) = (Session::default(), Session::default());
        place.ask(&mut one, "MSET a 1 c 1");
        place.ask(&mut one, "SET b 1 PX 100000");
        assert_eq!(place.ask(&mut one, "WATCH a b"), "+OK\r\n");
        place.ask(&mut two, change);
        place.ask(&mut one, "MULTI");
        place.ask(&mut one, "SET done 1");
        assert_eq!(place.ask(&mut one, "EXEC"), "*-1\r\n", "{change}");
        assert_eq!(place.ask(&mut one, "GET done"), "$-1\r\n", "{change}");
    }
    for harmless in ["GET a", "TOUCH a", "TTL b", "SET other 1", "PERSIST a", "SETNX a 5"] {
        let place = Place::new();
        let (mut one, mut two) = (Session::default(), Session::default());
        place.ask(&mut one, "MSET a 1 b 1");
        place.ask(&mut one, "WATCH a b missing");
        place.ask(&mut two, harmless);
        place.ask(&mut one, "MULTI");
        assert_eq!(place.ask(&mut one, "EXEC"), "*0\r\n", "{harmless}");
    }
}

#[test]
fn a_watched_key_that_expires_stops_a_transaction() {
    let mut place = Place::new();
    let mut session = Session::default();
    place.ask(&mut session, "SET a 1 PX 100");
    place.ask(&mut session, "WATCH a");
    place.pass(100);
    place.ask(&mut session, "MULTI");
    assert_eq!(place.ask(&mut session, "EXEC"), "*-1\r\n");
}

#[test]
fn times_to_live_do_not_follow_the_wall_clock() {
    let mut place = Place::new();
    let mut session = Session::default();
    let at = place.now.wall_millis + 10_000;
    place.ask(&mut session, &format!("SET a 1 PXAT {at}"));
    assert_eq!(place.ask(&mut session, "PEXPIRETIME a"), format!(":{at}\r\n"));
    place.now.wall_millis += 3_600_000;
    assert_eq!(place.ask(&mut session, "PTTL a"), ":10000\r\n");
    place.pass(9_999);
    assert_eq!(place.ask(&mut session, "GET a"), "$1\r\n1\r\n");
    place.pass(1);
    assert_eq!(place.ask(&mut session, "GET a"), "$-1\r\n");
}

#[test]
fn nothing_is_done_before_the_password_is_given() {
    let place = Place::new();
    let mut session = Session::locked(Arc::new(Secret::new("secret")));
    let refused = "-NOAUTH Authentication required.\r\n";
    assert_eq!(place.ask(&mut session, "SET a 1"), refused);
    assert!(place.ask(&mut session, "HELLO 3").starts_with("-NOAUTH HELLO must be called"));
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    for attempt in ["AUTH wrong", "AUTH other secret", "HELLO 3 AUTH default secre"] {
        assert_eq!(place.ask(&mut session, attempt), wrong);
    }
    assert_eq!(place.ask(&mut session, "GET a"), refused);
    assert_eq!(place.ask(&mut session, "AUTH secret"), "+OK\r\n");
    assert_eq!(place.ask(&mut session, "GET a"), "$-1\r\n");
    place.ask(&mut session, "RESET");
    assert_eq!(place.ask(&mut session, "GET a"), refused);
    assert!(place.ask(&mut session, "HELLO 3 AUTH default secret").starts_with("%7\r\n"));
}

#[test]
fn a_client_is_not_answered_where_it_does_not_want_it() {
    let place = Place::new();
    let mut session = Session::default();
    assert_eq!(place.ask(&mut session, "CLIENT REPLY SKIP"), "");
    assert_eq!(place.ask(&mut session, "SET a 1"), "");
    assert_eq!(place.ask(&mut session, "GET a"), "$1\r\n1\r\n");
    for unheard in ["CLIENT REPLY OFF", "SET a 2", "UNKNOWN", "CLIENT REPLY SKIP", "GET a"] {
        assert_eq!(place.ask(&mut session, unheard), "", "{unheard}");
    }
    assert_eq!(place.ask(&mut session, "CLIENT REPLY ON"), "+OK\r\n");
    assert_eq!(place.ask(&mut session, "GET a"), "$1\r\n2\r\n");
}

#[test]
fn every_key_is_scanned_and_any_may_be_the_random_one() {
    let place = Place::new();
    let mut session = Session::default();
    assert_eq!(place.ask(&mut session, "RANDOMKEY"), "$-1\r\n");
    for at in 0..200 {
        place.ask(&mut session, &format!("SET key{at} 1"));
    }
    let mut found = std::collections::BTreeSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let reply = place.ask(&mut session, &format!("SCAN {cursor} MATCH key* COUNT 7"));
        found.extend(reply.split("\r\n").filter(|it| it.starts_with("key")).map(str::to_owned));
        cursor = reply.split("\r\n").nth(2).unwrap().to_owned();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found.len(), 200);
    let random = |_| place.ask(&mut Session::default(), "RANDOMKEY");
    let chosen: std::collections::BTreeSet<String> = (0..100).map(random).collect();
    assert!(chosen.len() > 10 && chosen.iter().all(|reply| reply.contains("key")), "{chosen:?}");
    assert_eq!(
        place.ask(&mut session, "SCAN 0 TYPE hash COUNT 100000").len(),
        "*2\r\n$1\r\n0\r\n*0\r\n".len()
    );
}

#[test]
fn lookups_are_counted_and_info_tells() {
    let place = Place::new();
    let mut session = Session::default();
    for words in ["SET a 1", "GET a", "MGET a b c", "GETRANGE a 0 1"] {
        place.ask(&mut session, words);
    }
    let counters = &place.cache.registry.layout().workers[0].pools[0].clone();
    assert_eq!((counters.get(PoolMetric::Hits), counters.get(PoolMetric::Misses)), (3, 2));
    let info = place.ask(&mut session, "INFO stats keyspace");
    assert!(info.contains("keyspace_hits:3\r\n") && info.contains("db0:keys=1\r\n"), "{info}");
    assert!(!info.contains("redis_version"));
    place.ask(&mut session, "MULTI");
    place.ask(&mut session, "INFO");
    assert!(place.ask(&mut session, "EXEC").contains("redis_version:"));
}

#[test]
fn a_session_is_small() {
    assert!(size_of::<Session>() <= 64, "{}", size_of::<Session>());
    assert!(size_of::<super::tracking::Tracking>() <= 32);
}

#[test]
fn quit_ends_and_everything_else_stays() {
    let place = Place::new();
    let mut session = Session::default();
    assert_eq!(place.send(&mut session, &[b"PING"]), (b"+PONG\r\n".to_vec(), After::Stay));
    place.ask(&mut session, "MULTI");
    assert_eq!(place.send(&mut session, &[b"QUIT"]), (b"+OK\r\n".to_vec(), After::Close));
}

#[test]
fn what_is_too_large_leaves_what_was_there() {
    let place = Place::new();
    let mut session = Session::default();
    place.ask(&mut session, "MSET a 1 b 1");
    let large = "x".repeat(VALUE_MAX + 1);
    for words in
        [format!("SET a {large}"), format!("MSET b 2 a {large}"), format!("APPEND a {large}")]
    {
        assert_eq!(place.ask(&mut session, &words), TOO_LONG);
    }
    assert_eq!(place.ask(&mut session, "MGET a b"), "*2\r\n$1\r\n1\r\n$1\r\n1\r\n");
}
