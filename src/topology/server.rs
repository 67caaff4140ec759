//! A server as operators write it, and the order in which a ring counts its servers.
//!
//! One [`FromStr`] serves every source of servers: `host:port:weight [name]` or
//! `/path/to.sock:weight [name]`, read from the right as twemproxy does (nc_conf.c:1545-1682).

use std::fmt;
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

impl fmt::Display for Address {
    /// As it stands in an entry, without the weight.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What a topology says of a server's state. The ring does not depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It serves.
    #[default]
    Up,
    /// It is not dialled: its keys are answered at once as the pool's `dead` says.
    Down,
    /// It serves, and is about to leave.
    Drain,
}

impl State {
    /// As documents have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Drain => "drain",
        }
    }

    /// The state of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Up, Self::Down, Self::Drain].into_iter().find(|state| state.name() == name)
    }
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
    /// What whoever looks after the servers holds it to be; a source that does not say means up.
    pub state: State,
}

impl Server {
    /// True if it is not to be dialled.
    pub fn is_down(&self) -> bool {
        self.state == State::Down
    }
}

/// Why a server entry was refused; checked in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Not `host:port:weight [name]` nor `/path:weight [name]`.
    #[error("a server is host:port:weight [name] or /path/to.sock:weight [name]")]
    Format,
    /// The weight is not a number up to `i32::MAX`.
    #[error("the weight of a server is a whole number")]
    Weight,
    /// The weight is zero.
    #[error("the weight of a server is at least 1")]
    ZeroWeight,
    /// The port is not a number in 1..=65535.
    #[error("the port of a server is a number from 1 to 65535")]
    Port,
}

impl FromStr for Server {
    type Err = EntryError;

    /// Reads one entry from the right: the last space begins the name, the last `:` the weight,
    /// the `:` before it the port.
    ///
    /// Without a name a server is called `host` on port 11211 and `host:port` on others, the port
    /// as written (libmemcached's rule); a unix socket is called by its path and a `:`. twemproxy
    /// leaves an empty name, an empty host and numbers above `i32::MAX` to chance; here they are
    /// refused.
    fn from_str(entry: &str) -> Result<Self, EntryError> {
        let (place, name) = match entry.rsplit_once(' ') {
            Some((_, "")) => return Err(EntryError::Format),
            Some((place, name)) => (place, Some(name)),
            None => (entry, None),
        };
        let (address, weight) = place.rsplit_once(':').ok_or(EntryError::Format)?;
        let (host, port) = if entry.starts_with('/') {
            (address, None)
        } else {
            let (host, port) = address.rsplit_once(':').ok_or(EntryError::Format)?;
            (host, Some(port))
        };
        // A colon in the path of a socket cannot be told from a port.
        if host.is_empty() || port.is_none() && host.contains(':') {
            return Err(EntryError::Format);
        }
        let weight = number(weight).ok_or(EntryError::Weight)?;
        if weight == 0 {
            return Err(EntryError::ZeroWeight);
        }
        let (address, own_name) = located(host, port)?;
        Ok(Self {
            name: name.map_or(own_name, str::to_owned),
            named: name.is_some(),
            address,
            weight,
            state: State::Up,
        })
    }
}

/// The address, and the name that a server has by it. No port: a unix socket.
pub(super) fn located(host: &str, port: Option<&str>) -> Result<(Address, String), EntryError> {
    let Some(written) = port else {
        return Ok((Address::Unix(PathBuf::from(host)), format!("{host}:")));
    };
    let port = number(written)
        .and_then(|port| u16::try_from(port).ok())
        .filter(|&port| port != 0)
        .ok_or(EntryError::Port)?;
    let name = if port == MEMCACHED_PORT { host.to_owned() } else { format!("{host}:{written}") };
    let host = host.to_owned();
    Ok((Address::Tcp { host, port }, name))
}

/// The port that is left out of derived names.
const MEMCACHED_PORT: u16 = 11211;

/// Digits only, and within C's `int`, as twemproxy's own reader has it.
fn number(digits: &str) -> Option<u32> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: i32 = digits.parse().ok()?;
    u32::try_from(value).ok()
}

/// Sorts servers into ring order: by the length of the node name, then by its bytes.
pub fn ring_order(servers: &mut [Server]) {
    servers.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
}

#[cfg(test)]
mod tests {
    use super::{Address, EntryError, Server, ring_order};

    fn name(entry: &str) -> String {
        entry.parse::<Server>().unwrap().name
    }

    #[test]
    fn an_entry_is_read_from_the_right() {
        let server: Server = "2001:db8::7:11212:3 left".parse().unwrap();
        let address = Address::Tcp { host: "2001:db8::7".to_owned(), port: 11212 };
        assert_eq!((server.address, server.weight), (address, 3));
        assert_eq!((server.name.as_str(), server.named), ("left", true));
        let server: Server = "/run/a.sock:2".parse().unwrap();
        assert_eq!(server.address, Address::Unix("/run/a.sock".into()));
        assert_eq!((server.weight, server.named), (2, false));
    }

    #[test]
    fn a_name_is_derived_from_the_address() {
        assert_eq!(name("10.0.0.1:11211:1"), "10.0.0.1");
        assert_eq!(name("10.0.0.1:011211:1"), "10.0.0.1");
        assert_eq!(name("10.0.0.1:11212:1"), "10.0.0.1:11212");
        assert_eq!(name("10.0.0.1:080:1"), "10.0.0.1:080");
        assert_eq!(name("/run/a.sock:1"), "/run/a.sock:");
        assert_eq!(name("/run/a.sock:1 a"), "a");
    }

    #[test]
    fn a_bad_entry_is_refused_with_its_reason() {
        let cases = [
            ("", EntryError::Format),
            ("host", EntryError::Format),
            ("host:1", EntryError::Format),
            (":11211:1", EntryError::Format),
            ("host:11211:1 ", EntryError::Format),
            ("/run/a:b.sock:1", EntryError::Format),
            ("/run/my a.sock:1", EntryError::Format),
            ("host:11211:1 two names", EntryError::Weight),
            ("host:11211:1  name", EntryError::Weight),
            ("host:11211:", EntryError::Weight),
            ("host:11211:-1", EntryError::Weight),
            ("host:11211:+1", EntryError::Weight),
            ("host:11211:2147483648", EntryError::Weight),
            ("host:0:0", EntryError::ZeroWeight),
            ("host:0:1", EntryError::Port),
            ("host:65536:1", EntryError::Port),
            ("host::1", EntryError::Port),
            ("host:http:1", EntryError::Port),
        ];
        for (entry, error) in cases {
            assert_eq!(entry.parse::<Server>(), Err(error), "{entry:?}");
        }
    }

    #[test]
    fn ring_order_is_by_length_then_bytes() {
        let mut servers: Vec<Server> = ["h:1:1 b", "h:1:1 aa", "h:1:1 B", "h:1:1 a"]
            .map(|entry| entry.parse().unwrap())
            .into();
        ring_order(&mut servers);
        let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
        assert_eq!(names, ["B", "a", "b", "aa"]);
    }
}
