//! A cache of ours without its program: Redis's commands executed for whoever connects, each
//! client on a thread of its own.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use twinring::cache::{After, Cache, Context, Now, redis};
use twinring::metrics::{PoolShape, Registry};
use twinring::protocol::redis::parse;
use twinring::protocol::{Parsed, Request, Rules};
use twinring::storage::{Eviction, Settings, Store, Time};

/// Bytes of the largest value: as in Redis, where nothing is set.
const VALUE_BYTES: usize = 512 << 20;

/// The cache, listening.
pub(crate) struct Executor {
    port: u16,
}

impl Executor {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let cache = Arc::new(cache());
        let clock = Clock::start();
        // Ends with the process: nothing else ever connects to the port.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let cache = Arc::clone(&cache);
                thread::spawn(move || serve(stream, &cache, clock));
            }
        });
        Self { port }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

fn cache() -> Cache {
    let shape = PoolShape { name: "cache".to_owned(), protocol: "redis", servers: Vec::new() };
    let settings = Settings {
        memory: 64 << 20,
        item_max: VALUE_BYTES,
        shards: 4,
        version: 0,
        eviction: Eviction::default(),
    };
    Cache {
        store: Store::new(settings),
        registry: Arc::new(Registry::new(vec![shape], 1)),
        pool: 0,
        value_max: VALUE_BYTES,
    }
}

fn rules() -> Rules {
    Rules {
        compat: false,
        cache: true,
        lenient_lf: false,
        key_bytes: 65_535,
        value_bytes: VALUE_BYTES as u64,
        keys_per_request: 1 << 20,
        args_per_request: 1 << 20,
        line_bytes: 64 << 10,
    }
}

fn serve(mut stream: TcpStream, cache: &Cache, clock: Clock) {
    let (mut input, mut out, mut args) = (Vec::new(), Vec::new(), Vec::new());
    let mut session = redis::Session::default();
    let mut piece = [0; 64 << 10];
    loop {
        let stay = loop {
            match parse(&input, &rules(), &mut args) {
                Parsed::Incomplete { .. } | Parsed::Begun(_) => break true,
                Parsed::Skip { len } => drop(input.drain(..len)),
                Parsed::Refused { len, refusal } if len <= input.len() as u64 => {
                    let refusal = refusal.expect("Redis always answers");
                    redis::refuse(&mut session, &refusal, &mut out);
                    input.drain(..len as usize);
                }
                Parsed::Refused { .. } => break true,
                Parsed::Lost(refusal) => {
                    redis::refuse(&mut session, &refusal, &mut out);
                    break false;
                }
                Parsed::Request(head) => {
                    let counters = &cache.registry.workers[0].pools[0];
                    let context = Context { cache, counters, now: clock.now() };
                    let bytes = &input[..head.len as usize];
                    let request = Request { head: &head, bytes, args: &args };
                    let after = redis::execute(&context, &mut session, request, &mut out);
                    input.drain(..head.len as usize);
                    if after == After::Close {
                        break false;
                    }
                }
            }
        };
        if stream.write_all(&out).is_err() || !stay {
            return;
        }
        out.clear();
        match stream.read(&mut piece) {
            Ok(0) => return,
            Ok(len) => input.extend_from_slice(&piece[..len]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Two clocks that go alike, both begun at once.
#[derive(Clone, Copy)]
struct Clock {
    born: Instant,
    wall_millis: u64,
}

impl Clock {
    fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
        Self { born: Instant::now(), wall_millis: wall.as_millis() as u64 }
    }

    fn now(self) -> Now {
        let millis = self.born.elapsed().as_millis() as u64;
        Now { time: Time::from_millis(millis), wall_millis: self.wall_millis + millis }
    }
}
