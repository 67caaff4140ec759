//! A pool on its way from one ring to the other, as one worker sees it: new rings, and whether what
//! began under the last ones has ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::step::{Context, Side, Wrong};
use crate::config::{Expansion, Pool as Settings};
use crate::protocol::Plan;
use crate::routing::{DualRing, Pass, Phase};
use crate::service::change::Carried;
use crate::service::dispatch::Turn;
use crate::service::expansion::slots::State;
use crate::service::fragment::Merge;
use crate::service::pool::Pool;
use crate::service::proxy::Proxy;
use crate::service::replies::Clients;

/// What a stub's time is given on top, since servers count whole seconds.
const SECOND: Duration = Duration::from_secs(1);

/// Since when a pool has its rings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Passage {
    /// How often they have been set.
    pub(super) era: u64,
    /// With which plan they came, if with any.
    version: u64,
    /// The end that it has come to, while its own ring serves alone.
    end: Phase,
    /// When they were set last.
    changed: Option<Instant>,
    /// When operations that name a CAS were let through the fence last, on either side of it; a
    /// process that begins between the ends knows nothing of what came before, as if it had just
    /// passed.
    passed: Option<Instant>,
    /// The new servers have nothing that moves: no proxy has been beyond the fence since. Of a pool
    /// that follows a fleet nobody knows: others may have gone there and back meanwhile.
    new_is_empty: bool,
    /// The pass of the last rings that had one: what began with them may end after them.
    pass: Option<Pass>,
}

impl Passage {
    /// How often the rings have been set.
    pub(in crate::service) const fn era(&self) -> u64 {
        self.era
    }

    /// Whether the new servers are known to have nothing that moves.
    pub(in crate::service) const fn new_is_empty(&self) -> bool {
        self.new_is_empty
    }

    /// The pass of the last rings that had one.
    pub(in crate::service) const fn last_pass(&self) -> Option<&Pass> {
        self.pass.as_ref()
    }

    /// That of a pool which has had these rings from the start.
    pub(crate) fn from_start(rings: Option<&DualRing>, now: Instant) -> Self {
        let between = rings.is_some_and(|rings| rings.phase().is_between());
        let now = between.then_some(now);
        let pass = rings.and_then(|rings| rings.pass().cloned());
        let stable = rings.is_some_and(|rings| rings.phase() == Phase::Stable);
        let new_is_empty = stable && pass.is_none();
        Self { changed: now, passed: now, new_is_empty, pass, ..Self::default() }
    }
}

/// The rings that a pool's settings ask for.
pub fn rings(settings: &Settings, expansion: &Expansion) -> DualRing {
    let lists = (&expansion.current[..], &expansion.target[..]);
    DualRing::new(&settings.routing, &settings.servers, lists, expansion.phase)
        .pinning(expansion.moving.pin.iter().cloned())
        .giving_up(&settings.servers, &expansion.dead_old)
}

impl Pool {
    /// Its settings for the passage.
    pub(super) fn expansion(&self) -> Expansion {
        self.settings.expansion.clone().unwrap_or_default()
    }

    /// The phase that it is in; without rings that is the end that it has come to.
    pub(in crate::service) fn phase(&self) -> Phase {
        self.rings.as_ref().map_or(self.passage.end, |rings| rings.phase())
    }

    /// The phase that keys are in which move away from the server of this index.
    pub(super) fn phase_of(&self, old: usize) -> Phase {
        self.rings.as_ref().map_or(self.passage.end, |rings| rings.phase_of(old))
    }

    /// Whether some keys are in phase drain: what they leave at the new servers must have gone
    /// before the next.
    fn drains(&self) -> bool {
        self.rings.as_ref().is_some_and(|rings| rings.phases().any(|phase| phase == Phase::Drain))
    }

    /// Whether keys that move may be acted on now. The clock is read anew: since it was last, the
    /// process may have been stopped for as long as you like.
    pub(in crate::service) fn may_act(&self) -> bool {
        self.pass().is_none_or(|pass| pass.holds(Instant::now()))
    }

    /// Has these rings from now on.
    fn take_rings(&mut self, rings: Option<Arc<DualRing>>, now: Instant) {
        let (before, term) = (self.phase(), self.term());
        let after = rings.as_ref().map_or(Phase::Stable, |rings| rings.phase());
        self.passage.end = if before.new_serves() { Phase::New } else { Phase::Stable };
        self.rings = rings;
        let pass = self.rings.as_ref().and_then(|rings| rings.pass().cloned());
        let follows = pass.is_some();
        if follows {
            self.passage.pass = pass;
        }
        self.passage.new_is_empty = match self.rings.as_ref().map(|rings| rings.phase()) {
            _ if follows => false,
            Some(Phase::Stable) => true,
            Some(Phase::Prepare) => self.passage.new_is_empty,
            _ => false,
        };
        self.passage.era += 1;
        self.passage.changed = Some(now);
        let anew = term.is_some() && term != self.term() || !before.borders(after);
        if before == Phase::Fence && after != Phase::Fence || anew && after.is_between() {
            self.passage.passed = Some(now);
        }
    }

