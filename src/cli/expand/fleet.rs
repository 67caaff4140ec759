//! `twinring expand` for all proxies of a pool whose topology is in ZooKeeper: the one who leads.
//!
//! ```text
//!  look ─▶ refused: somebody behind? a skip? old values? ─▶ next version, by CAS ─▶ look … all there
//! ```
//! A version is written as the successor of the one whose acknowledgements were looked at: whatever
//! happens in between, it is not written.

use std::ffi::OsStr;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use super::look::{FENCE, before_moving, before_moving_back, explain_in, tell_plan};
use super::sweep::{Swept, Target, sweep};
use super::walk::{self, Way, Wish};
use super::{DeadArgs, StartArgs, StepArgs, SweepArgs};
use crate::cli::{FAILED, complain, look, print};
use crate::config::{Place, Pool, Protocol};
use crate::control::topology::admission::given;
use crate::control::topology::fleet::{self, Awaited, Behind, Look};
use crate::process::{Fleet, is_fleet};
use crate::routing::{Moves, Router};
use crate::service::rings;
use crate::topology::{Document, GivenUp, Phase, Server, tell_given_up};

/// Names of those who are behind that a line has room for.
const NAMED: usize = 5;
/// Between two looks at what all say: one question for each of them.
const REST: Duration = Duration::from_millis(100);

/// The pool of a file that is led by versions in ZooKeeper: the one that is named, or the only one;
/// `None` if what is meant is led otherwise.
pub(super) fn pool(file: Option<&Path>, name: Option<&str>) -> Result<Option<Pool>, u8> {
    let Some(file) = file else { return Ok(None) };
    let config = look::load(file)?;
    if name.is_none() && config.pools.iter().any(|pool| pool.two_rings().is_some()) {
        return Ok(None);
    }
    let meant = |pool: &Pool| name.map_or_else(|| is_fleet(pool), |name| pool.name == name);
    let mut found: Vec<Pool> = config.pools.into_iter().filter(meant).collect();
    if found.len() > 1 {
        let names: Vec<&str> = found.iter().map(|pool| pool.name.as_str()).collect();
        complain(&format!("twinring: say which by --pool: {}\n", names.join(", ")));
        return Err(FAILED);
    }
    Ok(found.pop().filter(is_fleet))
}

/// One who leads a pool's fleet.
pub(super) struct Leader {
    pub(super) pool: Pool,
    pub(super) fleet: Fleet,
}

impl Leader {
    pub(super) fn of(pool: Pool) -> Result<Self, u8> {
        let fleet = Fleet::open(&pool).map_err(|why| {
            let place = pool.topology.as_ref().map(|source| &source.place);
            let ensemble = match place {
                Some(Place::ZooKeeper(place)) => &place.connect,
                _ => "",
            };
            complain(&format!("twinring: pool {}: ZooKeeper {ensemble}: {why}\n", pool.name));
            FAILED
        })?;
        Ok(Self { pool, fleet })
    }

    pub(super) fn refuse(&self, why: impl std::fmt::Display) -> u8 {
        complain(&format!("twinring: pool {}: {why}\n", self.pool.name));
        FAILED
    }

    pub(super) fn look(&mut self) -> Result<Look, u8> {
        let look = self.fleet.look();
        look.map_err(|why| self.refuse(format!("ZooKeeper: {why}")))
    }

    fn behind(&self, look: &Look) -> Vec<Behind> {
        look.behind(&self.pool.placement())
    }

    /// Nobody is behind: the version may be followed by another.
    fn complete(&self, look: &Look) -> Result<(), u8> {
        if look.acks.is_empty() {
            return Err(self.refuse("no proxy is there"));
        }
        self.nobody_is_behind(look)
    }

    /// The same, if any are there.
    pub(super) fn nobody_is_behind(&self, look: &Look) -> Result<(), u8> {
        let behind = self.behind(look);
        if behind.is_empty() {
            return Ok(());
        }
        let phase = look.document.phase.name();
        Err(self.refuse(format!("{phase} is {}", acknowledged(look, &behind))))
    }

    fn moves(&self, document: &Document) -> Moves {
        let (old, new) = (document.servers(), document.target_servers());
        Moves::between(&self.pool.routing, &old, &new)
    }

    /// The same, as far as servers keep keys that have moved away.
    fn soiled(&self, document: &Document) -> Moves {
        match self.moves_keys() {
            true => Moves { servers: Vec::new(), ..self.moves(document) },
            false => self.moves(document),
        }
    }

    fn moves_keys(&self) -> bool {
        self.pool.protocol == Protocol::Redis
    }

