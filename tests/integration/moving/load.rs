//! Conservation: under load, with several proxies, no element is lost or doubled, there and back; and
//! with servers that are killed meanwhile, no command is executed twice.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::{BACK, FORWARDS, Stage, ask, moving, staying};
use crate::support::{Client, LONG, wait_until};

/// What is written: a command with `KEY` for the key and `NUM` for a number that is used once, and how
/// the number of successes is asked for at the end.
const WRITES: &[(&str, &str)] = &[
    ("INCR KEY:string", "GET KEY:string"),
    ("RPUSH KEY:list NUM", "LLEN KEY:list"),
    ("SADD KEY:set NUM", "SCARD KEY:set"),
    ("HINCRBY KEY:hash f 1", "HGET KEY:hash f"),
    ("ZINCRBY KEY:zset 1 m", "ZSCORE KEY:zset m"),
    ("XADD KEY:stream * n NUM", "XLEN KEY:stream"),
    ("APPEND KEY:text x", "STRLEN KEY:text"),
];

/// Writers, commands that each sends at once, and keys that each type is written to.
const WRITERS: usize = 6;
const PIPELINE: usize = 16;
const KEYS: usize = 24;

#[derive(Default)]
struct Tally {
    /// How often each key was written to.
    written: Mutex<BTreeMap<String, u64>>,
    /// Jobs that a consumer of the group was given, with the key of their stream.
    given: Mutex<Vec<(String, String)>>,
    refused: AtomicU64,
    next: AtomicU64,
    over: AtomicBool,
}

/// Keys of which half move, each by a tag that keeps its types together.
fn keys() -> Vec<String> {
    let moved = moving(KEYS / 2).into_iter().map(|(key, ..)| key);
    moved.chain(staying(KEYS / 2)).collect()
}

/// One command of a writer's pipeline.
enum Sent {
    /// It writes to this key.
    Write(String, String),
    /// It asks a stream's group for jobs; what adds one stands before it.
    Take(String, String),
}

impl Sent {
    /// The next ones of a writer.
    fn of(round: usize, keys: &[String], tally: &Tally) -> Vec<Self> {
        let key = format!("{{{}}}", keys[round % keys.len()]);
        let Some((command, _)) = WRITES.get((round / keys.len()) % (WRITES.len() + 1)) else {
            let stream = format!("{key}:jobs");
            let take = format!("XREADGROUP GROUP g one COUNT 1 STREAMS {stream} >");
            let add = format!("XADD {stream} * n 1");
            return vec![Self::Take(stream.clone(), add), Self::Take(stream, take)];
        };
        let number = tally.next.fetch_add(1, Ordering::Relaxed);
        let command = command.replace("KEY", &key).replace("NUM", &number.to_string());
        let name = command.split(' ').nth(1).unwrap().to_owned();
        vec![Self::Write(name, command)]
    }

    fn command(&self) -> &str {
        let (Self::Write(_, command) | Self::Take(_, command)) = self;
        command
    }

