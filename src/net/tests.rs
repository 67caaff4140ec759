//! Real sockets of this machine: connecting, listening, the driver and the inbox.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::{Address, Listen, Pool, parse};
use crate::net::connect::{HEAD_START, checked, open_tcp};
use crate::net::{
    Accepted, ConnectError, Driver, Inbox, Listener, Mail, Read, Resolver, Stream, Token, Written,
    connect, look_up,
};

// Connecting.

const LIMIT: Duration = Duration::from_secs(5);

async fn listener() -> (tokio::net::TcpListener, SocketAddr) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address that refuses.
async fn nobody() -> SocketAddr {
    listener().await.1
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_fails() {
    let (_listener, open) = listener().await;
    // No socket can be connected to a multicast address: the failure is that of the family.
    let foreign = "[ff02::1]:1".parse().unwrap();
    let stream = open_tcp(vec![foreign, nobody().await, open], LIMIT).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), open);
}

#[tokio::test]
async fn an_address_that_does_not_answer_gets_a_head_start_only() {
    let (_listener, open) = listener().await;
    let (_full, silent) = full_listener().await;
    let begun = Instant::now();
    let stream = open_tcp(vec![silent, open], LIMIT).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), open);
    assert!(begun.elapsed() >= HEAD_START && begun.elapsed() < LIMIT);
}

/// A listener whose queue is full, so that the kernel drops further attempts.
async fn full_listener() -> (Vec<TcpStream>, SocketAddr) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    let brief = Duration::from_millis(100);
    while let Ok(Ok(stream)) = timeout(brief, TcpStream::connect(address)).await {
        held.push(stream);
    }
    std::mem::forget(listener);
    (held, address)
}