    /// The servers of a pool that speaks Redis can hand keys to each other.
    fn servers_are_fit(&self, document: &Document, whither: &str) -> Result<(), u8> {
        let pool = self.pool_of(document);
        match pool.two_rings().filter(|_| self.moves_keys()) {
            Some(expansion) => before_moving(&pool, expansion, whither),
            None => Ok(()),
        }
    }

    /// Whether its old servers can be given back what they had.
    fn servers_take_back(&self, document: &Document) -> Result<(), u8> {
        let pool = self.pool_of(document);
        match pool.two_rings().filter(|_| self.moves_keys()) {
            Some(expansion) => before_moving_back(&pool, expansion),
            None => Ok(()),
        }
    }

    /// The pool with the rings of a version.
    fn pool_of(&self, document: &Document) -> Pool {
        let mut pool = self.pool.clone();
        given(document, true, 0).put(&mut pool);
        pool
    }

    /// `twinring expand explain`.
    pub(super) fn explain(&mut self, key: &OsStr) -> Result<(), u8> {
        let look = self.look()?;
        let (pool, behind) = (self.pool_of(&look.document), self.behind(&look));
        let Some(expansion) = pool.two_rings() else {
            return Err(self.refuse("it has one ring"));
        };
        let phase = look.document.phase;
        let whence = match behind.is_empty() {
            true => String::new(),
            false => format!(" ({})", acknowledged(&look, &behind)),
        };
        explain_in(key, (&pool, &rings(&pool, expansion)), (phase, whence))
    }

    /// `twinring expand status`.
    pub(super) fn status(&mut self) -> Result<(), u8> {
        let look = self.look()?;
        let document = &look.document;
        let behind = self.behind(&look);
        let mut text = String::new();
        let (name, epoch, phase) = (&self.pool.name, document.epoch, stand(document));
        let state = acknowledged(&look, &behind);
        let _ = writeln!(text, "pool {name}: epoch {epoch}, phase {phase}, {state}");
        let said = [&document.author, &document.reason].map(|text| shown(text));
        let _ = writeln!(text, "  by {}: {}", said[0], said[1]);
        if document.has_two_rings() {
            let share = self.moves(document).share * 100.0;
            let _ = writeln!(text, "  keys that move\t{share:.2} %");
        }
        if !document.pin.is_empty() {
            let _ = writeln!(text, "  keys that stay\t{}", document.pin.len());
        }
        if !document.dirty.is_empty() {
            let names = document.dirty.join(", ");
            let _ = writeln!(text, "  may hold old values\t{}", shown(&names));
        }
        for Behind { id, why } in &behind {
            let _ = writeln!(text, "  behind\t{}: {}", shown(id), shown(why));
        }
        print(&text);
        Ok(())
    }

    /// What `target` would mean, on paper, if these keys stay; without one, what the version does.
    pub(super) fn plan(&mut self, target: Option<&Document>, pin: &[Vec<u8>]) -> Result<(), u8> {
        let mut look = self.look()?;
        if target.is_some() {
            look.document.pin = pin.to_vec();
        }
        let own = || look.document.has_two_rings().then(|| look.document.target.clone());
        let Some(target) = target.map(|target| target.current.clone()).or_else(own) else {
            return Err(self.refuse("it has one ring: name the servers to come"));
        };
        let next = Document { phase: Phase::Prepare, target, ..look.document };
        next.check().map_err(|error| self.refuse(error))?;
        let mut text = String::new();
        self.tell(&next, &mut text);
        print(&text);
        self.servers_are_fit(&next, "to prepare")
    }

    fn tell(&self, document: &Document, text: &mut String) {
        let pool = self.pool_of(document);
        if let Some(expansion) = pool.two_rings() {
            tell_plan(&pool, expansion, text);
        }
    }

    /// `twinring expand start`.
    pub(super) fn start(
        &mut self,
        args: &StartArgs,
        target: &Document,
        pin: Vec<Vec<u8>>,
    ) -> Result<(), u8> {
        if let Some(why) = self.pool.why_one_ring().next() {
            return Err(self.refuse(why));
        }
        if !pin.is_empty() && !self.moves_keys() {
            return Err(self.refuse("only keys of a pool that speaks Redis are pinned"));
        }
        let look = self.look()?;
        let old = look.document.servers();
        let moves = Moves::between(&self.pool.routing, &old, &target.servers());
        let mut next = fleet::start(&look.document, target.current.clone(), (&moves, &args.clean))
            .map_err(|why| self.refuse(why))?;
        next.pin = pin;
        next.check().map_err(|why| self.refuse(why))?;
        self.complete(&look)?;
        if let Some(count) = args.proxies.filter(|count| *count != look.acks.len()) {
            let there = look.acks.len();
            return Err(self.refuse(format!("{there} proxies are there, not {count}")));
        }
        let mut text = String::new();
        self.tell(&next, &mut text);
        print(&text);
        // In prepare each proxy has what is at the new servers come back.
        self.servers_are_fit(&next, "to prepare")?;
        args.why.sign(&mut next);
        let awaited = look.await_all(Phase::Prepare);
        self.go((&look, &next), &awaited, args.why.timeout)
    }

