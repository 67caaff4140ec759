//! The proxy of one worker: its pools, the connections to their servers, and its turn.
//!
//! ```text
//!  request() ─┐                    ┌─▶ flush(): one write for each connection that has something
//!  readable() ┼─▶ connections ─────┤
//!  dialled()  │                    └─▶ next_alarm(): when to look again, asked or not
//!  tick() ────┘
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::dedicated::Extra;
use super::expansion::Slots;
use super::fragment::Gathers;
use super::identity::Identity;
use super::moving::{Gate, Sweepers};
use super::near::Nearby;
use super::pool::Pool;
use super::subscriptions::{Asked, Book};
use crate::backend::{Connection, Failure, Inbox, Io, Letter, Resolver, Ticket, TlsConnector};
use crate::cache::near::{Lease, Near};
use crate::config::Config;
use crate::metrics::{PoolMetric, ServerMetric, WorkerMetrics};
use crate::protocol::Rules;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The pool that it has connected to.
    pub pool: u16,
    /// Its request; of one that wants no reply only the session counts.
    pub ticket: Ticket,
    /// It wants replies in RESP3.
    pub resp3: bool,
}

/// Which of the connections to a server a session's requests go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) session: u32,
    pub(crate) resp3: bool,
}

impl Caller {
    pub(super) const fn lane(&self) -> Lane {
        Lane { session: self.ticket.session, resp3: self.resp3 }
    }
}

/// A connection and whose it is.
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) pool: u16,
    pub(super) server: u16,
    /// Counts dialling attempts, so that a late outcome of an earlier one is not taken.
    pub(super) attempt: u32,
    /// Whom it serves.
    pub(super) duty: Duty,
    /// RESP3 is spoken on it.
    pub(super) resp3: bool,
    /// Something was queued in this turn.
    pub(super) dirty: bool,
    /// The earliest alarm that is set.
    pub(super) armed: Option<Instant>,
    /// Not read from until this client has taken what it got.
    pub(super) paused: Option<Pause>,
    /// Clients that want no replies and wait until fewer requests do.
    pub(super) slowed: Vec<Ticket>,
    /// When the greeting, or all that the old server of a name still owes, must have come.
    pub(super) due_by: Option<Instant>,
    /// The address that the name of a Redis server had when this was dialled.
    pub(super) peer: Option<IpAddr>,
    /// When it was last asked whether that is so still.
    pub(super) rechecked: Option<Instant>,
    /// An upload's last byte has come from the client.
    pub(super) whole: bool,
    /// What is sent behind that.
    pub(super) behind: &'static [u8],
    /// Bytes of it that the proxy's total counts.
    pub(super) counted: usize,
    /// Of a subscriber connection: what is not answered.
    pub(super) asked: Asked,
    /// What it stands for in the near cache.
    pub(super) lease: Option<Lease>,
    /// Whether its server tells of changes over it.
    pub(super) hearing: Hearing,
    /// When it is to be asked again whether it still hears.
    pub(super) prove_at: Option<Instant>,
    /// Of one that is lent: it was used for a key that moves between two rings, or that may.
    pub(super) wanders: bool,
}

/// Whether a server tells of changes over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hearing {
    /// It never has.
    Never,
    /// It does.
    Now,
    /// It did before the connection was lost.
    Before,
}

/// Whom a connection serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// Whoever asks.
    Shared,
    /// A client that uploads.
    Upload(Ticket),
    /// A session that needs it for itself; `over`: until the replies that it waits for have come.
    Lent { loan: u32, over: bool },
    /// The next session that needs one.
    Spare,
    /// Those who asked before its server was taken out of the configuration.
    Leaving,
    /// All sessions that are subscribed to something at its server.
    Subscriber,
    /// Nobody: its place is free.
    Gone,
}

/// A server connection waits for a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    pub(super) ticket: Ticket,
    pub(super) began: Instant,
    /// When it was last looked at whether the client takes anything.
    pub(super) looked: Instant,
}

