//! Hashes whose fields have a time of their own (Redis from 7.4 on, Valkey from 9.0 on), between two
//! rings: the times go with them, to the millisecond, and so does what has none.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::{BACK, FENCED, FORWARDS, Fence, Prepare, Stage, Warm, ask, moving};
use crate::support::{Client, LONG, Redis, valkey_9, wait_until};

fn stage(settings: &str) -> Option<Stage> {
    let valkey = valkey_9()?;
    let servers = (0..3).map(|_| Redis::start_program(&valkey, &[])).collect();
    Some(Stage::over(servers, (2, settings), &[]))
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
    u64::try_from(since.as_millis()).expect("a time")
}

/// An integer, or those of an array.
fn figures(reply: &str) -> Vec<i64> {
    reply.split("\r\n").filter_map(|line| line.strip_prefix(':')?.parse().ok()).collect()
}

/// A field of each key that is counted up, and how often that was acknowledged.
struct Counting {
    counted: Vec<AtomicU64>,
    over: AtomicBool,
}

/// Ends it, also where the test has failed.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Counting {
    fn new(keys: usize) -> Self {
        let counted = (0..keys).map(|_| AtomicU64::new(0)).collect();
        Self { counted, over: AtomicBool::new(false) }
    }

    fn all(&self) -> u64 {
        self.counted.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn go_on(&self, client: &mut Client, keys: &[String]) {
        let goes_on = |_: &_| !self.over.load(Ordering::Relaxed);
        for (key, count) in keys.iter().zip(&self.counted).cycle().take_while(goes_on) {
            let reply = ask(client, &format!("HINCRBY {key} count 1"));
            // The fence may stand for too long on a machine that is busy.
            if reply != FENCED {
                assert!(reply.starts_with(':'), "{reply}");
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[test]
fn times_of_fields_are_kept_there_and_back_while_others_are_written() {
    let Some(stage) = stage("fence: 5s,") else { return };
    let keys: Vec<String> = moving(12).into_iter().map(|(key, ..)| key).collect();
    let (mut client, end) = (stage.client(), unix_millis() + 3_600_000);
    for (number, key) in (0..).zip(&keys) {
        client.ask(format!("HSET {key} timed 1 also 2 ever 3\r\n"), ":3\r\n");
        let at = end + number;
        let set = format!(
            "HPEXPIREAT {key} {at} FIELDS 1 timed\r\nHPEXPIREAT {key} {} FIELDS 1 also\r\n",
            at + 7
        );
        client.ask(set, "*1\r\n:1\r\n*1\r\n:1\r\n");
    }
    let counting = Counting::new(keys.len());
    std::thread::scope(|scope| {
        let _end = End(&counting.over);
        for proxy in &stage.proxies {
            scope.spawn(|| counting.go_on(&mut proxy.client(), &keys));
        }
        for phase in FORWARDS.into_iter().chain(BACK) {
            stage.go(phase);
            if phase == Fence {
                continue;
            }
            let begun = counting.all();
            assert!(wait_until(LONG, || counting.all() > begun + 50), "{phase:?}");
            for (number, key) in (0_i64..).zip(&keys) {
                let at = i64::try_from(end).expect("a time") + number;
                let asked = format!("HPEXPIRETIME {key} FIELDS 4 timed also ever count");
                let told = figures(&ask(&mut client, &asked));
                assert_eq!(told, [at, at + 7, -1, -1], "{phase:?} {key}");
            }
        }
    });
    for (key, count) in keys.iter().zip(&counting.counted) {
        let told = ask(&mut client, &format!("HMGET {key} timed also ever count"));
        let digits = count.load(Ordering::Relaxed).to_string();
        let wanted =
            format!("*4\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n${}\r\n{digits}\r\n", digits.len());
        assert_eq!(told, wanted, "{key}");
    }
    assert_eq!((stage.split_brain(), stage.moves("failed")), (0.0, 0.0));
}

#[test]
fn a_field_that_is_over_after_the_move_is_gone_in_time_and_the_others_are_not() {
    let Some(stage) = stage("sweep: 0,") else { return };
    let (mut client, key) = (stage.client(), moving(1).remove(0).0);
    client.ask(format!("HSET {key} soon 1 ever 2\r\n"), ":2\r\n");
    stage.walk(&[Prepare, Fence]);
    let end = unix_millis() + 1500;
    // Nobody is served in this phase: its server itself is told.
    let old = moving(1).remove(0).1;
    let set = format!("HPEXPIREAT {key} {end} FIELDS 1 soon\r\n");
    stage.server(old).ask(set, "*1\r\n:1\r\n");
    stage.go(Warm);
    let gone = || ask(&mut client, &format!("HGET {key} soon")) == "$-1\r\n";
    assert!(wait_until(Duration::from_secs(20), gone));
    assert!(unix_millis() >= end, "{} ms too soon", end - unix_millis());
    client.ask(format!("HGETALL {key}\r\n"), "*2\r\n$4\r\never\r\n$1\r\n2\r\n");
}

/// What is carried as a cache is strings: a hash is gone, be it one with times.
#[test]
fn of_a_cache_hashes_are_dropped_whatever_times_they_have() {
    let Some(stage) = stage("data: cache, carry_timeout: 60s, sweep: 0,") else { return };
    let (mut client, key) = (stage.client(), moving(1).remove(0).0);
    client.ask(format!("HSET {key} timed 1 ever 2\r\n"), ":2\r\n");
    client.ask(format!("HPEXPIRE {key} 500000 FIELDS 1 timed\r\n"), "*1\r\n:1\r\n");
    stage.walk(&[Prepare, Fence, Warm]);
    client.ask(format!("HGETALL {key}\r\nEXISTS {key}\r\n"), "*0\r\n:0\r\n");
    assert_eq!((stage.moves("dropped"), stage.moves("failed")), (1.0, 0.0));
}
