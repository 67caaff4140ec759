//! A proxy over real sockets whose servers change.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::{Flow, Inbox, Io, Letter, Owner, Phase, Resolver, Ticket};
use crate::config::{Config, Dead, Node, Pool as Settings, parse};
use crate::metrics::{PoolShape, Registry};
use crate::protocol::{Parsed, Request, Rules, memcache};
use crate::service::change::{Plan, Snapshot};
use crate::service::dispatch::Turn;
use crate::service::identity::Identity;
use crate::service::proxy::{Caller, Duty, Proxy};
use crate::service::replies::{Clients, Progress};
use crate::topology::State;

/// What clients were told, each with the number of the request.
#[derive(Default)]
struct Told(Vec<(u32, String)>);

impl Clients for Told {
    fn reply(&mut self, _: &mut Io, ticket: Ticket, bytes: &[u8], _: bool) -> Flow {
        self.0.push((ticket.seq, String::from_utf8_lossy(bytes).into_owned()));
        Flow::Go
    }

    fn cut(&mut self, _: Ticket) {}

    fn resume(&mut self, _: &mut Io, _: Ticket) {}

    fn give_up(&mut self, _: Ticket) {}

    fn push(&mut self, _: Ticket, _: &[u8]) {}

    fn subscribed(&mut self, _: Ticket, _: bool) {}

    fn speaks_resp3(&mut self, _: Ticket) -> bool {
        false
    }

    fn progress(&mut self, _: Ticket) -> Progress {
        Progress::Reading
    }
}

struct Stand {
    proxy: Proxy,
    registry: Registry,
    io: Io,
    told: Told,
    listeners: Vec<TcpListener>,
    settings: Settings,
    next: u32,
}

impl Stand {
    /// A pool over servers `s0` and so on, to which nobody answers unless a test does.
    fn new(servers: usize) -> Self {
        let listeners: Vec<TcpListener> =
            (0..servers).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let entries: Vec<String> = (0..)
            .zip(&listeners)
            .map(|(index, it)| format!("'{}:1 s{index}'", it.local_addr().unwrap()))
            .collect();
        let entries = entries.join(", ");
        let text = format!("pools: {{ a: {{ listen: 127.0.0.1:0, servers: [{entries}] }} }}");
        let config: Config = parse(&text, "test", false).unwrap();
        listeners.iter().for_each(|it| it.set_nonblocking(true).unwrap());
        let settings = config.pools[0].clone();
        let registry = Registry::new(vec![shape(&settings)], 1);
        let (inbox, mail) = Inbox::new(16);
        let names = Resolver::new(Box::new(|_| Ok(Vec::new())), Box::new(|_| ()));
        let reach = (inbox, names, Vec::new().into());
        let banks = Arc::clone(&registry.layout().workers[0]);
        let proxy = Proxy::new(&config, banks, reach, vec![None]);
        let (io, told, next) = (Io::new(mail), Told::default(), 0);
        Self { proxy, registry, io, told, listeners, settings, next }
    }

    fn adopt(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        let layout = self.registry.publish(vec![Some(shape(&self.settings))]);
        let plan = Plan::new(Arc::new(self.settings.clone()), None, Arc::default());
        let pools = vec![plan];
        let snapshot = Snapshot { buffers: 1 << 20, grace: Duration::ZERO, pools };
        let turn = &mut Turn { now: Instant::now(), io: &mut self.io, clients: &mut self.told };
        self.proxy.adopt(turn, &snapshot, &layout.workers[0]);
    }

    /// Asks for a key; the number of the request.
    fn get(&mut self, key: &str) -> u32 {
        self.next += 1;
        let (text, mut args) = (format!("get {key}\r\n"), Vec::new());
        let rules: Rules =
            *self.proxy.rules(0, &Identity { authenticated: true, ..Identity::default() });
        let parsed = memcache::parse(text.as_bytes(), &rules, &mut args);
        let Parsed::Request(head) = parsed else { panic!("{text:?} is no request") };
        let request = Request { head: &head, bytes: text.as_bytes(), args: &args };
        let ticket = Ticket { session: 1, serial: 1, seq: self.next };
        let caller = Caller { pool: 0, ticket, resp3: false };
        let turn = &mut Turn { now: Instant::now(), io: &mut self.io, clients: &mut self.told };
        self.proxy.request(turn, caller, request);
        self.proxy.flush(turn);
        self.next
    }

    /// What a request has been told at once, if anything.
    fn told(&self, request: u32) -> Option<&str> {
        let told = self.told.0.iter().find(|(number, _)| *number == request);
        told.map(|(_, text)| text.as_str())
    }

