//! What clients do: each asks for one thing at a time, and what it is told is judged.

use super::plan::{BOUND, Manner, SESSIONS};
use super::promises::{Moment, Shown};
use super::world::World;

/// What has been asked.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Read(Vec<usize>),
    /// A key gets this value, or none.
    Write(usize, Option<String>),
}

/// What a reply has of one key: its name, if it says so, and its value.
type Found = (Option<String>, Option<String>);

/// A request under way.
#[derive(Clone, Debug)]
pub(super) struct Running {
    asked: Asked,
    begun: Moment,
    /// Values that a write replaces.
    gone: Vec<String>,
    /// The worker was between two rings when it began.
    between: bool,
}

impl World {
    /// Some client of some worker asks for something.
    pub(super) async fn act(&mut self) {
        let at = self.random.below(self.workers.len() as u64) as usize;
        let session = 1 + self.random.below(u64::from(SESSIONS)) as u32;
        if self.workers[at].stopped_until > self.now || self.running.contains_key(&(at, session)) {
            return;
        }
        let key = self.any_key();
        let asked = if self.random.below(100) < self.writes {
            self.written += 1;
            let deletes = self.random.below(4) == 0;
            Asked::Write(key, (!deletes).then(|| format!("v{}", self.written)))
        } else if self.random.below(8) == 0 {
            Asked::Read(vec![key, self.any_key()])
        } else {
            Asked::Read(vec![key])
        };
        let bytes = self.request(&asked);
        let gone = match &asked {
            Asked::Write(key, _) => self.known[*key].begin(),
            Asked::Read(_) => Vec::new(),
        };
        let (begun, between) = (self.moment(), self.phases[at].is_between());
        self.note("asks", Some(at), &format!("{session}: {asked:?}"));
        self.running.insert((at, session), Running { asked, begun, gone, between });
        let now = self.instant();
        self.workers[at].ask(now, session, &bytes);
        // Whoever is answered at once has been answered here.
        self.take_told(at, true);
        self.pump(at).await;
    }

    fn request(&mut self, asked: &Asked) -> Vec<u8> {
        let name = |key: &usize| self.keys[*key].clone();
        let words: Vec<String> = match (asked, self.manner) {
            (Asked::Read(keys), Manner::Memcached) => {
                let names: Vec<String> = keys.iter().map(name).collect();
                return format!("get {}\r\n", names.join(" ")).into_bytes();
            }
            (Asked::Write(key, None), Manner::Memcached) => {
                return format!("delete {}\r\n", name(key)).into_bytes();
            }
            (Asked::Write(key, Some(value)), Manner::Memcached) => {
                let (key, life) = (name(key), self.random.of(&[0, 0, 1, 2, 5]));
                let head = format!("set {key} 0 {life} {}", value.len());
                return format!("{head}\r\n{value}\r\n").into_bytes();
            }
            (Asked::Read(keys), _) => {
                let word = if keys.len() == 1 { "GET" } else { "MGET" };
                [word.to_owned()].into_iter().chain(keys.iter().map(name)).collect()
            }
            (Asked::Write(key, None), _) => vec!["DEL".into(), name(key)],
            (Asked::Write(key, Some(value)), _) => {
                let mut words = vec!["SET".into(), name(key), value.clone()];
                let life = self.random.of(&[0, 0, 20, 150, 600]);
                if life > 0 {
                    words.extend(["PX".into(), life.to_string()]);
                }
                words
            }
        };
        let bulks = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
        format!("*{}\r\n{}", words.len(), bulks.collect::<String>()).into_bytes()
    }

    /// Clients take what they are told; `at_once`: before anything was sent.
    pub(super) fn hear(&mut self, at: usize) {
        self.take_told(at, false);
    }

    fn take_told(&mut self, at: usize, at_once: bool) {
        for (session, reply) in std::mem::take(&mut self.workers[at].told.done) {
            let Some(running) = self.running.remove(&(at, session)) else {
                panic!("seed {}: nobody has asked for {}", self.seed, reply.escape_ascii());
            };
            let reply = String::from_utf8(reply).unwrap();
            let failed = reply.starts_with('-') || reply.starts_with("SERVER_ERROR");
            self.note("told", Some(at), &format!("{session}: {reply:?}"));
            match &running.asked {
                _ if failed => self.note("failed", Some(at), ""),
                Asked::Write(key, value) => {
                    let done = self.moment();
                    self.known[*key].kill(running.gone, Some(at / self.each), done);
                    if let Some(value) = value {
                        self.known[*key].see(value);
                    }
                }
                Asked::Read(keys) => {
                    let values = values(&reply, self.manner, keys.len() > 1);
                    self.read(at, &running, (&keys.clone(), &values), at_once);
                }
            }
        }
    }

    fn read(
        &mut self,
        at: usize,
        running: &Running,
        (keys, values): (&[usize], &[Found]),
        at_once: bool,
    ) {
        let proxy = at / self.each;
        let phase = self.phases[at];
        for (nth, (name, value)) in values.iter().enumerate() {
            let key = match name {
                Some(name) => self.keys.iter().position(|it| it == name).unwrap(),
                None => keys[nth],
            };
            let Some(value) = value else { continue };
            let moves = self.moves(key);
            let server = usize::from(moves && phase.new_serves());
            let tracked = self.manner == Manner::Tracked;
            let heard = if tracked { self.heard[proxy][server].max(1) } else { 0 };
            if at_once {
                let kind = if moves { "moving" } else { "staying" };
                self.note(&format!("HIT, {kind}, {}", phase.name()), Some(at), value);
            }
            let shown = Shown {
                proxy,
                begun: running.begun,
                now: self.now,
                bound: (!moves || !running.between).then_some(BOUND),
                near: at_once.then_some((self.set[proxy], heard)),
                slack: self.slack(key),
            };
            let judged = self.known[key].judge(value, &shown);
            self.known[key].see(value);
            if let Some((promise, how)) = judged {
                let how = format!("{} {value}: {how}", self.keys[key]);
                self.breaks(promise, &how);
            }
        }
    }
}

/// What a read has been told: names if the reply has them, and values.
fn values(reply: &str, manner: Manner, several: bool) -> Vec<Found> {
    let mut lines = reply.split("\r\n");
    let mut values = Vec::new();
    if manner == Manner::Memcached {
        while let Some(name) = lines.next().and_then(|head| head.strip_prefix("VALUE ")) {
            let name = name.split(' ').next().map(str::to_owned);
            values.push((name, lines.next().map(str::to_owned)));
        }
        return values;
    }
    if several {
        lines.next();
    }
    while let Some(head) = lines.next().filter(|head| !head.is_empty()) {
        let value = if head == "$-1" { None } else { lines.next().map(str::to_owned) };
        values.push((None, value));
    }
    values
}
