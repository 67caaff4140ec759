//! One source, followed: what was read goes through decode and admission, and what is admitted is
//! put in force, said, shown and kept.

mod fence;
#[cfg_attr(not(feature = "zookeeper"), expect(dead_code, reason = "only sessions have terms"))]
mod standing;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Routing;
use crate::config::{Pool, Protocol, TopologySource};
use crate::control::given::Given;
use crate::control::topology::admission::{Admission, Admitted, Rules, Verdict, given, serving};
use crate::control::topology::decode::{Decoder, Proposal, ZNode};
use crate::control::topology::desk::{Desk, Origin};
use crate::control::topology::fleet::Active;
use crate::control::topology::refusal::{Reason, Refusal};
use crate::control::topology::snapshot::{self, Fault};
use crate::metrics::TopologyMetric;
use crate::routing::{Board, Moves};
use crate::topology::{Diff, Document, Phase, Placement, Server, tell_given_up};
pub(super) use fence::watch as watch_fence;
use standing::Standing;

/// Puts what a pool is given in force; fails with nothing changed.
pub(super) type Apply = Arc<dyn Fn(&str, Given) -> Result<(), String> + Send + Sync>;

/// The way into the running process.
pub(super) struct Force {
    pub(super) apply: Apply,
    pub(super) board: Arc<Board>,
    /// The pool's number there.
    pub(super) number: usize,
}

/// One pool's source.
pub(super) struct Follower {
    desk: Arc<Desk>,
    decoder: Decoder,
    admission: Admission,
    routing: Routing,
    placement: Placement,
    /// Whether the pool can have two rings.
    can_have_two: bool,
    /// None until the process runs: then what is admitted is what it starts with.
    force: Option<Force>,
    standing: Standing,
    /// What the source says that all are to acknowledge, whether it is followed here or not.
    active: Option<Active>,
    snapshot: Option<Keeper>,
    /// What is followed has been found in force, and the snapshot does not have it.
    unkept: bool,
    /// What the pool has now, whoever said so.
    servers: Vec<Server>,
    age: Duration,
}

impl Follower {
    /// A follower of the source of `pool`, which knows what the last run followed.
    pub(super) fn new(pool: &Pool, source: &TopologySource, desk: Arc<Desk>) -> Self {
        let snapshot = source.snapshot.clone().map(|file| Keeper::new(file, &desk));
        let kept = snapshot.as_ref().and_then(Keeper::read);
        let age = kept.as_ref().map_or(Duration::ZERO, |kept| kept.age);
        desk.start_with(&pool.servers);
        let admitted = kept.map(|kept| kept.admitted);
        Self { snapshot, age, ..Self::of(pool, source, (desk, admitted)) }
    }

    /// A follower of the source of a pool that serves, with what is in force in it: that stays
    /// until the source has something else that is admitted in its place.
    pub(super) fn beside(
        pool: &Pool,
        source: &TopologySource,
        (desk, admitted): (Arc<Desk>, Option<Admitted>),
    ) -> Self {
        let snapshot = source.snapshot.clone().map(|file| Keeper::new(file, &desk));
        Self { snapshot, unkept: true, ..Self::of(pool, source, (desk, admitted)) }
    }

    fn of(
        pool: &Pool,
        source: &TopologySource,
        (desk, admitted): (Arc<Desk>, Option<Admitted>),
    ) -> Self {
        let rules = Rules {
            placement: pool.placement(),
            tls: pool.server_tls.is_some(),
            membership: source.membership,
            max_removal: source.max_removal,
            add_delay: source.add_delay,
            remove_delay: source.remove_delay,
            one_ring: pool.why_one_ring().next(),
            moves_keys: pool.protocol == Protocol::Redis,
        };
        let can_have_two = rules.one_ring.is_none();
        Self {
            decoder: Decoder {
                format: source.format,
                name_from: source.name_from,
                endpoint: source.endpoint.clone(),
                pool: pool.name.clone(),
            },
            admission: Admission::new(rules, admitted),
            routing: pool.routing.clone(),
            placement: pool.placement(),
            can_have_two,
            force: None,
            standing: Standing::default(),
            active: None,
            snapshot: None,
            unkept: false,
            servers: pool.servers.clone(),
            age: Duration::ZERO,
            desk,
        }
    }

    /// What the pool starts with: what the source has said, or else the snapshot, or else what the
    /// configuration says.
    pub(super) fn begin(&mut self) -> Given {
        if let Some(admitted) = self.admission.current()
            && self.desk.metrics.get(TopologyMetric::Live) == 0
        {
            let (pool, age) = (&self.desk.pool, self.age.as_secs());
            tracing::warn!(pool, epoch = admitted.stamp, age_s = age, "topology from the snapshot");
            self.desk.in_force(Origin::Snapshot, admitted, self.age);
            self.servers = serving(&admitted.document);
        } else if self.admission.current().is_none() {
            let (pool, servers) = (&self.desk.pool, self.servers.len());
            tracing::warn!(pool, servers, "no topology yet: the servers of the configuration");
        }
        self.given()
    }

