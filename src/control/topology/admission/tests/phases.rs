//! Versions with two rings: step by step, and what may change on the way.

use super::*;
use crate::topology::GivenUp;

/// From four servers to five.
fn on_the_way(epoch: u64, phase: Phase) -> Proposal {
    let target = (1..=5).map(node).collect();
    whole(Document { phase, target, ..document(epoch, 1..=4) })
}

#[test]
fn an_expansion_goes_one_phase_at_a_time_to_its_end_whatever_the_pace() {
    let mut bench = Bench::managed(4);
    let there = [Phase::Prepare, Phase::Fence, Phase::Warm, Phase::Drain, Phase::New];
    for (epoch, phase) in (11..).zip(there) {
        bench.admits(on_the_way(epoch, phase));
        assert_eq!(bench.names().len(), 5, "{phase:?}");
        assert_eq!(bench.see(on_the_way(epoch, phase)), Verdict::Same);
    }
    bench.admits(whole(document(16, 1..=5)));
    assert_eq!(bench.names().len(), 5);
    // And a way back, which takes servers away that nobody said would go.
    for (epoch, phase) in [(17, Phase::Prepare), (18, Phase::Fence), (19, Phase::Prepare)] {
        let target = (1..=9).map(node).collect();
        bench.admits(whole(Document { phase, target, ..document(epoch, 1..=5) }));
    }
    bench.admits(whole(document(20, 1..=5)));
}

#[test]
fn no_phase_is_skipped_but_by_who_has_done_nothing_in_any() {
    for (from, phase) in Phase::ALL.into_iter().enumerate() {
        for (to, next) in Phase::ALL.into_iter().enumerate() {
            let mut bench = Bench::managed(4);
            (0..=from as u64)
                .skip(1)
                .for_each(|n| bench.admits(on_the_way(10 + n, Phase::ALL[n as usize])));
            let ends = (phase, next) == (Phase::New, Phase::Stable);
            let wanted = match next {
                Phase::Stable if ends => whole(document(30, 1..=5)),
                Phase::Stable => whole(document(30, 1..=4)),
                _ => on_the_way(30, next),
            };
            if from.abs_diff(to) > 1 && !ends {
                let why = bench.refuses(Reason::Phase, wanted.clone());
                assert!(why.ends_with("one step at a time"), "{why}");
                bench.admission.begin_anew();
            }
            let verdict = bench.see(wanted);
            let same = from == to;
            assert_eq!(same, verdict == Verdict::Same, "{phase:?} {next:?} {verdict:?}");
            assert!(same || matches!(verdict, Verdict::Admit(_)), "{phase:?} {next:?} {verdict:?}");
        }
    }
}

#[test]
fn on_the_way_only_addresses_and_states_change() {
    let with = |change: fn(&mut Document)| {
        let mut proposal = on_the_way(13, Phase::Warm);
        change(&mut proposal.document);
        proposal
    };
    let way = || {
        let mut bench = Bench::managed(4);
        (11..)
            .zip([Phase::Prepare, Phase::Fence])
            .for_each(|(n, it)| bench.admits(on_the_way(n, it)));
        bench
    };
    for change in [
        |it: &mut Document| drop(it.target.pop()),
        |it: &mut Document| it.target[1].server.weight = 7,
        |it: &mut Document| drop(it.current.pop()),
        |it: &mut Document| it.current.push(node(9)),
        |it: &mut Document| it.pin.push(b"k".to_vec()),
    ] {
        let why = way().refuses(Reason::Phase, with(change));
        assert!(why.ends_with("are not those that the expansion began with"), "{why}");
    }
    way().refuses(Reason::Dup, with(|it| it.target[0].server.name = "cache99".to_owned()));
    way().refuses(
        Reason::Dup,
        with(|it| {
            it.target[0] = Node::new("elsewhere:11211", 1, Some("cache01")).unwrap();
        }),
    );
    way().refuses(Reason::Empty, with(|it| it.current.clear()));
    let mut bench = way();
    bench.admits(on_the_way(13, Phase::Warm));
    bench.after(1000).admits(
        with(|it| {
            it.epoch = 14;
            for node in [&mut it.current[0], &mut it.target[0]] {
                *node = Node::new("elsewhere:11211", 1, Some("cache01")).unwrap();
            }
        })
        .restamped(14),
    );
    // It ends with the ring that it came to, and with no other.
    let mut bench = way();
    let rest = [Phase::Warm, Phase::Drain, Phase::New];
    (13..).zip(rest).for_each(|(n, it)| bench.admits(on_the_way(n, it)));
    bench.refuses(Reason::Phase, whole(document(16, 1..=4)));
    bench.admits(whole(document(16, 1..=5)));
}

#[test]
fn an_old_server_is_given_up_one_step_at_a_time() {
    let mut bench = Bench::managed(4);
    let given_up = |epoch, phase, it: Option<GivenUp>| {
        let mut proposal = on_the_way(epoch, phase);
        proposal.document.dead_old = it.map(|it| ("cache01".to_owned(), it)).into_iter().collect();
        proposal
    };
    let warm = |epoch, it| given_up(epoch, Phase::Warm, it);
    let way = [Phase::Prepare, Phase::Fence, Phase::Warm];
    (11..).zip(way).for_each(|(n, it)| bench.admits(on_the_way(n, it)));
    let (unread, skipped) = (Some(GivenUp::Unread), Some(GivenUp::Skipped));
    let why = bench.refuses(Reason::Phase, warm(14, skipped));
    assert_eq!(why, "of an old server that is given up: one step at a time");
    (14..).zip([unread, skipped]).for_each(|(n, it)| bench.admits(warm(n, it)));
    bench.refuses(Reason::Phase, warm(16, None));
    bench.refuses(Reason::Decode, given_up(16, Phase::Fence, skipped));
    bench.refuses(Reason::Phase, on_the_way(16, Phase::Fence));
    (16..).zip([unread, None]).for_each(|(n, it)| bench.admits(warm(n, it)));
    bench.admission.rules.moves_keys = true;
    bench.refuses(Reason::Ring, warm(18, unread));
}

impl Proposal {
    fn restamped(self, stamp: u64) -> Self {
        Self { stamp, ..self }
    }
}

#[test]
fn the_next_phase_waits_for_what_the_last_one_began() {
    let mut bench = Bench::managed(4);
    bench.admits(on_the_way(11, Phase::Prepare));
    bench.admission.set_settled(false);
    let verdict = bench.see(on_the_way(12, Phase::Fence));
    assert!(matches!(verdict, Verdict::Wait(until) if until > bench.now), "{verdict:?}");
    bench.admission.set_settled(true);
    bench.admits(on_the_way(12, Phase::Fence));
}

#[test]
fn a_pool_that_can_have_one_ring_refuses_two_and_follows_their_end() {
    let mut bench = Bench::managed(4);
    bench.admission.rules.one_ring = Some("its keys stay");
    let why = bench.refuses(Reason::Ring, on_the_way(11, Phase::Prepare));
    assert_eq!(why, "phase prepare needs two rings: its keys stay");
    bench.admits(on_the_way(11, Phase::New));
    assert_eq!(bench.names().len(), 5);
    assert_eq!(
        bench.after(1000).see(whole(document(12, 1..=5))),
        Verdict::Admit(Box::new(Admitted { stamp: 12, document: document(12, 1..=5) })),
        "the phase has changed"
    );
}
