//! How keys of Redis are moved between two rings: the settings of `expansion:` that memcache has not.

use std::time::Duration;

use crate::config::settings::{BigKeys, Data, Moving};
use crate::config::source::{Reason, Section};
use crate::topology::key_of_text;

/// A key of 1 MiB takes some 10 ms between two servers of one rack. While a server waits it serves
/// nobody, so this is less than the patience of its other clients.
const MIGRATE_TIMEOUT: Duration = Duration::from_millis(300);
/// Three round trips of servers that are under load. Whoever waits for a key that a process had taken
/// when it died waits for so long.
const CARRY_TIMEOUT: Duration = Duration::from_millis(300);
/// A small key takes a server 0.1 to 0.2 ms: so it is busy with this for a tenth to a fifth of its
/// time.
const SWEEP: u32 = 1000;
/// More in a second than a server can move by any means.
const SWEEP_MOST: u32 = 100_000;
/// Beyond one of these both servers stand still for longer than clients should notice.
const BIG_KEY_BYTES: u64 = 1 << 20;
const BIG_KEY_ELEMENTS: u32 = 10_000;

/// The proxy holds some of that size for each server.
const CARRIED_BYTES_MOST: u64 = 64 << 20;

impl Default for Moving {
    fn default() -> Self {
        Self {
            data: Data::Store,
            carry_timeout: CARRY_TIMEOUT,
            migrate_timeout: MIGRATE_TIMEOUT,
            sweep: SWEEP,
            pin: Vec::new(),
            big_keys: BigKeys::Pin,
            big_key_bytes: BIG_KEY_BYTES,
            big_key_elements: BIG_KEY_ELEMENTS,
        }
    }
}

/// Reads them. What only the other kind of data has is an unknown key.
pub(super) fn read(section: &Section<'_>) -> Moving {
    let named = [("store", Data::Store), ("cache", Data::Cache)];
    let data = section.choice("data", &named, "is none of store, cache");
    let default = Moving { data: data.unwrap_or(Data::Store), ..Moving::default() };
    let moving = Moving {
        sweep: section.number("sweep", 0).unwrap_or(default.sweep),
        pin: pinned(section),
        big_key_bytes: section.size("big_key_bytes").unwrap_or(default.big_key_bytes),
        ..default
    };
    if moving.sweep > SWEEP_MOST {
        section.refuse(format!("\"sweep\" is at most {SWEEP_MOST} keys a second"));
    }
    match moving.data {
        Data::Store => stored(section, moving),
        Data::Cache => cached(section, moving),
    }
}

fn stored(section: &Section<'_>, default: Moving) -> Moving {
    let named = [("pin", BigKeys::Pin), ("move", BigKeys::Move), ("delete", BigKeys::Delete)];
    let moving = Moving {
        migrate_timeout: section.duration("migrate_timeout").unwrap_or(default.migrate_timeout),
        big_keys: section
            .choice("big_keys", &named, "is none of pin, move, delete")
            .unwrap_or(default.big_keys),
        big_key_elements: section.number("big_key_elements", 1).unwrap_or(default.big_key_elements),
        ..default
    };
    if moving.migrate_timeout.is_zero() {
        section.refuse("\"migrate_timeout\" must be at least 1ms");
    }
    moving
}

fn cached(section: &Section<'_>, default: Moving) -> Moving {
    let moving = Moving {
        carry_timeout: section.duration("carry_timeout").unwrap_or(default.carry_timeout),
        // What is too large is dropped when its turn comes.
        big_keys: BigKeys::Move,
        ..default
    };
    if moving.carry_timeout.is_zero() {
        section.refuse("\"carry_timeout\" must be at least 1ms");
    }
    if moving.big_key_bytes > CARRIED_BYTES_MOST {
        section
            .refuse("\"big_key_bytes\" of a cache is at most 64MiB: the proxy holds such values");
    }
    moving
}

fn pinned(section: &Section<'_>) -> Vec<Vec<u8>> {
    let items = section.take("pin").and_then(|value| value.items()).unwrap_or_default();
    let key = |text: &str| {
        key_of_text(text).map_err(|error| Reason::from(format!("has no key: {error}")))
    };
    items.iter().filter_map(|item| item.parsed(key)).collect()
}