    /// What is followed gives the pool this.
    pub(super) fn given(&self) -> Given {
        match self.admission.current() {
            Some(admitted) => given(&admitted.document, self.can_have_two, self.standing.term),
            None => Given { servers: self.servers.clone(), walk: None },
        }
    }

    /// From here on what the source says is put in force by this.
    pub(super) fn apply_by(&mut self, force: Force) {
        // Whoever had the pool before may have been granted what must not pass to this one.
        let granted = force.board.permit(force.number).map_or(0, |permit| permit.term());
        self.standing.term = self.standing.term.max(granted);
        self.force = Some(force);
    }

    /// The desk.
    pub(super) fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// What is followed.
    pub(super) fn admitted(&self) -> Option<&Admitted> {
        self.admission.current()
    }

    /// What all proxies of the source are to acknowledge.
    #[cfg(feature = "zookeeper")]
    pub(super) fn active(&self) -> Option<&Active> {
        self.active.as_ref()
    }

    /// What two proxies compare.
    #[cfg(feature = "zookeeper")]
    pub(super) fn digest(&self) -> String {
        let document = self.admission.current().map(|admitted| &admitted.document);
        document.map_or_else(String::new, |document| document.digest(&self.placement))
    }

    /// The source is out of sight.
    #[cfg(feature = "zookeeper")]
    pub(super) fn unsure(&mut self) {
        self.admission.unsure();
    }

    /// The source has this. Returns when it is to be read again although nothing happens.
    pub(super) fn see(&mut self, nodes: &[ZNode], now: Instant) -> Option<Instant> {
        if self.desk.is_over() {
            return None;
        }
        if let Some(epoch) = self.desk.take_accept() {
            self.admission.accept(epoch);
        }
        if let Some(Force { board, number, .. }) = &self.force {
            self.admission.set_settled(board.has_settled(*number));
        }
        let proposal = match self.decoder.decode(nodes) {
            Ok(proposal) => proposal,
            Err(refusal) => {
                self.refuse(0, &refusal);
                return None;
            }
        };
        self.note_bad_members(&proposal);
        let stamp = proposal.stamp;
        if self.active.as_ref().is_none_or(|active| active.epoch != proposal.document.epoch) {
            self.active = Some(Active::of(&proposal.document, &self.routing.placement()));
        }
        let suppressed = self.admission.suppressed();
        let verdict = self.admission.judge(proposal, now);
        let suppressed = self.admission.suppressed() - suppressed;
        self.desk.metrics.add(TopologyMetric::Suppressed, suppressed);
        match verdict {
            Verdict::Same => self.same(),
            Verdict::Admit(admitted) => self.put_in_force(*admitted, now),
            Verdict::Wait(until) => return Some(until),
            Verdict::Suppressed => {
                tracing::debug!(pool = self.desk.pool, "members have changed without a commit");
            }
            Verdict::Refused(refusal) => self.refuse(stamp, &refusal),
        }
        None
    }

    fn same(&mut self) {
        if let Err(why) = self.renew_term() {
            let epoch = self.admission.current().map_or(0, |it| it.stamp);
            return self.refuse(epoch, &Refusal::new(Reason::Apply, why));
        }
        self.standing.agrees = true;
        if let Some(admitted) = self.admission.current() {
            self.servers = serving(&admitted.document);
            self.desk.in_force(Origin::Live, admitted, Duration::ZERO);
            if let Some(keeper) = self.snapshot.as_ref().filter(|_| self.unkept) {
                keeper.write(admitted);
            }
            self.unkept = false;
        }
        self.desk.confirmed();
    }

