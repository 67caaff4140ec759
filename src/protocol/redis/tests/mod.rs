//! Tables and properties of the Redis protocol.

mod resp3;

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::{prop_assert, prop_assert_eq, proptest};

use crate::protocol::redis::{
    Rest, Scanner, cache_commands, elements, integer, parse, write_command, write_refusal,
};
use crate::protocol::redis::{commands, inline};
use crate::protocol::support::{compat, events, native, once};
use crate::protocol::{
    Access, Keys, Local, Malformed, Op, Outcome, Parsed, Plan, Refusal, Rules, Scan,
};

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

#[test]
fn padding_is_skipped() {
    for (text, len) in [("\r\nPING", 2), ("\n", 1), ("  \r\n", 4), ("*0\r\n", 4), ("*-5\r\n", 5)] {
        let (parsed, _) = once(parse, text.as_bytes(), &native());
        assert!(matches!(parsed, Parsed::Skip { len: found } if found == len), "{text:?}");
    }
}

#[test]
fn inline_commands_are_split_into_words() {
    let cases: [(&str, &[&str]); 11] = [
        ("PING\r\n", &["PING"]),
        ("  ping \t x \n", &["ping", "x"]),
        ("echo \"a b\"\r\n", &["echo", "a b"]),
        ("\"echo\" 'a \"b' \r\n", &["echo", "a \"b"]),
        ("set k ''\r\n", &["set", "k", ""]),
        (r#"echo "\n\r\t\b\a\\\"\q'""#, &["echo", "\n\r\t\x08\x07\\\"q'"]),
        (r#"echo "\x41\x7a\xg0\x4""#, &["echo", "Azxg0x4"]),
        (r"echo 'it\'s \n'", &["echo", r"it's \n"]),
        (r#"ec"ho" a'b c'"#, &["echo", "ab c"]),
        (r"echo a\n", &["echo", r"a\n"]),
        ("mget a\x0bb \x0b\x0c c", &["mget", "a\x0bb", "c"]),
    ];
    for (text, words) in cases {
        let text = if text.ends_with('\n') { text.to_owned() } else { format!("{text}\r\n") };
        let (parsed, args) = once(parse, text.as_bytes(), &native());
        let Parsed::Inline(line) = parsed else { panic!("{text:?}: {parsed:?}") };
        assert!(line.head.rewrite);
        assert_eq!(line.head.len, text.len() as u64);
        assert_eq!(args, words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>(), "{text:?}");
    }
}

/// Redis's `sdssplitargs`, line by line; NUL stands behind the end of the line.
fn split_as_redis(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let at = |index: usize| line.get(index).copied().unwrap_or(0);
    let is_space = |byte: u8| b" \t\n\x0b\x0c\r".contains(&byte);
    let hex = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (mut p, mut words) = (0, Vec::new());
    loop {
        while is_space(at(p)) {
            p += 1;
        }
        if at(p) == 0 {
            return Some(words);
        }
        let (mut word, mut quote, mut done) = (Vec::new(), 0, false);
        while !done {
            match (quote, at(p)) {
                (0, b' ' | b'\n' | b'\r' | b'\t' | 0) => done = true,
                (0, mark @ (b'"' | b'\'')) => quote = mark,
                (0, byte) => word.push(byte),
                (_, 0) => return None,
                (quote, byte) if byte == quote => {
                    if at(p + 1) != 0 && !is_space(at(p + 1)) {
                        return None;
                    }
                    done = true;
                }
                (b'\'', b'\\') if at(p + 1) == b'\'' => {
                    p += 1;
                    word.push(b'\'');
                }
                (b'"', b'\\')
                    if at(p + 1) == b'x'
                        && [2, 3].iter().all(|ahead| hex(at(p + ahead)).is_some()) =>
                {
                    word.push(hex(at(p + 2)).unwrap() * 16 + hex(at(p + 3)).unwrap());
                    p += 3;
                }
                (b'"', b'\\') if at(p + 1) != 0 => {
                    p += 1;
                    let letters = b"nrtba".iter().zip(b"\n\r\t\x08\x07");
                    let meant = letters.clone().find(|(letter, _)| **letter == at(p));
                    word.push(meant.map_or_else(|| at(p), |(_, byte)| *byte));
                }
                (_, byte) => word.push(byte),
            }
            if at(p) != 0 {
                p += 1;
            }
        }
        words.push(word);
    }
}

/// A byte that a word is likely to be read wrongly at, or any that stands on a C string's line.
fn telling_byte() -> impl Strategy<Value = u8> {
    let foreign = "neither the end of a string nor of a line";
    prop_oneof![
        4 => select(b" \x0b\"'\\\\\\xxnrtba0fF4gz".to_vec()),
        1 => any::<u8>().prop_filter(foreign, |byte| !b"\0\n".contains(byte)),
    ]
}

/// Space, something plain, something quoted, or whatever makes an end of either.
fn line_piece() -> impl Strategy<Value = Vec<u8>> {
    let inner = vec(telling_byte(), 0..6);
    prop_oneof![
        4 => vec(select(b" \t\r\x0b\x0c".to_vec()), 1..3),
        3 => vec(select(b"xn\\0f".to_vec()), 1..3),
        2 => (select(b"\"'".to_vec()), inner)
            .prop_map(|(quote, inner)| [&[quote], inner.as_slice(), &[quote]].concat()),
        1 => vec(telling_byte(), 1..2),
    ]
}

proptest! {
    #[test]
    fn any_line_is_split_as_redis_splits_it(pieces in vec(line_piece(), 0..8)) {
        let line = [b"a ".as_slice(), &pieces.concat()].concat();
        let mut args = Vec::new();
        let found = inline::split(&[&line, b"\r\n".as_slice()].concat(), 100, &mut args);
        match split_as_redis(&line) {
            None => prop_assert!(matches!(found, Err(Parsed::Lost(_)))),
            Some(words) => {
                let Ok(found) = found else { panic!("refused, not {words:?}") };
                let args = args.iter().map(|arg| arg.of(&found.text).to_vec());
                prop_assert_eq!(args.collect::<Vec<_>>(), words);
                prop_assert_eq!(found.len, line.len() + 2);
            }
        }
    }
}

#[test]
fn bounds_on_keys_values_and_arguments_hold() {
    let key = "k".repeat(251);
    for text in [format!("get {key}"), format!("mset a b {key} c"), format!("eval x 1 {key}")] {
        let request = words(&text);
        let error = "ERR key is longer than the limit".to_owned();
        assert_eq!(answer(&request, &native()), (error, true, request.len() as u64));
    }
    let request = words(&format!("del{}", " k".repeat(21)));
    let error = "ERR too many keys in one request".to_owned();
    assert_eq!(answer(&request, &native()), (error, true, request.len() as u64));
    let request = words(&format!("mset{}", " k v".repeat(20)));
    assert!(matches!(once(parse, &request, &native()).0, Parsed::Request(_)));
    // The last argument is swallowed as it comes.
    let start = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$200001\r\n";
    let error = "ERR value is larger than the limit".to_owned();
    assert_eq!(answer(start, &native()), (error, true, start.len() as u64 + 200_003));
    let line = format!("rpush k{}\r\n", " v".repeat(49));
    assert_eq!(answer(line.as_bytes(), &native()).0, "ERR too many arguments");
}

#[test]
fn what_is_missing_is_known_from_the_headers() {
    let needs = [
        ("*", 2),
        ("*3\r", 4),
        // A header may be wrong at the next byte.
        ("*3\r\n", 5),
        ("*3\r\n$3", 7),
        // After a body, the first byte that is not its end shows the error.
        ("*3\r\n$3\r\n", 8 + 3 + 1),
        ("*3\r\n$3\r\nSET\r\n$10\r\n", 18 + 10 + 1),
        ("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5000\r\nab", 20 + 7 + 5000 + 1),
        ("*2\r\n$3\r\nGET\r\n$1\r\nk\r", 20),
    ];
    for (text, least) in needs {
        let (parsed, _) = once(parse, text.as_bytes(), &native());
        assert!(
            matches!(parsed, Parsed::Incomplete { need } if need == least),
            "{text:?} {parsed:?}"
        );
    }
}

#[test]
fn a_request_with_a_large_argument_is_begun_once_its_server_is_known() {
    let begun = [
        ("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$70000\r\nab", 3, 70_030),
        ("*5\r\n$3\r\nset\r\n$1\r\nk\r\n$70000\r\nab", 3, 70_042),
        ("*5\r\n$4\r\nEVAL\r\n$1\r\nx\r\n$1\r\n1\r\n$1\r\nk\r\n$70000\r\n", 5, 70_045),
    ];
    for (text, args, len) in begun {
        let (parsed, found) = once(parse, text.as_bytes(), &native());
        let Parsed::Begun(head) = parsed else { panic!("{text:?}: {parsed:?}") };
        assert_eq!((head.len, found.len()), (len, args - 1), "{text:?}");
    }
    let waited_for = [
        // Small; the key itself; no key yet; a command that is split, unknown, wrong, local.
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$60000\r\n",
        "*3\r\n$3\r\nSET\r\n$70000\r\n",
        "*4\r\n$4\r\nEVAL\r\n$70000\r\n",
        "*3\r\n$4\r\nMSET\r\n$1\r\nk\r\n$70000\r\n",
        "*3\r\n$3\r\nFOO\r\n$1\r\nk\r\n$70000\r\n",
        "*3\r\n$3\r\nGET\r\n$1\r\nk\r\n$70000\r\n",
        "*2\r\n$4\r\nECHO\r\n$70000\r\n",
        "*5\r\n$4\r\nEVAL\r\n$1\r\nx\r\n$1\r\n0\r\n$1\r\nk\r\n$70000\r\n",
    ];
    for text in waited_for {
        let (parsed, _) = once(parse, text.as_bytes(), &native());
        assert!(matches!(parsed, Parsed::Incomplete { .. }), "{text:?}: {parsed:?}");
    }
}

#[test]
fn the_rest_of_a_begun_request_is_framed() {
    let value = "v".repeat(70_000);
    let request = words(&format!("set k {value} EX 10"));
    for start in [30, 50_000, 70_000] {
        let mut rest = Rest::after(&request[..start], 1 << 30).unwrap();
        let mut stream = request[start..].to_vec();
        let len = stream.len();
        stream.extend_from_slice(b"*1\r\n");
        let (first, second) = stream.split_at(len - 7);
        assert_eq!(rest.advance(first), Ok((len - 7, false)));
        assert_eq!(rest.advance(second), Ok((7, true)));
    }
    assert!(Rest::after(&request, 1 << 30).is_err());
    assert!(Rest::after(b"*x\r\n", 1 << 30).is_err());
    for bad in
        ["v\r\n$x\r\n", "v\r\n+OK\r\n", "v\r\n$1073741825\r\n", "v\n\n", "v\r\n$0000000000000000"]
    {
        let start = "*4\r\n$3\r\nset\r\n$1\r\nk\r\n$3\r\nvv";
        let mut rest = Rest::after(start.as_bytes(), 1 << 30).unwrap();
        assert!(rest.advance(bad.as_bytes()).is_err(), "{bad:?}");
    }
}

#[test]
fn the_limit_on_values_alone_bounds_them() {
    let roomy = Rules { value_bytes: 3 << 30, ..native() };
    let begun = |len: u64, rules: &Rules| {
        let start = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${len}\r\nvvv");
        matches!(once(parse, start.as_bytes(), rules).0, Parsed::Begun(head) if head.len > len)
    };
    // Beyond Redis's default for `proto-max-bulk-len`, and beyond what is held of a request.
    for len in [(512 << 20) + 1, 1 << 30, 3 << 30] {
        assert!(begun(len, &roomy), "{len}");
    }
    for limit in [600 << 20, 1 << 30] {
        let rules = Rules { value_bytes: limit, ..native() };
        assert!(begun(limit, &rules) && !begun(limit + 1, &rules), "{limit}");
        // A later argument of a request that is being passed on has the same bound.
        let rest = |len: u64| {
            let start = b"*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\nvv";
            let mut rest = Rest::after(start, limit).unwrap();
            rest.advance(format!("v\r\n${len}\r\n").as_bytes()).map(|(_, ended)| ended)
        };
        assert_eq!(rest(limit), Ok(false));
        assert!(rest(limit + 1).is_err());
        let reply = |len: u64| Scanner::default().scan(format!("${len}\r\nvvv").as_bytes(), limit);
        assert!(matches!(reply(limit), Ok(Scan { end: None, .. })));
        assert_eq!(reply(limit + 1), Err(Malformed::Oversize));
    }
    // What must be held whole has a bound of its own.
    let split = format!("*3\r\n$4\r\nMSET\r\n$1\r\nk\r\n${}\r\nvvv", (1u64 << 30) + 1);
    assert!(matches!(once(parse, split.as_bytes(), &roomy).0, Parsed::Refused { .. }));
}

/// Replies of a server, whole, with 100 bytes allowed to a value.
const REPLIES: [(&str, Result<Outcome, Malformed>); 47] = [
    ("+OK\r\n", Ok(Outcome::Hit)),
    ("+\r\n", Ok(Outcome::Hit)),
    ("-CUSTOMERR\r\n", Ok(Outcome::Error)),
    ("-Error message\r\n", Ok(Outcome::Error)),
    ("-LOADING Redis is loading\r\n", Ok(Outcome::Unavailable)),
    ("-BUSY script\r\n", Ok(Outcome::Unavailable)),
    ("-BUSYKEY Target key name already exists.\r\n", Ok(Outcome::Error)),
    ("-READONLY x\r\n", Ok(Outcome::Error)),
    ("-NOAUTH Authentication required.\r\n", Ok(Outcome::Auth)),
    ("-WRONGPASS x\r\n", Ok(Outcome::Auth)),
    ("-NOPERM x\r\n", Ok(Outcome::Auth)),
    ("-ERR invalid password\r\n", Ok(Outcome::Auth)),
    ("-ERR Client sent AUTH, but no password is set\r\n", Ok(Outcome::Auth)),
    ("-ERR AUTH <password> called without any password configured\r\n", Ok(Outcome::Auth)),
    (":0\r\n", Ok(Outcome::Hit)),
    (":-9223372036854775808\r\n", Ok(Outcome::Hit)),
    (":9223372036854775808\r\n", Err(Malformed::Syntax)),
    (":x\r\n", Err(Malformed::Syntax)),
    (":\r\n", Err(Malformed::Syntax)),
    ("$6\r\nfoobar\r\n", Ok(Outcome::Hit)),
    ("$0\r\n\r\n", Ok(Outcome::Hit)),
    ("$-1\r\n", Ok(Outcome::Miss)),
    ("$-2\r\n", Err(Malformed::Syntax)),
    (
        "$100\r\n0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\r\n",
        Ok(Outcome::Hit),
    ),
    ("$101\r\n", Err(Malformed::Oversize)),
    ("$2147483648\r\n", Err(Malformed::Oversize)),
    ("$99999999999999999999\r\n", Err(Malformed::Syntax)),
    ("$6\r\nfoobarr\r\n", Err(Malformed::Syntax)),
    ("$6\r\nfoobar\n\n", Err(Malformed::Syntax)),
    ("$0\r\nx\r\n", Err(Malformed::Syntax)),
    ("$0\n", Err(Malformed::Syntax)),
    ("*0\r\n", Ok(Outcome::Hit)),
    ("*-1\r\n", Ok(Outcome::Miss)),
    ("*\r\n", Err(Malformed::Syntax)),
    ("*-2\r\n", Err(Malformed::Syntax)),
    ("*99999999999\r\n", Err(Malformed::Oversize)),
    ("*2\r\n$3\r\nfoo\r\n$3\r\nbar\r\n", Ok(Outcome::Hit)),
    ("*3\r\n:1\r\n:2\r\n:3\r\n", Ok(Outcome::Hit)),
    ("*3\r\n$-1\r\n*-1\r\n-ERR x\r\n", Ok(Outcome::Hit)),
    ("*2\r\n*3\r\n:1\r\n:2\r\n:3\r\n*2\r\n+Foo\r\n-Bar\r\n", Ok(Outcome::Hit)),
    ("*2\r\n*1\r\n*0\r\n*1\r\n*1\r\n$1\r\na\r\n", Ok(Outcome::Hit)),
    ("*2\r\n*3\r\n:1\r\n:2\r\n:3\r\n*2\r\n\r\n", Err(Malformed::Syntax)),
    ("+OK\nx\r\n", Err(Malformed::Syntax)),
    ("+OK\rx\r\n", Err(Malformed::Syntax)),
    ("STORED\r\n", Err(Malformed::Syntax)),
    ("\r\n", Err(Malformed::Syntax)),
    ("%1\r\n", Err(Malformed::Syntax)),
];

/// Shows `reply` to a scanner in pieces; where it ended and how.
fn scan(reply: &[u8], cuts: &[usize]) -> Result<Scan, Malformed> {
    let mut scanner = Scanner::default();
    let mut used = 0;
    for there in cuts.iter().copied().chain([reply.len()]) {
        let there = there.min(reply.len()).max(used);
        let scan = scanner.scan(&reply[used..there], 100)?;
        used += scan.used;
        if scan.end.is_some() {
            return Ok(Scan { used, end: scan.end });
        }
    }
    Ok(Scan { used, end: None })
}

#[test]
fn replies_are_framed_and_told_apart() {
    for (reply, outcome) in REPLIES {
        let whole = outcome.map(|end| Scan { used: reply.len(), end: Some(end) });
        assert_eq!(scan(reply.as_bytes(), &[]), whole, "{reply:?}");
        let each: Vec<usize> = (0..reply.len()).collect();
        assert_eq!(scan(reply.as_bytes(), &each), whole, "{reply:?}");
        let two = format!("{reply}+OK\r\n");
        assert_eq!(scan(two.as_bytes(), &[]), whole, "{reply:?} and another");
    }
}

#[test]
fn a_scanner_is_as_new_after_each_reply() {
    let mut scanner = Scanner::default();
    for (reply, outcome) in REPLIES {
        if let Ok(end) = outcome {
            let scan = scanner.scan(reply.as_bytes(), 100);
            assert_eq!(scan, Ok(Scan { used: reply.len(), end: Some(end) }), "{reply:?}");
        }
    }
}

#[test]
fn arrays_nest_32_deep_and_no_deeper() {
    let deep = format!("{}:1\r\n", "*1\r\n".repeat(32));
    assert_eq!(scan(deep.as_bytes(), &[]).unwrap().end, Some(Outcome::Hit));
    let deep = format!("{}:1\r\n", "*1\r\n".repeat(33));
    assert_eq!(scan(deep.as_bytes(), &[]), Err(Malformed::Syntax));
}

#[test]
fn an_endless_line_is_refused() {
    let line = format!("+{}", "x".repeat(70_000));
    assert_eq!(scan(line.as_bytes(), &[]), Err(Malformed::Syntax));
    assert_eq!(scan(&line.as_bytes()[..60_000], &[]), Ok(Scan { used: 0, end: None }));
}

#[test]
fn elements_are_those_of_the_outer_array() {
    let reply = b"*4\r\n$1\r\na\r\n$-1\r\n*1\r\n:7\r\n:8\r\n";
    let found: Vec<&[u8]> = elements(reply).unwrap().map(|span| span.of(reply)).collect();
    assert_eq!(found, [&b"$1\r\na\r\n"[..], b"$-1\r\n", b"*1\r\n:7\r\n", b":8\r\n"]);
    assert_eq!(elements(b"*0\r\n").unwrap().count(), 0);
    for other in [&b"*-1\r\n"[..], b"-ERR x\r\n", b"$1\r\na\r\n", b""] {
        assert!(elements(other).is_none());
    }
}

#[test]
fn integers_are_read_from_integer_replies_alone() {
    assert_eq!(integer(b":42\r\n"), Some(42));
    assert_eq!(integer(b":-1\r\n"), Some(-1));
    for other in [&b":1\r\n:2\r\n"[..], b"$1\r\n1\r\n", b":\r\n", b":1", b""] {
        assert_eq!(integer(other), None);
    }
}

#[test]
fn a_refusal_is_one_line() {
    let mut out = Vec::new();
    for refusal in [Refusal::Redis("ERR a".to_owned()), Refusal::Server("b"), Refusal::Unknown] {
        write_refusal(&refusal, &mut out);
    }
    assert_eq!(out, b"-ERR a\r\n-ERR b\r\n-ERR unknown command\r\n");
}

/// Requests good and bad, now and then a large one or noise.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let large = (60_000usize..80_000, 0usize..4).prop_map(|(len, kind)| {
        let value = "v".repeat(len);
        match kind {
            0 => words(&format!("set k {value} EX 10")),
            1 => words(&format!("hset k a {value} b {value}")),
            2 => words(&format!("mset k {value}")),
            _ => [&words(&format!("set k {value}"))[..len], b"!!"].concat(),
        }
    });
    prop_oneof![
        8 => (0..GOOD.len()).prop_map(|at| words(GOOD[at])),
        4 => (0..GOOD.len()).prop_map(|at| format!("{}\r\n", GOOD[at]).into_bytes()),
        4 => (0..REFUSALS.len()).prop_map(|at| REFUSALS[at].0.as_bytes().to_vec()),
        2 => large,
        1 => vec(any::<u8>(), 0..20),
    ]
}

