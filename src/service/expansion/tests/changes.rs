//! Every interleaving of two or three operations of which some change what is there: incr, append,
//! add and cas are neither applied twice nor lost in silence.
//!
//! A history is good if its writes can be put in an order, none before one that had ended when it
//! began, in which one memcached would have answered the same and hold the same at the end; in
//! between it may lose the item at any time, as a cache may.

use super::model::{CONTEXT, Seen, multisets};
use super::server::Server;
use super::steps::operation;
use crate::config::Fill;
use crate::routing::Phase::{self, Drain, Fence, New, Prepare, Stable, Warm};
use crate::service::expansion::machine::Machine;
use crate::service::expansion::step::{Context, Lost, Send, Side, Step, Wrong};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Get,
    Set,
    Delete,
    Add,
    Incr,
    Append,
    Touch,
    /// gets, then cas with what that has told.
    Cas,
}

const PLAIN: [Kind; 3] = [Kind::Get, Kind::Set, Kind::Delete];
const CHANGES: [Kind; 5] = [Kind::Add, Kind::Incr, Kind::Append, Kind::Touch, Kind::Cas];

type Value = Option<Vec<u8>>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Before,
    Running(Box<Machine>, Send),
    Zombie(Send),
    Over,
}

/// What is known of an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Record {
    /// Those that had ended when it began.
    after: Vec<usize>,
    answer: Vec<u8>,
    /// What a cas has read before.
    read: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    servers: [Server; 2],
    ops: Vec<State>,
    records: Vec<Record>,
    evictions: u8,
    faults: u8,
}

struct Model {
    ops: Vec<(Kind, Phase)>,
    /// The item may be lost although nothing takes it away.
    lossy: bool,
    seen: Seen,
    /// Requests may be lost.
    faulty: bool,
    /// Something was there from the start.
    full: bool,
    context: Context,
    /// The first history that has no order.
    bad: Option<String>,
}

impl Model {
    fn explore(&mut self, world: World) {
        if !self.seen.add(&world) {
            return;
        }
        let mut moved = false;
        for index in 0..self.ops.len() {
            moved |= self.advance(&world, index);
        }
        if world.evictions > 0 && world.servers[1].item.is_some() {
            let mut next = World { evictions: world.evictions - 1, ..world.clone() };
            next.servers[1].item = None;
            self.explore(next);
        }
        if !moved {
            self.judge(&world);
        }
    }

    fn advance(&mut self, world: &World, index: usize) -> bool {
        let mut next = world.clone();
        match &world.ops[index] {
            State::Before => {
                let over = |at: &usize| matches!(world.ops[*at], State::Over);
                next.records[index].after = (0..self.ops.len()).filter(over).collect();
                self.start(&mut next, index, request(self.ops[index].0, index));
            }
            State::Running(machine, send) => {
                let reply = next.execute(send);
                let mut machine = (**machine).clone();
                let step = machine.reply(&reply, &self.context);
                machine.take_event();
                self.settle(&mut next, index, (machine, step));
                if world.faults > 0 {
                    self.fail(world, index);
                }
            }
            State::Zombie(send) => {
                next.execute(send);
                next.ops[index] = State::Over;
            }
            State::Over => return false,
        }
        self.explore(next);
        true
    }

    fn start(&self, world: &mut World, index: usize, request: String) {
        let (machine, step) = Machine::start(operation(&request), self.ops[index].1, &self.context);
        self.settle(world, index, (machine, step));
    }

    fn fail(&mut self, world: &World, index: usize) {
        let State::Running(machine, send) = &world.ops[index] else { return };
        for executed in [true, false] {
            let mut next = World { faults: world.faults - 1, ..world.clone() };
            if executed {
                next.execute(send);
            }
            let mut machine = (**machine).clone();
            let step = machine.failed(Lost::Unknown, "timed out", &self.context);
            machine.take_event();
            let over = matches!(step, Step::Answer(_));
            self.settle(&mut next, index, (machine, step));
            if over && !executed {
                next.ops[index] = State::Zombie(send.clone());
            }
            self.explore(next);
        }
    }

    fn settle(&self, world: &mut World, index: usize, (machine, step): (Machine, Step)) {
        match step {
            Step::Send(send) => world.ops[index] = State::Running(Box::new(machine), send),
            Step::Park => panic!("nothing of this is parked"),
            Step::Answer(answer) => {
                if self.ops[index].0 == Kind::Cas && answer.starts_with(b"VALUE ") {
                    let (token, value) = token_of(&answer);
                    world.records[index].read = value;
                    let request = format!("cas k 0 0 2 {token}\r\nc{index}\r\n");
                    return self.start(world, index, request);
                }
                world.records[index].answer = answer;
                world.ops[index] = State::Over;
            }
        }
    }

