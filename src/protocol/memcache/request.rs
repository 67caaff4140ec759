//! What a memcache client asks: a line of words and, for storage commands, a block of data.
//!
//! ```text
//!  line_of ─▶ split into words ─▶ the command's row ─▶ check its words ─▶ the data block, if any
//! ```
//! A bad line whose end is known is refused and the next one is served; where the length of a
//! data block is unknown or wrong nobody can tell data from commands, so the client is lost.

use memchr::memchr;

use crate::protocol::digits::digits;
use crate::protocol::hostile::{is_http, not_text};
use crate::protocol::memcache::commands::{self, Row, Shape};
use crate::protocol::{Head, Keys, Parsed, Refusal, Rules, Span};

/// Bytes of a line that asks for no list of keys, as in memcached.
const LINE_BYTES: usize = 2048;
/// Spaces in a row; more of them once ran over memcached's proxy (CVE-2023-46852).
const SPACES: usize = 100;
/// Requests up to this many bytes are waited for whole.
const WHOLE_BYTES: u64 = 64 * 1024;

const BAD_FORMAT: Refusal = Refusal::Client("bad command line format");

/// Parses what stands at the start of `bytes`; `args` is filled with the words of its line.
///
/// The same bytes give the same answer however they are cut, but for a large data block: while it
/// is incomplete the request is [`Parsed::Begun`], and who streams it on must find a CRLF as its
/// last two bytes.
pub fn parse(bytes: &[u8], rules: &Rules, args: &mut Vec<Span>) -> Parsed {
    args.clear();
    let line = match line_of(bytes, rules) {
        Ok(line) => line,
        Err(parsed) => return parsed,
    };
    let most = rules.keys_per_request.saturating_add(2);
    let clean = split(bytes.get(..line.text).unwrap_or_default(), most, args);
    let (Some(first), Some(last)) = (args.first(), args.last()) else {
        return line.refused(Refusal::Unknown);
    };
    let (first, last) = (first.of(bytes), last.of(bytes));
    let Some(row) = commands::find(first, rules.compat) else {
        if is_http(first, last) {
            return Parsed::Lost(Refusal::Unknown);
        }
        return line.refused(Refusal::Unknown);
    };
    let noreply = args.len() > row.shape.noreply_from() && last == b"noreply";
    let ask = Ask { bytes, rules, row, words: args, clean, noreply };
    if matches!(row.shape, Shape::Storage(_)) {
        return ask.storage(&line);
    }
    match ask.check() {
        Ok(()) => Parsed::Request(ask.head(&line, line.len as u64)),
        Err(refusal) => {
            Parsed::Refused { len: line.len as u64, refusal: (!noreply).then_some(refusal) }
        }
    }
}

/// Where a line ends.
struct Line {
    /// Bytes before the line end.
    text: usize,
    /// Bytes, the line end included.
    len: usize,
    bare_lf: bool,
}

impl Line {
    fn refused(&self, refusal: Refusal) -> Parsed {
        Parsed::Refused { len: self.len as u64, refusal: Some(refusal) }
    }
}

/// Finds the end of the line, or says why there is none.
fn line_of(bytes: &[u8], rules: &Rules) -> Result<Line, Parsed> {
    let Some(first) = bytes.first() else {
        return Err(Parsed::Incomplete { need: 1 });
    };
    if not_text(*first) {
        return Err(Parsed::Lost(Refusal::Unknown));
    }
    let start = bytes.get(..LINE_BYTES).unwrap_or(bytes);
    let end = match memchr(b'\n', start) {
        Some(end) => end,
        None => end_of_long_line(bytes, rules)?,
    };
    let bare_lf = end == 0 || bytes.get(end - 1) != Some(&b'\r');
    if bare_lf && (rules.compat || !rules.lenient_lf) {
        return Err(Parsed::Lost(Refusal::Client("line must end with CRLF")));
    }
    Ok(Line { text: end - usize::from(!bare_lf), len: end + 1, bare_lf })
}

