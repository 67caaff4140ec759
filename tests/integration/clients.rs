//! Client libraries and tools that people use: through the proxy, and at the cache server.
//!
//! What a script expects of the cache server it finds at memcached or redis-server as well: it is
//! run at both.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::{Cache, Memcached, PoolSpec, Proxy, Redis, Scratch};

#[test]
fn pymemcache_works_with_one_server_and_with_three() {
    for count in [1, 3] {
        let servers: Vec<Memcached> = (0..count).map(|_| Memcached::start()).collect();
        let ports: Vec<u16> = servers.iter().map(Memcached::port).collect();
        let proxy = Proxy::twinring(PoolSpec::memcache(&ports).set("timeout", 5000));
        python("memcache_client.py", &[&proxy.port().to_string()]);
    }
}

#[test]
fn redis_py_works_with_one_server_and_with_three() {
    for count in [1, 3] {
        let servers: Vec<Redis> = (0..count).map(|_| Redis::start(&[])).collect();
        let ports: Vec<u16> = servers.iter().map(Redis::port).collect();
        let proxy = Proxy::twinring(PoolSpec::redis(&ports).set("timeout", 5000));
        python("redis_client.py", &[&proxy.port().to_string()]);
    }
}

#[test]
fn redis_py_works_with_a_password() {
    let servers: Vec<Redis> = (0..2).map(|_| Redis::start(&["--requirepass", "secret"])).collect();
    let ports: Vec<u16> = servers.iter().map(Redis::port).collect();
    let pool = PoolSpec::redis(&ports).set("timeout", 5000).set("redis_auth", "secret");
    let proxy = Proxy::twinring(pool);
    python("redis_client.py", &[&proxy.port().to_string(), "secret"]);
}

#[test]
fn redis_py_has_sessions_in_both_versions() {
    at_redis_and_through_the_proxy(|port| python("redis_sessions.py", &[port]));
}

#[test]
fn ioredis_works_through_the_proxy() {
    at_redis_and_through_the_proxy(|port| node("ioredis_proxy.js", port));
}

#[test]
fn pymemcache_works_at_the_cache() {
    at_memcached_and_the_cache(|port| python("memcache_client.py", &[port, "server"]));
}

#[test]
fn pylibmc_works_at_the_cache() {
    at_memcached_and_the_cache(|port| python("pylibmc_client.py", &[port]));
    at_memcached_and_the_cache(|port| python("pylibmc_client.py", &[port, "binary"]));
}

#[test]
fn redis_py_works_at_the_cache() {
    at_redis_and_the_cache(|port| python("redis_strings.py", &[port]));
}

#[test]
fn memcached_for_node_works_at_the_cache() {
    at_memcached_and_the_cache(|port| node("memcached_client.js", port));
}

#[test]
fn memcache_client_for_node_works_at_the_cache() {
    at_memcached_and_the_cache(|port| node("memcache_client.js", port));
}

#[test]
fn memjs_works_at_the_cache() {
    at_memcached_and_the_cache(|port| node("memjs_client.js", port));
}

#[test]
fn memjs_works_with_a_password() {
    let scratch = Scratch::new();
    let users = scratch.file("users", "me:secret\n").display().to_string();
    let cache = Cache::with_users(&users);
    node_with("memjs_client.js", &[&cache.memcache_port().to_string(), "me", "secret"]);
}

#[test]
fn ioredis_works_at_the_cache() {
    at_redis_and_the_cache(|port| node("ioredis_client.js", port));
}

#[test]
fn libmemcached_finds_the_proxy_capable() {
    let servers: Vec<Memcached> = (0..3).map(|_| Memcached::start()).collect();
    let ports: Vec<u16> = servers.iter().map(Memcached::port).collect();
    let pool = PoolSpec::memcache(&ports).set("timeout", 5000).set("allow_flush", true);
    let proxy = Proxy::twinring(pool);
    memccapable("ascii", 27, proxy.port());
}

#[test]
fn libmemcached_finds_the_cache_capable() {
    let cache = Cache::start(&[]);
    memccapable("ascii", 27, cache.memcache_port());
    memccapable("binary", 27, cache.memcache_port());
}

