//! Replies in RESP3: where they end, and what they say.

use proptest::prelude::*;

use crate::protocol::redis::{Scanner, elements};
use crate::protocol::{Malformed, Outcome, Scan};

/// Replies, and what they say.
const REPLIES: [(&str, Outcome); 19] = [
    ("_\r\n", Outcome::Miss),
    ("#t\r\n", Outcome::Hit),
    (",3.5\r\n", Outcome::Hit),
    (",inf\r\n", Outcome::Hit),
    ("(3492890328409238509324850943850943825024385\r\n", Outcome::Hit),
    ("!10\r\nERR a\r\nb\r\n\r\n", Outcome::Error),
    ("=15\r\ntxt:Some\r\nthing\r\n", Outcome::Hit),
    ("%0\r\n", Outcome::Hit),
    ("%2\r\n+a\r\n:1\r\n+b\r\n%1\r\n+c\r\n_\r\n", Outcome::Hit),
    ("~2\r\n+a\r\n#f\r\n", Outcome::Hit),
    ("*2\r\n_\r\n,1\r\n", Outcome::Hit),
    ("|1\r\n+ttl\r\n:3\r\n_\r\n", Outcome::Miss),
    ("|1\r\n+ttl\r\n*1\r\n_\r\n-ERR x\r\n", Outcome::Error),
    ("|0\r\n+OK\r\n", Outcome::Hit),
    ("|1\r\n+a\r\n_\r\n|1\r\n+b\r\n_\r\n_\r\n", Outcome::Miss),
    ("*2\r\n|1\r\n+a\r\n_\r\n:1\r\n:2\r\n", Outcome::Hit),
    ("|1\r\n+a\r\n_\r\n%1\r\n+b\r\n_\r\n", Outcome::Hit),
    (">2\r\n+invalidate\r\n*1\r\n$1\r\na\r\n", Outcome::Hit),
    ("$-1\r\n", Outcome::Miss),
];

#[test]
fn every_type_ends_where_it_ends_and_says_what_it_says() {
    let mut scanner = Scanner::speaking(true);
    for (reply, outcome) in REPLIES {
        let two = format!("{reply}+OK\r\n");
        let found = scanner.scan(two.as_bytes(), 100);
        assert_eq!(found, Ok(Scan { used: reply.len(), end: Some(outcome) }), "{reply:?}");
    }
}

#[test]
fn what_was_not_agreed_on_is_an_error() {
    let old = |reply: &&str| !reply.starts_with(['*', '$']);
    for reply in REPLIES.iter().map(|(reply, _)| *reply).filter(old) {
        let found = Scanner::default().scan(reply.as_bytes(), 100);
        assert_eq!(found, Err(Malformed::Syntax), "{reply:?}");
    }
    let new = |reply: &str| Scanner::speaking(true).scan(reply.as_bytes(), 100);
    for bad in ["*1\r\n>0\r\n", "%-1\r\n", "~-1\r\n", "|-1\r\n", "=-1\r\n", "%x\r\n", "?1\r\n"] {
        assert_eq!(new(bad), Err(Malformed::Syntax), "{bad:?}");
    }
    for large in ["%3000000000\r\n", "|2147483648\r\n", "=101\r\n", "!101\r\n"] {
        assert_eq!(new(large), Err(Malformed::Oversize), "{large:?}");
    }
}

#[test]
fn elements_may_be_of_any_type() {
    let reply = b"*4\r\n_\r\n%1\r\n+a\r\n:1\r\n,2.5\r\n|1\r\n+a\r\n:1\r\n:7\r\n";
    let found: Vec<&[u8]> = elements(reply).unwrap().map(|span| span.of(reply)).collect();
    let wanted: [&[u8]; 4] =
        [b"_\r\n", b"%1\r\n+a\r\n:1\r\n", b",2.5\r\n", b"|1\r\n+a\r\n:1\r\n:7\r\n"];
    assert_eq!(found, wanted);
}

proptest! {
    /// However a stream of replies is cut, it falls apart into the same replies.
    #[test]
    fn a_stream_cut_anywhere_is_the_same(
        chosen in prop::collection::vec(0..REPLIES.len(), 1..20),
        cuts in prop::collection::vec(1_usize..9, 1..60),
    ) {
        let stream: String = chosen.iter().map(|at| REPLIES[*at].0).collect();
        let (mut scanner, mut cuts) = (Scanner::speaking(true), cuts.into_iter().cycle());
        let (mut there, mut used, mut found) = (0, 0, Vec::new());
        while used < stream.len() {
            there = (there + cuts.next().unwrap()).min(stream.len());
            loop {
                let scan = scanner.scan(&stream.as_bytes()[used..there], 100).unwrap();
                used += scan.used;
                let Some(outcome) = scan.end else { break };
                found.push(outcome);
                if used == there {
                    break;
                }
            }
        }
        let wanted: Vec<Outcome> = chosen.iter().map(|at| REPLIES[*at].1).collect();
        prop_assert_eq!(found, wanted);
    }
}
