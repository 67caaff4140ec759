//! The search through all worlds, and what it must and must not find.

use std::collections::HashSet;

use super::{BOTH_WAYS, Broken, FORWARDS, RIGHT, Setting, Work, World, Wrong};
use crate::routing::Phase;

/// Looks at every world that can come to be; how many there are, or the shortest way to one that is
/// broken.
fn search(setting: Setting) -> Result<usize, String> {
    let mut seen = HashSet::from([World::begin()]);
    let (mut worlds, mut at) = (vec![(World::begin(), 0)], 0);
    while at < worlds.len() {
        let world = worlds[at].0.clone();
        let looked = world.next(setting).and_then(|nexts| {
            nexts.iter().try_for_each(|next| next.look_at_the_end(setting.wrong))?;
            Ok(nexts)
        });
        let Ok(nexts) = looked else { return Err(way_to(&worlds, at)) };
        for next in nexts {
            if seen.insert(next.clone()) {
                worlds.push((next, at));
            }
        }
        at += 1;
    }
    Ok(worlds.len())
}

fn way_to(worlds: &[(World, usize)], mut at: usize) -> String {
    let mut way = vec![format!("{:?}", worlds[at].0)];
    while at > 0 {
        at = worlds[at].1;
        way.push(format!("{:?}", worlds[at].0));
    }
    way.reverse();
    way.join("\n")
}

impl World {
    /// Where all proxies are at one end and everything is settled, the truth is there alone.
    fn look_at_the_end(&self, wrong: Wrong) -> Result<(), Broken> {
        let phase = self.proxies[0].phase;
        let ended = matches!(phase, Phase::Stable | Phase::New)
            && self.proxies.iter().all(|proxy| proxy.phase == phase && proxy.work == Work::Nothing)
            && (0..2).all(|it| self.proxies[it].is_settled(it, &self.late, wrong));
        if !ended || !self.late.is_empty() {
            return Ok(());
        }
        self.clone().adopt(self.proxies[0].side())
    }
}

#[test]
fn no_order_of_things_shows_a_command_what_is_not_true() {
    for setting in [FORWARDS, BOTH_WAYS] {
        let worlds = search(setting).unwrap_or_else(|way| panic!("{setting:?}\n{way}"));
        assert!(worlds > 10_000, "{worlds} worlds: the model has become smaller");
    }
}

#[test]
fn each_wrong_way_is_found_out() {
    for wrong in [
        Wrong { replace: true, ..RIGHT },
        Wrong { new_first: true, ..RIGHT },
        Wrong { no_fence: true, ..RIGHT },
        Wrong { ignore_lost: true, ..RIGHT },
        Wrong { no_sweep: true, ..RIGHT },
        Wrong { undrained: true, ..RIGHT },
        Wrong { one_way: true, ..RIGHT },
        Wrong { remember: true, ..RIGHT },
        Wrong { unaccounted: true, ..RIGHT },
    ] {
        let found = |setting: Setting| search(Setting { wrong, ..setting }).is_err();
        assert!(found(FORWARDS) || found(BOTH_WAYS), "{wrong:?} seems to be right");
    }
}

/// What no proxy can prevent: the README says so.
#[test]
fn what_the_network_holds_up_for_long_may_undo_something() {
    // A value that one server has sent the other, and given up, brings a deleted key back.
    let late_restore = Wrong { late_restore: true, ..RIGHT };
    assert!(search(Setting { wrong: late_restore, ..FORWARDS }).is_err());
    // A command whose client was told of an error comes to the old server when its key has gone, and
    // then the pool walks back.
    assert!(search(Setting { in_order: false, ..BOTH_WAYS }).is_err());
}
