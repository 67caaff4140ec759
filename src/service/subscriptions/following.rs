//! Subscriptions follow the servers: what another server has now is asked of that.
//!
//! Messages that are published while a channel changes its server may be lost, as they are when a
//! client of Redis reconnects; those of the old server that are on their way are passed on.

use super::book::Topic;
use super::{Told, verb};
use crate::protocol::redis::write_command;
use crate::service::change::Moves;
use crate::service::dispatch::Turn;
use crate::service::proxy::Proxy;
use crate::service::replies::Clients;

impl Proxy {
    /// The servers of a pool have changed.
    pub(in crate::service) fn follow_topics<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        pool: usize,
        (moves, fresh): (&Moves, &[usize]),
    ) {
        let owner = &self.pools[pool];
        let count = owner.count();
        let gone = self.book.follow(pool as u16, (moves, count), |name| owner.place(name).ok());
        for (topic, from, to) in gone {
            self.ask_server(turn, (&topic, to), true);
            if let Some(from) = from {
                self.ask_server(turn, (&topic, from), false);
            }
        }
        if fresh.is_empty() {
            return;
        }
        for topic in self.book.spread(pool as u16, fresh.len()) {
            for &server in fresh {
                self.ask_server(turn, (&topic, server), true);
            }
        }
    }

    /// Asks one server for a topic, or to let it go. If it cannot be reached, those who have the
    /// topic are told by the end of their connection, as when a server breaks.
    fn ask_server<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        (topic, server): (&Topic, usize),
        on: bool,
    ) {
        let Some(link) = self.subscriber(topic.pool, server, on) else { return };
        if self.reach(link, turn.now).is_err() {
            for ticket in self.book.subscribers(topic).to_vec() {
                turn.clients.cut(ticket);
            }
            let told: Vec<Told> = self.book.refused(topic);
            return self.carry_out(turn, told);
        }
        let mut wire = Vec::new();
        write_command([verb(topic.sub, on).as_bytes(), &topic.name].into_iter(), &mut wire);
        let place = &mut self.links[link as usize];
        place.asked.push_back((topic.clone(), on));
        place.connection.say(&wire, turn.now);
        self.mark_dirty(link);
        self.watch_subscriber(turn.now, link);
    }
}