    /// Lets sockets and time do their work until `done`.
    async fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        let (mut tokens, mut mail) = (Vec::new(), Vec::new());
        while !done(self) {
            assert!(Instant::now() < end, "not in time");
            let soon = Instant::now() + Duration::from_millis(1);
            self.io.turn(Some(soon), &mut tokens, &mut mail).await;
            let turn = &mut Turn { now: Instant::now(), io: &mut self.io, clients: &mut self.told };
            for letter in mail.drain(..) {
                if let Letter::Dialled { connection, attempt, result } = letter {
                    self.proxy.dialled(turn, (connection, attempt), result);
                }
            }
            for &token in &tokens {
                if let Some(Owner::Server(link)) = turn.io.owner(token) {
                    self.proxy.ready(turn, link);
                }
            }
            self.proxy.tick(turn);
            self.proxy.flush(turn);
        }
    }

    /// Places that are taken by connections.
    fn links(&self) -> usize {
        self.proxy.links.iter().filter(|link| link.duty != Duty::Gone).count()
    }

    fn is_dialled(&self, server: usize) -> bool {
        self.listeners[server].accept().is_ok()
    }
}

fn shape(settings: &Settings) -> PoolShape {
    let servers = settings.servers.iter().map(|server| server.name.clone()).collect();
    PoolShape {
        name: "a".to_owned(),
        protocol: "memcache",
        servers,
        near_cache: false,
        connections: 1,
    }
}

/// Answers what a peer has sent, if anything: greetings, and reads with misses.
fn answer(mut peer: &TcpStream) {
    let _ = peer.set_nonblocking(true);
    let mut bytes = [0; 4096];
    let read = peer.read(&mut bytes).unwrap_or(0);
    for line in String::from_utf8_lossy(&bytes[..read]).lines() {
        let version = line == "version";
        peer.write_all(if version { b"VERSION 1\r\n" } else { b"END\r\n" }).unwrap();
    }
}

fn mark_down(servers: &mut [Node]) {
    servers[0].state = State::Down;
}

#[tokio::test]
async fn a_server_that_is_marked_down_is_answered_for_at_once_and_never_dialled() {
    let mut stand = Stand::new(1);
    stand.adopt(|pool| mark_down(&mut pool.servers));
    let request = stand.get("k");
    assert_eq!(stand.told(request), Some("SERVER_ERROR the server is marked down\r\n"));
    stand.adopt(|pool| pool.dead = Dead::Miss);
    let request = stand.get("k");
    assert_eq!(stand.told(request), Some("END\r\n"));
    let several = stand.get("k l");
    assert_eq!(stand.told(several), Some("END\r\n"));
    assert!(stand.proxy.next_alarm().is_none(), "nothing is probed");
    assert!(!stand.is_dialled(0));
    // It is asked again when it is up.
    stand.adopt(|pool| pool.servers[0].state = State::Up);
    let request = stand.get("k");
    assert_eq!(stand.told(request), None);
    stand.until(|stand| stand.is_dialled(0)).await;
}

#[tokio::test]
async fn only_where_dead_servers_leave_the_ring_one_that_is_marked_down_does() {
    let keys = || (0..40).map(|number| format!("{number}k"));
    for (dead, answered) in [(Dead::Rehash, false), (Dead::Error, true)] {
        let mut stand = Stand::new(2);
        stand.adopt(|pool| pool.dead = dead);
        stand.adopt(|pool| mark_down(&mut pool.servers));
        let told = keys().filter(|key| {
            let request = stand.get(key);
            stand.told(request).is_some()
        });
        assert_eq!(told.count() > 0, answered, "{dead:?}");
        stand.until(|stand| stand.is_dialled(1)).await;
        assert!(!stand.is_dialled(0));
    }
}

#[tokio::test]
async fn servers_that_come_and_go_leave_no_place_taken() {
    let mut stand = Stand::new(3);
    let all = stand.settings.servers.clone();
    for round in 0..50 {
        stand.adopt(|pool| {
            pool.servers.clone_from(&all);
            pool.servers.remove(round % 3);
        });
        stand.get(&format!("{round}k"));
    }
    stand.adopt(|pool| pool.servers.clone_from(&all));
    // Requests to servers that nobody serves wait, and with them what those connections take.
    let held = |stand: &Stand| stand.proxy.links.iter().map(|it| it.connection.depth()).sum();
    let waiting: usize = held(&stand);
    assert!(stand.links() <= 3 + waiting, "{} places", stand.links());
    let mut peers = Vec::new();
    stand
        .until(|stand| {
            for listener in &stand.listeners {
                peers.extend(listener.accept().map(|(peer, _)| peer));
            }
            peers.iter().for_each(answer);
            held(stand) == 0_usize
        })
        .await;
    assert_eq!(stand.told.0.iter().filter(|(_, text)| text == "END\r\n").count(), 50);
    stand.adopt(|_| ());
    assert_eq!(stand.links(), 3, "what was left is gone");
    assert_eq!(stand.proxy.pools[0].servers.len(), 3);
    let ready = stand.proxy.links.iter().filter(|it| it.connection.phase() == Phase::Ready);
    assert!(ready.count() <= 3);
    assert!(stand.proxy.links.len() <= 60, "{}", stand.proxy.links.len());
}
