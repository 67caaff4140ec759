//! One key's way to the server where it is to be used, without sockets: what the server that may
//! have it is told, and when the key may be used.
//!
//! ```text
//!  Move ─┬─ moved, absent ───────────────────────────────▶ Done
//!        ├─ busy (it is at both: the other wins) ─▶ Clear ─▶ Done
//!        ├─ lost ─▶ Move again, once ─▶ Stuck
//!        └─ refused ────────────────────────────────────▶ Failed
//! ```

use super::wire::{Answer, answer};

/// How often a key is sent before its request is given up: each time the server stands still.
const TRIES: u8 = 2;

/// What is asked of the server that may have the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ask {
    /// To hand it over.
    Move,
    /// To delete it.
    Clear,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Next {
    /// Ask this.
    Ask(Ask),
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
}

/// How far a key has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Way {
    asking: Ask,
    tries: u8,
}

impl Way {
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

fn refusal(why: &[u8]) -> String {
    let why: String = String::from_utf8_lossy(why).escape_debug().take(200).collect();
    format!("ERR the key cannot be moved to its server: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_at_both_is_deleted_where_it_comes_from() {
        let mut way = Way::new();
        assert_eq!(way.replied(b"-ERR x: BUSYKEY y\r\n"), Next::Ask(Ask::Clear));
        assert_eq!(way.asking(), Ask::Clear);
        assert_eq!(way.replied(b":0\r\n"), Next::Done(Found::Both));
    }

    #[test]
    fn what_is_lost_is_sent_again_but_not_for_ever() {
        let mut way = Way::new();
        let lost = b"-IOERR error or timeout\r\n";
        assert_eq!(way.replied(lost), Next::Ask(Ask::Move));
        assert_eq!(way.replied(lost), Next::Stuck);
    }

    #[test]
    fn what_the_server_says_reaches_the_client_as_one_line() {
        let why = Way::new().replied(b"-NOPERM a\tb\r\n");
        let told = "ERR the key cannot be moved to its server: NOPERM a\\tb";
        assert_eq!(why, Next::Failed(told.into()));
    }
}
