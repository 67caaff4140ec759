//! The near cache on a worker: reads that are answered here, fills under way, writes that are marked.
//!
//! ```text
//!  request ─▶ near_first ─┬─ hit ──────────────────────────────────▶ Clients::reply
//!                         ├─ hot miss ─▶ Filling ─▶ server ─▶ filled ─▶ all who wait, then Near::settle
//!                         ├─ write ─▶ mark ─▶ the usual way … reply ─▶ unmark ─▶ Clients::reply
//!                         └─ anything else ─▶ the usual way
//! ```
//! What is promised, and the rules behind it, stand in [`crate::cache::near`]; here is when they are
//! called. `reads` has requests for one key and `many` those for several, `looks` what is found of
//! each, `fields` what is wanted of a hash, `fills` what is under way, `filling` what comes of it,
//! `brought` what a server's reply says, `endings` what becomes of those whom it fails, `parked` who
//! waits for other workers, `forms` how it is shown to whoever asked, `marks` writes, `ahead` the keys
//! that follow, `trust` the connections to the servers, `verify` whether it is all true.

mod ahead;
mod brought;
mod endings;
mod fields;
mod filling;
mod fills;
mod forms;
mod looks;
mod many;
mod marks;
mod parked;
mod reads;
mod trust;
mod verify;
mod vigil;
#[cfg(test)]
mod wrong;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::cache::near::{Flight, Near, Time};
use crate::protocol::{Access, Command, Op, Plan};
pub(in crate::service) use fills::Fills;
pub(in crate::service) use marks::Marks;
pub(in crate::service) use parked::Parked;
pub(in crate::service) use verify::Verify;
use vigil::Vigil;
#[cfg(test)]
pub(in crate::service) use wrong::Wrong;

/// What one worker holds of the near caches.
pub(in crate::service) struct Nearby {
    /// Those of the pools.
    nears: Vec<Option<Arc<Near>>>,
    /// Whether they are of use; the last ones may be missing.
    vigils: Vec<Vigil>,
    pub(in crate::service) fills: Fills,
    pub(in crate::service) marks: Marks,
    pub(in crate::service) parked: Parked,
    pub(in crate::service) verify: Verify,
    /// Sessions that wait for replies on connections that are not their own, and for how many.
    abroad: HashMap<u32, u32>,
    /// Counts lookups: one in so many is noted for the report of hot keys.
    lookups: u64,
    moment: Moment,
    /// Names of fields are written here.
    part: Vec<u8>,
    /// What only tests do.
    #[cfg(test)]
    pub(in crate::service) wrong: Option<Wrong>,
}

/// The moment at which the requests of a turn are looked at, turned into storage time once: all near
/// caches go by the clock of the process.
#[derive(Default)]
struct Moment(Option<(Instant, Time)>);

impl Moment {
    #[inline]
    fn of(&mut self, near: &Near, at: Instant) -> Time {
        match self.0 {
            Some((known, time)) if known == at => time,
            _ => self.0.insert((at, near.time(at))).1,
        }
    }
}

/// What a command is to the near cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// A read that it may answer.
    Read(Wanted),
    /// A read of several keys, likewise.
    Several,
    /// It may change what its keys have.
    Write,
    /// It may change everything.
    Flush,
    /// Neither.
    Other,
}

/// What is wanted of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// memcache get.
    Get,
    /// memcache mg.
    Meta,
    /// Redis GET.
    Value,
    Length,
    Existence,
    Range,
    /// All of a hash, one of its fields, some of them.
    Hash,
    Field,
    Fields,
}

impl Nearby {
    pub(in crate::service) fn new(nears: Vec<Option<Arc<Near>>>) -> Self {
        Self {
            nears,
            vigils: Vec::new(),
            fills: Fills::default(),
            marks: Marks::default(),
            parked: Parked::default(),
            verify: Verify::default(),
            abroad: HashMap::new(),
            lookups: 0,
            moment: Moment::default(),
            part: Vec::new(),
            #[cfg(test)]
            wrong: None,
        }
    }

    /// The near cache of a pool.
    #[inline]
    pub(in crate::service) fn of(&self, pool: u16) -> Option<&Arc<Near>> {
        self.nears.get(pool as usize)?.as_ref()
    }

    /// Whether that is of use.
    #[inline]
    fn vigil(&mut self, pool: u16) -> &mut Vigil {
        let pool = usize::from(pool);
        if pool >= self.vigils.len() {
            self.vigils.resize_with(pool + 1, Vigil::default);
        }
        &mut self.vigils[pool]
    }

    /// Whether most reads pass that by.
    #[inline]
    fn dozes(&self, pool: u16) -> bool {
        self.vigils.get(usize::from(pool)).is_some_and(Vigil::dozes)
    }

    /// Whether any pool has one.
    pub(in crate::service) fn is_used(&self) -> bool {
        self.nears.iter().any(Option::is_some)
    }

    /// When marks, who is parked, or a check is to be looked at next.
    pub(in crate::service) fn next_alarm(&self) -> Option<Instant> {
        let alarms = [self.marks.next_alarm(), self.parked.next_alarm(), self.verify.next_alarm()];
        alarms.into_iter().flatten().min()
    }

    /// A fill has ended; other workers may look.
    fn finish(&mut self, place: u32) {
        let (pool, flight) = self.fills.finish(place);
        self.end_flight(pool, flight);
    }

    fn end_flight(&self, pool: u16, flight: Option<Flight>) {
        if let (Some(near), Some(flight)) = (self.of(pool), flight) {
            near.end_flight(flight);
        }
    }

    /// A session waits for a reply on another connection than its own.
    fn leave_home(&mut self, session: u32) {
        *self.abroad.entry(session).or_default() += 1;
    }

    /// It has come.
    fn come_home(&mut self, session: u32) {
        if let Some(count) = self.abroad.get_mut(&session) {
            *count -= 1;
            if *count == 0 {
                self.abroad.remove(&session);
            }
        }
    }

    /// Whether a session's next request must wait: it would go on its own connection and could
    /// overtake what it has asked for on another one.
    pub(in crate::service) fn is_abroad(&self, session: u32) -> bool {
        !self.abroad.is_empty() && self.abroad.contains_key(&session)
    }
}

impl Wanted {
    /// Whether it is some fields of a hash.
    const fn is_of_hash(self) -> bool {
        matches!(self, Self::Field | Self::Fields)
    }
}

impl Role {
    #[inline]
    fn of(command: &Command) -> Self {
        match (command.access, command.op) {
            (Access::Read, Op::Get) if command.plan == Plan::Values => Self::Read(Wanted::Get),
            (Access::Read, Op::Get) => Self::Read(Wanted::Value),
            (Access::Read, Op::MGet) => Self::Several,
            (Access::Read, Op::StrLen) => Self::Read(Wanted::Length),
            (Access::Read, Op::Exists) => Self::Read(Wanted::Existence),
            (Access::Read, Op::GetRange) => Self::Read(Wanted::Range),
            (Access::Read, Op::None) => match command.name {
                "HGETALL" => Self::Read(Wanted::Hash),
                "HGET" => Self::Read(Wanted::Field),
                "HMGET" => Self::Read(Wanted::Fields),
                _ => Self::Other,
            },
            (Access::Write, Op::MetaGet) => Self::Read(Wanted::Meta),
            (Access::Write, _) if command.plan == Plan::Flush => Self::Flush,
            (Access::Write, _) => Self::Write,
            _ => Self::Other,
        }
    }
}
