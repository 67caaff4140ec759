//! memcached's ASCII authentication: in front of servers and at a cache as at memcached itself.

use crate::support::{Cache, Client, Memcached, PoolSpec, Proxy, Scratch};

/// Requests of one connection and their answers, one after the other.
const TALK: [(&str, &str); 11] = [
    ("get a\r\n", "CLIENT_ERROR unauthenticated\r\n"),
    ("version\r\n", "CLIENT_ERROR unauthenticated\r\n"),
    ("set x 0 0 9\r\nme wrong1\r\n", "CLIENT_ERROR authentication failure\r\n"),
    ("get a\r\n", "CLIENT_ERROR unauthenticated\r\n"),
    ("set x 0 0 2\r\nme\r\n", "CLIENT_ERROR bad authentication token format\r\n"),
    ("set x 0 0 9\r\nme:secret\r\n", "CLIENT_ERROR bad authentication token format\r\n"),
    ("set anything 0 0 9\r\nyou pass2\r\n", "STORED\r\n"),
    ("get anything\r\n", "END\r\n"),
    ("set a 0 0 1\r\n1\r\n", "STORED\r\n"),
    ("incr a 1\r\n", "2\r\n"),
    ("set x 0 0 9\r\nme secret\r\n", "STORED\r\n"),
];

fn talk(port: u16) {
    let mut client = Client::connect(port);
    for (request, reply) in TALK {
        client.ask(request, reply);
    }
    Client::connect(port).ask("get a\r\n", "CLIENT_ERROR unauthenticated\r\n");
}

#[test]
fn a_client_must_say_who_it_is_before_anything_else() {
    let scratch = Scratch::new();
    let users = scratch.file("users", "me:secret\nyou:pass2\n").display().to_string();
    talk(Memcached::with(&["-Y", &users]).port());
    let server = Memcached::start();
    let pool = PoolSpec::memcache(&[server.port()]).set("memcache_auth_file", &users);
    let proxy = Proxy::twinring(pool);
    talk(proxy.port());
    let text = format!("CLIENT_ERROR unauthenticated\r\n{}", "STORED\r\nEND\r\n");
    Client::connect(proxy.port()).ask("mn\r\nset x 0 0 9\r\nme secret\r\nget none\r\n", text);
    let cache = Cache::with_users(&users);
    talk(cache.memcache_port());
}

/// A value too large to be stored takes the place of the old one, but not a stranger's.
#[test]
fn a_stranger_displaces_nothing() {
    let scratch = Scratch::new();
    let users = scratch.file("users", "me:secret\n").display().to_string();
    let cache = Cache::with_users(&users);
    let mut known = cache.memcache();
    known.ask("set x 0 0 9\r\nme secret\r\nset k 0 0 1\r\nx\r\n", "STORED\r\nSTORED\r\n");
    let large = "v".repeat(2 << 20);
    let set = format!("set k 0 0 {}\r\n{large}\r\n", large.len());
    let too_large = "SERVER_ERROR object too large for cache\r\n";
    cache.memcache().ask(&set, too_large);
    let length = 8 + 1 + large.len() as u32;
    let header = [&[0x80, 1, 0, 1, 8, 0, 0, 0][..], &length.to_be_bytes(), &[0; 20], b"k"].concat();
    let mut stranger = cache.memcache();
    stranger.send([&header, large.as_bytes()].concat());
    let reply = stranger.try_take(|bytes| (bytes.len() >= 34).then_some(34)).expect("a reply");
    assert!(reply.ends_with(b"Too large."), "{}", reply.escape_ascii());
    known.ask("get k\r\n", "VALUE k 0 1\r\nx\r\nEND\r\n");
    known.ask(set, too_large);
    known.ask("get k\r\n", "END\r\n");
}
