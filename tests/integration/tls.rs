//! TLS on both sides: real clients and servers, and what must not pass.

use std::process::{Command, Stdio};
use std::sync::mpsc;

use crate::clients::python_with;
use crate::support::{
    Authority, Client, Fake, Files, LONG, Memcached, PoolSpec, Port, Process, Proxy, Redis,
    Scratch, TlsClient, wait_until,
};

const HERE: [&str; 2] = ["localhost", "127.0.0.1"];

fn failed(proxy: &Proxy, result: &str) -> f64 {
    proxy.metrics().get("twinring_tls_handshakes_total", &[("result", result)])
}

/// A Redis that speaks nothing but TLS and asks for certificates.
fn secure_redis(authority: &Authority) -> Redis {
    let own = authority.sign("redis", &HERE);
    let (certificate, key) = (own.certificate.to_string_lossy(), own.key.to_string_lossy());
    let ca = authority.ca();
    let ca = ca.to_string_lossy();
    Redis::start_secure(&[
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "yes",
    ])
}

fn secure_memcached(authority: &Authority) -> Memcached {
    let own = authority.sign("memcached", &HERE);
    let (certificate, key) = (own.certificate.display(), own.key.display());
    Memcached::with(&["-Z", "-o", &format!("ssl_chain_cert={certificate},ssl_key={key}")])
}

#[test]
fn real_clients_reach_real_servers_with_tls_on_both_sides() {
    let authority = Authority::new();
    let (front, own) = (authority.sign("front", &HERE), authority.sign("own", &["twinring"]));
    let (redis, memcached) = (secure_redis(&authority), secure_memcached(&authority));
    let ca = authority.ca().display().to_string();
    let servers = format!("{{ ca: {ca}, {} }}", own.setting());
    let secure = |pool: PoolSpec| {
        let pool = pool.set("tls", format!("{{ {} }}", front.setting())).set("timeout", 5000);
        pool.set("server_tls", &servers)
    };
    let redis = Proxy::twinring(secure(PoolSpec::redis(&[redis.port()])));
    python_with("redis_client.py", &[&redis.port().to_string()], &[("TLS_CA", &ca)]);
    let said = Command::new("redis-cli")
        .args(["--tls", "--cacert", &ca, "-p", &redis.port().to_string(), "PING"])
        .output()
        .expect("redis-cli");
    assert_eq!(said.stdout, b"PONG\n", "{said:?}");
    let memcached = Proxy::twinring(secure(PoolSpec::memcache(&[memcached.port()])));
    python_with("memcache_client.py", &[&memcached.port().to_string()], &[("TLS_CA", &ca)]);
}

#[test]
fn a_session_begins_where_the_last_one_ended_and_ends_with_a_goodbye() {
    let (authority, redis) = (Authority::new(), Redis::start(&[]));
    let front = authority.sign("front", &HERE);
    let pool = PoolSpec::redis(&[redis.port()]).set("tls", format!("{{ {} }}", front.setting()));
    let proxy = Proxy::twinring(pool);
    for only_1_2 in [false, true] {
        let client = TlsClient::new(&authority, None, only_1_2);
        let mut first = client.connect(proxy.port());
        first.ask("SET a 1\r\n", "+OK\r\n").expect("served");
        assert!(!first.is_resumed());
        first.ask("QUIT\r\n", "+OK\r\n").expect("served");
        assert_eq!(first.read_to_goodbye().expect("a goodbye"), "");
        let mut second = client.connect(proxy.port());
        second.ask("GET a\r\n", "$1\r\n1\r\n").expect("served");
        assert!(second.is_resumed(), "TLS 1.2: {only_1_2}");
    }
}

#[test]
fn only_clients_with_the_right_certificate_and_version_are_served() {
    let (authority, stranger, redis) = (Authority::new(), Authority::new(), Redis::start(&[]));
    let front = authority.sign("front", &HERE);
    let good = authority.sign("client", &["client"]);
    let late = authority.sign_until("late", &["client"], 2020);
    let foreign = stranger.sign("foreign", &["client"]);
    let proxy = |more: &str| {
        let ca = authority.ca();
        let tls = format!("{{ {}, client_ca: {}{more} }}", front.setting(), ca.display());
        Proxy::twinring(PoolSpec::redis(&[redis.port()]).set("tls", tls))
    };
    let served = |proxy: &Proxy, own, only_1_2| {
        let client = TlsClient::new(&authority, own, only_1_2);
        client.connect(proxy.port()).ask("PING\r\n", "+PONG\r\n").is_ok()
    };
    let required = proxy("");
    assert!(served(&required, Some(&good), false));
    // Who only looks whether somebody listens breaks a handshake off, too.
    let before = failed(&required, "failed");
    assert!(!served(&required, None, false));
    assert!(!served(&required, Some(&late), false));
    assert!(!served(&required, Some(&foreign), false));
    assert!(wait_until(LONG, || failed(&required, "failed") == before + 3.0));
    let optional = proxy(", client_certificates: optional");
    assert!(served(&optional, Some(&good), false));
    assert!(served(&optional, None, false));
    assert!(!served(&optional, Some(&foreign), false));
    let modern = proxy(", min_version: 1.3");
    assert!(served(&modern, Some(&good), false));
    assert!(!served(&modern, Some(&good), true));
}

