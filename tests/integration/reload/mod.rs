//! A running process takes another configuration: what changes, and all that must not. `sources`
//! has pools whose servers come from elsewhere.

mod sources;

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{
    Authority, Client, LONG, Memcached, Port, Process, Redis, Scratch, TlsClient, http_get,
    wait_until,
};

/// A process with a file that can be replaced.
struct Stand {
    process: Process,
    scratch: Scratch,
    admin: Port,
    head: String,
}

/// A pool of a file: name, listener, settings and servers as written there.
fn pool(name: &str, port: &Port, settings: &str, servers: &[String]) -> String {
    let listen = port.number();
    let mut text = format!("  {name}:\n    listen: 127.0.0.1:{listen}\n    timeout: 5s\n");
    for setting in settings.split(';').filter(|setting| !setting.is_empty()) {
        text.push_str(&format!("    {setting}\n"));
    }
    text.push_str("    servers:\n");
    servers.iter().for_each(|server| text.push_str(&format!("      - {server}\n")));
    text
}

fn server(port: u16, weight: u32, name: &str) -> String {
    format!("127.0.0.1:{port}:{weight} {name}")
}

fn redis_pool(port: &Port, servers: &[String]) -> String {
    pool("main", port, "protocol: redis", servers)
}

impl Stand {
    fn start(head: &str, pools: &str, port: &Port) -> Self {
        let scratch = Scratch::new();
        Self::at(scratch.path().join("twinring.yml"), scratch, head, pools, port)
    }

    /// With the file, which is written through whatever leads there, at `path`.
    fn at(path: PathBuf, scratch: Scratch, head: &str, pools: &str, port: &Port) -> Self {
        let admin = Port::take();
        let head = format!("admin: {{ listen: 127.0.0.1:{} }}\n{head}pools:\n", admin.number());
        fs::write(&path, format!("{head}{pools}")).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_twinring"));
        command.arg("-c").arg(path);
        let mut process = Process::start(command);
        process.wait_for(port.number());
        Self { process, scratch, admin, head }
    }

    /// Replaces the file, in one step as careful editors do.
    fn write(&self, pools: &str) {
        self.write_text(&format!("{}{pools}", self.head));
    }

    fn write_text(&self, text: &str) {
        let new = self.scratch.file("twinring.yml.new", text);
        fs::rename(new, self.scratch.path().join("twinring.yml")).expect("a rename");
    }

    fn reload(&self) -> Output {
        Command::new(env!("CARGO_BIN_EXE_twinring"))
            .args(["reload", "--admin", &format!("127.0.0.1:{}", self.admin.number())])
            .stdin(Stdio::null())
            .output()
            .expect("the program starts")
    }

    /// Replaces the file and has it taken over; what the command said.
    fn apply(&self, pools: &str) -> String {
        self.write(pools);
        let done = self.reload();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert_eq!(done.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&done.stderr));
        said
    }

    /// Asks for it in vain: the exit code, and what was said.
    fn refused(&self) -> (Option<i32>, String) {
        let done = self.reload();
        (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
    }

    /// The value of a series, written with its labels.
    fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = http_get(self.admin.number(), "/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok())
    }

    fn reloads(&self, result: &str) -> u64 {
        let series = format!("twinring_reloads_total{{result=\"{result}\"}}");
        self.metric(&series).expect("a count") as u64
    }
}

/// Connections that a memcached has ever had; this question makes one.
fn connections_of(server: &Memcached) -> u64 {
    stat_of(server, "total_connections")
}

/// A figure of a memcached, which is asked for by a connection of its own.
fn stat_of(server: &Memcached, name: &str) -> u64 {
    let mut client = server.client();
    client.send("stats\r\n");
    let text = String::from_utf8(client.memcache_reply()).expect("a text");
    let of_it = |line: &str| line.strip_prefix("STAT ")?.strip_prefix(name)?.trim().parse().ok();
    text.lines().find_map(of_it).expect("a figure")
}

