//! Keys handed over from server to server for sessions that wait for them.
//!
//! ```text
//!  move_key ─▶ (the server has room) ─▶ ask_about ─▶ … keys_moved ─▶ Way ─┬─▶ ask_about
//!                                                      key_failed ─┐      ├─▶ key_is_there
//!                                                                  └──────┴─▶ key_is_lost
//! ```
//! Somebody else may be at a key that the proxy is to carry: it is asked about again in a while.

use std::sync::Arc;
use std::time::Duration;

use super::flow::Id;
use super::gate::{Key, State};
use super::way::{Ask as Question, Found, Next, STUCK};
use super::wire;
use crate::backend::{Ask, Failure, To};
use crate::metrics::PoolMetric;
use crate::protocol::{Expect, Span};
use crate::service::dispatch::Turn;
use crate::service::proxy::{Lane, Proxy};
use crate::service::replies::Clients;

/// How long a key that somebody else is at is left alone: they take three round trips.
const WAIT: Duration = Duration::from_millis(1);

impl Proxy {
    /// Begins with a key, if its server may be asked now.
    pub(super) fn move_key<C: Clients>(&mut self, turn: &mut Turn<'_, C>, id: Id) {
        let Some(wait) = self.gate.wait(id.0, id.1) else { return };
        let (pool, era) = (wait.pool, wait.era);
        if era != self.pools[pool as usize].passage.era() {
            // What was to be asked is no longer true.
            return self.look_again(turn, id.0);
        }
        let Some(key) = self.gate.key(id) else { return };
        let (from, moves) = (key.servers[0], key.way.asking() == Question::Move);
        if moves && self.gate.flows.is_stuck((pool, from), turn.now) {
            return self.key_is_lost(turn, id, format!("-{STUCK}\r\n").into_bytes());
        }
        if self.gate.flows.may_ask((pool, from), id, !moves) {
            self.ask_about(turn, id);
        }
    }

    /// Asks what is next about a key.
    fn ask_about<C: Clients>(&mut self, turn: &mut Turn<'_, C>, id: Id) {
        let Some(wait) = self.gate.wait(id.0, id.1) else { return self.end_asking(turn, id) };
        let (pool, era, lane, since) = (wait.pool, wait.era, wait.lane, wait.since);
        let owner = &self.pools[pool as usize];
        if era != owner.passage.era() {
            self.look_again(turn, id.0);
            return self.end_asking(turn, id);
        }
        if !owner.may_act() {
            self.metrics.pools[pool as usize].add(PoolMetric::SelfFenced, 1);
            return self.key_failed(turn, id, Failure::OutOfSight);
        }
        let settings = Arc::clone(&owner.settings);
        if settings.timeout.is_some_and(|limit| turn.now >= since + limit) {
            return self.key_failed(turn, id, Failure::TimedOut);
        }
        let Some(key) = self.gate.key(id) else { return self.end_asking(turn, id) };
        let server = key.servers[key.way.asking().side()];
        let bytes =
            wire::question(&settings, &settings.servers[key.servers[1]], &key.name, &key.way);
        let (session, serial, key) = id;
        let ask = moving_ask(To::Key { session, serial, key });
        let link = self.connection(pool, server, Lane { resp3: false, ..lane });
        self.send(turn, link, ask, &[&bytes]);
    }

