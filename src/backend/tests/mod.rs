//! The queue against a plain list, and whole connections over real sockets.

mod late;
mod queue;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::{
    Ask, Connection, Entry, Failure, Flow, Greeting, Inbox, Io, Owner, Phase, Received, Replies,
    Stream, Ticket, To,
};
use crate::config::{Pool, parse};
use crate::metrics::{PoolShape, Registry, ServerMetric};
use crate::protocol::{Expect, Malformed, Outcome, Span};

const TIMEOUT: Duration = Duration::from_millis(100);

fn to(seq: u32) -> To {
    To::Client(Ticket { session: 1, serial: 1, seq })
}

fn seq_of(to: To) -> Option<u32> {
    match to {
        To::Client(ticket) => Some(ticket.seq),
        _ => None,
    }
}

/// Takes replies: what each request got, and how it ended.
#[derive(Default)]
struct Taken {
    replies: Vec<(u32, Vec<u8>, Option<Outcome>)>,
    pause: bool,
}

impl Replies for Taken {
    fn reply(&mut self, _: &mut Io, entry: &Entry, bytes: &[u8], end: Option<Outcome>) -> Flow {
        let seq = seq_of(entry.ask.to).unwrap_or(u32::MAX);
        match self.replies.last_mut() {
            Some((last, text, None)) if *last == seq => {
                text.extend_from_slice(bytes);
                self.replies.last_mut().unwrap().2 = end;
            }
            _ => self.replies.push((seq, bytes.to_vec(), end)),
        }
        if self.pause && end.is_none() { Flow::Pause } else { Flow::Go }
    }
}

/// A connection, its driver, and the server's end of the socket.
struct Stand {
    io: Io,
    connection: Connection,
    server: UnixStream,
    taken: Taken,
    scratch: Vec<u8>,
    now: Instant,
    next: u32,
}

fn pool(lines: &str) -> Pool {
    let text = format!(
        "pools:\n  web:\n    listen: 127.0.0.1:1\n    timeout: 100\n{lines}    servers: [ '127.0.0.1:11211:1 a' ]\n"
    );
    parse(&text, "a.yml", false).unwrap_or_else(|e| panic!("{e}")).pools.remove(0)
}

impl Stand {
    /// A connection that nobody has dialled for yet.
    fn closed(lines: &str) -> Self {
        let pool = pool(lines);
        let greeting = Arc::new(Greeting::of(&pool, false, false));
        Self {
            io: Io::new(Inbox::new(1).1),
            connection: Connection::new(&pool, greeting),
            server: UnixStream::pair().unwrap().0,
            taken: Taken::default(),
            scratch: Vec::with_capacity(64 * 1024),
            now: Instant::now(),
            next: 0,
        }
    }

    /// A connection whose greeting has been answered.
    async fn ready() -> Self {
        let mut stand = Self::closed("");
        stand.connect().await;
        stand.greet().await;
        stand
    }

