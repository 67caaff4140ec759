//! From a request to the connections of the servers that have its keys.

use std::time::Instant;

use super::fragment::{self, Gather, Merge, New};
use super::proxy::{Caller, Proxy};
use super::replies::{Clients, count_request};
use super::route::Astray;
use crate::backend::{Ask, Failure, Flow, Io, Ticket, To};
use crate::config::{Dead, Partial, Protocol};
use crate::metrics::{PoolMetric, ServerMetric};
use crate::protocol::{Access, Expect, Plan, Refusal, Request, Span, memcache, redis};

/// A turn of the worker, as the service sees it.
pub struct Turn<'a, C> {
    /// The time at which the turn began.
    pub now: Instant,
    /// The sockets.
    pub io: &'a mut Io,
    /// The sessions.
    pub clients: &'a mut C,
}

impl Proxy {
    /// Sees to one request of a client. A pause is asked of a client that wants no replies, and
    /// so is not slowed down by waiting for them, until its server has caught up:
    /// [`Clients::resume`] ends it.
    pub fn request<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        request: Request<'_>,
    ) -> Flow {
        let pool = caller.pool;
        let command = request.head.command;
        let metrics = &self.metrics.pools[pool as usize];
        count_request(metrics, command.access, request.bytes.len() as u64);
        let settings = &self.pools[pool as usize].settings;
        match command.plan {
            Plan::Stats => self.broadcast(turn, caller, request, Merge::Stats),
            Plan::Flush if settings.allow_flush => {
                self.broadcast(turn, caller, request, Merge::Same);
            }
            Plan::Flush if request.head.noreply => {}
            Plan::Flush => self.refuse_flush(turn, caller),
            // One nil is not the answer to an MGET of one key: it is put together.
            Plan::Array if settings.dead == Dead::Miss => {
                self.split(turn, caller, request, Merge::Array);
            }
            Plan::Values if request.keys().len() > 1 => {
                self.split(turn, caller, request, Merge::Values);
            }
            Plan::Array if request.keys().len() > 1 => {
                self.split(turn, caller, request, Merge::Array);
            }
            Plan::AllOk if request.keys().len() > 1 => {
                self.split(turn, caller, request, Merge::Same);
            }
            Plan::Sum => match request.keys().len() {
                0 => self.broadcast(turn, caller, request, Merge::Sum),
                1 => return self.forward(turn, caller, request),
                _ => self.split(turn, caller, request, Merge::Sum),
            },
            Plan::Script | Plan::Function | Plan::Concat | Plan::AnyOne | Plan::Scan => {
                return self.everywhere(turn, caller, request);
            }
            _ => return self.forward(turn, caller, request),
        }
        Flow::Go
    }

    /// Sends a request to the server of its keys.
    pub(super) fn forward<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        request: Request<'_>,
    ) -> Flow {
        let pool = caller.pool;
        let owner = &self.pools[pool as usize];
        let to = if request.head.noreply { To::Nobody } else { To::Client(caller.ticket) };
        let server = match owner.server_for(&request) {
            Ok(server) => server,
            Err(Astray::Failed(failure)) => {
                self.fail(turn, pool, to, failure);
                return Flow::Go;
            }
            Err(Astray::Apart(refusal)) => {
                self.turn_down(turn, caller, &refusal);
                return Flow::Go;
            }
        };
        let key = request.keys().first().and_then(|at| request.args.get(at));
        let ask = Ask {
            to,
            expect: expect_of(owner.settings.protocol, &request),
            read: request.head.command.access == Access::Read,
            key: key.copied().unwrap_or_default(),
            may_miss: may_miss(&request),
            patient: false,
        };
        let link = owner.connection(server, caller.ticket.session);
        let quiet = ask.expect == Expect::MetaQuiet;
        if request.head.noreply || request.head.rewrite || request.head.bare_lf {
            let wire = rewritten(owner.settings.protocol, &request);
            let behind = quiet.then_some(memcache::NOOP);
            let pieces: Vec<&[u8]> = wire.iter().map(Vec::as_slice).chain(behind).collect();
            self.send(turn, link, ask, &pieces);
        } else if quiet {
            self.send(turn, link, ask, &[request.bytes, memcache::NOOP]);
        } else {
            self.send(turn, link, ask, &[request.bytes]);
        }
        if request.head.noreply { self.slow_down(link, caller.ticket) } else { Flow::Go }
    }

    /// Has a client wait until its server has answered enough, if its queue is half full.
    fn slow_down(&mut self, link: u32, ticket: Ticket) -> Flow {
        let place = &mut self.links[link as usize];
        let queue = self.pools[place.pool as usize].settings.limits.server_queue;
        if place.connection.depth() <= queue / 2 {
            return Flow::Go;
        }
        place.slowed.push(ticket);
        Flow::Pause
    }

    /// Queues a request on a connection, dialling if need be; if the server is out of reach the
    /// request fails here and now.
    pub(super) fn send<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        link: u32,
        ask: Ask,
        pieces: &[&[u8]],
    ) {
        let place = &mut self.links[link as usize];
        let (pool, server) = (place.pool, place.server as usize);
        let owner = &self.pools[pool as usize];
        if place.connection.depth() >= owner.settings.limits.server_queue {
            return self.fail_asked(turn, pool, &ask, Failure::QueueFull);
        }
        if let Err(failure) = self.reach(link, turn.now) {
            return self.fail_asked(turn, pool, &ask, failure);
        }
        let metrics = &self.metrics.pools[pool as usize].servers[server];
        metrics.add(ServerMetric::Requests, 1);
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        metrics.add(ServerMetric::RequestBytes, bytes as u64);
        let place = &mut self.links[link as usize];
        let pushed = place.connection.push(turn.io, ask, pieces, turn.now);
        let deadline = place.connection.next_deadline();
        self.arm(link, deadline);
        self.mark(link);
        if let Err(failure) = pushed {
            self.broken(turn, link, failure);
        }
    }

    /// Splits a request over the servers of its keys.
    fn split<C: Clients>(
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
        let router = &owner.router;
        self.part_of.clear();
        self.part_of.resize(owner.servers.len(), None);
        let memcache = owner.settings.protocol == Protocol::Memcache;
        let before = request.args[..first].last().map_or(0, |span| span.end);
        let before = Span { start: request.args[0].start, end: before };
        for unit in request.args.get(first..).unwrap_or_default().chunks(step) {
            let key = unit[0];
            let Some(server) = router.server_of(key.of(request.bytes)) else { break };
            let part = *self.part_of[server].get_or_insert_with(|| {
                let command = if memcache { before.of(request.bytes) } else { &[] };
                gather.add_part(server, command)
            });
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
        for index in 0..owner.settings.servers.len() {
            gather.add_part(index, &wire);
        }
        self.send_parts(turn, (place, serial), &request);
    }

    pub(super) fn new_gather<C>(
        &self,
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
            lane: caller.ticket.session,
            limit: self.pools[caller.pool as usize].settings.limits.client_output_bytes,
        }
    }

    pub(super) fn send_parts<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        (place, serial): (u32, u32),
        request: &Request<'_>,
    ) {
        let pool = self.gathers.at(place).pool;
        let parts = self.gathers.at(place).parts().len();
        if parts == 0 {
            return self.fail_whole(turn, place, Failure::NoServer);
        }
        let protocol = self.pools[pool as usize].settings.protocol;
        let ask = |part| Ask {
            to: To::Part { gather: place, serial, part },
            expect: match protocol {
                Protocol::Memcache | Protocol::Ping => memcache::expect_of(request.head.command, 2),
                Protocol::Redis => Expect::Resp,
            },
            read: request.head.command.access == Access::Read,
            key: Span::default(),
            may_miss: false,
            patient: false,
        };
        self.metrics.pools[pool as usize].add(PoolMetric::Fragments, parts as u64);
        for index in 0..parts {
            let part = &mut self.gathers.at(place).parts()[index];
            let (server, wire) = (part.server, std::mem::take(&mut part.wire));
            let lane = self.gathers.at(place).lane;
            let link = self.pools[pool as usize].connection(server, lane);
            self.send(turn, link, ask(index as u16), &[&wire]);
            self.gathers.give_back((place, serial), index, wire);
        }
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
        if let Some(server) = result.foreign {
            let malformed = Failure::BadReply(crate::protocol::Malformed::Unexpected);
            failure = Some(malformed);
            let link = owner.connection(server, lane);
            self.broken(turn, link, malformed);
        }
        if let Some(failure) = failure {
            merged.clear();
            self.pools[pool as usize].write_error(failure.text(self.compat), &mut merged);
            self.metrics.pools[pool as usize].add(PoolMetric::ForwardErrors, 1);
        }
        self.gathers.finish(place);
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

    fn fail_whole<C: Clients>(&mut self, turn: &mut Turn<'_, C>, place: u32, failure: Failure) {
        let gather: &mut Gather = self.gathers.at(place);
        let (pool, to) = (gather.pool, gather.ticket.map_or(To::Nobody, To::Client));
        self.gathers.finish(place);
        self.fail(turn, pool, to, failure);
    }

    /// Fails a request that was, or was to be, asked of a server.
    pub(super) fn fail_asked<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        pool: u16,
        ask: &Ask,
        failure: Failure,
    ) {
        let owner = &self.pools[pool as usize];
        match ask.to {
            To::Client(ticket) if ask.may_miss && owner.settings.dead == Dead::Miss => {
                let mut miss = Vec::new();
                owner.write_miss(&mut miss);
                self.metrics.pools[pool as usize].add(PoolMetric::Misses, 1);
                turn.clients.reply(turn.io, ticket, &miss, true);
            }
            to => self.fail(turn, pool, to, failure),
        }
    }

    /// Tells whoever waits that the request has failed.
    pub(super) fn fail<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        pool: u16,
        to: To,
        failure: Failure,
    ) {
        let metrics = &self.metrics.pools[pool as usize];
        metrics.add(error_metric(failure), 1);
        match to {
            To::Nobody => {}
            To::Client(ticket) => {
                metrics.add(PoolMetric::ForwardErrors, 1);
                let line = self.error_line(pool, failure.text(self.compat));
                turn.clients.reply(turn.io, ticket, &line, true);
                self.merged = line;
            }
            To::Part { gather, serial, part } => {
                if self.gathers.failed((gather, serial), part, failure) {
                    self.complete(turn, gather);
                }
            }
        }
    }

    fn refuse_flush<C: Clients>(&mut self, turn: &mut Turn<'_, C>, caller: Caller) {
        let Caller { pool, ticket } = caller;
        let text = "flushing is not allowed here, see allow_flush";
        let refusal = match self.pools[pool as usize].settings.protocol {
            Protocol::Memcache | Protocol::Ping => Refusal::Client(text),
            Protocol::Redis => Refusal::Redis(format!("ERR {text}")),
        };
        self.turn_down(turn, Caller { pool, ticket }, &refusal);
    }

    /// Answers a request with the line of a refusal.
    pub(super) fn turn_down<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        refusal: &Refusal,
    ) {
        self.metrics.pools[caller.pool as usize].add(PoolMetric::ErrorUnsupported, 1);
        let mut line = Vec::new();
        self.pools[caller.pool as usize].write_refusal(refusal, &mut line);
        turn.clients.reply(turn.io, caller.ticket, &line, true);
    }
}

