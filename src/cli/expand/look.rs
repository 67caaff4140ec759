//! What a file's two rings mean: how much moves, and where one key is.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::preflight::{self, Findings};
use super::running::{self, Running};
use crate::cli::door::DoorArgs;
use crate::cli::{FAILED, complain, look, print};
use crate::config::{BigKeys, Config, Expansion, Fill, Pool, Protocol};
use crate::routing::{DualRing, Place};
use crate::service::{Told, rings, told, told_moving};
use crate::topology::{DeadOld, Phase, text_of_key};

/// Rings of which the parts that move differ by more are not the same.
const ALIKE: f64 = 1e-9;

/// The phase before which keys that are too large may be deleted.
pub(super) const FENCE: &str = "to the fence";

/// The pools of a file that have two rings: those, or the one that is named.
fn pools<'a>(
    config: &'a Config,
    (file, name): (&Path, Option<&str>),
) -> Result<Vec<(&'a Pool, &'a Expansion)>, u8> {
    let with_two = config.pools.iter().filter_map(|pool| Some((pool, pool.two_rings()?)));
    let found: Vec<_> =
        with_two.filter(|(pool, _)| name.is_none_or(|name| pool.name == name)).collect();
    if found.is_empty() {
        let which = name.map_or_else(String::new, |name| format!(" {name}"));
        let file = file.display();
        complain(&format!("twinring: {file} has no pool{which} with expansion:\n"));
        return Err(FAILED);
    }
    Ok(found)
}

/// `twinring expand plan`.
pub(super) fn plan(file: &Path, name: Option<&str>) -> Result<(), u8> {
    let config = look::load(file)?;
    let mut problems = 0;
    for (pool, expansion) in pools(&config, (file, name))? {
        let mut text = String::new();
        tell_plan(pool, expansion, &mut text);
        if pool.protocol == Protocol::Redis {
            let found = preflight::look(pool, expansion);
            text.push_str(&found.text);
            problems += found.problems.len();
            found.problems.iter().for_each(|why| text.push_str(&format!("problem: {why}\n")));
        }
        print(&text);
    }
    if problems == 0 { Ok(()) } else { Err(FAILED) }
}

/// Before the fence of a pool that speaks Redis is entered: its servers must be able to hand keys
/// to each other, and no key may be too large.
pub(super) fn before_the_fence(file: Option<&Path>, running: &Running) -> Result<(), u8> {
    let name = &running.pool;
    let Some(file) = file else {
        complain(&format!(
            "twinring: pool {name}: its servers are looked at before the fence: needs the \
             configuration (-c FILE)\n"
        ));
        return Err(FAILED);
    };
    let config = look::load(file)?;
    let found = pools(&config, (file, Some(name)))?;
    let Some(&(pool, expansion)) = found.first() else { return Err(FAILED) };
    let mut looked = preflight::look(pool, expansion);
    let mut pinned: Vec<String> = expansion.moving.pin.iter().map(|key| text_of_key(key)).collect();
    pinned.sort_unstable();
    pinned.dedup();
    if pinned != running.pinned {
        let why = format!("the process has other keys under pin: than {}", file.display());
        looked.problems.push(why);
    }
    clear_the_way(pool, expansion, looked, FENCE)
}

/// The same of a pool whose rings come from elsewhere, on the way to a phase.
pub(super) fn before_moving(pool: &Pool, expansion: &Expansion, whither: &str) -> Result<(), u8> {
    clear_the_way(pool, expansion, preflight::look(pool, expansion), whither)
}

/// Before keys are brought back to the servers that had them: these may be older than those that they
/// come from by now, and a pool that has begun with that could go nowhere.
pub(super) fn before_the_way_back(file: Option<&Path>, name: &str) -> Result<(), u8> {
    let Some(file) = file else {
        complain(&format!(
            "twinring: pool {name}: its servers are looked at before the way back: needs the \
             configuration (-c FILE)\n"
        ));
        return Err(FAILED);
    };
    let config = look::load(file)?;
    let found = pools(&config, (file, Some(name)))?;
    let Some(&(pool, expansion)) = found.first() else { return Err(FAILED) };
    before_moving_back(pool, expansion)
}

/// The same of a pool whose rings come from elsewhere.
pub(super) fn before_moving_back(pool: &Pool, expansion: &Expansion) -> Result<(), u8> {
    let problems = preflight::look_back(pool, expansion);
    let looked = Findings { problems, ..Findings::default() };
    clear_the_way(pool, expansion, looked, "back to prepare")
}

/// Nothing stands in the way, and keys that are too large are gone if that is wanted.
fn clear_the_way(
    pool: &Pool,
    expansion: &Expansion,
    looked: Findings,
    whither: &str,
) -> Result<(), u8> {
    let name = &pool.name;
    if !looked.problems.is_empty() {
        // What was seen says which keys it is about.
        print(&looked.text);
        let problems = looked.problems.join("\n  ");
        complain(&format!("twinring: pool {name}: not {whither}:\n  {problems}\n"));
        return Err(FAILED);
    }
    let deletes = whither == FENCE && expansion.moving.big_keys == BigKeys::Delete;
    if deletes && !looked.big.is_empty() {
        let deleted = preflight::delete(pool, &looked.big).map_err(|why| {
            complain(&format!("twinring: pool {name}: {why}\n"));
            FAILED
        })?;
        print(&format!("pool {name}: {deleted} big keys deleted\n"));
    }
    Ok(())
}

