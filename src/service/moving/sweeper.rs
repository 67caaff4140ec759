//! Sweeps on the connections of a worker: one for each server that keys come from, with one question
//! under way at a time, behind whatever clients ask.
//!
//! ```text
//!  set_sweepers ─▶ sweep: who is due ─▶ connection ─▶ … take_in ─▶ sweep_on ─▶ Sweep ─▶ sweep
//! ```
//! Only the first worker of a process has any.

use std::time::Instant;

use super::handing::moving_ask;
use super::scripts::is_token;
use super::sweep::{Ask, Step, Sweep};
use super::way::Way;
use super::wire;
use crate::backend::{Failure, To};
use crate::metrics::{PoolMetric, Spacing};
use crate::service::dispatch::Turn;
use crate::service::proxy::{Lane, Proxy};
use crate::service::replies::Clients;

/// Bytes of a page: far more than its keys should be.
const PAGE_BYTES: usize = 16 << 20;

/// The lane that they use: that of no session in particular.
const LANE: Lane = Lane { session: 0, resp3: false };

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Sweepers {
    /// This worker is the one that has some.
    on: bool,
    all: Vec<Sweeper>,
    next_number: u32,
    /// Those whose answer is whole.
    ready: Vec<u32>,
}

/// Who looks through one server.
#[derive(Debug)]
struct Sweeper {
    number: u32,
    pool: u16,
    server: usize,
    sweep: Sweep,
    /// What is under way: a page, or a key.
    asked: Option<Ask>,
    answer: Vec<u8>,
    told: Spacing,
}

impl Sweepers {
    /// When the next is due.
    pub(crate) fn next_alarm(&self) -> Option<Instant> {
        let idle = self.all.iter().filter(|it| it.is_idle());
        idle.map(|sweeper| sweeper.sweep.due()).min()
    }

    /// Takes a stretch of an answer.
    pub(crate) fn take_in(&mut self, number: u32, bytes: &[u8], last: bool) {
        let Some(sweeper) = self.find(number) else { return };
        let room = PAGE_BYTES.saturating_sub(sweeper.answer.len());
        sweeper.answer.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if last {
            self.ready.push(number);
        }
    }

    fn find(&mut self, number: u32) -> Option<&mut Sweeper> {
        self.all.iter_mut().find(|sweeper| sweeper.number == number)
    }

    /// Whether one of a pool's servers has not been found empty yet.
    pub(in crate::service) fn are_busy(&self, pool: u16) -> bool {
        self.all.iter().any(|sweeper| sweeper.pool == pool && !sweeper.sweep.is_done())
    }
}

impl Sweeper {
    fn is_idle(&self) -> bool {
        self.asked.is_none() && !self.sweep.is_done()
    }
}

impl Proxy {
    /// This worker looks through servers for keys that move.
    pub fn sweeps(&mut self) {
        self.sweepers.on = true;
    }

    /// Nobody looks through a pool's servers any more.
    pub(super) fn drop_sweepers(&mut self, pool: u16) {
        self.sweepers.all.retain(|sweeper| sweeper.pool != pool);
    }

    /// A pool has come into another phase: who looks through which of its servers.
    pub(super) fn set_sweepers(&mut self, now: Instant, pool: u16) {
        let owner = &self.pools[pool as usize];
        let settings = owner.settings.expansion.clone().unwrap_or_default();
        let rate = settings.moving.sweep;
        let carried = owner.carries().map(|_| settings.moving.carry_timeout);
        let heading = owner.heading().filter(|_| self.sweepers.on && rate > 0);
        let servers = heading.map_or_else(Vec::new, |side| owner.reached(Some(side)));
        let sweepers = &mut self.sweepers;
        // From warm to drain and back those that there are go on.
        let has = |sweeper: &Sweeper| sweeper.pool != pool || servers.contains(&sweeper.server);
        sweepers.all.retain(has);
        for server in servers {
            if sweepers.all.iter().any(|it| (it.pool, it.server) == (pool, server)) {
                continue;
            }
            sweepers.next_number = sweepers.next_number.wrapping_add(1);
            sweepers.all.push(Sweeper {
                number: sweepers.next_number,
                pool,
                server,
                sweep: Sweep::new(rate, carried, now),
                asked: None,
                answer: Vec::new(),
                told: Spacing::default(),
            });
        }
        self.show_clean(pool);
    }

    /// Asks what is due.
    pub(in crate::service) fn sweep<C: Clients>(&mut self, turn: &mut Turn<'_, C>) {
        for place in 0..self.sweepers.all.len() {
            let sweeper = &mut self.sweepers.all[place];
            if !sweeper.is_idle() || sweeper.sweep.due() > turn.now {
                continue;
            }
            let (pool, server, number) = (sweeper.pool, sweeper.server, sweeper.number);
            if !self.pools[pool as usize].may_act() {
                sweeper.sweep.rest(turn.now);
                continue;
            }
            let ask = sweeper.sweep.ask(turn.now);
            sweeper.answer.clear();
            sweeper.asked = Some(ask.clone());
            let way = sweeper.sweep.way().clone();
            let Some((server, bytes)) = self.words(pool, server, (&ask, &way)) else { continue };
            let to = To::Sweep { sweeper: number };
            let link = self.connection(pool, server, LANE);
            self.send(turn, link, moving_ask(to), &[&bytes]);
        }
    }

