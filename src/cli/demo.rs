//! `twinring demo`: the main job, on cache servers started for the occasion.
//!
//! Starts three memcached and three redis-server on free loopback ports, a pool in front of each
//! kind, says what to try, and serves until it is interrupted; the servers end with it.

use std::fmt::Write;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{FAILED, complain, print, run};
use crate::config;

/// Servers of each kind.
const SERVERS: usize = 3;

/// Where the pools listen if they can: memcache, Redis, admin.
const PORTS: [u16; 3] = [22121, 22122, 9900];

/// How long a server may take to come up.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server that ends with us.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Either it is gone already, or it goes now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the demonstration; the exit code.
pub(super) fn run() -> u8 {
    match prepare() {
        Ok((servers, text)) => {
            let parsed = config::parse(&text, "demo", false);
            let code = parsed.map_or_else(
                |errors| {
                    complain(&format!("{errors}\n"));
                    FAILED
                },
                run::serve_config,
            );
            drop(servers);
            code
        }
        Err(error) => {
            complain(&format!("twinring demo: {error}\n"));
            FAILED
        }
    }
}

/// Starts the servers and writes the configuration over them.
fn prepare() -> io::Result<(Vec<Server>, String)> {
    let ports: Vec<u16> = PORTS.iter().map(|&port| free_port(port)).collect::<io::Result<_>>()?;
    let memcached: Vec<Server> = start_all("memcached", |port| {
        let args = ["-l", "127.0.0.1", "-U", "0", "-m", "64", "-u", "root", "-p"];
        args.into_iter().map(str::to_owned).chain([port.to_string()]).collect()
    })?;
    let redis: Vec<Server> = start_all("redis-server", |port| {
        let args = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"];
        args.into_iter().map(str::to_owned).chain([port.to_string()]).collect()
    })?;
    let mut text = format!("admin: {{ listen: 127.0.0.1:{} }}\npools:\n", ports[2]);
    write_pool(&mut text, ("memcache", ports[0]), &memcached);
    write_pool(&mut text, ("redis", ports[1]), &redis);
    introduce(&ports, &memcached, &redis);
    Ok((memcached.into_iter().chain(redis).collect(), text))
}

fn start_all(program: &str, args: impl Fn(u16) -> Vec<String>) -> io::Result<Vec<Server>> {
    let mut servers = Vec::new();
    for _ in 0..SERVERS {
        let port = free_port(0)?;
        let child = Command::new(program)
            .args(args(port))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("cannot start {program}: {e}")))?;
        servers.push(Server { child, port });
    }
    for server in &mut servers {
        wait_for(program, server)?;
    }
    Ok(servers)
}

fn wait_for(program: &str, server: &mut Server) -> io::Result<()> {
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", server.port)).is_err() {
        if server.child.try_wait()?.is_some() || begun.elapsed() > PATIENCE {
            return Err(io::Error::other(format!("{program} does not come up")));
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// `wanted` if nobody has it, otherwise any port.
fn free_port(wanted: u16) -> io::Result<u16> {
    TcpListener::bind(("127.0.0.1", wanted))
        .or_else(|_| TcpListener::bind(("127.0.0.1", 0)))?
        .local_addr()
        .map(|address| address.port())
}

fn write_pool(text: &mut String, (protocol, port): (&str, u16), servers: &[Server]) {
    let _ = writeln!(text, "  {protocol}:\n    listen: 127.0.0.1:{port}");
    let _ = writeln!(text, "    protocol: {protocol}\n    servers:");
    for (number, server) in servers.iter().enumerate() {
        let _ = writeln!(text, "      - 127.0.0.1:{}:1 {protocol}{}", server.port, number + 1);
    }
}

fn introduce(ports: &[u16], memcached: &[Server], redis: &[Server]) {
    let list = |servers: &[Server]| {
        let ports: Vec<String> = servers.iter().map(|server| server.port.to_string()).collect();
        ports.join(", ")
    };
    print(&format!(
        "Started memcached on ports {} and redis-server on ports {} of 127.0.0.1.\n\
         In front of them: a memcache pool on port {mc}, a Redis pool on port {redis_port}.\n\n\
         Try, in another terminal:\n\
         \x20 printf 'set hello 0 0 5\\r\\nworld\\r\\nget hello\\r\\nquit\\r\\n' | nc 127.0.0.1 {mc}\n\
         \x20 redis-cli -p {redis_port} mset a 1 b 2 c 3\n\
         \x20 redis-cli -p {redis_port} mget a b c\n\
         \x20 curl -s http://127.0.0.1:{admin}/metrics | grep backend_requests_total\n\n\
         Ctrl-C ends everything.\n",
        list(memcached),
        list(redis),
        mc = ports[0],
        redis_port = ports[1],
        admin = ports[2],
    ));
}
