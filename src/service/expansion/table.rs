//! The table of phases: which steps an operation on a key that moves is made of.
//!
//! Old before new, always: who deletes the new copy first lets a get in between bring the old one
//! back. A set deletes the old copy twice while others may still write there: two that race would
//! otherwise leave one value at each server.

use super::operation::{Operation, Row};
use super::step::Context;
use crate::config::Fill;
use crate::routing::Phase;

/// One step: one request to one server, or what follows of its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Act {
    /// The operation itself, at the old server.
    Old,
    /// The same at the new one.
    New,
    /// Deletes the old copy.
    ClearOld,
    /// Deletes the new one.
    ClearNew,
    /// Asks the new server, and makes a stub there if it has nothing.
    Lease,
    /// Asks the new server.
    Look,
    /// The same, and the old one if it has nothing.
    Try,
    /// Asks the old server.
    Source,
    /// Stores a copy of what the old one had at the new one.
    Fill,
    /// Takes the stub away.
    Release,
}

/// What becomes of an operation first.
pub(super) enum Begin {
    /// These steps, the reply to the operation itself being the answer.
    Acts(&'static [Act]),
    /// It waits until the phase is another.
    Park,
    /// Its CAS may be one of the other server's: nobody can tell.
    Exists,
}

/// The cell of an operation in a phase.
pub(super) fn cell(op: &Operation, phase: Phase, context: &Context) -> Begin {
    use Act::{ClearNew, ClearOld, Lease, Look, New, Old, Try};
    let row = op.row();
    let waits = matches!(row, Row::Change | Row::Cas(_)) && phase == Phase::Fence;
    if waits {
        return Begin::Park;
    }
    if matches!(row, Row::Cas(_)) && context.quarantine && phase.is_between() {
        return Begin::Exists;
    }
    Begin::Acts(match (phase, row) {
        (Phase::Stable, _) => &[Old],
        (Phase::Prepare | Phase::Fence, Row::Read { .. } | Row::Look) => &[Old],
        (Phase::Prepare | Phase::Fence, _) => &[Old, ClearNew],
        (Phase::Warm | Phase::Drain, Row::Read { .. }) if op.is_meta() => &[New],
        (Phase::Warm, Row::Read { token: false }) if context.fill == Fill::Off => &[Try],
        (Phase::Warm, Row::Read { .. }) => &[Lease],
        (Phase::Drain, Row::Read { .. }) => &[Look],
        (Phase::Warm, Row::Set) => set_in_warm(context),
        (Phase::Warm, Row::Delete) if context.wrong.new_only => &[New],
        (Phase::Warm, Row::Delete) if context.wrong.new_first => &[New, ClearOld],
        (Phase::Drain, Row::Set) | (Phase::Warm | Phase::Drain, Row::Delete) => &[ClearOld, New],
        (Phase::Warm, Row::Change | Row::Cas(_) | Row::Stale) => &[Lease],
        (Phase::Drain, Row::Change | Row::Cas(_)) => &[ClearOld, Look],
        (Phase::Drain, Row::Stale) => &[ClearOld, New],
        (Phase::New, _) | (_, Row::Look) => &[New],
    })
}

fn set_in_warm(context: &Context) -> &'static [Act] {
    use Act::{ClearOld, New};
    let wrong = context.wrong;
    match (wrong.new_only, wrong.new_first, wrong.two_steps) {
        (true, ..) => &[New],
        (_, true, _) => &[New, ClearOld],
        (.., true) => &[ClearOld, New],
        _ => &[ClearOld, New, ClearOld],
    }
}