fn noise() -> impl Strategy<Value = Vec<u8>> {
    const WORDS: [&str; 22] = [
        "*",
        "*1\r\n",
        "*2\r\n",
        "*3\r\n",
        "$",
        "$3\r\n",
        "GET\r\n",
        "SET\r\n",
        "$1\r\n",
        "k\r\n",
        "+OK\r\n",
        "-ERR x\r\n",
        ":1\r\n",
        "$-1\r\n",
        "\r\n",
        "\n",
        "\r",
        "0",
        "-1",
        "9",
        "\"",
        " ",
    ];
    let word = (0..WORDS.len()).prop_map(|at| WORDS[at].as_bytes().to_vec());
    vec(prop_oneof![8 => word, 1 => vec(any::<u8>(), 0..6)], 0..40).prop_map(|words| words.concat())
}

/// `events` without the words in which a lost client is told of it: a request that was begun is
/// lost with other words than one that is seen whole.
fn outcomes(rules: &Rules, stream: &[u8], cuts: &[usize]) -> Vec<String> {
    let mut events = events(parse, rules, stream, cuts);
    if let Some(last) = events.last_mut()
        && last.starts_with("lost")
    {
        "lost".clone_into(last);
    }
    events
}

proptest! {
    #[test]
    fn requests_cut_anywhere_are_the_same(
        pieces in vec(piece(), 1..8),
        mut cuts in vec(0usize..2000, 0..12),
        strict in any::<bool>(),
    ) {
        let stream = pieces.concat();
        let rules = if strict { compat() } else { native() };
        // Some cuts of small steps, the rest of the stream in large ones.
        cuts.extend((1..40).map(|step| step * 7919));
        cuts.sort_unstable();
        prop_assert_eq!(outcomes(&rules, &stream, &cuts), outcomes(&rules, &stream, &[]));
    }

    #[test]
    fn noise_cut_anywhere_is_the_same(stream in noise(), strict in any::<bool>()) {
        let rules = if strict { compat() } else { native() };
        let each: Vec<usize> = (0..stream.len()).collect();
        prop_assert_eq!(outcomes(&rules, &stream, &each), outcomes(&rules, &stream, &[]));
    }

    #[test]
    fn replies_cut_anywhere_are_the_same(
        reply in noise(),
        which in 0..REPLIES.len(),
        prefix in any::<bool>(),
        mut cuts in vec(0usize..60, 0..6),
    ) {
        let start = if prefix { REPLIES[which].0.as_bytes() } else { b"" };
        let stream = [start, &reply].concat();
        cuts.sort_unstable();
        prop_assert_eq!(scan(&stream, &cuts), scan(&stream, &[]));
        let _ = elements(&stream).map(Iterator::count);
    }

    #[test]
    fn what_is_written_is_parsed(args in vec(vec(any::<u8>(), 0..40), 1..20)) {
        let mut request = Vec::new();
        let all = [b"rpush".to_vec(), b"key".to_vec()].into_iter().chain(args);
        let all: Vec<Vec<u8>> = all.collect();
        write_command(all.iter().map(Vec::as_slice), &mut request);
        let (parsed, found) = once(parse, &request, &native());
        prop_assert!(matches!(parsed, Parsed::Request(head) if head.len == request.len() as u64));
        prop_assert_eq!(found, all);
    }
}
