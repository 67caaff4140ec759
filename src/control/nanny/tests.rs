//! What the nanny decides, step by step.

use std::time::{Duration, Instant};

use proptest::prelude::{any, prop, proptest};

use crate::control::nanny::{AUTHOR, Decision, Judgement, Nanny, Probe, ProbeRules, Rules, View};
use crate::topology::{Document, Node, Phase, State};

fn name(number: usize) -> String {
    format!("cache{number:02}")
}

fn view(failing: &[usize], well: &[usize]) -> View {
    View {
        failing: failing.iter().map(|&number| name(number)).collect(),
        well: well.iter().map(|&number| name(number)).collect(),
    }
}

/// A nanny over servers, the document as it is, and a clock.
struct Bench {
    nanny: Nanny,
    document: Document,
    now: Instant,
}

impl Bench {
    fn new(servers: usize) -> Self {
        let node = |number| Node::new(&format!("h:{number}"), 1, Some(&name(number))).unwrap();
        let current = (1..=servers).map(node).collect();
        let document = Document { epoch: 1, current, ..Document::default() };
        let mut bench = Self { nanny: Nanny::new(Rules::default()), document, now: Instant::now() };
        bench.nanny.saw(&bench.document, bench.now);
        bench
    }

    fn after(&mut self, seconds: u64) -> &mut Self {
        self.now += Duration::from_secs(seconds);
        self
    }

    /// Three observers say the same; the decision.
    fn all_say(&mut self, said: &View) -> Option<Decision> {
        for observer in ["a", "b", "c"] {
            self.nanny.observe(observer, said.clone(), self.now);
        }
        self.nanny.decide(self.now)
    }

    /// Writes the decision, as the leader does.
    fn write(&mut self, decision: &Decision) {
        self.mark(&decision.node, decision.to, AUTHOR);
        self.nanny.acted(self.now);
    }

    fn mark(&mut self, name: &str, to: State, author: &str) {
        let node = self.document.current.iter_mut().find(|it| it.server.name == name).unwrap();
        node.server.state = to;
        self.document.epoch += 1;
        author.clone_into(&mut self.document.author);
        self.nanny.saw(&self.document, self.now);
    }
}

#[test]
fn a_look_or_two_make_no_judgement() {
    let (rules, start) = (ProbeRules::default(), Instant::now());
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut probe = Probe::default();
    assert_eq!(probe.judgement(&rules), Judgement::Unsure);
    for second in 0..2 {
        probe.look(false, at(second));
        assert_eq!(probe.judgement(&rules), Judgement::Unsure);
    }
    probe.look(false, at(2));
    assert_eq!(probe.judgement(&rules), Judgement::Failing);
    for second in 3..13 {
        probe.look(true, at(second));
        assert_eq!(probe.judgement(&rules), Judgement::Unsure, "{second}");
    }
    probe.look(true, at(13));
    assert_eq!(probe.judgement(&rules), Judgement::Well);
    // One bad look, and it begins anew.
    probe.look(false, at(14));
    probe.look(true, at(15));
    assert_eq!(probe.judgement(&rules), Judgement::Unsure);
}

#[test]
fn failures_in_one_moment_are_one_failure() {
    let (rules, now) = (ProbeRules::default(), Instant::now());
    let mut probe = Probe::default();
    (0..100).for_each(|_| probe.look(false, now));
    assert_eq!(probe.judgement(&rules), Judgement::Unsure);
}

#[test]
fn one_observer_alone_decides_nothing() {
    let mut bench = Bench::new(4);
    bench.nanny.observe("a", view(&[1], &[]), bench.now);
    assert_eq!(bench.nanny.decide(bench.now), None);
    bench.nanny.observe("b", view(&[1], &[]), bench.now);
    let decision = bench.nanny.decide(bench.now).unwrap();
    assert_eq!((decision.node.as_str(), decision.to), ("cache01", State::Down));
    assert_eq!(decision.why, "fails for 2 of 2 observers");
}

#[test]
fn servers_to_come_are_looked_after_as_well() {
    let mut bench = Bench::new(4);
    let new = Node::new("10.0.0.5:11211", 1, Some("cache05")).unwrap();
    bench.document.target = bench.document.current.iter().cloned().chain([new]).collect();
    bench.document.phase = Phase::Warm;
    bench.nanny.saw(&bench.document, bench.now);
    for observer in ["a", "b"] {
        bench.nanny.observe(observer, view(&[5], &[]), bench.now);
    }
    assert_eq!(bench.nanny.decide(bench.now).map(|it| it.node), Some("cache05".to_owned()));
}

