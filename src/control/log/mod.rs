//! The log: lines are formatted where they arise and written by a thread of their own.
//!
//! ```text
//!  any thread ─▶ level ─▶ Line (one line of text) ─▶ bounded queue ─▶ writer thread ─▶ Sink
//!                                                     └ full: dropped and counted
//! ```
//! No caller ever waits for the disk or for whoever reads our standard error.

mod line;
mod sink;

use std::io::{self, Write};
use std::sync::Arc;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, fmt, reload};

use crate::config::{Log as Settings, LogFormat};
use crate::control::log::line::Line;
use crate::control::log::sink::{Sink, Steering};

/// Lines that may wait for the writer thread; the queue's slots are allocated at once, and a
/// sidecar should not spend megabytes on them. Further lines are dropped and counted.
const QUEUE_LINES: usize = 8192;

/// Levels from quiet to loud, as TTIN and TTOU step through them.
const LEVELS: [LevelFilter; 5] = [
    LevelFilter::ERROR,
    LevelFilter::WARN,
    LevelFilter::INFO,
    LevelFilter::DEBUG,
    LevelFilter::TRACE,
];

/// The handle of the running log. Dropping it writes what is queued, for a second at most; so it
/// must live until the process ends.
pub struct Log {
    level: reload::Handle<LevelFilter, Registry>,
    queue: NonBlocking,
    dropped: ErrorCounter,
    steering: Arc<Steering>,
    _writer: WorkerGuard,
}

impl Log {
    /// Opens the log and makes it the process's.
    ///
    /// # Errors
    /// The file cannot be opened; or the process already has a log.
    pub fn install(settings: &Settings) -> io::Result<Self> {
        let (log, subscriber) = Self::open(settings)?;
        tracing::subscriber::set_global_default(subscriber)
            .map_err(|error: SetGlobalDefaultError| io::Error::other(error))?;
        Ok(log)
    }

    /// Opens the log without making it the process's.
    fn open(settings: &Settings) -> io::Result<(Self, impl Subscriber + Send + Sync + use<>)> {
        let steering = Arc::new(Steering::default());
        let sink = Sink::open(settings.file.clone(), Arc::clone(&steering))?;
        Ok(Self::over(sink, steering, settings))
    }

    /// The log over any writer.
    pub(crate) fn over<W: Write + Send + 'static>(
        writer: W,
        steering: Arc<Steering>,
        settings: &Settings,
    ) -> (Self, impl Subscriber + Send + Sync + use<W>) {
        let (queue, guard) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(QUEUE_LINES)
            .thread_name("log")
            .finish(writer);
        let level = settings.level.parse().unwrap_or(LevelFilter::INFO);
        let (filter, handle) = reload::Layer::new(level);
        let json = settings.format == LogFormat::Json;
        let lines = fmt::layer().event_format(Line { json }).with_writer(queue.clone());
        let subscriber = tracing_subscriber::registry().with(filter).with(lines);
        let dropped = queue.error_counter();
        (Self { level: handle, queue, dropped, steering, _writer: guard }, subscriber)
    }

    /// One level louder; `None` if it is as loud as can be.
    pub fn louder(&self) -> Option<LevelFilter> {
        self.step(|index| index.checked_add(1))
    }

    /// One level quieter; `None` if only errors are left.
    pub fn quieter(&self) -> Option<LevelFilter> {
        self.step(|index| index.checked_sub(1))
    }

    /// Lets through what `level` (as in [`Settings`]) does from now on.
    pub fn set_level(&self, level: &str) {
        if let Ok(level) = level.parse::<LevelFilter>() {
            // It fails only once the log has gone.
            let _ = self.level.reload(level);
        }
    }

    /// The level now.
    pub fn level(&self) -> LevelFilter {
        self.level.clone_current().unwrap_or(LevelFilter::INFO)
    }

    /// Has the writer thread open the file anew (after rotation), even if no line comes.
    pub fn reopen(&self) {
        self.steering.ask_reopen();
        // An empty line wakes the writer thread and writes nothing.
        let _ = self.queue.clone().write(b"");
    }

    /// Lines lost so far: the queue was full, or writing failed.
    pub fn dropped(&self) -> u64 {
        self.dropped.dropped_lines() as u64 + self.steering.failed()
    }

    fn step(&self, next: impl Fn(usize) -> Option<usize>) -> Option<LevelFilter> {
        let now = LEVELS.iter().position(|level| *level == self.level())?;
        let level = *LEVELS.get(next(now)?)?;
        self.level.reload(level).ok().map(|()| level)
    }
}

/// The level that twemproxy's verbosity 0..=11 means here. Its default 5 (notice) shows what our
/// `info` does; from 8 on its levels are ever finer traces.
pub fn level_of_verbosity(verbosity: u8) -> &'static str {
    match verbosity {
        0..=3 => "error",
        4 => "warn",
        5..=6 => "info",
        7 => "debug",
        _ => "trace",
    }
}

#[cfg(test)]
mod tests;