    /// `twinring expand advance` and `rollback`.
    pub(super) fn step(&mut self, args: &StepArgs, way: Way, accept_stale: bool) -> Result<(), u8> {
        let mut look = self.look()?;
        let from = look.document.phase;
        look.awaited.proxies.retain(|id| !args.gone.contains(id));
        // Keys that were moved are nowhere else.
        let accept_stale = accept_stale || self.moves_keys();
        let wish = Wish { way, to: args.to.as_deref().and_then(Phase::of_name), accept_stale };
        if from == Phase::Stable && way == Way::Forwards {
            return Err(self.refuse("there is no expansion: start one"));
        }
        let to = walk::step(from, true, wish).map_err(|why| match why {
            walk::Refusal::End("new", _) => self.refuse("new is the last phase: finish it"),
            why => self.refuse(why),
        })?;
        self.complete(&look)?;
        let next = fleet::step(&look.document, to, &self.soiled(&look.document));
        let mut next = next.map_err(|why| self.refuse(why))?;
        if (from, to) == (Phase::Prepare, Phase::Fence) {
            self.servers_are_fit(&next, FENCE)?;
        }
        if (from, to) == (Phase::Fence, Phase::Prepare) {
            self.servers_take_back(&next)?;
        }
        args.why.sign(&mut next);
        let leaves_one_ring = from == Phase::New;
        let awaited = if leaves_one_ring { look.await_all(to) } else { Awaited::default() };
        self.go((&look, &next), &awaited, args.why.timeout)
    }

    /// `twinring expand finish`.
    pub(super) fn finish(&mut self, args: &StepArgs, unpin: bool) -> Result<(), u8> {
        let look = self.look()?;
        let mut next = fleet::finish(&look.document, &self.soiled(&look.document), unpin)
            .map_err(|why| self.refuse(why))?;
        self.complete(&look)?;
        args.why.sign(&mut next);
        self.go((&look, &next), &Awaited::default(), args.why.timeout)
    }

    /// `twinring expand dead`: as many steps as there are, each once all have acknowledged the last.
    pub(super) fn give_up(&mut self, args: &DeadArgs) -> Result<(), u8> {
        let (name, back) = (&args.name, args.back);
        if self.moves_keys() {
            return Err(self.refuse("what an old server of Redis has is nowhere else"));
        }
        let mut look = self.look()?;
        loop {
            let further = if back { fleet::take_back } else { fleet::give_up };
            let mut next = further(&look.document, name).map_err(|why| self.refuse(why))?;
            look.awaited.proxies.retain(|id| !args.gone.contains(id));
            self.complete(&look)?;
            args.why.sign(&mut next);
            self.go((&look, &next), &Awaited::default(), args.why.timeout)?;
            let last = if back { None } else { Some(GivenUp::Skipped) };
            if next.dead_old.get(name).copied() == last {
                return Ok(());
            }
            look = self.look()?;
        }
    }

    /// `twinring expand sweep`.
    pub(super) fn sweep(&mut self, args: &SweepArgs) -> Result<(), u8> {
        if self.moves_keys() || self.pool.server_tls.is_some() {
            let why = "servers are swept that speak memcache without TLS, and no others";
            return Err(self.refuse(why));
        }
        let look = self.look()?;
        let phase = look.document.phase;
        if phase != Phase::Stable {
            let phase = phase.name();
            return Err(self.refuse(format!("servers are swept in phase stable, not in {phase}")));
        }
        self.complete(&look)?;
        let (ring, mut known) = (look.document.servers(), look.document.clone());
        let router = Router::new(&self.pool.routing, &ring);
        // All are found before any is touched.
        let places = args.names.iter().map(|name| self.swept(name, &look.document, args.flush));
        let places = places.collect::<Result<Vec<_>, u8>>()?;
        for (name, (node, at)) in args.names.iter().zip(places) {
            let begun = Instant::now();
            let foreign = |key: &[u8]| at.is_none() || router.server_of(key) != at;
            let target = Target { node: &node, foreign: &foreign, flush: args.flush };
            let swept = sweep(&target, args.rate, &mut || self.still(&mut known));
            let swept = swept.map_err(|why| self.refuse(format!("server {name}: {why}")))?;
            let (Swept { seen, deleted, passes }, took) = (swept, begun.elapsed().as_secs_f64());
            let flushed = if args.flush { "flushed, " } else { "" };
            print(&format!(
                "server {name}: {flushed}{deleted} keys deleted, {seen} left, looked at {passes} times, \
                 {took:.1} s\n"
            ));
        }
        let mut next = fleet::cleaned(&known, &args.names);
        if next.dirty == known.dirty {
            return Ok(());
        }
        args.why.sign(&mut next);
        self.go((&Look { document: known, ..look }, &next), &Awaited::default(), args.why.timeout)
    }

