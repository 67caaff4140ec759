//! Replies are compared with what they must be. Pure.

use crate::load::Workload;
use crate::load::exchange::recipe::Pending;
use crate::wire::{DIGITS, Protocol, digits, filler, id};

/// A complete reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Its length.
    pub(crate) bytes: usize,
    /// Whether it is, to the byte, what the server had to answer.
    pub(crate) right: bool,
}

/// What the replies of one workload look like.
pub(crate) struct Checker {
    protocol: Protocol,
    keys: u32,
    keys_per_read: u32,
    /// Whether a value comes without its key: Redis, and mg.
    bare: bool,
    /// What stands before a value, up to the digits of its key or, if it is bare, to its end.
    head: Vec<u8>,
    /// What stands between those digits and the value (memcache).
    head_rest: Vec<u8>,
    /// The first line of a reply to several keys (Redis); empty if there is none.
    list: Vec<u8>,
    filler: Vec<u8>,
}

impl Checker {
    /// The checker of a workload.
    pub(crate) fn new(workload: &Workload) -> Self {
        let Workload { protocol, keys, keys_per_read, value_bytes, .. } = *workload;
        let prefix = workload.key_prefix();
        let (head, head_rest) = match protocol {
            Protocol::Memcache if workload.meta => (format!("VA {value_bytes}\r\n"), String::new()),
            Protocol::Memcache => (format!("VALUE {prefix}"), format!(" 0 {value_bytes}\r\n")),
            Protocol::Redis => (format!("${value_bytes}\r\n"), String::new()),
        };
        let several = protocol == Protocol::Redis && keys_per_read > 1;
        let list = if several { format!("*{keys_per_read}\r\n") } else { String::new() };
        Self {
            protocol,
            bare: protocol == Protocol::Redis || workload.meta,
            keys,
            keys_per_read,
            head: head.into_bytes(),
            head_rest: head_rest.into_bytes(),
            list: list.into_bytes(),
            filler: filler(value_bytes),
        }
    }

    /// The reply to `pending` at the front of `input`; `None` while it is not complete. What can't
    /// be understood is one line, and wrong.
    pub(crate) fn check(&self, input: &[u8], pending: &Pending) -> Option<Reply> {
        let reply = match (pending.read, self.protocol) {
            (false, Protocol::Memcache) => exactly(input, b"STORED\r\n"),
            (false, Protocol::Redis) => exactly(input, b"+OK\r\n"),
            (true, _) if self.bare => self.check_bulks(input, pending.base),
            (true, _) => self.check_values(input, pending.base),
        };
        match reply {
            Found::Right(bytes) => Some(Reply { bytes, right: true }),
            Found::Partial => None,
            Found::Wrong => Some(Reply { bytes: line_length(input)?, right: false }),
        }
    }

    /// `VALUE` blocks in any order (a proxy may merge as replies come in), each key once, `END`.
    fn check_values(&self, input: &[u8], base: u32) -> Found {
        let mut seen = 0u128;
        let mut at = 0;
        while seen.count_ones() < self.keys_per_read {
            match self.check_value(&input[at..]) {
                Ok((bytes, key)) if (key + self.keys - base) % self.keys < self.keys_per_read => {
                    seen |= 1 << ((key + self.keys - base) % self.keys);
                    at += bytes;
                }
                Ok(_) => return Found::Wrong,
                Err(found) => return found,
            }
        }
        exactly(&input[at..], b"END\r\n").after(at)
    }

    /// One `VALUE` block: its length and the id of its key.
    fn check_value(&self, input: &[u8]) -> Result<(usize, u32), Found> {
        let mut at = exactly(input, &self.head).length()?;
        let Some(name) = input.get(at..at + DIGITS) else { return Err(Found::Partial) };
        let key = id(name).filter(|key| *key < self.keys).ok_or(Found::Wrong)?;
        at += DIGITS;
        at += exactly(&input[at..], &self.head_rest).length()?;
        at += self.check_data(&input[at..], name).length()?;
        Ok((at, key))
    }

    /// Bulk strings, in the order of the keys.
    fn check_bulks(&self, input: &[u8], base: u32) -> Found {
        match self.try_bulks(input, base) {
            Ok(bytes) => Found::Right(bytes),
            Err(found) => found,
        }
    }

    fn try_bulks(&self, input: &[u8], base: u32) -> Result<usize, Found> {
        let mut at = exactly(input, &self.list).length()?;
        for nth in 0..self.keys_per_read {
            at += exactly(&input[at..], &self.head).length()?;
            let name = digits((base + nth) % self.keys);
            at += self.check_data(&input[at..], &name).length()?;
        }
        Ok(at)
    }

    /// The value of the key with these digits, and the end of the line.
    fn check_data(&self, input: &[u8], name: &[u8]) -> Found {
        let bytes = 2 * DIGITS + self.filler.len() + 2;
        let Some(data) = input.get(..bytes) else { return Found::Partial };
        let (head, rest) = data.split_at(DIGITS);
        let (middle, rest) = rest.split_at(self.filler.len());
        let (tail, end) = rest.split_at(DIGITS);
        if head == name && middle == self.filler && tail == name && end == b"\r\n" {
            Found::Right(bytes)
        } else {
            Found::Wrong
        }
    }
}

/// What a comparison came to.
enum Found {
    /// As expected, so many bytes.
    Right(usize),
    /// As expected as far as it goes.
    Partial,
    /// Something else.
    Wrong,
}

impl Found {
    /// The length, or what stands in its way.
    fn length(self) -> Result<usize, Self> {
        match self {
            Self::Right(bytes) => Ok(bytes),
            other => Err(other),
        }
    }

    /// The same with `before` right bytes in front.
    fn after(self, before: usize) -> Self {
        match self {
            Self::Right(bytes) => Self::Right(before + bytes),
            other => other,
        }
    }
}

/// Whether `input` begins with `expected`.
fn exactly(input: &[u8], expected: &[u8]) -> Found {
    if input.starts_with(expected) {
        Found::Right(expected.len())
    } else if expected.starts_with(input) {
        Found::Partial
    } else {
        Found::Wrong
    }
}

/// The length of the first line, its end included.
fn line_length(input: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', input).map(|at| at + 1)
}
