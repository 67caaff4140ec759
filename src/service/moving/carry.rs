//! One key's way where servers are not told to hand keys to each other, without sockets: the proxy
//! carries its value. Nothing is kept that cannot be proven to be the latest: it is a cache.
//!
//! ```text
//!  Token ─┬─ ours: at the new server ─▶ Take ─ out of the old one, if there ─▶ Put ─┬─ ours still ─▶ Done
//!         └─ somebody else's ─▶ Wait ─▶ Token                                       └─ not ─▶ Token again
//! ```
//! Between Take and Put the value is nowhere but here. Somebody who finds neither server to have the
//! key may change it at the new one, and the value that comes then would be one of before. So nobody
//! uses a key before having held its token, and what is put down without the token is dropped: the
//! proxy that comes second waits until the first has put down what it carries, or until the token
//! has run out, with which what the first one carries is void.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use super::way::{Ask, Found, Next, STUCK, refusal};
use crate::protocol::redis::{bulk_text, elements, integer};

/// How often a key is begun with before its request is given up: each time the token has run out.
const TRIES: u8 = 3;

/// Tells one key's way from all others of all proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Token {
    /// Whose it is.
    pub(super) owner: u64,
    /// Which of its.
    pub(super) serial: u64,
}

/// Where tokens come from.
#[derive(Debug)]
pub(super) struct Tokens {
    owner: u64,
    next: u64,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { owner: RandomState::new().hash_one(()), next: 0 }
    }
}

impl Tokens {
    /// One that there has not been.
    pub(super) fn next(&mut self) -> Token {
        self.next += 1;
        Token { owner: self.owner, serial: self.next }
    }
}

/// What is carried.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Load {
    pub(super) value: Vec<u8>,
    /// What was left of its time when it was taken; `None`: it has no end.
    pub(super) ttl_ms: Option<u64>,
}

/// How far a key has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Carry {
    token: Token,
    tries: u8,
    asking: Ask,
    load: Option<Load>,
    /// Something was there that is kept nowhere now.
    dropped: bool,
}

/// What the old server has said.
enum Taken {
    Nothing,
    /// It had something that is not carried.
    Other,
    Value(Load),
}

impl Carry {
    /// The beginning.
    pub(super) const fn new(token: Token) -> Self {
        Self { token, tries: 1, asking: Ask::Token, load: None, dropped: false }
    }

    /// What is being asked.
    pub(super) const fn asking(&self) -> Ask {
        self.asking
    }

    /// What is carried.
    pub(super) const fn load(&self) -> Option<&Load> {
        self.load.as_ref()
    }

    /// The token as it stands at the new server. One that has run out is not used again.
    pub(super) fn token(&self) -> Vec<u8> {
        let Self { token: Token { owner, serial }, tries, .. } = self;
        format!("{owner:016x}-{serial}-{tries}").into_bytes()
    }

    /// Takes the answer.
    pub(super) fn replied(&mut self, reply: &[u8]) -> Next {
        if let Some(why) = reply.strip_prefix(b"-") {
            return Next::Failed(refusal(why.strip_suffix(b"\r\n").unwrap_or(why)));
        }
        match self.asking {
            Ask::Token if reply == b"+OK\r\n" => self.ask(Ask::Take),
            Ask::Token if reply == b"$-1\r\n" => Next::Wait,
            Ask::Take => match taken(reply) {
                Some(taken) => {
                    self.dropped |= matches!(taken, Taken::Other);
                    self.load = if let Taken::Value(load) = taken { Some(load) } else { None };
                    self.ask(Ask::Put)
                }
                None => strange(reply),
            },
            Ask::Put => self.put(reply),
            _ => strange(reply),
        }
    }

