//! A Redis as far as these proxies use it: strings with times to live, MIGRATE, and who is told of
//! changes: once for every key that was asked for, over the connection that asked (tracking.c).

use std::collections::{BTreeMap, BTreeSet};

use super::wires::{Line, Reply, Wires, text};

#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) value: Vec<u8>,
    /// The millisecond in which it is over.
    pub(super) end: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Redis {
    items: BTreeMap<Vec<u8>, Item>,
    told: BTreeMap<Vec<u8>, BTreeSet<Line>>,
}

/// What comes of a command beside its answer.
pub(super) enum Effect {
    None,
    /// A key is to be handed over to the other server.
    Migrate(Vec<u8>),
}

impl Redis {
    /// The item of a key; one that is over goes, and that is told.
    pub(super) fn find(&mut self, key: &[u8], now: u64, wires: &mut Wires) -> Option<Item> {
        if self.items.get(key)?.end.is_some_and(|end| end <= now) {
            self.put(key, None, wires);
        }
        self.items.get(key).cloned()
    }

    /// A key has this now, and who wants to know is told.
    pub(super) fn put(&mut self, key: &[u8], item: Option<Item>, wires: &mut Wires) -> bool {
        let before = match item {
            Some(item) => self.items.insert(key.to_vec(), item),
            None => self.items.remove(key),
        };
        for line in self.told.remove(key).unwrap_or_default() {
            if let Some(wire) = wires.0.get_mut(&line).filter(|wire| wire.tracks) {
                let head = format!(">2\r\n$10\r\ninvalidate\r\n*1\r\n${}\r\n", key.len());
                let bytes = [head.as_bytes(), key, b"\r\n"].concat();
                wire.down.push_back(Reply { bytes, asked: None });
            }
        }
        before.is_some()
    }

    /// Executes a command that has come over a line, and answers it there: what must come of it.
    pub(super) fn execute(
        &mut self,
        (line, words, asked): (Line, &[Vec<u8>], u64),
        now: u64,
        wires: &mut Wires,
    ) -> Effect {
        let words: Vec<&[u8]> = words.iter().map(|word| &word[..]).collect();
        let Some(wire) = wires.0.get_mut(&line) else { return Effect::None };
        let nil: &[u8] = if wire.resp3 { b"_\r\n" } else { b"$-1\r\n" };
        let mut changed = None;
        let reply = match (text(words[0]), words.get(1).copied().unwrap_or_default()) {
            ("HELLO", _) => {
                wire.resp3 = true;
                b"%2\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n".to_vec()
            }
            ("CLIENT", b"TRACKING") => {
                wire.tracks = true;
                b"+OK\r\n".to_vec()
            }
            ("CLIENT", b"CACHING") => {
                wire.caching = true;
                b"+OK\r\n".to_vec()
            }
            ("PING", _) => b"+PONG\r\n".to_vec(),
            ("GET", key) => {
                let tells = std::mem::take(&mut wire.caching);
                let found = self.find(key, now, wires);
                if tells {
                    self.told.entry(key.to_vec()).or_default().insert(line);
                }
                found.map_or_else(|| nil.to_vec(), |item| bulk(&item.value))
            }
            ("MGET", _) => {
                let mut reply = format!("*{}\r\n", words.len() - 1).into_bytes();
                for key in &words[1..] {
                    let found = self.find(key, now, wires);
                    reply.extend(found.map_or_else(|| nil.to_vec(), |item| bulk(&item.value)));
                }
                reply
            }
            ("PTTL", key) => {
                let left = self
                    .find(key, now, wires)
                    .map_or(-2, |item| item.end.map_or(-1, |end| (end - now) as i64));
                format!(":{left}\r\n").into_bytes()
            }
            ("SET", key) => {
                let end = words.get(4).map(|life| now + text(life).parse::<u64>().unwrap());
                changed = Some((key, Some(Item { value: words[2].to_vec(), end })));
                b"+OK\r\n".to_vec()
            }
            ("DEL" | "UNLINK", key) => {
                let found = self.find(key, now, wires).is_some();
                changed = found.then_some((key, None));
                format!(":{}\r\n", u8::from(found)).into_bytes()
            }
            ("SCAN", _) => {
                let keys: Vec<Vec<u8>> = self.items.keys().map(|key| bulk(key)).collect();
                let head = format!("*2\r\n$1\r\n0\r\n*{}\r\n", keys.len());
                [head.as_bytes(), &keys.concat()].concat()
            }
            ("MIGRATE", _) => return Effect::Migrate(words.last().unwrap().to_vec()),
            (other, _) => panic!("{other}"),
        };
        // What an own command changes is told behind its answer.
        answer(line, reply, asked, wires);
        if let Some((key, item)) = changed {
            self.put(key, item, wires);
        }
        Effect::None
    }
}

/// Answers a command that was sent at a time.
pub(super) fn answer(line: Line, bytes: Vec<u8>, asked: u64, wires: &mut Wires) {
    if let Some(wire) = wires.0.get_mut(&line) {
        wire.down.push_back(Reply { bytes, asked: Some(asked) });
    }
}

fn bulk(value: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}
