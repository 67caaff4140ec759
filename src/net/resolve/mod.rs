//! The resolver: names are looked up on threads of its own, and their last good addresses kept.
//!
//! ```text
//!  dial ─ find ─▶ Names ─▶ a thread: look up (may take its time)
//!    ▲                         │
//!    └──── new addresses ──────┘   or, if they fail or do not come soon: the old ones
//! ```
//! A name is looked up once for all who wait for it, so that one whose look-up hangs takes one
//! thread and delays only those who want it. A worker never waits: its dialling tasks do.

mod names;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::{timeout, timeout_at};

use crate::config::Address;
use names::{Asked, Names, News, PATIENCE, THREADS, Task};

/// How the addresses of a name are found; their ports do not matter.
pub type LookUp = Box<dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// Told of each look-up that has ended, and whether it found something; never from two threads at
/// a time.
pub type Count = Box<dyn Fn(bool) + Send + Sync>;

/// The resolver; clone it freely.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    look_up: LookUp,
    count: Count,
}

#[derive(Default)]
struct State {
    names: Names,
    closed: bool,
}

impl Resolver {
    /// A resolver that finds addresses by `look_up`, once threads [serve](Self::serve) it.
    pub fn new(look_up: LookUp, count: Count) -> Self {
        let (state, work) = (Mutex::default(), Condvar::new());
        Self { shared: Arc::new(Shared { state, work, look_up, count }) }
    }

    /// How many threads should serve it where these are all addresses that are dialled.
    pub fn threads<'a>(addresses: impl Iterator<Item = &'a Address>) -> usize {
        let names: HashSet<&str> = addresses.filter_map(name_of).collect();
        names.len().min(THREADS)
    }

    /// Looks names up until the resolver is closed: the work of a thread.
    pub fn serve(&self) {
        while let Some(name) = self.next() {
            let found = (self.shared.look_up)(&name).and_then(some);
            let told =
                found.as_ref().map(|found| format!("{found:?}")).map_err(ToString::to_string);
            let mut state = self.lock();
            (self.shared.count)(found.is_ok());
            let news = state.names.done(&name, found, Instant::now());
            drop(state);
            report(&name, news, told);
        }
    }

    /// Ends its threads, each after the look-up that it is at.
    pub fn close(&self) {
        self.lock().closed = true;
        self.shared.work.notify_all();
    }

    /// The addresses to dial for `host`, within `limit`. A literal is its own; old addresses of a
    /// name have to do if new ones do not come soon.
    ///
    /// # Errors
    /// The name never had an address, and look-ups fail or do not end in time.
    pub(super) async fn find(
        &self,
        (host, port): (&str, u16),
        limit: Duration,
    ) -> io::Result<Vec<SocketAddr>> {
        if let Some(address) = literal(host, port) {
            return Ok(vec![address]);
        }
        let answer = match self.ask(host) {
            Asked::Answered(answer) => answer,
            Asked::Pending { known: Some(known), since, mut answers } => {
                let until = since + PATIENCE.min(limit / 4);
                let _ = timeout_at(until.into(), answers.changed()).await;
                answers.borrow().clone().unwrap_or(Ok(known))
            }
            Asked::Pending { known: None, mut answers, .. } => {
                let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
                let answered = timeout(limit, answers.changed()).await.map_err(late)?;
                answered.map_err(io::Error::other)?;
                let answer = answers.borrow().clone();
                answer.ok_or(io::ErrorKind::NotFound)?
            }
        };
        let found = answer.map_err(|error| io::Error::new(error.kind(), error))?;
        Ok(found.iter().map(|address| with_port(*address, port)).collect())
    }

    fn ask(&self, host: &str) -> Asked {
        let asked = self.lock().names.ask(host, Instant::now());
        if matches!(asked, Asked::Pending { .. }) {
            self.shared.work.notify_one();
        }
        asked
    }

    /// Waits for the next name to look up; `None` once the resolver is closed.
    fn next(&self) -> Option<Arc<str>> {
        let mut state = self.lock();
        while !state.closed {
            let now = Instant::now();
            let work = &self.shared.work;
            state = match state.names.take(now) {
                Task::LookUp(name) => {
                    // Another thread takes over the wait for what is due next.
                    work.notify_one();
                    return Some(name);
                }
                Task::Wait(None) => work.wait(state).unwrap_or_else(PoisonError::into_inner),
                Task::Wait(Some(at)) => {
                    let waited = work.wait_timeout(state, at.saturating_duration_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A look-up that panicked did not hold the lock.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

/// Asks the system, as its hosts file and `resolv.conf` will have it.
///
/// # Errors
/// The system's.
pub fn look_up(name: &str) -> io::Result<Vec<SocketAddr>> {
    Ok((name, 0).to_socket_addrs()?.collect())
}

/// The name that has to be looked up before this address can be dialled, if any.
pub fn name_of(address: &Address) -> Option<&str> {
    match address {
        Address::Tcp { host, port } if literal(host, *port).is_none() => Some(host),
        _ => None,
    }
}

fn literal(host: &str, port: u16) -> Option<SocketAddr> {
    let plain = host.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port));
    // Only with brackets is a scope read.
    let scoped = || format!("[{host}]:{port}").parse::<SocketAddrV6>().map(SocketAddr::V6);
    plain.or_else(|_| scoped()).ok()
}

fn some(found: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(found)
}

fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

/// Tells the log what has changed.
fn report(name: &str, news: News, told: Result<String, String>) {
    match (news, told) {
        (News::Lost, Err(error)) => tracing::warn!(name, error, "name look-up fails"),
        (News::Found, Ok(_)) => tracing::info!(name, "name look-up works again"),
        (News::Moved, Ok(to)) => tracing::info!(name, to, "the addresses of a name have changed"),
        _ => {}
    }
}
