//! The walk: phases that all are to be in, workers that take them over, and those who write without a
//! proxy, where a key is.

use super::plan::{KEYS, rings_in};
use super::redis::Item;
use super::world::World;
use crate::routing::Phase;

impl World {
    /// The next phase for all, there or back, once all are in this one and have settled.
    pub(super) fn lead(&mut self) {
        let ((phase, era), now) = (self.wanted, self.instant());
        let settled =
            self.workers.iter().all(|worker| worker.era == era && worker.proxy.has_settled(0, now));
        // At the ends they stay for a while.
        let stays = matches!(phase, Phase::Stable | Phase::New) && self.random.below(4) > 0;
        if !settled || stays || phase == Phase::New && !self.manner.is_redis() {
            return;
        }
        let back = phase.previous().filter(|_| self.random.below(3) == 0);
        let Some(next) = back.or_else(|| phase.next()).or_else(|| phase.previous()) else { return };
        if phase == Phase::Stable {
            // The operator sees to it: what has been there is of an earlier walk.
            for key in &self.keys[..KEYS] {
                self.memcached[1].remove(key.as_bytes());
            }
        }
        let what = if next < phase { "back to" } else { "on to" };
        self.note(what, None, next.name());
        self.wanted = (next, era + 1);
    }

    /// One worker takes the wanted phase over.
    pub(super) async fn follow(&mut self) {
        let at = self.random.below(self.workers.len() as u64) as usize;
        let ((phase, era), now) = (self.wanted, self.instant());
        let worker = &mut self.workers[at];
        if worker.era == era || worker.stopped_until > self.now {
            return;
        }
        worker.era = era;
        self.phases[at] = phase;
        self.note("follows to", Some(at), phase.name());
        self.set[at / self.each] = self.moment().event;
        let rings = rings_in(phase, &self.config.pools[0]);
        self.workers[at].turn(now, |proxy, turn| proxy.set_rings(turn, 0, Some(rings)));
        self.pump(at).await;
    }

    /// The server that has a key while all proxies are at the same end, or that always has it.
    pub(super) fn home(&self, key: usize) -> Option<usize> {
        let (phase, era) = self.wanted;
        let ended = matches!(phase, Phase::Stable | Phase::New)
            && self.workers.iter().all(|worker| worker.era == era);
        match (self.moves(key), phase) {
            (false, _) => Some(0),
            (true, Phase::New) if ended => Some(1),
            (true, _) if ended => Some(0),
            _ => None,
        }
    }

    /// Somebody whom no proxy knows writes a key.
    pub(super) fn write_elsewhere(&mut self) {
        let key = self.any_key();
        self.write_at(key);
    }

    pub(super) fn write_at(&mut self, key: usize) {
        let Some(home) = self.home(key).filter(|home| self.stopped_until[*home] <= self.now) else {
            return;
        };
        self.written += 1;
        let (value, name) = (format!("v{}", self.written), self.keys[key].clone());
        let gone = self.known[key].begin();
        if self.manner.is_redis() {
            let item = Item { value: value.clone().into_bytes(), end: None };
            self.redis[home].put(name.as_bytes(), Some(item), &mut self.wires);
        } else {
            self.memcached[home].set(name.as_bytes(), value.as_bytes(), (0, self.now));
        }
        let now = self.moment();
        self.known[key].kill(gone, None, now);
        self.known[key].see(&value);
        self.note("written elsewhere", None, &format!("{name} {value}"));
    }
}
