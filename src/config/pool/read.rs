//! One pool: every key of twemproxy, with its rules and its words, and the keys of our own.
//!
//! Both forms of a file know the same keys. They differ in defaults: a nutcracker.yml keeps
//! twemproxy's, a native file has those that its operators later wished for.

use std::time::Duration;

use crate::config::identity::Secret;
use crate::config::pool::form::Form;
use crate::config::pool::routing::routing;
use crate::config::pool::secret::{file_text, secret_of_file};
use crate::config::pool::servers::servers;
use crate::config::pool::topology::topology;
use crate::config::pool::{cache, expansion, limits, near, tls};
use crate::config::settings::{CacheSettings, Dead, Limits, Listen, Partial, Pool, Protocol};
use crate::config::source::{Reason, Section, Value};
use crate::config::{listen, warnings};

/// Above every healthy reply of a cache, below the patience of a page; mcrouter's default too.
const TIMEOUT: Duration = Duration::from_secs(1);
/// nc_conf.h:44-62, as is the next.
const BACKLOG: u32 = 512;
const SERVER_RETRY_TIMEOUT: Duration = Duration::from_secs(30);
const SERVER_FAILURE_LIMIT: u32 = 3;
/// nc_conf.h:44-62.
const SERVER_FAILURE_LIMIT_NUTCRACKER: u32 = 2;
/// Reads a pool; `None` if a part without which there is no pool was refused, which is reported.
pub(in crate::config) fn read(value: &Value<'_>, form: Form) -> Option<Pool> {
    let section = Section::open(value)?;
    let protocol = protocol(&section);
    let listen = section.required("listen").and_then(|value| value.parsed(listen::listen));
    if let (Some(listen), false) = (&listen, form.is_native()) {
        refuse_port_zero(&section, listen);
    }
    let cache = cache::is_cache(&section, form).then(|| cache::read(&section, value.key));
    if cache.is_none() {
        cache::refuse_without_cache(&section);
        cache::refuse_with_servers(&section, protocol);
    }
    let flag = |key, default| section.flag(key).unwrap_or(default);
    let limit =
        if form.is_native() { SERVER_FAILURE_LIMIT } else { SERVER_FAILURE_LIMIT_NUTCRACKER };
    let servers = if cache.is_some() { Vec::new() } else { servers(&section, value.key) };
    let mut pool = Pool {
        name: value.key.to_owned(),
        // Without an address the rest is still read, so that its errors are found as well.
        listen: listen.clone().unwrap_or_else(listen::nowhere),
        protocol,
        routing: routing(&section),
        timeout: timeout(&section, form),
        backlog: section.number("backlog", 0).unwrap_or(BACKLOG),
        max_clients: max_clients(&section, form),
        tcp_keepalive: flag("tcpkeepalive", false),
        reuseport: flag("reuseport", false),
        tls: tls::of_listener(&section, listen.as_ref()),
        server_tls: tls::of_servers(&section, servers.iter().map(|server| &server.address)),
        memcache_auth: memcache_auth(&section, protocol),
        redis_user: redis_user(&section),
        redis_auth: redis_auth(&section, protocol),
        redis_db: section.number("redis_db", 0).unwrap_or(0),
        preconnect: flag("preconnect", false),
        dead: dead(&section),
        server_connections: server_connections(&section),
        server_retry_timeout: section
            .duration("server_retry_timeout")
            .unwrap_or(SERVER_RETRY_TIMEOUT),
        server_failure_limit: section.number("server_failure_limit", 0).unwrap_or(limit).max(1),
        allow_flush: flag("allow_flush", false),
        allow_scan: flag("allow_scan", false),
        partial: partial(&section, protocol, form),
        lenient_lf: flag("lenient_lf", !form.is_compat()),
        idle_timeout: section.duration("idle_timeout").filter(|time| !time.is_zero()),
        limits: pool_limits(&section, protocol, form, cache.as_ref()),
        topology: topology(&section, value.key),
        servers,
        expansion: None,
        cache,
        near_cache: near::near(&section, protocol),
    };
    if pool.cache.is_none() {
        expansion::read(&section, &mut pool);
    }
    warnings::of_pool(&section, &pool, form);
    section.close();
    let complete = pool.cache.is_some() || pool.topology.is_some() || !pool.servers.is_empty();
    (listen.is_some() && complete).then_some(pool)
}

/// A cache's largest value is its own setting.
fn pool_limits(
    section: &Section<'_>,
    protocol: Protocol,
    form: Form,
    cache: Option<&CacheSettings>,
) -> Limits {
    let limits = limits::read(section.take("limits").as_ref(), protocol, form.is_compat());
    Limits { value_bytes: cache.map_or(limits.value_bytes, |cache| cache.max_value), ..limits }
}

/// Port 0 is any free port: useful where the answer can be asked for, an error in twemproxy.
fn refuse_port_zero(section: &Section<'_>, listen: &Listen) {
    if let (Listen::Tcp { port: 0, .. }, Some(value)) = (listen, section.take("listen")) {
        value.refuse("directive \"listen\" has an invalid port in \"hostname:port\" format string");
    }
}

