//! The order of replies: one slot for each unanswered request of a client.
//!
//! ```text
//!  open ─▶ [ slot, slot, slot ]        put(oldest) ─▶ output ─▶ client
//!                  ▲ put(another) is held until those before it are whole
//! ```
//! No I/O. What is held and what is not yet written is counted, so that limits can be kept.

use std::collections::VecDeque;

use crate::protocol::Output;

/// Slots that there is room for at once when there are more than the first few.
const DEEP: usize = 16;

/// Replies of one client, from the oldest unanswered request on.
#[derive(Debug, Default)]
pub(in crate::frontend) struct Pipeline {
    /// The number of the oldest open request.
    oldest: u32,
    slots: VecDeque<Slot>,
    out: Output,
    held: usize,
    /// The oldest reply has begun: what answers no request waits for its end.
    begun: bool,
    behind: Vec<u8>,
}

/// What has come of one reply.
#[derive(Debug, Default)]
struct Slot {
    bytes: Vec<u8>,
    whole: bool,
}

impl Pipeline {
    /// Opens a slot for the next request and returns its number.
    pub(in crate::frontend) fn open(&mut self) -> u32 {
        if self.slots.len() == self.slots.capacity() && !self.slots.is_empty() {
            self.slots.reserve(DEEP);
        }
        self.slots.push_back(Slot::default());
        self.oldest.wrapping_add(self.slots.len() as u32 - 1)
    }

    /// Unanswered requests.
    pub(in crate::frontend) fn depth(&self) -> usize {
        self.slots.len()
    }

    /// True if the reply to this request is the next that the client gets.
    pub(in crate::frontend) fn is_next(&self, seq: u32) -> bool {
        seq == self.oldest && !self.slots.is_empty()
    }

    /// Takes the next stretch of a reply; `last` if the reply ends with it. A request that is not
    /// open is ignored.
    pub(in crate::frontend) fn put(&mut self, seq: u32, bytes: &[u8], last: bool) {
        let index = seq.wrapping_sub(self.oldest) as usize;
        if index == 0 && !self.slots.is_empty() {
            self.out.extend_from_slice(bytes);
            self.begun = !last;
            if last {
                self.advance();
            }
        } else if let Some(slot) = self.slots.get_mut(index) {
            slot.bytes.extend_from_slice(bytes);
            slot.whole |= last;
            self.held += bytes.len();
        }
    }

    /// The oldest reply is whole: what was held behind it moves up.
    fn advance(&mut self) {
        self.slots.pop_front();
        self.oldest = self.oldest.wrapping_add(1);
        if !self.behind.is_empty() {
            self.out.append(&mut std::mem::take(&mut self.behind));
        }
        while let Some(slot) = self.slots.front_mut() {
            self.held -= slot.bytes.len();
            self.begun = !slot.whole && !slot.bytes.is_empty();
            self.out.append(&mut slot.bytes);
            if !slot.whole {
                break;
            }
            self.slots.pop_front();
            self.oldest = self.oldest.wrapping_add(1);
        }
        self.shrink();
    }

    /// Of ten thousand clients most are idle at any time: none of them keeps a buffer. Replies that
    /// are made at once, one request after the other, take their place from the same one.
    fn shrink(&mut self) {
        if self.is_idle() {
            self.slots = VecDeque::new();
        }
    }

    /// Takes what answers no request: it goes between replies.
    pub(in crate::frontend) fn push(&mut self, bytes: &[u8]) {
        if self.begun {
            self.behind.extend_from_slice(bytes);
        } else {
            self.out.extend_from_slice(bytes);
        }
    }

    /// Where the reply to a request goes that is answered at once, nothing being unanswered.
    pub(in crate::frontend) fn next_output(&mut self) -> &mut Output {
        debug_assert!(self.slots.is_empty(), "a reply must not overtake those before it");
        &mut self.out
    }

    /// Where whatever is ready for the client goes.
    pub(super) fn out(&mut self) -> &mut Output {
        &mut self.out
    }

    /// Where something goes that answers no request: between the replies that are whole and those
    /// that are not begun.
    pub(in crate::frontend) fn between_replies(&mut self) -> &mut Output {
        &mut self.out
    }

    /// What is ready for the client and not written yet: the next two stretches of it, the first
    /// empty only if there is nothing.
    pub(in crate::frontend) fn output(&self) -> [&[u8]; 2] {
        self.out.front()
    }

    /// True if there is something ready.
    pub(in crate::frontend) fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// Counts the first `n` bytes of the output as written.
    pub(in crate::frontend) fn took(&mut self, n: usize) {
        self.out.advance(n);
        self.shrink();
    }

    /// Bytes held or shared, and not written.
    pub(in crate::frontend) fn buffered(&self) -> usize {
        self.held + self.behind.len() + self.out.own() + self.out.shared()
    }

    /// Those of them that are shared: an item of ours, or what was one, has them.
    pub(in crate::frontend) fn shared(&self) -> usize {
        self.out.shared()
    }