/// As [`line_of`], once no line end stood within the usual bytes.
#[cold]
fn end_of_long_line(bytes: &[u8], rules: &Rules) -> Result<usize, Parsed> {
    let incomplete = Parsed::Incomplete { need: bytes.len() + 1 };
    let Some(start) = bytes.get(..LINE_BYTES) else {
        return Err(incomplete);
    };
    let word = start.trim_ascii_start().split(|byte| *byte == b' ').next();
    let listing = matches!(word, Some(b"get" | b"gets" | b"gat" | b"gats"));
    let limit = if listing { rules.line_bytes.max(LINE_BYTES) } else { LINE_BYTES };
    match memchr(b'\n', bytes.get(LINE_BYTES..limit.min(bytes.len())).unwrap_or_default()) {
        Some(end) => Ok(LINE_BYTES + end),
        None if bytes.len() < limit => Err(incomplete),
        None => Err(Parsed::Lost(Refusal::Client("line too long"))),
    }
}

/// Appends the words of `line` to `args`, `most` + 1 at most. `false`: it holds control bytes or
/// too many spaces in a row, so that it may be forwarded under no circumstances.
fn split(line: &[u8], most: usize, args: &mut Vec<Span>) -> bool {
    let mut clean = true;
    let mut at = 0;
    while at < line.len() && args.len() <= most {
        let start = at + spaces(&line[at..]);
        clean &= start - at <= SPACES;
        at = start;
        while at < line.len() && line[at] != b' ' {
            let end = at + word(&line[at..]);
            let control = line.get(end).is_some_and(|byte| *byte != b' ');
            clean &= !control;
            at = end + usize::from(control);
        }
        if at > start {
            args.push(Span { start: start as u32, end: at as u32 });
        }
    }
    clean
}

fn spaces(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| **byte == b' ').count()
}

