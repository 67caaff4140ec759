//! What servers do wrong, and what is made of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::support::{Client, Fake, LONG, PoolSpec, Port, Proxy, Redis, escaped, wait_until};

/// Nothing is answered.
const SILENCE: &str = "";
/// The connection is closed instead of a reply.
const CLOSE: &str = "close";

/// What the servers say to every request, and what is asked of them.
struct Case {
    redis: bool,
    reply: &'static str,
    request: &'static str,
}

const GET: &str = "get x\r\n";
const TWO_GETS: &str = "get x\r\nget y\r\n";
const MANY: &str = "get a b c d e f\r\n";
const REDIS_GET: &str = "*2\r\n$3\r\nGET\r\n$1\r\nx\r\n";
const REDIS_MANY: &str = "*4\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n";
const REDIS_DEL: &str = "*4\r\n$3\r\nDEL\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n";

const fn memcache(reply: &'static str, request: &'static str) -> Case {
    Case { redis: false, reply, request }
}

const fn redis(reply: &'static str, request: &'static str) -> Case {
    Case { redis: true, reply, request }
}

/// Left out is where twinring is stricter on purpose: a reply of another command, or of another
/// key, is not passed on.
const CASES: &[Case] = &[
    memcache(SILENCE, TWO_GETS),
    memcache(SILENCE, MANY),
    memcache(CLOSE, TWO_GETS),
    memcache(CLOSE, MANY),
    memcache("blah\r\n", TWO_GETS),
    memcache("OK\r\n", GET),
    memcache("HD\r\n", GET),
    memcache("VALUE x 0 1\r\nxx\r\nEND\r\n", GET),
    memcache("ERROR\r\n", GET),
    memcache("CLIENT_ERROR no\r\n", GET),
    memcache("SERVER_ERROR out of memory\r\n", GET),
    redis(SILENCE, REDIS_GET),
    redis(SILENCE, REDIS_MANY),
    redis(CLOSE, REDIS_GET),
    redis(CLOSE, REDIS_MANY),
    redis("blah\r\n", REDIS_GET),
    redis("_\r\n", REDIS_GET),
    redis("-OOM command not allowed\r\n", REDIS_GET),
    redis("-BUSY running a script\r\n", REDIS_GET),
    redis("-LOADING the dataset\r\n", REDIS_MANY),
    redis("-BUSYKEY Target key name already exists.\r\n", REDIS_GET),
    redis("-ERR no\r\n", REDIS_GET),
    redis("-MOVED 1 127.0.0.1:1\r\n", REDIS_GET),
    redis("-READONLY You can't write against a read only replica.\r\n", REDIS_DEL),
    redis("*2\r\n*1\r\n:1\r\n$-1\r\n", REDIS_GET),
    redis("*-1\r\n", REDIS_GET),
];

