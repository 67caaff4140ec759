//! A storage command without its data.

use crate::protocol::memcache::binary;
use crate::protocol::{Head, Op, Outline, Request, Span};

/// The outline of a request whose line, or packet, stands at the start of `bytes`; `None` if its
/// command makes its value of more than its data.
pub fn outline(bytes: &[u8], head: &Head, args: &[Span]) -> Option<Outline> {
    let length_at = match head.command.op {
        Op::Set | Op::Add | Op::Replace | Op::Cas => 4,
        Op::Binary => return binary::outline(&Request { head, bytes, args }),
        // Without a mode (`M`) it sets.
        Op::MetaSet if !args.iter().skip(3).any(|flag| flag.of(bytes).starts_with(b"M")) => 2,
        _ => return None,
    };
    let value_at = head.line as usize;
    let mut text = Vec::with_capacity(value_at);
    for (at, word) in args.iter().enumerate() {
        if at > 0 {
            text.push(b' ');
        }
        text.extend_from_slice(if at == length_at { b"0" } else { word.of(bytes) });
    }
    text.extend_from_slice(b"\r\n");
    Some(Outline { text, len: head.len - u64::from(head.line) - 2, value_at })
}
