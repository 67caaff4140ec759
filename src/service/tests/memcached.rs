//! A memcached as far as these proxies use it: values with CAS and times to live, stubs, tokens. What
//! it does was compared with memcached 1.6.18, see `tests/integration/expansion.rs`.

use std::collections::BTreeMap;

use super::wires::text;

/// Milliseconds of a second of its clock, by which times to live are counted.
pub(super) const TICK: u64 = 1000;

#[derive(Clone, Debug)]
struct Item {
    value: Vec<u8>,
    cas: u64,
    /// The second in which it is over.
    end: Option<u64>,
    /// Made by a question; whoever asked has the token to fill it.
    is_stub: bool,
}

#[derive(Debug, Default)]
pub(super) struct Memcached {
    items: BTreeMap<Vec<u8>, Item>,
    cas: u64,
}

impl Memcached {
    /// The value of a key, unless that is a stub.
    pub(super) fn value(&mut self, key: &[u8], now: u64) -> Option<&[u8]> {
        self.find(key, now).filter(|item| !item.is_stub).map(|item| &item.value[..])
    }

    /// When a key's value is over.
    pub(super) fn end(&mut self, key: &[u8], now: u64) -> Option<u64> {
        self.find(key, now)?.end.map(|tick| tick * TICK)
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        self.items.remove(key).is_some()
    }

    pub(super) fn set(&mut self, key: &[u8], value: &[u8], (life, now): (u64, u64)) {
        self.cas += 1;
        let end = (life > 0).then_some(now / TICK + life);
        let item = Item { value: value.to_vec(), cas: self.cas, end, is_stub: false };
        self.items.insert(key.to_vec(), item);
    }

    /// Starts again, empty.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }

    /// Executes a command: what it answers.
    pub(super) fn execute(&mut self, words: &[Vec<u8>], now: u64) -> Vec<u8> {
        let flags = || words.iter().skip(2).map(|word| &word[..]);
        match text(&words[0]) {
            "version" => b"VERSION 1.6.18\r\n".to_vec(),
            "mn" => b"MN\r\n".to_vec(),
            "get" => self.get(&words[1..], now),
            "set" => {
                self.set(&words[1], &words[5], (number(&words[3]), now));
                b"STORED\r\n".to_vec()
            }
            "delete" if self.live(&words[1], now) => {
                self.remove(&words[1]);
                b"DELETED\r\n".to_vec()
            }
            "delete" => b"NOT_FOUND\r\n".to_vec(),
            "mg" => self.meta_get(&words[1], &flags().collect::<Vec<_>>(), now),
            "ms" => {
                let data = words.last().unwrap();
                let flags: Vec<&[u8]> = flags().skip(1).take(words.len() - 4).collect();
                self.meta_set(&words[1], (data, &flags), now)
            }
            "md" => {
                let cas = flag(&flags().collect::<Vec<_>>(), b'C').map(number);
                let found = self.find(&words[1], now).map(|item| item.cas);
                match (found, cas) {
                    (None, _) => b"NF\r\n".to_vec(),
                    (Some(found), Some(cas)) if found != cas => b"EX\r\n".to_vec(),
                    _ => {
                        self.remove(&words[1]);
                        b"HD\r\n".to_vec()
                    }
                }
            }
            other => panic!("{other}"),
        }
    }

    fn live(&mut self, key: &[u8], now: u64) -> bool {
        self.find(key, now).is_some()
    }

    fn find(&mut self, key: &[u8], now: u64) -> Option<&Item> {
        if self.items.get(key)?.end.is_some_and(|end| end <= now / TICK) {
            self.items.remove(key);
        }
        self.items.get(key)
    }

    fn get(&mut self, keys: &[Vec<u8>], now: u64) -> Vec<u8> {
        let mut reply = Vec::new();
        for key in keys {
            if let Some(item) = self.find(key, now) {
                let head = format!("VALUE {} 0 {}\r\n", text(key), item.value.len());
                reply.extend([head.as_bytes(), &item.value, b"\r\n"].concat());
            }
        }
        [&reply[..], b"END\r\n"].concat()
    }

    fn meta_get(&mut self, key: &[u8], flags: &[&[u8]], now: u64) -> Vec<u8> {
        let mut won = false;
        if !self.live(key, now) {
            let Some(life) = flag(flags, b'N') else { return b"EN\r\n".to_vec() };
            self.set(key, b"", (number(life), now));
            self.items.get_mut(key).unwrap().is_stub = true;
            won = true;
        }
        let item = &self.items[key];
        let left = item.end.map_or(-1, |end| (end - now / TICK) as i64);
        let mut line = String::new();
        for word in flags {
            match word[0] {
                b'c' => line += &format!(" c{}", item.cas),
                b'f' => line += " f0",
                b't' => line += &format!(" t{left}"),
                b's' => line += &format!(" s{}", item.value.len()),
                b'k' => line += &format!(" k{}", text(key)),
                b'O' => line += &format!(" {}", text(word)),
                b'v' | b'N' => {}
                other => panic!("{other}"),
            }
        }
        line += if won { " W" } else { "" };
        line += if item.is_stub && !won { " Z" } else { "" };
        if flags.contains(&&b"v"[..]) {
            let head = format!("VA {}{line}\r\n", item.value.len());
            return [head.as_bytes(), &item.value, b"\r\n"].concat();
        }
        format!("HD{line}\r\n").into_bytes()
    }

    fn meta_set(&mut self, key: &[u8], (data, flags): (&[u8], &[&[u8]]), now: u64) -> Vec<u8> {
        let found = self.find(key, now).map(|item| item.cas);
        let code = match (found, flag(flags, b'C').map(number)) {
            (None, Some(_)) => "NF",
            (Some(found), Some(cas)) if found != cas => "EX",
            _ => {
                self.set(key, data, (flag(flags, b'T').map_or(0, number), now));
                "HD"
            }
        };
        let shown = if flags.contains(&&b"c"[..]) { format!(" c{}", self.cas) } else { "".into() };
        format!("{code}{shown}\r\n").into_bytes()
    }
}

fn flag<'a>(flags: &[&'a [u8]], letter: u8) -> Option<&'a [u8]> {
    flags.iter().find_map(|word| word.strip_prefix(&[letter]))
}

fn number(word: &[u8]) -> u64 {
    text(word).parse().unwrap()
}
