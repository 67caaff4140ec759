//! The servers of a pool, in twemproxy's words when they are refused.

use std::collections::HashMap;

use crate::config::source::{Reason, Section, Value};
use crate::topology::{EntryError, Server, ring_order};

/// Reads `servers:` into ring order; empty after a report, or if they come from elsewhere.
pub(super) fn servers(section: &Section<'_>, pool: &str) -> Vec<Server> {
    match section.take("servers") {
        Some(value) => list(&value, pool),
        None => {
            if !section.has("topology") {
                section.refuse(format!("pool '{pool}' has no servers"));
            }
            Vec::new()
        }
    }
}

/// Reads a list of servers into ring order; empty after a report.
pub(in crate::config) fn list(value: &Value<'_>, pool: &str) -> Vec<Server> {
    let Some(items) = value.items() else { return Vec::new() };
    if items.is_empty() {
        value.refuse(format!("pool '{pool}' has no servers"));
    }
    let mut lines: HashMap<String, u64> = HashMap::new();
    let mut servers: Vec<Server> = Vec::with_capacity(items.len());
    for item in items {
        let Some(server) = item.parsed(|text| text.parse::<Server>().map_err(entry_reason)) else {
            continue;
        };
        if let Some(line) = lines.insert(server.name.clone(), item.node.at.line) {
            let why = format!("pool '{pool}' has servers with same name '{}'", server.name);
            item.refuse(Reason::from(why).or(format!("the other is in line {line}")));
        }
        servers.push(server);
    }
    let total = servers.iter().try_fold(0u32, |sum, server| sum.checked_add(server.weight));
    if total.is_none() {
        value.refuse(format!("the weights add up to more than {}", u32::MAX));
    }
    ring_order(&mut servers);
    servers
}

fn entry_reason(error: EntryError) -> Reason {
    const FORMAT: &str = "\"hostname:port:weight [name]\" format string";
    match error {
        // The missing space is twemproxy's.
        EntryError::Format => Reason::from(
            "has an invalid \"hostname:port:weight [name]\"or \
             \"/path/unix_socket:weight [name]\" format string",
        )
        .or("for example 10.0.0.1:11211:1 cache01"),
        EntryError::Weight => format!("has an invalid weight in {FORMAT}").into(),
        EntryError::ZeroWeight => format!("has a zero weight in {FORMAT}").into(),
        EntryError::Port => format!("has an invalid port in {FORMAT}").into(),
    }
}
