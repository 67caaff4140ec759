//! The event loop: sends what is due, reads what came, keeps the tally.

use std::io;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use crate::load::Workload;
use crate::load::client::Client;
use crate::load::exchange::Recipe;
use crate::load::storm::Storm;
use crate::load::tally::Tally;
use crate::poller::{Poller, Ready};
use crate::wire::Target;

/// Input of a steady client in bytes, at first: a multi-get of 100 values fits.
const ROOM: usize = 64 << 10;
/// The longest that requests may stay unanswered when a load ends.
const DRAIN: Duration = Duration::from_secs(2);

/// Clients under one clock.
pub(crate) struct Generator {
    poller: Poller,
    clock: Instant,
    clients: Vec<Option<Client>>,
    storm: Option<Storm>,
    recipe: Recipe,
    workload: Workload,
    target: Target,
    /// Whose turn it is at a fixed rate.
    turn: usize,
    /// When the next request is due at a fixed rate.
    due_ns: u64,
    /// Whether replies are followed by new requests.
    asking: bool,
    tally: Tally,
}

impl Generator {
    /// Connects the clients of `workload` to a proxy or server; `seed` as [`Recipe::new`].
    ///
    /// # Errors
    /// Those of the sockets.
    pub(crate) fn connect(
        target: impl Into<Target>,
        workload: Workload,
        seed: u64,
    ) -> io::Result<Self> {
        let target = target.into();
        // Waits shorter than the usual slack of 50 µs are needed at a fixed rate.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        let poller = Poller::new()?;
        let clients = (0..workload.clients)
            .map(|token| Client::open(&target, ROOM, &poller, token).map(Some))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            poller,
            clock: Instant::now(),
            clients,
            storm: None,
            recipe: Recipe::new(&workload, seed),
            workload,
            target,
            turn: 0,
            due_ns: 0,
            asking: false,
            tally: Tally::default(),
        })
    }

    /// Adds `rate` new connections a second to the load.
    pub(crate) fn add_storm(&mut self, rate: u32) {
        self.storm = Some(Storm::begin(self.target.clone(), self.workload, rate));
    }

    /// Ends that, once those who have come have got their replies.
    ///
    /// # Errors
    /// As [`Generator::run`].
    pub(crate) fn end_storm(&mut self) -> io::Result<()> {
        if let Some(storm) = self.storm.take() {
            self.tally.add(&storm.end()?);
        }
        Ok(())
    }

    /// Loads the proxy for `span`; requests may be unanswered at its end.
    ///
    /// # Errors
    /// Those of epoll; what befalls a client is in the tally.
    pub(crate) fn run(&mut self, span: Duration) -> io::Result<()> {
        self.asking = true;
        let start = self.now();
        let end = start + span.as_nanos() as u64;
        self.due_ns = self.due_ns.max(start);
        if self.workload.rate.is_none() {
            (0..self.clients.len()).for_each(|token| self.ask_if_free(token, start));
        }
        loop {
            let now = self.now();
            if now >= end {
                return Ok(());
            }
            let wake = self.feed(now).min(end);
            self.turn_once(wake.saturating_sub(self.now()))?;
        }
    }

    /// Takes the replies that are still due, without asking for more.
    ///
    /// # Errors
    /// As [`Generator::run`].
    pub(crate) fn drain(&mut self) -> io::Result<()> {
        self.asking = false;
        let end = self.now() + DRAIN.as_nanos() as u64;
        while self.now() < end && self.clients.iter().flatten().any(|c| !c.is_free()) {
            self.turn_once(1_000_000)?;
        }
        Ok(())
    }

    /// The tally since the last call.
    pub(crate) fn take_tally(&mut self) -> Tally {
        self.tally.storm_done += self.storm.as_ref().map_or(0, Storm::take_served);
        std::mem::take(&mut self.tally)
    }

    /// Replies of steady clients since the tally was last taken.
    pub(crate) fn done(&self) -> u64 {
        self.tally.done
    }

    /// Sends what is due by the clock; when the next is due.
    fn feed(&mut self, now: u64) -> u64 {
        let mut wake = u64::MAX;
        if let Some(rate) = self.workload.rate {
            let burst_ns = 1e9 * self.workload.depth as f64 / rate;
            while self.due_ns <= now {
                // None free: what is due waits until a reply comes, and its latency runs.
                let Some(token) = self.next_free() else { break };
                self.ask_if_free(token, self.due_ns);
                // Arrivals that know nothing of each other: exponential gaps.
                self.due_ns += (-self.recipe.unit().ln() * burst_ns) as u64;
            }
            if self.due_ns > now {
                wake = self.due_ns;
            }
        }
        wake
    }

    /// The next client in turn that waits for nothing.
    fn next_free(&mut self) -> Option<usize> {
        let count = self.clients.len();
        let token = (self.turn..self.turn + count)
            .map(|at| at % count)
            .find(|token| self.clients[*token].as_ref().is_some_and(Client::is_free))?;
        self.turn = token + 1;
        Some(token)
    }

    fn turn_once(&mut self, limit_ns: u64) -> io::Result<()> {
        let count = self.poller.wait(Some(Duration::from_nanos(limit_ns)))?;
        for index in 0..count {
            let ready = self.poller.ready(index);
            self.serve(ready);
        }
        Ok(())
    }

    fn serve(&mut self, ready: Ready) {
        if let Err(error) = self.exchange(ready) {
            self.lose(ready.token, &error);
            return;
        }
        if self.asking && self.workload.rate.is_none() {
            self.ask_if_free(ready.token, self.now());
        }
    }

    /// Writes and reads one client as far as it is ready.
    fn exchange(&mut self, ready: Ready) -> io::Result<()> {
        let Some(client) = self.clients[ready.token].as_mut() else { return Ok(()) };
        if ready.writable {
            client.write(&self.poller)?;
        }
        if !ready.readable || !client.read()? {
            return Ok(());
        }
        let now = self.clock.elapsed().as_nanos() as u64;
        while let Some((pending, reply)) = client.next_reply(&self.recipe)? {
            if !reply.right {
                self.tally.wrong += 1;
                self.tally.complain(|| format!("wrong reply: {}", client.excerpt()));
            }
            client.consume(reply);
            self.tally.reply(now.saturating_sub(pending.due_ns));
        }
        Ok(())
    }

    fn ask_if_free(&mut self, token: usize, due_ns: u64) {
        let Some(client) = self.clients[token].as_mut().filter(|c| c.is_free()) else { return };
        let depth = self.workload.depth;
        if let Err(error) = client.ask(&mut self.recipe, depth, due_ns, &self.poller) {
            self.lose(token, &error);
        }
    }

    fn lose(&mut self, token: usize, error: &io::Error) {
        self.clients[token] = None;
        self.tally.lost += 1;
        self.tally.complain(|| format!("client {token}: {error}"));
    }

    fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }
}
