//! Transcripts that memcached itself has proven, and random commands against a plain model.

mod binary;
mod model;

use std::path::Path;
use std::sync::Arc;

use crate::cache::memcache::{execute, refused};
use crate::cache::{After, Cache, Context, Now};
use crate::config::{Eviction, Storage};
use crate::metrics::{PoolShape, Registry};
use crate::protocol::memcache::{parse, write_refusal};
use crate::protocol::{Output, Parsed, Request, Rules};
use crate::storage::{Settings, Store, Time};

const MEBIBYTE: usize = 1024 * 1024;

const RULES: Rules = Rules {
    compat: false,
    cache: true,
    lenient_lf: false,
    key_bytes: 250,
    value_bytes: MEBIBYTE as u64,
    keys_per_request: 1000,
    args_per_request: 100,
    line_bytes: 8192,
};

/// A client of a cache of its own.
struct Client {
    cache: Cache,
    now: Now,
    /// Sent and not executed yet.
    sent: Vec<u8>,
    /// To be thrown away as it comes.
    skip: u64,
    replies: Vec<u8>,
    closed: bool,
}

impl Client {
    fn new() -> Self {
        let settings = Settings {
            memory: 64 * MEBIBYTE as u64,
            item_max: MEBIBYTE + 300,
            shards: 4,
            version: 10,
            storage: Storage::Segcache,
            eviction: Eviction::Merge,
        };
        let shape = PoolShape {
            name: "web".to_owned(),
            protocol: "memcache",
            servers: Vec::new(),
            near_cache: false,
            connections: 1,
        };
        let cache = Cache {
            store: Arc::new(Store::new(settings)),
            registry: Arc::new(Registry::new(vec![shape], 2)),
            pool: 0,
            value_max: MEBIBYTE,
            reply_max: 32 << 20,
        };
        let now = Now { time: Time::from_millis(7_000), wall_millis: 1_700_000_000_000 };
        Self { cache, now, sent: Vec::new(), skip: 0, replies: Vec::new(), closed: false }
    }

    /// Sends bytes; all that can be executed is.
    fn send(&mut self, bytes: &[u8]) {
        self.sent.extend_from_slice(bytes);
        while !self.closed && self.step() {}
    }

    /// Executes one request; `false` if more bytes are needed.
    fn step(&mut self) -> bool {
        let skipped = self.skip.min(self.sent.len() as u64);
        self.sent.drain(..skipped as usize);
        self.skip -= skipped;
        if self.sent.is_empty() {
            return false;
        }
        let registry = Arc::clone(&self.cache.registry);
        let counters = &registry.layout().workers[1].pools[0].clone();
        let context = &Context { cache: &self.cache, counters, now: self.now, incoming: None };
        let mut args = Vec::new();
        match parse(&self.sent, &RULES, &mut args) {
            Parsed::Incomplete { .. } | Parsed::Begun(_) => return false,
            Parsed::Request(head) => {
                let bytes = &self.sent[..head.len as usize];
                let request = Request { head: &head, bytes, args: &args };
                let mut out = Output::default();
                self.closed = execute(context, request, &mut out) == After::Close;
                self.replies.extend(out.into_bytes());
                self.skip = head.len;
            }
            Parsed::Refused { len, refusal } => {
                refused(context, &self.sent, &args, refusal.as_ref());
                if let Some(refusal) = refusal {
                    write_refusal(&refusal, &mut self.replies);
                }
                self.skip = len;
            }
            Parsed::Lost(refusal) => {
                write_refusal(&refusal, &mut self.replies);
                self.closed = true;
            }
            Parsed::Skip { len } => self.skip = len as u64,
            Parsed::Inline(_) => unreachable!("Redis's"),
        }
        true
    }

    /// The reply to `bytes`.
    fn ask(&mut self, bytes: impl AsRef<[u8]>) -> String {
        self.send(bytes.as_ref());
        String::from_utf8_lossy(&std::mem::take(&mut self.replies)).into_owned()
    }

    fn pass(&mut self, millis: u64) {
        let time = self.now.time.after(millis);
        self.now = Now { time, wall_millis: self.now.wall_millis + millis };
    }

