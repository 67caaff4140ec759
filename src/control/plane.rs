//! The admin thread's main function.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval};

use crate::control::answers::Answers;
use crate::control::doors::Doors;
use crate::control::http;
use crate::control::parts::{ControlPlane, UPKEEP};
use crate::control::reload::watch;
use crate::control::serve::serve;
use crate::control::signals::{Caught, Duty};
use crate::control::stats;

/// Serves the doors and obeys signals until the process is to end. Returns its exit code: 0 after
/// a drain, complete or timed out; 1 if a second signal cut it short, or on INT in compat;
/// [`crate::control::FAULT`] on SEGV there, of which the process should then die.
///
/// To be run on the runtime on which `doors` were opened. If the exposition cannot be set up
/// (a mistake in the table of metrics), the process goes on without HTTP and statistics.
pub async fn run(doors: Doors, plane: ControlPlane) -> u8 {
    let Doors { admin, stats, mut signals } = doors;
    match Answers::new(&plane) {
        Ok(answers) => {
            let answers = Arc::new(answers);
            tokio::spawn(open(admin, Arc::clone(&answers), http::answer));
            tokio::spawn(open(stats, answers, stats::answer));
        }
        Err(error) => tracing::error!(%error, "admin and statistics are off"),
    }
    follow_sources(&plane);
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

/// What sources say is put in force from now on, as what they have said before.
fn follow_sources(plane: &ControlPlane) {
    let reloader = Arc::clone(&plane.reloader);
    for (pool, given) in plane.sources.said() {
        reloader.keep(&pool, given);
    }
    let current = reloader.current();
    let apply = move |pool: &str, given| {
        reloader.give(pool, given).map(drop).map_err(|refused| refused.to_string())
    };
    let (board, registry) = (Arc::clone(&plane.board), Arc::clone(&plane.registry));
    plane.sources.follow(&current, apply, (board, registry));
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
