//! What is said to servers beside the client's own request, and how their answers are read.
//!
//! All of it is meta commands: a lease (`mg … N`) and a store that holds only if nobody has touched
//! the key since (`ms … C`) are the two halves of a copy that cannot bring back what was deleted.

use super::operation::{Operation, Verb};
use crate::protocol::integer;

/// From so many seconds on memcached takes an expiry for a time of day (memcached.c, 1.6:
/// REALTIME_MAXDELTA).
const RELATIVE_MOST: i64 = 60 * 60 * 24 * 30;

/// A CAS that no item has.
pub(super) const NO_CAS: u64 = u64::MAX;

/// The answer to a meta command.
#[derive(Clone, Debug)]
pub(super) struct Answer<'a> {
    pub(super) code: Code,
    flags: &'a [u8],
    /// The data, if there is any.
    pub(super) value: &'a [u8],
}

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// It was done, or found.
    Done,
    /// Found, and here it is.
    Value,
    /// Nothing is there.
    Missing,
    /// What is there is not what it should be.
    Exists,
    /// It was not stored.
    NotStored,
    /// An error line.
    Error,
}

/// What an item turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// There is none.
    Missing,
    /// A stub that this request has made.
    Won,
    /// A stub that another has made.
    Stub,
    /// Stale, and this request has got the token to renew it.
    WonStale,
    /// Stale.
    Stale,
    /// A value.
    Value,
}

impl<'a> Answer<'a> {
    /// Reads a whole reply.
    pub(super) fn of(reply: &'a [u8]) -> Self {
        let end = reply.windows(2).position(|two| two == b"\r\n").unwrap_or(reply.len());
        let (line, rest) = reply.split_at(end);
        let (word, flags) = line.split_at(line.len().min(2));
        let code = match word {
            b"HD" => Code::Done,
            b"VA" => Code::Value,
            b"EN" | b"NF" => Code::Missing,
            b"EX" => Code::Exists,
            b"NS" => Code::NotStored,
            _ => Code::Error,
        };
        let value = rest.get(2..rest.len().saturating_sub(2)).unwrap_or_default();
        Self { code, flags, value: if code == Code::Value { value } else { &[] } }
    }

    /// What stands behind the letter of a flag.
    pub(super) fn flag(&self, letter: u8) -> Option<&'a [u8]> {
        let mut words = self.flags.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        words.find_map(|word| word.strip_prefix(&[letter]))
    }

    /// The number behind the letter of a flag.
    pub(super) fn number(&self, letter: u8) -> Option<u64> {
        std::str::from_utf8(self.flag(letter)?).ok()?.parse().ok()
    }

    /// Seconds that the item has left; `None`: no end.
    pub(super) fn seconds_left(&self) -> Option<i64> {
        self.flag(b't').and_then(integer).filter(|left| *left >= 0)
    }

    /// What the item is. A value without a byte that somebody else renews looks like a stub.
    pub(super) fn item(&self) -> Item {
        let (won, sent, stale) =
            (self.flag(b'W').is_some(), self.flag(b'Z').is_some(), self.flag(b'X').is_some());
        // Where no value was asked for, its size was.
        let empty = self.value.is_empty() && self.flag(b's').is_none_or(|size| size == b"0");
        match self.code {
            Code::Missing => Item::Missing,
            _ if won && stale => Item::WonStale,
            _ if stale => Item::Stale,
            _ if won && empty => Item::Won,
            _ if sent && empty => Item::Stub,
            _ => Item::Value,
        }
    }
}

/// The start of a line about the operation's key.
fn line(command: &str, op: &Operation) -> Vec<u8> {
    let mut line = command.as_bytes().to_vec();
    line.push(b' ');
    line.extend_from_slice(&op.key);
    line
}

fn end(mut line: Vec<u8>, op: &Operation) -> Vec<u8> {
    line.extend_from_slice(if op.binary { b" b\r\n" } else { b"\r\n" });
    line
}

fn push(line: &mut Vec<u8>, letter: u8, text: &[u8]) {
    line.extend_from_slice(&[b' ', letter]);
    line.extend_from_slice(text);
}

/// Asks for the item; if there is none makes a stub that lives for so many seconds.
pub(super) fn lease(op: &Operation, stub_ttl: u32) -> Vec<u8> {
    let mut line = line("mg", op);
    line.extend_from_slice(b" v f c t");
    push(&mut line, b'N', stub_ttl.to_string().as_bytes());
    end(line, op)
}

