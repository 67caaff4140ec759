//! Against time: one connection, on which everything may take any time, and a value that changes
//! once. A value that is served must have been current within the last [`BOUND`] ticks.

use super::{Rules, TOO_OLD, judge};

/// Ticks that a value may have been out of date.
const BOUND: i8 = 2;
/// When the search ends.
const END: i8 = 6;
/// The value before and after the change.
const OLD: u8 = 1;
const NEW: u8 = 2;

/// What limits the life of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Limit {
    /// Pushes alone.
    Pushes,
    /// Since a question was sent that has been answered.
    LeaseFromQuestion,
    LeaseFromAnswer,
    /// No pushes; its age, since its fill was sent.
    AgeFromSending,
    AgeFromReply,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Up {
    Get(i8),
    Ping(i8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Down {
    Value(u8, i8),
    Push,
    Pong(i8),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    now: i8,
    /// When the old value was replaced.
    replaced: Option<i8>,
    told: bool,
    up: Vec<Up>,
    down: Vec<Down>,
    /// The value that is kept, and until when.
    near: Option<(u8, i8)>,
    /// Until when the connection is believed.
    until: i8,
    void: bool,
    gets: u8,
    pings: u8,
}

impl Limit {
    fn has_pushes(self) -> bool {
        matches!(self, Self::Pushes | Self::LeaseFromQuestion | Self::LeaseFromAnswer)
    }

    fn server(self, state: &State) -> Option<State> {
        let mut next = state.clone();
        if state.up.is_empty() {
            return None;
        }
        match next.up.remove(0) {
            Up::Ping(sent) => next.down.push(Down::Pong(sent)),
            Up::Get(sent) => {
                let value = if state.replaced.is_some() { NEW } else { OLD };
                next.down.push(Down::Value(value, sent));
                next.told = self.has_pushes();
            }
        }
        Some(next)
    }

    fn delivery(self, state: &State) -> Option<State> {
        let mut next = state.clone();
        if state.down.is_empty() {
            return None;
        }
        match next.down.remove(0) {
            Down::Push => (next.near, next.void) = (None, true),
            Down::Value(value, sent) => {
                let until = match self {
                    Self::AgeFromSending => sent + BOUND,
                    Self::AgeFromReply => state.now + BOUND,
                    _ => END,
                };
                if !next.void {
                    next.near = Some((value, until));
                }
            }
            Down::Pong(sent) => {
                let from = if self == Self::LeaseFromAnswer { state.now } else { sent };
                next.until = next.until.max(from + BOUND);
            }
        }
        Some(next)
    }

    fn serves(self, state: &State) -> Option<u8> {
        let (value, until) = state.near?;
        let leased = match self {
            Self::LeaseFromQuestion | Self::LeaseFromAnswer => state.now <= state.until,
            _ => true,
        };
        (leased && state.now <= until).then_some(value)
    }
}

impl Rules for Limit {
    type State = State;

    fn start(&self) -> State {
        State {
            now: 0,
            replaced: None,
            told: false,
            up: Vec::new(),
            down: Vec::new(),
            near: None,
            until: -1,
            void: false,
            gets: 1,
            pings: 2,
        }
    }

    fn steps(&self, state: &State) -> Vec<(&'static str, State)> {
        let mut steps = Vec::new();
        let State { now, gets, pings, .. } = *state;
        if now < END {
            steps.push(("time passes", State { now: now + 1, ..state.clone() }));
        }
        if gets > 0 {
            let mut next = State { gets: gets - 1, void: false, ..state.clone() };
            next.up.push(Up::Get(now));
            steps.push(("a fill is sent", next));
        }
        if pings > 0 {
            let mut next = State { pings: pings - 1, ..state.clone() };
            next.up.push(Up::Ping(now));
            steps.push(("a question is sent", next));
        }
        if state.replaced.is_none() {
            let mut next = State { replaced: Some(now), told: false, ..state.clone() };
            next.down.extend(state.told.then_some(Down::Push));
            steps.push(("the value changes", next));
        }
        steps.extend(self.server(state).map(|next| ("the server answers", next)));
        steps.extend(self.delivery(state).map(|next| ("an answer arrives", next)));
        steps
    }

    fn broken(&self, state: &State) -> Vec<&'static str> {
        let late = state.replaced.is_some_and(|replaced| replaced < state.now - BOUND);
        let broken = late && self.serves(state) == Some(OLD);
        broken.then_some(TOO_OLD).into_iter().collect()
    }
}

#[test]
fn staleness_is_bounded_in_every_order() {
    judge("pushes without a lease", &Limit::Pushes, &[TOO_OLD]);
    judge("a lease from the answer on", &Limit::LeaseFromAnswer, &[TOO_OLD]);
    judge("a lease from the question on", &Limit::LeaseFromQuestion, &[]);
    judge("an age from the reply on", &Limit::AgeFromReply, &[TOO_OLD]);
    judge("an age from the sending on", &Limit::AgeFromSending, &[]);
}
