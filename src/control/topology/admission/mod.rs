//! What of a source is followed, and when: a state machine without clock or sockets.
//!
//! ```text
//!  Proposal ─▶ members ─▶ check ─▶ fits ─▶ monotonic ─▶ empty ─▶ damping ─▶ phase ─▶ shrink ─▶ pace ─▶ Admit
//!                 │          └──────────────┴─────────────┴─────────────────┴────────┴──▶ Refused
//!                 └ a member that cannot be read keeps what it was
//! ```
//! Membership of the ring is not liveness, and a source may be wrong: what is not admitted leaves
//! everything as it was. Who applies what was admitted says so by [`Admission::confirm`].

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::config::Membership;
use crate::control::given::{Given, Walk};
use crate::control::topology::decode::{Members, Proposal};
use crate::control::topology::refusal::{Reason, Refusal};
use crate::topology::{
    Address, Diff, Document, Node, Phase, Placement, Server, VersionError, nodes_in_ring_order,
};

/// What the operator and the pool allow.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How the pool places keys.
    pub placement: Placement,
    /// Whether the pool's servers speak TLS.
    pub tls: bool,
    /// Whether members change the ring by themselves.
    pub membership: Membership,
    /// The part of the ring's weight that may go at once, in ten-thousandths.
    pub max_removal: u32,
    /// How long a new member must be there.
    pub add_delay: Duration,
    /// How long one must be absent.
    pub remove_delay: Duration,
    /// Why the pool cannot have two rings, if it cannot.
    pub one_ring: Option<&'static str>,
    /// Whether keys are moved from server to server, not copied.
    pub moves_keys: bool,
}

/// Admissions at most: one in this time. What comes sooner waits and is read again.
const PACE: Duration = Duration::from_secs(1);
/// After which it is looked again whether what began before the last phase has ended.
const SETTLE: Duration = Duration::from_millis(20);

/// What is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The stamp of the source when it said so.
    pub stamp: u64,
    /// What it said.
    pub document: Document,
}

/// What becomes of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is what is followed already.
    Same,
    /// It is to be applied now, and then confirmed.
    Admit(Box<Admitted>),
    /// It may be followed, at this time: read the source again then.
    Wait(Instant),
    /// Members have come or gone, which changes nothing without a commit.
    Suppressed,
    /// It is not followed.
    Refused(Refusal),
}

/// Judges what a source says.
#[derive(Debug)]
pub struct Admission {
    rules: Rules,
    current: Option<Admitted>,
    /// The server of each child when it could last be read.
    children: HashMap<String, Node>,
    /// Names of members that are new or gone, and since when.
    pending: HashMap<String, Instant>,
    last: Option<Instant>,
    accepted: Option<u64>,
    suppressed: u64,
    /// Nothing has been done in the phase that is followed: any other may come after it.
    fresh: bool,
    /// Everything begun before it has ended.
    settled: bool,
}

impl Admission {
    /// Starts with what was followed before the process ended, if that is known.
    pub fn new(rules: Rules, current: Option<Admitted>) -> Self {
        Self {
            rules,
            current,
            children: HashMap::new(),
            pending: HashMap::new(),
            last: None,
            accepted: None,
            suppressed: 0,
            fresh: true,
            settled: true,
        }
    }

    /// What is followed.
    pub const fn current(&self) -> Option<&Admitted> {
        self.current.as_ref()
    }

    /// Changes of members that came to nothing.
    pub const fn suppressed(&self) -> u64 {
        self.suppressed
    }

    /// The operator means the proposal of this stamp, whatever it does.
    pub const fn accept(&mut self, stamp: u64) {
        self.accepted = Some(stamp);
    }

    /// Keys that move were not acted on for so long that others may be many phases on.
    pub const fn begin_anew(&mut self) {
        self.fresh = true;
    }

    /// Whether everything has ended that was begun before what is followed now.
    pub const fn set_settled(&mut self, settled: bool) {
        self.settled = settled;
    }

    /// The connection to the source was lost: who is absent may just not have been seen.
    pub fn unsure(&mut self) {
        self.pending.clear();
    }

    /// What was admitted is in force.
    pub fn confirm(&mut self, admitted: Admitted, now: Instant) {
        self.current = Some(admitted);
        self.last = Some(now);
        self.accepted = None;
        self.fresh = false;
        self.pending.clear();
    }

