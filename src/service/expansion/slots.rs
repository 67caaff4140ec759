//! The operations of one worker on keys that move, each at its place.
//!
//! ```text
//!  open ─▶ behind another of the same session and key? wait ─▶ machine ─▶ … ─▶ close ─▶ the next
//! ```
//! Requests that one client sends one after the other are done in this order, also where each takes
//! several steps.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::machine::Machine;
use super::operation::Operation;
use super::step::Side;
use crate::backend::To;
use crate::routing::Pass;
use crate::service::proxy::{Caller, Lane};
use crate::service::route::Astray;

/// The key of one pool as one session knows it.
type Place = (u16, u32, Vec<u8>);

/// All of them.
#[derive(Debug)]
pub(crate) struct Slots {
    places: Vec<Slot>,
    free: Vec<u32>,
    next_serial: u32,
    /// The last operation of a session on a key.
    last: HashMap<Place, u32>,
    /// Those that wait for another phase, and until when.
    parked: VecDeque<(Instant, u32, u32)>,
    /// Those whose reply is whole.
    pub(super) ready: Vec<u32>,
    /// Bytes of requests and replies that are held, and how many of replies there may be.
    held: usize,
    limit: usize,
}

/// One operation.
#[derive(Debug)]
pub(crate) struct Slot {
    serial: u32,
    pub(super) begun: Begun,
    pub(super) state: State,
    /// The age of the pool's rings in which it began.
    pub(super) era: u64,
    /// By which permit it began.
    pub(super) pass: Option<Pass>,
    /// Which server its request is at, and how that is going to be answered.
    pub(super) asked: Option<Side>,
    pub(super) reply: Vec<u8>,
    pub(super) overflow: bool,
    /// The connection that the last reply of each server came on.
    pub(super) heard: [Option<(u32, u32)>; 2],
    pub(super) parked: Option<Instant>,
    /// The one that waits for its end.
    next: Option<u32>,
    counted: usize,
}

/// Who asked for an operation, when, and about which servers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    pub(super) pool: u16,
    pub(super) lane: Lane,
    pub(super) to: To,
    /// The old one and the new one.
    pub(super) servers: [usize; 2],
    pub(super) at: Instant,
    /// The near cache's mark of what it writes; 0 for none.
    pub(super) mark: u32,
}

/// How far an operation is.
#[derive(Debug)]
pub(super) enum State {
    /// Another of the same session and key comes first.
    Waiting(Operation),
    /// Under way or parked.
    Running(Box<Machine>),
    /// The place is free.
    Gone,
}