    /// Plays a transcript, the bytes in writes of `cut`; what is wrong first.
    fn play(&mut self, text: &str, cut: usize) -> Result<(), String> {
        for (index, line) in text.lines().enumerate() {
            let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
            let bytes = unescaped(rest);
            let wrong =
                |got: &[u8]| format!("line {}: {line}: got {}", index + 1, got.escape_ascii());
            match mark {
                ">" => bytes.chunks(cut).for_each(|piece| self.send(piece)),
                "<" if self.replies.starts_with(&bytes) => {
                    self.replies.drain(..bytes.len());
                }
                "<~" => {
                    let end = self.replies.iter().position(|byte| *byte == b'\n');
                    let got: Vec<u8> = self.replies.drain(..end.map_or(0, |at| at + 1)).collect();
                    if !fits(&bytes, &got) {
                        return Err(wrong(&got));
                    }
                }
                "<|" if self.closed && self.replies.is_empty() => {}
                "<" | "<|" => return Err(wrong(&self.replies)),
                _ => assert!(line.is_empty() || line.starts_with('#'), "{line}"),
            }
        }
        if self.replies.is_empty() { Ok(()) } else { Err("more was answered".to_owned()) }
    }
}

/// True if `line` fits `pattern`, in which `*` stands for any bytes.
fn fits(pattern: &[u8], line: &[u8]) -> bool {
    let Some(star) = pattern.iter().position(|byte| *byte == b'*') else {
        return pattern == line;
    };
    let (head, rest) = (&pattern[..star], &pattern[star + 1..]);
    line.starts_with(head) && (star..=line.len()).any(|from| fits(rest, &line[from..]))
}

/// The bytes that a line of a transcript stands for.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let after = &rest[at + 2..];
        rest = match rest.as_bytes()[at + 1] {
            b'x' => {
                bytes.push(u8::from_str_radix(&after[..2], 16).unwrap());
                &after[2..]
            }
            b'{' => {
                let (inside, behind) = after.split_once('}').unwrap();
                let (count, unit) = inside.split_once(':').unwrap();
                bytes.extend(unit.as_bytes().repeat(count.parse().unwrap()));
                behind
            }
            other => {
                bytes.push(match other {
                    b'r' => b'\r',
                    b'n' => b'\n',
                    b't' => b'\t',
                    other => other,
                });
                after
            }
        };
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

