//! Long seeded walks: two or three proxies go through the phases at random moments, there and back,
//! while clients do whatever they may and requests are lost, late or forgotten by restarted servers.
//! Some are stopped or cut off: the others go on without them, and they come in again later.
//!
//! What must hold at every step: a get returns no value that was dead when it began; no number is
//! counted to twice; nothing is appended twice.

use std::collections::BTreeSet;

use super::model::CONTEXT;
use super::server::Server;
use super::steps::operation;
use crate::routing::Phase;
use crate::service::expansion::machine::Machine;
use crate::service::expansion::step::{Context, Lost, Send, Side, Step, Wrong};
use crate::topology::GivenUp;

/// Steps of one walk.
const STEPS: usize = 900;
/// Operations at a time.
const CLIENTS: usize = 5;
/// For so many steps after the fence no CAS is taken, and clients keep one for fewer.
const QUARANTINE: usize = 60;
const TOKEN_LIFE: usize = 50;

/// An operation under way.
struct Running {
    proxy: usize,
    machine: Machine,
    /// Its request; `None` while it is parked.
    send: Option<Send>,
    /// The life of each server in which it last answered.
    heard: [u32; 2],
    /// Values that were dead, and those that were there, when it began.
    dead: BTreeSet<String>,
    done: BTreeSet<String>,
    what: What,
    era: usize,
    /// What a cas goes by.
    held: Option<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Get { token: bool },
    Set(String),
    Add(String),
    Cas(String),
    Incr,
    Append(String),
    Delete,
    Touch,
}

#[derive(Clone, Copy)]
struct Proxy {
    phase: Phase,
    /// How far the old server is given up.
    given_up: Option<GivenUp>,
    era: usize,
    passed: Option<usize>,
    /// Its permit has lapsed, so that its session may have ended and nobody waits for it.
    lapsed: bool,
}

/// What a client keeps of a gets.
#[derive(Clone, Debug)]
struct Token {
    cas: u64,
    value: String,
    read: usize,
    /// The lives of the servers: who is restarted counts anew, with or without a proxy.
    lives: [u32; 2],
}

pub(super) struct Walk {
    seed: u64,
    now: usize,
    servers: [Server; 2],
    /// The old server does not answer, and has all that it had when it does again.
    down: bool,
    /// How often each server was started.
    lives: [u32; 2],
    proxies: Vec<Proxy>,
    /// The phase that all proxies are to be in, and how far the old server is given up.
    wanted: (Phase, Option<GivenUp>, usize),
    running: Vec<Running>,
    late: Vec<Send>,
    dead: BTreeSet<String>,
    done: BTreeSet<String>,
    pub(super) counted: BTreeSet<u64>,
    token: Option<Token>,
    written: u64,
    counts: bool,
    pub(super) visited: BTreeSet<Phase>,
    pub(super) found: usize,
    flaw: Flaw,
    /// What should not have been.
    pub(super) bad: Option<String>,
}

/// What a walk is to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    None,
    /// Operations are done in a wrong way.
    Wrong(Wrong),
    /// Nothing waits at the fence.
    NoFence,
    /// Who is not waited for goes on nevertheless.
    NoPermit,
    /// An old server is passed over by some while others read it.
    SkipsAtOnce,
}

impl Running {
    /// Whether the value that a cas has read was dead before it began.
    fn overwrites_dead(&self, lives: [u32; 2]) -> bool {
        let held = self.held.as_ref().filter(|held| held.lives == lives);
        held.is_some_and(|held| self.dead.contains(&held.value))
    }
}

impl Walk {
    pub(super) fn new(seed: u64, flaw: Flaw) -> Self {
        let (phase, given_up) = (Phase::Stable, None);
        let proxy = Proxy { phase, given_up, era: 0, passed: None, lapsed: false };
        let mut walk = Self {
            seed: seed | 1,
            now: 0,
            servers: Default::default(),
            down: false,
            lives: [1; 2],
            proxies: Vec::new(),
            wanted: (Phase::Stable, None, 0),
            running: Vec::new(),
            late: Vec::new(),
            dead: BTreeSet::new(),
            done: BTreeSet::new(),
            counted: BTreeSet::new(),
            token: None,
            written: 0,
            counts: false,
            visited: BTreeSet::new(),
            found: 0,
            flaw,
            bad: None,
        };
        walk.proxies = vec![proxy; 2 + walk.below(2)];
        walk.counts = walk.below(2) == 0;
        walk
    }