/// What the reply to a request for one server must look like.
pub(super) fn expect_of(protocol: Protocol, request: &Request<'_>) -> Expect {
    match protocol {
        Protocol::Memcache if memcache::is_quiet(request) => Expect::MetaQuiet,
        Protocol::Memcache | Protocol::Ping => memcache::expect_of(request.head.command, 1),
        Protocol::Redis => Expect::Resp,
    }
}

/// A read of one value can be answered as a miss.
fn may_miss(request: &Request<'_>) -> bool {
    match request.head.command.plan {
        Plan::Values => true,
        _ => request.head.command.name == "GET",
    }
}

/// The request as a server should see it: a line that ends with CRLF and does not say noreply,
/// or an array instead of inline words.
pub(super) fn rewritten(protocol: Protocol, request: &Request<'_>) -> Vec<Vec<u8>> {
    match protocol {
        Protocol::Memcache | Protocol::Ping => {
            let args = &request.args[..request.args.len() - usize::from(request.head.noreply)];
            let end = args.last().map_or(0, |span| span.end as usize);
            let mut line = request.bytes[..end].to_vec();
            line.extend_from_slice(b"\r\n");
            vec![line, request.bytes[request.head.line as usize..].to_vec()]
        }
        Protocol::Redis => {
            let mut wire = Vec::new();
            let args = request.args.iter().map(|span| span.of(request.bytes));
            redis::write_command(args, &mut wire);
            vec![wire]
        }
    }
}

fn error_metric(failure: Failure) -> PoolMetric {
    match failure {
        Failure::TimedOut => PoolMetric::ErrorTimeout,
        Failure::Refused | Failure::Unresolved => PoolMetric::ErrorConnect,
        Failure::Reset | Failure::Closed => PoolMetric::ErrorReset,
        Failure::BadReply(crate::protocol::Malformed::Oversize) => PoolMetric::ErrorOversize,
        Failure::BadReply(_) | Failure::Trailing | Failure::Unfit => PoolMetric::ErrorParse,
        Failure::QueueFull | Failure::NoConnection => PoolMetric::ErrorDepth,
        Failure::NoServer => PoolMetric::ErrorNoBackend,
        Failure::Auth => PoolMetric::ErrorAuth,
    }
}
