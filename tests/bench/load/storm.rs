//! New connections at a fixed rate: each does one request and closes.
//!
//! They have a thread of their own, whose turn comes after everybody else's: the clients that they
//! stand for are elsewhere, and what these cost (a TLS handshake above all) must neither be seen as
//! time that the steady ones wait, nor take a core from the proxy.

use std::io;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::load::Workload;
use crate::load::client::Client;
use crate::load::exchange::Recipe;
use crate::load::tally::Tally;
use crate::poller::{Poller, Ready};
use crate::wire::Target;

/// Input of a connection that gets one short reply, in bytes.
const ROOM: usize = 1024;
/// The longest that connections may stay unanswered when the storm ends.
const DRAIN: Duration = Duration::from_secs(2);

/// A storm that is on.
pub(crate) struct Storm {
    thread: JoinHandle<io::Result<Tally>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    /// Connections that got their reply and have not been asked for.
    served: AtomicU64,
}

impl Storm {
    /// Begins with `rate` connections a second.
    pub(crate) fn begin(target: Target, workload: Workload, rate: u32) -> Self {
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let run = move || Run::new(target, workload, rate)?.blow(&theirs);
        Self { thread: thread::spawn(run), shared }
    }

    /// Connections that got their reply since this was asked last.
    pub(crate) fn take_served(&self) -> u64 {
        self.shared.served.swap(0, Ordering::Relaxed)
    }

    /// Opens no more and waits for the replies that are due; what went wrong.
    ///
    /// # Errors
    /// Those of epoll; what befalls a connection is in the tally.
    pub(crate) fn end(self) -> io::Result<Tally> {
        self.shared.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the storm has panicked")))
    }
}

/// The connections that come and go.
struct Run {
    target: Target,
    recipe: Recipe,
    poller: Poller,
    interval: Duration,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    tally: Tally,
}

impl Run {
    fn new(target: Target, workload: Workload, rate: u32) -> io::Result<Self> {
        stand_back()?;
        Ok(Self {
            target,
            recipe: Recipe::new(&workload, 2),
            poller: Poller::new()?,
            interval: Duration::from_secs(1) / rate.max(1),
            clients: Vec::new(),
            free: Vec::new(),
            tally: Tally::default(),
        })
    }

    fn blow(mut self, shared: &Shared) -> io::Result<Tally> {
        let mut due = Instant::now();
        let mut end = None;
        loop {
            let now = Instant::now();
            if shared.over.load(Ordering::Relaxed) {
                let end = *end.get_or_insert(now + DRAIN);
                if now >= end || self.clients.iter().all(Option::is_none) {
                    return Ok(self.tally);
                }
            } else {
                while due <= now {
                    due += self.interval;
                    self.open();
                }
            }
            let wait = due.saturating_duration_since(now).max(Duration::from_micros(50));
            let served = self.turn(wait)?;
            shared.served.fetch_add(served, Ordering::Relaxed);
        }
    }

    /// Serves who is ready; how many got their reply.
    fn turn(&mut self, limit: Duration) -> io::Result<u64> {
        let count = self.poller.wait(Some(limit))?;
        let mut served = 0;
        for index in 0..count {
            let ready = self.poller.ready(index);
            served += u64::from(self.serve(ready));
        }
        Ok(served)
    }

    /// Serves a connection that is ready; whether it got its reply.
    fn serve(&mut self, ready: Ready) -> bool {
        let slot = ready.token;
        let Some(client) = self.clients.get_mut(slot).and_then(Option::as_mut) else {
            return false;
        };
        let served = match exchange(client, ready, &self.recipe, &self.poller) {
            Ok(None) => return false,
            Ok(Some(right)) => {
                self.tally.wrong += u64::from(!right);
                true
            }
            Err(error) => {
                self.lose(&error);
                false
            }
        };
        self.clients[slot] = None;
        self.free.push(slot);
        served
    }

    fn open(&mut self) {
        let slot = self.free.pop().unwrap_or(self.clients.len());
        if slot == self.clients.len() {
            self.clients.push(None);
        }
        match Client::open(&self.target, ROOM, &self.poller, slot).and_then(|mut client| {
            client.ask(&mut self.recipe, 1, 0, &self.poller).map(|()| client)
        }) {
            Ok(client) => self.clients[slot] = Some(client),
            Err(error) => {
                self.free.push(slot);
                self.lose(&error);
            }
        }
    }

    fn lose(&mut self, error: &io::Error) {
        self.tally.lost += 1;
        self.tally.complain(|| format!("storm: {error}"));
    }
}

/// Lets everybody else on this core go first, whenever they wake up. A higher `nice` alone would not:
/// since Linux 6.6 who runs keeps its core to the end of its slice.
fn stand_back() -> io::Result<()> {
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let done = Command::new("chrt").args(["--idle", "--pid", "0", &thread]).status()?;
    if done.success() { Ok(()) } else { Err(io::Error::other("chrt (util-linux) failed")) }
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
