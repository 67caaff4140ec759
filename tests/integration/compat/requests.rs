//! What clients send: whole and broken requests, each with one behind it that tells whether the
//! connection lives on.

use crate::support::{Client, Memcached, PoolSpec, Proxy, Redis, escaped};

/// Behind each memcache input.
const MEMCACHE_NEXT: &[u8] = b"get nothing\r\n";
/// Behind each Redis input.
const REDIS_NEXT: &[u8] = b"*2\r\n$3\r\nGET\r\n$7\r\nnothing\r\n";

const MEMCACHE: &[&str] = &[
    // Nothing stored yet.
    "get a\r\n",
    "gets a\r\n",
    "get a b c d e\r\n",
    "gets a b\r\n",
    "get a a a\r\n",
    "  get   a   b  \r\n",
    "get a \r\n",
    // Storage.
    "set a 1 0 5\r\nhello\r\nget a\r\ngets a b\r\n",
    "set a 1 0 5 \r\nhello\r\n",
    "set a 1 0 5 noreply\r\nhello\r\nget a\r\n",
    "set a 1 0 5  noreply \r\nhello\r\nget a\r\n",
    "set a 1 0 0\r\n\r\nget a\r\n",
    "set a 01 000 05\r\nhello\r\nget a\r\n",
    "set f 4294967295 0 1\r\nx\r\nget f\r\n",
    "set f 4294967296 0 1\r\nx\r\nget f\r\n",
    "set e 0 2147483648 1\r\nx\r\nget e\r\n",
    "add a 0 0 1\r\nx\r\nget a\r\n",
    "add n 0 0 1\r\nx\r\nadd n 0 0 1\r\ny\r\n",
    "replace none 0 0 1\r\nx\r\n",
    "append a 0 0 1\r\n!\r\nget a\r\n",
    "prepend a 0 0 1\r\n!\r\nget a\r\n",
    "cas a 0 0 1 99999\r\nx\r\n",
    "cas a 0 0 1 99999 noreply\r\nx\r\nget a\r\n",
    "cas none 0 0 1 1\r\nx\r\n",
    // Numbers.
    "set n 0 0 1\r\n5\r\nincr n 3\r\ndecr n 2\r\n",
    "incr none 1\r\n",
    "incr n 1 noreply\r\nget n\r\n",
    "incr n 18446744073709551616\r\n",
    "incr n -1\r\n",
    "decr n 99\r\n",
    "incr a 1\r\n",
    // Deleting and touching.
    "delete a\r\ndelete a\r\n",
    "delete n noreply\r\nget n\r\n",
    "set t 0 0 1\r\nx\r\ntouch t 0\r\ntouch none 5\r\n",
    "touch t -1\r\n",
    "set t 0 0 1\r\nx\r\ntouch t 100 noreply\r\nget t\r\n",
    // A control byte is a part of a key to twemproxy and to memcached.
    "set a\tb 0 0 1\r\nx\r\nget a\tb\r\nget a\tb c\r\n",
    "get \u{7f}\u{1}\r\n",
    "get ключ\r\n",
    // Local and forwarded without a key.
    "version\r\n",
    "quit\r\n",
    "quit \r\n",
    "get a\r\nquit\r\nget a\r\n",
    // Refused: numbers.
    "set a 1 -1 5\r\nhello\r\n",
    "set a -1 0 5\r\nhello\r\n",
    "set a 1 0 -1\r\n",
    "set a x 0 5\r\nhello\r\n",
    "cas a 0 0 1 x\r\nx\r\n",
    "incr n x\r\n",
    "incr n 0notanumber\r\n",
    "delete a 0\r\n",
    "delete a 5\r\n",
    // Refused: words too few or too many.
    "get\r\n",
    "get \r\n",
    "gets\r\n",
    "set\r\n",
    "set a\r\n",
    "set a 1 0\r\n",
    "set a b 0 0 1\r\nx\r\n",
    "set a 1 0 5 noreplyx\r\nhello\r\n",
    "append key 0 600\r\n",
    "cas key 0 600 5 \r\n",
    "incr\r\n",
    "incr n\r\n",
    "incr n 1 extra\r\n",
    "delete \r\n",
    "delete a b\r\n",
    "touch t\r\n",
    "version extra\r\n",
    "quit x\r\n",
    // Refused: data of another length.
    "set a 1 0 4\r\nhello\r\n",
    "set a 1 0 6\r\nhello\r\n",
    "prepend key 0 600 5\r\nvalueextra\r\n",
    "set a 0 0 5\r\nhello\r\r\n",
    // Refused: unknown words.
    "GET a\r\n",
    "SET a 1 0 5\r\nhello\r\n",
    "stats\r\n",
    "flush_all\r\n",
    "verbosity 1\r\n",
    "gat 0 a\r\n",
    "mg a v\r\n",
    "mn\r\n",
    "watch\r\n",
    "shutdown\r\n",
    "foo\r\n",
    "\r\n",
    " \r\n",
    "\u{0}\u{1}\r\n",
    "get a\r\r\n",
    // What was asked before is not answered any more.
    "get a\r\nfoo\r\n",
    "get a b\r\nfoo\r\n",
    "foo\r\nget a\r\n",
];

