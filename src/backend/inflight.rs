//! Which requests wait for replies on one connection, oldest first.
//!
//! ```text
//!  push ─▶ [ entry, entry, … ] ─▶ front: the one that the next reply answers ─▶ pop
//!            each with its place in the stream, so that what was written is known
//! ```
//! A request that times out is answered at once but keeps its place, so that its late reply is
//! dropped and not taken for the next one's. The bytes of reads are kept until they are answered:
//! they say which key a reply must carry, and let a read be sent once more on a new connection.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::protocol::{Expect, Span};

/// Timeouts in a row, without a byte from the server between them, that give a connection up.
const TIMEOUTS_IN_A_ROW: u32 = 3;

/// Memory for the bytes of reads that an empty queue holds on to: more than a full pipeline of
/// short reads takes, so that it is not given back and asked for in every turn.
const KEPT_CAPACITY: usize = 1 << 20;

/// A client's request: which session, which life of that session's place, which request of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The session's place.
    pub session: u32,
    /// Tells this session from earlier ones at the same place.
    pub serial: u32,
    /// The request's number within the session.
    pub seq: u32,
}

/// Who waits for a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// A client.
    Client(Ticket),
    /// One part of a request that was split.
    Part {
        /// The place of what is being gathered.
        gather: u32,
        /// Tells it from earlier ones at the same place.
        serial: u32,
        /// Which part.
        part: u16,
    },
    /// What fills the near cache.
    Fill {
        /// The place of what is being filled.
        fill: u32,
        /// Tells it from earlier ones at the same place.
        serial: u32,
        /// Which of its questions.
        step: u8,
    },
    /// Nobody in particular: that the server answers is what is wanted to be known.
    Proof,
    /// A step of an operation on a key that moves.
    Step {
        /// The place of the operation.
        slot: u32,
        /// Tells it from earlier ones at the same place.
        serial: u32,
        /// It goes on the connection that it was queued for, or not at all.
        bound: bool,
    },
    /// A key that is being moved before a session's request for it is sent.
    Key {
        /// The session.
        session: u32,
        /// Tells what it waits for from what it waited for earlier.
        serial: u32,
        /// Which of the keys.
        key: u32,
    },
    /// Who looks through a server for keys that move.
    Sweep {
        /// Which of them; each has another number.
        sweeper: u32,
    },
    /// Nobody any more: the reply is dropped.
    Nobody,
}

/// What is asked of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Who waits.
    pub to: To,
    /// What the reply must look like.
    pub expect: Expect,
    /// It may be sent twice.
    pub read: bool,
    /// Where its key stands in the bytes that are sent, for [`Expect::Value`].
    pub key: Span,
    /// If the server is dead it may count as a miss where the pool wants that.
    pub may_miss: bool,
    /// Its reply is never late: it waits for what others do.
    pub patient: bool,
    /// The mark of the write that it is, to be taken away when it has ended; 0 for none.
    pub mark: u32,
}

impl Ask {
    /// What the reply looks like that says that there is nothing, if it may be said.
    pub fn miss(&self) -> Option<Expect> {
        self.may_miss.then_some(self.expect)
    }
}

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What was asked.
    pub ask: Ask,
    /// When it was queued.
    pub queued: Instant,
    /// The term of the permit by which it is about a key that moves; 0 if it needs none.
    pub term: u64,
    /// A stretch of its reply has been handed on.
    pub begun: bool,
    deadline: Option<Instant>,
    /// Offset of its first byte in the connection's stream.
    start: u64,
    len: u32,
    /// How many of its bytes are kept: all or none.
    kept: u32,
    retried: bool,
    expired: bool,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Inflight {
    entries: VecDeque<Entry>,
    /// Bytes of the kept requests, oldest first, from `kept_from` on.
    kept: Vec<u8>,
    kept_from: usize,
    /// How many of the oldest entries need not be looked at for a timeout any more.
    checked: usize,
    timeouts_in_a_row: u32,
    /// When the first of those timeouts was, if nothing has come in since.
    silent_since: Option<Instant>,
    /// Offset of the next byte to be queued.
    end: u64,
}

/// What became of the requests of a connection that closed.
#[derive(Debug, Default)]
pub struct Remains {
    /// Those that must be answered with an error.
    pub failed: Vec<Entry>,
    /// How many reads will be sent again.
    pub retried: usize,
    /// What must be sent on the next connection: those reads, then what had not been written.
    pub resend: Vec<u8>,
    /// Marks of requests that nobody waits for any more.
    pub marks: Vec<u32>,
}

