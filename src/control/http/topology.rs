//! `/topology`: what sources of servers say and what was made of it; and the operator's word.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::control::answers::Answers;
use crate::control::topology::Report;

/// Every source, or that of one pool.
#[derive(Deserialize)]
pub(super) struct Which {
    pool: Option<String>,
}

pub(super) async fn show(
    State(answers): State<Arc<Answers>>,
    Query(which): Query<Which>,
) -> Response {
    let desks = answers.sources.desks();
    let chosen =
        desks.iter().filter(|desk| which.pool.as_ref().is_none_or(|pool| *pool == desk.pool));
    let reports: Vec<Report> = chosen.map(|desk| desk.report()).collect();
    match serde_json::to_string(&reports) {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Which topology is meant, whatever it does.
#[derive(Deserialize)]
pub(super) struct Word {
    pool: String,
    epoch: u64,
}

pub(super) async fn accept(
    State(answers): State<Arc<Answers>>,
    Query(word): Query<Word>,
) -> Response {
    let desks = answers.sources.desks();
    let Some(desk) = desks.iter().find(|desk| desk.pool == word.pool) else {
        let why = format!("no pool {} with a topology source\n", word.pool);
        return (StatusCode::NOT_FOUND, why).into_response();
    };
    tracing::warn!(pool = word.pool, epoch = word.epoch, "the operator accepts a topology");
    desk.accept(word.epoch);
    let pool = &word.pool;
    format!("pool {pool}: epoch {} is followed once the source has it\n", word.epoch)
        .into_response()
}