    /// A server that is to be swept, and its index if it is in the ring. One that is not, and may hold
    /// old values, is where the last version said that had it.
    fn swept(
        &mut self,
        name: &str,
        document: &Document,
        flush: bool,
    ) -> Result<(Server, Option<usize>), u8> {
        let ring = document.servers();
        if let Some(at) = ring.iter().position(|server| server.name == name) {
            if flush {
                return Err(self.refuse(format!("server {name} is in the ring: it is not flushed")));
            }
            return Ok((ring[at].clone(), Some(at)));
        }
        if !document.dirty.iter().any(|it| it == name) {
            let name = shown(name);
            return Err(self.refuse(format!(
                "no server {name} in the ring, and none that may hold old values"
            )));
        }
        let known = self.fleet.last_known(document.epoch, name);
        let known = known.map_err(|why| self.refuse(format!("ZooKeeper: {why}")))?;
        let Some(server) = known else {
            let name = shown(name);
            return Err(self.refuse(format!(
                "no version says where {name} is: empty it, and say so to start by --clean"
            )));
        };
        match ring.iter().find(|it| it.address == server.address) {
            Some(other) => {
                let (name, other) = (shown(name), shown(&other.name));
                Err(self.refuse(format!("where {name} was is {other} now, which is in the ring")))
            }
            None => Ok((server, None)),
        }
    }

    /// The ring is still the one of the version that was known, or of the one behind that.
    fn still(&mut self, known: &mut Document) -> Result<(), String> {
        let now = self.fleet.look().map_err(|why| format!("ZooKeeper: {why}"))?.document;
        if !fleet::kept_ring(known, &now, &self.pool.routing.placement()) {
            return Err(format!("epoch {} may have another ring: sweep again", now.epoch));
        }
        *known = now;
        Ok(())
    }

    /// Writes the next version, and waits for all to acknowledge it.
    pub(super) fn go(
        &mut self,
        (look, next): (&Look, &Document),
        awaited: &Awaited,
        seconds: u32,
    ) -> Result<(), u8> {
        let (begun, limit) = (Instant::now(), Duration::from_secs(seconds.into()));
        let published = self.fleet.publish(next, awaited);
        published.map_err(|why| self.refuse(why))?;
        let (from, to, epoch) = (stand(&look.document), stand(next), next.epoch);
        loop {
            let now = self.look()?;
            if now.document.epoch != epoch {
                let it = now.document.epoch;
                return Err(
                    self.refuse(format!("epoch {it} has come after {epoch}: somebody else walks"))
                );
            }
            let behind = self.behind(&now);
            let state = acknowledged(&now, &behind);
            if behind.is_empty() && !now.acks.is_empty() {
                let (name, took) = (&self.pool.name, begun.elapsed().as_secs_f64());
                print(&format!(
                    "pool {name}: {from} -> {to}, epoch {epoch}, {state} in {took:.1} s\n"
                ));
                return Ok(());
            }
            if begun.elapsed() >= limit {
                let why =
                    format!("went to {to}, epoch {epoch}, {state} within {seconds} s; see status");
                return Err(self.refuse(why));
            }
            self.fleet.rest(REST);
        }
    }
}

/// The phase, and which old servers are given up if any are.
fn stand(document: &Document) -> String {
    let phase = document.phase.name();
    if document.dead_old.is_empty() {
        return phase.to_owned();
    }
    format!("{phase} ({})", shown(&tell_given_up(&document.dead_old)))
}

/// How many have acknowledged it, and who has not.
fn acknowledged(look: &Look, behind: &[Behind]) -> String {
    let here = look.acks.iter().filter(|ack| !behind.iter().any(|it| it.id == ack.id)).count();
    let all = here + behind.len();
    if behind.is_empty() {
        return format!("acknowledged by all {all} proxies");
    }
    let named: Vec<String> = behind.iter().take(NAMED).map(|it| shown(&it.id)).collect();
    let more = if behind.len() > NAMED { ", …" } else { "" };
    format!("acknowledged by {here} of {all} proxies, not by {}{more}", named.join(", "))
}

/// What came from elsewhere goes to a terminal: without control characters.
fn shown(text: &str) -> String {
    let text = if text.is_empty() { "-" } else { text };
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