/// Asks for the item.
pub(super) fn look(op: &Operation) -> Vec<u8> {
    let mut line = line("mg", op);
    line.extend_from_slice(b" v f c t");
    end(line, op)
}

/// Deletes the item, or only the one that has this CAS.
pub(super) fn delete(op: &Operation, cas: Option<u64>) -> Vec<u8> {
    let mut line = line("md", op);
    if let Some(cas) = cas {
        push(&mut line, b'C', cas.to_string().as_bytes());
    }
    end(line, op)
}

/// Stores a copy of what was `found` in the place of the stub with this CAS, if that is still
/// there; it lives for `most` seconds at most, if for any. `unix` is the time in seconds since 1970.
pub(super) fn fill(
    op: &Operation,
    (found, most): (&Answer<'_>, Option<i64>),
    stub: Option<u64>,
    unix: u64,
) -> Vec<u8> {
    let mut line = line("ms", op);
    line.push(b' ');
    line.extend_from_slice(found.value.len().to_string().as_bytes());
    match stub {
        Some(cas) => push(&mut line, b'C', cas.to_string().as_bytes()),
        None => line.extend_from_slice(b" ME"),
    }
    push(&mut line, b'F', found.flag(b'f').unwrap_or(b"0"));
    if let Some(left) = found.seconds_left().into_iter().chain(most).min() {
        push(&mut line, b'T', expiry(left, unix).to_string().as_bytes());
    }
    line.extend_from_slice(b" c");
    let mut wire = end(line, op);
    wire.extend_from_slice(found.value);
    wire.extend_from_slice(b"\r\n");
    wire
}

fn expiry(left: i64, unix: u64) -> i64 {
    if left <= RELATIVE_MOST { left } else { left.saturating_add_unsigned(unix) }
}

/// The operation as its client wrote it.
pub(super) fn verbatim(op: &Operation) -> Vec<u8> {
    let noop: &[u8] = if op.quiet { crate::protocol::memcache::NOOP } else { b"" };
    [&op.line, &b"\r\n"[..], &op.data, noop].concat()
}

/// The operation for the new server, to be done only to the item of this CAS.
pub(super) fn guarded(op: &Operation, cas: u64) -> Vec<u8> {
    let cas = cas.to_string();
    match op.verb {
        Verb::Add | Verb::Replace | Verb::Append | Verb::Prepend => {
            let mut line = line("ms", op);
            line.push(b' ');
            line.extend_from_slice(op.word(4));
            push(&mut line, b'C', cas.as_bytes());
            match op.verb {
                Verb::Append => line.extend_from_slice(b" MA"),
                Verb::Prepend => line.extend_from_slice(b" MP"),
                _ => {}
            }
            push(&mut line, b'F', op.word(2));
            push(&mut line, b'T', op.word(3));
            [&end(line, op), &op.data[..]].concat()
        }
        Verb::Count { down } => {
            let mut line = line("ma", op);
            line.extend_from_slice(if down { b" v MD" } else { b" v MI" });
            push(&mut line, b'D', op.word(2));
            push(&mut line, b'C', cas.as_bytes());
            end(line, op)
        }
        Verb::Touch => {
            let mut line = line("mg", op);
            line.extend_from_slice(b" s");
            push(&mut line, b'T', op.word(2));
            end(line, op)
        }
        Verb::GetAndTouch { .. } => {
            let mut line = line("mg", op);
            line.extend_from_slice(b" v f c");
            push(&mut line, b'T', op.word(1));
            end(line, op)
        }
        _ => with_cas(op, &cas),
    }
}

/// A meta command with a CAS beside its own flags; mg knows none. What adds no longer does: the
/// stub is there.
fn with_cas(op: &Operation, cas: &str) -> Vec<u8> {
    if op.line.starts_with(b"mg ") {
        return verbatim(op);
    }
    let words = op.line.split(|byte| *byte == b' ');
    let kept: Vec<&[u8]> = words
        .enumerate()
        .filter(|(at, word)| *at < 3 || !(op.adds() && word.first() == Some(&b'M')))
        .map(|(_, word)| word)
        .collect();
    let mut changed = op.clone();
    changed.line = kept.join(&b' ');
    push(&mut changed.line, b'C', cas.as_bytes());
    verbatim(&changed)
}
