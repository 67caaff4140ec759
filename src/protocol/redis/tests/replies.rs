//! Replies of servers: where they end, and what they say.

use crate::protocol::redis::{Scanner, elements, integer, write_refusal};
use crate::protocol::{Malformed, Outcome, Refusal, Scan};

/// Replies of a server, whole, with 100 bytes allowed to a value.
pub(super) const REPLIES: [(&str, Result<Outcome, Malformed>); 47] = [
    ("+OK\r\n", Ok(Outcome::Hit)),
    ("+\r\n", Ok(Outcome::Hit)),
    ("-CUSTOMERR\r\n", Ok(Outcome::Error)),
    ("-Error message\r\n", Ok(Outcome::Error)),
    ("-LOADING Redis is loading\r\n", Ok(Outcome::Unavailable)),
    ("-BUSY script\r\n", Ok(Outcome::Unavailable)),
    ("-BUSYKEY Target key name already exists.\r\n", Ok(Outcome::Error)),
    ("-READONLY x\r\n", Ok(Outcome::Error)),
    ("-NOAUTH Authentication required.\r\n", Ok(Outcome::Auth)),
    ("-WRONGPASS x\r\n", Ok(Outcome::Auth)),
    ("-NOPERM x\r\n", Ok(Outcome::Auth)),
    ("-ERR invalid password\r\n", Ok(Outcome::Auth)),
    ("-ERR Client sent AUTH, but no password is set\r\n", Ok(Outcome::Auth)),
    ("-ERR AUTH <password> called without any password configured\r\n", Ok(Outcome::Auth)),
    (":0\r\n", Ok(Outcome::Hit)),
    (":-9223372036854775808\r\n", Ok(Outcome::Hit)),
    (":9223372036854775808\r\n", Err(Malformed::Syntax)),
    (":x\r\n", Err(Malformed::Syntax)),
    (":\r\n", Err(Malformed::Syntax)),
    ("$6\r\nfoobar\r\n", Ok(Outcome::Hit)),
    ("$0\r\n\r\n", Ok(Outcome::Hit)),
    ("$-1\r\n", Ok(Outcome::Miss)),
    ("$-2\r\n", Err(Malformed::Syntax)),
    (
        "$100\r\n0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\r\n",
        Ok(Outcome::Hit),
    ),
    ("$101\r\n", Err(Malformed::Oversize)),
    ("$2147483648\r\n", Err(Malformed::Oversize)),
    ("$99999999999999999999\r\n", Err(Malformed::Syntax)),
    ("$6\r\nfoobarr\r\n", Err(Malformed::Syntax)),
    ("$6\r\nfoobar\n\n", Err(Malformed::Syntax)),
    ("$0\r\nx\r\n", Err(Malformed::Syntax)),
    ("$0\n", Err(Malformed::Syntax)),
    ("*0\r\n", Ok(Outcome::Hit)),
    ("*-1\r\n", Ok(Outcome::Miss)),
    ("*\r\n", Err(Malformed::Syntax)),
    ("*-2\r\n", Err(Malformed::Syntax)),
    ("*99999999999\r\n", Err(Malformed::Oversize)),
    ("*2\r\n$3\r\nfoo\r\n$3\r\nbar\r\n", Ok(Outcome::Hit)),
    ("*3\r\n:1\r\n:2\r\n:3\r\n", Ok(Outcome::Hit)),
    ("*3\r\n$-1\r\n*-1\r\n-ERR x\r\n", Ok(Outcome::Hit)),
    ("*2\r\n*3\r\n:1\r\n:2\r\n:3\r\n*2\r\n+Foo\r\n-Bar\r\n", Ok(Outcome::Hit)),
    ("*2\r\n*1\r\n*0\r\n*1\r\n*1\r\n$1\r\na\r\n", Ok(Outcome::Hit)),
    ("*2\r\n*3\r\n:1\r\n:2\r\n:3\r\n*2\r\n\r\n", Err(Malformed::Syntax)),
    ("+OK\nx\r\n", Err(Malformed::Syntax)),
    ("+OK\rx\r\n", Err(Malformed::Syntax)),
    ("STORED\r\n", Err(Malformed::Syntax)),
    ("\r\n", Err(Malformed::Syntax)),
    ("%1\r\n", Err(Malformed::Syntax)),
];

