//! A topology document: the whole list of servers that one epoch of a pool has.

use std::time::Duration;

use crate::topology::digest::{Placement, digest, sha256};
use crate::topology::given_up::DeadOld;
use crate::topology::pin::text_of_key;
use crate::topology::server::{Address, EntryError, Server, State, located, ring_order};

/// Where an expansion stands. Outside of one it is [`Phase::Stable`].
///
/// One step at a time, forwards or backwards: proxies may differ by one step, never by two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// One ring.
    #[default]
    Stable,
    /// Two rings are known; the old one serves.
    Prepare,
    /// Moved keys are fenced.
    Fence,
    /// The new ring serves, and is filled from the old one (Redis: MOVE).
    Warm,
    /// The new ring serves; deletes still go to both.
    Drain,
    /// The new ring alone.
    New,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 6] =
        [Self::Stable, Self::Prepare, Self::Fence, Self::Warm, Self::Drain, Self::New];

    /// As documents have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Prepare => "prepare",
            Self::Fence => "fence",
            Self::Warm => "warm",
            Self::Drain => "drain",
            Self::New => "new",
        }
    }

    /// The phase of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }

    /// The phase behind it; none behind the last.
    pub fn next(self) -> Option<Self> {
        Self::ALL.get(self as usize + 1).copied()
    }

    /// The phase before it; none before the first.
    pub fn previous(self) -> Option<Self> {
        Self::ALL.get((self as usize).checked_sub(1)?).copied()
    }

    /// Whether the new ring has the last word on a key that moves.
    pub const fn new_serves(self) -> bool {
        matches!(self, Self::Warm | Self::Drain | Self::New)
    }

    /// Whether keys move in it, and are treated in a way of their own.
    pub const fn is_between(self) -> bool {
        !matches!(self, Self::Stable | Self::New)
    }

    /// Whether it is one step, or none, from here to there.
    pub const fn borders(self, other: Self) -> bool {
        (self as i8 - other as i8).abs() <= 1
    }
}

/// A server as a document has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name, address, weight and state.
    pub server: Server,
    /// Whether it speaks TLS; `None` if the document leaves that to the pool.
    pub tls: Option<bool>,
    /// Where it stands, for who reads the document.
    pub zone: Option<String>,
}

impl Node {
    /// A node that is up. Without a name it is called as an entry without one would be.
    ///
    /// # Errors
    /// The address or the weight is none: as for an entry of a file.
    pub fn new(address: &str, weight: u32, name: Option<&str>) -> Result<Self, EntryError> {
        if weight == 0 {
            return Err(EntryError::ZeroWeight);
        }
        if i32::try_from(weight).is_err() {
            return Err(EntryError::Weight);
        }
        let (host, port) = if address.starts_with('/') {
            (address, None)
        } else {
            let (host, port) = address.rsplit_once(':').ok_or(EntryError::Format)?;
            (host, Some(port))
        };
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if bare.is_empty() || bare.contains(char::is_whitespace) {
            return Err(EntryError::Format);
        }
        let (address, own_name) = located(bare, port)?;
        Ok(Self {
            server: Server {
                name: name.map_or(own_name, str::to_owned),
                named: name.is_some(),
                address,
                weight,
                state: State::Up,
            },
            tls: None,
            zone: None,
        })
    }

    /// A server without more.
    pub const fn plain(server: Server) -> Self {
        Self { server, tls: None, zone: None }
    }
}

/// Sorts nodes into ring order, as [`ring_order`](crate::topology::ring_order) sorts servers.
pub fn nodes_in_ring_order(nodes: &mut [Node]) {
    nodes.sort_by(|a, b| {
        let (a, b) = (&a.server.name, &b.server.name);
        (a.len(), a).cmp(&(b.len(), b))
    });
}

