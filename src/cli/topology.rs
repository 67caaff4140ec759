//! `twinring topology`: what sources of servers say, what a change would do, and the operator's
//! word.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use serde_json::Value;

use super::door::{DoorArgs, quoted};
use super::servers::{changes_text, read};
use super::{FAILED, complain, expand, look, print, write};
use crate::config::Pool;
use crate::control::topology::admission::serving;
use crate::routing::Moves;
use crate::topology::{Diff, Server, State, ring_order};

/// Between two looks of `watch`.
const LOOK: Duration = Duration::from_millis(500);

/// What there is to do.
#[derive(Debug, Subcommand)]
pub(super) enum Topology {
    /// What each source says and what is in force.
    Show {
        /// Only this pool.
        #[arg(long)]
        pool: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        door: DoorArgs,
    },
    /// What was put in force or refused, oldest first.
    History {
        /// Only this pool.
        #[arg(long)]
        pool: Option<String>,
        #[command(flatten)]
        door: DoorArgs,
    },
    /// The same, and what happens from now on, a line each, until it is interrupted.
    Watch {
        /// Only this pool.
        #[arg(long)]
        pool: Option<String>,
        #[command(flatten)]
        door: DoorArgs,
    },
    /// Have a topology followed that was refused.
    Accept {
        /// The epoch, as `show` names it.
        #[arg(long)]
        epoch: u64,
        /// The pool.
        #[arg(long)]
        pool: String,
        #[command(flatten)]
        door: DoorArgs,
    },
    /// What would change if a file's servers were put in force: servers, and how many keys move.
    Plan {
        /// The servers: a version, a nutcracker.yml or its list, or a plain list.
        file: PathBuf,
        /// The pool.
        #[arg(long)]
        pool: String,
        /// The file's format.
        #[arg(long, default_value = "native", value_parser = ["native", "nutcracker", "list"])]
        format: String,
        #[command(flatten)]
        door: DoorArgs,
    },
    /// Have all proxies of a pool whose topology is in ZooKeeper take other servers at once: its next
    /// version. Where keys would move, see `twinring expand`.
    Publish {
        #[command(flatten)]
        publish: expand::PublishArgs,
    },
    /// What tells two files of servers apart.
    Diff {
        /// The one.
        old: PathBuf,
        /// The other.
        new: PathBuf,
        /// Their format.
        #[arg(long, default_value = "native", value_parser = ["native", "nutcracker", "list"])]
        format: String,
    },
}

/// Does it; the exit code.
pub(super) fn run(what: Topology) -> u8 {
    let done = match what {
        Topology::Show { pool, json, door } => show(&door, pool.as_deref(), json),
        Topology::History { pool, door } => {
            reports(&door, pool.as_deref()).map(|reports| print(&events(&reports, &mut Vec::new())))
        }
        Topology::Watch { pool, door } => watch(&door, pool.as_deref()),
        Topology::Accept { epoch, pool, door } => {
            let path = format!("/topology/accept?pool={}&epoch={epoch}", quoted(&pool));
            door.ask("POST", &path).map(|answer| print(&answer))
        }
        Topology::Plan { file, pool, format, door } => plan(&door, &file, &pool, &format),
        Topology::Publish { publish } => expand::publish(&publish),
        Topology::Diff { old, new, format } => diff(&old, &new, &format),
    };
    done.err().unwrap_or(0)
}

fn reports(door: &DoorArgs, pool: Option<&str>) -> Result<Vec<Value>, u8> {
    let path = match pool {
        Some(pool) => format!("/topology?pool={}", quoted(pool)),
        None => "/topology".to_owned(),
    };
    let body = door.ask("GET", &path)?;
    let reports: Vec<Value> = serde_json::from_str(&body).map_err(|error| {
        complain(&format!("twinring: the admin listener answers something else: {error}\n"));
        FAILED
    })?;
    if reports.is_empty() {
        let which = pool.map_or_else(String::new, |pool| format!(" {pool}"));
        complain(&format!("twinring: no pool{which} with a topology source\n"));
        return Err(FAILED);
    }
    Ok(reports)
}

fn show(door: &DoorArgs, pool: Option<&str>, json: bool) -> Result<(), u8> {
    let reports = reports(door, pool)?;
    if json {
        print(&format!("{}\n", Value::Array(reports)));
        return Ok(());
    }
    let mut text = String::new();
    for report in &reports {
        let word = |key: &str| shown(&report[key]);
        let _ = writeln!(
            text,
            "pool {}: epoch {}, phase {}, {} ({}), confirmed {} s ago\n  source {}\n  digest {}",
            word("pool"),
            word("epoch"),
            word("phase"),
            word("origin"),
            if report["connected"] == true { "connected" } else { "not connected" },
            word("age_s"),
            word("source"),
            word("digest"),
        );
        for (name, state) in report["dead_old"].as_object().into_iter().flatten() {
            let (name, state) = (shown(&Value::from(name.as_str())), shown(state));
            let _ = writeln!(text, "  old server {name} is given up: {state}");
        }
        for server in report["servers"].as_array().into_iter().flatten() {
            let word = |key: &str| shown(&server[key]);
            let (name, address) = (word("name"), word("addr"));
            let _ =
                writeln!(text, "  {name}\t{address}\tweight={}\t{}", word("weight"), word("state"));
        }
        if let Value::Object(_) = &report["refused"] {
            let _ = writeln!(text, "  refused: {}", line(report, &report["refused"]));
        }
    }
    print(&text);
    Ok(())
}

