//! A server as operators write it, and the order in which a ring counts its servers.
//!
//! One [`FromStr`] serves every source of servers: `host:port:weight [name]` or
//! `/path/to.sock:weight [name]`, read from the right as twemproxy does (nc_conf.c:1545-1682).

use std::path::PathBuf;
use std::str::FromStr;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A host name or IP literal (IPv6 without brackets) and a port.
    Tcp {
        /// Name or literal, as written.
        host: String,
        /// 1..=65535.
        port: u16,
    },
    /// The path of a unix socket.
    Unix(PathBuf),
}

/// One cache server of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The node name: the server's identity on the ring and in metrics.
    pub name: String,
    /// True if the name was written out, false if it was derived from the address.
    pub named: bool,
    /// Where it listens.
    pub address: Address,
    /// Its share of the ring; at least 1.
    pub weight: u32,
}

/// Why a server entry was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryError {
    /// Not `host:port:weight [name]` nor `/path:weight [name]`.
    Format,
    /// The weight is not a number.
    Weight,
    /// The weight is zero.
    ZeroWeight,
    /// The port is not a number in 1..=65535.
    Port,
}

impl FromStr for Server {
    type Err = EntryError;

    fn from_str(_entry: &str) -> Result<Self, EntryError> {
        Err(EntryError::Format)
    }
}

/// Sorts servers into ring order: by the length of the node name, then by its bytes.
pub fn ring_order(servers: &mut [Server]) {
    servers.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
}