impl Slots {
    /// None; the replies of all to come may be `limit` bytes together.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            next_serial: 0,
            last: HashMap::new(),
            parked: VecDeque::new(),
            ready: Vec::new(),
            held: 0,
            limit,
        }
    }

    /// Bytes of requests and replies.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// How many operations there are.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether a session has an operation on a key under way.
    pub(super) fn has(&self, pool: u16, session: u32, key: &[u8]) -> bool {
        !self.last.is_empty() && self.last.contains_key(&(pool, session, key.to_vec()))
    }

    /// The place of a key of which a read is one of its old server, unless it must wait for another
    /// operation of the same client.
    pub(crate) fn plain(
        &self,
        place: Result<usize, Astray>,
        caller: Caller,
        key: &[u8],
    ) -> Result<usize, Astray> {
        match place {
            Err(Astray::Moved { old, .. })
                if !self.has(caller.pool, caller.ticket.session, key) =>
            {
                Ok(old)
            }
            other => other,
        }
    }

    /// Takes an operation in; its place, and whether it can begin.
    pub(super) fn open(&mut self, begun: Begun, op: Operation) -> (u32, bool) {
        self.next_serial = self.next_serial.wrapping_add(1);
        let counted = op.line.len() + op.data.len();
        self.held += counted;
        let key = (begun.pool, begun.lane.session, op.key.clone());
        let slot = Slot {
            serial: self.next_serial,
            begun,
            state: State::Waiting(op),
            era: 0,
            pass: None,
            asked: None,
            reply: Vec::new(),
            overflow: false,
            heard: [None; 2],
            parked: None,
            next: None,
            counted,
        };
        let place = self.free.pop().unwrap_or(self.places.len() as u32);
        match self.places.get_mut(place as usize) {
            Some(free) => *free = slot,
            None => self.places.push(slot),
        }
        let before = self.last.insert(key, place);
        if let Some(before) = before {
            self.places[before as usize].next = Some(place);
        }
        (place, before.is_none())
    }

    /// The servers of a pool have other indices; none if one has gone, which is then nobody's.
    pub(crate) fn renumber(&mut self, pool: u16, now: impl Fn(usize) -> Option<usize>) {
        let running = |slot: &&mut Slot| !matches!(slot.state, State::Gone);
        for slot in self.places.iter_mut().filter(running).filter(|it| it.begun.pool == pool) {
            slot.begun.servers = slot.begun.servers.map(|old| now(old).unwrap_or(usize::MAX));
        }
    }

    /// The operation at a place.
    pub(super) fn at(&mut self, place: u32) -> &mut Slot {
        &mut self.places[place as usize]
    }

    /// The place, if the operation of this serial is still there.
    pub(super) fn find(&self, (place, serial): (u32, u32)) -> Option<u32> {
        let slot = self.places.get(place as usize)?;
        (slot.serial == serial && !matches!(slot.state, State::Gone)).then_some(place)
    }

    /// What tells the operation at a place from others there.
    pub(super) fn serial(&self, place: u32) -> u32 {
        self.places[place as usize].serial
    }

    /// Takes the next stretch of a reply.
    pub(crate) fn take_in(&mut self, id: (u32, u32), bytes: &[u8], last: bool) {
        let Some(place) = self.find(id) else { return };
        let fits = self.held + bytes.len() <= self.limit;
        let slot = &mut self.places[place as usize];
        if slot.asked.is_none() {
            return;
        }
        if fits && !slot.overflow {
            slot.reply.extend_from_slice(bytes);
            slot.counted += bytes.len();
            self.held += bytes.len();
        }
        slot.overflow |= !fits;
        if last {
            self.ready.push(place);
        }
    }

    /// Takes the whole reply of an operation out; `None` if it was too long.
    pub(super) fn take_reply(&mut self, place: u32) -> Option<Vec<u8>> {
        let slot = &mut self.places[place as usize];
        let reply = std::mem::take(&mut slot.reply);
        slot.counted -= reply.len();
        self.held -= reply.len();
        slot.asked = None;
        (!std::mem::take(&mut slot.overflow)).then_some(reply)
    }

    /// Has an operation wait for another phase.
    pub(super) fn park(&mut self, place: u32, now: Instant, most: Duration) {
        let slot = &mut self.places[place as usize];
        let since = *slot.parked.get_or_insert(now);
        self.parked.push_back((since + most, place, slot.serial));
    }

    /// All that are parked: they may begin again.
    pub(super) fn unpark(&mut self) -> Vec<u32> {
        let parked = std::mem::take(&mut self.parked);
        parked.into_iter().filter_map(|(_, place, serial)| self.find((place, serial))).collect()
    }

    /// The next that has been parked for too long.
    pub(super) fn next_overdue(&mut self, now: Instant) -> Option<u32> {
        while let Some((until, place, serial)) = self.parked.front().copied() {
            if until > now {
                return None;
            }
            self.parked.pop_front();
            if let Some(place) = self.find((place, serial)) {
                return Some(place);
            }
        }
        None
    }

    /// When [`Slots::next_overdue`] should be asked next.
    pub(crate) fn next_alarm(&self) -> Option<Instant> {
        self.parked.front().map(|(until, ..)| *until)
    }

    /// Ends an operation; the one that has waited for it.
    pub(super) fn close(&mut self, place: u32, key: &[u8]) -> Option<u32> {
        let slot = &mut self.places[place as usize];
        slot.state = State::Gone;
        slot.reply = Vec::new();
        self.held -= std::mem::take(&mut slot.counted);
        let next = slot.next.take();
        if next.is_none() {
            self.last.remove(&(slot.begun.pool, slot.begun.lane.session, key.to_vec()));
        }
        self.free.push(place);
        next
    }

    /// Whether an operation of a pool that began before this age of its rings is under way.
    pub(super) fn any_before(&self, pool: u16, era: u64) -> bool {
        self.places.iter().any(|slot| {
            let running = matches!(slot.state, State::Running(_));
            running && slot.begun.pool == pool && slot.era < era
        })
    }
}
