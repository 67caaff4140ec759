//! What is followed of what sources say, and what is refused, by the clock.

use std::time::{Duration, Instant};

use proptest::prelude::{any, prop, proptest};

use crate::config::Membership;
use crate::control::topology::admission::{Admission, Admitted, Rules, Verdict, serving};
use crate::control::topology::decode::{Members, Proposal};
use crate::control::topology::refusal::Reason;
use crate::topology::{Document, Node, Phase, Placement, State};

mod phases;

fn rules(membership: Membership) -> Rules {
    Rules {
        placement: Placement {
            hash: "fnv1a_64".to_owned(),
            distribution: "ketama".to_owned(),
            hash_tag: String::new(),
            carried: false,
        },
        tls: false,
        membership,
        max_removal: 1_500,
        add_delay: Duration::from_secs(1),
        remove_delay: Duration::from_secs(30),
        one_ring: None,
        moves_keys: false,
    }
}

fn node(number: usize) -> Node {
    let address = format!("10.0.0.{number}:11211");
    Node::new(&address, 1, Some(&format!("cache{number:02}"))).unwrap()
}

fn document(epoch: u64, numbers: impl IntoIterator<Item = usize>) -> Document {
    let current = numbers.into_iter().map(node).collect();
    Document { epoch, current, ..Document::default() }
}

fn whole(document: Document) -> Proposal {
    Proposal { stamp: document.epoch, document, members: None, accepted: false }
}

fn members(stamp: u64, numbers: impl IntoIterator<Item = usize>) -> Proposal {
    let good = numbers.into_iter().map(|n| (format!("member_{n}"), node(n))).collect();
    let members = Some(Members { good, ..Members::default() });
    Proposal { stamp, document: Document::default(), members, accepted: false }
}

fn committed(proposal: Proposal) -> Proposal {
    let members = proposal.members.map(|it| Members { committed: Some(true), ..it });
    Proposal { members, ..proposal }
}

/// A machine and its clock.
struct Bench {
    admission: Admission,
    now: Instant,
}

impl Bench {
    /// Follows epoch 10 with these servers, admitted a minute ago.
    fn following(membership: Membership, numbers: impl IntoIterator<Item = usize>) -> Self {
        let admitted = Admitted { stamp: 10, document: document(10, numbers) };
        let mut admission = Admission::new(rules(membership), None);
        admission.confirm(admitted, Instant::now());
        Self { admission, now: Instant::now() + Duration::from_secs(60) }
    }

    fn managed(servers: usize) -> Self {
        Self::following(Membership::Managed, 1..=servers)
    }

    fn after(&mut self, millis: u64) -> &mut Self {
        self.now += Duration::from_millis(millis);
        self
    }

    /// Judges, and puts in force what is admitted.
    fn see(&mut self, proposal: Proposal) -> Verdict {
        let verdict = self.admission.judge(proposal, self.now);
        if let Verdict::Admit(admitted) = &verdict {
            self.admission.confirm((**admitted).clone(), self.now);
        }
        verdict
    }

    fn admits(&mut self, proposal: Proposal) {
        let verdict = self.see(proposal);
        assert!(matches!(verdict, Verdict::Admit(_)), "{verdict:?}");
    }

    /// It is refused for this reason, and everything is as it was.
    fn refuses(&mut self, reason: Reason, proposal: Proposal) -> String {
        let before = self.admission.current().cloned();
        let verdict = self.see(proposal);
        let Verdict::Refused(refusal) = verdict else { panic!("{verdict:?}") };
        assert_eq!(refusal.reason, reason, "{refusal}");
        assert_eq!(self.admission.current().cloned(), before);
        refusal.text
    }

    fn names(&self) -> Vec<String> {
        let admitted = self.admission.current().expect("something is followed");
        serving(&admitted.document).into_iter().map(|server| server.name).collect()
    }
}

#[test]
fn a_newer_epoch_is_followed_and_the_same_one_is_nothing_new() {
    let mut bench = Bench::managed(4);
    bench.admits(whole(document(11, 1..=5)));
    assert_eq!(bench.see(whole(document(11, 1..=5))), Verdict::Same);
    assert_eq!(bench.names().len(), 5);
}

#[test]
fn the_first_document_needs_nothing_before_it() {
    let mut bench =
        Bench { admission: Admission::new(rules(Membership::Managed), None), now: Instant::now() };
    bench.refuses(Reason::Empty, whole(document(3, [])));
    bench.admits(whole(document(3, 1..=4)));
}

#[test]
fn an_older_epoch_and_another_text_of_the_same_are_refused() {
    let mut bench = Bench::managed(4);
    assert_eq!(
        bench.refuses(Reason::Epoch, whole(document(9, 1..=5))),
        "9 is older than 10, which is followed"
    );
    bench.refuses(Reason::Epoch, whole(document(10, 1..=5)));
}