/// How a connection closed.
#[derive(Clone, Copy, Debug)]
pub struct Cause {
    /// Offset of the stream up to which the socket had taken bytes.
    pub written: u64,
    /// Reads without a reply may be sent again.
    pub retry: bool,
    /// Some bytes of the oldest request's reply had come in.
    pub reply_begun: bool,
}

impl Entry {
    fn may_retry(&self) -> bool {
        let whole = self.kept == self.len;
        self.ask.read && whole && !self.retried && self.ask.to != To::Nobody
    }
}

impl Inflight {
    /// Requests waiting, timed-out ones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if nothing is waited for.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a request whose bytes (`pieces`, one after the other) are queued behind all others.
    pub fn push(&mut self, ask: Ask, pieces: &[&[u8]], now: Instant, timeout: Option<Duration>) {
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        let keep = ask.read || ask.expect == Expect::Value;
        if keep {
            self.compact();
            for piece in pieces {
                self.kept.extend_from_slice(piece);
            }
        }
        self.entries.push_back(Entry {
            ask,
            queued: now,
            term: 0,
            begun: false,
            deadline: timeout.filter(|_| !ask.patient).map(|t| now + t),
            start: self.end,
            len: len as u32,
            kept: if keep { len as u32 } else { 0 },
            retried: false,
            expired: false,
        });
        self.end += len as u64;
    }

    /// The youngest request needs the permit of this term.
    pub fn bind(&mut self, term: u64) {
        if let Some(entry) = self.entries.back_mut() {
            entry.term = term;
        }
    }

    /// The youngest request, whose bytes are not kept, has `bytes` more than was said when it was
    /// pushed, and its time begins now.
    pub fn lengthen(&mut self, bytes: usize, now: Instant, timeout: Option<Duration>) {
        debug_assert!(self.entries.back().is_none_or(|entry| entry.kept == 0));
        if let Some(entry) = self.entries.back_mut() {
            entry.len = entry.len.saturating_add(bytes as u32);
            entry.deadline = timeout.map(|t| now + t);
        }
        self.end += bytes as u64;
    }

    /// The request that the next reply answers, and the key that it asked for (anything unless
    /// it expects [`Expect::Value`]); `None` if `written` bytes of the stream do not contain it.
    pub fn front(&self, written: u64) -> Option<(&Entry, &[u8])> {
        let entry = self.entries.front().filter(|entry| entry.start < written)?;
        let kept = self.kept.get(self.kept_from..).unwrap_or_default();
        Some((entry, entry.ask.key.of(kept)))
    }

