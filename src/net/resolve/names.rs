//! What is known of names: their last good addresses, and which of them is to be looked up next.
//!
//! ```text
//!  ask ─▶ queued ─ take ─▶ in flight ─ done ─▶ resting ─ ask ─▶ queued …
//!                                        └─ failed: the old addresses stay, retried after a pause
//! ```
//! Holds neither thread nor socket, and takes the time as an argument. Names come from the
//! configuration alone and each is queued at most once: that bounds all that is held here.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Look-ups that are made at the same time, each on a thread of its own.
pub(super) const THREADS: usize = 4;

/// How many of them may be of names whose last look-up failed or was slow: one thread is left to
/// the others.
const SUSPECTS: usize = THREADS - 1;

/// How long dials that know old addresses wait for new ones; a look-up that takes longer is slow.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);

/// The shortest time between two look-ups of one name, whatever it answers (faults F59).
const REST: Duration = Duration::from_secs(1);

/// The longest pause before a look-up that fails is tried again without being asked for.
const REST_MOST: Duration = Duration::from_secs(32);

/// Addresses, each with port 0, or why there are none.
pub(super) type Answer = Result<Arc<[SocketAddr]>, Arc<io::Error>>;

/// All names that were ever asked for.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: HashMap<Arc<str>, Name>,
    queue: VecDeque<Arc<str>>,
    suspects: usize,
}

#[derive(Debug)]
struct Name {
    /// The last good addresses; the last failure if there never were any.
    answer: watch::Sender<Option<Answer>>,
    /// Since when a look-up is due or in flight.
    since: Option<Instant>,
    /// When the one in flight began.
    begun: Option<Instant>,
    /// When the last one ended.
    ended: Option<Instant>,
    /// The last one failed or was slow.
    suspect: bool,
    failing: bool,
    pause: Duration,
    retry_at: Option<Instant>,
}

/// What somebody who asks for a name is told.
#[derive(Debug)]
pub(super) enum Asked {
    /// This, now.
    Answered(Answer),
    /// A look-up has been due or in flight since then; its answer comes here.
    Pending {
        /// The old answer, if it has addresses.
        known: Option<Arc<[SocketAddr]>>,
        since: Instant,
        answers: watch::Receiver<Option<Answer>>,
    },
}

/// What a thread should do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Look this name up.
    LookUp(Arc<str>),
    /// Nothing before then, unless it is woken.
    Wait(Option<Instant>),
}

/// What a look-up has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing, or it is the first answer.
    Same,
    /// It has failed, and the one before had not.
    Lost,
    /// It has not failed, and the one before had.
    Found,
    /// The addresses are others than before.
    Moved,
}

impl Names {
    /// Somebody wants to connect to `name`. Unless its last look-up has only just ended, another
    /// one becomes due, which all who ask meanwhile share.
    pub(super) fn ask(&mut self, name: &str, now: Instant) -> Asked {
        let name: Arc<str> = name.into();
        let entry = self.names.entry(Arc::clone(&name)).or_default();
        let answer = entry.answer.borrow().clone();
        let rests = entry.ended.is_some_and(|at| now < at + REST);
        if let (Some(answer), true, None) = (&answer, rests, entry.since) {
            return Asked::Answered(answer.clone());
        }
        let since = *entry.since.get_or_insert_with(|| {
            self.queue.push_back(name);
            now
        });
        let known = answer.and_then(Result::ok);
        Asked::Pending { known, since, answers: entry.answer.subscribe() }
    }

    /// The next look-up for a thread that has nothing to do: what was asked for, in its order,
    /// then what has failed before and may be tried again.
    pub(super) fn take(&mut self, now: Instant) -> Task {
        let full = self.suspects >= SUSPECTS;
        let may = |name: &Arc<str>| !(full && self.names.get(name).is_some_and(|it| it.suspect));
        if let Some(name) = self.queue.iter().position(may).and_then(|at| self.queue.remove(at)) {
            return self.begin(name, now);
        }
        if full {
            // Whoever ends one of them looks again.
            return Task::Wait(None);
        }
        let idle = self.names.iter().filter(|(_, entry)| entry.since.is_none());
        let retries = idle.filter_map(|(name, entry)| Some((entry.retry_at?, name)));
        match retries.min() {
            Some((at, name)) if at <= now => self.begin(Arc::clone(name), now),
            next => Task::Wait(next.map(|(at, _)| at)),
        }
    }

    fn begin(&mut self, name: Arc<str>, now: Instant) -> Task {
        let entry = self.names.entry(Arc::clone(&name)).or_default();
        entry.since.get_or_insert(now);
        entry.begun = Some(now);
        self.suspects += usize::from(entry.suspect);
        Task::LookUp(name)
    }

    /// A look-up has ended: tells everybody who waits for it. One that failed leaves the old
    /// addresses as they are.
    pub(super) fn done(
        &mut self,
        name: &Arc<str>,
        found: io::Result<Vec<SocketAddr>>,
        now: Instant,
    ) -> News {
        let entry = self.names.entry(Arc::clone(name)).or_default();
        self.suspects -= usize::from(entry.suspect);
        entry.since = None;
        entry.ended = Some(now);
        let old = entry.answer.borrow().clone().and_then(Result::ok);
        let failed_before = entry.failing;
        entry.failing = found.is_err();
        entry.suspect = entry.failing || entry.begun.is_some_and(|at| now >= at + PATIENCE);
        entry.plan_retry(now);
        let moved = matches!((&old, &found), (Some(old), Ok(new)) if !same(old, new));
        let answer = match (found, old) {
            (Ok(new), _) => Ok(new.into()),
            (Err(_), Some(old)) => Ok(old),
            (Err(error), None) => Err(Arc::new(error)),
        };
        entry.answer.send_replace(Some(answer));
        match (failed_before, entry.failing) {
            (false, true) => News::Lost,
            _ if moved => News::Moved,
            (true, false) => News::Found,
            _ => News::Same,
        }
    }
}

impl Name {
    /// While it fails it is tried again without being asked for, each time after a longer pause.
    fn plan_retry(&mut self, now: Instant) {
        if self.failing {
            self.pause = (self.pause * 2).clamp(REST, REST_MOST);
            self.retry_at = Some(now + self.pause);
        } else {
            self.pause = Duration::ZERO;
            self.retry_at = None;
        }
    }
}

impl Default for Name {
    fn default() -> Self {
        Self {
            answer: watch::Sender::new(None),
            since: None,
            begun: None,
            ended: None,
            suspect: false,
            failing: false,
            pause: Duration::ZERO,
            retry_at: None,
        }
    }
}

/// True if both name the same addresses, in whatever order: many resolvers rotate them.
fn same(old: &[SocketAddr], new: &[SocketAddr]) -> bool {
    old.iter().all(|address| new.contains(address)) && new.iter().all(|it| old.contains(it))
}
