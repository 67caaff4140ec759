//! Every order in which two proxies can serve one key while they walk the phases, with answers that
//! are lost, commands that are executed late, a sweeper, and proxies that are started anew.
//!
//! The truth is kept beside the two servers: whenever a command is executed, its server must have
//! the key's true value. A command whose client was told of an error may be executed once, at any
//! later time, or never, and then where nobody looks it has no effect. What servers have been told to
//! do with keys is waited for before a phase is settled.

use crate::routing::Phase;
use crate::service::moving::way::{Ask, Handed, Next};

mod search;

const OLD: usize = 0;
const NEW: usize = 1;

/// The value that a key has: how often it was counted up. `None`: there is no key.
type Value = Option<u8>;

/// Ways of doing it that lose keys or bring old ones back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wrong {
    /// A key that is at both servers is written over.
    replace: bool,
    /// The new server is asked before the key is there.
    new_first: bool,
    /// Nobody waits in phase fence.
    no_fence: bool,
    /// A lost answer counts as done.
    ignore_lost: bool,
    /// The ends are come to without a scan that found nothing.
    no_sweep: bool,
    /// A phase is settled while servers still have been told to move or delete.
    undrained: bool,
    /// On the way back nothing is brought back.
    one_way: bool,
    /// What is known of a key is not forgotten when the phase changes.
    remember: bool,
    /// What was to be asked of a server is asked in whatever phase it is by then.
    unaccounted: bool,
    /// What one server sends the other may come after it was given up.
    late_restore: bool,
}

/// In which worlds it is tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Setting {
    wrong: Wrong,
    /// Proxies walk back as well.
    back: bool,
    /// What a server got and nobody waits for any more comes before what it gets later. So it is
    /// unless the network holds it up.
    in_order: bool,
}

const FORWARDS: Setting = Setting { wrong: RIGHT, back: false, in_order: false };
const BOTH_WAYS: Setting = Setting { back: true, in_order: true, ..FORWARDS };

const RIGHT: Wrong = Wrong {
    replace: false,
    new_first: false,
    no_fence: false,
    ignore_lost: false,
    no_sweep: false,
    undrained: false,
    one_way: false,
    remember: false,
    unaccounted: false,
    late_restore: false,
};

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Command {
    Count,
    Delete,
}

/// What a proxy has under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Work {
    Nothing,
    /// Its key is looked for at this side first; without a command it is the sweeper's.
    Asking(Option<Command>, Handed, usize),
    /// It is sent to this side.
    Sent(Command, usize),
}

/// What a server was told and has not done, of which nobody waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Late {
    /// A key handed over from this side, or deleted at it, for this proxy.
    Move(usize, usize),
    Clear(usize, usize),
    Count(usize),
    Delete(usize),
    /// A value that the other server sends this side.
    Restore(usize, u8),
}

