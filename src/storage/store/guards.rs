//! Shards that are locked, and how the one of a key is found among them.
//!
//! ```text
//!  keys ─▶ Numbers: a bit for each shard ─▶ locked in ascending order ─▶ Guards::Many
//!  key ─▶ its shard's bit ─▶ bits below it: the place in the list
//!
//!  one key ─▶ Guards::One, of which nothing need be found
//! ```

use std::slice;
use std::sync::MutexGuard;

use super::{Chosen, State};
use crate::storage::engine::{Engine, Usage};
use crate::storage::time::Time;
use crate::storage::watch::{News, Table};

/// Most shards of a store.
pub(super) const SHARDS_MAX: usize = 256;

const BITS: usize = u64::BITS as usize;

/// Numbers of shards.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::storage) struct Numbers([u64; SHARDS_MAX / BITS]);

/// A shard that is locked.
#[derive(Debug)]
pub(in crate::storage) struct Guard<'a> {
    state: MutexGuard<'a, State>,
}

/// Shards that are locked.
#[derive(Debug)]
pub(in crate::storage) enum Guards<'a> {
    /// The rule.
    One(usize, Guard<'a>),
    /// In the order of their numbers.
    Many(Numbers, Vec<Guard<'a>>),
}

impl Numbers {
    /// One more, or one of those that are there already.
    pub(super) fn add(&mut self, number: usize) {
        self.0[number / BITS] |= 1 << (number % BITS);
    }

    /// True if this is one of them.
    fn has(&self, number: usize) -> bool {
        self.0[number / BITS] >> (number % BITS) & 1 == 1
    }

    /// How many are below this one.
    fn below(&self, number: usize) -> usize {
        let (before, rest) = self.0.split_at(number / BITS);
        let lower = (1 << (number % BITS)) - 1;
        let ones = before.iter().fold(0, |sum, word| sum + word.count_ones());
        (ones + (rest[0] & lower).count_ones()) as usize
    }

    /// Its place among them, if it is one of them.
    fn place_of(&self, number: usize) -> Option<usize> {
        self.has(number).then(|| self.below(number))
    }

    /// All of them, the smallest first.
    fn ascending(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(at, mut word)| {
            std::iter::from_fn(move || {
                let lowest = word.trailing_zeros() as usize;
                word &= word.wrapping_sub(1);
                (lowest < BITS).then_some(at * BITS + lowest)
            })
        })
    }
}

impl<'a> Guards<'a> {
    /// Has `lock` take shards in ascending order, so that no two threads wait for each other.
    pub(super) fn take(numbers: Numbers, lock: impl FnMut(usize) -> Guard<'a>) -> Self {
        Self::Many(numbers, numbers.ascending().map(lock).collect())
    }

    /// True if the shard of a number is one of them.
    pub(in crate::storage) fn has(&self, number: usize) -> bool {
        match self {
            Self::One(only, _) => *only == number,
            Self::Many(numbers, _) => numbers.has(number),
        }
    }

    /// The shard of a number.
    pub(in crate::storage) fn get(&self, number: usize) -> Option<&Guard<'a>> {
        match self {
            Self::One(only, guard) => (*only == number).then_some(guard),
            Self::Many(numbers, guards) => guards.get(numbers.place_of(number)?),
        }
    }

    /// The same, to be changed.
    #[inline]
    pub(in crate::storage) fn get_mut(&mut self, number: usize) -> Option<&mut Guard<'a>> {
        match self {
            Self::One(only, guard) => (*only == number).then_some(guard),
            Self::Many(numbers, guards) => guards.get_mut(numbers.place_of(number)?),
        }
    }

    /// All of them.
    pub(in crate::storage) fn all(&self) -> &[Guard<'a>] {
        match self {
            Self::One(_, guard) => slice::from_ref(guard),
            Self::Many(_, guards) => guards,
        }
    }

    /// The same, to be changed.
    pub(in crate::storage) fn all_mut(&mut self) -> &mut [Guard<'a>] {
        match self {
            Self::One(_, guard) => slice::from_mut(guard),
            Self::Many(_, guards) => guards,
        }
    }
}

impl<'a> Guard<'a> {
    /// A shard whose lock has been taken, without what was to be removed by now.
    #[inline]
    pub(super) fn new(mut state: MutexGuard<'a, State>, now: Time) -> Self {
        if state.clear_at.is_some_and(|at| at <= now) {
            state.clear_now();
        }
        Self { state }
    }

    /// Removes everything at this moment; `None` for never.
    pub(super) fn clear_at(&mut self, at: Option<Time>) {
        self.state.clear_at = at;
    }

    /// Removes everything; who watched it is told when everybody is.
    pub(in crate::storage) fn clear(&mut self, news: &mut News<'_>) {
        self.state.engine.clear();
        news.bury(std::mem::take(&mut self.state.watched));
    }

    /// Keys whose next change somebody is to be told of.
    pub(in crate::storage) fn watched(&mut self) -> &mut Table {
        &mut self.state.watched
    }

    /// The shard's engine.
    pub(in crate::storage) fn engine(&self) -> &Chosen {
        &self.state.engine
    }

    /// The same, to be changed.
    #[inline]
    pub(in crate::storage) fn engine_mut(&mut self) -> &mut Chosen {
        &mut self.state.engine
    }

    /// How full the shard is.
    pub(in crate::storage) fn usage(&self) -> Usage {
        self.state.engine.usage()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_order_and_know_their_places() {
        let given = [255, 3, 64, 63, 3, 0, 130];
        let mut numbers = Numbers::default();
        given.iter().for_each(|number| numbers.add(*number));
        let all: Vec<usize> = numbers.ascending().collect();
        assert_eq!(all, [0, 3, 63, 64, 130, 255]);
        for number in 0..SHARDS_MAX {
            assert_eq!(numbers.has(number), all.contains(&number));
            assert_eq!(numbers.below(number), all.iter().filter(|other| **other < number).count());
        }
    }
}
