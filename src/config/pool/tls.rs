//! TLS on either side of a pool.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::identity::{ClientCertificates, ListenTls, ServerTls, TlsVersion};
use crate::config::settings::Listen;
use crate::config::source::{Reason, Section, Value};
use crate::topology::Address;

/// Handshakes of one listener at a time: at a millisecond each, a quarter of a second of work.
const HANDSHAKES: u32 = 256;
/// A handshake takes two round trips; who needs longer is not going to be a good client.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// Reads a listener's `tls:`.
pub(super) fn of_listener(section: &Section<'_>, listen: Option<&Listen>) -> Option<ListenTls> {
    let value = section.take("tls")?;
    let tls = Section::open(&value)?;
    if !matches!(listen, Some(Listen::Tcp { .. }) | None) {
        value.refuse("only a TCP listener can have TLS");
    }
    let (certificate, key) = (file(&tls, "certificate"), file(&tls, "key"));
    for (given, name) in [(&certificate, "certificate"), (&key, "key")] {
        if given.is_none() {
            tls.refuse(format!("\"{name}:\" is missing"));
        }
    }
    let client_ca = file(&tls, "client_ca");
    let names = [
        ("none", ClientCertificates::None),
        ("optional", ClientCertificates::Optional),
        ("required", ClientCertificates::Required),
    ];
    let why = "is neither \"none\" nor \"optional\" nor \"required\"";
    let clients = tls.choice("client_certificates", &names, why);
    let default =
        if client_ca.is_some() { ClientCertificates::Required } else { ClientCertificates::None };
    let clients = clients.unwrap_or(default);
    if clients != ClientCertificates::None && client_ca.is_none() {
        let why = "client certificates are to be checked, but nothing says against what";
        tls.refuse(Reason::from(why).or("client_ca: FILE"));
    }
    let settings = ListenTls {
        certificate: certificate.unwrap_or_default(),
        key: key.unwrap_or_default(),
        client_ca,
        clients,
        min_version: version(&tls),
        handshakes: tls.number("handshakes", 1).unwrap_or(HANDSHAKES),
        handshake_time: tls.duration("handshake_time").unwrap_or(HANDSHAKE_TIME),
    };
    tls.close();
    Some(settings)
}

/// Reads a pool's `server_tls:`.
pub(super) fn of_servers<'a>(
    section: &Section<'_>,
    mut servers: impl Iterator<Item = &'a Address>,
) -> Option<ServerTls> {
    let value = section.take("server_tls")?;
    if servers.any(|address| matches!(address, Address::Unix(_))) {
        value.refuse("a server on a unix socket cannot have TLS");
    }
    of_other_side(&value)
}

/// Reads `tls:` of a topology in ZooKeeper.
pub(super) fn of_ensemble(section: &Section<'_>) -> Option<ServerTls> {
    of_other_side(&section.take("tls")?)
}

fn of_other_side(value: &Value<'_>) -> Option<ServerTls> {
    let tls = Section::open(value)?;
    let ca = file(&tls, "ca");
    if ca.is_none() {
        tls.refuse("\"ca:\" is missing");
    }
    let (certificate, key) = (file(&tls, "certificate"), file(&tls, "key"));
    if certificate.is_some() != key.is_some() {
        tls.refuse("\"certificate:\" and \"key:\" are given together or not at all");
    }
    let settings = ServerTls {
        ca: ca.unwrap_or_default(),
        name: tls.take("name").and_then(|value| value.text().map(str::to_owned)),
        certificate,
        key,
        min_version: version(&tls),
    };
    tls.close();
    Some(settings)
}

fn file(section: &Section<'_>, key: &'static str) -> Option<PathBuf> {
    section.take(key).as_ref().and_then(Value::text).map(PathBuf::from)
}

fn version(section: &Section<'_>) -> TlsVersion {
    let names = [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
    let why = "is neither \"1.2\" nor \"1.3\"";
    section.choice("min_version", &names, why).unwrap_or(TlsVersion::Tls12)
}
