//! Writes under way: from their sending to their answer there is nothing in the near cache for
//! their keys.
//!
//! A write whose answer never came may still be executed. So its mark lingers for as long as a
//! value may be old, and only then counts as ended.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Instant;

use super::{Nearby, Role};
use crate::cache::near::Near;
use crate::metrics::PoolMetric;
use crate::protocol::{Request, memcache};
use crate::service::proxy::Proxy;

/// Marks of one worker. A mark's number is its place and one; 0 is none.
#[derive(Default)]
pub(in crate::service) struct Marks {
    places: Vec<Mark>,
    free: Vec<u32>,
    /// Those that end by the clock.
    lingering: BinaryHeap<Reverse<(Instant, u32)>>,
}

#[derive(Default)]
struct Mark {
    near: Option<Arc<Near>>,
    /// The slots of its keys.
    slots: Vec<u32>,
    /// It concerns every key.
    flushes: bool,
}

impl Marks {
    fn begin(&mut self, near: &Arc<Near>) -> u32 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Mark::default());
            self.places.len() as u32 - 1
        });
        self.places[place as usize].near = Some(Arc::clone(near));
        place + 1
    }

    fn at(&mut self, mark: u32) -> Option<&mut Mark> {
        self.places.get_mut(mark.checked_sub(1)? as usize)
    }

    /// The write has ended: it was answered, and its client has not been told yet.
    #[inline]
    pub(in crate::service) fn end(&mut self, mark: u32) {
        if mark != 0 {
            self.take_away(mark);
        }
    }

    fn take_away(&mut self, mark: u32) {
        let Some(place) = self.at(mark) else { return };
        let Some(near) = place.near.take() else { return };
        place.slots.drain(..).for_each(|slot| near.end_write(slot));
        if std::mem::take(&mut place.flushes) {
            near.end_flush();
        }
        self.free.push(mark - 1);
    }

    /// Nobody knows whether the write was executed, or will be.
    #[cold]
    pub(in crate::service) fn linger(&mut self, mark: u32, now: Instant) {
        let near = self.at(mark).and_then(|place| place.near.as_ref());
        let Some(settings) = near.map(|near| near.settings()) else { return };
        let until = now + settings.max_age.max(settings.lease);
        self.lingering.push(Reverse((until, mark)));
    }

    pub(super) fn next_alarm(&self) -> Option<Instant> {
        self.lingering.peek().map(|Reverse((at, _))| *at)
    }

    /// Ends what has lingered long enough.
    pub(in crate::service) fn tick(&mut self, now: Instant) {
        while let Some(Reverse((at, mark))) = self.lingering.peek().copied() {
            if at > now {
                return;
            }
            self.lingering.pop();
            self.take_away(mark);
        }
    }

    /// Adds what `request` writes to a mark, which is begun if it is 0.
    fn add(
        &mut self,
        mark: &mut u32,
        near: &Arc<Near>,
        request: &Request<'_>,
        now: Instant,
    ) -> u64 {
        let (time, mut removed) = (near.time(now), 0);
        for at in request.keys() {
            let written = request.arg(at);
            let binary = memcache::binary_key(request, written);
            let Some(key) = near.key(binary.as_deref().unwrap_or(written)) else { continue };
            let slot = near.begin_write(key, time);
            removed += 1;
            if *mark == 0 {
                *mark = self.begin(near);
            }
            if let Some(place) = self.at(*mark) {
                place.slots.push(slot);
            }
        }
        removed
    }

    fn add_flush(&mut self, mark: &mut u32, near: &Arc<Near>) {
        if *mark == 0 {
            *mark = self.begin(near);
        }
        if let Some(place) = self.at(*mark)
            && !std::mem::replace(&mut place.flushes, true)
        {
            near.begin_flush();
        }
    }
}

impl Nearby {
    /// Keeps a near cache empty for a time.
    pub(super) fn hold_off(&mut self, near: &Arc<Near>, until: Instant) {
        let mut mark = 0;
        self.marks.add_flush(&mut mark, near);
        self.marks.linger(mark, until);
    }

    /// Marks what `request` writes in addition to what `mark` is for.
    fn mark(&mut self, pool: u16, mark: &mut u32, request: &Request<'_>, now: Instant) -> u64 {
        let Some(near) = self.nears.get(pool as usize).and_then(Option::as_ref) else { return 0 };
        match Role::of(request.head.command) {
            Role::Flush => {
                self.marks.add_flush(mark, near);
                1
            }
            // An mg that comes here may touch, create or win.
            Role::Write | Role::Read(super::Wanted::Meta) => {
                self.marks.add(mark, near, request, now)
            }
            Role::Read(_) | Role::Several | Role::Other => 0,
        }
    }
}

impl Proxy {
    /// Marks what a request that is about to be sent writes: the number of the mark that its
    /// sending must carry, which is `mark` if that is not 0.
    #[inline]
    pub(in crate::service) fn mark_writes(
        &mut self,
        pool: u16,
        mut mark: u32,
        request: &Request<'_>,
        now: Instant,
    ) -> u32 {
        if self.nearby.of(pool).is_some() {
            let keys = self.nearby.mark(pool, &mut mark, request, now);
            self.metrics.pools[pool as usize].add(PoolMetric::NearWrites, keys);
        }
        mark
    }

    /// The mark that lingers when nobody knows what became of its write.
    pub(in crate::service) fn linger(&mut self, mark: u32, now: Instant) {
        if mark != 0 {
            self.nearby.marks.linger(mark, now);
        }
    }
}
