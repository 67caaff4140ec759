//! Reads of clients: served here, joined, or sent to the server, and its answers.

use super::plan::{LEASE, MAX_AGE, Mistake};
use super::promises::{Served, Told};
use super::proxy::{Asked, Filling, Renewal, filed, name, owner};
use super::server::{Manner, TICK};
use super::wire::{Command, Down, Left, Seen};
use super::world::World;
use crate::cache::near::{Entry, Fill, Kind, Look, Settled, Time, Token};

/// What values consist of, behind what tells them apart.
static BYTES: [u8; 1 << 16] = [b'v'; 1 << 16];

/// In front of each value: its key and version.
const HEAD: usize = 16;

impl World {
    fn look(&mut self, proxy: usize, key: usize) -> Look<Served> {
        let (name, now) = (name(key), self.time());
        let declines = self.random.percent(1);
        let near = &self.proxies[proxy].near;
        let told = &self.told;
        let len = HEAD + self.plan.len;
        let show = |entry: &Entry<'_>| {
            let head = entry.value.first_chunk::<HEAD>();
            let is_whole = match head {
                Some(head) => {
                    let version = told[entry.flags as usize].version;
                    *head == head_of(key, version) && entry.value.len() == len
                }
                None => entry.kind == Kind::Absent,
            };
            let served = Served { key, cas: entry.cas, fill: entry.flags, is_whole };
            (!declines).then_some(served)
        };
        // That there is nothing is known of the whole key.
        match near.look(owner(near, &name), now, show) {
            Look::Miss if self.plan.is_part(key) => {
                near.look(filed(near, &self.plan, (key, &name)), now, show)
            }
            looked => looked,
        }
    }

    /// A client reads a key.
    pub(super) fn read(&mut self, proxy: usize, session: (usize, usize), key: usize) {
        let worker = session.0;
        if self.random.percent(5) {
            // Of a kind that is never served from here.
            return self.read_past(proxy, worker, vec![key]);
        }
        let place = Some((proxy, worker));
        match self.look(proxy, key) {
            Look::Hit(served) => return self.serve(proxy, session, served),
            Look::Miss => {}
            Look::Lapsed => self.log.note("lapsed", place, key, 0),
            Look::Busy => {
                self.log.note("busy", place, key, 0);
                return self.read_past(proxy, worker, vec![key]);
            }
            Look::Unfit => return self.read_past(proxy, worker, vec![key]),
        }
        if self.joins(proxy, worker, key) {
            return;
        }
        match self.token(proxy, worker, key) {
            Some(token) => self.fill(proxy, worker, (vec![key], vec![token])),
            None => self.read_past(proxy, worker, vec![key]),
        }
    }

    /// A client reads two keys at once: both are served, or those that are not are asked for.
    pub(super) fn read_both(&mut self, proxy: usize, session: (usize, usize), keys: [usize; 2]) {
        let (mut missing, mut tokens) = (Vec::new(), Vec::new());
        let mut past = Vec::new();
        for (nth, key) in keys.into_iter().enumerate() {
            if nth == 1 && key == keys[0] {
                continue;
            }
            match self.look(proxy, key) {
                Look::Hit(served) => self.serve(proxy, session, served),
                Look::Busy | Look::Unfit => past.push(key),
                Look::Miss | Look::Lapsed => match self.token(proxy, session.0, key) {
                    Some(token) => {
                        missing.push(key);
                        tokens.push(token);
                    }
                    None => past.push(key),
                },
            }
        }
        if missing.len() == 2 {
            self.log.note("two asked for at once", Some((proxy, session.0)), missing[1], 0);
        }
        if !missing.is_empty() {
            self.fill(proxy, session.0, (missing, tokens));
        }
        if !past.is_empty() {
            self.read_past(proxy, session.0, past);
        }
    }

    fn read_past(&mut self, proxy: usize, worker: usize, keys: Vec<usize>) {
        self.ask(proxy, worker, Asked::Read, Command::Get { keys, tracked: false });
    }

    fn token(&mut self, proxy: usize, worker: usize, key: usize) -> Option<Token> {
        let (name, now) = (name(key), self.time());
        let proxy = &self.proxies[proxy];
        let lease = proxy.workers[worker].connection.as_ref()?.lease;
        let key = filed(&proxy.near, &self.plan, (key, &name));
        proxy
            .near
            .admits(key, proxy.near.count(key, 1), now)
            .then(|| proxy.near.token(key, lease, now))?
    }

    /// Waits for a read of the same key that its worker has sent already, if it may.
    fn joins(&mut self, proxy: usize, worker: usize, key: usize) -> bool {
        let all = self.plan.has(Mistake::JoinsAll);
        let it = &mut self.proxies[proxy];
        for fill in it.fills.values_mut().filter(|fill| fill.is_open && fill.worker == worker) {
            let Some(nth) = fill.keys.iter().position(|&asked| asked == key) else { continue };
            let room = fill.joined.len() < it.near.settings().joiners as usize;
            if room && (all || it.near.holds(&fill.tokens[nth])) {
                fill.joined.push((key, it.floors[key]));
                self.log.note("joined", Some((proxy, worker)), key, 0);
                return true;
            }
        }
        false
    }

    fn fill(&mut self, proxy: usize, worker: usize, (keys, tokens): (Vec<usize>, Vec<Token>)) {
        let number = self.told.len() as u32;
        let place = Some((proxy, worker));
        keys.iter().for_each(|&key| self.log.note("asked for", place, key, 0));
        let connection = self.proxies[proxy].workers[worker].connection.as_ref().unwrap();
        let told = Told { version: 0, sent: self.now, worker, wire: connection.wire };
        self.told.extend(keys.iter().map(|_| told));
        let tracked = self.plan.manner == Manner::Redis;
        let get = Command::Get { keys: keys.clone(), tracked };
        self.ask(proxy, worker, Asked::Fill(number), get);
        if tracked {
            for &key in &keys {
                self.ask(proxy, worker, Asked::Left(number), Command::Left { key });
            }
        }
        let (seen, left, joined) = Default::default();
        let filling = Filling { worker, keys, tokens, seen, left, is_open: true, joined };
        self.proxies[proxy].fills.insert(number, filling);
    }

    /// Something comes from the server.
    pub(super) fn receive(&mut self, proxy: usize, worker: usize, down: Down) {
        let place = Some((proxy, worker));
        match down {
            Down::Push(key) => {
                self.log.note("pushed", place, key, 0);
                self.proxies[proxy].forget(key, self.time());
            }
            Down::PushAll => {
                self.log.note_all("pushed all", place, 0);
                if !self.plan.has(Mistake::PushAllIgnored) {
                    self.proxies[proxy].near.flush();
                }
            }
            Down::End => self.lose(proxy, worker),
            answer => self.answered(proxy, worker, answer),
        }
    }

    fn answered(&mut self, proxy: usize, worker: usize, answer: Down) {
        let now = self.now;
        let connection = self.proxies[proxy].workers[worker].connection.as_mut().unwrap();
        let asked = connection.waiting.pop_front().unwrap();
        connection.heard = connection.heard.max(asked.sent);
        match (asked.what, answer) {
            (Asked::Hello, Down::Hello) => connection.is_ready = true,
            (Asked::Ping, Down::Pong) => {
                let late = self.plan.has(Mistake::LeaseFromAnswer);
                let from = if late { now } else { asked.sent };
                let until = Time::from_millis(from + LEASE);
                let lease = connection.lease;
                self.proxies[proxy].near.extend(lease, until);
                self.log.note_all("heard of", Some((proxy, worker)), asked.sent);
            }
            (Asked::Read, Down::Values(_)) => {}
            (Asked::Renewal(number), Down::Values(seen)) => self.renew(proxy, number, seen[0]),
            (Asked::Fill(number), Down::Values(seen)) => self.filled(proxy, number, seen),
            (Asked::Left(number), Down::Left(left)) => {
                let fill = self.proxies[proxy].fills.get_mut(&number).unwrap();
                fill.left.push(left);
                if fill.left.len() == fill.keys.len() {
                    self.settle(proxy, number);
                }
            }
            (Asked::Write(number), Down::Wrote(version)) => self.wrote(proxy, number, version),
            (what, answer) => panic!("{what:?} is answered by {answer:?}"),
        }
    }

    fn filled(&mut self, proxy: usize, number: u32, seen: Vec<Seen>) {
        let fill = self.proxies[proxy].fills.get_mut(&number).unwrap();
        fill.is_open = false;
        let joined = std::mem::take(&mut fill.joined);
        let keys = fill.keys.clone();
        if self.plan.manner == Manner::Memcached {
            fill.left = seen.iter().map(|seen| seen.left).collect();
        }
        fill.seen.clone_from(&seen);
        for (key, floor) in joined {
            let nth = keys.iter().position(|&asked| asked == key).unwrap();
            self.serve_joined(proxy, (key, seen[nth].version), floor);
        }
        if self.plan.manner == Manner::Memcached {
            self.settle(proxy, number);
        }
    }

    /// All that a fill has brought is there.
    fn settle(&mut self, proxy: usize, number: u32) {
        let Some(fill) = self.proxies[proxy].fills.remove(&number) else { return };
        for nth in 0..fill.keys.len() {
            self.settle_one(proxy, number, (&fill, nth));
        }
    }

    fn settle_one(&mut self, proxy: usize, number: u32, (fill, nth): (&Filling, usize)) {
        let (key, seen, now) = (fill.keys[nth], fill.seen[nth], self.time());
        let (name, head) = (name(key), head_of(key, seen.version));
        let whole = if self.plan.is_part(key) { Kind::Fields } else { Kind::Plain };
        let (kind, value) = if seen.present {
            (whole, vec![&head[..], &BYTES[..self.plan.len]])
        } else {
            (Kind::Absent, Vec::new())
        };
        self.told[number as usize + nth].version = seen.version;
        let near = &self.proxies[proxy].near;
        let near_key = match kind {
            Kind::Absent => owner(near, &name),
            _ => filed(near, &self.plan, (key, &name)),
        };
        let mut token = fill.tokens[nth];
        if self.plan.has(Mistake::NoToken) {
            let origin = token.origin;
            token = near.token(near_key, origin.lease, origin.sent).unwrap_or(token);
        }
        if self.plan.has(Mistake::FromReply) {
            token.origin.sent = now;
        }
        let brought = Fill {
            kind,
            value: &value,
            flags: number + nth as u32,
            cas: seen.cas,
            left: self.left(fill.left[nth], seen.present),
            tracked: self.plan.manner == Manner::Redis,
        };
        let what = match near.settle(near_key, &token, &brought, now) {
            Settled::Stored => "stored",
            Settled::Raced => "raced",
            Settled::TooBig => "too big",
            Settled::Expired => "came expired",
            Settled::Full => "no room",
        };
        self.log.note(what, Some((proxy, fill.worker)), key, seen.version);
    }

    /// A value that was served is asked for again before its time is over.
    pub(super) fn renew_ahead(&mut self, proxy: usize, worker: usize, served: Served) {
        let Served { key, cas, fill, .. } = served;
        let early = self.told[fill as usize].sent + MAX_AGE / 2 > self.now;
        if self.plan.manner == Manner::Redis || early || self.random.percent(50) {
            return;
        }
        let Some(token) = self.token(proxy, worker, key) else { return };
        let it = &mut self.proxies[proxy];
        let Some(wire) = it.workers[worker].connection.as_ref().map(|it| it.wire) else { return };
        it.last_renewal += 1;
        let number = it.last_renewal;
        it.renewals.insert(number, Renewal { worker, wire, key, cas, token });
        self.ask(
            proxy,
            worker,
            Asked::Renewal(number),
            Command::Get { keys: vec![key], tracked: false },
        );
    }

    fn renew(&mut self, proxy: usize, number: u32, seen: Seen) {
        let Some(it) = self.proxies[proxy].renewals.remove(&number) else { return };
        let Renewal { worker, wire, key, cas, token } = it;
        let (name, now) = (name(key), self.time());
        let left = self.left(seen.left, seen.present);
        let near = &self.proxies[proxy].near;
        let near_key = owner(near, &name);
        if seen.cas != cas || !seen.present || !near.renew(near_key, &token, (cas, left), now) {
            near.forget(near_key, now);
            return self.log.note("not renewed", Some((proxy, worker)), key, seen.version);
        }
        let Look::Hit(fill) = near.look(near_key, now, |entry| Some(entry.flags)) else { return };
        let told = &mut self.told[fill as usize];
        *told = Told { sent: token.origin.sent.millis(), worker, wire, ..*told };
        self.log.note("renewed", Some((proxy, worker)), key, told.version);
    }

    /// Milliseconds that a value has left for certain, from when it was asked for.
    fn left(&self, left: Left, present: bool) -> Option<u64> {
        if self.plan.has(Mistake::LifeIgnored) {
            return None;
        }
        match left {
            Left::Ever => None,
            Left::Gone => present.then_some(0),
            Left::Millis(millis) => Some(millis),
            Left::Ticks(ticks) if self.plan.has(Mistake::BegunSecondsWhole) => Some(ticks * TICK),
            Left::Ticks(ticks) => Some(ticks.saturating_sub(1) * TICK),
        }
    }
}

fn head_of(key: usize, version: u64) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(&(key as u64).to_le_bytes());
    head[8..].copy_from_slice(&version.to_le_bytes());
    head
}
