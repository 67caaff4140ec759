//! The values that both protocols share: what a request asks, what a reply scan found.

use super::keys::Keys;
use super::op::Op;
use super::packet::Failure;

/// A range of bytes within the buffer that was parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The bytes meant, in the buffer that was parsed; empty if the buffer is another one.
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// Length in bytes.
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// True if there is nothing in it.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// What bounds and dialect a parser holds requests to.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Take only what twemproxy takes.
    pub compat: bool,
    /// Take what a cache of our own executes, not what servers do.
    pub cache: bool,
    /// A bare LF ends a memcache line.
    pub lenient_lf: bool,
    /// Bytes of a key.
    pub key_bytes: usize,
    /// Bytes of a value.
    pub value_bytes: u64,
    /// Keys of one request.
    pub keys_per_request: usize,
    /// Arguments of one Redis command.
    pub args_per_request: usize,
    /// Bytes of a multi-key memcache line; other lines may have 2 KiB.
    pub line_bytes: usize,
}

/// What stands at the start of a buffer.
#[derive(Clone, Debug)]
pub enum Parsed {
    /// Not a whole request yet: another attempt is worth it from `need` bytes on.
    Incomplete {
        /// Bytes counted from the start of the request.
        need: usize,
    },
    /// A whole request: the first [`Head::len`] bytes.
    Request(Head),
    /// A request whose command, keys and all small arguments are here, while its last, large
    /// argument is still coming in; [`Head::len`] is how long it will be in all.
    Begun(Head),
    /// A whole request as words on a line: the first [`Head::len`] bytes. Its arguments do not
    /// stand there as they are meant, but in a text of their own.
    Inline(Box<Inline>),
    /// Nothing but padding: throw `len` bytes away.
    Skip {
        /// Bytes to throw away.
        len: usize,
    },
    /// A bad request whose end is known: answer, throw `len` bytes away as they come, go on.
    Refused {
        /// Bytes of the bad request, some of which may not have come in yet.
        len: u64,
        /// What to answer; `None` stands for nothing (a bad request that wanted no reply).
        refusal: Option<Refusal>,
    },
    /// Nobody can say where the next request begins: answer and close.
    Lost(Refusal),
}

impl Parsed {
    /// Requests up to this many bytes are waited for whole.
    pub(super) const WHOLE_BYTES: u64 = 64 * 1024;
}

/// An inline Redis command.
#[derive(Clone, Debug)]
pub struct Inline {
    /// Its command, and bytes of its line.
    pub head: Head,
    /// Its arguments, quotes and escapes resolved; the spans are of this.
    pub text: Vec<u8>,
}

/// A request that stores a large value, without it.
#[derive(Clone, Debug)]
pub struct Outline {
    /// What stands before the value, as if that were empty.
    pub text: Vec<u8>,
    /// Bytes of the value.
    pub len: u64,
    /// Where the value begins in what was parsed.
    pub value_at: usize,
}

/// A request: its command and where its parts are.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Its row of the command table.
    pub command: &'static Command,
    /// Bytes of the whole request, data included.
    pub len: u64,
    /// The memcache client wants no reply; the last argument is the word `noreply`.
    pub noreply: bool,
    /// The line ended with a bare LF and is not fit to be forwarded as it is.
    pub bare_lf: bool,
    /// memcache: bytes of the command line, its line end included. 0 for Redis.
    pub line: u32,
    /// The bytes cannot be forwarded as they are (an inline Redis command, a bare LF).
    pub rewrite: bool,
}

/// One whole request, where it was parsed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its command and framing.
    pub head: &'a Head,
    /// Its bytes, and no others; of an inline command the words as they are meant.
    pub bytes: &'a [u8],
    /// Its arguments, the command's name first, as ranges of `bytes`.
    pub args: &'a [Span],
}

impl<'a> Request<'a> {
    /// The argument at `index`; empty if there is none.
    pub fn arg(&self, index: usize) -> &'a [u8] {
        self.args.get(index).map_or(&[], |span| span.of(self.bytes))
    }
}

/// One row of a command table.
#[derive(Debug)]
pub struct Command {
    /// As clients write it: lower case for memcache, upper case for Redis.
    pub name: &'static str,
    /// Arguments, the name included: exactly n, or at least -n.
    pub arity: i16,
    /// Which arguments are keys.
    pub keys: Keys,
    /// Whether it changes what is stored.
    pub access: Access,
    /// What becomes of it in front of servers.
    pub plan: Plan,
    /// What a cache of our own does for it.
    pub op: Op,
    /// Whether twemproxy takes it, and with how many arguments (as `arity`); 0 for not at all.
    pub compat: i16,
}