#[test]
fn failing_servers_give_twemproxys_errors() {
    let mut wrong = Vec::new();
    for case in CASES {
        let [theirs, ours] = [Proxy::nutcracker, Proxy::twinring_as_nutcracker].map(|start| {
            let servers = [case.server(), case.server()];
            let ports = servers.each_ref().map(Fake::port);
            let pool =
                if case.redis { PoolSpec::redis(&ports) } else { PoolSpec::memcache(&ports) };
            let proxy = start(pool.set("distribution", "modula").set("timeout", 300));
            case.said(proxy.client())
        });
        if theirs != ours {
            wrong.push(format!(
                "{:?} to {:?}\n  twemproxy: {}\n  twinring:  {}",
                case.reply,
                case.request,
                escaped(&theirs),
                escaped(&ours)
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
}

impl Case {
    /// Everything that is said to the request. Where a part of it is lost the client is closed
    /// after the error; to one that has said goodbye twemproxy then says nothing at all.
    fn said(&self, mut client: Client) -> Vec<u8> {
        if matches!(self.request, MANY | REDIS_MANY) {
            client.send(self.request);
            return client.read_to_end();
        }
        said(client, self.request.as_bytes())
    }

    fn server(&self) -> Fake {
        let (redis, reply) = (self.redis, self.reply);
        Fake::start(move |mut stand| {
            loop {
                let asked = if redis {
                    stand.redis_request().is_some()
                } else {
                    stand.memcache_request().is_some()
                };
                match reply {
                    _ if !asked => return,
                    CLOSE => return,
                    SILENCE => {}
                    reply => stand.reply(reply),
                }
            }
        })
    }
}

#[test]
fn one_late_request_fails_all_that_wait_on_its_connection() {
    for start in [Proxy::nutcracker, Proxy::twinring_as_nutcracker] {
        let server = Arc::new(Fake::start(|mut stand| while stand.memcache_request().is_some() {}));
        let proxy = start(PoolSpec::memcache(&[server.port()]).set("timeout", 1000));
        let (mut early, mut late) = (proxy.client(), proxy.client());
        early.send(GET);
        assert!(wait_until(LONG, || stats(&proxy)["main"]["server1"]["out_queue"] == 1));
        late.send("get y\r\n");
        let error = "SERVER_ERROR Connection timed out\r\n";
        early.expect(error);
        late.expect(error);
        let server = &stats_when(&proxy, |it| it["server_timedout"] == 1);
        assert_eq!(server["server_connections"], 0, "{server}");
        assert_eq!(server["out_queue"], 0, "{server}");
    }
}

#[test]
fn a_dead_server_fails_its_own_keys_until_it_is_ejected() {
    let keys: Vec<String> = (0..12).map(|n| format!("get k{n}\r\n")).collect();
    let [theirs, ours] = [Proxy::nutcracker, Proxy::twinring_as_nutcracker].map(|start| {
        let live = Fake::start(|mut stand| {
            while stand.memcache_request().is_some() {
                stand.reply("END\r\n");
            }
        });
        let dead = Port::take();
        let pool = PoolSpec::memcache(&[live.port(), dead.number()]).set("distribution", "modula");
        let pool = pool.set("auto_eject_hosts", true).set("server_failure_limit", 2);
        let proxy = start(pool.set("server_retry_timeout", 3_600_000));
        let mut client = proxy.client();
        let replies: Vec<Vec<u8>> = keys
            .iter()
            .map(|request| {
                client.send(request);
                client.memcache_reply()
            })
            .collect();
        let pool = &stats_of(&proxy, |it| it["main"]["server_ejects"] == 1)["main"];
        (replies, pool["forward_error"].clone(), pool["server2"]["server_err"].clone())
    });
    assert_eq!(theirs, ours);
    assert_eq!(theirs.1, 2, "two failures are the limit");
}

#[test]
fn an_ejected_server_comes_back_without_a_question_and_is_ejected_again() {
    for start in [Proxy::nutcracker, Proxy::twinring_as_nutcracker] {
        let live = Fake::start(|mut stand| {
            while stand.memcache_request().is_some() {
                stand.reply("END\r\n");
            }
        });
        let dead = Port::take();
        let pool = PoolSpec::memcache(&[live.port(), dead.number()]).set("distribution", "modula");
        let pool = pool.set("auto_eject_hosts", true).set("server_failure_limit", 2);
        let proxy = start(pool.set("server_retry_timeout", 200));
        let mut client = proxy.client();
        let mut failed = 0;
        let again = wait_until(LONG, || {
            // A key of the second server while both are on the ring.
            client.send("get k1\r\n");
            failed += usize::from(client.memcache_reply() != b"END\r\n");
            failed == 4
        });
        assert!(again, "{failed} failures");
        stats_of(&proxy, |it| it["main"]["server_ejects"] == 2);
    }
}

#[test]
fn passwords_are_checked_as_twemproxy_does() {
    let inputs = [
        &["PING"][..],
        &["GET a"],
        &["AUTH bad"],
        &["AUTH secret", "PING", "GET a"],
        &["AUTH wrong", "PING", "GET a"],
        &["AUTH secret", "AUTH bad", "GET a"],
        &["AUTH default secret"],
        &["QUIT"],
        &["MGET a b"],
        &["FOO"],
    ];
    for (server, pool) in [
        (Some("secret"), Some("secret")),
        (Some("secret"), Some("wrong")),
        (Some("secret"), None),
        (None, Some("secret")),
        (None, None),
    ] {
        let args: Vec<&str> = server.into_iter().flat_map(|it| ["--requirepass", it]).collect();
        let [theirs, ours] = [Proxy::nutcracker, Proxy::twinring_as_nutcracker].map(|start| {
            let server = Redis::start(&args);
            let spec = PoolSpec::redis(&[server.port()]);
            let spec = match pool {
                Some(password) => spec.set("redis_auth", password),
                None => spec,
            };
            let proxy = start(spec);
            inputs.map(|lines| escaped(&said(proxy.client(), inline(lines).as_bytes())))
        });
        assert_eq!(theirs, ours, "server {server:?}, pool {pool:?}");
    }
}

#[test]
fn statistics_have_twemproxys_keys_and_count_alike() {
    let [theirs, ours] = [Proxy::nutcracker, Proxy::twinring_as_nutcracker].map(|start| {
        let server = Fake::start(|mut stand| {
            while stand.memcache_request().is_some() {
                stand.reply("END\r\n");
            }
        });
        let proxy = start(PoolSpec::memcache(&[server.port()]));
        let mut client = proxy.client();
        client.ask(GET, "END\r\n");
        client.send("foo\r\n");
        client.expect_closed();
        proxy.client().half_close();
        // Our listener and one server connection are left.
        stats_of(&proxy, |it| it["main"]["client_err"] == 1 && it["curr_connections"] == 2)
    });
    let keys = |value: &Value| -> BTreeSet<String> {
        value.as_object().expect("an object").keys().cloned().collect()
    };
    assert_eq!(keys(&theirs), keys(&ours));
    assert_eq!(keys(&theirs["main"]), keys(&ours["main"]));
    for key in ["service", "version", "curr_connections"] {
        assert_eq!(theirs[key], ours[key], "{key}");
    }
    assert_eq!(theirs["main"]["server1"], ours["main"]["server1"]);
}

/// The statistics of a proxy.
fn stats(proxy: &Proxy) -> Value {
    let text = Client::connect(proxy.admin_port()).read_to_end();
    serde_json::from_slice(&text).expect("JSON")
}

/// The statistics once they are as they must become.
fn stats_of(proxy: &Proxy, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut now = Value::Null;
    let came = wait_until(LONG, || {
        now = stats(proxy);
        wanted(&now)
    });
    assert!(came, "{now}");
    now
}

/// The same of the first server.
fn stats_when(proxy: &Proxy, wanted: impl Fn(&Value) -> bool) -> Value {
    stats_of(proxy, |it| wanted(&it["main"]["server1"]))["main"]["server1"].clone()
}

/// Everything that is said to these bytes by somebody who knows that no more will come.
fn said(mut client: Client, bytes: &[u8]) -> Vec<u8> {
    // Who closes in the middle of it answers nothing.
    let _ = client.try_send(bytes);
    client.half_close();
    client.read_to_end()
}

/// Commands as arrays.
fn inline(lines: &[&str]) -> String {
    let bulk = |word: &str| format!("${}\r\n{word}\r\n", word.len());
    let array = |line: &&str| {
        let bulks: String = line.split(' ').map(bulk).collect();
        format!("*{}\r\n{bulks}", line.split(' ').count())
    };
    lines.iter().map(array).collect()
}