    /// Takes the oldest request out: its reply is complete.
    pub fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.kept_from += entry.kept as usize;
        self.checked = self.checked.saturating_sub(1);
        if self.entries.is_empty() {
            self.kept_from = 0;
            self.kept.clear();
            if self.kept.capacity() > KEPT_CAPACITY {
                self.kept = Vec::new();
            }
        }
        Some(entry)
    }

    /// Notes that bytes have come in: the server is not silent.
    pub fn heard(&mut self) {
        self.timeouts_in_a_row = 0;
        self.silent_since = None;
    }

    /// Times out what is due: hands out who must be told. Their places are kept. The oldest is
    /// spared if its reply is being passed on (`streaming`): it is late only if that stops, which
    /// [`Inflight::has_stalled`] tells.
    pub fn expire(&mut self, now: Instant, streaming: bool, mut timed_out: impl FnMut(Entry)) {
        self.checked = self.checked.max(usize::from(streaming)).min(self.entries.len());
        while let Some(entry) = self.entries.get_mut(self.checked) {
            if entry.deadline.is_none_or(|deadline| deadline > now) {
                break;
            }
            let mut told = *entry;
            // The write that it is may still be executed: its mark stays with its place.
            told.ask.mark = 0;
            entry.ask.to = To::Nobody;
            entry.expired = true;
            self.checked += 1;
            self.timeouts_in_a_row += 1;
            self.silent_since.get_or_insert(now);
            timed_out(told);
        }
    }

    /// A stretch of the oldest request's reply has come: the rest has its time from now on.
    pub fn progressed(&mut self, now: Instant, timeout: Option<Duration>) {
        if let Some(entry) = self.entries.front_mut() {
            entry.begun = true;
            entry.deadline = timeout.map(|t| now + t);
        }
    }

    /// Whether the oldest request's reply, which is being passed on, has stopped coming.
    pub fn has_stalled(&self, now: Instant) -> bool {
        self.front_deadline().is_some_and(|deadline| deadline <= now)
    }

    fn front_deadline(&self) -> Option<Instant> {
        self.entries.front().and_then(|entry| entry.deadline)
    }

    /// Whether the server has been silent for so long that the connection should be given up:
    /// several timeouts in a row, or a whole `timeout` after the first of them.
    pub fn is_hopeless(&self, now: Instant, timeout: Duration) -> bool {
        self.timeouts_in_a_row >= TIMEOUTS_IN_A_ROW
            || self.silent_since.is_some_and(|since| now >= since + timeout)
    }

    /// Whether the oldest request has been timed out: nobody waits for its reply.
    pub fn front_has_expired(&self) -> bool {
        self.entries.front().is_some_and(|entry| entry.expired)
    }

    /// When [`Inflight::expire`] and its like should be asked next.
    pub fn next_deadline(&self, timeout: Option<Duration>, streaming: bool) -> Option<Instant> {
        let due = self.entries.get(self.checked).and_then(|entry| entry.deadline);
        let stalled = self.front_deadline().filter(|_| streaming);
        let hopeless = self.silent_since.zip(timeout).map(|(since, t)| since + t);
        [due, stalled, hopeless].into_iter().flatten().min()
    }

    /// When the oldest request was queued that somebody waits for.
    pub fn oldest(&self) -> Option<Instant> {
        self.entries.iter().find(|entry| !entry.expired).map(|entry| entry.queued)
    }

    /// The same, or of one that has timed out and is still owed a reply: it may yet be executed.
    pub fn owed_since(&self) -> Option<Instant> {
        self.entries.front().map(|entry| entry.queued)
    }

    /// Whether one of the requests waits for what others do.
    pub fn is_patient(&self) -> bool {
        self.entries.iter().any(|entry| entry.ask.patient)
    }

    /// Bytes that are kept.
    pub fn kept_bytes(&self) -> usize {
        self.kept.len()
    }

    /// How many requests, and bytes of them, are not written yet when `written` bytes are.
    pub fn unwritten(&self, written: u64) -> (usize, u64) {
        let first = self.entries.partition_point(|entry| entry.start < written);
        (self.entries.len() - first, self.end - written)
    }

    /// Bytes of all requests that wait.
    pub fn bytes(&self) -> u64 {
        self.entries.front().map_or(0, |entry| self.end - entry.start)
    }

    /// Sorts the requests of a closed connection. What was not written at all stays queued; a
    /// written read stays if it may be sent again: if `cause.retry`, not a second time, and not
    /// the oldest one if `cause.reply_begun`. What had timed out is forgotten, the rest failed.
    ///
    /// `unsent` are the queued bytes from offset `cause.written` of the stream on.
    pub fn closed(&mut self, cause: Cause, unsent: &[u8]) -> Remains {
        let mut remains = Remains::default();
        let entries = std::mem::take(&mut self.entries);
        let kept = std::mem::take(&mut self.kept);
        let mut kept_at = std::mem::take(&mut self.kept_from);
        let mut stay: Vec<Entry> = Vec::new();
        for (index, mut entry) in entries.into_iter().enumerate() {
            let again = kept.get(kept_at..kept_at + entry.kept as usize);
            kept_at += entry.kept as usize;
            if entry.expired {
                remains.marks.extend((entry.ask.mark != 0).then_some(entry.ask.mark));
                continue;
            }
            let written = entry.start < cause.written;
            let may_retry = entry.may_retry() && cause.retry && !(index == 0 && cause.reply_begun);
            let bound = matches!(entry.ask.to, To::Step { bound: true, .. });
            let bytes = match entry.start.checked_sub(cause.written) {
                _ if bound => None,
                Some(at) => unsent.get(at as usize..at as usize + entry.len as usize),
                None => again.filter(|_| may_retry),
            };
            // A request that is not sent again byte for byte must not be waited for: the next
            // reply would be taken for its own.
            let Some(bytes) = bytes else {
                remains.failed.push(entry);
                continue;
            };
            if written {
                entry.retried = true;
                remains.retried += 1;
            }
            if entry.kept > 0 {
                self.kept.extend_from_slice(bytes);
            }
            remains.resend.extend_from_slice(bytes);
            stay.push(entry);
        }
        self.restart(stay);
        remains
    }

    /// Everything has failed: hands out all requests.
    pub fn drain(&mut self) -> Vec<Entry> {
        let entries = self.entries.drain(..).collect();
        *self = Self::default();
        entries
    }

    /// Queues `stay` for a fresh stream.
    fn restart(&mut self, stay: Vec<Entry>) {
        self.checked = 0;
        self.end = 0;
        self.heard();
        for mut entry in stay {
            entry.start = self.end;
            self.end += u64::from(entry.len);
            self.entries.push_back(entry);
        }
    }

    /// Gives the space of answered requests back once it is the larger half.
    fn compact(&mut self) {
        if self.kept_from > 4096 && self.kept_from * 2 > self.kept.len() {
            self.kept.drain(..self.kept_from);
            self.kept_from = 0;
        }
    }
}
