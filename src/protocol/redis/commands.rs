//! The table of Redis commands, as of Redis 8.0 and Valkey 9.1: name, arguments, keys, and what becomes of them.
//!
//! The last column is twemproxy's: how many arguments it takes, 0 for not at all. What a cache of
//! our own does for a row is its [`Op`]; what only a cache has stands in a table of its own.

use crate::protocol::names::Names;
use crate::protocol::{Access, Command, Dedicated, Keys, Local, Op, Plan, PubSub, Rules, Sub};

const ROWS_LEN: usize = 223;
const OURS_LEN: usize = 1;

/// The key is the command's first argument, or stands behind a subcommand.
const FIRST: Keys = Keys::At(1);
const SECOND: Keys = Keys::At(2);

static ROWS: [Command; ROWS_LEN] = [
    // Keys of any type.
    forward("DUMP", 2, Access::Read, 2),
    forward("EXPIRE", -3, Access::Write, 3).executed(Op::Expire),
    forward("EXPIREAT", -3, Access::Write, 3).executed(Op::ExpireAt),
    since("EXPIRETIME", 2, Access::Read, FIRST).executed(Op::ExpireTime),
    since("OBJECT", -2, Access::Read, SECOND).executed(Op::Object),
    since("MEMORY", -2, Access::Read, SECOND),
    forward("PERSIST", 2, Access::Write, 2).executed(Op::Persist),
    forward("PEXPIRE", -3, Access::Write, 3).executed(Op::PExpire),
    forward("PEXPIREAT", -3, Access::Write, 3).executed(Op::PExpireAt),
    since("PEXPIRETIME", 2, Access::Read, FIRST).executed(Op::PExpireTime),
    since("RENAME", 3, Access::Write, every(1, 2, 1)).executed(Op::Rename),
    since("RENAMENX", 3, Access::Write, every(1, 2, 1)).executed(Op::RenameNx),
    forward("PTTL", 2, Access::Read, 2).executed(Op::PTtl),
    forward("RESTORE", -4, Access::Write, -2),
    forward("SORT", -2, Access::Write, -2).on(Keys::Stored(2)),
    // Not the short way of one key: its patterns are looked at.
    since("SORT_RO", -2, Access::Read, every(1, 1, 1)),
    forward("COPY", -3, Access::Write, -2).on(every(1, 2, 1)).executed(Op::Copy),
    forward("TTL", 2, Access::Read, 2).executed(Op::Ttl),
    forward("TYPE", 2, Access::Read, 2).executed(Op::Type),
    // Strings and bits.
    forward("APPEND", 3, Access::Write, 3).executed(Op::Append),
    forward("BITCOUNT", -2, Access::Read, -2).executed(Op::BitCount),
    forward("BITFIELD", -2, Access::Write, -2),
    since("BITFIELD_RO", -2, Access::Read, FIRST),
    since("BITOP", -4, Access::Write, every(2, -1, 1)),
    forward("BITPOS", -3, Access::Read, -2),
    forward("DECR", 2, Access::Write, 2).executed(Op::Decr),
    forward("DECRBY", 3, Access::Write, 3).executed(Op::DecrBy),
    forward("GET", 2, Access::Read, 2).executed(Op::Get),
    forward("GETBIT", 3, Access::Read, 3).executed(Op::GetBit),
    forward("GETDEL", 2, Access::Write, 2).executed(Op::GetDel),
    forward("GETEX", -2, Access::Write, -2).executed(Op::GetEx),
    forward("GETRANGE", 4, Access::Read, 4).executed(Op::GetRange),
    forward("GETSET", 3, Access::Write, 3).executed(Op::GetSet),
    forward("INCR", 2, Access::Write, 2).executed(Op::Incr),
    forward("INCRBY", 3, Access::Write, 3).executed(Op::IncrBy),
    forward("INCRBYFLOAT", 3, Access::Write, 3).executed(Op::IncrByFloat),
    since("LCS", -3, Access::Read, every(1, 2, 1)).executed(Op::Lcs),
    since("DELIFEQ", 3, Access::Write, FIRST),
    since("MSETNX", -3, Access::Write, every(1, -1, 2)).executed(Op::MSetNx),
    forward("PSETEX", 4, Access::Write, 4).executed(Op::PSetEx),
    forward("SET", -3, Access::Write, -2).executed(Op::Set),
    forward("SETBIT", 4, Access::Write, 4).executed(Op::SetBit),
    forward("SETEX", 4, Access::Write, 4).executed(Op::SetEx),
    forward("SETNX", 3, Access::Write, 3).executed(Op::SetNx),
    forward("SETRANGE", 4, Access::Write, 4).executed(Op::SetRange),
    forward("STRLEN", 2, Access::Read, 2).executed(Op::StrLen),
    since("SUBSTR", 4, Access::Read, FIRST).executed(Op::GetRange),
    // Hashes.
    forward("HDEL", -3, Access::Write, -2),
    forward("HEXISTS", 3, Access::Read, 3),
    forward("HGET", 3, Access::Read, 3),
    forward("HGETALL", 2, Access::Read, 2),
    forward("HINCRBY", 4, Access::Write, 4),
    forward("HINCRBYFLOAT", 4, Access::Write, 4),
    forward("HKEYS", 2, Access::Read, 2),
    forward("HLEN", 2, Access::Read, 2),
    forward("HMGET", -3, Access::Read, -2),
    forward("HMSET", -4, Access::Write, -2),
    forward("HRANDFIELD", -2, Access::Read, -2),
    forward("HSCAN", -3, Access::Read, -2),
    forward("HSET", -4, Access::Write, -2),
    forward("HSETNX", 4, Access::Write, 4),
    forward("HSTRLEN", 3, Access::Read, 3),
    forward("HVALS", 2, Access::Read, 2),
    // Of a field's own time to live: Redis 7.4, 8.0.
    since("HEXPIRE", -6, Access::Write, FIRST),
    since("HEXPIREAT", -6, Access::Write, FIRST),
    since("HEXPIRETIME", -5, Access::Read, FIRST),
    since("HGETDEL", -5, Access::Write, FIRST),
    since("HGETEX", -5, Access::Write, FIRST),
    since("HPERSIST", -5, Access::Write, FIRST),
    since("HPEXPIRE", -6, Access::Write, FIRST),
    since("HPEXPIREAT", -6, Access::Write, FIRST),
    since("HPEXPIRETIME", -5, Access::Read, FIRST),
    since("HPTTL", -5, Access::Read, FIRST),
    since("HSETEX", -6, Access::Write, FIRST),
    since("HTTL", -5, Access::Read, FIRST),
    // Lists.
    forward("LINDEX", 3, Access::Read, 3),
    forward("LINSERT", 5, Access::Write, 5),
    forward("LLEN", 2, Access::Read, 2),
    forward("LMOVE", 5, Access::Write, 5).on(every(1, 2, 1)),
    forward("LPOP", -2, Access::Write, -2),
    forward("LPOS", -3, Access::Read, -2),
    forward("LPUSH", -3, Access::Write, -2),
    forward("LPUSHX", -3, Access::Write, -2),
    forward("LRANGE", 4, Access::Read, 4),
    forward("LREM", 4, Access::Write, 4),
    forward("LSET", 4, Access::Write, 4),
    forward("LTRIM", 4, Access::Write, 4),
    forward("RPOP", -2, Access::Write, -2),
    forward("RPOPLPUSH", 3, Access::Write, 3).on(every(1, 2, 1)),
    forward("RPUSH", -3, Access::Write, -2),
    forward("RPUSHX", -3, Access::Write, -2),
    // Sets.
    forward("SADD", -3, Access::Write, -2),
    forward("SCARD", 2, Access::Read, 2),
    forward("SDIFF", -2, Access::Read, -2).on(every(1, -1, 1)),
    forward("SDIFFSTORE", -3, Access::Write, -2).on(every(1, -1, 1)),
    forward("SINTER", -2, Access::Read, -2).on(every(1, -1, 1)),
    forward("SINTERSTORE", -3, Access::Write, -2).on(every(1, -1, 1)),
    forward("SISMEMBER", 3, Access::Read, 3),
    forward("SMEMBERS", 2, Access::Read, 2),
    forward("SMISMEMBER", -3, Access::Read, -2),
    forward("SMOVE", 4, Access::Write, 4).on(every(1, 2, 1)),
    forward("SPOP", -2, Access::Write, -2),
    forward("SRANDMEMBER", -2, Access::Read, -2),
    forward("SREM", -3, Access::Write, -2),
    forward("SSCAN", -3, Access::Read, -2),
    forward("SUNION", -2, Access::Read, -2).on(every(1, -1, 1)),
    forward("SUNIONSTORE", -3, Access::Write, -2).on(every(1, -1, 1)),
    // HyperLogLog.
    forward("PFADD", -2, Access::Write, -2),
    forward("PFCOUNT", -2, Access::Read, -2).on(every(1, -1, 1)),
    forward("PFMERGE", -2, Access::Write, -2).on(every(1, -1, 1)),
    // Sorted sets.
    forward("ZADD", -4, Access::Write, -2),
    forward("ZCARD", 2, Access::Read, 2),
    forward("ZCOUNT", 4, Access::Read, 4),
    forward("ZDIFFSTORE", -4, Access::Write, -2).on(Keys::CountedInto(2)),
    forward("ZINCRBY", 4, Access::Write, 4),
    forward("ZINTERSTORE", -4, Access::Write, -2).on(Keys::CountedInto(2)),
    forward("ZLEXCOUNT", 4, Access::Read, 4),
    forward("ZMSCORE", -3, Access::Read, -2),
    forward("ZPOPMAX", -2, Access::Write, -2),
    forward("ZPOPMIN", -2, Access::Write, -2),
    forward("ZRANDMEMBER", -2, Access::Read, -2),
    forward("ZRANGE", -4, Access::Read, -2),
    forward("ZRANGEBYLEX", -4, Access::Read, -2),
    forward("ZRANGEBYSCORE", -4, Access::Read, -2),
    forward("ZRANGESTORE", -5, Access::Write, -2).on(every(1, 2, 1)),
    forward("ZRANK", -3, Access::Read, 3),
    forward("ZREM", -3, Access::Write, -2),
    forward("ZREMRANGEBYLEX", 4, Access::Write, 4),
    forward("ZREMRANGEBYRANK", 4, Access::Write, 4),
    forward("ZREMRANGEBYSCORE", 4, Access::Write, 4),
    forward("ZREVRANGE", -4, Access::Read, -2),
    forward("ZREVRANGEBYLEX", -4, Access::Read, -2),
    forward("ZREVRANGEBYSCORE", -4, Access::Read, -2),
    forward("ZREVRANK", -3, Access::Read, 3),
    forward("ZSCAN", -3, Access::Read, -2),
    forward("ZSCORE", 3, Access::Read, 3),
    forward("ZUNIONSTORE", -4, Access::Write, -2).on(Keys::CountedInto(2)),
    // Places.
    forward("GEOADD", -5, Access::Write, -2),
    forward("GEODIST", -4, Access::Read, -2),
    forward("GEOHASH", -2, Access::Read, -2),
    forward("GEOPOS", -2, Access::Read, -2),
    forward("GEORADIUS", -6, Access::Write, -2).on(Keys::Stored(6)),
    since("GEORADIUS_RO", -6, Access::Read, FIRST),
    forward("GEORADIUSBYMEMBER", -5, Access::Write, -2).on(Keys::Stored(5)),
    since("GEORADIUSBYMEMBER_RO", -5, Access::Read, FIRST),
    forward("GEOSEARCH", -7, Access::Read, -2),
    forward("GEOSEARCHSTORE", -8, Access::Write, -2).on(every(1, 2, 1)),
    // Scripts, and others that count their keys.
    forward("EVAL", -3, Access::Write, -4).on(Keys::Counted(2)),
    since("EVAL_RO", -3, Access::Read, Keys::Counted(2)),
    forward("EVALSHA", -3, Access::Write, -4).on(Keys::Counted(2)),
    since("EVALSHA_RO", -3, Access::Read, Keys::Counted(2)),
    since("FCALL", -3, Access::Write, Keys::Counted(2)),
    since("FCALL_RO", -3, Access::Read, Keys::Counted(2)),
    forward("ZDIFF", -3, Access::Read, -2).on(Keys::Counted(1)),
    forward("ZINTER", -3, Access::Read, -2).on(Keys::Counted(1)),
    since("ZINTERCARD", -3, Access::Read, Keys::Counted(1)),
    forward("ZUNION", -3, Access::Read, -2).on(Keys::Counted(1)),
    since("ZMPOP", -4, Access::Write, Keys::Counted(1)),
    since("LMPOP", -4, Access::Write, Keys::Counted(1)),
    since("SINTERCARD", -3, Access::Read, Keys::Counted(1)),
    // Streams.
    since("XACK", -4, Access::Write, FIRST),
    since("XADD", -5, Access::Write, FIRST),
    since("XAUTOCLAIM", -6, Access::Write, FIRST),
    since("XCLAIM", -6, Access::Write, FIRST),
    since("XDEL", -3, Access::Write, FIRST),
    since("XGROUP", -2, Access::Write, SECOND),
    since("XINFO", -2, Access::Read, SECOND),
    since("XLEN", 2, Access::Read, FIRST),
    since("XPENDING", -3, Access::Read, FIRST),
    since("XRANGE", -4, Access::Read, FIRST),
    since("XREVRANGE", -4, Access::Read, FIRST),
    since("XSETID", -3, Access::Write, FIRST),
    since("XTRIM", -4, Access::Write, FIRST),
    pubsub("SUBSCRIBE", -2, Keys::None, PubSub::Subscribe(Sub::Channel)),
    pubsub("PSUBSCRIBE", -2, Keys::None, PubSub::Subscribe(Sub::Pattern)),
    pubsub("SSUBSCRIBE", -2, every(1, -1, 1), PubSub::Subscribe(Sub::Shard)),
    pubsub("UNSUBSCRIBE", -1, Keys::None, PubSub::Unsubscribe(Sub::Channel)),
    pubsub("PUNSUBSCRIBE", -1, Keys::None, PubSub::Unsubscribe(Sub::Pattern)),
    pubsub("SUNSUBSCRIBE", -1, every(1, -1, 1), PubSub::Unsubscribe(Sub::Shard)),
    // Those that wait for others.
    blocking("BLMOVE", 6, every(1, 2, 1)),
    blocking("BLMPOP", -5, Keys::Counted(2)),
    blocking("BLPOP", -3, every(1, -2, 1)),
    blocking("BRPOP", -3, every(1, -2, 1)),
    blocking("BRPOPLPUSH", 4, every(1, 2, 1)),
    blocking("BZMPOP", -5, Keys::Counted(2)),
    blocking("BZPOPMAX", -3, every(1, -2, 1)),
    blocking("BZPOPMIN", -3, every(1, -2, 1)),
    dedicated("XREAD", -4, Access::Read, Keys::Streams(1), Dedicated::BlockIfSaid),
    dedicated("XREADGROUP", -7, Access::Write, Keys::Streams(4), Dedicated::BlockIfSaid),
    // Transactions.
    dedicated("MULTI", 1, Access::None, Keys::None, Dedicated::Multi).executed(Op::Multi),
    dedicated("EXEC", 1, Access::None, Keys::None, Dedicated::Exec).executed(Op::Exec),
    dedicated("DISCARD", 1, Access::None, Keys::None, Dedicated::Discard).executed(Op::Discard),
    dedicated("WATCH", -2, Access::None, every(1, -1, 1), Dedicated::Watch).executed(Op::Watch),
    dedicated("UNWATCH", 1, Access::None, Keys::None, Dedicated::Unwatch).executed(Op::Unwatch),
    // Messages: a channel is on the server that a key of its name would be on.
    since("PUBLISH", 3, Access::None, FIRST),
    since("SPUBLISH", 3, Access::None, FIRST),
    // Split by server and merged.
    split("MGET", -2, Access::Read, 1, Plan::Array).executed(Op::MGet),
    split("MSET", -3, Access::Write, 2, Plan::AllOk).executed(Op::MSet),
    split("DEL", -2, Access::Write, 1, Plan::Sum).executed(Op::Del),
    split("UNLINK", -2, Access::Write, 1, Plan::Sum).executed(Op::Del),
    split("TOUCH", -2, Access::Read, 1, Plan::Sum).executed(Op::Touch),
    split("EXISTS", -2, Access::Read, 1, Plan::Sum).executed(Op::Exists),
    // Without a key.
    keyless("LOLWUT", -1, Plan::Forward, -1),
    keyless("DBSIZE", 1, Plan::Sum, 0).executed(Op::DbSize),
    keyless("SCRIPT", -2, Plan::Script, 0),
    keyless("FUNCTION", -2, Plan::Function, 0),
    keyless("PUBSUB", -2, Plan::Listeners, 0),
    keyless("KEYS", 2, Plan::Concat, 0).executed(Op::Keys),
    keyless("RANDOMKEY", 1, Plan::AnyOne, 0).executed(Op::RandomKey),
    keyless("SCAN", -2, Plan::Scan, 0).executed(Op::Scan),
    keyless("FLUSHALL", -1, Plan::Flush, 0).executed(Op::FlushAll),
    keyless("FLUSHDB", -1, Plan::Flush, 0).executed(Op::FlushAll),
    keyless("PING", -1, Plan::Local(Local::Ping), 1).executed(Op::Ping),
    keyless("ECHO", 2, Plan::Local(Local::Echo), 0).executed(Op::Echo),
    keyless("QUIT", -1, Plan::Local(Local::Quit), 1).executed(Op::Quit),
    keyless("AUTH", -2, Plan::Local(Local::Auth), 2).executed(Op::Auth),
    keyless("SELECT", 2, Plan::Local(Local::Select), 0).executed(Op::Select),
    keyless("COMMAND", -1, Plan::Local(Local::Command), 1).executed(Op::Command),
    keyless("CLIENT", -2, Plan::Local(Local::Client), 0).executed(Op::Client),
    keyless("HELLO", -1, Plan::Local(Local::Hello), 0).executed(Op::Hello),
    keyless("RESET", 1, Plan::Local(Local::Reset), 0).executed(Op::Reset),
    keyless("TIME", 1, Plan::Local(Local::Time), 0).executed(Op::Time),
    keyless("INFO", -1, Plan::Local(Local::Info), 0).executed(Op::Info),
];