/// The events that are not in `known` yet, a line each; they are added.
fn events(reports: &[Value], known: &mut Vec<String>) -> String {
    let mut lines: Vec<(u64, String)> = Vec::new();
    for report in reports {
        for event in report["history"].as_array().into_iter().flatten() {
            lines.push((event["time"].as_u64().unwrap_or_default(), line(report, event)));
        }
    }
    lines.sort_by_key(|(time, _)| *time);
    let fresh = lines.iter().map(|(_, line)| line).filter(|line| !known.contains(line));
    let text = fresh.map(|line| format!("{line}\n")).collect();
    *known = lines.into_iter().map(|(_, line)| line).collect();
    text
}

/// One event: when, what, where, and the particulars.
fn line(report: &Value, event: &Value) -> String {
    let word = |key: &str| shown(&event[key]);
    let mut line = format!(
        "{} pool={} epoch={} {}: {}",
        word("time"),
        shown(&report["pool"]),
        word("epoch"),
        word("what"),
        word("text")
    );
    let author = word("author");
    if author != "-" {
        line.push_str(&format!(" ({author})"));
    }
    line
}

/// What came from elsewhere goes to a terminal: without control characters.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn watch(door: &DoorArgs, pool: Option<&str>) -> Result<(), u8> {
    let mut known = Vec::new();
    loop {
        if write(&events(&reports(door, pool)?, &mut known)).is_err() {
            // As of `watch | head`: who read it has seen enough.
            return Ok(());
        }
        std::thread::park_timeout(LOOK);
    }
}

fn diff(old: &Path, new: &Path, format: &str) -> Result<(), u8> {
    let [old, new] = [old, new].map(|file| read(file, format, ""));
    let changes = Diff::between(&serving(&old?), &serving(&new?));
    print(&changes_text(&changes));
    Ok(())
}

fn plan(door: &DoorArgs, file: &Path, pool: &str, format: &str) -> Result<(), u8> {
    let Some(config) = door.config() else {
        complain(
            "twinring: plan needs the configuration (-c FILE), which says how keys are placed\n",
        );
        return Err(super::BAD_CONFIG);
    };
    let config = look::load(config)?;
    let Some(settings) = config.pools.iter().find(|it| it.name == pool && it.cache.is_none())
    else {
        complain(&format!("twinring: no pool {pool} with servers\n"));
        return Err(FAILED);
    };
    let new = serving(&read(file, format, pool)?);
    let old = in_force(door, settings)?;
    let changes = Diff::between(&old, &new);
    let moves = Moves::between(&settings.routing, &old, &new);
    let mut text = changes_text(&changes);
    let _ = writeln!(text, "{:.2} % of the keys move", moves.share * 100.0);
    for server in moves.servers {
        let _ = writeln!(
            text,
            "{}\t{:.2} % -> {:.2} %\tgains {:.2} %\tloses {:.2} %",
            server.name,
            server.shares.0 * 100.0,
            server.shares.1 * 100.0,
            server.gains * 100.0,
            server.loses * 100.0
        );
    }
    print(&text);
    Ok(())
}

/// The servers of a pool now: as the running process says if they come from elsewhere, else as the
/// configuration does.
fn in_force(door: &DoorArgs, settings: &Pool) -> Result<Vec<Server>, u8> {
    if settings.topology.is_none() {
        return Ok(settings.servers.clone());
    }
    let reports = reports(door, Some(&settings.name))?;
    let rows = reports[0]["servers"].as_array().cloned().unwrap_or_default();
    let server = |row: &Value| -> Option<Server> {
        let entry =
            format!("{}:{} {}", row["addr"].as_str()?, row["weight"], row["name"].as_str()?);
        let state = State::of_name(row["state"].as_str()?)?;
        Some(Server { state, ..entry.parse::<Server>().ok()? })
    };
    let servers: Option<Vec<Server>> = rows.iter().map(server).collect();
    let mut servers = servers.ok_or_else(|| {
        complain("twinring: the admin listener names servers that cannot be read\n");
        FAILED
    })?;
    ring_order(&mut servers);
    Ok(servers)
}
