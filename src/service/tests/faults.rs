//! What goes wrong: servers and workers that stand still, connections that are lost or held up, values
//! that go.

use super::plan::{BOUND, TIMEOUT};
use super::wires::Line;
use super::world::World;

impl World {
    /// Something goes wrong.
    pub(super) async fn fail(&mut self) {
        let until = self.now + self.random.of(&[5, 30, 80, TIMEOUT + 50, BOUND + 50]);
        let lines: Vec<Line> = self.wires.0.keys().copied().collect();
        let Some(line) = (!lines.is_empty()).then(|| self.random.of(&lines)) else { return };
        let place = Some(line.worker);
        match self.random.below(6) {
            0 => {
                let server = self.random.below(2) as usize;
                self.stopped_until[server] = until;
                self.note("stopped", None, &format!("{server} until {until}"));
            }
            1 => {
                self.workers[line.worker].stopped_until = until;
                self.note("worker stopped", place, &until.to_string());
            }
            2 => {
                self.wires.0.remove(&line);
                self.note("lost", place, &line.link.to_string());
                self.pump(line.worker).await;
            }
            // Seldom: what is gone cannot be stale.
            3 if !self.manner.is_redis() && self.random.below(8) == 0 => self.restart().await,
            nth => {
                let Some(wire) = self.wires.0.get_mut(&line) else { return };
                let held = if nth % 2 == 0 { &mut wire.up_held } else { &mut wire.down_held };
                *held = until;
                self.note("held", place, &until.to_string());
            }
        }
    }

    /// A memcached starts again, empty.
    pub(super) async fn restart(&mut self) {
        let server = self.random.below(2) as usize;
        self.memcached[server].restart();
        self.wires.0.retain(|_, wire| wire.server != server);
        self.note("started again", None, &server.to_string());
        for at in 0..self.workers.len() {
            self.pump(at).await;
        }
    }

    /// Something goes: what is over, or with memcached whatever there is.
    pub(super) fn sweep(&mut self) {
        let (key, server) = (self.any_key(), self.random.below(2) as usize);
        let name = self.keys[key].clone();
        if self.manner.is_redis() {
            self.redis[server].find(name.as_bytes(), self.now, &mut self.wires);
        } else if self.memcached[server].remove(name.as_bytes()) {
            self.note("evicted", None, &format!("{name} at {server}"));
        }
    }
}
