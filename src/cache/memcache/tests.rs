//! Transcripts that memcached itself has proven, and random commands against a plain model.

use std::path::Path;
use std::sync::Arc;

use crate::cache::memcache::{execute, refused};
use crate::cache::{After, Cache, Context, Now};
use crate::config::Eviction;
use crate::metrics::{PoolShape, Registry};
use crate::protocol::memcache::{parse, write_refusal};
use crate::protocol::{Parsed, Request, Rules};
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
            eviction: Eviction::Merge,
        };
        let shape = PoolShape { name: "web".to_owned(), protocol: "memcache", servers: Vec::new() };
        let cache = Cache {
            store: Arc::new(Store::new(settings)),
            registry: Arc::new(Registry::new(vec![shape], 2)),
            pool: 0,
            value_max: MEBIBYTE,
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
        let counters = &registry.workers[1].pools[0];
        let context = &Context { cache: &self.cache, counters, now: self.now };
        let mut args = Vec::new();
        match parse(&self.sent, &RULES, &mut args) {
            Parsed::Incomplete { .. } | Parsed::Begun(_) => return false,
            Parsed::Request(head) => {
                let bytes = &self.sent[..head.len as usize];
                let request = Request { head: &head, bytes, args: &args };
                self.closed = execute(context, request, &mut self.replies) == After::Close;
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
