//! The walk of a whole fleet, as whoever leads it sees it: who is there, who is behind, and what the
//! next version says. Pure; `zookeeper::fleet` reads and writes.
//!
//! ```text
//!  version, acks ─▶ Look ─▶ behind: nobody? ─▶ start │ step │ finish ─▶ the next version
//! ```
//! Two things no acknowledgement can tell. A process that knew of no expansion when it was cut off
//! goes on by its one ring: so all that are there when the first version with two rings is written
//! are awaited by name before it is left. And servers that keys have moved away from still have them:
//! they are `dirty`, and keys do not come back to them unless somebody says that they are clean.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::routing::Moves;
use crate::topology::{Document, GivenUp, Node, Phase, Placement, VersionError, tell_given_up};

#[cfg(test)]
mod tests;

/// A topology and what all proxies say to it.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// The active version.
    pub document: Document,
    /// What the proxies say that are there.
    pub acks: Vec<Ack>,
    /// Who must be among them.
    pub awaited: Awaited,
}

/// What one proxy acknowledges, as it stands in ZooKeeper.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Ack {
    /// Who.
    #[serde(skip)]
    pub id: String,
    /// Which version is in force there, and has settled; 0 for none yet.
    pub epoch: u64,
    /// Its phase.
    pub phase: String,
    /// The digest of its rings there.
    pub digest: String,
}

/// What all proxies of a fleet are to acknowledge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Active {
    /// The version.
    pub epoch: u64,
    /// Its phase.
    pub phase: Phase,
    /// The digest of its rings.
    pub digest: String,
}

impl Active {
    /// What a version has those acknowledge who place keys as `placement` says.
    pub fn of(document: &Document, placement: &Placement) -> Self {
        let digest = document.digest(placement);
        Self { epoch: document.epoch, phase: document.phase, digest }
    }

    /// What an acknowledgement says instead; `None` if it is one of this.
    pub fn missed_by(&self, ack: &Ack) -> Option<String> {
        match ack {
            Ack { epoch: 0, .. } => Some("it has not acknowledged anything yet".to_owned()),
            Ack { epoch, phase, .. } if *epoch != self.epoch || phase != self.phase.name() => {
                Some(format!("epoch {epoch}, phase {phase}"))
            }
            ack if ack.digest != self.digest => Some("it has other rings".to_owned()),
            _ => None,
        }
    }
}

impl Ack {
    /// What `id` says in its node. Who says what we do not understand has acknowledged nothing.
    pub fn read(id: &str, text: &str) -> Self {
        Self { id: id.to_owned(), ..serde_json::from_str(text).unwrap_or_default() }
    }
}

/// Who must acknowledge a phase before it is left, since they were there when the pool had one ring,
/// or acted by one alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Awaited {
    /// The phase.
    pub phase: String,
    /// Their names.
    pub proxies: Vec<String>,
}

/// A proxy that the next step must not be taken without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// Its name.
    pub id: String,
    /// Where it is.
    pub why: String,
}

/// Why no version follows.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unable {
    /// There is an expansion already.
    #[error("it is in phase {0}: an expansion starts from stable")]
    NotStable(&'static str),
    /// Two rings are in force, or one that follows from two.
    #[error("it is in phase {0}: servers are published in stable")]
    OnTheWay(&'static str),
    /// There is none.
    #[error("it is in phase {0}: an expansion is finished in phase new")]
    NotNew(&'static str),
    /// The target cannot be a ring.
    #[error("the new servers: {0}")]
    Target(VersionError),
    /// What is given up cannot be.
    #[error("{0}")]
    GivenUp(VersionError),
    /// Nobody asks these any more, so that keys cannot go back to them.
    #[error(
        "the old servers would serve again, of which some are given up: {0}; once they are empty, \
         expand dead NAME --back"
    )]
    WayBack(String),
    /// It is given up as far as can be.
    #[error("{0} is given up already")]
    Already(String),
    /// It is not.
    #[error("{0} is not given up")]
    NotGivenUp(String),
    /// No key would move.
    #[error("the new servers make the same ring: no key would move")]
    NoMove,
    /// Keys are at servers where nobody would look for them any more.
    #[error(
        "{0} keys are pinned to their old servers and would be out of reach: stay in new, or give \
         them up by --unpin"
    )]
    Pinned(usize),
    /// Servers that would get keys may hold old values of them.
    #[error(
        "{} may hold values from before, which would be read again: have them swept, or empty them, or \
         wait for as long as values live, and say so by --clean", .0.join(", ")
    )]
    Dirty(Vec<String>),
}