/// Where twemproxy differs: it does not split EXISTS, takes the number of keys for a key, and asks
/// a server for its commands.
static TWEMPROXY: [Command; 5] = [
    forward("EXISTS", -2, Access::Read, -2),
    forward("ZDIFF", -2, Access::Read, -2),
    forward("ZINTER", -2, Access::Read, -2),
    forward("ZUNION", -2, Access::Read, -2),
    keyless("COMMAND", 1, Plan::Forward, 1),
];

/// What only a cache of our own has.
static OURS: [Command; OURS_LEN] = [ours("CONFIG", -2, Keys::None, Access::None, Op::Config)];

/// Commands of Redis that are refused, and why.
static REFUSED: [(&str, &[&str]); 6] = [
    ("a pool has one database on each server", &["MOVE", "SWAPDB"]),
    ("the proxy does not know which server's writes are meant", &["WAIT", "WAITAOF"]),
    ("it moves keys to where the ring does not look for them", &["MIGRATE", "RESTORE-ASKING"]),
    (
        "the pool is no cluster of Redis",
        &["ASKING", "CLUSTER", "CLUSTERSCAN", "READONLY", "READWRITE"],
    ),
    ("its keys may be on several servers; MSET and EXPIRE do as much", &["MSETEX"]),
    (
        "it concerns one server, and a pool may have several",
        &[
            "ACL",
            "BGREWRITEAOF",
            "BGSAVE",
            "COMMANDLOG",
            "CONFIG",
            "DEBUG",
            "FAILOVER",
            "LASTSAVE",
            "LATENCY",
            "MODULE",
            "MONITOR",
            "PFDEBUG",
            "PFSELFTEST",
            "PSYNC",
            "REPLCONF",
            "REPLICAOF",
            "ROLE",
            "SAVE",
            "SFLUSH",
            "SHUTDOWN",
            "SLAVEOF",
            "SLOWLOG",
            "SYNC",
        ],
    ),
];

