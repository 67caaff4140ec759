//! What comes through a near cache is what the server itself says, byte by byte.

use super::talk::command;
use super::{lookups, memcache_pool, redis_pool};
use crate::support::{Client, Memcached, Proxy, Redis, escaped};

/// Everything that has come by the time at which `end`, asked for after it, is answered.
fn say(client: &mut Client, request: &[u8], (last, end): (&[u8], &[u8])) -> Vec<u8> {
    client.send([request, last].concat());
    let reply = client.try_take(|bytes| bytes.ends_with(end).then_some(bytes.len()));
    reply.unwrap_or_else(|why| panic!("{}: {why}", escaped(request)))
}

fn memcache_says(client: &mut Client, request: &[u8]) -> Vec<u8> {
    say(client, request, (b"mn\r\n", b"MN\r\n"))
}

fn redis_says(client: &mut Client, request: &[u8]) -> Vec<u8> {
    say(client, request, (b"PING end-of-it\r\n", b"$9\r\nend-of-it\r\n"))
}

/// Asks the server, and through the proxy as often as it takes to be answered by the near cache.
fn same(
    proxy: &Proxy,
    direct: &mut Client,
    requests: &[&[u8]],
    says: fn(&mut Client, &[u8]) -> Vec<u8>,
) {
    let mut client = proxy.client();
    for request in requests {
        let wanted = says(direct, request);
        for round in 0..3 {
            let got = says(&mut client, request);
            assert_eq!(escaped(&got), escaped(&wanted), "{}, round {round}", escaped(request));
        }
    }
}

#[test]
fn memcache_reads_are_answered_as_by_the_server() {
    let memcached = Memcached::start();
    let proxy = Proxy::twinring(memcache_pool(&memcached, "negative: 250ms, max_age: 10s"));
    let mut direct = memcached.client();
    let stored = b"set k 5 0 2\r\nab\r\nset e 4294967295 1000 0\r\n\r\n\
                   ms aGkgeW8= 3 b F7\r\nx y\r\nms cGxhaW4= 1 b\r\np\r\nset qk 0 0 1\r\nq\r\n";
    memcache_says(&mut direct, stored);
    let reads: &[&[u8]] = &[
        b"get k\r\n",
        b"get k e none k\r\n",
        b"get none\r\n",
        b"get  k \r\n",
        b"mg k\r\n",
        b"mg k v\r\n",
        b"mg  k  v  f\r\n",
        b"mg k s f v k O123\r\n",
        b"mg k k O v q\r\n",
        b"mg k O12345678901234567890123456789012 v\r\n",
        b"mg e v f s\r\n",
        b"mg qk v k\r\n",
        b"mg none v\r\n",
        b"mg none O1 k v\r\n",
        b"mg none v k O1 q\r\nmg k v k O2 q\r\nmg e k q\r\n",
        // Keys in base64: one that needs it, one that is not there, ones that do not.
        b"mg aGkgeW8= b v k f s O1\r\n",
        b"mg aGkgeW8= k v b q\r\n",
        b"mg aGkgbm8= k v b O1\r\n",
        b"mg aw== b k v\r\n",
        b"mg cGxhaW4= b k v\r\n",
        b"mg plain k v\r\n",
        b"get plain\r\n",
        b"get plain k\r\n",
        b"mg k b v k\r\n",
        b"mg aGkgeW8 b v k\r\n",
        // What no near cache answers.
        b"gets k e\r\n",
        b"mg k c v\r\n",
        b"mg k v v\r\n",
        b"mg k v Z\r\n",
        b"mg k t v\r\n",
    ];
    same(&proxy, &mut direct, reads, memcache_says);
    assert!(lookups(&proxy, "hit") > 20.0, "nothing was answered here");
}

/// An item that is marked stale has one winner, who is to make it anew, whoever asks; memcached's
/// own get does not say so, and its winner is told that there is nothing.
#[test]
fn stale_items_have_one_winner() {
    let memcached = Memcached::start();
    let proxy = Proxy::twinring(memcache_pool(&memcached, "max_age: 100ms"));
    let mut direct = memcached.client();
    let spoil = b"set k 0 0 1\r\n1\r\nmd k I T30\r\n";
    let asked = b"mg k v k\r\nmg k v f s\r\nmg k v q\r\n";
    memcache_says(&mut direct, spoil);
    let wanted = memcache_says(&mut direct, asked);
    assert!(wanted.starts_with(b"VA 1 kk X W\r\n"), "{}", escaped(&wanted));
    // Over the proxy, which knows at once; so that no earlier answer is left.
    let mut client = proxy.client();
    memcache_says(&mut client, spoil);
    assert_eq!(escaped(&memcache_says(&mut client, asked)), escaped(&wanted));
    memcache_says(&mut client, b"set g 0 0 1\r\n1\r\nmd g I T30\r\n");
    client.ask("get g\r\n", "END\r\n");
    client.ask("get g\r\n", "VALUE g 0 1\r\n1\r\nEND\r\n");
    let told = memcache_says(&mut client, b"mg g v\r\n");
    assert!(told.starts_with(b"VA 1 Z X\r\n"), "{}", escaped(&told));
    memcache_says(&mut client, b"set g 0 0 1\r\n2\r\n");
    client.ask("get g\r\n", "VALUE g 0 1\r\n2\r\nEND\r\n");
}

