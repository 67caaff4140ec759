//! Bounds on requests, and those that come in parts.

use super::{answer, words};
use crate::protocol::redis::{Rest, Scanner, parse};
use crate::protocol::support::{native, once};
use crate::protocol::{Malformed, Parsed, Rules, Scan};

#[test]
fn bounds_on_keys_values_and_arguments_hold() {
    let key = "k".repeat(251);
    for text in [format!("get {key}"), format!("mset a b {key} c"), format!("eval x 1 {key}")] {
        let request = words(&text);
        let error = "ERR key is longer than the limit".to_owned();
        assert_eq!(answer(&request, &native()), (error, true, request.len() as u64));
    }
    let request = words(&format!("del{}", " k".repeat(21)));
    let error = "ERR too many keys in one request".to_owned();
    assert_eq!(answer(&request, &native()), (error, true, request.len() as u64));
    let request = words(&format!("mset{}", " k v".repeat(20)));
    assert!(matches!(once(parse, &request, &native()).0, Parsed::Request(_)));
    // The last argument is swallowed as it comes.
    let start = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$200001\r\n";
    let error = "ERR value is larger than the limit".to_owned();
    assert_eq!(answer(start, &native()), (error, true, start.len() as u64 + 200_003));
    let line = format!("rpush k{}\r\n", " v".repeat(49));
    assert_eq!(answer(line.as_bytes(), &native()).0, "ERR too many arguments");
}

#[test]
fn what_is_missing_is_known_from_the_headers() {
    let needs = [
        ("*", 2),
        ("*3\r", 4),
        // A header may be wrong at the next byte.
        ("*3\r\n", 5),
        ("*3\r\n$3", 7),
        // After a body, the first byte that is not its end shows the error.
        ("*3\r\n$3\r\n", 8 + 3 + 1),
        ("*3\r\n$3\r\nSET\r\n$10\r\n", 18 + 10 + 1),
        ("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5000\r\nab", 20 + 7 + 5000 + 1),
        ("*2\r\n$3\r\nGET\r\n$1\r\nk\r", 20),
    ];
    for (text, least) in needs {
        let (parsed, _) = once(parse, text.as_bytes(), &native());
        assert!(
            matches!(parsed, Parsed::Incomplete { need } if need == least),
            "{text:?} {parsed:?}"
        );
    }
}

#[test]
fn a_request_with_a_large_argument_is_begun_once_its_server_is_known() {
    let begun = [
        ("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$70000\r\nab", 3, 70_030),
        ("*5\r\n$3\r\nset\r\n$1\r\nk\r\n$70000\r\nab", 3, 70_042),
        ("*5\r\n$4\r\nEVAL\r\n$1\r\nx\r\n$1\r\n1\r\n$1\r\nk\r\n$70000\r\n", 5, 70_045),
    ];
    for (text, args, len) in begun {
        let (parsed, found) = once(parse, text.as_bytes(), &native());
        let Parsed::Begun(head) = parsed else { panic!("{text:?}: {parsed:?}") };
        assert_eq!((head.len, found.len()), (len, args - 1), "{text:?}");
    }
    let waited_for = [
        // Small; the key itself; no key yet; a command that is split, unknown, wrong, local.
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$60000\r\n",
        "*3\r\n$3\r\nSET\r\n$70000\r\n",
        "*4\r\n$4\r\nEVAL\r\n$70000\r\n",
        "*3\r\n$4\r\nMSET\r\n$1\r\nk\r\n$70000\r\n",
        "*3\r\n$3\r\nFOO\r\n$1\r\nk\r\n$70000\r\n",
        "*3\r\n$3\r\nGET\r\n$1\r\nk\r\n$70000\r\n",
        "*2\r\n$4\r\nECHO\r\n$70000\r\n",
        "*5\r\n$4\r\nEVAL\r\n$1\r\nx\r\n$1\r\n0\r\n$1\r\nk\r\n$70000\r\n",
    ];
    for text in waited_for {
        let (parsed, _) = once(parse, text.as_bytes(), &native());
        assert!(matches!(parsed, Parsed::Incomplete { .. }), "{text:?}: {parsed:?}");
    }
}

#[test]
fn the_rest_of_a_begun_request_is_framed() {
    let value = "v".repeat(70_000);
    let request = words(&format!("set k {value} EX 10"));
    for start in [30, 50_000, 70_000] {
        let mut rest = Rest::after(&request[..start], 1 << 30).unwrap();
        let mut stream = request[start..].to_vec();
        let len = stream.len();
        stream.extend_from_slice(b"*1\r\n");
        let (first, second) = stream.split_at(len - 7);
        assert_eq!(rest.advance(first), Ok((len - 7, false)));
        assert_eq!(rest.advance(second), Ok((7, true)));
    }
    assert!(Rest::after(&request, 1 << 30).is_err());
    assert!(Rest::after(b"*x\r\n", 1 << 30).is_err());
    for bad in
        ["v\r\n$x\r\n", "v\r\n+OK\r\n", "v\r\n$1073741825\r\n", "v\n\n", "v\r\n$0000000000000000"]
    {
        let start = "*4\r\n$3\r\nset\r\n$1\r\nk\r\n$3\r\nvv";
        let mut rest = Rest::after(start.as_bytes(), 1 << 30).unwrap();
        assert!(rest.advance(bad.as_bytes()).is_err(), "{bad:?}");
    }
}

#[test]
fn the_limit_on_values_alone_bounds_them() {
    let roomy = Rules { value_bytes: 3 << 30, ..native() };
    let begun = |len: u64, rules: &Rules| {
        let start = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${len}\r\nvvv");
        matches!(once(parse, start.as_bytes(), rules).0, Parsed::Begun(head) if head.len > len)
    };
    // Beyond Redis's default for `proto-max-bulk-len`, and beyond what is held of a request.
    for len in [(512 << 20) + 1, 1 << 30, 3 << 30] {
        assert!(begun(len, &roomy), "{len}");
    }
    for limit in [600 << 20, 1 << 30] {
        let rules = Rules { value_bytes: limit, ..native() };
        assert!(begun(limit, &rules) && !begun(limit + 1, &rules), "{limit}");
        // A later argument of a request that is being passed on has the same bound.
        let rest = |len: u64| {
            let start = b"*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\nvv";
            let mut rest = Rest::after(start, limit).unwrap();
            rest.advance(format!("v\r\n${len}\r\n").as_bytes()).map(|(_, ended)| ended)
        };
        assert_eq!(rest(limit), Ok(false));
        assert!(rest(limit + 1).is_err());
        let reply = |len: u64| Scanner::default().scan(format!("${len}\r\nvvv").as_bytes(), limit);
        assert!(matches!(reply(limit), Ok(Scan { end: None, .. })));
        assert_eq!(reply(limit + 1), Err(Malformed::Oversize));
    }
    // What must be held whole has a bound of its own.
    let split = format!("*3\r\n$4\r\nMSET\r\n$1\r\nk\r\n${}\r\nvvv", (1u64 << 30) + 1);
    assert!(matches!(once(parse, split.as_bytes(), &roomy).0, Parsed::Refused { .. }));
}
