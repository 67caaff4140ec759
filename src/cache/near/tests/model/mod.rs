//! Small models of the rules, searched exhaustively: which orders of events break a promise?
//!
//! ```text
//!  start ─▶ every step that is possible ─▶ every state, each once ─▶ breaches, each with its way
//! ```
//! Each model has the right rules and known mistakes. All states of every variant are seen; the
//! right ones break nothing, and each mistake breaks just what is written beside it.
//!
//! * `channel`: replies, invalidations and writes of one near cache, in every order.
//! * `lease`: the same against time: how stale may a value be that is served?
//! * `moving`: keys that go to another server.

mod channel;
mod lease;
mod moving;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;

/// What stays wrong once everything is delivered: an entry that differs from the server.
const STALE: &str = "an entry is stale and nothing is on its way";
/// The first promise.
const OWN_WRITE: &str = "an acknowledged write is not seen";
/// The same for a client that does not wait for the answer.
const OVERTAKEN: &str = "a read is answered before the write that it follows";
/// The same for a read that waits for another one's answer.
const JOINED: &str = "a read that joined is given what was there before a write";
/// The second promise.
const TOO_OLD: &str = "a value is served that has been out of date for too long";

/// What can happen, and what must not.
trait Rules {
    type State: Clone + Eq + Hash + Debug;

    fn start(&self) -> Self::State;

    /// All that can happen next, each with its name.
    fn steps(&self, state: &Self::State) -> Vec<(&'static str, Self::State)>;

    /// The promises that are broken in this state.
    fn broken(&self, state: &Self::State) -> Vec<&'static str>;
}

/// What a search has found.
struct Found {
    states: usize,
    /// The shortest way to each breach.
    breaches: BTreeMap<&'static str, Vec<&'static str>>,
}

/// All states that can be reached, the nearest first.
fn search<R: Rules>(rules: &R) -> Found {
    let mut seen: HashMap<R::State, usize> = HashMap::new();
    // How each state was reached: from which one, and by what.
    let mut ways: Vec<(usize, &'static str)> = Vec::new();
    let mut queue = VecDeque::from([(rules.start(), (0, "start"))]);
    let mut breaches = BTreeMap::new();
    while let Some((state, way)) = queue.pop_front() {
        if seen.contains_key(&state) {
            continue;
        }
        let number = ways.len();
        ways.push(way);
        for breach in rules.broken(&state) {
            breaches.entry(breach).or_insert_with(|| way_to(&ways, number));
        }
        let next = rules.steps(&state);
        seen.insert(state, number);
        queue.extend(next.into_iter().map(|(name, state)| (state, (number, name))));
    }
    Found { states: seen.len(), breaches }
}

fn way_to(ways: &[(usize, &'static str)], end: usize) -> Vec<&'static str> {
    let mut way = Vec::new();
    let mut at = end;
    while at != 0 {
        way.push(ways[at].1);
        at = ways[at].0;
    }
    way.reverse();
    way
}

/// Searches a variant, and compares what it breaks with what it is expected to break.
#[track_caller]
fn judge<R: Rules>(name: &str, rules: &R, expected: &[&str]) {
    let found = search(rules);
    let breaches: Vec<&str> = found.breaches.keys().copied().collect();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    println!("{name}: {} states, {:?}", found.states, found.breaches);
    assert!(found.states > 20, "{name}: only {} states", found.states);
    assert_eq!(breaches, expected, "{name}: {:#?}", found.breaches);
}
