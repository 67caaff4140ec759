//! Proxies, a server and clients in simulated time, around the near cache as it is.
//!
//! ```text
//!  clients ─▶ proxy: Near, workers ─▶ wires: up, down ─▶ server ◀─ writes elsewhere
//!                │                      held, lost         told: who hears of changes
//!                └─ hit ─▶ promises ◀── truth: what every key was, and when
//! ```
//! Every step is drawn from a seed: who acts, which message arrives next, how long it takes, what
//! is lost, who stops. So a seed tells a story again, to the last event. At every hit the four
//! promises are checked against the server's own history. With a known mistake in what the proxy
//! does, the same check must fail; otherwise it would prove nothing.
//!
//! * `plan`: what a run is like. `world`: what happens next, and faults.
//! * `proxy`, `reading`, `writing`: what the proxy does around `Near`.
//! * `wire`, `server`, `truth`: the other side.
//! * `promises`, `log`: the check, and what it tells.

mod log;
mod plan;
mod promises;
mod proxy;
mod random;
mod reading;
mod server;
mod truth;
mod wire;
mod world;
mod writing;

use std::collections::BTreeMap;
use std::time::Instant;

use plan::Mistake;
use promises::Promise;
use server::Manner;
use world::World;

/// Runs of each manner with the right rules, and the steps of each run. Without optimization some
/// must do.
const RUNS: u64 = if cfg!(debug_assertions) { 12 } else { 100 };
const STEPS: u64 = 40_000;

/// Runs within which a mistake must show.
const RUNS_WRONG: u64 = 100;

/// What a run has to have seen at least once, lest it prove nothing.
const SEEN: &[&str] = &[
    "HIT",
    "joined",
    "served along",
    "stored",
    "raced",
    "came expired",
    "busy",
    "lost",
    "connected",
    "ended",
    "ended in silence",
    "started again",
    "stopped",
    "worker stopped",
    "ring changed",
    "requests held",
    "replies held",
    "written elsewhere",
    "flushed elsewhere",
    "removed as expired",
    "write acknowledged",
    "write given up",
    "given up, landed",
    "two asked for at once",
];

/// The same with a server that tells of changes.
const SEEN_TRACKED: &[&str] = &["pushed", "pushed all", "lapsed", "heard of"];

fn run(seed: u64, manner: Manner, mistake: Option<Mistake>) -> World {
    let mut world = World::new(seed, manner, mistake);
    for _ in 0..STEPS {
        world.step();
        if mistake.is_none() && !world.broken.is_empty() {
            break;
        }
    }
    world
}

fn keeps_its_promises(manner: Manner, seen: &[&str]) {
    let start = Instant::now();
    let (mut counts, mut evicted) = (BTreeMap::new(), 0);
    for seed in 0..RUNS {
        let world = run(seed, manner, None);
        if let Some(story) = world.broken.values().next() {
            panic!("{story}");
        }
        for (what, count) in &world.log.counts {
            *counts.entry(*what).or_insert(0) += count;
        }
        let usages = world.proxies.iter().map(|proxy| proxy.near.review(world.time()));
        evicted += usages.map(|usage| usage.evicted).sum::<u64>();
    }
    println!("{manner:?}: {} steps in {:?}, {evicted} evicted", RUNS * STEPS, start.elapsed());
    println!("{counts:#?}");
    for what in seen {
        assert!(counts.contains_key(what), "never seen: {what}; {counts:#?}");
    }
    assert!(evicted > 0, "nothing was evicted");
}

#[test]
fn what_a_server_tells_of_is_served_within_the_promises() {
    keeps_its_promises(Manner::Redis, &[SEEN, SEEN_TRACKED].concat());
}

#[test]
fn what_no_server_tells_of_is_served_within_the_promises() {
    keeps_its_promises(Manner::Memcached, &[SEEN, &["renewed", "not renewed"]].concat());
}

/// A mistake breaks these promises at least, with a server of this manner.
#[track_caller]
fn breaks(mistake: Mistake, manner: Manner, promises: &[Promise]) {
    let mut found: BTreeMap<Promise, u64> = BTreeMap::new();
    let mut runs = 0;
    while promises.iter().any(|promise| !found.contains_key(promise)) {
        assert!(runs < RUNS_WRONG, "{mistake:?}, {manner:?}: {runs} runs break only {found:?}");
        for promise in run(runs, manner, Some(mistake)).broken.into_keys() {
            *found.entry(promise).or_default() += 1;
        }
        runs += 1;
    }
    println!("{mistake:?}, {manner:?}: {runs} runs of {STEPS} steps break {found:?}");
}

#[test]
fn a_reply_that_is_stored_without_a_token_is_caught() {
    breaks(Mistake::NoToken, Manner::Redis, &[Promise::OwnWrites, Promise::Staleness]);
    breaks(Mistake::NoToken, Manner::Memcached, &[Promise::OwnWrites]);
}

#[test]
fn entries_that_outlive_their_connection_are_caught() {
    let (stale, contact) = (Promise::Staleness, Promise::Contact);
    breaks(Mistake::NoFlushOnReconnect, Manner::Redis, &[stale, contact]);
    breaks(Mistake::NoFlushOnReconnect, Manner::Memcached, &[contact]);
}

#[test]
fn writes_that_are_not_guarded_from_end_to_end_are_caught() {
    use Mistake::{AtReplyOnly, AtSendOnly, NoBypass};
    for mistake in [AtSendOnly, AtReplyOnly, NoBypass] {
        breaks(mistake, Manner::Redis, &[Promise::OwnWrites]);
        breaks(mistake, Manner::Memcached, &[Promise::OwnWrites]);
    }
}

#[test]
fn writes_that_land_after_their_end_are_caught() {
    breaks(Mistake::EndedAtOnce, Manner::Redis, &[Promise::OwnWrites]);
    breaks(Mistake::EndedAtOnce, Manner::Memcached, &[Promise::OwnWrites]);
}

#[test]
fn time_that_is_counted_from_an_answer_is_caught() {
    let (stale, life) = (Promise::Staleness, Promise::Life);
    breaks(Mistake::FromReply, Manner::Redis, &[life]);
    breaks(Mistake::FromReply, Manner::Memcached, &[stale, life]);
    breaks(Mistake::LeaseFromAnswer, Manner::Redis, &[stale, Promise::Contact]);
}

#[test]
fn pushes_that_are_not_heard_are_caught() {
    breaks(Mistake::PushAllIgnored, Manner::Redis, &[Promise::Staleness]);
}

#[test]
fn lives_that_are_extended_are_caught() {
    breaks(Mistake::LifeIgnored, Manner::Redis, &[Promise::Life]);
    breaks(Mistake::LifeIgnored, Manner::Memcached, &[Promise::Life]);
    breaks(Mistake::BegunSecondsWhole, Manner::Memcached, &[Promise::Life]);
}

#[test]
fn parts_that_their_keys_do_not_reach_are_caught() {
    breaks(Mistake::PartElsewhere, Manner::Redis, &[Promise::OwnWrites, Promise::Staleness]);
}

#[test]
fn reads_that_join_without_asking_are_caught() {
    breaks(Mistake::JoinsAll, Manner::Redis, &[Promise::OwnWrites]);
    breaks(Mistake::JoinsAll, Manner::Memcached, &[Promise::OwnWrites]);
}
