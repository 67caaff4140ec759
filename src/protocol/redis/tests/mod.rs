//! Tables and properties of the Redis protocol.

mod bounds;
mod noise;
mod replies;
mod resp3;
mod typed;

use crate::protocol::redis::{cache_commands, commands, parse, write_command};
use crate::protocol::support::{compat, native, once};
use crate::protocol::{Access, Keys, Local, Op, Parsed, Plan, Refusal, Rules};

/// What twemproxy's own tests take as good requests, a word an argument.
const GOOD: [&str; 94] = [
    "eval return_123 1 1",
    "eval return_{KEYS[1],KEYS[2],ARGV[1],ARGV[2]} 2 key1{tag} arg1 key2{tag} arg2",
    "append 999 bar",
    "bitcount foo",
    "bitcount foo 1 1",
    "COMMAND",
    "decr counter",
    "decrby counter 100",
    "del foo",
    "del foo bar",
    "dump foo",
    "exists foo",
    "expire foo 0",
    "expireat foo 1282463464",
    "GET key",
    "getbit foo 1",
    "getrange foo 1 2",
    "getset foo bar",
    "hdel hfoo field1 bar",
    "hexists hfoo field1",
    "hget hfoo field1",
    "hgetall hfoo",
    "hincrby hfoo field1 100",
    "hincrbyfloat hfoo field1 100.12",
    "hkeys hfoo",
    "hlen hfoo",
    "hmget hfoo field1",
    "hmget hfoo field1 1dleif",
    "hmset hfoo field1 bar field2 bas",
    "hset hfoo 1dleif rab",
    "hsetnx hfoo field1 bar",
    "hvals hfoo",
    "incr counter",
    "incrby counter 100",
    "incrbyfloat counter 10.10",
    "lindex lfoo 0",
    "linsert lfoo BEFORE bar baq",
    "llen lfoo",
    "LLEN mylist",
    "LOLWUT",
    "LOLWUT 40",
    "lpop lfoo",
    "lpush lfoo bar",
    "lpush lfoo bar bar bar bau",
    "lpushx lfoo bar",
    "lrange lfoo 0 2",
    "lrem lfoo 2 bar",
    "lset lfoo 0 baq",
    "ltrim lfoo 0 2",
    "mget foo bar bar bar bar bar bar bar bar bar bar bar",
    "MGET x",
    "MGET x abcdefghij",
    "persist foo",
    "pexpire foo 0",
    "pfadd {pfoo}2 bas",
    "pfadd pfoo bar bas",
    "pfcount pfoo",
    "pfmerge {pfoo}3 2 {pfoo} {pfoo}2",
    "PING",
    "psetex foo 1000 oof",
    "pttl foo",
    "restore foo 0 oof",
    "rpop lfoo",
    "rpoplpush {lfoo} {lfoo}2",
    "rpush lfoo bat bau",
    "rpushx lfoo bar",
    "sadd sfoo bar bas bat",
    "scard sfoo",
    "sdiff {sfoo} {sfoo}2",
    "sdiffstore {sfoo}3 {sfoo} {sfoo}2",
    "SET key4567890 VALUE",
    "setbit foo 1 1",
    "setex foo 1000 oof",
    "setnx foo oof",
    "setrange foo 1 oof",
    "sinter {sfoo} {sfoo}2",
    "sinterstore {sfoo}3 {sfoo} {sfoo}2",
    "sismember sfoo bar",
    "smembers sfoo",
    "smove {sfoo} {sfoo}2 bas",
    "srandmember sfoo 2",
    "srem sfoo bas bat rab",
    "sunion {sfoo} {sfoo}2",
    "sunionstore {sfoo}3 {sfoo} {sfoo}2",
    "ttl foo",
    "type foo",
    "zadd zfoo 100 bar 101 bat 102 bau",
    "zcard zfoo",
    "zincrby zfoo 100 bar",
    "zinterstore {zfoo}3 2 {zfoo} {zfoo}2",
    "zlexcount zfoo - +",
    "zrange zfoo 0 3 WITHSCORES",
    "zremrangebyscore zfoo 100 101",
    "zunionstore {zfoo}3 2 {zfoo} {zfoo}2",
];

