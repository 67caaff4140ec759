//! Proxies as they are, near caches and all, that walk between two rings in simulated time.
//!
//! ```text
//!  clients ─▶ Worker: Proxy, Near ─▶ wires: up, down ─▶ two servers ◀─ writes elsewhere
//!    ▲           ▲ set_rings           held, lost         stopped, emptied
//!    └ promises  └─ lead, follow: stable ⇄ prepare ⇄ fence ⇄ warm ⇄ drain ⇄ new
//! ```
//! Two or three proxies of up to three workers each share one coordinator. Whoever takes the wanted
//! phase over does so at a moment of its own, so that neighbouring phases stand side by side, also among
//! the workers of one proxy; the next comes when all have settled. Who acts, which command is executed
//! next, which answer arrives, what is lost, who stands still: all of it is drawn from a seed (what the
//! proxies leave to chance themselves, the order of hash tables and waits that are spread out, is not).
//! Keys that move and keys that stay are read and written by all proxies and by others, and what every
//! read is shown is held against the promises. With a known mistake in what the proxies do the same
//! check must fail; otherwise it would prove nothing.
//!
//! * `plan`: what a run is like. `world`: what happens next. `walking`: phases, and writes elsewhere.
//!   `clients`: who asks for what. `faults`: what goes wrong.
//! * `worker`: a proxy's worker. `wires`: its connections. `serving`, `memcached`, `redis`: the servers.
//! * `promises`: the check.

mod clients;
mod faults;
mod memcached;
mod plan;
mod promises;
mod redis;
mod serving;
mod walking;
mod wires;
mod worker;
mod world;

use std::collections::BTreeMap;

use plan::Manner;
use promises::Promise;
use world::World;

use crate::service::near::Wrong;

/// Runs of each manner, and the steps of each. Without optimization some must do.
const RUNS: u64 = if cfg!(debug_assertions) { 12 } else { 100 };
const STEPS: u64 = 20_000;

/// Runs within which a mistake must show.
const RUNS_WRONG: u64 = 300;

/// What must have been seen at least once, lest it prove nothing.
const SEEN: &[&str] = &[
    "HIT, moving, stable",
    "HIT, moving, new",
    "HIT, staying, stable",
    "HIT, staying, prepare",
    "HIT, staying, fence",
    "HIT, staying, warm",
    "HIT, staying, drain",
    "HIT, staying, new",
    "back to",
    "on to",
    "written elsewhere",
    "stopped",
    "worker stopped",
    "lost",
    "held",
    "failed",
];

/// A run that ends with the first breach, or with that of all these promises.
async fn run(seed: u64, manner: Manner, (wrong, promises): (Option<Wrong>, &[Promise])) -> World {
    let mut world = World::new(seed, manner, wrong);
    for _ in 0..STEPS {
        world.step().await;
        let broken = &world.broken;
        if !broken.is_empty() && promises.iter().all(|promise| broken.contains_key(promise)) {
            break;
        }
    }
    world
}

/// Nothing breaks one of these promises; without any, none at all.
async fn keeps(promises: &[Promise], manner: Manner, more: &[&str]) {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for seed in 0..RUNS {
        let world = run(seed, manner, (None, promises)).await;
        let asked = |promise: &Promise| promises.is_empty() || promises.contains(promise);
        if let Some((_, story)) = world.broken.iter().find(|(promise, _)| asked(promise)) {
            panic!("{story}");
        }
        for (what, count) in world.counts {
            *counts.entry(what).or_default() += count;
        }
    }
    println!("{manner:?}: {} steps; {counts:#?}", RUNS * STEPS);
    for what in SEEN.iter().chain(more) {
        assert!(counts.contains_key(*what), "never seen: {what}; {counts:#?}");
    }
}

#[tokio::test]
async fn proxies_of_memcached_walk_and_keep_their_promises() {
    keeps(&[], Manner::Memcached, &["evicted", "started again"]).await;
}

#[tokio::test]
async fn proxies_of_redis_that_tells_walk_and_keep_their_promises() {
    keeps(&[], Manner::Tracked, &["handed over", "pushed"]).await;
}

/// A value that is replaced between the questions for it and for its time may outlive that, within
/// `max_age`, as the README says: the fourth promise is not among these.
#[tokio::test]
async fn proxies_of_redis_that_does_not_tell_walk_and_keep_their_promises() {
    use Promise::{Contact, OwnWrites, Place, Staleness};
    keeps(&[OwnWrites, Staleness, Contact, Place], Manner::Aged, &["handed over"]).await;
}

/// A mistake breaks these promises at least, with servers of this manner.
async fn breaks(wrong: Wrong, manner: Manner, promises: &[Promise]) {
    let mut found: BTreeMap<Promise, u64> = BTreeMap::new();
    let mut runs = 0;
    while promises.iter().any(|promise| !found.contains_key(promise)) {
        assert!(runs < RUNS_WRONG, "{wrong:?}, {manner:?}: {runs} runs break only {found:?}");
        for promise in run(runs, manner, (Some(wrong), promises)).await.broken.into_keys() {
            *found.entry(promise).or_default() += 1;
        }
        runs += 1;
    }
    println!("{wrong:?}, {manner:?}: {runs} runs of {STEPS} steps break {found:?}");
}

#[tokio::test]
async fn entries_that_are_kept_over_a_step_are_caught() {
    for manner in [Manner::Memcached, Manner::Tracked, Manner::Aged] {
        breaks(Wrong::Kept, manner, &[Promise::Contact]).await;
    }
}

#[tokio::test]
async fn keys_on_their_way_that_are_served_here_are_caught() {
    for manner in [Manner::Memcached, Manner::Tracked, Manner::Aged] {
        breaks(Wrong::ServedBetween, manner, &[Promise::Staleness, Promise::Contact]).await;
    }
}

#[tokio::test]
async fn fills_from_the_old_server_after_the_step_are_caught() {
    breaks(Wrong::FilledFromOld, Manner::Memcached, &[Promise::Staleness]).await;
    breaks(Wrong::FilledFromOld, Manner::Tracked, &[Promise::Place]).await;
    breaks(Wrong::FilledFromOld, Manner::Aged, &[Promise::Place]).await;
}

#[tokio::test]
async fn fills_on_their_way_that_outlive_a_step_are_caught() {
    for manner in [Manner::Memcached, Manner::Tracked, Manner::Aged] {
        breaks(Wrong::FillsKept, manner, &[Promise::Contact]).await;
    }
}
