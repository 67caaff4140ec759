//! A whole file: which of the two forms it has, the process's settings, and the pools.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::Duration;

use crate::config::addresses;
use crate::config::listen;
use crate::config::pool::{self, Form};
use crate::config::settings::{CacheSettings, Config, Log, LogFormat, Pool};
use crate::config::source::{self, Content, Errors, Node, Reason, Report, Section, Value};
use crate::config::warnings;

/// No honest file comes near: ten thousand servers take half a megabyte.
const FILE_BYTES_MAX: usize = 4 << 20;
const ADMIN_LISTEN: &str = "127.0.0.1:9900";
/// Where twemproxy serves its statistics unless told otherwise (nc.c:40-41).
const COMPAT_STATS_LISTEN: &str = "0.0.0.0:22222";
/// Long enough for the clients of a rolling deployment to move away.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
const BUFFERS: u64 = 1 << 30;
/// In front of items of our own: this part of their memory, and enough for a hundred clients that
/// are slow to take replies.
const BUFFERS_PART: u64 = 4;
const BUFFERS_MIN: u64 = 16 << 20;
/// Keys of the native form that hold one value each.
const NATIVE: [&str; 5] = ["workers", "compat", "stats", "drain_timeout", "buffers"];
const LEVELS: [(&str, &str); 5] = [
    ("error", "error"),
    ("warn", "warn"),
    ("info", "info"),
    ("debug", "debug"),
    ("trace", "trace"),
];

/// Reads a file; see [`parse`].
///
/// # Errors
/// As [`parse`], and if the file cannot be read or is not text.
pub fn load(path: &Path, compat: bool) -> Result<Config, Errors> {
    let name = path.display().to_string();
    let of_file = |reason: String| Errors::of_file(&name, reason);
    let bytes = fs::read(path).map_err(|error| of_file(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        of_file(format!("is not UTF-8 text (byte {valid})"))
    })?;
    let mut config = parse(&text, &name, compat)?;
    let mode = fs::metadata(path).map_or(0, |meta| meta.permissions().mode());
    config.warnings.extend(warnings::of_file(&name, &text, mode, &config));
    Ok(config)
}

/// Reads the text of a file in native form or as nutcracker.yml. `source_name` stands in front of
/// errors and warnings; `compat` asks for twemproxy's behaviour, which a native file may also do
/// itself.
///
/// A file is native if it has a key `pools:` that holds mappings; anything else is a nutcracker.yml.
///
/// # Errors
/// Everything that is wrong with the file.
pub fn parse(text: &str, source_name: &str, compat: bool) -> Result<Config, Errors> {
    if text.len() > FILE_BYTES_MAX {
        return Err(Errors::of_file(source_name, format!("has more than {FILE_BYTES_MAX} bytes")));
    }
    let report = Report::new(source_name);
    let config = match source::read(text) {
        Ok(root) => document(&root, &report, compat),
        Err(problem) => {
            report.add(problem);
            None
        }
    };
    let (mut config, warnings) = report.finish(config)?;
    config.warnings = warnings;
    Ok(config)
}

fn document(root: &Node, report: &Report, compat: bool) -> Option<Config> {
    let value = Value::root(root, report);
    if matches!(root.content, Content::Empty) {
        value.refuse(format!("'{}' has no pools", report.source()));
        return None;
    }
    let section = Section::open(&value)?;
    let (mut config, pools) =
        if is_native(root) { native(&section, compat) } else { nutcracker(&section, compat) };
    if pools.is_empty() && (is_native(root) || report.is_empty()) {
        value.refuse(format!("'{}' has no pools", report.source()));
    }
    let form = if is_native(root) {
        Form::Native { compat: config.compat }
    } else {
        Form::Nutcracker { compat }
    };
    config.pools = read_pools(pools, form, &config);
    if config.workers == 0 {
        config.workers = workers(&config.pools);
    }
    if config.buffers == 0 {
        config.buffers = buffers(&config.pools);
    }
    section.close();
    Some(config)
}

/// A nutcracker pool may itself be called `pools`: then it holds scalars and one list.
fn is_native(root: &Node) -> bool {
    let Content::Map(entries) = &root.content else { return false };
    let pools =
        entries.iter().find(|(key, _)| matches!(&key.content, Content::Text(k) if k == "pools"));
    match pools.map(|(_, value)| &value.content) {
        Some(Content::Empty) => true,
        Some(Content::Map(pools)) => {
            pools.iter().any(|(_, pool)| matches!(pool.content, Content::Map(_)))
                || pools.iter().all(|(_, pool)| matches!(pool.content, Content::Empty))
        }
        _ => false,
    }
}

/// The process's settings, and the pools yet to be read.
fn native<'a>(section: &Section<'a>, compat: bool) -> (Config, Vec<Value<'a>>) {
    let named = section.choice("compat", &[("twemproxy", true), ("off", false)], "is not a mode");
    let compat = compat || named.unwrap_or(false);
    let mut config = process(compat);
    config.workers =
        section.number("workers", 1).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    if let Some(admin) = section.take("admin").as_ref().and_then(Section::open) {
        let listen = admin.parsed("listen", listen::optional);
        config.admin = listen.unwrap_or(config.admin);
        warnings::of_admin(&admin, config.admin.as_deref());
        admin.close();
    }
    config.stats = section.parsed("stats", listen::optional).unwrap_or(config.stats);
    addresses::of_doors(section, &config);
    if let Some(log) = section.take("log").as_ref().and_then(Section::open) {
        config.log = read_log(&log);
        log.close();
    }
    if let Some(reload) = section.take("reload").as_ref().and_then(Section::open) {
        config.watch = reload.flag("watch").unwrap_or(config.watch);
        reload.close();
    }
    config.drain_timeout = section.duration("drain_timeout").unwrap_or(config.drain_timeout);
    config.buffers = section.size("buffers").unwrap_or(config.buffers);
    let pools = section
        .take("pools")
        .filter(|value| !matches!(value.node.content, Content::Empty))
        .and_then(|value| Section::open(&value));
    (config, pools.map(|pools| pools.take_all()).unwrap_or_default())
}