#[test]
fn what_is_not_tls_is_turned_away_and_hurts_nobody() {
    let (authority, redis) = (Authority::new(), Redis::start(&[]));
    let front = authority.sign("front", &HERE);
    let tls = format!("{{ {}, handshakes: 2, handshake_time: 500ms }}", front.setting());
    let proxy = Proxy::twinring(PoolSpec::redis(&[redis.port()]).set("tls", tls));
    let secure = TlsClient::new(&authority, None, false);
    let mut served = secure.connect(proxy.port());
    served.ask("SET a 1\r\n", "+OK\r\n").expect("served");
    for garbage in
        ["PING\r\n", "\x16\x03\x01\0\u{7f}garbage that is no hello", "GET / HTTP/1.1\r\n\r\n"]
    {
        let mut client = Client::connect(proxy.port());
        client.send(garbage);
        // An alert at most, and the end.
        let answer = client.read_to_end();
        assert!(answer.is_empty() || answer.starts_with(&[21, 3]), "{answer:?}");
    }
    // As many as may, begin and say nothing; those who come behind wait for their end.
    let silent: Vec<Client> = (0..5).map(|_| Client::connect(proxy.port())).collect();
    served.ask("GET a\r\n", "$1\r\n1\r\n").expect("served on");
    secure.connect(proxy.port()).ask("GET a\r\n", "$1\r\n1\r\n").expect("served at last");
    assert!(wait_until(LONG, || failed(&proxy, "timeout") == 5.0));
    drop(silent);
    Client::connect(redis.port()).ask("CONFIG RESETSTAT\r\n", "+OK\r\n");
}

#[test]
fn who_has_not_begun_a_handshake_when_the_process_drains_is_closed_and_counted() {
    let (authority, memcached) = (Authority::new(), Memcached::start());
    let front = authority.sign("front", &HERE);
    let tls = format!("{{ {}, handshakes: 1, handshake_time: 9s }}", front.setting());
    let pool = PoolSpec::memcache(&[memcached.port()]).set("tls", tls).set("timeout", 9000);
    let mut proxy = Proxy::twinring_with(&["drain_timeout: 9s"], vec![pool]);
    let mut served = TlsClient::new(&authority, None, false).connect(proxy.port());
    served.ask("get a\r\n", "END\r\n").expect("served");
    // The drain takes as long as this request.
    memcached.process.freeze();
    served.send("get a\r\n").expect("sent");
    let asked = || proxy.metrics().sum("twinring_backend_inflight", &[]) == Some(1.0);
    assert!(wait_until(LONG, asked));
    // One has the only place, or will; the others wait for theirs.
    let mut silent: Vec<Client> = (0..6).map(|_| Client::connect(proxy.port())).collect();
    proxy.terminate();
    let name = "twinring_client_connections_rejected_total";
    let closed = || proxy.metrics().get(name, &[("reason", "draining")]);
    assert!(wait_until(LONG, || closed() >= 5.0), "{}", closed());
    silent[5].expect_closed();
    memcached.process.thaw();
    let status = proxy.process.wait_end(LONG).expect("an end");
    assert_eq!(status.code(), Some(0), "{}", proxy.process.output());
}

