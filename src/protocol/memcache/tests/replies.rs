//! Tables of what servers answer, and of what we answer ourselves.

use crate::protocol::memcache::{Scanner, block, commands, expect_of, is_block, write_refusal};
use crate::protocol::support::native;
use crate::protocol::{Expect, Malformed, Outcome, Refusal, Scan};

/// A whole reply to a request that expects what stands first.
pub(super) const REPLIES: [(Expect, &str, Result<Outcome, Malformed>); 73] = [
    (Expect::Meta, "HD\r\n", Ok(Outcome::Hit)),
    (Expect::Meta, "HD f0 c1 Oabc\r\n", Ok(Outcome::Hit)),
    (Expect::Meta, "NS\r\n", Ok(Outcome::Done)),
    (Expect::Meta, "EX kfoo\r\n", Ok(Outcome::Done)),
    (Expect::Meta, "EN\r\n", Ok(Outcome::Miss)),
    (Expect::Meta, "NF O1\r\n", Ok(Outcome::Miss)),
    (Expect::Meta, "VA 5 t-1\r\nHD\r\nx\r\n", Ok(Outcome::Hit)),
    (Expect::Meta, "VA 0\r\n\r\n", Ok(Outcome::Hit)),
    (Expect::Meta, "VA\r\n", Err(Malformed::Syntax)),
    (Expect::Meta, "VA 1\r\nxx\r\n", Err(Malformed::Syntax)),
    (Expect::Meta, "MN\r\n", Err(Malformed::Unexpected)),
    (Expect::Meta, "STORED\r\n", Err(Malformed::Unexpected)),
    (Expect::Meta, "CLIENT_ERROR x\r\n", Ok(Outcome::Error)),
    (Expect::MetaQuiet, "MN\r\n", Ok(Outcome::Done)),
    (Expect::MetaQuiet, "VA 4\r\nMN\r\n\r\nMN\r\n", Ok(Outcome::Hit)),
    (Expect::MetaQuiet, "HD O1\r\nMN\r\n", Ok(Outcome::Hit)),
    (Expect::MetaQuiet, "EX O1\r\nMN\r\n", Ok(Outcome::Done)),
    (Expect::MetaQuiet, "CLIENT_ERROR x\r\nMN\r\n", Ok(Outcome::Error)),
    (Expect::MetaQuiet, "END\r\n", Err(Malformed::Unexpected)),
    (Expect::Number, "0\r\n", Ok(Outcome::Done)),
    (Expect::Number, "0  \r\n", Ok(Outcome::Done)),
    (Expect::Number, "9223372036854775807\r\n", Ok(Outcome::Done)),
    (Expect::Number, "18446744073709551616\r\n", Err(Malformed::Syntax)),
    (Expect::Number, "1a\r\n", Err(Malformed::Syntax)),
    (Expect::Number, "-1\r\n", Err(Malformed::Syntax)),
    (Expect::Number, "NOT_FOUND\r\n", Ok(Outcome::Miss)),
    (Expect::Number, "STORED\r\n", Err(Malformed::Unexpected)),
    (Expect::Deleted, "DELETED\r\n", Ok(Outcome::Done)),
    (Expect::Deleted, "NOT_FOUND\r\n", Ok(Outcome::Miss)),
    (Expect::Deleted, "TOUCHED\r\n", Err(Malformed::Unexpected)),
    (Expect::Stored, "STORED\r\n", Ok(Outcome::Done)),
    (Expect::Stored, "NOT_STORED\r\n", Ok(Outcome::Done)),
    (Expect::Stored, "EXISTS\r\n", Ok(Outcome::Done)),
    (Expect::Stored, "NOT_FOUND\r\n", Ok(Outcome::Miss)),
    (Expect::Stored, "END\r\n", Err(Malformed::Unexpected)),
    (Expect::Stored, "STORED\n", Err(Malformed::Syntax)),
    (Expect::Stored, "STOREDD\r\n", Err(Malformed::Syntax)),
    (Expect::Stored, "VALUE key 0 2\r\nab\r\nEND\r\n", Err(Malformed::Unexpected)),
    (Expect::Touched, "TOUCHED\r\n", Ok(Outcome::Done)),
    (Expect::Touched, "NOT_FOUND\r\n", Ok(Outcome::Miss)),
    (Expect::Touched, "7\r\n", Err(Malformed::Unexpected)),
    (Expect::Version, "VERSION 1.5.22\r\n", Ok(Outcome::Done)),
    (Expect::Version, "VERSION 1\r2\r\n", Err(Malformed::Syntax)),
    (Expect::Ok, "OK\r\n", Ok(Outcome::Done)),
    (Expect::Ok, "RESET\r\n", Err(Malformed::Unexpected)),
    (Expect::Stats, "STAT pid 1\r\nSTAT a b\r\nEND\r\n", Ok(Outcome::Done)),
    (Expect::Stats, "END\r\n", Ok(Outcome::Done)),
    (Expect::Stats, "RESET\r\n", Ok(Outcome::Done)),
    (Expect::Stats, "OK\r\n", Ok(Outcome::Done)),
    (Expect::Stats, "STATS\r\n", Err(Malformed::Syntax)),
    (Expect::Value, "END\r\n", Ok(Outcome::Miss)),
    (Expect::Value, "VALUE key 0 2\r\nab\r\nEND\r\n", Ok(Outcome::Hit)),
    (Expect::Value, "VALUE key 0 2 77\r\nab\r\nEND\r\n", Ok(Outcome::Hit)),
    (Expect::Value, "VALUE key 0 0\r\n\r\nEND\r\n", Ok(Outcome::Hit)),
    (Expect::Value, "VALUE kez 0 2\r\nab\r\nEND\r\n", Err(Malformed::Unexpected)),
    (Expect::Value, "VALUE ke 0 2\r\nab\r\nEND\r\n", Err(Malformed::Unexpected)),
    (
        Expect::Value,
        "VALUE key 0 2\r\nab\r\nVALUE key 0 2\r\nab\r\nEND\r\n",
        Err(Malformed::Unexpected),
    ),
    (Expect::Value, "VALUE key 0 101\r\n", Err(Malformed::Oversize)),
    (Expect::Value, "VALUE key 0 18446744073709551615\r\n", Err(Malformed::Oversize)),
    (Expect::Value, "VALUE key 0 18446744073709551616\r\n", Err(Malformed::Syntax)),
    (Expect::Value, "VALUE key 0 -1\r\n", Err(Malformed::Syntax)),
    (Expect::Value, "VALUE key 0\r\n", Err(Malformed::Syntax)),
    (Expect::Value, "VALUE key 0 2 3 4\r\n", Err(Malformed::Syntax)),
    (Expect::Value, "VALUE key  0 2\r\n", Err(Malformed::Syntax)),
    (Expect::Value, "VALUE key 0 2\r\nabc\r\nEND\r\n", Err(Malformed::Syntax)),
    (Expect::Value, "VALUE key 0 2\r\nab\r\nSERVER_ERROR x\r\n", Ok(Outcome::Error)),
    (Expect::Values, "VALUE a 0 2\r\nab\r\nVALUE b 0 2\r\ncd\r\nEND\r\n", Ok(Outcome::Hit)),
    (Expect::Values, "END\r\n", Ok(Outcome::Miss)),
    (Expect::Values, "ENDD\r\n", Err(Malformed::Syntax)),
    (Expect::Values, "\r\n", Err(Malformed::Syntax)),
    (Expect::Values, "\r", Err(Malformed::Syntax)),
    (Expect::Values, "HD\r\n", Err(Malformed::Syntax)),
    (Expect::Values, "STORED\r\n", Err(Malformed::Unexpected)),
];

