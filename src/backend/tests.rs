//! The queue against a plain list, and whole connections over real sockets.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::test_runner::Config as ProptestConfig;

use crate::backend::{
    Ask, Cause, Connection, Entry, Failure, Flow, Greeting, Inbox, Inflight, Io, Owner, Phase,
    Received, Replies, Stream, Ticket, To,
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

// The queue.

/// One step of the life of a queue.
#[derive(Clone, Debug)]
enum Step {
    /// A request of so many bytes: a read, a write, or one that is kept but not a read (`gat`).
    Push(u8, usize),
    /// The socket takes so many bytes.
    Write(usize),
    /// The oldest written request is answered.
    Reply,
    /// Time passes, in milliseconds, and what is due times out.
    Pass(u64),
    /// The connection closes and what stays is sent anew.
    Close { retry: bool, begun: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3_u8, 1..3000_usize).prop_map(|(kind, len)| Step::Push(kind, len)),
        3 => (0..6000_usize).prop_map(Step::Write),
        4 => Just(Step::Reply),
        1 => (0..80_u64).prop_map(Step::Pass),
        1 => (any::<bool>(), any::<bool>())
            .prop_map(|(retry, begun)| Step::Close { retry, begun }),
    ];
    proptest::collection::vec(step, 1..200)
}

/// A request as the model knows it.
#[derive(Clone, Debug)]
struct Wanted {
    seq: u32,
    kind: u8,
    bytes: Vec<u8>,
    deadline: Instant,
    retried: bool,
    expired: bool,
}

/// The model: a plain list, beside the queue and the bytes it is given.
struct Model {
    queue: Inflight,
    list: VecDeque<Wanted>,
    /// Bytes not written, and how many are.
    out: Vec<u8>,
    written: u64,
    now: Instant,
    next: u32,
    /// How often each request was answered, with a reply or an error.
    answered: Vec<u32>,
}

impl Model {
    fn new() -> Self {
        Self {
            queue: Inflight::default(),
            list: VecDeque::new(),
            out: Vec::new(),
            written: 0,
            now: Instant::now(),
            next: 0,
            answered: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Push(kind, len) => self.push(kind, len),
            Step::Write(n) => {
                let n = n.min(self.out.len());
                self.out.drain(..n);
                self.written += n as u64;
            }
            Step::Reply => self.reply(),
            Step::Pass(millis) => self.pass(millis),
            Step::Close { retry, begun } => self.close(retry, begun),
        }
        self.check();
    }

    fn push(&mut self, kind: u8, len: usize) {
        let seq = self.next;
        self.next += 1;
        self.answered.push(0);
        let bytes: Vec<u8> = (0..len).map(|at| (at as u32 ^ seq) as u8).collect();
        let ask = Ask {
            to: to(seq),
            expect: if kind == 1 { Expect::Stored } else { Expect::Value },
            read: kind == 0,
            key: Span { start: 0, end: len as u32 },
            may_miss: false,
            patient: false,
            mark: 0,
        };
        let (one, two) = bytes.split_at(len / 3);
        self.queue.push(ask, &[one, two], self.now, Some(TIMEOUT));
        self.out.extend_from_slice(&bytes);
        let deadline = self.now + TIMEOUT;
        self.list.push_back(Wanted { seq, kind, bytes, deadline, retried: false, expired: false });
    }

    /// How many of the list are written at least in part.
    fn sent(&self) -> usize {
        let mut unsent = self.out.len();
        let of_list = self.list.iter().rev().take_while(|wanted| {
            let whole = unsent >= wanted.bytes.len();
            unsent = unsent.saturating_sub(wanted.bytes.len());
            whole
        });
        self.list.len() - of_list.count()
    }

