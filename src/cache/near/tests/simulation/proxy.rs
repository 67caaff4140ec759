//! A proxy: its near cache, its workers with a connection each, and what they wait for.

use std::collections::{BTreeMap, VecDeque};

use super::plan::{Mistake, Plan};
use super::wire::{Change, Left, Seen};
use crate::cache::Clock;
use crate::cache::near::{Lease, Name, Near, Time, Token};

/// Clients of each worker.
pub(super) const SESSIONS: usize = 2;

#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) near: Near,
    pub(super) workers: Vec<Worker>,
    /// Reads that are to be kept, by number.
    pub(super) fills: BTreeMap<u32, Filling>,
    /// Questions whether a value is still the same, by number.
    pub(super) renewals: BTreeMap<u32, Renewal>,
    pub(super) last_renewal: u32,
    /// Writes that may still land, by number.
    pub(super) writes: BTreeMap<u64, Writing>,
    pub(super) last_write: u64,
    /// Writes that were given up, and when each is taken for ended.
    pub(super) ends: VecDeque<(u64, Change, Begun)>,
    /// The version of each key that a client has been told it wrote.
    pub(super) floors: Vec<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Worker {
    pub(super) connection: Option<Connection>,
    pub(super) stopped_until: u64,
    pub(super) dial_at: u64,
    /// Only for the mistake of keeping it.
    pub(super) last_lease: Option<Lease>,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) wire: u32,
    pub(super) lease: Lease,
    /// The handshake is answered.
    pub(super) is_ready: bool,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) ping_at: u64,
    /// When the last request was sent that has been answered.
    pub(super) heard: u64,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) sent: u64,
    pub(super) what: Asked,
    pub(super) given_up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Hello,
    Ping,
    /// Not to be kept.
    Read,
    Fill(u32),
    Left(u32),
    Renewal(u32),
    Write(u64),
}

#[derive(Debug)]
pub(super) struct Filling {
    pub(super) worker: usize,
    pub(super) keys: Vec<usize>,
    pub(super) tokens: Vec<Token>,
    pub(super) seen: Vec<Seen>,
    pub(super) left: Vec<Left>,
    /// Others may wait for it; those that do, and what they must see at least.
    pub(super) is_open: bool,
    pub(super) joined: Vec<(usize, u64)>,
}

#[derive(Debug)]
pub(super) struct Renewal {
    pub(super) worker: usize,
    pub(super) wire: u32,
    pub(super) key: usize,
    pub(super) cas: u64,
    pub(super) token: Token,
}

#[derive(Debug)]
pub(super) struct Writing {
    pub(super) session: (usize, usize),
    pub(super) change: Change,
    pub(super) begun: Begun,
    pub(super) given_up: Option<u64>,
    /// The oldest version that its client was shown after sending it, and of which key.
    pub(super) overtaken: Option<(u64, usize)>,
}

/// What marks a write that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) enum Begun {
    Slot(u32),
    Flush,
    Unmarked,
}

pub(super) fn name(key: usize) -> [u8; 6] {
    [b'k', b'e', b'y', b'0' + (key / 10) as u8, b'0' + (key % 10) as u8, b'.']
}

/// A key; the last byte of its name is that of the part that is asked for, where there are parts.
pub(super) fn owner<'n>(near: &Near, name: &'n [u8; 6]) -> Name<'n> {
    near.key(&name[..5]).unwrap()
}

/// What a key's value is filed under: every other one is a part of its key, where there are parts.
pub(super) fn filed<'n>(near: &Near, plan: &Plan, (key, name): (usize, &'n [u8; 6])) -> Name<'n> {
    if !plan.is_part(key) {
        return owner(near, name);
    }
    let elsewhere = plan.has(Mistake::PartElsewhere);
    near.part(owner(near, if elsewhere { b"other." } else { name }), name).unwrap()
}

impl Proxy {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            near: Near::new(plan.settings(), Clock::start()),
            workers: (0..plan.workers).map(|_| Worker::default()).collect(),
            fills: BTreeMap::new(),
            renewals: BTreeMap::new(),
            last_renewal: 0,
            writes: BTreeMap::new(),
            last_write: 0,
            ends: VecDeque::new(),
            floors: vec![0; plan.keys],
        }
    }

    /// The connection of a worker that works.
    pub(super) fn ready(&mut self, worker: usize, now: u64) -> Option<&mut Connection> {
        let worker = &mut self.workers[worker];
        let works = worker.stopped_until <= now;
        worker.connection.as_mut().filter(|connection| works && connection.is_ready)
    }

    pub(super) fn forget(&self, key: usize, now: Time) {
        let name = name(key);
        self.near.forget(owner(&self.near, &name), now);
    }

    fn forget_all(&self, change: Change, now: Time) {
        match change.key() {
            Some(key) => self.forget(key, now),
            None => self.near.flush(),
        }
    }

    /// A write is about to be sent.
    pub(super) fn begin(&self, change: Change, plan: &Plan, now: Time) -> Begun {
        if plan.has(Mistake::AtReplyOnly) {
            return Begun::Unmarked;
        }
        if plan.has(Mistake::AtSendOnly) || plan.has(Mistake::NoBypass) {
            self.forget_all(change, now);
            return Begun::Unmarked;
        }
        let Some(key) = change.key() else {
            self.near.begin_flush();
            return Begun::Flush;
        };
        let name = name(key);
        Begun::Slot(self.near.begin_write(owner(&self.near, &name), now))
    }

    /// A write is answered, or can no longer land.
    pub(super) fn end(&mut self, (change, begun): (Change, Begun), plan: &Plan, now: Time) {
        match begun {
            Begun::Slot(slot) => self.near.end_write(slot),
            Begun::Flush => self.near.end_flush(),
            Begun::Unmarked if plan.has(Mistake::AtSendOnly) => {}
            Begun::Unmarked => {
                self.forget_all(change, now);
                if plan.has(Mistake::AtReplyOnly) {
                    self.renew_tokens(plan);
                }
            }
        }
    }

    /// As if nothing had happened to what is on its way.
    fn renew_tokens(&mut self, plan: &Plan) {
        for fill in self.fills.values_mut() {
            for (key, token) in fill.keys.iter().zip(&mut fill.tokens) {
                let (name, origin) = (name(*key), token.origin);
                let key = filed(&self.near, plan, (*key, &name));
                *token = self.near.token(key, origin.lease, origin.sent).unwrap_or(*token);
            }
        }
    }
}