impl Look {
    /// Who is behind the active version, where keys are placed as `placement` says.
    pub fn behind(&self, placement: &Placement) -> Vec<Behind> {
        let active = Active::of(&self.document, placement);
        let here = self.acks.iter().filter_map(|ack| Some((&ack.id, active.missed_by(ack)?)));
        let mut behind: Vec<Behind> =
            here.map(|(id, why)| Behind { id: id.clone(), why }).collect();
        if self.awaited.phase == active.phase.name() {
            let gone = |id: &&String| !self.acks.iter().any(|ack| ack.id == **id);
            let gone = self.awaited.proxies.iter().filter(gone).cloned();
            let why = "it was there before this phase, and is not now: if it has ended, --gone";
            behind.extend(gone.map(|id| Behind { id, why: why.to_owned() }));
        }
        behind
    }

    /// Those who are there, awaited in a phase.
    pub fn await_all(&self, phase: Phase) -> Awaited {
        let proxies = self.acks.iter().map(|ack| ack.id.clone()).collect();
        Awaited { phase: phase.name().to_owned(), proxies }
    }
}

/// The version that begins an expansion to `target`; `clean`: servers that hold nothing from before.
///
/// # Errors
/// See [`Unable`].
pub fn start(
    from: &Document,
    mut target: Vec<Node>,
    (moves, clean): (&Moves, &[String]),
) -> Result<Document, Unable> {
    if from.phase != Phase::Stable {
        return Err(Unable::NotStable(from.phase.name()));
    }
    keep_states(from, &mut target);
    let dirty = still_dirty(from, clean);
    let next = Document { target, dirty, ..next(from, Phase::Prepare) };
    next.check().map_err(Unable::Target)?;
    if moves.share == 0.0 {
        return Err(Unable::NoMove);
    }
    next.gains_nothing_old(moves)?;
    Ok(next)
}

/// The version in which these are the servers of the one ring, at once; `moves` says what that means
/// for keys. Servers that lose keys still have them, and those that get some must have none from
/// before, but for those that are `clean`.
///
/// # Errors
/// An expansion is under way, the servers are no ring, or one that would get keys is not clean.
pub fn change(
    from: &Document,
    mut current: Vec<Node>,
    (moves, clean): (&Moves, &[String]),
) -> Result<Document, Unable> {
    if from.phase != Phase::Stable {
        return Err(Unable::OnTheWay(from.phase.name()));
    }
    keep_states(from, &mut current);
    let dirty = still_dirty(from, clean);
    let mut next = Document { current, dirty, ..next(from, Phase::Stable) };
    next.check().map_err(Unable::Target)?;
    next.gains_nothing_old(moves)?;
    next.soil(moves.servers.iter().filter(|it| it.loses > 0.0).map(|it| &it.name));
    Ok(next)
}

/// What is down stays so, in whichever ring it is.
fn keep_states(from: &Document, nodes: &mut [Node]) {
    for node in nodes {
        if let Some(known) = from.current.iter().find(|it| it.server.name == node.server.name) {
            node.server.state = known.server.state;
        }
    }
}

fn still_dirty(from: &Document, clean: &[String]) -> Vec<String> {
    from.dirty.iter().filter(|name| !clean.contains(name)).cloned().collect()
}