    async fn connect(&mut self) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        self.server = theirs;
        let ours = tokio::net::UnixStream::from_std(ours).unwrap();
        // As one that has just been connected is.
        ours.writable().await.unwrap();
        let token = self.io.insert(Stream::Unix(ours), Owner::Server(0));
        self.connection.connecting();
        self.connection.opened(&mut self.io, token).unwrap();
    }

    async fn greet(&mut self) {
        assert_eq!(self.asked(), "version\r\n");
        self.say(b"VERSION 1.6\r\n");
        assert_eq!(self.receive().await, Ok(Received::Fit));
        assert_eq!(self.connection.phase(), Phase::Ready);
        self.connection.flush(&mut self.io).unwrap();
    }

    /// Asks for a key; its number is that of the request.
    fn get(&mut self) -> u32 {
        let line = format!("get key:{}\r\n", self.next);
        let key = Span { start: 4, end: line.len() as u32 - 2 };
        self.push(Expect::Value, true, key, line.as_bytes())
    }

    fn set(&mut self, len: usize) -> u32 {
        let line = format!("set key:{} 0 0 {len}\r\n{}\r\n", self.next, "x".repeat(len));
        self.push(Expect::Stored, false, Span::default(), line.as_bytes())
    }

    fn push(&mut self, expect: Expect, read: bool, key: Span, bytes: &[u8]) -> u32 {
        let seq = self.next;
        self.next += 1;
        let ask = Ask { to: to(seq), expect, read, key, may_miss: false, patient: false, mark: 0 };
        // A socket that broke is met again by the next flush.
        let _ = self.connection.push(&mut self.io, ask, &[bytes], self.now);
        seq
    }

    fn flush(&mut self) {
        self.connection.flush(&mut self.io).unwrap();
    }

    fn say(&mut self, bytes: &[u8]) {
        self.server.write_all(bytes).unwrap();
    }

    /// What the server has got.
    fn asked(&mut self) -> String {
        let mut text = vec![0; 1 << 20];
        let n = self.server.read(&mut text).unwrap_or(0);
        String::from_utf8(text[..n].to_vec()).unwrap()
    }

    /// Waits until the socket is told of.
    async fn turn(&mut self) {
        let (mut tokens, mut mail) = (Vec::new(), Vec::new());
        let until = Instant::now() + Duration::from_secs(1);
        self.io.turn(Some(until), &mut tokens, &mut mail).await;
        assert!(!tokens.is_empty(), "nothing came");
    }

    /// Waits until the socket is told of, then reads.
    async fn receive(&mut self) -> Result<Received, Failure> {
        self.turn().await;
        self.connection.receive(&mut self.io, self.now, &mut self.scratch, &mut self.taken)
    }

    /// Receives until `count` replies are whole.
    async fn replies(&mut self, count: usize) -> Vec<(u32, Vec<u8>, Option<Outcome>)> {
        while self.taken.replies.iter().filter(|reply| reply.2.is_some()).count() < count {
            self.receive().await.unwrap();
        }
        std::mem::take(&mut self.taken.replies)
    }

    fn expire(&mut self, later: Duration) -> (Vec<u32>, Result<(), Failure>) {
        self.now += later;
        let mut late = Vec::new();
        let result =
            self.connection.expire(self.now, false, |e| late.push(seq_of(e.ask.to).unwrap()));
        (late, result)
    }

    fn close(&mut self, retry: bool) -> Vec<u32> {
        let remains = self.connection.close(&mut self.io, retry);
        remains.failed.iter().map(|entry| seq_of(entry.ask.to).unwrap()).collect()
    }
}

fn value(seq: u32, data: &[u8]) -> Vec<u8> {
    let head = format!("VALUE key:{seq} 0 {}\r\n", data.len());
    [head.as_bytes(), data, b"\r\nEND\r\n"].concat()
}

#[tokio::test]
async fn requests_wait_for_the_greeting() {
    let mut stand = Stand::closed("");
    stand.get();
    stand.connect().await;
    stand.get();
    stand.flush();
    stand.greet().await;
    assert_eq!(stand.asked(), "get key:0\r\nget key:1\r\n");
    assert_eq!(stand.connection.depth(), 2);
}

#[tokio::test]
async fn a_greeting_that_is_not_answered_well_is_refused() {
    for (lines, reply, why) in [
        ("", &b"ERROR\r\n"[..], Failure::Unfit),
        ("", b"STORED\r\n", Failure::Unfit),
        ("", b"version\r\n", Failure::Unfit),
        ("", b"VERSION 1\r\nSTORED\r\n", Failure::Trailing),
        ("    protocol: redis\n", b"*1\r\n$4\r\nPING\r\n", Failure::Unfit),
        ("    protocol: redis\n", b"-LOADING wait\r\n", Failure::Unfit),
        ("    protocol: redis\n", b"-NOAUTH who are you\r\n", Failure::Auth),
        ("    protocol: redis\n    redis_auth: x\n", b"-WRONGPASS no\r\n", Failure::Auth),
        ("    protocol: redis\n    redis_auth: x\n", b"+OK\r\n-LOADING wait\r\n", Failure::Unfit),
        ("    protocol: redis\n    redis_db: 99\n", b"-ERR DB index\r\n", Failure::Auth),
    ] {
        let mut stand = Stand::closed(lines);
        stand.connect().await;
        stand.get();
        stand.say(reply);
        let got = stand.receive().await;
        assert_eq!(got, Err(why), "{}", reply.escape_ascii());
        assert_eq!(stand.close(true), [0_u32; 0], "what was not sent stays");
        assert_eq!(stand.connection.depth(), 1);
    }
}