/// Shows `reply` to a scanner in pieces; where it ended and how.
pub(super) fn scan(reply: &[u8], cuts: &[usize]) -> Result<Scan, Malformed> {
    let mut scanner = Scanner::default();
    let mut used = 0;
    for there in cuts.iter().copied().chain([reply.len()]) {
        let there = there.min(reply.len()).max(used);
        let scan = scanner.scan(&reply[used..there], 100)?;
        used += scan.used;
        if scan.end.is_some() {
            return Ok(Scan { used, end: scan.end });
        }
    }
    Ok(Scan { used, end: None })
}

#[test]
fn replies_are_framed_and_told_apart() {
    for (reply, outcome) in REPLIES {
        let whole = outcome.map(|end| Scan { used: reply.len(), end: Some(end) });
        assert_eq!(scan(reply.as_bytes(), &[]), whole, "{reply:?}");
        let each: Vec<usize> = (0..reply.len()).collect();
        assert_eq!(scan(reply.as_bytes(), &each), whole, "{reply:?}");
        let two = format!("{reply}+OK\r\n");
        assert_eq!(scan(two.as_bytes(), &[]), whole, "{reply:?} and another");
    }
}

#[test]
fn a_scanner_is_as_new_after_each_reply() {
    let mut scanner = Scanner::default();
    for (reply, outcome) in REPLIES {
        if let Ok(end) = outcome {
            let scan = scanner.scan(reply.as_bytes(), 100);
            assert_eq!(scan, Ok(Scan { used: reply.len(), end: Some(end) }), "{reply:?}");
        }
    }
}

#[test]
fn a_reply_ends_with_its_last_value_however_deep_it_is_nested() {
    let deep = format!("{}*2\r\n:1\r\n:2\r\n", "*1\r\n".repeat(1_000_000));
    let end = Ok(Scan { used: deep.len(), end: Some(Outcome::Hit) });
    assert_eq!(scan(format!("{deep}+OK\r\n").as_bytes(), &[]), end);
    let cut = deep.len() - 4;
    assert_eq!(scan(&deep.as_bytes()[..cut], &[]), Ok(Scan { used: cut, end: None }));
}

#[test]
fn an_endless_line_is_refused() {
    let line = format!("+{}", "x".repeat(70_000));
    assert_eq!(scan(line.as_bytes(), &[]), Err(Malformed::Syntax));
    assert_eq!(scan(&line.as_bytes()[..60_000], &[]), Ok(Scan { used: 0, end: None }));
}

#[test]
fn elements_are_those_of_the_outer_array() {
    let reply = b"*4\r\n$1\r\na\r\n$-1\r\n*1\r\n:7\r\n:8\r\n";
    let found: Vec<&[u8]> = elements(reply).unwrap().map(|span| span.of(reply)).collect();
    assert_eq!(found, [&b"$1\r\na\r\n"[..], b"$-1\r\n", b"*1\r\n:7\r\n", b":8\r\n"]);
    assert_eq!(elements(b"*0\r\n").unwrap().count(), 0);
    for other in [&b"*-1\r\n"[..], b"-ERR x\r\n", b"$1\r\na\r\n", b""] {
        assert!(elements(other).is_none());
    }
}

#[test]
fn integers_are_read_from_integer_replies_alone() {
    assert_eq!(integer(b":42\r\n"), Some(42));
    assert_eq!(integer(b":-1\r\n"), Some(-1));
    for other in [&b":1\r\n:2\r\n"[..], b"$1\r\n1\r\n", b":\r\n", b":1", b""] {
        assert_eq!(integer(other), None);
    }
}

#[test]
fn a_refusal_is_one_line() {
    let mut out = Vec::new();
    for refusal in [Refusal::Redis("ERR a".to_owned()), Refusal::Server("b"), Refusal::Unknown] {
        write_refusal(&refusal, &mut out);
    }
    assert_eq!(out, b"-ERR a\r\n-ERR b\r\n-ERR unknown command\r\n");
}