const fn forward(name: &'static str, arity: i16, access: Access, compat: i16) -> Command {
    Command { name, arity, keys: FIRST, access, plan: Plan::Forward, op: Op::None, compat }
}

/// A command that twemproxy does not know.
const fn since(name: &'static str, arity: i16, access: Access, keys: Keys) -> Command {
    forward(name, arity, access, 0).on(keys)
}

const fn dedicated(
    name: &'static str,
    arity: i16,
    access: Access,
    keys: Keys,
    as_what: Dedicated,
) -> Command {
    let plan = Plan::Dedicated(as_what);
    Command { name, arity, keys, access, plan, op: Op::None, compat: 0 }
}

const fn pubsub(name: &'static str, arity: i16, keys: Keys, what: PubSub) -> Command {
    let (access, plan) = (Access::None, Plan::PubSub(what));
    Command { name, arity, keys, access, plan, op: Op::None, compat: 0 }
}

const fn blocking(name: &'static str, arity: i16, keys: Keys) -> Command {
    dedicated(name, arity, Access::Write, keys, Dedicated::Block)
}

const fn every(first: u8, last: i8, step: u8) -> Keys {
    Keys::Every { first, last, step }
}

const fn split(name: &'static str, arity: i16, access: Access, step: u8, plan: Plan) -> Command {
    let keys = every(1, -1, step);
    Command { name, arity, keys, access, plan, op: Op::None, compat: arity }
}

