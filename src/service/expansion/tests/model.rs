//! Every interleaving of two or three gets, sets and deletes of one key, in each pair of phases.
//!
//! The table of expected verdicts is that of the design: what is recommended is clean, and the
//! variants that are known to be wrong are found to be.

use std::collections::{BTreeSet, HashSet};
use std::hash::Hash;

use ahash::RandomState;

use super::server::Server;
use crate::config::Fill;
use crate::routing::Phase::{self, Drain, Fence, New, Prepare, Stable, Warm};
use crate::service::expansion::machine::Machine;
use crate::service::expansion::operation::Operation;
use crate::service::expansion::step::{Context, Lost, Send, Side, Step, Wrong};

pub(super) const CONTEXT: Context = Context {
    stub_ttl: 5,
    fill: Fill::Vivify,
    fill_ttl_max: 0,
    quarantine: false,
    unix: 0,
    wrong: NOTHING_WRONG,
};
pub(super) const NOTHING_WRONG: Wrong = Wrong {
    add_fill: false,
    new_first: false,
    new_only: false,
    two_steps: false,
    unguarded: false,
};

/// What an operation does; a set's value is its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Get,
    Set,
    Delete,
}

const KINDS: [Kind; 3] = [Kind::Get, Kind::Set, Kind::Delete];

/// Values, by the operation that wrote them; 0 is there from the start.
type Values = BTreeSet<u8>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Before,
    /// The machine, its request that has not been executed, and which values it must not return
    /// (a get) or kills when it completes (others).
    Running(Box<Machine>, Send, Values),
    /// A request that was given up and may still arrive.
    Zombie(Send),
    Over,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    old: Server,
    new: Server,
    dead: Values,
    done: Values,
    ops: Vec<State>,
    evictions: u8,
    faults: u8,
    outages: u8,
    /// The old server does not answer.
    down: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) combinations: usize,
    states: usize,
    pub(super) stale: usize,
    pub(super) diverge: usize,
}

/// The states that have been seen, by their hashes: among a million of 64 bits hardly two are the
/// same by chance.
#[derive(Default)]
pub(super) struct Seen(HashSet<u64>);