/// What moves, and what that costs where values are copied.
pub(super) fn tell_plan(pool: &Pool, expansion: &Expansion, text: &mut String) {
    tell_moves(pool, expansion, text);
    if pool.protocol != Protocol::Redis {
        tell_costs(pool, expansion, text);
    }
}

fn tell_moves(pool: &Pool, expansion: &Expansion, text: &mut String) {
    let rings = rings(pool, expansion);
    let (moves, percent) = (rings.moves(), |part: f64| part * 100.0);
    let (name, share) = (&pool.name, percent(moves.share));
    let (before, after) = (expansion.current.len(), expansion.target.len());
    let _ = writeln!(
        text,
        "pool {name}: {before} servers -> {after} servers, {share:.2} % of the keys move"
    );
    for server in &moves.servers {
        let _ = writeln!(
            text,
            "{}\t{:.2} % -> {:.2} %\tgains {:.2} %\tloses {:.2} %",
            server.name,
            percent(server.shares.0),
            percent(server.shares.1),
            percent(server.gains),
            percent(server.loses),
        );
    }
}

/// What phases cost a pool whose values are copied.
fn tell_costs(pool: &Pool, expansion: &Expansion, text: &mut String) {
    let rings = rings(pool, expansion);
    let (moves, percent) = (rings.moves(), |part: f64| part * 100.0);
    let share = percent(moves.share);
    let losing = moves.servers.iter().filter(|server| server.loses > 0.0);
    let reads: Vec<String> =
        losing.map(|server| format!("{} {:.1}", server.name, percent(server.loses))).collect();
    let _ = writeln!(
        text,
        "extra reads: in warm, at most {share:.1} of 100 gets also ask an old server ({}), {}",
        reads.join(", "),
        match expansion.fill {
            Fill::Vivify =>
                "once for each key that is copied and each time for one that is nowhere",
            Fill::Off => "each time until the key is set",
        }
    );
    for operation in [1, 2] {
        let extra = |phase: Phase| {
            let Told { requests: (fewest, _), .. } =
                &told(phase, expansion.fill, ("", ""))[operation];
            format!("{} {:.1}", phase.name(), share * (fewest - 1) as f64)
        };
        let phases = [Phase::Prepare, Phase::Fence, Phase::Warm, Phase::Drain].map(extra);
        let name = told(Phase::Stable, expansion.fill, ("", ""))[operation].operation;
        let _ = writeln!(text, "extra requests for 100 {name}s: {}", phases.join(", "));
    }
}

/// `twinring expand explain`.
pub(super) fn explain(key: &OsStr, (file, name): (&Path, &str), door: &DoorArgs) -> Result<(), u8> {
    let config = look::load(file)?;
    let found = pools(&config, (file, Some(name)))?;
    let Some((pool, expansion)) = found.first() else { return Err(FAILED) };
    let rings = rings(pool, expansion);
    let (phase, whence, dead_old) = phase_now(door, (file, name), &rings)?;
    let rings = match dead_old {
        Some(dead_old) => rings.giving_up(&pool.servers, &dead_old),
        None => rings,
    };
    explain_in(key, (pool, &rings), (phase, whence))
}

/// Where a key is in these rings, and what becomes of it in a phase, known from somewhere.
pub(super) fn explain_in(
    key: &OsStr,
    (pool, rings): (&Pool, &DualRing),
    (phase, whence): (Phase, String),
) -> Result<(), u8> {
    let server = |index: usize| pool.servers[index].name.as_str();
    // In a phase between the ends, whatever the phase is: a place in both rings. A pinned key has
    // one.
    let place = rings.at_phase(Phase::Warm).place(key.as_bytes());
    let (old, new, phase_there) = match place {
        Some(Place::One(at)) => (server(at), server(at), phase),
        Some(Place::Moved { old, new }) => {
            (server(old), server(new), rings.at_phase(phase).phase_of(old))
        }
        None => return Err(FAILED),
    };
    let moves = if old == new { "does not move" } else { "moves" };
    let fill = pool.two_rings().map_or(Fill::Vivify, |expansion| expansion.fill);
    let mut text = format!(
        "{}: old server {old}, new server {new}: it {moves}\nphase {}{whence}\n",
        key.as_bytes().escape_ascii(),
        phase.name(),
    );
    if phase_there != phase {
        let _ = writeln!(text, "{old} is given up: as in phase {}", phase_there.name());
    }
    // A key that does not move is treated as ever.
    let as_if = if old == new { Phase::Stable } else { phase_there };
    if pool.protocol == Protocol::Redis {
        let _ = writeln!(text, "commands\t{}", told_moving(as_if, (old, new), pool.hands_over()));
    } else {
        for Told { operation, way, .. } in told(as_if, fill, (old, new)) {
            let _ = writeln!(text, "{operation}\t{way}");
        }
    }
    print(&text);
    Ok(())
}

/// The phase that the running process is in, and what it has given up; or if none is named and none
/// answers, the file's.
fn phase_now(
    door: &DoorArgs,
    (file, name): (&Path, &str),
    rings: &DualRing,
) -> Result<(Phase, String, Option<DeadOld>), u8> {
    if !door.answers() {
        return Ok((rings.phase(), format!(" (of {}: no process answers)", file.display()), None));
    }
    let running = running::pool(door, Some(name))?;
    if (running.moves - rings.moves().share).abs() > ALIKE {
        let file = file.display();
        complain(&format!("twinring: the process has other rings for {name} than {file}\n"));
        return Err(FAILED);
    }
    let whence = if running.acknowledged() { "" } else { " (not acknowledged by all workers yet)" };
    Ok((running.phase, whence.to_owned(), Some(running.dead_old)))
}