#[tokio::test]
async fn the_last_failure_is_told() {
    let error = open_tcp(vec![nobody().await], LIMIT).await.unwrap_err();
    let ConnectError::Connect(e) = error else { panic!("{error}") };
    assert_eq!(e.kind(), io::ErrorKind::ConnectionRefused);
    let error = open_tcp(Vec::new(), LIMIT).await.unwrap_err();
    assert!(matches!(error, ConnectError::Resolve(_)), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_in_time() {
    let (_held, silent) = full_listener().await;
    let address = Address::Tcp { host: "127.0.0.1".into(), port: silent.port() };
    let resolver = Resolver::new(Box::new(look_up), Box::new(|_| ()));
    let error = connect((&resolver, None), &address, Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout), "{error}");
}

#[tokio::test]
async fn a_socket_that_meets_itself_is_refused() {
    // A bound socket that connects to its own address is connected to itself at once.
    let own = nobody().await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(own).unwrap();
    let stream = socket.connect(own).await.unwrap();
    assert_eq!(checked(stream).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

// Listening.

fn pool(listen: Listen) -> Pool {
    let text = "pools:\n  web:\n    listen: 127.0.0.1:1\n    servers: [ '127.0.0.1:11211:1 a' ]\n";
    Pool { listen, ..parse(text, "a.yml", false).unwrap().pools.remove(0) }
}

/// A path of its own for each test, removed with its folder.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("twinring-net-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("a.sock")
    }

    fn open(&self) -> Result<Listener, String> {
        let listen = Listen::Unix { path: self.socket(), mode: Some(0o600) };
        Listener::open(&pool(listen)).map_err(|e| e.to_string())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_port_in_use_is_told_in_the_words_of_operators() {
    let first = Listener::open(&pool(Listen::Tcp { host: "127.0.0.1".into(), port: 0 })).unwrap();
    let port = first.local_addr().unwrap().port();
    let again = Listener::open(&pool(Listen::Tcp { host: "127.0.0.1".into(), port }));
    let expected = format!("bind 127.0.0.1:{port}: Address already in use");
    assert_eq!(again.unwrap_err().to_string(), expected);
    // With no free port left to fall back to, a name with several addresses must not move.
    let v6 = Listener::open(&pool(Listen::Tcp { host: "::ffff:127.0.0.1".into(), port }));
    let expected = format!("bind [::ffff:127.0.0.1]:{port}: Address already in use");
    assert_eq!(v6.unwrap_err().to_string(), expected);
}

#[test]
fn a_unix_socket_has_its_mode_and_goes_with_its_listener() {
    let folder = Folder::new();
    let listener = folder.open().unwrap();
    let mode = std::fs::metadata(folder.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    UnixStream::connect(folder.socket()).unwrap();
    drop(listener);
    assert!(!folder.socket().exists());
}

#[test]
fn a_unix_socket_is_taken_over_only_if_nobody_listens() {
    let folder = Folder::new();
    let path = folder.socket();
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a dead socket leaves its file");
    let listener = folder.open().unwrap();
    let in_use = format!("bind {}: Address already in use", path.display());
    assert_eq!(folder.open().unwrap_err(), in_use);
    UnixStream::connect(&path).expect("the first one still listens");
    // Whoever listens but does not accept is alive, too, and must not be waited for.
    drop(listener);
    let full = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    full.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    full.listen(0).unwrap();
    let _held = UnixStream::connect(&path).unwrap();
    assert_eq!(folder.open().unwrap_err(), in_use);
}

#[test]
fn what_is_not_a_socket_of_ours_is_left_alone() {
    let folder = Folder::new();
    let path = folder.socket();
    std::fs::write(&path, "precious").unwrap();
    let error = folder.open().unwrap_err();
    assert_eq!(error, format!("bind {}: exists and is not a socket", path.display()));
    std::fs::remove_file(&path).unwrap();
    // A datagram socket does not refuse a stream: somebody uses it.
    let _datagrams = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    folder.open().unwrap_err();
    std::fs::remove_file(&path).unwrap();
    // Another program has put its own socket there meanwhile.
    let ours = folder.open().unwrap();
    std::fs::remove_file(&path).unwrap();
    let _theirs = UnixListener::bind(&path).unwrap();
    drop(ours);
    assert!(path.exists());
}

#[tokio::test]
async fn clients_are_accepted_in_batches() {
    let folder = Folder::new();
    let acceptor = folder.open().unwrap().register().unwrap();
    let _clients: Vec<_> = (0..5).map(|_| UnixStream::connect(folder.socket()).unwrap()).collect();
    let mut batch = Vec::new();
    acceptor.accept(3, u64::MAX, &mut batch).await.unwrap();
    assert_eq!(batch.len(), 3);
    acceptor.accept(64, u64::MAX, &mut batch).await.unwrap();
    assert_eq!(batch.len(), 5);
}

#[tokio::test]
async fn clients_have_the_options_of_their_listener() {
    for tcp_keepalive in [false, true] {
        let listen = Listen::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
        let listener = Listener::open(&Pool { tcp_keepalive, ..pool(listen) }).unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = listener.register().unwrap();
        let _client = TcpStream::connect(address).await.unwrap();
        let mut batch = Vec::new();
        acceptor.accept(1, u64::MAX, &mut batch).await.unwrap();
        let [Accepted::Tcp(accepted)] = &batch[..] else { panic!("one TCP client") };
        assert!(accepted.nodelay().unwrap());
        assert_eq!(socket2::SockRef::from(accepted).keepalive().unwrap(), tcp_keepalive);
    }
}

// The inbox.

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn an_inbox_has_a_bound_and_wakes_once() {
    let (inbox, mail) = Inbox::new(3);
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let mut letters = Vec::new();
    mail.poll(&mut letters, &waker);
    assert!(letters.is_empty());
    let mut batch = vec![1, 2];
    inbox.push_all(&mut batch);
    let mut more = vec![3, 4, 5];
    inbox.clone().push_all(&mut more);
    assert_eq!((batch, more), (vec![], vec![4, 5]), "what does not fit stays with the sender");
    inbox.push(6);
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    mail.poll(&mut letters, &waker);
    assert_eq!(letters, [1, 2, 3, 6]);
    letters.clear();
    inbox.push(7);
    assert_eq!(count.0.load(Ordering::SeqCst), 1, "nobody asked to be woken");
    mail.poll(&mut letters, &waker);
    assert_eq!(letters, [7]);
    letters.clear();
    mail.poll(&mut letters, &waker);
    inbox.push(8);
    assert_eq!(count.0.load(Ordering::SeqCst), 2);
}

// The driver.

type Io = Driver<usize, u32>;

fn driver() -> (Io, Inbox<u32>) {
    let (inbox, mail): (Inbox<u32>, Mail<u32>) = Inbox::new(16);
    (Io::new(mail), inbox)
}

/// A socket of the driver and its peer.
fn pair(io: &mut Io, owner: usize) -> (Token, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let stream = tokio::net::UnixStream::from_std(ours).unwrap();
    (io.insert(Stream::Unix(stream), owner), theirs)
}

/// The tokens and letters of one turn, which must come within a second.
async fn turn(io: &mut Io) -> (Vec<Token>, Vec<u32>) {
    let (mut tokens, mut mail) = (Vec::new(), Vec::new());
    let until = Instant::now() + Duration::from_secs(1);
    io.turn(Some(until), &mut tokens, &mut mail).await;
    assert!(Instant::now() < until, "nothing came");
    (tokens, mail)
}

/// Whether a turn brings nothing before its time is over.
async fn is_quiet(io: &mut Io) -> bool {
    let (mut tokens, mut mail) = (Vec::new(), Vec::new());
    let until = Instant::now() + Duration::from_millis(20);
    io.turn(Some(until), &mut tokens, &mut mail).await;
    tokens.is_empty() && mail.is_empty() && Instant::now() >= until
}

#[tokio::test]
async fn a_socket_is_told_of_once_for_each_thing_that_happens() {
    let (mut io, inbox) = driver();
    let (token, mut peer) = pair(&mut io, 7);
    assert_eq!(io.owner(token), Some(7));
    assert_eq!(turn(&mut io).await.0, [token], "a new socket is looked at once");
    let mut buffer = Vec::with_capacity(64);
    assert!(matches!(io.read(token, &mut buffer), Read::Bytes(0)));
    assert!(is_quiet(&mut io).await);
    peer.write_all(b"hello").unwrap();
    inbox.push(1);
    let (mut tokens, mut mail) = turn(&mut io).await;
    while tokens.is_empty() || mail.is_empty() {
        let (more, letters) = turn(&mut io).await;
        tokens.extend(more);
        mail.extend(letters);
    }
    assert_eq!((tokens, mail), (vec![token], vec![1]));
    assert!(matches!(io.read(token, &mut buffer), Read::Bytes(5)));
    assert!(is_quiet(&mut io).await);
    drop(peer);
    assert_eq!(turn(&mut io).await.0, [token]);
    assert!(matches!(io.read(token, &mut buffer), Read::End(0)));
    assert_eq!(buffer, b"hello");
}

#[tokio::test]
async fn what_did_not_fit_is_read_in_the_next_turn() {
    let (mut io, _inbox) = driver();
    let (token, mut peer) = pair(&mut io, 0);
    peer.write_all(&[1; 100]).unwrap();
    turn(&mut io).await;
    let mut buffer = Vec::with_capacity(64);
    let room = buffer.capacity();
    assert!(matches!(io.read(token, &mut buffer), Read::Bytes(n) if n == room));
    assert_eq!(turn(&mut io).await.0, [token]);
    buffer.reserve(100);
    assert!(matches!(io.read(token, &mut buffer), Read::Bytes(n) if n == 100 - room));
    assert!(is_quiet(&mut io).await);
}

#[tokio::test]
async fn a_touched_socket_is_told_of_and_a_removed_one_is_not_mistaken() {
    let (mut io, _inbox) = driver();
    let (first, _one) = pair(&mut io, 1);
    let (second, _two) = pair(&mut io, 2);
    assert_eq!(turn(&mut io).await.0, [first, second]);
    io.touch(first);
    io.touch(first);
    assert_eq!(turn(&mut io).await.0, [first], "however often it is touched");
    io.touch(first);
    io.remove(first);
    io.remove(first);
    io.touch(first);
    assert!(matches!(io.read(first, &mut Vec::with_capacity(1)), Read::Failed(_)));
    assert!(matches!(io.write(first, [b"x", b""]), Written::Failed(_)));
    // The token comes back within the turn: the new socket must be looked at.
    let (third, mut three) = pair(&mut io, 3);
    assert_eq!((third, io.owner(third)), (first, Some(3)));
    assert!(turn(&mut io).await.0.contains(&third));
    let mut buffer = Vec::with_capacity(8);
    assert!(matches!(io.read(third, &mut buffer), Read::Bytes(0)));
    three.write_all(b"x").unwrap();
    assert_eq!(turn(&mut io).await.0, [third]);
    let (fourth, _four) = pair(&mut io, 4);
    assert!(fourth != second && fourth != third, "a token is given to one socket at a time");
}

#[tokio::test]
async fn a_write_says_how_much_was_taken_and_when_more_will_be() {
    let (mut io, _inbox) = driver();
    let (token, mut peer) = pair(&mut io, 0);
    turn(&mut io).await;
    let (head, body) = (vec![1; 70_000], vec![2; 4_000_000]);
    let Written::Bytes(taken) = io.write(token, [&head, &body]) else { panic!("failed") };
    assert!(taken > 0 && taken < head.len() + body.len());
    assert!(is_quiet(&mut io).await);
    let mut got = vec![0; taken];
    peer.read_exact(&mut got).unwrap();
    assert!(got.iter().enumerate().all(|(at, &byte)| byte == 1 + u8::from(at >= head.len())));
    assert_eq!(turn(&mut io).await.0, [token]);
    assert!(matches!(io.write(token, [b"", b""]), Written::Bytes(0)));
    assert!(matches!(io.write(token, [b"", b"end"]), Written::Bytes(3)));
    drop(peer);
    assert!(matches!(io.write(token, [b"x", b""]), Written::Failed(_)));
}

#[tokio::test]
async fn a_timer_that_is_late_lets_the_sockets_go_first() {
    let (mut io, _inbox) = driver();
    let (token, mut peer) = pair(&mut io, 0);
    turn(&mut io).await;
    assert!(matches!(io.read(token, &mut Vec::with_capacity(8)), Read::Bytes(0)));
    peer.write_all(b"just in time").unwrap();
    let (mut tokens, mut mail) = (Vec::new(), Vec::new());
    io.turn(Some(Instant::now()), &mut tokens, &mut mail).await;
    assert_eq!(tokens, [token]);
    for _ in 0..3 {
        io.turn(Some(Instant::now()), &mut tokens, &mut mail).await;
    }
    assert!(tokens.is_empty(), "a late timer ends a turn that has nothing else");
}

/// Peers on another thread send and answer in fits and starts; the driver echoes what they send.
/// Each peer goes on only when all it sent has come back, so that one lost wake-up stops it.
#[tokio::test]
async fn no_wake_up_is_lost() {
    const SOCKETS: usize = 32;
    const ROUNDS: usize = 60;
    let (mut io, inbox) = driver();
    let mut echo: HashMap<Token, Vec<u8>> = HashMap::new();
    let mut threads = Vec::new();
    for number in 0..SOCKETS {
        let (token, peer) = pair(&mut io, number);
        echo.insert(token, Vec::new());
        let inbox = inbox.clone();
        threads.push(thread::spawn(move || {
            peer_rounds(peer, number, ROUNDS);
            inbox.push(number as u32);
        }));
    }
    let (mut tokens, mut mail, mut ended) = (Vec::new(), Vec::new(), 0);
    let mut buffer = Vec::with_capacity(4096);
    while ended < SOCKETS {
        let until = Instant::now() + Duration::from_secs(10);
        io.turn(Some(until), &mut tokens, &mut mail).await;
        assert!(Instant::now() < until, "a wake-up was lost");
        ended += mail.len();
        for &token in &tokens {
            let Some(out) = echo.get_mut(&token) else { continue };
            buffer.clear();
            let read = io.read(token, &mut buffer);
            out.extend_from_slice(&buffer);
            let Written::Bytes(n) = io.write(token, [out.as_slice(), &[]]) else { continue };
            out.drain(..n);
            if matches!(read, Read::End(_)) {
                io.remove(token);
                echo.remove(&token);
            }
        }
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn peer_rounds(mut peer: UnixStream, number: usize, rounds: usize) {
    for round in 0..rounds {
        // From a byte to more than the socket and the driver's buffer hold.
        let len = [1, 100, 5_000, 300_000][(number + round) % 4];
        let sent: Vec<u8> = (0..len).map(|at| (at * 31 + round) as u8).collect();
        let mut writer = peer.try_clone().unwrap();
        let copy = sent.clone();
        let sender = thread::spawn(move || writer.write_all(&copy).unwrap());
        let mut got = vec![0; len];
        peer.read_exact(&mut got).unwrap();
        sender.join().unwrap();
        assert!(got == sent, "other bytes came back");
    }
}