    fn reply(&mut self) {
        if self.sent() == 0 {
            assert!(self.queue.front(self.written).is_none(), "nothing was asked");
            return;
        }
        let wanted = self.list.pop_front().unwrap();
        let (_, key) = self.queue.front(self.written).expect("it was written");
        assert!(wanted.kind == 1 || key == wanted.bytes, "another's key");
        self.queue.heard();
        let entry = self.queue.pop().unwrap();
        assert_eq!(seq_of(entry.ask.to), (!wanted.expired).then_some(wanted.seq));
        self.answered[wanted.seq as usize] += u32::from(!wanted.expired);
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        let mut told = Vec::new();
        self.queue.expire(self.now, false, |entry| told.push(seq_of(entry.ask.to).unwrap()));
        let mut due = Vec::new();
        for wanted in &mut self.list {
            if wanted.deadline <= self.now && !wanted.expired {
                wanted.expired = true;
                due.push(wanted.seq);
            }
        }
        assert_eq!(told, due);
        told.iter().for_each(|&seq| self.answered[seq as usize] += 1);
    }

    fn close(&mut self, retry: bool, begun: bool) {
        let sent = self.sent();
        let begun = begun && sent > 0;
        let cause = Cause { written: self.written, retry, reply_begun: begun };
        let remains = self.queue.closed(cause, &self.out);
        let (mut failed, mut resend, mut stay) = (Vec::new(), Vec::new(), VecDeque::new());
        let mut retried = 0;
        for (index, mut wanted) in std::mem::take(&mut self.list).into_iter().enumerate() {
            let again = retry && wanted.kind == 0 && !wanted.retried && !(index == 0 && begun);
            if wanted.expired {
                continue;
            }
            if index < sent && !again {
                failed.push(wanted.seq);
                continue;
            }
            wanted.retried |= index < sent;
            retried += usize::from(index < sent);
            resend.extend_from_slice(&wanted.bytes);
            stay.push_back(wanted);
        }
        let told: Vec<u32> =
            remains.failed.iter().map(|entry| seq_of(entry.ask.to).unwrap()).collect();
        assert_eq!((told, remains.retried), (failed.clone(), retried));
        assert!(remains.resend == resend, "other bytes are sent again");
        failed.iter().for_each(|&seq| self.answered[seq as usize] += 1);
        (self.list, self.out, self.written) = (stay, resend, 0);
    }

