//! What a client asks, packet by packet.
//!
//! A packet says how long it is, so one that is refused is passed over. Where the parts of a packet
//! are not those of its opcode, it is answered and the client closed, as memcached does.

use crate::protocol::memcache::binary::Header;
use crate::protocol::memcache::binary::commands::{Row, row_of};
use crate::protocol::packet::HEADER;
use crate::protocol::{Failure, Head, Parsed, Refusal, Rules, Span, Status};

/// What every request begins with; no line of text does.
const REQUEST: u8 = 0x80;

/// True if a packet stands at the start of `bytes`.
pub(in crate::protocol::memcache) fn begins(bytes: &[u8]) -> bool {
    bytes.first() == Some(&REQUEST)
}

/// Parses the packet at the start of `bytes`; `args` is filled with its opcode, key and value. A
/// large value is [`Parsed::Begun`] while it comes in.
pub(in crate::protocol::memcache) fn parse(
    bytes: &[u8],
    rules: &Rules,
    args: &mut Vec<Span>,
) -> Parsed {
    let Some(header) = Header::of(bytes) else { return Parsed::Incomplete { need: HEADER } };
    let len = HEADER as u64 + u64::from(header.body);
    let refusal = |status| Refusal::Binary(Failure { echo: header.echo(), status });
    let row = match header.check(rules) {
        Ok(Some(row)) => row,
        Ok(None) => return Parsed::Refused { len, refusal: Some(refusal(Status::Unknown)) },
        Err(status) => return Parsed::Lost(refusal(status)),
    };
    let key_at = HEADER + header.extras;
    let value_at = key_at + header.key;
    if bytes.len() < value_at {
        return Parsed::Incomplete { need: value_at };
    }
    let span = |start: usize, end: usize| Span { start: start as u32, end: end as u32 };
    args.extend([span(1, 2), span(key_at, value_at)]);
    if len - value_at as u64 > rules.value_bytes {
        return Parsed::Refused { len, refusal: Some(refusal(Status::TooLarge)) };
    }
    args.push(span(value_at, len as usize));
    let head = header.head(row, value_at);
    match bytes.len() as u64 {
        have if have >= len => Parsed::Request(head),
        _ if len > Parsed::WHOLE_BYTES => Parsed::Begun(head),
        _ => Parsed::Incomplete { need: len as usize },
    }
}

impl Header {
    /// Its opcode's row, `None` if there is none; or why nothing can be made of the packet.
    fn check(&self, rules: &Rules) -> Result<Option<&'static Row>, Status> {
        let body = self.body as usize;
        let Some(value) = body.checked_sub(self.extras + self.key) else {
            return Err(Status::Unknown);
        };
        if self.key > rules.key_bytes {
            return Err(Status::Invalid);
        }
        let Some(row) = row_of(self.opcode) else { return Ok(None) };
        let shape = row.verb.shape();
        let fits = shape.extras.contains(&self.extras)
            && shape.key.is_none_or(|key| key == (self.key > 0))
            && (shape.value || value == 0);
        if fits { Ok(Some(row)) } else { Err(Status::Invalid) }
    }

    fn head(&self, row: &'static Row, value_at: usize) -> Head {
        Head {
            command: &row.command,
            len: HEADER as u64 + u64::from(self.body),
            noreply: false,
            bare_lf: false,
            line: value_at as u32,
            rewrite: false,
        }
    }
}
