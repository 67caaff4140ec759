//! RESP3: a lane of its own to each server, and what a server says without being asked.

use crate::support::{Client, Fake, PoolSpec, Proxy, Redis, Stand};

/// Answers the greeting of RESP3 and says what comes next.
fn greeted(stand: &mut Stand) -> Option<Vec<Vec<u8>>> {
    loop {
        let request = stand.client.redis_request()?;
        match request[0].as_slice() {
            b"HELLO" => stand.reply("%1\r\n+proto\r\n:3\r\n"),
            b"PING" => stand.reply("+PONG\r\n"),
            _ => return Some(request),
        }
    }
}

#[test]
fn pushes_answer_nothing_and_attributes_are_passed_on() {
    let long = format!(">2\r\n+message\r\n${}\r\n{}\r\n", 200_000, "x".repeat(200_000));
    let server = Fake::start(move |mut stand| {
        while let Some(request) = greeted(&mut stand) {
            match request[1].as_slice() {
                b"pushed" => {
                    stand.reply(format!(">1\r\n+a\r\n{long}$1\r\nv\r\n>1\r\n+b\r\n"));
                }
                b"attributed" => stand.reply("|1\r\n+ttl\r\n:5\r\n$1\r\nw\r\n"),
                _ => stand.reply("_\r\n"),
            }
        }
    });
    let proxy = Proxy::twinring(PoolSpec::redis(&[server.port()]).set("timeout", 5000));
    let mut client = proxy.client();
    client.send("HELLO 3\r\n");
    client.redis_reply();
    for _ in 0..3 {
        client.ask("GET pushed\r\nGET a\r\n", "$1\r\nv\r\n_\r\n");
        client.ask("GET attributed\r\n", "|1\r\n+ttl\r\n:5\r\n$1\r\nw\r\n");
    }
    assert_eq!(server.accepted(), 1, "a push has ended a connection, or a lane was not needed");
}

#[test]
fn a_server_without_resp3_serves_those_who_do_not_ask_for_it() {
    let server = Fake::start(|mut stand| {
        while let Some(request) = stand.client.redis_request() {
            match request[0].as_slice() {
                b"HELLO" => stand.reply("-ERR unknown command `HELLO`\r\n"),
                b"PING" => stand.reply("+PONG\r\n"),
                _ => stand.reply("+fine\r\n"),
            }
        }
    });
    let proxy = Proxy::twinring(PoolSpec::redis(&[server.port()]).set("timeout", 5000));
    let (mut old, mut new) = (proxy.client(), proxy.client());
    new.send("HELLO 3\r\n");
    new.redis_reply();
    for _ in 0..10 {
        new.ask("GET a\r\n", "-ERR the server does not speak RESP3\r\n");
        old.ask("GET a\r\n", "+fine\r\n");
    }
    new.send("HELLO 2\r\n");
    new.redis_reply();
    new.ask("GET a\r\n", "+fine\r\n");
}

#[test]
fn a_version_changes_between_requests_and_overtakes_none() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::twinring(PoolSpec::redis(&[redis.port()]).set("timeout", 5000));
    let mut client = proxy.client();
    let request = |round: u32| format!("HELLO {}\r\nINCR n\r\nGET none\r\n", 3 - round % 2);
    client.send((0..200).map(request).collect::<String>());
    for round in 0..200 {
        let (kind, nil) = if round % 2 == 0 { (b'%', "_\r\n") } else { (b'*', "$-1\r\n") };
        assert_eq!(client.redis_reply()[0], kind);
        client.expect(format!(":{}\r\n{nil}", round + 1));
    }
}

#[test]
fn a_user_and_a_password_open_the_proxy_and_its_servers() {
    let redis = Redis::start(&[
        "--user", "default", "off", "--user", "app", "on", ">secret", "~*", "&*", "+@all",
    ]);
    let pool = PoolSpec::redis(&[redis.port()]).set("timeout", 5000);
    let pool = pool.set("redis_auth", "secret").set("redis_user", "app");
    let proxy = Proxy::twinring(pool);
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    let mut client = proxy.client();
    client.ask("GET a\r\n", "-NOAUTH Authentication required.\r\n");
    client.send("HELLO 3\r\n");
    assert!(client.redis_reply().starts_with(b"-NOAUTH HELLO must be called"));
    client.ask("AUTH default secret\r\nAUTH app wrong\r\n", format!("{wrong}{wrong}"));
    client.ask("HELLO 3 AUTH app wrong\r\n", wrong);
    client.ask("AUTH app secret\r\nGET a\r\n", "+OK\r\n$-1\r\n");
    let mut other = Client::connect(proxy.port());
    other.send("HELLO 3 AUTH app secret SETNAME me\r\n");
    assert_eq!(other.redis_reply()[0], b'%');
    other.ask("GET a\r\nCLIENT GETNAME\r\nRESET\r\n", "_\r\n$2\r\nme\r\n+RESET\r\n");
    other.ask("GET a\r\n", "-NOAUTH Authentication required.\r\n");
    other.ask("AUTH secret\r\nGET a\r\n", "+OK\r\n$-1\r\n");
}
