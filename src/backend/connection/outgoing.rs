//! The bytes that wait to be written to one server, and how far the stream of requests is written.
//!
//! ```text
//!  push ─▶ [ written, not yet dropped │ waiting ] ─▶ socket ─▶ took
//! ```
//! Every byte of a request passes through here or is counted here, in order: what
//! [`super::inflight::Inflight`] says of offsets holds only as long as none is left out.

/// Written bytes that may stand before waiting ones; beyond that the larger half is moved away.
const WRITTEN_BYTES_KEPT: usize = 64 * 1024;

/// Memory that an empty queue keeps.
const CAPACITY_KEPT: usize = 64 * 1024;

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    /// Those before this place are written.
    from: usize,
    /// Offset in the stream of requests up to which bytes are written.
    written: u64,
    /// Nothing behind this offset is written: what comes on top waits for the next connection.
    end: Option<u64>,
}

impl Outgoing {
    /// What a new connection has to send first: `bytes`, at the beginning of its stream.
    pub(super) fn starting_with(bytes: Vec<u8>) -> Self {
        Self { bytes, from: 0, written: 0, end: None }
    }

    /// Offset in the stream of requests up to which bytes are written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// What is not written yet.
    pub(super) fn waiting(&self) -> &[u8] {
        self.bytes.get(self.from..).unwrap_or_default()
    }

    /// What may be written now.
    pub(super) fn sendable(&self) -> &[u8] {
        let waiting = self.waiting();
        let most = self.end.map(|end| end.saturating_sub(self.written) as usize);
        most.and_then(|most| waiting.get(..most)).unwrap_or(waiting)
    }

    /// Lets only what waits by now be written.
    pub(super) fn end(&mut self) {
        let end = self.written + self.waiting().len() as u64;
        self.end.get_or_insert(end);
    }

    /// True after [`Outgoing::end`].
    pub(super) fn has_end(&self) -> bool {
        self.end.is_some()
    }

    /// Puts `bytes` behind all that waits.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The socket took `n` of the waiting bytes followed by `direct`, which was offered with
    /// them; the rest of it waits from now on.
    pub(super) fn took_with(&mut self, n: usize, direct: &[u8]) {
        let waiting = self.waiting().len();
        self.took(n.min(waiting));
        let n = n.saturating_sub(waiting);
        self.written += n as u64;
        self.push(direct.get(n..).unwrap_or_default());
    }

    /// The socket took the first `n` of the waiting bytes.
    pub(super) fn took(&mut self, n: usize) {
        self.from += n;
        self.written += n as u64;
        if self.from == self.bytes.len() {
            self.from = 0;
            self.bytes.clear();
            if self.bytes.capacity() > CAPACITY_KEPT {
                self.bytes = Vec::new();
            }
        } else if self.from > WRITTEN_BYTES_KEPT && self.from * 2 > self.bytes.len() {
            // A server that is never quite caught up with would let the written part grow for
            // ever. Each byte is moved at most once for each that is written.
            self.bytes.drain(..self.from);
            self.from = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_its_end_nothing_may_be_written() {
        let mut outgoing = Outgoing::default();
        outgoing.push(b"before");
        outgoing.took(2);
        outgoing.end();
        outgoing.push(b"behind");
        outgoing.end();
        assert_eq!(outgoing.sendable(), b"fore");
        outgoing.took(4);
        assert_eq!(outgoing.sendable(), b"");
        assert_eq!(outgoing.waiting(), b"behind");
    }

    #[test]
    fn what_waits_and_what_is_written_add_up_however_the_socket_takes_it() {
        let mut outgoing = Outgoing::default();
        let (mut pushed, mut taken) = (Vec::new(), 0);
        for round in 0..2000_usize {
            let bytes = vec![round as u8; round * 7 % 301];
            pushed.extend_from_slice(&bytes);
            let offered = outgoing.waiting().len() + bytes.len();
            let n = (round * 31 % 257).min(offered);
            if round % 3 == 0 {
                outgoing.took_with(n, &bytes);
            } else {
                outgoing.push(&bytes);
                outgoing.took(n);
            }
            taken += n;
            assert_eq!(outgoing.written(), taken as u64);
            assert_eq!(outgoing.waiting(), &pushed[taken..]);
        }
    }

    #[test]
    fn written_bytes_do_not_pile_up_before_waiting_ones() {
        let mut outgoing = Outgoing::default();
        outgoing.push(b"always one behind");
        for _ in 0..1000 {
            outgoing.push(&[0; 4096]);
            outgoing.took(4096);
        }
        assert_eq!(outgoing.waiting().len(), 17);
        assert!(outgoing.bytes.len() <= WRITTEN_BYTES_KEPT + 2 * 4096, "{}", outgoing.bytes.len());
        outgoing.took(17);
        assert!(outgoing.bytes.capacity() <= CAPACITY_KEPT);
    }
}
