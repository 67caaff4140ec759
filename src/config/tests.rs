//! Whole files: the samples load, the broken ones say why, and nothing makes the reader panic.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::sample::{Index, select};

use crate::config::{
    ClientCertificates, Config, Dead, Distribution, Format, Hash, HashChar, Listen, Membership,
    NameFrom, Partial, Place, Points, Pool, Protocol, TlsVersion, load, parse,
};

fn folder(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn valid(name: &str) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conf/valid").join(name);
    load(&path, false).unwrap_or_else(|errors| panic!("{errors}"))
}

fn sample(name: &str, compat: bool) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name);
    load(&path, compat).unwrap_or_else(|errors| panic!("{errors}"))
}

fn ok(text: &str) -> Config {
    parse(text, "a.yml", false).unwrap_or_else(|errors| panic!("{errors}"))
}

/// One pool of one server, with more lines.
fn pool(lines: &str) -> Pool {
    let text = format!(
        "pools:\n  web:\n    listen: 127.0.0.1:22121\n{lines}    servers: [ '127.0.0.1:11211:1 a' ]\n"
    );
    ok(&text).pools.remove(0)
}

fn names(pool: &Pool) -> Vec<&str> {
    pool.servers.iter().map(|server| server.name.as_str()).collect()
}

#[test]
fn every_sample_loads_in_both_modes() {
    for path in folder("conf").into_iter().chain(folder("tests/conf/valid")) {
        for compat in [false, true] {
            load(&path, compat).unwrap_or_else(|errors| panic!("{errors}"));
        }
    }
}

#[test]
fn every_broken_sample_says_what_its_first_lines_expect() {
    for path in folder("tests/conf/invalid") {
        let text = fs::read_to_string(&path).unwrap();
        let expected: Vec<&str> =
            text.lines().map_while(|line| line.strip_prefix("# expect: ")).collect();
        assert!(!expected.is_empty(), "{}", path.display());
        let Err(errors) = load(&path, false) else { panic!("{} loads", path.display()) };
        let lines = errors.to_string();
        for part in &expected {
            assert!(lines.contains(part), "{}:\nexpected {part}\n{lines}", path.display());
        }
        assert_eq!(lines.lines().count(), errors.len(), "{lines}");
        assert_eq!(errors.len(), expected.len(), "{}:\n{lines}", path.display());
        for line in lines.lines() {
            assert!(line.starts_with(&*path.to_string_lossy()), "{line}");
        }
    }
}

#[test]
fn twinring_yml_shows_every_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/twinring.yml");
    let shown = sample("twinring.yml", false);
    let bare = "pools:\n  web:\n    listen: 127.0.0.1:22121\n    servers:\n      \
                - 127.0.0.1:11211:1 cache01\n      - 127.0.0.1:11212:1 cache02\n  \
                local:\n    listen: 127.0.0.1:22122\n    protocol: redis\n";
    assert_eq!(format!("{shown:#?}"), format!("{:#?}", ok(bare)));
    // Whoever adds a key is told of it here: a misspelt neighbour lists nothing, so ask for all.
    let text = fs::read_to_string(path).unwrap();
    let keys = "workers compat admin stats log level format file reload watch drain_timeout buffers listen \
                protocol hash hash_char hash_tag distribution servers expansion phase dead_old stub_ttl fill fill_ttl_max fence cas_quarantine data migrate_timeout carry_timeout sweep \
                pin big_keys big_key_bytes big_key_elements timeout dead \
                server_failure_limit server_retry_timeout partial server_connections preconnect \
                max_clients backlog tcpkeepalive reuseport allow_flush allow_scan memcache_auth_file tls certificate client_ca \
                client_certificates min_version handshakes handshake_time server_tls ca name lenient_lf redis_auth_file \
                redis_auth redis_user redis_db limits key value keys_per_request args_per_request line \
                pipeline_depth client_output server_queue dedicated_connections request_time idle_timeout store memory \
                topology source path format connect chroot auth_file session_timeout startup_wait snapshot \
                max_removal_ratio membership add_delay remove_delay name_from endpoint \
                max_value storage item_size eviction tracking_table_max_keys \
                near_cache mode max_age lease tracked_max admit prefixes negative joiners verify";
    for key in keys.split_whitespace() {
        let shown =
            |line: &str| line.trim_start_matches(['#', ' ']).starts_with(&format!("{key}:"));
        assert!(text.lines().any(shown), "{key}");
    }
}