/// The same of a Redis.
fn connections_of_redis(server: &Redis, figure: &str) -> u64 {
    let mut client = Client::connect(server.port());
    client.send("INFO\r\n");
    let text = String::from_utf8(client.redis_reply()).expect("a text");
    let line = text.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'));
    line.and_then(|count| count.trim().parse().ok()).expect("a count")
}

/// Any of `0..below`, the next of a sequence.
fn draw(state: &mut u64, below: u64) -> u64 {
    // Knuth's MMIX generator; its high bits are good enough.
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

/// A client that pipelines stores and reads, of one key and of several, until it is told to stop;
/// how many requests were answered as they must be.
fn memcache_load(port: u16, number: u64, stop: &AtomicBool) -> u64 {
    let (mut client, mut state, mut answered) = (Client::connect(port), number, 0);
    while !stop.load(Ordering::Relaxed) {
        let keys: Vec<String> = (0..16).map(|_| format!("{}k", draw(&mut state, 400))).collect();
        for key in &keys {
            let len = key.len();
            client
                .send(format!("set {key} 0 0 {len}\r\n{key}\r\nget {key}\r\nget {key} x{key}\r\n"));
        }
        for key in &keys {
            client.expect("STORED\r\n");
            for _ in 0..2 {
                let reply = client.memcache_reply();
                // Where the key is now, it may not have been stored; another key must not come.
                let len = key.len();
                let whole = format!("VALUE {key} 0 {len}\r\n{key}\r\nEND\r\n");
                assert!(reply == b"END\r\n" || reply == whole.as_bytes(), "{reply:?} for {key}");
            }
            answered += 3;
        }
    }
    answered
}

fn redis_load(port: u16, number: u64, stop: &AtomicBool) -> u64 {
    let (mut client, mut state, mut answered) = (Client::connect(port), number, 0);
    while !stop.load(Ordering::Relaxed) {
        let keys: Vec<String> = (0..16).map(|_| format!("{}k", draw(&mut state, 400))).collect();
        for key in &keys {
            client.send(format!("SET {key} {key}\r\nMGET {key} x{key} y{key}\r\n"));
        }
        for key in &keys {
            client.expect("+OK\r\n");
            let reply = client.redis_reply();
            let len = key.len();
            let whole = format!("*3\r\n${len}\r\n{key}\r\n$-1\r\n$-1\r\n");
            let missing = b"*3\r\n$-1\r\n$-1\r\n$-1\r\n";
            assert!(reply == missing || reply == whole.as_bytes(), "{reply:?} for {key}");
            answered += 2;
        }
    }
    answered
}

/// Runs a load of four clients while `change` is called again and again; requests answered.
fn under_load(
    load: impl Fn(u64, &AtomicBool) -> u64 + Sync,
    mut change: impl FnMut(u64),
    changes: u64,
) -> u64 {
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for number in 1..=4 {
            let (load, stop, answered) = (&load, &stop, &answered);
            scope.spawn(move || answered.fetch_add(load(number, stop), Ordering::Relaxed));
        }
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (0..changes).for_each(&mut change);
        }));
        stop.store(true, Ordering::Relaxed);
        if let Err(why) = done {
            std::panic::resume_unwind(why);
        }
    });
    answered.into_inner()
}

const CHANGES: u64 = 60;

