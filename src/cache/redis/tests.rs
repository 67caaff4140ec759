//! Commands against a model, and what no other server can be asked about.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{prop_assert_eq, proptest};

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

/// What Redis is, written down once more: a map, and no thought of speed.
#[derive(Default)]
struct Model {
    items: BTreeMap<String, (Vec<u8>, Option<u64>)>,
    now: u64,
}

const KEYS: [&str; 4] = ["a", "b", "c", "{long key with spaces}"];

/// A request that the model understands.
#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Get(&'static str),
    Set(&'static str, Vec<u8>, Option<u64>),
    SetNx(&'static str, Vec<u8>),
    SetKeep(&'static str, Vec<u8>),
    Append(&'static str, Vec<u8>),
    SetRange(&'static str, usize, Vec<u8>),
    IncrBy(&'static str, i64),
    Del(&'static str),
    Expire(&'static str, i64),
    Persist(&'static str),
    Ttl(&'static str),
    Rename(&'static str, &'static str),
    Copy(&'static str, &'static str),
    MSetNx(&'static str, &'static str, Vec<u8>),
    Keys,
}

impl Step {
    fn words(&self) -> Vec<Vec<u8>> {
        let text = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let with = |words: &[&str], value: &Vec<u8>| {
            let mut words: Vec<Vec<u8>> = text(words);
            words.push(value.clone());
            words
        };
        match self {
            Self::Pass(_) => Vec::new(),
            Self::Get(key) => text(&["GET", key]),
            Self::Set(key, value, None) => with(&["SET", key], value),
            Self::Set(key, value, Some(millis)) => {
                with(&["PSETEX", key, &millis.to_string()], value)
            }
            Self::SetNx(key, value) => with(&["SETNX", key], value),
            Self::SetKeep(key, value) => {
                let mut words = with(&["SET", key], value);
                words.push(b"KEEPTTL".to_vec());
                words
            }
            Self::Append(key, value) => with(&["APPEND", key], value),
            Self::SetRange(key, at, value) => with(&["SETRANGE", key, &at.to_string()], value),
            Self::IncrBy(key, by) => text(&["INCRBY", key, &by.to_string()]),
            Self::Del(key) => text(&["DEL", key]),
            Self::Expire(key, millis) => text(&["PEXPIRE", key, &millis.to_string()]),
            Self::Persist(key) => text(&["PERSIST", key]),
            Self::Ttl(key) => text(&["PTTL", key]),
            Self::Rename(from, to) => text(&["RENAME", from, to]),
            Self::Copy(from, to) => text(&["COPY", from, to]),
            Self::MSetNx(one, two, value) => {
                let mut words = with(&["MSETNX", one], value);
                words.extend([two.as_bytes().to_vec(), value.clone()]);
                words
            }
            Self::Keys => text(&["KEYS", "*"]),
        }
    }
}

impl Model {
    fn alive(&mut self) -> &mut BTreeMap<String, (Vec<u8>, Option<u64>)> {
        let now = self.now;
        self.items.retain(|_, (_, expiry)| expiry.is_none_or(|at| at > now));
        &mut self.items
    }

    /// The reply to a step.
    fn answer(&mut self, step: &Step) -> String {
        if let Step::Pass(millis) = step {
            self.now += millis;
        }
        match step {
            Step::Append(..) | Step::SetRange(..) | Step::IncrBy(..) => self.change(step.clone()),
            Step::Rename(..) | Step::Copy(..) | Step::MSetNx(..) => self.copy(step.clone()),
            _ => self.set(step.clone()),
        }
    }

    fn set(&mut self, step: Step) -> String {
        let now = self.now;
        let items = self.alive();
        match step {
            Step::Get(key) => items.get(key).map_or_else(|| "$-1\r\n".to_owned(), |(v, _)| bulk(v)),
            Step::Set(key, value, millis) => {
                items.insert(key.to_owned(), (value, millis.map(|millis| now + millis)));
                "+OK\r\n".to_owned()
            }
            Step::SetNx(key, value) => {
                let free = !items.contains_key(key);
                items.entry(key.to_owned()).or_insert((value, None));
                whether(free)
            }
            Step::SetKeep(key, value) => {
                items.entry(key.to_owned()).or_default().0 = value;
                "+OK\r\n".to_owned()
            }
            Step::Del(key) => whether(items.remove(key).is_some()),
            Step::Expire(key, millis) => {
                let found = items.contains_key(key);
                match u64::try_from(millis) {
                    Ok(millis @ 1..) => {
                        items.entry(key.to_owned()).and_modify(|item| item.1 = Some(now + millis));
                    }
                    _ => drop(items.remove(key)),
                }
                whether(found)
            }
            Step::Persist(key) => {
                whether(items.get_mut(key).is_some_and(|item| item.1.take().is_some()))
            }
            Step::Ttl(key) => match items.get(key) {
                None => ":-2\r\n".to_owned(),
                Some((_, None)) => ":-1\r\n".to_owned(),
                Some((_, Some(at))) => format!(":{}\r\n", at - now),
            },
            Step::Keys => {
                let keys: Vec<String> = items.keys().map(|key| bulk(key.as_bytes())).collect();
                format!("*{}\r\n{}", keys.len(), keys.concat())
            }
            _ => String::new(),
        }
    }

    fn change(&mut self, step: Step) -> String {
        let items = self.alive();
        match step {
            Step::Append(key, value) => {
                let old = &mut items.entry(key.to_owned()).or_default().0;
                if old.len() + value.len() > VALUE_MAX {
                    return TOO_LONG.to_owned();
                }
                old.extend(value);
                format!(":{}\r\n", old.len())
            }
            Step::SetRange(key, at, value) => {
                let mut old = items.get(key).map(|item| item.0.clone()).unwrap_or_default();
                if value.is_empty() {
                    return format!(":{}\r\n", old.len());
                }
                if at + value.len() > VALUE_MAX {
                    return TOO_LONG.to_owned();
                }
                old.resize(old.len().max(at + value.len()), 0);
                old.splice(at..at + value.len(), value);
                let len = old.len();
                items.entry(key.to_owned()).or_default().0 = old;
                format!(":{len}\r\n")
            }
            Step::IncrBy(key, by) => {
                let old = items.get(key).map_or(Some(0), |(value, _)| {
                    let text = std::str::from_utf8(value).ok()?;
                    text.parse::<i64>().ok().filter(|number| number.to_string() == text)
                });
                let Some(old) = old else { return NOT_INTEGER.to_owned() };
                let Some(new) = old.checked_add(by) else {
                    return "-ERR increment or decrement would overflow\r\n".to_owned();
                };
                items.entry(key.to_owned()).or_default().0 = new.to_string().into_bytes();
                format!(":{new}\r\n")
            }
            _ => String::new(),
        }
    }

    fn copy(&mut self, step: Step) -> String {
        let items = self.alive();
        match step {
            Step::Rename(from, to) => {
                let Some(item) = items.remove(from) else {
                    return "-ERR no such key\r\n".to_owned();
                };
                items.insert(to.to_owned(), item);
                "+OK\r\n".to_owned()
            }
            Step::Copy(from, to) if from == to => {
                "-ERR source and destination objects are the same\r\n".to_owned()
            }
            Step::Copy(from, to) => {
                let item = items.get(from).cloned().filter(|_| !items.contains_key(to));
                let done = item.is_some();
                items.extend(item.map(|item| (to.to_owned(), item)));
                whether(done)
            }
            Step::MSetNx(one, two, value) => {
                let free = !items.contains_key(one) && !items.contains_key(two);
                if free {
                    items.insert(one.to_owned(), (value.clone(), None));
                    items.insert(two.to_owned(), (value, None));
                }
                whether(free)
            }
            _ => String::new(),
        }
    }
}

fn whether(truth: bool) -> String {
    format!(":{}\r\n", i32::from(truth))
}

const TOO_LONG: &str = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
const NOT_INTEGER: &str = "-ERR value is not an integer or out of range\r\n";

fn bulk(value: &[u8]) -> String {
    format!("${}\r\n{}\r\n", value.len(), String::from_utf8_lossy(value))
}

/// The keys of a reply to KEYS in order.
fn sorted(reply: &str) -> String {
    let mut lines = reply.split("\r\n$");
    let head = lines.next().unwrap().trim_end_matches("\r\n").to_owned();
    let mut keys: Vec<&str> = lines.map(|key| key.trim_end_matches("\r\n")).collect();
    keys.sort_by_key(|key| key.split("\r\n").nth(1));
    keys.iter().fold(head, |text, key| text + "\r\n$" + key) + "\r\n"
}

fn step() -> impl Strategy<Value = Step> {
    let key = || (0..KEYS.len()).prop_map(|at| KEYS[at]);
    let value = || {
        prop_oneof![
            any::<i64>().prop_map(|number| number.to_string().into_bytes()),
            (0i64..50).prop_map(|number| number.to_string().into_bytes()),
            vec(b'a'..b'f', 0..20),
            Just(vec![b'x'; 4000]),
        ]
    };
    prop_oneof![
        2 => (0u64..3000).prop_map(Step::Pass),
        3 => key().prop_map(Step::Get),
        3 => (key(), value(), proptest::option::of(1u64..4000))
            .prop_map(|(key, value, millis)| Step::Set(key, value, millis)),
        1 => (key(), value()).prop_map(|(key, value)| Step::SetNx(key, value)),
        1 => (key(), value()).prop_map(|(key, value)| Step::SetKeep(key, value)),
        2 => (key(), value()).prop_map(|(key, value)| Step::Append(key, value)),
        1 => (key(), 0usize..9990, value()).prop_map(|(key, at, value)| Step::SetRange(key, at, value)),
        2 => (key(), prop_oneof![any::<i64>(), -5i64..5]).prop_map(|(key, by)| Step::IncrBy(key, by)),
        1 => key().prop_map(Step::Del),
        2 => (key(), -10i64..3000).prop_map(|(key, millis)| Step::Expire(key, millis)),
        1 => key().prop_map(Step::Persist),
        2 => key().prop_map(Step::Ttl),
        1 => (key(), key()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => (key(), key()).prop_map(|(from, to)| Step::Copy(from, to)),
        1 => (key(), key(), value()).prop_map(|(one, two, value)| Step::MSetNx(one, two, value)),
        1 => Just(Step::Keys),
    ]
}

proptest! {
    #[test]
    fn any_commands_do_what_they_do_to_a_map(
        steps in vec(step(), 1..60),
        in_transactions in any::<bool>(),
    ) {
        let (mut place, mut model) = (Place::new(), Model::default());
        let mut session = Session::default();
        for step in &steps {
            let wanted = model.answer(step);
            if let Step::Pass(millis) = step {
                place.pass(*millis);
                continue;
            }
            let words = step.words();
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            let mut got = if in_transactions {
                place.ask(&mut session, "MULTI");
                place.send(&mut session, &words);
                let all = place.ask(&mut session, "EXEC");
                all.strip_prefix("*1\r\n").unwrap().to_owned()
            } else {
                String::from_utf8_lossy(&place.send(&mut session, &words).0).into_owned()
            };
            if matches!(step, Step::Keys) {
                got = sorted(&got);
            }
            prop_assert_eq!(got, if matches!(step, Step::Keys) { sorted(&wanted) } else { wanted });
        }
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
