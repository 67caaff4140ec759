//! A pool without servers: a cache of its own.

use crate::config::pool::form::Form;
use crate::config::settings::{CELL_HEADER, CacheSettings, Eviction, Protocol, Storage};
use crate::config::source::{Reason, Section};

/// Items and index of a cache that sets nothing.
const MEMORY: u64 = 256 << 20;
/// Below this there is no room for a segment in each of a few shards.
const MEMORY_MIN: u64 = 1 << 20;
/// memcached's largest item, and above what a page wants from a cache.
const MAX_VALUE: u64 = 1 << 20;
/// The largest `max_value`: twice the most that Redis takes.
const MAX_VALUE_MOST: u64 = 1 << 30;
/// A value may take this share of the memory, so that one of them cannot push all others out.
const VALUE_SHARE: u64 = 2;

/// slimcache's: one cache line, for counters, flags and short tokens.
const ITEM_SIZE: u64 = 64;
/// Below this there is hardly room for a key; above it lives what segcache keeps well.
const ITEM_SIZE_BOUNDS: (u64, u64) = (40, 4 << 10);
/// As in Redis.
const TRACKING_TABLE_MAX_KEYS: u32 = 1_000_000;

/// Keys that say how servers are found and treated: whoever writes one of them means a pool with
/// servers, and has forgotten these.
const OF_SERVERS: [&str; 18] = [
    "hash",
    "hash_char",
    "hash_tag",
    "distribution",
    "name_cut",
    "points",
    "timeout",
    "dead",
    "auto_eject_hosts",
    "server_connections",
    "server_retry_timeout",
    "server_failure_limit",
    "preconnect",
    "partial",
    "redis_db",
    "servers",
    "near_cache",
    "topology",
];

/// True if the pool is a cache: a native one that names neither servers nor what concerns them.
pub(super) fn is_cache(section: &Section<'_>, form: Form) -> bool {
    form.is_native() && !OF_SERVERS.iter().any(|key| section.has(key))
}

/// Reads the settings of the cache that the pool called `name` is.
pub(super) fn read(section: &Section<'_>, name: &str) -> CacheSettings {
    let memory = section.size("memory").unwrap_or(MEMORY);
    if memory < MEMORY_MIN
        && let Some(value) = section.take("memory")
    {
        let why = format!("is too little: {memory} bytes");
        value.refuse(Reason::from(why).or("at least 1MiB"));
    }
    let storage = storage(section);
    CacheSettings {
        store: section.take("store").and_then(|value| value.text()).unwrap_or(name).to_owned(),
        memory,
        max_value: max_value(section, memory, storage),
        storage,
        eviction: eviction(section, storage),
        tracking_table_max_keys: section
            .number("tracking_table_max_keys", 1)
            .unwrap_or(TRACKING_TABLE_MAX_KEYS),
    }
}

fn storage(section: &Section<'_>) -> Storage {
    let cuckoo = Storage::Cuckoo { item_size: item_size(section) };
    let names = [("segcache", Storage::Segcache), ("cuckoo", cuckoo)];
    let storage = section.choice("storage", &names, "is no way to keep items");
    if storage == Some(Storage::Segcache) || storage.is_none() && !section.has("storage") {
        refuse_without_cuckoo(section);
    }
    storage.unwrap_or(Storage::Segcache)
}

fn item_size(section: &Section<'_>) -> usize {
    let (least, most) = ITEM_SIZE_BOUNDS;
    let written = section.size("item_size").unwrap_or(ITEM_SIZE);
    if !(least..=most).contains(&written)
        && let Some(value) = section.take("item_size")
    {
        let why =
            format!("is no size for items, of which {CELL_HEADER} bytes are not key or value");
        value.refuse(Reason::from(why).or(format!("{least} to {most}")));
    }
    written.clamp(least, most) as usize
}

fn refuse_without_cuckoo(section: &Section<'_>) {
    if let Some(value) = section.take("item_size") {
        let why = "directive \"item_size\" is only valid with \"storage: cuckoo\"";
        value.refuse(why);
    }
}

fn eviction(section: &Section<'_>, storage: Storage) -> Eviction {
    let (random, none) = (("random", Eviction::Random), ("none", Eviction::None));
    let (default, names, otherwise) = match storage {
        Storage::Segcache => (
            Eviction::Merge,
            [("merge", Eviction::Merge), ("fifo", Eviction::Fifo), random, none].to_vec(),
            "is no way to make room",
        ),
        Storage::Cuckoo { .. } => (
            Eviction::Random,
            [random, ("expiry", Eviction::Expiry), none].to_vec(),
            "is no way to make room with \"storage: cuckoo\"",
        ),
    };
    section.choice("eviction", &names, otherwise).unwrap_or(default)
}

fn max_value(section: &Section<'_>, memory: u64, storage: Storage) -> u64 {
    let most = MAX_VALUE_MOST.min(memory / VALUE_SHARE);
    if storage != Storage::Segcache
        && let Some(value) = section.take("max_value")
    {
        let why = "directive \"max_value\" is only valid with \"storage: segcache\"";
        value.refuse(Reason::from(why).or("item_size: key, value and 28 bytes"));
    }
    let Some(written) = section.size("max_value") else { return MAX_VALUE.min(most) };
    if written > most
        && let Some(value) = section.take("max_value")
    {
        let fix = format!("at most {most}: 1GiB, and half of the memory");
        value.refuse(Reason::from("is too large").or(fix));
    }
    written
}

/// Keys that only a cache has; in a pool with servers they are refused with a reason.
pub(super) fn refuse_without_cache(section: &Section<'_>) {
    let keys = [
        "memory",
        "max_value",
        "storage",
        "item_size",
        "eviction",
        "store",
        "tracking_table_max_keys",
    ];
    for key in keys {
        if let Some(value) = section.take(key) {
            value.refuse(format!("directive \"{key}\" is only valid for a pool without servers"));
        }
    }
}

/// Protocols that a cache speaks and servers behind us do not.
pub(super) fn refuse_with_servers(section: &Section<'_>, protocol: Protocol) {
    if protocol == Protocol::Ping
        && let Some(value) = section.take("protocol")
    {
        value.refuse("ping is only valid for a pool without servers");
    }
}
