//! Subscriptions: messages of all servers, on one connection to each, to whom they belong.

use std::time::Duration;

use crate::clients::python_with;
use crate::support::{Client, LONG, PoolSpec, Proxy, Redis, wait_until};

/// Channels of which each of three servers has some.
const CHANNELS: usize = 40;

struct Stand {
    proxy: Proxy,
    servers: Vec<Redis>,
}

impl Stand {
    fn start(count: usize, settings: &[(&str, &str)]) -> Self {
        let servers: Vec<Redis> = (0..count).map(|_| Redis::start(&[])).collect();
        let ports: Vec<u16> = servers.iter().map(Redis::port).collect();
        let mut pool = PoolSpec::redis(&ports);
        for (key, value) in settings {
            pool = pool.set(key, value);
        }
        if settings.iter().all(|(key, _)| *key != "timeout") {
            pool = pool.set("timeout", 5000);
        }
        Self { proxy: Proxy::twinring(pool), servers }
    }

    fn client(&self) -> Client {
        Client::connect(self.proxy.port())
    }

    /// How many connections are subscribed to a channel, over all servers.
    fn subscribers(&self, channel: &str) -> usize {
        let count = |server: &Redis| {
            let mut client = Client::connect(server.port());
            client.send(format!("PUBSUB NUMSUB {channel}\r\n"));
            let reply = String::from_utf8(client.redis_reply()).expect("a text");
            let count = reply.trim_end().rsplit(':').next().map(str::to_owned);
            count.and_then(|count| count.parse::<usize>().ok()).expect("a count")
        };
        self.servers.iter().map(count).sum()
    }
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn frame(kind: char, parts: &[&str]) -> String {
    let parts_text: String = parts.iter().map(|part| bulk(part)).collect();
    format!("{kind}{}\r\n{parts_text}", parts.len())
}

fn confirmed(kind: char, verb: &str, name: &str, count: usize) -> String {
    format!("{kind}3\r\n{}{}:{count}\r\n", bulk(verb), bulk(name))
}

#[test]
fn messages_of_all_servers_reach_whoever_asked_for_them() {
    let stand = Stand::start(3, &[]);
    let (mut old, mut new, mut publisher) = (stand.client(), stand.client(), stand.client());
    new.send("HELLO 3\r\n");
    new.redis_reply();
    let channel = |at: usize| format!("channel:{}", at * 7919);
    let names: Vec<String> = (0..CHANNELS).map(channel).collect();
    let answers = |kind: char| -> String {
        let each = names.iter().enumerate();
        each.map(|(at, name)| confirmed(kind, "subscribe", name, at + 1)).collect()
    };
    old.ask(format!("SUBSCRIBE {}\r\n", names.join(" ")), answers('*'));
    new.ask(format!("SUBSCRIBE {}\r\n", names.join(" ")), answers('>'));
    new.ask("PSUBSCRIBE channel:*\r\n", confirmed('>', "psubscribe", "channel:*", CHANNELS + 1));
    new.ask("SSUBSCRIBE shard\r\n", confirmed('>', "ssubscribe", "shard", 1));
    for name in &names {
        publisher.send(format!("PUBLISH {name} {name}!\r\n"));
        let text = format!("{name}!");
        old.expect(frame('*', &["message", name, &text]));
        let told = frame('>', &["pmessage", "channel:*", name, &text]);
        new.expect(frame('>', &["message", name, &text]) + &told);
    }
    publisher.send("SPUBLISH shard s\r\n");
    new.expect(frame('>', &["smessage", "shard", "s"]));
    for name in &names {
        assert_eq!(stand.subscribers(name), 1, "the sessions do not share a connection");
    }
    // In RESP3 replies and messages are told apart.
    new.ask("SET k v\r\nGET k\r\n", "+OK\r\n$1\r\nv\r\n");
}

#[test]
fn who_listens_is_told_of_all_servers_together() {
    let mut stand = Stand::start(3, &[]);
    let mut listener = stand.client();
    listener.send("HELLO 3\r\n");
    listener.redis_reply();
    let mut names: Vec<String> = (0..CHANNELS).map(|at| format!("channel:{}", at * 7919)).collect();
    names.sort();
    for request in [
        format!("SUBSCRIBE {} other\r\n", names.join(" ")),
        "PSUBSCRIBE channel:* o?her\r\n".to_owned(),
        "SSUBSCRIBE s1 s2 s3\r\n".to_owned(),
    ] {
        let confirmations = request.split(' ').count() - 1;
        listener.send(request);
        (0..confirmations).for_each(|_| drop(listener.redis_reply()));
    }
    // Somebody listens past the proxy, to a channel and a pattern that the proxy has as well.
    let mut direct: Vec<Client> =
        stand.servers.iter().map(|server| Client::connect(server.port())).collect();
    for client in &mut direct {
        client.ask("SUBSCRIBE other\r\n", confirmed('*', "subscribe", "other", 1));
    }
    direct[0].ask("PSUBSCRIBE o?her\r\n", confirmed('*', "psubscribe", "o?her", 2));
    for version in [2, 3] {
        let mut client = stand.client();
        client.send(format!("HELLO {version}\r\n"));
        client.redis_reply();
        let mut list = |request: &str| -> Vec<String> {
            client.send(format!("PUBSUB {request}\r\n"));
            let reply = String::from_utf8(client.redis_reply()).expect("a text");
            let mut lines: Vec<String> =
                reply.lines().skip(2).step_by(2).map(str::to_owned).collect();
            assert!(reply.starts_with(&format!("*{}\r\n", lines.len())), "{reply}");
            lines.sort();
            lines
        };
        assert_eq!(list("CHANNELS channel:*"), names);
        assert_eq!(list("channels"), [&names[..], &["other".to_owned()]].concat());
        assert_eq!(list("SHARDCHANNELS"), ["s1", "s2", "s3"]);
        client.ask("PUBSUB NUMPAT\r\n", ":2\r\n");
        let count = |name: &str, count: usize| format!("{}:{count}\r\n", bulk(name));
        let counts = ["s1", "s9", "s3"].into_iter().zip([1, 0, 1]).map(|(name, n)| count(name, n));
        let counts = format!("*6\r\n{}", counts.collect::<String>());
        client.ask("PUBSUB SHARDNUMSUB s1 s9 s3\r\n", counts);
        let counts: String = names.iter().map(|name| count(name, 1)).collect();
        let counts = format!("*{}\r\n{counts}{}", 2 * CHANNELS + 2, count("other", 4));
        client.ask(format!("PUBSUB NUMSUB {} other\r\n", names.join(" ")), counts);
    }
    stand.servers[1].kill();
    let mut client = stand.client();
    client.send("PUBSUB CHANNELS\r\n");
    assert!(client.redis_reply().starts_with(b"-ERR Connection "));
}

#[test]
fn a_subscribed_session_may_do_what_redis_lets_it_do() {
    let stand = Stand::start(1, &[]);
    let direct = Client::connect(stand.servers[0].port());
    for mut client in [direct, stand.client()] {
        let mut ask = |request: &str, reply: &str| client.ask(format!("{request}\r\n"), reply);
        ask("UNSUBSCRIBE", "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n");
        ask("UNSUBSCRIBE a", &confirmed('*', "unsubscribe", "a", 0));
        let twice = confirmed('*', "subscribe", "a", 1);
        ask("SUBSCRIBE a a", &format!("{twice}{twice}"));
        ask(
            "GET k",
            "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
             RESET are allowed in this context\r\n",
        );
        ask("PING", "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
        ask("PING x", "*2\r\n$4\r\npong\r\n$1\r\nx\r\n");
        ask("PSUBSCRIBE b*", &confirmed('*', "psubscribe", "b*", 2));
        ask("UNSUBSCRIBE", &confirmed('*', "unsubscribe", "a", 1));
        ask("SSUBSCRIBE s", &confirmed('*', "ssubscribe", "s", 1));
        ask(
            "PUNSUBSCRIBE b* c*",
            &format!(
                "{}{}",
                confirmed('*', "punsubscribe", "b*", 0),
                confirmed('*', "punsubscribe", "c*", 0),
            ),
        );
        ask("SUNSUBSCRIBE", &confirmed('*', "sunsubscribe", "s", 0));
        ask("GET k", "$-1\r\n");
        ask("SUBSCRIBE a", &confirmed('*', "subscribe", "a", 1));
        ask("RESET", "+RESET\r\n");
        ask("GET k", "$-1\r\n");
        ask("SUBSCRIBE", "-ERR wrong number of arguments for 'subscribe' command\r\n");
    }
    let mut client = stand.client();
    client.ask("MULTI\r\n", "+OK\r\n");
    client.send("SUBSCRIBE a\r\nEXEC\r\n");
    assert!(client.redis_reply().starts_with(b"-ERR SUBSCRIBE cannot be queued"));
    assert!(client.redis_reply().starts_with(b"-EXECABORT"));
}

#[test]
fn whoever_leaves_is_forgotten_at_the_server() {
    let stand = Stand::start(1, &[]);
    let mut clients: Vec<Client> = (0..50).map(|_| stand.client()).collect();
    for client in &mut clients {
        client.ask("SUBSCRIBE a\r\n", confirmed('*', "subscribe", "a", 1));
    }
    assert_eq!(stand.subscribers("a"), 1);
    clients.truncate(1);
    let mut publisher = stand.client();
    publisher.ask("PUBLISH a 1\r\n", ":1\r\n");
    clients[0].expect(frame('*', &["message", "a", "1"]));
    clients.clear();
    assert!(wait_until(LONG, || stand.subscribers("a") == 0));
    for _ in 0..50 {
        // Gone before it is answered, or just after.
        stand.client().send("SUBSCRIBE b\r\nPSUBSCRIBE c*\r\n");
    }
    assert!(wait_until(LONG, || stand.subscribers("b") == 0));
    stand.client().ask("SUBSCRIBE b\r\n", confirmed('*', "subscribe", "b", 1));
}

#[test]
fn a_lost_server_ends_the_sessions_that_listened_to_it_and_no_others() {
    let mut stand = Stand::start(2, &[]);
    let on = |stand: &Stand, server: usize| -> String {
        let names = (0..).map(|at| format!("k{}", at * 7919));
        let at = |name: &String| {
            let mut client = stand.client();
            client.ask(format!("SET {name} 1\r\n"), "+OK\r\n");
            let mut direct = Client::connect(stand.servers[server].port());
            direct.send(format!("EXISTS {name}\r\n"));
            direct.redis_reply() == b":1\r\n"
        };
        names.take(100).find(at).expect("a name on the server")
    };
    let (here, there) = (on(&stand, 0), on(&stand, 1));
    let (mut lost, mut kept) = (stand.client(), stand.client());
    lost.ask(format!("SUBSCRIBE {here}\r\n"), confirmed('*', "subscribe", &here, 1));
    kept.ask(format!("SUBSCRIBE {there}\r\n"), confirmed('*', "subscribe", &there, 1));
    stand.servers[0].restart();
    lost.expect_closed();
    let mut publisher = stand.client();
    publisher.send(format!("PUBLISH {there} m\r\n"));
    kept.expect(frame('*', &["message", &there, "m"]));
    let mut again = stand.client();
    again.ask(format!("SUBSCRIBE {here}\r\n"), confirmed('*', "subscribe", &here, 1));
    publisher.send(format!("PUBLISH {here} m\r\n"));
    again.expect(frame('*', &["message", &here, "m"]));
    stand.servers[0].kill();
    again.expect_closed();
    let mut late = stand.client();
    late.send(format!("SUBSCRIBE {here}\r\n"));
    assert!(late.redis_reply().starts_with(b"-ERR "));
    late.ask(format!("GET {there}\r\n"), "$1\r\n1\r\n");
}

#[test]
fn a_silent_server_is_waited_for_as_long_as_the_pool_says() {
    let stand = Stand::start(1, &[("timeout", "1000")]);
    let (mut first, mut second) = (stand.client(), stand.client());
    first.ask("SUBSCRIBE a\r\n", confirmed('*', "subscribe", "a", 1));
    stand.servers[0].process.freeze();
    second.ask("SUBSCRIBE b\r\n", "-ERR Connection timed out\r\n");
    // What was on the connection is lost with it.
    first.expect_closed();
    stand.servers[0].process.thaw();
    let subscribed = wait_until(LONG, || {
        second.send("SUBSCRIBE b\r\n");
        second.redis_reply() == confirmed('*', "subscribe", "b", 1).as_bytes()
    });
    assert!(subscribed, "the server is not tried again");
    // Nobody who only listens is late.
    let mut publisher = stand.client();
    publisher.send("BLPOP nothing 1.5\r\n");
    publisher.expect("*-1\r\n");
    publisher.ask("PUBLISH b m\r\n", ":1\r\n");
    second.expect(frame('*', &["message", "b", "m"]));
}

#[test]
fn a_server_that_refuses_is_quoted() {
    let redis = Redis::start(&[
        "--user",
        "default",
        "on",
        "nopass",
        "~*",
        "+@all",
        "resetchannels",
        "&open",
    ]);
    let proxy = Proxy::twinring(PoolSpec::redis(&[redis.port()]).set("timeout", 1000));
    let mut client = proxy.client();
    client.send("SUBSCRIBE open closed\r\n");
    let said = String::from_utf8(client.redis_reply()).expect("a text");
    assert!(said.starts_with("-NOPERM "), "{said}");
    client.ask("GET k\r\n", "$-1\r\n");
    client.ask("SUBSCRIBE open\r\n", confirmed('*', "subscribe", "open", 1));
}

#[test]
fn a_message_does_not_break_into_a_reply_and_a_slow_reader_is_given_up() {
    let stand = Stand::start(1, &[("limits", "{ client_output: 24MiB }")]);
    let (mut reader, mut publisher) = (stand.client(), stand.client());
    let value = "v".repeat(8 << 20);
    publisher.send(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n{}", bulk(&value)));
    publisher.expect("+OK\r\n");
    reader.send("HELLO 3\r\nSUBSCRIBE a\r\n");
    reader.redis_reply();
    reader.expect(confirmed('>', "subscribe", "a", 1));
    reader.send("GET k\r\n");
    publisher.ask("PUBLISH a m\r\n".repeat(100), ":1\r\n".repeat(100));
    let mut whole = 0;
    let mut messages = 0;
    while whole < 1 || messages < 100 {
        let reply = reader.redis_reply();
        if reply == frame('>', &["message", "a", "m"]).as_bytes() {
            messages += 1;
        } else {
            assert!(reply == bulk(&value).as_bytes(), "{} bytes", reply.len());
            whole += 1;
        }
    }
    let message = format!("*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n{}", bulk(&value));
    let given_up = wait_until(Duration::from_secs(30), || {
        publisher.send(&message);
        publisher.redis_reply() == b":0\r\n"
    });
    assert!(given_up, "it is owed more than it may");
}

#[test]
fn redis_py_listens_in_both_versions() {
    let stand = Stand::start(3, &[]);
    python_with("redis_pubsub.py", &[&stand.proxy.port().to_string()], &[]);
}