#[test]
fn an_empty_list_is_refused_unless_the_document_says_so_and_is_newer() {
    let mut bench = Bench::managed(4);
    bench.refuses(Reason::Empty, whole(document(11, [])));
    let meant = |epoch| Document { allow_empty: true, ..document(epoch, []) };
    bench.refuses(Reason::Epoch, whole(meant(10)));
    bench.admits(whole(meant(11)));
    assert!(bench.names().is_empty());
    bench.after(1000).admits(whole(document(12, 1..=4)));
}

#[test]
fn mass_removal_is_refused_unless_it_is_meant() {
    let mut bench = Bench::managed(10);
    assert_eq!(
        bench.refuses(Reason::Shrink, whole(document(11, 1..=8))),
        "2 servers with 20 % of the ring would go at once, at most 15 % may"
    );
    bench.admits(whole(document(11, 1..=9)));
    let meant = Document { allow_shrink: true, ..document(12, 1..=3) };
    bench.after(1000).admits(whole(meant));
}

#[test]
fn the_operators_word_is_for_one_stamp_and_one_time() {
    let mut bench = Bench::managed(10);
    bench.admission.accept(11);
    bench.refuses(Reason::Shrink, whole(document(12, 1..=3)));
    bench.admits(whole(document(11, 1..=3)));
    bench.after(1000).refuses(Reason::Shrink, whole(document(12, 1..=2)));
    let word = Proposal { accepted: true, ..whole(document(12, 1..=2)) };
    bench.admits(word);
    // A restored ensemble counts from where its copy was made.
    bench.admission.accept(4);
    bench.after(1000).admits(whole(document(4, 1..=10)));
    bench.after(1000).admits(whole(document(5, 1..=11)));
}

#[test]
fn an_address_or_a_state_may_change_for_all_at_once() {
    let mut bench = Bench::managed(4);
    let mut moved = document(11, 1..=4);
    for node in &mut moved.current {
        let name = node.server.name.clone();
        *node = Node::new(&format!("replica-of-{name}:11211"), 1, Some(&name)).unwrap();
        node.server.state = State::Down;
    }
    bench.admits(whole(moved));
    assert_eq!(bench.names(), ["cache01", "cache02", "cache03", "cache04"]);
}

#[test]
fn one_name_or_address_is_one_server() {
    let mut bench = Bench::managed(4);
    let mut twice = document(11, 1..=5);
    twice.current[4].server.name = "cache01".to_owned();
    bench.refuses(Reason::Dup, whole(twice));
    let mut twice = document(11, 1..=5);
    twice.current[4].server.address = twice.current[0].server.address.clone();
    bench.refuses(Reason::Dup, whole(twice));
}

#[test]
fn a_document_for_another_ring_is_refused() {
    let mut bench = Bench::managed(4);
    let with = |change: fn(&mut Document)| {
        let mut document = document(11, 1..=5);
        change(&mut document);
        whole(document)
    };
    bench.refuses(Reason::Ring, with(|it| it.hash = Some("md5".to_owned())));
    bench.refuses(Reason::Ring, with(|it| it.distribution = Some("modula".to_owned())));
    bench.refuses(Reason::Ring, with(|it| it.hash_tag = Some("{}".to_owned())));
    bench.refuses(Reason::Ring, with(|it| it.current[0].tls = Some(true)));
    bench.admits(with(|it| {
        it.hash = Some("fnv1a_64".to_owned());
        it.distribution = Some("ketama".to_owned());
        it.hash_tag = Some(String::new());
    }));
}

#[test]
fn one_admission_a_second() {
    let mut bench = Bench::managed(4);
    bench.admits(whole(document(11, 1..=5)));
    let due = bench.now + Duration::from_secs(1);
    assert_eq!(bench.after(1).see(whole(document(12, 1..=6))), Verdict::Wait(due));
    assert_eq!(bench.after(998).see(whole(document(12, 1..=6))), Verdict::Wait(due));
    bench.after(1).admits(whole(document(13, 1..=7)));
    assert_eq!(bench.names().len(), 7);
}

#[test]
fn members_alone_make_no_ring() {
    let mut bench =
        Bench { admission: Admission::new(rules(Membership::Managed), None), now: Instant::now() };
    bench.refuses(Reason::Commit, members(1, 1..=4));
    bench.admits(committed(members(2, 1..=4)));
    assert_eq!(bench.names().len(), 4);
}

#[test]
fn members_that_come_and_go_change_nothing_without_a_commit() {
    let mut bench = Bench::managed(20);
    for flip in 0..1000 {
        let gone = flip % 20 + 1;
        let left = (1..=21).filter(|&n| n != gone);
        assert_eq!(bench.after(60).see(members(11 + flip as u64, left)), Verdict::Suppressed);
    }
    assert_eq!(bench.admission.suppressed(), 1000);
    assert_eq!(bench.names().len(), 20);
    bench.admits(committed(members(2000, 1..=21)));
    assert_eq!(bench.names().len(), 21);
}