#[test]
fn a_server_that_cannot_show_who_it_is_gets_no_request() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let ca = authority.ca();
    let late = authority.sign_until("late", &HERE, 2020);
    let other = authority.sign("other", &["other.example.org"]);
    let foreign = stranger.sign("foreign", &HERE);
    let with = |own: &Files| {
        let (certificate, key) = (own.certificate.display(), own.key.display());
        Memcached::with(&["-Z", "-o", &format!("ssl_chain_cert={certificate},ssl_key={key}")])
    };
    let error = "SERVER_ERROR backend TLS handshake failed\r\n";
    for (server, name, served) in [
        (with(&late), "", false),
        (with(&other), "", false),
        (with(&foreign), "", false),
        (with(&other), ", name: other.example.org", true),
    ] {
        let tls = format!("{{ ca: {}{name} }}", ca.display());
        let pool = PoolSpec::memcache(&[server.port()]).set("server_tls", tls).set("timeout", 5000);
        let proxy = Proxy::twinring(pool);
        proxy.client().ask("get a\r\n", if served { "END\r\n" } else { error });
        let told = || proxy.process.output().contains("TLS handshake failed");
        assert!(served || wait_until(LONG, told), "{}", proxy.process.output());
    }
    // One that speaks plain text is not spoken to in plain text.
    let (told, heard) = mpsc::sync_channel(8);
    let plain = Fake::start(move |mut stand| {
        let some = |bytes: &[u8]| (!bytes.is_empty()).then_some(bytes.len());
        // The test may have ended by the second attempt.
        let _ = told.try_send(stand.client.try_take(some).expect("something"));
        stand.reply("VERSION 1.6.18\r\n");
    });
    let pool = PoolSpec::memcache(&[plain.port()]).set("timeout", 5000);
    let proxy = Proxy::twinring(pool.set("server_tls", format!("{{ ca: {} }}", ca.display())));
    proxy.client().ask("set a 0 0 1\r\nx\r\n", error);
    let heard = heard.recv_timeout(LONG).expect("a connection");
    assert_eq!(heard.first(), Some(&22), "no hello of TLS: {heard:?}");
}

#[test]
fn files_that_cannot_be_used_end_the_start_with_a_reason() {
    let (authority, scratch) = (Authority::new(), Scratch::new());
    let (one, two) = (authority.sign("one", &HERE), authority.sign("two", &HERE));
    let nonsense = scratch.file("nonsense.pem", "no certificate");
    let nonsense = nonsense.display();
    for (tls, why) in [
        (format!("certificate: /nowhere.pem, key: {}", one.key.display()), "/nowhere.pem"),
        (format!("certificate: {}, key: {nonsense}", one.certificate.display()), "nonsense.pem"),
        (format!("certificate: {nonsense}, key: {}", one.key.display()), "holds no certificate"),
        (
            format!("certificate: {}, key: {}", one.certificate.display(), two.key.display()),
            "pool a: ",
        ),
    ] {
        let text = format!(
            "admin: {{ listen: off }}\npools:\n  a:\n    listen: 127.0.0.1:0\n    tls: {{ {tls} }}\n    \
             servers: [ 127.0.0.1:1:1 a ]\n"
        );
        let file = scratch.file("tls.yml", &text).display().to_string();
        for arguments in [["check", &file], ["-c", &file]] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
            let output = command.args(arguments).stdin(Stdio::null()).output().expect("an end");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(78), "{arguments:?}: {said}");
            assert!(said.contains(why), "{arguments:?}: {said}");
        }
    }
}

/// Replies that do not fit a socket at once, read slowly.
#[test]
fn large_values_pass_whole_however_slowly_they_are_read() {
    let (authority, redis) = (Authority::new(), Redis::start(&[]));
    let front = authority.sign("front", &HERE);
    let pool = PoolSpec::redis(&[redis.port()]).set("tls", format!("{{ {} }}", front.setting()));
    let proxy = Proxy::twinring(pool.set("timeout", 5000));
    let client = TlsClient::new(&authority, None, false);
    let value: String = (0..8_000_000).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
    let (mut slow, mut other) = (client.connect(proxy.port()), client.connect(proxy.port()));
    let set = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{value}\r\n", value.len());
    slow.ask(&set, "+OK\r\n").expect("stored");
    slow.send("GET k\r\nGET k\r\nPING\r\n").expect("sent");
    other.ask("STRLEN k\r\n", ":8000000\r\n").expect("served meanwhile");
    let reply = format!("${}\r\n{value}\r\n", value.len());
    for part in [reply.as_str(), &reply, "+PONG\r\n"] {
        slow.ask("", part).expect("the value");
    }
}

#[test]
fn a_cache_of_its_own_speaks_tls_as_well() {
    let (authority, scratch, port) = (Authority::new(), Scratch::new(), Port::take());
    let front = authority.sign("front", &HERE);
    let text = format!(
        "admin: {{ listen: off }}\npools:\n  a:\n    listen: 127.0.0.1:{}\n    protocol: memcache\n    \
         tls: {{ {} }}\n",
        port.number(),
        front.setting()
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
    command.arg("-c").arg(scratch.file("tls.yml", &text));
    let mut cache = Process::start(command);
    cache.wait_for(port.number());
    let client = TlsClient::new(&authority, None, false);
    let mut client = client.connect(port.number());
    let value = "v".repeat(700_000);
    let set = format!("set a 0 0 {}\r\n{value}\r\n", value.len());
    client.ask(&set, "STORED\r\n").expect("stored");
    let reply = format!("VALUE a 0 {}\r\n{value}\r\nEND\r\n", value.len());
    client.ask("get a\r\n", &reply).expect("found");
}
