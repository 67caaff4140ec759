//! The connections between workers and servers: sockets at the worker's end, queues at the other. So
//! what a worker sends is executed when the world says so, and what it is told arrives when it does.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use super::plan::Random;
use crate::backend::Stream;

/// A worker's connection: whose it is, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    pub(super) worker: usize,
    pub(super) link: u32,
}

/// What one has sent: a whole command, and when it did.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) words: Vec<Vec<u8>>,
    pub(super) at: u64,
    /// It has been looked at.
    pub(super) noted: bool,
}

/// What a server answers or tells, and when what it answers was sent.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) bytes: Vec<u8>,
    pub(super) asked: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Wire {
    socket: UnixStream,
    pub(super) server: usize,
    input: Vec<u8>,
    pub(super) up: VecDeque<Sent>,
    pub(super) down: VecDeque<Reply>,
    /// Nothing moves before.
    pub(super) up_held: u64,
    pub(super) down_held: u64,
    /// Of Redis: RESP3, whether it is told of changes, and of those of the next key.
    pub(super) resp3: bool,
    pub(super) tracks: bool,
    pub(super) caching: bool,
}

/// All of them. A line that is dialled anew takes the place of the one before.
#[derive(Debug, Default)]
pub(super) struct Wires(pub(super) BTreeMap<Line, Wire>);

impl Wires {
    /// One of those that are `ready`; none if there is none.
    pub(super) fn any(
        &self,
        ready: impl Fn(&Line, &Wire) -> bool,
        random: &mut Random,
    ) -> Option<Line> {
        let all = self.0.iter().filter(|(line, wire)| ready(line, wire));
        let all: Vec<Line> = all.map(|(line, _)| *line).collect();
        (!all.is_empty()).then(|| random.of(&all))
    }

    /// A new connection to a server: the worker's end.
    pub(super) async fn open(&mut self, line: Line, server: usize) -> Stream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let wire = Wire {
            socket: ours,
            server,
            input: Vec::new(),
            up: VecDeque::new(),
            down: VecDeque::new(),
            up_held: 0,
            down_held: 0,
            resp3: false,
            tracks: false,
            caching: false,
        };
        self.0.insert(line, wire);
        let stream = tokio::net::UnixStream::from_std(theirs).unwrap();
        // As one that has been dialled: the runtime knows that it can be written to.
        stream.writable().await.unwrap();
        Stream::Unix(stream)
    }

    /// Takes in what a worker has sent. Connections that it has closed are gone, with what they carry.
    pub(super) fn collect(&mut self, worker: usize, at: u64, cut: fn(&[u8]) -> Option<Cut>) {
        let its = self.0.iter_mut().filter(|(line, _)| line.worker == worker);
        let mut closed = Vec::new();
        for (line, wire) in its {
            if !wire.read() {
                closed.push(*line);
            }
            while let Some((words, len)) = cut(&wire.input) {
                wire.input.drain(..len);
                wire.up.push_back(Sent { words, at, noted: false });
            }
        }
        closed.iter().for_each(|line| drop(self.0.remove(line)));
    }
}

/// The first command of what has come in, and its bytes.
pub(super) type Cut = (Vec<Vec<u8>>, usize);

impl Wire {
    /// False: the other end is closed.
    fn read(&mut self) -> bool {
        let mut bytes = [0; 4096];
        loop {
            match self.socket.read(&mut bytes) {
                Ok(0) => return false,
                Ok(count) => self.input.extend_from_slice(&bytes[..count]),
                Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
    }

    /// The next reply arrives; when what it answers was sent.
    pub(super) fn deliver(&mut self) -> Option<u64> {
        let reply = self.down.pop_front()?;
        // Whoever has closed it meanwhile is found out when it is read.
        let _ = self.socket.write_all(&reply.bytes);
        reply.asked
    }
}

/// A memcached command: its words, and its data as the last.
pub(super) fn cut_memcached(bytes: &[u8]) -> Option<Cut> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let mut words: Vec<Vec<u8>> = bytes[..end].split(|byte| *byte == b' ').map(Vec::from).collect();
    let at = match &words[0][..] {
        b"set" => 4,
        b"ms" => 2,
        _ => return Some((words, end + 2)),
    };
    let len: usize = text(&words[at]).parse().unwrap();
    let data = bytes.get(end + 2..end + 4 + len)?;
    words.push(data[..len].to_vec());
    Some((words, end + 4 + len))
}

/// A Redis command: its words.
pub(super) fn cut_redis(bytes: &[u8]) -> Option<Cut> {
    let mut at = 0;
    let mut line = |lead: u8| {
        let len = bytes[at..].windows(2).position(|two| two == b"\r\n")?;
        assert_eq!(bytes[at], lead);
        let number: usize = text(&bytes[at + 1..at + len]).parse().unwrap();
        at += len + 2;
        Some((number, at))
    };
    let (count, mut end) = line(b'*')?;
    let mut words = Vec::new();
    for _ in 0..count {
        let rest = bytes.get(end..)?;
        let head = rest.windows(2).position(|two| two == b"\r\n")?;
        let len: usize = text(&rest[1..head]).parse().unwrap();
        words.push(rest.get(head + 2..head + 2 + len)?.to_vec());
        rest.get(head + 2 + len + 1)?;
        end += head + 4 + len;
    }
    Some((words, end))
}

pub(super) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