#[test]
fn a_nutcracker_yml_keeps_twemproxys_defaults() {
    let config = ok("a:\n  listen: h:9\n  servers:\n   - h:11211:1\n");
    let pool = &config.pools[0];
    assert_eq!((pool.timeout, pool.server_failure_limit, pool.backlog), (None, 2, 512));
    assert_eq!(pool.server_retry_timeout, Duration::from_secs(30));
    assert_eq!((pool.routing.hash, pool.dead), (Hash::Fnv1a64, Dead::Error));
    assert_eq!((pool.protocol, pool.server_connections), (Protocol::Memcache, 1));
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    assert!(config.warnings[0].starts_with("a.yml:2:3 a.timeout: "), "{:?}", config.warnings);
}

#[test]
fn every_nutcracker_key_arrives() {
    let config = valid("every_nutcracker_key.yml");
    let pool = &config.pools[0];
    assert_eq!(pool.routing.hash_tag, Some(*b"||"));
    assert_eq!(pool.timeout, Some(Duration::from_millis(400)));
    assert_eq!((pool.backlog, pool.max_clients, pool.redis_db), (1024, Some(100), 3));
    assert!(pool.tcp_keepalive && pool.reuseport && pool.preconnect);
    assert_eq!((pool.protocol, pool.dead), (Protocol::Redis, Dead::Rehash));
    assert_eq!((pool.server_connections, pool.server_failure_limit), (2, 1));
    assert_eq!(pool.server_retry_timeout, Duration::from_secs(2));
    assert_eq!(pool.redis_auth.as_ref().unwrap().reveal(), "secret");
    for part in ["at most 100 clients", "connection per worker", "old as its absence"] {
        assert!(config.warnings.iter().any(|line| line.contains(part)), "{part}");
    }
}

#[test]
fn every_native_key_arrives() {
    let config = valid("native_all.yml");
    assert_eq!((config.workers, config.compat, config.buffers), (4, true, 64 << 20));
    assert_eq!(config.admin.as_deref(), Some("[::1]:9900"));
    assert_eq!(config.stats.as_deref(), Some("127.0.0.1:22222"));
    assert_eq!(config.log.file.as_deref(), Some(Path::new("/tmp/twinring.log")));
    assert_eq!((config.log.level.as_str(), config.drain_timeout.as_secs()), ("debug", 300));
    let pool = &config.pools[0];
    let ring = Distribution::KetamaFnv { points: Points::Weighted, name_cut: Some(21) };
    assert_eq!(pool.routing.distribution, ring);
    assert_eq!(pool.routing.hash_char, HashChar::Unsigned);
    assert_eq!((pool.dead, pool.partial), (Dead::Rehash, Partial::Miss));
    assert!(pool.allow_flush && pool.allow_scan && pool.lenient_lf);
    assert_eq!(pool.max_clients, Some(77));
    let limits = &pool.limits;
    assert_eq!((limits.key_bytes, limits.value_bytes, limits.line_bytes), (100, 2 << 20, 4 << 10));
    assert_eq!((limits.keys_per_request, limits.args_per_request), (9, 8));
    assert_eq!((limits.pipeline_depth, limits.server_queue), (7, 6));
    assert_eq!((limits.client_output_bytes, limits.request_time.as_secs()), (1 << 20, 3));
}

