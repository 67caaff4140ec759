//! The same of a pool whose data is a cache: every order in which two proxies can serve one key while
//! they walk, carry its value themselves and look through the servers, with answers that are lost,
//! commands that are executed late, tokens that run out, and processes that are started anew.
//!
//! A read may find nothing at any time. What it finds must not be dead: a value is when a command that
//! was acknowledged has written over it or deleted it, or a later one has been read. A command whose
//! client was told of an error may be executed at any later time, and its value counts from when it is
//! read.

use crate::routing::Phase;
use crate::service::moving::carry::{Carry, Token};
use crate::service::moving::way::{Ask, Next, Way};

mod search;
mod wrong;

use wrong::{RIGHT, Setting, Wrong};

const OLD: usize = 0;
const NEW: usize = 1;

/// A value, by its number. `None`: there is no key.
type Value = Option<u8>;

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Command {
    Get,
    Set,
    Delete,
}

/// What a proxy has under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Work {
    Nothing,
    /// Its key comes from this side first; without a command it is the sweeper's.
    Asking(Option<Command>, Way, usize),
    /// It is sent to this side.
    Sent(Command, usize),
}

/// A token as a server has it: the way's number.
type Mark = u8;

/// That of a way that has not asked for one yet.
const UNASKED: u64 = 100;

/// What a server was told and has not done, of which nobody waits for the answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Late {
    Token(usize, Mark),
    Take(usize),
    Put(usize, Mark, Value),
    Set(usize),
    Delete(usize),
}

