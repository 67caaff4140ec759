//! `twinring expand`: a pool's way from its servers to others, step by step, as the operator walks it.
//!
//! ```text
//!  file ────▶ plan, explain KEY          what moves, and where one key is
//!  servers ─▶ plan, advance to fence     Redis: can they hand keys over, and are any too large?
//!  process ─▶ status                     how far it has come
//!          ◀─ advance, rollback ─ POST ─ one step, if `walk` lets it
//!          ─▶ … until all workers have acknowledged it
//!  ZooKeeper ◀─ start, advance, rollback, finish, dead ─ the next version, if all are there (`fleet`)
//!            ◀─ sweep ─ the same, once servers have nothing of earlier rings
//!            ─▶ … until all proxies have acknowledged it
//! ```

mod args;
mod big;
mod dead;
mod fleet;
mod look;
mod preflight;
mod publish;
mod redis;
mod running;
mod sweep;
mod walk;

use std::fmt::{Display, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::door::{DoorArgs, quoted};
use super::servers::read;
use super::{FAILED, complain, print};
use crate::config;
use crate::topology::{Phase, key_of_text};
pub(super) use args::Expand;
use args::{DeadArgs, StartArgs, StepArgs, SweepArgs};
use fleet::Leader;
pub(super) use publish::{PublishArgs, publish};
use running::Running;
use walk::{Way, Wish};

/// Between two looks at whether a phase has been acknowledged.
const LOOK: Duration = Duration::from_millis(20);

/// Does it; the exit code.
pub(super) fn run(what: Expand) -> u8 {
    let done = match what {
        Expand::Plan { target, format, pin, config, pool } => {
            plan((target.as_deref(), &format, pin.as_deref()), &config, pool.as_deref())
        }
        Expand::Status { pool, door } => match leader(&door, pool.as_deref()) {
            Ok(Some(mut leader)) => leader.status(),
            Ok(None) => status(&door, pool.as_deref()),
            Err(code) => Err(code),
        },
        Expand::Start { start } => begin(&start),
        Expand::Finish { step, unpin } => finish(&step, unpin),
        Expand::Sweep { sweep } => sweep_servers(&sweep),
        Expand::Dead { dead } => give_up(&dead),
        Expand::Advance { step } => take(&step, Way::Forwards, false),
        Expand::Rollback { step, accept_stale } => take(&step, Way::Back, accept_stale),
        Expand::Explain { key, pool, door } => {
            let Some(file) = door.config() else {
                complain("twinring: explain needs the configuration (-c FILE)\n");
                return super::USAGE;
            };
            match leader(&door, Some(&pool)) {
                Ok(Some(mut leader)) => leader.explain(&key),
                Ok(None) => look::explain(&key, (file, &pool), &door),
                Err(code) => Err(code),
            }
        }
    };
    done.err().unwrap_or(0)
}

/// Who leads the pool's fleet, if it has one and no process is meant.
fn leader(door: &DoorArgs, pool: Option<&str>) -> Result<Option<Leader>, u8> {
    let file = door.config().filter(|_| !door.names_a_process());
    fleet::pool(file, pool)?.map(Leader::of).transpose()
}

fn plan(
    (target, format, pin): (Option<&Path>, &str, Option<&Path>),
    file: &Path,
    pool: Option<&str>,
) -> Result<(), u8> {
    let target = target.map(|it| read(it, format, pool.unwrap_or_default())).transpose()?;
    if target.is_none() && fleet::pool(Some(file), pool)?.is_none() {
        return look::plan(file, pool);
    }
    leader_of(file, pool)?.plan(target.as_ref(), &pinned(pin)?)
}

fn begin(args: &StartArgs) -> Result<(), u8> {
    let target = read(&args.target, &args.format, args.pool.as_deref().unwrap_or_default())?;
    let pin = pinned(args.pin.as_deref())?;
    leader_of(&args.config, args.pool.as_deref())?.start(args, &target, pin)
}

/// The keys of a file, an entry a line.
fn pinned(file: Option<&Path>) -> Result<Vec<Vec<u8>>, u8> {
    let Some(file) = file else { return Ok(Vec::new()) };
    let unfit = |why: &dyn Display| {
        complain(&format!("twinring: {}: {why}\n", file.display()));
        FAILED
    };
    let text = std::fs::read_to_string(file).map_err(|error| unfit(&error))?;
    let entries = text.lines().filter(|it| !it.is_empty());
    let keys = entries.map(key_of_text).collect::<Result<Vec<_>, _>>();
    let mut keys = keys.map_err(|error| unfit(&error))?;
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

fn finish(args: &StepArgs, unpin: bool) -> Result<(), u8> {
    match leader(&args.door, args.pool.as_deref())? {
        Some(mut leader) => leader.finish(args, unpin),
        None => {
            complain("twinring: only a pool whose topology is in ZooKeeper is finished by this\n");
            Err(FAILED)
        }
    }
}

fn sweep_servers(args: &SweepArgs) -> Result<(), u8> {
    leader_of(&args.config, args.pool.as_deref())?.sweep(args)
}

fn give_up(args: &DeadArgs) -> Result<(), u8> {
    if args.clean.as_ref().is_some_and(|clean| *clean != args.name) {
        complain("twinring: --clean names another server\n");
        return Err(super::USAGE);
    }
    match leader(&args.door, args.pool.as_deref())? {
        Some(_) if args.to.is_some() => {
            complain(
                "twinring: --to is for pools without ZooKeeper: all proxies of a fleet wait\n",
            );
            Err(super::USAGE)
        }
        Some(mut leader) => leader.give_up(args),
        None => dead::give_up(args),
    }
}

fn leader_of(file: &Path, pool: Option<&str>) -> Result<Leader, u8> {
    match fleet::pool(Some(file), pool)? {
        Some(pool) => Leader::of(pool),
        None => {
            let which = pool.map_or_else(String::new, |pool| format!(" {pool}"));
            let file = file.display();
            complain(&format!(
                "twinring: {file} has no pool{which} with a native topology in ZooKeeper\n"
            ));
            Err(FAILED)
        }
    }
}

fn take(args: &StepArgs, way: Way, accept_stale: bool) -> Result<(), u8> {
    match leader(&args.door, args.pool.as_deref())? {
        Some(mut leader) => leader.step(args, way, accept_stale),
        None => walk(args, way, accept_stale),
    }
}

/// What is told of a pool whose values are copied, and where it stands in the report.
const COPIED: [(&str, &str); 6] = [
    ("fallbacks: hits", "/fallbacks/hit"),
    ("fallbacks: misses", "/fallbacks/miss"),
    ("fills: won", "/fills/won"),
    ("fills: lost", "/fills/lost"),
    ("old deletes failed", "/old_delete_failures"),
    ("operations under way", "/operations"),
];

/// The same of one whose keys are moved.
const MOVED: [(&str, &str); 9] = [
    ("keys moved", "/keys/moved"),
    ("keys that were not there", "/keys/absent"),
    ("keys that could not be moved", "/keys/failed"),
    ("keys that were dropped", "/keys/dropped"),
    ("keys that were at both", "/keys/split_brain"),
    ("swept: keys seen", "/sweep/seen"),
    ("swept: keys moved", "/sweep/moved"),
    ("scans in a row without a key", "/sweep/clean_scans"),
    ("requests that wait", "/operations"),
];

fn status(door: &DoorArgs, pool: Option<&str>) -> Result<(), u8> {
    let mut text = String::new();
    for running in running::pools(door, pool)? {
        let (name, phase, workers) = (&running.pool, running.place(), running.workers.len());
        let acknowledged = if running.acknowledged() {
            format!("acknowledged by all workers ({workers})")
        } else {
            format!("not acknowledged by workers {} of {workers}", running.behind())
        };
        let _ = writeln!(text, "pool {name}: phase {phase}, {acknowledged}");
        let _ = writeln!(text, "  keys that move\t{:.2} %", running.moves * 100.0);
        let figures = if running.moves_keys { &MOVED[..] } else { &COPIED[..] };
        for (what, place) in figures {
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
    let to = args.to.as_deref().and_then(Phase::of_name);
    let wish = Wish { way, to, accept_stale: accept_stale || before.moves_keys };
    let to = walk::step(from, before.acknowledged(), wish).map_err(|why| {
        complain(&format!("twinring: pool {pool}: {why}\n"));
        FAILED
    })?;
    let stale = if accept_stale { "&accept_stale=1" } else { "" };
    let path = format!("/expansion?pool={}&phase={}{stale}", quoted(pool), to.name());
    if before.moves_keys && (from, to) == (Phase::Prepare, Phase::Fence) {
        look::before_the_fence(args.door.config(), &before)?;
    }
    if before.moves_keys && (from, to) == (Phase::Fence, Phase::Prepare) {
        look::before_the_way_back(args.door.config(), pool)?;
    }
    let begun = Instant::now();
    args.door.ask("POST", &path)?;
    let limit = Duration::from_secs(args.why.timeout.into());
    let stands = |running: &Running| running.phase == to;
    let wanted = Wanted { pool, place: to.name(), stands: &stands };
    let after = acknowledged(&args.door, &wanted, begun + limit)?;
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

/// What a pool was to come to.
struct Wanted<'a> {
    pool: &'a str,
    place: &'a str,
    stands: &'a dyn Fn(&Running) -> bool,
}

/// The pool once all workers have acknowledged where it is; a complaint if it is elsewhere, or if
/// they have not at `end`.
fn acknowledged(door: &DoorArgs, wanted: &Wanted<'_>, end: Instant) -> Result<Running, u8> {
    let Wanted { pool, place, stands } = wanted;
    loop {
        let running = running::pool(door, Some(pool))?;
        if !stands(&running) {
            let now = running.place();
            complain(&format!(
                "twinring: pool {pool}: went to {place}, but is in {now} now: somebody else walks\n"
            ));
            return Err(FAILED);
        }
        if running.acknowledged() {
            return Ok(running);
        }
        if Instant::now() >= end {
            let behind = running.behind();
            complain(&format!(
                "twinring: pool {pool}: went to {place}, which workers {behind} have not acknowledged \
                 in time (--timeout); see status\n"
            ));
            return Err(FAILED);
        }
        std::thread::park_timeout(LOOK);
    }
}
