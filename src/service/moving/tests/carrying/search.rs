//! The search through all worlds, and what it must and must not find.

use super::{Broken, RIGHT, Setting, Work, World, Wrong};
use crate::routing::Phase;
use crate::service::moving::tests::worlds::all_worlds;

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

/// What comes after a world, all of them looked at; how many there can be, or the way to a broken one.
fn search(setting: Setting) -> Result<usize, String> {
    all_worlds(World::begin(setting), |world| {
        let nexts = world.next(setting)?;
        nexts.iter().try_for_each(|next| next.look_at_the_end(setting.wrong))?;
        Ok::<_, Broken>(nexts)
    })
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
