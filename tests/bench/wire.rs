//! What load and storage-less server agree on: protocols, keys, values, and buffered sockets.
//!
//! A key is a prefix and eight hexadecimal digits that are drawn from its number; a value begins
//! and ends with the digits of its key, so that a reply with another key's value is seen.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection};

/// The protocol of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(crate) enum Protocol {
    /// memcached's text protocol.
    Memcache,
    /// RESP2.
    Redis,
}

impl Protocol {
    /// As the configuration and the scenario names have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memcache => "memcache",
            Self::Redis => "redis",
        }
    }
}

/// The digits of a key: unlike neighbours, so that ids in a row spread over the servers (FNV puts
/// keys that differ in their last bytes only close together on the ring).
pub(crate) fn digits(id: u32) -> [u8; DIGITS] {
    let mut left = id.wrapping_mul(SCRAMBLE);
    let mut text = [0; DIGITS];
    for byte in text.iter_mut().rev() {
        *byte = b"0123456789abcdef"[(left & 15) as usize];
        left >>= 4;
    }
    text
}

/// The id that [`digits`] made `text` from, if it is one.
pub(crate) fn id(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    Some(u32::from_str_radix(text, 16).ok()?.wrapping_mul(UNSCRAMBLE))
}

/// Bytes of [`digits`].
pub(crate) const DIGITS: usize = 8;
/// Odd, hence a bijection on 32 bits (Knuth's multiplicative hashing).
const SCRAMBLE: u32 = 0x9e37_79b1;
/// Its inverse modulo 2^32.
const UNSCRAMBLE: u32 = inverse(SCRAMBLE);

/// The inverse of an odd number modulo 2^32, by Newton's iteration: correct bits double each time.
const fn inverse(odd: u32) -> u32 {
    let mut x = odd;
    let mut round = 0;
    while round < 5 {
        x = x.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(x)));
        round += 1;
    }
    x
}

/// Appends the value of the key whose digits are `digits`; `filler` is what stands between.
pub(crate) fn put_value(out: &mut Vec<u8>, digits: &[u8], filler: &[u8]) {
    out.extend_from_slice(digits);
    out.extend_from_slice(filler);
    out.extend_from_slice(digits);
}

/// What stands between the digits in a value of `value_bytes` (at least twice [`DIGITS`]).
pub(crate) fn filler(value_bytes: usize) -> Vec<u8> {
    vec![b'x'; value_bytes.saturating_sub(2 * DIGITS)]
}

/// Something that listens on 127.0.0.1, and how it is spoken to.
#[derive(Clone)]
pub(crate) struct Target {
    /// Where it listens.
    pub(crate) port: u16,
    /// What clients have to know to speak TLS; `None` is plain text.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl From<u16> for Target {
    fn from(port: u16) -> Self {
        Self { port, tls: None }
    }
}

impl Target {
    /// The TLS of one connection to it, if it has any.
    ///
    /// # Errors
    /// Those of rustls.
    pub(crate) fn secure(&self) -> io::Result<Option<ClientConnection>> {
        let Some(tls) = &self.tls else { return Ok(None) };
        let name = ServerName::from(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let mut secure = ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
        // What is written before the handshake is done waits in it, however much.
        secure.set_buffer_limit(None);
        Ok(Some(secure))
    }
}

/// A non-blocking socket with what was read but not used, and what could not be written yet.
pub(crate) struct Wire {
    /// The socket.
    pub(crate) stream: TcpStream,
    secure: Option<Box<ClientConnection>>,
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes to write; append and call [`Wire::flush`].
    pub(crate) output: Vec<u8>,
    written: usize,
}

impl Wire {
    /// Takes a socket over; `room` is the size of its input at first, in bytes.
    pub(crate) fn new(stream: TcpStream, secure: Option<ClientConnection>, room: usize) -> Self {
        let (secure, input, output) = (secure.map(Box::new), vec![0; room], Vec::new());
        Self { stream, secure, input, start: 0, end: 0, output, written: 0 }
    }

    /// Reads once, as much as there is room for; false when there was nothing.
    ///
    /// # Errors
    /// The socket's own, and `UnexpectedEof` when the peer has closed.
    pub(crate) fn fill(&mut self) -> io::Result<bool> {
        if let Some(mut secure) = self.secure.take() {
            let filled = self.decipher(&mut secure);
            self.secure = Some(secure);
            // A handshake has answers of its own.
            return filled.and_then(|filled| self.flush().map(|_| filled));
        }
        self.make_room();
        match self.stream.read(&mut self.input[self.end..]) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.end += count;
                Ok(true)
            }
            Err(error) if not_yet(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn decipher(&mut self, secure: &mut ClientConnection) -> io::Result<bool> {
        match secure.read_tls(&mut self.stream) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if not_yet(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
        let state = secure.process_new_packets().map_err(io::Error::other)?;
        let mut left = state.plaintext_bytes_to_read();
        let filled = left > 0;
        while left > 0 {
            self.make_room();
            let count = secure.reader().read(&mut self.input[self.end..])?;
            self.end += count;
            left -= count;
        }
        Ok(filled)
    }

    /// What was read and not used.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    /// Takes `count` bytes off [`Wire::unread`].
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Writes what it can; true when all is written.
    ///
    /// # Errors
    /// The socket's own.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        if let Some(secure) = &mut self.secure {
            secure.writer().write_all(&self.output)?;
            self.output.clear();
            while secure.wants_write() {
                match secure.write_tls(&mut self.stream) {
                    Ok(_) => {}
                    Err(error) if not_yet(&error) => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
            return Ok(true);
        }
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if not_yet(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(true)
    }

    /// Leaves at least one free byte at the end of the input, and the unread bytes in one piece.
    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.input.len() && self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.input.len() {
            self.input.resize(self.end * 2, 0);
        }
    }
}

/// Errors that mean "later": a socket still connecting says `NotConnected`.
fn not_yet(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, NotConnected, WouldBlock};
    matches!(error.kind(), WouldBlock | NotConnected | Interrupted)
}
