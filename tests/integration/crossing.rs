//! Sessions that do everything at once, over three servers: pipelines, transactions, commands that
//! wait for others, subscriptions, and leaving in the middle of them. What a session gets is its own.
//!
//! ```text
//!  seed ─▶ who does what next ─▶ sent without a look at any reply ─▶ what is owed ─▶ settled, later
//! ```
//! Keys, values and messages carry the name of the session that they come from, so that a reply which
//! is another's is not the one that is owed. Only about subscriptions one must wait: a message that is
//! under way while a session subscribes may reach it or not.

use std::collections::{BTreeSet, VecDeque};

use crate::soak_load::random::Random;
use crate::support::{Client, LONG, PoolSpec, Proxy, Redis, escaped, frame, wait_until};

/// Seeds, each of a round of its own.
const SEEDS: std::ops::Range<u64> = 0..40;

/// What is done in a round.
const STEPS: usize = 120;

const TALKERS: u64 = 6;

/// Keys of each session, on all servers.
const KEYS: u64 = 4;

/// Channels that all sessions publish to.
const ROOMS: u64 = 5;

/// What can be subscribed to: the kind by its first letter, the name, and its rooms.
const TOPICS: [(&str, &str, &[u64]); 9] = [
    ("", "room:0", &[0]),
    ("", "room:1", &[1]),
    ("", "room:2", &[2]),
    ("", "room:3", &[3]),
    ("p", "room:*", &[0, 1, 2, 3, 4]),
    ("p", "room:[0-2]", &[0, 1, 2]),
    ("s", "room:0", &[0]),
    ("s", "room:1", &[1]),
    ("s", "room:4", &[4]),
];

/// What a session may leave behind.
const LEAVINGS: [&str; 6] = [
    "",
    "MULTI\r\nSET left 1\r\n",
    "WATCH left\r\nMULTI\r\nSET left 1\r\n",
    "BLPOP nothing 0\r\nSET left 1\r\n",
    "SUBSCRIBE room:0\r\nPSUBSCRIBE room:*\r\nSSUBSCRIBE room:4\r\n",
    "MULTI\r\nPUBLISH room:0 left\r\nSET left",
];

type Said<T = ()> = Result<T, String>;

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

struct Talker {
    client: Client,
    name: String,
    resp3: bool,
    values: [Option<String>; KEYS as usize],
    /// Replies in their order; `#` is any number.
    owed: VecDeque<String>,
    /// Messages, in any order.
    messages: Vec<String>,
    topics: BTreeSet<usize>,
    /// What others must push to before it goes on.
    waits: Vec<(String, String)>,
    /// Something that it published is not confirmed.
    publishes: bool,
}

impl Talker {
    fn new(proxy: &Proxy, name: String, resp3: bool) -> Said<Self> {
        let mut client = proxy.client();
        if resp3 {
            client.send("HELLO 3\r\n");
            client.try_take(frame::resp)?;
        }
        Ok(Self {
            client,
            name,
            resp3,
            values: Default::default(),
            owed: VecDeque::new(),
            messages: Vec::new(),
            topics: BTreeSet::new(),
            waits: Vec::new(),
            publishes: false,
        })
    }

    /// In RESP2 a session with subscriptions may do little else.
    fn only_listens(&self) -> bool {
        !self.resp3 && !self.topics.is_empty()
    }

    fn say(&mut self, request: &str, replies: impl IntoIterator<Item = String>) -> Said {
        self.owed.extend(replies);
        self.client.try_send(request.as_bytes()).map_err(|error| error.to_string())
    }

    fn value(&self, at: u64) -> String {
        match &self.values[at as usize] {
            Some(value) => bulk(value),
            None => self.nil("$-1").to_owned(),
        }
    }

    fn nil(&self, resp2: &str) -> String {
        format!("{}\r\n", if self.resp3 { "_" } else { resp2 })
    }