impl Seen {
    /// Adds a state; false if it was there.
    pub(super) fn add(&mut self, state: &impl Hash) -> bool {
        self.0.insert(RandomState::with_seeds(1, 2, 3, 4).hash_one(state))
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

struct Model {
    ops: Vec<(Kind, Phase)>,
    /// Of the operations, in turns.
    contexts: [Context; 2],
    seen: Seen,
    stale: bool,
    diverge: bool,
}

impl Model {
    fn context(&self, index: usize) -> Context {
        self.contexts[index % 2]
    }

    fn explore(&mut self, world: World) {
        if !self.seen.add(&world) {
            return;
        }
        let mut moved = false;
        for index in 0..self.ops.len() {
            moved |= self.advance(&world, index);
        }
        if world.evictions > 0 && world.new.item.is_some() {
            let mut next = world.clone();
            (next.new.item, next.evictions) = (None, world.evictions - 1);
            self.explore(next);
        }
        if world.outages > 0 {
            let (down, outages) = (!world.down, world.outages - u8::from(world.down));
            self.explore(World { down, outages, ..world.clone() });
        }
        if !moved {
            self.judge(&world);
        }
    }

    /// Takes all steps that operation `index` can take; false if there is none.
    fn advance(&mut self, world: &World, index: usize) -> bool {
        match &world.ops[index] {
            State::Before => {
                let mut next = world.clone();
                let (kind, phase) = self.ops[index];
                let snapshot = if kind == Kind::Get { &world.dead } else { &world.done };
                let (machine, step) =
                    Machine::start(operation(kind, index as u8 + 1), phase, &self.context(index));
                let snapshot = snapshot.clone();
                self.settle(&mut next, (index, machine, snapshot), step);
                self.explore(next);
            }
            State::Running(_, send, _) if world.down && send.side == Side::Old => {
                self.fail(world, (index, &[(Lost::Unsent, false), (Lost::Unknown, false)]));
            }
            State::Running(machine, send, snapshot) => {
                let mut next = world.clone();
                let reply = next.execute(send);
                let mut machine = (**machine).clone();
                let step = machine.reply(&reply, &self.context(index));
                machine.take_event();
                self.settle(&mut next, (index, machine, snapshot.clone()), step);
                self.explore(next);
                if world.faults > 0 {
                    let faults = world.faults - 1;
                    let ways =
                        [(Lost::Unknown, true), (Lost::Unknown, false), (Lost::Unsent, false)];
                    self.fail(&World { faults, ..world.clone() }, (index, &ways));
                }
            }
            State::Zombie(send) => {
                if !(world.down && send.side == Side::Old) {
                    let mut next = world.clone();
                    next.execute(send);
                    next.ops[index] = State::Over;
                    self.explore(next);
                }
                // It may also never arrive.
                let mut next = world.clone();
                next.ops[index] = State::Over;
                self.explore(next);
            }
            State::Over => return false,
        }
        true
    }

    /// A request times out: it has been executed, or will be, or the server was out of reach.
    fn fail(&mut self, world: &World, (index, ways): (usize, &[(Lost, bool)])) {
        let State::Running(machine, send, snapshot) = &world.ops[index] else { return };
        for &(why, executed) in ways {
            let mut next = world.clone();
            if executed {
                next.execute(send);
            }
            let mut machine = (**machine).clone();
            let step = machine.failed(why, "timed out", &self.context(index));
            machine.take_event();
            let over = matches!(step, Step::Answer(_));
            self.settle(&mut next, (index, machine, snapshot.clone()), step);
            if over && why == Lost::Unknown && !executed {
                next.ops[index] = State::Zombie(send.clone());
            }
            self.explore(next);
        }
    }

    fn settle(
        &mut self,
        world: &mut World,
        (index, machine, snapshot): (usize, Machine, Values),
        step: Step,
    ) {
        match step {
            Step::Send(send) => {
                world.ops[index] = State::Running(Box::new(machine), send, snapshot);
            }
            Step::Answer(answer) => {
                world.ops[index] = State::Over;
                self.complete(world, index, &answer, &snapshot);
            }
            Step::Park => panic!("nothing of this is parked"),
        }
    }

    fn complete(&mut self, world: &mut World, index: usize, answer: &[u8], snapshot: &Values) {
        if answer.starts_with(b"SERVER_ERROR") {
            return;
        }
        match self.ops[index].0 {
            Kind::Get => {
                self.stale |= value_in(answer).is_some_and(|value| snapshot.contains(&value));
            }
            Kind::Set => {
                assert_eq!(answer, b"STORED\r\n");
                world.dead.extend(snapshot);
                world.done.insert(index as u8 + 1);
            }
            Kind::Delete => world.dead.extend(snapshot),
        }
    }

    /// What is left when all is over.
    fn judge(&mut self, world: &World) {
        let [old, new] = [world.old.value(), world.new.value()];
        for (_, phase) in &self.ops {
            let seen = match phase {
                Stable | Prepare | Fence => old,
                Warm => new.or(old),
                Drain | New => new,
            };
            self.stale |= seen.is_some_and(|value| world.dead.contains(&digit(value)));
        }
        self.diverge |= old.is_some() && new.is_some() && old != new;
    }
}

impl World {
    fn execute(&mut self, send: &Send) -> Vec<u8> {
        match send.side {
            Side::Old => self.old.execute(&send.bytes),
            Side::New => self.new.execute(&send.bytes),
        }
    }
}

fn operation(kind: Kind, number: u8) -> Operation {
    let request = match kind {
        Kind::Get => "get k\r\n".to_owned(),
        Kind::Set => format!("set k 0 0 1\r\n{number}\r\n"),
        Kind::Delete => "delete k\r\n".to_owned(),
    };
    super::steps::operation(&request)
}

fn digit(value: &[u8]) -> u8 {
    value[0] - b'0'
}

/// The value in a get's answer; a stub, which phases that are no neighbours may show, is none.
fn value_in(answer: &[u8]) -> Option<u8> {
    let value = answer.strip_prefix(b"VALUE k 0 1\r\n")?;
    Some(digit(value))
}

/// What is allowed to happen beside the operations.
#[derive(Clone, Copy, Default)]
pub(super) struct Chances {
    pub(super) evictions: u8,
    pub(super) faults: u8,
    /// The old server does not answer for a while, and has all that it had when it does again.
    pub(super) outages: u8,
}

/// What the servers have at first; `dead`: what the old one has is not to be read any more.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) old: Server,
    pub(super) new: Server,
    pub(super) dead: bool,
    /// What proxies do with what a get finds: operations are by one of two, in turns.
    pub(super) fills: [Fill; 2],
}

impl Default for Start {
    /// The old server has the value.
    fn default() -> Self {
        let (old, new) = (Server::with(b"0"), Server::default());
        Self { old, new, dead: false, fills: [Fill::Vivify; 2] }
    }
}

fn check(phases: &[Phase], count: usize, chances: Chances, wrong: Wrong) -> Verdict {
    check_from(&Start::default(), (phases, count), chances, wrong)
}

pub(super) fn check_from(
    start: &Start,
    (phases, count): (&[Phase], usize),
    chances: Chances,
    wrong: Wrong,
) -> Verdict {
    let choices: Vec<(Kind, Phase)> =
        phases.iter().flat_map(|phase| KINDS.map(|kind| (kind, *phase))).collect();
    let mut verdict = Verdict::default();
    for ops in multisets(&choices, count) {
        let world = World {
            old: start.old.clone(),
            new: start.new.clone(),
            dead: if start.dead { Values::from([0]) } else { Values::new() },
            done: Values::from([0]),
            ops: vec![State::Before; ops.len()],
            evictions: chances.evictions,
            faults: chances.faults,
            outages: chances.outages,
            down: false,
        };
        let contexts = start.fills.map(|fill| Context { fill, wrong, ..CONTEXT });
        let mut model =
            Model { ops, contexts, seen: Seen::default(), stale: false, diverge: false };
        model.explore(world);
        verdict.combinations += 1;
        verdict.states += model.seen.count();
        verdict.stale += usize::from(model.stale);
        verdict.diverge += usize::from(model.diverge);
    }
    verdict
}

/// All choices of `count` out of `choices`, with repetition, order not counted.
pub(super) fn multisets<T: Copy>(choices: &[T], count: usize) -> Vec<Vec<T>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let with = |at: usize| {
        let rest = multisets(&choices[at..], count - 1);
        rest.into_iter().map(move |rest| [vec![choices[at]], rest].concat())
    };
    (0..choices.len()).flat_map(with).collect()
}

