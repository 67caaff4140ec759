//! Keys handed over from server to server for sessions that wait for them.
//!
//! ```text
//!  move_key ─▶ (the server has room) ─▶ connection ─▶ … keys_moved ─▶ Way ─┬─▶ move_key
//!                                                       key_failed ─┐      ├─▶ key_is_there
//!                                                                   └──────┴─▶ key_is_lost
//! ```

use super::flow::{At, Id};
use super::gate::State;
use super::way::{Ask as Question, Found, Next, STUCK};
use super::wire;
use crate::backend::{Ask, Failure, To};
use crate::metrics::PoolMetric;
use crate::protocol::{Expect, Span};
use crate::service::dispatch::Turn;
use crate::service::proxy::{Lane, Proxy};
use crate::service::replies::Clients;

impl Proxy {
    /// Asks what is next about a key, if its server may be asked now.
    pub(super) fn move_key<C: Clients>(&mut self, turn: &mut Turn<'_, C>, id: Id) {
        let Some(wait) = self.gate.wait(id.0, id.1) else { return };
        let (pool, lane, since) = (wait.pool, wait.lane, wait.since);
        if wait.era != self.pools[pool as usize].passage.era() {
            // What was to be asked is no longer true.
            return self.look_again(turn, id.0);
        }
        let Some(key) = wait.keys.get_mut(id.2 as usize) else { return };
        key.answer.clear();
        let ([from, to], asking) = (key.servers, key.way.asking());
        let settings = &self.pools[pool as usize].settings;
        let bytes = match asking {
            Question::Move => wire::migrate(settings, &settings.servers[to], &key.name),
            Question::Clear => wire::unlink(&key.name),
        };
        let late = settings.timeout.is_some_and(|limit| turn.now >= since + limit);
        if !self.pools[pool as usize].may_act() {
            self.metrics.pools[pool as usize].add(PoolMetric::SelfFenced, 1);
            return self.key_failed(turn, id, Failure::OutOfSight);
        }
        if asking == Question::Move && self.gate.flows.is_stuck((pool, from), turn.now) {
            return self.key_is_lost(turn, id, format!("-{STUCK}\r\n").into_bytes());
        }
        if late {
            return self.key_failed(turn, id, Failure::TimedOut);
        }
        if !self.gate.flows.may_ask((pool, from), id) {
            return;
        }
        let (session, serial, key) = id;
        let ask = moving_ask(To::Key { session, serial, key });
        let link = self.connection(pool, from, Lane { resp3: false, ..lane });
        self.send(turn, link, ask, &[&bytes]);
    }

    /// Answers about keys have come.
    pub(in crate::service) fn keys_moved<C: Clients>(&mut self, turn: &mut Turn<'_, C>) {
        if self.gate.ready.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.gate.ready) {
            let at = self.gate.flows.answered(id);
            self.key_answered(turn, id);
            self.ask_next(turn, at);
        }
    }

    fn key_answered<C: Clients>(&mut self, turn: &mut Turn<'_, C>, id: Id) {
        let Some(key) = self.gate.key(id) else { return };
        let answer = std::mem::take(&mut key.answer);
        let (next, from) = (key.way.replied(&answer), key.servers[0]);
        let why = match next {
            Next::Ask(_) => return self.move_key(turn, id),
            Next::Done(found) => return self.key_is_there(turn, id, found),
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
    }

    /// Asks a server for the keys that have waited for its answers.
    fn ask_next<C: Clients>(&mut self, turn: &mut Turn<'_, C>, at: Option<At>) {
        let Some(at) = at else { return };
        while let Some(id) = self.gate.flows.next(at) {
            self.move_key(turn, id);
        }
    }

    fn key_is_there<C: Clients>(&mut self, turn: &mut Turn<'_, C>, id: Id, found: Found) {
        let Some(wait) = self.gate.wait(id.0, id.1) else { return };
        let (pool, era, ticket) = (wait.pool, wait.era, wait.ticket);
        wait.left -= 1;
        let all = wait.left == 0 && matches!(wait.state, State::Moving);
        if all {
            wait.state = State::Passed;
        }
        let name = wait.keys.get_mut(id.2 as usize).map(|key| key.name.clone()).unwrap_or_default();
        self.count_moved(pool, found);
        if era == self.pools[pool as usize].passage.era() {
            self.gate.placed.add(pool, &name);
        }
        if all {
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
        let at = self.gate.flows.answered(id);
        if let Some(wait) = self.gate.wait(id.0, id.1) {
            let pool = wait.pool;
            let line = self.failure_line(pool, failure);
            self.key_is_lost(turn, id, line);
        }
        self.ask_next(turn, at);
    }
}

/// How keys are asked about: both questions may be asked twice.
pub(super) fn moving_ask(to: To) -> Ask {
    let (expect, read, key) = (Expect::Resp, true, Span::default());
    Ask { to, expect, read, key, may_miss: false, patient: false, mark: 0 }
}
