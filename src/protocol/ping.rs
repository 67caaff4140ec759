//! The smallest protocol there is, Pelikan's: the line `PING`, answered by `PONG`.

use memchr::memchr;

use crate::protocol::{Access, Command, Head, Keys, Op, Parsed, Plan, Refusal, Span};

/// No line of this protocol is longer.
const LINE_BYTES: usize = 64;

static PING: Command = Command {
    name: "PING",
    arity: 1,
    keys: Keys::None,
    access: Access::None,
    plan: Plan::Refuse,
    op: Op::Ping,
    compat: 0,
};

/// Parses what stands at the start of `bytes`; any case will do, and so will a bare LF.
pub fn parse(bytes: &[u8], args: &mut Vec<Span>) -> Parsed {
    args.clear();
    let Some(end) = memchr(b'\n', bytes.get(..LINE_BYTES).unwrap_or(bytes)) else {
        if bytes.len() >= LINE_BYTES {
            return Parsed::Lost(Refusal::Unknown);
        }
        return Parsed::Incomplete { need: bytes.len() + 1 };
    };
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    if !line.eq_ignore_ascii_case(b"PING") {
        return Parsed::Refused { len: end as u64 + 1, refusal: Some(Refusal::Unknown) };
    }
    args.push(Span { start: 0, end: line.len() as u32 });
    let len = end as u64 + 1;
    Parsed::Request(Head {
        command: &PING,
        len,
        noreply: false,
        bare_lf: false,
        line: len as u32,
        rewrite: false,
    })
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::protocol::{Parsed, Refusal};

    #[test]
    fn a_ping_is_one_line() {
        for (bytes, len) in [(&b"PING\r\nPING"[..], 6), (b"ping\n", 5)] {
            let Parsed::Request(head) = parse(bytes, &mut Vec::new()) else { panic!() };
            assert_eq!(head.len, len);
        }
        for cut in 0..6 {
            let parsed = parse(&b"PING\r\n"[..cut], &mut Vec::new());
            assert!(matches!(parsed, Parsed::Incomplete { need } if need == cut + 1), "{parsed:?}");
        }
    }

    #[test]
    fn another_line_is_refused_and_one_without_end_is_the_last() {
        let parsed = parse(b"PONG\r\n", &mut Vec::new());
        assert!(matches!(parsed, Parsed::Refused { len: 6, refusal: Some(Refusal::Unknown) }));
        let parsed = parse(&[b'x'; 64], &mut Vec::new());
        assert!(matches!(parsed, Parsed::Lost(Refusal::Unknown)));
    }
}
