//! The search through all worlds, and what it must and must not find.

use super::{BOTH_WAYS, Broken, FORWARDS, RIGHT, Setting, Work, World, Wrong};
use crate::routing::Phase;
use crate::service::moving::tests::worlds::all_worlds;

/// What comes after a world, all of them looked at; how many there can be, or the way to a broken one.
fn search(setting: Setting) -> Result<usize, String> {
    all_worlds(World::begin(), |world| {
        let nexts = world.next(setting)?;
        nexts.iter().try_for_each(|next| next.look_at_the_end(setting.wrong))?;
        Ok::<_, Broken>(nexts)
    })
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
