//! What we answer ourselves: replies in RESP2, or in RESP3 where a client has asked for it.

use bytes::Bytes;

use crate::protocol::{Access, Command, Keys, Output, Refusal};

/// Appends replies to a client's output.
#[derive(Debug)]
pub struct Reply<'a> {
    out: &'a mut Output,
    resp3: bool,
}

impl<'a> Reply<'a> {
    /// Appends to `out`.
    pub const fn new(out: &'a mut Output, resp3: bool) -> Self {
        Self { out, resp3 }
    }

    /// Whether it writes RESP3.
    pub const fn is_resp3(&self) -> bool {
        self.resp3
    }

    /// Goes on in the other version.
    pub const fn switch(&mut self, resp3: bool) {
        self.resp3 = resp3;
    }

    /// Where the next reply begins, for [`Reply::cut`].
    pub fn mark(&self) -> usize {
        self.out.len()
    }

    /// See [`Output::size`].
    pub fn size(&self) -> usize {
        self.out.size()
    }

    /// Takes back what was written since the mark.
    pub fn cut(&mut self, mark: usize) {
        self.out.truncate(mark);
    }

    /// Appends what is written in the protocol already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// `+text`
    pub fn status(&mut self, text: &str) {
        for part in ["+", text, "\r\n"] {
            self.raw(part.as_bytes());
        }
    }

    /// `+OK`
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// An error line; `text` begins with its code.
    pub fn error(&mut self, text: &str) {
        self.raw(b"-");
        let printable = |byte: u8| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte };
        self.out.extend(text.bytes().map(printable));
        self.raw(b"\r\n");
    }

    /// `:number`
    pub fn integer(&mut self, number: i64) {
        self.line(b':', number);
    }

    /// Nothing, in place of a string.
    pub fn null(&mut self) {
        self.raw(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// Nothing, in place of an array.
    pub fn null_array(&mut self) {
        self.raw(if self.resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// A string.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.bulk_pieces(bytes.len(), std::iter::once(bytes));
    }

    /// A string of `len` bytes in pieces.
    pub fn bulk_pieces<'b>(&mut self, len: usize, pieces: impl Iterator<Item = &'b [u8]>) {
        self.line(b'$', len as i64);
        pieces.for_each(|piece| self.raw(piece));
        self.raw(b"\r\n");
    }

    /// A string whose pieces are not copied.
    pub fn bulk_shared(&mut self, pieces: &[Bytes]) {
        self.line(b'$', pieces.iter().map(Bytes::len).sum::<usize>() as i64);
        self.out.share(pieces);
        self.raw(b"\r\n");
    }

    /// A text for people.
    pub fn verbatim(&mut self, text: &str) {
        if !self.resp3 {
            return self.bulk(text.as_bytes());
        }
        self.line(b'=', text.len() as i64 + 4);
        for part in ["txt:", text, "\r\n"] {
            self.raw(part.as_bytes());
        }
    }

    /// The header of an array of `len` elements.
    pub fn array(&mut self, len: usize) {
        self.line(b'*', len as i64);
    }

    /// The header of a map of `len` pairs.
    pub fn map(&mut self, len: usize) {
        if self.resp3 { self.line(b'%', len as i64) } else { self.array(2 * len) }
    }

    /// The header of a set of `len` elements.
    pub fn set(&mut self, len: usize) {
        if self.resp3 { self.line(b'~', len as i64) } else { self.array(len) }
    }

    /// The header of a push of `len` elements, which only RESP3 has and which answers nothing.
    pub fn push(&mut self, len: usize) {
        self.line(b'>', len as i64);
    }

    fn line(&mut self, kind: u8, number: i64) {
        self.out.push(kind);
        let mut buffer = [0; DIGITS];
        self.out.extend_from_slice(decimal(number, &mut buffer));
        self.out.extend_from_slice(b"\r\n");
    }

    /// A row of a command table in the six fields that clients have read since Redis 2.8.13.
    pub fn command(&mut self, row: &Command) {
        let (first, last, step) = match row.keys {
            Keys::None | Keys::Counted(_) | Keys::Streams(_) => (0, 0, 0),
            Keys::CountedInto(_) | Keys::Stored(_) => (1, 1, 1),
            Keys::At(index) => (index, i64::from(index), 1),
            Keys::Every { first, last, step } => (first, last.into(), step),
        };
        self.array(6);
        self.bulk(row.name.to_ascii_lowercase().as_bytes());
        self.integer(row.arity.into());
        let flag = match row.access {
            Access::Read => Some("readonly"),
            Access::Write => Some("write"),
            Access::None => None,
        };
        self.set(flag.iter().len());
        flag.iter().for_each(|flag| self.status(flag));
        self.integer(first.into());
        self.integer(last);
        self.integer(step.into());
    }
}

/// The user that a password without a name belongs to.
pub const DEFAULT_USER: &[u8] = b"default";

/// Bytes of the longest number, `-9223372036854775808`.
pub const DIGITS: usize = 20;

/// `number` in decimal, at the end of `buffer`.
pub fn decimal(number: i64, buffer: &mut [u8; DIGITS]) -> &[u8] {
    let mut at = DIGITS;
    let mut left = number.unsigned_abs();
    loop {
        at -= 1;
        buffer[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        buffer[at] = b'-';
    }
    &buffer[at..]
}

/// Appends the error line that tells a client of `refusal`.
pub fn write_refusal(refusal: &Refusal, out: &mut Vec<u8>) {
    let (word, text) = match refusal {
        Refusal::Unknown | Refusal::Binary(_) => ("ERR ", "unknown command"),
        Refusal::Client(text) | Refusal::Server(text) => ("ERR ", *text),
        Refusal::Redis(text) => ("", text.as_str()),
    };
    for part in ["-", word, text, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}
