//! ZooKeeper as a source: one session for all pools of an ensemble. The only home of the client.
//!
//! ```text
//!  connect ─▶ watch ─▶ be seen ─▶ ┌ dirty: sync, read, see ─▶ acknowledge, renew ┐ ─▶ expired ─▶ back off
//!     ▲                           └◀ event · connected again · 60 s · accept ──────┘               │
//!     └────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//! A watch is set before the first reading, and its events say only that something is to be read.
//! Losing the ensemble changes nothing but the gauges.

mod door;
mod fleet;
mod nanny;
mod peers;
mod session;
mod signals;
mod watched;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until, timeout, timeout_at};
use zookeeper_client::{Error, SessionState};

use crate::config::{Format, ZooKeeper};
use crate::control::topology::follow::Follower;
use crate::metrics::TopologyMetric;
pub(super) use door::Door;
pub use fleet::Fleet;
pub use nanny::watch_over;
use peers::ACKS;
use session::Session;
use signals::Signals;
use watched::Watched;

/// The first pause after a failed connection, and the longest; each is half to one and a half.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// Between two readings: the first event has one at once, those that come on its heels another.
const GAP: Duration = Duration::from_millis(200);
/// After a reading that failed, or found a pointer without its version.
const RETRY: Duration = Duration::from_secs(1);
/// Everything is read again after this time: cures a watch that was lost. A tenth more or less, so
/// that a fleet does not ask at once.
const ANTI_ENTROPY: Duration = Duration::from_secs(60);
/// While something is to be acknowledged, or to end: between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// While keys move, the permit is renewed so many times in a session timeout, and lasts from the
/// sending of what was answered for all but such a part of it: what a server of the ensemble has
/// heard from us it passes on within half a tick, that is within a quarter of the shortest timeout
/// that it grants, and clocks run apart by less than the rest.
const RENEWALS: u32 = 6;
const MARGIN: u32 = 3;

/// The pools of one ensemble.
pub(super) struct Group {
    place: ZooKeeper,
    pools: Vec<Watched>,
    door: Door,
    wake: Arc<Notify>,
    session: Option<Session>,
    /// What this session has said of pools that have left: paths and names.
    left: Vec<(String, String)>,
    /// What was last said about not being connected.
    trouble: Option<String>,
}

impl Group {
    /// The group behind this door: that of an ensemble, whose desks all ring its bell.
    pub(super) fn new(door: Door) -> Self {
        Self {
            place: door.place().clone(),
            pools: Vec::new(),
            wake: door.wake(),
            door,
            session: None,
            left: Vec::new(),
            trouble: None,
        }
    }

    /// Its door.
    pub(super) fn door(&self) -> &Door {
        &self.door
    }

    /// Adds a pool; `id` names this process in acknowledgements.
    pub(super) fn add(&mut self, place: &ZooKeeper, format: Format, id: &str, follower: Follower) {
        let source = (place.path.clone(), format);
        self.pools.push(Watched::new(source, id.to_owned(), follower));
    }

    /// Its pools' followers.
    pub(super) fn followers(&mut self) -> impl Iterator<Item = &mut Follower> {
        self.pools.iter_mut().map(|pool| &mut pool.follower)
    }

    /// Reads everything once, for at most `wait`.
    pub(super) async fn first(mut self, wait: Duration) -> Self {
        let until = (Instant::now() + wait).into();
        match timeout_at(until, Session::open(&self.place)).await {
            Ok(Ok(session)) => {
                let reading = self.pools.iter_mut().map(|pool| pool.read(&session));
                for reading in reading {
                    let _ = timeout_at(until, reading).await;
                }
                self.session = Some(session);
            }
            Ok(Err(why)) => self.complain(&why),
            Err(_) => self.complain("it does not answer"),
        }
        self
    }

