//! Requests that are split over servers, and how the parts of their replies become one.
//!
//! ```text
//!  keys ─▶ server of each ─▶ parts (at most one a server) ─▶ wire of each part
//!  replies of parts, in any order ─▶ take_in ─▶ all here? ─▶ merge in the order of the keys
//! ```
//! No I/O and no clock. What was gathered is reused for the next request at the same place.

use std::time::Instant;

use crate::backend::{Failure, Ticket};
use crate::protocol::{Malformed, Outcome, Plan, Span, memcache, redis};

/// A reply longer than this gives its memory back when its request is done.
const KEEP_BYTES: usize = 64 * 1024;

/// Everything that is being gathered by one worker.
#[derive(Debug)]
pub(super) struct Gathers {
    places: Vec<Gather>,
    free: Vec<u32>,
    next_serial: u32,
    /// Bytes of all replies that are held, and how many there may be.
    held: usize,
    limit: usize,
}

/// One request that was split.
#[derive(Debug)]
pub(super) struct Gather {
    serial: u32,
    /// Who waits; `None` if the request wanted no reply.
    pub(super) ticket: Option<Ticket>,
    pub(super) pool: u16,
    pub(super) plan: Plan,
    pub(super) read: bool,
    pub(super) begun: Instant,
    /// The place of the session that asks: which connection to a server is its.
    pub(super) lane: u32,
    /// Most bytes that the parts may have together.
    limit: usize,
    /// Bytes of replies that are held.
    counted: usize,
    waiting: usize,
    parts: Vec<Part>,
    used_parts: usize,
    /// The keys, one after the other, and where each ends.
    text: Vec<u8>,
    keys: Vec<(u32, u16)>,
}

/// What one server was asked and has answered.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Index of the server in its pool.
    pub(super) server: usize,
    pub(super) keys: u32,
    /// The request as it is sent.
    pub(super) wire: Vec<u8>,
    reply: Vec<u8>,
    answer: Option<Result<Outcome, Failure>>,
    /// How much of the reply has been merged.
    cursor: usize,
}

/// What came of merging.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Merged {
    /// Keys that were found and that were not, if the request is a read.
    pub(super) hits: u64,
    pub(super) misses: u64,
    /// A server answered what was not asked: its index.
    pub(super) foreign: Option<usize>,
    /// A part failed and the reply is the error line for it.
    pub(super) failure: Option<Failure>,
}

/// How failed parts and errors are shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Keys of failed parts count as missing, and so do those of parts answered with an error.
    pub(super) partial: bool,
    /// Keys of parts that failed, but not those of parts answered with an error, count as
    /// missing.
    pub(super) dead_misses: bool,
    /// As twemproxy words it.
    pub(super) compat: bool,
}

impl Gathers {
    /// None; all to come may hold `limit` bytes of replies together.
    pub(super) fn new(limit: usize) -> Self {
        Self { places: Vec::new(), free: Vec::new(), next_serial: 0, held: 0, limit }
    }

    /// Bytes of replies that wait for others.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Begins to gather; returns the place and what identifies this use of it.
    pub(super) fn begin(&mut self, new: New) -> (u32, u32) {
        self.next_serial = self.next_serial.wrapping_add(1);
        let serial = self.next_serial;
        let place = self.free.pop().unwrap_or(self.places.len() as u32);
        match self.places.get_mut(place as usize) {
            Some(gather) => gather.reset(new, serial),
            None => self.places.push(Gather::new(new, serial)),
        }
        (place, serial)
    }

    /// What is gathered at `place`.
    pub(super) fn at(&mut self, place: u32) -> &mut Gather {
        &mut self.places[place as usize]
    }

    /// Takes a sent part's buffer back for reuse, unless the request has ended meanwhile.
    pub(super) fn give_back(&mut self, (place, serial): (u32, u32), part: usize, wire: Vec<u8>) {
        let gather = &mut self.places[place as usize];
        if gather.serial == serial
            && let Some(part) = gather.parts.get_mut(part)
        {
            part.wire = wire;
        }
    }