/// The proxy.
pub struct Proxy {
    pub(super) compat: bool,
    pub(super) pools: Vec<Pool>,
    pub(super) links: Vec<Link>,
    pub(super) extra: Extra,
    pub(super) gathers: Gathers,
    /// Operations on keys that move.
    pub(super) slots: Slots,
    /// Sessions that wait for keys to be moved.
    pub(super) gate: Gate,
    /// Those who move what nobody asks for.
    pub(super) sweepers: Sweepers,
    /// Who is subscribed to what.
    pub(super) book: Book,
    pub(super) nearby: Nearby,
    /// The mark of the request that is being sent.
    pub(super) mark: u32,
    /// The pool of the request that is being sent, if it is about keys that are moved.
    pub(super) wary: Option<u16>,
    pub(super) metrics: Arc<WorkerMetrics>,
    pub(super) inbox: Inbox<Letter>,
    pub(super) resolver: Resolver,
    /// What TLS to the servers of each pool is made with.
    pub(super) tls: Vec<Option<TlsConnector>>,
    /// Places for the shared connections to a server, and how many in a row, that nobody has.
    pub(super) blocks: Vec<(u32, u32)>,
    pub(super) dirty: Vec<u32>,
    /// Connections to look at, and when.
    pub(super) alarms: BinaryHeap<Reverse<(Instant, u32)>>,
    /// Split requests whose last part has come in.
    pub(super) complete: Vec<u32>,
    /// Replies are put together here.
    pub(super) merged: Vec<u8>,
    /// What a read brings is first seen here.
    pub(super) scratch: Vec<u8>,
    /// Bytes in the buffers of connections.
    pub(super) held: usize,
    /// Which part of a split request each server has, while it is being split.
    pub(super) part_of: Vec<Option<u16>>,
    /// Counts the questions for any key there is, so that another server answers each time.
    pub(super) draws: u32,
}

/// Bytes taken from a server at once. Large replies are read and written in pieces of this size,
/// and each piece wakes its client: with 128 KiB a 1 MiB value costs 1.6 times as much.
const READ_BYTES: usize = 512 * 1024;

/// Replies that wait for others of the same request may take this share of all buffers.
pub(super) const GATHER_SHARE: usize = 2;

impl Proxy {
    /// The proxy of a worker that is reached through `inbox` and counts in `metrics`.
    pub fn new(
        config: &Config,
        metrics: Arc<WorkerMetrics>,
        (inbox, resolver, tls): (Inbox<Letter>, Resolver, Arc<[Option<TlsConnector>]>),
        nears: Vec<Option<Arc<Near>>>,
    ) -> Self {
        let budget = usize::try_from(config.buffers).unwrap_or(usize::MAX) / config.workers.max(1);
        let mut pools = Vec::new();
        let mut links = Vec::new();
        for (number, settings) in config.pools.iter().enumerate() {
            let first = links.len() as u32;
            let pool = Pool::new(Arc::new(settings.clone()), config.compat, first);
            for server in 0..pool.servers.len() {
                let up = u64::from(!settings.servers[server].is_down());
                metrics.pools[number].servers[server].set(ServerMetric::Up, up);
                metrics.pools[number].set(PoolMetric::NearCoherent, 1);
                for _ in 0..settings.server_connections {
                    links.push(Link::new(&pool, (number as u16, server as u16), false));
                }
            }
            pools.push(pool);
        }
        Self {
            compat: config.compat,
            pools,
            extra: Extra::new(),
            links,
            gathers: Gathers::new(budget / GATHER_SHARE),
            slots: Slots::new(budget / GATHER_SHARE),
            gate: Gate::default(),
            sweepers: Sweepers::default(),
            book: Book::default(),
            nearby: Nearby::new(nears),
            mark: 0,
            wary: None,
            metrics,
            inbox,
            resolver,
            tls: tls.to_vec(),
            blocks: Vec::new(),
            dirty: Vec::new(),
            alarms: BinaryHeap::new(),
            complete: Vec::new(),
            merged: Vec::new(),
            scratch: Vec::with_capacity(READ_BYTES),
            held: 0,
            part_of: Vec::new(),
            draws: 0,
        }
    }

    /// What the requests of a pool are held to; less is taken from a client that has not given
    /// the password.
    pub fn rules(&self, pool: u16, identity: &Identity) -> &Rules {
        let pool = &self.pools[pool as usize];
        if identity.authenticated { &pool.rules } else { &pool.rules_for_strangers }
    }

    /// Bytes held: requests for servers, unfinished replies, parts of split requests.
    pub fn buffered(&self) -> usize {
        self.held + self.gathers.held() + self.slots.held() + self.gate.held()
    }

    /// Whether values may be answered that were asked for earlier.
    #[inline]
    pub fn ages_values(&self) -> bool {
        self.nearby.is_used()
    }

    /// True if no server owes a reply.
    pub fn is_idle(&self) -> bool {
        self.links.iter().all(|link| link.connection.depth() == 0)
    }