/// Bytes before the first space or control byte, eight at a time: "has a byte less than n" and
/// "has a zero byte" of Anderson's Bit Twiddling Hacks, exact for the lowest such byte.
fn word(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (eights, rest) = bytes.as_chunks::<8>();
    for (index, eight) in eights.iter().enumerate() {
        let eight = u64::from_le_bytes(*eight);
        let low = eight.wrapping_sub(ONES * 0x21) & !eight;
        let delete = eight ^ (ONES * 0x7f);
        let found = (low | (delete.wrapping_sub(ONES) & !delete)) & HIGH;
        if found != 0 {
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let plain = rest.iter().take_while(|byte| **byte > b' ' && **byte != 0x7f);
    eights.len() * 8 + plain.count()
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

    /// A command with a data block.
    fn storage(&self, line: &Line) -> Parsed {
        let Some(length) = self.words.get(4) else {
            // No length was declared, so no data belongs to the line.
            let refusal = (!self.noreply).then_some(Refusal::Unknown);
            return Parsed::Refused { len: line.len as u64, refusal };
        };
        let whole = digits(length.of(self.bytes))
            .and_then(|length| Some((length, length.checked_add(line.len as u64 + 2)?)));
        let Some((length, len)) = whole else {
            return Parsed::Lost(BAD_FORMAT);
        };
        let checked = self.check().and_then(|()| {
            let fits = length <= self.rules.value_bytes;
            fits.then_some(()).ok_or(Refusal::Server("object too large for cache"))
        });
        match checked {
            Ok(()) => self.data(line, len),
            Err(refusal) => Parsed::Refused { len, refusal: (!self.noreply).then_some(refusal) },
        }
    }

    /// Is the data there, and does it end where the line says?
    fn data(&self, line: &Line, len: u64) -> Parsed {
        let end = len as usize - 2;
        let tail = self.bytes.get(end..).unwrap_or_default();
        match tail {
            [b'\r', b'\n', ..] => Parsed::Request(self.head(line, len)),
            [] | [b'\r'] if len > WHOLE_BYTES => Parsed::Begun(self.head(line, len)),
            [] | [b'\r'] => Parsed::Incomplete { need: len as usize },
            _ => Parsed::Lost(Refusal::Client("bad data chunk")),
        }
    }

    /// The number and form of the words.
    fn check(&self) -> Result<(), Refusal> {
        self.count()?;
        let numbers = match self.row.shape {
            Shape::Storage(_) => self.storage_numbers(),
            Shape::Delta => self.delta(),
            Shape::Touch => self.exptime(2),
            Shape::GetAndTouch => self.exptime(1),
            Shape::Flush if self.given() > 1 => self.exptime(1),
            Shape::Verbosity => self.word_is(1, is_digits, BAD_FORMAT),
            Shape::Delete if self.given() > 2 => self.word_is(2, |word| word == b"0", DELETE_USAGE),
            Shape::Delete | Shape::Flush | Shape::Get | Shape::Free => Ok(()),
        };
        if !self.clean { Err(BAD_FORMAT) } else { numbers.and_then(|()| self.keys()) }
    }

    /// Words without `noreply`.
    fn given(&self) -> usize {
        self.words.len() - usize::from(self.noreply)
    }

    fn count(&self) -> Result<(), Refusal> {
        let command = &self.row.command;
        let arity = if self.rules.compat { command.compat } else { command.arity };
        let least = usize::from(arity.unsigned_abs());
        let most = match self.row.shape {
            _ if self.rules.compat && arity > 0 => least,
            Shape::Delete => 3,
            Shape::Flush => 2,
            Shape::Free | Shape::Verbosity => usize::MAX,
            Shape::Get => self.rules.keys_per_request.saturating_add(1),
            Shape::GetAndTouch => self.rules.keys_per_request.saturating_add(2),
            Shape::Storage(_) | Shape::Delta | Shape::Touch => least,
        };
        if self.given() < least {
            Err(Refusal::Unknown)
        } else if self.given() <= most {
            Ok(())
        } else if matches!(self.row.shape, Shape::Get | Shape::GetAndTouch) {
            Err(Refusal::Client("too many keys"))
        } else {
            Err(BAD_FORMAT)
        }
    }

    fn storage_numbers(&self) -> Result<(), Refusal> {
        self.word_is(2, is_digits, BAD_FORMAT)?;
        self.word_is(3, if self.rules.compat { is_digits } else { is_number }, BAD_FORMAT)?;
        match self.row.shape {
            Shape::Storage(true) => self.word_is(5, is_u64, BAD_FORMAT),
            _ => Ok(()),
        }
    }

    fn delta(&self) -> Result<(), Refusal> {
        let form = if self.rules.compat { is_number } else { is_u64 };
        self.word_is(2, form, Refusal::Client("invalid numeric delta argument"))
    }

    fn exptime(&self, at: usize) -> Result<(), Refusal> {
        self.word_is(at, is_number, Refusal::Client("invalid exptime argument"))
    }

    fn word_is(
        &self,
        at: usize,
        form: impl Fn(&[u8]) -> bool,
        otherwise: Refusal,
    ) -> Result<(), Refusal> {
        let word = self.words.get(at).map(|word| word.of(self.bytes)).unwrap_or_default();
        if form(word) { Ok(()) } else { Err(otherwise) }
    }

    fn keys(&self) -> Result<(), Refusal> {
        let keys = match self.row.command.keys {
            Keys::At(at) => self.words.get(usize::from(at)..=usize::from(at)),
            Keys::Every { first, .. } => self.words.get(usize::from(first)..),
            Keys::None | Keys::Counted(_) => None,
        };
        let fit = keys.unwrap_or_default().iter().all(|key| key.len() <= self.rules.key_bytes);
        if fit { Ok(()) } else { Err(BAD_FORMAT) }
    }
}

const DELETE_USAGE: Refusal =
    Refusal::Client("bad command line format.  Usage: delete <key> [noreply]");

fn is_digits(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(u8::is_ascii_digit)
}

fn is_number(word: &[u8]) -> bool {
    is_digits(word.strip_prefix(b"-").unwrap_or(word))
}

fn is_u64(word: &[u8]) -> bool {
    digits(word).is_some()
}
