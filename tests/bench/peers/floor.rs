//! A server that stores nothing: a read is answered with the value that the key must have, a write
//! with "stored". What a proxy costs shows best when what is behind it costs next to nothing.
//!
//! One thread, one epoll; one read and one write per readiness, whatever the number of requests.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener};

use memchr::memchr;

use crate::peers::Failure;
use crate::poller::{Poller, Ready};
use crate::wire::{DIGITS, Protocol, Wire, filler, put_value};

/// Input of a connection in bytes, at first.
const ROOM: usize = 256 << 10;
/// Bytes of every value.
const VALUE_BYTES: usize = 100;

/// The `floor` role: listens on `listeners` ports, prints them in one line, and serves for ever.
///
/// # Errors
/// Those of the listeners and of epoll.
pub(crate) fn serve(protocol: Protocol, listeners: usize) -> Result<(), Failure> {
    let mut server = Server::listen(protocol, listeners)?;
    loop {
        for index in 0..server.poller.wait(None)? {
            let ready = server.poller.ready(index);
            if ready.token < listeners {
                server.accept(ready.token)?;
            } else {
                server.serve(ready, ready.token - listeners);
            }
        }
    }
}

struct Server {
    protocol: Protocol,
    poller: Poller,
    listeners: Vec<TcpListener>,
    /// Never reused: proxies keep their few connections.
    connections: Vec<Option<Wire>>,
    filler: Vec<u8>,
}

impl Server {
    fn listen(protocol: Protocol, listeners: usize) -> Result<Self, Failure> {
        let poller = Poller::new()?;
        let mut ports = Vec::new();
        let mut bound = Vec::new();
        for token in 0..listeners {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            poller.add(&listener, token)?;
            ports.push(listener.local_addr()?.port().to_string());
            bound.push(listener);
        }
        writeln!(io::stdout(), "{}", ports.join(" "))?;
        let filler = filler(VALUE_BYTES);
        Ok(Self { protocol, poller, listeners: bound, connections: Vec::new(), filler })
    }

    fn accept(&mut self, listener: usize) -> io::Result<()> {
        let Ok((stream, _)) = self.listeners[listener].accept() else { return Ok(()) };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        self.poller.add(&stream, self.listeners.len() + self.connections.len())?;
        self.connections.push(Some(Wire::new(stream, None, ROOM)));
        Ok(())
    }

    fn serve(&mut self, ready: Ready, slot: usize) {
        let Some(wire) = self.connections[slot].as_mut() else { return };
        let served = exchange(wire, ready, self.protocol, &self.filler).and_then(|written| {
            // Rare enough that it need not be remembered whether it was asked for before.
            let change = !written || ready.writable;
            if change {
                self.poller.want_write(&wire.stream, ready.token, !written)
            } else {
                Ok(())
            }
        });
        if served.is_err() {
            self.connections[slot] = None;
        }
    }
}

/// Answers what was read; true when all answers are written.
fn exchange(wire: &mut Wire, ready: Ready, protocol: Protocol, filler: &[u8]) -> io::Result<bool> {
    if ready.readable && wire.fill()? {
        let mut out = std::mem::take(&mut wire.output);
        let mut used = 0;
        while let Some(bytes) = answer(protocol, &wire.unread()[used..], filler, &mut out) {
            used += bytes;
        }
        wire.output = out;
        wire.consume(used);
    }
    wire.flush()
}

/// Answers the request at the front of `input`; its length, if it is complete.
fn answer(protocol: Protocol, input: &[u8], filler: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    match protocol {
        Protocol::Memcache => answer_memcache(input, filler, out),
        Protocol::Redis => answer_redis(input, filler, out),
    }
}

fn answer_memcache(input: &[u8], filler: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let end = memchr(b'\n', input)?;
    let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
    if let Some(keys) = line.strip_prefix(b"get ") {
        // nutcracker leaves a space behind the last key.
        for key in keys.split(|byte| *byte == b' ').filter(|key| !key.is_empty()) {
            out.extend_from_slice(b"VALUE ");
            out.extend_from_slice(key);
            out.extend_from_slice(b" 0 100\r\n");
            put_value(out, digits_of(key), filler);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"END\r\n");
        return Some(end + 1);
    }
    if let Some(rest) = line.strip_prefix(b"mg ") {
        // As a near cache asks: `k f t c v`.
        let key = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
        out.extend_from_slice(b"VA 100 k");
        out.extend_from_slice(key);
        out.extend_from_slice(b" f0 t-1 c1\r\n");
        put_value(out, digits_of(key), filler);
        out.extend_from_slice(b"\r\n");
        return Some(end + 1);
    }
    if line.starts_with(b"set ") {
        let whole = end + 1 + VALUE_BYTES + 2;
        if input.len() < whole {
            return None;
        }
        out.extend_from_slice(b"STORED\r\n");
        return Some(whole);
    }
    out.extend_from_slice(b"VERSION 1.6.0\r\n");
    Some(end + 1)
}

fn answer_redis(input: &[u8], filler: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let (count, first) = number(input, 0)?;
    let (command, keys) = argument(input, first)?;
    let answers = out.len();
    let mut at = keys;
    if command.eq_ignore_ascii_case(b"MGET") {
        out.extend_from_slice(format!("*{}\r\n", count - 1).as_bytes());
    }
    for _ in 1..count {
        let Some((key, next)) = argument(input, at) else {
            out.truncate(answers);
            return None;
        };
        at = next;
        if command.eq_ignore_ascii_case(b"GET") || command.eq_ignore_ascii_case(b"MGET") {
            out.extend_from_slice(b"$100\r\n");
            put_value(out, digits_of(key), filler);
            out.extend_from_slice(b"\r\n");
        }
    }
    if command.eq_ignore_ascii_case(b"PING") {
        out.extend_from_slice(b"+PONG\r\n");
    } else if out.len() == answers {
        out.extend_from_slice(b"+OK\r\n");
    }
    Some(at)
}

/// The bulk string at `at`, and where the next one starts, if it is complete.
fn argument(input: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let (bytes, start) = number(input, at)?;
    let end = start + bytes + 2;
    (input.len() >= end).then(|| (&input[start..start + bytes], end))
}

/// The end of a key, which its value begins and ends with.
fn digits_of(key: &[u8]) -> &[u8] {
    &key[key.len().saturating_sub(DIGITS)..]
}

/// The number of a line like `*3` or `$24` at `at`, and where the next line starts.
fn number(input: &[u8], at: usize) -> Option<(usize, usize)> {
    let line = input.get(at + 1..)?;
    let end = memchr(b'\n', line)?;
    let digits = line[..end].iter().take_while(|byte| byte.is_ascii_digit());
    let value = digits.fold(0usize, |sum, digit| sum * 10 + usize::from(digit - b'0'));
    Some((value, at + 1 + end + 1))
}