fn read_log(section: &Section<'_>) -> Log {
    let formats = [("logfmt", LogFormat::Logfmt), ("json", LogFormat::Json)];
    let default = process(false).log;
    let level = section.choice("level", &LEVELS, "is not a valid level");
    Log {
        level: level.map_or(default.level, str::to_owned),
        format: section
            .choice("format", &formats, "is not a valid format")
            .unwrap_or(default.format),
        file: section.take("file").and_then(|value| value.text()).map(Into::into),
    }
}

fn nutcracker<'a>(section: &Section<'a>, compat: bool) -> (Config, Vec<Value<'a>>) {
    let mut pools = section.take_all();
    pools.retain(|value| !is_global(value) && !is_meant_natively(value));
    (process(compat), pools)
}

/// Refuses what makes no sense as a pool of a nutcracker.yml but would in a native file.
fn is_meant_natively(value: &Value<'_>) -> bool {
    let reason = match &value.node.content {
        Content::Map(pools) if !pools.is_empty() && pools.iter().all(|(_, it)| may_be_pool(it)) => {
            Reason::from("holds mappings, as only \"pools:\" does").or("call it \"pools\"")
        }
        Content::Text(_) if NATIVE.contains(&value.key) => {
            Reason::from("is a setting of the native form").or("put all pools under \"pools:\"")
        }
        _ => return false,
    };
    value.refuse(reason);
    true
}

fn may_be_pool(node: &Node) -> bool {
    matches!(node.content, Content::Map(_) | Content::Empty)
}

/// Settings of the bitleak fork of twemproxy: they are about its processes, not ours.
fn is_global(value: &Value<'_>) -> bool {
    const KEYS: [&str; 5] =
        ["worker_processes", "max_openfiles", "user", "group", "worker_shutdown_timeout"];
    let Content::Map(entries) = &value.node.content else { return false };
    let known =
        |key: &Node| matches!(&key.content, Content::Text(key) if KEYS.contains(&key.as_str()));
    let global = value.key == "global" && entries.iter().any(|(key, _)| known(key));
    if let Some(section) = global.then(|| Section::open(value)).flatten() {
        for key in KEYS.into_iter().filter(|key| section.take(key).is_some()) {
            section.warn(key, "is ignored: give workers, drain_timeout and the user elsewhere");
        }
        section.close();
    }
    global
}

fn process(compat: bool) -> Config {
    Config {
        workers: 1,
        compat,
        admin: (!compat).then(|| ADMIN_LISTEN.to_owned()),
        stats: compat.then(|| COMPAT_STATS_LISTEN.to_owned()),
        log: Log { level: "info".to_owned(), format: LogFormat::Logfmt, file: None },
        watch: false,
        drain_timeout: DRAIN_TIMEOUT,
        buffers: 0,
        pools: Vec::new(),
        warnings: Vec::new(),
    }
}

/// One thread is right beside an application; a cache server has the machine, as far as the
/// process may use it.
fn workers(pools: &[Pool]) -> usize {
    let serves_itself = !pools.is_empty() && pools.iter().all(|pool| pool.cache.is_some());
    if serves_itself { available_parallelism().map_or(1, usize::from) } else { 1 }
}

/// Buffers in front of items of our own share their memory, and must not push all of them out.
fn buffers(pools: &[Pool]) -> u64 {
    let caches: Option<Vec<u64>> =
        pools.iter().map(|pool| pool.cache.as_ref().map(|cache| cache.memory)).collect();
    let most = caches.iter().flatten().max();
    most.map_or(BUFFERS, |memory| (memory / BUFFERS_PART).clamp(BUFFERS_MIN, BUFFERS))
}

/// True if both share a store and say different things of it.
fn disagree(pool: &Pool, other: &Pool) -> bool {
    let (Some(a), Some(b)) = (&pool.cache, &other.cache) else { return false };
    let store = |cache: &CacheSettings| (cache.memory, cache.storage, cache.eviction);
    a.store == b.store && store(a) != store(b)
}

fn read_pools(values: Vec<Value<'_>>, form: Form, config: &Config) -> Vec<Pool> {
    let mut pools: Vec<(Value<'_>, Pool)> = Vec::with_capacity(values.len());
    for value in values {
        let Some(pool) = pool::read(&value, form) else { continue };
        if let Some((_, other)) = pools.iter().find(|(_, other)| disagree(&pool, other)) {
            let why =
                format!("pools '{}' and '{}' disagree about their store", other.name, pool.name);
            value.refuse(Reason::from(why).or("give both the same memory, storage and eviction"));
        }
        pools.push((value, pool));
    }
    addresses::of_pools(&pools, config, matches!(form, Form::Nutcracker { .. }));
    let mut pools: Vec<Pool> = pools.into_iter().map(|(_, pool)| pool).collect();
    pools.sort_by_cached_key(|pool| {
        let listen = pool.listen.to_string();
        (listen.len(), listen, pool.name.len(), pool.name.clone())
    });
    pools
}
