//! What is to be sent to a client: bytes, and between them large values that are not copied.
//!
//! ```text
//!  extend_from_slice ─▶ bytes ▒▒▒▒▒▒▒▒│▒▒▒▒▒▒▒▒│▒▒▒  ─▶ front: the next two stretches ─▶ taken
//!  share ────────────▶ pieces         ▲        ▲
//! ```

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;

/// Sent bytes in front of others that are worth moving the latter for.
pub(crate) const COMPACT_FROM: usize = 64 * 1024;

/// Bytes on their way, those of small replies as in a vector.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    /// Of these, so many are sent.
    from: usize,
    /// Shared bytes, and before which of `bytes` they come.
    pieces: VecDeque<(usize, Bytes)>,
    /// Bytes in `pieces`.
    shared: usize,
}

impl Output {
    /// Appends bytes that somebody else keeps.
    pub fn share(&mut self, pieces: &[Bytes]) {
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            self.shared += piece.len();
            self.pieces.push_back((self.bytes.len(), piece.clone()));
        }
    }

    /// Takes back what came after the first `len` bytes, at which nothing shared may end. Hides
    /// the vector's own, which knows nothing of what is shared.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
        while self.pieces.back().is_some_and(|(at, _)| *at > len) {
            self.shared -= self.pieces.pop_back().map_or(0, |(_, piece)| piece.len());
        }
    }

    /// All bytes appended since it was empty, and shared ones that are not sent: what two such
    /// sizes differ by has come between them, if nothing was sent meanwhile.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.shared
    }

    /// Shared bytes that are not sent.
    pub fn shared(&self) -> usize {
        self.shared
    }

    /// Bytes of its own that are not sent.
    pub fn own(&self) -> usize {
        self.bytes.len() - self.from
    }

    /// True if everything is sent.
    pub fn is_empty(&self) -> bool {
        self.own() == 0 && self.shared == 0
    }

    /// What comes next: two stretches, both empty only at the end.
    pub fn front(&self) -> [&[u8]; 2] {
        let Some((at, piece)) = self.pieces.front() else { return [&self.bytes[self.from..], &[]] };
        if *at > self.from {
            return [&self.bytes[self.from..*at], piece];
        }
        let end = self.pieces.get(1).map_or(self.bytes.len(), |(at, _)| *at);
        [piece, &self.bytes[self.from..end]]
    }

    /// The next `count` bytes are sent.
    pub fn advance(&mut self, count: usize) {
        let mut left = count;
        while let Some((at, piece)) = self.pieces.front_mut() {
            let own = left.min(*at - self.from);
            self.from += own;
            left -= own;
            if left == 0 {
                break;
            }
            let gone = left.min(piece.len());
            drop(piece.split_to(gone));
            self.shared -= gone;
            left -= gone;
            if !piece.is_empty() {
                break;
            }
            self.pieces.pop_front();
        }
        self.from += left;
        self.compact();
    }

    /// Has it write to this empty buffer, while it has none.
    pub fn write_to(&mut self, buffer: Vec<u8>) {
        debug_assert!(self.bytes.capacity() == 0 && buffer.is_empty(), "bytes would be lost");
        self.bytes = buffer;
    }

    /// Its buffer if everything is sent, or else one without memory.
    pub fn give_buffer(&mut self) -> Vec<u8> {
        if self.is_empty() { std::mem::take(&mut self.bytes) } else { Vec::new() }
    }

    /// All of it in one piece.
    #[cfg(test)]
    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while !self.is_empty() {
            let front = self.front().concat();
            self.advance(front.len());
            all.extend(front);
        }
        all
    }

    fn compact(&mut self) {
        if self.is_empty() {
            self.bytes.clear();
            self.from = 0;
            self.pieces = VecDeque::new();
        } else if self.from >= COMPACT_FROM.max(self.bytes.len() / 2) {
            // A client that never quite catches up must not make the buffer grow for ever.
            self.bytes.drain(..self.from);
            self.pieces.iter_mut().for_each(|(at, _)| *at -= self.from);
            self.from = 0;
        }
    }
}

impl Deref for Output {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Output {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_bytes_leave_in_order(
            parts in prop::collection::vec((any::<bool>(), 1_usize..200), 1..40),
            steps in prop::collection::vec(1_usize..150, 1..40),
        ) {
            let (mut output, mut wanted, mut sent) = (Output::default(), Vec::new(), Vec::new());
            let mut steps = steps.into_iter().cycle();
            let mut send = |output: &mut Output, sent: &mut Vec<u8>| {
                let bytes = output.front().concat();
                let count = steps.next().unwrap().min(bytes.len());
                sent.extend_from_slice(&bytes[..count]);
                output.advance(count);
            };
            for (number, (shared, len)) in parts.into_iter().enumerate() {
                let part = vec![number as u8; len];
                wanted.extend_from_slice(&part);
                if shared {
                    output.share(&[Bytes::from(part)]);
                } else {
                    output.extend_from_slice(&part);
                }
                if number % 3 == 0 {
                    send(&mut output, &mut sent);
                }
                prop_assert_eq!(output.own() + output.shared() + sent.len(), wanted.len());
            }
            while !output.is_empty() {
                send(&mut output, &mut sent);
            }
            prop_assert_eq!(sent, wanted);
        }
    }

    #[test]
    fn what_is_taken_back_is_gone_with_what_it_shares() {
        let mut output = Output::default();
        for word in ["one ", "two "] {
            output.extend_from_slice(word.as_bytes());
            output.share(&[Bytes::from_static(b"shared")]);
            output.extend_from_slice(b"\r\n");
        }
        output.truncate(6);
        output.extend_from_slice(b"error");
        assert_eq!((output.shared(), output.own()), (6, 11));
        assert_eq!(output.front(), [b"one ".as_slice(), b"shared"]);
        output.advance(10);
        assert_eq!(output.front()[0], b"\r\nerror");
    }
}
