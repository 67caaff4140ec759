//! `twinring expand dead` for a pool that one process walks alone: two steps, each once all workers
//! have acknowledged the last one.

use std::time::{Duration, Instant};

use super::args::DeadArgs;
use super::{Wanted, acknowledged, running};
use crate::cli::door::{DoorArgs, quoted};
use crate::cli::{FAILED, complain, print};
use crate::config;
use crate::topology::{DeadOld, GivenUp, tell_given_up};

/// Gives the server up, or takes it back.
pub(super) fn give_up(args: &DeadArgs) -> Result<(), u8> {
    let (door, name) = (&args.door, &args.name);
    let mut before = running::pool(door, args.pool.as_deref())?;
    let now = before.dead_old.get(name).copied();
    let steps = steps(now, (args.back, args.to.as_deref())).map_err(|why| {
        complain(&format!("twinring: pool {}: {name} {why}\n", before.pool));
        FAILED
    })?;
    for to in steps {
        let limit = Duration::from_secs(args.why.timeout.into());
        let (begun, pool) = (Instant::now(), before.pool.clone());
        let state = to.map_or("none", GivenUp::name);
        let (of_pool, server) = (quoted(&pool), quoted(name));
        let path = format!("/expansion/dead_old?pool={of_pool}&server={server}&state={state}");
        door.ask("POST", &path)?;
        let place = format!("{name} {state}");
        let stands = |it: &running::Running| it.dead_old.get(name).copied() == to;
        let wanted = Wanted { pool: &pool, place: &place, stands: &stands };
        let after = acknowledged(door, &wanted, begun + limit)?;
        let (took, workers) = (begun.elapsed().as_secs_f64(), after.workers.len());
        let (from, to) = (before.place(), after.place());
        print(&format!(
            "pool {pool}: {from} -> {to}, acknowledged by all workers ({workers}) in {took:.1} s{}\n",
            restart(door, &pool, &after.dead_old)
        ));
        before = after;
    }
    Ok(())
}

/// What it goes through from where it is, to the end or to a state of this name.
fn steps(
    now: Option<GivenUp>,
    (back, to): (bool, Option<&str>),
) -> Result<Vec<Option<GivenUp>>, &'static str> {
    use GivenUp::{Skipped, Unread};
    let mut steps = match (now, back) {
        (None, false) => vec![Some(Unread), Some(Skipped)],
        (Some(Unread), false) => vec![Some(Skipped)],
        (Some(Skipped), false) => return Err("is given up already"),
        (Some(Skipped), true) => vec![Some(Unread), None],
        (Some(Unread), true) => vec![None],
        (None, true) => return Err("is not given up"),
    };
    if let Some(to) = to {
        let last = steps.iter().position(|step| step.map_or("none", GivenUp::name) == to);
        steps.truncate(last.ok_or("does not come to that by this")? + 1);
    }
    Ok(steps)
}

/// What to say if the file has the process begin with others, once it is taken back.
fn restart(door: &DoorArgs, pool: &str, dead_old: &DeadOld) -> String {
    let begins = || {
        let config = config::load(door.config()?, false).ok()?;
        let pool = config.pools.into_iter().find(|it| it.name == pool)?;
        Some(pool.expansion?.dead_old)
    };
    match begins() {
        Some(begins) if begins != *dead_old && dead_old.is_empty() => {
            format!("; the file still says dead_old: {}", tell_given_up(&begins))
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_from_where_it_is_and_no_further_than_it_shall() {
        use GivenUp::{Skipped, Unread};
        assert_eq!(steps(None, (false, None)), Ok(vec![Some(Unread), Some(Skipped)]));
        assert_eq!(steps(None, (false, Some("unread"))), Ok(vec![Some(Unread)]));
        assert_eq!(steps(Some(Unread), (false, Some("skipped"))), Ok(vec![Some(Skipped)]));
        assert_eq!(steps(Some(Skipped), (true, None)), Ok(vec![Some(Unread), None]));
        assert_eq!(steps(Some(Skipped), (true, Some("unread"))), Ok(vec![Some(Unread)]));
        for (now, way) in [
            (Some(Skipped), (false, None)),
            (None, (true, None)),
            (Some(Unread), (false, Some("unread"))),
            (Some(Unread), (true, Some("skipped"))),
        ] {
            assert!(steps(now, way).is_err(), "{now:?} {way:?}");
        }
    }
}
