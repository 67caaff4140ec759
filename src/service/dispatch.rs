//! From a request to the connections of the servers that have its keys.

use std::time::Instant;

use super::fragment::Merge;
use super::proxy::{Caller, Proxy};
use super::replies::{Clients, count_request};
use super::route::Astray;
use crate::backend::{Ask, Failure, Flow, Io, Ticket, To};
use crate::config::{Dead, Protocol};
use crate::metrics::{PoolMetric, ServerMetric};
use crate::protocol::{
    Access, Expect, Keys, Op, Plan, Positions, Refusal, Request, memcache, redis,
};

/// The server of a request, and the index of its first key.
pub(super) type Way = (Result<usize, Astray>, Option<usize>);

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
        count_request(metrics, memcache::access_of(&request), request.bytes.len() as u64);
        if self.nearby.of(pool).is_some() {
            match self.near_first(turn, caller, &request) {
                None => return Flow::Go,
                Some(mark) => self.mark = mark,
            }
        }
        let way = match (command.plan, only_key(command.keys, request.args.len())) {
            // By far the most.
            (Plan::Forward | Plan::Values | Plan::Sum | Plan::AllOk, Some(at)) => {
                Some((self.pools[pool as usize].server_of(&request, at), Some(at)))
            }
            _ => self.several(turn, caller, request),
        };
        let flow = way.map_or(Flow::Go, |way| self.forward(turn, caller, request, way));
        if self.mark != 0 {
            // It was not sent.
            self.nearby.marks.end(std::mem::take(&mut self.mark));
        }
        self.wary = None;
        flow
    }

    /// Sees to a request that is not simply for the server of its only key; the way of one that
    /// goes to a single server nevertheless.
    fn several<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        request: Request<'_>,
    ) -> Option<Way> {
        let settings = &self.pools[caller.pool as usize].settings;
        let keys = request.keys();
        match request.head.command.plan {
            Plan::Stats => self.broadcast(turn, caller, request, Merge::Stats),
            Plan::Flush if settings.allow_flush => {
                let merge = self.pools[caller.pool as usize].merge_of_flush();
                self.broadcast(turn, caller, request, merge);
            }
            Plan::Flush if request.head.noreply => {}
            Plan::Flush => self.refuse_flush(turn, caller),
            // One nil is not the answer to an MGET of one key: it is put together.
            Plan::Array if settings.dead == Dead::Miss => {
                self.split(turn, caller, request, Merge::Array);
            }
            Plan::Values if keys.are_several() => {
                self.split(turn, caller, request, Merge::Values);
            }
            Plan::Array if keys.are_several() => self.split(turn, caller, request, Merge::Array),
            Plan::AllOk if keys.are_several() => self.split(turn, caller, request, Merge::Same),
            Plan::Sum if keys.are_several() => self.split(turn, caller, request, Merge::Sum),
            Plan::Sum if keys.first().is_none() => {
                self.broadcast(turn, caller, request, Merge::Sum);
            }
            Plan::Script
            | Plan::Function
            | Plan::Listeners
            | Plan::Concat
            | Plan::AnyOne
            | Plan::Scan => return self.everywhere(turn, caller, request),
            _ => return Some(self.way_of(caller.pool, &request, keys)),
        }
        None
    }

    /// The way to the one server that has all keys of a request.
    pub(super) fn way_of(&self, pool: u16, request: &Request<'_>, keys: Positions) -> Way {
        let first = keys.first();
        (self.pools[pool as usize].server_for(request, keys), first)
    }

    /// Sends a request to one server, or says why it goes to none.
    #[inline]
    pub(super) fn forward<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        request: Request<'_>,
        (server, key_at): Way,
    ) -> Flow {
        let pool = caller.pool;
        let owner = &self.pools[pool as usize];
        let to = if request.head.noreply { To::Nobody } else { To::Client(caller.ticket) };
        let server = match server {
            Ok(server) => server,
            Err(astray) => {
                return self.lead_back(turn, caller, request, (to, astray));
            }
        };
        let key = key_at.and_then(|at| request.args.get(at));
        let ask = Ask {
            to,
            expect: expect_of(owner.settings.protocol, &request),
            read: memcache::access_of(&request) == Access::Read,
            key: key.copied().unwrap_or_default(),
            may_miss: may_miss(&request),
            patient: false,
            mark: std::mem::take(&mut self.mark),
        };
        let quiet = ask.expect == Expect::MetaQuiet;
        let protocol = owner.settings.protocol;
        let link = self.connection(pool, server, caller.lane());
        if request.head.noreply || request.head.rewrite || request.head.bare_lf {
            let wire = rewritten(protocol, &request);
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

    #[cold]
    fn lead_back<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        request: Request<'_>,
        (to, astray): (To, Astray),
    ) -> Flow {
        match astray {
            Astray::Failed(failure) => self.fail(turn, caller.pool, to, failure),
            Astray::Apart(text) => {
                self.turn_down(turn, caller, &Refusal::Redis(text.to_owned()));
            }
            Astray::Moved { old, new } => return self.expand(turn, caller, request, [old, new]),
        }
        Flow::Go
    }

    /// Has a client wait until its server has answered enough, if its queue is half full.
    pub(super) fn slow_down(&mut self, link: u32, ticket: Ticket) -> Flow {
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
            return self.fail_asked(turn, link, &ask, Failure::QueueFull);
        }
        if let Err(failure) = self.reach(link, turn.now) {
            return self.fail_asked(turn, link, &ask, failure);
        }
        let metrics = &self.metrics.pools[pool as usize].servers[server];
        metrics.add(ServerMetric::Requests, 1);
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        metrics.add(ServerMetric::RequestBytes, bytes as u64);
        let place = &mut self.links[link as usize];
        let needs_permit = self.wary == Some(pool) || place.wanders;
        let pushed = place.connection.push(turn.io, ask, pieces, turn.now);
        if needs_permit && matches!(ask.to, To::Client(_) | To::Part { .. }) {
            place.connection.bind(self.pools[pool as usize].term_between());
        }
        self.arm_for_youngest(link, turn.now);
        self.mark_dirty(link);
        if let Err(failure) = pushed {
            self.broken(turn, link, failure);
        }
    }

    /// Fails a request that was, or was to be, asked of a server.
    pub(super) fn fail_asked<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        link: u32,
        ask: &Ask,
        failure: Failure,
    ) {
        let (pool, resp3) = (self.links[link as usize].pool, self.links[link as usize].resp3);
        self.linger(ask.mark, turn.now);
        match ask.to {
            To::Client(ticket) => {
                self.fail_client(turn, (pool, resp3), (ticket, ask.miss()), failure);
            }
            to => self.fail(turn, pool, to, failure),
        }
    }

    /// Tells a client that its request has failed, or that there is nothing if that is what a dead
    /// server means; `miss`: what a reply looks like that says so.
    pub(super) fn fail_client<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        (pool, resp3): (u16, bool),
        (ticket, miss): (Ticket, Option<Expect>),
        failure: Failure,
    ) {
        let owner = &self.pools[pool as usize];
        let Some(expect) = miss.filter(|_| owner.settings.dead == Dead::Miss) else {
            return self.fail(turn, pool, To::Client(ticket), failure);
        };
        let miss = miss_line(expect, resp3);
        self.metrics.pools[pool as usize].add(PoolMetric::Misses, 1);
        turn.clients.reply(turn.io, ticket, miss, true);
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
            To::Nobody | To::Proof => {}
            To::Fill { fill, serial, step } => {
                self.fill_failed(turn, pool, (fill, serial, step), failure);
            }
            To::Client(ticket) => {
                metrics.add(PoolMetric::ForwardErrors, 1);
                let line = self.failure_line(pool, failure);
                turn.clients.reply(turn.io, ticket, &line, true);
                self.merged = line;
            }
            To::Part { gather, serial, part } => {
                if self.gathers.failed((gather, serial), part, failure) {
                    self.complete(turn, gather);
                }
            }
            To::Step { slot, serial, .. } => self.step_failed(turn, (slot, serial), failure),
            To::Key { session, serial, key } => {
                self.key_failed(turn, (session, serial, key), failure);
            }
            To::Sweep { sweeper } => self.sweep_failed(turn, sweeper, failure),
        }
    }

    fn refuse_flush<C: Clients>(&mut self, turn: &mut Turn<'_, C>, caller: Caller) {
        let pool = caller.pool;
        let text = "flushing is not allowed here, see allow_flush";
        let refusal = match self.pools[pool as usize].settings.protocol {
            Protocol::Memcache | Protocol::Ping => Refusal::Client(text),
            Protocol::Redis => Refusal::Redis(format!("ERR {text}")),
        };
        self.turn_down(turn, caller, &refusal);
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

/// The index of the key of a request with `args` arguments, if there can only be this one.
#[inline]
fn only_key(keys: Keys, args: usize) -> Option<usize> {
    match keys {
        Keys::At(at) => Some(at.into()),
        Keys::Every { first, step, .. } if args <= usize::from(first) + usize::from(step) => {
            Some(first.into())
        }
        _ => None,
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
        _ if request.head.command.op == Op::MetaGet => memcache::access_of(request) == Access::Read,
        _ => request.head.command.op == Op::Get,
    }
}

/// What a read of one key answers if there is nothing, to a client that expects `expect`.
fn miss_line(expect: Expect, resp3: bool) -> &'static [u8] {
    match expect {
        Expect::MetaQuiet => b"",
        Expect::Meta => b"EN\r\n",
        Expect::Resp if resp3 => b"_\r\n",
        Expect::Resp => b"$-1\r\n",
        _ => b"END\r\n",
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
        Failure::QueueFull | Failure::NoConnection | Failure::Fenced | Failure::OutOfSight => {
            PoolMetric::ErrorDepth
        }
        Failure::NoResp3 => PoolMetric::ErrorUnsupported,
        Failure::NoServer | Failure::MarkedDown => PoolMetric::ErrorNoBackend,
        Failure::Auth => PoolMetric::ErrorAuth,
        Failure::Tls => PoolMetric::ErrorConnect,
    }
}
