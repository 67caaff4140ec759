//! Redis's commands as a cache of ours answers them, held against redis-server itself.
//!
//! Random requests go to both, and both must answer the same bytes. What cannot be the same is
//! not asked: the order of keys, what is left of a time to live to the millisecond, what a server
//! tells of itself.

use std::fmt::Write;

use crate::support::{Cache, Client, Cut, Random, Redis, Transcript, escaped};

/// Requests of one run.
const REQUESTS: usize = 400;

/// As many settings as make redis-server answer as a cache does.
pub(crate) const LIKE_A_CACHE: [&str; 6] =
    ["--databases", "1", "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"];

/// A cache as large, whose values may be as long as tests make them.
fn like_redis() -> Cache {
    Cache::start(&["--memory", "64MiB", "--max-value", "32MiB"])
}

/// What a word of a form may stand for.
#[expect(clippy::too_many_lines, reason = "a table")]
fn choices(word: &str) -> Option<&'static [&'static str]> {
    Some(match word {
        "KEY" => &["a", "b", "c", "d", "a", "b", "missing"],
        "VALUE" => &[
            "",
            "1",
            "-7",
            "10",
            "9223372036854775807",
            "-9223372036854775808",
            "007",
            "+1",
            "1.5",
            "foobar",
            "text\\x20with\\x00all\\xff",
            "3.0e3",
            "abcabcabc",
            "\\{50:x}",
            " 1",
        ],
        "NUMBER" => &[
            "0",
            "1",
            "-1",
            "2",
            "3",
            "5",
            "-5",
            "100",
            "-100",
            "9223372036854775807",
            "-9223372036854775808",
            "9223372036854775808",
            "x",
            "",
            "01",
            "1.0",
        ],
        "SMALL" => &["0", "1", "7", "8", "15", "30", "100", "-1", "x", "4294967296"],
        "BIT" => &["0", "1", "1", "0", "2", "x"],
        "FLOAT" => &["0.1", "1.5", "-2.25", "3", "1e2", "x", "", "inf", "nan", "0.0000001", "-0"],
        // Far enough not to pass while the test runs, or past already.
        "SECONDS" => &["1000", "2000", "100000", "0", "-1", "x", "9223372036854775807", "1000"],
        "MILLIS" => &["1000000", "0", "-5", "9223372036854775807", "x", "5000000"],
        "AT" => &["1", "99999999999", "9223372036854775", "9223372036854776", "-1", "x"],
        "ATMS" => &["1", "99999999999999", "9223372036854775807", "0", "y"],
        "OPTION" => &[
            "EX 1000",
            "PX 1000000",
            "EXAT 99999999999",
            "PXAT 99999999999999",
            "NX",
            "XX",
            "GET",
            "KEEPTTL",
            "nx",
            "get",
            "EX 0",
            "EX x",
            "PX",
            "PERSIST",
            "EXAT 1",
            "PXAT 1",
            "FOO",
            "keepttl",
            "EX 10 EX 2000",
            "xx GET",
            "NX GET",
        ],
        "GETEX" => &[
            "EX 1000",
            "PX 1000000",
            "EXAT 99999999999",
            "PERSIST",
            "PXAT 1",
            "EX -1",
            "NX",
            "PERSIST PERSIST",
            "EX 10 PERSIST",
            "EXAT 1",
            "PX",
            "KEEPTTL",
        ],
        "WHEN" => &["NX", "XX", "GT", "LT", "NX XX", "GT LT", "XX GT", "FOO", "nx", "lt"],
        "TYPE" => &["BYTE", "BIT", "bit", "FOO"],
        "LCS" => &[
            "LEN",
            "IDX",
            "IDX WITHMATCHLEN",
            "IDX MINMATCHLEN 2",
            "LEN IDX",
            "FOO",
            "MINMATCHLEN",
            "IDX MINMATCHLEN x",
            "IDX MINMATCHLEN -1 WITHMATCHLEN",
        ],
        "COPY" => &["REPLACE", "DB 0", "DB 1", "DB x", "DB", "FOO", "DB 0 REPLACE"],
        "PATTERN" => &["missing*", "[x-z]", "a", "b", "\\\\c", "[^abc]x", "??"],
        _ => return None,
    })
}