/// Words of a command each, parted by spaces; `;` parts commands.
const REDIS: &[&str] = &[
    "PING",
    "ping",
    "PING ; PING ; GET a ; PING",
    "QUIT",
    "GET a ; QUIT ; GET a",
    "AUTH x",
    "AUTH u x",
    "AUTH",
    "SELECT 0",
    "SELECT 1",
    "ECHO x",
    "PING x",
    "HELLO",
    "HELLO 3",
    "COMMAND COUNT",
    "COMMAND DOCS",
    "CLIENT SETNAME a",
    "CLIENT ID",
    "INFO",
    "TIME",
    "DBSIZE",
    "KEYS *",
    "SCAN 0",
    "RANDOMKEY",
    "FLUSHALL",
    "CONFIG GET x",
    "MULTI",
    "EXEC",
    "WATCH a",
    "SUBSCRIBE a",
    "PUBLISH a b",
    "WAIT 0 0",
    "CLUSTER INFO",
    "MONITOR",
    "DEBUG SLEEP 0",
    "SCRIPT LOAD x",
    "XADD x * a b",
    "FOO",
    "FOO a",
    "SET a 1 ; GET a ; set a 2 ; get a",
    "SET a 1 EX 100 ; PERSIST a",
    "SET",
    "SET a",
    "GET",
    "GET a b",
    "GETDEL a",
    "GETEX a",
    "SETNX a 1",
    "MSETNX a 1 b 2",
    "MSET a 1 b 2 c 3 ; MGET a b c d",
    "MSET a 1",
    "MSET a",
    "MSET a 1 b",
    "MSET",
    "MGET",
    "MGET a",
    "MGET a a a",
    "MGET d c b a",
    "TOUCH a b none",
    "EXISTS a",
    "DEL a",
    "DEL a b c none",
    "UNLINK a b c",
    "DEL",
    "EXPIRE a 10 NX",
    "EXPIRETIME a",
    "RENAME a b",
    "OBJECT ENCODING a",
    "SUBSTR a 0 1",
    "INCR n ; DECR n ; INCRBY n 5 ; INCRBYFLOAT n 1.5",
    "INCR n x",
    "APPEND s x ; STRLEN s ; GETRANGE s 0 -1 ; SETRANGE s 0 y ; GETSET s z",
    "SETEX s 10 v ; PSETEX s 10000 v ; PTTL none ; TYPE s",
    "HSET h f v g w ; HGETALL h ; HMGET h f g x ; HDEL h f ; HLEN h ; HSCAN h 0",
    "HSET h",
    "LPUSH l a b c ; LRANGE l 0 -1 ; LPOP l ; RPOP l 2 ; LLEN l ; LREM l 0 a",
    "LPUSH s x",
    "BLPOP l 0",
    "SADD t a ; SCARD t ; SISMEMBER t a ; SMISMEMBER t a z ; SREM t a",
    "ZADD z 1 a 2 b ; ZRANGE z 0 -1 WITHSCORES ; ZSCORE z a ; ZPOPMIN z ; ZMSCORE z b",
    "ZADD",
    "ZINTERCARD 1 z",
    "PFADD p a ; PFCOUNT p",
    "GEOADD g 1 1 a ; GEOPOS g a",
    "BITOP AND x a b",
    "SETBIT b 1 1 ; GETBIT b 1 ; BITCOUNT b",
    "EVAL return{1,{2}} 1 k",
    "EVAL return 0",
    "EVAL return",
    "EVAL return x k",
    "EVAL return 1",
    "EVALSHA 0000 1 k",
    "LOLWUT VERSION 1",
    "SET a 1 ; FOO ; GET a",
    "PING ; FOO",
];

/// Not made of commands.
const REDIS_RAW: &[&str] = &[
    "\r\n",
    "GET a\r\n",
    "*0\r\n",
    "*-1\r\n",
    "*1\r\n$0\r\n\r\n",
    "*1\r\n$3\r\nGET\r\n",
    "*2\r\n$3\r\nGET\r\n$-1\r\n",
    "*2\r\n$3\r\nGETx\r\n$1\r\na\r\n",
    "*2\r\n$3\r\nGET\r\n$1\r\nab\r\n",
    "*2\r\n$3\r\nGET\r\n:1\r\n",
    "*3\r\n*abcde\r\n",
    "*3abcdefg\r\n",
    "*3\r\n$abcde\r\n",
    "$3\r\nGET\r\n",
    "+OK\r\n",
    " *1\r\n$4\r\nPING\r\n",
    "*3\r\n$3\r\nSET\r\n$0\r\n\r\n$1\r\nv\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n",
];