/// Everything that one epoch says of a pool's servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// Grows with every document of a source that counts; 0 where a source does not count.
    pub epoch: u64,
    /// Where an expansion stands.
    pub phase: Phase,
    /// Who wrote it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// The hash that the ring is made for, if it says so.
    pub hash: Option<String>,
    /// Likewise the distribution.
    pub distribution: Option<String>,
    /// Likewise the hash tag.
    pub hash_tag: Option<String>,
    /// The servers of the ring, in ring order, names unique.
    pub current: Vec<Node>,
    /// Those of the ring to come; empty outside an expansion.
    pub target: Vec<Node>,
    /// Keys that stay at their old servers for as long as there are two rings.
    pub pin: Vec<Vec<u8>>,
    /// Servers of the target that may hold values from before.
    pub dirty: Vec<String>,
    /// Servers of the current ring that are given up.
    pub dead_old: DeadOld,
    /// How long the old ring is kept after the last phase.
    pub grace: Duration,
    /// An empty list is meant.
    pub allow_empty: bool,
    /// That many servers go is meant.
    pub allow_shrink: bool,
}

/// A document that no proxy can follow, whatever it followed before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Two servers of a ring have one name.
    #[error("two servers are called {0}")]
    SameName(String),
    /// Two servers of a ring have one address.
    #[error("two servers are at {0}")]
    SameAddress(Address),
    /// A name that logs, metrics or the ring could not bear.
    #[error("{0:?} is no name for a server: 1 to 255 bytes without blanks or control characters")]
    Name(String),
    /// The weights of a ring do not fit its arithmetic.
    #[error("the weights add up to more than {}", u32::MAX)]
    Weights,
    /// No server of the current ring is called so.
    #[error("{0} is given up, and no server of the current ring")]
    NotOld(String),
    /// The old ring serves: what it has cannot be given up.
    #[error("an old server is given up in phase warm, drain or new alone, not in {0}")]
    OldServes(&'static str),
    /// More servers than a ring may have.
    #[error("{0} servers, at most {max}", max = NODES_MAX)]
    TooMany(usize),
    /// More keys than may stay.
    #[error("{0} keys are pinned, at most {max}", max = PINS_MAX)]
    Pins(usize),
}

/// Servers of a ring at most: a document of that many is read beside the data path in time.
const NODES_MAX: usize = 10_000;
/// Keys that stay at most: each worker looks each key of a request up among them.
const PINS_MAX: usize = 10_000;
/// Bytes of a name at most.
const NAME_BYTES_MAX: usize = 255;

impl Document {
    /// The servers of the current ring.
    pub fn servers(&self) -> Vec<Server> {
        self.current.iter().map(|node| node.server.clone()).collect()
    }

    /// The servers of the ring to come.
    pub fn target_servers(&self) -> Vec<Server> {
        self.target.iter().map(|node| node.server.clone()).collect()
    }

    /// Whether the pool is on its way from one ring to another, or has just come there.
    pub fn has_two_rings(&self) -> bool {
        self.phase != Phase::Stable && !self.target.is_empty()
    }

    /// The servers of both rings, by name; of the current ring alone where there is no other.
    pub fn all_servers(&self) -> Vec<Server> {
        let mut all = self.servers();
        if self.has_two_rings() {
            let new = |server: &Server| !all.iter().any(|known| known.name == server.name);
            let added: Vec<Server> = self.target_servers().into_iter().filter(new).collect();
            all.extend(added);
            ring_order(&mut all);
        }
        all
    }

    /// What two proxies compare that place keys in the same way: that of the ring, or of both and of
    /// what stays.
    pub fn digest(&self, placement: &Placement) -> String {
        let current = digest(placement, &self.servers());
        if !self.has_two_rings() {
            return current;
        }
        let target = digest(placement, &self.target_servers());
        let carried = if placement.carried { "carried\n" } else { "" };
        let mut image = format!("{current}\n{target}\n{carried}");
        let mut pinned: Vec<String> = self.pin.iter().map(|key| text_of_key(key)).collect();
        pinned.sort_unstable();
        pinned.dedup();
        image.extend(pinned.into_iter().map(|key| format!("{}:{key}\n", key.len())));
        sha256(image.as_bytes())
    }

