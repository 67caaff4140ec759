//! `/hotkeys`: the keys of a pool with a near cache that are asked for most.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::control::parts::{HotKey, HotKeys};

/// Keys that are told unless it is said how many.
const KEYS: usize = 20;

/// What may stand behind `/hotkeys?`.
#[derive(Deserialize)]
pub(super) struct HotKeysQuery {
    pool: Option<String>,
    by: Option<String>,
    n: Option<usize>,
}

#[derive(Serialize)]
struct Report<'a> {
    pool: &'a str,
    by: &'a str,
    keys: Vec<Told>,
}

/// A key as it is told: bytes that are no printable ASCII stand as `\xHH`.
#[derive(Serialize)]
struct Told {
    key: String,
    requests: u64,
    value_bytes: usize,
    bytes: u64,
}

/// The report, or what is wrong with the question: 400 if it is none, 404 if the pool has no near
/// cache.
pub(super) fn report(hot_keys: &HotKeys, query: &HotKeysQuery) -> Response {
    let refuse = |status, why: String| (status, format!("{why}\n")).into_response();
    let Some(pool) = query.pool.as_deref() else {
        return refuse(StatusCode::BAD_REQUEST, "which pool? /hotkeys?pool=NAME".to_owned());
    };
    let by = query.by.as_deref().unwrap_or("requests");
    if !matches!(by, "requests" | "bytes") {
        return refuse(StatusCode::BAD_REQUEST, "by is \"requests\" or \"bytes\"".to_owned());
    }
    let Some(mut found) = hot_keys(pool) else {
        let why = format!("no pool of this name has a near cache: {}", pool.escape_default());
        return refuse(StatusCode::NOT_FOUND, why);
    };
    if by == "bytes" {
        found.sort_by_key(|known| std::cmp::Reverse(bytes(known)));
    }
    found.truncate(query.n.unwrap_or(KEYS));
    let keys = found.iter().map(tell).collect();
    let text = serde_json::to_string(&Report { pool, by, keys }).unwrap_or_default();
    ([(CONTENT_TYPE, "application/json")], text + "\n").into_response()
}

/// Bytes of values that its requests have asked for.
fn bytes(known: &HotKey) -> u64 {
    known.requests.saturating_mul(known.value_bytes as u64)
}

fn tell(known: &HotKey) -> Told {
    Told {
        key: known.key.escape_ascii().to_string(),
        requests: known.requests,
        value_bytes: known.value_bytes,
        bytes: bytes(known),
    }
}