    fn judge(&mut self, world: &World) {
        let [old, new] = &world.servers;
        let [old, new] = [old.value(), new.value()];
        let views: Vec<Value> = self
            .ops
            .iter()
            .map(|(_, phase)| match phase {
                Stable | Prepare | Fence => old,
                Warm => new.or(old),
                Drain | New => new,
            })
            .map(|view| view.map(<[u8]>::to_vec))
            .collect();
        // A write that has failed may be seen by some and not by others.
        let together: Vec<&[Value]> =
            if self.faulty { views.chunks(1).collect() } else { vec![&views] };
        let all: Vec<usize> = (0..self.ops.len()).collect();
        for views in together {
            let begin = self.full.then(|| b"5".to_vec());
            if !self.explained(&world.records, views, (&all, begin)) {
                let history = format!("{:?}\n{:?}\n{:?}", self.ops, world.records, world.servers);
                self.bad.get_or_insert(history);
            }
        }
    }

    /// Whether what is left of the history can follow when the item is `state`.
    fn explained(
        &self,
        records: &[Record],
        views: &[Value],
        (left, state): (&[usize], Value),
    ) -> bool {
        let failed = |at: &usize| records[*at].answer.starts_with(b"SERVER_ERROR");
        // The last phase that is there has the last word.
        let (last, others) = views.split_last().unwrap();
        let fits = (*last == state || self.lossy && last.is_none())
            && others.iter().all(|view| *view == state || view.is_none());
        if left.iter().all(failed) && fits {
            return true;
        }
        left.iter().any(|&at| {
            let waits =
                left.iter().any(|other| !failed(other) && records[at].after.contains(other));
            let rest: Vec<usize> = left.iter().copied().filter(|other| *other != at).collect();
            let states = if self.lossy { vec![state.clone(), None] } else { vec![state.clone()] };
            !waits
                && states.into_iter().any(|state| {
                    let next = self.applied(at, &records[at], state);
                    next.is_some_and(|next| self.explained(records, views, (&rest, next)))
                })
        })
    }

    /// What the item is after an operation on `state`; `None` if it would have answered otherwise.
    fn applied(&self, at: usize, record: &Record, state: Value) -> Option<Value> {
        let answer = &record.answer[..];
        let unknown = answer.starts_with(b"SERVER_ERROR");
        let stored = answer == b"STORED\r\n" || unknown;
        let changed = |value: Vec<u8>| Some(Some(value));
        match self.ops[at].0 {
            Kind::Get | Kind::Touch => Some(state),
            Kind::Set => changed(format!("{at}").into_bytes()),
            Kind::Delete => Some(None),
            Kind::Add if stored && state.is_none() => changed(format!("{at}").into_bytes()),
            Kind::Add if !stored || unknown => state.map(Some),
            Kind::Add => None,
            Kind::Append if stored => {
                state.map(|value| Some([&value[..], format!("{at}").as_bytes()].concat()))
            }
            Kind::Append => state.is_none().then_some(None),
            Kind::Incr => {
                let number = state.clone().map(|value| String::from_utf8(value).unwrap());
                let number = number.and_then(|value| value.parse::<u64>().ok());
                match number {
                    _ if answer.starts_with(b"CLIENT_ERROR") => Some(state),
                    None => (state.is_none() && !answer[0].is_ascii_digit()).then_some(state),
                    Some(number) => {
                        let next = (number + 1).to_string().into_bytes();
                        let same = answer.strip_suffix(b"\r\n") == Some(&next[..]);
                        (same || unknown).then_some(Some(next))
                    }
                }
            }
            Kind::Cas if stored && (state.as_ref() == Some(&record.read)) => {
                changed(format!("c{at}").into_bytes())
            }
            Kind::Cas => (!stored || unknown).then_some(state),
        }
    }
}

impl World {
    fn execute(&mut self, send: &Send) -> Vec<u8> {
        let [old, new] = &mut self.servers;
        if send.side == Side::Old { old.execute(&send.bytes) } else { new.execute(&send.bytes) }
    }
}

fn request(kind: Kind, at: usize) -> String {
    match kind {
        Kind::Get => "get k\r\n".to_owned(),
        Kind::Set => format!("set k 0 0 1\r\n{at}\r\n"),
        Kind::Delete => "delete k\r\n".to_owned(),
        Kind::Add => format!("add k 0 0 1\r\n{at}\r\n"),
        Kind::Incr => "incr k 1\r\n".to_owned(),
        Kind::Append => format!("append k 0 0 1\r\n{at}\r\n"),
        Kind::Touch => "touch k 60\r\n".to_owned(),
        Kind::Cas => "gets k\r\n".to_owned(),
    }
}

/// Token and value of an answer to gets.
fn token_of(answer: &[u8]) -> (u64, Vec<u8>) {
    let text = String::from_utf8(answer.to_vec()).unwrap();
    let mut lines = text.split("\r\n");
    let token = lines.next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    (token, lines.next().unwrap().as_bytes().to_vec())
}

/// Explores all choices of `count` operations, in which there must be an order; returns how many
/// states there were.
fn check(choices: &[(Kind, Phase)], how: (usize, bool), chances: (u8, u8)) -> usize {
    let (states, bad) = explore(choices, how, chances, CONTEXT);
    assert!(bad.is_none(), "{}", bad.unwrap_or_default());
    states
}