#[test]
fn tls_is_read_for_either_side() {
    let config = valid("tls.yml");
    let [web, least] = &config.pools[..] else { panic!("two pools") };
    let (tls, servers) = (web.tls.as_ref().unwrap(), web.server_tls.as_ref().unwrap());
    assert_eq!(tls.certificate, Path::new("server.pem"));
    assert_eq!((tls.clients, tls.min_version), (ClientCertificates::Optional, TlsVersion::Tls13));
    assert_eq!((tls.handshakes, tls.handshake_time), (7, Duration::from_secs(2)));
    assert_eq!(servers.name.as_deref(), Some("cache.example.org"));
    assert_eq!(servers.key.as_deref(), Some(Path::new("client.key")));
    let (tls, servers) = (least.tls.as_ref().unwrap(), least.server_tls.as_ref().unwrap());
    assert_eq!((tls.clients, tls.min_version), (ClientCertificates::None, TlsVersion::Tls12));
    assert_eq!((tls.handshakes, tls.handshake_time), (256, Duration::from_secs(5)));
    assert_eq!((servers.name.as_ref(), servers.certificate.as_ref()), (None, None));
}

#[test]
fn servers_may_come_from_elsewhere() {
    let config = valid("topology.yml");
    let [file, least, most] = &config.pools[..] else { panic!("three pools") };
    let source = |pool: &Pool| pool.topology.clone().unwrap();
    let listed = source(file);
    assert_eq!(listed.place, Place::File("/etc/twinring/servers".into()));
    assert_eq!((listed.format, listed.snapshot), (Format::List, None));
    assert_eq!(names(file), ["a"], "what holds until the file is read");
    let native = source(least);
    let Place::ZooKeeper(place) = &native.place else { panic!("{:?}", native.place) };
    assert_eq!((place.connect.as_str(), place.chroot.as_str()), ("zk1:2181,zk2:2182", ""));
    assert_eq!((place.path.as_str(), place.session_timeout.as_secs()), ("/twinring/least", 6));
    assert_eq!((native.format, native.membership), (Format::Native, Membership::Managed));
    assert_eq!((native.max_removal, native.startup_wait.as_secs()), (1500, 5));
    let snapshot = native.snapshot.unwrap();
    assert_eq!(snapshot, Path::new("/var/lib/twinring/topology-least.json"));
    assert!(least.servers.is_empty() && least.cache.is_none(), "it never is a cache");
    let set = source(most);
    let Place::ZooKeeper(place) = &set.place else { panic!("{:?}", set.place) };
    assert_eq!((place.chroot.as_str(), place.auth.is_some()), ("/sets", false));
    assert_eq!(place.tls.as_ref().unwrap().ca, Path::new("ca.pem"));
    assert_eq!((set.format, set.name_from), (Format::ServerSet, NameFrom::Shard));
    assert_eq!((set.membership, set.endpoint.as_deref()), (Membership::Unmanaged, Some("cache")));
    let delays = (set.add_delay.as_millis(), set.remove_delay.as_secs());
    assert_eq!((set.max_removal, delays), (5000, (2500, 60)));
}

#[test]
fn compat_turns_to_twemproxys_behaviour() {
    let config = sample("nutcracker.yml", true);
    assert!(config.compat);
    assert_eq!((config.admin, config.stats.as_deref()), (None, Some("0.0.0.0:22222")));
    let gamma = config.pools.iter().find(|pool| pool.name == "gamma").unwrap();
    assert_eq!((gamma.max_clients, gamma.partial), (None, Partial::Error));
    assert!(!gamma.lenient_lf);
    let config = sample("nutcracker.yml", false);
    assert_eq!((config.admin.as_deref(), config.stats), (Some("127.0.0.1:9900"), None));
    let gamma = config.pools.iter().find(|pool| pool.name == "gamma").unwrap();
    assert_eq!((gamma.max_clients, gamma.partial), (Some(4096), Partial::Miss));
}

#[test]
fn nutcracker_scalars_are_text_whatever_they_look_like() {
    let config = valid("textual_scalars.yml");
    let pool = &config.pools[0];
    assert_eq!(pool.redis_auth.as_ref().unwrap().reveal(), "0012345");
    assert_eq!(names(pool), ["1", "1e3", "null", "true"]);
    let null = valid("null_password.yml").pools.remove(0);
    assert_eq!(null.redis_auth.unwrap().reveal(), "null");
    let mut odd: Vec<String> =
        valid("odd_pool_names.yml").pools.into_iter().map(|pool| pool.name).collect();
    odd.sort();
    assert_eq!(odd, ["1", "a b", "true"]);
}