fn protocol(section: &Section<'_>) -> Protocol {
    let names =
        [("memcache", Protocol::Memcache), ("redis", Protocol::Redis), ("ping", Protocol::Ping)];
    let named = section.choice("protocol", &names, "is not a valid protocol");
    let flagged =
        section.flag("redis").map(|redis| if redis { Protocol::Redis } else { Protocol::Memcache });
    if named.is_some() && flagged.is_some() && named != flagged {
        section.refuse(Reason::from("\"protocol\" and \"redis\" disagree").or("give only one"));
    }
    named.or(flagged).unwrap_or(Protocol::Memcache)
}

fn timeout(section: &Section<'_>, form: Form) -> Option<Duration> {
    let default = form.is_native().then_some(TIMEOUT);
    match section.duration("timeout") {
        Some(written) => (!written.is_zero()).then_some(written),
        None => default,
    }
}

/// `client_connections` is twemproxy's name, which it reads and then never enforces.
fn max_clients(section: &Section<'_>, form: Form) -> Option<u32> {
    let theirs = section.number("client_connections", 0);
    let ours = section.number("max_clients", 0);
    if theirs.is_some() && ours.is_some() {
        let why = "\"client_connections\" and \"max_clients\" mean the same";
        section.refuse(Reason::from(why).or("give only one"));
    }
    ours.or_else(|| theirs.filter(|_| !form.is_compat())).filter(|clients| *clients > 0)
}

fn redis_user(section: &Section<'_>) -> Option<String> {
    let value = section.take("redis_user")?;
    if !section.has("redis_auth") && !section.has("redis_auth_file") {
        value.refuse(Reason::from("a user without a password").or("redis_auth_file: FILE"));
    }
    value.text().map(str::to_owned)
}

fn redis_auth(section: &Section<'_>, protocol: Protocol) -> Option<Secret> {
    let written = section.take("redis_auth");
    let file = section.take("redis_auth_file");
    if let (Some(_), Some(file)) = (&written, &file) {
        file.refuse("\"redis_auth\" is given as well");
        return None;
    }
    let given = file.as_ref().or(written.as_ref())?;
    if protocol != Protocol::Redis {
        let why = format!("directive \"{}:\" is only valid for a redis pool", given.key);
        given.refuse(Reason::from(why).or("protocol: redis"));
        return None;
    }
    match &file {
        Some(file) => secret_of_file(file),
        None => given.text().map(Secret::new),
    }
}

/// memcached's own form of such a file (`-Y`): `user:password` lines.
fn memcache_auth(section: &Section<'_>, protocol: Protocol) -> Vec<Secret> {
    let Some(value) = section.take("memcache_auth_file") else { return Vec::new() };
    if protocol != Protocol::Memcache {
        value.refuse("directive \"memcache_auth_file:\" is only valid for a memcache pool");
    }
    let Some(text) = file_text(&value) else { return Vec::new() };
    let lines = text.lines().filter(|line| !line.is_empty());
    let secrets: Option<Vec<Secret>> = lines
        .map(|line| line.split_once(':').map(|pair| Secret::new(format!("{} {}", pair.0, pair.1))))
        .collect();
    match secrets {
        Some(secrets) if !secrets.is_empty() => secrets,
        _ => {
            value.refuse("holds no lines of user:password");
            Vec::new()
        }
    }
}

fn dead(section: &Section<'_>) -> Dead {
    let names = [("error", Dead::Error), ("miss", Dead::Miss), ("rehash", Dead::Rehash)];
    let named = section.choice("dead", &names, "is neither \"error\" nor \"miss\" nor \"rehash\"");
    let eject = section.flag("auto_eject_hosts");
    if let (Some(named), Some(eject)) = (named, eject)
        && eject != (named == Dead::Rehash)
    {
        let why = "\"auto_eject_hosts\" and \"dead\" disagree";
        section.refuse(Reason::from(why).or("auto_eject_hosts: true is dead: rehash"));
    }
    let ejecting = if eject == Some(true) { Dead::Rehash } else { Dead::Error };
    named.unwrap_or(ejecting)
}

fn server_connections(section: &Section<'_>) -> u32 {
    match section.number("server_connections", 0) {
        Some(0) => {
            if let Some(value) = section.take("server_connections") {
                value.refuse("directive \"server_connections:\" cannot be 0");
            }
            1
        }
        written => written.unwrap_or(1),
    }
}

/// A memcache client reads what is absent as a miss, which is safe; an MGET's nil says that the
/// server knows of no such key, which is a lie while it is down.
fn partial(section: &Section<'_>, protocol: Protocol, form: Form) -> Partial {
    let names = [("miss", Partial::Miss), ("error", Partial::Error)];
    let default = match protocol {
        Protocol::Memcache if !form.is_compat() => Partial::Miss,
        _ => Partial::Error,
    };
    section.choice("partial", &names, "is neither \"miss\" nor \"error\"").unwrap_or(default)
}
