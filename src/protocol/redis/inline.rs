//! Redis's inline commands: words on a line, for people and scripts.
//!
//! Words may be quoted. Redis also takes escapes in quotes and quotes within a word; an argument
//! would then not stand in the input as it is meant, and such a line is refused.

use memchr::memchr;

use crate::protocol::hostile::{is_http, not_text};
use crate::protocol::redis::request::lost;
use crate::protocol::{Parsed, Refusal, Span};

/// Bytes of a line, as in Redis.
const LINE_BYTES: usize = 64 * 1024;

const UNBALANCED: &str = "ERR Protocol error: unbalanced quotes in request";

/// Splits the line at the start of `bytes` into `args`, `most` at most; returns its length.
pub(super) fn split(bytes: &[u8], most: usize, args: &mut Vec<Span>) -> Result<usize, Parsed> {
    if bytes.first().is_some_and(|first| not_text(*first)) {
        return Err(lost("ERR Protocol error: not a command"));
    }
    let Some(end) = memchr(b'\n', bytes.get(..LINE_BYTES).unwrap_or(bytes)) else {
        if bytes.len() >= LINE_BYTES {
            return Err(lost("ERR Protocol error: too big inline request"));
        }
        return Err(Parsed::Incomplete { need: bytes.len() + 1 });
    };
    let len = end + 1;
    let line = bytes.get(..end).unwrap_or_default();
    let mut at = 0;
    while let Some(start) = line.iter().skip(at).position(|byte| !byte.is_ascii_whitespace()) {
        let (arg, next) = word(line, at + start).map_err(|fault| fault.parsed(len))?;
        if args.len() == most {
            return Err(Fault::TooMany.parsed(len));
        }
        args.push(arg);
        at = next;
    }
    match (args.first(), args.last()) {
        (Some(first), Some(last)) if is_http(first.of(line), last.of(line)) => {
            Err(lost("ERR Protocol error: HTTP"))
        }
        (Some(_), _) => Ok(len),
        (None, _) => Err(Parsed::Skip { len }),
    }
}

/// Why a line cannot be split.
enum Fault {
    Unbalanced,
    Unsupported,
    TooMany,
}

impl Fault {
    fn parsed(&self, len: usize) -> Parsed {
        let text = match self {
            // Redis closes here, too.
            Self::Unbalanced => return lost(UNBALANCED),
            Self::Unsupported => "ERR escapes and quotes within a word need the array form",
            Self::TooMany => "ERR too many arguments",
        };
        let refusal = Some(Refusal::Redis(text.to_owned()));
        Parsed::Refused { len: len as u64, refusal }
    }
}

/// The word at `start` and the offset after it, quotes included.
fn word(line: &[u8], start: usize) -> Result<(Span, usize), Fault> {
    let rest = line.get(start..).unwrap_or_default();
    let span = |from: usize, to: usize| Span { start: from as u32, end: to as u32 };
    let Some(quote @ (b'"' | b'\'')) = rest.first() else {
        let len = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
        let quoted = rest.iter().take(len).any(|byte| matches!(byte, b'"' | b'\''));
        let end = start + len;
        return if quoted { Err(Fault::Unsupported) } else { Ok((span(start, end), end)) };
    };
    let inner = rest.get(1..).unwrap_or_default();
    let len = memchr(*quote, inner).ok_or(Fault::Unbalanced)?;
    if inner.iter().take(len).any(|byte| *byte == b'\\') {
        return Err(Fault::Unsupported);
    }
    if inner.get(len + 1).is_some_and(|byte| !byte.is_ascii_whitespace()) {
        return Err(Fault::Unbalanced);
    }
    Ok((span(start + 1, start + 1 + len), start + len + 2))
}
