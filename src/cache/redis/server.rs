//! What concerns the server: CONFIG, COMMAND, INFO, TIME, DBSIZE, FLUSHALL; and which subcommands
//! there are.

use std::fmt::Write;

use super::docs;
use crate::cache::strings::{Done, Fault, Task};
use crate::cache::text::matches;
use crate::config::Eviction;
use crate::metrics::PoolMetric;
use crate::protocol::redis::{VERSION, cache_commands};
use crate::protocol::{Op, Request};
use crate::storage::{Usage, Watched};

/// Subcommands and how many arguments they have, as in a command table.
const SUBCOMMANDS: [(Op, &str, i16); 24] = [
    (Op::Client, "id", 2),
    (Op::Client, "getname", 2),
    (Op::Client, "setname", 3),
    (Op::Client, "setinfo", 4),
    (Op::Client, "info", 2),
    (Op::Client, "list", -2),
    (Op::Client, "no-evict", 3),
    (Op::Client, "no-touch", 3),
    (Op::Client, "reply", 3),
    (Op::Client, "tracking", -3),
    (Op::Client, "caching", 3),
    (Op::Client, "trackinginfo", 2),
    (Op::Client, "getredir", 2),
    (Op::Config, "get", -3),
    (Op::Config, "set", -4),
    (Op::Command, "count", 2),
    (Op::Command, "info", -2),
    (Op::Command, "list", -2),
    (Op::Command, "docs", -2),
    (Op::Object, "encoding", 3),
    (Op::Object, "freq", 3),
    (Op::Object, "idletime", 3),
    (Op::Object, "refcount", 3),
    (Op::Object, "help", 2),
];

