//! `near_cache:`, the cache in front of a pool's servers.

use std::time::Duration;

use crate::config::settings::Protocol;
use crate::config::source::{Reason, Section, Value};
use crate::config::{Admission, NearCache, NearMode};

/// Items and index of a near cache that sets nothing.
const MEMORY: u64 = 64 << 20;
/// Below this there is no room for a segment in each of a few shards.
const MEMORY_MIN: u64 = 1 << 20;
/// Values beyond this cost more to hold than to fetch.
const MAX_VALUE: u64 = 64 << 10;
const MAX_VALUE_MOST: u64 = 1 << 20;
/// How old a value may be, and the most that may be asked for: beyond that it is no promise.
const MAX_AGE: Duration = Duration::from_secs(1);
const MAX_AGE_MOST: Duration = Duration::from_secs(10);
/// As `max_age`, where the server tells of changes.
const LEASE: Duration = Duration::from_secs(1);
const LEASE_LEAST: Duration = Duration::from_millis(30);
/// How long such a value is kept at most.
const TRACKED_MAX: Duration = Duration::from_secs(60);
const TRACKED_MAX_MOST: Duration = Duration::from_secs(3600);
/// That a key is absent is believed no longer than this.
const NEGATIVE_MOST: Duration = Duration::from_millis(250);
/// Requests that may wait for one fill.
const JOINERS: u32 = 1024;

/// Reads a pool's `near_cache:`, if it has one.
pub(super) fn near(pool: &Section<'_>, protocol: Protocol) -> Option<NearCache> {
    read(&pool.take("near_cache")?, protocol)
}

fn read(value: &Value<'_>, protocol: Protocol) -> Option<NearCache> {
    let section = Section::open(value)?;
    let within = |key, default: Duration, (least, most): (Duration, Duration)| {
        let time = section.duration(key).unwrap_or(default);
        if !(least..=most).contains(&time)
            && let Some(value) = section.take(key)
        {
            let fix = format!("{}ms to {}ms", least.as_millis(), most.as_millis());
            value.refuse(Reason::from("is beyond what is possible").or(fix));
        }
        time
    };
    let millisecond = Duration::from_millis(1);
    let near = NearCache {
        mode: mode(&section, protocol),
        memory: section.size("memory").unwrap_or(MEMORY),
        max_age: within("max_age", MAX_AGE, (millisecond, MAX_AGE_MOST)),
        lease: within("lease", LEASE, (LEASE_LEAST, MAX_AGE_MOST)),
        tracked_max: within("tracked_max", TRACKED_MAX, (millisecond, TRACKED_MAX_MOST)),
        admit: admit(&section),
        prefixes: prefixes(&section),
        max_value: section.size("max_value").unwrap_or(MAX_VALUE),
        negative: within("negative", Duration::ZERO, (Duration::ZERO, NEGATIVE_MOST)),
        verify: section.number("verify", 0).unwrap_or(0),
        joiners: section.number("joiners", 1).unwrap_or(JOINERS),
    };
    let refuse = |key, why: &str, fix: &str| {
        if let Some(value) = section.take(key) {
            value.refuse(Reason::from(why).or(fix));
        }
    };
    if near.memory < MEMORY_MIN {
        refuse("memory", "is too little", "at least 1MiB");
    }
    if near.max_value > MAX_VALUE_MOST.min(near.memory / 8) {
        refuse("max_value", "is too large", "at most 1MiB, and an eighth of the memory");
    }
    section.close();
    Some(near)
}

fn prefixes(section: &Section<'_>) -> Vec<Vec<u8>> {
    let items = section.take("prefixes").and_then(|value| value.items()).unwrap_or_default();
    items.iter().filter_map(|item| item.text()).map(|text| text.as_bytes().to_vec()).collect()
}

fn mode(section: &Section<'_>, protocol: Protocol) -> NearMode {
    let names = [("ttl", NearMode::Ttl), ("tracked", NearMode::Tracked)];
    let named = section.choice("mode", &names, "is neither \"ttl\" nor \"tracked\"");
    if named == Some(NearMode::Tracked)
        && protocol != Protocol::Redis
        && let Some(value) = section.take("mode")
    {
        value.refuse("memcached tells nobody of changes: only \"ttl\" is valid");
    }
    let usual = if protocol == Protocol::Redis { NearMode::Tracked } else { NearMode::Ttl };
    named.unwrap_or(usual)
}

fn admit(section: &Section<'_>) -> Admission {
    let names = [("hot", Admission::Hot), ("all", Admission::All)];
    section.choice("admit", &names, "is neither \"hot\" nor \"all\"").unwrap_or(Admission::Hot)
}
