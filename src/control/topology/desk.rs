//! What operators see of one source, and the word that they may give: the source's own task writes
//! it, the admin door reads it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Notify;

use crate::control::topology::admission::{Admitted, serving};
use crate::control::topology::refusal::{Reason, Refusal};
use crate::control::topology::snapshot::unix_time;
use crate::metrics::{RingName, TopologyMetric, TopologyMetrics};
use crate::topology::{Phase, Placement, Server, digest};

/// What has happened, newest last; older things are in the log.
const HISTORY: usize = 64;

/// Where the servers in force come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The source has said so.
    Live,
    /// It said so when the process ran last.
    Snapshot,
    /// The configuration says so.
    Fallback,
    /// There are none.
    None,
}

impl Origin {
    const ALL: [Self; 4] = [Self::Live, Self::Snapshot, Self::Fallback, Self::None];

    const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Snapshot => "snapshot",
            Self::Fallback => "fallback",
            Self::None => "none",
        }
    }

    const fn metric(self) -> TopologyMetric {
        match self {
            Self::Live => TopologyMetric::Live,
            Self::Snapshot => TopologyMetric::Snapshot,
            Self::Fallback => TopologyMetric::Fallback,
            Self::None => TopologyMetric::NoSource,
        }
    }
}

/// One pool's desk.
#[derive(Debug)]
pub struct Desk {
    /// The pool.
    pub pool: String,
    /// The source in one line.
    pub source: String,
    /// Its figures.
    pub metrics: Arc<TopologyMetrics>,
    /// Rung when the source is to be read again.
    pub wake: Arc<Notify>,
    placement: Placement,
    /// The source is not followed any more.
    over: AtomicBool,
    state: Mutex<State>,
}

#[derive(Clone, Debug)]
struct State {
    origin: Origin,
    accept: Option<u64>,
    confirmed: Option<Instant>,
    admitted: Option<Admitted>,
    servers: Vec<Server>,
    refused: Option<Event>,
    history: VecDeque<Event>,
}

/// One thing that has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Event {
    /// Seconds since 1970.
    pub time: u64,
    /// `applied`, or the reason of a refusal.
    pub what: &'static str,
    /// The source's stamp, as `accept --epoch` takes it; 0 if it could not be read.
    pub epoch: u64,
    /// What changed, or why nothing did.
    pub text: String,
    /// Who wrote it and why, if the source says so.
    pub author: String,
}

/// A desk as the admin door shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pool: String,
    source: String,
    origin: &'static str,
    connected: bool,
    epoch: u64,
    phase: &'static str,
    /// Old servers that are given up: `unread` or `skipped`.
    dead_old: BTreeMap<String, &'static str>,
    digest: String,
    age_s: Option<u64>,
    servers: Vec<Row>,
    refused: Option<Event>,
    history: Vec<Event>,
}

#[derive(Clone, Debug, Serialize)]
struct Row {
    name: String,
    addr: String,
    weight: u32,
    state: &'static str,
}

impl Desk {
    /// A desk with nothing on it.
    pub fn new(pool: &str, source: String, placement: Placement, wake: Arc<Notify>) -> Self {
        let desk = Self {
            pool: pool.to_owned(),
            source,
            metrics: Arc::new(TopologyMetrics::new(pool)),
            wake,
            placement,
            over: AtomicBool::new(false),
            state: Mutex::new(State {
                origin: Origin::None,
                accept: None,
                confirmed: None,
                admitted: None,
                servers: Vec::new(),
                refused: None,
                history: VecDeque::new(),
            }),
        };
        desk.show_origin(Origin::None);
        desk
    }

    /// The desk of a source that takes the place of this one's: figures and history go on. If it
    /// is another source, what is in force is not what it has said.
    pub(super) fn succeeded(
        &self,
        source: String,
        placement: Placement,
        wake: Arc<Notify>,
    ) -> Self {
        let metrics = self.metrics.continued();
        metrics.set(TopologyMetric::Session, 0);
        let state = State { accept: None, refused: None, ..self.state().clone() };
        let (over, state) = (AtomicBool::new(false), Mutex::new(state));
        let metrics = Arc::new(metrics);
        let next = Self { pool: self.pool.clone(), source, metrics, wake, placement, over, state };
        if next.source != self.source {
            let servers = {
                let mut state = next.state();
                (state.admitted, state.confirmed) = (None, None);
                state.servers.clone()
            };
            next.metrics.set(TopologyMetric::Epoch, 0);
            next.start_with(&servers);
        }
        next
    }

    /// What is followed, if anything is yet.
    pub(super) fn admitted(&self) -> Option<Admitted> {
        self.state().admitted.clone()
    }

    /// The source is not followed any more: whoever still reads it is to do nothing with it.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Whether that has been said.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// The operator means the topology of this epoch, whatever it does.
    pub fn accept(&self, epoch: u64) {
        self.state().accept = Some(epoch);
        self.wake.notify_one();
    }

    /// True if a word was given that nobody has taken.
    #[cfg(feature = "zookeeper")]
    pub(super) fn is_asked(&self) -> bool {
        self.state().accept.is_some()
    }

    /// The word that was given since the last time.
    pub(super) fn take_accept(&self) -> Option<u64> {
        self.state().accept.take()
    }

    /// The pool has these servers, from elsewhere than a document.
    pub(super) fn start_with(&self, servers: &[Server]) {
        let origin = if servers.is_empty() { Origin::None } else { Origin::Fallback };
        self.state().servers = servers.to_vec();
        self.show_origin(origin);
    }

