//! A worker: the proxy as it is, its sockets, and sessions that have one request at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::wires::{Cut, Line, Wires};
use crate::backend::{Flow, Inbox, Io, Letter, Owner, Phase as Life, Resolver, Ticket};
use crate::cache::near::Near;
use crate::config::{Config, Protocol};
use crate::metrics::WorkerMetrics;
use crate::protocol::{Parsed, Request, Rules, memcache, redis};
use crate::service::dispatch::Turn;
use crate::service::identity::Identity;
use crate::service::moving::Gated;
use crate::service::proxy::{Caller, Proxy};
use crate::service::replies::{Clients, Progress};

/// Turns in which sockets still have something, at most.
const TURNS: usize = 100;

/// What sessions were told.
#[derive(Default)]
pub(super) struct Told {
    begun: BTreeMap<u32, Vec<u8>>,
    /// Whole replies, by session.
    pub(super) done: Vec<(u32, Vec<u8>)>,
    resumed: Vec<u32>,
}

impl Clients for Told {
    fn reply(&mut self, _: &mut Io, ticket: Ticket, bytes: &[u8], last: bool) -> Flow {
        self.begun.entry(ticket.session).or_default().extend_from_slice(bytes);
        if last && let Some(reply) = self.begun.remove(&ticket.session) {
            self.done.push((ticket.session, reply));
        }
        Flow::Go
    }

    fn cut(&mut self, ticket: Ticket) {
        self.begun.remove(&ticket.session);
        self.done.push((ticket.session, b"-ERR cut\r\n".to_vec()));
    }

    fn resume(&mut self, _: &mut Io, ticket: Ticket) {
        self.resumed.push(ticket.session);
    }

    fn give_up(&mut self, _: Ticket) {}

    fn push(&mut self, _: Ticket, _: &[u8]) {}

    fn subscribed(&mut self, _: Ticket, _: bool) {}

    fn speaks_resp3(&mut self, _: Ticket) -> bool {
        false
    }

    fn progress(&mut self, _: Ticket) -> Progress {
        Progress::Reading
    }
}

pub(super) struct Worker {
    number: usize,
    made: Instant,
    pub(super) proxy: Proxy,
    io: Io,
    pub(super) told: Told,
    protocol: Protocol,
    /// What sessions have asked that waits for its keys, and its number.
    waiting: BTreeMap<u32, (Vec<u8>, u32)>,
    next: u32,
    pub(super) stopped_until: u64,
    /// How often it has taken rings over.
    pub(super) era: u64,
}

impl Worker {
    pub(super) fn new(
        number: usize,
        config: &Config,
        (metrics, near, sweeps): (&Arc<WorkerMetrics>, &Arc<Near>, bool),
    ) -> Self {
        let (inbox, mail) = Inbox::new(16);
        let names = Resolver::new(Box::new(|_| Ok(Vec::new())), Box::new(|_| ()));
        let reach = (inbox, names, Vec::new().into());
        let nears = vec![Some(Arc::clone(near))];
        let mut proxy = Proxy::new(config, Arc::clone(metrics), reach, nears);
        if sweeps {
            proxy.sweeps();
        }
        Self {
            number,
            made: Instant::now(),
            proxy,
            io: Io::new(mail),
            told: Told::default(),
            protocol: config.pools[0].protocol,
            waiting: BTreeMap::new(),
            next: 0,
            stopped_until: 0,
            era: 0,
        }
    }

    /// What a part of it does in one turn.
    pub(super) fn turn<T>(
        &mut self,
        now: Instant,
        act: impl FnOnce(&mut Proxy, &mut Turn<'_, Told>) -> T,
    ) -> T {
        let turn = &mut Turn { now, io: &mut self.io, clients: &mut self.told };
        act(&mut self.proxy, turn)
    }

    /// A session asks for something.
    pub(super) fn ask(&mut self, now: Instant, session: u32, bytes: &[u8]) {
        self.next += 1;
        self.submit(now, session, (bytes.to_vec(), self.next));
    }

    fn submit(&mut self, now: Instant, session: u32, (bytes, seq): (Vec<u8>, u32)) {
        let mut args = Vec::new();
        let identity = Identity { authenticated: true, ..Identity::default() };
        let rules: Rules = *self.proxy.rules(0, &identity);
        let parsed = match self.protocol {
            Protocol::Redis => redis::parse(&bytes, &rules, &mut args),
            _ => memcache::parse(&bytes, &rules, &mut args),
        };
        let Parsed::Request(head) = parsed else { panic!("{:?}", bytes.escape_ascii()) };
        let request = Request { head: &head, bytes: &bytes, args: &args };
        let ticket = Ticket { session, serial: 1, seq };
        let caller = Caller { pool: 0, ticket, resp3: false };
        let turn = &mut Turn { now, io: &mut self.io, clients: &mut self.told };
        let gated = match self.proxy.is_gated(0) {
            true => self.proxy.gate(turn, caller, &request),
            false => Gated::Open,
        };
        match gated {
            Gated::Open => {
                self.proxy.request(turn, caller, request);
            }
            Gated::Wait => drop(self.waiting.insert(session, (bytes, seq))),
            Gated::Refused(line) => self.told.done.push((session, line)),
        }
    }

    /// Lets it work until nothing is left to do: connections are made, what is written leaves, what
    /// has come is read, and who was let wait asks again.
    pub(super) async fn pump(
        &mut self,
        (now, at): (Instant, u64),
        wires: &mut Wires,
        cut: fn(&[u8]) -> Option<Cut>,
    ) {
        let (mut tokens, mut mail) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            let mut busy = self.dial(now, wires).await;
            self.turn(now, |proxy, turn| proxy.flush(turn));
            wires.collect(self.number, at, cut);
            // In the past, as the runtime's clock has it, too: nothing is waited for.
            self.io.turn(Some(self.made), &mut tokens, &mut mail).await;
            for letter in mail.drain(..) {
                if let Letter::Landed { pool, hash } = letter {
                    self.turn(now, |proxy, turn| proxy.landed(turn, pool, hash));
                    busy = true;
                }
            }
            busy |= !tokens.is_empty();
            for &token in &tokens {
                if let Some(Owner::Server(link)) = self.io.owner(token) {
                    self.turn(now, |proxy, turn| proxy.ready(turn, link));
                }
            }
            for session in std::mem::take(&mut self.told.resumed) {
                if let Some(request) = self.waiting.remove(&session) {
                    busy = true;
                    self.submit(now, session, request);
                }
            }
            if !busy {
                return;
            }
        }
        panic!("worker {} does not come to rest", self.number);
    }

    /// Connects whatever is being dialled; true if anything was.
    async fn dial(&mut self, now: Instant, wires: &mut Wires) -> bool {
        let mut any = false;
        for link in 0..self.proxy.links.len() as u32 {
            let it = &self.proxy.links[link as usize];
            if it.connection.phase() == Life::Connecting {
                let (server, attempt) = (it.server as usize, it.attempt);
                let stream = wires.open(Line { worker: self.number, link }, server).await;
                self.turn(now, |proxy, turn| proxy.dialled(turn, (link, attempt), Ok(stream)));
                any = true;
            }
        }
        any
    }
}