/// The row of a request's subcommand.
fn subcommand(request: Request<'_>) -> Option<&'static (Op, &'static str, i16)> {
    let (op, word) = (request.head.command.op, request.arg(1));
    SUBCOMMANDS.iter().find(|row| row.0 == op && row.1.as_bytes().eq_ignore_ascii_case(word))
}

/// Whether a request is a CLIENT with a subcommand that there is.
pub(super) fn is_client(request: Request<'_>) -> bool {
    request.head.command.op == Op::Client && subcommand(request).is_some()
}

/// Checks the subcommand of a command that has some.
pub(super) fn check_subcommand(request: Request<'_>) -> Done {
    let (command, count) = (request.head.command, request.args.len());
    let has_some = matches!(command.op, Op::Client | Op::Config | Op::Command | Op::Object);
    if !has_some || count < 2 {
        return Ok(());
    }
    let Some((_, name, arity)) = subcommand(request) else {
        let word = request.arg(1);
        let word = String::from_utf8_lossy(word.get(..128).unwrap_or(word));
        let text = format!("ERR unknown subcommand '{word}'. Try {} HELP.", command.name);
        return Err(Fault::of(text));
    };
    let stated = usize::from(arity.unsigned_abs());
    if if *arity < 0 { count >= stated } else { count == stated } {
        return Ok(());
    }
    let command = command.name.to_ascii_lowercase();
    Err(Fault::of(format!("ERR wrong number of arguments for '{command}|{name}' command")))
}

/// Executes one of them.
pub(super) fn run(task: &mut Task<'_, '_>) -> Done {
    match task.request.head.command.op {
        Op::Config if task.word(1) == b"get" => config_get(task),
        Op::Config => config_set(task),
        Op::Command => command(task),
        Op::Info => info(task),
        Op::Time => {
            let wall = task.context.now.wall_millis;
            task.reply.array(2);
            task.reply.bulk((wall / 1000).to_string().as_bytes());
            task.reply.bulk((wall % 1000 * 1000).to_string().as_bytes());
            Ok(())
        }
        Op::DbSize => {
            task.reply.integer(task.items.items() as i64);
            Ok(())
        }
        _ => flush(task),
    }
}

/// FLUSHALL, FLUSHDB [ASYNC | SYNC]
fn flush(task: &mut Task<'_, '_>) -> Done {
    match task.word(1).as_slice() {
        _ if task.count() == 1 => {}
        b"async" | b"sync" if task.count() == 2 => {}
        _ => return Err(Fault::SYNTAX),
    }
    task.items.clear();
    task.reply.ok();
    Ok(())
}

/// All settings that can be asked for, by name.
fn settings(task: &Task<'_, '_>) -> [(&'static str, String); 7] {
    let store = task.context.cache.store.settings();
    let largest = task.context.cache.value_max.min(store.item_max);
    [
        ("appendonly", "no".to_owned()),
        ("databases", "1".to_owned()),
        ("maxmemory", store.memory.to_string()),
        ("maxmemory-policy", policy(store.eviction).to_owned()),
        ("proto-max-bulk-len", largest.to_string()),
        ("save", String::new()),
        ("timeout", "0".to_owned()),
    ]
}

/// The word of Redis that is nearest to what is done.
fn policy(eviction: Eviction) -> &'static str {
    match eviction {
        Eviction::Merge | Eviction::Fifo => "allkeys-lru",
        Eviction::Random => "allkeys-random",
        Eviction::Expiry => "volatile-ttl",
        Eviction::None => "noeviction",
    }
}

/// CONFIG GET pattern…; a name that is no pattern is told as it was written.
fn config_get(task: &mut Task<'_, '_>) -> Done {
    let settings = settings(task);
    let mut found: Vec<(Vec<u8>, &str)> = Vec::new();
    for at in 2..task.count() {
        let (written, word) = (task.arg(at), task.word(at));
        let is_pattern = word.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['));
        let fits = |name: &str| match is_pattern {
            true => matches(&word, name.as_bytes()),
            false => word == name.as_bytes(),
        };
        for (name, value) in settings.iter().filter(|(name, _)| fits(name)) {
            let shown = if is_pattern { name.as_bytes() } else { written };
            if !found.iter().any(|(other, _)| other == shown) {
                found.push((shown.to_vec(), value));
            }
        }
    }
    task.reply.map(found.len());
    for (name, value) in found {
        task.reply.bulk(&name);
        task.reply.bulk(value.as_bytes());
    }
    Ok(())
}

/// CONFIG SET name value…: nothing can be changed while it runs, but what is so already may be
/// said again.
fn config_set(task: &mut Task<'_, '_>) -> Done {
    if !task.count().is_multiple_of(2) {
        return Err(Fault::SYNTAX);
    }
    let settings = settings(task);
    for at in (2..task.count()).step_by(2) {
        let (word, value) = (task.word(at), task.arg(at + 1));
        let Some((name, now)) = settings.iter().find(|(name, _)| name.as_bytes() == word) else {
            let word = String::from_utf8_lossy(task.arg(at));
            return Err(Fault::of(format!(
                "ERR Unknown option or number of arguments for CONFIG SET - '{word}'"
            )));
        };
        if now.as_bytes() != value {
            return Err(Fault::of(format!(
                "ERR CONFIG SET failed (possibly related to argument '{name}') - can't set \
                 immutable config"
            )));
        }
    }
    task.reply.ok();
    Ok(())
}

/// COMMAND [COUNT | INFO name… | LIST | DOCS name…]
fn command(task: &mut Task<'_, '_>) -> Done {
    let rows = cache_commands();
    let count = rows.clone().count();
    match task.word(1).as_slice() {
        b"count" => task.reply.integer(count as i64),
        b"list" if task.count() > 2 => return Err(Fault::SYNTAX),
        b"list" => {
            task.reply.set(count);
            rows.for_each(|row| task.reply.bulk(row.name.to_ascii_lowercase().as_bytes()));
        }
        b"docs" => docs::reply(task),
        b"info" if task.count() > 2 => {
            task.reply.array(task.count() - 2);
            for at in 2..task.count() {
                let name = task.arg(at);
                match rows.clone().find(|row| row.name.as_bytes().eq_ignore_ascii_case(name)) {
                    Some(row) => task.reply.command(row),
                    None => task.reply.null(),
                }
            }
        }
        _ => {
            task.reply.array(count);
            rows.for_each(|row| task.reply.command(row));
        }
    }
    Ok(())
}

/// The sections of INFO in their order.
const SECTIONS: [&str; 6] = ["server", "clients", "memory", "stats", "replication", "keyspace"];

/// INFO [section…]
fn info(task: &mut Task<'_, '_>) -> Done {
    let asked: Vec<Vec<u8>> = (1..task.count()).map(|at| task.word(at)).collect();
    let all = asked.is_empty()
        || asked.iter().any(|word| matches!(word.as_slice(), b"default" | b"all" | b"everything"));
    let (usage, watched) = (task.items.usage(), task.items.watched());
    let mut text = String::new();
    for section in SECTIONS {
        if !all && !asked.iter().any(|word| word == section.as_bytes()) {
            continue;
        }
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        let (first, rest) = section.split_at(1);
        // Writing to a String cannot fail.
        let _ = write!(text, "# {}{rest}\r\n", first.to_ascii_uppercase());
        for (name, value) in fields(task, section, (&usage, &watched)) {
            let _ = write!(text, "{name}:{value}\r\n");
        }
    }
    task.reply.verbatim(&text);
    Ok(())
}

/// The lines of a section.
fn fields(
    task: &Task<'_, '_>,
    section: &str,
    (usage, watched): (&Usage, &Watched),
) -> Vec<(&'static str, String)> {
    let cache = task.context.cache;
    let count = |metric| cache.registry.pool(cache.pool, metric).to_string();
    match section {
        "server" => server(task),
        "clients" => vec![
            ("connected_clients", count(PoolMetric::ClientConnections)),
            ("tracking_clients", watched.watchers.to_string()),
        ],
        "memory" => {
            let store = cache.store.settings();
            vec![
                ("used_memory", usage.memory.to_string()),
                ("used_memory_dataset", usage.bytes.to_string()),
                ("maxmemory", store.memory.to_string()),
                ("maxmemory_policy", policy(store.eviction).to_owned()),
            ]
        }
        "stats" => {
            let classes =
                [PoolMetric::RequestsRead, PoolMetric::RequestsWrite, PoolMetric::RequestsOther];
            let commands: u64 =
                classes.iter().map(|class| cache.registry.pool(cache.pool, *class)).sum();
            vec![
                ("total_connections_received", count(PoolMetric::ClientConnectionsTotal)),
                ("total_commands_processed", commands.to_string()),
                ("total_net_input_bytes", count(PoolMetric::RequestBytes)),
                ("total_net_output_bytes", count(PoolMetric::ResponseBytes)),
                ("expired_keys", usage.expired.to_string()),
                ("evicted_keys", usage.evicted.to_string()),
                ("keyspace_hits", count(PoolMetric::Hits)),
                ("keyspace_misses", count(PoolMetric::Misses)),
                ("tracking_total_keys", watched.keys.to_string()),
                ("tracking_total_items", watched.pairs.to_string()),
            ]
        }
        "replication" => {
            vec![("role", "master".to_owned()), ("connected_slaves", "0".to_owned())]
        }
        _ if usage.items > 0 => vec![("db0", format!("keys={}", usage.items))],
        _ => Vec::new(),
    }
}

fn server(task: &Task<'_, '_>) -> Vec<(&'static str, String)> {
    let uptime = task.context.cache.registry.started.elapsed().as_secs();
    vec![
        ("redis_version", VERSION.to_owned()),
        ("redis_mode", "standalone".to_owned()),
        ("twinring_version", env!("CARGO_PKG_VERSION").to_owned()),
        ("process_id", std::process::id().to_string()),
        ("uptime_in_seconds", uptime.to_string()),
        ("uptime_in_days", (uptime / 86_400).to_string()),
    ]
}
