//! The search through all worlds that can come to be, of either model.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// Looks at every world that comes of `begin`, where `next` says what can come of one; how many there
/// are, or the shortest way to one that is broken.
pub(super) fn all_worlds<W: Clone + Debug + Eq + Hash, B>(
    begin: W,
    next: impl Fn(&W) -> Result<Vec<W>, B>,
) -> Result<usize, String> {
    let mut seen = HashSet::from([begin.clone()]);
    let (mut worlds, mut at) = (vec![(begin, 0)], 0);
    while at < worlds.len() {
        let Ok(nexts) = next(&worlds[at].0) else { return Err(way_to(&worlds, at)) };
        for next in nexts {
            if seen.insert(next.clone()) {
                worlds.push((next, at));
            }
        }
        at += 1;
    }
    Ok(worlds.len())
}

fn way_to(worlds: &[(impl Debug, usize)], mut at: usize) -> String {
    let mut way = vec![format!("{:?}", worlds[at].0)];
    while at > 0 {
        at = worlds[at].1;
        way.push(format!("{:?}", worlds[at].0));
    }
    way.reverse();
    way.join("\n")
}
