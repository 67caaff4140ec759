//! What a Redis server answers: where a reply ends and what it says.
//!
//! A server is not trusted either: what is not of the version that was agreed on or too large makes
//! its connection unusable. Nothing is allocated: where a reply ends is known by how many values it
//! lacks, however deep they are nested.
//!
//! RESP3 has types of its own for what RESP2 says by arrays and strings, pushes, which answer
//! nothing, and attributes, which stand before the value that they belong to.

use memchr::memchr2;

use crate::protocol::body::{BadEnd, Body};
use crate::protocol::redis::array::{Number, number};
use crate::protocol::{Malformed, Outcome, Scan, Span};

/// Bytes of a status or error line: scripts may write long ones.
const LINE_BYTES: usize = 64 * 1024;

/// Finds the end of one reply after another in what a server sends, cut anywhere.
#[derive(Debug, Default)]
pub struct Scanner {
    /// The bulk that is coming in.
    body: Body,
    /// Values that the reply lacks; none before it begins.
    lacks: u64,
    /// Those of them that come before its own value, within attributes.
    before: u64,
    /// What the reply says, known from the first line of its own value.
    outcome: Option<Outcome>,
    resp3: bool,
}

/// What a line at the start of a reply or an element is.
enum Item {
    /// All of a value, of so many bytes.
    Value(usize, Outcome),
    /// The header (bytes) of a bulk (bytes).
    Bulk(usize, u64),
    /// The same of an error.
    Error(usize, u64),
    /// The header (bytes) of an array (elements, at least one).
    Array(usize, u32),
    /// The header (bytes) of an attribute (elements of its pairs).
    Attribute(usize, u32),
}

impl Scanner {
    /// A scanner of RESP3, if that was agreed on, or of RESP2.
    pub fn speaking(resp3: bool) -> Self {
        Self { resp3, ..Self::default() }
    }

    /// Looks at `bytes`, which start right after what was [`Scan::used`] before.
    ///
    /// Consumes whole lines and any part of a bulk; an unfinished line is left, to be shown again
    /// with more. When the reply ends the scanner is as new. After an error the connection is of
    /// no use any more. How large an array grows in all is the caller's to bound.
    pub fn scan(&mut self, bytes: &[u8], value_bytes_max: u64) -> Result<Scan, Malformed> {
        if !self.body.is_open()
            && self.lacks == 0
            && let Some(used) = whole_bulk(bytes, value_bytes_max)
        {
            return Ok(Scan { used, end: Some(Outcome::Hit) });
        }
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            if self.body.is_open() {
                used += self.body.take(rest).map_err(|BadEnd| Malformed::Syntax)?;
                if self.body.is_open() {
                    return Ok(Scan { used, end: None });
                }
            } else {
                let Some(item) = self.item(rest, value_bytes_max)? else {
                    return Ok(Scan { used, end: None });
                };
                used += self.take(&item)?;
                if self.body.is_open() {
                    continue;
                }
            }
            if self.lacks == 0 {
                return Ok(Scan { used, end: self.outcome.take() });
            }
        }
    }

    /// Notes what an item is and opens; its length in bytes.
    fn take(&mut self, item: &Item) -> Result<usize, Malformed> {
        let (len, outcome, elements) = match *item {
            Item::Value(len, outcome) => (len, outcome, 0),
            Item::Bulk(len, body) => {
                self.body = Body::of(body).ok_or(Malformed::Oversize)?;
                (len, Outcome::Hit, 0)
            }
            Item::Error(len, body) => {
                self.body = Body::of(body).ok_or(Malformed::Oversize)?;
                (len, Outcome::Error, 0)
            }
            Item::Array(len, elements) => (len, Outcome::Hit, elements),
            Item::Attribute(len, elements) => {
                self.count(0, elements);
                return Ok(len);
            }
        };
        if self.outcome.is_none() && self.before == 0 {
            self.outcome = Some(outcome);
        }
        self.count(1, elements);
        Ok(len)
    }

    /// Of the values that the reply lacks, `come` is here, and lacks `elements` of its own.
    fn count(&mut self, come: u64, elements: u32) {
        let own = self.outcome.is_some();
        self.lacks = self.lacks.max(1).saturating_add(u64::from(elements)) - come;
        if !own {
            self.before = self.before.saturating_add(u64::from(elements)) - come;
        }
    }
}

/// True if this reply refuses a write because the server is a replica.
pub fn is_read_only(reply: &[u8]) -> bool {
    reply.starts_with(b"-READONLY ")
}

impl Scanner {
    /// Reads the line at the start of `bytes`; `None` if it is not all there.
    fn item(&self, bytes: &[u8], value_bytes_max: u64) -> Result<Option<Item>, Malformed> {
        let Some(kind) = bytes.first() else {
            return Ok(None);
        };
        match kind {
            b'+' | b'-' => {
                let text = text(bytes)?;
                Ok(text.map(|text| Item::Value(text.len() + 3, outcome(*kind, text))))
            }
            b':' | b'$' | b'*' => counted(bytes, value_bytes_max),
            b'_' | b'#' | b',' | b'(' if self.resp3 => {
                let outcome = if *kind == b'_' { Outcome::Miss } else { Outcome::Hit };
                Ok(text(bytes)?.map(|text| Item::Value(text.len() + 3, outcome)))
            }
            b'%' | b'~' | b'|' | b'=' | b'!' if self.resp3 => counted(bytes, value_bytes_max),
            b'>' if self.resp3 && self.lacks == 0 => counted(bytes, value_bytes_max),
            _ => Err(Malformed::Syntax),
        }
    }
}

