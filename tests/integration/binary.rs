//! memcached's binary protocol at the cache server: beside memcached, packet by packet.
//!
//! What is sent to one is sent to the other, and the replies must be the same but for versions,
//! which are compared by the order in which they were first seen.

use std::fmt::Write;

use crate::support::{Cache, Client, Memcached, Random, Scratch};

const FLAGS_AND_TIME: [u8; 8] = [0, 0, 0, 7, 0, 0, 0, 0];
const TIME: [u8; 4] = [0, 0, 0, 100];
const NOOP: u8 = 0x0a;

/// A request.
#[derive(Clone)]
struct Packet {
    opcode: u8,
    extras: Vec<u8>,
    key: Vec<u8>,
    value: Vec<u8>,
    version: Version,
}

/// The version that a request asks for.
#[derive(Clone, Copy)]
enum Version {
    Any,
    /// One that no item has.
    Wrong,
    /// That which was seen so many different ones ago.
    Seen(usize),
}

impl Packet {
    fn new(opcode: u8, extras: &[u8], key: &[u8], value: &[u8]) -> Self {
        let (extras, key, value) = (extras.to_vec(), key.to_vec(), value.to_vec());
        Self { opcode, extras, key, value, version: Version::Any }
    }

    fn at(self, version: Version) -> Self {
        Self { version, ..self }
    }

    fn bytes(&self, versions: &[u64]) -> Vec<u8> {
        let version = match self.version {
            Version::Any => 0,
            Version::Wrong => u64::MAX,
            Version::Seen(ago) => {
                versions.len().checked_sub(ago + 1).map_or(u64::MAX, |at| versions[at])
            }
        };
        let body = self.extras.len() + self.key.len() + self.value.len();
        let mut bytes = vec![0x80, self.opcode];
        bytes.extend((self.key.len() as u16).to_be_bytes());
        bytes.extend([self.extras.len() as u8, 0, 0, 0]);
        bytes.extend((body as u32).to_be_bytes());
        bytes.extend(b"opaq");
        bytes.extend(version.to_be_bytes());
        [&bytes[..], &self.extras, &self.key, &self.value].concat()
    }
}

/// A client of one of the servers, and which versions it has seen there.
struct Side {
    client: Client,
    versions: Vec<u64>,
}

impl Side {
    fn new(port: u16) -> Self {
        Self { client: Client::connect(port), versions: Vec::new() }
    }

    /// Sends packets in one write and a noop behind them; what is answered, up to the end if it
    /// comes before that of the noop.
    fn ask(&mut self, packets: &[Packet]) -> String {
        let end = Packet::new(NOOP, b"", b"", b"");
        let bytes = packets.iter().chain([&end]).flat_map(|packet| packet.bytes(&self.versions));
        self.client.send(bytes.collect::<Vec<u8>>());
        let mut replies = String::new();
        loop {
            let Ok(reply) = self.client.try_take(length_of) else {
                replies.push_str("closed\n");
                return replies;
            };
            if reply[1] == NOOP && packets.iter().all(|packet| packet.opcode != NOOP) {
                return replies;
            }
            self.tell(&reply, &mut replies);
            if reply[1] == NOOP {
                return replies;
            }
        }
    }

    /// A reply as text, its version as a number of our own.
    fn tell(&mut self, reply: &[u8], text: &mut String) {
        let version = u64::from_be_bytes(reply[16..24].try_into().expect("a version"));
        let seen = self.versions.iter().position(|known| *known == version);
        let number = match (version, seen) {
            (0, _) => 0,
            (_, Some(at)) => at + 1,
            (_, None) => {
                self.versions.push(version);
                self.versions.len()
            }
        };
        let (header, body) = (reply[..16].escape_ascii(), reply[24..].escape_ascii());
        writeln!(text, "{header} version {number} {body}").expect("a string");
    }
}

/// Length of the packet at the start of `bytes`, once it is there.
fn length_of(bytes: &[u8]) -> Option<usize> {
    let body = u32::from_be_bytes(bytes.get(8..12)?.try_into().ok()?);
    let len = 24 + body as usize;
    (bytes.len() >= len).then_some(len)
}

fn number(by: u64, initial: u64, time: u32) -> Vec<u8> {
    [&by.to_be_bytes()[..], &initial.to_be_bytes(), &time.to_be_bytes()].concat()
}

