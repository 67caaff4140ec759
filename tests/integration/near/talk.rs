//! Reads in every form that a near cache answers, and their answers, in both protocols.

use std::str;

use crate::support::{Client, escaped, frame};

/// How somebody speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tongue {
    Memcache,
    Resp2,
    Resp3,
}

/// A read.
#[derive(Clone)]
pub(super) enum Ask {
    One(String),
    Many(Vec<String>),
    /// memcache alone: `mg`.
    Meta(String),
    /// Redis alone: all of a hash, one of its fields, two of them.
    Hash(String),
    Field(String),
    Fields(String),
}

/// A key and the version that it has, if it is there.
pub(super) type Seen = (String, Option<u64>);

/// A client.
pub(super) struct Talker {
    pub(super) client: Client,
    tongue: Tongue,
    port: u16,
}

/// The value of a key in a version: its parts tell whose it is.
pub(super) fn value_of(key: &str, version: u64) -> String {
    format!("{key}={version}={}", "x".repeat(version as usize * 37 % 200))
}

/// Words as Redis is sent them.
pub(super) fn command(words: &[&str]) -> String {
    let parts = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", words.len(), parts.collect::<String>())
}

impl Talker {
    pub(super) fn connect(port: u16, tongue: Tongue) -> Self {
        let mut talker = Self { client: Client::connect(port), tongue, port };
        talker.greet();
        talker
    }

    fn greet(&mut self) {
        if self.tongue == Tongue::Resp3 {
            self.client.send("HELLO 3\r\n");
            self.client.redis_reply();
        }
    }

    pub(super) fn reconnect(&mut self) {
        self.client = Client::connect(self.port);
        self.greet();
    }

    /// The wire of a read.
    pub(super) fn wire(&self, ask: &Ask) -> String {
        if self.tongue == Tongue::Memcache {
            return match ask {
                Ask::One(key) => format!("get {key}\r\n"),
                Ask::Many(keys) => format!("get {}\r\n", keys.join(" ")),
                Ask::Meta(key) => format!("mg {key} k v\r\n"),
                Ask::Hash(_) | Ask::Field(_) | Ask::Fields(_) => panic!("no such read"),
            };
        }
        match ask {
            Ask::One(key) | Ask::Meta(key) => command(&["GET", key]),
            Ask::Many(keys) => {
                let words: Vec<&str> =
                    ["MGET"].into_iter().chain(keys.iter().map(String::as_str)).collect();
                command(&words)
            }
            Ask::Hash(key) => command(&["HGETALL", key]),
            Ask::Field(key) => command(&["HGET", key, "a"]),
            Ask::Fields(key) => command(&["HMGET", key, "b", "a"]),
        }
    }

    /// What a read has seen; the outer error is the end of the connection, the inner one what the
    /// proxy said instead.
    pub(super) fn answer(&mut self, ask: &Ask) -> Result<Result<Vec<Seen>, String>, String> {
        if self.tongue == Tongue::Memcache {
            let reply = self.client.try_take(memcache_reply)?;
            return Ok(read_memcache(ask, &reply));
        }
        let reply = self.client.try_take(frame::resp)?;
        Ok(read_resp(ask, &reply))
    }
}

/// Where a reply to a get or an mg ends.
fn memcache_reply(bytes: &[u8]) -> Option<usize> {
    let Some(line) = bytes.strip_prefix(b"VA ") else { return frame::memcache_reply(bytes) };
    let end = bytes.iter().position(|&byte| byte == b'\n')? + 1;
    let len: usize = str::from_utf8(line).ok()?.split([' ', '\r']).next()?.parse().ok()?;
    (bytes.len() >= end + len + 2).then_some(end + len + 2)
}

/// The version of a value; panics if that is another key's, or not whole.
fn version_of(key: &str, value: &str) -> Option<u64> {
    let version = value.strip_prefix(key).and_then(|rest| rest.strip_prefix('='));
    let version = version.and_then(|rest| rest.split('=').next()?.parse().ok());
    let version = version.unwrap_or_else(|| panic!("{key} has {value}"));
    assert_eq!(value, value_of(key, version));
    Some(version)
}

fn keys_of(ask: &Ask) -> &[String] {
    match ask {
        Ask::Many(keys) => keys,
        Ask::One(key) | Ask::Meta(key) | Ask::Hash(key) | Ask::Field(key) | Ask::Fields(key) => {
            std::slice::from_ref(key)
        }
    }
}

fn read_memcache(ask: &Ask, reply: &[u8]) -> Result<Vec<Seen>, String> {
    let text = str::from_utf8(reply).expect("a text");
    let lines: Vec<&str> = text.split_terminator("\r\n").collect();
    let mut found: Vec<Seen> = keys_of(ask).iter().map(|key| (key.clone(), None)).collect();
    let mut note = |key: &str, value: &str| {
        let versions = found.iter_mut().filter(|(name, _)| name == key);
        assert_eq!(versions.map(|it| it.1 = version_of(key, value)).count(), 1, "{text}");
    };
    match lines.as_slice() {
        [blocks @ .., "END"] => {
            for block in blocks.chunks(2) {
                let key = block[0].split(' ').nth(1).expect("a key");
                note(key, block[1]);
            }
        }
        [line, value] if line.starts_with("VA ") => {
            let key = line.split(' ').find_map(|word| word.strip_prefix('k')).expect("a key");
            note(key, value);
        }
        [line] if line.starts_with("EN") => {}
        _ => return Err(text.trim_end().to_owned()),
    }
    Ok(found)
}

fn read_resp(ask: &Ask, reply: &[u8]) -> Result<Vec<Seen>, String> {
    if reply[0] == b'-' {
        return Err(escaped(reply));
    }
    let text = str::from_utf8(reply).expect("a text");
    let mut lines = text.split_terminator("\r\n").peekable();
    let mut values = Vec::new();
    while let Some(line) = lines.next() {
        match line.as_bytes()[0] {
            b'*' | b'%' => {}
            b'_' => values.push(None),
            b'$' if line == "$-1" => values.push(None),
            b'$' => values.push(lines.next()),
            _ => panic!("{text}"),
        }
    }
    let field = |key: &str, name: &str, value: Option<&str>| {
        value.and_then(|value| version_of(&format!("{key}.{name}"), value))
    };
    let both = |key: &String, first: Option<u64>, second: Option<u64>| {
        assert_eq!(first, second, "two versions in one answer: {text}");
        Ok(vec![(key.clone(), first)])
    };
    match ask {
        Ask::Hash(key) => match values[..] {
            [] => Ok(vec![(key.clone(), None)]),
            [Some("a"), a, Some("b"), b] | [Some("b"), b, Some("a"), a] => {
                both(key, field(key, "a", a), field(key, "b", b))
            }
            _ => panic!("{text}"),
        },
        Ask::Field(key) => Ok(vec![(key.clone(), field(key, "a", values[0]))]),
        Ask::Fields(key) => both(key, field(key, "b", values[0]), field(key, "a", values[1])),
        Ask::One(_) | Ask::Many(_) | Ask::Meta(_) => {
            let keys = keys_of(ask);
            assert_eq!(values.len(), keys.len(), "{text}");
            let seen = keys.iter().zip(values);
            Ok(seen
                .map(|(key, value)| (key.clone(), value.and_then(|value| version_of(key, value))))
                .collect())
        }
    }
}