    /// By which permit an operation on a key that moves begins.
    pub(super) fn pass(&self) -> Option<Pass> {
        let rings = self.rings.as_ref().filter(|rings| rings.phase().is_between())?;
        rings.pass().cloned()
    }

    /// The term of its rings.
    pub(in crate::service) fn term(&self) -> Option<u64> {
        Some(self.rings.as_ref()?.pass()?.term())
    }

    /// The term in which keys that move are acted on; 0 if that takes no permit.
    pub(in crate::service) fn term_between(&self) -> u64 {
        let between = self.rings.as_ref().is_some_and(|rings| rings.phase().is_between());
        self.term().filter(|_| between).unwrap_or_default()
    }

    /// Whether a read of a key that moves is one of the old server and no more; `token`: what it
    /// answers holds a CAS.
    pub(in crate::service) fn reads_old(&self, token: bool) -> bool {
        let Some(phase) = self.rings.as_ref().map(|rings| rings.phase()) else { return false };
        let old = matches!(phase, Phase::Stable | Phase::Prepare);
        (old || phase == Phase::Fence && !token) && self.may_act()
    }

    /// What the machines must know.
    pub(super) fn context(&self, now: Instant) -> Context {
        let default = Expansion::default();
        let Expansion { stub_ttl, cas_quarantine, fill, fill_ttl_max, .. } =
            self.settings.expansion.as_ref().unwrap_or(&default);
        let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
        Context {
            stub_ttl: stub_ttl.as_secs() as u32,
            fill: *fill,
            fill_ttl_max: u32::try_from(fill_ttl_max.as_secs()).unwrap_or(u32::MAX),
            quarantine: self.passage.passed.is_some_and(|at| now < at + *cas_quarantine),
            unix: since.map_or(0, |since| since.as_secs()),
            wrong: Wrong::default(),
        }
    }

    /// The servers that a request for all of them goes to: of one ring, or all there are.
    pub(in crate::service) fn reached(&self, side: Option<Side>) -> Vec<usize> {
        let all = 0..self.servers.len();
        let (Some(rings), Some(side)) = (&self.rings, side) else { return all.collect() };
        let [old, new] = rings.rings();
        let (ring, leaves) = match (rings.phase(), side) {
            (Phase::Stable, _) => (old, false),
            (Phase::New, _) | (_, Side::New) => (new, false),
            (_, Side::Old) => (old, true),
        };
        let shares = ring.shares().into_iter().enumerate();
        let all: Vec<usize> = shares.filter(|(_, share)| *share > 0.0).map(|it| it.0).collect();
        // Of what nobody reads any more only the new ring's part is of account.
        let read = |at: &usize| !leaves || rings.phase_of(*at) != Phase::New;
        let left: Vec<usize> = all.iter().copied().filter(read).collect();
        // Somebody must answer.
        if left.is_empty() { all } else { left }
    }

    /// The servers that get a request for all of them.
    pub(in crate::service) fn audience(&self, plan: Plan) -> Vec<usize> {
        match plan {
            Plan::Flush if self.flushed_last() == Side::Old => self.reached(Some(Side::New)),
            Plan::Flush => self.reached(Some(Side::Old)),
            Plan::Sum | Plan::Concat | Plan::AnyOne if self.moves_keys() => self.keepers(),
            _ => self.reached(None),
        }
    }

    /// The side that is flushed after the other: the one that keys go to.
    pub(super) fn flushed_last(&self) -> Side {
        if self.sends_back() { Side::Old } else { Side::New }
    }

    /// How the replies to flush_all become one: with two rings, those of the old one come first.
    pub(in crate::service) fn merge_of_flush(&self) -> Merge {
        match self.rings.as_ref().map(|rings| rings.phase()) {
            None | Some(Phase::Stable | Phase::New) => Merge::Same,
            Some(_) => Merge::Old,
        }
    }
}

