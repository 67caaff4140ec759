//! The search through all worlds, and what it must and must not find.

use std::collections::HashSet;

use super::{Broken, RIGHT, Setting, Work, World, Wrong};
use crate::routing::Phase;

/// Without walking: three commands, or two and something goes wrong.
const THERE: [Setting; 2] = [
    Setting { wrong: RIGHT, back: false, walks: 0, commands: 3, faults: 0, from: Phase::Warm },
    Setting { wrong: RIGHT, back: false, walks: 0, commands: 2, faults: 1, from: Phase::Warm },
];
/// From the start to the end.
const FORWARDS: [Setting; 2] = [
    Setting { walks: 10, commands: 2, from: Phase::Stable, ..THERE[0] },
    Setting { walks: 10, commands: 1, from: Phase::Stable, ..THERE[1] },
];
/// From the fence there and back.
const BOTH_WAYS: [Setting; 2] = [
    Setting { back: true, walks: 6, from: Phase::Fence, ..FORWARDS[0] },
    Setting { back: true, walks: 6, from: Phase::Fence, ..FORWARDS[1] },
];

/// Looks at every world that can come to be; how many there are, or the shortest way to one that is
/// broken.
fn search(setting: Setting) -> Result<usize, String> {
    let begin = World::begin(setting);
    let mut seen = HashSet::from([begin.clone()]);
    let (mut worlds, mut at) = (vec![(begin, 0)], 0);
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
    /// Where all proxies are at one end and everything is settled, what is there is not dead.
    fn look_at_the_end(&self, wrong: Wrong) -> Result<(), Broken> {
        let phase = self.proxies[0].phase;
        let ended = matches!(phase, Phase::Stable | Phase::New)
            && self.proxies.iter().all(|proxy| proxy.phase == phase && proxy.work == Work::Nothing)
            && self.proxies.iter().all(|it| it.is_settled(wrong));
        if !ended || !self.late.is_empty() {
            return Ok(());
        }
        self.clone().look(self.proxies[0].side())
    }
}

#[test]
fn no_order_of_things_brings_a_dead_value_back() {
    for setting in [THERE, FORWARDS, BOTH_WAYS].into_iter().flatten() {
        let worlds = search(setting).unwrap_or_else(|way| panic!("{setting:?}\n{way}"));
        assert!(worlds > 10_000, "{worlds} worlds: the model has become smaller");
    }
}

#[test]
fn each_wrong_way_is_found_out() {
    for (wrong, setting) in [
        (Wrong { no_token: true, ..RIGHT }, THERE[0]),
        (Wrong { no_look: true, ..RIGHT }, THERE[0]),
        (Wrong { copy: true, ..RIGHT }, THERE[0]),
        (Wrong { new_first: true, ..RIGHT }, THERE[0]),
        (Wrong { one_token: true, ..RIGHT }, THERE[1]),
        (Wrong { no_fence: true, ..RIGHT }, FORWARDS[0]),
        (Wrong { no_sweep: true, ..RIGHT }, FORWARDS[0]),
        (Wrong { hasty: true, ..RIGHT }, FORWARDS[1]),
        (Wrong { one_way: true, ..RIGHT }, BOTH_WAYS[0]),
        (Wrong { remember: true, ..RIGHT }, FORWARDS[0]),
        (Wrong { keep_tokens: true, ..RIGHT }, BOTH_WAYS[1]),
    ] {
        let found = search(Setting { wrong, ..setting });
        assert!(found.is_err(), "{wrong:?} seems to be right in {setting:?}");
    }
}