#[test]
fn pools_and_servers_stand_in_twemproxys_order() {
    let config = valid("wide_indent_and_unsorted.yml");
    let order: Vec<&str> = config.pools.iter().map(|pool| pool.name.as_str()).collect();
    assert_eq!(order, ["alpha", "zeta"]);
    assert_eq!(names(&config.pools[1]), ["c", "aa", "bb"]);
}

#[test]
fn fork_keys_are_accepted_with_a_warning_each() {
    let config = valid("fork_keys.yml");
    let ignored = config.warnings.iter().filter(|line| line.contains("is ignored")).count();
    assert_eq!(ignored, 8, "{:#?}", config.warnings);
}

#[test]
fn fnv_rings_have_the_name_cut_of_their_model() {
    let ring = |lines| pool(lines).routing.distribution;
    let fnv = |points, name_cut| Distribution::KetamaFnv { points, name_cut };
    assert_eq!(ring("    distribution: ketama_fnv\n"), fnv(Points::Fixed, Some(85)));
    assert_eq!(ring("    distribution: ketama_fnv_weighted\n"), fnv(Points::Weighted, None));
    let weighted = "    distribution: ketama_fnv\n    points: weighted\n";
    assert_eq!(ring(weighted), fnv(Points::Weighted, None));
    let cut = "    distribution: ketama_fnv_weighted\n    name_cut: 21\n";
    assert_eq!(ring(cut), fnv(Points::Weighted, Some(21)));
    let whole = "    distribution: ketama_fnv\n    name_cut: none\n";
    assert_eq!(ring(whole), fnv(Points::Fixed, None));
}

#[test]
fn a_native_file_may_ask_for_any_free_port() {
    let text = "pools:\n  a: { listen: '127.0.0.1:0', servers: ['h:1:1 a'] }\n  \
                b: { listen: '127.0.0.1:0', servers: ['h:1:1 a'] }\n";
    let config = ok(text);
    assert_eq!(config.pools[1].listen, Listen::Tcp { host: "127.0.0.1".to_owned(), port: 0 });
}

#[test]
fn a_password_may_stand_in_a_file_and_is_never_printed() {
    let path = std::env::temp_dir().join(format!("twinring-password-{}", std::process::id()));
    fs::write(&path, "s3cret word\n").unwrap();
    let lines = format!("    protocol: redis\n    redis_auth_file: {}\n", path.display());
    let pool = pool(&lines);
    fs::remove_file(&path).unwrap();
    assert_eq!(pool.redis_auth.as_ref().unwrap().reveal(), "s3cret word");
    assert!(!format!("{pool:?}").contains("s3cret"));
    let text = "a:\n  listen: h:9\n  redis_auth: s3cret\n  servers:\n   - h:1:1\n";
    let errors = parse(text, "a.yml", false).unwrap_err();
    assert!(!format!("{errors} {errors:?}").contains("s3cret"));
}

#[test]
fn a_nutcracker_yml_that_leads_to_itself_is_warned_of() {
    let config = ok("web:\n  listen: 0.0.0.0:1\n  servers: [ '127.0.0.1:1:1 a' ]\n");
    let text = "pool 'web' asks itself, by way of its server 'a'";
    assert!(config.warnings.iter().any(|it| it.contains(text)), "{:?}", config.warnings);
}

