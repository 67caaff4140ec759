//! What a memcache client asks: a line of words and, for storage commands, a block of data.
//!
//! ```text
//!  line_of ─▶ split into words ─▶ the command's row ─▶ check its words ─▶ the data block, if any
//! ```
//! A bad line whose end is known is refused and the next one is served; where the length of a
//! data block is unknown or wrong nobody can tell data from commands, so the client is lost; a
//! cache of our own goes on there with whatever comes next, as memcached does. It takes packets of
//! the binary protocol as well: their first byte begins no line.

use crate::protocol::digits::digits;
use crate::protocol::hostile::is_http;
use crate::protocol::memcache::binary;
use crate::protocol::memcache::commands::{self, Row, Shape};
use crate::protocol::memcache::line::{Line, line_of, split};
use crate::protocol::{Head, Keys, Op, Parsed, Refusal, Rules, Span};

/// Bytes of data that memcached lets a line declare.
const DATA_BYTES: u64 = i32::MAX as u64 - 2;

/// Words of a meta command.
const META_WORDS: usize = 19;

/// Why a line is refused: a [`Refusal`] that costs nothing to hand on.
#[derive(Clone, Copy)]
enum Fault {
    Unknown,
    Client(&'static str),
    Server(&'static str),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unknown => Self::Unknown,
            Fault::Client(text) => Self::Client(text),
            Fault::Server(text) => Self::Server(text),
        }
    }
}

const BAD_FORMAT: Fault = Fault::Client("bad command line format");

/// Parses what stands at the start of `bytes`; `args` is filled with the words of its line.
///
/// The same bytes give the same answer however they are cut, but for a large data block: while it
/// is incomplete the request is [`Parsed::Begun`], and who streams it on must find a CRLF as its
/// last two bytes.
pub fn parse(bytes: &[u8], rules: &Rules, args: &mut Vec<Span>) -> Parsed {
    args.clear();
    let line = match line_of(bytes, rules) {
        Ok(line) => line,
        Err(Parsed::Lost(_)) if rules.cache && binary::begins(bytes) => {
            return binary::parse(bytes, rules, args);
        }
        Err(parsed) => return parsed,
    };
    let most = rules.keys_per_request.max(META_WORDS).saturating_add(2);
    let clean = split(bytes, &line, (most, rules.compat || rules.cache), args);
    let (Some(first), Some(last)) = (args.first(), args.last()) else {
        return line.refused(Refusal::Unknown);
    };
    let (first, last) = (first.of(bytes), last.of(bytes));
    let Some(row) = commands::find(first, rules) else {
        if is_http(first, last) {
            return Parsed::Lost(Refusal::Unknown);
        }
        return line.refused(Refusal::Unknown);
    };
    let noreply = args.len() > row.shape.noreply_from() && last == b"noreply";
    let ask = Ask { bytes, rules, row, words: args, clean, noreply };
    if let Some(at) = row.shape.length_at() {
        return ask.storage(&line, at);
    }
    match ask.check() {
        Ok(()) => Parsed::Request(ask.head(&line, line.len as u64)),
        Err(fault) => ask.refused(line.len as u64, fault),
    }
}

/// A line whose command is known.
struct Ask<'a> {
    bytes: &'a [u8],
    rules: &'a Rules,
    row: &'static Row,
    words: &'a [Span],
    clean: bool,
    noreply: bool,
}