/// Requests of which random ones are made.
const FORMS: [&str; 113] = [
    "SET KEY VALUE",
    "SET KEY VALUE",
    "SET KEY VALUE OPTION",
    "SET KEY VALUE OPTION OPTION",
    "SET KEY VALUE OPTION OPTION OPTION",
    "SET KEY",
    "GET KEY",
    "GET KEY",
    "GET",
    "GET KEY KEY",
    "SETNX KEY VALUE",
    "SETEX KEY SECONDS VALUE",
    "PSETEX KEY MILLIS VALUE",
    "GETSET KEY VALUE",
    "GETDEL KEY",
    "GETEX KEY",
    "GETEX KEY GETEX",
    "GETEX KEY GETEX GETEX",
    "MGET KEY KEY KEY",
    "MGET",
    "MSET KEY VALUE KEY VALUE",
    "MSET KEY VALUE KEY",
    "MSETNX KEY VALUE KEY VALUE",
    "MSETNX KEY VALUE KEY",
    "APPEND KEY VALUE",
    "APPEND KEY VALUE",
    "STRLEN KEY",
    "GETRANGE KEY NUMBER NUMBER",
    "GETRANGE KEY SMALL NUMBER",
    "SUBSTR KEY NUMBER NUMBER",
    "SETRANGE KEY SMALL VALUE",
    "SETRANGE KEY SMALL VALUE",
    "INCR KEY",
    "DECR KEY",
    "INCRBY KEY NUMBER",
    "DECRBY KEY NUMBER",
    "INCRBYFLOAT f FLOAT",
    "SET f FLOAT",
    "SETBIT KEY SMALL BIT",
    "SETBIT KEY SMALL BIT",
    "GETBIT KEY SMALL",
    "BITCOUNT KEY",
    "BITCOUNT KEY NUMBER NUMBER",
    "BITCOUNT KEY SMALL NUMBER TYPE",
    "BITCOUNT KEY NUMBER",
    "BITCOUNT KEY NUMBER SMALL TYPE",
    "LCS KEY KEY",
    "LCS KEY KEY LCS",
    "LCS KEY",
    "DEL KEY",
    "DEL KEY KEY",
    "UNLINK KEY",
    "EXISTS KEY KEY KEY",
    "TOUCH KEY KEY",
    "TYPE KEY",
    "RENAME KEY KEY",
    "RENAMENX KEY KEY",
    "COPY KEY KEY",
    "COPY KEY KEY COPY",
    "COPY KEY KEY COPY COPY",
    "KEYS PATTERN",
    "KEYS",
    "DBSIZE",
    "EXPIRE KEY SECONDS",
    "EXPIRE KEY SECONDS WHEN",
    "PEXPIRE KEY MILLIS WHEN",
    "PEXPIRE KEY MILLIS",
    "EXPIREAT KEY AT",
    "EXPIREAT KEY AT WHEN",
    "PEXPIREAT KEY ATMS",
    "PEXPIREAT KEY ATMS WHEN",
    "TTL nothing",
    "PTTL nothing",
    "EXPIRETIME nothing",
    "PERSIST KEY",
    "PERSIST KEY",
    "TYPE nothing",
    "OBJECT REFCOUNT KEY",
    "OBJECT FREQ KEY",
    "OBJECT FOO KEY",
    "OBJECT ENCODING",
    "OBJECT HELP",
    "MULTI",
    "MULTI",
    "EXEC",
    "EXEC",
    "EXEC",
    "DISCARD",
    "WATCH KEY",
    "UNWATCH",
    "PING",
    "PING VALUE",
    "PING a b",
    "ECHO VALUE",
    "SELECT NUMBER",
    "CLIENT SETNAME VALUE",
    "CLIENT GETNAME",
    "CLIENT FOO",
    "CLIENT REPLY FOO",
    "CLIENT NO-EVICT ON",
    "CONFIG FOO x",
    "CONFIG GET save",
    "CONFIG GET databases",
    "CONFIG GET SAVE nothing",
    "CONFIG SET databases 5",
    "CONFIG SET nothing 5",
    "CONFIG SET databases 5 save",
    "FLUSHALL FOO",
    "AUTH x",
    "AUTH default x",
    "COMMAND FOO",
    "FOO KEY VALUE",
    "SCAN FOO",
];

/// A request in the notation of transcripts.
fn request(random: &mut Random) -> String {
    let mut text = String::new();
    for (at, word) in random.of(&FORMS).split(' ').enumerate() {
        let word = choices(word).filter(|_| at > 0).map_or(word, |words| random.of(words));
        for part in word.split(' ').filter(|_| !word.starts_with(' ')) {
            let _ = write!(text, " {}", if part.is_empty() { "\\{0:x}" } else { part });
        }
        if word.starts_with(' ') {
            text.push_str(" \\x201");
        }
    }
    text.trim_start().to_owned()
}

