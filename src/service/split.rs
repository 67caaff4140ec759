//! Requests for several servers at once: split by their keys, or sent to all.
//!
//! ```text
//!  split     ─▶ key by key: its server's part ─┐
//!  broadcast ─▶ the same for every server ─────┴▶ send_parts ─▶ … ─▶ complete ─▶ merge ─▶ reply
//! ```

use super::dispatch::{Turn, rewritten};
use super::fragment::{self, Gather, Merge, New};
use super::proxy::{Caller, Proxy};
use super::replies::Clients;
use super::route::Astray;
use crate::backend::{Ask, Failure, Flow, Ticket, To};
use crate::config::{Dead, Partial, Protocol};
use crate::metrics::PoolMetric;
use crate::protocol::{Access, Expect, Op, Request, Span, memcache};

impl Proxy {
    /// Splits a request over the servers of its keys.
    pub(super) fn split<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        request: Request<'_>,
        merge: Merge,
    ) {
        let keys = request.keys();
        let (first, step) = (keys.first().unwrap_or(1), keys.step());
        let new = self.new_gather(turn, caller, &request, merge);
        let (place, serial) = self.gathers.begin(new);
        let owner = &self.pools[caller.pool as usize];
        let gather = self.gathers.at(place);
        let command = request.head.command;
        let reads_old = command.access == Access::Read && owner.reads_old(command.op == Op::Gets);
        self.part_of.clear();
        self.part_of.resize(owner.servers.len(), None);
        let memcache = owner.settings.protocol == Protocol::Memcache;
        let before = request.args[..first].last().map_or(0, |span| span.end);
        let before = Span { start: request.args[0].start, end: before };
        for unit in request.args.get(first..).unwrap_or_default().chunks(step) {
            let key = unit[0];
            let command = if memcache { before.of(request.bytes) } else { &[] };
            let mut place = owner.place(key.of(request.bytes));
            if reads_old {
                place = self.slots.plain(place, caller, key.of(request.bytes));
            }
            let part = match place {
                Ok(server) => {
                    *self.part_of[server].get_or_insert_with(|| gather.add_part(server, command))
                }
                Err(Astray::Moved { old, new }) => gather.add_moved(command, [old, new]),
                Err(_) => break,
            };
            if memcache {
                let word = Span { start: key.start - 1, end: key.end };
                gather.add_word(word.of(request.bytes), part);
            } else {
                gather.add_key(part);
            }
        }
        if memcache {
            gather.parts().iter_mut().for_each(fragment::end_line);
        } else {
            fragment::write_redis_parts(gather, &request, first, step);
        }
        self.send_parts(turn, (place, serial), &request);
    }

    /// Sends a request to every server.
    pub(super) fn broadcast<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        request: Request<'_>,
        merge: Merge,
    ) {
        let new = self.new_gather(turn, caller, &request, merge);
        let (place, serial) = self.gathers.begin(new);
        let owner = &self.pools[caller.pool as usize];
        let gather = self.gathers.at(place);
        let wire = rewritten(owner.settings.protocol, &request).concat();
        for index in owner.audience(request.head.command.plan) {
            gather.add_part(index, &wire);
        }
        self.send_parts(turn, (place, serial), &request);
    }

    pub(super) fn new_gather<C>(
        &mut self,
        turn: &Turn<'_, C>,
        caller: Caller,
        request: &Request<'_>,
        merge: Merge,
    ) -> New {
        New {
            ticket: (!request.head.noreply).then_some(caller.ticket),
            pool: caller.pool,
            merge,
            read: request.head.command.access == Access::Read,
            now: turn.now,
            lane: caller.lane(),
            mark: std::mem::take(&mut self.mark),
            limit: self.pools[caller.pool as usize].settings.limits.client_output_bytes,
        }
    }

    pub(super) fn send_parts<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        (place, serial): (u32, u32),
        request: &Request<'_>,
    ) {
        let command = request.head.command;
        let expect = match self.pools[self.gathers.at(place).pool as usize].settings.protocol {
            Protocol::Memcache | Protocol::Ping => memcache::expect_of(command, 2),
            Protocol::Redis => Expect::Resp,
        };
        self.send_all(turn, (place, serial), (expect, command.access == Access::Read));
    }

    /// The same where nothing is left of the request but what its replies look like, and whether
    /// it is a read.
    pub(super) fn send_all<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        (place, serial): (u32, u32),
        (expect, read): (Expect, bool),
    ) {
        let pool = self.gathers.at(place).pool;
        let parts = self.gathers.at(place).parts().len();
        if parts == 0 {
            return self.fail_whole(turn, place, Failure::NoServer);
        }
        self.metrics.pools[pool as usize].add(PoolMetric::Fragments, parts as u64);
        for index in 0..parts {
            if !self.gathers.at(place).parts()[index].elsewhere {
                self.send_part(turn, (place, serial), (index as u16, expect, read));
            }
        }
    }

    /// Sends one part to its server, or to both that its only key moves between.
    pub(super) fn send_part<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        (place, serial): (u32, u32),
        (index, expect, read): (u16, Expect, bool),
    ) {
        let gather = self.gathers.at(place);
        let (pool, lane) = (gather.pool, gather.lane);
        let Some(part) = gather.parts().get_mut(index as usize) else { return };
        let (server, wire, moved) = (part.server, std::mem::take(&mut part.wire), part.moved);
        let to = To::Part { gather: place, serial, part: index };
        let ask = Ask {
            to,
            expect,
            read,
            key: Span::default(),
            may_miss: false,
            patient: false,
            mark: 0,
        };
        match moved {
            Some(servers) => self.expand_part(turn, (pool, lane, to), &wire, servers),
            None => {
                let link = self.connection(pool, server, lane);
                self.send(turn, link, ask, &[&wire]);
            }
        }
        self.gathers.give_back((place, serial), index as usize, wire);
    }

    /// All parts of a gathered request are there: puts them together and replies. Returns whom
    /// the servers should wait for, if its client has enough for now.
    pub(super) fn complete<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        place: u32,
    ) -> Option<Ticket> {
        let mut merged = std::mem::take(&mut self.merged);
        merged.clear();
        let gather = self.gathers.at(place);
        let (pool, ticket, read, begun) = (gather.pool, gather.ticket, gather.read, gather.begun);
        let (mark, unsure) = (gather.mark, gather.has_failed());
        let owner = &self.pools[pool as usize];
        let manner = fragment::Manner {
            partial: owner.settings.partial == Partial::Miss && !self.compat,
            dead_misses: owner.settings.dead == Dead::Miss,
            compat: self.compat,
        };
        let lane = gather.lane;
        let name_of = |server: usize| owner.settings.servers[server].name.as_bytes();
        let result = gather.merge(manner, name_of, &mut merged);
        let metrics = &self.metrics.pools[pool as usize];
        metrics.add(PoolMetric::Hits, result.hits);
        metrics.add(PoolMetric::Misses, result.misses);
        let latency = if read { &metrics.reads } else { &metrics.writes };
        latency.record(turn.now.saturating_duration_since(begun));
        let mut failure = result.failure;
        if gather.merge == Merge::Old && failure.is_none() && is_ok(&merged) {
            self.merged = merged;
            self.flush_new(turn, place);
            return None;
        }
        if let Some(server) = result.foreign {
            let malformed = Failure::BadReply(crate::protocol::Malformed::Unexpected);
            failure = Some(malformed);
            let link = self.connection(pool, server, lane);
            self.broken(turn, link, malformed);
        }
        if let Some(failure) = failure {
            merged.clear();
            self.pools[pool as usize].write_error(failure.text(self.compat), &mut merged);
            self.metrics.pools[pool as usize].add(PoolMetric::ForwardErrors, 1);
        }
        self.gathers.finish(place);
        if unsure {
            self.linger(mark, turn.now);
        } else {
            self.nearby.marks.end(mark);
        }
        let mut pause = None;
        if let Some(ticket) = ticket {
            let flow = turn.clients.reply(turn.io, ticket, &merged, true);
            pause = (flow == Flow::Pause).then_some(ticket);
            if failure.is_some_and(|failure| failure != Failure::Trailing) && self.compat && read {
                turn.clients.cut(ticket);
            }
        }
        self.merged = merged;
        pause
    }

    pub(super) fn fail_whole<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        place: u32,
        failure: Failure,
    ) {
        let gather: &mut Gather = self.gathers.at(place);
        let (pool, to) = (gather.pool, gather.ticket.map_or(To::Nobody, To::Client));
        let mark = gather.mark;
        self.gathers.finish(place);
        self.nearby.marks.end(mark);
        self.fail(turn, pool, to, failure);
    }
}

fn is_ok(reply: &[u8]) -> bool {
    reply == b"OK\r\n" || reply == b"+OK\r\n"
}
