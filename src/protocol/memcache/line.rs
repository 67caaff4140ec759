//! The line of a memcache request: where it ends, and its words.

use memchr::memchr;

use crate::protocol::hostile::not_text;
use crate::protocol::{Parsed, Refusal, Rules, Span};

/// Bytes of a line that asks for no list of keys, as in memcached.
const LINE_BYTES: usize = 2048;
/// Spaces in a row; more of them once ran over memcached's proxy (CVE-2023-46852).
const SPACES: usize = 100;
/// Where a line ends.
pub(super) struct Line {
    /// Bytes before the line end.
    pub(super) text: usize,
    /// Bytes, the line end included.
    pub(super) len: usize,
    /// It ends with LF alone.
    pub(super) bare_lf: bool,
}

impl Line {
    /// The answer to a line after which the next can be served.
    pub(super) fn refused(&self, refusal: Refusal) -> Parsed {
        Parsed::Refused { len: self.len as u64, refusal: Some(refusal) }
    }
}

/// Finds the end of the line, or says why there is none.
pub(super) fn line_of(bytes: &[u8], rules: &Rules) -> Result<Line, Parsed> {
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
    if bare_lf && (rules.compat || !rules.lenient_lf) && !rules.cache {
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

/// Appends the words of `line`, which stands at the start of `bytes`, to `args`, `most` + 1 at
/// most. `false`: it holds control bytes or too many spaces in a row, so that it may be forwarded
/// under no circumstances. If `loose`, only NUL and CR count as control bytes: twemproxy and
/// memcached take all others for a part of a key.
pub(super) fn split(
    bytes: &[u8],
    line: &Line,
    (most, loose): (usize, bool),
    args: &mut Vec<Span>,
) -> bool {
    let mut clean = true;
    let mut at = 0;
    loop {
        let gap = at;
        while bytes.get(at) == Some(&b' ') {
            at += 1;
        }
        clean &= at - gap <= SPACES;
        if at >= line.text || args.len() > most {
            return clean;
        }
        let start = at;
        loop {
            // Never beyond the line: its end is a control byte.
            at += word(bytes.get(at..).unwrap_or_default());
            if at >= line.text || bytes.get(at) == Some(&b' ') {
                break;
            }
            clean &= loose && !matches!(bytes.get(at), Some(0 | b'\r'));
            at += 1;
        }
        args.push(Span { start: start as u32, end: at as u32 });
    }
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
