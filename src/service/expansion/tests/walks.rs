//! What long walks come to: the contract holds, they get everywhere, and what is done in a wrong way
//! is found.

use std::collections::BTreeSet;

use proptest::prelude::{any, prop_assert_eq, proptest};

use super::model::CONTEXT;
use super::walk::{Flaw, Walk};
use crate::service::expansion::step::Wrong;

proptest! {
    #[test]
    fn proxies_walk_and_the_contract_holds(seed in any::<u64>()) {
        let mut walk = Walk::new(seed, Flaw::None);
        walk.go();
        prop_assert_eq!(walk.bad, None);
    }
}

#[test]
fn walks_get_everywhere_and_find_values() {
    let (mut visited, mut found, mut counted) = (BTreeSet::new(), 0, 0);
    for seed in 0..300_u64 {
        let walk = walked(seed, Flaw::None);
        visited.extend(walk.visited);
        found += walk.found;
        counted += walk.counted.len();
    }
    assert_eq!(visited.len(), 5, "{visited:?}");
    assert!(found > 3000 && counted > 1000, "{found} {counted}");
}

fn walked(number: u64, flaw: Flaw) -> Walk {
    let mut walk = Walk::new(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), flaw);
    walk.go();
    walk
}

#[test]
fn walks_find_what_is_wrong() {
    let wrong = CONTEXT.wrong;
    for flaw in [
        Flaw::Wrong(Wrong { new_first: true, ..wrong }),
        Flaw::Wrong(Wrong { new_only: true, ..wrong }),
        Flaw::Wrong(Wrong { add_fill: true, ..wrong }),
        Flaw::NoFence,
        Flaw::NoPermit,
        Flaw::SkipsAtOnce,
    ] {
        let first = (0..3000).find_map(|number| walked(number, flaw).bad.map(|bad| (number, bad)));
        eprintln!("{flaw:?}: {first:?}");
        assert!(first.is_some(), "{flaw:?} is not found");
    }
}