/// A FLUSHALL of somebody else, just when a connection begins to be told of changes.
#[tokio::test]
async fn a_push_is_no_answer_to_the_greeting() {
    let lines = "    protocol: redis\n    near_cache: { memory: 8MiB }\n";
    let mut stand = Stand::closed(lines);
    let greeting = Greeting::of(&pool(lines), false, true);
    stand.connection = Connection::new(&pool(lines), Arc::new(greeting));
    stand.connect().await;
    let hello = "%1\r\n$5\r\nproto\r\n:3\r\n";
    let push = ">2\r\n$10\r\ninvalidate\r\n_\r\n";
    stand.say(format!("{hello}+OK\r\n{push}+OK\r\n{push}+PONG\r\n").as_bytes());
    assert_eq!(stand.receive().await, Ok(Received::Fit));
    assert!(stand.connection.is_tracking());
}

#[tokio::test]
async fn a_greeting_without_an_end_is_not_held() {
    let mut stand = Stand::closed("    protocol: redis\n");
    stand.connect().await;
    stand.say(&[&b"*100000\r\n"[..], &b":1\r\n".repeat(10_000)].concat());
    assert_eq!(stand.receive().await, Err(Failure::Unfit));
}

#[tokio::test]
async fn replies_cut_anywhere_find_their_requests() {
    let stream: Vec<u8> =
        [value(0, b"a\r\nEND\r\n"), b"END\r\n".to_vec(), b"STORED\r\n".to_vec(), value(3, b"")]
            .concat();
    for cut in 1..stream.len() {
        let mut stand = Stand::ready().await;
        stand.get();
        stand.get();
        stand.set(1);
        stand.get();
        stand.flush();
        stand.say(&stream[..cut]);
        stand.receive().await.unwrap();
        stand.say(&stream[cut..]);
        let replies = stand.replies(4).await;
        let seqs: Vec<u32> = replies.iter().map(|reply| reply.0).collect();
        assert_eq!(seqs, [0, 1, 2, 3], "cut at {cut}");
        assert_eq!(replies.iter().flat_map(|reply| reply.1.clone()).collect::<Vec<u8>>(), stream);
        assert_eq!((stand.connection.depth(), stand.connection.buffered()), (0, 0));
    }
}

#[tokio::test]
async fn a_long_reply_is_passed_on_in_stretches() {
    let mut stand = Stand::ready().await;
    stand.get();
    stand.get();
    stand.flush();
    let long = value(0, &[7; 300_000]);
    let mut sent = 0;
    while sent < long.len() {
        let end = (sent + 50_000).min(long.len());
        stand.say(&long[sent..end]);
        sent = end;
        stand.receive().await.unwrap();
        assert!(stand.connection.buffered() < 20_000, "it is not held");
        assert_eq!(stand.connection.is_streaming(), sent < long.len());
    }
    stand.say(b"END\r\n");
    let replies = stand.replies(2).await;
    assert!(replies[0] == (0, long, Some(Outcome::Hit)));
    assert_eq!(replies[1], (1, b"END\r\n".to_vec(), Some(Outcome::Miss)));
}

#[tokio::test]
async fn what_cannot_be_paired_closes_the_connection() {
    let unexpected = Failure::BadReply(Malformed::Unexpected);
    for (reply, why) in [
        (value(7, b"another's"), unexpected),
        (b"STORED\r\n".to_vec(), unexpected),
        (b"rubbish\r\n".to_vec(), Failure::BadReply(Malformed::Syntax)),
        (b"VALUE key:0 0 99999999999\r\n".to_vec(), Failure::BadReply(Malformed::Oversize)),
        (b"END\r\nEND\r\nEND\r\n".to_vec(), Failure::Trailing),
    ] {
        let mut stand = Stand::ready().await;
        stand.get();
        stand.get();
        stand.flush();
        stand.say(&reply);
        assert_eq!(stand.receive().await, Err(why), "{}", reply.escape_ascii());
        assert_eq!(stand.close(false).len() + stand.taken.replies.len(), 2);
    }
}

#[tokio::test]
async fn a_stray_reply_does_not_answer_a_request_that_was_not_sent_yet() {
    let mut stand = Stand::ready().await;
    stand.say(b"END\r\n");
    stand.get();
    assert_eq!(stand.receive().await, Err(Failure::Trailing));
    assert_eq!(stand.close(false), [0_u32; 0], "the request moves on");
    stand.connect().await;
    stand.greet().await;
    assert_eq!(stand.asked(), "get key:0\r\n");
}