    /// True if nothing is unanswered and nothing unwritten.
    pub(in crate::frontend) fn is_idle(&self) -> bool {
        self.slots.is_empty() && self.out.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::COMPACT_FROM;

    fn text(pipeline: &Pipeline) -> &[u8] {
        pipeline.output()[0]
    }

    #[test]
    fn replies_leave_in_the_order_of_requests() {
        let mut pipeline = Pipeline::default();
        let (a, b, c) = (pipeline.open(), pipeline.open(), pipeline.open());
        pipeline.put(c, b"C", true);
        pipeline.put(b, b"B1", false);
        assert_eq!((text(&pipeline), pipeline.buffered()), (b"".as_slice(), 3));
        pipeline.put(a, b"A", true);
        assert_eq!(text(&pipeline), b"AB1");
        pipeline.put(b, b"B2", true);
        assert_eq!(text(&pipeline), b"AB1B2C");
        assert_eq!(pipeline.depth(), 0);
        pipeline.took(6);
        assert!(pipeline.is_idle());
    }

    #[test]
    fn what_answers_nothing_does_not_break_into_a_reply() {
        let mut pipeline = Pipeline::default();
        pipeline.push(b"1");
        let (a, b) = (pipeline.open(), pipeline.open());
        pipeline.push(b"2");
        pipeline.put(a, b"A", false);
        pipeline.push(b"3");
        pipeline.put(b, b"B", false);
        pipeline.put(a, b"A", true);
        pipeline.push(b"4");
        assert_eq!(text(&pipeline), b"12AA3B");
        assert_eq!(pipeline.buffered(), 7);
        pipeline.put(b, b"B", true);
        pipeline.push(b"5");
        assert_eq!(text(&pipeline), b"12AA3BB45");
    }

    #[test]
    fn a_long_reply_that_is_taken_slowly_needs_no_more_than_is_unwritten() {
        let mut pipeline = Pipeline::default();
        let a = pipeline.open();
        let chunk = vec![b'x'; COMPACT_FROM];
        pipeline.put(a, &chunk, false);
        for _ in 0..1000 {
            pipeline.put(a, &chunk, false);
            pipeline.took(COMPACT_FROM);
        }
        assert_eq!(pipeline.buffered(), COMPACT_FROM);
        assert!(pipeline.out.capacity() <= 4 * COMPACT_FROM, "{}", pipeline.out.capacity());
    }

    #[test]
    fn whoever_has_taken_everything_keeps_no_slots() {
        let mut pipeline = Pipeline::default();
        for (text, last) in [(&b"A"[..], true), (b"BB", true), (b"", true)] {
            let seq = pipeline.open();
            pipeline.put(seq, text, last);
        }
        assert!(pipeline.slots.capacity() > 0);
        pipeline.took(2);
        assert!(pipeline.slots.capacity() > 0);
        pipeline.took(1);
        assert_eq!(pipeline.slots.capacity(), 0);
        // A reply of which there is nothing to be seen.
        let seq = pipeline.open();
        pipeline.put(seq, b"", true);
        assert_eq!(pipeline.slots.capacity(), 0);
    }

    #[test]
    fn a_request_that_is_not_open_is_ignored() {
        let mut pipeline = Pipeline::default();
        let a = pipeline.open();
        pipeline.put(a.wrapping_add(1), b"x", true);
        pipeline.put(a.wrapping_sub(1), b"x", true);
        pipeline.put(a, b"A", true);
        pipeline.put(a, b"again", true);
        assert_eq!(text(&pipeline), b"A");
    }

    proptest::proptest! {
        /// Whatever the order in which stretches of replies come, the output is the replies in
        /// the order of the requests, and the count of bytes is right at every step.
        #[test]
        fn any_order_of_arrival_gives_the_same_output(
            keys in proptest::collection::vec((0u32..1000, 0usize..5), 1..40),
            start: u32,
        ) {
            let mut pipeline = Pipeline { oldest: start, ..Pipeline::default() };
            let texts: Vec<String> =
                keys.iter().enumerate().map(|(i, (_, n))| format!("{i}.").repeat(*n)).collect();
            let seqs: Vec<u32> = texts.iter().map(|_| pipeline.open()).collect();
            let mut order: Vec<usize> = (0..keys.len()).collect();
            order.sort_by_key(|&i| keys[i].0);
            let (mut put, mut taken) = (0, Vec::new());
            for i in order {
                let (head, tail) = texts[i].as_bytes().split_at(texts[i].len() / 2);
                pipeline.put(seqs[i], head, false);
                pipeline.put(seqs[i], tail, true);
                put += texts[i].len();
                proptest::prop_assert_eq!(pipeline.buffered() + taken.len(), put);
                let n = text(&pipeline).len() / 2;
                taken.extend_from_slice(&text(&pipeline)[..n]);
                pipeline.took(n);
            }
            taken.extend_from_slice(text(&pipeline));
            proptest::prop_assert_eq!(taken, texts.concat().into_bytes());
            proptest::prop_assert_eq!(pipeline.depth(), 0);
        }
    }
}