    /// Follows the sources for as long as there are any.
    pub(super) async fn follow(mut self) {
        let mut pause = PAUSE.0;
        loop {
            self.open_door();
            if self.pools.is_empty() {
                return;
            }
            let session = match self.session.take() {
                Some(session) => Ok(session),
                None => Session::open(&self.place).await,
            };
            match session {
                Ok(session) => {
                    pause = PAUSE.0;
                    let why = self.life(&session).await;
                    self.left.clear();
                    if self.pools.is_empty() {
                        // Whatever it has said ends with the session.
                        return;
                    }
                    self.complain(&why);
                }
                Err(why) => self.complain(&why),
            }
            self.followers().for_each(|follower| {
                follower.desk().metrics.set(TopologyMetric::Session, 0);
                follower.unsure();
            });
            sleep(jittered(pause, 0.5)).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// One session's life; how it ended.
    async fn life(&mut self, session: &Session) -> String {
        let signals = Signals::new(Arc::clone(&self.wake));
        tokio::spawn(Arc::clone(&signals).bring_states(session.states()));
        self.pools.iter_mut().for_each(Watched::begin);
        let mut renewal = Instant::now();
        self.trouble = None;
        let timeout = session.timeout();
        tracing::info!(ensemble = self.place.connect, session_timeout = ?timeout, "ZooKeeper is connected");
        let mut entropy = Instant::now() + jittered(ANTI_ENTROPY, 0.1);
        loop {
            if let Some(end) = signals.end() {
                return self.ended(end);
            }
            self.open_door();
            if self.pools.is_empty() {
                return "nobody needs it".to_owned();
            }
            let connected = signals.connected();
            self.show(connected, signals.take_lost());
            if connected {
                // Watches first: what happens after the reading must not be missed.
                if !self.watch(session, &signals).await {
                    sleep(RETRY).await;
                    continue;
                }
                self.take_leave(session).await;
                self.be_seen(session).await;
                self.read_dirty(session, &signals).await;
                if Instant::now() >= renewal && self.renew(session).await {
                    renewal = Instant::now() + session.timeout() / RENEWALS;
                }
                self.acknowledge(session).await;
                self.count_those_behind(session).await;
                sleep(if self.is_pending() { LOOK } else { GAP }).await;
            }
            let again = self.pools.iter().filter_map(|pool| pool.again).min();
            let renew = self.pools.iter().any(|pool| pool.follower.needs_permit());
            let look = self.is_pending().then(Instant::now);
            let count = self.pools.iter_mut().filter_map(Watched::count_due).min();
            let times = [again, renew.then_some(renewal), look, count];
            let next = times.into_iter().flatten().fold(entropy, Instant::min);
            tokio::select! {
                () = self.wake.notified() => {}
                () = sleep_until(next.into()), if connected => {}
            }
            if Instant::now() >= entropy {
                signals.mark_all();
                entropy = Instant::now() + jittered(ANTI_ENTROPY, 0.1);
            }
        }
    }

    /// Lets in who waits, and out who is to go.
    fn open_door(&mut self) {
        let (mut joining, leaving) = self.door.take();
        joining.iter_mut().for_each(Watched::begin);
        self.pools.extend(joining);
        for desk in leaving {
            let same = |pool: &Watched| Arc::ptr_eq(pool.follower.desk(), &desk);
            let Some(at) = self.pools.iter().position(same) else { continue };
            let gone = self.pools.remove(at);
            if let Some(events) = gone.events {
                events.abort();
            }
            if gone.format == Format::Native {
                self.left.push((gone.path, gone.id));
            }
        }
        // Who has come back has more to say under the same name.
        let present = |left: &(String, String)| {
            self.pools.iter().any(|pool| (&pool.path, &pool.id) == (&left.0, &left.1))
        };
        self.left.retain(|left| !present(left));
    }

    /// Takes back what was said of pools that have left: nobody is to wait for them.
    async fn take_leave(&mut self, session: &Session) {
        while let Some((path, id)) = self.left.last() {
            let unsaid = session.unsay((path, ACKS), id);
            match timeout(session.timeout(), unsaid).await {
                Ok(Ok(())) => {}
                // It ends with the session.
                Ok(Err(error @ Error::NoAuth)) => {
                    tracing::warn!(path, id, %error, "an acknowledgement cannot be taken back");
                }
                // On the next connection.
                Ok(Err(_)) | Err(_) => return,
            }
            self.left.pop();
        }
    }

    /// Sets the watches that this connection lacks, in the place of those that there were; false if
    /// one could not be set.
    async fn watch(&mut self, session: &Session, signals: &Arc<Signals>) -> bool {
        let connection = signals.connection();
        for pool in self.pools.iter_mut().filter(|pool| pool.watched != connection) {
            let set = timeout(session.timeout(), session.watch(&pool.path, pool.format)).await;
            let Ok(Ok(watch)) = set else {
                let (pool, path) = (&pool.follower.desk().pool, &pool.path);
                tracing::warn!(pool, path, "the topology cannot be watched");
                return false;
            };
            let dirty = Arc::clone(&pool.dirty);
            let events = tokio::spawn(Arc::clone(signals).bring_events(dirty, watch));
            pool.watched = connection;
            if let Some(before) = pool.events.replace(events) {
                before.abort();
            }
        }
        true
    }

    /// Has everybody see that this process is here, before it reads what all are to do: who walks
    /// the fleet on waits for it from then on.
    async fn be_seen(&mut self, session: &Session) {
        for pool in self.pools.iter_mut().filter(|pool| pool.format == Format::Native) {
            if pool.follower.is_present() {
                continue;
            }
            let text = serde_json::json!({ "epoch": 0, "phase": "none" }).to_string();
            let said = session.say((&pool.path, ACKS), &pool.id, &text);
            match timeout(session.timeout(), said).await {
                Ok(Ok(())) => pool.follower.set_present(),
                _ => tracing::debug!(pool = pool.follower.desk().pool, "nobody sees us yet"),
            }
        }
    }

    /// Asks the ensemble whether the session lives, if it matters; true if that was answered. The
    /// question goes to the leader: a server cut off from it would still answer a reading.
    async fn renew(&mut self, session: &Session) -> bool {
        if !self.pools.iter().any(|pool| pool.follower.needs_permit()) {
            return true;
        }
        let sent = Instant::now();
        let limit = session.timeout();
        let Some(path) = self.pools.first().map(|pool| pool.path.clone()) else { return true };
        let answered = matches!(timeout(limit / MARGIN, session.sync(&path)).await, Ok(Ok(())));
        if answered {
            self.followers().for_each(|follower| follower.heard(sent + permitted(limit)));
        }
        answered
    }

    /// Acknowledges what is in force and has settled.
    async fn acknowledge(&mut self, session: &Session) {
        for pool in &mut self.pools {
            pool.follower.grant();
            if pool.is_behind() && pool.follower.may_acknowledge() {
                pool.acknowledge(session).await;
            }
        }
    }

    /// Counts who is behind where that is due. It is given up before a renewal has to wait for it.
    async fn count_those_behind(&mut self, session: &Session) {
        for pool in &mut self.pools {
            if pool.count_due().is_none_or(|due| Instant::now() < due) {
                continue;
            }
            let counted = pool.peers.count(session, &pool.path);
            if let Ok(Ok(behind)) = timeout(session.timeout() / RENEWALS, counted).await {
                pool.follower.desk().metrics.set(TopologyMetric::Behind, behind as u64);
            }
        }
    }

    /// Whether something in force has not been acknowledged yet.
    fn is_pending(&self) -> bool {
        self.pools.iter().any(|pool| pool.follower.agrees() && pool.is_behind())
    }

    async fn read_dirty(&mut self, session: &Session, signals: &Signals) {
        for pool in &mut self.pools {
            let due = pool.again.is_some_and(|again| again <= Instant::now());
            if pool.take_dirty(signals) || due || pool.follower.desk().is_asked() {
                pool.read(session).await;
            }
            if signals.end().is_some() || !signals.connected() {
                return;
            }
        }
    }

    fn show(&mut self, connected: bool, lost: bool) {
        for follower in self.pools.iter_mut().map(|pool| &mut pool.follower) {
            follower.desk().metrics.set(TopologyMetric::Session, u64::from(connected));
            if lost {
                follower.unsure();
            }
        }
        if lost {
            tracing::warn!(ensemble = self.place.connect, "the connection to ZooKeeper was lost");
        }
    }

    fn ended(&mut self, end: SessionState) -> String {
        if end == SessionState::Expired {
            for pool in &self.pools {
                pool.follower.desk().metrics.add(TopologyMetric::Expirations, 1);
            }
        }
        match end {
            SessionState::Expired => "the session has expired".to_owned(),
            SessionState::AuthFailed => "it does not accept our authentication".to_owned(),
            _ => "the session was closed".to_owned(),
        }
    }

    /// Says once what is wrong, until something else is.
    fn complain(&mut self, why: &str) {
        if self.trouble.as_deref() == Some(why) {
            return;
        }
        self.trouble = Some(why.to_owned());
        let ensemble = &self.place.connect;
        tracing::warn!(ensemble, why, "no ZooKeeper: what was last known serves");
    }
}

/// How long after the sending of what was answered a session of this timeout lives for certain.
fn permitted(timeout: Duration) -> Duration {
    timeout - timeout / MARGIN
}

/// `time`, a part of it more or less.
fn jittered(time: Duration, part: f64) -> Duration {
    let random = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
    time.mul_f64(1.0 + part * (2.0 * random - 1.0))
}
