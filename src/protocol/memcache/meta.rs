//! Meta commands on their way to a server: where they go, and what of them comes back.
//!
//! A server passes over in silence what a quiet request (`q`) asks for or not, by rules of its own
//! and its version. So that nobody has to know these, `mn` is sent behind such a request: all that
//! comes before its `MN` is the reply, be it nothing.

use super::encoded::decode_base64;
use crate::protocol::digits::digits;
use crate::protocol::{Access, Command, Op, Request, Span};

/// Bytes of the longest key.
pub const KEY_BYTES: usize = 250;

/// What is sent behind a quiet request.
pub const NOOP: &[u8] = b"mn\r\n";

/// The line that answers [`NOOP`].
pub const NOOP_REPLY: &[u8] = b"MN\r\n";

/// Whether a command is a meta command that a server executes.
fn is_meta(command: &Command) -> bool {
    matches!(
        command.op,
        Op::MetaGet | Op::MetaSet | Op::MetaDelete | Op::MetaArithmetic | Op::MetaDebug
    )
}

/// Whether a request is one that may get no reply.
pub fn is_quiet(request: &Request<'_>) -> bool {
    request.head.command.op != Op::MetaDebug && has_flag(request, b'q')
}

/// The key that a request has `written` as base64, as its server will know it; `None` if it is
/// written as it is, or is no base64: that the server is going to refuse, whichever it is.
#[inline]
pub fn binary_key(request: &Request<'_>, written: &[u8]) -> Option<Vec<u8>> {
    if has_flag(request, b'b') { decoded(written) } else { None }
}

fn decoded(written: &[u8]) -> Option<Vec<u8>> {
    let mut key = vec![0; KEY_BYTES];
    let len = decode_base64(written, &mut key)?;
    key.truncate(len);
    Some(key)
}

/// Whether a server that answers so to `version` knows meta commands: 1.6 and later.
pub fn knows_meta(answer: &[u8]) -> bool {
    let Some(version) = answer.strip_prefix(b"VERSION ") else { return false };
    let mut parts = version.split(|byte| *byte == b'.').map(digits);
    let version = (parts.next().flatten(), parts.next().flatten());
    version >= (Some(1), Some(6))
}

/// What a server answers to an `mg` that asks for the client's 32 bits, the time left, the version
/// and the key (`f t c k`), and with `v` for the value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetaReply<'a> {
    /// The value, if there is one.
    pub value: Option<&'a [u8]>,
    /// The key as the server wrote it.
    pub key: &'a [u8],
    /// It is written as base64, as whoever stored it has written it.
    pub binary: bool,
    /// The client's 32 bits.
    pub flags: u32,
    /// Seconds left, as its clock counts them; `None` for ever.
    pub left: Option<u64>,
    /// The version.
    pub cas: u64,
    /// Whoever asked is to make the value anew (`W`).
    pub won: bool,
    /// It is stale (`X`), or somebody makes it anew already (`Z`).
    pub stale: bool,
}

/// Reads such an answer; `None` if it says that there is nothing, or something else.
pub fn meta_reply(reply: &[u8]) -> Option<MetaReply<'_>> {
    let end = memchr::memchr(b'\r', reply)?;
    let mut words = reply[..end].split(|byte| *byte == b' ');
    let mut read = MetaReply::default();
    match words.next() {
        Some(b"VA") => {
            let len = usize::try_from(digits(words.next()?)?).ok()?;
            let from = end + 2;
            read.value = Some(reply.get(from..from.checked_add(len)?)?);
        }
        Some(b"HD") => {}
        _ => return None,
    }
    for (letter, rest) in words.filter_map(|word| word.split_first()) {
        match letter {
            b'k' => read.key = rest,
            b'b' => read.binary = true,
            b'f' => read.flags = digits(rest)?.try_into().ok()?,
            b't' if rest == b"-1" => read.left = None,
            b't' => read.left = Some(digits(rest)?),
            b'c' => read.cas = digits(rest)?,
            b'W' => read.won = true,
            b'X' | b'Z' => read.stale = true,
            _ => {}
        }
    }
    Some(read)
}

/// Whether an `mg` asks for no more than the value and what is kept beside it, of a key that is
/// written in the only way it can be: a server answers with the key as whoever stored it wrote it.
pub fn only_reads(request: &Request<'_>) -> bool {
    let written = request.arg(1);
    let needs_base64 = |key: Vec<u8>| !is_plain_key(&key);
    let mut seen = 0u32;
    let reads = request.args.iter().skip(2).all(|word| {
        let Some((letter, rest)) = word.of(request.bytes).split_first() else { return false };
        let known = match letter {
            b'v' | b'k' | b'q' | b'b' | b'f' | b's' => rest.is_empty(),
            b'O' => rest.len() < OPAQUE_BYTES,
            _ => false,
        };
        // The server refuses one that stands twice.
        let bit = 1 << (letter & 31);
        let (once, _) = (seen & bit == 0, seen |= bit);
        known && once
    });
    reads && (!has_flag(request, b'b') || binary_key(request, written).is_some_and(needs_base64))
}

/// Whether a key can stand on a line as it is.
pub fn is_plain_key(key: &[u8]) -> bool {
    key.iter().all(|byte| *byte > b' ' && *byte != 0x7f)
}

/// Whether a request of either protocol changes what is stored: of most commands the table knows
/// it, of `mg` it depends on the flags.
#[inline]
pub fn access_of(request: &Request<'_>) -> Access {
    let command = request.head.command;
    let reads = command.op == Op::MetaGet && !may_write(request);
    if reads { Access::Read } else { command.access }
}

/// Whether an `mg` may change what is stored: what it does to an item that is not there, to its
/// time or its version.
pub fn may_write(request: &Request<'_>) -> bool {
    let letter = |word: &Span| word.of(request.bytes).first().copied().unwrap_or_default();
    request.args.iter().skip(2).any(|word| b"NTREI".contains(&letter(word)))
}

/// Bytes of an opaque flag, its letter left out, that are too many.
const OPAQUE_BYTES: usize = 32;

#[inline]
fn has_flag(request: &Request<'_>, flag: u8) -> bool {
    is_meta(request.head.command) && names_flag(request, flag)
}

/// The same of a meta command.
fn names_flag(request: &Request<'_>, flag: u8) -> bool {
    let first = if request.head.command.op == Op::MetaSet { 3 } else { 2 };
    let flags = request.args.get(first..).unwrap_or_default();
    flags.iter().any(|word| word.of(request.bytes).first() == Some(&flag))
}
