//! Where the servers of a pool come from, if not from the configuration itself.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::identity::{Secret, ServerTls};

/// A source of servers, and how far it is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologySource {
    /// Where its bytes are.
    pub place: Place,
    /// How they are to be read.
    pub format: Format,
    /// What a member is called, in formats that have several names for it.
    pub name_from: NameFrom,
    /// The additional endpoint that is meant (serverset); `None` for the main one.
    pub endpoint: Option<String>,
    /// Whether members that come and go by themselves change the ring.
    pub membership: Membership,
    /// The part of the ring's weight that may go at once, in ten-thousandths.
    pub max_removal: u32,
    /// How long a new member must be there, if members change the ring by themselves.
    pub add_delay: Duration,
    /// How long one must be absent.
    pub remove_delay: Duration,
    /// How long the start waits for the source before it takes the snapshot.
    pub startup_wait: Duration,
    /// Where the last good topology is kept; `None` keeps none.
    pub snapshot: Option<PathBuf>,
}

/// Where the bytes of a source are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file.
    File(PathBuf),
    /// A znode.
    ZooKeeper(ZooKeeper),
}

/// A znode and the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZooKeeper {
    /// `host:port`s of the ensemble, with commas between them.
    pub connect: String,
    /// The znode under which all paths are; empty for the root.
    pub chroot: String,
    /// The znode of the pool, absolute (below the chroot).
    pub path: String,
    /// `user:password` of the digest scheme.
    pub auth: Option<Secret>,
    /// TLS to the ensemble; `None` for plain text.
    pub tls: Option<ServerTls>,
    /// The session timeout that is asked for.
    pub session_timeout: Duration,
}

/// The format of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Numbered versions and a pointer to one of them.
    Native,
    /// A nutcracker.yml, or its list of servers.
    Nutcracker,
    /// Twitter's server sets: a child for each member.
    ServerSet,
    /// SmartStack's nerve: likewise.
    Nerve,
    /// Curator's service discovery: likewise.
    Curator,
    /// `host:port[:weight[:name]]`, a line or a comma for each.
    List,
}

impl Format {
    /// As configurations have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Nutcracker => "nutcracker",
            Self::ServerSet => "serverset",
            Self::Nerve => "nerve",
            Self::Curator => "curator",
            Self::List => "list",
        }
    }

    /// True if each member is a znode of its own, which comes and goes with it.
    pub const fn has_members(self) -> bool {
        matches!(self, Self::ServerSet | Self::Nerve | Self::Curator)
    }
}

/// What a member is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameFrom {
    /// By its field `name` (nerve) or `payload.metadata.node` (curator).
    Name,
    /// By its shard number.
    Shard,
    /// By its address: keys move when that changes.
    Address,
}

/// Whether members that come and go by themselves change the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Only with a commit beside them.
    Managed,
    /// By themselves, after a delay.
    Unmanaged,
}
