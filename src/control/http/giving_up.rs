//! `/expansion/dead_old`: an old server that is dead is given up on the way of a pool which this
//! process walks alone, or taken back.
//!
//! ```text
//!  (asked as ever) ◀─ 1 ─▶ unread ◀─ 2 ─▶ skipped     a step each, once all workers have settled with the last
//! ```
//! What is changed from the second step on is not deleted at that server any more: a process that
//! started without knowing of it would read old values there. So the file has to say so first.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::config::Protocol;
use crate::control::answers::Answers;
use crate::control::http::expansion::{dead_old_of, led_from_here, names_of};
use crate::topology::{DeadOld, GivenUp, VersionError, tell_given_up};

/// What a POST must say.
#[derive(Deserialize)]
pub(super) struct Wish {
    pool: String,
    server: String,
    /// `unread`, `skipped`, or `none`: it is asked as ever.
    state: String,
}

/// Takes a server one step further, or back.
pub(super) async fn give_up(
    State(answers): State<Arc<Answers>>,
    Query(wish): Query<Wish>,
) -> Response {
    match step(&answers, &wish) {
        Ok(text) => text.into_response(),
        Err(why) => (StatusCode::CONFLICT, format!("{why}\n")).into_response(),
    }
}

fn step(answers: &Answers, wish: &Wish) -> Result<String, String> {
    let Wish { pool, server, state } = wish;
    let number = led_from_here(answers, pool)?;
    let to = match (state.as_str(), GivenUp::of_name(state)) {
        ("none", _) => None,
        (_, Some(to)) => Some(to),
        _ => return Err(format!("{state} is none of none, unread, skipped")),
    };
    let rings = answers.board.rings(number).ok_or("the pool has one ring")?;
    let config = answers.reloader.current();
    let settings = config.pools.iter().find(|it| it.name == *pool);
    let settings = settings.ok_or_else(|| format!("there is no pool {pool}"))?;
    if settings.protocol == Protocol::Redis {
        return Err("what an old server of Redis has is nowhere else".to_owned());
    }
    let old = settings.two_rings().map(|it| &it.current[..]).unwrap_or_default();
    if !old.iter().any(|it| it.name == *server) {
        return Err(VersionError::NotOld(server.clone()).to_string());
    }
    if !rings.phase().new_serves() {
        return Err(VersionError::OldServes(rings.phase().name()).to_string());
    }
    let before = dead_old_of(&names_of(answers, pool), &rings);
    let from = before.get(server).copied();
    if !borders(from, to) {
        return Err(format!("{server} goes from {} one step at a time", word(from)));
    }
    if !answers.board.has_settled(number) {
        return Err("what began before the last step has not ended yet".to_owned());
    }
    if to > from {
        written(answers, (pool, server))?;
    }
    let mut after = before.clone();
    match to {
        Some(how) => after.insert(server.clone(), how),
        None => after.remove(server),
    };
    let rings = rings.at_phase(rings.phase()).giving_up(&settings.servers, &after);
    answers.board.set(number, Some(Arc::new(rings)));
    (answers.wake)();
    let (from, to) = (tell_given_up(&before), tell_given_up(&after));
    tracing::info!(pool, from, to, "old servers given up");
    Ok(format!("{from} -> {to}\n"))
}

/// Whether it is one step from here to there.
fn borders(from: Option<GivenUp>, to: Option<GivenUp>) -> bool {
    let place = |it: Option<GivenUp>| it.map_or(0, |it| it as i8 + 1);
    (place(from) - place(to)).abs() == 1
}

/// The file has a process that starts skip the server.
fn written(answers: &Answers, (pool, server): (&str, &str)) -> Result<(), String> {
    let config = answers.reloader.written().map_err(|why| why.to_string())?;
    let pool = config.pools.iter().find(|it| it.name == pool);
    let none = DeadOld::new();
    let says = pool.and_then(|it| it.two_rings()).map_or(&none, |it| &it.dead_old);
    if says.get(server) == Some(&GivenUp::Skipped) {
        return Ok(());
    }
    Err(format!(
        "the file must say so first, with the phase that the pool is in: a process that is started \
         anew would read {server} again. Under expansion: write  dead_old: {{ {server}: skipped }}"
    ))
}

const fn word(state: Option<GivenUp>) -> &'static str {
    match state {
        None => "none",
        Some(state) => state.name(),
    }
}