    /// A question, and which server gets it.
    fn words(&self, pool: u16, from: usize, (ask, way): (&Ask, &Way)) -> Option<(usize, Vec<u8>)> {
        let owner = &self.pools[pool as usize];
        Some(match ask {
            Ask::Scan(cursor) => (from, wire::scan(*cursor)),
            Ask::Key(question, key) => {
                let servers = owner.way_of_servers(owner.rings.as_ref()?.moved(key)?);
                debug_assert_eq!(servers[0], from);
                let to = &owner.settings.servers[servers[1]];
                (servers[question.side()], wire::question(&owner.settings, to, key, way))
            }
        })
    }

    /// Answers have come.
    pub(in crate::service) fn sweep_on<C: Clients>(&mut self, turn: &mut Turn<'_, C>) {
        if self.sweepers.ready.is_empty() {
            return;
        }
        for number in std::mem::take(&mut self.sweepers.ready) {
            self.swept(turn.now, number);
        }
        self.sweep(turn);
    }

    fn swept(&mut self, now: Instant, number: u32) {
        let Some(sweeper) = self.sweepers.find(number) else { return };
        let (pool, server) = (sweeper.pool, sweeper.server);
        let Some(asked) = sweeper.asked.take() else { return };
        let answer = std::mem::take(&mut sweeper.answer);
        let page = matches!(asked, Ask::Scan(_)).then(|| self.page(pool, server, &answer));
        let link = self.connection(pool, server, LANE);
        let attempt = self.links[link as usize].attempt;
        let Some(sweeper) = self.sweepers.find(number) else { return };
        if page.is_some() && !self.pools[pool as usize].may_act() {
            // Whatever was found, others may have gone on since.
            return sweeper.sweep.failed(now);
        }
        if page.is_some() && !sweeper.sweep.has_come_on(attempt) {
            return;
        }
        let step = match page {
            None => sweeper.sweep.answer(&answer, now),
            Some(Some((cursor, keys))) => sweeper.sweep.page(cursor, keys, now),
            Some(None) => {
                sweeper.sweep.failed(now);
                Step::Failed("SCAN is not answered as it should be".to_owned())
            }
        };
        match step {
            Step::On => {}
            Step::Key(found) => {
                self.metrics.pools[pool as usize].add(PoolMetric::KeysSwept, 1);
                self.count_moved(pool, found);
            }
            Step::Failed(why) => self.sweep_hindered(now, number, &why),
            Step::Done => self.tell_done(pool, server),
        }
        self.show_clean(pool);
    }

    /// The cursor of a page, and those of its keys that go away from this server.
    fn page(&self, pool: u16, server: usize, answer: &[u8]) -> Option<(u64, Vec<Vec<u8>>)> {
        let (cursor, keys) = wire::scanned(answer)?;
        let owner = &self.pools[pool as usize];
        self.metrics.pools[pool as usize].add(PoolMetric::KeysSeen, keys.len() as u64);
        let rings = owner.rings.as_ref()?;
        let is_token = |key: &[u8]| owner.carries().is_some() && is_token(key);
        let leaves = |key: &&&[u8]| {
            !is_token(key)
                && rings
                    .moved(key)
                    .is_some_and(|servers| owner.way_of_servers(servers)[0] == server)
        };
        Some((cursor, keys.iter().filter(leaves).map(|key| key.to_vec()).collect()))
    }

    /// A question has failed on its connection.
    pub(in crate::service) fn sweep_failed<C>(
        &mut self,
        turn: &Turn<'_, C>,
        number: u32,
        failure: Failure,
    ) {
        let Some(sweeper) = self.sweepers.find(number) else { return };
        sweeper.asked = None;
        sweeper.sweep.failed(turn.now);
        let pool = sweeper.pool;
        self.sweep_hindered(turn.now, number, failure.text(false));
        self.show_clean(pool);
    }

    fn sweep_hindered(&mut self, now: Instant, number: u32, why: &str) {
        let Some(sweeper) = self.sweepers.find(number) else { return };
        let (pool, server) = (sweeper.pool, sweeper.server);
        let told = sweeper.told.pass(now);
        self.metrics.pools[pool as usize].add(PoolMetric::KeysUnmoved, 1);
        if told.is_some() {
            let settings = &self.pools[pool as usize].settings;
            let (pool, server) = (&settings.name, &settings.servers[server].name);
            tracing::warn!(pool, server, why, "keys cannot be moved away");
        }
    }

    fn tell_done(&self, pool: u16, server: usize) {
        let settings = &self.pools[pool as usize].settings;
        let (pool, server) = (&settings.name, &settings.servers[server].name);
        tracing::info!(pool, server, "no key is left that moves");
    }

    /// The fewest clean passes of all servers.
    fn show_clean(&self, pool: u16) {
        let of_it = self.sweepers.all.iter().filter(|sweeper| sweeper.pool == pool);
        let fewest = of_it.map(|sweeper| sweeper.sweep.clean()).min().unwrap_or(0);
        self.metrics.pools[pool as usize].set(PoolMetric::CleanScans, fewest.into());
    }
}
