//! Our own format: immutable numbered versions, JSON, and a pointer to the one that is active.
//!
//! ```text
//!  <path>/topology             {"schema":1,"active":18}
//!  <path>/versions/0000000018  {"schema":1,"epoch":18,"phase":"stable","rings":{"current":{…}}, …}
//! ```
//! A file holds a version alone. Unknown fields are errors: whoever adds one counts the schema up.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Proposal, ZNode, root, text};
use crate::control::topology::refusal::{Reason, Refusal};
use crate::topology::{
    DeadOld, Document, GivenUp, Node, Phase, PinError, Server, State, key_of_text,
    nodes_in_ring_order, text_of_key,
};

/// The schema of all that has no `pin`, the pointer among it.
const SCHEMA: u32 = 1;

/// The schema of versions that have one: who does not know it must not follow.
const PINNING: u32 = 2;

/// The pointer.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Pointer {
    schema: u32,
    active: u64,
    /// The operator's word that this version is meant as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accept: Option<u64>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Version {
    schema: u32,
    epoch: u64,
    #[serde(default)]
    phase: Option<String>,
    #[serde(default)]
    author: String,
    #[serde(default)]
    reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    distribution: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash_tag: Option<String>,
    rings: Rings,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pin: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dirty: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    dead_old: BTreeMap<String, String>,
    #[serde(default)]
    grace_s: u64,
    #[serde(default)]
    allow_empty: bool,
    #[serde(default)]
    allow_shrink: bool,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Rings {
    current: Ring,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<Ring>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Ring {
    nodes: Vec<RawNode>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    name: String,
    addr: String,
    #[serde(default = "one")]
    weight: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
}

const fn one() -> u32 {
    1
}

/// The name of the znode that points to the active version.
pub const POINTER: &str = "topology";

/// The znode of all versions, below the source.
pub const VERSIONS: &str = "versions";

/// The znode of a version, below the source.
pub fn version_path(epoch: u64) -> String {
    format!("{VERSIONS}/{epoch:010}")
}

/// The version that the bytes of a pointer name.
///
/// # Errors
/// They are no pointer.
pub fn active(pointer: &[u8]) -> Result<u64, Refusal> {
    pointer_of(pointer).map(|pointer| pointer.active)
}

fn pointer_of(bytes: &[u8]) -> Result<Pointer, Refusal> {
    let pointer: Pointer =
        serde_json::from_slice(bytes).map_err(|error| unreadable("the pointer", &error))?;
    schema(pointer.schema)?;
    Ok(pointer)
}

/// The bytes of a pointer; `accept` if that version is meant whatever it does.
pub fn pointer(active: u64, accept: bool) -> Vec<u8> {
    let pointer = Pointer { schema: SCHEMA, active, accept: accept.then_some(active) };
    serde_json::to_vec(&pointer).unwrap_or_default()
}

pub(super) fn decode(nodes: &[ZNode]) -> Result<Proposal, Refusal> {
    let Some(pointer) = nodes.iter().find(|node| node.path == POINTER) else {
        let document = read(text(root(nodes)?)?)?;
        return Ok(Proposal::whole(document.epoch, document));
    };
    let pointer = pointer_of(&pointer.data)?;
    let path = version_path(pointer.active);
    let version = nodes.iter().find(|node| node.path == path);
    let version = version
        .ok_or_else(|| Refusal::new(Reason::Deleted, format!("the active {path} is missing")))?;
    let document = read(text(version)?)?;
    if document.epoch != pointer.active {
        let text = format!("{path} says that it is epoch {}", document.epoch);
        return Err(Refusal::new(Reason::Decode, text));
    }
    let accepted = pointer.accept == Some(pointer.active);
    Ok(Proposal { accepted, ..Proposal::whole(document.epoch, document) })
}

/// Reads a version.
///
/// # Errors
/// What is wrong with it, with line and column where it is no JSON of this shape.
pub fn read(text: &str) -> Result<Document, Refusal> {
    let version: Version =
        serde_json::from_str(text).map_err(|error| unreadable("the version", &error))?;
    schema(if version.schema == PINNING { SCHEMA } else { version.schema })?;
    if version.schema != PINNING && !version.pin.is_empty() {
        let text = format!("\"pin\" needs schema {PINNING}");
        return Err(Refusal::new(Reason::Decode, text));
    }
    let phase = version.phase.as_deref().unwrap_or(Phase::Stable.name());
    let phase = Phase::of_name(phase)
        .ok_or_else(|| Refusal::new(Reason::Decode, format!("{phase:?} is no phase")))?;
    let target = version.rings.target.map_or_else(Vec::new, |ring| ring.nodes);
    if phase != Phase::Stable && phase != Phase::New && target.is_empty() {
        let text = format!("phase {} without a target ring", phase.name());
        return Err(Refusal::new(Reason::Decode, text));
    }
    Ok(Document {
        epoch: version.epoch,
        phase,
        author: version.author,
        reason: version.reason,
        hash: version.hash,
        distribution: version.distribution,
        hash_tag: version.hash_tag,
        current: nodes(version.rings.current.nodes)?,
        target: nodes(target)?,
        pin: keys(&version.pin)?,
        dirty: version.dirty,
        dead_old: dead_old(version.dead_old)?,
        grace: Duration::from_secs(version.grace_s),
        allow_empty: version.allow_empty,
        allow_shrink: version.allow_shrink,
    })
}

fn keys(entries: &[String]) -> Result<Vec<Vec<u8>>, Refusal> {
    let unfit = |error: PinError| Refusal::new(Reason::Decode, format!("\"pin\": {error}"));
    entries.iter().map(|entry| key_of_text(entry).map_err(unfit)).collect()
}

/// Writes a version, as [`read`] reads it.
pub fn write(document: &Document) -> String {
    let ring = |nodes: &[Node]| Ring { nodes: nodes.iter().map(raw).collect() };
    let version = Version {
        schema: if document.pin.is_empty() { SCHEMA } else { PINNING },
        epoch: document.epoch,
        phase: Some(document.phase.name().to_owned()),
        author: document.author.clone(),
        reason: document.reason.clone(),
        hash: document.hash.clone(),
        distribution: document.distribution.clone(),
        hash_tag: document.hash_tag.clone(),
        rings: Rings {
            current: ring(&document.current),
            target: (!document.target.is_empty()).then(|| ring(&document.target)),
        },
        pin: document.pin.iter().map(|key| text_of_key(key)).collect(),
        dirty: document.dirty.clone(),
        dead_old: document
            .dead_old
            .iter()
            .map(|(name, it)| (name.clone(), it.name().to_owned()))
            .collect(),
        grace_s: document.grace.as_secs(),
        allow_empty: document.allow_empty,
        allow_shrink: document.allow_shrink,
    };
    serde_json::to_string(&version).unwrap_or_default()
}

fn raw(node: &Node) -> RawNode {
    let Server { name, address, weight, state, .. } = &node.server;
    RawNode {
        name: name.clone(),
        addr: address.to_string(),
        weight: *weight,
        state: (*state != State::Up).then(|| state.name().to_owned()),
        tls: node.tls,
        zone: node.zone.clone(),
    }
}

fn nodes(raw: Vec<RawNode>) -> Result<Vec<Node>, Refusal> {
    let mut nodes = raw.into_iter().map(node).collect::<Result<Vec<Node>, Refusal>>()?;
    nodes_in_ring_order(&mut nodes);
    Ok(nodes)
}

fn node(raw: RawNode) -> Result<Node, Refusal> {
    let wrong = |why: String| Refusal::new(Reason::Decode, format!("node {:?}: {why}", raw.name));
    let mut node = Node::new(&raw.addr, raw.weight, Some(&raw.name))
        .map_err(|error| wrong(format!("{:?}: {error}", raw.addr)))?;
    if let Some(state) = &raw.state {
        node.server.state =
            State::of_name(state).ok_or_else(|| wrong(format!("{state:?} is no state")))?;
    }
    (node.tls, node.zone) = (raw.tls, raw.zone);
    Ok(node)
}

fn dead_old(raw: BTreeMap<String, String>) -> Result<DeadOld, Refusal> {
    let one = |(name, said): (String, String)| match GivenUp::of_name(&said) {
        Some(it) => Ok((name, it)),
        None => {
            let text = format!("dead_old {name:?}: {said:?} is none of unread, skipped");
            Err(Refusal::new(Reason::Decode, text))
        }
    };
    raw.into_iter().map(one).collect()
}

fn schema(schema: u32) -> Result<(), Refusal> {
    if schema == SCHEMA {
        return Ok(());
    }
    let text = format!("schema {schema}, of which this version of the program knows nothing");
    Err(Refusal::new(Reason::Decode, text))
}

fn unreadable(what: &str, error: &serde_json::Error) -> Refusal {
    Refusal::new(Reason::Decode, format!("{what}: {error}"))
}