    /// Ends the use of a place.
    pub(super) fn finish(&mut self, place: u32) {
        let gather = &mut self.places[place as usize];
        self.held -= gather.counted;
        gather.clear();
        self.free.push(place);
    }

    /// Takes a stretch of a part's reply in. True if that completes the request.
    pub(super) fn take_in(
        &mut self,
        (place, serial): (u32, u32),
        part: u16,
        bytes: &[u8],
        end: Option<Outcome>,
    ) -> bool {
        let Some(gather) = self.places.get_mut(place as usize) else { return false };
        if gather.serial != serial {
            return false;
        }
        let room = self.limit.saturating_sub(self.held);
        let kept = gather.take_in(part, bytes, room);
        self.held += kept;
        end.is_some_and(|outcome| gather.answered(part, Ok(outcome)))
    }

    /// Notes that a part has failed. True if that completes the request.
    pub(super) fn failed(&mut self, (place, serial): (u32, u32), part: u16, why: Failure) -> bool {
        let Some(gather) = self.places.get_mut(place as usize) else { return false };
        gather.serial == serial && gather.answered(part, Err(why))
    }
}

/// What a new gathering is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct New {
    pub(super) ticket: Option<Ticket>,
    pub(super) pool: u16,
    pub(super) plan: Plan,
    pub(super) read: bool,
    pub(super) now: Instant,
    /// The place of the session that asks.
    pub(super) lane: u32,
    /// Most bytes that the replies may have together.
    pub(super) limit: usize,
}

impl Gather {
    fn new(new: New, serial: u32) -> Self {
        Self {
            serial,
            ticket: new.ticket,
            pool: new.pool,
            plan: new.plan,
            read: new.read,
            begun: new.now,
            limit: new.limit,
            lane: new.lane,
            counted: 0,
            waiting: 0,
            parts: Vec::new(),
            used_parts: 0,
            text: Vec::new(),
            keys: Vec::new(),
        }
    }

    fn reset(&mut self, new: New, serial: u32) {
        self.serial = serial;
        self.ticket = new.ticket;
        self.pool = new.pool;
        self.plan = new.plan;
        self.read = new.read;
        self.begun = new.now;
        self.limit = new.limit;
        self.lane = new.lane;
    }

    fn clear(&mut self) {
        // No reply can find this place any more.
        self.serial = 0;
        self.counted = 0;
        self.waiting = 0;
        self.text.clear();
        self.keys.clear();
        for part in self.parts.iter_mut().take(self.used_parts) {
            part.clear();
        }
        self.used_parts = 0;
    }

    /// The parts, in the order in which their first keys came.
    pub(super) fn parts(&mut self) -> &mut [Part] {
        &mut self.parts[..self.used_parts]
    }

    /// Adds a part for `server` and returns its index.
    pub(super) fn add_part(&mut self, server: usize) -> u16 {
        let index = self.used_parts;
        self.used_parts += 1;
        if self.parts.len() < self.used_parts {
            self.parts.push(Part::default());
        }
        self.parts[index].server = server;
        self.waiting += 1;
        index as u16
    }

    /// Adds a key, which the part `part` asks for.
    pub(super) fn add_key(&mut self, key: &[u8], part: u16) {
        self.text.extend_from_slice(key);
        self.keys.push((self.text.len() as u32, part));
        self.parts[part as usize].keys += 1;
    }