/// twemproxy's tables: how many array elements it takes, -n for n and more, and the commands.
const TWEMPROXY: [(i16, &str); 8] = [
    (1, "PING QUIT COMMAND"),
    (
        2,
        "PERSIST PTTL TTL TYPE DUMP DECR GET GETDEL INCR STRLEN HGETALL HKEYS HLEN HVALS LLEN \
         SCARD SMEMBERS ZCARD AUTH",
    ),
    (
        3,
        "EXPIRE EXPIREAT PEXPIRE PEXPIREAT APPEND DECRBY GETBIT GETSET INCRBY INCRBYFLOAT SETNX \
         HEXISTS HGET HSTRLEN LINDEX RPOPLPUSH SISMEMBER ZRANK ZREVRANK ZSCORE",
    ),
    (
        4,
        "GETRANGE PSETEX SETBIT SETEX SETRANGE HINCRBY HINCRBYFLOAT HSETNX LRANGE LREM LSET LTRIM \
         SMOVE ZCOUNT ZLEXCOUNT ZINCRBY ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE",
    ),
    (5, "LINSERT LMOVE"),
    (
        -2,
        "SORT COPY BITCOUNT BITPOS BITFIELD EXISTS GETEX SET HDEL HMGET HMSET HSCAN HSET \
         HRANDFIELD LPUSH LPUSHX RPUSH RPUSHX LPOP RPOP LPOS SADD SDIFF SDIFFSTORE SINTER \
         SINTERSTORE SREM SUNION SUNIONSTORE SRANDMEMBER SSCAN SPOP SMISMEMBER PFADD PFMERGE \
         PFCOUNT ZADD ZDIFF ZDIFFSTORE ZINTER ZINTERSTORE ZMSCORE ZPOPMAX ZPOPMIN ZRANDMEMBER \
         ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANGESTORE ZREM ZREVRANGE ZREVRANGEBYLEX \
         ZREVRANGEBYSCORE ZSCAN ZUNION ZUNIONSTORE GEODIST GEOPOS GEOHASH GEOADD GEORADIUS \
         GEORADIUSBYMEMBER GEOSEARCH GEOSEARCHSTORE RESTORE MGET DEL UNLINK TOUCH",
    ),
    (-3, "MSET"),
    (-1, "LOLWUT"),
];

/// What twemproxy refuses, with arguments that Redis takes.
const TWEMPROXY_REFUSES: &str = "KEYS SCAN RANDOMKEY RENAME RENAMENX MIGRATE OBJECT BITOP MSETNX \
     STRALGO LCS BLPOP BRPOP BRPOPLPUSH BLMOVE BZPOPMIN LMPOP ZMPOP SINTERCARD ZINTERCARD \
     BITFIELD_RO SORT_RO EVAL_RO FCALL EXPIRETIME PEXPIRETIME SUBSTR WAIT SUBSCRIBE MULTI EXEC \
     DISCARD WATCH UNWATCH SCRIPT FUNCTION SELECT ECHO HELLO RESET CLIENT CONFIG INFO DBSIZE \
     FLUSHDB FLUSHALL TIME DEBUG MONITOR SLOWLOG LATENCY MEMORY ROLE SLAVEOF CLUSTER XADD";

fn array<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let words: Vec<&[u8]> = words.into_iter().map(str::as_bytes).collect();
    let mut out = Vec::new();
    write_command(words.into_iter(), &mut out);
    out
}

/// `text` as an array, a word an argument.
fn words(text: &str) -> Vec<u8> {
    array(text.split(' '))
}

fn is_bad(parsed: &Parsed) -> bool {
    matches!(parsed, Parsed::Refused { .. } | Parsed::Lost(_))
}

#[test]
fn good_requests_are_taken_in_both_modes() {
    for rules in [native(), compat()] {
        for text in GOOD {
            let request = words(text);
            let (parsed, args) = once(parse, &request, &rules);
            let Parsed::Request(head) = parsed else { panic!("{text:?}: {parsed:?}") };
            assert_eq!((head.len, head.line), (request.len() as u64, 0));
            assert!(!head.rewrite && !head.noreply);
            assert!(head.command.name.eq_ignore_ascii_case(text.split(' ').next().unwrap()));
            assert_eq!(args, text.split(' ').map(|word| word.as_bytes()).collect::<Vec<_>>());
        }
    }
}