    fn check(&self) {
        assert_eq!(self.queue.len(), self.list.len());
        let sent = self.sent();
        let unsent = self.out.len() as u64;
        assert_eq!(self.queue.unwritten(self.written), (self.list.len() - sent, unsent));
        let all: usize = self.list.iter().map(|wanted| wanted.bytes.len()).sum();
        assert_eq!(self.queue.bytes(), all as u64);
        let kept = self.list.iter().filter(|wanted| wanted.kind != 1);
        let kept: usize = kept.map(|wanted| wanted.bytes.len()).sum();
        assert!(self.queue.kept_bytes() >= kept);
        let due = self.list.iter().filter(|wanted| !wanted.expired).map(|wanted| wanted.deadline);
        let next = self.queue.next_deadline(Some(TIMEOUT), false);
        assert!(due.min().is_none_or(|due| next.is_some_and(|next| next <= due)));
        for (seq, &answers) in self.answered.iter().enumerate() {
            let waits = self.list.iter().any(|w| w.seq == seq as u32 && !w.expired);
            assert_eq!(answers + u32::from(waits), 1, "request {seq}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_answered_once_or_waits_whole(steps in steps()) {
        let mut model = Model::new();
        steps.iter().for_each(|step| model.step(step));
        // What is left fails when everything is given up.
        for entry in model.queue.drain() {
            let Some(seq) = seq_of(entry.ask.to) else { continue };
            model.answered[seq as usize] += 1;
        }
        assert!(model.answered.iter().all(|&answers| answers == 1));
    }
}

#[test]
fn a_request_whose_bytes_are_lost_is_not_waited_for() {
    let mut queue = Inflight::default();
    let ask = Ask {
        to: to(1),
        expect: Expect::Stored,
        read: false,
        key: Span::default(),
        may_miss: false,
        patient: false,
        mark: 0,
    };
    queue.push(ask, &[b"whole"], Instant::now(), None);
    let cause = Cause { written: 0, retry: true, reply_begun: false };
    let remains = queue.closed(cause, b"who");
    assert_eq!((remains.failed.len(), remains.resend.len(), queue.len()), (1, 0, 0));
}

// Connections.

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
async fn a_late_reply_is_dropped_and_the_next_one_is_not() {
    let mut stand = Stand::ready().await;
    stand.get();
    stand.now += TIMEOUT / 2;
    stand.get();
    stand.flush();
    assert_eq!(stand.connection.next_deadline(), Some(stand.now + TIMEOUT / 2));
    assert_eq!(stand.expire(TIMEOUT / 2), (vec![0], Ok(())));
    stand.say(&[value(0, b"late"), value(1, b"in time")].concat());
    let replies = stand.replies(2).await;
    assert_eq!((replies[0].0, replies[1].0), (u32::MAX, 1));
    assert_eq!(replies[1].1, value(1, b"in time"));
    assert_eq!(stand.connection.next_deadline(), None);
}

#[tokio::test]
async fn a_silent_server_is_given_up_and_what_was_not_sent_stays() {
    let mut stand = Stand::ready().await;
    stand.get();
    stand.flush();
    assert_eq!(stand.expire(TIMEOUT), (vec![0], Ok(())), "one timeout proves nothing");
    stand.get();
    assert_eq!(stand.expire(TIMEOUT), (vec![1], Err(Failure::TimedOut)));
    assert_eq!(stand.close(false), [0_u32; 0], "both have been told");
    for _ in 0..3 {
        stand.get();
    }
    // Nobody is silent while there is no connection.
    assert_eq!(stand.expire(TIMEOUT), (vec![2, 3, 4], Ok(())));
    stand.get();
    assert_eq!(stand.close(false), [0_u32; 0]);
    stand.connect().await;
    stand.greet().await;
    assert_eq!(stand.asked(), "get key:5\r\n", "what has timed out is not sent");
}

#[tokio::test]
async fn a_reply_that_is_passed_on_is_late_only_when_it_stops() {
    let mut stand = Stand::ready().await;
    stand.get();
    stand.get();
    stand.flush();
    let long = value(0, &[7; 100_000]);
    for (number, stretch) in long[..80_000].chunks(20_000).enumerate() {
        stand.say(stretch);
        stand.receive().await.unwrap();
        let late = if number == 1 { vec![1] } else { vec![] };
        assert_eq!(stand.expire(TIMEOUT * 2 / 3), (late, Ok(())), "stretch {number}");
    }
    let stop = stand.connection.next_deadline().unwrap();
    assert_eq!(stop, stand.now + TIMEOUT / 3 + Duration::from_nanos(1));
    assert!(stand.connection.is_streaming());
    assert_eq!(stand.expire(stop - stand.now), (vec![], Err(Failure::TimedOut)));
    assert_eq!(stand.close(true), [0]);
}

#[tokio::test]
async fn a_late_long_reply_was_passed_on_to_nobody() {
    let mut stand = Stand::ready().await;
    stand.get();
    stand.set(1);
    stand.flush();
    assert_eq!(stand.expire(TIMEOUT / 2).0, [0_u32; 0]);
    stand.now += TIMEOUT / 2;
    let mut late = Vec::new();
    stand.connection.expire(stand.now, false, |e| late.push(e.ask.to)).unwrap();
    stand.get();
    stand.flush();
    stand.say(&value(0, &[7; 100_000])[..50_000]);
    stand.receive().await.unwrap();
    assert!(!stand.connection.is_streaming(), "the client of request 2 has got nothing");
    assert_eq!(stand.close(false), [2]);
}

#[tokio::test]
async fn a_paused_connection_is_not_a_silent_one() {
    let mut stand = Stand::ready().await;
    stand.taken.pause = true;
    stand.get();
    stand.get();
    stand.get();
    stand.get();
    stand.flush();
    stand.say(&value(0, &[7; 100_000])[..50_000]);
    assert_eq!(stand.receive().await, Ok(Received::Paused));
    let mut late = Vec::new();
    for _ in 0..5 {
        stand.now += TIMEOUT;
        stand.connection.expire(stand.now, true, |e| late.push(seq_of(e.ask.to))).unwrap();
    }
    assert_eq!(late, [Some(1), Some(2), Some(3)], "the others do time out");
    assert!(stand.expire(TIMEOUT / 2).1.is_ok(), "it has its time again after the pause");
}

#[tokio::test]
async fn gauges_come_back_to_zero() {
    let servers = vec!["a".to_owned()];
    let shape =
        vec![PoolShape { name: "web".into(), protocol: "memcache", servers, near_cache: false }];
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
