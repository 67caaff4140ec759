//! Parts in, replies in any order, one reply out.

use std::time::Instant;

use super::merge::Merged;
use super::{Gathers, Manner, Merge, New, end_line, write_redis_parts};
use crate::backend::Failure;
use crate::protocol::Request;
use crate::protocol::{Malformed, Outcome, Parsed, Rules, Span, redis};
use crate::service::proxy::Lane;

const LANE: Lane = Lane { session: 0, resp3: false };
const STRICT: Manner = Manner { partial: false, dead_misses: false, compat: false };
const PARTIAL: Manner = Manner { partial: true, ..STRICT };

fn begin(gathers: &mut Gathers, merge: Merge) -> (u32, u32) {
    let (ticket, now, limit) = (None, Instant::now(), 1 << 20);
    gathers.begin(New { ticket, pool: 0, merge, read: true, now, lane: LANE, mark: 0, limit })
}

/// `get` of `keys` over two servers: a key goes to the one that its first byte is the number of.
fn get(keys: &[&str]) -> (Gathers, (u32, u32)) {
    let mut gathers = Gathers::new(1 << 20);
    let at = begin(&mut gathers, Merge::Values);
    let gather = gathers.at(at.0);
    let mut parts = [None; 2];
    for key in keys {
        let server = usize::from(key.as_bytes()[0] - b'0');
        let part = *parts[server].get_or_insert_with(|| gather.add_part(server, b"get"));
        gather.add_word(format!(" {key}").as_bytes(), part);
    }
    gather.parts().iter_mut().for_each(end_line);
    (gathers, at)
}

/// The answers of both parts, the second one first; an error is a failed server.
fn answer(gathers: &mut Gathers, at: (u32, u32), replies: [Result<&str, Failure>; 2]) {
    for (part, reply) in [1, 0].into_iter().zip(replies.into_iter().rev()) {
        let whole = match reply {
            Ok(text) => gathers.take_in(at, part, text.as_bytes(), Some(Outcome::Hit)),
            Err(why) => gathers.failed(at, part, why),
        };
        assert_eq!(whole, part == 0, "only the last one completes the request");
    }
}

fn merged(gathers: &mut Gathers, at: (u32, u32), manner: Manner) -> (Merged, String) {
    let mut out = Vec::new();
    let merged = gathers.at(at.0).merge(manner, |server| [&b"zero"[..], b"one"][server], &mut out);
    gathers.finish(at.0);
    assert_eq!(gathers.held(), 0);
    (merged, String::from_utf8(out).unwrap())
}

#[test]
fn values_are_merged_in_the_order_of_the_keys() {
    let (mut gathers, at) = get(&["1b", "0a", "1miss", "0a", "1c"]);
    let wires: Vec<&[u8]> = gathers.at(at.0).parts().iter().map(|part| &part.wire[..]).collect();
    assert_eq!(wires, [&b"get 1b 1miss 1c\r\n"[..], b"get 0a 0a\r\n"]);
    let (b, c) = ("VALUE 1b 0 1\r\nB\r\n", "VALUE 1c 5 2 77\r\n\r\n\r\n");
    let a = "VALUE 0a 0 0\r\n\r\n";
    answer(&mut gathers, at, [Ok(&format!("{b}{c}END\r\n")), Ok(&format!("{a}{a}END\r\n"))]);
    let (result, text) = merged(&mut gathers, at, STRICT);
    assert_eq!(result, Merged { hits: 4, misses: 1, ..Merged::default() });
    assert_eq!(text, format!("{b}{a}{a}{c}END\r\n"));
}

#[test]
fn a_value_that_was_not_asked_for_is_noticed() {
    for foreign in ["1x", "1", "1bb", "0a"] {
        let (mut gathers, at) = get(&["1b", "0a"]);
        let reply = format!("VALUE {foreign} 0 1\r\nx\r\nEND\r\n");
        answer(&mut gathers, at, [Ok(&reply), Ok("END\r\n")]);
        let (result, text) = merged(&mut gathers, at, STRICT);
        assert_eq!((result.foreign, result.misses), (Some(1), 2), "{foreign}");
        assert_eq!(text, "END\r\n");
    }
}

#[test]
fn a_failed_part_is_an_error_or_misses() {
    let failures = [Failure::TimedOut, Failure::BadReply(Malformed::Oversize)];
    for failure in failures {
        for (manner, error) in [(STRICT, true), (PARTIAL, false)] {
            let (mut gathers, at) = get(&["1b", "0a"]);
            answer(&mut gathers, at, [Err(failure), Ok("VALUE 0a 0 1\r\nA\r\nEND\r\n")]);
            let (result, text) = merged(&mut gathers, at, manner);
            assert_eq!(result.failure, error.then_some(failure));
            assert_eq!((result.hits, result.misses), if error { (0, 0) } else { (1, 1) });
            assert_eq!(text, if error { "" } else { "VALUE 0a 0 1\r\nA\r\nEND\r\n" });
        }
    }
}

#[test]
fn stats_are_led_by_the_node_name() {
    let mut gathers = Gathers::new(1 << 20);
    let at = begin(&mut gathers, Merge::Stats);
    (0..2).for_each(|server| _ = gathers.at(at.0).add_part(server, b"stats\r\n"));
    answer(&mut gathers, at, [Ok("STAT a 1\r\nEND\r\n"), Ok("STAT a 2\r\nEND\r\n")]);
    let (_, text) = merged(&mut gathers, at, STRICT);
    assert_eq!(text, "STAT zero:a 1\r\nSTAT one:a 2\r\nEND\r\n");
}

