//! Replies, invalidations and writes: one near cache, one server, a writer elsewhere and one here.
//!
//! ```text
//!            ┌── data: replies, and pushes if they share the connection ──┐
//!  near ◀────┤                                                            ├──── server ◀── writer
//!            └── side: pushes, if they have a connection of their own ────┘
//! ```

use super::{JOINED, OVERTAKEN, OWN_WRITE, Rules, STALE, judge};

/// Nothing is kept, no version.
const NOTHING: u8 = 0;

/// The rules of one variant.
#[derive(Clone, Copy)]
struct Channel {
    keys: usize,
    pushes: Pushes,
    fills: Fills,
    loss: Loss,
    local: Option<Local>,
    evicts: Evicts,
    joins: Joins,
    remote_writes: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pushes {
    /// In the order of the replies.
    SameConnection,
    /// In any order with the replies.
    Separate,
}

/// What an invalidation does to a fill that is on its way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fills {
    Stored,
    Cancelled,
    /// Only the first key of a fill is guarded.
    FirstCancelled,
}

/// Whether the connection that pushes come over can be lost, and what happens then.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    Never,
    Kept,
    Flushed,
}

/// What a write through this proxy does.
#[derive(Clone, Copy)]
struct Local {
    at_send: Act,
    at_reply: Act,
    /// While it is under way, only the server is asked.
    bypass: bool,
    /// Reads may follow it without waiting.
    pipelined: bool,
    timeout: Timeout,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Nothing,
    Remove,
    RemoveAndCancel,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Timeout {
    Never,
    /// It is taken for ended at once.
    Ended,
    /// It is taken for under way until it can no longer land.
    Held,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Evicts {
    Nothing,
    Entry,
    /// The mark that a fill is void stands in the entry, and goes with it.
    EntryWithMark,
    /// The server forgets whom to tell, and tells him so.
    Table,
    TableInSilence,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Joins {
    Never,
    Always,
    /// Only if nothing has happened to the key since the fill was sent.
    IfItHolds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Flight {
    Idle,
    Sent,
    Waiting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Writer {
    Idle,
    Sent,
    /// Applied at the server; the answer is on its way.
    Applied(u8),
    Done(u8),
    /// The client was told that it failed; it may land or be lost.
    Adrift,
    /// It has landed, or can no longer.
    Settled,
    /// And is taken for ended.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Message {
    Reply([u8; 2]),
    Push(usize),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    /// At the server.
    version: [u8; 2],
    /// The server is going to tell of the next change, once.
    told: [bool; 2],
    near: [u8; 2],
    flight: Flight,
    void: [bool; 2],
    data: Vec<Message>,
    side: Vec<Message>,
    writer: Writer,
    /// A second read waits for the flight, and must see this version at least.
    joined: Option<u8>,
    misled: bool,
    remote_writes: u8,
    reads: u8,
    may_join: bool,
    may_lose: bool,
}

const PLAIN: Channel = Channel {
    keys: 1,
    pushes: Pushes::SameConnection,
    fills: Fills::Cancelled,
    loss: Loss::Never,
    local: None,
    evicts: Evicts::Nothing,
    joins: Joins::Never,
    remote_writes: 2,
};

/// The right rules for a write here.
const RIGHT: Local = Local {
    at_send: Act::RemoveAndCancel,
    at_reply: Act::RemoveAndCancel,
    bypass: true,
    pipelined: true,
    timeout: Timeout::Never,
};

/// What the table of mistakes was found with: no by-pass, and clients that wait.
const BARE: Local = Local {
    at_send: Act::Nothing,
    at_reply: Act::Nothing,
    bypass: false,
    pipelined: false,
    ..RIGHT
};

impl Channel {
    fn written_by(local: Local) -> Self {
        // The server does not tell of this proxy's own writes: so it is with memcached.
        Self { pushes: Pushes::Separate, local: Some(local), ..PLAIN }
    }

    fn removes(state: &mut State, key: usize, cancels: bool) {
        state.near[key] = NOTHING;
        state.void[key] |= cancels && state.flight != Flight::Idle;
    }

    fn acts(state: &mut State, act: Act) {
        match act {
            Act::Nothing => {}
            Act::Remove => Self::removes(state, 0, false),
            Act::RemoveAndCancel => Self::removes(state, 0, true),
        }
    }

    /// A key has changed at the server.
    fn changes(&self, state: &mut State, key: usize) {
        state.version[key] += 1;
        self.tells(state, key);
    }

    fn tells(&self, state: &mut State, key: usize) {
        if std::mem::take(&mut state.told[key]) {
            match self.pushes {
                Pushes::SameConnection => state.data.push(Message::Push(key)),
                Pushes::Separate => state.side.push(Message::Push(key)),
            }
        }
    }

    fn receives(&self, state: &mut State, message: Message) {
        match message {
            Message::Push(key) => Self::removes(state, key, self.fills != Fills::Stored),
            Message::Reply(versions) => {
                for (key, version) in versions.into_iter().enumerate().take(self.keys) {
                    let guarded = match self.fills {
                        Fills::Stored => false,
                        Fills::Cancelled => true,
                        Fills::FirstCancelled => key == 0,
                    };
                    if !(guarded && state.void[key]) {
                        state.near[key] = version;
                    }
                }
                let floor = state.joined.take().unwrap_or(NOTHING);
                state.misled |= versions[0] < floor;
                state.flight = Flight::Idle;
                state.void = [false; 2];
            }
        }
    }

    fn loses(&self, state: &mut State) {
        state.told = [false; 2];
        match self.pushes {
            Pushes::Separate => state.side.clear(),
            Pushes::SameConnection => {
                state.data.clear();
                state.flight = Flight::Idle;
                state.void = [false; 2];
            }
        }
        if self.loss == Loss::Flushed {
            (0..self.keys).for_each(|key| Self::removes(state, key, true));
        }
    }

    /// Only the server is asked.
    fn is_busy(&self, state: &State) -> bool {
        let Some(local) = self.local else { return false };
        let written = matches!(state.writer, Writer::Sent | Writer::Applied(_));
        let held = matches!(state.writer, Writer::Adrift | Writer::Settled);
        local.bypass && written || local.timeout == Timeout::Held && held
    }

    fn reads(&self, state: &State, add: &mut impl FnMut(&'static str, State)) {
        let misses = (0..self.keys).any(|key| state.near[key] == NOTHING);
        if state.flight == Flight::Idle && misses && state.reads > 0 && !self.is_busy(state) {
            let reads = state.reads - 1;
            add("a read is sent", State { flight: Flight::Sent, reads, ..state.clone() });
        }
        if state.flight == Flight::Sent {
            let mut next = State { flight: Flight::Waiting, ..state.clone() };
            next.data.push(Message::Reply(state.version));
            next.told = [true; 2];
            add("the server reads", next);
        }
        let holds = self.joins == Joins::Always || !state.void[0] && !self.is_busy(state);
        if state.may_join && state.flight != Flight::Idle && holds {
            let floor = if let Writer::Done(version) = state.writer { version } else { NOTHING };
            add("a read joins", State { joined: Some(floor), may_join: false, ..state.clone() });
        }
    }

    fn deliveries(&self, state: &State, add: &mut impl FnMut(&'static str, State)) {
        if let Some(message) = state.data.first() {
            let mut next = state.clone();
            next.data.remove(0);
            self.receives(&mut next, *message);
            add("data arrives", next);
        }
        if let Some(message) = state.side.first() {
            let mut next = state.clone();
            next.side.remove(0);
            self.receives(&mut next, *message);
            add("a push arrives aside", next);
        }
        if state.may_lose {
            let mut next = State { may_lose: false, ..state.clone() };
            self.loses(&mut next);
            add("the connection is lost", next);
        }
    }

    fn writes(&self, state: &State, add: &mut impl FnMut(&'static str, State)) {
        for key in 0..self.keys {
            if state.remote_writes > 0 {
                let mut next = State { remote_writes: state.remote_writes - 1, ..state.clone() };
                self.changes(&mut next, key);
                add("a write elsewhere", next);
            }
        }
        let Some(local) = self.local else { return };
        let mut to = |name, writer, act: Act| {
            let mut next = State { writer, ..state.clone() };
            if matches!(writer, Writer::Applied(_)) || name == "the lost write lands" {
                next.version[0] += 1;
            }
            Self::acts(&mut next, act);
            add(name, next);
        };
        match state.writer {
            Writer::Idle => to("a write is sent", Writer::Sent, local.at_send),
            Writer::Sent => {
                let applied = Writer::Applied(state.version[0] + 1);
                to("the server writes", applied, Act::Nothing);
                if local.timeout != Timeout::Never {
                    to("the write times out", Writer::Adrift, local.at_reply);
                }
            }
            Writer::Applied(version) => {
                to("the write is answered", Writer::Done(version), local.at_reply);
            }
            Writer::Adrift => {
                to("the lost write lands", Writer::Settled, Act::Nothing);
                to("the lost write is lost", Writer::Settled, Act::Nothing);
            }
            Writer::Settled if local.timeout == Timeout::Held => {
                to("the lost write is over", Writer::Over, local.at_reply);
            }
            Writer::Settled | Writer::Over | Writer::Done(_) => {}
        }
    }

    fn evictions(&self, state: &State, add: &mut impl FnMut(&'static str, State)) {
        for key in 0..self.keys {
            let mut next = state.clone();
            match self.evicts {
                Evicts::Nothing => {}
                Evicts::Entry => next.near[key] = NOTHING,
                Evicts::EntryWithMark => (next.near[key], next.void[key]) = (NOTHING, false),
                Evicts::Table => self.tells(&mut next, key),
                Evicts::TableInSilence => next.told[key] = false,
            }
            if next != *state {
                add("something is evicted", next);
            }
        }
    }
}

impl Rules for Channel {
    type State = State;

    fn start(&self) -> State {
        State {
            version: [1; 2],
            told: [false; 2],
            near: [NOTHING; 2],
            flight: Flight::Idle,
            void: [false; 2],
            data: Vec::new(),
            side: Vec::new(),
            writer: Writer::Idle,
            joined: None,
            misled: false,
            remote_writes: self.remote_writes,
            reads: 2,
            may_join: self.joins != Joins::Never,
            may_lose: self.loss != Loss::Never,
        }
    }

    fn steps(&self, state: &State) -> Vec<(&'static str, State)> {
        let mut steps = Vec::new();
        let mut add = |name, next| steps.push((name, next));
        self.reads(state, &mut add);
        self.deliveries(state, &mut add);
        self.writes(state, &mut add);
        self.evictions(state, &mut add);
        steps
    }

    fn broken(&self, state: &State) -> Vec<&'static str> {
        let mut broken = Vec::new();
        let near = state.near[0];
        let differs =
            |key: usize| state.near[key] != NOTHING && state.near[key] != state.version[key];
        let quiet = state.data.is_empty() && state.side.is_empty();
        let written = !matches!(state.writer, Writer::Sent | Writer::Applied(_) | Writer::Adrift);
        if quiet && state.flight == Flight::Idle && written && !self.is_busy(state) {
            broken.extend((0..self.keys).any(differs).then_some(STALE));
        }
        let served = near != NOTHING && !self.is_busy(state);
        if let Writer::Done(version) = state.writer {
            broken.extend((served && near < version).then_some(OWN_WRITE));
        }
        if self.local.is_some_and(|local| local.pipelined) && served {
            let due = match state.writer {
                Writer::Sent => state.version[0] + 1,
                Writer::Applied(version) => version,
                _ => NOTHING,
            };
            broken.extend((near < due).then_some(OVERTAKEN));
        }
        broken.extend(state.misled.then_some(JOINED));
        broken
    }
}

#[test]
fn pushes_and_fills_in_every_order() {
    use Fills::{Cancelled, Stored};
    use Pushes::{SameConnection, Separate};
    let variant = |pushes, fills, loss| Channel { pushes, fills, loss, ..PLAIN };
    let (never, kept, flushed) = (Loss::Never, Loss::Kept, Loss::Flushed);
    judge("separate, stored", &variant(Separate, Stored, never), &[STALE]);
    judge("separate, cancelled", &variant(Separate, Cancelled, never), &[]);
    judge("same connection, stored", &variant(SameConnection, Stored, never), &[]);
    judge("same connection, cancelled", &variant(SameConnection, Cancelled, never), &[]);
    judge("separate, lost, kept", &variant(Separate, Cancelled, kept), &[STALE]);
    judge("separate, lost, flushed", &variant(Separate, Cancelled, flushed), &[]);
    judge("same connection, lost, kept", &variant(SameConnection, Cancelled, kept), &[STALE]);
    judge("same connection, lost, flushed", &variant(SameConnection, Cancelled, flushed), &[]);
}

#[test]
fn local_writes_in_every_order() {
    use Act::{Nothing, Remove, RemoveAndCancel};
    let bare = |at_send, at_reply| Channel::written_by(Local { at_send, at_reply, ..BARE });
    judge("at send only", &bare(Remove, Nothing), &[OWN_WRITE, STALE]);
    judge("at send only, cancels", &bare(RemoveAndCancel, Nothing), &[OWN_WRITE, STALE]);
    judge("before the reply only", &bare(Nothing, Remove), &[OWN_WRITE, STALE]);
    judge("at send and before the reply", &bare(Remove, Remove), &[OWN_WRITE, STALE]);
    judge("before the reply, cancels", &bare(Nothing, RemoveAndCancel), &[]);
    let pipelined = Local { bypass: false, ..RIGHT };
    judge("pipelined, not by-passed", &Channel::written_by(pipelined), &[OVERTAKEN]);
    judge("pipelined, by-passed", &Channel::written_by(RIGHT), &[]);
}

#[test]
fn a_write_that_times_out_may_still_land() {
    let ended = Local { timeout: Timeout::Ended, ..RIGHT };
    judge("ended at once", &Channel::written_by(ended), &[STALE]);
    let held = Local { timeout: Timeout::Held, ..RIGHT };
    judge("held until it can no longer land", &Channel::written_by(held), &[]);
}

#[test]
fn evictions_in_every_order() {
    let variant = |pushes, evicts| Channel { pushes, evicts, ..PLAIN };
    judge("an entry", &variant(Pushes::Separate, Evicts::Entry), &[]);
    judge("an entry", &variant(Pushes::SameConnection, Evicts::Entry), &[]);
    judge("with its mark", &variant(Pushes::Separate, Evicts::EntryWithMark), &[STALE]);
    judge("the server's table", &variant(Pushes::SameConnection, Evicts::Table), &[]);
    judge("in silence", &variant(Pushes::SameConnection, Evicts::TableInSilence), &[STALE]);
    let written = Channel { evicts: Evicts::Entry, ..Channel::written_by(RIGHT) };
    judge("an entry that is written", &written, &[]);
}

#[test]
fn two_keys_of_one_fill_in_every_order() {
    let variant = |fills| Channel { keys: 2, pushes: Pushes::Separate, fills, ..PLAIN };
    judge("each key has a token", &variant(Fills::Cancelled), &[]);
    judge("only the first has", &variant(Fills::FirstCancelled), &[STALE]);
    let both = Channel { keys: 2, ..Channel::written_by(RIGHT) };
    judge("each has, and one is written", &both, &[]);
}

#[test]
fn reads_that_join_in_every_order() {
    let variant = |joins| Channel { joins, ..Channel::written_by(RIGHT) };
    judge("any may join", &variant(Joins::Always), &[JOINED]);
    judge("only while the token holds", &variant(Joins::IfItHolds), &[]);
}
