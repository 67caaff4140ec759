//! `topology:` of a pool: where its servers come from.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::identity::{Secret, ServerTls};
use crate::config::pool::secret::secret_of_file;
use crate::config::pool::tls;
use crate::config::source::{Reason, Section, Value};
use crate::config::topology::{Format, Membership, NameFrom, Place, TopologySource, ZooKeeper};

/// The client library's own default: long enough for a pause of a collector, short enough for who
/// waits for acknowledgements.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
/// Shorter than the patience of whoever started us (faults F31).
const STARTUP_WAIT: Duration = Duration::from_secs(5);
/// More than one of seven servers at a time goes by mistake.
const MAX_REMOVAL: u32 = 1_500;
/// Members that start together become one change.
const ADD_DELAY: Duration = Duration::from_secs(1);
/// A restart takes less.
const REMOVE_DELAY: Duration = Duration::from_secs(30);
/// Where the state of services is kept (FHS 3.0, 5.8).
const SNAPSHOT_FOLDER: &str = "/var/lib/twinring";

const FORMATS: [(&str, Format); 6] = [
    ("native", Format::Native),
    ("nutcracker", Format::Nutcracker),
    ("serverset", Format::ServerSet),
    ("nerve", Format::Nerve),
    ("curator", Format::Curator),
    ("list", Format::List),
];

/// Reads `topology:` of the pool called `pool`.
pub(super) fn topology(section: &Section<'_>, pool: &str) -> Option<TopologySource> {
    let value = section.take("topology")?;
    let topology = Section::open(&value)?;
    let sources = [("file", false), ("zookeeper", true)];
    let why = "is neither \"file\" nor \"zookeeper\"";
    let zookeeper = match topology.required("source") {
        Some(_) => topology.choice("source", &sources, why).unwrap_or(true),
        None => true,
    };
    let path = topology.required("path");
    let place = if zookeeper { place_in_zookeeper(&topology, path) } else { place_in_file(path) };
    let format = topology.choice("format", &FORMATS, "is no format of a topology");
    let format = format.unwrap_or(Format::Native);
    if !zookeeper && format.has_members() {
        refuse(
            &topology,
            "format",
            "its members are znodes: only valid with \"source: zookeeper\"",
        );
    }
    let source = TopologySource {
        place,
        format,
        name_from: name_from(&topology, format),
        endpoint: endpoint(&topology, format),
        membership: membership(&topology, format),
        max_removal: topology.parsed("max_removal_ratio", ratio).unwrap_or(MAX_REMOVAL),
        add_delay: topology.duration("add_delay").unwrap_or(ADD_DELAY),
        remove_delay: topology.duration("remove_delay").unwrap_or(REMOVE_DELAY),
        startup_wait: topology.duration("startup_wait").unwrap_or(STARTUP_WAIT),
        snapshot: snapshot(&topology, pool, zookeeper),
    };
    topology.close();
    Some(source)
}

fn place_in_file(path: Option<Value<'_>>) -> Place {
    Place::File(path.as_ref().and_then(Value::text).map(PathBuf::from).unwrap_or_default())
}

fn place_in_zookeeper(topology: &Section<'_>, path: Option<Value<'_>>) -> Place {
    let connect = topology.required("connect").and_then(|value| value.parsed(ensemble));
    let path = path.and_then(|value| value.parsed(znode)).unwrap_or_default();
    let timeout = topology.duration("session_timeout").unwrap_or(SESSION_TIMEOUT);
    if timeout < Duration::from_millis(100) {
        refuse(topology, "session_timeout", "is too short: at least 100ms");
    }
    Place::ZooKeeper(ZooKeeper {
        connect: connect.unwrap_or_default(),
        chroot: topology.parsed("chroot", znode).unwrap_or_default(),
        path,
        auth: topology.take("auth_file").and_then(|value| auth(&value)),
        tls: tls_to_ensemble(topology),
        session_timeout: timeout,
    })
}

