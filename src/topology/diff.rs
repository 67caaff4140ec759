//! What tells two lists of servers apart, by node name.

use std::collections::HashMap;
use std::fmt;

use crate::topology::server::Server;

/// The changes that make one list of servers the other. Servers that stay as they are stand in
/// none of its parts; one that changes in several ways stands in several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Names that only the new list has.
    pub added: Vec<Server>,
    /// Names that only the old list has.
    pub removed: Vec<Server>,
    /// The same name at another address: before and after.
    pub relocated: Vec<(Server, Server)>,
    /// The same name with another weight: before and after.
    pub reweighted: Vec<(Server, Server)>,
    /// The same name in another state: before and after.
    pub restated: Vec<(Server, Server)>,
    /// Weight of all servers of the old list.
    old_weight: u64,
}

impl Diff {
    /// From `old` to `new`; names are unique in each.
    pub fn between(old: &[Server], new: &[Server]) -> Self {
        let before: HashMap<&str, &Server> =
            old.iter().map(|server| (server.name.as_str(), server)).collect();
        let after: HashMap<&str, &Server> =
            new.iter().map(|server| (server.name.as_str(), server)).collect();
        let pairs = |differ: fn(&Server, &Server) -> bool| -> Vec<(Server, Server)> {
            let kept = new.iter().filter_map(|server| Some((*before.get(&*server.name)?, server)));
            kept.filter(|(a, b)| differ(a, b)).map(|(a, b)| (a.clone(), b.clone())).collect()
        };
        let only = |list: &[Server], other: &HashMap<&str, &Server>| -> Vec<Server> {
            list.iter().filter(|server| !other.contains_key(&*server.name)).cloned().collect()
        };
        Self {
            added: only(new, &before),
            removed: only(old, &after),
            relocated: pairs(|a, b| a.address != b.address),
            reweighted: pairs(|a, b| a.weight != b.weight),
            restated: pairs(|a, b| a.state != b.state),
            old_weight: weight(old),
        }
    }

    /// True if both lists are the same.
    pub fn is_empty(&self) -> bool {
        self.keeps_ring() && self.relocated.is_empty() && self.restated.is_empty()
    }

    /// True if no key moves: names and weights are the same.
    pub fn keeps_ring(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.reweighted.is_empty()
    }

    /// The removed servers' part of the old list's weight, 0 to 1; 0 if the old list was empty.
    pub fn removed_share(&self) -> f64 {
        match self.old_weight {
            0 => 0.0,
            all => weight(&self.removed) as f64 / all as f64,
        }
    }
}

fn weight(servers: &[Server]) -> u64 {
    servers.iter().map(|server| u64::from(server.weight)).sum()
}

impl fmt::Display for Diff {
    /// One line: `+new -gone name 1->2 name h:1->h:2 name up->down`; `none` if nothing changes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        let mut words: Vec<String> = Vec::new();
        words.extend(self.added.iter().map(|server| format!("+{}", server.name)));
        words.extend(self.removed.iter().map(|server| format!("-{}", server.name)));
        let weights = self.reweighted.iter();
        words.extend(weights.map(|(a, b)| format!("{} {}->{}", a.name, a.weight, b.weight)));
        let places = self.relocated.iter();
        words.extend(places.map(|(a, b)| format!("{} {}->{}", a.name, a.address, b.address)));
        let states = self.restated.iter();
        words.extend(
            states.map(|(a, b)| format!("{} {}->{}", a.name, a.state.name(), b.state.name())),
        );
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::Diff;
    use crate::topology::{Server, State};

    fn servers(entries: &[&str]) -> Vec<Server> {
        entries.iter().map(|entry| entry.parse().unwrap()).collect()
    }

    #[test]
    fn equal_lists_differ_in_nothing_whatever_their_order() {
        let (a, b) = (servers(&["h:1:1 a", "h:2:1 b"]), servers(&["h:2:1 b", "h:1:1 a"]));
        let diff = Diff::between(&a, &b);
        assert!(diff.is_empty() && diff.keeps_ring());
        assert_eq!((diff.to_string().as_str(), diff.removed_share()), ("none", 0.0));
        assert!(Diff::between(&[], &[]).is_empty());
    }

    #[test]
    fn every_kind_of_change_is_told_by_name() {
        let old = servers(&["h:1:1 a", "h:2:1 b", "h:3:2 c", "h:4:1 d"]);
        let mut new = servers(&["h:9:1 a", "h:2:3 b", "h:4:1 d", "h:5:1 e"]);
        new[2].state = State::Down;
        let diff = Diff::between(&old, &new);
        assert_eq!(diff.to_string(), "+e -c b 1->3 a h:1->h:9 d up->down");
        assert!(!diff.keeps_ring());
        assert_eq!(diff.removed_share(), 0.4, "by weight");
    }

    #[test]
    fn an_address_or_a_state_leaves_the_ring_as_it_is() {
        let old = servers(&["h:1:1 a", "h:2:1 b"]);
        let mut new = servers(&["i:1:1 a", "h:2:1 b"]);
        new[1].state = State::Drain;
        let diff = Diff::between(&old, &new);
        assert!(diff.keeps_ring() && !diff.is_empty());
    }
}