    /// Does one of the things that concern nobody else; `value` was never used before.
    fn work(&mut self, what: u64, at: u64, value: &str) -> Said {
        if self.only_listens() {
            return self.say(
                &format!("PING {value}\r\n"),
                [format!("*2\r\n{}{}", bulk("pong"), bulk(value))],
            );
        }
        let key = format!("{}:{at}", self.name);
        let had = self.value(at);
        let [ok, queued] = ["+OK\r\n", "+QUEUED\r\n"].map(str::to_owned);
        let popped = |list: &str| format!("*2\r\n{}{}", bulk(list), bulk(value));
        let set = format!("SET {key} {value}\r\n");
        if matches!(what, 0 | 3 | 4) {
            self.values[at as usize] = Some(value.to_owned());
        }
        match what {
            0 => self.say(&set, [ok]),
            1 => self.say(&format!("GET {key}\r\n"), [had]),
            2 => {
                let keys: String = (0..KEYS).map(|at| format!(" {}:{at}", self.name)).collect();
                let values: String = (0..KEYS).map(|at| self.value(at)).collect();
                self.say(&format!("MGET{keys}\r\n"), [format!("*{KEYS}\r\n{values}")])
            }
            3 => {
                let request = format!("MULTI\r\nGET {key}\r\n{set}EXEC\r\n");
                self.say(&request, [ok, queued.clone(), queued, format!("*2\r\n{had}+OK\r\n")])
            }
            4 => {
                let request = format!("WATCH {key}\r\nGET {key}\r\nMULTI\r\n{set}EXEC\r\n");
                self.say(&request, [ok.clone(), had, ok, queued, "*1\r\n+OK\r\n".to_owned()])
            }
            5 => self.say(&format!("MULTI\r\n{set}DISCARD\r\n"), [ok.clone(), queued, ok]),
            6 => {
                let list = format!("{key}:{value}");
                let request = format!("RPUSH {list} {value}\r\nBLPOP {list} 0\r\n");
                self.say(&request, [":1\r\n".to_owned(), popped(&list)])
            }
            7 => self.say(&format!("BLPOP {key}:none 0.01\r\n"), [self.nil("*-1")]),
            _ => {
                let list = format!("{key}:{value}");
                self.waits.push((list.clone(), value.to_owned()));
                self.say(&format!("BLPOP {list} 0\r\n"), [popped(&list)])
            }
        }
    }

    /// Begins or ends a subscription, behind whatever else is under way.
    fn subscribe(&mut self, topic: usize) -> Said {
        let (kind, name, _) = TOPICS[topic];
        let verb = if self.topics.remove(&topic) { "unsubscribe" } else { "subscribe" };
        if verb == "subscribe" {
            self.topics.insert(topic);
        }
        let alike = |other: &&usize| (TOPICS[**other].0 == "s") == (kind == "s");
        let count = self.topics.iter().filter(alike).count();
        let verb = format!("{kind}{verb}");
        let told = format!("{}3\r\n{}{}:{count}\r\n", self.push(), bulk(&verb), bulk(name));
        self.say(&format!("{verb} {name}\r\n"), [told])
    }

    const fn push(&self) -> char {
        if self.resp3 { '>' } else { '*' }
    }

    /// Notes what it will be told of a message.
    fn hear(&mut self, shard: bool, room: u64, text: &str) {
        let name = format!("room:{room}");
        for (kind, topic, rooms) in self.topics.iter().map(|at| TOPICS[*at]) {
            if (kind == "s") != shard || !rooms.contains(&room) {
                continue;
            }
            let pattern = if kind == "p" { bulk(topic) } else { String::new() };
            let (push, parts) = (self.push(), if kind == "p" { 4 } else { 3 });
            let kind = bulk(&format!("{kind}message"));
            self.messages.push(format!(
                "{push}{parts}\r\n{kind}{pattern}{}{}",
                bulk(&name),
                bulk(text)
            ));
        }
    }

