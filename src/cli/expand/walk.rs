//! The rules of the walk: which step may be taken now. The process itself holds to them as well; here
//! they are said before anything is asked of it.

use thiserror::Error;

use crate::topology::Phase;

/// Forwards to the new ring, or back to the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To the new ring.
    Forwards,
    /// To the old one.
    Back,
}

/// What the operator says about the step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) way: Way,
    /// The phase that it shall come to.
    pub(super) to: Option<Phase>,
    /// Old values may be read after it.
    pub(super) accept_stale: bool,
}

/// Why no step is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Refusal {
    /// There is none behind the last one, or before the first.
    #[error("{0} is the {1} phase")]
    End(&'static str, &'static str),
    /// Another phase was named than the neighbour.
    #[error("from {from} this goes to {next}, not to {to}: one step at a time")]
    Skips { from: &'static str, next: &'static str, to: &'static str },
    /// Operations of an earlier phase are under way.
    #[error("{0} has not been acknowledged by all workers yet; see status")]
    Unacknowledged(&'static str),
    /// From the last phase the way back is not safe.
    #[error(
        "in phase new old copies are not deleted any more: after a way back what was changed since \
         may be read as it was before; --accept-stale goes back nevertheless"
    )]
    Stale,
}

/// The phase that a step leads to from `from`, which all workers have acknowledged or not.
pub(super) fn step(from: Phase, acknowledged: bool, wish: Wish) -> Result<Phase, Refusal> {
    let (next, end) = match wish.way {
        Way::Forwards => (from.next(), "last"),
        Way::Back => (from.previous(), "first"),
    };
    let next = next.ok_or_else(|| Refusal::End(from.name(), end))?;
    if let Some(to) = wish.to.filter(|to| *to != next) {
        let (from, next, to) = (from.name(), next.name(), to.name());
        return Err(Refusal::Skips { from, next, to });
    }
    if !acknowledged {
        return Err(Refusal::Unacknowledged(from.name()));
    }
    if from == Phase::New && !wish.accept_stale {
        return Err(Refusal::Stale);
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORWARDS: Wish = Wish { way: Way::Forwards, to: None, accept_stale: false };
    const BACK: Wish = Wish { way: Way::Back, ..FORWARDS };

    #[test]
    fn each_step_leads_to_the_neighbour() {
        for pair in Phase::ALL.windows(2) {
            assert_eq!(step(pair[0], true, FORWARDS), Ok(pair[1]));
            let back = Wish { accept_stale: true, ..BACK };
            assert_eq!(step(pair[1], true, back), Ok(pair[0]));
        }
        assert_eq!(step(Phase::New, true, FORWARDS), Err(Refusal::End("new", "last")));
        assert_eq!(step(Phase::Stable, true, BACK), Err(Refusal::End("stable", "first")));
    }

    #[test]
    fn no_phase_is_skipped_or_taken_twice() {
        let pairs = Phase::ALL.iter().flat_map(|from| Phase::ALL.map(|to| (*from, to)));
        for ((from, to), way) in pairs.flat_map(|it| [(it, Way::Forwards), (it, Way::Back)]) {
            let wish = Wish { way, to: Some(to), accept_stale: true };
            let taken = step(from, true, wish);
            let next = if way == Way::Forwards { from.next() } else { from.previous() };
            assert_eq!(taken.ok(), next.filter(|next| *next == to), "{from:?} {to:?}");
        }
        let far = Wish { to: Some(Phase::Warm), ..FORWARDS };
        let refusal = Refusal::Skips { from: "stable", next: "prepare", to: "warm" };
        assert_eq!(step(Phase::Stable, true, far), Err(refusal));
        let near = Wish { to: Some(Phase::Prepare), ..FORWARDS };
        assert_eq!(step(Phase::Stable, true, near), Ok(Phase::Prepare));
    }

    #[test]
    fn a_phase_that_is_not_acknowledged_is_not_left() {
        for from in [Phase::Prepare, Phase::Fence, Phase::Warm, Phase::Drain] {
            for wish in [FORWARDS, BACK] {
                let refusal = Refusal::Unacknowledged(from.name());
                assert_eq!(step(from, false, wish), Err(refusal));
            }
        }
    }

    #[test]
    fn the_way_back_from_the_end_is_taken_by_whoever_says_so() {
        assert_eq!(step(Phase::New, true, BACK), Err(Refusal::Stale));
        let accepted = Wish { accept_stale: true, ..BACK };
        assert_eq!(step(Phase::New, true, accepted), Ok(Phase::Drain));
        assert_eq!(step(Phase::New, false, accepted), Err(Refusal::Unacknowledged("new")));
    }
}
