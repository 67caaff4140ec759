//! What the tests of this folder share: a plane over banks of zeros, and a raw client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::config::{Log as Settings, LogFormat};
use crate::control::answers::{Answers, Shape};
use crate::control::log::Log;
use crate::control::parts::{ControlPlane, HotKey, HotKeys};
use crate::control::reload::Reloader;
use crate::control::serve::serve;
use crate::control::topology::Sources;
use crate::metrics::{Exposition, PoolShape, Registry};
use crate::routing::Board;
use crate::signal::Life;

/// Two workers; pool `app` with server `two`, pool `web` with servers `one` and `10.0.0.2:11212`.
pub(crate) fn registry() -> Arc<Registry> {
    let pool = |name: &str, protocol, servers: &[&str]| PoolShape {
        name: name.to_owned(),
        protocol,
        servers: servers.iter().map(|it| (*it).to_owned()).collect(),
        near_cache: false,
        connections: 1,
    };
    let shape =
        vec![pool("app", "redis", &["two"]), pool("web", "memcache", &["one", "10.0.0.2:11212"])];
    Arc::new(Registry::new(shape, 2))
}

/// A log whose lines nobody reads.
pub(crate) fn log() -> Arc<Log> {
    let settings = Settings { level: "info".to_owned(), format: LogFormat::Logfmt, file: None };
    let (log, subscriber) = Log::over(std::io::sink(), Arc::default(), &settings);
    // As the process's own does, it lives for ever: the level can be changed only as long as it is.
    std::mem::forget(subscriber);
    Arc::new(log)
}

/// One that has nothing to read and puts nothing in force.
pub(crate) fn reloader() -> Arc<Reloader> {
    let text = "{ drain_timeout: 10s, pools: { a: { listen: /run/a.s, servers: ['h:1:1'] } } }";
    let config = crate::config::parse(text, "test", false).unwrap();
    Arc::new(Reloader::new(config, None, |_| Ok(()), Arc::default()))
}

/// Pool `web` has a near cache that is asked for two keys.
fn hot_keys() -> HotKeys {
    let known =
        |key: &[u8], requests, value_bytes| HotKey { key: key.into(), requests, value_bytes };
    Arc::new(move |pool| {
        (pool == "web").then(|| vec![known(b"often", 64, 10), known(b"large\xff", 32, 1000)])
    })
}

pub(crate) fn plane(wake: impl Fn() + Send + Sync + 'static) -> ControlPlane {
    ControlPlane {
        registry: registry(),
        life: Arc::new(Life::default()),
        wake: Arc::new(wake),
        board: board(),
        log: log(),
        reloader: reloader(),
        compat: false,
        upkeep: Box::new(|| ()),
        hot_keys: hot_keys(),
        done: Arc::default(),
        sources: Sources::default(),
    }
}

pub(crate) fn answers(now: fn() -> Instant) -> Arc<Answers> {
    let registry = registry();
    Arc::new(Answers {
        board: board(),
        wake: Arc::new(|| {}),
        exposition: Exposition::new(Arc::clone(&registry)).unwrap(),
        registry,
        sources: Sources::default(),
        life: Arc::new(Life::default()),
        log: log(),
        reloader: reloader(),
        hot_keys: hot_keys(),
        shape: Shape::Twemproxy,
        now,
    })
}

/// Serves a door on a free port.
pub(crate) async fn opened<F>(
    answers: &Arc<Answers>,
    answer: fn(TcpStream, Arc<Answers>) -> F,
) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answers = Arc::clone(answers);
    tokio::spawn(serve(listener, move |stream| answer(stream, Arc::clone(&answers))));
    address
}

/// Sends `request` and reads until the other side closes.
pub(crate) async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply).await;
    String::from_utf8(reply).unwrap()
}

/// No pool has two rings.
fn board() -> Arc<Board> {
    Arc::new(Board::new(2, 1, |_, _| None))
}