    /// Judges what the source says at `now`.
    pub fn judge(&mut self, proposal: Proposal, now: Instant) -> Verdict {
        self.stages(proposal, now).unwrap_or_else(|verdict| verdict)
    }

    /// The stages in order; whatever ends one of them early is the verdict.
    fn stages(&mut self, proposal: Proposal, now: Instant) -> Result<Verdict, Verdict> {
        let Proposal { stamp, mut document, members, accepted } = proposal;
        let meant = accepted || self.accepted == Some(stamp);
        let committed = match members {
            Some(members) => {
                let committed = members.committed;
                document.current = self.resolve(members);
                Some(committed == Some(true) || meant)
            }
            None => None,
        };
        document.check().map_err(|error| Verdict::Refused(invalid(&error)))?;
        self.fits(&document)?;
        self.monotonic(stamp, &document, meant, committed.is_some())?;
        self.not_empty(stamp, &document, meant)?;
        match committed {
            Some(false) => self.damp(&mut document, now)?,
            _ => self.pending.clear(),
        }
        if self.is_same(stamp, &document) {
            return Ok(Verdict::Same);
        }
        let walks = self.walks(&document, meant)?;
        if !self.settled && walks && !self.fresh {
            return Err(Verdict::Wait(now + SETTLE));
        }
        if walks {
            return Ok(Verdict::Admit(Box::new(Admitted { stamp, document })));
        }
        self.shrinks_little(&document, meant)?;
        if let Some(next) = self.last.map(|last| last + PACE).filter(|&next| next > now) {
            return Err(Verdict::Wait(next));
        }
        Ok(Verdict::Admit(Box::new(Admitted { stamp, document })))
    }

    /// The members as nodes; one that cannot be read keeps what it was (Prometheus forgets it and
    /// Synapse passes it over: both shrink the ring).
    fn resolve(&mut self, members: Members) -> Vec<Node> {
        let mut children = HashMap::new();
        for (child, node) in members.good {
            children.insert(child, node);
        }
        for (child, _) in members.bad {
            if let Some(node) = self.children.get(&child) {
                children.insert(child, node.clone());
            }
        }
        let mut nodes: Vec<Node> = children.values().cloned().collect();
        nodes_in_ring_order(&mut nodes);
        self.children = children;
        nodes
    }

    /// It is for the ring that the pool has, and for servers that it can talk to.
    fn fits(&self, document: &Document) -> Result<(), Verdict> {
        let wrong = |text: String| Err(refused(Reason::Ring, text));
        let Placement { hash, distribution, hash_tag, .. } = &self.rules.placement;
        let checks = [
            ("hash", &document.hash, hash),
            ("distribution", &document.distribution, distribution),
            ("hash_tag", &document.hash_tag, hash_tag),
        ];
        for (key, said, ours) in checks {
            let Some(said) = said else { continue };
            // A document may leave out what a distribution is further told.
            let same = said == ours || ours.split(' ').next() == Some(said) && !said.is_empty();
            if !same {
                return wrong(format!("it is for {key} {said:?}, the pool has {ours:?}"));
            }
        }
        if self.rules.moves_keys && !document.dead_old.is_empty() {
            return wrong(
                "dead_old is for memcache: what an old server has is nowhere else".to_owned(),
            );
        }
        if let Some(why) = self.rules.one_ring.filter(|_| document.phase.is_between()) {
            return wrong(format!("phase {} needs two rings: {why}", document.phase.name()));
        }
        for node in document.current.iter().chain(&document.target) {
            let name = &node.server.name;
            if node.tls.is_some_and(|tls| tls != self.rules.tls) {
                let ours = if self.rules.tls { "speaks" } else { "does not speak" };
                return wrong(format!("node {name:?}: the pool {ours} TLS to its servers"));
            }
            if self.rules.tls && matches!(node.server.address, Address::Unix(_)) {
                return wrong(format!("node {name:?}: a unix socket cannot have TLS"));
            }
        }
        Ok(())
    }