#[test]
fn warnings_name_what_is_valid_but_unwise() {
    let rows = [
        ("    timeout: 0\n", "pools.web.timeout: a request waits for ever"),
        ("    hash: crc32\n", "pools.web.hash: crc32 has 15 bits"),
        ("    server_connections: 2\n", "pools.web.server_connections: one pipelined"),
        ("    dead: rehash\n", "pools.web.dead: while a server is out"),
        ("    distribution: ketama_fnv\n", "pools.web.hash: clients of this ring"),
        ("    redis_db: 1\n", "pools.web.redis_db: is ignored"),
        (
            "    topology: { source: zookeeper, connect: z, path: /a, session_timeout: 4s }\n",
            "pools.web.topology: session_timeout is short for an expansion: out of ZooKeeper's sight keys \
             that move rest 1.333s before 4s are over, of which the ensemble may take 1s, and a request \
             takes up to 1s (timeout): at least 6s",
        ),
        ("    client_connections: 9\n", "pools.web.client_connections: is enforced"),
    ];
    for (lines, part) in rows {
        let text = format!(
            "pools:\n  web:\n    listen: h:9\n{lines}    servers: [ 'h:1:1 a', 'h:2:1 b' ]\n"
        );
        let warnings = ok(&text).warnings;
        assert!(warnings.len() == 1 && warnings[0].contains(part), "{part}: {warnings:?}");
    }
    // What suffices, and where no keys move by it.
    for lines in ["session_timeout: 6s", "session_timeout: 1s, format: nerve"] {
        let text = format!(
            "pools:\n  web:\n    listen: h:9\n    topology: {{ source: zookeeper, connect: z, path: /a, {lines} }}\n"
        );
        assert_eq!(ok(&text).warnings, Vec::<String>::new(), "{lines}");
    }
    let text = "admin: { listen: 0.0.0.0:9900 }\npools:\n  web:\n    listen: h:9\n    \
                servers: [ 'h:1:1', 'h:2:1' ]\n";
    let warnings = ok(text).warnings;
    assert!(warnings[0].starts_with("a.yml:1:18 admin.listen: other machines"), "{warnings:?}");
    assert!(warnings[1].contains("pools.web.servers: servers without a name"), "{warnings:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_of_its_own() {
    let errors = load(Path::new("/nowhere/at/all.yml"), false).unwrap_err();
    assert!(errors.to_string().starts_with("/nowhere/at/all.yml: No such file"), "{errors}");
    parse(&" ".repeat(5 << 20), "big.yml", false).unwrap_err();
}

#[test]
fn no_value_of_the_file_breaks_the_line_of_its_error() {
    let text = "a:\n  listen: \"x\\ny\\e[1m\"\n  \"b\\nc\": 1\n  servers: [ 'h:1:1' ]\n";
    let errors = parse(text, "a.yml", false).unwrap_err();
    assert_eq!(errors.to_string().lines().count(), errors.len());
    assert!(!errors.to_string().contains('\u{1b}'));
}

/// A sample with a few bytes overwritten, cut or repeated.
fn mutated() -> impl Strategy<Value = String> {
    let texts: Vec<String> = ["conf", "tests/conf/valid", "tests/conf/invalid"]
        .into_iter()
        .flat_map(folder)
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let piece = prop_oneof![
        any::<String>(),
        select(vec!["&a ", "*a", "? ", "- ", ": ", "[", "{", "!!int ", "|\n", "\n", "'", "\t"])
            .prop_map(str::to_owned),
        Just(String::new()),
    ];
    let edits = proptest::collection::vec((any::<Index>(), 0..8usize, piece), 1..6);
    (select(texts), edits).prop_map(|(text, edits)| {
        let mut chars: Vec<char> = text.chars().collect();
        for (index, len, piece) in edits {
            let at = index.index(chars.len() + 1);
            let end = (at + len).min(chars.len());
            chars.splice(at..end, piece.chars());
        }
        chars.into_iter().collect()
    })
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_with_a_reason(text in any::<String>(), compat in any::<bool>()) {
        if let Err(errors) = parse(&text, "a.yml", compat) {
            assert!(errors.len() > 0);
            assert_eq!(errors.to_string().lines().count(), errors.len());
        }
    }

    #[test]
    fn a_damaged_sample_is_read_or_refused_with_a_reason(text in mutated(), compat in any::<bool>()) {
        match parse(&text, "a.yml", compat) {
            Err(errors) => assert_eq!(errors.to_string().lines().count(), errors.len()),
            Ok(config) => {
                assert!(!config.pools.is_empty());
                // Servers may come from elsewhere.
                let has_servers = |pool: &Pool| !pool.servers.is_empty() || pool.topology.is_some();
                assert!(config.pools.iter().all(|pool| pool.cache.is_some() || has_servers(pool)));
                let caches = config.pools.iter().filter(|pool| pool.cache.is_some());
                assert!(caches.into_iter().all(|pool| !has_servers(pool)));
            }
        }
    }
}
