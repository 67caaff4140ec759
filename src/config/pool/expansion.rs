//! `expansion:` of a pool: the servers that it is to have, and how far it has come.

use std::time::Duration;

use crate::config::Format;
use crate::config::placement::Distribution;
use crate::config::pool::moving;
use crate::config::pool::servers::servers;
use crate::config::settings::{Data, Dead, Expansion, Fill, Moving, Pool, Protocol};
use crate::config::source::{Reason, Section, Value};
use crate::topology::{
    Address, DeadOld, GivenUp, Phase, Placement, Server, VersionError, ring_order,
};

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
            term: 0,
            current: Vec::new(),
            target: Vec::new(),
            dead_old: DeadOld::new(),
            stub_ttl: STUB_TTL,
            fill: Fill::Vivify,
            fill_ttl_max: Duration::ZERO,
            fence: FENCE,
            cas_quarantine: CAS_QUARANTINE,
            moving: Moving::default(),
        }
    }
}

impl Expansion {
    /// The same times, and one ring.
    pub fn without_rings(self) -> Self {
        let (phase, term, dead_old) = (Phase::Stable, 0, DeadOld::new());
        Self { phase, term, current: Vec::new(), target: Vec::new(), dead_old, ..self }
    }
}

/// Reads `expansion:` into the pool, whose servers are then those of both rings.
pub(super) fn read(section: &Section<'_>, pool: &mut Pool) {
    let Some(value) = section.take("expansion") else { return };
    let Some(inner) = Section::open(&value) else { return };
    if pool.topology.is_some() {
        read_beside_topology(inner, (&value, pool));
        return pool.why_one_ring().for_each(|why| value.refuse(why));
    }
    let named = Phase::ALL.map(|phase| (phase.name(), phase));
    let why = "is none of stable, prepare, fence, warm, drain, new";
    let default = Expansion::default();
    let expansion = Expansion {
        phase: inner.choice("phase", &named, why).unwrap_or(default.phase),
        target: servers(&inner, &pool.name),
        current: pool.servers.clone(),
        dead_old: dead_old(&inner, pool.protocol),
        ..times(&inner, pool.protocol)
    };
    inner.close();
    check_given_up(&value, &expansion);
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
    pool.why_one_ring().for_each(|why| value.refuse(why));
    if pool.hands_over() {
        refuse_unix_sockets(&value, pool);
    }
}

/// Old servers that are given up. What an old server of Redis has is nowhere else: there it is an
/// unknown key.
fn dead_old(inner: &Section<'_>, protocol: Protocol) -> DeadOld {
    let given_up = (protocol != Protocol::Redis).then(|| inner.take("dead_old")).flatten();
    let Some(names) = given_up.as_ref().and_then(Section::open) else { return DeadOld::new() };
    let how = |value: &Value<'_>| {
        value.parsed(|text| {
            GivenUp::of_name(text)
                .ok_or_else(|| Reason::from("is neither").or("one of: unread, skipped"))
        })
    };
    names.take_all().iter().filter_map(|name| Some((name.key.to_owned(), how(name)?))).collect()
}

fn check_given_up(value: &Value<'_>, expansion: &Expansion) {
    let old = |name: &String| expansion.current.iter().any(|server| server.name == *name);
    for name in expansion.dead_old.keys() {
        if !old(name) {
            value.refuse(VersionError::NotOld(name.clone()).to_string());
        } else if !expansion.phase.new_serves() {
            value.refuse(VersionError::OldServes(expansion.phase.name()).to_string());
        }
    }
}

/// Servers of Redis hand keys to each other: MIGRATE takes a host and a port.
fn refuse_unix_sockets(value: &Value<'_>, pool: &Pool) {
    for server in pool.servers.iter().filter(|it| matches!(it.address, Address::Unix(_))) {
        value.refuse(format!(
            "server '{}' has a unix socket: other servers cannot move keys there, unless \"data\" is \
             cache",
            server.name
        ));
    }
}