#[test]
fn servers_come_and_go_under_load_and_nobody_notices() {
    let servers: Vec<Memcached> = (0..4).map(|_| Memcached::start()).collect();
    let all: Vec<u16> = servers.iter().map(Memcached::port).collect();
    let port = Port::take();
    let entry = |index: usize, weight| server(all[index], weight, &format!("s{index}"));
    let whole: Vec<String> = (0..4).map(|index| entry(index, 1)).collect();
    let stand = Stand::start("workers: 2\n", &pool("main", &port, "", &whole), &port);
    // Both workers reach all servers before the first change.
    let mut early: Vec<Client> = (0..2).map(|_| Client::connect(port.number())).collect();
    for client in &mut early {
        (0..50).for_each(|key| client.ask(format!("get {key}w\r\n"), "END\r\n"));
    }
    let before = [connections_of(&servers[0]), connections_of(&servers[1])];
    let mut state = 7;
    let change = |round| {
        let mut now = vec![entry(0, 1 + draw(&mut state, 3) as u32), entry(1, 1)];
        for index in 2..4 {
            match draw(&mut state, 3) {
                0 => {}
                weight => now.push(entry(index, weight as u32)),
            }
        }
        let limit = format!("server_failure_limit: {}", 3 + round % 2);
        stand.apply(&pool("main", &port, &limit, &now));
    };
    let answered = under_load(|it, stop| memcache_load(port.number(), it, stop), change, CHANGES);
    assert!(answered > CHANGES * 10, "{answered}");
    let after = [connections_of(&servers[0]), connections_of(&servers[1])];
    // Each question was a connection of its own, and nothing else was.
    assert_eq!(after, before.map(|count| count + 1), "after {answered} requests");
    let errors = stand.metric("twinring_forward_errors_total{pool=\"main\"}");
    assert_eq!((stand.reloads("ok"), errors), (CHANGES, Some(0.0)));
    early.iter_mut().for_each(|client| client.ask("get w\r\n", "END\r\n"));
}

#[test]
fn addresses_change_under_their_names_under_load() {
    let servers: Vec<Redis> = (0..4).map(|_| Redis::start(&[])).collect();
    let port = Port::take();
    let at =
        |b: usize| [server(servers[0].port(), 1, "a"), server(servers[b].port(), 1, "b")].to_vec();
    let stand = Stand::start("", &redis_pool(&port, &at(1)), &port);
    let mut early = Client::connect(port.number());
    (0..50).for_each(|key| early.ask(format!("GET {key}w\r\n"), "$-1\r\n"));
    let before = connections_of_redis(&servers[0], "total_connections_received");
    let change = |round| {
        stand.apply(&redis_pool(&port, &at(1 + (1 + round as usize) % 3)));
    };
    let answered = under_load(|it, stop| redis_load(port.number(), it, stop), change, CHANGES);
    assert!(answered > CHANGES * 10, "{answered}");
    let after = connections_of_redis(&servers[0], "total_connections_received");
    assert_eq!(after, before + 1);
    assert_eq!(stand.metric("twinring_forward_errors_total{pool=\"main\"}"), Some(0.0));
    // It is where the last change put it, and left the others; a connection
    // opens with a request, and the load may have ended before the last change.
    (0..50).for_each(|key| early.ask(format!("GET {key}w\r\n"), "$-1\r\n"));
    for (index, server) in servers.iter().enumerate() {
        let here = if index == 0 || index as u64 == 1 + CHANGES % 3 { 2 } else { 1 };
        let count = || connections_of_redis(server, "connected_clients");
        assert!(wait_until(LONG, || count() == here), "{} at {index}, not {here}", count());
    }
}

