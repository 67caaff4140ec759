//! Sources of a pool's servers beside the configuration: files and ZooKeeper.
//!
//! ```text
//!  file, zookeeper: bytes ─▶ decode ─▶ admission ─▶ follow: apply ─▶ snapshot, acknowledgement
//!                                          │          └─▶ desk ◀─ admin door: show, accept
//!                                          └ refused: counted, said once, nothing changes
//! ```
//! All of it on the admin thread. Losing a source changes nothing: what was last followed serves,
//! from memory or, after a restart, from the snapshot. Only while a pool goes from one ring to another
//! does it rest on keys that move when ZooKeeper is out of sight (`follow::standing`). `fleet` is for
//! whoever leads all proxies on such a way.

pub mod admission;
pub mod decode;
mod desk;
mod file;
pub mod fleet;
mod follow;
mod opening;
mod refusal;
pub mod snapshot;
mod sources;
#[cfg(feature = "zookeeper")]
mod zookeeper;

pub use desk::{Desk, Report};
pub use refusal::{Reason, Refusal};
pub use sources::Sources;
pub(in crate::control) use sources::follows;
#[cfg(feature = "zookeeper")]
pub use zookeeper::{Fleet, watch_over};

use crate::config::{Place, TopologySource};

/// The source in one line, as snapshots name it.
pub(in crate::control) fn described(source: &TopologySource) -> String {
    let format = source.format.name();
    match &source.place {
        Place::File(path) => format!("file {} {format}", path.display()),
        Place::ZooKeeper(place) => {
            format!("zookeeper {}{}{} {format}", place.connect, place.chroot, place.path)
        }
    }
}

/// What acknowledgements call this process: the host, where it listens, and its number there. Two
/// that listen at one place must not take each other's for their own.
#[cfg(feature = "zookeeper")]
fn proxy_id(pool: &crate::config::Pool) -> String {
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy().into_owned();
    format!("{host}-{}-{}", pool.listen, std::process::id()).replace('/', "_")
}
