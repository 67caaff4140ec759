//! Buffers that replies are written to, passed on from one client to the next.
//!
//! ```text
//!  the first bytes for a client ─▶ lend ─▶ its output ─▶ all written ─▶ take_back
//! ```
//! A buffer is needed only from the moment of a reply to that of its write. Of those used last the
//! memory is still near to the processor, and they have the size that replies have.

use crate::protocol::Output;

/// Buffers that are kept at most, and bytes of each at most: a vector grows by doubling, so one has
/// held as many as half of them, some pipelined replies.
const COUNT: usize = 16;
const BYTES: usize = 32 * 1024;

/// Buffers that nobody uses now.
#[derive(Debug, Default)]
pub(super) struct Spares(Vec<Vec<u8>>);

impl Spares {
    /// Gives `output` a buffer if it has none and there is one.
    #[inline]
    pub(super) fn lend(&mut self, output: &mut Output) {
        if output.capacity() == 0
            && let Some(buffer) = self.0.pop()
        {
            output.write_to(buffer);
        }
    }

    /// Takes the buffer of an output that is all sent; a large one goes.
    #[inline]
    pub(super) fn take_back(&mut self, output: &mut Output) {
        let buffer = output.give_buffer();
        if (1..=BYTES).contains(&buffer.capacity()) && self.0.len() < COUNT {
            self.0.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_goes_from_one_to_the_next() {
        let (mut spares, mut first, mut second) =
            (Spares::default(), Output::default(), Output::default());
        spares.lend(&mut first);
        first.extend_from_slice(b"a reply");
        spares.take_back(&mut first);
        assert!(first.capacity() > 0, "it is not sent yet");
        first.advance(7);
        let buffer = first.as_ptr();
        spares.take_back(&mut first);
        spares.lend(&mut second);
        assert_eq!((first.capacity(), second.as_ptr(), second.size()), (0, buffer, 0));
    }

    #[test]
    fn large_ones_and_too_many_are_not_kept() {
        let mut spares = Spares::default();
        for size in [BYTES + 1].into_iter().chain([1; COUNT + 1]) {
            let mut output = Output::default();
            output.write_to(Vec::with_capacity(size));
            spares.take_back(&mut output);
            assert_eq!(output.capacity(), 0);
        }
        assert_eq!(spares.0.len(), COUNT);
        assert!(spares.0.iter().all(|buffer| buffer.capacity() <= BYTES));
    }
}