    /// Checks each ring by itself, and what both have in common: names, addresses, weights.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), VersionError> {
        check_ring(&self.current)?;
        check_ring(&self.target)?;
        if self.pin.len() > PINS_MAX {
            return Err(VersionError::Pins(self.pin.len()));
        }
        if self.has_two_rings() {
            self.check_both()?;
        }
        self.check_given_up()
    }

    /// Only what the old ring has is given up, and only where the new one serves.
    fn check_given_up(&self) -> Result<(), VersionError> {
        let old = |name: &&String| self.current.iter().any(|node| node.server.name == **name);
        if let Some(name) = self.dead_old.keys().find(|name| !old(name)) {
            return Err(VersionError::NotOld(name.clone()));
        }
        let may = self.has_two_rings() && self.phase.new_serves();
        match self.dead_old.is_empty() || may {
            true => Ok(()),
            false => Err(VersionError::OldServes(self.phase.name())),
        }
    }

    /// The phase that keys are in which move away from this server.
    pub fn phase_of(&self, old: &str) -> Phase {
        self.dead_old.get(old).map_or(self.phase, |it| it.phase(self.phase))
    }

    /// Whether proxies that follow this and proxies that follow `next` may be there together: all
    /// keys are in the same phase or in neighbouring ones, or the expansion is over.
    pub fn leads_to(&self, next: &Self) -> bool {
        let ends = (self.phase, next.phase) == (Phase::New, Phase::Stable);
        let mut names = self.dead_old.keys().chain(next.dead_old.keys());
        ends || self.phase.borders(next.phase)
            && names.all(|name| self.phase_of(name).borders(next.phase_of(name)))
    }

    /// A name is one server, and a server has one name, in whichever ring.
    fn check_both(&self) -> Result<(), VersionError> {
        for Node { server: new, .. } in &self.target {
            for Node { server: old, .. } in &self.current {
                let (same_name, same_place) = (old.name == new.name, old.address == new.address);
                if same_name && !same_place {
                    return Err(VersionError::SameName(new.name.clone()));
                }
                if same_place && !same_name {
                    return Err(VersionError::SameAddress(new.address.clone()));
                }
            }
        }
        Ok(())
    }
}