#[test]
fn redis_reads_are_answered_as_by_the_server() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::twinring(redis_pool(&redis, "negative: 250ms"));
    let mut direct = Client::connect(redis.port());
    let stored = b"SET s value\r\nSET empty \"\"\r\nSET ttl x EX 1000\r\nRPUSH list a b\r\n\
                   HSET hash a 1 b 2\r\nSET \"\\x00\\r\\n\" \"\\xff\\r\\n\"\r\n";
    redis_says(&mut direct, stored);
    let reads: &[&[u8]] = &[
        b"GET s\r\n",
        b"GET none\r\n",
        b"GET empty\r\n",
        b"GET ttl\r\n",
        b"GET list\r\n",
        b"GET hash\r\n",
        b"*2\r\n$3\r\nGET\r\n$3\r\n\0\r\n\r\n",
        b"STRLEN s\r\nSTRLEN none\r\nSTRLEN hash\r\nSTRLEN empty\r\n",
        b"EXISTS s\r\nEXISTS none\r\nEXISTS hash\r\nEXISTS s s none list\r\n",
        b"GETRANGE s 1 -2\r\nGETRANGE s -3 100\r\nGETRANGE none 0 -1\r\nGETRANGE s a b\r\nGETRANGE list 0 1\r\n",
        b"MGET s none list hash s\r\n",
        b"MGET ttl\r\n",
        b"HGETALL hash\r\nHGETALL none\r\nHGETALL s\r\n",
        b"HGET hash a\r\nHGET hash none\r\nHGET none a\r\nHGET s a\r\n",
        b"HMGET hash b none a\r\nHMGET none a\r\nHMGET s a\r\n",
        b"GET\r\nHGET hash\r\nGETRANGE s 1\r\n",
    ];
    for hello in [&b""[..], b"HELLO 3\r\n"] {
        let mut client = proxy.client();
        for speaker in [&mut client, &mut direct] {
            speaker.send(hello);
            if !hello.is_empty() {
                speaker.redis_reply();
            }
        }
        for request in reads {
            let wanted = redis_says(&mut direct, request);
            for round in 0..3 {
                let got = redis_says(&mut client, request);
                assert_eq!(escaped(&got), escaped(&wanted), "{}, {round}", escaped(request));
            }
        }
    }
    assert!(lookups(&proxy, "hit") > 60.0, "nothing was answered here");
}

/// A pipeline reads what it has written, whatever the write looks like.
#[test]
fn a_pipeline_reads_what_it_has_written() {
    let (memcached, redis) = (Memcached::start(), Redis::start(&[]));
    let of_memcache = Proxy::twinring(memcache_pool(&memcached, "max_age: 10s, negative: 250ms"));
    let of_redis = Proxy::twinring(redis_pool(&redis, "negative: 250ms").set("allow_flush", true));
    let memcache: &[&[u8]] = &[
        b"set k 0 0 1 noreply\r\n1\r\nget k\r\nset k 0 0 1 noreply\r\n2\r\nget k k\r\nmg k v\r\n",
        b"ms k 1 q\r\n3\r\nmg k v\r\nget k\r\nincr k 4 noreply\r\nget k\r\nma k q\r\nget k\r\n",
        b"append k 0 0 1 noreply\r\n0\r\nget k\r\ntouch k 100\r\nget k\r\ngat 100 k\r\nget k\r\n",
        b"mg k v\r\nmd k q\r\nmg k v k\r\nadd k 0 0 1 noreply\r\n4\r\nget k\r\ndelete k noreply\r\nget k\r\n",
        b"mg k N30 v\r\nget k\r\nset k 0 -1 1 noreply\r\n5\r\nget k\r\n",
        b"ms aw== 1 b q\r\n6\r\nget k\r\nmg k v\r\n",
    ];
    let other = Memcached::start();
    same_once(&of_memcache, (&mut other.client(), memcache), memcache_says);
    let requests: &[&[u8]] = &[
        b"SET k 1\r\nGET k\r\nINCR k\r\nGET k\r\nMGET k k\r\nAPPEND k 0\r\nGET k\r\nSETRANGE k 1 x\r\nGET k\r\n",
        b"MULTI\r\nSET k 5\r\nGET k\r\nEXEC\r\nGET k\r\nMULTI\r\nGET k\r\nDEL k\r\nEXEC\r\nGET k\r\n",
        b"WATCH k\r\nGET k\r\nSET k 6\r\nMULTI\r\nGET k\r\nEXEC\r\nGET k\r\n",
        b"WATCH k\r\nMULTI\r\nSET k 7\r\nEXEC\r\nGET k\r\nMULTI\r\nSET k 8\r\nDISCARD\r\nGET k\r\n",
        b"EVAL \"return redis.call('SET', KEYS[1], 'e')\" 1 k\r\nGET k\r\nGETDEL k\r\nGET k\r\n",
        b"SET k a\r\nGET k\r\nRENAME k k2\r\nGET k\r\nGET k2\r\nCOPY k2 k\r\nGET k\r\nGETSET k b\r\nGET k\r\n",
        b"GET k\r\nPEXPIRE k 0\r\nGET k\r\nSET k c PX 1000000\r\nGET k\r\nGETEX k EXAT 1\r\nGET k\r\n",
        b"HSET h a 1\r\nHGETALL h\r\nHINCRBY h a 4\r\nHGETALL h\r\nHGET h a\r\nHDEL h a\r\nHGETALL h\r\nEXISTS h\r\n",
        b"RPUSH l 1\r\nEXISTS l\r\nBLPOP l 1\r\nEXISTS l\r\nRPUSH l 2\r\nBLMOVE l k3 LEFT LEFT 1\r\nEXISTS l\r\nEXISTS k3\r\n",
        b"SADD set x\r\nGET s\r\nSUNIONSTORE s set\r\nEXISTS s\r\nDEL s set\r\nEXISTS s\r\nBITOP NOT b k\r\nGET b\r\n",
        b"MSET k 1 j 2\r\nMGET k j\r\nUNLINK k j\r\nMGET k j\r\nSET k 1\r\nGET k\r\nFLUSHALL\r\nGET k\r\n",
    ];
    let other = Redis::start(&[]);
    same_once(&of_redis, (&mut Client::connect(other.port()), requests), redis_says);
}

