//! Read your writes: whoever has been told that something is written, and everybody whom he tells,
//! finds it, or what was written later.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Dice;
use super::talk::{Ask, Talker, Tongue, command, value_of};

/// Every so many versions of a key, one is its deletion.
const DELETIONS: u64 = 5;

/// Keys that clients of one proxy write and read.
pub(super) struct Own {
    keys: Vec<Mutex<State>>,
    /// Flushes on the second path: begun, and done.
    flushes: [AtomicU64; 2],
    pub(super) checked: AtomicU64,
    pub(super) violations: Mutex<Vec<String>>,
}

/// What is known of a key.
#[derive(Clone, Copy)]
struct State {
    /// It has another name when nobody knows what became of a write.
    generation: u64,
    acked: u64,
    issued: u64,
    /// Flushes done before the write of `acked` was sent.
    flushed: u64,
}

impl Own {
    pub(super) fn new(keys: usize) -> Self {
        let state = || Mutex::new(State { generation: 0, acked: 0, issued: 0, flushed: 0 });
        Self {
            keys: (0..keys).map(|_| state()).collect(),
            flushes: [AtomicU64::new(0), AtomicU64::new(0)],
            checked: AtomicU64::new(0),
            violations: Mutex::default(),
        }
    }

    /// A flush of everything on the second path begins, or is done.
    pub(super) fn flush(&self, done: bool) {
        self.flushes[usize::from(done)].fetch_add(1, Ordering::SeqCst);
    }

    fn state(&self, key: usize) -> State {
        *self.keys[key].lock().unwrap()
    }

    /// Writes a key and reads it in the same pipeline; then everybody may know.
    pub(super) fn write(&self, writer: &mut Talker, tongue: Tongue, key: usize, dice: &mut Dice) {
        let mut state = self.state(key);
        let flushed = self.flushes[1].load(Ordering::SeqCst);
        state.issued += 1;
        self.keys[key].lock().unwrap().issued = state.issued;
        let version = state.issued;
        let name = name(key, state.generation);
        let value = value_of(&name, version);
        let read = Ask::One(name.clone());
        let deletes = version.is_multiple_of(DELETIONS);
        let quiet = tongue == Tongue::Memcache && dice.one_in(2);
        let wire = match (tongue, deletes) {
            (Tongue::Memcache, true) => {
                format!("delete {name}{}\r\n", if quiet { " noreply" } else { "" })
            }
            (Tongue::Memcache, false) => {
                let quiet = if quiet { " noreply" } else { "" };
                format!("set {name} 0 0 {}{quiet}\r\n{value}\r\n", value.len())
            }
            (_, true) => command(&["DEL", &name]),
            (_, false) => command(&["SET", &name, &value]),
        };
        // What follows in the same pipeline finds it as well.
        writer.client.send(wire + &writer.wire(&read));
        let written = match (quiet, tongue) {
            (true, _) => true,
            (false, Tongue::Memcache) => {
                let answers: [&[u8]; 3] = [b"STORED\r\n", b"DELETED\r\n", b"NOT_FOUND\r\n"];
                answers.contains(&&writer.client.memcache_reply()[..])
            }
            (false, _) => writer.client.redis_reply()[0] != b'-',
        };
        let answer = writer.answer(&read).expect("the proxy is there");
        match (written, answer) {
            (true, Ok(seen)) => {
                state.acked = version;
                state.flushed = flushed;
                *self.keys[key].lock().unwrap() = state;
                self.judge(key, &state, seen[0].1);
            }
            // It may still be executed, at any time.
            _ => {
                let generation = state.generation + 1;
                *self.keys[key].lock().unwrap() =
                    State { generation, acked: 0, issued: 0, flushed };
            }
        }
    }

    /// Reads some keys in one pipeline.
    pub(super) fn read(&self, reader: &mut Talker, dice: &mut Dice) {
        let keys: Vec<usize> =
            (0..16).map(|_| dice.below(self.keys.len() as u64) as usize).collect();
        let before: Vec<State> = keys.iter().map(|key| self.state(*key)).collect();
        let ask = |(key, state): (&usize, &State)| Ask::One(name(*key, state.generation));
        let asks: Vec<Ask> = keys.iter().zip(&before).map(ask).collect();
        let wire: String = asks.iter().map(|ask| reader.wire(ask)).collect();
        reader.client.send(wire);
        for ((key, ask), state) in keys.iter().zip(&asks).zip(&before) {
            let answer = reader.answer(ask).expect("the proxy is there");
            if let (Ok(seen), true) = (answer, state.acked > 0) {
                self.judge(*key, state, seen[0].1);
            }
        }
    }

    /// Whether an answer is no older than what was acknowledged before the read was sent.
    fn judge(&self, key: usize, before: &State, seen: Option<u64>) {
        let now = self.state(key);
        if now.generation != before.generation {
            return;
        }
        let good = match seen {
            Some(version) => {
                (before.acked..=now.issued).contains(&version) && !version.is_multiple_of(DELETIONS)
            }
            None => {
                let deleted = (before.acked..=now.issued).any(|it| it.is_multiple_of(DELETIONS));
                deleted || self.flushes[0].load(Ordering::SeqCst) > before.flushed
            }
        };
        self.checked.fetch_add(1, Ordering::SeqCst);
        if !good {
            let (acked, issued) = (before.acked, now.issued);
            let why = format!("key {key}: {acked} was acknowledged, {issued} sent, {seen:?} seen");
            self.violations.lock().unwrap().push(why);
        }
    }
}

fn name(key: usize, generation: u64) -> String {
    format!("own{key}g{generation}")
}
