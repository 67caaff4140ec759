//! Names that lead elsewhere, or nowhere any more.
//!
//! The proxy has a hosts file of its own, which a test rewrites, and no name server that answers.
//! Where the system does not allow that, the tests of `src/net/resolve` have to do, which also hold
//! what cannot be had so: look-ups that hang.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use crate::support::{Fake, LONG, PoolSpec, Port, Proxy, Scratch, Stand, wait_until};

const GET: &str = "*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
const SET: &str = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n";
const READ_ONLY: &str = "-READONLY You can't write against a read only replica.\r\n";

/// For a server that closes no connection by itself.
const FOR_EVER: usize = usize::MAX;

/// Two servers on one port of two addresses, and a proxy that knows them as `cache.test`.
struct Named {
    first: Fake,
    second: Fake,
    proxy: Proxy,
    names: Scratch,
    _port: Port,
}

impl Named {
    /// The servers answer with these replies, so many on each connection; the name leads to the
    /// first. `None` where the system does not let a process have a hosts file of its own.
    fn start(replies: [&'static str; 2], times: usize) -> Option<Self> {
        if !may_mount() {
            eprintln!("no mount namespaces here: names are tested in src/net/resolve alone");
            return None;
        }
        let answer = |reply: &'static str| {
            move |mut stand: Stand| {
                let mut left = times;
                while left > 0 && stand.redis_request().is_some() {
                    stand.reply(reply);
                    left -= 1;
                }
            }
        };
        let (port, names) = (Port::take(), Scratch::new());
        let first = Fake::on(port.number(), answer(replies[0]));
        let second = Fake::at(Ipv4Addr::new(127, 0, 0, 2), port.number(), answer(replies[1]));
        names.file("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
        names.file("hosts", "127.0.0.1 cache.test\n");
        let pool = PoolSpec::of(true, vec![format!("cache.test:{}:1 server1", port.number())]);
        let proxy = Proxy::twinring_with_names(names.path(), pool.set("timeout", 5000));
        Some(Self { first, second, proxy, names, _port: port })
    }

    /// From now on the name leads to these addresses.
    fn lead_to(&self, addresses: &[&str]) {
        let hosts: String = addresses.iter().map(|ip| format!("{ip} cache.test\n")).collect();
        self.names.file("hosts", &hosts);
    }

    fn counted(&self, name: &str) -> f64 {
        self.proxy.metrics().get(name, &[])
    }
}

fn may_mount() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "mount", "--bind", "/etc/hosts", "/etc/hosts"]);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

#[test]
fn f12_a_replica_is_left_if_its_name_leads_elsewhere() {
    let Some(named) = Named::start([READ_ONLY, "+OK\r\n"], FOR_EVER) else { return };
    let (mut client, mut idle) = (named.proxy.client(), named.proxy.client());
    client.ask(SET, READ_ONLY);
    named.lead_to(&["127.0.0.2"]);
    // Each request gets its one reply, whichever server it went to.
    let mut moved = 0;
    let left = wait_until(LONG, || {
        client.send(SET.repeat(100));
        let replies: Vec<Vec<u8>> = (0..100).map(|_| client.read_line()).collect();
        let good = |reply: &Vec<u8>| reply.starts_with(b"+OK");
        let bad = |reply: &Vec<u8>| reply.starts_with(b"-READONLY ");
        assert!(replies.iter().all(|reply| good(reply) || bad(reply)));
        assert!(replies.is_sorted_by_key(good), "the first one is used again");
        moved = replies.iter().filter(|reply| good(reply)).count();
        moved == 100
    });
    assert!(left, "the replica is still written to");
    idle.ask(SET, "+OK\r\n");
    assert_eq!((named.first.accepted(), named.second.accepted()), (1, 1));
    let failures = named.proxy.metrics().get("twinring_backend_failures_total", &[]);
    assert!(failures == 0.0, "moving is no failure");
}

#[test]
fn f12_a_replica_that_stays_one_is_kept() {
    let Some(named) = Named::start([READ_ONLY, "+OK\r\n"], FOR_EVER) else { return };
    let mut client = named.proxy.client();
    client.ask(SET, READ_ONLY);
    // Its address is one of several now.
    named.lead_to(&["127.0.0.2", "127.0.0.1"]);
    let asked = wait_until(LONG, || {
        client.ask(SET, READ_ONLY);
        named.counted("twinring_dns_lookups_total") >= 3.0
    });
    assert!(asked, "the name is not looked up again");
    client.ask(SET.repeat(100), READ_ONLY.repeat(100));
    assert_eq!((named.first.accepted(), named.second.accepted()), (1, 0));
}

#[test]
fn f59_a_name_that_is_lost_leads_to_its_old_address() {
    // Each request needs a connection of its own.
    let Some(named) = Named::start(["$1\r\n1\r\n", "$1\r\n2\r\n"], 1) else { return };
    let mut client = named.proxy.client();
    client.ask(GET, "$1\r\n1\r\n");
    named.lead_to(&[]);
    let lost = wait_until(LONG, || {
        client.ask(GET, "$1\r\n1\r\n");
        named.counted("twinring_dns_failures_total") >= 1.0
    });
    assert!(lost, "no failure is counted");
    client.ask(GET, "$1\r\n1\r\n");
    assert_eq!(named.second.accepted(), 0);
}

#[test]
fn f59_a_name_without_any_address() {
    let Some(named) = Named::start(["$1\r\n1\r\n", "$1\r\n2\r\n"], 1) else { return };
    named.lead_to(&[]);
    let mut client = named.proxy.client();
    client.ask(GET, "-ERR Host is down\r\n");
    assert!(named.counted("twinring_dns_failures_total") >= 1.0);
    named.lead_to(&["127.0.0.1"]);
    let found = wait_until(LONG, || {
        client.send(GET);
        client.redis_reply() == b"$1\r\n1\r\n"
    });
    assert!(found, "the name is not looked up again");
}

#[test]
fn f60_new_connections_go_to_the_new_address() {
    let Some(named) = Named::start(["$1\r\n1\r\n", "$1\r\n2\r\n"], 1) else { return };
    let mut client = named.proxy.client();
    client.ask(GET, "$1\r\n1\r\n");
    named.lead_to(&["127.0.0.2"]);
    let moved = wait_until(LONG, || {
        client.send(GET);
        match client.redis_reply().as_slice() {
            b"$1\r\n1\r\n" => false,
            b"$1\r\n2\r\n" => true,
            reply => panic!("{}", reply.escape_ascii()),
        }
    });
    assert!(moved, "the old address is still dialled");
    client.ask(GET, "$1\r\n2\r\n");
}

#[test]
fn f60_a_server_is_found_by_a_name_of_the_system() {
    let fake = Fake::start(|mut stand| {
        while stand.redis_request().is_some() {
            stand.reply("$1\r\n1\r\n");
        }
    });
    let server = format!("localhost:{}:1 server1", fake.port());
    let proxy = Proxy::twinring(PoolSpec::of(true, vec![server]).set("timeout", 5000));
    proxy.client().ask(GET, "$1\r\n1\r\n");
    assert_eq!(proxy.metrics().get("twinring_dns_lookups_total", &[]), 1.0);
    assert_eq!(proxy.metrics().get("twinring_dns_failures_total", &[]), 0.0);
}