    /// This is in force, and was confirmed `age` ago.
    pub(super) fn in_force(&self, origin: Origin, admitted: &Admitted, age: Duration) {
        let document = &admitted.document;
        let servers = serving(document);
        let (digest_of, epoch) =
            (|servers: &[Server]| digest(&self.placement, servers), admitted.stamp);
        let ring = |ring, servers: &[Server]| RingName { ring, digest: digest_of(servers), epoch };
        self.metrics.set_rings(if document.has_two_rings() {
            vec![ring("current", &document.servers()), ring("target", &document.target_servers())]
        } else {
            vec![ring("current", &servers)]
        });
        self.metrics.set(TopologyMetric::Epoch, admitted.stamp);
        self.show_phase(admitted.document.phase);
        let mut state = self.state();
        state.confirmed = Instant::now().checked_sub(age);
        state.admitted = Some(admitted.clone());
        state.servers = servers;
        drop(state);
        self.show_origin(origin);
    }

    /// The source says what is in force already.
    pub(super) fn confirmed(&self) {
        let mut state = self.state();
        state.confirmed = Some(Instant::now());
        state.refused = None;
        drop(state);
        self.show_origin(Origin::Live);
    }

    /// A change was put in force.
    pub(super) fn applied(&self, admitted: &Admitted, text: String) {
        self.metrics.add(TopologyMetric::Applied, 1);
        let document = &admitted.document;
        let why = [&document.author, &document.reason].map(String::as_str).join(" ");
        let author = why.trim().to_owned();
        let event =
            Event { time: unix_time(), what: "applied", epoch: admitted.stamp, text, author };
        let mut state = self.state();
        state.refused = None;
        state.note(event);
    }

    /// A reading was refused. True if that is news.
    pub(super) fn refused(&self, epoch: u64, refusal: &Refusal) -> bool {
        self.metrics.add(rejected(refusal.reason), 1);
        let event = Event {
            time: unix_time(),
            what: refusal.reason.name(),
            epoch,
            text: refusal.text.clone(),
            author: String::new(),
        };
        let mut state = self.state();
        let same = state.refused.as_ref().is_some_and(|last| {
            (last.what, last.epoch, &last.text) == (event.what, event.epoch, &event.text)
        });
        if !same {
            state.note(event.clone());
            state.refused = Some(event);
        }
        !same
    }

    /// Brings what grows by itself up to date.
    pub fn refresh(&self) {
        let confirmed = self.state().confirmed;
        let age = confirmed.map_or(0, |at| at.elapsed().as_secs());
        self.metrics.set(TopologyMetric::Age, age);
    }

    /// What the admin door shows.
    pub fn report(&self) -> Report {
        let state = self.state();
        let row = |server: &Server| Row {
            name: server.name.clone(),
            addr: server.address.to_string(),
            weight: server.weight,
            state: server.state.name(),
        };
        let document = state.admitted.as_ref().map(|it| &it.document);
        let phase = document.map_or(Phase::Stable, |document| document.phase);
        let dead_old = document.into_iter().flat_map(|document| &document.dead_old);
        let digest = match document {
            Some(document) => document.digest(&self.placement),
            None => digest(&self.placement, &state.servers),
        };
        Report {
            pool: self.pool.clone(),
            source: self.source.clone(),
            origin: state.origin.name(),
            connected: self.metrics.get(TopologyMetric::Session) == 1,
            epoch: state.admitted.as_ref().map_or(0, |it| it.stamp),
            phase: phase.name(),
            dead_old: dead_old.map(|(name, it)| (name.clone(), it.name())).collect(),
            digest,
            age_s: state.confirmed.map(|at| at.elapsed().as_secs()),
            servers: state.servers.iter().map(row).collect(),
            refused: state.refused.clone(),
            history: state.history.iter().cloned().collect(),
        }
    }

    fn show_origin(&self, origin: Origin) {
        self.state().origin = origin;
        for other in Origin::ALL {
            self.metrics.set(other.metric(), u64::from(other == origin));
        }
    }

    fn show_phase(&self, phase: Phase) {
        let metrics = [
            (TopologyMetric::PhaseStable, Phase::Stable),
            (TopologyMetric::PhasePrepare, Phase::Prepare),
            (TopologyMetric::PhaseFence, Phase::Fence),
            (TopologyMetric::PhaseWarm, Phase::Warm),
            (TopologyMetric::PhaseDrain, Phase::Drain),
            (TopologyMetric::PhaseNew, Phase::New),
        ];
        for (metric, other) in metrics {
            self.metrics.set(metric, u64::from(other == phase));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note(&mut self, event: Event) {
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(event);
    }
}

const fn rejected(reason: Reason) -> TopologyMetric {
    match reason {
        Reason::Empty => TopologyMetric::RejectedEmpty,
        Reason::Shrink => TopologyMetric::RejectedShrink,
        Reason::Decode => TopologyMetric::RejectedDecode,
        Reason::Epoch => TopologyMetric::RejectedEpoch,
        Reason::Dup => TopologyMetric::RejectedDup,
        Reason::Deleted => TopologyMetric::RejectedDeleted,
        Reason::Ring => TopologyMetric::RejectedRing,
        Reason::Commit => TopologyMetric::RejectedCommit,
        Reason::Apply => TopologyMetric::RejectedApply,
        Reason::Phase => TopologyMetric::RejectedPhase,
    }
}
