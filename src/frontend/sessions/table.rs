//! All sessions of a worker.
//!
//! A session stands at the place of its socket's token; a serial number tells it from those that
//! stood there before, so that a late reply finds nobody.

use std::sync::Arc;
use std::time::Instant;

use crate::config::Limits;
use crate::frontend::sessions::session::{Hold, Reason, Session};
use crate::frontend::sessions::spares::Spares;
use crate::metrics::WorkerMetrics;
use crate::net::Token;
use crate::service::{Identity, Io, Ticket};

/// The sessions.
pub(in crate::frontend) struct Sessions {
    pub(super) places: Vec<Option<Box<Session>>>,
    /// Limits of each pool.
    limits: Vec<Limits>,
    pub(super) metrics: Arc<WorkerMetrics>,
    next_serial: u32,
    pub(super) count: usize,
    /// Buffers for what is to be written.
    pub(super) spares: Spares,
    /// Those with something to write.
    pub(super) dirty: Vec<Token>,
    /// Those to be closed.
    pub(super) doomed: Vec<(Token, Reason)>,
    /// Those that have been told that nothing more will come.
    pub(super) leaving: Vec<Token>,
    /// Those that server connections wait for and that have taken bytes.
    pub(super) drained: Vec<Ticket>,
    /// Those whose sockets are full.
    pub(super) unread: Vec<Token>,
    /// Those not read from because the buffers are full.
    pub(super) starved: Vec<Token>,
    /// The one of them that may finish its request nevertheless, and how much of it was there
    /// when that was looked at last.
    pub(super) favoured: Option<(Token, usize)>,
    /// Bytes in the buffers of all, those that items of ours have among them, in those of server connections, and how many there may be
    /// together.
    pub(super) buffered: usize,
    pub(super) shared: usize,
    pub(super) elsewhere: usize,
    pub(super) budget: usize,
}

impl Sessions {
    /// No sessions; those to come may hold `budget` bytes together, and each what the limits of
    /// its pool say.
    pub(in crate::frontend) fn new(
        limits: Vec<Limits>,
        budget: usize,
        metrics: Arc<WorkerMetrics>,
    ) -> Self {
        Self {
            places: Vec::new(),
            limits,
            metrics,
            next_serial: 0,
            count: 0,
            spares: Spares::default(),
            dirty: Vec::new(),
            doomed: Vec::new(),
            leaving: Vec::new(),
            drained: Vec::new(),
            unread: Vec::new(),
            starved: Vec::new(),
            favoured: None,
            buffered: 0,
            shared: 0,
            elsewhere: 0,
            budget,
        }
    }

    /// Holds to other limits of pools and other bounds from now on.
    pub(in crate::frontend) fn adopt(
        &mut self,
        limits: Vec<Limits>,
        budget: usize,
        metrics: &Arc<WorkerMetrics>,
    ) {
        self.limits = limits;
        self.budget = budget;
        self.metrics = Arc::clone(metrics);
    }

    /// Puts a new client at the place of its socket.
    pub(in crate::frontend) fn insert(
        &mut self,
        token: Token,
        (pool, identity): (u16, Identity),
        now: Instant,
    ) {
        let place = token.0 as usize;
        if self.places.len() <= place {
            self.places.resize_with(place + 1, || None);
        }
        self.next_serial = self.next_serial.wrapping_add(1);
        let ticket = Ticket { session: token.0, serial: self.next_serial, seq: 0 };
        self.places[place] = Some(Box::new(Session::new(ticket, pool, identity, now)));
        self.count += 1;
    }

    /// Takes a client out.
    pub(in crate::frontend) fn remove(&mut self, token: Token) -> Option<Box<Session>> {
        let session = self.places.get_mut(token.0 as usize)?.take()?;
        self.buffered -= session.counted.0;
        self.shared -= session.counted.1;
        self.count -= 1;
        Some(session)
    }

    /// The client at a socket.
    pub(in crate::frontend) fn get(&mut self, token: Token) -> Option<&mut Session> {
        self.places.get_mut(token.0 as usize)?.as_deref_mut()
    }

    /// The same, with a buffer for the reply to come.
    pub(in crate::frontend) fn equipped(&mut self, token: Token) -> Option<&mut Session> {
        let session = self.places.get_mut(token.0 as usize)?.as_deref_mut()?;
        self.spares.lend(session.pipeline.out());
        Some(session)
    }

    /// How many there are.
    pub(in crate::frontend) fn len(&self) -> usize {
        self.count
    }

    /// All sockets that have a client.
    pub(in crate::frontend) fn tokens(&self) -> Vec<Token> {
        let taken = self.places.iter().enumerate().filter(|(_, place)| place.is_some());
        taken.map(|(index, _)| Token(index as u32)).collect()
    }

    /// The limits of a pool.
    pub(in crate::frontend) fn limits(&self, pool: u16) -> &Limits {
        &self.limits[pool as usize]
    }

    /// The ticket of a client's request.
    pub(in crate::frontend) fn ticket(&mut self, token: Token, seq: u32) -> Option<Ticket> {
        let serial = self.get(token)?.serial;
        Some(Ticket { session: token.0, serial, seq })
    }

    /// Has a client closed at the end of the turn; [`Reason::Protocol`] without another byte.
    pub(in crate::frontend) fn doom(&mut self, token: Token, reason: Reason) {
        self.doomed.push((token, reason));
    }

    /// Those to be closed; the list is then empty.
    pub(in crate::frontend) fn take_doomed(&mut self) -> Vec<(Token, Reason)> {
        std::mem::take(&mut self.doomed)
    }

    /// Those that have just been told that nothing more will come; the list is then empty.
    pub(in crate::frontend) fn take_leaving(&mut self) -> Vec<Token> {
        std::mem::take(&mut self.leaving)
    }

    /// Those that took bytes while a server connection waited; the list is then empty.
    pub(in crate::frontend) fn take_drained(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.drained)
    }

    /// Has a client written to at the end of the turn.
    pub(in crate::frontend) fn mark(&mut self, token: Token) {
        if let Some(session) = self.get(token)
            && !session.dirty
        {
            session.dirty = true;
            self.dirty.push(token);
        }
    }

    /// Reads from a client again that was held for `why`.
    pub(in crate::frontend) fn release(&mut self, io: &mut Io, token: Token, why: Hold) {
        if let Some(session) = self.get(token)
            && session.hold == why
        {
            session.hold = Hold::None;
            io.touch(token);
        }
    }

    /// The client whose request this is, if it is still there.
    pub(in crate::frontend) fn of(&mut self, ticket: Ticket) -> Option<&mut Session> {
        self.get(Token(ticket.session)).filter(|session| session.serial == ticket.serial)
    }
}
