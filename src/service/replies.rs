//! Where replies go: to a client, or into what is being gathered.

use std::time::Instant;

use super::expansion::Slots;
use super::fragment::Gathers;
use super::moving::{Gate, Sweepers};
use super::near::Nearby;
use crate::backend::{Entry, Flow, Io, Replies, Ticket, To};
use crate::cache::near::Lease;
use crate::metrics::{PoolMetric, PoolMetrics, ServerMetric, ServerMetrics};
use crate::protocol::{Access, Expect, Outcome, memcache, redis};
use crate::routing::Pass;

/// The sessions, as far as a service needs them.
pub trait Clients {
    /// Takes the next stretch of the reply to a request; `last` if the reply ends with it. A
    /// request whose session has gone is ignored.
    fn reply(&mut self, io: &mut Io, ticket: Ticket, bytes: &[u8], last: bool) -> Flow;

    /// The rest of a reply will not come: its client must be closed, after what was sent.
    fn cut(&mut self, ticket: Ticket);

    /// What stopped this request's session from being read has gone.
    fn resume(&mut self, io: &mut Io, ticket: Ticket);

    /// A client that does not take its replies must be closed.
    fn give_up(&mut self, ticket: Ticket);

    /// A session gets bytes that answer none of its requests.
    fn push(&mut self, ticket: Ticket, bytes: &[u8]);

    /// Notes whether a session has subscriptions.
    fn subscribed(&mut self, ticket: Ticket, has_any: bool);

    /// Whether a session wants RESP3.
    fn speaks_resp3(&mut self, ticket: Ticket) -> bool;

    /// What the request's client has done since this was asked last.
    fn progress(&mut self, ticket: Ticket) -> Progress;
}

/// What a client does for which a server connection waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It takes its replies.
    Reading,
    /// It has taken all that there is for it: an earlier reply has not come. Or it has gone.
    Blocked,
    /// It does not take what is there.
    Stuck,
}

/// Takes the replies of one connection.
pub(super) struct Sink<'a, C> {
    pub(super) clients: &'a mut C,
    pub(super) gathers: &'a mut Gathers,
    pub(super) slots: &'a mut Slots,
    pub(super) gate: &'a mut Gate,
    pub(super) sweepers: &'a mut Sweepers,
    pub(super) metrics: &'a PoolMetrics,
    pub(super) server: &'a ServerMetrics,
    pub(super) now: Instant,
    /// Who asked for a pause, if anybody did.
    pub(super) paused: Option<Ticket>,
    /// Gathers that became complete.
    pub(super) complete: &'a mut Vec<u32>,
    /// The server says that it cannot serve now.
    pub(super) unavailable: bool,
    /// It has answered something else.
    pub(super) served: bool,
    /// It has refused a write: it is a replica.
    pub(super) read_only: bool,
    /// It will not be asked to tell of what it is asked for.
    pub(super) untold: bool,
    /// What has come for those who are subscribed.
    pub(super) frames: Vec<Vec<u8>>,
    /// The near caches; which pool's the connection is, and what it stands for there.
    pub(super) nearby: &'a mut Nearby,
    pub(super) pool: u16,
    pub(super) lease: Option<Lease>,
    /// By which keys that are moved are acted on, and what was answered without.
    pub(super) pass: Option<&'a Pass>,
    pub(super) fenced: Vec<To>,
}

