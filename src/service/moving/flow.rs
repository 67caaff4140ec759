//! How many keys a server is asked for at once.
//!
//! While a server hands a key over it does nothing else, and if the other does not answer it stands
//! still for `migrate_timeout`. So it has few such requests before it at a time, the others wait
//! here; and when the other server has not answered, none for a while. What the proxy carries itself
//! keeps no server, but its values are held here meanwhile: of these there may be a few more.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Keys that one worker has one server hand over at once: while one is under way the next is there.
const AT_ONCE: usize = 2;

/// The same where the proxy carries them: a key takes three round trips. Each holds a value of
/// `big_key_bytes` at most.
const CARRIED_AT_ONCE: usize = 16;

/// For how long it is not asked after the other server has not answered.
const STUCK: Duration = Duration::from_secs(1);

/// Which key: the session, what it waits for, which of its keys.
pub(super) type Id = (u32, u32, u32);

/// A server of a pool.
pub(super) type At = (u16, usize);

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Flows {
    asked: HashMap<Id, At>,
    servers: HashMap<At, Flow>,
}

#[derive(Debug, Default)]
struct Flow {
    asked: usize,
    most: usize,
    waiting: VecDeque<Id>,
    stuck_until: Option<Instant>,
}

impl Flows {
    /// Whether a server may be asked for a key now; if not the key waits, and comes out of
    /// [`Flows::next`].
    pub(super) fn may_ask(&mut self, at: At, id: Id, carried: bool) -> bool {
        let flow = self.servers.entry(at).or_default();
        flow.most = if carried { CARRIED_AT_ONCE } else { AT_ONCE };
        if flow.asked >= flow.most {
            flow.waiting.push_back(id);
            return false;
        }
        flow.asked += 1;
        self.asked.insert(id, at);
        true
    }

    /// It has no more to answer about a key, or never will: which server that was.
    pub(super) fn ended(&mut self, id: Id) -> Option<At> {
        let at = self.asked.remove(&id)?;
        let flow = self.servers.get_mut(&at)?;
        flow.asked -= 1;
        Some(at)
    }

    /// The next key that it may be asked for.
    pub(super) fn next(&mut self, at: At) -> Option<Id> {
        let flow = self.servers.get_mut(&at)?;
        if flow.asked >= flow.most { None } else { flow.waiting.pop_front() }
    }

    /// The server that it hands keys over to has not answered it.
    pub(super) fn stick(&mut self, at: At, now: Instant) {
        self.servers.entry(at).or_default().stuck_until = Some(now + STUCK);
    }

    /// Whether that was a moment ago.
    pub(super) fn is_stuck(&self, at: At, now: Instant) -> bool {
        let until = self.servers.get(&at).and_then(|flow| flow.stuck_until);
        until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_few_keys_before_it_and_the_others_keep_their_order() {
        let (mut flows, at) = (Flows::default(), (0, 1));
        let id = |number: u32| (number, number, 0);
        assert!((0..AT_ONCE as u32).all(|number| flows.may_ask(at, id(number), false)));
        assert!(!flows.may_ask(at, id(7), false) && !flows.may_ask(at, id(8), false));
        assert!(flows.may_ask((0, 2), id(9), false), "another server");
        assert_eq!(flows.next(at), None);
        assert_eq!(flows.ended(id(7)), None, "it was never asked for");
        assert_eq!((flows.ended(id(0)), flows.ended(id(0))), (Some(at), None));
        assert_eq!(flows.next(at), Some(id(7)));
        assert!(flows.may_ask(at, id(7), false));
        assert_eq!(flows.next(at), None);
    }

    #[test]
    fn a_server_that_was_stuck_is_asked_again_after_a_while() {
        let (mut flows, at, now) = (Flows::default(), (0, 1), Instant::now());
        assert!(!flows.is_stuck(at, now));
        flows.stick(at, now);
        assert!(flows.is_stuck(at, now) && !flows.is_stuck((0, 2), now));
        assert!(!flows.is_stuck(at, now + STUCK));
    }
}
