//! All requests of one worker that are being gathered, each at its place.
//!
//! What was gathered is reused for the next request at the same place.

use std::time::Instant;

use super::gather::Gather;
use super::merge::Merge;
use crate::backend::{Failure, Ticket};
use crate::protocol::Outcome;
use crate::service::proxy::Lane;

/// Everything that is being gathered by one worker.
#[derive(Debug)]
pub(crate) struct Gathers {
    places: Vec<Gather>,
    free: Vec<u32>,
    next_serial: u32,
    /// Bytes of all replies that are held, and how many there may be.
    held: usize,
    limit: usize,
}

/// What a new gathering is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct New {
    pub(crate) ticket: Option<Ticket>,
    pub(crate) pool: u16,
    pub(crate) merge: Merge,
    pub(crate) read: bool,
    pub(crate) now: Instant,
    pub(crate) lane: Lane,
    /// The mark of the write that it is; 0 for none.
    pub(crate) mark: u32,
    /// Most bytes that the replies may have together.
    pub(crate) limit: usize,
}

impl Gathers {
    /// None; all to come may hold `limit` bytes of replies together.
    pub(crate) fn new(limit: usize) -> Self {
        Self { places: Vec::new(), free: Vec::new(), next_serial: 0, held: 0, limit }
    }

    /// How many bytes of replies all may hold together from now on.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The servers of a pool have other indices.
    pub(crate) fn renumber(&mut self, pool: u16, moves: &[Option<usize>]) {
        for gather in self.places.iter_mut().filter(|gather| gather.pool == pool) {
            for part in &mut gather.parts {
                part.server = moves.get(part.server).copied().flatten().unwrap_or_default();
            }
        }
    }

    /// Bytes of replies that wait for others.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Begins to gather; returns the place and what identifies this use of it.
    pub(crate) fn begin(&mut self, new: New) -> (u32, u32) {
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
    pub(crate) fn at(&mut self, place: u32) -> &mut Gather {
        &mut self.places[place as usize]
    }

    /// Takes a sent part's buffer back for reuse, unless the request has ended meanwhile.
    pub(crate) fn give_back(&mut self, (place, serial): (u32, u32), part: usize, wire: Vec<u8>) {
        let gather = &mut self.places[place as usize];
        if gather.serial == serial
            && let Some(part) = gather.parts.get_mut(part)
        {
            part.wire = wire;
        }
    }

    /// Ends the use of a place.
    pub(crate) fn finish(&mut self, place: u32) {
        let gather = &mut self.places[place as usize];
        self.held -= gather.counted;
        gather.clear();
        self.free.push(place);
    }

    /// Takes a stretch of a part's reply in. True if that completes the request.
    pub(crate) fn take_in(
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

    /// Answers a part from here, whatever its size. True if that completes the request.
    pub(crate) fn answer(&mut self, (place, serial): (u32, u32), part: u16, reply: &[u8]) -> bool {
        let Some(gather) = self.places.get_mut(place as usize) else { return false };
        if gather.serial != serial {
            return false;
        }
        if let Some(part) = gather.parts.get_mut(part as usize) {
            part.reply.extend_from_slice(reply);
        }
        gather.counted += reply.len();
        self.held += reply.len();
        gather.answered(part, Ok(Outcome::Hit))
    }

    /// Notes that a part has failed. True if that completes the request.
    pub(crate) fn failed(&mut self, (place, serial): (u32, u32), part: u16, why: Failure) -> bool {
        let Some(gather) = self.places.get_mut(place as usize) else { return false };
        gather.serial == serial && gather.answered(part, Err(why))
    }
}
