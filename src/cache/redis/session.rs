//! What is remembered of a client between two of its requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::tracking::Tracking;
use super::transaction::Transaction;
use crate::cache::strings::Fault;
use crate::config::Secret;
use crate::protocol::redis::Reply;
use crate::protocol::{Op, Output};
use crate::storage::Wake;

/// The number of the next session.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// One client of a cache.
#[derive(Debug)]
pub struct Session {
    id: u64,
    resp3: bool,
    /// Its reads do not count as use.
    no_touch: bool,
    replies: Replies,
    pub(super) name: Option<Box<[u8]>>,
    /// What it must say before it is served, if anything.
    lock: Option<Box<Lock>>,
    /// What MULTI and WATCH have begun.
    pub(super) transaction: Option<Box<Transaction>>,
    /// What it is told of keys that it has read.
    pub(super) tracking: Box<Tracking>,
}

/// A password, and whether it has been given.
#[derive(Debug)]
struct Lock {
    password: Arc<Secret>,
    open: bool,
}

/// Whether the client wants to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replies {
    On,
    Off,
    /// Not from the next request on, but from the one after it.
    SkipNext,
    /// From the next request on.
    Skip,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            resp3: false,
            no_touch: false,
            replies: Replies::On,
            name: None,
            lock: None,
            transaction: None,
            tracking: Box::default(),
        }
    }
}

impl Session {
    /// A client that must give a password first.
    pub fn locked(password: Arc<Secret>) -> Self {
        let lock = Box::new(Lock { password, open: false });
        Self { lock: Some(lock), ..Self::default() }
    }

    /// Has the client woken so when there is something to push.
    pub fn woken_by(self, wake: Wake) -> Self {
        Self { tracking: Box::new(Tracking::woken_by(wake)), ..self }
    }

    /// Unique among the clients of caches in this process.
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Whether its next request is executed as it comes: it is neither kept for EXEC nor refused.
    pub fn may_deposit(&self) -> bool {
        self.is_authenticated() && !self.is_queueing()
    }

    pub(super) const fn is_resp3(&self) -> bool {
        self.resp3
    }

    pub(super) const fn speak(&mut self, resp3: bool) {
        self.resp3 = resp3;
    }

    pub(super) const fn touches(&self) -> bool {
        !self.no_touch
    }

    pub(super) const fn touch(&mut self, touches: bool) {
        self.no_touch = !touches;
    }

    /// Where its next reply goes.
    pub(super) const fn reply<'a>(&self, out: &'a mut Output) -> Reply<'a> {
        Reply::new(out, self.resp3)
    }

    /// Whether it may send this command now.
    pub(super) fn admit(&self, op: Op) -> Result<(), Fault> {
        let free = matches!(op, Op::Auth | Op::Hello | Op::Quit | Op::Reset);
        if free || self.is_authenticated() {
            return Ok(());
        }
        Err(Fault::text("NOAUTH Authentication required."))
    }

    /// True if it has given the password, or needs none.
    pub fn is_authenticated(&self) -> bool {
        self.lock.as_ref().is_none_or(|lock| lock.open)
    }

    /// Whether there is a password at all.
    pub(super) const fn has_password(&self) -> bool {
        self.lock.is_some()
    }

    /// Takes name and password; any password will do where none is set.
    pub(super) fn authenticate(&mut self, user: &[u8], password: &[u8]) -> Result<(), Fault> {
        let right = match &self.lock {
            Some(lock) => same(password, lock.password.reveal().as_bytes()),
            None => true,
        };
        if !right || user != b"default" {
            let text = "WRONGPASS invalid username-password pair or user is disabled.";
            return Err(Fault::text(text));
        }
        self.open(true);
        Ok(())
    }

    fn open(&mut self, open: bool) {
        if let Some(lock) = &mut self.lock {
            lock.open = open;
        }
    }

    /// Whether it wants answers from now on.
    pub(super) fn want(&mut self, replies: Replies) {
        if !(replies == Replies::SkipNext && self.replies == Replies::Off) {
            self.replies = replies;
        }
    }

    /// Takes back what was written since `start` if it is not wanted.
    pub(super) fn settle(&mut self, start: usize, out: &mut Output) {
        if self.replies == Replies::On {
            return;
        }
        out.truncate(start);
        self.replies = match self.replies {
            Replies::Off => Replies::Off,
            Replies::SkipNext => Replies::Skip,
            Replies::Skip | Replies::On => Replies::On,
        };
    }

    /// As it was when it came.
    pub(super) fn reset(&mut self) {
        self.open(false);
        let lock = self.lock.take();
        self.tracking.reset();
        let tracking = std::mem::take(&mut self.tracking);
        *self = Self { id: self.id, lock, tracking, ..Self::default() };
    }
}

/// Compares without telling by the time taken where two passwords differ.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    let differs = given.iter().zip(wanted).fold(0, |sum, (a, b)| sum | (a ^ b));
    given.len() == wanted.len() && differs == 0
}