/// Sends the same to both; what they do not answer alike.
fn compare(ours: &Cache, seed: u64, resp3: bool) -> Result<(), String> {
    let redis = Redis::start(&LIKE_A_CACHE);
    let mut clients = [Client::connect(redis.port()), ours.redis()];
    if resp3 {
        clients.iter_mut().for_each(|client| drop(hello(client)));
    }
    let mut random = Random(seed);
    let mut log = Vec::new();
    for _ in 0..REQUESTS {
        let words = request(&mut random);
        let bytes = Transcript::command(&words);
        let replies = clients.each_mut().map(|client| {
            client.send(&bytes);
            client.redis_reply()
        });
        log.push(words);
        if replies[0] != replies[1] {
            let from = log.len().saturating_sub(12);
            let [wanted, got] = replies.map(|reply| escaped(&reply));
            return Err(format!(
                "seed {seed}, after\n  {}\n  wanted: {wanted}\n  got:    {got}",
                log[from..].join("\n  ")
            ));
        }
    }
    Ok(())
}

fn hello(client: &mut Client) -> Vec<u8> {
    client.send("HELLO 3\r\n");
    client.redis_reply()
}

#[test]
fn random_requests_are_answered_as_redis_answers_them() {
    let wrong: Vec<String> =
        (1..=8).filter_map(|seed| compare(&like_redis(), seed * 7919, false).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn random_requests_are_answered_as_redis_answers_them_in_resp3() {
    let wrong: Vec<String> =
        (1..=4).filter_map(|seed| compare(&like_redis(), seed * 104_729, true).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn random_requests_are_answered_alike_where_items_are_in_cells() {
    let one = |seed: u64| compare(&Cache::small(), seed * 7919, seed > 4).err();
    let wrong: Vec<String> = (1..=8).filter_map(one).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn transcripts_hold_for_redis_and_for_the_cache() {
    for (what, cache) in
        [("server", like_redis()), ("cache", like_redis()), ("cache", Cache::small())]
    {
        // What holds for Redis itself holds for a cache in its place.
        let scripts = Transcript::all("cache_redis").into_iter();
        let scripts =
            scripts.filter(|it| it.plays("server", Cut::Steps) || it.plays(what, Cut::Steps));
        let scripts: Vec<_> = scripts.collect();
        assert!(scripts.len() > 5, "hardly a transcript for {what}");
        let redis = (what == "server").then(|| Redis::start(&LIKE_A_CACHE));
        let port = redis.as_ref().map_or_else(|| cache.redis_port(), Redis::port);
        let mut wrong = Vec::new();
        for script in &scripts {
            for cut in [Cut::Steps, Cut::Bytes, Cut::Pipeline] {
                Client::connect(port).ask("FLUSHALL\r\n", "+OK\r\n");
                wrong.extend(script.play(&mut Client::connect(port), cut).err());
            }
        }
        assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
    }
}

/// What COMMAND DOCS tells of each command, as `name group since`.
fn documented(client: &mut Client, names: &str) -> Vec<String> {
    client.send(format!("COMMAND DOCS {names}\r\n"));
    let reply = String::from_utf8(client.redis_reply()).unwrap();
    let lines: Vec<&str> = reply.lines().filter(|line| !line.starts_with(['*', '$'])).collect();
    let after = |from: usize, what: &str| {
        let at = lines[from..].iter().position(|line| *line == what).unwrap();
        lines[from + at + 1]
    };
    let names = names.split(' ').map(|name| {
        let at = lines.windows(2).position(|two| two[0] == name && two[1] == "summary").unwrap();
        format!("{name} {} {}", after(at, "group"), after(at, "since"))
    });
    names.collect()
}

#[test]
fn every_command_is_documented_as_by_redis() {
    let (cache, redis) = (like_redis(), Redis::start(&[]));
    let [mut ours, mut theirs] = [cache.redis(), Client::connect(redis.port())];
    ours.send("COMMAND LIST\r\n");
    let list = String::from_utf8(ours.redis_reply()).unwrap();
    let names: Vec<&str> = list.lines().filter(|line| !line.starts_with(['*', '$'])).collect();
    assert!(names.len() > 60, "{names:?}");
    let names = names.join(" ");
    assert_eq!(documented(&mut ours, &names), documented(&mut theirs, &names));
}
