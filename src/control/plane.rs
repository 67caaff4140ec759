//! What the admin thread holds of the process, and its main function.

use std::convert::Infallible;
use std::future::pending;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

use crate::control::doors::Doors;
use crate::control::http;
use crate::control::log::Log;
use crate::control::reload::{Reloader, watch};
use crate::control::serve::serve;
use crate::control::signals::{Caught, Duty};
use crate::control::stats;
use crate::control::topology::{Desk, Sources};
use crate::metrics::{AdminMetric, Exposition, Registry};
use crate::routing::Board;
use crate::signal::Life;

/// The admin thread's handles on the rest of the process.
pub struct ControlPlane {
    /// Every counter.
    pub registry: Arc<Registry>,
    /// The phase, which only this thread moves to draining.
    pub life: Arc<Life>,
    /// Called after each change of the phase: has listener and workers look at it.
    pub wake: Arc<dyn Fn() + Send + Sync>,
    /// The rings of pools that have two.
    pub board: Arc<Board>,
    /// The process's log; whoever ends the process should hold it to the last.
    pub log: Arc<Log>,
    /// What is in force, and the way to another configuration.
    pub reloader: Arc<Reloader>,
    /// Behave as twemproxy where that differs.
    pub compat: bool,
    /// Called every [`UPKEEP`]: gives back what has expired, counts what is stored.
    pub upkeep: Box<dyn Fn() + Send + Sync>,
    /// The keys of a pool that are asked for most.
    pub hot_keys: HotKeys,
    /// Where servers of pools come from beside the configuration.
    pub sources: Sources,
    /// Rung when the process has done all it was started for: drains it.
    pub done: Arc<Notify>,
}

/// The keys that a near cache is asked for most, those first, by the name of its pool; `None` if
/// that has none.
pub type HotKeys = Arc<dyn Fn(&str) -> Option<Vec<HotKey>> + Send + Sync>;

/// A key that is asked for often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotKey {
    /// The key.
    pub key: Vec<u8>,
    /// Requests for it, lately, about.
    pub requests: u64,
    /// Bytes of its value, when that was last seen.
    pub value_bytes: usize,
}

/// How often stored items are looked after: expired bytes are free again within the second.
const UPKEEP: Duration = Duration::from_millis(100);

/// What the answers of HTTP and statistics are made of.
pub(crate) struct Answers {
    pub(crate) registry: Arc<Registry>,
    pub(crate) life: Arc<Life>,
    pub(crate) log: Arc<Log>,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) board: Arc<Board>,
    /// Has the workers look at the board.
    pub(crate) wake: Arc<dyn Fn() + Send + Sync>,
    pub(crate) exposition: Exposition,
    pub(crate) hot_keys: HotKeys,
    /// Of each source of servers.
    pub(crate) desks: Vec<Arc<Desk>>,
    /// The shape of the statistics port's answer.
    pub(crate) shape: stats::Shape,
    /// The clock; tests turn it forward.
    pub(crate) now: fn() -> Instant,
}

/// Serves the doors and obeys signals until the process is to end. Returns its exit code: 0 after
/// a drain, complete or timed out; 1 if a second signal cut it short, or on INT in compat;
/// [`crate::control::FAULT`] on SEGV there, of which the process should then die.
///
/// To be run on the runtime on which `doors` were opened. If the exposition cannot be set up
/// (a mistake in the table of metrics), the process goes on without HTTP and statistics.
pub async fn run(doors: Doors, mut plane: ControlPlane) -> u8 {
    let Doors { admin, stats, mut signals } = doors;
    match Answers::new(&plane) {
        Ok(answers) => {
            let answers = Arc::new(answers);
            tokio::spawn(open(admin, Arc::clone(&answers), http::answer));
            tokio::spawn(open(stats, answers, stats::answer));
        }
        Err(error) => tracing::error!(%error, "admin and statistics are off"),
    }
    mem::take(&mut plane.sources).follow(&plane.reloader, &plane.board);
    let duty = Duty::new(&plane);
    let end = duty.until_end(async || {
        tokio::select! {
            caught = signals.next() => caught,
            () = plane.done.notified() => Caught::done(),
        }
    });
    tokio::select! {
        code = end => code,
        never = look_after(&plane) => match never {},
        never = watch(&plane.reloader) => match never {},
    }
}

/// Looks after what is stored, for ever.
async fn look_after(plane: &ControlPlane) -> Infallible {
    let mut ticks = interval(UPKEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        (plane.upkeep)();
    }
}

/// Serves a door, if there is one.
async fn open<F>(
    listener: Option<TcpListener>,
    answers: Arc<Answers>,
    answer: fn(tokio::net::TcpStream, Arc<Answers>) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    match listener {
        Some(listener) => serve(listener, |stream| answer(stream, Arc::clone(&answers))).await,
        None => pending().await,
    }
}

impl Answers {
    fn new(plane: &ControlPlane) -> Result<Self, impl std::error::Error + use<>> {
        let shape = if plane.compat { stats::Shape::Twemproxy } else { stats::Shape::Full };
        Exposition::new(Arc::clone(&plane.registry)).map(|exposition| Self {
            registry: Arc::clone(&plane.registry),
            life: Arc::clone(&plane.life),
            log: Arc::clone(&plane.log),
            reloader: Arc::clone(&plane.reloader),
            board: Arc::clone(&plane.board),
            wake: Arc::clone(&plane.wake),
            exposition,
            hot_keys: Arc::clone(&plane.hot_keys),
            desks: plane.sources.desks().to_vec(),
            shape,
            now: Instant::now,
        })
    }

    /// Brings the counters that this thread keeps for others up to date. To be called before the
    /// registry is shown.
    pub(crate) fn refresh(&self) {
        self.registry.admin.set(AdminMetric::LogDropped, self.log.dropped());
        self.desks.iter().for_each(|desk| desk.refresh());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::{Config, Log, LogFormat};
    use crate::control::testing::{exchange, plane};
    use crate::control::{Doors, run};

    fn config() -> Config {
        Config {
            workers: 2,
            compat: false,
            admin: Some("127.0.0.1:0".to_owned()),
            stats: Some("127.0.0.1:0".to_owned()),
            log: Log { level: "info".to_owned(), format: LogFormat::Logfmt, file: None },
            watch: false,
            drain_timeout: Duration::ZERO,
            buffers: 0,
            pools: Vec::new(),
            warnings: Vec::new(),
        }
    }

    #[tokio::test]
    async fn both_doors_answer_while_the_plane_runs() {
        let doors = Doors::open(&config()).unwrap();
        let (admin, stats) = (doors.admin_addr().unwrap(), doors.stats_addr().unwrap());
        let asking = async {
            let live = exchange(admin, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
            assert!(live.starts_with("HTTP/1.1 200 "), "{live}");
            let stats = exchange(stats, b"").await;
            assert!(stats.starts_with("{\"service\":\"twinring\"") && stats.ends_with("}\n"));
        };
        tokio::select! {
            code = run(doors, plane(|| ())) => panic!("ended with {code}"),
            () = asking => {}
        }
    }
}
