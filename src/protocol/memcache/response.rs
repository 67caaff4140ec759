//! What a memcache server answers: where a reply ends and what it says, and what we answer
//! ourselves.
//!
//! A server is not trusted either: a line of another request's reply, a key that was not asked
//! for, a number too large make the connection unusable, since from there on nobody knows whose
//! the next reply is. Error lines alone answer every request.

use memchr::memchr;

use crate::protocol::body::{BadEnd, Body};
use crate::protocol::digits::{digits, leading_digits};
use crate::protocol::memcache::line::word;
use crate::protocol::{Expect, Malformed, Outcome, Refusal, Scan};

/// Bytes of one line of a reply; the longest are error texts and `STAT` lines.
const LINE_BYTES: usize = 4096;
/// What a block of a reply to a retrieval begins with.
const VALUE: &[u8] = b"VALUE ";

/// Finds the end of one reply after another in what a server sends, cut anywhere.
#[derive(Debug, Default)]
pub struct Scanner {
    /// The data block that is coming in.
    body: Body,
    /// `VALUE` blocks of this reply so far, 2 standing for more.
    values: u8,
    /// What the line before the last one of a quiet meta command's reply says.
    said: Option<Outcome>,
}

impl Scanner {
    /// Looks at `bytes`, which start right after what was [`Scan::used`] before.
    ///
    /// Consumes whole lines and any part of a data block; an unfinished line is left, to be shown
    /// again with more. `key` is the key asked for where `expect` is [`Expect::Value`]. When the
    /// reply ends the scanner is as new. After an error the connection is of no use any more.
    pub fn scan(
        &mut self,
        bytes: &[u8],
        expect: Expect,
        key: &[u8],
        value_bytes_max: u64,
    ) -> Result<Scan, Malformed> {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            if self.body.is_open() {
                used += self.body.take(rest).map_err(|BadEnd| Malformed::Syntax)?;
                if self.body.is_open() {
                    return Ok(Scan { used, end: None });
                }
                if expect == Expect::MetaQuiet {
                    self.said = Some(Outcome::Hit);
                }
                if expect == Expect::Meta {
                    *self = Self::default();
                    return Ok(Scan { used, end: Some(Outcome::Hit) });
                }
                continue;
            }
            if let Some((header, len)) = plain_header(rest) {
                self.value(header, expect, key, value_bytes_max)?;
                used += len;
                if let Some(end) = end_of_last(bytes, used, header) {
                    *self = Self::default();
                    return Ok(Scan { used: end, end: Some(Outcome::Hit) });
                }
                continue;
            }
            let Some(text) = line(rest)? else {
                return Ok(Scan { used, end: None });
            };
            used += text.len() + 2;
            if matches!(expect, Expect::Meta | Expect::MetaQuiet) {
                let Some(end) = self.meta(text, expect, value_bytes_max)? else { continue };
                *self = Self::default();
                return Ok(Scan { used, end: Some(end) });
            }
            if let Some(header) = text.strip_prefix(VALUE) {
                let header = any_header(header).ok_or(Malformed::Syntax)?;
                self.value(header, expect, key, value_bytes_max)?;
                continue;
            }
            let end = self.word(text, expect)?;
            if end.is_some() {
                *self = Self::default();
                return Ok(Scan { used, end });
            }
        }
    }

    /// A data block comes next.
    fn value(
        &mut self,
        (found, length): Header<'_>,
        expect: Expect,
        key: &[u8],
        value_bytes_max: u64,
    ) -> Result<(), Malformed> {
        let asked = match expect {
            Expect::Value => self.values == 0 && found == key,
            _ => expect == Expect::Values,
        };
        if !asked {
            return Err(Malformed::Unexpected);
        }
        if length > value_bytes_max {
            return Err(Malformed::Oversize);
        }
        self.body = Body::of(length).ok_or(Malformed::Oversize)?;
        self.values = self.values.saturating_add(1);
        Ok(())
    }

    /// A line of the reply to a meta command: `None` if more of the reply follows it.
    fn meta(
        &mut self,
        text: &[u8],
        expect: Expect,
        value_bytes_max: u64,
    ) -> Result<Option<Outcome>, Malformed> {
        if memchr(b'\r', text).is_some() {
            return Err(Malformed::Syntax);
        }
        let mut words = text.split(|byte| *byte == b' ');
        let outcome = match words.next().unwrap_or_default() {
            b"VA" => {
                let length = words.next().and_then(digits).ok_or(Malformed::Syntax)?;
                if length > value_bytes_max {
                    return Err(Malformed::Oversize);
                }
                self.body = Body::of(length).ok_or(Malformed::Oversize)?;
                return Ok(None);
            }
            b"MN" if expect == Expect::MetaQuiet => {
                return Ok(Some(self.said.unwrap_or(Outcome::Done)));
            }
            b"HD" => Outcome::Hit,
            b"NS" | b"EX" => Outcome::Done,
            b"EN" | b"NF" => Outcome::Miss,
            b"ME" => Outcome::Hit,
            b"MN" => return Err(Malformed::Unexpected),
            _ => match Line::of(text).ok_or(Malformed::Syntax)? {
                Line::Error => Outcome::Error,
                _ => return Err(Malformed::Unexpected),
            },
        };
        self.said = Some(outcome);
        Ok((expect == Expect::Meta).then_some(outcome))
    }

    /// A line that is not the start of a `VALUE`: `None` if more of the reply follows it.
    fn word(&self, text: &[u8], expect: Expect) -> Result<Option<Outcome>, Malformed> {
        let line = Line::of(text).ok_or(Malformed::Syntax)?;
        let end = match (line, expect) {
            (Line::Error, _) => Some(Outcome::Error),
            (Line::End, Expect::Values | Expect::Value) if self.values > 0 => Some(Outcome::Hit),
            (Line::End, Expect::Values | Expect::Value) => Some(Outcome::Miss),
            (Line::Stat, Expect::Stats) => None,
            (Line::End | Line::Ok | Line::Reset, Expect::Stats)
            | (Line::Stored, Expect::Stored)
            | (Line::Deleted, Expect::Deleted)
            | (Line::Number, Expect::Number)
            | (Line::Touched, Expect::Touched)
            | (Line::Version, Expect::Version)
            | (Line::Ok, Expect::Ok) => Some(Outcome::Done),
            (
                Line::NotFound,
                Expect::Stored | Expect::Deleted | Expect::Number | Expect::Touched,
            ) => Some(Outcome::Miss),
            _ => return Err(Malformed::Unexpected),
        };
        Ok(end)
    }
}

