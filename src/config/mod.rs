//! Configuration: YAML in, checked [`Config`] out, once.
//!
//! ```text
//!  text ─▶ source: tree with positions ─▶ native (process keys + pools:) ┐
//!                                      └▶ nutcracker.yml                 ┴▶ pool by pool ─▶ Config
//! ```
//! Either every setting is right and [`Config`] comes out, with warnings; or every error of the
//! file comes out at once. After loading, no number needs checking again.

mod addresses;
mod listen;
mod load;
mod near;
mod pool;
mod server_list;
mod settings;
mod source;
mod topology;
mod warnings;

#[cfg(test)]
mod tests;

pub use crate::topology::{Address, Server as Node};
pub use load::{load, parse};
pub use near::{Admission, NearCache, NearMode};
use pool::hash_name;
pub use server_list::{ServerList, parse_servers};
pub use settings::{
    BigKeys, CELL_HEADER, CacheSettings, ClientCertificates, Config, Data, Dead, Distribution,
    Eviction, Expansion, Fill, Hash, HashChar, Limits, Listen, ListenTls, Log, LogFormat, Moving,
    Partial, Points, Pool, Protocol, Routing, Secret, ServerTls, Storage, TlsVersion,
};
pub use source::{Errors, Problem};
pub use topology::{Format, Membership, NameFrom, Place, TopologySource, ZooKeeper};