    fn put(&mut self, reply: &[u8]) -> Next {
        let load = self.load.take();
        match integer(reply) {
            Some(1) if load.is_some() => Next::Done(Found::Here),
            Some(1) if self.dropped => Next::Done(Found::Dropped),
            Some(1) => Next::Done(Found::Elsewhere),
            Some(2) => Next::Done(Found::Both),
            Some(0) => {
                self.dropped |= load.is_some();
                self.tries += 1;
                if self.tries > TRIES {
                    Next::Failed(STUCK.to_owned())
                } else {
                    self.ask(Ask::Token)
                }
            }
            _ => strange(reply),
        }
    }

    fn ask(&mut self, ask: Ask) -> Next {
        self.asking = ask;
        Next::Ask(ask)
    }
}

/// Reads what [`wire`](super::wire) has the old server answer.
fn taken(reply: &[u8]) -> Option<Taken> {
    match integer(reply) {
        Some(0) => return Some(Taken::Nothing),
        Some(1) => return Some(Taken::Other),
        _ => {}
    }
    let mut parts = elements(reply)?;
    let value = bulk_text(parts.next()?.of(reply))?.to_vec();
    Some(match integer(parts.next()?.of(reply))? {
        // It ends now.
        0 => Taken::Nothing,
        ttl => Taken::Value(Load { value, ttl_ms: u64::try_from(ttl).ok() }),
    })
}

fn strange(reply: &[u8]) -> Next {
    Next::Failed(refusal(reply.split(|byte| *byte == b'\r').next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carry() -> Carry {
        Carry::new(Token { owner: 7, serial: 1 })
    }

    #[test]
    fn a_value_is_carried_with_its_time() {
        let mut way = carry();
        assert_eq!(way.replied(b"+OK\r\n"), Next::Ask(Ask::Take));
        assert_eq!(way.replied(b"*2\r\n$3\r\na\r\n\r\n:250\r\n"), Next::Ask(Ask::Put));
        let load = Load { value: b"a\r\n".to_vec(), ttl_ms: Some(250) };
        assert_eq!(way.load(), Some(&load));
        assert_eq!(way.clone().replied(b":1\r\n"), Next::Done(Found::Here));
        assert_eq!(way.replied(b":2\r\n"), Next::Done(Found::Both));
        assert_eq!(way.load(), None);
        let mut way = carry();
        way.replied(b"+OK\r\n");
        way.replied(b"*2\r\n$0\r\n\r\n:-1\r\n");
        assert_eq!(way.load(), Some(&Load { value: Vec::new(), ttl_ms: None }));
    }

    #[test]
    fn what_is_no_string_is_dropped_and_nothing_is_nothing() {
        for (taken, found) in [(&b":1\r\n"[..], Found::Dropped), (b":0\r\n", Found::Elsewhere)] {
            let mut way = carry();
            way.replied(b"+OK\r\n");
            assert_eq!(way.replied(taken), Next::Ask(Ask::Put));
            assert_eq!(way.replied(b":1\r\n"), Next::Done(found));
        }
    }

    #[test]
    fn who_has_lost_the_token_begins_with_another_but_not_for_ever() {
        let mut way = carry();
        let mut tokens = Vec::new();
        let mut last = Next::Wait;
        for _ in 0..TRIES {
            tokens.push(way.token());
            assert_eq!(way.replied(b"$-1\r\n"), Next::Wait);
            way.replied(b"+OK\r\n");
            way.replied(b"*2\r\n$1\r\na\r\n:-1\r\n");
            last = way.replied(b":0\r\n");
            assert_eq!(way.load(), None);
        }
        assert_eq!(last, Next::Failed(STUCK.to_owned()));
        tokens.dedup();
        assert_eq!(tokens.len(), usize::from(TRIES));
    }

    #[test]
    fn what_the_server_says_reaches_the_client_as_one_line() {
        let told = "ERR the key cannot be moved to its server: NOPERM a\\tb";
        assert_eq!(carry().replied(b"-NOPERM a\tb\r\n"), Next::Failed(told.to_owned()));
        let told = "ERR the key cannot be moved to its server: *1";
        assert_eq!(carry().replied(b"*1\r\n$1\r\na\r\n"), Next::Failed(told.to_owned()));
    }
}