const fn keyless(name: &'static str, arity: i16, plan: Plan, compat: i16) -> Command {
    let access = if matches!(plan, Plan::Flush) { Access::Write } else { Access::None };
    Command { name, arity, keys: Keys::None, access, plan, op: Op::None, compat }
}

const fn ours(name: &'static str, arity: i16, keys: Keys, access: Access, op: Op) -> Command {
    Command { name, arity, keys, access, plan: Plan::Refuse, op, compat: 0 }
}

impl Command {
    /// The row of a command with other keys.
    const fn on(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    /// The row of a command that a cache of our own executes, too.
    const fn executed(self, op: Op) -> Self {
        Self { op, ..self }
    }
}

static NAMES: Names<ROWS_LEN, 1024> = Names::new(names(&ROWS));
static OUR_NAMES: Names<OURS_LEN, 4> = Names::new(names(&OURS));
static TWEMPROXY_NAMES: Names<5, 16> = Names::new(names(&TWEMPROXY));

const fn names<const N: usize>(rows: &[Command; N]) -> [&'static str; N] {
    let mut names = [""; N];
    let mut at = 0;
    while at < N {
        names[at] = rows[at].name;
        at += 1;
    }
    names
}

/// The row of the command `word`, in any case, if `rules` take it.
pub(super) fn find(word: &[u8], rules: &Rules) -> Option<&'static Command> {
    if rules.compat {
        return find_compat(word);
    }
    let row = NAMES.folded(word).and_then(|at| ROWS.get(at));
    if !rules.cache {
        return row;
    }
    let ours = || OUR_NAMES.folded(word).and_then(|at| OURS.get(at));
    row.filter(|row| row.op != Op::None).or_else(ours)
}