    /// Takes a stretch of a part's reply; says how much of it is kept. `room` is what all
    /// requests together have left.
    fn take_in(&mut self, part: u16, bytes: &[u8], room: usize) -> usize {
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

    fn answered(&mut self, part: u16, answer: Result<Outcome, Failure>) -> bool {
        let part = &mut self.parts[part as usize];
        part.answer.get_or_insert(answer);
        self.waiting -= 1;
        self.waiting == 0
    }

    /// Puts the reply together at the end of `out`. Error lines are the caller's if
    /// [`Merged::failure`] says so.
    pub(super) fn merge(&mut self, manner: Manner, out: &mut Vec<u8>) -> Merged {
        let lookup = matches!(self.plan, Plan::Values | Plan::Array);
        let partial = manner.partial && lookup;
        let manner = Manner { dead_misses: manner.dead_misses && lookup, ..manner };
        if !partial && let Some(failed) = self.first_error(manner, out) {
            return failed;
        }
        match self.plan {
            Plan::Values => self.merge_values(out),
            Plan::Array => self.merge_array(out),
            Plan::Sum => self.merge_sum(out),
            Plan::Stats => self.merge_stats(out),
            _ => self.merge_same(out),
        }
    }

    /// The first part that failed or was answered with an error line, if any: the whole
    /// request's answer is then that error.
    fn first_error(&self, manner: Manner, out: &mut Vec<u8>) -> Option<Merged> {
        for part in &self.parts[..self.used_parts] {
            match part.answer {
                Some(Ok(Outcome::Hit | Outcome::Miss | Outcome::Done)) => {}
                Some(Ok(_)) if manner.compat => {
                    let failure = Some(Failure::Trailing);
                    return Some(Merged { failure, ..Merged::default() });
                }
                Some(Ok(_)) => {
                    out.extend_from_slice(&part.reply);
                    return Some(Merged::default());
                }
                Some(Err(_)) if manner.dead_misses => {}
                Some(Err(failure)) => {
                    return Some(Merged { failure: Some(failure), ..Merged::default() });
                }
                None => {}
            }
        }
        None
    }

    /// The keys in order, each with the index of its part.
    fn each_key(&self, mut each: impl FnMut(&[u8], usize)) {
        let mut start = 0;
        for &(end, part) in &self.keys {
            each(&self.text[start..end as usize], part as usize);
            start = end as usize;
        }
    }

    /// memcache: a part's next block belongs to the key if it carries its name; otherwise the
    /// key was not found.
    fn merge_values(&mut self, out: &mut Vec<u8>) -> Merged {
        let mut merged = Merged::default();
        let mut parts = std::mem::take(&mut self.parts);
        self.each_key(|key, part| {
            let part = &mut parts[part];
            let block = part.answered_well().then(|| memcache::block(&part.reply, part.cursor));
            match block.flatten() {
                Some(block) if block.key.of(&part.reply) == key => {
                    out.extend_from_slice(block.whole.of(&part.reply));
                    part.cursor = block.whole.end as usize;
                    merged.hits += 1;
                }
                _ => merged.misses += 1,
            }
        });
        out.extend_from_slice(b"END\r\n");
        let over = |part: &Part| memcache::block(&part.reply, part.cursor).is_some();
        merged.foreign = parts[..self.used_parts]
            .iter()
            .find(|part| part.answered_well() && over(part))
            .map(|part| part.server);
        self.parts = parts;
        merged
    }

    /// MGET: each part is an array with as many elements as it was asked for keys.
    fn merge_array(&mut self, out: &mut Vec<u8>) -> Merged {
        let mut merged = Merged::default();
        out.extend_from_slice(format!("*{}\r\n", self.keys.len()).as_bytes());
        let parts = &self.parts[..self.used_parts];
        let mut elements: Vec<_> = parts
            .iter()
            .map(|part| part.answered_well().then(|| redis::elements(&part.reply)).flatten())
            .collect();
        for &(_, index) in &self.keys {
            let part = &parts[index as usize];
            let found = elements[index as usize].as_mut().and_then(Iterator::next);
            match found {
                Some(span) => {
                    let element = span.of(&part.reply);
                    out.extend_from_slice(element);
                    merged.hits += u64::from(element != b"$-1\r\n");
                    merged.misses += u64::from(element == b"$-1\r\n");
                }
                None => {
                    out.extend_from_slice(b"$-1\r\n");
                    merged.misses += 1;
                    if part.answered_well() {
                        merged.foreign = Some(part.server);
                    }
                }
            }
        }
        let mut rest = elements.into_iter().zip(parts);
        let more = rest.find_map(|(left, part)| left?.next().map(|_| part.server));
        merged.foreign = merged.foreign.or(more);
        merged
    }

    fn merge_sum(&mut self, out: &mut Vec<u8>) -> Merged {
        let mut sum: i64 = 0;
        for part in &self.parts[..self.used_parts] {
            match redis::integer(&part.reply) {
                Some(n) => sum = sum.saturating_add(n),
                None => return Merged { foreign: Some(part.server), ..Merged::default() },
            }
        }
        out.extend_from_slice(format!(":{sum}\r\n").as_bytes());
        Merged::default()
    }

    /// All servers said the same thing; the first says it for all.
    fn merge_same(&mut self, out: &mut Vec<u8>) -> Merged {
        if let Some(part) = self.parts.first() {
            out.extend_from_slice(&part.reply);
        }
        Merged::default()
    }

    /// `STAT name value` of each server, the name led by the node name where there are several.
    fn merge_stats(&mut self, out: &mut Vec<u8>) -> Merged {
        const LAST: [&[u8]; 3] = [b"END\r\n", b"RESET\r\n", b"OK\r\n"];
        let several = self.used_parts > 1;
        let mut end: &[u8] = LAST[0];
        for (index, part) in self.parts[..self.used_parts].iter().enumerate() {
            for line in part.reply.split_inclusive(|&b| b == b'\n') {
                match line.strip_prefix(b"STAT ") {
                    Some(rest) if several => {
                        out.extend_from_slice(b"STAT ");
                        out.extend_from_slice(self.name_of(index));
                        out.push(b':');
                        out.extend_from_slice(rest);
                    }
                    Some(_) => out.extend_from_slice(line),
                    None if LAST.contains(&line) => end = line,
                    None => out.extend_from_slice(line),
                }
            }
        }
        out.extend_from_slice(end);
        Merged::default()
    }

    /// Broadcasts keep node names where other requests keep keys.
    fn name_of(&self, part: usize) -> &[u8] {
        let start = part.checked_sub(1).map_or(0, |before| self.keys[before].0 as usize);
        self.keys.get(part).map_or(&[], |&(end, _)| &self.text[start..end as usize])
    }
}

impl Part {
    fn answered_well(&self) -> bool {
        matches!(self.answer, Some(Ok(Outcome::Hit | Outcome::Miss | Outcome::Done)))
    }

