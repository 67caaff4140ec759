//! `twinring expand`: a pool's way from its servers to others, step by step, as the operator walks it.
//!
//! ```text
//!  file ────▶ plan, explain KEY          what moves, and where one key is
//!  process ─▶ status                     how far it has come
//!          ◀─ advance, rollback ─ POST ─ one step, if `walk` lets it
//!          ─▶ … until all workers have acknowledged it
//! ```

mod look;
mod running;
mod walk;

use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use super::door::{DoorArgs, quoted};
use super::{FAILED, complain, print};
use crate::config;
use crate::topology::Phase;
use running::Running;
use walk::{Way, Wish};

/// Between two looks at whether a phase has been acknowledged.
const LOOK: Duration = Duration::from_millis(20);
const NAMES: [&str; 6] = ["stable", "prepare", "fence", "warm", "drain", "new"];

/// What there is to do.
#[derive(Debug, Subcommand)]
pub(super) enum Expand {
    /// How many keys move, in all and for each server, and what it costs: from the file alone.
    Plan {
        /// Configuration.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Only this pool.
        #[arg(long)]
        pool: Option<String>,
    },
    /// How far pools have come, who has acknowledged that, and what was copied.
    Status {
        /// Only this pool.
        #[arg(long)]
        pool: Option<String>,
        #[command(flatten)]
        door: DoorArgs,
    },
    /// One step towards the new servers: stable, prepare, fence, warm, drain, new.
    Advance {
        #[command(flatten)]
        step: StepArgs,
    },
    /// One step back towards the old servers.
    Rollback {
        #[command(flatten)]
        step: StepArgs,
        /// From phase new: values may be read that were changed or deleted since.
        #[arg(long)]
        accept_stale: bool,
    },
    /// Where a key is and goes, and what a get, a set and a delete of it do now.
    Explain {
        /// The key.
        key: OsString,
        /// The pool.
        #[arg(long)]
        pool: String,
        #[command(flatten)]
        door: DoorArgs,
    },
}

/// A step of which pool, and how it is to end.
#[derive(Debug, Args)]
pub(super) struct StepArgs {
    /// The pool; may be left out if only one has two rings.
    #[arg(long)]
    pool: Option<String>,
    /// The phase that the step shall come to: refused if it leads to another.
    #[arg(long, value_name = "PHASE", value_parser = NAMES)]
    to: Option<String>,
    /// Seconds to wait for all workers to acknowledge it. Drain takes up to `stub_ttl` and
    /// `cas_quarantine`.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u32,
    #[command(flatten)]
    door: DoorArgs,
}

/// Does it; the exit code.
pub(super) fn run(what: Expand) -> u8 {
    let done = match what {
        Expand::Plan { config, pool } => look::plan(&config, pool.as_deref()),
        Expand::Status { pool, door } => status(&door, pool.as_deref()),
        Expand::Advance { step } => walk(&step, Way::Forwards, false),
        Expand::Rollback { step, accept_stale } => walk(&step, Way::Back, accept_stale),
        Expand::Explain { key, pool, door } => {
            let Some(file) = door.config() else {
                complain("twinring: explain needs the configuration (-c FILE)\n");
                return super::USAGE;
            };
            look::explain(&key, (file, &pool), &door)
        }
    };
    done.err().unwrap_or(0)
}

fn status(door: &DoorArgs, pool: Option<&str>) -> Result<(), u8> {
    let mut text = String::new();
    for running in running::pools(door, pool)? {
        let (name, phase, workers) = (&running.pool, running.phase.name(), running.workers.len());
        let acknowledged = if running.acknowledged() {
            format!("acknowledged by all workers ({workers})")
        } else {
            format!("not acknowledged by workers {} of {workers}", running.behind())
        };
        let _ = writeln!(text, "pool {name}: phase {phase}, {acknowledged}");
        let _ = writeln!(text, "  keys that move\t{:.2} %", running.moves * 100.0);
        for (what, place) in [
            ("fallbacks: hits", "/fallbacks/hit"),
            ("fallbacks: misses", "/fallbacks/miss"),
            ("fills: won", "/fills/won"),
            ("fills: lost", "/fills/lost"),
            ("old deletes failed", "/old_delete_failures"),
            ("operations under way", "/operations"),
        ] {
            let _ = writeln!(text, "  {what}\t{}", running.count(place));
        }
    }
    print(&text);
    Ok(())
}

/// One step, and its acknowledgement.
fn walk(args: &StepArgs, way: Way, accept_stale: bool) -> Result<(), u8> {
    let before = running::pool(&args.door, args.pool.as_deref())?;
    let (pool, from) = (&before.pool, before.phase);
    let wish = Wish { way, to: args.to.as_deref().and_then(Phase::of_name), accept_stale };
    let to = walk::step(from, before.acknowledged(), wish).map_err(|why| {
        complain(&format!("twinring: pool {pool}: {why}\n"));
        FAILED
    })?;
    let stale = if accept_stale { "&accept_stale=1" } else { "" };
    let path = format!("/expansion?pool={}&phase={}{stale}", quoted(pool), to.name());
    let begun = Instant::now();
    args.door.ask("POST", &path)?;
    let limit = Duration::from_secs(args.timeout.into());
    let after = acknowledged(args, (pool, to), begun + limit)?;
    let (took, workers) = (begun.elapsed().as_secs_f64(), after.workers.len());
    let (from, restart) = (from.name(), restart(&args.door, (pool, to)));
    let to = to.name();
    print(&format!(
        "pool {pool}: {from} -> {to}, acknowledged by all workers ({workers}) in {took:.1} s{restart}\n"
    ));
    Ok(())
}

/// What to say if the file has the process begin in another phase than it is in, should it be
/// started anew.
fn restart(door: &DoorArgs, (pool, phase): (&str, Phase)) -> String {
    let begins = || {
        let config = config::load(door.config()?, false).ok()?;
        let pool = config.pools.into_iter().find(|it| it.name == pool)?;
        Some(pool.expansion?.phase)
    };
    match begins() {
        Some(begins) if begins != phase => {
            format!("; the file still says phase: {}", begins.name())
        }
        _ => String::new(),
    }
}

/// The pool once all workers have acknowledged the phase `to`; a complaint if that takes too long.
fn acknowledged(args: &StepArgs, (pool, to): (&str, Phase), end: Instant) -> Result<Running, u8> {
    loop {
        let running = running::pool(&args.door, Some(pool))?;
        let now = running.phase;
        if now != to {
            let (to, now) = (to.name(), now.name());
            complain(&format!(
                "twinring: pool {pool}: went to {to}, but is in {now} now: somebody else walks\n"
            ));
            return Err(FAILED);
        }
        if running.acknowledged() {
            return Ok(running);
        }
        if Instant::now() >= end {
            let (to, behind, limit) = (to.name(), running.behind(), args.timeout);
            complain(&format!(
                "twinring: pool {pool}: went to {to}, which workers {behind} have not acknowledged within \
                 {limit} s; see status\n"
            ));
            return Err(FAILED);
        }
        std::thread::park_timeout(LOOK);
    }
}