impl Ask<'_> {
    fn head(&self, line: &Line, len: u64) -> Head {
        Head {
            command: &self.row.command,
            len,
            noreply: self.noreply,
            bare_lf: line.bare_lf,
            line: line.len as u32,
            rewrite: line.bare_lf,
        }
    }

    #[cold]
    fn refused(&self, len: u64, fault: Fault) -> Parsed {
        // memcached counts the words before it looks for `noreply`.
        let counted = self.rules.cache && matches!(fault, Fault::Unknown);
        let heard = !self.noreply || counted;
        Parsed::Refused { len, refusal: heard.then(|| fault.into()) }
    }

    /// A command with a data block, whose length is the word at `at`.
    fn storage(&self, line: &Line, at: usize) -> Parsed {
        // To memcached a line that lacks words is none that data follows.
        let least = usize::from(self.row.command.arity.unsigned_abs());
        let short = self.rules.cache && self.words.len() < least;
        let Some(length) = self.words.get(at).filter(|_| !short) else {
            // No length was declared, so no data belongs to the line.
            let fault = self.check().err().unwrap_or(Fault::Unknown);
            return self.refused(line.len as u64, fault);
        };
        let whole = digits(length.of(self.bytes))
            .filter(|length| !self.rules.cache || *length <= DATA_BYTES)
            .and_then(|length| Some((length, length.checked_add(line.len as u64 + 2)?)));
        let Some((length, len)) = whole else {
            if self.rules.cache {
                return self.refused(line.len as u64, self.check().err().unwrap_or(BAD_FORMAT));
            }
            return Parsed::Lost(BAD_FORMAT.into());
        };
        let checked = self.check().and_then(|()| {
            let fits = length <= self.rules.value_bytes;
            fits.then_some(()).ok_or(Fault::Server("object too large for cache"))
        });
        match checked {
            Ok(()) => self.data(line, len),
            Err(fault) => self.refused(len, fault),
        }
    }

    /// Is the data there, and does it end where the line says?
    fn data(&self, line: &Line, len: u64) -> Parsed {
        let end = len as usize - 2;
        let tail = self.bytes.get(end..).unwrap_or_default();
        match tail {
            [b'\r', b'\n', ..] => Parsed::Request(self.head(line, len)),
            [] | [b'\r'] if len > Parsed::WHOLE_BYTES => Parsed::Begun(self.head(line, len)),
            // The byte after the data may already be wrong.
            [] => Parsed::Incomplete { need: end + 1 },
            [b'\r'] => Parsed::Incomplete { need: end + 2 },
            _ if self.rules.cache => self.refused(len, Fault::Client("bad data chunk")),
            _ => Parsed::Lost(Refusal::Client("bad data chunk")),
        }
    }

    /// The number and form of the words.
    fn check(&self) -> Result<(), Fault> {
        self.count()?;
        let numbers = match self.row.shape {
            Shape::Storage(_) => self.storage_numbers(),
            Shape::Delta => self.delta(),
            Shape::Touch => self.exptime(2),
            Shape::GetAndTouch => self.exptime(1),
            Shape::Verbosity if self.rules.cache => self.word_is(1, is_loose_u32, BAD_FORMAT),
            Shape::Flush if self.given() > 1 => self.exptime(1),
            Shape::Verbosity => self.word_is(1, is_digits, BAD_FORMAT),
            Shape::Delete if self.given() > 3 => Err(DELETE_USAGE),
            Shape::Delete if self.given() > 2 => self.word_is(2, |word| word == b"0", DELETE_USAGE),
            Shape::Delete | Shape::Flush | Shape::Get | Shape::Free => Ok(()),
            Shape::Meta | Shape::MetaSet | Shape::MetaDebug => Ok(()),
        };
        if !self.clean { Err(BAD_FORMAT) } else { numbers.and_then(|()| self.keys()) }
    }

    /// Words without `noreply`.
    fn given(&self) -> usize {
        self.words.len() - usize::from(self.noreply)
    }

    fn count(&self) -> Result<(), Fault> {
        let meta = matches!(self.row.shape, Shape::Meta | Shape::MetaSet | Shape::MetaDebug);
        if self.rules.cache || meta {
            return self.count_loosely();
        }
        let command = &self.row.command;
        let arity = if self.rules.compat { command.compat } else { command.arity };
        let least = usize::from(arity.unsigned_abs());
        let most = match self.row.shape {
            _ if self.rules.compat && arity > 0 => least,
            Shape::Delete => 3,
            Shape::Flush => 2,
            Shape::Verbosity => 3,
            Shape::Free => usize::MAX,
            Shape::Get => self.rules.keys_per_request.saturating_add(1),
            Shape::GetAndTouch => self.rules.keys_per_request.saturating_add(2),
            Shape::Storage(_) | Shape::Delta | Shape::Touch => least,
            // Counted above.
            Shape::Meta | Shape::MetaSet | Shape::MetaDebug => META_WORDS,
        };
        if self.given() < least {
            Err(Fault::Unknown)
        } else if self.given() <= most {
            Ok(())
        } else if matches!(self.row.shape, Shape::Get | Shape::GetAndTouch) {
            Err(Fault::Client("too many keys"))
        } else if matches!(self.row.shape, Shape::Verbosity) {
            Err(Fault::Unknown)
        } else {
            Err(BAD_FORMAT)
        }
    }

    /// As [`count`](Self::count), by memcached's rules: where `noreply` may stand anything may.
    fn count_loosely(&self) -> Result<(), Fault> {
        let words = self.words.len();
        let least = usize::from(self.row.command.arity.unsigned_abs());
        let (least, most, beyond) = match self.row.shape {
            Shape::Storage(_) | Shape::Delta | Shape::Touch | Shape::Verbosity => {
                (least, least + 1, Fault::Unknown)
            }
            Shape::Delete => (least, least + 2, Fault::Unknown),
            Shape::Flush => (least, 3, Fault::Unknown),
            Shape::Free | Shape::MetaDebug => (least, usize::MAX, Fault::Unknown),
            Shape::Get => {
                let most = self.rules.keys_per_request.saturating_add(1);
                (least, most, Fault::Client("too many keys"))
            }
            Shape::GetAndTouch => {
                let most = self.rules.keys_per_request.saturating_add(2);
                (2, most, Fault::Client("too many keys"))
            }
            Shape::Meta if self.row.command.op == Op::MetaGet => {
                (least, META_WORDS, Fault::Client("options flags are too long"))
            }
            Shape::Meta | Shape::MetaSet => {
                (least, META_WORDS, Fault::Client("options flags too long"))
            }
        };
        let short = match self.row.shape {
            Shape::MetaDebug => BAD_FORMAT,
            Shape::MetaSet if words > 1 => BAD_FORMAT,
            _ => Fault::Unknown,
        };
        if words < least {
            Err(short)
        } else if words > most {
            Err(beyond)
        } else {
            Ok(())
        }
    }

    fn storage_numbers(&self) -> Result<(), Fault> {
        if self.rules.cache {
            self.word_is(2, is_loose_u32, BAD_FORMAT)?;
            self.word_is(3, is_loose_i64, BAD_FORMAT)?;
            let cas = self.row.shape == Shape::Storage(true);
            return if cas { self.word_is(5, is_loose_u64, BAD_FORMAT) } else { Ok(()) };
        }
        self.word_is(2, is_digits, BAD_FORMAT)?;
        let exptime = |word: &[u8]| is_digits(word) || (!self.rules.compat && is_number(word));
        self.word_is(3, exptime, BAD_FORMAT)?;
        match self.row.shape {
            Shape::Storage(true) if self.rules.compat => self.word_is(5, is_digits, BAD_FORMAT),
            Shape::Storage(true) => self.word_is(5, is_u64, BAD_FORMAT),
            _ => Ok(()),
        }
    }

    fn delta(&self) -> Result<(), Fault> {
        let loose = |word: &[u8]| {
            (self.rules.compat && is_number(word)) || (self.rules.cache && is_loose_u64(word))
        };
        let delta = |word: &[u8]| is_u64(word) || loose(word);
        self.word_is(2, delta, Fault::Client("invalid numeric delta argument"))
    }

    fn exptime(&self, at: usize) -> Result<(), Fault> {
        let number = |word: &[u8]| {
            if self.rules.cache { is_loose_i64(word) } else { is_number(word) }
        };
        self.word_is(at, number, Fault::Client("invalid exptime argument"))
    }

    #[inline]
    fn word_is(
        &self,
        at: usize,
        form: impl Fn(&[u8]) -> bool,
        otherwise: Fault,
    ) -> Result<(), Fault> {
        let word = self.words.get(at).map(|word| word.of(self.bytes)).unwrap_or_default();
        if form(word) { Ok(()) } else { Err(otherwise) }
    }

    fn keys(&self) -> Result<(), Fault> {
        let keys = match self.row.command.keys {
            Keys::At(at) => self.words.get(usize::from(at)..=usize::from(at)),
            Keys::Every { first, .. } => self.words.get(usize::from(first)..),
            _ => None,
        };
        let fit = keys.unwrap_or_default().iter().all(|key| key.len() <= self.rules.key_bytes);
        if fit { Ok(()) } else { Err(BAD_FORMAT) }
    }
}

const DELETE_USAGE: Fault =
    Fault::Client("bad command line format.  Usage: delete <key> [noreply]");

fn is_digits(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(u8::is_ascii_digit)
}

fn is_number(word: &[u8]) -> bool {
    is_digits(word.strip_prefix(b"-").unwrap_or(word))
}

fn is_u64(word: &[u8]) -> bool {
    digits(word).is_some()
}

/// A number as memcached reads it: a plus sign may stand before it.
fn is_loose_u64(word: &[u8]) -> bool {
    is_u64(word.strip_prefix(b"+").unwrap_or(word))
}

fn is_loose_u32(word: &[u8]) -> bool {
    let number = digits(word.strip_prefix(b"+").unwrap_or(word));
    number.is_some_and(|number| u32::try_from(number).is_ok())
}

fn is_loose_i64(word: &[u8]) -> bool {
    let plain = word.strip_prefix(b"-").or_else(|| word.strip_prefix(b"+")).unwrap_or(word);
    digits(plain).is_some_and(|number| i64::try_from(number).is_ok())
}