/// The version that takes an expansion to a neighbouring phase. Back at the start the servers that
/// were to get keys may have some.
///
/// # Errors
/// It leads back to an old server that is given up.
pub fn step(from: &Document, to: Phase, moves: &Moves) -> Result<Document, Unable> {
    if !to.new_serves() && !from.dead_old.is_empty() {
        return Err(Unable::WayBack(tell_given_up(&from.dead_old)));
    }
    let mut next = next(from, to);
    if to == Phase::Stable {
        next.target.clear();
        next.pin.clear();
        next.soil(moves.servers.iter().filter(|it| it.gains > 0.0).map(|it| &it.name));
    }
    Ok(next)
}

/// The version that gives an old server up further: first all stop reading it, then asking it.
///
/// # Errors
/// It is no old server, or the old ring serves; all have stopped.
pub fn give_up(from: &Document, name: &str) -> Result<Document, Unable> {
    let further = match from.dead_old.get(name) {
        None => GivenUp::Unread,
        Some(GivenUp::Unread) => GivenUp::Skipped,
        Some(GivenUp::Skipped) => return Err(Unable::Already(name.to_owned())),
    };
    let mut next = next(from, from.phase);
    next.dead_old.insert(name.to_owned(), further);
    next.check().map_err(Unable::GivenUp)?;
    Ok(next)
}

/// The version that has an old server asked again: first deletes, then reads. It must have nothing
/// of what it had when it was given up.
///
/// # Errors
/// It is not given up.
pub fn take_back(from: &Document, name: &str) -> Result<Document, Unable> {
    let mut next = next(from, from.phase);
    match from.dead_old.get(name) {
        None => return Err(Unable::NotGivenUp(name.to_owned())),
        Some(GivenUp::Unread) => drop(next.dead_old.remove(name)),
        Some(GivenUp::Skipped) => drop(next.dead_old.insert(name.to_owned(), GivenUp::Unread)),
    }
    Ok(next)
}

/// The version that ends an expansion. The servers that keys have left still have them. Keys that
/// have stayed are out of reach then: `unpin` says that nobody wants them.
///
/// # Errors
/// It has not come to its last phase, or keys have stayed.
pub fn finish(from: &Document, moves: &Moves, unpin: bool) -> Result<Document, Unable> {
    if from.phase != Phase::New {
        return Err(Unable::NotNew(from.phase.name()));
    }
    if !from.pin.is_empty() && !unpin {
        return Err(Unable::Pinned(from.pin.len()));
    }
    let mut next = next(from, Phase::Stable);
    next.current = std::mem::take(&mut next.target);
    next.dead_old.clear();
    next.pin.clear();
    next.soil(moves.servers.iter().filter(|it| it.loses > 0.0).map(|it| &it.name));
    Ok(next)
}

/// The version in which these servers hold nothing of an earlier ring any more.
pub fn cleaned(from: &Document, names: &[String]) -> Document {
    let mut next = next(from, from.phase);
    next.dirty.retain(|name| !names.contains(name));
    next
}

/// Whether one ring was in force all the time from the version `before` to `now`: no expansion fits
/// between two versions that follow each other.
pub fn kept_ring(before: &Document, now: &Document, placement: &Placement) -> bool {
    let stable = before.phase == Phase::Stable && now.phase == Phase::Stable;
    let follows = (before.epoch..=before.epoch + 1).contains(&now.epoch);
    stable && follows && before.digest(placement) == now.digest(placement)
}

/// The same in the next epoch; a word that was given to one version is not for the next.
fn next(from: &Document, phase: Phase) -> Document {
    let epoch = from.epoch + 1;
    Document { epoch, phase, allow_empty: false, allow_shrink: false, ..from.clone() }
}

impl Document {
    /// No server that gets keys may hold old values of them.
    fn gains_nothing_old(&self, moves: &Moves) -> Result<(), Unable> {
        let gains =
            |name: &String| moves.servers.iter().any(|it| it.name == *name && it.gains > 0.0);
        let unclean: Vec<String> = self.dirty.iter().filter(|name| gains(name)).cloned().collect();
        if unclean.is_empty() { Ok(()) } else { Err(Unable::Dirty(unclean)) }
    }

    fn soil<'a>(&mut self, names: impl Iterator<Item = &'a String>) {
        for name in names {
            if !self.dirty.contains(name) {
                self.dirty.push(name.clone());
            }
        }
    }
}