/// libmemcached's own test of a server and a protocol, which consists of so many.
fn memccapable(protocol: &str, tests: usize, port: u16) {
    let mut command = Command::new("memccapable");
    command
        .args([if protocol == "ascii" { "-a" } else { "-b" }, "-t", "5", "-h", "127.0.0.1", "-p"])
        .arg(port.to_string());
    let output = command.output().expect("memccapable");
    let report = String::from_utf8_lossy(&output.stdout);
    let passed = report.lines().filter(|line| line.ends_with("[pass]"));
    let mark = format!("{protocol} ");
    let failed = report.split(&mark).skip(1).filter(|test| !test.contains("[pass]"));
    let failed: Vec<&str> = failed.map(str::trim).collect();
    assert!(failed.is_empty(), "{failed:?}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(passed.count() >= tests, "{report}");
}

#[test]
fn libmemcached_tools_store_and_fetch() {
    let servers: Vec<Memcached> = (0..3).map(|_| Memcached::start()).collect();
    let ports: Vec<u16> = servers.iter().map(Memcached::port).collect();
    let proxy = Proxy::twinring(PoolSpec::memcache(&ports).set("timeout", 5000));
    let scratch = Scratch::new();
    let text = "a line of text\n".repeat(5000);
    let file = scratch.file("one", &text);
    let server = format!("--servers=127.0.0.1:{}", proxy.port());
    let run = |tool: &str, argument: &str| {
        Command::new(tool).args([&server, argument]).output().expect("a tool of libmemcached")
    };
    assert!(run("memccp", &file.to_string_lossy()).status.success());
    assert_eq!(String::from_utf8_lossy(&run("memccat", "one").stdout).trim_end(), text.trim_end());
    assert!(run("memcexist", "one").status.success());
    assert!(run("memcrm", "one").status.success());
    assert!(!run("memcexist", "one").status.success());
}

/// The same at memcached and at the cache, with the limits that both have by themselves.
fn at_memcached_and_the_cache(run: impl Fn(&str)) {
    run(&Memcached::start().port().to_string());
    run(&Cache::start(&[]).memcache_port().to_string());
}

/// The same at redis-server and at a cache that takes values as large as the scripts send.
fn at_redis_and_the_cache(run: impl Fn(&str)) {
    run(&Redis::start(&[]).port().to_string());
    run(&Cache::start(&["--max-value", "16MiB"]).redis_port().to_string());
}

/// The same at redis-server, and through the proxy in front of one and of three.
fn at_redis_and_through_the_proxy(run: impl Fn(&str)) {
    run(&Redis::start(&[]).port().to_string());
    for count in [1, 3] {
        let servers: Vec<Redis> = (0..count).map(|_| Redis::start(&[])).collect();
        let ports: Vec<u16> = servers.iter().map(Redis::port).collect();
        let pool = PoolSpec::redis(&ports).set("timeout", 5000).set("hash_tag", "\"{}\"");
        run(&Proxy::twinring(pool).port().to_string());
    }
}

/// Runs a script of `tests/python/` by the interpreter that tests/run has prepared.
fn python(script: &str, arguments: &[&str]) {
    python_with(script, arguments, &[]);
}

/// The same with more in its environment.
pub(crate) fn python_with(script: &str, arguments: &[&str], environment: &[(&str, &str)]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let interpreter = root.join("target/venv/bin/python");
    assert!(interpreter.exists(), "no {}: tests/run makes it", interpreter.display());
    let mut command = limited(&interpreter);
    command.arg(root.join("tests/python").join(script)).args(arguments);
    command.envs(environment.iter().copied());
    succeeds(script, &command.output().expect("python"));
}

/// Runs a script of `tests/node/` with the packages that tests/run has prepared.
fn node(script: &str, port: &str) {
    node_with(script, &[port]);
}

/// The same with more arguments.
pub(crate) fn node_with(script: &str, arguments: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = root.join("target/node/node_modules");
    assert!(packages.exists(), "no {}: tests/run makes it", packages.display());
    let mut command = limited(Path::new("node"));
    command.env("NODE_PATH", packages);
    command.arg(root.join("tests/node").join(script)).args(arguments);
    succeeds(script, &command.output().expect("node"));
}

/// A program that is ended, and so fails, when it takes far longer than it should.
fn limited(program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.arg("120").arg(program);
    command
}

fn succeeds(script: &str, output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {}\n{said}", output.status);
}
