//! What the tests of both protocols share: rules, and a reader that gets its bytes in pieces.

use crate::protocol::redis::Rest;
use crate::protocol::{Parsed, Rules, Span};

pub(super) type Parse = fn(&[u8], &Rules, &mut Vec<Span>) -> Parsed;

/// Small bounds, so that tests reach them.
pub(super) const fn native() -> Rules {
    Rules {
        compat: false,
        cache: false,
        lenient_lf: true,
        key_bytes: 250,
        value_bytes: 200_000,
        keys_per_request: 20,
        args_per_request: 50,
        line_bytes: 4096,
    }
}

pub(super) const fn cache() -> Rules {
    Rules { cache: true, ..native() }
}

pub(super) const fn compat() -> Rules {
    Rules { compat: true, ..native() }
}

/// Parses `bytes` once; the answer and the arguments.
pub(super) fn once(parse: Parse, bytes: &[u8], rules: &Rules) -> (Parsed, Vec<Vec<u8>>) {
    let mut spans = Vec::new();
    let parsed = parse(bytes, rules, &mut spans);
    (parsed, spans.iter().map(|span| span.of(bytes).to_vec()).collect())
}

/// Reads all of `stream`, of which more and more is there as `cuts` say, as a session does, and
/// lists what came of it. The list must not depend on `cuts`.
pub(super) fn events(parse: Parse, rules: &Rules, stream: &[u8], cuts: &[usize]) -> Vec<String> {
    let mut reader =
        Reader { parse, rules, stream, at: 0, need: 1, skip: 0, rest: None, events: Vec::new() };
    for there in cuts.iter().copied().chain([stream.len()]) {
        while reader.step(there.min(stream.len())) {}
        if reader.need == usize::MAX {
            break;
        }
    }
    reader.events
}

struct Reader<'a> {
    parse: Parse,
    rules: &'a Rules,
    stream: &'a [u8],
    /// Where the current request begins.
    at: usize,
    /// Bytes of it that must be there before it is looked at; all there are if it is lost.
    need: usize,
    /// Bytes to be thrown away.
    skip: u64,
    /// The end of a begun request is looked for from there on.
    rest: Option<(Rest, usize)>,
    events: Vec<String>,
}

impl Reader<'_> {
    /// Looks at the stream up to `there`; `false` if more is needed.
    fn step(&mut self, there: usize) -> bool {
        let skipped = self.skip.min(there.saturating_sub(self.at) as u64);
        (self.at, self.skip) = (self.at + skipped as usize, self.skip - skipped);
        // At the end of the stream it is looked at in any case: no more will come.
        let short = there < self.at.saturating_add(self.need) && there < self.stream.len();
        if self.need == usize::MAX || self.skip > 0 || short || there <= self.at {
            return false;
        }
        let Some((mut rest, seen)) = self.rest.take() else {
            return self.parse(there);
        };
        let Ok((used, ended)) = rest.advance(&self.stream[seen..there]) else {
            return self.lost("its rest");
        };
        assert!(ended || used == there - seen);
        if ended {
            return self.parse(seen + used);
        }
        self.rest = Some((rest, there));
        false
    }

    fn lost(&mut self, why: &str) -> bool {
        self.events.push(format!("lost {why}"));
        self.need = usize::MAX;
        false
    }

    fn parse(&mut self, there: usize) -> bool {
        let (parsed, args) = once(self.parse, &self.stream[self.at..there], self.rules);
        self.need = 1;
        match parsed {
            Parsed::Incomplete { need } => {
                assert!(need > there - self.at, "asks for what is there");
                self.need = need;
                return false;
            }
            Parsed::Begun(head) if head.line > 0 => {
                self.need = head.len as usize;
                return false;
            }
            Parsed::Begun(head) => {
                assert!(head.len > (there - self.at) as u64);
                let rest = Rest::after(&self.stream[self.at..there]);
                self.rest = Some((rest.expect("what is there is sound"), there));
                return false;
            }
            Parsed::Request(head) => {
                self.events.push(format!("{} {} {args:?}", head.command.name, head.noreply));
                self.skip = head.len;
            }
            Parsed::Skip { len } => self.skip = len as u64,
            Parsed::Refused { len, refusal } => {
                self.events.push(format!("{refusal:?}"));
                self.skip = len;
            }
            Parsed::Lost(refusal) => return self.lost(&format!("{refusal:?}")),
        }
        assert!(self.skip > 0, "no progress");
        true
    }
}