    /// A source never goes back by itself: a follower that lags, or an ensemble that was restored
    /// from a copy, says what was true once.
    fn monotonic(
        &self,
        stamp: u64,
        document: &Document,
        meant: bool,
        by_members: bool,
    ) -> Result<(), Verdict> {
        let Some(current) = self.current.as_ref().filter(|_| !meant) else { return Ok(()) };
        if stamp < current.stamp {
            let text = format!("{stamp} is older than {}, which is followed", current.stamp);
            return Err(refused(Reason::Epoch, text));
        }
        // Members are damped: the same stamp may come to something else later. A file counts not.
        let counts = stamp > 0 && !by_members;
        if counts && stamp == current.stamp && *document != current.document {
            let text = format!("{stamp} says something else than it did");
            return Err(refused(Reason::Epoch, text));
        }
        Ok(())
    }

    fn not_empty(&self, stamp: u64, document: &Document, meant: bool) -> Result<(), Verdict> {
        let newer = self.current.as_ref().is_none_or(|current| stamp > current.stamp);
        let old_is_there = !document.has_two_rings() || !document.current.is_empty();
        let serving = serving(document);
        if !serving.is_empty() && old_is_there || meant || document.allow_empty && newer {
            return Ok(());
        }
        Err(refused(Reason::Empty, "the list is empty"))
    }

    /// Replaces the list by what members alone may make of it.
    fn damp(&mut self, document: &mut Document, now: Instant) -> Result<(), Verdict> {
        let Some(current) = &self.current else {
            if self.rules.membership == Membership::Unmanaged {
                return Ok(());
            }
            let count = document.current.len();
            let text = format!("{count} members and no commit: there is no ring yet");
            return Err(refused(Reason::Commit, text));
        };
        let seen: HashMap<&str, &Node> =
            document.current.iter().map(|node| (node.server.name.as_str(), node)).collect();
        // Under its name a member may move and say how it is; its weight is part of the ring.
        let known = current.document.current.iter();
        let mut merged: Vec<Node> = known
            .map(|old| match seen.get(old.server.name.as_str()) {
                Some(new) if self.rules.membership == Membership::Managed => {
                    let weight = old.server.weight;
                    Node { server: Server { weight, ..new.server.clone() }, ..(*new).clone() }
                }
                Some(new) => (*new).clone(),
                None => old.clone(),
            })
            .collect();
        let new: Vec<Node> = document.current.clone();
        let wait = match self.rules.membership {
            Membership::Managed => None,
            Membership::Unmanaged => self.ripen(&mut merged, &new, now),
        };
        let left_out = Diff::between(&servers(&merged), &servers(&new));
        document.current = merged;
        let unchanged =
            self.current.as_ref().is_some_and(|it| it.document.current == document.current);
        if unchanged && !left_out.keeps_ring() {
            return Err(match wait {
                Some(until) => Verdict::Wait(until),
                None => {
                    self.suppressed += 1;
                    Verdict::Suppressed
                }
            });
        }
        Ok(())
    }

    /// Takes up members that have been there, and leaves out those that have been absent, for long
    /// enough. Returns when the next one will have been.
    fn ripen(&mut self, merged: &mut Vec<Node>, new: &[Node], now: Instant) -> Option<Instant> {
        let diff = Diff::between(&servers(merged), &servers(new));
        let added = diff.added.iter().map(|server| (&server.name, self.rules.add_delay));
        let removed = diff.removed.iter().map(|server| (&server.name, self.rules.remove_delay));
        let mut pending = HashMap::new();
        let mut next: Option<Instant> = None;
        for (name, delay) in added.chain(removed) {
            let since = *self.pending.get(name).unwrap_or(&now);
            pending.insert(name.clone(), since);
            let due = since + delay;
            if due > now {
                next = Some(next.map_or(due, |next| next.min(due)));
            } else if let Some(node) = new.iter().find(|node| node.server.name == *name) {
                merged.push(node.clone());
            } else {
                merged.retain(|node| node.server.name != *name);
            }
        }
        // Whoever went and is back, or came and has gone, has changed nothing.
        let over = self.pending.keys().filter(|name| !pending.contains_key(*name)).count();
        self.suppressed += over as u64;
        self.pending = pending;
        nodes_in_ring_order(merged);
        next
    }