impl<C: Clients> Replies for Sink<'_, C> {
    #[inline]
    fn reply(&mut self, io: &mut Io, entry: &Entry, bytes: &[u8], end: Option<Outcome>) -> Flow {
        self.server.add(ServerMetric::ResponseBytes, bytes.len() as u64);
        // The last line of such a reply answers what was sent behind its request.
        let quiet = end.is_some() && entry.ask.expect == Expect::MetaQuiet;
        let shorter = if quiet { bytes.strip_suffix(memcache::NOOP_REPLY) } else { None };
        let bytes = shorter.unwrap_or(bytes);
        if let Some(outcome) = end {
            self.count(entry, outcome);
            self.read_only |= outcome == Outcome::Error && redis::is_read_only(bytes);
            self.nearby.marks.end(entry.ask.mark);
        }
        if entry.term != 0 && !entry.begun && self.is_out_of_sight(entry) {
            if end.is_some() {
                self.fenced.push(entry.ask.to);
            }
            return Flow::Go;
        }
        match entry.ask.to {
            To::Nobody => Flow::Go,
            To::Fill { fill, serial, step } => self.fill(io, (fill, serial, step), (bytes, end)),
            To::Proof => {
                self.proven(entry, end);
                Flow::Go
            }
            To::Client(ticket) => {
                let flow = self.clients.reply(io, ticket, bytes, end.is_some());
                if flow == Flow::Pause {
                    self.paused = Some(ticket);
                }
                flow
            }
            To::Part { gather, serial, part } => {
                if self.gathers.take_in((gather, serial), part, bytes, end) {
                    self.complete.push(gather);
                }
                Flow::Go
            }
            To::Step { slot, serial, .. } => {
                self.slots.take_in((slot, serial), bytes, end.is_some());
                Flow::Go
            }
            To::Key { session, serial, key } => {
                self.gate.take_in((session, serial, key), bytes, end.is_some());
                Flow::Go
            }
            To::Sweep { sweeper } => {
                self.sweepers.take_in(sweeper, bytes, end.is_some());
                Flow::Go
            }
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.server.add(ServerMetric::ResponseBytes, bytes.len() as u64);
        self.told(bytes);
    }

    #[cold]
    fn frame(&mut self, bytes: &[u8]) {
        self.server.add(ServerMetric::ResponseBytes, bytes.len() as u64);
        self.frames.push(bytes.to_vec());
    }
}

impl<C> Sink<'_, C> {
    /// Whether the answer about a key that moves may be one that others have gone on without. The
    /// clock is read anew, now that it has come: see [`Permit::holds`](crate::routing::Permit).
    #[cold]
    fn is_out_of_sight(&self, entry: &Entry) -> bool {
        let holds = |pass: &Pass| pass.term() == entry.term && pass.holds(Instant::now());
        !self.pass.is_some_and(holds)
    }

    fn count(&mut self, entry: &Entry, outcome: Outcome) {
        let took = self.now.saturating_duration_since(entry.queued);
        self.server.add(ServerMetric::Responses, 1);
        self.server.latency.record(took);
        match outcome {
            Outcome::Error | Outcome::Auth => self.server.add(ServerMetric::ErrorReplies, 1),
            Outcome::Unavailable => {
                self.server.add(ServerMetric::ErrorReplies, 1);
                self.unavailable = true;
            }
            Outcome::Hit | Outcome::Miss | Outcome::Done => {}
        }
        self.served |= outcome != Outcome::Unavailable;
        if !matches!(entry.ask.to, To::Client(_)) {
            return;
        }
        if entry.ask.read {
            // A quiet read that found nothing has no reply.
            let silent = outcome == Outcome::Done && entry.ask.expect == Expect::MetaQuiet;
            count_lookup(self.metrics, if silent { Outcome::Miss } else { outcome });
            self.metrics.reads.record(took);
        } else {
            self.metrics.writes.record(took);
        }
    }
}

/// Counts what a read of one key found.
pub(super) fn count_lookup(metrics: &PoolMetrics, outcome: Outcome) {
    match outcome {
        Outcome::Hit => metrics.add(PoolMetric::Hits, 1),
        Outcome::Miss => metrics.add(PoolMetric::Misses, 1),
        _ => {}
    }
}

/// Counts a request by its class.
pub fn count_request(metrics: &PoolMetrics, access: Access, bytes: u64) {
    metrics.add(
        match access {
            Access::Read => PoolMetric::RequestsRead,
            Access::Write => PoolMetric::RequestsWrite,
            Access::None => PoolMetric::RequestsOther,
        },
        1,
    );
    metrics.add(PoolMetric::RequestBytes, bytes);
}
