//! The addresses of one file held against each other.
//!
//! ```text
//!  each pool's listener ─┬─ those of the other pools, admin, stats: not two on one address
//!                        └─ servers of all pools: no pool that leads back to itself
//! ```
//! What only the system can know (another process has the port, a name leads here) is not asked.

use std::net::IpAddr;

use crate::config::settings::{Config, Listen, Pool};
use crate::config::source::{Reason, Section, Value};
use crate::config::{Address, listen};
use crate::topology::Server;

/// Reports every pool whose address is another's, and those that are in front of themselves: an
/// error, or in a nutcracker.yml (`foreign`), which twemproxy starts on, a warning.
pub(super) fn of_pools(pools: &[(Value<'_>, Pool)], config: &Config, foreign: bool) {
    for (number, (value, pool)) in pools.iter().enumerate() {
        let before = pools[..number].iter().map(|(_, other)| other);
        if let Some(other) = before.into_iter().find(|other| clash(pool, other)) {
            value.refuse(on_one_address(other, pool));
        }
        for door in doors(config).filter(|(_, door)| door.clashes(&pool.listen)) {
            let why = format!("\"{}\" has the listen address of pool '{}', too", door.0, pool.name);
            value.refuse(Reason::from(why).or("give one of them another"));
        }
        if let Some(server) = way_back(number, pools) {
            let why = format!("pool '{}' asks itself, by way of its server '{server}'", pool.name);
            if foreign { value.warn(&why) } else { value.refuse(why) }
        }
    }
}

/// Reports admin and statistics on one address.
pub(super) fn of_doors(section: &Section<'_>, config: &Config) {
    let doors: Vec<(&str, Listen)> = doors(config).collect();
    if let [(a, admin), (b, stats)] = &doors[..]
        && admin.clashes(stats)
    {
        section.refuse(format!("\"{a}\" and \"{b}\" have the same address '{stats}'"));
    }
}

/// The process's own listeners; not with `compat`, whose flags may move the statistics later.
fn doors(config: &Config) -> impl Iterator<Item = (&'static str, Listen)> {
    let doors = [("admin", &config.admin), ("stats", &config.stats)];
    let doors = doors.into_iter().filter(|_| !config.compat);
    doors.filter_map(|(name, text)| Some((name, listen::listen(text.as_deref()?).ok()?)))
}

fn on_one_address(other: &Pool, pool: &Pool) -> Reason {
    let (a, b, listen) = (&other.name, &pool.name, &pool.listen);
    let why = if other.listen == pool.listen {
        format!("pools '{a}' and '{b}' have the same listen address '{listen}'")
    } else {
        let theirs = &other.listen;
        format!("pools '{a}' and '{b}' cannot both listen on '{theirs}' and '{listen}'")
    };
    Reason::from(why).or("give each pool its own")
}

/// The system lets an address be part of another's if both say `reuseport`.
fn clash(pool: &Pool, other: &Pool) -> bool {
    let shared = pool.reuseport && other.reuseport && pool.listen != other.listen;
    !shared && pool.listen.clashes(&other.listen)
}

/// The server of a pool by way of which it asks itself, be it through other pools.
fn way_back<'a>(home: usize, pools: &'a [(Value<'_>, Pool)]) -> Option<&'a str> {
    let servers = &pools[home].1.servers;
    let leads_home = |server: &&Server| reaches(server, home, pools, &mut vec![false; pools.len()]);
    servers.iter().find(leads_home).map(|server| server.name.as_str())
}

/// True if a server is the pool `home`, or a pool not yet `seen` one of whose servers reaches it.
fn reaches(
    server: &Server,
    home: usize,
    pools: &[(Value<'_>, Pool)],
    seen: &mut Vec<bool>,
) -> bool {
    let is_pool = |(_, pool): &(Value<'_>, Pool)| is_at(&server.address, &pool.listen);
    let Some(pool) = pools.iter().position(is_pool) else { return false };
    let known = std::mem::replace(&mut seen[pool], true);
    pool == home
        || (!known && pools[pool].1.servers.iter().any(|next| reaches(next, home, pools, seen)))
}

/// True if whoever connects to `address` from this machine comes to `listen`.
fn is_at(address: &Address, listen: &Listen) -> bool {
    match (address, listen) {
        (Address::Unix(server), Listen::Unix { path, .. }) => server == path,
        (Address::Tcp { host: server, port }, Listen::Tcp { host, port: own }) => {
            port == own
                && (server == host || (is_local(server) && (is_local(host) || is_any(host))))
        }
        _ => false,
    }
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host == "127.0.0.1" || host == "::1"
}

fn is_any(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified())
}
