//! Under the same name as in twinring, so that the reader finds what it uses.

pub use twinring::protocol::{Parsed, Rules, Span, redis};

#[path = "../../../src/protocol/support.rs"]
mod support;

use support::{Parse, cache, compat, events, native};

/// Takes the first three bytes of `data` for the rules and the place of a cut, and the others for
/// a stream: whole, cut once and byte by byte it must come to the same.
pub fn check(parse: Parse, data: &[u8]) {
    let [dialect, high, low, stream @ ..] = data else { return };
    let rules = match dialect % 3 {
        0 => native(),
        1 => cache(),
        _ => compat(),
    };
    let rules = Rules { lenient_lf: dialect & 0x80 == 0, ..rules };
    let whole = outcomes(parse, &rules, stream, &[]);
    let cut = usize::from(u16::from_be_bytes([*high, *low])) % (stream.len() + 1);
    assert_eq!(outcomes(parse, &rules, stream, &[cut]), whole, "cut at {cut}");
    let each: Vec<usize> = (0..stream.len()).collect();
    assert_eq!(outcomes(parse, &rules, stream, &each), whole, "byte by byte");
}

/// Without the words in which a lost client is told of it: a request that was begun is lost with
/// other words than one that is seen whole.
fn outcomes(parse: Parse, rules: &Rules, stream: &[u8], cuts: &[usize]) -> Vec<String> {
    let mut events = events(parse, rules, stream, cuts);
    if let Some(last) = events.last_mut().filter(|last| last.starts_with("lost")) {
        last.truncate("lost".len());
    }
    events
}
