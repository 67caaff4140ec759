//! The near cache of a pool on its way from one ring to another: keys that move pass it by, the
//! others do not, and nothing of before is served after.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use twinring::routing::Phase::{self, Drain, Fence, New, Prepare, Stable, Warm};
use twinring::routing::Place;

use super::{Dice, lookups};
use crate::expansion::{History, Stage, delete, get, moving, rings, set};
use crate::support::{LONG, Proxy, wait_until};

fn stage(max_age: &str) -> Stage {
    Stage::made_of(1, "cas_quarantine: 0, stub_ttl: 1s,", |pool| {
        let near = format!("{{ memory: 8MiB, admit: all, max_age: {max_age} }}");
        (vec!["workers: 2"], pool.set("near_cache", near))
    })
}

/// Keys that stay where they are.
fn staying(count: usize) -> Vec<String> {
    let rings = rings();
    let keys = (0..).map(|number: u32| format!("stay-{number}"));
    keys.filter(|key| matches!(rings.place(key.as_bytes()), Some(Place::One(_))))
        .take(count)
        .collect()
}

fn found(key: &str, value: u64) -> String {
    format!("VALUE {key} 0 1\r\n{value}\r\nEND\r\n")
}

/// Reads until the near cache answers.
fn warm(proxy: &Proxy, key: &str, value: u64) {
    let (mut client, before) = (proxy.client(), lookups(proxy, "hit"));
    let hit = wait_until(LONG, || {
        (0..3).for_each(|_| client.ask(format!("get {key}\r\n"), found(key, value)));
        lookups(proxy, "hit") > before
    });
    assert!(hit, "{key} is not kept");
}

#[test]
fn what_was_kept_of_a_key_that_moves_goes_with_the_phase() {
    let stage = stage("10s");
    let (key, old, new) = moving(1).remove(0);
    let stays = staying(1).remove(0);
    let proxy = &stage.proxies[0];
    let mut client = proxy.client();
    client
        .ask(format!("set {key} 0 0 1\r\n1\r\nset {stays} 0 0 1\r\n1\r\n"), "STORED\r\n".repeat(2));
    warm(proxy, &key, 1);
    let at = |phase: Phase| if matches!(phase, Warm | Drain | New) { new } else { old };
    for (number, phase) in (2..).zip([Prepare, Fence, Warm, Drain, New]) {
        // Another proxy changes it, where that has it now.
        let before = if phase == Prepare { Stable } else { phase };
        stage.go(phase);
        let mut elsewhere = stage.server(at(before));
        elsewhere.ask(format!("set {key} 0 0 1\r\n{number}\r\n"), "STORED\r\n");
        (0..3).for_each(|_| client.ask(format!("get {key}\r\n"), found(&key, number)));
        client.ask(
            format!("get {key} {stays}\r\n"),
            format!("VALUE {key} 0 1\r\n{number}\r\n{}", found(&stays, 1)),
        );
        assert!(phase == New || lookups(proxy, "moving") > 0.0);
        warm(proxy, &stays, 1);
    }
    // At its new server it is a key like any other.
    warm(proxy, &key, 6);
}

#[test]
fn a_walk_there_and_back_under_load_shows_no_dead_value() {
    let stage = stage("10s");
    let keys: Vec<String> = moving(6).into_iter().map(|(key, ..)| key).chain(staying(4)).collect();
    let histories: Vec<Mutex<History>> = keys.iter().map(|_| Mutex::default()).collect();
    let (stop, next, seen) = (AtomicBool::new(false), AtomicU64::new(1), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..6_u64 {
            let (stage, keys, histories) = (&stage, &keys, &histories);
            let (stop, next, seen) = (&stop, &next, &seen);
            scope.spawn(move || {
                let mut client = stage.proxies[0].client();
                let mut dice = Dice::new(thread + 1);
                while !stop.load(Ordering::Relaxed) {
                    let at = dice.below(keys.len() as u64) as usize;
                    let (key, history) = (&keys[at], &histories[at]);
                    match dice.below(30) {
                        0 | 1 => set(&mut client, key, history, next),
                        2 => delete(&mut client, key, history),
                        _ => get(&mut client, key, history, seen),
                    }
                }
            });
        }
        // Back to `stable` only while the new servers are empty: they would have to be emptied.
        let early = [Prepare, Stable, Prepare, Fence, Warm];
        let late = [Fence, Prepare, Fence, Warm, Drain, Warm, Drain, New];
        stage.walk(&[&early[..], &late].concat());
        let kept = wait_until(LONG, || lookups(&stage.proxies[0], "hit") > 500.0);
        assert!(kept, "nothing is kept in the end");
        stop.store(true, Ordering::Relaxed);
    });
    assert!(seen.load(Ordering::Relaxed) > 1000, "gets that found something");
    assert!(lookups(&stage.proxies[0], "moving") > 500.0, "no key has moved");
}

/// A write that began while its key moved has not ended when that has: its key is not kept before.
#[test]
fn writes_that_outlast_the_walk_are_seen() {
    let stage = Stage::made_of(1, "cas_quarantine: 0, stub_ttl: 1s,", |pool| {
        let near = "{ memory: 8MiB, admit: all, max_age: 10s }";
        (vec!["workers: 2"], pool.set("near_cache", near).set("timeout", 10000))
    });
    let new = moving(1)[0].2;
    let keys: Vec<String> =
        moving(200).into_iter().filter(|it| it.2 == new).map(|(key, ..)| key).collect();
    let mut clients: Vec<_> = (0..4).map(|_| stage.client()).collect();
    let (writer, readers) = clients.split_first_mut().unwrap();
    stage.walk(&[Prepare, Fence, Warm, Drain]);
    let sets = |value: u64| keys.iter().map(move |key| format!("set {key} 0 0 1\r\n{value}\r\n"));
    let gets: String = keys.iter().map(|key| format!("get {key}\r\n")).collect();
    let values = |value| keys.iter().map(move |key| found(key, value)).collect::<String>();
    let stored = "STORED\r\n".repeat(keys.len());
    writer.ask(sets(1).collect::<String>(), &stored);
    let metric = |name| stage.proxies[0].metrics().get(name, &[]);
    // Every reader's connection is there.
    readers.iter_mut().for_each(|reader| reader.ask(&gets, values(1)));
    stage.wait_settled();
    stage.servers[new].process.freeze();
    writer.send(sets(2).collect::<String>());
    let under_way = || metric("twinring_expansion_operations") >= keys.len() as f64;
    assert!(wait_until(LONG, under_way), "the writes are not under way");
    let before = metric("twinring_requests_total");
    stage.go(New);
    readers.iter_mut().for_each(|reader| reader.send(&gets));
    let waiting = || metric("twinring_requests_total") >= before + keys.len() as f64;
    assert!(wait_until(LONG, waiting), "the reads are not under way");
    stage.servers[new].process.thaw();
    writer.expect(&stored);
    for reader in readers {
        keys.iter().for_each(|_| drop(reader.memcache_reply()));
        reader.ask(&gets, values(2));
    }
}
