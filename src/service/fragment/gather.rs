//! One request that was split: its parts, and what has come of their replies.

use std::time::Instant;

use super::gathers::New;
use super::merge::Merge;
use crate::backend::{Failure, Ticket};
use crate::protocol::{Malformed, Outcome, Span};
use crate::service::proxy::Lane;

/// A reply longer than this gives its memory back when its request is done.
const KEEP_BYTES: usize = 64 * 1024;

/// One request that was split.
#[derive(Debug)]
pub(crate) struct Gather {
    pub(super) serial: u32,
    /// Who waits; `None` if the request wanted no reply.
    pub(crate) ticket: Option<Ticket>,
    pub(crate) pool: u16,
    pub(crate) merge: Merge,
    pub(crate) read: bool,
    pub(crate) begun: Instant,
    /// Which connection to a server is that of the session that asks.
    pub(crate) lane: Lane,
    /// The mark of the write that it is; 0 for none.
    pub(crate) mark: u32,
    /// Most bytes that the parts may have together.
    limit: usize,
    /// Bytes of replies that are held.
    pub(super) counted: usize,
    waiting: usize,
    pub(super) parts: Vec<Part>,
    pub(super) used_parts: usize,
    pub(super) keys: Vec<Key>,
}

/// A key: who is asked for it, and where it stands in the request that is sent to them (memcache,
/// whose replies name keys).
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) part: u16,
    pub(super) name: Span,
}

/// What one server was asked and has answered.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// Index of the server in its pool.
    pub(crate) server: usize,
    /// The old and the new server of its only key, which moves.
    pub(crate) moved: Option<[usize; 2]>,
    pub(crate) keys: u32,
    /// The request as it is sent.
    pub(crate) wire: Vec<u8>,
    /// Its answer comes from elsewhere: it is not sent.
    pub(crate) elsewhere: bool,
    pub(super) reply: Vec<u8>,
    pub(super) answer: Option<Result<Outcome, Failure>>,
    /// How much of the reply has been merged.
    pub(super) cursor: usize,
}

impl Gather {
    pub(super) fn new(new: New, serial: u32) -> Self {
        Self {
            serial,
            ticket: new.ticket,
            pool: new.pool,
            merge: new.merge,
            read: new.read,
            begun: new.now,
            limit: new.limit,
            lane: new.lane,
            mark: new.mark,
            counted: 0,
            waiting: 0,
            parts: Vec::new(),
            used_parts: 0,
            keys: Vec::new(),
        }
    }

    /// What it was begun with.
    pub(crate) fn as_new(&self) -> New {
        New {
            ticket: self.ticket,
            pool: self.pool,
            merge: self.merge,
            read: self.read,
            now: self.begun,
            lane: self.lane,
            mark: self.mark,
            limit: self.limit,
        }
    }

    pub(super) fn reset(&mut self, new: New, serial: u32) {
        self.serial = serial;
        self.ticket = new.ticket;
        self.pool = new.pool;
        self.merge = new.merge;
        self.read = new.read;
        self.begun = new.now;
        self.limit = new.limit;
        self.lane = new.lane;
        self.mark = new.mark;
    }

    pub(super) fn clear(&mut self) {
        // No reply can find this place any more.
        self.serial = 0;
        self.counted = 0;
        self.waiting = 0;
        self.keys.clear();
        for part in self.parts.iter_mut().take(self.used_parts) {
            part.clear();
        }
        self.used_parts = 0;
    }

    /// The parts, in the order in which their first keys came.
    pub(crate) fn parts(&mut self) -> &mut [Part] {
        &mut self.parts[..self.used_parts]
    }

    /// Adds a part for `server`, whose request begins with `wire`, and returns its index.
    pub(crate) fn add_part(&mut self, server: usize, wire: &[u8]) -> u16 {
        let index = self.used_parts;
        self.used_parts += 1;
        if self.parts.len() < self.used_parts {
            self.parts.push(Part::default());
        }
        let part = &mut self.parts[index];
        part.server = server;
        part.wire.extend_from_slice(wire);
        self.waiting += 1;
        index as u16
    }

    /// Adds a part for one key that moves between two servers.
    pub(crate) fn add_moved(&mut self, wire: &[u8], servers: [usize; 2]) -> u16 {
        let index = self.add_part(servers[1], wire);
        self.parts[index as usize].moved = Some(servers);
        index
    }

    /// Adds a key, which the part `part` asks for.
    pub(crate) fn add_key(&mut self, part: u16) {
        self.parts[part as usize].keys += 1;
        self.keys.push(Key { part, name: Span::default() });
    }

    /// The same for memcache, where the key goes to the end of the part's request: `word` is the
    /// key with the space before it.
    pub(crate) fn add_word(&mut self, word: &[u8], part: u16) {
        let asked = &mut self.parts[part as usize];
        let start = asked.wire.len() as u32 + 1;
        asked.wire.extend_from_slice(word);
        asked.keys += 1;
        self.keys.push(Key { part, name: Span { start, end: asked.wire.len() as u32 } });
    }

    /// Takes a stretch of a part's reply; says how much of it is kept. `room` is what all
    /// requests together have left.
    pub(super) fn take_in(&mut self, part: u16, bytes: &[u8], room: usize) -> usize {
        let part = &mut self.parts[part as usize];
        let fits = bytes.len() <= room && self.counted + bytes.len() <= self.limit;
        if part.answer.is_none() && fits {
            part.reply.extend_from_slice(bytes);
            self.counted += bytes.len();
            return bytes.len();
        }
        // The rest is dropped as it comes; the request is answered with an error.
        part.answer = Some(Err(Failure::BadReply(Malformed::Oversize)));
        0
    }

    /// Whether nobody knows what became of a part.
    pub(crate) fn has_failed(&self) -> bool {
        self.parts[..self.used_parts].iter().any(|part| matches!(part.answer, Some(Err(_))))
    }

    pub(super) fn answered(&mut self, part: u16, answer: Result<Outcome, Failure>) -> bool {
        let part = &mut self.parts[part as usize];
        part.answer.get_or_insert(answer);
        self.waiting -= 1;
        self.waiting == 0
    }
}

impl Part {
    pub(super) fn answered_well(&self) -> bool {
        matches!(self.answer, Some(Ok(Outcome::Hit | Outcome::Miss | Outcome::Done)))
    }

    fn clear(&mut self) {
        self.moved = None;
        self.keys = 0;
        self.elsewhere = false;
        self.cursor = 0;
        self.answer = None;
        for buffer in [&mut self.wire, &mut self.reply] {
            buffer.clear();
            if buffer.capacity() > KEEP_BYTES {
                *buffer = Vec::new();
            }
        }
    }
}
