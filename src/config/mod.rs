//! Configuration: YAML in, checked [`Config`] out, once.
//!
//! ```text
//!  text ─▶ source: tree with positions ─▶ native (process keys + pools:) ┐
//!                                      └▶ nutcracker.yml                 ┴▶ pool by pool ─▶ Config
//! ```
//! Either every setting is right and [`Config`] comes out, with warnings; or every error of the
//! file comes out at once. After loading, no number needs checking again.

mod addresses;
mod identity;
mod listen;
mod load;
mod near;
mod placement;
mod pool;
mod server_list;
mod settings;
mod source;
mod topology;
mod warnings;

#[cfg(test)]
mod tests;

pub use crate::topology::{Address, Server as Node};
pub use identity::{ClientCertificates, ListenTls, Secret, ServerTls, TlsVersion};
pub use load::{load, parse};
pub use near::{Admission, NearCache, NearMode};
pub use placement::{Distribution, Hash, HashChar, Points, Routing};
use pool::hash_name;
pub use server_list::{ServerList, parse_servers};
pub use settings::{
    BigKeys, CELL_HEADER, CacheSettings, Config, Data, Dead, Eviction, Expansion, Fill, Limits,
    Listen, Log, LogFormat, Moving, Partial, Pool, Protocol, Storage,
};
pub use source::{Errors, Problem};
pub use topology::{Format, Membership, NameFrom, Place, TopologySource, ZooKeeper};