fn explore(
    choices: &[(Kind, Phase)],
    (count, lossy): (usize, bool),
    (evictions, faults): (u8, u8),
    context: Context,
) -> (usize, Option<String>) {
    let (mut states, mut bad) = (0, None);
    for ops in multisets(choices, count) {
        if !ops.iter().any(|(kind, _)| CHANGES.contains(kind)) {
            continue;
        }
        for full in [true, false] {
            // Where the new ring has the last word alone, its server has what there is.
            let late = ops.iter().any(|(_, phase)| matches!(phase, Drain | New));
            let begin = if full { Server::with(b"5") } else { Server::default() };
            let servers = match late && !lossy {
                true => [Server::default(), begin],
                false => [begin, Server::default()],
            };
            let world = World {
                servers,
                ops: vec![State::Before; ops.len()],
                records: vec![Record::default(); ops.len()],
                evictions,
                faults,
            };
            let (ops, seen, faulty) = (ops.clone(), Seen::default(), faults > 0);
            let mut model = Model { ops, lossy, seen, faulty, full, context, bad: None };
            model.explore(world);
            states += model.seen.count();
            bad = bad.or(model.bad);
        }
    }
    (states, bad)
}

fn choices(of: &[(&[Kind], Phase)]) -> Vec<(Kind, Phase)> {
    let each = |(kinds, phase): &(&[Kind], Phase)| {
        let phase = *phase;
        kinds.iter().map(move |kind| (*kind, phase)).collect::<Vec<_>>()
    };
    of.iter().flat_map(each).collect()
}

const ALL: [Kind; 8] = [
    Kind::Get,
    Kind::Set,
    Kind::Delete,
    Kind::Add,
    Kind::Incr,
    Kind::Append,
    Kind::Touch,
    Kind::Cas,
];
const FEW: [Kind; 4] = [Kind::Get, Kind::Set, Kind::Add, Kind::Incr];

#[test]
fn three_changes_have_an_order_in_neighbouring_phases() {
    for phases in [
        choices(&[(&ALL, Prepare)]),
        choices(&[(&PLAIN, Fence), (&FEW, Warm)]),
        choices(&[(&FEW, Warm), (&FEW, Drain)]),
        choices(&[(&FEW, Drain), (&FEW, New)]),
    ] {
        let states = check(&phases, (3, true), (0, 0));
        eprintln!("{:?}: {states}", phases.last());
    }
}

#[test]
fn two_changes_have_an_order_whatever_is_lost_or_late() {
    for phases in [
        choices(&[(&ALL, Stable), (&ALL, Prepare)]),
        choices(&[(&PLAIN, Fence), (&ALL, Warm)]),
        choices(&[(&ALL, Warm), (&ALL, Drain)]),
        choices(&[(&ALL, Drain), (&ALL, New)]),
    ] {
        for chances in [(1, 0), (0, 1)] {
            let states = check(&phases, (2, true), chances);
            eprintln!("{:?} {chances:?}: {states}", phases.last());
        }
    }
}

#[test]
fn among_themselves_changes_lose_nothing() {
    let kinds = [Kind::Get, Kind::Add, Kind::Incr, Kind::Append, Kind::Touch, Kind::Cas];
    for (phases, count) in [
        (choices(&[(&kinds, Stable), (&kinds, Prepare)]), 2),
        (choices(&[(&[Kind::Get], Fence), (&kinds[..4], Warm)]), 3),
        (choices(&[(&kinds, Warm)]), 2),
        (choices(&[(&kinds, Drain)]), 3),
    ] {
        let states = check(&phases, (count, false), (0, 0));
        eprintln!("{:?} {count}: {states}", phases.last());
    }
}

#[test]
fn without_the_fence_two_adds_win() {
    let both = choices(&[(&[Kind::Add], Prepare), (&[Kind::Add], Warm)]);
    let (_, bad) = explore(&both, (2, false), (0, 0), CONTEXT);
    assert!(bad.is_some_and(|history| history.contains("Add, Prepare), (Add, Warm")));
}

#[test]
fn without_the_guard_an_append_takes_a_stub_for_a_value() {
    let wrong = Wrong { unguarded: true, ..CONTEXT.wrong };
    let context = Context { wrong, ..CONTEXT };
    let phases = choices(&[(&[Kind::Get, Kind::Delete, Kind::Append], Warm)]);
    let (_, bad) = explore(&phases, (3, true), (0, 0), context);
    assert!(bad.is_some());
}

#[test]
fn changes_have_an_order_where_gets_copy_nothing() {
    let off = Context { fill: Fill::Off, ..CONTEXT };
    for phases in
        [choices(&[(&PLAIN, Fence), (&ALL, Warm)]), choices(&[(&ALL, Warm), (&ALL, Drain)])]
    {
        for chances in [(1, 0), (0, 1)] {
            let (states, bad) = explore(&phases, (2, true), chances, off);
            assert!(bad.is_none(), "{}", bad.unwrap_or_default());
            eprintln!("{:?} {chances:?}: {states}", phases.last());
        }
    }
}