    fn clear(&mut self) {
        self.keys = 0;
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

/// Writes the request of one memcache part: `prefix` (the command, with what stands before the
/// keys) and keys are added as they come; the line is ended here.
pub(super) fn end_line(part: &mut Part) {
    part.wire.extend_from_slice(b"\r\n");
}

/// Writes the parts of a Redis request: the command, then every key with the arguments that
/// belong to it (`step` of them, the key included).
pub(super) fn write_redis_parts(
    gather: &mut Gather,
    name: &str,
    step: usize,
    units: &[Span],
    bytes: &[u8],
) {
    let keys = std::mem::take(&mut gather.keys);
    for part in gather.parts() {
        let args = part.keys as usize * step + 1;
        part.wire.extend_from_slice(format!("*{args}\r\n").as_bytes());
        write_bulk(name.as_bytes(), &mut part.wire);
    }
    for (unit, &(_, part)) in units.chunks_exact(step).zip(&keys) {
        for arg in unit {
            write_bulk(arg.of(bytes), &mut gather.parts[part as usize].wire);
        }
    }
    gather.keys = keys;
}

fn write_bulk(arg: &[u8], out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    out.push(b'$');
    out.extend_from_slice(decimal(arg.len(), &mut digits));
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(arg);
    out.extend_from_slice(b"\r\n");
}

/// Writes `n` in decimal at the end of `digits`: a formatter would cost more than the copying.
fn decimal(mut n: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return &digits[at..];
        }
    }
}
