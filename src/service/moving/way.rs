//! One key's way to the server where it is to be used, without sockets: what the server that may
//! have it is told, and when the key may be used. In a pool whose data is a cache, [`Carry`].
//!
//! ```text
//!  Move ─┬─ moved, absent ───────────────────────────────▶ Done
//!        ├─ busy (it is at both: the other wins) ─▶ Clear ─▶ Done
//!        ├─ lost ─▶ Move again, once ─▶ Stuck
//!        └─ refused ────────────────────────────────────▶ Failed
//! ```

use super::carry::{Carry, Token};
use super::wire::{Answer, answer};

/// How often a key is sent before its request is given up: each time the server stands still.
const TRIES: u8 = 2;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ask {
    /// The server that may have the key, to hand it over.
    Move,
    /// The same, to delete it.
    Clear,
    /// The server that it goes to, to keep it for us.
    Token,
    /// The server that may have it, to give it to us.
    Take,
    /// The server that it goes to, to have it from us, or to hear that there is nothing.
    Put,
}

impl Ask {
    /// Which of a key's servers is asked: 0 the one that may have it, 1 the one that it goes to.
    pub(super) const fn side(self) -> usize {
        match self {
            Self::Move | Self::Clear | Self::Take => 0,
            Self::Token | Self::Put => 1,
        }
    }
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Next {
    /// Ask this.
    Ask(Ask),
    /// Somebody else is at it: ask the same in a while.
    Wait,
    /// The key, if there is one, is at the other server alone.
    Done(Found),
    /// It cannot be used now: what the client is told.
    Failed(String),
    /// The same: the other server does not answer.
    Stuck,
}

/// What a client is told then.
pub(super) const STUCK: &str = "TRYAGAIN the key could not be moved to its server in time";

/// Where the key was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Found {
    /// At the server that was asked.
    Here,
    /// Not there.
    Elsewhere,
    /// At both.
    Both,
    /// It had something that is nowhere now: in a cache.
    Dropped,
}

/// How far a key has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Way {
    /// From server to server.
    Handed(Handed),
    /// By us.
    Carried(Carry),
}

impl Way {
    /// The beginning; with a token it is carried.
    pub(super) fn new(token: Option<Token>) -> Self {
        token.map_or(Self::Handed(Handed::new()), |token| Self::Carried(Carry::new(token)))
    }

    /// What is being asked.
    pub(super) const fn asking(&self) -> Ask {
        match self {
            Self::Handed(handed) => handed.asking(),
            Self::Carried(carry) => carry.asking(),
        }
    }

    /// Takes the answer.
    pub(super) fn replied(&mut self, reply: &[u8]) -> Next {
        match self {
            Self::Handed(handed) => handed.replied(reply),
            Self::Carried(carry) => carry.replied(reply),
        }
    }

    /// Bytes that it holds.
    pub(super) fn held(&self) -> usize {
        let Self::Carried(carry) = self else { return 0 };
        carry.load().map_or(0, |load| load.value.len())
    }
}

/// How far a key has come that servers hand over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Handed {
    asking: Ask,
    tries: u8,
}

impl Handed {
    /// The beginning.
    pub(super) const fn new() -> Self {
        Self { asking: Ask::Move, tries: 1 }
    }

    /// What is being asked.
    pub(super) const fn asking(&self) -> Ask {
        self.asking
    }

    /// Takes the answer.
    pub(super) fn replied(&mut self, reply: &[u8]) -> Next {
        match (self.asking, answer(reply)) {
            (Ask::Move, Answer::Moved) => Next::Done(Found::Here),
            (Ask::Move, Answer::Absent) => Next::Done(Found::Elsewhere),
            (Ask::Move, Answer::Busy) => {
                self.asking = Ask::Clear;
                Next::Ask(Ask::Clear)
            }
            (Ask::Move, Answer::Lost) if self.tries < TRIES => {
                self.tries += 1;
                Next::Ask(Ask::Move)
            }
            (Ask::Clear, Answer::Cleared) => Next::Done(Found::Both),
            (_, Answer::Refused(why)) => Next::Failed(refusal(why)),
            _ => Next::Stuck,
        }
    }
}

/// What a client is told when a server refuses.
pub(super) fn refusal(why: &[u8]) -> String {
    let why: String = String::from_utf8_lossy(why).escape_debug().take(200).collect();
    format!("ERR the key cannot be moved to its server: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_at_both_is_deleted_where_it_comes_from() {
        let mut way = Way::new(None);
        assert_eq!(way.replied(b"-ERR x: BUSYKEY y\r\n"), Next::Ask(Ask::Clear));
        assert_eq!(way.asking(), Ask::Clear);
        assert_eq!(way.replied(b":0\r\n"), Next::Done(Found::Both));
    }

    #[test]
    fn what_is_lost_is_sent_again_but_not_for_ever() {
        let mut way = Way::new(None);
        let lost = b"-IOERR error or timeout\r\n";
        assert_eq!(way.replied(lost), Next::Ask(Ask::Move));
        assert_eq!(way.replied(lost), Next::Stuck);
    }

    #[test]
    fn what_the_server_says_reaches_the_client_as_one_line() {
        let why = Way::new(None).replied(b"-NOPERM a\tb\r\n");
        let told = "ERR the key cannot be moved to its server: NOPERM a\\tb";
        assert_eq!(why, Next::Failed(told.into()));
    }
}
