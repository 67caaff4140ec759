//! What a store promises, whatever is behind its face.

mod model;
mod plain;

use super::{Settings, Store};
use crate::config::Eviction;

/// Bytes that are more than a test stores.
const AMPLE: u64 = 64 << 20;

fn settings(memory: u64, shards: usize) -> Settings {
    Settings { memory, item_max: 8 << 20, shards, version: 1 << 60, eviction: Eviction::Merge }
}

fn store(memory: u64, shards: usize) -> Store {
    Store::new(settings(memory, shards))
}
