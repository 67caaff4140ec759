//! One text with all servers: a nutcracker.yml, or a plain list.

use super::{Proposal, ZNode, text};
use crate::config::parse_servers;
use crate::control::topology::refusal::{Reason, Refusal};
use crate::topology::{Document, Node, Server, nodes_in_ring_order};

/// A nutcracker.yml with the pool called `pool`, or its list of servers.
pub(super) fn nutcracker(node: &ZNode, pool: &str) -> Result<Proposal, Refusal> {
    let list = parse_servers(text(node)?, "line", pool).map_err(|errors| {
        let first = errors.to_string();
        Refusal::new(Reason::Decode, first.lines().next().unwrap_or_default())
    })?;
    let mut document = Document {
        current: list.servers.into_iter().map(Node::plain).collect(),
        ..Document::default()
    };
    if let Some(placement) = list.routing.map(|routing| routing.placement()) {
        document.hash = Some(placement.hash);
        document.distribution = Some(placement.distribution);
        document.hash_tag = Some(placement.hash_tag);
    }
    Ok(Proposal::whole(node.zxid, document))
}

/// `host:port[:weight[:name]]`, a line or a comma for each; also an entry as in a nutcracker.yml,
/// and libketama's `host:port weight`. `#` starts a comment.
pub(super) fn list(node: &ZNode) -> Result<Proposal, Refusal> {
    let mut current = Vec::new();
    for (line, number) in text(node)?.lines().zip(1..) {
        let line = line.split('#').next().unwrap_or_default();
        for entry in line.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let node = self::entry(entry).map_err(|why| {
                Refusal::new(Reason::Decode, format!("line {number}: {entry:?}: {why}"))
            })?;
            current.push(node);
        }
    }
    nodes_in_ring_order(&mut current);
    let document = Document { current, ..Document::default() };
    Ok(Proposal::whole(node.zxid, document))
}

fn entry(entry: &str) -> Result<Node, String> {
    if let Some((place, rest)) = entry.split_once([' ', '\t']) {
        let rest = rest.trim();
        if ports(place) == 1 && rest.bytes().all(|byte| byte.is_ascii_digit()) {
            let weight = rest.parse::<u32>().map_err(|_| "the weight is too large")?;
            return Node::new(place, weight, None).map_err(|error| error.to_string());
        }
        let server = format!("{place} {rest}").parse::<Server>();
        return server.map(Node::plain).map_err(|error| error.to_string());
    }
    // An IPv6 literal is in brackets here: its colons are none of ours.
    let at = entry.rfind(']').map_or(0, |at| at + 1);
    let (host, rest) = entry.split_at(at);
    let mut parts = rest.splitn(4, ':');
    let host = if host.is_empty() {
        parts.next().unwrap_or_default()
    } else {
        parts.next();
        host
    };
    let port = parts.next().ok_or("a server is host:port, with weight and name if need be")?;
    let weight = match parts.next() {
        None | Some("") => 1,
        Some(weight) => weight.parse().map_err(|_| format!("{weight:?} is no weight"))?,
    };
    let name = parts.next().filter(|name| !name.is_empty());
    Node::new(&format!("{host}:{port}"), weight, name).map_err(|error| error.to_string())
}

/// Colons outside of brackets.
fn ports(place: &str) -> usize {
    let at = place.rfind(']').map_or(0, |at| at + 1);
    place[at..].matches(':').count()
}