/// How long things take, with both rings still to come.
fn times(inner: &Section<'_>, protocol: Protocol) -> Expansion {
    let default = Expansion::default();
    // What only the other protocol has is an unknown key.
    if protocol == Protocol::Redis {
        let fence = inner.duration("fence").unwrap_or(default.fence);
        return Expansion { fence, moving: moving::read(inner), ..default };
    }
    let named = [("vivify", Fill::Vivify), ("off", Fill::Off)];
    let times = Expansion {
        fill: inner.choice("fill", &named, "is none of vivify, off").unwrap_or(default.fill),
        fill_ttl_max: inner.duration("fill_ttl_max").unwrap_or(default.fill_ttl_max),
        stub_ttl: inner.duration("stub_ttl").unwrap_or(default.stub_ttl),
        fence: inner.duration("fence").unwrap_or(default.fence),
        cas_quarantine: inner.duration("cas_quarantine").unwrap_or(default.cas_quarantine),
        ..default
    };
    if times.stub_ttl.as_secs() == 0 || times.stub_ttl.subsec_nanos() > 0 {
        inner.refuse(Reason::from("\"stub_ttl\" is not in whole seconds").or("stub_ttl: 5s"));
    }
    if times.fill_ttl_max.subsec_nanos() > 0 {
        inner.refuse(
            Reason::from("\"fill_ttl_max\" is not in whole seconds").or("fill_ttl_max: 1h"),
        );
    }
    times
}

/// The rings and the phase come from where the servers do.
fn read_beside_topology(inner: Section<'_>, (value, pool): (&Value<'_>, &mut Pool)) {
    for key in ["phase", "servers", "dead_old"] {
        if let Some(given) = inner.take(key) {
            given.refuse(format!("\"{key}\" comes from the topology of the pool"));
        }
    }
    if pool.topology.as_ref().is_some_and(|source| source.format != Format::Native) {
        value.refuse("only a native topology has two rings");
    }
    let times = times(&inner, pool.protocol);
    if !times.moving.pin.is_empty() {
        // Each proxy has its own file: where a key stays must be the same for all.
        inner.refuse("\"pin\" comes from the topology of the pool");
    }
    pool.expansion = Some(times);
    inner.close();
}

impl Pool {
    /// Why it cannot have two rings, if it cannot.
    pub fn why_one_ring(&self) -> impl Iterator<Item = &'static str> {
        let whys = [
            (
                self.protocol == Protocol::Ping,
                "a pool that only answers PING cannot have two rings",
            ),
            // Whether MIGRATE speaks TLS is not ours to say.
            (
                self.hands_over() && self.server_tls.is_some(),
                "servers that speak TLS cannot be told to move keys to each other, unless \"data\" is \
                 cache",
            ),
            (
                self.dead == Dead::Rehash,
                "a pool that re-hashes when a server is dead cannot have two rings",
            ),
            (
                self.routing.distribution == Distribution::Random,
                "under random no key has a place that it could move from",
            ),
        ];
        whys.into_iter().filter(|(applies, _)| *applies).map(|(_, why)| why)
    }

    /// Whether servers hand keys to each other when it has two rings.
    pub fn hands_over(&self) -> bool {
        let cache = |it: &Expansion| it.moving.data == Data::Cache;
        self.protocol == Protocol::Redis && !self.expansion.as_ref().is_some_and(cache)
    }

    /// What of it, beside the servers, decides where a key lives and how it comes there.
    pub fn placement(&self) -> Placement {
        let carried = self.protocol == Protocol::Redis && !self.hands_over();
        Placement { carried, ..self.routing.placement() }
    }

    /// Its two rings, if it has them.
    pub fn two_rings(&self) -> Option<&Expansion> {
        self.expansion.as_ref().filter(|expansion| !expansion.target.is_empty())
    }

    /// The servers of the ring that serves: the old one until phase warm, then the new one.
    pub fn ring(&self) -> &[Server] {
        match self.two_rings() {
            Some(expansion) if expansion.phase.new_serves() => &expansion.target,
            Some(expansion) => &expansion.current,
            None => &self.servers,
        }
    }
}
