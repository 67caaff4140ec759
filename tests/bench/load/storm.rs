//! New connections at a fixed rate: each does one request and closes.

use std::io;

use crate::load::client::Client;
use crate::load::exchange::Recipe;
use crate::load::tally::Tally;
use crate::poller::{Poller, Ready};
use crate::wire::Target;

/// Input of a connection that gets one short reply, in bytes.
const ROOM: usize = 1024;

/// The connections that come and go.
pub(crate) struct Storm {
    target: Target,
    interval_ns: u64,
    next_ns: u64,
    /// Token of the first; the steady clients have those below.
    first_token: usize,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
}

impl Storm {
    /// `rate` connections a second, from `now_ns` on.
    pub(crate) fn new(target: Target, rate: u32, first_token: usize, now_ns: u64) -> Self {
        Self {
            target,
            interval_ns: 1_000_000_000 / u64::from(rate.max(1)),
            next_ns: now_ns,
            first_token,
            clients: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Opens no more.
    pub(crate) fn stop(&mut self) {
        self.next_ns = u64::MAX;
    }

    /// Whether all have got their replies.
    pub(crate) fn is_over(&self) -> bool {
        self.clients.iter().all(Option::is_none)
    }

    /// When the next connection is due.
    pub(crate) fn next_ns(&self) -> u64 {
        self.next_ns
    }

    /// Opens the connections that are due.
    pub(crate) fn feed(
        &mut self,
        now_ns: u64,
        recipe: &mut Recipe,
        poller: &Poller,
        tally: &mut Tally,
    ) {
        while self.next_ns <= now_ns {
            self.next_ns += self.interval_ns;
            if let Err(error) = self.open(now_ns, recipe, poller) {
                tally.lost += 1;
                tally.complain(|| format!("storm: {error}"));
            }
        }
    }

    /// Serves a connection that is ready.
    pub(crate) fn serve(
        &mut self,
        ready: Ready,
        recipe: &Recipe,
        poller: &Poller,
        tally: &mut Tally,
    ) {
        let slot = ready.token - self.first_token;
        let Some(client) = self.clients.get_mut(slot).and_then(Option::as_mut) else { return };
        match exchange(client, ready, recipe, poller) {
            Ok(None) => return,
            Ok(Some(right)) => {
                tally.storm_done += 1;
                tally.wrong += u64::from(!right);
            }
            Err(error) => {
                tally.lost += 1;
                tally.complain(|| format!("storm: {error}"));
            }
        }
        self.clients[slot] = None;
        self.free.push(slot);
    }

    fn open(&mut self, now_ns: u64, recipe: &mut Recipe, poller: &Poller) -> io::Result<()> {
        let slot = self.free.pop().unwrap_or(self.clients.len());
        if slot == self.clients.len() {
            self.clients.push(None);
        }
        let mut client = Client::open(&self.target, ROOM, poller, self.first_token + slot)?;
        client.ask(recipe, 1, now_ns, poller)?;
        self.clients[slot] = Some(client);
        Ok(())
    }
}

/// Whether the reply was right, once it is there.
fn exchange(
    client: &mut Client,
    ready: Ready,
    recipe: &Recipe,
    poller: &Poller,
) -> io::Result<Option<bool>> {
    if ready.writable {
        client.write(poller)?;
    }
    if ready.readable {
        client.read()?;
    }
    Ok(client.next_reply(recipe)?.map(|(_, reply)| reply.right))
}