/// The length of the bulk at the start of `bytes`, if it is all there, as nearly every reply is.
#[inline]
fn whole_bulk(bytes: &[u8], value_bytes_max: u64) -> Option<usize> {
    if bytes.first() != Some(&b'$') {
        return None;
    }
    let Number::Value(len, start) = number(bytes, 1) else { return None };
    let len = u64::try_from(len).ok().filter(|len| *len <= value_bytes_max)?;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    bytes.get(end..)?.starts_with(b"\r\n").then_some(end + 2)
}

/// As [`Scanner::item`] of a line that has a number on it.
fn counted(bytes: &[u8], value_bytes_max: u64) -> Result<Option<Item>, Malformed> {
    let kind = bytes.first().copied().unwrap_or_default();
    let (number, len) = match number(bytes, 1) {
        Number::Value(number, len) => (number, len),
        Number::Cut => return Ok(None),
        Number::Bad => return Err(Malformed::Syntax),
    };
    let elements = |each: u32| {
        let number = u32::try_from(number).map_err(|_| Malformed::Oversize)?;
        number.checked_mul(each).ok_or(Malformed::Oversize)
    };
    Ok(Some(match (kind, number) {
        (b':', _) => Item::Value(len, Outcome::Hit),
        (b'$' | b'*', -1) => Item::Value(len, Outcome::Miss),
        (b'|', 0..) => Item::Attribute(len, elements(2)?),
        (b'*' | b'%' | b'~' | b'>', 0) => Item::Value(len, Outcome::Hit),
        (b'*' | b'~' | b'>', 1..) => Item::Array(len, elements(1)?),
        (b'%', 1..) => Item::Array(len, elements(2)?),
        (b'$' | b'=' | b'!', 0..) if number.unsigned_abs() > value_bytes_max => {
            return Err(Malformed::Oversize);
        }
        (b'$' | b'=', 0..) => Item::Bulk(len, number.unsigned_abs()),
        (b'!', 0..) => Item::Error(len, number.unsigned_abs()),
        _ => return Err(Malformed::Syntax),
    }))
}

/// The text of a status or error line without type byte and line end, if it is all there.
fn text(bytes: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let start = bytes.get(..LINE_BYTES).unwrap_or(bytes);
    let end = memchr2(b'\r', b'\n', start);
    match end.and_then(|end| bytes.get(end..)) {
        Some([b'\r', b'\n', ..]) => Ok(end.and_then(|end| bytes.get(1..end))),
        Some([b'\r']) => Ok(None),
        None if bytes.len() < LINE_BYTES => Ok(None),
        _ => Err(Malformed::Syntax),
    }
}

fn outcome(kind: u8, text: &[u8]) -> Outcome {
    if kind == b'+' {
        return Outcome::Hit;
    }
    match text.split(|byte| *byte == b' ').next().unwrap_or_default() {
        b"LOADING" | b"BUSY" => Outcome::Unavailable,
        b"NOAUTH" | b"WRONGPASS" | b"NOPERM" => Outcome::Auth,
        // What AUTH says of a wrong password before Redis 6, and where none is set.
        b"ERR" if text.starts_with(b"ERR invalid password") => Outcome::Auth,
        b"ERR" if text.starts_with(b"ERR Client sent AUTH") => Outcome::Auth,
        b"ERR" if text.starts_with(b"ERR AUTH ") => Outcome::Auth,
        _ => Outcome::Error,
    }
}

/// The elements of `reply`, a complete array reply; `None` if it is something else, nil included.
pub fn elements(reply: &[u8]) -> Option<Elements<'_>> {
    match (reply.first(), number(reply, 1)) {
        (Some(b'*'), Number::Value(0.., at)) => Some(Elements { reply, at }),
        _ => None,
    }
}

/// The same of `push`, a complete push.
pub fn push_elements(push: &[u8]) -> Option<Elements<'_>> {
    match (push.first(), number(push, 1)) {
        (Some(b'>'), Number::Value(0.., at)) => Some(Elements { reply: push, at }),
        _ => None,
    }
}

/// Where the top-level elements of an array reply are, one after the other.
#[derive(Debug)]
pub struct Elements<'a> {
    reply: &'a [u8],
    at: usize,
}

impl Iterator for Elements<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        let rest = self.reply.get(self.at..).filter(|rest| !rest.is_empty())?;
        let len = match bulk(rest) {
            Some(len) => len,
            None => {
                // What was scanned before is of either version.
                let scan = Scanner::speaking(true).scan(rest, u64::MAX).ok()?;
                scan.end.map(|_| scan.used)?
            }
        };
        let start = self.at;
        self.at += len;
        Some(Span { start: start as u32, end: self.at as u32 })
    }
}

/// The length of the bulk, or nil, at the start of `bytes`, which were scanned before.
fn bulk(bytes: &[u8]) -> Option<usize> {
    let len = match (bytes.first(), number(bytes, 1)) {
        (Some(b'$'), Number::Value(-1, at)) => at,
        (Some(b'$'), Number::Value(len, at)) => usize::try_from(len).ok()?.checked_add(at + 2)?,
        _ => return None,
    };
    (len <= bytes.len()).then_some(len)
}

/// The number in `reply`, a complete integer reply; `None` if it is something else.
pub fn integer(reply: &[u8]) -> Option<i64> {
    match (reply.first(), number(reply, 1)) {
        (Some(b':'), Number::Value(value, end)) if end == reply.len() => Some(value),
        _ => None,
    }
}

/// The text of `reply`, a complete string reply; `None` if it is something else, nil included.
pub fn bulk_text(reply: &[u8]) -> Option<&[u8]> {
    match (reply.first(), number(reply, 1)) {
        (Some(b'$'), Number::Value(len, at)) => {
            reply.get(at..at.checked_add(len.try_into().ok()?)?)
        }
        _ => None,
    }
}