impl Late {
    fn mark(&self) -> Option<Mark> {
        match *self {
            Self::Token(_, mark) | Self::Put(_, mark, _) => Some(mark),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    tokens: [Option<Mark>; 2],
    /// Values that must not be read, and those that were the latest; by bits.
    dead: u8,
    known: u8,
    next_value: u8,
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

    /// What nobody waits for any more is not waited for: a connection may have broken.
    fn is_settled(&self, wrong: Wrong) -> bool {
        let ends_empty = self.heading(wrong).is_some() && self.phase != Phase::Warm;
        !self.stale && (!ends_empty || self.swept || wrong.no_sweep)
    }
}

/// A command saw a dead value.
#[derive(Debug)]
struct Broken;

impl World {
    fn begin(setting: Setting) -> Self {
        let proxy = Proxy {
            phase: setting.from,
            work: Work::Nothing,
            stale: false,
            new_is_empty: matches!(setting.from, Phase::Stable | Phase::Prepare),
            placed: false,
            swept: false,
        };
        Self {
            servers: [Some(0), None],
            tokens: [None, None],
            dead: 0,
            known: 1,
            next_value: 1,
            proxies: [proxy.clone(), proxy],
            late: Vec::new(),
            commands_left: setting.commands,
            faults_left: setting.faults,
            walks_left: setting.walks,
        }
    }

    /// All that can happen next.
    fn next(&self, setting: Setting) -> Result<Vec<Self>, Broken> {
        let wrong = setting.wrong;
        let mut worlds = Vec::new();
        for number in 0..2 {
            self.walk(number, setting, &mut worlds);
            match &self.proxies[number].work {
                Work::Nothing => self.start(number, wrong, &mut worlds),
                Work::Asking(_, way, from) => {
                    let side = if way.asking().side() == 0 { *from } else { 1 - from };
                    self.ask(number, (side, *from), wrong, &mut worlds);
                }
                Work::Sent(command, side) => self.serve(number, (*command, *side), &mut worlds)?,
            }
        }
        for side in [OLD, NEW] {
            // It has run out.
            if self.tokens[side].is_some() {
                let mut world = self.clone();
                world.tokens[side] = None;
                worlds.push(world);
            }
        }
        for at in 0..self.late.len() {
            worlds.push(self.come_late(at, wrong));
        }
        Ok(worlds.into_iter().map(Self::tidy).collect())
    }

    fn walk(&self, number: usize, setting: Setting, worlds: &mut Vec<Self>) {
        let (phase, wrong) = (self.proxies[number].phase, setting.wrong);
        let back = phase.previous().filter(|_| setting.back);
        for to in [phase.next(), back].into_iter().flatten() {
            let here = |proxy: &Proxy| proxy.phase == phase || proxy.phase == to;
            let settled = self.proxies.iter().all(|it| it.is_settled(wrong));
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

    /// Tokens that somebody may still put a value down with.
    fn marks(&self) -> impl Iterator<Item = Mark> {
        let works = self.proxies.iter().filter_map(|proxy| match &proxy.work {
            Work::Asking(_, Way::Carried(carry), _) => Some(mark(carry)),
            _ => None,
        });
        works.chain(self.late.iter().filter_map(Late::mark))
    }

    /// Forgets what makes no difference any more: tokens that nobody has only keep others waiting, and
    /// values that are nowhere are nothing.
    fn tidy(mut self) -> Self {
        let marks: Vec<Mark> = self.marks().collect();
        for token in &mut self.tokens {
            *token = token.filter(|mark| marks.contains(mark));
        }
        let mut there: u8 = self.servers.iter().flatten().map(|value| 1 << value).sum();
        for proxy in &self.proxies {
            if let Work::Asking(_, Way::Carried(carry), _) = &proxy.work {
                there |= carry.load().map_or(0, |load| 1 << load.value[0]);
            }
        }
        for late in &self.late {
            if let Late::Put(.., Some(value)) = late {
                there |= 1 << value;
            }
        }
        self.dead &= there;
        self.known &= there;
        self
    }

    /// A way that asks for a token that nobody has.
    fn way_with_token(&self, number: usize, wrong: Wrong) -> Way {
        let used: Vec<Mark> = self.marks().chain(self.tokens.into_iter().flatten()).collect();
        let free = (0..).find(|serial: &Mark| !used.contains(serial)).unwrap_or_default();
        let serial = if wrong.one_token { number as u64 } else { free.into() };
        Way::new(Some(Token { owner: 0, serial }))
    }

    /// A command's way begins, if it need not wait.
    fn begin_command(&mut self, number: usize, command: Command, wrong: Wrong) -> bool {
        let proxy = &self.proxies[number];
        if proxy.phase == Phase::Fence && !wrong.no_fence {
            return false;
        }
        let known = proxy.placed || wrong.new_first;
        let work = match proxy.heading(wrong).filter(|_| !known) {
            Some(from) => Work::Asking(Some(command), unasked(), from),
            None => Work::Sent(command, proxy.side()),
        };
        self.proxies[number].work = work;
        true
    }

    /// A command, a sweep, or the process anew.
    fn start(&self, number: usize, wrong: Wrong, worlds: &mut Vec<Self>) {
        let proxy = &self.proxies[number];
        for command in [Command::Get, Command::Set, Command::Delete] {
            let mut world = self.clone();
            if self.commands_left > 0 && world.begin_command(number, command, wrong) {
                world.commands_left -= 1;
                worlds.push(world);
            }
        }
        if let Some(from) = proxy.heading(wrong) {
            let mut world = self.clone();
            match self.servers[from] {
                Some(_) => {
                    world.proxies[number].work = Work::Asking(None, unasked(), from);
                }
                // Another scan begins when the tokens of before have run out, at either side.
                None => {
                    world.proxies[number].swept = true;
                    if !wrong.hasty {
                        world.tokens = [None, None];
                    }
                }
            }
            worlds.push(world);
        }
        let anew = Proxy {
            new_is_empty: proxy.phase == Phase::Stable,
            placed: false,
            swept: false,
            ..proxy.clone()
        };
        if anew != *proxy {
            let mut world = self.clone();
            world.proxies[number] = anew;
            worlds.push(world);
        }
    }

    fn ask(
        &self,
        number: usize,
        (side, from): (usize, usize),
        wrong: Wrong,
        worlds: &mut Vec<Self>,
    ) {
        let mut done = self.clone();
        if let Work::Asking(_, way, _) = &mut done.proxies[number].work
            && way.asking() == Ask::Token
        {
            *way = self.way_with_token(number, wrong);
        }
        let question = done.question(number, side);
        let reply = done.obey(&question, wrong);
        done.answered(number, from, &reply, wrong);
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
        silent.obey(&question, wrong);
        worlds.push(silent);
        unheard.late(question);
        worlds.push(unheard);
    }

    fn late(&mut self, late: Late) {
        self.late.push(late);
        self.late.sort_unstable();
    }

    /// What a proxy asks a side.
    fn question(&self, number: usize, side: usize) -> Late {
        let Work::Asking(_, Way::Carried(carry), _) = &self.proxies[number].work else {
            unreachable!("nothing is asked")
        };
        match carry.asking() {
            Ask::Token => Late::Token(side, mark(carry)),
            Ask::Put => {
                let value = carry.load().map(|load| load.value[0]);
                Late::Put(side, mark(carry), value)
            }
            _ => Late::Take(side),
        }
    }

    /// A server does what it was told about the key.
    fn obey(&mut self, question: &Late, wrong: Wrong) -> Vec<u8> {
        match question {
            Late::Token(side, mark) => {
                let free = self.tokens[*side].is_none() || wrong.no_token;
                if free {
                    self.tokens[*side] = Some(*mark);
                }
                if free { b"+OK\r\n".to_vec() } else { b"$-1\r\n".to_vec() }
            }
            Late::Take(side) => {
                if !wrong.keep_tokens {
                    self.tokens[*side] = None;
                }
                let value =
                    if wrong.copy { self.servers[*side] } else { self.servers[*side].take() };
                value.map_or_else(
                    || b":0\r\n".to_vec(),
                    |value| [b"*2\r\n$1\r\n", &[value][..], b"\r\n:-1\r\n"].concat(),
                )
            }
            Late::Put(side, mark, value) => {
                let ours = self.tokens[*side] == Some(*mark);
                let looks = value.is_some() || !wrong.no_look;
                if !ours && looks && !wrong.no_token {
                    return b":0\r\n".to_vec();
                }
                if ours {
                    self.tokens[*side] = None;
                }
                let Some(value) = value else { return b":1\r\n".to_vec() };
                if self.servers[*side].is_some() {
                    return b":2\r\n".to_vec();
                }
                self.servers[*side] = Some(*value);
                b":1\r\n".to_vec()
            }
            Late::Set(_) | Late::Delete(_) => Vec::new(),
        }
    }

    fn answered(&mut self, number: usize, from: usize, reply: &[u8], wrong: Wrong) {
        let proxy = &mut self.proxies[number];
        let work = std::mem::replace(&mut proxy.work, Work::Nothing);
        let Work::Asking(command, mut way, _) = work else { return };
        let next = way.replied(reply);
        let stale = std::mem::take(&mut proxy.stale);
        // In another phase it begins anew; if that is the fence, it is given up here.
        match (next, command) {
            (Next::Ask(Ask::Token) | Next::Wait, _) if !stale => {
                proxy.work = Work::Asking(command, unasked(), from);
            }
            (Next::Ask(_), _) if !stale => {
                proxy.work = Work::Asking(command, way, from);
            }
            (Next::Ask(_) | Next::Wait, Some(command)) => {
                self.begin_command(number, command, wrong);
            }
            (Next::Done(_), command) => {
                proxy.placed |= !stale;
                match command {
                    Some(command) if stale => drop(self.begin_command(number, command, wrong)),
                    Some(command) => proxy.work = Work::Sent(command, 1 - from),
                    None => {}
                }
            }
            _ => {}
        }
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
        if self.faults_left > 0 && command != Command::Get {
            let mut later = world.clone();
            later.faults_left -= 1;
            let set = command == Command::Set;
            later.late(if set { Late::Set(side) } else { Late::Delete(side) });
            worlds.push(later);
        }
        match command {
            Command::Get => world.look(side)?,
            Command::Set => {
                world.dead |= world.known;
                world.known = world.set(side);
            }
            Command::Delete => {
                world.dead |= world.known;
                world.known = 0;
                // Nobody has read it: it is gone for good all the same.
                world.dead |= world.servers[side].take().map_or(0, |value| 1 << value);
            }
        }
        worlds.push(world);
        Ok(())
    }

    /// Writes a value that there has not been; which, as a bit.
    fn set(&mut self, side: usize) -> u8 {
        let value = self.next_value;
        self.next_value += 1;
        self.servers[side] = Some(value);
        1 << value
    }

    /// Somebody reads the value of a side.
    fn look(&mut self, side: usize) -> Result<(), Broken> {
        let Some(value) = self.servers[side] else { return Ok(()) };
        let bit = 1 << value;
        if self.dead & bit != 0 {
            return Err(Broken);
        }
        self.dead |= self.known & !bit;
        self.known = bit;
        Ok(())
    }

    fn come_late(&self, at: usize, wrong: Wrong) -> Self {
        let mut world = self.clone();
        match world.late.remove(at) {
            Late::Set(side) => drop(world.set(side)),
            Late::Delete(side) => world.servers[side] = None,
            question => drop(world.obey(&question, wrong)),
        }
        world
    }
}

/// A way that begins.
fn unasked() -> Way {
    Way::new(Some(Token { owner: 0, serial: UNASKED }))
}

/// The number of a way's token.
fn mark(carry: &Carry) -> Mark {
    let token = String::from_utf8_lossy(&carry.token()).into_owned();
    token.split('-').nth(1).and_then(|serial| serial.parse().ok()).unwrap_or_default()
}