#[test]
fn twemproxys_tables_are_kept_in_compat_mode() {
    for (arity, names) in TWEMPROXY {
        for name in names.split_whitespace() {
            let least = usize::from(arity.unsigned_abs());
            for count in 1..least + 3 {
                // 1 also passes for a number of keys.
                let request = array([name].into_iter().chain(vec!["1"; count - 1]));
                let mut taken = if arity < 0 { count >= least } else { count == least };
                taken &= name != "MSET" || count % 2 == 1;
                let (parsed, _) = once(parse, &request, &compat());
                assert_eq!(!is_bad(&parsed), taken, "{name} {count}: {parsed:?}");
                assert!(taken || is_bad(&parsed));
            }
        }
    }
    for name in TWEMPROXY_REFUSES.split_whitespace().chain(["MOVE"]) {
        for count in 1..5 {
            let request = array([name].into_iter().chain(vec!["1"; count - 1]));
            assert!(is_bad(&once(parse, &request, &compat()).0), "{name} {count}");
        }
    }
}

#[test]
fn every_row_is_found_in_any_case_and_takes_what_its_arity_says() {
    // What MEMORY is asked counts, too.
    for row in commands::all().filter(|row| row.name != "MEMORY") {
        let mixed: String = row.name.chars().enumerate().map(mix).collect();
        assert!(std::ptr::eq(commands::find(mixed.as_bytes(), &native()).unwrap(), row));
        let least = usize::from(row.arity.unsigned_abs());
        for count in 1..least + 3 {
            let request = array([row.name].into_iter().chain(vec!["1"; count - 1]));
            let step = if row.name.starts_with("MSET") { 2 } else { 1 };
            let taken = if row.arity < 0 { count >= least } else { count == least };
            let (parsed, _) = once(parse, &request, &native());
            let Parsed::Refused { len, refusal: Some(Refusal::Redis(text)) } = parsed else {
                assert!(taken && (count - 1) % step == 0, "{} {count}", row.name);
                continue;
            };
            let name = row.name.to_ascii_lowercase();
            assert_eq!(len, request.len() as u64);
            if !taken || (count - 1) % step != 0 {
                assert_eq!(text, format!("ERR wrong number of arguments for '{name}' command"));
            } else {
                // A count of keys of which none follows.
                let (Keys::Counted(at) | Keys::CountedInto(at)) = row.keys else {
                    panic!("{name} {count}: {text}");
                };
                assert_eq!(count, usize::from(at) + 1);
            }
        }
    }
}

fn mix((at, letter): (usize, char)) -> char {
    if at % 2 == 0 { letter.to_ascii_lowercase() } else { letter }
}

#[test]
fn what_is_split_forwarded_and_local_differs_between_the_modes() {
    let row = |name: &str, rules: &Rules| commands::find(name.as_bytes(), rules).unwrap();
    assert_eq!(
        (row("EXISTS", &native()).plan, row("EXISTS", &compat()).plan),
        (Plan::Sum, Plan::Forward)
    );
    assert_eq!(row("EXISTS", &compat()).keys, Keys::At(1));
    for name in ["ZDIFF", "ZINTER", "ZUNION"] {
        assert_eq!(row(name, &native()).keys, Keys::Counted(1));
        assert_eq!(row(name, &compat()).keys, Keys::At(1));
    }
    assert_eq!(row("COMMAND", &native()).plan, Plan::Local(Local::Command));
    assert_eq!(
        (row("COMMAND", &compat()).plan, row("COMMAND", &compat()).keys),
        (Plan::Forward, Keys::None)
    );
    assert_eq!(
        (row("MSET", &compat()).plan, row("MSET", &compat()).access),
        (Plan::AllOk, Access::Write)
    );
    assert_eq!(row("MSET", &native()).keys, Keys::Every { first: 1, last: -1, step: 2 });
    assert_eq!(
        (row("MGET", &compat()).plan, row("MGET", &compat()).access),
        (Plan::Array, Access::Read)
    );
}