#[test]
fn transcripts_that_hold_for_memcached_hold_here() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let (mut played, mut wrong) = (0, Vec::new());
    for folder in ["cache_memcache", "memcache"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            if text.lines().any(|line| line.starts_with("# plays:") && !line.contains("server")) {
                continue;
            }
            played += 1;
            for cut in [usize::MAX, 4096, 1] {
                if cut == 1 && text.contains("0000:") {
                    continue;
                }
                if let Err(why) = Client::new().play(&text, cut) {
                    wrong.push(format!("{}, cut {cut}: {why}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(played > 30, "{played}");
}

#[test]
fn a_wrong_transcript_is_found() {
    assert!(Client::new().play("> get a\\r\\n\n< STORED\\r\\n", 100).is_err());
    assert!(Client::new().play("> get a\\r\\n\n<~ VALUE *\\r\\n", 100).is_err());
    assert!(Client::new().play("> get a\\r\\n", 100).is_err());
    assert!(Client::new().play("<| closed", 100).is_err());
}

#[test]
fn items_die_when_their_time_comes() {
    let mut client = Client::new();
    client.ask("set a 0 2 1\r\n1\r\nset b 0 1700000003 1\r\n2\r\nset c 0 0 1\r\n3\r\n");
    client.pass(1_999);
    assert_eq!(client.ask("mg a t\r\nmg b t\r\nmg c t\r\n"), "HD t1\r\nHD t2\r\nHD t-1\r\n");
    client.pass(1);
    assert_eq!(client.ask("get a b\r\n"), "VALUE b 0 1\r\n2\r\nEND\r\n");
    client.ask("flush_all 5\r\n");
    client.pass(4_999);
    assert_eq!(client.ask("get c\r\n"), "VALUE c 0 1\r\n3\r\nEND\r\n");
    client.pass(1);
    assert_eq!(client.ask("get c\r\n"), "END\r\n");
}

/// Flags that memcached 1.6.18 does not have yet, but later ones do.
#[test]
fn later_flags_are_known() {
    let mut client = Client::new();
    assert_eq!(client.ask("ms k 2 E555 c s\r\nhi\r\n"), "HD c555 s2\r\n");
    assert_eq!(
        client.ask("ms k 1 MA s C555 E7\r\n!\r\nmg k c v\r\n"),
        "HD s3\r\nVA 3 c7\r\nhi!\r\n"
    );
    assert_eq!(client.ask("md k I E9 C7\r\nmg k c\r\n"), "HD\r\nHD c9 X W\r\n");
    assert_eq!(client.ask("md k x F3 T10\r\nmg k c v f t\r\n"), "HD\r\nVA 0 c9 f3 t10\r\n\r\n");
    assert_eq!(client.ask("md k x I E5\r\nmg k c s\r\n"), "HD\r\nHD c5 s0 X W\r\n");
    assert_eq!(client.ask("mg n N0 E4 c\r\nma m N0 E6 c\r\n"), "HD c4 W\r\nHD c6\r\n");
    assert_eq!(client.ask("ma m E8 c\r\nma m C6 c\r\n"), "HD c8\r\nEX\r\n");
    assert_eq!(client.ask("ms a 1 MA N60\r\nx\r\nmg a v t\r\n"), "HD\r\nVA 1 t60\r\nx\r\n");
    assert_eq!(
        client.ask("ms p 1 MP N0\r\nx\r\nms p 1 MP N0\r\ny\r\nmg p v\r\n"),
        "HD\r\nHD\r\nVA 2\r\nyx\r\n"
    );
    assert_eq!(
        client.ask("ms f 1 F4294967296\r\nx\r\n"),
        "CLIENT_ERROR bad command line format\r\n"
    );
}

/// The data of a line that is refused is never run as a command, unlike in memcached.
#[test]
fn data_of_a_refused_line_is_swallowed() {
    let mut client = Client::new();
    let long = format!("set {} 0 0 9\r\nflush_all\r\nmn\r\n", "k".repeat(251));
    let line = "CLIENT_ERROR bad command line format\r\n";
    assert_eq!(client.ask(long), format!("{line}MN\r\n"));
    assert_eq!(client.ask("set k a 0 2\r\nmn\r\nmn\r\n"), format!("{line}MN\r\n"));
    assert_eq!(client.ask("set k 4294967296 0 2\r\nmn\r\n"), line);
    assert_eq!(client.ask("set k 0 0 2 x y\r\nmn\r\n"), "ERROR\r\n");
    assert_eq!(client.ask(format!("ms {} 2\r\nmn\r\n", "k".repeat(251))), line);
}

#[test]
fn statistics_are_summed_and_set_aside() {
    let mut client = Client::new();
    client.ask(
        "set k 0 0 1\r\n5\r\nget k\r\nget k nope\r\nincr k 1\r\ndecr nope 1\r\ngat 0 k nope\r\n",
    );
    client.ask(
        "cas k 0 0 1 1\r\n1\r\ncas nope 0 0 1 1\r\n1\r\ntouch k 0\r\ndelete nope\r\nmn\r\nmg k\r\n",
    );
    let stats = client.ask("stats\r\n");
    for line in [
        "pid ",
        "uptime 7",
        "time 1700000000",
        "version 1.6.18-twinring-",
        "pointer_size 64",
        "cmd_get 4",
        "get_hits 3",
        "get_misses 1",
        "cmd_set 3",
        "incr_hits 1",
        "decr_misses 1",
        "cmd_touch 3",
        "touch_hits 2",
        "touch_misses 1",
        "cas_badval 1",
        "cas_misses 1",
        "delete_misses 1",
        "cmd_meta 1",
        "curr_items 1",
        "bytes 2",
        "total_items 2",
        "threads 2",
        "limit_maxbytes 67108864",
    ] {
        assert!(stats.contains(&format!("STAT {line}")), "{line} in {stats}");
    }
    assert!(stats.ends_with("\r\nEND\r\n"));
    assert_eq!(client.ask("stats reset\r\n"), "RESET\r\n");
    let stats = client.ask("get k\r\nstats\r\n");
    assert!(
        stats.contains("STAT get_hits 1\r\n") && stats.contains("STAT cmd_set 0\r\n"),
        "{stats}"
    );
    assert!(client.ask("stats settings\r\n").contains("STAT maxbytes 67108864\r\n"));
    assert!(client.ask("stats items\r\n").contains("STAT items:1:number 1\r\n"));
    assert!(client.ask("stats slabs\r\n").contains("STAT active_slabs 1\r\n"));
}
