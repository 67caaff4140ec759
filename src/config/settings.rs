//! The checked settings: what every other module reads.

use std::path::PathBuf;
use std::time::Duration;

use super::near::NearCache;
use crate::config::identity::{ListenTls, Secret, ServerTls};
use crate::config::placement::Routing;
use crate::config::topology::TopologySource;
use crate::topology::{DeadOld, Phase, Server};

/// Everything that one process is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Worker threads; at least 1.
    pub workers: usize,
    /// Answer as twemproxy does where that differs.
    pub compat: bool,
    /// `host:port` of the admin HTTP listener; `None` switches it off.
    pub admin: Option<String>,
    /// `host:port` of twemproxy's statistics port; `None` (the native default) switches it off.
    pub stats: Option<String>,
    /// Where log lines go.
    pub log: Log,
    /// Whether a change of the file is taken over without being asked for.
    pub watch: bool,
    /// How long a drain may take before the process ends anyway.
    pub drain_timeout: Duration,
    /// Bytes that all buffers of the process may hold.
    pub buffers: u64,
    /// The pools, in ring-independent order (by listen address, then by name, as twemproxy).
    pub pools: Vec<Pool>,
    /// What the operator should know although the file is valid, one line each.
    pub warnings: Vec<String>,
}

/// The log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// Shape of a line.
    pub format: LogFormat,
    /// A file instead of standard error; reopened on HUP.
    pub file: Option<PathBuf>,
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `key=value` pairs.
    Logfmt,
    /// One JSON object a line.
    Json,
}

/// One pool: a front listener, and the servers behind it or the cache that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name, unique in the process.
    pub name: String,
    /// Where clients connect.
    pub listen: Listen,
    /// What is spoken on both sides.
    pub protocol: Protocol,
    /// How keys find servers.
    pub routing: Routing,
    /// A request's whole time at a server, connecting included; `None` waits for ever.
    pub timeout: Option<Duration>,
    /// listen(2) backlog.
    pub backlog: u32,
    /// Clients at a time; `None` means only the process's file descriptors limit them.
    pub max_clients: Option<u32>,
    /// SO_KEEPALIVE on accepted sockets.
    pub tcp_keepalive: bool,
    /// SO_REUSEPORT on the listener.
    pub reuseport: bool,
    /// TLS at the listener; `None` for plain text.
    pub tls: Option<ListenTls>,
    /// TLS to the servers; `None` for plain text.
    pub server_tls: Option<ServerTls>,
    /// Password that clients must give and that servers are given (Redis).
    pub redis_auth: Option<Secret>,
    /// The user whose password it is; `None` for Redis's default one.
    pub redis_user: Option<String>,
    /// What memcache clients must say first, one of these, `user password`; if empty, nothing.
    pub memcache_auth: Vec<Secret>,
    /// Database selected on every server connection (Redis).
    pub redis_db: u32,
    /// Connect to all servers before serving.
    pub preconnect: bool,
    /// What a dead server means for its keys.
    pub dead: Dead,
    /// Connections per worker and server; at least 1.
    pub server_connections: u32,
    /// How long an ejected server stays out before it is probed.
    pub server_retry_timeout: Duration,
    /// Failures in a row that make a server dead.
    pub server_failure_limit: u32,
    /// Let flush_all, FLUSHALL and FLUSHDB through.
    pub allow_flush: bool,
    /// Let KEYS, RANDOMKEY and SCAN through.
    pub allow_scan: bool,
    /// What a multi-key read answers when some servers failed.
    pub partial: Partial,
    /// Accept a bare LF as the end of a memcache line.
    pub lenient_lf: bool,
    /// How long a client may be silent, nothing of it being under way; `None` for ever.
    pub idle_timeout: Option<Duration>,
    /// Upper bounds on what clients and servers may send.
    pub limits: Limits,
    /// Where its servers come from beside the configuration; `None` if from there alone.
    pub topology: Option<TopologySource>,
    /// The servers in ring order, names unique; none if the pool is a cache. At least one if it is
    /// not, unless they come from elsewhere.
    pub servers: Vec<Server>,
    /// Two rings over these servers, while the pool goes from one to the other.
    pub expansion: Option<Expansion>,
    /// The cache that the pool is; `None` in front of servers.
    pub cache: Option<CacheSettings>,
    /// The cache in front of the servers.
    pub near_cache: Option<NearCache>,
}

/// A pool on its way from its servers to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expansion {
    /// How far it has come.
    pub phase: Phase,
    /// Of a pool whose rings come from a session: which one they were given in. What began in one
    /// does not go on in the next.
    pub term: u64,
    /// The servers of the old ring, in ring order; none in either while the pool has one ring.
    pub current: Vec<Server>,
    /// Those of the new one.
    pub target: Vec<Server>,
    /// Servers of the old ring that are given up.
    pub dead_old: DeadOld,
    /// How long a stub lives that stands for a value on its way; whole seconds.
    pub stub_ttl: Duration,
    /// What becomes of a value that a get finds at its old server.
    pub fill: Fill,
    /// How long a copy that a get has made lives at most; whole seconds, zero: as long as the value.
    pub fill_ttl_max: Duration,
    /// How long an operation may wait for the fence to fall.
    pub fence: Duration,
    /// How long after the last word has passed to the other ring no CAS is taken.
    pub cas_quarantine: Duration,
    /// How keys of Redis are moved.
    pub moving: Moving,
}