#[test]
fn a_change_is_in_force_in_every_worker_at_once_and_within_100_ms() {
    let servers = [Memcached::start(), Memcached::start()];
    for (server, value) in servers.iter().zip(["old", "new"]) {
        server.client().ask(format!("set k 0 0 3\r\n{value}\r\n"), "STORED\r\n");
    }
    let port = Port::take();
    let at = |index: usize| pool("main", &port, "", &[server(servers[index].port(), 1, "a")]);
    let stand = Stand::start("workers: 3\n", &at(0), &port);
    let mut clients: Vec<Client> = (0..6).map(|_| Client::connect(port.number())).collect();
    let mut times = Vec::new();
    for round in 1..=9 {
        stand.write(&at(round % 2));
        let wanted = ["old", "new"][round % 2];
        let begun = Instant::now();
        let mut admin = Client::connect(stand.admin.number());
        admin.send("POST /reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        let answer = String::from_utf8(admin.read_to_end()).expect("a text");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        // Whoever has the answer finds it in force, whichever worker it asks.
        for client in &mut clients {
            client.ask("get k\r\n", format!("VALUE k 0 3\r\n{wanted}\r\nEND\r\n"));
        }
        times.push(begun.elapsed());
    }
    // Other tests run meanwhile: they only add to it.
    times.sort();
    println!("answered by the new server in all workers after {times:?}");
    assert!(times[0] < Duration::from_millis(100), "{times:?}");
}

#[test]
fn f50_what_is_refused_changes_nothing_and_says_why() {
    let (one, other) = (Memcached::start(), Memcached::start());
    let (port, taken) = (Port::take(), other.port());
    let good = pool("main", &port, "", &[server(one.port(), 1, "a")]);
    let stand = Stand::start("", &good, &port);
    let mut client = Client::connect(port.number());
    client.ask("set k 0 0 1\r\nv\r\n", "STORED\r\n");
    stand.write("  main: { listen: here, servers: [ nothing ] }\n");
    let (code, why) = stand.refused();
    assert_eq!(code, Some(78), "{why}");
    assert!(why.contains("pools.main.listen") && why.contains("pools.main.servers"), "{why}");
    stand.write_text(&format!("workers: 5\n{}{good}", stand.head));
    assert_eq!(stand.refused(), (Some(1), "workers: needs a restart\n".to_owned()));
    // All but the last line could be taken over.
    let mut other = pool("main", &port, "", &[server(taken, 1, "b")]);
    other += &format!("  more:\n    listen: 127.0.0.1:{taken}\n    servers: [ 127.0.0.1:1:1 ]\n");
    stand.write(&other);
    let (code, why) = stand.refused();
    assert_eq!(code, Some(1));
    assert!(why.contains(&format!("bind 127.0.0.1:{taken}: Address already in use")), "{why}");
    client.ask("get k\r\n", "VALUE k 0 1\r\nv\r\nEND\r\n");
    assert_eq!((stand.reloads("ok"), stand.reloads("refused")), (0, 3));
    assert!(stand.process.output().contains("everything is as it was"));
    let at = stand.metric("twinring_config_last_reload_timestamp_seconds").expect("a time");
    assert_eq!(stand.apply(&good), "nothing has changed\n");
    let later = stand.metric("twinring_config_last_reload_timestamp_seconds").expect("a time");
    assert!(later > at, "{later} {at}");
}

#[test]
fn f51_pools_come_and_go_and_their_clients_finish() {
    let servers = [Memcached::start(), Memcached::start()];
    let (a, b) = (Port::take(), Port::take());
    let one = pool("one", &a, "", &[server(servers[0].port(), 1, "s")]);
    let two = pool("two", &b, "", &[server(servers[1].port(), 1, "s")]);
    let stand = Stand::start("workers: 2\n", &one, &a);
    let mut stays = Client::connect(a.number());
    stays.ask("set k 0 0 1\r\nv\r\n", "STORED\r\n");
    for _ in 0..3 {
        let said = stand.apply(&format!("{one}{two}"));
        assert_eq!(said, format!("pools.two: added, 127.0.0.1:{}\n", b.number()));
        let (mut idle, mut busy) = (Client::connect(b.number()), Client::connect(b.number()));
        idle.ask("get k\r\n", "END\r\n");
        busy.ask("get k\r\n", "END\r\n");
        assert_eq!(stand.metric("twinring_client_connections{pool=\"two\"}"), Some(2.0));
        // What is under way when the pool goes is answered all the same.
        servers[1].process.freeze();
        busy.send("get k\r\nget k\r\n");
        let asked = || stand.metric("twinring_backend_inflight{pool=\"two\",node=\"s\"}");
        assert!(wait_until(LONG, || asked() == Some(2.0)));
        assert_eq!(stand.apply(&one), format!("pools.two: removed, 127.0.0.1:{}\n", b.number()));
        idle.expect_closed();
        servers[1].process.thaw();
        busy.expect("END\r\nEND\r\n");
        busy.expect_closed();
        let closed = || std::net::TcpStream::connect(("127.0.0.1", b.number())).is_err();
        assert!(wait_until(LONG, closed), "somebody listens");
        assert_eq!(stand.metric("twinring_client_connections{pool=\"two\"}"), None);
        stays.ask("get k\r\n", "VALUE k 0 1\r\nv\r\nEND\r\n");
    }
    let served = || connections_now(&servers[1]);
    assert!(wait_until(LONG, || served() == 0), "{} connections are left", served());
}

/// Connections beside the one that asks.
fn connections_now(server: &Memcached) -> u64 {
    let mut client = server.client();
    client.send("stats\r\n");
    let text = String::from_utf8(client.memcache_reply()).expect("a text");
    let line = text.lines().find_map(|line| line.strip_prefix("STAT curr_connections "));
    line.and_then(|count| count.trim().parse::<u64>().ok()).expect("a count") - 1
}

#[test]
fn a_removed_server_answers_what_it_was_asked_and_is_left() {
    let servers = [Redis::start(&[]), Redis::start(&[])];
    let port = Port::take();
    let [a, b] = [0, 1].map(|index| server(servers[index].port(), 1, ["a", "b"][index]));
    let stand = Stand::start("", &redis_pool(&port, std::slice::from_ref(&a)), &port);
    let (mut asks, mut queues) = (Client::connect(port.number()), Client::connect(port.number()));
    asks.ask("GET k\r\n", "$-1\r\n");
    queues.ask("MULTI\r\nSET k 1\r\n", "+OK\r\n+QUEUED\r\n");
    servers[0].process.freeze();
    asks.send("GET k\r\n");
    let asked = || stand.metric("twinring_backend_inflight{pool=\"main\",node=\"a\"}");
    assert!(wait_until(LONG, || asked() == Some(1.0)));
    stand.apply(&redis_pool(&port, std::slice::from_ref(&b)));
    assert_eq!(asked(), None, "its series went with it");
    // Nobody waits for the old server but who has asked it.
    Client::connect(port.number()).ask("SET k 2\r\n", "+OK\r\n");
    servers[0].process.thaw();
    asks.expect("$-1\r\n");
    // In the order of its requests, whoever answers.
    asks.ask("GET k\r\nGET k\r\n", "$1\r\n2\r\n$1\r\n2\r\n");
    queues.ask("EXEC\r\n", "*1\r\n+OK\r\n");
    queues.ask("GET k\r\n", "$1\r\n2\r\n");
    let left = || connections_of_redis(&servers[0], "connected_clients");
    assert!(wait_until(LONG, || left() == 1), "{} connections are left", left());
}

#[test]
fn subscriptions_follow_their_channels() {
    let servers: Vec<Redis> = (0..3).map(|_| Redis::start(&[])).collect();
    let port = Port::take();
    let at = |indices: &[usize]| {
        let name = |&index: &usize| server(servers[index].port(), 1, &format!("s{index}"));
        redis_pool(&port, &indices.iter().map(name).collect::<Vec<_>>())
    };
    let stand = Stand::start("", &at(&[0, 1]), &port);
    let (mut hears, mut says) = (Client::connect(port.number()), Client::connect(port.number()));
    for channel in 0..30 {
        hears.send(format!("SUBSCRIBE c{channel}\r\n"));
        hears.redis_reply();
    }
    hears.send("PSUBSCRIBE p*\r\n");
    hears.redis_reply();
    for now in [[0, 2], [2, 1], [1, 0]] {
        stand.apply(&at(&now));
        let subscribed = |channel: &str, count: &str| {
            let asked = |&index: &usize| {
                let mut client = Client::connect(servers[index].port());
                client.send(format!("PUBSUB {channel}\r\n"));
                String::from_utf8(client.redis_reply()).expect("a text").ends_with(count)
            };
            now.iter().filter(|index| asked(index)).count()
        };
        for channel in (0..30).map(|number| format!("c{number}")) {
            let numsub = format!("NUMSUB {channel}");
            let mut client = Client::connect(port.number());
            // One of the servers has it, and that is the one to which it is published.
            assert!(wait_until(LONG, || subscribed(&numsub, ":1\r\n") == 1), "{channel}");
            let arrives = || {
                client.send(format!("PUBLISH {channel} m\r\n"));
                client.redis_reply() == b":1\r\n"
            };
            assert!(wait_until(LONG, arrives), "{channel}");
            let len = channel.len();
            let message = format!("*3\r\n$7\r\nmessage\r\n${len}\r\n{channel}\r\n$1\r\nm\r\n");
            hears.expect(message);
        }
        assert!(wait_until(LONG, || subscribed("NUMPAT", ":1\r\n") == 2), "the pattern");
        says.ask("PUBLISH p1 m\r\n", ":1\r\n");
        hears.expect("*4\r\n$8\r\npmessage\r\n$2\r\np*\r\n$2\r\np1\r\n$1\r\nm\r\n");
    }
}

/// Writes over a file at once, with empty lines behind what is shorter: a file that is empty until
/// it is written may be seen empty, which is another file that is wrong.
fn overwrite(path: &Path, text: &str) {
    let len = fs::metadata(path).expect("a file").len() as usize;
    let mut file = fs::OpenOptions::new().write(true).open(path).expect("a file");
    file.write_all(format!("{text:\n<len$}").as_bytes()).expect("a write");
}

#[test]
fn a_watched_file_is_taken_over_when_its_link_is_swapped() {
    let servers = [Memcached::start(), Memcached::start()];
    servers[1].client().ask("set k 0 0 3\r\nnew\r\n", "STORED\r\n");
    let port = Port::take();
    let at = |index: usize| pool("main", &port, "", &[server(servers[index].port(), 1, "a")]);
    // As Kubernetes mounts a ConfigMap.
    let scratch = Scratch::new();
    let root = scratch.path().to_path_buf();
    for version in ["..1", "..2"] {
        fs::create_dir(root.join(version)).expect("a folder");
    }
    symlink("..1", root.join("..data")).expect("a link");
    symlink("..data/twinring.yml", root.join("twinring.yml")).expect("a link");
    let path = root.join("twinring.yml");
    let stand = Stand::at(path, scratch, "reload: { watch: true }\n", &at(0), &port);
    let mut client = Client::connect(port.number());
    client.ask("get k\r\n", "END\r\n");
    fs::write(root.join("..2/twinring.yml"), format!("{}{}", stand.head, at(1))).expect("a file");
    symlink("..2", root.join("..data_tmp")).expect("a link");
    fs::rename(root.join("..data_tmp"), root.join("..data")).expect("a rename");
    let swapped = || {
        client.send("get k\r\n");
        client.memcache_reply() == b"VALUE k 0 3\r\nnew\r\nEND\r\n"
    };
    assert!(wait_until(LONG, swapped));
    // A file that is wrong is told of once, and a right one is taken again.
    overwrite(&root.join("..2/twinring.yml"), "pools: {}");
    assert!(wait_until(LONG, || stand.reloads("refused") == 1));
    overwrite(&root.join("..2/twinring.yml"), &format!("{}{}", stand.head, at(0)));
    assert!(wait_until(LONG, || stand.reloads("ok") == 2));
    assert_eq!(stand.reloads("refused"), 1);
    client.ask("get k\r\n", "END\r\n");
}

#[test]
fn a_hang_up_reloads_and_reads_certificates_again() {
    let memcached = Memcached::start();
    let authorities = [Authority::new(), Authority::new()];
    let files = [0, 1].map(|index| authorities[index].sign("front", &["localhost", "127.0.0.1"]));
    let port = Port::take();
    let tls = format!("tls: {{ {} }}", files[0].setting());
    let text = pool("main", &port, &tls, &[server(memcached.port(), 1, "a")]);
    let stand = Stand::start("", &text, &port);
    let clients = [0, 1].map(|index| TlsClient::new(&authorities[index], None, false));
    let mut early = clients[0].connect(port.number());
    early.ask("get k\r\n", "END\r\n").expect("the old certificate");
    fs::copy(&files[1].certificate, &files[0].certificate).expect("a copy");
    fs::copy(&files[1].key, &files[0].key).expect("a copy");
    stand.process.signal(Signal::HUP);
    assert!(wait_until(LONG, || stand.reloads("ok") == 1), "{}", stand.process.output());
    let new = || clients[1].connect(port.number()).ask("get k\r\n", "END\r\n").is_ok();
    assert!(wait_until(LONG, new), "the new certificate");
    early.ask("get k\r\n", "END\r\n").expect("who is there stays");
    // One that cannot be used changes nothing.
    fs::write(&files[0].key, "no key").expect("a file");
    stand.process.signal(Signal::HUP);
    assert!(wait_until(LONG, || stand.reloads("refused") == 1));
    assert!(new());
}

#[test]
fn limits_and_passwords_change_for_who_is_there() {
    let redis = Redis::start(&["--requirepass", "second"]);
    let port = Port::take();
    let servers = [server(redis.port(), 1, "a")];
    let with = |password: &str, keys: u32| {
        let settings = format!(
            "protocol: redis;redis_auth: {password};limits: {{ keys_per_request: {keys} }}"
        );
        pool("main", &port, &settings, &servers)
    };
    let stand = Stand::start("", &with("first", 2), &port);
    let mut client = Client::connect(port.number());
    client.ask("AUTH first\r\n", "+OK\r\n");
    client.send("GET k\r\n");
    assert!(client.redis_reply().starts_with(b"-"), "the server has another password");
    let said = stand.apply(&with("second", 3));
    assert_eq!(said, "pools.main.redis_auth: changed\npools.main.limits: changed\n");
    client.ask("GET k\r\n", "$-1\r\n");
    client.ask("MGET a b c\r\n", "*3\r\n$-1\r\n$-1\r\n$-1\r\n");
    let mut late = Client::connect(port.number());
    late.send("AUTH first\r\n");
    assert!(late.redis_reply().starts_with(b"-WRONGPASS"));
    late.ask("AUTH second\r\nGET k\r\n", "+OK\r\n$-1\r\n");
}

#[test]
fn a_near_cache_comes_changes_and_goes() {
    let (server_at, port) = (Memcached::start(), Port::take());
    let with = |near: &str| {
        let text = pool("main", &port, near, &[server(server_at.port(), 1, "s")]);
        text.replace("timeout: 5s", "timeout: 3s")
    };
    let near =
        |settings: &str| with(&format!("near_cache: {{ memory: 8MiB, admit: all, {settings} }}"));
    let stand = Stand::start("workers: 2\n", &with(""), &port);
    let mut client = Client::connect(port.number());
    client.ask("set k 0 0 1\r\nv\r\n", "STORED\r\n");
    let value = "VALUE k 0 1\r\nv\r\nEND\r\n";
    let hits = "twinring_near_cache_requests_total{pool=\"main\",result=\"hit\"}";
    for settings in ["max_age: 1s", "max_age: 2s"] {
        let said = stand.apply(&near(settings));
        assert_eq!(said, "pools.main.near_cache: changed\n");
        // One with other settings begins empty, and answers by itself once writes that were under
        // way can do nothing any more: after the pool's timeout, and the age that values may have.
        let gets = stat_of(&server_at, "cmd_get");
        client.ask("get k\r\n", value);
        assert_eq!(stat_of(&server_at, "cmd_get"), gets + 1);
        let hit = || stand.metric(hits).expect("a figure");
        let first = hit();
        let served = wait_until(LONG * 2, || {
            // At once: on a busy machine a value may be too old by the next look.
            client.ask("get k\r\n".repeat(20), value.repeat(20));
            hit() > first
        });
        assert!(served, "{settings}: nothing is served by the near cache");
    }
    assert_eq!(stand.apply(&with("")), "pools.main.near_cache: changed\n");
    let (gets, first) = (stat_of(&server_at, "cmd_get"), stand.metric(hits));
    client.ask("get k\r\n", value);
    assert_eq!((stat_of(&server_at, "cmd_get"), stand.metric(hits)), (gets + 1, first));
    assert_eq!(stand.metric("twinring_client_connections{pool=\"main\"}"), Some(1.0));
}
