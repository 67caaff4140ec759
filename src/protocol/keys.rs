//! Which arguments of a request are keys: what a row of the command table says, applied to words.
//!
//! ```text
//!  Keys (of the row) + arguments ─▶ Positions: at most one key by itself, then every step-th
//! ```
//! The shapes are those of Redis's own key specifications (`COMMAND INFO`), as far as its commands
//! use them.

use super::digits::integer;
use super::message::{Request, Span};

/// Which arguments are keys; argument 0 is the command's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// None.
    None,
    /// The one at this index.
    At(u8),
    /// Every `step`-th from `first` on.
    Every {
        /// Index of the first key.
        first: u8,
        /// Up to which argument; from -1, the last one of the request, downwards if negative.
        last: i8,
        /// Distance to the next.
        step: u8,
    },
    /// A count stands at this index and that many keys follow.
    Counted(u8),
    /// The same, and argument 1 is the key that gets the result.
    CountedInto(u8),
    /// The first half of what follows the word STREAMS, which may stand from this index on.
    Streams(u8),
    /// Argument 1, and what follows STORE or STOREDIST, which may stand from this index on.
    Stored(u8),
}

/// The indices of a request's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    alone: Option<usize>,
    next: usize,
    end: usize,
    step: usize,
}

impl Positions {
    const fn run(next: usize, end: usize, step: usize) -> Self {
        Self { alone: None, next, end, step }
    }

    /// The index of the first key, which of several is the one that decides.
    pub const fn first(&self) -> Option<usize> {
        if self.alone.is_some() {
            return self.alone;
        }
        if self.next < self.end { Some(self.next) } else { None }
    }

    /// Whether there is more than one.
    pub const fn are_several(&self) -> bool {
        let first = if self.alone.is_some() { self.next } else { self.next + self.step };
        first < self.end
    }

    /// Distance from a key to the next.
    pub const fn step(&self) -> usize {
        self.step
    }
}

impl Iterator for Positions {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if let Some(alone) = self.alone.take() {
            return Some(alone);
        }
        let at = (self.next < self.end).then_some(self.next)?;
        self.next += self.step;
        Some(at)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let run = self.end.saturating_sub(self.next).div_ceil(self.step.max(1));
        let count = run + usize::from(self.alone.is_some());
        (count, Some(count))
    }
}

impl ExactSizeIterator for Positions {}

impl Keys {
    /// Where the keys stand among `count` arguments of which those in `args` are known, in `bytes`.
    /// A position may be beyond the arguments: then the request is short of keys.
    #[inline]
    pub fn positions(self, bytes: &[u8], args: &[Span], count: usize) -> Positions {
        let arg = |at: usize| args.get(at).map_or(&b""[..], |span| span.of(bytes));
        match self {
            Self::None => Positions::default(),
            Self::At(at) => Positions::run(at.into(), usize::from(at) + 1, 1),
            Self::Every { first, last, step } => {
                let end = match usize::try_from(last) {
                    Ok(last) => last + 1,
                    Err(_) => (count + 1).saturating_sub(last.unsigned_abs().into()),
                };
                Positions::run(first.into(), end, step.into())
            }
            Self::Counted(at) | Self::CountedInto(at) => {
                let at = usize::from(at);
                let stated = integer(arg(at)).and_then(|stated| usize::try_from(stated).ok());
                let end = (at + 1).saturating_add(stated.unwrap_or(0));
                let alone = matches!(self, Self::CountedInto(_)).then_some(1);
                Positions { alone, ..Positions::run(at + 1, end, 1) }
            }
            Self::Streams(from) => {
                let is_word = |at: &usize| arg(*at).eq_ignore_ascii_case(b"STREAMS");
                let first =
                    (usize::from(from)..args.len()).find(is_word).map_or(count, |at| at + 1);
                Positions::run(first, first + (count - first) / 2, 1)
            }
            Self::Stored(from) => {
                let is_word = |at: &usize| {
                    let word = arg(*at);
                    word.eq_ignore_ascii_case(b"STORE") || word.eq_ignore_ascii_case(b"STOREDIST")
                };
                // The last one counts; a word without a key behind it is the server's to refuse.
                let stored = (usize::from(from)..count.saturating_sub(1)).rev().find(is_word);
                let run =
                    stored.map_or_else(Positions::default, |at| Positions::run(at + 1, at + 2, 1));
                Positions { alone: Some(1), ..run }
            }
        }
    }
}

impl Request<'_> {
    /// The indices of the keys.
    #[inline]
    pub fn keys(&self) -> Positions {
        let count = self.args.len() - usize::from(self.head.noreply);
        self.head.command.keys.positions(self.bytes, self.args, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(keys: Keys, line: &str) -> Vec<String> {
        let mut args: Vec<Span> = Vec::new();
        for word in line.split(' ') {
            let start = args.last().map_or(0, |span| span.end + 1);
            args.push(Span { start, end: start + word.len() as u32 });
        }
        let positions = keys.positions(line.as_bytes(), &args, args.len());
        assert_eq!(positions.len(), positions.clone().count());
        assert_eq!(positions.are_several(), positions.len() > 1);
        let word = |at: usize| line.split(' ').nth(at).unwrap_or("?").to_owned();
        positions.map(word).collect()
    }

    #[test]
    fn every_shape_finds_its_keys() {
        let all = Keys::Every { first: 1, last: -1, step: 1 };
        let but_last = Keys::Every { first: 1, last: -2, step: 1 };
        let two = Keys::Every { first: 1, last: 2, step: 1 };
        let pairs = Keys::Every { first: 1, last: -1, step: 2 };
        for (shape, line, wanted) in [
            (Keys::None, "PING a", ""),
            (Keys::At(1), "GET a b", "a"),
            (all, "SDIFF a b c", "a b c"),
            (but_last, "BLPOP a b 0", "a b"),
            (two, "RENAME a b", "a b"),
            (pairs, "MSETNX a 1 b 2", "a b"),
            (Keys::Every { first: 2, last: -1, step: 1 }, "BITOP AND d a b", "d a b"),
            (Keys::Counted(1), "ZUNION 2 a b WITHSCORES", "a b"),
            (Keys::Counted(2), "EVAL s 1 a b", "a"),
            (Keys::CountedInto(2), "ZUNIONSTORE d 2 a b WEIGHTS 1 2", "d a b"),
            (Keys::Streams(1), "XREAD COUNT 1 streams a b 0 $", "a b"),
            (Keys::Streams(4), "XREADGROUP GROUP STREAMS x STREAMS a >", "a"),
            (Keys::Stored(2), "SORT a BY STORE", "a"),
            (Keys::Stored(2), "SORT a STORE b store c", "a c"),
            (Keys::Stored(6), "GEORADIUS a 1 2 3 km STOREDIST b", "a b"),
        ] {
            assert_eq!(keys(shape, line).join(" "), wanted, "{line}");
        }
    }

    #[test]
    fn what_is_missing_is_a_position_without_an_argument_or_none() {
        assert_eq!(keys(Keys::Counted(1), "ZUNION 3 a"), ["a", "?", "?"]);
        assert_eq!(keys(Keys::Counted(1), "ZUNION x a"), [""; 0]);
        assert_eq!(keys(Keys::Streams(1), "XREAD COUNT 1 2"), [""; 0]);
        assert_eq!(keys(Keys::Every { first: 1, last: -2, step: 1 }, "BLPOP"), [""; 0]);
    }
}
