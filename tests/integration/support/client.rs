//! A blocking client that speaks raw bytes, with a deadline on everything it waits for.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::transcript::escaped;
use super::wait::LONG;

/// One connection, as a client of a server or as the server's side of one.
pub(crate) struct Client {
    stream: TcpStream,
    /// Bytes received; those before `taken` are dealt with.
    buffer: Vec<u8>,
    taken: usize,
    patience: Duration,
}

impl Client {
    /// Connects to a port of 127.0.0.1.
    pub(crate) fn connect(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        Self::over(stream.unwrap_or_else(|error| panic!("connect to port {port}: {error}")))
    }

    /// Speaks over a socket that is connected already.
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Self { stream, buffer: Vec::new(), taken: 0, patience: LONG }
    }

    /// Waits at most this long for what is expected, instead of [`LONG`].
    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// A second handle, so that one thread can write while another reads.
    pub(crate) fn writer(&self) -> TcpStream {
        self.stream.try_clone().expect("a second handle")
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes.as_ref()).expect("send");
    }

    /// Sends, or says why not (the other side may have closed, and that may be right).
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.set_write_timeout(Some(self.patience))?;
        self.stream.write_all(bytes)
    }

    /// Sends each byte in a write of its own, so that the receiver may see any cut.
    pub(crate) fn send_bytewise(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let start = Instant::now();
        bytes.iter().try_for_each(|byte| {
            // Lets the receiver run, so that it does not find all bytes at once; but on a busy
            // machine that is a turn of the scheduler for each.
            if start.elapsed() < YIELDING {
                std::thread::yield_now();
            }
            self.stream.write_all(std::slice::from_ref(byte))
        })
    }

    /// Sends and takes a reply of as many bytes as `reply` has, which must be `reply`.
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>, reply: impl AsRef<[u8]>) {
        self.send(request);
        self.expect(reply);
    }

    /// The next bytes must be these.
    pub(crate) fn expect(&mut self, wanted: impl AsRef<[u8]>) {
        let wanted = wanted.as_ref();
        if let Err(why) = self.try_expect(wanted) {
            panic!("{why}");
        }
    }

    /// As [`Self::expect`], with the difference told as text.
    pub(crate) fn try_expect(&mut self, wanted: &[u8]) -> Result<(), String> {
        let full = self.fill(|bytes| (bytes.len() >= wanted.len()).then_some(wanted.len()));
        let here = self.buffer[self.taken..].len().min(wanted.len());
        let got = &self.buffer[self.taken..self.taken + here];
        if got == wanted {
            self.taken += here;
            return Ok(());
        }
        let why = full.err().unwrap_or_else(|| "wrong bytes".to_owned());
        // A value of megabytes is no help to the reader of a failure.
        let at = got.iter().zip(wanted).position(|(a, b)| a != b).unwrap_or(here);
        let from = at.saturating_sub(40);
        let show = |bytes: &[u8]| escaped(&bytes[from.min(bytes.len())..bytes.len().min(at + 160)]);
        let rest = &self.buffer[self.taken..];
        Err(format!("{why}, at byte {at}\n  wanted: {}\n  got:    {}", show(wanted), show(rest)))
    }

    /// The next line with its line end.
    pub(crate) fn read_line(&mut self) -> Vec<u8> {
        self.take(|bytes| bytes.iter().position(|&byte| byte == b'\n').map(|at| at + 1))
    }

    /// One whole memcache reply: a line, or all VALUE blocks up to END.
    pub(crate) fn memcache_reply(&mut self) -> Vec<u8> {
        self.take(frame::memcache_reply)
    }

    /// One whole RESP reply, arrays with all they hold.
    pub(crate) fn redis_reply(&mut self) -> Vec<u8> {
        self.take(frame::resp)
    }

    /// One whole memcache request, the data block included.
    pub(crate) fn memcache_request(&mut self) -> Option<Vec<u8>> {
        self.fill(frame::memcache_request).ok().map(|length| self.consume(length))
    }

    /// One RESP request, as its arguments.
    pub(crate) fn redis_request(&mut self) -> Option<Vec<Vec<u8>>> {
        let length = self.fill(frame::resp).ok()?;
        Some(frame::arguments(&self.consume(length)))
    }

    /// Takes one frame as `length_of` measures it, or says why there is none.
    pub(crate) fn try_take(
        &mut self,
        length_of: impl FnMut(&[u8]) -> Option<usize>,
    ) -> Result<Vec<u8>, String> {
        self.fill(length_of).map(|length| self.consume(length))
    }

    /// The other side must close without a further byte.
    pub(crate) fn expect_closed(&mut self) {
        if let Err(why) = self.try_expect_closed() {
            panic!("{why}");
        }
    }

    /// As [`Self::expect_closed`], with the difference told as text.
    pub(crate) fn try_expect_closed(&mut self) -> Result<(), String> {
        match self.fill(|bytes| (!bytes.is_empty()).then_some(bytes.len())) {
            Ok(length) => Err(format!("wanted an end, got: {}", escaped(&self.consume(length)))),
            Err(why) if why == CLOSED => Ok(()),
            Err(why) => Err(format!("wanted an end: {why}")),
        }
    }

    /// Everything up to the end of the connection, or up to `length` bytes if it stays open.
    pub(crate) fn read_to_end_or(&mut self, length: usize) -> Vec<u8> {
        // What is too much is seen in the bytes as well: so only the end ends a longer reply.
        let exact = self.fill(|bytes| (bytes.len() == length).then_some(length));
        self.consume(exact.unwrap_or(self.buffer.len() - self.taken))
    }

    /// Everything up to the end of the connection.
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let why = self.fill(|_| None).expect_err("only an end ends this");
        assert_eq!(why, CLOSED, "after {} bytes", self.buffer.len() - self.taken);
        self.consume(self.buffer.len() - self.taken)
    }

    /// Tells the other side that no more will be sent.
    pub(crate) fn half_close(&mut self) {
        // An error means that the other side has closed already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    fn take(&mut self, length_of: impl FnMut(&[u8]) -> Option<usize>) -> Vec<u8> {
        let got = self.try_take(length_of);
        got.unwrap_or_else(|why| panic!("{why}; got {}", escaped(&self.buffer[self.taken..])))
    }

    fn consume(&mut self, length: usize) -> Vec<u8> {
        let bytes = self.buffer[self.taken..self.taken + length].to_vec();
        self.taken += length;
        if self.taken == self.buffer.len() {
            self.buffer.clear();
            self.taken = 0;
        }
        bytes
    }

    /// Reads until `length_of` finds a whole frame among the waiting bytes; the length of it.
    fn fill(&mut self, mut length_of: impl FnMut(&[u8]) -> Option<usize>) -> Result<usize, String> {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(length) = length_of(&self.buffer[self.taken..]) {
                return Ok(length);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("no answer within {:?}", self.patience));
            }
            self.stream.set_read_timeout(Some(left)).expect("a read timeout");
            self.read_some()?;
        }
    }

    fn read_some(&mut self) -> Result<(), String> {
        let start = self.buffer.len();
        self.buffer.resize(start + READ_BYTES, 0);
        let read = self.stream.read(&mut self.buffer[start..]);
        self.buffer.truncate(start + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(CLOSED.to_owned()),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(CLOSED.to_owned()),
            Err(error) if retry(error.kind()) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What [`Client`] says of a connection that the other side closed, orderly or by a reset.
const CLOSED: &str = "connection closed";

/// How long single bytes are waited with: a request has 10 s to come in.
const YIELDING: Duration = Duration::from_secs(3);

/// Bytes asked for by one read.
const READ_BYTES: usize = 64 * 1024;

fn retry(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Where one message ends among bytes; `None` asks for more bytes.
pub(crate) mod frame {
    /// One memcache reply.
    pub(crate) fn memcache_reply(bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let end = line_end(&bytes[at..])?;
            let line = &bytes[at..at + end];
            at += end;
            let more = line.starts_with(b"VALUE ") || line.starts_with(b"STAT ");
            if !more {
                return Some(at);
            }
            if line.starts_with(b"VALUE ") {
                at += number(line, 3)? + 2;
            }
            if at > bytes.len() {
                return None;
            }
        }
    }

    /// One memcache request with its data block, if it has one.
    pub(crate) fn memcache_request(bytes: &[u8]) -> Option<usize> {
        let end = line_end(bytes)?;
        let line = &bytes[..end];
        let verb = line.split(u8::is_ascii_whitespace).next()?;
        let stores: [&[u8]; 6] = [b"set", b"add", b"replace", b"append", b"prepend", b"cas"];
        let whole = if stores.contains(&verb) { end + number(line, 4)? + 2 } else { end };
        (bytes.len() >= whole).then_some(whole)
    }

    /// One RESP value, request or reply.
    pub(crate) fn resp(bytes: &[u8]) -> Option<usize> {
        let mut left: i64 = 1;
        let mut at = 0;
        while left > 0 {
            let end = line_end(&bytes[at..])?;
            let line = &bytes[at..at + end];
            at += end;
            left -= 1;
            match line[0] {
                b'$' | b'=' | b'!' => {
                    at += usize::try_from(integer(line)).map_or(0, |length| length + 2)
                }
                b'*' | b'~' | b'>' => left += integer(line).max(0),
                b'%' => left += 2 * integer(line).max(0),
                b'|' => left += 2 * integer(line).max(0) + 1,
                _ => {}
            }
            if at > bytes.len() {
                return None;
            }
        }
        Some(at)
    }

    /// The bulk strings of one whole RESP request.
    pub(crate) fn arguments(request: &[u8]) -> Vec<Vec<u8>> {
        let mut at = line_end(request).expect("a whole request");
        let mut found = Vec::new();
        while at < request.len() {
            let start = at + line_end(&request[at..]).expect("a bulk header");
            let length = usize::try_from(integer(&request[at..start])).expect("a bulk length");
            found.push(request[start..start + length].to_vec());
            at = start + length + 2;
        }
        found
    }

    fn line_end(bytes: &[u8]) -> Option<usize> {
        bytes.iter().position(|&byte| byte == b'\n').map(|at| at + 1)
    }

    /// The field `index` of a memcache line as a number.
    fn number(line: &[u8], index: usize) -> Option<usize> {
        let text = std::str::from_utf8(line).ok()?;
        text.split_whitespace().nth(index)?.parse().ok()
    }

    /// The number after the type byte of a RESP line; -1 if there is none.
    fn integer(line: &[u8]) -> i64 {
        let text = std::str::from_utf8(&line[1..]).unwrap_or("");
        text.trim().parse().unwrap_or(-1)
    }
}
