//! A child for each member, which the member itself has written: server sets, nerve, Curator.
//!
//! Fields that mean nothing here are passed over: these formats are others' and grow.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Decoder, Members, Proposal, ZNode};
use crate::config::{Format, NameFrom};
use crate::control::topology::refusal::Refusal;
use crate::topology::{Document, Node};

/// A member of a server set (Finagle's and Aurora's `ServiceInstance` in JSON).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SetMember {
    service_endpoint: Endpoint,
    #[serde(default)]
    additional_endpoints: HashMap<String, Endpoint>,
    status: String,
    shard: Option<u64>,
}

#[derive(Deserialize)]
struct Endpoint {
    host: String,
    port: u16,
}

/// Weights of members, which stand beside them.
#[derive(Deserialize)]
struct Vectors {
    vector: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    select: String,
    weight: f64,
}

/// A report of nerve.
#[derive(Deserialize)]
struct Report {
    host: String,
    port: u16,
    name: Option<String>,
    weight: Option<u32>,
    #[serde(default)]
    labels: HashMap<String, serde_json::Value>,
}

/// An instance of Curator's service discovery.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Instance {
    address: Option<String>,
    port: Option<u16>,
    ssl_port: Option<u16>,
    #[serde(default)]
    payload: Option<Payload>,
    enabled: Option<bool>,
}

#[derive(Deserialize, Default)]
struct Payload {
    #[serde(default)]
    metadata: HashMap<String, serde_json::Value>,
}

/// The commit beside a server set (Finagle's `CachePoolConfig`).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PoolSize {
    cache_pool_size: u64,
}

/// What one child comes to: a server, none (it does not serve now), or a reason.
type Read = Result<Option<Node>, String>;

pub(super) fn decode(
    decoder: &Decoder,
    root: &ZNode,
    nodes: &[ZNode],
) -> Result<Proposal, Refusal> {
    let children = || nodes.iter().filter(|node| !node.path.is_empty() && is_member(decoder, node));
    let vectors = if decoder.format == Format::ServerSet { vectors(nodes) } else { Vec::new() };
    let mut members = Members::default();
    for child in children() {
        let read = match decoder.format {
            Format::ServerSet => set_member(decoder, child, &vectors),
            Format::Nerve => report(decoder, child),
            _ => instance(decoder, child),
        };
        match read {
            Ok(Some(node)) => members.good.push((child.path.clone(), node)),
            Ok(None) => {}
            Err(why) => members.bad.push((child.path.clone(), why)),
        }
    }
    let size: Option<PoolSize> = serde_json::from_slice(&root.data).ok();
    members.committed = size.map(|size| size.cache_pool_size == members.good.len() as u64);
    // A child that goes leaves its mark on the parent alone.
    let stamp = nodes.iter().map(|node| node.zxid).max().unwrap_or_default();
    let document = Document::default();
    Ok(Proposal { stamp, document, members: Some(members), accepted: false })
}

/// Siblings of other kinds are not looked at.
fn is_member(decoder: &Decoder, node: &ZNode) -> bool {
    decoder.format != Format::ServerSet || node.path.starts_with("member_")
}

fn json<T: DeserializeOwned>(node: &ZNode) -> Result<T, String> {
    serde_json::from_slice(&node.data).map_err(|error| error.to_string())
}

fn set_member(decoder: &Decoder, child: &ZNode, vectors: &[Vector]) -> Read {
    let member: SetMember = json(child)?;
    if member.status != "ALIVE" {
        return Ok(None);
    }
    let endpoint = match &decoder.endpoint {
        None => &member.service_endpoint,
        Some(name) => {
            let found = member.additional_endpoints.get(name);
            found.ok_or_else(|| format!("it has no endpoint {name:?}"))?
        }
    };
    let name = match (decoder.name_from, member.shard) {
        (NameFrom::Address, _) => None,
        (_, Some(shard)) => Some(shard.to_string()),
        (_, None) => return Err("it has no shard".to_owned()),
    };
    let address = format!("{}:{}", endpoint.host, endpoint.port);
    let chosen = |vector: &&Vector| {
        let shard = member.shard.map(|shard| format!("shard={shard}"));
        vector.select == format!("inet={address}")
            || vector.select == format!("member={}", child.path)
            || shard.is_some_and(|shard| vector.select == shard)
    };
    let weight: f64 = vectors.iter().filter(chosen).map(|vector| vector.weight).product();
    node(&address, weight.round().clamp(1.0, f64::from(i32::MAX)) as u32, name.as_deref())
}

fn vectors(nodes: &[ZNode]) -> Vec<Vector> {
    let beside = nodes.iter().filter(|node| node.path.starts_with("vector_"));
    let read = beside.filter_map(|node| json::<Vectors>(node).ok());
    let usable = |vector: &Vector| vector.weight.is_finite() && vector.weight > 0.0;
    read.flat_map(|vectors| vectors.vector).filter(usable).collect()
}

fn report(decoder: &Decoder, child: &ZNode) -> Read {
    let report: Report = json(child)?;
    let name = match decoder.name_from {
        NameFrom::Address => None,
        NameFrom::Name => Some(report.name.ok_or("it has no name")?),
        NameFrom::Shard => Some(word(report.labels.get("shard")).ok_or("it has no label shard")?),
    };
    let address = format!("{}:{}", report.host, report.port);
    node(&address, report.weight.unwrap_or(1), name.as_deref())
}

fn instance(decoder: &Decoder, child: &ZNode) -> Read {
    let instance: Instance = json(child)?;
    if instance.enabled == Some(false) {
        return Ok(None);
    }
    let metadata = instance.payload.unwrap_or_default().metadata;
    let named = |key: &str| {
        let word = word(metadata.get(key));
        word.map(Some).ok_or_else(|| format!("its payload has no metadata.{key}"))
    };
    let name = match decoder.name_from {
        NameFrom::Address => None,
        NameFrom::Name => named("node")?,
        NameFrom::Shard => named("shard")?,
    };
    let host = instance.address.ok_or("it has no address")?;
    let port = instance.port.or(instance.ssl_port).ok_or("it has no port")?;
    let weight = match word(metadata.get("weight")) {
        Some(text) => text.parse().map_err(|_| format!("{text:?} is no weight"))?,
        None => 1,
    };
    node(&format!("{host}:{port}"), weight, name.as_deref())
}

fn node(address: &str, weight: u32, name: Option<&str>) -> Read {
    Node::new(address, weight, name)
        .map(Some)
        .map_err(|error| format!("{address:?} of weight {weight}: {error}"))
}

/// A text or a number of somebody's JSON.
fn word(value: Option<&serde_json::Value>) -> Option<String> {
    match value? {
        serde_json::Value::String(text) if !text.is_empty() => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