    /// When [`Proxy::tick`] should be called next.
    pub fn next_alarm(&self) -> Option<Instant> {
        let links = self.alarms.peek().map(|Reverse((at, _))| *at);
        let moving = [self.slots.next_alarm(), self.gate.next_alarm(), self.sweepers.next_alarm()];
        [links, self.nearby.next_alarm()].into_iter().chain(moving).flatten().min()
    }

    /// The next connection whose alarm has gone off.
    pub(super) fn next_due(&mut self, now: Instant) -> Option<u32> {
        let Reverse((at, link)) = *self.alarms.peek()?;
        if at > now {
            return None;
        }
        self.alarms.pop();
        self.links[link as usize].armed = None;
        Some(link)
    }

    /// Has `link` looked at when it is due, if anything is.
    pub(super) fn arm(&mut self, link: u32, at: Option<Instant>) {
        let Some(at) = at else { return };
        let place = &mut self.links[link as usize];
        if place.armed.is_none_or(|armed| at < armed) {
            place.armed = Some(at);
            self.alarms.push(Reverse((at, link)));
        }
    }

    /// Has `link` looked at when the request that was queued now is late, unless it is looked at by
    /// then anyhow.
    #[inline]
    pub(super) fn arm_for_youngest(&mut self, link: u32, now: Instant) {
        let place = &self.links[link as usize];
        let late = place.connection.timeout().map(|timeout| now + timeout);
        let known = place.armed.zip(late).is_some_and(|(armed, late)| armed <= late);
        if !known {
            let deadline = place.connection.next_deadline();
            self.arm(link, deadline);
        }
    }

    /// Marks a connection to be flushed at the end of the turn.
    pub(super) fn mark_dirty(&mut self, link: u32) {
        let place = &mut self.links[link as usize];
        if !place.dirty {
            place.dirty = true;
            self.dirty.push(link);
        }
    }

    /// The connection of `server` that requests of a lane use: always the same one, so that the
    /// requests of one client for one server stay in order. Those for RESP3 are made when they are
    /// first needed.
    #[inline]
    pub(super) fn connection(&mut self, pool: u16, server: usize, lane: Lane) -> u32 {
        let owner = &self.pools[pool as usize];
        let step = lane.session % owner.settings.server_connections;
        if !lane.resp3 {
            return owner.servers[server].first + step;
        }
        self.first_of_resp3(pool, server) + step
    }

    fn first_of_resp3(&mut self, pool: u16, server: usize) -> u32 {
        if let Some(first) = self.pools[pool as usize].servers[server].first_resp3 {
            return first;
        }
        let (first, _) = self.new_block(pool as usize, (server, true));
        self.pools[pool as usize].servers[server].first_resp3 = Some(first);
        first
    }

    /// The error line of a pool's protocol for a failure.
    pub(super) fn failure_line(&mut self, pool: u16, failure: Failure) -> Vec<u8> {
        let mut line = std::mem::take(&mut self.merged);
        line.clear();
        self.pools[pool as usize].write_error(failure.text(self.compat), &mut line);
        line
    }

    /// Brings the count of bytes and the gauges of queues up to date after something was done
    /// with a connection.
    pub(super) fn report(&mut self, link: u32) {
        let place = &mut self.links[link as usize];
        let now = place.connection.buffered();
        self.held = self.held + now - place.counted;
        place.counted = now;
        let pool = &self.metrics.pools[place.pool as usize];
        place.connection.report(&pool.servers[place.server as usize]);
    }

    /// Closes all server connections: the process ends.
    pub fn shut(&mut self, io: &mut Io) {
        for link in &mut self.links {
            link.connection.close(io, false);
        }
    }
}

impl Link {
    /// The client whose upload it carries.
    pub(super) const fn upload(&self) -> Option<Ticket> {
        match self.duty {
            Duty::Upload(ticket) => Some(ticket),
            _ => None,
        }
    }

    pub(super) fn new(pool: &Pool, (number, server): (u16, u16), resp3: bool) -> Self {
        let greeting = &pool.greetings[usize::from(resp3)];
        Self {
            connection: Connection::new(&pool.settings, Arc::clone(greeting)),
            resp3,
            pool: number,
            server,
            attempt: 0,
            duty: Duty::Shared,
            dirty: false,
            armed: None,
            paused: None,
            slowed: Vec::new(),
            due_by: None,
            peer: None,
            rechecked: None,
            whole: false,
            behind: &[],
            counted: 0,
            asked: Asked::default(),
            lease: None,
            hearing: Hearing::Never,
            prove_at: None,
            wanders: false,
        }
    }
}