/// What is asked one after the other, and what it is.
#[expect(clippy::too_many_lines, reason = "a table")]
fn talk() -> Vec<(&'static str, Vec<Packet>)> {
    let new = Packet::new;
    let set = |opcode, key: &str, value: &[u8]| new(opcode, &FLAGS_AND_TIME, key.as_bytes(), value);
    let bare = |opcode, key: &str| new(opcode, b"", key.as_bytes(), b"");
    let touch = |opcode, key: &str| new(opcode, &TIME, key.as_bytes(), b"");
    let count = |opcode, key: &str, extras: &[u8]| new(opcode, extras, key.as_bytes(), b"");
    let none = u32::MAX;
    let large = vec![b'x'; (1 << 20) + 1];
    vec![
        ("flush", vec![bare(0x08, ""), bare(0x18, ""), touch(0x08, ""), bare(0x08, "")]),
        ("misses", [0x00, 0x0c, 0x09, 0x0d].map(|opcode| bare(opcode, "k")).into()),
        ("set", vec![set(0x01, "k", b"hello"), set(0x11, "k", b"hello!")]),
        ("hits", [0x00, 0x0c, 0x09, 0x0d].map(|opcode| bare(opcode, "k")).into()),
        ("add", [0x02, 0x02, 0x12, 0x12].map(|opcode| set(opcode, "k2", b"x")).into()),
        ("replace", vec![set(0x03, "k2", b"y"), set(0x03, "no", b"y"), set(0x13, "no", b"y")]),
        (
            "of a version",
            (0x01..=0x03).map(|opcode| set(opcode, "k2", b"z").at(Version::Seen(0))).collect(),
        ),
        ("wrong", (0x01..=0x03).map(|opcode| set(opcode, "k2", b"z").at(Version::Wrong)).collect()),
        (
            "none",
            (0x01..=0x03).map(|opcode| set(opcode, "no", b"z").at(Version::Seen(0))).collect(),
        ),
        ("joined", [0x0e, 0x0f, 0x19, 0x1a].map(|opcode| new(opcode, b"", b"k2", b"+1")).into()),
        (
            "joined to none",
            [0x0e, 0x0f, 0x19, 0x1a].map(|opcode| new(opcode, b"", b"no", b"+")).into(),
        ),
        ("nothing joined", vec![bare(0x0e, "k2"), bare(0x0c, "k2")]),
        (
            "joined to a version",
            vec![
                new(0x0e, b"", b"k2", b"!").at(Version::Seen(0)),
                new(0x0e, b"", b"k2", b"!").at(Version::Wrong),
                new(0x0e, b"", b"no", b"!").at(Version::Wrong),
                bare(0x00, "k2"),
            ],
        ),
        (
            "deleted",
            vec![
                bare(0x04, "k2").at(Version::Wrong),
                bare(0x04, "k2"),
                bare(0x04, "k2"),
                bare(0x14, "k2"),
                set(0x11, "k2", b"x"),
                bare(0x14, "k2"),
                bare(0x00, "k2"),
            ],
        ),
        (
            "no number",
            vec![count(0x05, "n", &number(1, 9, none)), count(0x15, "n", &number(1, 9, none))],
        ),
        (
            "a number",
            vec![
                count(0x05, "n", &number(1, 10, 0)),
                count(0x05, "n", &number(5, 10, 0)),
                count(0x16, "n", &number(3, 10, 0)),
                bare(0x00, "n"),
            ],
        ),
        // By itself: memcached writes in place unless it still sends what was there.
        ("a shorter number", vec![count(0x06, "n", &number(99, 10, 0)), bare(0x00, "n")]),
        (
            "wraps",
            vec![
                count(0x05, "n", &number(u64::MAX, 0, 0)),
                count(0x05, "n", &number(5, 0, 0)),
                bare(0x00, "n"),
            ],
        ),
        (
            "not numeric",
            vec![count(0x05, "k", &number(1, 1, 0)), count(0x16, "k", &number(1, 1, 0))],
        ),
        (
            "a number's version",
            vec![
                count(0x05, "n", &number(1, 1, 0)).at(Version::Wrong),
                count(0x05, "m", &number(1, 77, 0)).at(Version::Wrong),
                bare(0x00, "m"),
            ],
        ),
        ("touched", (0x1c..=0x1e).chain([0x23, 0x24]).map(|opcode| touch(opcode, "k")).collect()),
        (
            "not there",
            (0x1c..=0x1e).chain([0x23, 0x24]).map(|opcode| touch(opcode, "no")).collect(),
        ),
        ("any bytes", vec![set(0x01, "a b\r\n\0", b"\r\n\0"), bare(0x0c, "a b\r\n\0")]),
        ("the longest key", vec![set(0x01, &"k".repeat(250), b"x"), bare(0x00, &"k".repeat(250))]),
        ("in 2106", vec![new(0x01, &[255; 8], b"late", b"x"), bare(0x00, "late")]),
        ("too large", vec![set(0x01, "k", &large), bare(0x00, "k"), set(0x11, "no", &large)]),
        ("too large to add", vec![set(0x01, "k", b"x"), set(0x02, "k", &large), bare(0x00, "k")]),
        (
            "too large together",
            vec![set(0x01, "g", &large[..700 << 10]), new(0x0e, b"", b"g", &large[..700 << 10])],
        ),
        ("large", vec![set(0x01, "g", &large[..900 << 10]), bare(0x0c, "g")]),
        ("no command", vec![bare(0x70, ""), bare(0x20, ""), bare(0x00, "no")]),
        (
            "figures",
            vec![
                bare(0x10, "nosuch"),
                bare(0x10, "reset"),
                bare(0x10, "sizes"),
                bare(0x10, "detail"),
            ],
        ),
    ]
}

