//! `/expansion`: how far pools have come on the way to other servers, and the next step.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::control::answers::Answers;
use crate::control::topology::fleet::Unable;
use crate::metrics::{PoolMetric, PoolShape};
use crate::routing::{Board, DualRing, ServerMoves};
use crate::topology::{DeadOld, GivenUp, Phase, tell_given_up, text_of_key};

/// What a POST must say.
#[derive(Deserialize)]
pub(super) struct Wish {
    pool: String,
    phase: String,
    /// Old values may be read after it: the way back from phase new.
    accept_stale: Option<String>,
}

/// Which pools a GET is about: this one, or all.
#[derive(Deserialize)]
pub(super) struct Which {
    pool: Option<String>,
}

/// The pools that have two rings.
pub(super) async fn show(
    State(answers): State<Arc<Answers>>,
    Query(which): Query<Which>,
) -> Response {
    let layout = answers.registry.layout();
    let meant = |name: &str| which.pool.as_ref().is_none_or(|pool| pool == name);
    let shown: Vec<Value> = layout
        .present()
        .filter(|(_, shape)| meant(&shape.name))
        .filter_map(|(pool, shape)| {
            let rings = answers.board.rings(pool)?;
            let moves = rings.moves();
            let of =
                |it: &ServerMoves| json!({ "name": it.name, "away": it.loses, "to": it.gains });
            let servers: Vec<Value> = moves.servers.iter().map(of).collect();
            let workers: Vec<bool> = answers.board.settled(pool).collect();
            let count = |metric| layout.pool(pool, metric);
            Some(json!({
                "pool": shape.name,
                "phase": rings.phase().name(),
                "manner": if moves_keys(shape) { "move" } else { "copy" },
                "settled": workers.iter().all(|settled| *settled),
                "workers": workers,
                "fallbacks": {
                    "hit": count(PoolMetric::FallbackHits),
                    "miss": count(PoolMetric::FallbackMisses),
                },
                "fills": {
                    "won": count(PoolMetric::FillsWon),
                    "lost": count(PoolMetric::FillsLost),
                },
                "old_delete_failures": count(PoolMetric::OldDeleteFailures),
                "keys": {
                    "moved": count(PoolMetric::KeysMoved),
                    "absent": count(PoolMetric::KeysAbsent),
                    "failed": count(PoolMetric::KeysUnmoved),
                    "dropped": count(PoolMetric::KeysDropped),
                    "split_brain": count(PoolMetric::SplitBrain),
                },
                "sweep": {
                    "seen": count(PoolMetric::KeysSeen),
                    "moved": count(PoolMetric::KeysSwept),
                    "clean_scans": count(PoolMetric::CleanScans),
                },
                "operations": count(PoolMetric::Expanding),
                "dead_old": told(&names_of(&answers, &shape.name), &rings),
                "moves": moves.share,
                "pinned": pinned(&rings),
                "servers": servers,
            }))
        })
        .collect();
    ([(CONTENT_TYPE, "application/json")], format!("{}\n", Value::from(shown))).into_response()
}

/// Takes a pool to a neighbouring phase.
pub(super) async fn advance(
    State(answers): State<Arc<Answers>>,
    Query(wish): Query<Wish>,
) -> Response {
    match step(&answers, &wish) {
        Ok(text) => text.into_response(),
        Err(why) => (StatusCode::CONFLICT, format!("{why}\n")).into_response(),
    }
}

fn step(answers: &Answers, wish: &Wish) -> Result<String, String> {
    let layout = answers.registry.layout();
    let pool = led_from_here(answers, &wish.pool)?;
    let shape = layout.shape.get(pool).and_then(Option::as_ref);
    let shape = shape.ok_or_else(|| format!("there is no pool {}", wish.pool))?;
    let phase = Phase::of_name(&wish.phase);
    let phase = phase.ok_or_else(|| format!("there is no phase {}", wish.phase))?;
    // Keys that were moved have left nothing behind.
    let accept_stale =
        moves_keys(shape) || wish.accept_stale.as_deref().is_some_and(|value| value != "0");
    let (from, rings) = may_go(&answers.board, pool, (phase, accept_stale))?;
    let dead_old = dead_old_of(&names_of(answers, &wish.pool), &rings);
    if !phase.new_serves() && !dead_old.is_empty() {
        return Err(Unable::WayBack(tell_given_up(&dead_old)).to_string());
    }
    answers.board.set(pool, Some(Arc::new(rings.at_phase(phase))));
    (answers.wake)();
    let (from, to) = (from.name(), phase.name());
    tracing::info!(pool = wish.pool, from, to, "phase of the expansion");
    Ok(format!("{from} -> {to}\n"))
}

/// The number of a pool whose way is walked through this process alone.
pub(super) fn led_from_here(answers: &Answers, name: &str) -> Result<usize, String> {
    let layout = answers.registry.layout();
    let pool = layout.present().find(|(_, shape)| shape.name == name);
    let (pool, _) = pool.ok_or_else(|| format!("there is no pool {name}"))?;
    if answers.sources.desks().iter().any(|desk| desk.pool == name) {
        return Err("the phases of this pool come from its topology".to_owned());
    }
    Ok(pool)
}

/// The servers of a pool in the order in which rings count them.
pub(super) fn names_of(answers: &Answers, pool: &str) -> Vec<String> {
    let config = answers.reloader.current();
    let pool = config.pools.iter().find(|it| it.name == pool);
    pool.into_iter().flat_map(|it| &it.servers).map(|server| server.name.clone()).collect()
}

/// Which of these servers are given up, and how far.
pub(super) fn dead_old_of(names: &[String], rings: &DualRing) -> DeadOld {
    let named = |(at, how): &(usize, GivenUp)| Some((names.get(*at)?.clone(), *how));
    rings.given_up().iter().filter_map(named).collect()
}

fn told(names: &[String], rings: &DualRing) -> Value {
    let dead_old = dead_old_of(names, rings);
    dead_old.into_iter().map(|(name, how)| (name, Value::from(how.name()))).collect()
}

/// The keys that stay where they are, in order.
fn pinned(rings: &DualRing) -> Vec<String> {
    let mut keys: Vec<String> = rings.pinned().map(text_of_key).collect();
    keys.sort_unstable();
    keys
}

/// Whether keys go from server to server, as in a pool that speaks Redis, and are not copied.
fn moves_keys(shape: &PoolShape) -> bool {
    shape.protocol == "redis"
}

/// The phase that a pool is in and its rings, if it may go to another phase now.
fn may_go(
    board: &Board,
    pool: usize,
    (to, accept_stale): (Phase, bool),
) -> Result<(Phase, Arc<DualRing>), String> {
    let rings = board.rings(pool);
    let rings = rings.ok_or("the pool has one ring: it is given a second by expansion:")?;
    let from = rings.phase();
    if from == to || !from.borders(to) {
        return Err(format!("from {} one step at a time, forwards or back", from.name()));
    }
    if from == Phase::New && !accept_stale {
        let why = "in phase new old copies are not deleted any more: what was changed since may be \
                   read as it was before; see accept_stale";
        return Err(why.to_owned());
    }
    if !board.has_settled(pool) {
        return Err(format!("what began before {} has not ended yet", from.name()));
    }
    Ok((from, rings))
}
