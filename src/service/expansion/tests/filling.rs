//! Every interleaving of three gets, sets and deletes where what a get finds at its old server is not
//! copied, by all proxies or by some.
//!
//! A get that copies nothing asks the new server, then the old one, and leaves nothing behind. It can
//! return a dead value only if the old server still has one, and every write has deleted that before
//! it ends.

use super::model::{Chances, NOTHING_WRONG, Start, Verdict, check_from};
use super::steps::play;
use crate::config::Fill::{Off, Vivify};
use crate::routing::Phase::{self, Drain, Fence, Warm};
use crate::service::expansion::step::{Context, Side, Wrong};

const QUIET: Chances = Chances { evictions: 0, faults: 0, outages: 0 };
const LOSING: Chances = Chances { evictions: 1, ..QUIET };
const FAULTY: Chances = Chances { faults: 1, ..QUIET };

fn check(fills: [crate::config::Fill; 2], phases: &[Phase], chances: Chances) -> Verdict {
    let found =
        check_from(&Start { fills, ..Start::default() }, (phases, 3), chances, NOTHING_WRONG);
    eprintln!("{fills:?} {phases:?}: {found:?}");
    found
}

#[test]
fn gets_that_copy_nothing_return_no_dead_value() {
    for phases in [&[Fence, Warm][..], &[Warm], &[Warm, Drain]] {
        for chances in [QUIET, LOSING, FAULTY] {
            let found = check([Off; 2], phases, chances);
            assert_eq!(found.stale, 0, "{phases:?} {found:?}");
            assert!(found.diverge == 0 || chances.faults > 0, "{phases:?} {found:?}");
        }
    }
}

#[test]
fn nor_do_they_beside_others_that_copy() {
    for fills in [[Off, Vivify], [Vivify, Off]] {
        for (phases, chances) in [(&[Warm][..], LOSING), (&[Warm, Drain], QUIET)] {
            let found = check(fills, phases, chances);
            assert_eq!(found.stale, 0, "{fills:?} {phases:?} {found:?}");
        }
    }
}

#[test]
fn they_rest_on_old_copies_being_deleted() {
    let start = Start { fills: [Off; 2], ..Start::default() };
    let wrong = Wrong { new_only: true, ..NOTHING_WRONG };
    let found = check_from(&start, (&[Warm], 2), QUIET, wrong);
    assert!(found.stale > 0, "{found:?}");
}

const LOOK: &str = "mg k v f c t\r\n";
const FOUND: &str = "VA 2 f9 c3 t33\r\nab\r\n";

#[test]
fn what_is_not_copied_is_asked_for_at_both() {
    let off = Context { fill: Off, ..super::model::CONTEXT };
    for there in ["EN\r\n", "VA 0 f0 c7 t-1 Z\r\n\r\n"] {
        let talk = [(Side::New, LOOK, there), (Side::Old, LOOK, FOUND)];
        assert_eq!(play("get k\r\n", Warm, &talk, &off), "VALUE k 9 2\r\nab\r\nEND\r\n");
        let talk = [(Side::New, LOOK, there), (Side::Old, LOOK, "EN\r\n")];
        assert_eq!(play("get k\r\n", Warm, &talk, &off), "END\r\n");
    }
    let talk = [(Side::New, LOOK, FOUND)];
    assert_eq!(play("get k\r\n", Warm, &talk, &off), "VALUE k 9 2\r\nab\r\nEND\r\n");
    let own = "mg k v\r\n";
    let talk =
        [(Side::New, own, "EN\r\n"), (Side::Old, LOOK, FOUND), (Side::Old, own, "VA 2\r\nab\r\n")];
    assert_eq!(play(own, Warm, &talk, &off), "VA 2\r\nab\r\n");
    // A token is one of the new server.
    let talk = [
        (Side::New, "mg k v f c t N5\r\n", "VA 0 f0 c7 t-1 W\r\n\r\n"),
        (Side::Old, LOOK, FOUND),
        (Side::New, "ms k 2 C7 F9 T33 c\r\nab\r\n", "HD c8\r\n"),
        (Side::New, LOOK, "VA 2 f9 c8 t33\r\nab\r\n"),
    ];
    assert_eq!(play("gets k\r\n", Warm, &talk, &off), "VALUE k 9 2 8\r\nab\r\nEND\r\n");
}

#[test]
fn a_copy_that_a_get_has_made_lives_no_longer_than_it_may() {
    let most = Context { fill_ttl_max: 20, ..super::model::CONTEXT };
    let won = (Side::New, "mg k v f c t N5\r\n", "VA 0 f0 c7 t-1 W\r\n\r\n");
    for (left, shown) in [("t33", 20), ("t-1", 20), ("t7", 7)] {
        let found = format!("VA 2 f9 c3 {left}\r\nab\r\n");
        let copy = format!("ms k 2 C7 F9 T{shown} c\r\nab\r\n");
        let talk = [won, (Side::Old, LOOK, &found), (Side::New, &copy, "HD c8\r\n")];
        assert_eq!(play("get k\r\n", Warm, &talk, &most), "VALUE k 9 2\r\nab\r\nEND\r\n");
    }
    // What is changed goes on for as long as it would have.
    let talk = [
        won,
        (Side::Old, LOOK, "VA 1 f0 c3 t33\r\n5\r\n"),
        (Side::New, "ms k 1 C7 F0 T33 c\r\n5\r\n", "HD c8\r\n"),
        (Side::Old, "md k\r\n", "HD\r\n"),
        (Side::New, "ma k v MI D1 C8\r\n", "VA 1\r\n6\r\n"),
    ];
    assert_eq!(play("incr k 1\r\n", Warm, &talk, &most), "6\r\n");
}