#[test]
fn a_quorum_that_most_others_contradict_is_none() {
    let mut bench = Bench::new(4);
    for observer in ["a", "b"] {
        bench.nanny.observe(observer, view(&[1], &[]), bench.now);
    }
    for observer in ["c", "d"] {
        bench.nanny.observe(observer, view(&[], &[1]), bench.now);
    }
    assert_eq!(bench.nanny.decide(bench.now), None, "two of four");
    // Two of those have gone: their views have no more say.
    bench.after(11);
    for observer in ["a", "b"] {
        bench.nanny.observe(observer, view(&[1], &[]), bench.now);
    }
    assert!(bench.nanny.decide(bench.now).is_some());
}

#[test]
fn one_server_a_window_and_half_of_them_at_most() {
    let mut bench = Bench::new(4);
    let all = view(&[1, 2, 3, 4], &[]);
    let first = bench.all_say(&all).unwrap();
    bench.write(&first);
    assert_eq!(bench.after(29).all_say(&all), None);
    let second = bench.after(1).all_say(&all).unwrap();
    assert_ne!(first.node, second.node);
    bench.write(&second);
    assert_eq!(bench.after(300).all_say(&all), None, "two of four are left");
}

#[test]
fn the_last_server_is_never_marked() {
    let mut bench = Bench::new(1);
    bench.nanny.rules.min_live_ratio = 0.0;
    assert_eq!(bench.all_say(&view(&[1], &[])), None);
}

#[test]
fn a_server_that_is_well_again_rises_the_later_the_more_often_it_fell() {
    let mut bench = Bench::new(4);
    let mut held = Vec::new();
    for _ in 0..3 {
        let fall = bench.after(60).all_say(&view(&[1], &[])).unwrap();
        bench.write(&fall);
        bench.nanny.last = None;
        let marked = bench.now;
        let rise = loop {
            if let Some(rise) = bench.after(1).all_say(&view(&[], &[1, 2, 3, 4])) {
                break rise;
            }
        };
        assert_eq!((rise.node.as_str(), rise.to), ("cache01", State::Up));
        held.push((bench.now - marked).as_secs());
        bench.write(&rise);
    }
    assert_eq!(held, [10, 15, 23], "10 s, half as long again, and again");
}

#[test]
fn what_an_operator_has_marked_is_left_alone() {
    let mut bench = Bench::new(4);
    bench.mark("cache02", State::Down, "alice");
    assert_eq!(bench.after(3600).all_say(&view(&[], &[1, 2, 3, 4])), None);
}

#[test]
fn another_nanny_goes_on_where_one_was_stopped() {
    let mut bench = Bench::new(4);
    let mut standby = Nanny::new(Rules::default());
    standby.saw(&bench.document, bench.now);
    let fall = bench.all_say(&view(&[3], &[])).unwrap();
    bench.write(&fall);
    standby.saw(&bench.document, bench.now);
    bench.after(60);
    for observer in ["a", "b"] {
        standby.observe(observer, view(&[], &[3]), bench.now);
    }
    let rise = standby.decide(bench.now).unwrap();
    assert_eq!((rise.node.as_str(), rise.to), ("cache03", State::Up));
}

proptest! {
    /// Whatever observers say: no more than half of the servers are ever down, nothing changes
    /// twice within a window, and nothing without two who agree.
    #[test]
    fn no_views_break_the_promises(
        steps in prop::collection::vec(
            (0..4_usize, any::<[bool; 6]>(), any::<[bool; 6]>(), 0..40_u64),
            1..80,
        ),
    ) {
        let mut bench = Bench::new(6);
        let mut last: Option<Instant> = None;
        for (observer, failing, well, seconds) in steps {
            let pick = |flags: [bool; 6]| -> Vec<usize> {
                (1..=6).filter(|number| flags[number - 1]).collect()
            };
            bench.after(seconds);
            let said = view(&pick(failing), &pick(well));
            bench.nanny.observe(["a", "b", "c", "d"][observer], said, bench.now);
            let Some(decision) = bench.nanny.decide(bench.now) else { continue };
            assert!(last.is_none_or(|last| bench.now >= last + Duration::from_secs(30)));
            let agree = bench.nanny.views.values().filter(|(view, _)| {
                let set = if decision.to == State::Down { &view.failing } else { &view.well };
                set.contains(&decision.node)
            });
            assert!(agree.count() >= 2);
            bench.write(&decision);
            last = Some(bench.now);
            let nodes = bench.document.current.iter();
            let down = nodes.filter(|node| node.server.state == State::Down).count();
            assert!(down <= 3);
        }
    }
}