/// The lines a server may send, by what they can answer.
#[derive(Clone, Copy)]
enum Line {
    Error,
    End,
    Stored,
    NotFound,
    Deleted,
    Number,
    Touched,
    Version,
    Stat,
    Ok,
    Reset,
}

impl Line {
    fn of(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"END" => Self::End,
            b"STORED" | b"NOT_STORED" | b"EXISTS" => Self::Stored,
            b"NOT_FOUND" => Self::NotFound,
            b"DELETED" => Self::Deleted,
            b"TOUCHED" => Self::Touched,
            b"OK" => Self::Ok,
            b"RESET" => Self::Reset,
            [b'0'..=b'9', ..] => {
                // memcached pads a number that became shorter with spaces.
                digits(text.trim_ascii_end())?;
                Self::Number
            }
            _ => Self::of_long(text)?,
        })
    }

    /// A line whose first word says what it is.
    fn of_long(text: &[u8]) -> Option<Self> {
        if memchr(b'\r', text).is_some() {
            return None;
        }
        let word = text.split(|byte| *byte == b' ').next()?;
        Some(match word {
            b"ERROR" | b"CLIENT_ERROR" | b"SERVER_ERROR" => Self::Error,
            b"VERSION" => Self::Version,
            b"STAT" | b"ITEM" | b"PREFIX" => Self::Stat,
            _ => return None,
        })
    }
}