    /// Pushes what it waits for.
    fn feed(&mut self, feeder: &mut Client) -> Said {
        for (list, value) in self.waits.drain(..) {
            feeder.send(format!("RPUSH {list} {value}\r\n"));
            feeder.try_expect(b":1\r\n").map_err(|why| format!("RPUSH {list}: {why}"))?;
        }
        Ok(())
    }

    /// Reads all that it is owed.
    fn settle(&mut self) -> Said {
        while !self.owed.is_empty() || !self.messages.is_empty() {
            let whose = |why: String| format!("{}: {why}", self.name);
            let got = self.client.try_take(frame::resp).map_err(whose)?;
            self.take(&String::from_utf8_lossy(&got))?;
        }
        self.publishes = false;
        Ok(())
    }

    fn take(&mut self, got: &str) -> Said {
        if let Some(at) = self.messages.iter().position(|message| message == got) {
            self.messages.swap_remove(at);
            return Ok(());
        }
        let owed = self.owed.front();
        if owed.is_some_and(|owed| is_like(owed, got)) {
            self.owed.pop_front();
            return Ok(());
        }
        let show = |text: &String| escaped(text.as_bytes());
        let messages: String =
            self.messages.iter().map(|text| format!("\n    {}", show(text))).collect();
        Err(format!(
            "{} got    {}\n  owed:  {}\n  messages:{messages}",
            self.name,
            escaped(got.as_bytes()),
            owed.map_or_else(|| "nothing".to_owned(), show)
        ))
    }
}

/// Whether a reply is the one that is owed, where `#` is any number.
fn is_like(owed: &str, got: &str) -> bool {
    let Some((before, behind)) = owed.split_once('#') else { return owed == got };
    let number = got.strip_prefix(before).and_then(|rest| rest.strip_suffix(behind));
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

/// All sessions of a round.
struct Party<'a> {
    proxy: &'a Proxy,
    random: Random,
    talkers: Vec<Talker>,
    feeder: Client,
    /// What has been said so far.
    said: u64,
    seed: u64,
}

impl<'a> Party<'a> {
    fn new(proxy: &'a Proxy, seed: u64) -> Said<Self> {
        let (random, feeder) = (Random::new(seed), proxy.client());
        let mut party = Self { proxy, random, talkers: Vec::new(), feeder, said: 0, seed };
        for _ in 0..TALKERS {
            let talker = party.fresh()?;
            party.talkers.push(talker);
        }
        Ok(party)
    }

    fn fresh(&mut self) -> Said<Talker> {
        self.said += 1;
        Talker::new(self.proxy, format!("s{}.{}", self.seed, self.said), self.random.percent(50))
    }

    fn step(&mut self) -> Said {
        self.said += 1;
        let at = self.random.below(TALKERS) as usize;
        let value = format!("{}.{}", self.talkers[at].name, self.said);
        match self.random.below(20) {
            what @ 0..9 => {
                let key = self.random.below(KEYS);
                self.talkers[at].work(what, key, &value)
            }
            9..13 => self.publish(at, &value),
            13..17 => {
                let topic = self.random.below(TOPICS.len() as u64) as usize;
                self.calm()?;
                self.talkers[at].subscribe(topic)?;
                self.settle(at)
            }
            17 => self.leave(at),
            18 => self.settle(at),
            _ => self.reset(at),
        }
    }

    /// Publishes, in a transaction or not; who listens is owed it.
    fn publish(&mut self, at: usize, text: &str) -> Said {
        let (room, shard) = (self.random.below(ROOMS), self.random.percent(30));
        let whole = self.random.percent(50);
        let talker = &mut self.talkers[at];
        if talker.only_listens() {
            return talker.work(0, 0, text);
        }
        let verb = if shard { "SPUBLISH" } else { "PUBLISH" };
        let request = format!("{verb} room:{room} {text}\r\n");
        talker.publishes = true;
        if whole {
            let replies = ["+OK\r\n", "+QUEUED\r\n", "*1\r\n:#\r\n"].map(str::to_owned);
            talker.say(&format!("MULTI\r\n{request}EXEC\r\n"), replies)?;
        } else {
            talker.say(&request, [":#\r\n".to_owned()])?;
        }
        self.talkers.iter_mut().for_each(|talker| talker.hear(shard, room, text));
        Ok(())
    }