#[test]
fn counts_are_added_up_name_by_name_and_the_largest_is_taken() {
    let of = |merge, first: &str, second: &str| {
        let mut gathers = Gathers::new(1 << 20);
        let at = begin(&mut gathers, merge);
        (0..2).for_each(|server| _ = gathers.at(at.0).add_part(server, b"PUBSUB\r\n"));
        answer(&mut gathers, at, [Ok(first), Ok(second)]);
        let (result, text) = merged(&mut gathers, at, STRICT);
        (result.foreign, text)
    };
    let counts = |a, b| format!("*4\r\n$1\r\na\r\n:{a}\r\n$1\r\nb\r\n:{b}\r\n");
    assert_eq!(of(Merge::Counts, &counts(1, 0), &counts(2, 7)), (None, counts(3, 7)));
    assert_eq!(of(Merge::Counts, "*0\r\n", "*0\r\n"), (None, "*0\r\n".to_owned()));
    for odd in ["*1\r\n$1\r\na\r\n", "*2\r\n$1\r\na\r\n:1\r\n", ":1\r\n", &counts(1, 1)] {
        let odd = odd.replace("$1\r\nb", "$1\r\nc");
        assert_eq!(of(Merge::Counts, &counts(1, 0), &odd).0, Some(1), "{odd}");
    }
    assert_eq!(of(Merge::Counts, "*0\r\n", &counts(1, 0)).0, Some(1));
    assert_eq!(of(Merge::Most, ":2\r\n", ":5\r\n"), (None, ":5\r\n".to_owned()));
    assert_eq!(of(Merge::Most, ":2\r\n", "+OK\r\n").0, Some(1));
}

/// A Redis request whose keys go to the two servers in turn.
fn redis_split(bytes: &str, first: usize, step: usize) -> (Gathers, (u32, u32)) {
    let bytes = bytes.as_bytes();
    let rules = Rules {
        compat: false,
        cache: false,
        lenient_lf: true,
        key_bytes: 250,
        value_bytes: 1 << 20,
        keys_per_request: 100,
        args_per_request: 100,
        line_bytes: 2048,
    };
    let mut args: Vec<Span> = Vec::new();
    let (head, bytes) = match redis::parse(bytes, &rules, &mut args) {
        Parsed::Request(head) => (head, bytes.to_vec()),
        Parsed::Inline(line) => (line.head, line.text),
        other => panic!("no request: {other:?}"),
    };
    let mut gathers = Gathers::new(1 << 20);
    let at = begin(&mut gathers, Merge::Array);
    let gather = gathers.at(at.0);
    let parts = [0, 1].map(|server| gather.add_part(server, &[]));
    (first..args.len())
        .step_by(step)
        .zip(parts.iter().cycle())
        .for_each(|(_, &p)| gather.add_key(p));
    write_redis_parts(gather, &Request { head: &head, bytes: &bytes, args: &args }, first, step);
    (gathers, at)
}

#[test]
fn redis_parts_are_arrays_of_their_keys() {
    for request in
        ["*4\r\n$4\r\nmget\r\n$1\r\na\r\n$2\r\nbb\r\n$3\r\nccc\r\n", "mget  a bb ccc\r\n"]
    {
        let (mut gathers, at) = redis_split(request, 1, 1);
        let [a, b] = gathers.at(at.0).parts() else { panic!("two parts") };
        assert_eq!(a.wire, b"*3\r\n$4\r\nMGET\r\n$1\r\na\r\n$3\r\nccc\r\n");
        assert_eq!(b.wire, b"*2\r\n$4\r\nMGET\r\n$2\r\nbb\r\n");
    }
    let mset = "*5\r\n$4\r\nMSET\r\n$1\r\na\r\n$2\r\n11\r\n$2\r\nbb\r\n$1\r\n2\r\n";
    let (mut gathers, at) = redis_split(mset, 1, 2);
    let [a, b] = gathers.at(at.0).parts() else { panic!("two parts") };
    assert_eq!(a.wire, b"*3\r\n$4\r\nMSET\r\n$1\r\na\r\n$2\r\n11\r\n");
    assert_eq!(b.wire, b"*3\r\n$4\r\nMSET\r\n$2\r\nbb\r\n$1\r\n2\r\n");
}

#[test]
fn elements_are_merged_in_the_order_of_the_keys() {
    let mget = "*4\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n";
    let long = "x".repeat(1234);
    for (first, second, foreign, text) in [
        (
            "*2\r\n$1\r\nA\r\n$-1\r\n",
            "*1\r\n$0\r\n\r\n",
            None,
            "*3\r\n$1\r\nA\r\n$0\r\n\r\n$-1\r\n",
        ),
        ("*1\r\n$1\r\nA\r\n", "*1\r\n:7\r\n", Some(0), "*3\r\n$1\r\nA\r\n:7\r\n$-1\r\n"),
        (
            "*2\r\n$-1\r\n*1\r\n$1\r\nx\r\n",
            "*2\r\n$1\r\nB\r\n$1\r\nB\r\n",
            Some(1),
            "*3\r\n$-1\r\n$1\r\nB\r\n*1\r\n$1\r\nx\r\n",
        ),
        (
            &format!("*2\r\n$1234\r\n{long}\r\n$1\r\nC\r\n"),
            "*1\r\n$1\r\nB\r\n",
            None,
            &format!("*3\r\n$1234\r\n{long}\r\n$1\r\nB\r\n$1\r\nC\r\n"),
        ),
    ] {
        let (mut gathers, at) = redis_split(mget, 1, 1);
        answer(&mut gathers, at, [Ok(first), Ok(second)]);
        let (result, merged) = merged(&mut gathers, at, STRICT);
        assert_eq!((result.foreign, merged.as_str()), (foreign, text));
    }
}
