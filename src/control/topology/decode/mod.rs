//! Bytes of a source in, a proposal out: one entry for all formats, pure.
//!
//! ```text
//!  znodes ─┬─ native ──────────────────▶ versions and a pointer ┐
//!          ├─ listed: nutcracker, list ▶ one text ──────────────┼▶ Proposal
//!          └─ members: serverset, nerve, curator ▶ a child each ┘
//! ```
//! Nothing of what comes in is believed: sizes are bounded, and nothing panics.

mod listed;
mod members;
pub mod native;
#[cfg(test)]
mod tests;

use crate::config::{Format, NameFrom};
use crate::control::topology::refusal::{Reason, Refusal};
use crate::topology::{Document, Node};

/// ZooKeeper takes a MiB with its frame; what is larger was never written whole.
const DATA_BYTES_MAX: usize = 900 << 10;

/// A znode as it was read, or a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZNode {
    /// Below the source's own path: empty for the source itself, else for example
    /// `versions/0000000018` or `member_0000000001`.
    pub path: String,
    /// Its data.
    pub data: Vec<u8>,
    /// The transaction that last changed it (its list of children, for the source itself); 0 for
    /// a file.
    pub zxid: u64,
}

/// What a format has to be told.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// The format.
    pub format: Format,
    /// What a member is called.
    pub name_from: NameFrom,
    /// The endpoint of a server set that is meant.
    pub endpoint: Option<String>,
    /// The pool, which a text with several pools is searched for.
    pub pool: String,
}

/// A list of servers that a source has, before anyone has judged it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Grows with each change of the source: the epoch (native), or the latest transaction; 0 where
    /// nothing counts.
    pub stamp: u64,
    /// What it says; without servers if `members` has them.
    pub document: Document,
    /// The members that say of themselves that they serve, in formats that have them.
    pub members: Option<Members>,
    /// The operator's word on this very stamp: it overrides what protects from mistakes.
    pub accepted: bool,
}

/// Servers that registered themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Child and server.
    pub good: Vec<(String, Node)>,
    /// Child and why it cannot be read.
    pub bad: Vec<(String, String)>,
    /// Whether the commit beside them is for just this many; `None` if there is none.
    pub committed: Option<bool>,
}

impl Decoder {
    /// For a format without members.
    pub fn of(pool: &str, format: Format) -> Self {
        Self { format, name_from: NameFrom::Name, endpoint: None, pool: pool.to_owned() }
    }

    /// Reads what the source has: the source itself first, if it is there.
    ///
    /// # Errors
    /// [`Reason::Deleted`] if it is not, [`Reason::Decode`] with the place if it cannot be read.
    pub fn decode(&self, nodes: &[ZNode]) -> Result<Proposal, Refusal> {
        if let Some(node) = nodes.iter().find(|node| node.data.len() > DATA_BYTES_MAX) {
            let text = format!("{} has {} bytes", shown(&node.path), node.data.len());
            return Err(Refusal::new(
                Reason::Decode,
                format!("{text}, at most {DATA_BYTES_MAX} are read"),
            ));
        }
        match self.format {
            Format::Native => native::decode(nodes),
            Format::Nutcracker => listed::nutcracker(root(nodes)?, &self.pool),
            Format::List => listed::list(root(nodes)?),
            Format::ServerSet | Format::Nerve | Format::Curator => {
                members::decode(self, root(nodes)?, nodes)
            }
        }
    }
}

/// The source itself.
fn root(nodes: &[ZNode]) -> Result<&ZNode, Refusal> {
    let root = nodes.iter().find(|node| node.path.is_empty());
    root.ok_or_else(|| Refusal::new(Reason::Deleted, "there is nothing at its path"))
}

/// The text of a node.
fn text(node: &ZNode) -> Result<&str, Refusal> {
    std::str::from_utf8(&node.data).map_err(|error| {
        let place =
            format!("{} is no UTF-8 text at byte {}", shown(&node.path), error.valid_up_to());
        Refusal::new(Reason::Decode, place)
    })
}

fn shown(path: &str) -> &str {
    if path.is_empty() { "the source" } else { path }
}

impl Proposal {
    /// A list that was written as a whole.
    fn whole(stamp: u64, document: Document) -> Self {
        Self { stamp, document, members: None, accepted: false }
    }
}