const QUIET: Chances = Chances { evictions: 0, faults: 0, outages: 0 };
const EVICTING: Chances = Chances { evictions: 1, ..QUIET };
const FAULTY: Chances = Chances { faults: 1, ..QUIET };

/// Neither a stale value nor two values that differ.
fn clean(phases: &[Phase], chances: Chances) {
    let found = check(phases, 3, chances, NOTHING_WRONG);
    assert_eq!((found.stale, found.diverge), (0, 0), "{phases:?} {found:?}");
    assert_eq!(found.combinations, if phases.len() == 1 { 10 } else { 56 });
    eprintln!("{phases:?}: {found:?}");
}

fn stale(phases: &[Phase], count: usize, wrong: Wrong) -> Verdict {
    let found = check(phases, count, QUIET, wrong);
    assert!(found.stale > 0, "{phases:?} {wrong:?} {found:?}");
    eprintln!("{phases:?} {wrong:?}: {found:?}");
    found
}

#[test]
fn neighbouring_phases_return_no_dead_value() {
    clean(&[Stable, Prepare], QUIET);
    clean(&[Prepare, Fence], QUIET);
    for chances in [QUIET, EVICTING] {
        clean(&[Fence, Warm], chances);
        clean(&[Warm], chances);
        clean(&[Warm, Drain], chances);
    }
}

#[test]
fn in_the_last_two_phases_old_copies_may_be_left_but_are_not_read() {
    for chances in [QUIET, EVICTING] {
        let found = check(&[Drain, New], 3, chances, NOTHING_WRONG);
        assert_eq!((found.stale, found.combinations), (0, 56), "{found:?}");
        assert!(found.diverge > 0, "{found:?}");
    }
}

#[test]
fn a_request_that_is_lost_or_late_brings_no_dead_value_back() {
    for phases in [[Stable, Prepare], [Fence, Warm], [Warm, Drain], [Drain, New]] {
        let found = check(&phases, 3, FAULTY, NOTHING_WRONG);
        assert_eq!(found.stale, 0, "{phases:?} {found:?}");
        eprintln!("{phases:?} with faults: {found:?}");
    }
}

#[test]
fn a_set_of_two_steps_leaves_two_values() {
    let wrong = Wrong { two_steps: true, ..NOTHING_WRONG };
    let found = check(&[Fence, Warm], 3, QUIET, wrong);
    assert_eq!(found.stale, 0, "{found:?}");
    assert!(found.diverge > 0, "{found:?}");
}

#[test]
fn what_is_known_to_be_wrong_is_found() {
    stale(&[Warm, New], 2, Wrong { new_only: true, ..NOTHING_WRONG });
    stale(&[Warm], 3, Wrong { add_fill: true, new_only: true, ..NOTHING_WRONG });
    stale(&[Warm], 3, Wrong { add_fill: true, ..NOTHING_WRONG });
    stale(&[Warm], 3, Wrong { new_first: true, ..NOTHING_WRONG });
}

#[test]
fn phases_that_are_not_neighbours_must_not_meet() {
    assert_eq!(stale(&[Stable, Warm], 3, NOTHING_WRONG).combinations, 56);
    assert_eq!(stale(&[Warm, New], 3, NOTHING_WRONG).combinations, 56);
    let found = check(&[Prepare, Drain], 3, QUIET, NOTHING_WRONG);
    assert_eq!(found.stale, 0, "{found:?}");
}