/// What becomes of a value that a get finds at its old server in phase warm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fill {
    /// It is copied to the new one, under a stub.
    #[default]
    Vivify,
    /// Nothing: it is asked for there each time. What changes the value copies it, as it must.
    Off,
}

/// How keys of a pool that speaks Redis are moved from the old to the new servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moving {
    /// What the pool's data is.
    pub data: Data,
    /// Of a cache: how long a value may be on its way from one server to the other.
    pub carry_timeout: Duration,
    /// How long a server may hear nothing from the other while it moves a key.
    pub migrate_timeout: Duration,
    /// Keys that nobody asks for that are moved in a second, for each old server; 0 for none.
    pub sweep: u32,
    /// Keys that stay at their old servers.
    pub pin: Vec<Vec<u8>>,
    /// What becomes of keys that are larger than the two limits below.
    pub big_keys: BigKeys,
    /// Bytes of memory, as MEMORY USAGE has them, from which on a key is big.
    pub big_key_bytes: u64,
    /// Elements, fields, members or entries from which on a key is big.
    pub big_key_elements: u32,
}

/// What a pool's data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// All there is: servers hand keys to each other.
    Store,
    /// A cache: the proxy carries strings, everything else may be gone.
    Cache,
}

/// What becomes of a key that is so large that moving it would hold both servers up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BigKeys {
    /// It must be pinned: the fence is not entered while one is not.
    Pin,
    /// It is moved like any other.
    Move,
    /// It is deleted before the fence is entered.
    Delete,
}

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Host (name or literal, IPv6 without brackets) and port.
    Tcp {
        /// Name or literal.
        host: String,
        /// 1..=65535, or 0 for any free port.
        port: u16,
    },
    /// Path of a unix socket and its permission bits, if they are to be set.
    Unix {
        /// Absolute path.
        path: PathBuf,
        /// At most 0o777.
        mode: Option<u32>,
    },
    /// One client: standard input and output.
    Stdio,
}

/// The protocol of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// memcached's ASCII protocol.
    Memcache,
    /// Redis's RESP2 and inline commands.
    Redis,
    /// PING is answered by PONG: the floor of the way through the network.
    Ping,
}

/// A pool that is a cache itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// Pools of one store share their items.
    pub store: String,
    /// Bytes that items and index may take.
    pub memory: u64,
    /// Bytes of the largest value that clients may send.
    pub max_value: u64,
    /// How items are kept.
    pub storage: Storage,
    /// How room is made when the memory is full.
    pub eviction: Eviction,
    /// Keys of which clients are told by CLIENT TRACKING; the least that a pool of the store says.
    pub tracking_table_max_keys: u32,
}

/// Bytes of a cell beside key and value.
pub const CELL_HEADER: usize = 28;

/// How the items of a cache are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In segments, by the time they have left: items of any size.
    Segcache,
    /// In cells of one size, each item in one of a few: small items.
    Cuckoo {
        /// Bytes of a cell: key, value, and what an item says of itself.
        item_size: usize,
    },
}

/// How a full cache makes room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// Several old segments become one, which holds the items that are read most.
    Merge,
    /// The oldest segment goes.
    Fifo,
    /// Any segment goes, or any item that is in the way.
    Random,
    /// Of the items in the way the one goes whose time comes first: cuckoo alone.
    Expiry,
    /// Not at all: what does not fit is refused.
    None,
}

/// What a dead server means for its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dead {
    /// Requests fail at once.
    Error,
    /// Reads miss, writes fail.
    Miss,
    /// The ring is rebuilt without it (twemproxy's `auto_eject_hosts`).
    Rehash,
}

/// What a multi-key read answers when some servers failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partial {
    /// What was found; the rest counts as missing.
    Miss,
    /// One error for the whole request.
    Error,
}

/// Upper bounds on what clients and servers may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a key.
    pub key_bytes: usize,
    /// Bytes of one value, in either direction.
    pub value_bytes: u64,
    /// Keys of one request.
    pub keys_per_request: usize,
    /// Arguments of one Redis command.
    pub args_per_request: usize,
    /// Bytes of a command line.
    pub line_bytes: usize,
    /// Requests of one client that may be unanswered before it is no longer read from.
    pub pipeline_depth: usize,
    /// Bytes of replies that may wait for one client; above that it is closed.
    pub client_output_bytes: usize,
    /// Requests that may be unanswered at one server (per worker); further ones fail at once.
    pub server_queue: usize,
    /// Connections to one server that one worker lends to single sessions.
    pub dedicated_connections: usize,
    /// Time a client may take to finish a request that it has begun.
    pub request_time: Duration,
}