/// The same conversation with a server of its own and through the proxy.
fn same_once(
    proxy: &Proxy,
    (direct, requests): (&mut Client, &[&[u8]]),
    says: fn(&mut Client, &[u8]) -> Vec<u8>,
) {
    let mut client = proxy.client();
    // Once more, with what the first round has left.
    for request in requests.iter().chain(requests) {
        let (wanted, got) = (says(direct, request), says(&mut client, request));
        assert_eq!(escaped(&got), escaped(&wanted), "{}", escaped(request));
    }
}

/// What another client writes through this proxy within a transaction, a script or a blocking
/// command, the next read of anybody finds.
#[test]
fn writes_on_lent_connections_are_known_to_all() {
    let redis = Redis::start(&[]);
    // Nothing is heard of the server: only what passes by can make an entry vanish.
    let proxy = Proxy::twinring(redis_pool(&redis, "mode: ttl, max_age: 10s"));
    let (mut one, mut other) = (proxy.client(), proxy.client());
    other.ask("SET k 0\r\nHSET h f 0\r\n", "+OK\r\n:1\r\n");
    other.ask("RPUSH l 1 2\r\n", ":2\r\n");
    for round in 1..=20 {
        let before = format!("${}\r\n{}\r\n", (round - 1).to_string().len(), round - 1);
        let after = format!("${}\r\n{round}\r\n", round.to_string().len());
        other.ask("GET k\r\nGET k\r\n", before.repeat(2));
        one.ask(
            format!("WATCH k\r\nMULTI\r\nSET k {round}\r\nEXEC\r\n"),
            "+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n",
        );
        other.ask("GET k\r\nMGET k\r\n", format!("{after}*1\r\n{after}"));
        one.ask("BLMOVE l l LEFT RIGHT 1\r\n", format!("$1\r\n{}\r\n", 2 - round % 2));
    }
    assert!(lookups(&proxy, "hit") > 20.0, "nothing was answered here");
}

#[test]
fn a_value_larger_than_what_is_kept_passes_whole() {
    let memcached = Memcached::with(&["-I", "8m"]);
    let redis = Redis::start(&[]);
    let value = "z".repeat(5_000_000);
    let proxy = Proxy::twinring(memcache_pool(&memcached, "max_age: 10s"));
    let mut direct = memcached.client();
    direct.ask(format!("set big 9 0 {}\r\n{value}\r\n", value.len()), "STORED\r\n");
    let reads: &[&[u8]] = &[
        b"get big\r\n",
        b"mg big v f k O1\r\n",
        b"mg big s\r\n",
        b"get big none\r\n",
        b"get big big\r\n",
    ];
    same(&proxy, &mut direct, reads, memcache_says);
    assert_eq!(lookups(&proxy, "hit"), 0.0);
    let proxy = Proxy::twinring(redis_pool(&redis, ""));
    let mut direct = Client::connect(redis.port());
    for words in [&["SET", "big", &value][..], &["HSET", "hsh", "f", &value]] {
        direct.send(command(words));
        assert_ne!(direct.redis_reply()[0], b'-');
    }
    let reads: &[&[u8]] = &[
        b"GET big\r\n",
        b"MGET big none\r\n",
        b"HGETALL hsh\r\n",
        b"HGET hsh f\r\n",
        b"HMGET hsh none f\r\n",
    ];
    same(&proxy, &mut direct, reads, redis_says);
    assert_eq!(lookups(&proxy, "hit"), 0.0);
}
