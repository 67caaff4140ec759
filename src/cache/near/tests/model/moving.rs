//! A key that goes to another server: whoever knew the old one hears nothing of the new.

use super::{Rules, STALE, judge};

const NOTHING: u8 = 0;

/// What the change of the ring does to the near cache.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Nothing,
    Empties,
    /// And fills that are on their way are void: `Near::flush`.
    EmptiesAndCancels,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Flight {
    Idle,
    Sent(usize),
    Waiting,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    /// Of the key at the old server and at the new one.
    version: [u8; 2],
    told: [bool; 2],
    /// Replies (a version) and pushes (nothing) of each server.
    coming: [Vec<u8>; 2],
    /// Where the key is.
    owner: usize,
    near: u8,
    flight: Flight,
    void: bool,
    writes: u8,
    reads: u8,
}

impl Change {
    fn arrives(state: &State, server: usize) -> Option<State> {
        let mut next = state.clone();
        if next.coming[server].is_empty() {
            return None;
        }
        match next.coming[server].remove(0) {
            NOTHING => (next.near, next.void) = (NOTHING, true),
            version => {
                if !state.void {
                    next.near = version;
                }
                next.flight = Flight::Idle;
            }
        }
        Some(next)
    }

    fn moves(self, state: &State) -> State {
        let mut next = State { owner: 1, ..state.clone() };
        next.version[1] = state.version[0];
        if self != Self::Nothing {
            next.near = NOTHING;
        }
        next.void |= self == Self::EmptiesAndCancels;
        next
    }
}

impl Rules for Change {
    type State = State;

    fn start(&self) -> State {
        State {
            version: [1, NOTHING],
            told: [false; 2],
            coming: [Vec::new(), Vec::new()],
            owner: 0,
            near: NOTHING,
            flight: Flight::Idle,
            void: false,
            writes: 2,
            reads: 2,
        }
    }

    fn steps(&self, state: &State) -> Vec<(&'static str, State)> {
        let mut steps = Vec::new();
        let owner = state.owner;
        if owner == 0 {
            steps.push(("the key moves", self.moves(state)));
        }
        if state.writes > 0 {
            let mut next = State { writes: state.writes - 1, ..state.clone() };
            next.version[owner] += 1;
            if std::mem::take(&mut next.told[owner]) {
                next.coming[owner].push(NOTHING);
            }
            steps.push(("a write elsewhere", next));
        }
        if state.flight == Flight::Idle && state.near == NOTHING && state.reads > 0 {
            let (flight, reads) = (Flight::Sent(owner), state.reads - 1);
            steps.push(("a read is sent", State { flight, reads, void: false, ..state.clone() }));
        }
        if let Flight::Sent(server) = state.flight {
            let mut next = State { flight: Flight::Waiting, ..state.clone() };
            next.coming[server].push(state.version[server]);
            next.told[server] = true;
            steps.push(("the server reads", next));
        }
        for (server, name) in ["the old server's data arrives", "the new one's"].iter().enumerate()
        {
            steps.extend(Self::arrives(state, server).map(|next| (*name, next)));
        }
        steps
    }

    fn broken(&self, state: &State) -> Vec<&'static str> {
        let quiet = state.coming.iter().all(Vec::is_empty) && state.flight == Flight::Idle;
        let differs = state.near != NOTHING && state.near != state.version[state.owner];
        (quiet && differs).then_some(STALE).into_iter().collect()
    }
}

#[test]
fn keys_that_move_in_every_order() {
    judge("nothing is done", &Change::Nothing, &[STALE]);
    judge("what is there goes", &Change::Empties, &[STALE]);
    judge("and what is on its way", &Change::EmptiesAndCancels, &[]);
}
