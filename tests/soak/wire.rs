//! The two protocols as the clients of a soak need them: requests as bytes, replies from a stream.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// A reply that takes longer is one that does not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines of replies are short; what is longer is none.
const LINE_BYTES_MAX: u64 = 1024;

/// Nobody stores values of more bytes.
const VALUE_BYTES_MAX: usize = 64 << 20;

/// A request, with what is needed to read its reply.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Get {
        key: String,
    },
    Set {
        key: String,
        value: Vec<u8>,
        ttl_seconds: Option<u64>,
    },
    Delete {
        key: String,
    },
    Touch {
        key: String,
        ttl_seconds: u64,
    },
    /// Adds one to a number.
    Add {
        key: String,
    },
}

/// What a reply says, whichever protocol says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Value(Vec<u8>),
    Number(u64),
    /// It was done, or there was something to do it to.
    Done,
    Missing,
}

/// One connection.
pub(super) struct Wire {
    redis: bool,
    stream: BufReader<TcpStream>,
    out: Vec<u8>,
}

impl Wire {
    pub(super) fn connect(port: u16, redis: bool) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { redis, stream: BufReader::with_capacity(64 << 10, stream), out: Vec::new() })
    }

    /// Sends these requests by one write.
    pub(super) fn send<'a>(
        &mut self,
        requests: impl Iterator<Item = &'a Request>,
    ) -> Result<(), String> {
        let push = if self.redis { push_redis } else { push_memcache };
        requests.for_each(|request| push(&mut self.out, request));
        let sent = self.stream.get_mut().write_all(&self.out);
        self.out.clear();
        // Millions of bytes are not kept for a connection that sends little.
        self.out.shrink_to(64 << 10);
        sent.map_err(|error| format!("send: {error}"))
    }

    /// Reads the reply to the request that is next.
    pub(super) fn reply(&mut self, request: &Request) -> Result<Reply, String> {
        let reply =
            if self.redis { self.redis_reply(request) } else { self.memcache_reply(request) };
        reply.map_err(|error| format!("{}: {error}", request.name()))
    }

    fn redis_reply(&mut self, request: &Request) -> Result<Reply, String> {
        let line = self.line()?;
        let counts = matches!(request, Request::Delete { .. } | Request::Touch { .. });
        match line.split_at_checked(1) {
            Some(("+", "OK")) => Ok(Reply::Done),
            Some((":", "0")) if counts => Ok(Reply::Missing),
            Some((":", "1")) if counts => Ok(Reply::Done),
            Some((":", number)) => number.parse().map(Reply::Number).map_err(|_| unexpected(&line)),
            Some(("$", "-1")) => Ok(Reply::Missing),
            Some(("$", bytes)) => self.value(bytes).map(Reply::Value),
            _ => Err(unexpected(&line)),
        }
    }

    fn memcache_reply(&mut self, request: &Request) -> Result<Reply, String> {
        let line = self.line()?;
        match line.as_str() {
            "STORED" | "DELETED" | "TOUCHED" => return Ok(Reply::Done),
            "NOT_FOUND" | "END" => return Ok(Reply::Missing),
            _ => {}
        }
        if let Ok(number) = line.parse() {
            return Ok(Reply::Number(number));
        }
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["VALUE", key, "0", bytes] if key == request.key() => {
                let value = self.value(bytes)?;
                let end = self.line()?;
                if end == "END" { Ok(Reply::Value(value)) } else { Err(unexpected(&end)) }
            }
            _ => Err(unexpected(&line)),
        }
    }

    /// A value of so many bytes and the end of its line.
    fn value(&mut self, bytes: &str) -> Result<Vec<u8>, String> {
        let bytes: usize = bytes.parse().map_err(|_| unexpected(bytes))?;
        if bytes > VALUE_BYTES_MAX {
            return Err(format!("a value of {bytes} bytes"));
        }
        let mut value = vec![0; bytes + 2];
        self.stream.read_exact(&mut value).map_err(|error| error.to_string())?;
        if value.split_off(bytes) != b"\r\n" {
            return Err("a value without an end".to_owned());
        }
        Ok(value)
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        let mut begin = (&mut self.stream).take(LINE_BYTES_MAX);
        begin.read_line(&mut line).map_err(|error| error.to_string())?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None if line.is_empty() => Err("the connection was closed".to_owned()),
            None => Err(unexpected(&line)),
        }
    }
}

impl Request {
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Get { key }
            | Self::Set { key, .. }
            | Self::Delete { key }
            | Self::Touch { key, .. }
            | Self::Add { key } => key,
        }
    }

    /// True if sending it may wait for the server to read.
    pub(super) fn is_long(&self) -> bool {
        matches!(self, Self::Set { value, .. } if value.len() > 32 << 10)
    }

    pub(super) fn name(&self) -> String {
        let verb = match self {
            Self::Get { .. } => "get",
            Self::Set { .. } => "set",
            Self::Delete { .. } => "delete",
            Self::Touch { .. } => "touch",
            Self::Add { .. } => "add one to",
        };
        format!("{verb} {}", self.key())
    }
}

fn unexpected(line: &str) -> String {
    format!("unexpected reply {line:?}")
}

fn push_memcache(out: &mut Vec<u8>, request: &Request) {
    let line = match request {
        Request::Get { key } => format!("get {key}\r\n"),
        Request::Delete { key } => format!("delete {key}\r\n"),
        Request::Touch { key, ttl_seconds } => format!("touch {key} {ttl_seconds}\r\n"),
        Request::Add { key } => format!("incr {key} 1\r\n"),
        Request::Set { key, value, ttl_seconds } => {
            format!("set {key} 0 {} {}\r\n", ttl_seconds.unwrap_or(0), value.len())
        }
    };
    out.extend_from_slice(line.as_bytes());
    if let Request::Set { value, .. } = request {
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
}

fn push_redis(out: &mut Vec<u8>, request: &Request) {
    match request {
        Request::Get { key } => push_words(out, &[b"GET", key.as_bytes()]),
        Request::Delete { key } => push_words(out, &[b"DEL", key.as_bytes()]),
        Request::Add { key } => push_words(out, &[b"INCR", key.as_bytes()]),
        Request::Touch { key, ttl_seconds } => {
            push_words(out, &[b"EXPIRE", key.as_bytes(), ttl_seconds.to_string().as_bytes()]);
        }
        Request::Set { key, value, ttl_seconds: None } => {
            push_words(out, &[b"SET", key.as_bytes(), value]);
        }
        Request::Set { key, value, ttl_seconds: Some(ttl) } => {
            push_words(out, &[b"SET", key.as_bytes(), value, b"EX", ttl.to_string().as_bytes()]);
        }
    }
}

fn push_words(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}