/// What Redis 7 answers to bad requests: request, error, whether the next one is served.
const REFUSALS: [(&str, &str, bool); 47] = [
    (
        "memory doctor\r\n",
        "ERR MEMORY is not supported but for USAGE: it concerns one server",
        true,
    ),
    ("lmpop 0 a left\r\n", "ERR numkeys should be greater than 0", true),
    ("sintercard x a\r\n", "ERR numkeys should be greater than 0", true),
    ("zunionstore d 2 a\r\n", "ERR syntax error", true),
    ("foo a b\r\n", "ERR unknown command 'foo', with args beginning with: 'a' 'b' ", true),
    (
        "*3\r\n$3\r\nfoo\r\n$1\r\na\r\n$2\r\n\r\n\r\n",
        "ERR unknown command 'foo', with args beginning with: 'a' '  ' ",
        true,
    ),
    ("*1\r\n$0\r\n\r\n", "ERR unknown command '', with args beginning with: ", true),
    ("*1\r\n$3\r\nGET\r\n", "ERR wrong number of arguments for 'get' command", true),
    ("mset a b c\r\n", "ERR wrong number of arguments for 'mset' command", true),
    ("client\r\n", "ERR wrong number of arguments for 'client' command", true),
    ("eval x a b\r\n", "ERR value is not an integer or out of range", true),
    ("eval x 5 a\r\n", "ERR Number of keys can't be greater than number of args", true),
    ("eval x -1 a\r\n", "ERR Number of keys can't be negative", true),
    ("fcall x y a\r\n", "ERR Bad number of keys provided", true),
    ("sintercard 2 a\r\n", "ERR Number of keys can't be greater than number of args", true),
    ("zunion 0 a\r\n", "ERR at least 1 input key is needed for 'zunion' command", true),
    ("zdiff -3 a\r\n", "ERR at least 1 input key is needed for 'zdiff' command", true),
    ("zinter a a\r\n", "ERR value is not an integer or out of range", true),
    ("zunion 3 a\r\n", "ERR syntax error", true),
    ("move k 1\r\n", "ERR MOVE is not supported: a pool has one database on each server", true),
    ("*x\r\n", "ERR Protocol error: invalid multibulk length", false),
    ("*\r\n", "ERR Protocol error: invalid multibulk length", false),
    ("*01\r\n", "ERR Protocol error: invalid multibulk length", false),
    ("* 1\r\n", "ERR Protocol error: invalid multibulk length", false),
    ("*99999999999\r\n", "ERR Protocol error: invalid multibulk length", false),
    ("*99999999999999999999999999", "ERR Protocol error: invalid multibulk length", false),
    ("*51\r\n", "ERR Protocol error: invalid multibulk length", false),
    ("*1\n$4\nPING\n", "ERR Protocol error: invalid multibulk length", false),
    ("*1\r\n:1\r\n", "ERR Protocol error: expected '$', got ':'", false),
    ("*1\r\n\x01", "ERR Protocol error: expected '$', got '?'", false),
    ("*1\r\n$x\r\n", "ERR Protocol error: invalid bulk length", false),
    ("*1\r\n$-1\r\n", "ERR Protocol error: invalid bulk length", false),
    ("*1\r\n$+4\r\n", "ERR Protocol error: invalid bulk length", false),
    ("*1\r\n$04\r\n", "ERR Protocol error: invalid bulk length", false),
    ("*1\r\n$999999999999\r\n", "ERR Protocol error: invalid bulk length", false),
    ("*1\r\n$9223372036854775807\r\n", "ERR Protocol error: invalid bulk length", false),
    ("*3\r\n$3\r\nSET\r\n$200001\r\n", "ERR Protocol error: invalid bulk length", false),
    ("*1\r\n$4\r\nPINGxx", "ERR Protocol error: expected CRLF after a bulk", false),
    ("*1\r\n$4\r\nPING\r\r", "ERR Protocol error: expected CRLF after a bulk", false),
    ("echo \"a\r\n", "ERR Protocol error: unbalanced quotes in request", false),
    ("echo \"a\"b\r\n", "ERR Protocol error: unbalanced quotes in request", false),
    ("echo 'a\\'\r\n", "ERR Protocol error: unbalanced quotes in request", false),
    ("echo \"a\\\"\r\n", "ERR Protocol error: unbalanced quotes in request", false),
    ("echo \"a\\\r\n", "ERR Protocol error: unbalanced quotes in request", false),
    ("GET / HTTP/1.1\r\n", "ERR Protocol error: HTTP", false),
    ("Host: localhost\r\n", "ERR Protocol error: HTTP", false),
    ("\x16\x03\x01", "ERR Protocol error: not a command", false),
];

/// The error for `text`, whether the client is served on, and the bytes to be thrown away.
fn answer(text: &[u8], rules: &Rules) -> (String, bool, u64) {
    match once(parse, text, rules).0 {
        Parsed::Refused { len, refusal: Some(Refusal::Redis(text)) } => (text, true, len),
        Parsed::Lost(Refusal::Redis(text)) => (text, false, 0),
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(text)),
    }
}

