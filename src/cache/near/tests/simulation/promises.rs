//! The four promises, checked whenever a client is shown something from a near cache.

use super::truth::Fault;
use super::world::World;

/// What is promised ([`crate::cache::near`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Promise {
    /// 1. Nothing older than a write that this proxy has acknowledged.
    OwnWrites,
    /// 2. Current at the server within the bound.
    Staleness,
    /// 3. Nothing without the server for longer than that, or across connections.
    Contact,
    /// 4. No longer life than the server gave.
    Life,
}

/// What is known of a fill.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// What it has brought.
    pub(super) version: u64,
    /// When it was sent, or its value last renewed.
    pub(super) sent: u64,
    pub(super) worker: usize,
    pub(super) wire: u32,
}

/// What a client is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Served {
    pub(super) key: usize,
    /// What the server called its version.
    pub(super) cas: u64,
    /// The number of its fill.
    pub(super) fill: u32,
    /// It is the key's own value, from the first byte to the last.
    pub(super) is_whole: bool,
}

impl World {
    /// A client is served from the near cache.
    pub(super) fn serve(&mut self, proxy: usize, session: (usize, usize), served: Served) {
        let Served { key, fill, is_whole, .. } = served;
        let Told { version, .. } = self.told[fill as usize];
        self.log.note("HIT", Some((proxy, session.0)), key, version);
        assert!(is_whole, "seed {}: a value of another key or version", self.seed);
        let it = &mut self.proxies[proxy];
        for writing in it.writes.values_mut() {
            let open = writing.given_up.is_none() && writing.session == session;
            if open && writing.change.key().is_none_or(|written| written == key) {
                let shown = writing.overtaken.map_or(u64::MAX, |(shown, _)| shown);
                writing.overtaken =
                    (version < shown).then_some((version, key)).or(writing.overtaken);
            }
        }
        if version < it.floors[key] {
            self.breaks(Promise::OwnWrites, key, "an own write is not seen");
        }
        match self.server.truth.judge(key, version, self.now, self.plan.bound()) {
            None => {}
            Some(Fault::TooOld) => self.breaks(Promise::Staleness, key, "replaced for too long"),
            Some(Fault::Expired) => self.breaks(Promise::Life, key, "its time was over"),
        }
        self.check_contact(proxy, key, fill);
        self.renew_ahead(proxy, session.0, served);
    }

    fn check_contact(&mut self, proxy: usize, key: usize, fill: u32) {
        let Told { sent, worker, wire, .. } = self.told[fill as usize];
        let connection = self.proxies[proxy].workers[worker].connection.as_ref();
        match connection.filter(|connection| connection.wire == wire) {
            None => self.breaks(Promise::Contact, key, "its connection was lost"),
            Some(connection) if connection.heard + self.plan.bound() < self.now => {
                self.breaks(Promise::Contact, key, "its server was silent for too long");
            }
            Some(_) => {}
        }
        if sent + self.plan.life_max() <= self.now {
            self.breaks(Promise::Life, key, "it was kept for too long");
        }
    }

    /// A client is given what another one's read has brought.
    pub(super) fn serve_joined(&mut self, proxy: usize, (key, version): (usize, u64), floor: u64) {
        self.log.note("served along", Some((proxy, 0)), key, version);
        if version < floor {
            self.breaks(Promise::OwnWrites, key, "a read that joined does not see an own write");
        }
    }

    /// A promise is broken.
    pub(super) fn breaks(&mut self, promise: Promise, key: usize, how: &str) {
        let Self { seed, now, log, server, plan, .. } = self;
        let found = server.truth.current(key);
        self.broken.entry(promise).or_insert_with(|| {
            format!(
                "{promise:?}, seed {seed}, {now} ms, key {key}: {how}; at the server: {found:?}\n\
                 {plan:?}\n{}",
                log.tell(key)
            )
        });
    }
}