#[tokio::test]
async fn replies_before_the_end_of_a_connection_count() {
    let mut stand = Stand::ready().await;
    stand.get();
    stand.set(1);
    stand.get();
    stand.get();
    stand.flush();
    stand.asked();
    stand.set(2);
    stand.say(b"END\r\n");
    drop(std::mem::replace(&mut stand.server, UnixStream::pair().unwrap().0));
    assert_eq!(stand.receive().await, Err(Failure::Closed));
    assert_eq!(stand.taken.replies.len(), 1);
    assert_eq!(stand.close(true), [1], "a write is never sent twice");
    stand.connect().await;
    stand.greet().await;
    assert_eq!(stand.asked(), "get key:2\r\nget key:3\r\nset key:4 0 0 2\r\nxx\r\n");
    // A second time they fail.
    assert_eq!(stand.close(true), [2, 3, 4]);
}

#[tokio::test]
async fn a_read_whose_reply_had_begun_is_not_sent_again() {
    let mut stand = Stand::ready().await;
    stand.get();
    stand.get();
    stand.flush();
    stand.say(b"VALUE key:0");
    stand.receive().await.unwrap();
    assert_eq!(stand.close(true), [0]);
    assert_eq!(stand.connection.depth(), 1);
}

#[tokio::test]
async fn a_long_request_that_meets_a_broken_socket_stays_whole() {
    let mut stand = Stand::ready().await;
    drop(std::mem::replace(&mut stand.server, UnixStream::pair().unwrap().0));
    // Long enough to be written at once; the socket is broken and says so.
    let long = stand.set(20_000);
    let failed = stand.close(true);
    let get = stand.get();
    stand.connect().await;
    stand.greet().await;
    let asked = stand.asked();
    // Whatever was queued is sent whole, and only that is waited for.
    assert_eq!(failed, [0_u32; 0]);
    assert_eq!(asked.len(), 20_000 + "set key:0 0 0 20000\r\n\r\nget key:1\r\n".len());
    stand.say(b"STORED\r\nEND\r\n");
    let seqs: Vec<u32> = stand.replies(2).await.iter().map(|reply| reply.0).collect();
    assert_eq!(seqs, [long, get]);
}

#[tokio::test]
async fn a_long_request_keeps_its_place_when_the_socket_is_full() {
    let mut stand = Stand::ready().await;
    stand.get();
    stand.set(2_000_000);
    stand.get();
    let mut asked = String::new();
    loop {
        stand.flush();
        asked += &stand.asked();
        if asked.ends_with("get key:2\r\n") {
            break;
        }
        // The socket is told of when it can take more.
        stand.turn().await;
    }
    let expected = 2_000_000 + "get key:0\r\nset key:1 0 0 2000000\r\n\r\nget key:2\r\n".len();
    assert_eq!((asked.len(), stand.connection.buffered()), (expected, 22));
    assert!(asked.starts_with("get key:0\r\nset key:1 0 0 2000000\r\nxxx"));
}

#[tokio::test]
async fn gauges_come_back_to_zero() {
    let servers = vec!["a".to_owned()];
    let shape = vec![PoolShape {
        name: "web".into(),
        protocol: "memcache",
        servers,
        near_cache: false,
        connections: 1,
    }];
    let registry = Registry::new(shape, 1);
    let metrics = &registry.layout().workers[0].pools[0].servers[0].clone();
    let gauges = |connection: &mut Connection| {
        connection.report(metrics);
        [
            metrics.get(ServerMetric::InQueue),
            metrics.get(ServerMetric::InQueueBytes),
            metrics.get(ServerMetric::OutQueue),
            metrics.get(ServerMetric::OutQueueBytes),
        ]
    };
    let mut stand = Stand::ready().await;
    stand.get();
    stand.set(1);
    stand.flush();
    stand.get();
    assert_eq!(gauges(&mut stand.connection), [1, 11, 2, 11 + 20]);
    stand.say(b"END\r\n");
    stand.replies(1).await;
    assert_eq!(gauges(&mut stand.connection), [1, 11, 1, 20]);
    assert_eq!(stand.close(true), [1]);
    assert_eq!(gauges(&mut stand.connection), [1, 11, 0, 0]);
    assert_eq!(stand.connection.abandon().len(), 1);
    assert_eq!(gauges(&mut stand.connection), [0; 4]);
}
