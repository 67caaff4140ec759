//! What servers send, and what is sent to them: one read and one write for each connection.
//!
//! ```text
//!  ready ─▶ receive ─▶ Sink ─▶ Clients::reply ─ pause ─▶ not read from … resume ─▶ read on
//!  flush ─▶ Connection::flush
//! ```

use super::alarms::STALL;
use crate::backend::{Failure, Received, Ticket};
use crate::service::dispatch::Turn;
use crate::service::proxy::{Pause, Proxy};
use crate::service::replies::{Clients, Sink};

impl Proxy {
    /// A server's socket is ready: reads replies and writes what waits.
    pub fn ready<C: Clients>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        let Some(place) = self.links.get_mut(link as usize) else { return };
        if let Err(failure) = place.connection.flush(turn.io) {
            return self.broken(turn, link, failure);
        }
        if place.upload().is_some() {
            self.upload_moved(turn, link);
        }
        if self.links[link as usize].paused.is_none() {
            self.receive(turn, link);
        }
        self.report(link);
    }

    fn receive<C: Clients>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        let place = &mut self.links[link as usize];
        let (pool, server) = (place.pool as usize, place.server as usize);
        let mut complete = std::mem::take(&mut self.complete);
        let mut sink = Sink {
            clients: turn.clients,
            gathers: &mut self.gathers,
            slots: &mut self.slots,
            gate: &mut self.gate,
            sweepers: &mut self.sweepers,
            metrics: &self.metrics.pools[pool],
            server: &self.metrics.pools[pool].servers[server],
            now: turn.now,
            paused: None,
            complete: &mut complete,
            unavailable: false,
            served: false,
            read_only: false,
            untold: false,
            frames: Vec::new(),
            nearby: &mut self.nearby,
            pool: pool as u16,
            lease: place.lease,
            pass: self.pools[pool].passage.last_pass(),
            fenced: Vec::new(),
        };
        let received = place.connection.receive(turn.io, turn.now, &mut self.scratch, &mut sink);
        let (mut paused, unavailable, served) = (sink.paused, sink.unavailable, sink.served);
        let (read_only, untold, frames) = (sink.read_only, sink.untold, sink.frames);
        let fenced = sink.fenced;
        for to in fenced {
            self.out_of_sight(turn, pool as u16, to);
        }
        for place in complete.drain(..) {
            paused = self.complete(turn, place).or(paused);
        }
        self.complete = complete;
        self.answer_released(turn);
        paused = self.go_on(turn, link).or(paused);
        self.keys_moved(turn);
        self.sweep_on(turn);
        if let Some(ticket) = paused {
            let pause = Pause { ticket, began: turn.now, looked: turn.now };
            self.links[link as usize].paused = Some(pause);
            self.arm(link, Some(turn.now + STALL));
        }
        let state = &mut self.pools[pool].servers[server].unavailable;
        let recovered = served && !unavailable && std::mem::take(state);
        *state |= unavailable;
        for frame in frames {
            self.heard(turn, link, &frame);
        }
        match received {
            Ok(Received::Fit) => self.fit(turn, link),
            Ok(_) if unavailable => self.note_failure(turn, link, Failure::Unfit),
            Ok(_) => self.end_if_done(turn, link),
            Err(failure) => self.broken(turn, link, failure),
        }
        if recovered {
            self.readmit(turn.now, (pool, server));
        }
        self.speed_up(turn, link);
        if untold {
            self.links[link as usize].connection.stop_tracking();
            self.trust_anew(turn, link);
        }
        if read_only {
            self.recheck(link, turn.now);
            self.trust_anew(turn, link);
        }
        self.replace_if_left(turn, link);
    }

    /// Lets go whom a long queue has slowed down, once it is short.
    pub(super) fn speed_up<C: Clients>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        let place = &mut self.links[link as usize];
        if place.slowed.is_empty() {
            return;
        }
        let queue = self.pools[place.pool as usize].settings.limits.server_queue;
        if place.connection.depth() <= queue / 4 {
            for ticket in place.slowed.drain(..) {
                turn.clients.resume(turn.io, ticket);
            }
        }
    }

    /// Connections that waited for this session read on.
    pub fn resume<C: Clients>(&mut self, turn: &mut Turn<'_, C>, ticket: Ticket) {
        for place in &mut self.links {
            let same =
                |paused: Ticket| (paused.session, paused.serial) == (ticket.session, ticket.serial);
            if place.paused.is_some_and(|pause| same(pause.ticket)) {
                place.paused = None;
                if let Some(token) = place.connection.token() {
                    turn.io.touch(token);
                }
            }
        }
    }

    /// Writes what was queued in this turn: one write for each connection.
    pub fn flush<C: Clients>(&mut self, turn: &mut Turn<'_, C>) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for link in dirty.drain(..) {
            let place = &mut self.links[link as usize];
            place.dirty = false;
            let flushed = place.connection.flush(turn.io);
            self.upload_moved(turn, link);
            self.report(link);
            if let Err(failure) = flushed {
                self.broken(turn, link, failure);
            }
        }
        // What broke while this went on was marked anew and waits for the next turn.
        if self.dirty.is_empty() {
            self.dirty = dirty;
        }
    }
}