    /// The same servers under another stamp are no change, but the stamp counts from then on.
    fn is_same(&mut self, stamp: u64, document: &Document) -> bool {
        let Some(current) = &mut self.current else { return false };
        let unlike = |old: &[Server], new: &[Server]| !Diff::between(old, new).is_empty();
        if unlike(&serving(&current.document), &serving(document))
            || current.document.phase != document.phase
            || current.document.dead_old != document.dead_old
            || document.has_two_rings()
                && (current.document.pin != document.pin
                    || unlike(&current.document.servers(), &document.servers())
                    || unlike(&current.document.target_servers(), &document.target_servers()))
        {
            return false;
        }
        self.fresh = false;
        if current.stamp != stamp {
            current.stamp = stamp;
            current.document = document.clone();
            self.accepted = None;
        }
        true
    }

    /// Whether this is a step of an expansion; then it goes from a phase to its neighbour, or from
    /// the last to the ring that it has come to, and no key moves by anything else.
    fn walks(&self, document: &Document, meant: bool) -> Result<bool, Verdict> {
        let Some(current) = self.current.as_ref().map(|it| &it.document) else { return Ok(false) };
        let two = [current.has_two_rings(), document.has_two_rings()];
        if two == [false, false] || self.rules.one_ring.is_some() {
            return Ok(false);
        }
        if meant || self.fresh {
            return Ok(true);
        }
        let (from, to) = (current.phase, document.phase);
        let ends = (from, to) == (Phase::New, Phase::Stable);
        if !current.leads_to(document) {
            let text = match ends || from.borders(to) {
                true => "of an old server that is given up: one step at a time".to_owned(),
                false => format!("from {} to {}: one step at a time", from.name(), to.name()),
            };
            return Err(refused(Reason::Phase, text));
        }
        let keeps =
            |old: &[Node], new: &[Node]| Diff::between(&servers(old), &servers(new)).keeps_ring();
        let old = if ends { &current.target } else { &current.current };
        let other = two == [true, true]
            && (current.pin != document.pin || !keeps(&current.target, &document.target));
        if other || !keeps(old, &document.current) {
            let text =
                "the rings, or the keys that stay, are not those that the expansion began with";
            return Err(refused(Reason::Phase, text));
        }
        Ok(from != to || current.dead_old != document.dead_old)
    }

    fn shrinks_little(&self, document: &Document, meant: bool) -> Result<(), Verdict> {
        let Some(current) = self.current.as_ref().filter(|_| !meant) else { return Ok(()) };
        if document.allow_shrink || document.allow_empty && serving(document).is_empty() {
            return Ok(());
        }
        let diff = Diff::between(&serving(&current.document), &serving(document));
        let share = diff.removed_share();
        let most = f64::from(self.rules.max_removal) / 10_000.0;
        if share <= most {
            return Ok(());
        }
        let (gone, share) = (diff.removed.len(), share * 100.0);
        let text = format!(
            "{gone} servers with {share:.0} % of the ring would go at once, at most {:.0} % may",
            most * 100.0
        );
        Err(refused(Reason::Shrink, text))
    }
}

/// The servers that serve in the document's phase: those of both rings while keys move.
pub fn serving(document: &Document) -> Vec<Server> {
    if document.phase == Phase::New && document.has_two_rings() {
        document.target_servers()
    } else {
        document.all_servers()
    }
}

/// What a document gives a pool, which can have two rings or not, in a term.
pub fn given(document: &Document, can_have_two: bool, term: u64) -> Given {
    if !can_have_two || !document.has_two_rings() {
        return Given { servers: serving(document), walk: None };
    }
    let (current, target) = (document.servers(), document.target_servers());
    let dead_old = document.dead_old.clone();
    let pin = document.pin.clone();
    let walk = Walk { phase: document.phase, term, current, target, dead_old, pin };
    // The old servers stay at hand to the last: there may be a way back.
    Given { servers: document.all_servers(), walk: Some(walk) }
}

fn servers(nodes: &[Node]) -> Vec<Server> {
    nodes.iter().map(|node| node.server.clone()).collect()
}

fn refused(reason: Reason, text: impl Into<String>) -> Verdict {
    Verdict::Refused(Refusal::new(reason, text))
}

fn invalid(error: &VersionError) -> Refusal {
    let reason = match error {
        VersionError::SameName(_) | VersionError::SameAddress(_) => Reason::Dup,
        _ => Reason::Decode,
    };
    Refusal::new(reason, error.to_string())
}

#[cfg(test)]
mod tests;
