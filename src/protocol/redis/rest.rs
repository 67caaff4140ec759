//! Finds the end of a large request that is passed on while it comes in.

use crate::protocol::body::{BadEnd, Body};
use crate::protocol::redis::array::{Number, number};
use crate::protocol::{Outline, Refusal, Span};

/// Bytes of an argument's header line: 13 digits are more than any limit on a value needs.
const HEADER_BYTES: usize = 16;

/// Where a [`Begun`](crate::protocol::Parsed::Begun) request stands: what of which argument comes
/// next. It holds no data: 48 bytes however large the request is.
#[derive(Debug)]
pub struct Rest {
    /// Arguments whose header line has not been read.
    headers: u64,
    /// Bytes that one argument may have.
    argument_bytes: u64,
    /// The argument that is coming in.
    body: Body,
    header: [u8; HEADER_BYTES],
    header_len: u8,
}

impl Rest {
    /// Starts after `bytes`: all that is there of a request from its start, which must be begun
    /// and unfinished. No argument may be longer than `argument_bytes`.
    pub fn after(bytes: &[u8], argument_bytes: u64) -> Result<Self, Refusal> {
        let (headers, start) = match number(bytes, 1) {
            Number::Value(count, start) => (u64::try_from(count).unwrap_or(0), start),
            Number::Cut | Number::Bad => return Err(refusal("invalid multibulk length")),
        };
        let mut rest = Self {
            headers,
            argument_bytes,
            body: Body::default(),
            header: [0; HEADER_BYTES],
            header_len: 0,
        };
        match rest.advance(bytes.get(start..).unwrap_or_default())? {
            (_, false) => Ok(rest),
            (_, true) => Err(refusal("nothing is missing")),
        }
    }

    /// Takes the next `bytes`: how many of them belong to the request, and whether it ends there.
    ///
    /// An error means that its end cannot be found: neither side's connection is of use any more.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<(usize, bool), Refusal> {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            if self.body.is_open() {
                let taken = self.body.take(rest);
                used += taken.map_err(|BadEnd| refusal("expected CRLF after a bulk"))?;
            } else if self.headers > 0 {
                used += self.header(rest)?;
            } else {
                return Ok((used, true));
            }
            if used == bytes.len() && (self.body.is_open() || self.headers > 0) {
                return Ok((used, false));
            }
        }
    }

    /// Collects the header line, which may come in pieces.
    fn header(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        for (at, byte) in bytes.iter().enumerate() {
            let Some(place) = self.header.get_mut(usize::from(self.header_len)) else {
                return Err(refusal("invalid bulk length"));
            };
            *place = *byte;
            self.header_len += 1;
            if *byte == b'\n' {
                self.open()?;
                return Ok(at + 1);
            }
        }
        Ok(bytes.len())
    }

    /// The header line is complete.
    fn open(&mut self) -> Result<(), Refusal> {
        let line = self.header.get(..usize::from(self.header_len)).unwrap_or_default();
        self.body = match (line.first(), number(line, 1)) {
            (Some(b'$'), Number::Value(len, _)) => u64::try_from(len)
                .ok()
                .filter(|len| *len <= self.argument_bytes)
                .and_then(Body::of)
                .ok_or_else(|| refusal("invalid bulk length"))?,
            _ => return Err(refusal("invalid bulk length")),
        };
        self.header_len = 0;
        self.headers -= 1;
        Ok(())
    }
}

/// The outline of a request that has begun and whose arguments before the large one are `args`.
pub fn outline(bytes: &[u8], args: &[Span]) -> Option<Outline> {
    let header_at = args.last()?.end as usize + 2;
    let Number::Value(len, value_at) = number(bytes, header_at + 1) else { return None };
    let text = [bytes.get(..header_at)?, b"$0\r\n"].concat();
    Some(Outline { text, len: u64::try_from(len).ok()?, value_at })
}

fn refusal(text: &str) -> Refusal {
    Refusal::Redis(format!("ERR Protocol error: {text}"))
}