/// Which server it goes to is not said here; twemproxy takes none.
#[test]
fn a_script_may_have_no_key() {
    for text in ["eval x 0\r\n", "evalsha x 0 a\r\n", "fcall_ro f 0\r\n"] {
        assert!(!is_bad(&once(parse, text.as_bytes(), &native()).0), "{text:?}");
        assert!(is_bad(&once(parse, text.as_bytes(), &compat()).0), "{text:?}");
    }
}

#[test]
fn refusals_are_worded_as_redis_words_them() {
    for (text, error, served) in REFUSALS {
        let len = if served { text.len() as u64 } else { 0 };
        let found = answer(text.as_bytes(), &native());
        assert_eq!(found, (error.to_owned(), served, len), "{text:?}");
        let (parsed, _) = once(parse, text.as_bytes(), &compat());
        assert!(is_bad(&parsed), "{text:?}");
    }
}

/// Rules of a cache of our own.
const fn cache() -> Rules {
    Rules { cache: true, ..native() }
}

#[test]
fn a_cache_takes_its_own_commands_and_a_proxy_does_not() {
    let served = commands();
    let mut only_ours = 0;
    for row in cache_commands() {
        let mixed: String = row.name.chars().enumerate().map(mix).collect();
        assert!(std::ptr::eq(commands::find(mixed.as_bytes(), &cache()).unwrap(), row));
        assert_ne!(row.op, Op::None);
        if row.plan == Plan::Refuse {
            only_ours += 1;
            for rules in [native(), compat()] {
                assert!(commands::find(row.name.as_bytes(), &rules).is_none(), "{}", row.name);
            }
            assert!(served.iter().all(|other| other.name != row.name));
        }
    }
    assert_eq!((cache_commands().count(), only_ours), (66, 1));
    assert!(served.iter().all(|row| row.plan != Plan::Refuse));
}

#[test]
fn a_cache_says_why_it_has_no_other_data_type() {
    let (text, served, _) = answer(&words("hset k f v"), &cache());
    let start = "ERR unknown command 'hset', with args beginning with: 'k' 'f' 'v' ";
    assert!(served && text.starts_with(start) && text.contains("strings only"), "{text}");
    let (text, _, _) = answer(&words("foo k"), &cache());
    assert_eq!(text, "ERR unknown command 'foo', with args beginning with: 'k' ");
}

#[test]
fn a_cache_waits_for_whole_requests_and_counts_pairs_itself() {
    let start = b"*3\r\n$6\r\nAPPEND\r\n$1\r\nk\r\n$70000\r\nab";
    assert!(matches!(once(parse, start, &cache()).0, Parsed::Incomplete { .. }));
    // A value that is stored as it is can be taken as it comes; what stands behind it may follow.
    let start = b"*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$70000\r\nab";
    assert!(matches!(once(parse, start, &cache()).0, Parsed::Begun(_)));
    assert!(matches!(once(parse, &words("mset a 1 b"), &cache()).0, Parsed::Request(_)));
    let (text, _, _) = answer(&words("rename a"), &cache());
    assert_eq!(text, "ERR wrong number of arguments for 'rename' command");
}

#[test]
fn an_unknown_command_quotes_no_more_than_redis_does() {
    let name = "f".repeat(200);
    let text = format!("ERR unknown command '{}', with args beginning with: ", &name[..128]);
    assert_eq!(answer(&words(&name), &native()).0, text);
    let (first, second) = ("f".repeat(100), "g".repeat(100));
    let text = format!(
        "ERR unknown command 'foo', with args beginning with: '{first}' '{}' ",
        &second[..25]
    );
    assert_eq!(answer(&words(&format!("foo {first} {second} third")), &native()).0, text);
    let (refused, _, _) = answer(b"*1\r\n$5\r\na\xff\0\r\n\r\n", &native());
    assert_eq!(refused, "ERR unknown command 'a\u{fffd}', with args beginning with: ");
}

#[test]
fn only_arrays_are_taken_in_compat_mode() {
    for text in ["PING\r\n", "\r\nPING\r\n", "*0\r\n", "*-1\r\n", "+PING\r\n"] {
        assert!(is_bad(&once(parse, text.as_bytes(), &compat()).0), "{text:?}");
    }
}
