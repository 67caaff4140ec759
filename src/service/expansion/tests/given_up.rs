//! Every interleaving of three gets, sets and deletes of a key whose old server is given up, while
//! that does not answer and while it is back with all that it had.
//!
//! ```text
//!  warm ∥ unread, unread ∥ skipped ─▶ clean        warm ∥ skipped ─▶ stale
//!  emptied: skipped ∥ unread ∥ warm ─▶ clean       not emptied ────▶ stale
//! ```

use super::model::{Chances, NOTHING_WRONG, Start, Verdict, check_from};
use super::server::Server;
use crate::topology::GivenUp::{Skipped, Unread};
use crate::topology::Phase::{self, Warm};

const GONE: Chances = Chances { evictions: 0, faults: 0, outages: 1 };
const LOSING: Chances = Chances { evictions: 1, faults: 0, outages: 0 };

/// The old server has the value.
fn full() -> Start {
    Start::default()
}

fn check(start: &Start, phases: &[Phase], chances: Chances) -> Verdict {
    let found = check_from(start, (phases, 3), chances, NOTHING_WRONG);
    eprintln!("{phases:?}: {found:?}");
    found
}

#[test]
fn all_stop_reading_an_old_server_before_any_passes_it_over() {
    for phases in [[Warm, Unread.phase(Warm)], [Unread.phase(Warm), Skipped.phase(Warm)]] {
        for chances in [GONE, LOSING] {
            let found = check(&full(), &phases, chances);
            assert_eq!((found.stale, found.combinations), (0, 56), "{phases:?} {found:?}");
        }
    }
}

#[test]
fn to_pass_it_over_at_once_is_found_to_be_wrong() {
    let found = check(&full(), &[Warm, Skipped.phase(Warm)], GONE);
    assert!(found.stale > 0, "{found:?}");
}

#[test]
fn it_is_taken_back_empty() {
    let emptied = Start { old: Server::default(), new: Server::with(b"0"), ..full() };
    for phases in [[Skipped.phase(Warm), Unread.phase(Warm)], [Unread.phase(Warm), Warm]] {
        let found = check(&emptied, &phases, LOSING);
        assert_eq!(found.stale, 0, "{phases:?} {found:?}");
    }
    // What was changed while nobody asked it is there as it was.
    let kept = Start { dead: true, ..full() };
    let found = check(&kept, &[Unread.phase(Warm), Warm], LOSING);
    assert!(found.stale > 0, "{found:?}");
}