/// `host:port,host:port`; a host without a port is on ZooKeeper's own.
fn ensemble(text: &str) -> Result<String, Reason> {
    const PORT: &str = "2181";
    let host = |entry: &str| -> Option<String> {
        let entry = entry.trim();
        match entry.rsplit_once(':') {
            _ if entry.is_empty() || entry.contains(['/', ' ']) => None,
            Some((host, port)) if !host.is_empty() => {
                port.parse::<u16>().ok().filter(|&port| port != 0)?;
                Some(entry.to_owned())
            }
            Some(_) => None,
            None => Some(format!("{entry}:{PORT}")),
        }
    };
    let hosts: Option<Vec<String>> = text.split(',').map(host).collect();
    let fix = "for example zk1:2181,zk2:2181,zk3:2181";
    Ok(hosts.ok_or_else(|| Reason::from("is no list of host:port").or(fix))?.join(","))
}

/// An absolute path; the root is empty.
fn znode(text: &str) -> Result<String, Reason> {
    let path = text.strip_suffix('/').unwrap_or(text);
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    match path.strip_prefix('/') {
        Some(rest) if rest.split('/').all(plain) => Ok(path.to_owned()),
        None if path.is_empty() => Ok(String::new()),
        _ => Err(Reason::from("is no path of a znode").or("for example /twinring/web")),
    }
}

fn auth(value: &Value<'_>) -> Option<Secret> {
    let secret = secret_of_file(value)?;
    if !secret.reveal().contains(':') {
        value.refuse("the file does not hold user:password");
    }
    Some(secret)
}

fn tls_to_ensemble(topology: &Section<'_>) -> Option<ServerTls> {
    let tls = tls::of_ensemble(topology)?;
    if tls.name.is_some() || tls.min_version != crate::config::TlsVersion::Tls12 {
        let why = "the ensemble's certificates are checked by host name, from TLS 1.2 on: \
                   \"name\" and \"min_version\" are not for it";
        refuse(topology, "tls", why);
    }
    Some(tls)
}

fn name_from(topology: &Section<'_>, format: Format) -> NameFrom {
    let names =
        [("name", NameFrom::Name), ("shard", NameFrom::Shard), ("address", NameFrom::Address)];
    let why = "is neither \"name\" nor \"shard\" nor \"address\"";
    let written = topology.choice("name_from", &names, why);
    match format {
        Format::ServerSet => {
            if written == Some(NameFrom::Name) {
                refuse(topology, "name_from", "members of a serverset have no name: use shard");
            }
            written.unwrap_or(NameFrom::Shard)
        }
        Format::Nerve | Format::Curator => written.unwrap_or(NameFrom::Name),
        Format::Native | Format::Nutcracker | Format::List => {
            if written.is_some() {
                refuse(topology, "name_from", "is only valid where each member is a znode");
            }
            NameFrom::Name
        }
    }
}

fn endpoint(topology: &Section<'_>, format: Format) -> Option<String> {
    let value = topology.take("endpoint")?;
    if format != Format::ServerSet {
        value.refuse("is only valid with \"format: serverset\"");
    }
    value.text().map(str::to_owned)
}

fn membership(topology: &Section<'_>, format: Format) -> Membership {
    let kinds = [("managed", Membership::Managed), ("unmanaged", Membership::Unmanaged)];
    let why = "is neither \"managed\" nor \"unmanaged\"";
    let written = topology.choice("membership", &kinds, why);
    if written.is_some() && !format.has_members() {
        refuse(topology, "membership", "is only valid where each member is a znode");
    }
    written.unwrap_or(Membership::Managed)
}

/// In ten-thousandths.
fn ratio(text: &str) -> Result<u32, Reason> {
    let value = text.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    value
        .map(|ratio| (ratio * 10_000.0).round() as u32)
        .ok_or_else(|| Reason::from("is no part of a whole").or("0 to 1, for example 0.15"))
}

/// A file is its own snapshot unless one is asked for.
fn snapshot(topology: &Section<'_>, pool: &str, zookeeper: bool) -> Option<PathBuf> {
    match topology.take("snapshot").as_ref().and_then(Value::text) {
        Some("off") => None,
        Some(path) => Some(PathBuf::from(path)),
        None => zookeeper.then(|| PathBuf::from(format!("{SNAPSHOT_FOLDER}/{}", file_name(pool)))),
    }
}

/// A pool may be called anything: what could leave the folder is written as an underscore.
fn file_name(pool: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    format!("topology-{}.json", pool.chars().map(safe).collect::<String>())
}

fn refuse(topology: &Section<'_>, key: &'static str, why: &str) {
    match topology.take(key) {
        Some(value) => value.refuse(format!("directive \"{key}:\" {why}")),
        None => topology.refuse(why),
    }
}
