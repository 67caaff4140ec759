//! What an operator should know although the file is valid.

use std::net::IpAddr;
use std::time::Duration;

use crate::config::placement::{Distribution, Hash, Points};
use crate::config::pool::Form;
use crate::config::settings::{Config, Dead, Pool, Protocol};
use crate::config::source::Section;
use crate::config::{Format, Place, TopologySource};
use crate::topology::Server;

/// Settings of the vipshop fork that tune keep-alive probes.
const VIPSHOP_KEYS: [&str; 3] = ["tcpkeepidle", "tcpkeepcnt", "tcpkeepintvl"];
/// Read permission for everybody.
const WORLD_READABLE: u32 = 0o004;

/// Warns about a pool; also takes the keys that are accepted and ignored.
pub(super) fn of_pool(section: &Section<'_>, pool: &Pool, form: Form) {
    for key in VIPSHOP_KEYS.into_iter().filter(|key| section.take(key).is_some()) {
        section.warn(key, "is ignored: the system's keep-alive times hold");
    }
    if pool.timeout.is_none() && pool.cache.is_none() {
        section.warn("timeout", "a request waits for ever for its server; set e.g. timeout: 400");
    }
    if section.take("client_connections").is_some() {
        client_connections(section, pool, form);
    }
    if pool.server_connections > 1 {
        let text = "one pipelined connection to a server is enough for most; each further one costs \
                    every server a connection per worker";
        section.warn("server_connections", text);
    }
    if pool.dead == Dead::Rehash {
        let key = if section.take("dead").is_some() { "dead" } else { "auto_eject_hosts" };
        let text = "while a server is out its keys live elsewhere; when it returns, the values it \
                    kept are as old as its absence";
        section.warn(key, text);
    }
    if pool.protocol == Protocol::Memcache && pool.redis_db > 0 {
        section.warn("redis_db", "is ignored: the pool speaks memcache");
    }
    self_fence(section, pool);
    routing(section, pool);
}

/// The part of a session's time that keys which move rest before it can end: the margin by which the
/// control thread lets the workers act (`control::topology::zookeeper`).
const MARGIN_PART: u32 = 3;
/// A server of an ensemble tells the others within half a tick that it has heard of a session, so that this
/// may end so much sooner: half of 2 s, ZooKeeper's own tickTime. It grants no session of less
/// than two ticks.
const HALF_TICK: Duration = Duration::from_secs(1);

/// A request that is sent at the last moment must have come to its end before others go on without
/// us.
fn self_fence(section: &Section<'_>, pool: &Pool) {
    let Some(TopologySource { format: Format::Native, place, .. }) = &pool.topology else { return };
    let (Place::ZooKeeper(place), None) = (place, pool.why_one_ring().next()) else { return };
    let session = place.session_timeout;
    let late = HALF_TICK.min(session / 4);
    let rest = session / MARGIN_PART;
    let Some(timeout) = pool.timeout.filter(|timeout| *timeout + late > rest) else { return };
    let least = (timeout + HALF_TICK) * MARGIN_PART;
    let [session, rest, late, timeout, least] = [session, rest, late, timeout, least]
        .map(|it| Duration::from_millis(it.as_millis() as u64));
    let text = format!(
        "session_timeout is short for an expansion: out of ZooKeeper's sight keys that move rest \
         {rest:?} before {session:?} are over, of which the ensemble may take {late:?}, and a request \
         takes up to {timeout:?} (timeout): at least {least:?}"
    );
    section.warn("topology", &text);
}

fn client_connections(section: &Section<'_>, pool: &Pool, form: Form) {
    if form.is_compat() {
        section.warn("client_connections", "is ignored, as twemproxy does");
    } else if let Some(clients) = pool.max_clients {
        let text = format!("is enforced, as twemproxy never did: at most {clients} clients");
        section.warn("client_connections", &text);
    }
}

fn routing(section: &Section<'_>, pool: &Pool) {
    let hash = pool.routing.hash;
    let named = |server: &Server| server.named;
    match pool.routing.distribution {
        Distribution::Modula | Distribution::Random => return,
        Distribution::Ketama if hash == Hash::Crc32 => {
            let text = "crc32 has 15 bits: on a ketama ring one server gets nearly every key";
            section.warn("hash", text);
        }
        Distribution::KetamaFnv { .. } if hash != Hash::Fnv1a32 => {
            section.warn("hash", "clients of this ring hash keys with fnv1a_32");
        }
        _ => {}
    }
    if let Distribution::KetamaFnv { points: Points::Fixed, .. } = pool.routing.distribution
        && pool.servers.iter().any(|server| server.weight != 1)
    {
        section.warn("servers", "weights count for nothing with points: fixed");
    }
    if pool.servers.len() > 1 && !pool.servers.iter().all(named) {
        let text = "servers without a name: keys move when an address changes";
        section.warn("servers", text);
    }
}

/// Warns about an admin listener that other machines can reach.
pub(super) fn of_admin(section: &Section<'_>, listen: Option<&str>) {
    if let Some(listen) = listen
        && !is_loopback(listen)
    {
        section.warn("listen", "other machines can reach this; it asks for no password");
    }
}

fn is_loopback(listen: &str) -> bool {
    let host = listen.rsplit_once(':').map_or(listen, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Warns about passwords in a file that everybody may read.
pub(super) fn of_file(name: &str, text: &str, mode: u32, config: &Config) -> Option<String> {
    let secrets = config.pools.iter().filter_map(|pool| pool.redis_auth.as_ref());
    let written = secrets.into_iter().any(|secret| text.contains(secret.reveal()));
    (written && mode & WORLD_READABLE != 0)
        .then(|| format!("{name}: holds a password and can be read by every user"))
}