/// What is the last that a client may ask.
fn last_words() -> Vec<Packet> {
    let new = Packet::new;
    vec![
        new(0x07, b"", b"", b""),
        new(0x17, b"", b"", b""),
        new(0x07, b"", b"k", b""),
        new(0x00, b"", b"", b""),
        new(0x00, b"", b"k", b"v"),
        new(0x00, b"1234", b"k", b""),
        new(0x01, b"", b"k", b"v"),
        new(0x01, &FLAGS_AND_TIME, b"", b"v"),
        new(0x01, &FLAGS_AND_TIME, &[b'k'; 251], b"v"),
        new(0x04, b"1234", b"k", b""),
        new(0x05, b"1234", b"k", b""),
        new(0x08, b"", b"k", b""),
        new(0x0b, b"", b"", b"v"),
        new(0x0e, b"1234", b"k", b"v"),
        new(0x0e, b"", b"", b"v"),
        new(0x10, b"1234", b"", b""),
        new(0x1c, b"", b"k", b""),
        new(0x1d, &TIME, b"", b""),
        new(0x70, b"", &[b'k'; 251], b""),
    ]
}

/// One that holds no item for a moment after it was read: it then pads numbers as it says.
fn memcached() -> Memcached {
    Memcached::with(&["-o", "no_modern"])
}

#[test]
fn packets_are_answered_as_memcached_answers_them() {
    let (memcached, cache) = (memcached(), Cache::start(&[]));
    let ports = [memcached.port(), cache.memcache_port()];
    let mut sides = ports.map(Side::new);
    for (what, packets) in talk() {
        let [wanted, got] = sides.each_mut().map(|side| side.ask(&packets));
        assert_eq!(got, wanted, "{what}");
    }
    for packet in last_words() {
        let [wanted, got] = ports.map(|port| Side::new(port).ask(std::slice::from_ref(&packet)));
        assert_eq!(got, wanted, "{:#x}", packet.opcode);
        assert!(got.ends_with("closed\n"), "{:#x}: {got}", packet.opcode);
    }
}

/// A packet by chance.
fn packet(random: &mut Random) -> Packet {
    // Every opcode but for flushes, noop, version, figures, the end and passwords.
    let opcodes = [0u8, 1, 2, 3, 4, 5, 6, 9, 0xc, 0xd, 0xe, 0xf];
    let quiet = [0x11u8, 0x12, 0x13, 0x14, 0x15, 0x16, 0x19, 0x1a, 0x1c, 0x1d, 0x1e, 0x23, 0x24];
    let opcode = random.of(&[&opcodes[..], &quiet].concat());
    let key = random.of(&["a", "b", "c"]);
    // Nothing with a minus: memcached looks for one behind the end of a large number as well.
    let value = random.of(&["", "1", "9", "18446744073709551615", "text", "12 ", "+1", "007"]);
    let (extras, value) = match opcode {
        1..=3 | 0x11..=0x13 => (FLAGS_AND_TIME.to_vec(), value),
        5 | 6 | 0x15 | 0x16 => {
            let by = random.of(&[0, 1, 10, u64::MAX]);
            (number(by, 5, random.of(&[0, 100, u32::MAX])), "")
        }
        0xe | 0xf | 0x19 | 0x1a => (Vec::new(), value),
        0x1c..=0x1e | 0x23 | 0x24 => (TIME.to_vec(), ""),
        _ => (Vec::new(), ""),
    };
    let version = match random.below(8) {
        0 => Version::Wrong,
        1 | 2 => Version::Seen(random.below(3)),
        _ => Version::Any,
    };
    Packet::new(opcode, &extras, key.as_bytes(), value.as_bytes()).at(version)
}