    /// A session gets all that it is owed; what others have published comes only if they go on.
    fn settle(&mut self, at: usize) -> Said {
        for (other, talker) in self.talkers.iter_mut().enumerate() {
            if talker.publishes || other == at {
                talker.feed(&mut self.feeder)?;
            }
        }
        self.talkers[at].settle()
    }

    /// No message is under way any more.
    fn calm(&mut self) -> Said {
        for at in 0..self.talkers.len() {
            if self.talkers[at].publishes || !self.talkers[at].messages.is_empty() {
                self.settle(at)?;
            }
        }
        Ok(())
    }

    /// Gone in the middle of whatever is under way; another comes to its place.
    fn leave(&mut self, at: usize) -> Said {
        if self.talkers[at].publishes {
            self.calm()?;
        }
        let leaving = LEAVINGS[self.random.below(LEAVINGS.len() as u64) as usize];
        self.talkers[at].say(leaving, [])?;
        let fresh = self.fresh()?;
        let gone = std::mem::replace(&mut self.talkers[at], fresh);
        if gone.topics.is_empty() && !leaving.contains("SUBSCRIBE") {
            return Ok(());
        }
        drop(gone);
        // Until it is known to have gone, its messages may come to who subscribes after it.
        let known = || self.proxy.metrics().get("twinring_client_connections", &[]);
        match wait_until(LONG, || known() == (TALKERS + 1) as f64) {
            true => Ok(()),
            false => Err(format!("{} connections", known())),
        }
    }

    /// Nothing is left of what it had begun.
    fn reset(&mut self, at: usize) -> Said {
        self.calm()?;
        let talker = &mut self.talkers[at];
        talker.say("RESET\r\n", ["+RESET\r\n".to_owned()])?;
        talker.topics.clear();
        talker.resp3 = false;
        self.settle(at)
    }

    /// All get what they are owed, and nothing more.
    fn end(mut self) -> Said {
        self.calm()?;
        for at in 0..self.talkers.len() {
            self.reset(at)?;
            self.talkers[at].say("ECHO end\r\n", [bulk("end")])?;
            self.settle(at)?;
        }
        Ok(())
    }
}

fn play(proxy: &Proxy, seed: u64) -> Said {
    let mut party = Party::new(proxy, seed)?;
    for _ in 0..STEPS {
        party.step()?;
    }
    party.end()
}

#[test]
fn no_reply_message_or_effect_crosses_from_one_session_to_another() {
    let servers: Vec<Redis> = (0..3).map(|_| Redis::start(&[])).collect();
    let ports: Vec<u16> = servers.iter().map(Redis::port).collect();
    let pool = PoolSpec::redis(&ports).set("limits", "{ dedicated_connections: 50 }");
    let proxy = Proxy::twinring_with(&["workers: 2"], vec![pool]);
    for seed in SEEDS {
        play(&proxy, seed).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
    // Nothing is left of any of them.
    let lent = || proxy.metrics().get("twinring_backend_dedicated_connections", &[]);
    assert!(wait_until(LONG, || lent() == 0.0), "{} are lent", lent());
    let mut client = proxy.client();
    for (asked, nothing) in
        [("CHANNELS", "*0\r\n"), ("SHARDCHANNELS", "*0\r\n"), ("NUMPAT", ":0\r\n")]
    {
        let mut told = Vec::new();
        let none = wait_until(LONG, || {
            client.send(format!("PUBSUB {asked}\r\n"));
            told = client.redis_reply();
            told == nothing.as_bytes()
        });
        assert!(none, "{asked}: {}", escaped(&told));
    }
    client.ask("EXISTS left\r\n", ":0\r\n");
}