#[test]
fn memcache_clients_hear_what_twemproxy_would_have_said() {
    let mut inputs: Vec<Vec<u8>> = MEMCACHE.iter().map(|it| it.as_bytes().to_vec()).collect();
    let long = |length: usize| "k".repeat(length);
    inputs.push(format!("set {0} 0 0 1\r\nx\r\nget {0}\r\n", long(250)).into_bytes());
    inputs.push(format!("get {}\r\n", long(251)).into_bytes());
    inputs.push(format!("get a {}\r\n", long(251)).into_bytes());
    inputs.push(listed("get", 1000));
    let big = "z".repeat(1_000_000);
    inputs.push(format!("set big 0 0 1000000\r\n{big}\r\nget big\r\nget a big b\r\n").into_bytes());
    compare(&inputs, MEMCACHE_NEXT, |start| {
        let servers = [Memcached::start(), Memcached::start()];
        let ports = servers.each_ref().map(Memcached::port);
        (start(PoolSpec::memcache(&ports).set("distribution", "modula")), Box::new(servers))
    });
}

#[test]
fn redis_clients_hear_what_twemproxy_would_have_said() {
    let mut inputs: Vec<Vec<u8>> = REDIS.iter().map(|it| commands(it)).collect();
    inputs.extend(REDIS_RAW.iter().map(|it| it.as_bytes().to_vec()));
    // The longest key that fits a buffer of 16384 bytes, and one that does not.
    inputs.push(command(&["SET", &"k".repeat(16_335), "v"]));
    inputs.push(command(&["SET", &"k".repeat(16_336), "v"]));
    let keys: Vec<String> = (0..2000).map(|n| format!("k{n}")).collect();
    let with = |name| {
        command(&std::iter::once(name).chain(keys.iter().map(String::as_str)).collect::<Vec<_>>())
    };
    inputs.extend([with("MSET"), with("MGET"), with("DEL")]);
    inputs.push(command(&["SET", "big", &"z".repeat(2_000_000)]));
    inputs.push(commands("MGET big a big"));
    // A reply of which a native pool would say that its client can't be keeping up.
    inputs.push(command(&["SET", "huge", &"z".repeat(12 << 20)]));
    inputs.push(commands("MGET huge a huge huge"));
    compare(&inputs, REDIS_NEXT, |start| {
        let servers = [Redis::start(&[]), Redis::start(&[])];
        let ports = servers.each_ref().map(Redis::port);
        (start(PoolSpec::redis(&ports).set("distribution", "modula")), Box::new(servers))
    });
}

/// What holds the servers of a scene alive.
type Held = Box<dyn std::any::Any>;

/// Sends all inputs to both; `scene` starts one of them over fresh servers.
fn compare(
    inputs: &[Vec<u8>],
    next: &[u8],
    scene: impl Fn(fn(PoolSpec) -> Proxy) -> (Proxy, Held),
) {
    let (theirs, _their_servers) = scene(Proxy::nutcracker);
    let (ours, _our_servers) = scene(Proxy::twinring_as_nutcracker);
    let mut wrong = Vec::new();
    for input in inputs {
        let bytes = [input, next].concat();
        let (wanted, got) = (said(theirs.client(), &bytes), said(ours.client(), &bytes));
        if wanted != got {
            let cut = |bytes: &[u8]| escaped(&bytes[..bytes.len().min(200)]);
            wrong.push(format!(
                "{}\n  twemproxy: {}\n  twinring:  {}",
                cut(input),
                cut(&wanted),
                cut(&got)
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), inputs.len(), wrong.join("\n"));
}

/// Everything that is said to these bytes by somebody who knows that no more will come.
fn said(mut client: Client, bytes: &[u8]) -> Vec<u8> {
    // Who closes in the middle of it answers nothing.
    let _ = client.try_send(bytes);
    client.half_close();
    client.read_to_end()
}

fn commands(line: &str) -> Vec<u8> {
    line.split(" ; ").flat_map(|one| command(&one.split(' ').collect::<Vec<_>>())).collect()
}

fn command(words: &[&str]) -> Vec<u8> {
    let bulk = |word: &&str| format!("${}\r\n{word}\r\n", word.len());
    let bulks: String = words.iter().map(bulk).collect();
    format!("*{}\r\n{bulks}", words.len()).into_bytes()
}

fn listed(command: &str, keys: usize) -> Vec<u8> {
    let keys: String = (0..keys).map(|n| format!(" k{n}")).collect();
    format!("{command}{keys}\r\n").into_bytes()
}