/// Shows `reply` to a scanner in pieces; where it ended and how.
pub(super) fn scan(expect: Expect, reply: &[u8], cuts: &[usize]) -> Result<Scan, Malformed> {
    let mut scanner = Scanner::default();
    let mut used = 0;
    for there in cuts.iter().copied().chain([reply.len()]) {
        let there = there.min(reply.len()).max(used);
        let scan = scanner.scan(&reply[used..there], expect, b"key", 100)?;
        used += scan.used;
        if scan.end.is_some() {
            return Ok(Scan { used, end: scan.end });
        }
    }
    Ok(Scan { used, end: None })
}

#[test]
fn replies_are_taken_or_refused_as_the_request_expects() {
    for (expect, reply, outcome) in REPLIES {
        let whole = outcome.map(|end| Scan { used: reply.len(), end: Some(end) });
        assert_eq!(scan(expect, reply.as_bytes(), &[]), whole, "{expect:?} {reply:?}");
        let each: Vec<usize> = (0..reply.len()).collect();
        assert_eq!(scan(expect, reply.as_bytes(), &each), whole, "{expect:?} {reply:?}");
    }
}

#[test]
fn error_lines_answer_every_request() {
    let expects = [
        Expect::Values,
        Expect::Value,
        Expect::Stored,
        Expect::Deleted,
        Expect::Number,
        Expect::Touched,
        Expect::Version,
        Expect::Stats,
        Expect::Ok,
    ];
    for expect in expects {
        for line in
            ["ERROR\r\n", "ERROR too many\r\n", "CLIENT_ERROR x\r\n", "SERVER_ERROR x y\r\n"]
        {
            let end = Scan { used: line.len(), end: Some(Outcome::Error) };
            assert_eq!(scan(expect, line.as_bytes(), &[]), Ok(end));
        }
    }
}