#[test]
fn a_member_may_move_under_its_name_without_a_commit() {
    let mut bench = Bench::managed(4);
    let mut moved = members(11, 1..=3);
    let good = &mut moved.members.as_mut().unwrap().good;
    good[0].1 = Node::new("10.9.9.9:11211", 5, Some("cache01")).unwrap();
    bench.admits(moved);
    let servers = serving(&bench.admission.current().unwrap().document);
    assert_eq!(servers.len(), 4, "who is absent stays");
    assert_eq!(servers[0].address.to_string(), "10.9.9.9:11211");
    assert_eq!(servers[0].weight, 1, "a weight is part of the ring");
}

#[test]
fn a_member_that_cannot_be_read_keeps_what_it_was() {
    let mut bench = Bench::managed(4);
    assert_eq!(bench.see(committed(members(11, 1..=4))), Verdict::Same);
    let mut broken = committed(members(12, 2..=5));
    let bad = &mut broken.members.as_mut().unwrap().bad;
    bad.push(("member_1".to_owned(), "line 1".to_owned()));
    bad.push(("member_77".to_owned(), "never read".to_owned()));
    bench.admits(broken);
    assert_eq!(bench.names().len(), 5);
}

#[test]
fn unmanaged_members_are_taken_up_and_left_out_after_their_time() {
    let mut bench = Bench::following(Membership::Unmanaged, 1..=10);
    let start = bench.now;
    let due = |seconds| Verdict::Wait(start + Duration::from_secs(seconds));
    assert_eq!(bench.see(members(11, 2..=11)), due(1));
    assert_eq!(bench.after(999).see(members(11, 2..=11)), due(1));
    bench.after(1).admits(members(11, 2..=11));
    assert_eq!(bench.names().len(), 11, "one came, none has gone yet");
    let start = bench.now;
    let due = |seconds| Verdict::Wait(start + Duration::from_secs(seconds));
    assert_eq!(bench.see(members(11, 2..=11)), due(30));
    // Back for a moment: its absence counts anew.
    assert_eq!(bench.after(29_000).see(members(12, 1..=11)), Verdict::Same);
    assert_eq!(bench.admission.suppressed(), 1);
    assert_eq!(bench.after(500).see(members(13, 2..=11)), due(59).later(500));
    bench.after(30_000).admits(members(13, 2..=11));
    assert_eq!(bench.names().len(), 10);
}

impl Verdict {
    fn later(self, millis: u64) -> Self {
        match self {
            Self::Wait(until) => Self::Wait(until + Duration::from_millis(millis)),
            other => other,
        }
    }
}

#[test]
fn absence_counts_only_while_the_source_is_in_sight() {
    let mut bench = Bench::following(Membership::Unmanaged, 1..=10);
    bench.see(members(11, 2..=10));
    bench.after(29_000).admission.unsure();
    assert!(matches!(bench.after(2_000).see(members(11, 2..=10)), Verdict::Wait(_)));
    bench.after(30_000).admits(members(11, 2..=10));
}

#[test]
fn unmanaged_members_that_vanish_together_are_kept() {
    let mut bench = Bench::following(Membership::Unmanaged, 1..=10);
    bench.see(members(11, 1..=4));
    bench.after(31_000).refuses(Reason::Shrink, members(11, 1..=4));
    bench.refuses(Reason::Empty, members(12, []));
    assert_eq!(bench.names().len(), 10);
}

proptest! {
    /// Whatever comes in whatever order: what is followed is never empty, never shrinks by more
    /// than allowed at once, and never goes back.
    #[test]
    fn nothing_that_comes_in_breaks_the_promises(
        steps in prop::collection::vec((0_u64..30, prop::collection::btree_set(1_usize..30, 0..30), any::<bool>(), 0_u64..2000), 1..60),
    ) {
        for membership in [Membership::Managed, Membership::Unmanaged] {
            let mut bench = Bench::following(membership, 1..=20);
            for (stamp, numbers, by_members, millis) in &steps {
                let before = bench.admission.current().cloned().unwrap();
                let proposal = if *by_members {
                    members(*stamp, numbers.iter().copied())
                } else {
                    whole(document(*stamp, numbers.iter().copied()))
                };
                bench.after(*millis).see(proposal);
                let after = bench.admission.current().unwrap();
                assert!(after.stamp >= before.stamp);
                let kept = serving(&before.document).iter().filter(|it| {
                    serving(&after.document).iter().any(|other| other.name == it.name)
                }).count();
                assert!(kept as f64 >= before.document.current.len() as f64 * 0.85);
            }
        }
    }
}