    /// Any number below `most`: xorshift64 (Marsaglia 2003).
    fn below(&mut self, most: usize) -> usize {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 11) as usize % most
    }

    pub(super) fn go(&mut self) {
        for step in 0..STEPS {
            self.now = step;
            match self.below(100) {
                0..3 => self.lead(),
                3..9 => self.follow(),
                9 => self.lose_something(),
                10 => self.stop_or_go_on(),
                11..40 if self.running.len() < CLIENTS => self.start(),
                _ if !self.running.is_empty() => self.advance(),
                _ => self.start(),
            }
        }
    }

    fn context(&self, proxy: usize) -> Context {
        let passed = self.proxies[proxy].passed;
        let recent = passed.is_some_and(|at| self.now < at + QUARANTINE);
        let wrong = if let Flaw::Wrong(wrong) = self.flaw { wrong } else { CONTEXT.wrong };
        Context { quarantine: recent, wrong, ..CONTEXT }
    }

    /// The next phase for all, once all are in this one and have settled.
    fn lead(&mut self) {
        let (phase, given_up, era) = self.wanted;
        let here = self.proxies.iter().all(|proxy| proxy.era == era || proxy.lapsed);
        let awaited = |op: &Running| !self.proxies[op.proxy].lapsed;
        let settled = self.running.iter().filter(|op| awaited(op)).all(|op| op.era == era);
        let drains = ahead(phase, given_up) == Phase::Drain;
        let quiet = drains || phase == Phase::Prepare;
        let quarantined = quiet
            && (0..self.proxies.len())
                .any(|at| !self.proxies[at].lapsed && self.context(at).quarantine);
        if !here || !settled || quarantined {
            return;
        }
        let at = Phase::ALL.iter().position(|other| *other == phase).unwrap();
        let back = self.below(3) == 0 && phase != Phase::New && at > 1;
        if at + 1 == Phase::ALL.len() {
            return;
        }
        if drains {
            // Stubs have gone by then, and leases that are late would come to nothing.
            self.late.retain(|send| !send.bytes.windows(2).any(|two| two == b" N"));
            let server = &mut self.servers[1];
            if server.value().is_none() {
                server.item = None;
            }
        }
        self.wanted = match phase {
            Phase::Warm | Phase::Drain if self.below(2) == 0 => {
                (phase, self.give_up_or_take_back(given_up), era + 1)
            }
            // The old server would serve again.
            Phase::Warm if back && given_up.is_some() => return,
            _ => (Phase::ALL[if back { at - 1 } else { at + 1 }], given_up, era + 1),
        };
    }

    /// The next step of a server that is given up, there or back.
    fn give_up_or_take_back(&mut self, given_up: Option<GivenUp>) -> Option<GivenUp> {
        let back = self.below(2) == 0;
        match given_up {
            None if self.flaw == Flaw::SkipsAtOnce => Some(GivenUp::Skipped),
            None => {
                self.down = self.below(2) == 0;
                Some(GivenUp::Unread)
            }
            Some(GivenUp::Unread) if back => {
                self.down = false;
                None
            }
            Some(GivenUp::Skipped) if back => {
                self.down = false;
                self.servers[0] = Server::default();
                self.lives[0] += 1;
                Some(GivenUp::Unread)
            }
            Some(_) => Some(GivenUp::Skipped),
        }
    }

    /// One proxy takes the wanted phase over.
    fn follow(&mut self) {
        let at = self.below(self.proxies.len());
        let (phase, given_up, era) = self.wanted;
        let proxy = &mut self.proxies[at];
        if proxy.era == era || proxy.lapsed {
            return;
        }
        let fenced = proxy.phase == Phase::Fence && phase != Phase::Fence;
        let passed = if fenced { Some(self.now) } else { proxy.passed };
        *proxy = Proxy { phase, given_up, era, passed, lapsed: false };
        self.visited.insert(phase);
        let context = self.context(at);
        for mut op in std::mem::take(&mut self.running) {
            if op.proxy != at || op.send.is_some() {
                self.running.push(op);
                continue;
            }
            op.era = era;
            let step = op.machine.begin(ahead(phase, given_up), &context);
            self.settle(op, step);
        }
    }

    /// A proxy is stopped or cut off, until after its session has ended; or it is back, and takes the
    /// wanted phase over, whichever that is. In a phase at the ends it needs no permit.
    fn stop_or_go_on(&mut self) {
        let at = self.below(self.proxies.len());
        let Proxy { phase, lapsed, .. } = self.proxies[at];
        if !lapsed {
            self.proxies[at].lapsed = phase.is_between() && self.below(4) == 0;
            return;
        }
        let running = std::mem::take(&mut self.running).into_iter();
        let (its, others) = running.partition(|op: &Running| op.proxy == at);
        self.running = others;
        Vec::into_iter(its).for_each(|op| self.rest(op));
        let (phase, given_up, era) = self.wanted;
        let passed = Some(self.now);
        self.proxies[at] = Proxy { phase, given_up, era, passed, lapsed: false };
        self.visited.insert(phase);
    }

    /// An operation ends without having come to anything: what is on its way may arrive still.
    fn rest(&mut self, op: Running) {
        let arrives = self.below(2) == 0;
        self.late.extend(op.send.filter(|send| arrives && !send.bound));
    }

    fn may_act(&self, proxy: usize) -> bool {
        !self.proxies[proxy].lapsed || self.flaw == Flaw::NoPermit
    }

    /// A value, a server's memory or a stub goes.
    fn lose_something(&mut self) {
        let at = self.below(2);
        if self.below(3) == 0 {
            self.servers[at] = Server::default();
            self.lives[at] += 1;
        } else {
            self.servers[at].item = None;
        }
    }

    fn start(&mut self) {
        self.written += 1;
        let value = format!("{}", self.written * 1000);
        let what = match self.below(12) {
            0..4 => What::Get { token: false },
            4 => What::Get { token: true },
            5 | 6 => What::Set(value),
            7 => What::Add(value),
            8 if self.below(2) == 0 => What::Delete,
            8 => What::Touch,
            9 => What::Cas(value),
            _ if self.counts => What::Incr,
            _ => What::Append(format!("t{}.", self.written)),
        };
        let block = |value: &str| format!("0 0 {}\r\n{value}\r\n", value.len());
        let mut held = None;
        let request = match &what {
            What::Get { token: false } => "get k\r\n".to_owned(),
            What::Get { token: true } => "gets k\r\n".to_owned(),
            What::Set(value) => format!("set k {}", block(value)),
            What::Add(value) => format!("add k {}", block(value)),
            What::Append(tag) => format!("append k {}", block(tag)),
            What::Incr => "incr k 1\r\n".to_owned(),
            What::Delete => "delete k\r\n".to_owned(),
            What::Touch => "touch k 60\r\n".to_owned(),
            What::Cas(value) => {
                let (now, lives) = (self.now, self.lives);
                let fresh = |it: &Token| now < it.read + TOKEN_LIFE && it.lives == lives;
                let Some(token) = self.token.take().filter(fresh) else { return };
                let cas = token.cas;
                held = Some(token);
                format!("cas k 0 0 {} {cas}\r\n{value}\r\n", value.len())
            }
        };
        let proxy = self.below(self.proxies.len());
        if !self.may_act(proxy) {
            return;
        }
        let (context, Proxy { phase, given_up, era, .. }) =
            (self.context(proxy), self.proxies[proxy]);
        let mut phase = ahead(phase, given_up);
        if phase == Phase::Fence && self.flaw == Flaw::NoFence {
            phase = Phase::Prepare;
        }
        let (machine, step) = Machine::start(operation(&request), phase, &context);
        let (dead, done) = (self.dead.clone(), self.done.clone());
        let op = Running { proxy, machine, send: None, heard: [0; 2], dead, done, what, era, held };
        self.settle(op, step);
    }

    fn advance(&mut self) {
        if !self.late.is_empty() && self.below(10) == 0 {
            let at = self.below(self.late.len());
            let send = self.late.swap_remove(at);
            // With a server that is down goes what has been sent to it.
            if !(self.down && send.side == Side::Old) {
                self.execute(&send);
            }
            return;
        }
        let at = self.below(self.running.len());
        let mut op = self.running.swap_remove(at);
        if !self.may_act(op.proxy) {
            return self.rest(op);
        }
        let context = self.context(op.proxy);
        let Some(send) = op.send.take() else {
            // The fence stands too long.
            let step = if self.below(8) == 0 {
                op.machine.failed(Lost::Unsent, "waited", &context)
            } else {
                Step::Park
            };
            return self.settle(op, step);
        };
        let side = usize::from(send.side == Side::New);
        let restarted = send.bound && op.heard[side] != self.lives[side];
        let step = match self.below(40) {
            _ if restarted => op.machine.failed(Lost::Unsent, "restarted", &context),
            0..20 if self.down && send.side == Side::Old => {
                op.machine.failed(Lost::Unsent, "down", &context)
            }
            _ if self.down && send.side == Side::Old => {
                op.machine.failed(Lost::Unknown, "down", &context)
            }
            0 => op.machine.failed(Lost::Unsent, "refused", &context),
            1 => {
                self.execute(&send);
                op.machine.failed(Lost::Unknown, "lost", &context)
            }
            2 => {
                // What is bound does not outlive its connection.
                if !send.bound {
                    self.late.push(send);
                }
                op.machine.failed(Lost::Unknown, "late", &context)
            }
            _ => {
                let reply = self.execute(&send);
                op.heard[side] = self.lives[side];
                op.machine.reply(&reply, &context)
            }
        };
        self.settle(op, step);
    }

    fn execute(&mut self, send: &Send) -> Vec<u8> {
        self.servers[usize::from(send.side == Side::New)].execute(&send.bytes)
    }

    fn settle(&mut self, mut op: Running, step: Step) {
        match step {
            Step::Send(send) => op.send = Some(send),
            Step::Park => op.send = None,
            Step::Answer(answer) => return self.complete(op, &answer),
        }
        self.running.push(op);
    }

    fn complete(&mut self, op: Running, answer: &[u8]) {
        let text = String::from_utf8(answer.to_vec()).unwrap();
        let stored = text == "STORED\r\n";
        match &op.what {
            What::Get { token } => return self.read(&op, &text, *token),
            What::Cas(_) if stored && op.overwrites_dead(self.lives) => {
                self.bad
                    .get_or_insert_with(|| "a cas has replaced what it had not read".to_owned());
            }
            What::Set(value) | What::Add(value) | What::Cas(value) if stored => {
                self.done.insert(value.clone());
            }
            What::Append(_) if stored => {}
            What::Delete if !text.starts_with("SERVER_ERROR") => {}
            What::Incr if text.starts_with(|first: char| first.is_ascii_digit()) => {
                let number: u64 = text.trim().parse().unwrap();
                if !self.counted.insert(number) {
                    self.bad.get_or_insert_with(|| format!("{number} twice"));
                }
                self.done.insert(number.to_string());
            }
            _ => return,
        }
        self.dead.extend(op.done);
    }

    fn read(&mut self, op: &Running, text: &str, token: bool) {
        let mut lines = text.split("\r\n");
        let head = lines.next().unwrap();
        if !head.starts_with("VALUE") {
            return;
        }
        let value = lines.next().unwrap().to_owned();
        if op.dead.contains(&value) {
            self.bad.get_or_insert_with(|| format!("{value} was dead"));
        }
        let tags: Vec<&str> = value.split('t').skip(1).collect();
        if tags.iter().collect::<BTreeSet<_>>().len() < tags.len() {
            self.bad.get_or_insert_with(|| format!("{value} holds a tag twice"));
        }
        if token {
            let cas = head.rsplit(' ').next().unwrap().parse().unwrap();
            let (read, lives, value) = (self.now, self.lives, value.clone());
            self.token = Some(Token { cas, value, read, lives });
        }
        self.done.insert(value);
        self.found += 1;
    }
}

/// The phase of the key.
fn ahead(phase: Phase, given_up: Option<GivenUp>) -> Phase {
    given_up.map_or(phase, |it| it.phase(phase))
}
