//! Redis's inline commands: words on a line, for people and scripts.
//!
//! ```text
//!  line ─▶ words, one after the other: quotes and escapes are resolved ─▶ text, args: spans of it
//! ```
//! Words are read as Redis reads them (`sdssplitargs` in its sds.c). One with an escape, or with a
//! quote in its middle, does not stand on the line as it is meant; so they are written anew.

use memchr::memchr;

use crate::protocol::hostile::{is_http, not_text};
use crate::protocol::redis::request::lost;
use crate::protocol::{Parsed, Refusal, Span};

/// Bytes of a line, as in Redis.
const LINE_BYTES: usize = 64 * 1024;

/// The words of a line.
pub(super) struct Words {
    /// Bytes of the line, its end included.
    pub(super) len: usize,
    /// The words as they are meant, one behind the other.
    pub(super) text: Vec<u8>,
}

/// Splits the line at the start of `bytes` into words, `most` at most; `args` gets where each
/// stands in their text.
pub(super) fn split(bytes: &[u8], most: usize, args: &mut Vec<Span>) -> Result<Words, Parsed> {
    if bytes.first().is_some_and(|first| not_text(*first)) {
        return Err(lost("ERR Protocol error: not a command"));
    }
    let Some(end) = memchr(b'\n', bytes.get(..LINE_BYTES).unwrap_or(bytes)) else {
        if bytes.len() >= LINE_BYTES {
            return Err(lost("ERR Protocol error: too big inline request"));
        }
        return Err(Parsed::Incomplete { need: bytes.len() + 1 });
    };
    let line = bytes.get(..end).unwrap_or_default();
    let mut words = Words { len: end + 1, text: Vec::new() };
    let mut at = 0;
    while let Some(start) = line.iter().skip(at).position(|byte| !is_space(*byte)) {
        let begin = words.text.len() as u32;
        // Redis closes here, too.
        let next = word(line, at + start, &mut words.text);
        at = next.ok_or_else(|| lost("ERR Protocol error: unbalanced quotes in request"))?;
        if args.len() == most {
            return Err(too_many(words.len));
        }
        args.push(Span { start: begin, end: words.text.len() as u32 });
    }
    match (args.first(), args.last()) {
        (Some(first), Some(last)) if is_http(first.of(&words.text), last.of(&words.text)) => {
            Err(lost("ERR Protocol error: HTTP"))
        }
        (Some(_), _) => Ok(words),
        (None, _) => Err(Parsed::Skip { len: words.len }),
    }
}

fn too_many(len: usize) -> Parsed {
    let refusal = Some(Refusal::Redis("ERR too many arguments".to_owned()));
    Parsed::Refused { len: len as u64, refusal }
}

/// Appends the word at `start` to `text`; the offset after it, or nothing if its quotes are
/// unbalanced. A quote may begin in the middle of a word, and ends it.
fn word(line: &[u8], start: usize, text: &mut Vec<u8>) -> Option<usize> {
    let mut at = start;
    loop {
        match line.get(at) {
            None | Some(b' ' | b'\t' | b'\r') => return Some(at),
            Some(quote @ (b'"' | b'\'')) => return quoted(line, at + 1, *quote, text),
            Some(byte) => text.push(*byte),
        }
        at += 1;
    }
}

/// The rest of a word whose quote was opened right before `start`.
fn quoted(line: &[u8], start: usize, quote: u8, text: &mut Vec<u8>) -> Option<usize> {
    let mut at = start;
    loop {
        let rest = line.get(at..).unwrap_or_default();
        match rest.first() {
            None => return None,
            Some(byte) if *byte == quote => {
                // What follows must be another word.
                return rest.get(1).is_none_or(|next| is_space(*next)).then_some(at + 1);
            }
            Some(_) => {
                let (byte, len) = if quote == b'"' { unescape(rest) } else { apostrophe(rest) };
                text.push(byte);
                at += len;
            }
        }
    }
}

/// The byte that is meant at the start of `rest`, within double quotes, and how many stand for it.
fn unescape(rest: &[u8]) -> (u8, usize) {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    match rest {
        [b'\\', b'x', high, low, ..] if digit(*high).is_some() && digit(*low).is_some() => {
            let value = digit(*high).unwrap_or(0) * 16 + digit(*low).unwrap_or(0);
            (value as u8, 4)
        }
        [b'\\', letter, ..] => (control(*letter), 2),
        [byte, ..] => (*byte, 1),
        [] => (0, 0),
    }
}

/// What a letter behind a backslash stands for.
fn control(letter: u8) -> u8 {
    match letter {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

/// Likewise within single quotes, where only they themselves need an escape.
fn apostrophe(rest: &[u8]) -> (u8, usize) {
    match rest {
        [b'\\', b'\'', ..] => (b'\'', 2),
        [byte, ..] => (*byte, 1),
        [] => (0, 0),
    }
}

/// C's `isspace`; the line holds no LF.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | 9..=13)
}