impl Late {
    /// The side that has been told.
    fn at(&self) -> usize {
        match *self {
            Self::Move(_, side) | Self::Clear(_, side) => side,
            Self::Count(side) | Self::Delete(side) | Self::Restore(side, _) => side,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Proxy {
    phase: Phase,
    work: Work,
    /// The work was begun in an earlier phase.
    stale: bool,
    /// The new server is known to have nothing.
    new_is_empty: bool,
    /// The key is known to be in place.
    placed: bool,
    /// A scan has found nothing since keys have gone this way.
    swept: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    servers: [Value; 2],
    /// Of a value that a late command has made: what it was made of. Whoever sees it may take the
    /// command for executed just now, if that is what is true then.
    made_of: [Option<Value>; 2],
    truth: Value,
    proxies: [Proxy; 2],
    late: Vec<Late>,
    commands_left: u8,
    faults_left: u8,
    walks_left: u8,
}

impl Proxy {
    fn heading(&self, wrong: Wrong) -> Option<usize> {
        match self.phase {
            Phase::Warm | Phase::Drain => Some(OLD),
            Phase::Prepare if !self.new_is_empty && !wrong.one_way => Some(NEW),
            _ => None,
        }
    }

    fn side(&self) -> usize {
        if self.phase.new_serves() { NEW } else { OLD }
    }

    /// Where a command's way begins in this phase; `None`: it waits.
    fn begin(&self, command: Command, wrong: Wrong) -> Option<Work> {
        if self.phase == Phase::Fence && !wrong.no_fence {
            return None;
        }
        let known = self.placed || wrong.new_first;
        Some(match self.heading(wrong).filter(|_| !known) {
            Some(from) => Work::Asking(Some(command), Handed::new(), from),
            None => Work::Sent(command, self.side()),
        })
    }

    fn is_settled(&self, number: usize, late: &[Late], wrong: Wrong) -> bool {
        let told =
            |it: &Late| matches!(it, Late::Move(by, _) | Late::Clear(by, _) if *by == number);
        let drained = wrong.undrained || !late.iter().any(told);
        let ends_empty = self.heading(wrong).is_some() && self.phase != Phase::Warm;
        let asks = wrong.unaccounted && matches!(self.work, Work::Asking(..));
        (!self.stale || asks) && drained && (!ends_empty || self.swept || wrong.no_sweep)
    }
}

/// A command saw what is not true.
#[derive(Debug)]
struct Broken;

impl World {
    fn begin() -> Self {
        let proxy = Proxy {
            phase: Phase::Stable,
            work: Work::Nothing,
            stale: false,
            new_is_empty: true,
            placed: false,
            swept: false,
        };
        Self {
            servers: [Some(1), None],
            made_of: [None; 2],
            truth: Some(1),
            proxies: [proxy; 2],
            late: Vec::new(),
            commands_left: 2,
            faults_left: 1,
            walks_left: 12,
        }
    }

    /// All that can happen next.
    fn next(&self, setting: Setting) -> Result<Vec<Self>, Broken> {
        let wrong = setting.wrong;
        let waits = |side: usize| setting.in_order && self.late.iter().any(|it| it.at() == side);
        let mut worlds = Vec::new();
        for number in 0..2 {
            self.walk(number, setting, &mut worlds);
            match self.proxies[number].work {
                Work::Nothing => self.start(number, wrong, &mut worlds),
                Work::Asking(_, _, side) | Work::Sent(_, side) if waits(side) => {}
                Work::Asking(command, way, from) => {
                    self.ask(number, (command, way, from), wrong, &mut worlds);
                }
                Work::Sent(command, side) => self.serve(number, (command, side), &mut worlds)?,
            }
        }
        for at in 0..self.late.len() {
            self.come_late(at, wrong, &mut worlds)?;
        }
        Ok(worlds)
    }

    fn walk(&self, number: usize, setting: Setting, worlds: &mut Vec<Self>) {
        let (phase, wrong) = (self.proxies[number].phase, setting.wrong);
        let back = phase.previous().filter(|_| setting.back);
        for to in [phase.next(), back].into_iter().flatten() {
            let here = |proxy: &Proxy| proxy.phase == phase || proxy.phase == to;
            let settled = (0..2).all(|it| self.proxies[it].is_settled(it, &self.late, wrong));
            if self.walks_left == 0 || !settled || !self.proxies.iter().all(here) {
                continue;
            }
            let mut world = self.clone();
            world.walks_left -= 1;
            let proxy = &mut world.proxies[number];
            let before = proxy.heading(wrong);
            proxy.phase = to;
            match to {
                Phase::Stable => proxy.new_is_empty = true,
                Phase::Prepare => {}
                _ => proxy.new_is_empty = false,
            }
            proxy.stale = proxy.work != Work::Nothing;
            proxy.placed &= wrong.remember;
            proxy.swept &= proxy.heading(wrong) == before;
            worlds.push(world);
        }
    }

    /// A command, a sweep, or the process anew.
    fn start(&self, number: usize, wrong: Wrong, worlds: &mut Vec<Self>) {
        let proxy = self.proxies[number];
        for command in [Command::Count, Command::Delete] {
            let begun = proxy.begin(command, wrong).filter(|_| self.commands_left > 0);
            if let Some(work) = begun {
                let mut world = self.clone();
                world.commands_left -= 1;
                world.proxies[number].work = work;
                worlds.push(world);
            }
        }
        if let Some(from) = proxy.heading(wrong) {
            let mut world = self.clone();
            match self.servers[from] {
                Some(_) => world.proxies[number].work = Work::Asking(None, Handed::new(), from),
                None => world.proxies[number].swept = true,
            }
            worlds.push(world);
        }
        let anew = Proxy {
            new_is_empty: proxy.phase == Phase::Stable,
            placed: false,
            swept: false,
            ..proxy
        };
        if anew != proxy {
            let mut world = self.clone();
            world.proxies[number] = anew;
            worlds.push(world);
        }
    }

    fn ask(
        &self,
        number: usize,
        (command, way, from): (Option<Command>, Handed, usize),
        wrong: Wrong,
        worlds: &mut Vec<Self>,
    ) {
        let mut done = self.clone();
        let reply = match way.asking() {
            Ask::Clear => done.clear(from),
            _ => done.hand_over(from, wrong),
        };
        done.answered(number, (command, way, from), reply, wrong);
        worlds.push(done);
        if self.faults_left == 0 {
            return;
        }
        // Nobody hears of it: it was not done, it was done, or it will be.
        let mut unheard = self.clone();
        unheard.faults_left -= 1;
        unheard.proxies[number].work = Work::Nothing;
        unheard.proxies[number].stale = false;
        worlds.push(unheard.clone());
        let mut silent = unheard.clone();
        let late = match way.asking() {
            Ask::Clear => {
                silent.clear(from);
                Late::Clear(number, from)
            }
            _ => {
                silent.hand_over(from, wrong);
                Late::Move(number, from)
            }
        };
        worlds.push(silent);
        unheard.late(late);
        worlds.push(unheard);
        if way.asking() == Ask::Clear {
            return;
        }
        // The servers do not hear of each other: the key may be at both.
        let to = 1 - from;
        let lost = b"-IOERR error or timeout reading to target instance\r\n";
        let mut apart = self.clone();
        apart.faults_left -= 1;
        let mut nowhere = apart.clone();
        nowhere.answered(number, (command, way, from), lost, wrong);
        worlds.push(nowhere);
        if let (Some(value), None) = (self.servers[from], self.servers[to]) {
            if wrong.late_restore {
                let mut later = apart.clone();
                later.late(Late::Restore(to, value));
                later.answered(number, (command, way, from), lost, wrong);
                worlds.push(later);
            }
            apart.servers[to] = Some(value);
            apart.made_of[to] = apart.made_of[from];
            apart.answered(number, (command, way, from), lost, wrong);
            worlds.push(apart);
        }
    }

    fn late(&mut self, late: Late) {
        self.late.push(late);
        self.late.sort_unstable();
    }

    /// MIGRATE at a side.
    fn hand_over(&mut self, from: usize, wrong: Wrong) -> &'static [u8] {
        let to = 1 - from;
        match (self.servers[from], self.servers[to]) {
            (None, _) => b"+NOKEY\r\n",
            (Some(_), Some(_)) if !wrong.replace => b"-ERR x: BUSYKEY y\r\n",
            (value, _) => {
                self.servers = [None; 2];
                self.servers[to] = value;
                self.made_of[to] = self.made_of[from].take();
                b"+OK\r\n"
            }
        }
    }

    fn clear(&mut self, side: usize) -> &'static [u8] {
        self.made_of[side] = None;
        if self.servers[side].take().is_some() { b":1\r\n" } else { b":0\r\n" }
    }

    fn answered(
        &mut self,
        number: usize,
        (command, mut way, from): (Option<Command>, Handed, usize),
        reply: &[u8],
        wrong: Wrong,
    ) {
        let next = match way.replied(reply) {
            Next::Ask(Ask::Move) if wrong.ignore_lost => {
                Next::Done(crate::service::moving::way::Found::Here)
            }
            next => next,
        };
        let proxy = &mut self.proxies[number];
        let stale = std::mem::take(&mut proxy.stale);
        proxy.work = match next {
            Next::Ask(_) if !stale || wrong.unaccounted => {
                proxy.stale = stale;
                Work::Asking(command, way, from)
            }
            // The phase has changed: it begins anew, or is given up here.
            Next::Ask(_) => {
                command.and_then(|command| proxy.begin(command, wrong)).unwrap_or(Work::Nothing)
            }
            Next::Done(_) => {
                proxy.placed |= !stale;
                match command {
                    // In another phase it begins anew; if that is the fence, it is given up here.
                    Some(command) if stale => proxy.begin(command, wrong).unwrap_or(Work::Nothing),
                    Some(command) => Work::Sent(command, 1 - from),
                    None => Work::Nothing,
                }
            }
            Next::Wait | Next::Failed(_) | Next::Stuck => Work::Nothing,
        };
    }

    fn serve(
        &self,
        number: usize,
        (command, side): (Command, usize),
        worlds: &mut Vec<Self>,
    ) -> Result<(), Broken> {
        let mut world = self.clone();
        world.proxies[number].work = Work::Nothing;
        world.proxies[number].stale = false;
        if self.faults_left > 0 {
            let mut later = world.clone();
            later.faults_left -= 1;
            later.late(match command {
                Command::Count => Late::Count(side),
                Command::Delete => Late::Delete(side),
            });
            worlds.push(later);
        }
        world.execute(command, side)?;
        worlds.push(world);
        Ok(())
    }

    /// A command that its client gets the answer to.
    fn execute(&mut self, command: Command, side: usize) -> Result<(), Broken> {
        self.adopt(side)?;
        self.servers[side] = apply(command, self.servers[side]);
        self.truth = self.servers[side];
        Ok(())
    }

    /// Somebody sees the value of a side: it must be the true one, or what a late command has made
    /// of that.
    fn adopt(&mut self, side: usize) -> Result<(), Broken> {
        let made_of = self.made_of[side].take();
        if self.servers[side] == self.truth || made_of == Some(self.truth) {
            self.truth = self.servers[side];
            return Ok(());
        }
        Err(Broken)
    }

    fn come_late(&self, at: usize, wrong: Wrong, worlds: &mut Vec<Self>) -> Result<(), Broken> {
        let mut world = self.clone();
        match world.late.remove(at) {
            Late::Move(_, from) => drop(world.hand_over(from, wrong)),
            Late::Clear(_, from) => drop(world.clear(from)),
            Late::Count(side) => world.execute_late(Command::Count, side),
            Late::Delete(side) => world.execute_late(Command::Delete, side),
            Late::Restore(side, value) => {
                world.servers[side].get_or_insert(value);
            }
        }
        worlds.push(world);
        Ok(())
    }

    fn execute_late(&mut self, command: Command, side: usize) {
        let before = self.servers[side];
        let lone = self.servers[1 - side].is_none();
        self.servers[side] = apply(command, before);
        if before == self.truth && lone && before.is_some() {
            self.truth = self.servers[side];
        } else if self.servers[side] != before {
            self.made_of[side] = Some(before);
        }
    }
}

fn apply(command: Command, value: Value) -> Value {
    match command {
        Command::Count => Some(value.unwrap_or(0) + 1),
        Command::Delete => None,
    }
}