    /// Answers about keys have come.
    pub(in crate::service) fn keys_moved<C: Clients>(&mut self, turn: &mut Turn<'_, C>) {
        if self.gate.ready.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.gate.ready) {
            self.key_answered(turn, id);
        }
    }

    fn key_answered<C: Clients>(&mut self, turn: &mut Turn<'_, C>, id: Id) {
        let answered = self.gate.change(id, |key| {
            let answer = std::mem::take(&mut key.answer);
            (key.way.replied(&answer), key.servers[0])
        });
        let Some((next, from)) = answered else { return self.end_asking(turn, id) };
        let why = match next {
            Next::Ask(_) => return self.ask_about(turn, id),
            Next::Wait => {
                self.gate.later.push_back((turn.now + WAIT, id));
                return self.end_asking(turn, id);
            }
            Next::Done(found) => {
                self.key_is_there(turn, id, found);
                return self.end_asking(turn, id);
            }
            Next::Failed(why) => why,
            Next::Stuck => {
                if let Some(wait) = self.gate.wait(id.0, id.1) {
                    let at = (wait.pool, from);
                    self.gate.flows.stick(at, turn.now);
                }
                STUCK.to_owned()
            }
        };
        self.key_is_lost(turn, id, format!("-{why}\r\n").into_bytes());
        self.end_asking(turn, id);
    }

    /// Nothing more is asked about a key for now: the others that have waited for that.
    fn end_asking<C: Clients>(&mut self, turn: &mut Turn<'_, C>, id: Id) {
        let Some(at) = self.gate.flows.ended(id) else { return };
        while let Some(id) = self.gate.flows.next(at) {
            self.move_key(turn, id);
        }
    }

    /// Asks again about keys that somebody else was at.
    pub(in crate::service) fn ask_again<C: Clients>(&mut self, turn: &mut Turn<'_, C>) {
        while let Some((at, id)) = self.gate.later.front().copied() {
            if at > turn.now {
                return;
            }
            self.gate.later.pop_front();
            let Some(wait) = self.gate.wait(id.0, id.1) else { continue };
            let (pool, era) = (wait.pool, wait.era);
            let current = era == self.pools[pool as usize].passage.era();
            // Whoever was at it may have been another session of this worker.
            let there = |key: &Key| self.gate.placed.has(pool, &key.name);
            let key = self.gate.waits.get(&id.0).and_then(|wait| wait.keys.get(id.2 as usize));
            if current && key.is_some_and(there) {
                self.key_is_done(turn, id);
            } else {
                self.move_key(turn, id);
            }
        }
    }

    fn key_is_there<C: Clients>(&mut self, turn: &mut Turn<'_, C>, id: Id, found: Found) {
        let Some(wait) = self.gate.wait(id.0, id.1) else { return };
        let (pool, era) = (wait.pool, wait.era);
        let name = wait.keys.get(id.2 as usize).map(|key| key.name.clone()).unwrap_or_default();
        self.count_moved(pool, found);
        if era == self.pools[pool as usize].passage.era() {
            self.gate.placed.add(pool, &name);
        }
        self.key_is_done(turn, id);
    }

    /// A session waits for one key less.
    fn key_is_done<C: Clients>(&mut self, turn: &mut Turn<'_, C>, id: Id) {
        let Some(wait) = self.gate.wait(id.0, id.1) else { return };
        wait.left -= 1;
        if wait.left == 0 && matches!(wait.state, State::Moving) {
            wait.state = State::Passed;
            let (pool, ticket) = (wait.pool, wait.ticket);
            self.let_through(turn, pool, ticket);
        }
    }

    /// Counts what became of a key.
    pub(super) fn count_moved(&self, pool: u16, found: Found) {
        let metrics = &self.metrics.pools[pool as usize];
        metrics.add(
            match found {
                Found::Here => PoolMetric::KeysMoved,
                Found::Elsewhere => PoolMetric::KeysAbsent,
                Found::Both => PoolMetric::SplitBrain,
                Found::Dropped => PoolMetric::KeysDropped,
            },
            1,
        );
    }

    fn key_is_lost<C: Clients>(&mut self, turn: &mut Turn<'_, C>, id: Id, line: Vec<u8>) {
        let Some(wait) = self.gate.wait(id.0, id.1) else { return };
        if !matches!(wait.state, State::Moving) {
            return;
        }
        wait.state = State::Failed(line);
        let (pool, ticket) = (wait.pool, wait.ticket);
        let metrics = &self.metrics.pools[pool as usize];
        metrics.add(PoolMetric::KeysUnmoved, 1);
        metrics.add(PoolMetric::ForwardErrors, 1);
        self.let_through(turn, pool, ticket);
    }

    /// What was asked about a key has failed on its connection.
    pub(in crate::service) fn key_failed<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        id: Id,
        failure: Failure,
    ) {
        if let Some(wait) = self.gate.wait(id.0, id.1) {
            let pool = wait.pool;
            let line = self.failure_line(pool, failure);
            self.key_is_lost(turn, id, line);
        }
        self.end_asking(turn, id);
    }
}

/// How keys are asked about: both questions may be asked twice.
pub(super) fn moving_ask(to: To) -> Ask {
    let (expect, read, key) = (Expect::Resp, true, Span::default());
    Ask { to, expect, read, key, may_miss: false, patient: false, mark: 0 }
}
