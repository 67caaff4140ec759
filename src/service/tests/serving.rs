//! The servers: commands of all connections, executed one at a time.

use super::plan::TIMEOUT;
use super::promises::Promise;
use super::redis::{self, Effect};
use super::wires::{Line, Reply, Sent, Wire, text};
use super::world::{AT_ONCE, World};

impl World {
    /// A server executes the next command of some connection.
    pub(super) async fn carry_up(&mut self) {
        let (now, stopped) = (self.now, self.stopped_until);
        let ready = |_: &Line, wire: &Wire| {
            !wire.up.is_empty() && wire.up_held <= now && stopped[wire.server] <= now
        };
        let Some(line) = self.wires.any(ready, &mut self.random) else { return };
        let held = now + self.any_delay();
        for _ in 0..self.random.of(&AT_ONCE) {
            let Some(wire) = self.wires.0.get_mut(&line) else { return };
            wire.up_held = held;
            let server = wire.server;
            let Some(sent) = wire.up.pop_front() else { return };
            self.execute((line, server), &sent);
        }
    }

    pub(super) fn execute(&mut self, (line, server): (Line, usize), sent: &Sent) {
        let now = self.now;
        let what: Vec<&str> = sent.words.iter().map(|word| text(word)).collect();
        self.note("executed", None, &format!("{server}: {what:?} for {}", line.worker));
        if !self.manner.is_redis() {
            let bytes = self.memcached[server].execute(&sent.words, now);
            if what[0] == "set" {
                self.note_end(what[1], server);
            }
            if let Some(wire) = self.wires.0.get_mut(&line) {
                wire.down.push_back(Reply { bytes, asked: Some(sent.at) });
            }
            return;
        }
        if matches!(what[0], "GET" | "MGET" | "SET" | "DEL") && now - sent.at < TIMEOUT {
            self.look_for((server, &what[1..]), now - sent.at);
        }
        let words = (line, &sent.words[..], sent.at);
        let effect = self.redis[server].execute(words, now, &mut self.wires);
        if let Effect::Migrate(key) = effect {
            let bytes = self.hand_over(&key, server);
            self.note("handed over", None, &format!("{}: {}", text(&key), text(&bytes)));
            redis::answer(line, bytes, sent.at, &mut self.wires);
        }
        if what[0] == "SET" {
            self.note_end(what[1], server);
        }
    }

    /// Looks whether a server that is asked for keys has them, if any has. What was given up meanwhile
    /// is not looked at: it may come at any time.
    fn look_for(&mut self, (server, asked): (usize, &[&str]), late: u64) {
        let (now, keys) = (self.now, self.keys.clone());
        for key in asked.iter().filter(|key| keys.iter().any(|it| it == *key)) {
            let [here, there] = [server, 1 - server]
                .map(|at| self.redis[at].find(key.as_bytes(), now, &mut self.wires).is_some());
            if there && !here {
                self.breaks(Promise::Place, &format!("{key} is not at {server}, {late} ms late"));
            }
        }
    }

    /// MIGRATE, in one step.
    pub(super) fn hand_over(&mut self, key: &[u8], from: usize) -> Vec<u8> {
        let (now, wires) = (self.now, &mut self.wires);
        let Some(item) = self.redis[from].find(key, now, wires) else {
            return b"+NOKEY\r\n".to_vec();
        };
        if self.redis[1 - from].find(key, now, wires).is_some() {
            let busy = "-ERR Target instance replied with error: BUSYKEY Target key name already \
                        exists.\r\n";
            return busy.as_bytes().to_vec();
        }
        self.redis[from].put(key, None, wires);
        self.redis[1 - from].put(key, Some(item), wires);
        b"+OK\r\n".to_vec()
    }

    /// Remembers when a value is over that a server has just been given.
    pub(super) fn note_end(&mut self, key: &str, server: usize) {
        let Some(at) = self.keys.iter().position(|it| it == key) else { return };
        let (key, now) = (key.as_bytes(), self.now);
        let (value, end) = if self.manner.is_redis() {
            let Some(item) = self.redis[server].find(key, now, &mut self.wires) else { return };
            (item.value, item.end)
        } else {
            let end = self.memcached[server].end(key, now);
            (self.memcached[server].value(key, now).unwrap_or_default().to_vec(), end)
        };
        if let Some(end) = end {
            self.known[at].ends(text(&value), end);
        }
    }
}
