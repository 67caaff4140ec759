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
