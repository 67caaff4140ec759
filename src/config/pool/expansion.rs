//! `expansion:` of a pool: the servers that it is to have, and how far it has come.

use std::time::Duration;

use crate::config::pool::servers::servers;
use crate::config::settings::{Dead, Distribution, Expansion, Pool, Protocol};
use crate::config::source::{Reason, Section, Value};
use crate::topology::{Phase, Server, ring_order};

/// A server takes a few milliseconds to answer; who has died does not keep others waiting.
const STUB_TTL: Duration = Duration::from_secs(5);
/// Proxies pass the fence within a few times the timeout of a request.
const FENCE: Duration = Duration::from_millis(500);
/// How long clients hold on to what gets has told them, at most.
const CAS_QUARANTINE: Duration = Duration::from_secs(10);

impl Default for Expansion {
    fn default() -> Self {
        Self {
            phase: Phase::Stable,
            current: Vec::new(),
            target: Vec::new(),
            stub_ttl: STUB_TTL,
            fence: FENCE,
            cas_quarantine: CAS_QUARANTINE,
        }
    }
}

/// Reads `expansion:` into the pool, whose servers are then those of both rings.
pub(super) fn read(section: &Section<'_>, pool: &mut Pool) {
    let Some(value) = section.take("expansion") else { return };
    let Some(inner) = Section::open(&value) else { return };
    refuse_where_it_cannot_be(&value, pool);
    let named = Phase::ALL.map(|phase| (phase.name(), phase));
    let why = "is none of stable, prepare, fence, warm, drain, new";
    let default = Expansion::default();
    let expansion = Expansion {
        phase: inner.choice("phase", &named, why).unwrap_or(default.phase),
        target: servers(&inner, &pool.name),
        current: pool.servers.clone(),
        stub_ttl: inner.duration("stub_ttl").unwrap_or(default.stub_ttl),
        fence: inner.duration("fence").unwrap_or(default.fence),
        cas_quarantine: inner.duration("cas_quarantine").unwrap_or(default.cas_quarantine),
    };
    if expansion.stub_ttl.as_secs() == 0 || expansion.stub_ttl.subsec_nanos() > 0 {
        inner.refuse(Reason::from("\"stub_ttl\" is not in whole seconds").or("stub_ttl: 5s"));
    }
    inner.close();
    for server in &expansion.target {
        match expansion.current.iter().find(|known| known.name == server.name) {
            Some(known) if known.address != server.address => {
                value.refuse(format!("server '{}' has another address there", server.name));
            }
            Some(_) => {}
            None => pool.servers.push(server.clone()),
        }
    }
    ring_order(&mut pool.servers);
    pool.expansion = Some(expansion);
}

fn refuse_where_it_cannot_be(value: &Value<'_>, pool: &Pool) {
    if pool.protocol != Protocol::Memcache {
        value.refuse("only a memcache pool can have two rings");
    }
    if pool.topology.is_some() {
        value.refuse("a pool whose servers come from elsewhere cannot have two rings");
    }
    if pool.dead == Dead::Rehash {
        value.refuse("a pool that re-hashes when a server is dead cannot have two rings");
    }
    if pool.routing.distribution == Distribution::Random {
        value.refuse("under random no key has a place that it could move from");
    }
}

impl Pool {
    /// The servers of the ring that serves: the old one until phase warm, then the new one.
    pub fn ring(&self) -> &[Server] {
        match &self.expansion {
            Some(expansion) if expansion.phase.new_serves() => &expansion.target,
            Some(expansion) => &expansion.current,
            None => &self.servers,
        }
    }
}