/// The text of the first line, if it is all there.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let Some(end) = memchr(b'\n', bytes.get(..LINE_BYTES).unwrap_or(bytes)) else {
        let plain = bytes.first().is_none_or(u8::is_ascii_alphanumeric);
        let long = bytes.len() >= LINE_BYTES;
        return if plain && !long { Ok(None) } else { Err(Malformed::Syntax) };
    };
    let text = bytes.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    text.map(Some).ok_or(Malformed::Syntax)
}

/// Key and length that a `VALUE` line tells.
type Header<'a> = (&'a [u8], u64);

/// The `VALUE` line at the start of `bytes`, and its length, if it is all there and its key has no
/// control bytes, as nearly every one: read in one pass. Of all else [`line`] must judge.
#[inline]
fn plain_header(bytes: &[u8]) -> Option<(Header<'_>, usize)> {
    let rest = bytes.get(..LINE_BYTES).unwrap_or(bytes).strip_prefix(VALUE)?;
    let (key, numbers) = rest.split_at_checked(word(rest))?;
    let (length, len) = lengths(numbers)?;
    (!key.is_empty()).then_some(((key, length), VALUE.len() + key.len() + len))
}

/// Where the reply ends, if the data block that begins at `start` is its last one and all there, as
/// nearly always.
#[inline]
fn end_of_last(bytes: &[u8], start: usize, (_, length): Header<'_>) -> Option<usize> {
    const END: &[u8] = b"\r\nEND\r\n";
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    bytes.get(end..)?.starts_with(END).then_some(end + END.len())
}

/// What ` flags bytes[ cas]` and a line end at the start of `bytes` say: how long the data is, and
/// how long they are themselves.
#[inline]
fn lengths(bytes: &[u8]) -> Option<(u64, usize)> {
    let number = |at: usize| {
        let (number, len) = leading_digits(bytes.get(at..)?.strip_prefix(b" ")?)?;
        Some((number, at + 1 + len))
    };
    let (_, at) = number(0)?;
    let (length, mut at) = number(at)?;
    if bytes.get(at) == Some(&b' ') {
        (_, at) = number(at)?;
    }
    bytes.get(at..)?.starts_with(b"\r\n").then_some((length, at + 2))
}

/// The same of `key flags bytes[ cas]`, the rest of a `VALUE` line, whatever the key is made of.
#[cold]
fn any_header(header: &[u8]) -> Option<Header<'_>> {
    let mut words = header.split(|byte| *byte == b' ');
    let key = words.next().filter(|key| !key.is_empty())?;
    digits(words.next()?)?;
    let length = digits(words.next()?)?;
    if let Some(cas) = words.next() {
        digits(cas)?;
    }
    words.next().is_none().then_some((key, length))
}

/// The `VALUE` block of `key`, the CRLF after its data included, if it starts at offset `at` of
/// `reply`, a complete reply to a retrieval.
#[inline]
pub fn block<'a>(reply: &'a [u8], at: usize, key: &[u8]) -> Option<&'a [u8]> {
    let from = reply.get(at..)?;
    let (length, len) = lengths(from.strip_prefix(VALUE)?.strip_prefix(key)?)?;
    let data = usize::try_from(length).ok()?.checked_add(2)?;
    from.get(..(VALUE.len() + key.len() + len).checked_add(data)?)
}

/// Whether any `VALUE` block starts at offset `at` of such a reply.
pub fn is_block(reply: &[u8], at: usize) -> bool {
    reply.get(at..).is_some_and(|rest| rest.starts_with(VALUE))
}

/// Appends the line that tells a client of `refusal`.
pub fn write_refusal(refusal: &Refusal, out: &mut Vec<u8>) {
    let (word, text) = match refusal {
        Refusal::Unknown => ("ERROR", ""),
        Refusal::Client(text) => ("CLIENT_ERROR ", *text),
        Refusal::Server(text) => ("SERVER_ERROR ", *text),
        Refusal::Redis(text) => ("SERVER_ERROR ", text.as_str()),
        Refusal::Binary(failure) => return failure.write(out),
    };
    for part in [word, text, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}