#[test]
fn random_packets_are_answered_as_memcached_answers_them() {
    let (memcached, cache) = (memcached(), Cache::start(&[]));
    for seed in 1..=8 {
        let mut random = Random(seed * 7919);
        let mut sides = [memcached.port(), cache.memcache_port()].map(Side::new);
        let clear = [Packet::new(0x08, b"", b"", b"")];
        sides.iter_mut().for_each(|side| drop(side.ask(&clear)));
        for turn in 0..500 {
            let mut packets: Vec<Packet> =
                (0..=random.below(6)).map(|_| packet(&mut random)).collect();
            if packets.iter().any(|packet| matches!(packet.opcode, 5 | 6 | 0x15 | 0x16)) {
                // memcached pads numbers unless it still sends what was there.
                packets.truncate(1);
            }
            let [wanted, got] = sides.each_mut().map(|side| side.ask(&packets));
            let asked: Vec<String> =
                packets.iter().map(|packet| packet.bytes(&[]).escape_ascii().to_string()).collect();
            assert_eq!(got, wanted, "seed {seed}, turn {turn}: {asked:#?}");
        }
    }
}

/// Where it is not as memcached, on purpose: what follows a packet that is refused is served, as it
/// is known where that begins; and packets and lines may take turns.
#[test]
fn a_packet_without_a_command_is_passed_over() {
    let cache = Cache::start(&[]);
    let mut side = Side::new(cache.memcache_port());
    let unknown = Packet::new(0x70, b"1234", b"key", b"value");
    let got = side.ask(&[unknown, Packet::new(0x00, b"", b"no", b"")]);
    assert!(got.contains("Unknown command\n") && got.contains("Not found\n"), "{got}");
    side.client.ask("set k 0 0 1\r\nx\r\n", "STORED\r\n");
    let got = side.ask(&[Packet::new(0x0c, b"", b"k", b"")]);
    assert!(got.ends_with("kx\n"), "{got}");
}

#[test]
fn a_large_value_comes_in_whatever_its_pieces() {
    let cache = Cache::start(&["--memory", "64MiB", "--max-value", "8MiB"]);
    let mut side = Side::new(cache.memcache_port());
    let value: Vec<u8> = (0..3_000_005).map(|at| (at / 7 % 251) as u8).collect();
    for cut in [usize::MAX, 65_536, 100_001, 1_000_003] {
        for opcode in [0x01, 0x03] {
            let set = Packet::new(opcode, &FLAGS_AND_TIME, b"k", &value);
            for piece in set.bytes(&[]).chunks(cut) {
                side.client.send(piece);
            }
            // Nothing follows it, and it is answered.
            let reply = side.client.try_take(length_of).expect("a reply");
            assert_eq!((reply.len(), &reply[..8]), (24, &[0x81, opcode, 0, 0, 0, 0, 0, 0][..]));
        }
        let got = side.ask(&[Packet::new(0x00, b"", b"k", b"")]);
        assert!(got.contains(&value.escape_ascii().to_string()), "{} bytes", got.len());
    }
}

#[test]
fn a_client_of_packets_says_who_it_is() {
    let scratch = Scratch::new();
    let users = scratch.file("users", "me:secret\n").display().to_string();
    let cache = Cache::with_users(&users);
    let mut side = Side::new(cache.memcache_port());
    let auth = |text: &[u8]| Packet::new(0x21, b"", b"PLAIN", text);
    let mut ask = |packet: Packet, text: &str| {
        let got = side.ask(&[packet]);
        assert!(got.contains(text), "wanted {text}, got {got}");
    };
    let get = Packet::new(0x00, b"", b"k", b"");
    ask(get.clone(), "Auth failure.\n");
    ask(Packet::new(0x20, b"", b"", b""), "PLAIN\n");
    for text in [&b""[..], b"\0me", b"\0me\0wrong", b"\0\0", b"me\0secret", b"\0me\0secret\0"] {
        ask(auth(text), "Auth failure.\n");
        ask(get.clone(), "Auth failure.\n");
    }
    ask(Packet::new(0x21, b"", b"CRAM-MD5", b"\0me\0secret"), "Auth failure.\n");
    ask(auth(b"\0me\0secret"), "Authenticated\n");
    ask(get, "Not found\n");
}
