//! Looking without serving: check a configuration, find a key's server, show a ring.

use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{BAD_CONFIG, FAILED, complain, print};
use crate::config::{self, Config, Pool};
use crate::process;
use crate::routing::Router;

/// Loads a file, or lists all that is wrong with it.
pub(super) fn load(file: &Path) -> Result<Config, u8> {
    config::load(file, false).map_err(|errors| {
        complain(&format!("{errors}\n"));
        BAD_CONFIG
    })
}

/// `twinring check`.
pub(super) fn check(file: &Path) -> u8 {
    let config = match load(file) {
        Ok(config) => config,
        Err(code) => return code,
    };
    if let Err(why) = process::can_follow(&config) {
        complain(&format!("{}: {why}\n", file.display()));
        return BAD_CONFIG;
    }
    let faults = process::tls_faults(&config);
    if !faults.is_empty() {
        for (pool, why) in faults {
            complain(&format!("{}: pool {pool}: {why}\n", file.display()));
        }
        return BAD_CONFIG;
    }
    let mut text = String::new();
    for warning in &config.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    for pool in &config.pools {
        if let Some(cache) = &pool.cache {
            let (name, listen, store) = (&pool.name, &pool.listen, &cache.store);
            let (memory, largest) = (cache.memory, cache.max_value);
            let _ = writeln!(
                text,
                "pool {name}: listen {listen}, a cache of {memory} bytes (store {store}), values up to \
                 {largest}",
            );
            continue;
        }
        let connections = config.workers * pool.servers.len() * pool.server_connections as usize;
        let _ = writeln!(
            text,
            "pool {}: listen {}, {} servers, at most {connections} server connections",
            pool.name,
            pool.listen,
            pool.servers.len(),
        );
    }
    let _ = writeln!(text, "{}: ok", file.display());
    print(&text);
    0
}

/// The pools with servers that `name` selects: that one, or all.
fn pools<'a>(config: &'a Config, name: Option<&str>) -> Result<Vec<&'a Pool>, u8> {
    let with_servers = || config.pools.iter().filter(|pool| pool.cache.is_none());
    let found: Vec<&Pool> =
        with_servers().filter(|pool| name.is_none_or(|name| pool.name == name)).collect();
    if found.is_empty() {
        let names: Vec<&str> = with_servers().map(|pool| pool.name.as_str()).collect();
        complain(&format!(
            "twinring: no pool {} with servers; there are: {}\n",
            name.unwrap_or_default(),
            names.join(", ")
        ));
        return Err(FAILED);
    }
    Ok(found)
}

/// Runs `show` over the selected pools of a file and prints what it wrote.
fn each_pool(
    file: &Path,
    name: Option<&str>,
    mut show: impl FnMut(&Pool, &Router, &mut String),
) -> u8 {
    let mut text = String::new();
    let done = load(file).and_then(|config| {
        for pool in pools(&config, name)? {
            show(pool, &Router::within(&pool.routing, &pool.servers, pool.ring()), &mut text);
        }
        Ok(())
    });
    print(&text);
    done.err().unwrap_or(0)
}

/// `twinring locate`: a line for each key and pool, its fields separated by tabs.
pub(super) fn locate(keys: &[OsString], file: &Path, pool: Option<&str>) -> u8 {
    each_pool(file, pool, |pool, router, text| {
        for key in keys {
            let found = router.explain(key.as_bytes());
            let server = found.server.map_or("-", |index| pool.servers[index].name.as_str());
            let point = found.point.map_or_else(|| "-".to_owned(), |point| point.to_string());
            let _ = writeln!(
                text,
                "{}\t{}\t{server}\thash={}\tpoint={point}\thashed={}",
                pool.name,
                key.as_bytes().escape_ascii(),
                found.hash,
                found.counted.escape_ascii(),
            );
        }
    })
}

/// `twinring ring dump`: pool, point, server, a line each, in the order of the ring.
pub(super) fn dump(file: &Path, pool: Option<&str>) -> u8 {
    each_pool(file, pool, |pool, router, text| {
        for (value, server) in router.points() {
            let _ = writeln!(text, "{}\t{value}\t{}", pool.name, pool.servers[server].name);
        }
    })
}

/// `twinring ring balance`: pool, server, weight, points, share of the hash space.
pub(super) fn balance(file: &Path, pool: Option<&str>) -> u8 {
    each_pool(file, pool, |pool, router, text| {
        let rows = pool.servers.iter().zip(router.point_counts()).zip(router.shares());
        for ((server, points), share) in rows {
            let _ = writeln!(
                text,
                "{}\t{}\tweight={}\tpoints={points}\tshare={:.2}%",
                pool.name,
                server.name,
                server.weight,
                share * 100.0,
            );
        }
    })
}
