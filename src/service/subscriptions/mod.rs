//! SUBSCRIBE and its kin: one connection to each server carries what all sessions subscribe to.
//!
//! ```text
//!  session ─▶ pubsub ─▶ Book ─▶ (new to this worker) ─▶ the subscriber connection ─▶ server
//!  session ◀─ frames of its own ◀─ Book ◀─ heard: confirmations, messages ◀──────────┘
//! ```
//! A channel is at the server that a key of its name would be on; a pattern at all of them. What
//! servers confirm is counted here, as a session's count is its own. When such a connection breaks,
//! messages may have been lost, and the sessions that would have got them are closed, as Redis's
//! clients are when their server goes.

mod book;
mod following;

use std::collections::VecDeque;
use std::time::Instant;

use self::book::{Name, Told, Topic};
use super::dispatch::Turn;
use super::proxy::{Caller, Duty, Proxy};
use super::replies::{Clients, count_request};
use crate::backend::{Failure, Phase, Ticket, To};
use crate::protocol::redis::{bulk_text, elements, write_bulk, write_command, write_header};
use crate::protocol::{PubSub, Refusal, Request, Sub};

pub(super) use book::Book;

/// What has been asked on a subscriber connection and is not answered, oldest first.
pub(super) type Asked = VecDeque<(Topic, bool)>;

impl Proxy {
    /// Sees to a command that begins or ends subscriptions.
    pub fn pubsub<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        (what, request): (PubSub, Request<'_>),
    ) {
        let metrics = &self.metrics.pools[caller.pool as usize];
        count_request(metrics, request.head.command.access, request.bytes.len() as u64);
        let names = request.args.iter().skip(1).map(|arg| arg.of(request.bytes).into());
        match what {
            PubSub::Subscribe(sub) => {
                let topic = |name| Topic { pool: caller.pool, sub, name };
                self.subscribe(turn, caller, names.map(topic).collect());
            }
            PubSub::Unsubscribe(sub) => self.unsubscribe(turn, caller, sub, names.collect()),
        }
    }

    fn subscribe<C: Clients>(&mut self, turn: &mut Turn<'_, C>, caller: Caller, names: Vec<Topic>) {
        let owner = &self.pools[caller.pool as usize];
        let count = owner.count();
        let told = self.book.subscribe(caller.ticket, names, |topic| match topic.sub {
            Sub::Pattern => (None, count),
            Sub::Channel | Sub::Shard => (owner.place(&topic.name).ok(), 1),
        });
        self.carry_out(turn, told);
    }