    fn answered(self, reply: &str, tally: &Tally) {
        if reply.starts_with('-') {
            // It waits too long at the fence; nothing else may go wrong.
            assert!(reply.contains("changes its servers"), "{}: {reply}", self.command());
            tally.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        match self {
            Self::Write(name, _) => *tally.written.lock().unwrap().entry(name).or_default() += 1,
            Self::Take(_, command) if command.starts_with("XADD") => {}
            Self::Take(stream, _) => tally.given(&stream, reply),
        }
    }
}

impl Tally {
    /// Notes jobs that were given.
    fn given(&self, stream: &str, reply: &str) {
        // Among what comes, only identities have a dash between digits.
        let is_id = |line: &&str| {
            let parts = line.split_once('-');
            parts.is_some_and(|(ms, seq)| figure(ms).is_some() && figure(seq).is_some())
        };
        let ids = reply.split("\r\n").filter(is_id).map(|id| (stream.to_owned(), id.to_owned()));
        self.given.lock().unwrap().extend(ids);
    }
}

fn write(client: &mut Client, (writer, keys): (usize, &[String]), tally: &Tally) {
    let mut round = writer;
    while !tally.over.load(Ordering::Relaxed) {
        let mut sent = Vec::new();
        while sent.len() < PIPELINE {
            round += WRITERS;
            sent.extend(Sent::of(round, keys, tally));
        }
        client.send(sent.iter().map(|it| format!("{}\r\n", it.command())).collect::<String>());
        for it in sent {
            it.answered(&String::from_utf8(client.redis_reply()).unwrap(), tally);
        }
    }
}

/// Takes so many jobs, if there are any.
fn take_jobs(client: &mut Client, (stream, most): (&str, usize), tally: &Tally) {
    let asked = format!("XREADGROUP GROUP g one COUNT {most} STREAMS {stream} >");
    let reply = ask(client, &asked);
    assert!(!reply.starts_with('-') || reply.contains("changes its servers"), "{reply}");
    tally.given(stream, &reply);
}

#[test]
fn redis_conservation() {
    let stage = Stage::with(3, "fence: 2s, sweep: 500,", &[], &[("hash_tag", "'{}'")]);
    let (tally, keys) = (Tally::default(), keys());
    for key in &keys {
        let made = ask(&mut stage.client(), &format!("XGROUP CREATE {{{key}}}:jobs g 0 MKSTREAM"));
        assert_eq!(made, "+OK\r\n");
    }
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let mut client = stage.proxies[writer % 3].client();
            let (tally, keys) = (&tally, &keys[..]);
            scope.spawn(move || write(&mut client, (writer, keys), tally));
        }
        let progress = |more: u64| {
            let begun = tally.next.load(Ordering::Relaxed);
            let goes_on = || tally.next.load(Ordering::Relaxed) >= begun + more;
            assert!(wait_until(LONG, goes_on));
        };
        let begun = (Instant::now(), tally.next.load(Ordering::Relaxed));
        for phase in FORWARDS.into_iter().chain(BACK).chain(FORWARDS) {
            stage.go(phase);
            progress(if phase == super::Fence { 0 } else { 1500 });
        }
        // Whoever wants to know at which rate it was: --nocapture.
        let (took, count) = (begun.0.elapsed(), tally.next.load(Ordering::Relaxed) - begun.1);
        eprintln!("{:.0} commands/s for {took:?}", count as f64 / took.as_secs_f64());
        tally.over.store(true, Ordering::Relaxed);
    });
    let mut client = stage.client();
    // Each job is given once.
    for key in &keys {
        let stream = format!("{{{key}}}:jobs");
        take_jobs(&mut client, (&stream, 1_000_000), &tally);
        let given = tally.given.lock().unwrap();
        let ids: Vec<&String> =
            given.iter().filter(|(of, _)| *of == stream).map(|(_, id)| id).collect();
        let once: std::collections::BTreeSet<&String> = ids.iter().copied().collect();
        assert_eq!(once.len(), ids.len(), "{stream}");
        client.ask(format!("XLEN {stream}\r\n"), format!(":{}\r\n", ids.len()));
    }
    let written = tally.written.into_inner().unwrap();
    for (name, count) in &written {
        let kind = name.split(':').nth(1).unwrap();
        let asks = WRITES
            .iter()
            .find(|(_, asks)| asks.ends_with(kind) || asks.contains(&format!(":{kind} ")));
        let asks = asks.unwrap().1.replace(&format!("KEY:{kind}"), name);
        let reply = ask(&mut client, &asks);
        let found: Vec<u64> = reply.split("\r\n").filter_map(figure).collect();
        assert_eq!(found.last(), Some(count), "{name}: {reply:?}");
    }
    assert!(written.len() > KEYS, "{written:?}");
    // Each key is at one server.
    let mut all: Vec<String> = (0..3).flat_map(|at| stage.keys(at)).collect();
    let count = all.len();
    all.sort();
    all.dedup();
    let names = written.len() + keys.len();
    assert_eq!((count, all.len()), (names, names));
    assert_eq!((stage.split_brain(), stage.moves("failed")), (0.0, 0.0));
    assert!(stage.moves("moved") > 0.0);
}

/// A number, be it one of a status line.
fn figure(line: &str) -> Option<u64> {
    line.trim_start_matches(':').parse().ok()
}

#[test]
fn servers_that_are_killed_under_load_execute_nothing_twice() {
    let durable = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut stage = Stage::with(2, "fence: 2s, sweep: 50,", &durable, &[]);
    // So many that some are moved at any time.
    let keys: Vec<String> = moving(2000).into_iter().map(|(key, ..)| key).collect();
    let counts: Vec<[AtomicU64; 2]> = keys.iter().map(|_| Default::default()).collect();
    let over = AtomicBool::new(false);
    // A server that hears nothing of another waits twice for migrate_timeout.
    let patience = LONG * 2;
    let mut clients: Vec<Client> =
        stage.proxies.iter().map(|proxy| proxy.client().patience(patience)).collect();
    std::thread::scope(|scope| {
        for (number, client) in clients.iter_mut().enumerate() {
            let (keys, counts, over) = (&keys, &counts, &over);
            let order = (0..keys.len()).cycle().skip(number * 1000);
            scope.spawn(move || {
                order.take_while(|_| !over.load(Ordering::Relaxed)).for_each(|at| {
                    let reply = ask(client, &format!("INCR {}", keys[at]));
                    counts[at][usize::from(reply.starts_with('-'))].fetch_add(1, Ordering::Relaxed);
                });
            });
        }
        let done = || counts.iter().map(|it| it[0].load(Ordering::Relaxed)).sum::<u64>();
        let progress = |more: u64| {
            let begun = done();
            assert!(wait_until(LONG, || done() >= begun + more));
        };
        progress(3000);
        stage.walk(&[super::Prepare, super::Fence, super::Warm]);
        for server in [2, 0, 2, 1] {
            progress(100);
            stage.servers[server].restart();
        }
        progress(100);
        stage.walk(&[super::Drain, super::New]);
        progress(100);
        over.store(true, Ordering::Relaxed);
    });
    let mut client = stage.client();
    for (key, count) in keys.iter().zip(&counts) {
        let [done, failed] = count.each_ref().map(|it| it.load(Ordering::Relaxed));
        let reply = ask(&mut client, &format!("GET {key}"));
        let found = reply.split("\r\n").filter_map(figure).last().unwrap();
        assert!((done..=done + failed).contains(&found), "{key}: {found}, {done} and {failed}");
    }
    let found = (stage.keys(0).len() + stage.keys(1).len(), stage.keys(2).len());
    assert_eq!(found, (0, keys.len()));
}