#[test]
fn a_line_without_end_is_refused() {
    let line = format!("STAT {}", "x".repeat(5000));
    assert_eq!(scan(Expect::Stats, line.as_bytes(), &[]), Err(Malformed::Syntax));
}

#[test]
fn f07_bytes_after_a_reply_are_not_used() {
    let reply = b"VALUE key 0 2\r\nab\r\nEND\r\nEND\r\n";
    let end = Scan { used: 24, end: Some(Outcome::Hit) };
    assert_eq!(scan(Expect::Value, reply, &[]), Ok(end));
}

#[test]
fn a_block_is_found_by_its_key() {
    let reply = b"VALUE a 0 2\r\nab\r\nVALUE b\x01\xff 1 0 9\r\n\r\nEND\r\n";
    assert_eq!(block(reply, 0, b"a"), Some(&reply[..17]));
    assert_eq!(block(reply, 17, b"b\x01\xff"), Some(&reply[17..36]));
    for (at, key) in [(0, &b"b"[..]), (0, b""), (0, b"a "), (17, b"b"), (17, b"a"), (36, b"a")] {
        assert_eq!(block(reply, at, key), None, "{at} {key:?}");
    }
    assert_eq!(
        [0, 17, 35, 36, 1000].map(|at| is_block(reply, at)),
        [true, true, false, false, false]
    );
    assert_eq!(block(b"VALUE a 0 99\r\nab\r\nEND\r\n", 0, b"a"), None);
    assert_eq!(block(b"VALUE a 0 18446744073709551615\r\nab\r\nEND\r\n", 0, b"a"), None);
}

#[test]
fn each_command_expects_its_own_reply() {
    let expect = |name: &str, keys| {
        expect_of(&commands::find(name.as_bytes(), &native()).unwrap().command, keys)
    };
    assert_eq!(expect("get", 1), Expect::Value);
    assert_eq!(expect("gats", 2), Expect::Values);
    assert_eq!(expect("cas", 1), Expect::Stored);
    assert_eq!(expect("decr", 1), Expect::Number);
    assert_eq!(expect("delete", 1), Expect::Deleted);
    assert_eq!(expect("touch", 1), Expect::Touched);
    assert_eq!(expect("stats", 0), Expect::Stats);
    assert_eq!(expect("flush_all", 0), Expect::Ok);
    assert_eq!(expect("version", 0), Expect::Version);
}

#[test]
fn a_refusal_is_one_line() {
    let mut out = Vec::new();
    for refusal in [Refusal::Unknown, Refusal::Server("b"), Refusal::Redis("ERR c".to_owned())] {
        write_refusal(&refusal, &mut out);
    }
    assert_eq!(out, b"ERROR\r\nSERVER_ERROR b\r\nSERVER_ERROR ERR c\r\n");
}