    fn unsubscribe<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        sub: Sub,
        names: Vec<Name>,
    ) {
        let ticket = caller.ticket;
        let (counts, told) = self.book.unsubscribe((caller.pool, ticket), sub, names);
        let mut frames = Vec::new();
        let resp3 = caller.resp3;
        for (name, count) in &counts {
            write_frame((sub, false, resp3), Some(name), *count, &mut frames);
        }
        if counts.is_empty() {
            write_frame((sub, false, resp3), None, self.book.count(ticket, sub), &mut frames);
        }
        turn.clients.subscribed(ticket, self.book.has_any(ticket));
        turn.clients.reply(turn.io, ticket, &frames, true);
        self.carry_out(turn, told);
    }

    /// A session with subscriptions has gone.
    pub fn unsubscribe_all<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        pool: u16,
        ticket: Ticket,
    ) {
        let told = self.book.leave(pool, ticket);
        self.carry_out(turn, told);
    }

    fn carry_out<C: Clients>(&mut self, turn: &mut Turn<'_, C>, told: Vec<Told>) {
        self.carry_out_or(turn, told, b"-ERR the server of a channel is out of reach\r\n");
    }

    /// The same; commands that fail are answered with `line`.
    fn carry_out_or<C: Clients>(&mut self, turn: &mut Turn<'_, C>, told: Vec<Told>, line: &[u8]) {
        let mut told = VecDeque::from(told);
        while let Some(one) = told.pop_front() {
            match one {
                Told::Ask(topic) => told.extend(self.tell_servers(turn, topic, true)),
                Told::Drop(topic) => told.extend(self.tell_servers(turn, topic, false)),
                Told::Done(ticket, sub, counts) => {
                    let resp3 = turn.clients.speaks_resp3(ticket);
                    let mut frames = Vec::new();
                    for (name, count) in &counts {
                        write_frame((sub, true, resp3), Some(name), *count, &mut frames);
                    }
                    turn.clients.reply(turn.io, ticket, &frames, true);
                }
                Told::Failed(ticket) => {
                    turn.clients.subscribed(ticket, self.book.has_any(ticket));
                    turn.clients.reply(turn.io, ticket, line, true);
                }
            }
        }
    }

    /// Subscribes to a topic, or no longer, where it is. What comes of a server that cannot be
    /// reached is returned.
    fn tell_servers<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        topic: Topic,
        on: bool,
    ) -> Vec<Told> {
        let owner = &self.pools[topic.pool as usize];
        let servers = match topic.sub {
            Sub::Pattern => 0..owner.count(),
            Sub::Channel | Sub::Shard => match owner.place(&topic.name) {
                Ok(server) => server..server + 1,
                Err(_) => return self.book.refused(&topic),
            },
        };
        let mut wire = Vec::new();
        write_command([verb(topic.sub, on).as_bytes(), &topic.name].into_iter(), &mut wire);
        for server in servers {
            let Some(link) = self.subscriber(topic.pool, server, on) else { continue };
            if self.reach(link, turn.now).is_err() {
                return self.book.refused(&topic);
            }
            let place = &mut self.links[link as usize];
            place.asked.push_back((topic.clone(), on));
            place.connection.say(&wire, turn.now);
            let alone = place.asked.len() == 1;
            self.mark_dirty(link);
            if alone {
                self.watch_subscriber(turn.now, link);
            }
        }
        Vec::new()
    }

    /// A server that owes an answer on a subscriber connection has the pool's timeout for it, anew
    /// with each answer; dialling and greeting have times of their own.
    pub(super) fn watch_subscriber(&mut self, now: Instant, link: u32) {
        let place = &mut self.links[link as usize];
        if place.duty != Duty::Subscriber || place.connection.phase() != Phase::Ready {
            return;
        }
        if place.server as usize >= self.pools[place.pool as usize].count() {
            // It has a time of its own.
            return;
        }
        let timeout = self.pools[place.pool as usize].settings.timeout;
        place.due_by = timeout.filter(|_| !place.asked.is_empty()).map(|timeout| now + timeout);
        let due = place.due_by;
        self.arm(link, due);
    }

    /// The subscriber connection to a server; made if `make`.
    fn subscriber(&mut self, pool: u16, server: usize, make: bool) -> Option<u32> {
        let found = self.pools[pool as usize].servers[server].subscriber;
        if found.is_some() || !make {
            return found;
        }
        let link = self.open_extra((pool, server as u16), Duty::Subscriber, false);
        self.links[link as usize].connection.listen();
        self.pools[pool as usize].servers[server].subscriber = Some(link);
        Some(link)
    }

    /// Something has come on a subscriber connection.
    pub(super) fn heard<C: Clients>(&mut self, turn: &mut Turn<'_, C>, link: u32, frame: &[u8]) {
        let pool = self.links[link as usize].pool;
        let parts: Vec<&[u8]> = elements(frame)
            .map(|parts| parts.map_while(|span| bulk_text(span.of(frame))).take(2).collect())
            .unwrap_or_default();
        let sub = match parts.first().copied() {
            Some(b"message") => Sub::Channel,
            Some(b"pmessage") => Sub::Pattern,
            Some(b"smessage") => Sub::Shard,
            _ => return self.answered(turn, link, frame),
        };
        let name = parts.get(1).copied().unwrap_or_default().into();
        let mut pushed = std::mem::take(&mut self.merged);
        for &ticket in self.book.subscribers(&Topic { pool, sub, name }) {
            let push = turn.clients.speaks_resp3(ticket);
            pushed.clear();
            pushed.push(if push { b'>' } else { b'*' });
            pushed.extend_from_slice(frame.get(1..).unwrap_or_default());
            turn.clients.push(ticket, &pushed);
        }
        self.merged = pushed;
    }

    /// The oldest of what was asked on a subscriber connection has been answered.
    fn answered<C: Clients>(&mut self, turn: &mut Turn<'_, C>, link: u32, frame: &[u8]) {
        let Some((topic, on)) = self.links[link as usize].asked.pop_front() else { return };
        self.watch_subscriber(turn.now, link);
        let told = match (on, frame.first() == Some(&b'-')) {
            (true, false) => self.book.confirmed(&topic),
            (true, true) => self.book.refused(&topic),
            (false, _) => Vec::new(),
        };
        self.carry_out_or(turn, told, frame);
    }

    /// A subscriber connection has broken.
    pub(super) fn end_subscriber<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        link: u32,
        failure: Failure,
    ) {
        let place = &mut self.links[link as usize];
        let (pool, server) = (place.pool, place.server as usize);
        place.asked.clear();
        place.connection.abandon();
        self.pools[pool as usize].servers[server].subscriber = None;
        self.free_extra(link);
        let (subscribers, told) = self.book.broken(pool, server);
        for ticket in subscribers {
            let told = self.book.leave(pool, ticket);
            self.carry_out(turn, told);
            turn.clients.cut(ticket);
        }
        for one in told {
            if let Told::Failed(ticket) = one {
                turn.clients.subscribed(ticket, self.book.has_any(ticket));
                self.fail(turn, pool, To::Client(ticket), failure);
            } else {
                self.carry_out(turn, vec![one]);
            }
        }
    }

    /// Answers a command that a session in RESP2 may not send while it is subscribed.
    pub fn refuse_subscribed<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        name: &str,
    ) {
        let name = name.to_ascii_lowercase();
        let text = format!(
            "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
             RESET are allowed in this context"
        );
        self.turn_down(turn, caller, &Refusal::Redis(text));
    }
}

/// The command that begins, or ends, a subscription.
const fn verb(sub: Sub, on: bool) -> &'static str {
    match (sub, on) {
        (Sub::Channel, true) => "subscribe",
        (Sub::Channel, false) => "unsubscribe",
        (Sub::Pattern, true) => "psubscribe",
        (Sub::Pattern, false) => "punsubscribe",
        (Sub::Shard, true) => "ssubscribe",
        (Sub::Shard, false) => "sunsubscribe",
    }
}

/// What a session is told of one subscription: of what, and how many it has now.
fn write_frame(
    (sub, on, resp3): (Sub, bool, bool),
    name: Option<&[u8]>,
    count: usize,
    out: &mut Vec<u8>,
) {
    write_header(if resp3 { b'>' } else { b'*' }, 3, out);
    write_bulk(verb(sub, on).as_bytes(), out);
    match name {
        Some(name) => write_bulk(name, out),
        None if resp3 => out.extend_from_slice(b"_\r\n"),
        None => out.extend_from_slice(b"$-1\r\n"),
    }
    out.extend_from_slice(format!(":{count}\r\n").as_bytes());
}