/// Whether `word` names a command of Redis that servers have and a cache of our own has not.
pub(super) fn is_foreign(word: &[u8]) -> bool {
    let row = NAMES.folded(word).and_then(|at| ROWS.get(at));
    row.is_some_and(|row| row.op == Op::None)
}

fn find_compat(word: &[u8]) -> Option<&'static Command> {
    let differs = TWEMPROXY_NAMES.folded(word).and_then(|at| TWEMPROXY.get(at));
    let row = || NAMES.folded(word).and_then(|at| ROWS.get(at));
    differs.or_else(row).filter(|command| command.compat != 0)
}

/// The error text for a command that is refused by name, if `word` is one.
pub fn refused(word: &[u8]) -> Option<String> {
    let same = |name: &&&str| name.as_bytes().eq_ignore_ascii_case(word);
    REFUSED.iter().find_map(|(why, names)| {
        let name = names.iter().find(same)?;
        Some(format!("ERR {name} is not supported: {why}"))
    })
}

#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = &'static Command> {
    ROWS.iter()
}

/// What is served in front of servers.
pub fn commands() -> &'static [Command] {
    &ROWS
}

/// What a cache of our own executes.
pub fn cache_commands() -> impl Iterator<Item = &'static Command> + Clone {
    ROWS.iter().chain(&OURS).filter(|row| row.op != Op::None)
}