/// Whether a command changes what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It does not: safe to send twice.
    Read,
    /// It may.
    Write,
    /// It has nothing to do with stored items.
    None,
}

/// What becomes of a command in front of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Answered by the proxy.
    Local(Local),
    /// Sent whole to the server of its first key.
    Forward,
    /// memcache retrieval: `VALUE` blocks merged in key order.
    Values,
    /// MGET: one element for each key, in key order.
    Array,
    /// DEL and its like: integers added up.
    Sum,
    /// MSET: `+OK` from all.
    AllOk,
    /// Sent to every server, `STAT` lines put one after the other.
    Stats,
    /// Sent to every server if the pool allows flushing; all must agree.
    Flush,
    /// SCRIPT: LOAD, EXISTS and FLUSH go to every server.
    Script,
    /// FUNCTION: what changes functions goes to every server, and so does LIST.
    Function,
    /// PUBSUB: sent to every server; what their listeners are together.
    Listeners,
    /// KEYS: sent to every server if the pool allows it; their arrays put one after the other.
    Concat,
    /// RANDOMKEY: likewise; one of the answers.
    AnyOne,
    /// SCAN: sent to one server after the other, if the pool allows it; the cursor says to which.
    Scan,
    /// Part of a conversation that needs a server connection of its own.
    Dedicated(Dedicated),
    /// It begins or ends subscriptions.
    PubSub(PubSub),
    /// Refused: only a cache of our own has it.
    Refuse,
}

/// What a command is in a conversation that needs a server connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "most are named after the command")]
pub enum Dedicated {
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
    /// It waits for what others will do.
    Block,
    /// It does if it has the word BLOCK.
    BlockIfSaid,
}

/// What a command does with subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PubSub {
    /// SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE.
    Subscribe(Sub),
    /// UNSUBSCRIBE and so on.
    Unsubscribe(Sub),
}

/// What is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sub {
    /// A channel.
    Channel,
    /// All channels that match a pattern.
    Pattern,
    /// A shard channel.
    Shard,
}

/// What the proxy answers by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after the command")]
pub enum Local {
    Version,
    Verbosity,
    Quit,
    MetaNoop,
    Ping,
    Echo,
    Select,
    Command,
    Client,
    Info,
    Auth,
    Hello,
    Reset,
    Time,
}

/// Why a request is not served; rendered as one line, or packet, of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// memcache `ERROR`: no such command.
    Unknown,
    /// memcache `CLIENT_ERROR text`.
    Client(&'static str),
    /// memcache `SERVER_ERROR text`.
    Server(&'static str),
    /// memcached's binary protocol.
    Binary(Failure),
    /// Redis: an error line, without the leading `-` and the line end. Never holds CR or LF.
    Redis(String),
}

/// What a reply must look like to answer its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// memcache: `VALUE` blocks then `END`, or an error line.
    Values,
    /// memcache: one `VALUE` block at most, whose key is the one asked for.
    Value,
    /// memcache: STORED, NOT_STORED, EXISTS, NOT_FOUND.
    Stored,
    /// memcache: DELETED, NOT_FOUND.
    Deleted,
    /// memcache: a number, NOT_FOUND.
    Number,
    /// memcache: TOUCHED, NOT_FOUND.
    Touched,
    /// memcache: VERSION.
    Version,
    /// memcache: STAT lines then END; or RESET, OK.
    Stats,
    /// memcache: OK.
    Ok,
    /// memcache: the line of a meta command, `VA` with a data block.
    Meta,
    /// The same or nothing, and `MN` behind it.
    MetaQuiet,
    /// Redis: any one reply.
    Resp,
}

/// How far a scan got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Bytes at the start of the buffer that belong to this reply and need not be shown again.
    pub used: usize,
    /// How the reply ended, if it has.
    pub end: Option<Outcome>,
}

/// What a whole reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Something was found (memcache: at least one VALUE; Redis: neither nil nor an error).
    Hit,
    /// Nothing was found (memcache END alone, NOT_FOUND; Redis nil).
    Miss,
    /// Neither: it was done.
    Done,
    /// An error line of the server.
    Error,
    /// A Redis error that says the server cannot serve now: LOADING or BUSY.
    Unavailable,
    /// A Redis error about authentication: NOAUTH, WRONGPASS, NOPERM or a refused password.
    Auth,
}

/// Why bytes from a server are not the reply that they should be: the connection is unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Not of the protocol at all.
    Syntax,
    /// A well-formed reply, but not to this request.
    Unexpected,
    /// A value beyond the limit.
    Oversize,
}