impl Proxy {
    /// Gives a pool other rings, over the servers that it has; `None`: its own ring serves alone.
    /// What waited for another phase begins anew.
    pub fn set_rings<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        pool: u16,
        rings: Option<Arc<DualRing>>,
    ) {
        // What is kept of keys that move, and what is on its way, is of their old servers.
        self.ring_changed(pool);
        let before = self.pools[pool as usize].standing();
        self.pools[pool as usize].take_rings(rings, turn.now);
        self.begin_parked_again(turn);
        self.change_heading(turn, pool, before);
    }

    /// A pool has rings that have come with its servers, unless it has them already: whether it has
    /// taken them.
    pub(in crate::service) fn take_carried(
        &mut self,
        pool: usize,
        it: &Carried,
        now: Instant,
    ) -> bool {
        let fresh = it.version > self.pools[pool].passage.version;
        if fresh {
            self.ring_changed(pool as u16);
            let owner = &mut self.pools[pool];
            owner.passage.version = it.version;
            owner.take_rings(it.rings.clone(), now);
        }
        fresh
    }

    /// What waited for another phase begins anew, be it to wait again.
    pub(in crate::service) fn begin_parked_again<C: Clients>(&mut self, turn: &mut Turn<'_, C>) {
        for place in self.slots.unpark() {
            self.begin_again(turn, place);
        }
    }

    /// Whether all operations on keys of a pool that began before its rings were set have ended.
    pub fn has_ended(&self, pool: u16) -> bool {
        let owner = &self.pools[pool as usize];
        let Passage { era, changed, .. } = owner.passage;
        // With one ring as well: what waits for other clients is not waited for.
        if owner.speaks_redis() {
            return changed.is_none_or(|at| !self.owes_from_before(pool, at));
        }
        let asked_before = |link: &crate::service::proxy::Link| {
            let oldest = link.connection.oldest();
            link.pool == pool && oldest.is_some_and(|queued| Some(queued) <= changed)
        };
        !self.slots.any_before(pool, era) && !self.links.iter().any(asked_before)
    }

    /// Whether beside that nothing is left of them that the next phase could not bear: stubs,
    /// tokens of the other ring. Only then may it be said that the phase is in force here.
    pub fn has_settled(&self, pool: u16, now: Instant) -> bool {
        let owner = &self.pools[pool as usize];
        let Passage { changed, passed, .. } = owner.passage;
        let Some(changed) = changed else { return true };
        if owner.moves_keys() {
            let empty = !owner.ends_empty() || !self.sweepers.are_busy(pool);
            return empty && self.has_ended(pool);
        }
        let expansion = owner.expansion();
        let waits_until = match owner.phase() {
            _ if owner.drains() => Some(changed + expansion.stub_ttl + SECOND)
                .max(passed.map(|at| at + expansion.cas_quarantine)),
            Phase::Prepare => passed.map(|at| at + expansion.cas_quarantine),
            _ => None,
        };
        waits_until.is_none_or(|at| now >= at) && self.has_ended(pool)
    }

    /// An operation that was parked begins in the phase that it is now.
    fn begin_again<C: Clients>(&mut self, turn: &mut Turn<'_, C>, place: u32) {
        let slot = self.slots.at(place);
        let pool = slot.begun.pool as usize;
        let (owner, parked) = (&self.pools[pool], slot.parked);
        let context = owner.context(turn.now);
        slot.era = owner.passage.era;
        slot.pass = owner.pass();
        let State::Running(machine) = &mut slot.state else { return };
        let step = machine.begin(owner.phase_of(slot.begun.servers[0]), &context);
        if step != super::step::Step::Park {
            slot.parked = None;
            let waited = parked.map_or(Duration::ZERO, |at| turn.now.saturating_duration_since(at));
            self.metrics.pools[pool].parked.record(waited);
        }
        self.act(turn, place, step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::Permit;

    #[test]
    fn only_who_walks_alone_knows_that_the_new_servers_are_empty() {
        let text = "pools:\n  a:\n    listen: h:9\n    protocol: redis\n    servers: [ 'h:1:1 a' ]\n    \
                    expansion: { servers: [ 'h:1:1 a', 'h:2:1 b' ] }\n";
        let config = crate::config::parse(text, "a.yml", false).unwrap();
        let (settings, now) = (&config.pools[0], Instant::now());
        let rings = || rings(settings, settings.two_rings().unwrap());
        let pass = Pass::new(Arc::new(Permit::new(now)), 1);
        let fleet = Arc::new(rings().with_pass(Some(pass)));
        assert!(Passage::from_start(Some(&rings()), now).new_is_empty());
        assert!(!Passage::from_start(Some(&fleet), now).new_is_empty());
        let mut pool = Pool::new(Arc::new(settings.clone()), false, 0);
        assert!(pool.passage.new_is_empty());
        pool.take_rings(Some(fleet), now);
        assert!(!pool.passage.new_is_empty(), "others may have been there and back");
    }
}
