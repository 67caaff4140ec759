//! Writes of clients, and those whose answer does not come.

use super::plan::{Mistake, TIMEOUT};
use super::promises::Promise;
use super::proxy::{Asked, Writing};
use super::wire::{Change, Command, Write};
use super::world::World;

impl World {
    /// A client changes something.
    pub(super) fn write(&mut self, proxy: usize, session: (usize, usize), change: Change) {
        let now = self.time();
        self.note_change("write sent", (proxy, session.0), change, 0);
        let it = &mut self.proxies[proxy];
        let begun = it.begin(change, &self.plan, now);
        it.last_write += 1;
        let number = it.last_write;
        let writing = Writing { session, change, begun, given_up: None, overtaken: None };
        it.writes.insert(number, writing);
        let write = Write { change, proxy, number };
        self.ask(proxy, session.0, Asked::Write(number), Command::Write(write));
    }

    fn note_change(&mut self, what: &'static str, place: (usize, usize), change: Change, by: u64) {
        match change.key() {
            Some(key) => self.log.note(what, Some(place), key, by),
            None => self.log.note_all(what, Some(place), by),
        }
    }

    /// A write of a proxy has reached the server.
    pub(super) fn lands(&mut self, write: Write, version: u64) {
        let Write { change, proxy, number } = write;
        let Some(writing) = self.proxies[proxy].writes.get(&number) else { return };
        let place = (proxy, writing.session.0);
        let Some(given_up) = writing.given_up else {
            return self.note_change("write landed", place, change, version);
        };
        self.note_change("given up, landed", place, change, version);
        // Nobody was told, but it was to be expected for so long.
        if self.now < given_up + self.plan.bound() {
            self.raise_floors(proxy, change, version);
        }
    }

    /// A write is answered: before its client is told, the near cache is.
    pub(super) fn wrote(&mut self, proxy: usize, number: u64, version: u64) {
        let now = self.time();
        let Some(writing) = self.proxies[proxy].writes.get(&number) else { return };
        if writing.given_up.is_some() {
            return;
        }
        let Some(writing) = self.proxies[proxy].writes.remove(&number) else { return };
        let Writing { change, begun, session, overtaken, .. } = writing;
        self.proxies[proxy].end((change, begun), &self.plan, now);
        self.note_change("write acknowledged", (proxy, session.0), change, version);
        self.raise_floors(proxy, change, version);
        if let Some((shown, key)) = overtaken
            && shown < version
        {
            self.breaks(Promise::OwnWrites, key, "a read behind a write was given what was before");
        }
    }

    fn raise_floors(&mut self, proxy: usize, change: Change, version: u64) {
        let floors = &mut self.proxies[proxy].floors;
        match change.key() {
            Some(key) => floors[key] = floors[key].max(version),
            None => floors.iter_mut().for_each(|floor| *floor = version.max(*floor)),
        }
    }

    /// What a worker has waited for too long.
    pub(super) fn give_up_late(&mut self, proxy: usize, worker: usize) {
        let now = self.now;
        let it = &mut self.proxies[proxy];
        let Some(connection) = it.workers[worker].connection.as_mut() else { return };
        let mut writes = Vec::new();
        for waiting in &mut connection.waiting {
            if waiting.given_up || waiting.sent + TIMEOUT > now {
                continue;
            }
            waiting.given_up = true;
            match waiting.what {
                Asked::Write(number) => writes.push(number),
                Asked::Fill(number) => {
                    // Those that wait are released, and may try for themselves.
                    let fill = it.fills.get_mut(&number).unwrap();
                    fill.is_open = false;
                    fill.joined.clear();
                }
                _ => {}
            }
        }
        writes.into_iter().for_each(|number| self.give_up(proxy, number));
    }

    /// A client is told that nothing is known of its write, which may still land.
    pub(super) fn give_up(&mut self, proxy: usize, number: u64) {
        let (now, bound) = (self.now, self.plan.bound());
        let time = self.time();
        let it = &mut self.proxies[proxy];
        let Some(writing) = it.writes.get_mut(&number) else { return };
        if writing.given_up.is_some() {
            return;
        }
        writing.given_up = Some(now);
        let (change, begun, session) = (writing.change, writing.begun, writing.session);
        if self.plan.has(Mistake::EndedAtOnce) {
            it.end((change, begun), &self.plan, time);
        } else {
            it.ends.push_back((now + bound, change, begun));
        }
        self.note_change("write given up", (proxy, session.0), change, 0);
    }

    /// By now they have landed, or never will.
    pub(super) fn end_what_was_given_up(&mut self, proxy: usize) {
        let (now, time, bound) = (self.now, self.time(), self.plan.bound());
        let it = &mut self.proxies[proxy];
        while it.ends.front().is_some_and(|(when, ..)| *when <= now) {
            let Some((_, change, begun)) = it.ends.pop_front() else { break };
            it.end((change, begun), &self.plan, time);
        }
        // They are remembered a little longer, to be seen in the log when they land after all.
        let long = |writing: &Writing| writing.given_up.is_some_and(|at| at + 10 * bound < now);
        it.writes.retain(|_, writing| !long(writing));
    }
}
