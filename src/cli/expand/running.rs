//! A pool with two rings as the running process tells of it.

use serde_json::Value;

use crate::cli::door::{DoorArgs, quoted};
use crate::cli::{FAILED, complain};
use crate::topology::{DeadOld, GivenUp, Phase, tell_given_up};

/// How far it has come.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) pool: String,
    pub(super) phase: Phase,
    /// Whether each worker has acknowledged the phase.
    pub(super) workers: Vec<bool>,
    /// The part of all keys that moves, 0 to 1.
    pub(super) moves: f64,
    /// Keys go from server to server and are not copied.
    pub(super) moves_keys: bool,
    /// Keys that stay, as entries, in order.
    pub(super) pinned: Vec<String>,
    /// Old servers that are given up.
    pub(super) dead_old: DeadOld,
    report: Value,
}

impl Running {
    /// Of what `/expansion` says; `None` if it says something else.
    fn of(report: Value) -> Option<Self> {
        let workers = report["workers"].as_array()?.iter().map(Value::as_bool);
        Some(Self {
            pool: report["pool"].as_str()?.to_owned(),
            phase: Phase::of_name(report["phase"].as_str()?)?,
            workers: workers.collect::<Option<_>>()?,
            moves: report["moves"].as_f64()?,
            moves_keys: report["manner"].as_str()? == "move",
            pinned: report["pinned"]
                .as_array()?
                .iter()
                .map(|key| key.as_str().map(str::to_owned))
                .collect::<Option<_>>()?,
            dead_old: report["dead_old"]
                .as_object()?
                .iter()
                .map(|(name, how)| Some((name.clone(), GivenUp::of_name(how.as_str()?)?)))
                .collect::<Option<_>>()?,
            report,
        })
    }

    /// Whether all workers have acknowledged the phase.
    pub(super) fn acknowledged(&self) -> bool {
        self.workers.iter().all(|acknowledged| *acknowledged)
    }

    /// The phase, and which old servers are given up.
    pub(super) fn place(&self) -> String {
        let phase = self.phase.name();
        if self.dead_old.is_empty() {
            return phase.to_owned();
        }
        format!("{phase} ({})", tell_given_up(&self.dead_old))
    }

    /// Those that have not, by their numbers.
    pub(super) fn behind(&self) -> String {
        let behind = self.workers.iter().enumerate().filter(|(_, acknowledged)| !**acknowledged);
        let numbers: Vec<String> = behind.map(|(worker, _)| worker.to_string()).collect();
        numbers.join(", ")
    }

    /// A counter, by its place in the report.
    pub(super) fn count(&self, place: &str) -> u64 {
        self.report.pointer(place).and_then(Value::as_u64).unwrap_or_default()
    }
}

/// The pools of the process that have two rings: those, or the one that is named.
pub(super) fn pools(door: &DoorArgs, pool: Option<&str>) -> Result<Vec<Running>, u8> {
    let query = pool.map_or_else(String::new, |pool| format!("?pool={}", quoted(pool)));
    let body = door.ask("GET", &format!("/expansion{query}"))?;
    let reports = serde_json::from_str::<Vec<Value>>(&body).ok();
    let found: Option<Vec<Running>> =
        reports.and_then(|reports| reports.into_iter().map(Running::of).collect());
    let found = found.ok_or_else(|| {
        complain("twinring: the admin listener answers something else\n");
        FAILED
    })?;
    if found.is_empty() {
        let which = pool.map_or_else(String::new, |pool| format!(" {pool}"));
        complain(&format!("twinring: the process has no pool{which} with two rings\n"));
        return Err(FAILED);
    }
    Ok(found)
}

/// The one that is named, or the only one.
pub(super) fn pool(door: &DoorArgs, pool: Option<&str>) -> Result<Running, u8> {
    let mut found = pools(door, pool)?;
    if found.len() > 1 {
        let names: Vec<&str> = found.iter().map(|running| running.pool.as_str()).collect();
        complain(&format!("twinring: say which by --pool: {}\n", names.join(", ")));
        return Err(FAILED);
    }
    found.pop().ok_or(FAILED)
}
