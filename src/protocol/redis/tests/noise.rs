//! Whatever is sent, however it is cut, the parser says the same and does not fall over.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::{prop_assert, prop_assert_eq, proptest};

use super::replies::{REPLIES, scan};
use super::{GOOD, REFUSALS, words};
use crate::protocol::redis::{elements, parse, write_command};
use crate::protocol::support::{compat, events, native, once};
use crate::protocol::{Parsed, Rules};

/// Requests good and bad, now and then a large one or noise.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let large = (60_000usize..80_000, 0usize..4).prop_map(|(len, kind)| {
        let value = "v".repeat(len);
        match kind {
            0 => words(&format!("set k {value} EX 10")),
            1 => words(&format!("hset k a {value} b {value}")),
            2 => words(&format!("mset k {value}")),
            _ => [&words(&format!("set k {value}"))[..len], b"!!"].concat(),
        }
    });
    prop_oneof![
        8 => (0..GOOD.len()).prop_map(|at| words(GOOD[at])),
        4 => (0..GOOD.len()).prop_map(|at| format!("{}\r\n", GOOD[at]).into_bytes()),
        4 => (0..REFUSALS.len()).prop_map(|at| REFUSALS[at].0.as_bytes().to_vec()),
        2 => large,
        1 => vec(any::<u8>(), 0..20),
    ]
}

fn noise() -> impl Strategy<Value = Vec<u8>> {
    const WORDS: [&str; 22] = [
        "*",
        "*1\r\n",
        "*2\r\n",
        "*3\r\n",
        "$",
        "$3\r\n",
        "GET\r\n",
        "SET\r\n",
        "$1\r\n",
        "k\r\n",
        "+OK\r\n",
        "-ERR x\r\n",
        ":1\r\n",
        "$-1\r\n",
        "\r\n",
        "\n",
        "\r",
        "0",
        "-1",
        "9",
        "\"",
        " ",
    ];
    let word = (0..WORDS.len()).prop_map(|at| WORDS[at].as_bytes().to_vec());
    vec(prop_oneof![8 => word, 1 => vec(any::<u8>(), 0..6)], 0..40).prop_map(|words| words.concat())
}

/// `events` without the words in which a lost client is told of it: a request that was begun is
/// lost with other words than one that is seen whole.
fn outcomes(rules: &Rules, stream: &[u8], cuts: &[usize]) -> Vec<String> {
    let mut events = events(parse, rules, stream, cuts);
    if let Some(last) = events.last_mut()
        && last.starts_with("lost")
    {
        "lost".clone_into(last);
    }
    events
}

proptest! {
    #[test]
    fn requests_cut_anywhere_are_the_same(
        pieces in vec(piece(), 1..8),
        mut cuts in vec(0usize..2000, 0..12),
        strict in any::<bool>(),
    ) {
        let stream = pieces.concat();
        let rules = if strict { compat() } else { native() };
        // Some cuts of small steps, the rest of the stream in large ones.
        cuts.extend((1..40).map(|step| step * 7919));
        cuts.sort_unstable();
        prop_assert_eq!(outcomes(&rules, &stream, &cuts), outcomes(&rules, &stream, &[]));
    }

    #[test]
    fn noise_cut_anywhere_is_the_same(stream in noise(), strict in any::<bool>()) {
        let rules = if strict { compat() } else { native() };
        let each: Vec<usize> = (0..stream.len()).collect();
        prop_assert_eq!(outcomes(&rules, &stream, &each), outcomes(&rules, &stream, &[]));
    }

    #[test]
    fn replies_cut_anywhere_are_the_same(
        reply in noise(),
        which in 0..REPLIES.len(),
        prefix in any::<bool>(),
        mut cuts in vec(0usize..60, 0..6),
    ) {
        let start = if prefix { REPLIES[which].0.as_bytes() } else { b"" };
        let stream = [start, &reply].concat();
        cuts.sort_unstable();
        prop_assert_eq!(scan(&stream, &cuts), scan(&stream, &[]));
        let _ = elements(&stream).map(Iterator::count);
    }

    #[test]
    fn what_is_written_is_parsed(args in vec(vec(any::<u8>(), 0..40), 1..20)) {
        let mut request = Vec::new();
        let all = [b"rpush".to_vec(), b"key".to_vec()].into_iter().chain(args);
        let all: Vec<Vec<u8>> = all.collect();
        write_command(all.iter().map(Vec::as_slice), &mut request);
        let (parsed, found) = once(parse, &request, &native());
        prop_assert!(matches!(parsed, Parsed::Request(head) if head.len == request.len() as u64));
        prop_assert_eq!(found, all);
    }
}
