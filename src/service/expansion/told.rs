//! The table of phases for people: what a get, a set and a delete of a key that moves do.

use super::operation::{Operation, Verb};
use super::step::{Context, Wrong};
use super::table::{Act, Begin, cell};
use crate::config::Fill;
use crate::routing::Phase;

/// What an operation on a key that moves does in a phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// get, set or delete.
    pub operation: &'static str,
    /// The servers that it asks, in order, in words.
    pub way: String,
    /// How many requests to servers that makes: fewest, most.
    pub requests: (usize, usize),
}

/// What get, set and delete do in a phase with a key that goes from the server `old` to `new`.
pub fn told(phase: Phase, fill: Fill, (old, new): (&str, &str)) -> [Told; 3] {
    let verbs = [("get", Verb::Get { token: false }), ("set", Verb::Set), ("delete", Verb::Delete)];
    verbs.map(|(operation, verb)| {
        let acts = acts(verb, phase, fill);
        let words: Vec<String> = acts.iter().map(|act| word(*act, operation, (old, new))).collect();
        // The stub that a lease leaves is filled from the old server, or taken away again.
        let count = |which| acts.iter().filter(|act| **act == which).count();
        let more = 2 * count(Act::Lease) + count(Act::Try);
        let requests = (acts.len(), acts.len() + more);
        Told { operation, way: words.join(", then "), requests }
    })
}

fn acts(verb: Verb, phase: Phase, fill: Fill) -> &'static [Act] {
    let op = Operation {
        verb,
        key: Vec::new(),
        binary: false,
        line: Vec::new(),
        data: Vec::new(),
        quiet: false,
    };
    let (stub_ttl, fill_ttl_max, unix) = (0, 0, 0);
    let (quarantine, wrong) = (false, Wrong::default());
    let context = Context { stub_ttl, fill, fill_ttl_max, quarantine, unix, wrong };
    match cell(&op, phase, &context) {
        Begin::Acts(acts) => acts,
        Begin::Park | Begin::Exists => &[],
    }
}

fn word(act: Act, operation: &str, (old, new): (&str, &str)) -> String {
    match act {
        Act::Old => format!("{operation} at {old}"),
        Act::New => format!("{operation} at {new}"),
        Act::ClearOld => format!("delete at {old}"),
        Act::ClearNew => format!("delete at {new}"),
        Act::Look => format!("get at {new}"),
        Act::Lease => {
            format!("get at {new}; if it is not there, get at {old} and copy that to {new}")
        }
        Act::Try => format!("get at {new}; if it is not there, get at {old}"),
        Act::Source => format!("get at {old}"),
        Act::Fill => format!("copy to {new}"),
        Act::Release => format!("take the stub away at {new}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Fill, Phase, told};

    fn ways(phase: Phase) -> [String; 3] {
        told(phase, Fill::Vivify, ("a", "b")).map(|told| told.way)
    }

    #[test]
    fn the_table_is_told_as_it_is() {
        assert_eq!(ways(Phase::Stable), ["get at a", "set at a", "delete at a"]);
        let prepared = ["get at a", "set at a, then delete at b", "delete at a, then delete at b"];
        assert_eq!(ways(Phase::Prepare), prepared);
        assert_eq!(ways(Phase::Fence), prepared);
        let warm = [
            "get at b; if it is not there, get at a and copy that to b",
            "delete at a, then set at b, then delete at a",
            "delete at a, then delete at b",
        ];
        assert_eq!(ways(Phase::Warm), warm);
        let drain = ["get at b", "delete at a, then set at b", "delete at a, then delete at b"];
        assert_eq!(ways(Phase::Drain), drain);
        assert_eq!(ways(Phase::New), ["get at b", "set at b", "delete at b"]);
    }

    #[test]
    fn requests_are_counted() {
        let counts = |phase| told(phase, Fill::Vivify, ("a", "b")).map(|told| told.requests);
        assert_eq!(counts(Phase::Stable), [(1, 1), (1, 1), (1, 1)]);
        assert_eq!(counts(Phase::Warm), [(1, 3), (3, 3), (2, 2)]);
        assert_eq!(counts(Phase::Drain), [(1, 1), (2, 2), (2, 2)]);
        let [get, set, _] = told(Phase::Warm, Fill::Off, ("a", "b"));
        assert_eq!((get.requests, set.requests), ((1, 2), (3, 3)));
        assert_eq!(get.way, "get at b; if it is not there, get at a");
    }
}