    fn put_in_force(&mut self, admitted: Admitted, now: Instant) {
        let servers = serving(&admitted.document);
        let phases = (self.phase(), admitted.document.phase);
        let stable = Document::default();
        let before = self.admission.current().map_or(&stable, |it| &it.document);
        let given_up =
            (tell_given_up(&before.dead_old), tell_given_up(&admitted.document.dead_old));
        if before.leads_to(&admitted.document) {
            self.grant();
        } else {
            // What is under way must end before anything begins in a phase so far from its own.
            self.standing.cleared = false;
            self.revoke();
        }
        if let Err(why) = self.put(&admitted.document) {
            self.refuse(admitted.stamp, &Refusal::new(Reason::Apply, why));
            return;
        }
        let changes = Diff::between(&self.servers, &servers);
        let moved = match &admitted.document {
            // With two rings nothing moves at once.
            document if document.has_two_rings() || phases != (Phase::Stable, Phase::Stable) => 0.0,
            _ => Moves::between(&self.routing, &self.servers, &servers).share * 100.0,
        };
        self.servers = servers;
        self.standing.agrees = true;
        if phases.0 != phases.1 {
            let (pool, epoch) = (&self.desk.pool, admitted.stamp);
            let (from, to) = (phases.0.name(), phases.1.name());
            tracing::info!(pool, from, to, epoch, "topology phase");
        }
        if given_up.0 != given_up.1 {
            let (pool, epoch) = (&self.desk.pool, admitted.stamp);
            let (from, to) = given_up;
            tracing::info!(pool, from, to, epoch, "old servers given up");
        }
        tracing::info!(
            pool = self.desk.pool,
            epoch = admitted.stamp,
            servers = self.servers.len(),
            %changes,
            moved = format!("{moved:.1}%"),
            digest = admitted.document.digest(&self.placement),
            author = admitted.document.author,
            reason = admitted.document.reason,
            "topology in force"
        );
        self.desk.in_force(Origin::Live, &admitted, Duration::ZERO);
        self.desk.applied(&admitted, format!("{changes}, {moved:.1} % of the keys moved"));
        if let Some(keeper) = &self.snapshot {
            keeper.write(&admitted);
        }
        self.unkept = false;
        self.admission.confirm(admitted, now);
    }

    pub(super) fn phase(&self) -> Phase {
        self.admission.current().map_or(Phase::Stable, |it| it.document.phase)
    }

    /// Has the process hold what a document says, in this term.
    pub(super) fn put(&mut self, document: &Document) -> Result<(), String> {
        let term = self.standing.term;
        if let Some(force) = &self.force {
            (force.apply)(&self.desk.pool, given(document, self.can_have_two, term))?;
        }
        self.standing.put = term;
        Ok(())
    }

    fn refuse(&mut self, epoch: u64, refusal: &Refusal) {
        self.standing.agrees = false;
        if refusal.reason == Reason::Phase {
            // Others may be where nobody may be who is here.
            self.revoke();
        }
        if self.desk.refused(epoch, refusal) {
            let reason = refusal.reason.name();
            let (pool, why) = (&self.desk.pool, &refusal.text);
            tracing::error!(pool, epoch, reason, why, "topology refused: nothing has changed");
        }
    }

    fn note_bad_members(&self, proposal: &Proposal) {
        let Some(members) = &proposal.members else { return };
        self.desk.metrics.add(TopologyMetric::BadMembers, members.bad.len() as u64);
        if let Some((child, why)) = members.bad.first() {
            let (pool, count) = (&self.desk.pool, members.bad.len());
            tracing::warn!(pool, child, why, count, "a member cannot be read: it stays as it was");
        }
    }
}

/// Keeps the snapshot, one file that one writer at a time replaces.
struct Keeper {
    file: PathBuf,
    desk: Arc<Desk>,
    /// How many were to be written, and which of them was written last.
    turns: AtomicU64,
    written: Arc<Mutex<u64>>,
}

impl Keeper {
    fn new(file: PathBuf, desk: &Arc<Desk>) -> Self {
        let desk = Arc::clone(desk);
        Self { file, desk, turns: AtomicU64::new(0), written: Arc::default() }
    }

    fn read(&self) -> Option<snapshot::Snapshot> {
        match snapshot::read(&self.file, &self.desk.source) {
            Ok(kept) => Some(kept),
            Err(Fault::Missing) => None,
            Err(fault) => {
                self.desk.metrics.add(TopologyMetric::SnapshotErrors, 1);
                let (pool, file) = (&self.desk.pool, self.file.display());
                tracing::error!(pool, %file, %fault, "the snapshot of the topology is not used");
                None
            }
        }
    }

    /// Beside the admin thread: a disk may take its time.
    fn write(&self, admitted: &Admitted) {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed) + 1;
        let (file, desk, admitted) = (self.file.clone(), Arc::clone(&self.desk), admitted.clone());
        let written = Arc::clone(&self.written);
        let write = move || {
            let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
            if *written > turn {
                return;
            }
            *written = turn;
            if let Err(error) = snapshot::write(&file, &desk.source, &admitted) {
                desk.metrics.add(TopologyMetric::SnapshotErrors, 1);
                let (pool, file) = (&desk.pool, file.display());
                tracing::warn!(pool, %file, %error, "the snapshot of the topology is not written");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(write)),
            Err(_) => write(),
        }
    }
}