fn check_ring(nodes: &[Node]) -> Result<(), VersionError> {
    if nodes.len() > NODES_MAX {
        return Err(VersionError::TooMany(nodes.len()));
    }
    let mut names = std::collections::HashSet::new();
    let mut addresses = std::collections::HashSet::new();
    let mut total = 0_u32;
    for Node { server, .. } in nodes {
        let blank = |c: char| c.is_whitespace() || c.is_control();
        if server.name.is_empty()
            || server.name.len() > NAME_BYTES_MAX
            || server.name.contains(blank)
        {
            return Err(VersionError::Name(server.name.clone()));
        }
        if !names.insert(&server.name) {
            return Err(VersionError::SameName(server.name.clone()));
        }
        if !addresses.insert(&server.address) {
            return Err(VersionError::SameAddress(server.address.clone()));
        }
        total = total.checked_add(server.weight).ok_or(VersionError::Weights)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Document, Node, Phase, Placement, VersionError};
    use crate::topology::{Address, EntryError, State};

    fn node(address: &str, weight: u32, name: &str) -> Node {
        Node::new(address, weight, Some(name)).unwrap()
    }

    fn check(nodes: Vec<Node>) -> Result<(), VersionError> {
        Document { current: nodes, ..Document::default() }.check()
    }

    #[test]
    fn names_of_phases_and_states_lead_back() {
        for phase in Phase::ALL {
            assert_eq!(Phase::of_name(phase.name()), Some(phase));
        }
        for state in [State::Up, State::Down, State::Drain] {
            assert_eq!(State::of_name(state.name()), Some(state));
        }
        assert_eq!((Phase::of_name("old"), State::of_name("UP")), (None, None));
    }

    #[test]
    fn what_stays_and_how_keys_come_is_part_of_the_digest_of_two_rings() {
        let ring = |names: &[&str]| -> Vec<Node> {
            names.iter().map(|name| node(&format!("{name}:1"), 1, name)).collect()
        };
        let (current, target) = (ring(&["a"]), ring(&["a", "b"]));
        let one = Document { current, pin: vec![b"k".to_vec()], ..Document::default() };
        let two = Document { target, phase: Phase::Warm, ..one.clone() };
        let (handed, carried) =
            (Placement::default(), Placement { carried: true, ..Placement::default() });
        let pinned = |document: &Document, keys: &[&str]| {
            let pin = keys.iter().map(|&key| key.into()).collect();
            Document { pin, ..document.clone() }.digest(&handed)
        };
        assert_eq!(one.digest(&handed), one.digest(&carried));
        assert_ne!(two.digest(&handed), two.digest(&carried));
        assert_eq!(pinned(&one, &[]), pinned(&one, &["k"]));
        assert_ne!(pinned(&two, &[]), pinned(&two, &["k"]));
        assert_ne!(pinned(&two, &["k", "l"]), pinned(&two, &["kl"]));
        assert_eq!(pinned(&two, &["k", "l"]), pinned(&two, &["l", "k", "l"]));
        let many = Document { pin: vec![b"k".to_vec(); 10_001], ..two };
        assert_eq!(many.check(), Err(VersionError::Pins(10_001)));
    }

    #[test]
    fn phases_stand_in_a_row() {
        for pair in Phase::ALL.windows(2) {
            assert_eq!((pair[0].next(), pair[1].previous()), (Some(pair[1]), Some(pair[0])));
        }
        assert_eq!((Phase::New.next(), Phase::Stable.previous()), (None, None));
    }

    #[test]
    fn an_address_is_read_as_in_an_entry() {
        let six = Node::new("[2001:db8::7]:11211", 1, None).unwrap().server;
        assert_eq!(six.address, Address::Tcp { host: "2001:db8::7".to_owned(), port: 11211 });
        assert_eq!((six.name.as_str(), six.named), ("2001:db8::7", false));
        assert_eq!(Node::new("/run/a.sock", 2, None).unwrap().server.name, "/run/a.sock:");
        let refused = |address, weight| Node::new(address, weight, None).unwrap_err();
        assert_eq!(refused("h:1", 0), EntryError::ZeroWeight);
        assert_eq!(refused("h:1", u32::MAX), EntryError::Weight);
        assert_eq!(refused("h:0", 1), EntryError::Port);
        assert_eq!(refused("h", 1), EntryError::Format);
        assert_eq!(refused("a b:1", 1), EntryError::Format);
    }

    #[test]
    fn a_ring_has_each_name_and_each_address_once() {
        assert_eq!(check(vec![node("h:1", 1, "a"), node("h:2", 1, "b")]), Ok(()));
        let twice = check(vec![node("h:1", 1, "a"), node("h:2", 1, "a")]);
        assert_eq!(twice, Err(VersionError::SameName("a".to_owned())));
        let twice = check(vec![node("h:1", 1, "a"), node("h:1", 1, "b")]);
        assert!(matches!(twice, Err(VersionError::SameAddress(_))));
        let heavy = vec![node("h:1", i32::MAX as u32, "a"), node("h:2", i32::MAX as u32, "b")];
        assert_eq!(check(heavy.clone()), Ok(()));
        let more = [heavy, vec![node("h:3", 2, "c")]].concat();
        assert_eq!(check(more), Err(VersionError::Weights));
        for name in ["a b", "a\n", &"n".repeat(256)] {
            assert!(matches!(check(vec![node("h:1", 1, name)]), Err(VersionError::Name(_))));
        }
    }
}
