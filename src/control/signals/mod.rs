//! OS signals: which are caught, and what becomes of them.
//!
//! ```text
//!  native:  TERM INT QUIT ─▶ drain ─▶ (no client left, or drain_timeout) ─▶ exit 0
//!                              └ another one of them ─▶ exit 1 at once
//!  compat:  INT ─▶ exit 1 at once; TERM keeps its default and kills; SEGV kills once logged,
//!           with the stack
//!  native:  HUP reopens the log and reads the configuration again
//!  compat:  HUP reopens the log
//!  both:    TTIN, TTOU step its level; USR2 (compat: USR1 too) only logged
//! ```

mod fault;
mod trace;

pub use fault::{die_of_fault, hold_faults};

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::level_filters::LevelFilter;

use crate::control::parts::ControlPlane;
use crate::control::signals::fault::Faults;
use crate::metrics::WorkerMetric;
use crate::signal::Phase;

/// SIGTTIN and SIGTTOU, for which tokio has no constructor; the same numbers on every unix.
const TTIN: i32 = 21;
const TTOU: i32 = 22;

/// The exit code of a process that dies of SIGSEGV, as shells write it (128 and the signal).
pub const FAULT: u8 = 128 + 11;

/// How often a drain looks whether clients are left.
const DRAIN_POLL: Duration = Duration::from_millis(50);
/// Looks in a row that must find nobody: a socket on its way from the listener to a worker is
/// counted by neither for a moment.
const DRAIN_LOOKS: u32 = 2;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Drain,
    Exit,
    Crash,
    Reopen,
    Reload,
    Louder,
    Quieter,
    Nothing,
}

/// A signal that was caught.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caught {
    number: i32,
    name: &'static str,
    order: Order,
}

impl Caught {
    /// No signal: there is nothing left to do.
    pub(crate) fn done() -> Self {
        Self { number: 0, name: "done", order: Order::Drain }
    }
}

/// The signals that the process catches.
pub(crate) struct Signals {
    caught: Vec<(Signal, Caught)>,
    faults: Option<Faults>,
}

impl Signals {
    /// Catches them from now on. In compat faults must have been held back ([`hold_faults`]).
    pub(crate) fn catch(compat: bool) -> io::Result<Self> {
        let caught = signals_of(compat).into_iter().map(|(kind, name, order)| {
            let number = kind.as_raw_value();
            signal(kind).map(|stream| (stream, Caught { number, name, order }))
        });
        Ok(Self {
            caught: caught.collect::<io::Result<_>>()?,
            faults: compat.then(Faults::open).transpose()?,
        })
    }

    /// The next one that comes.
    pub(crate) async fn next(&mut self) -> Caught {
        poll_fn(|context| {
            for (stream, caught) in &mut self.caught {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(*caught);
                }
            }
            if self.faults.as_mut().is_some_and(|faults| faults.poll_recv(context).is_ready()) {
                return Poll::Ready(Caught { number: 11, name: "SIGSEGV", order: Order::Crash });
            }
            Poll::Pending
        })
        .await
    }
}

/// Every signal caught and what it asks for. PIPE needs no row: the runtime of the language
/// ignores it already.
fn signals_of(compat: bool) -> Vec<(SignalKind, &'static str, Order)> {
    let own = |native, twemproxy| if compat { twemproxy } else { native };
    let mut rows = vec![
        (SignalKind::interrupt(), "SIGINT", own(Order::Drain, Order::Exit)),
        (SignalKind::hangup(), "SIGHUP", own(Order::Reload, Order::Reopen)),
        (SignalKind::user_defined1(), "SIGUSR1", own(Order::Reopen, Order::Nothing)),
        (SignalKind::user_defined2(), "SIGUSR2", Order::Nothing),
        (SignalKind::from_raw(TTIN), "SIGTTIN", Order::Louder),
        (SignalKind::from_raw(TTOU), "SIGTTOU", Order::Quieter),
    ];
    if !compat {
        rows.push((SignalKind::terminate(), "SIGTERM", Order::Drain));
        rows.push((SignalKind::quit(), "SIGQUIT", Order::Drain));
    }
    rows
}

/// Obeys signals on behalf of the process.
pub(crate) struct Duty<'a>(&'a ControlPlane);

impl<'a> Duty<'a> {
    pub(crate) fn new(plane: &'a ControlPlane) -> Self {
        Self(plane)
    }

    /// Obeys what `next` brings until the process is to end; returns the exit code.
    pub(crate) async fn until_end(&self, mut next: impl AsyncFnMut() -> Caught) -> u8 {
        loop {
            match self.obey(next().await) {
                Order::Drain => return self.drain(next).await,
                Order::Exit => return 1,
                Order::Crash => return FAULT,
                _ => {}
            }
        }
    }

    /// Has the process finish its work; other signals are obeyed meanwhile.
    async fn drain(&self, mut next: impl AsyncFnMut() -> Caught) -> u8 {
        self.0.life.advance(Phase::Draining);
        (self.0.wake)();
        let mut drained = Box::pin(self.drained());
        loop {
            tokio::select! {
                () = &mut drained => return 0,
                caught = next() => {
                    if matches!(self.obey(caught), Order::Drain | Order::Exit) {
                        tracing::warn!(clients = self.clients(), "drain cut short");
                        return 1;
                    }
                }
            }
        }
    }

    /// Waits until no client is left, or until time is up.
    async fn drained(&self) {
        let begun = Instant::now();
        let idle = async {
            let mut looks = 0;
            while looks < DRAIN_LOOKS {
                sleep(DRAIN_POLL).await;
                looks = if self.clients() == 0 { looks + 1 } else { 0 };
            }
        };
        let limit = self.0.reloader.current().drain_timeout;
        let took_ms = || begun.elapsed().as_millis() as u64;
        match timeout_at(begun + limit, idle).await {
            Ok(()) => tracing::info!(took_ms = took_ms(), "drained"),
            Err(_) => {
                tracing::warn!(clients = self.clients(), took_ms = took_ms(), "drain timeout")
            }
        }
    }

    fn clients(&self) -> u64 {
        self.0.registry.total(WorkerMetric::Connections)
    }

    /// Logs the signal in twemproxy's words (nc_signal.c), behind the stack if it is fatal, does at
    /// once what can be done at once,
    /// and returns what was asked for.
    fn obey(&self, caught: Caught) -> Order {
        let Caught { number, name, order } = caught;
        if order == Order::Crash {
            for frame in trace::stack() {
                tracing::info!("{frame}");
            }
        }
        match number {
            0 => tracing::info!("{name}{}", tail(order)),
            _ => tracing::info!("signal {number} ({name}) received{}", tail(order)),
        }
        match order {
            Order::Reopen => self.0.log.reopen(),
            Order::Reload => self.reload(),
            Order::Louder => told("up", self.0.log.louder()),
            Order::Quieter => told("down", self.0.log.quieter()),
            Order::Drain | Order::Exit | Order::Crash | Order::Nothing => {}
        }
        order
    }
}

impl Duty<'_> {
    fn reload(&self) {
        self.0.log.reopen();
        if self.0.reloader.source().is_some() {
            let reloader = Arc::clone(&self.0.reloader);
            // Beside the signals: a new source may take its time. The log is told how it went.
            tokio::spawn(async move { reloader.reload("signal").await });
        }
    }
}

fn told(direction: &str, level: Option<LevelFilter>) {
    if let Some(level) = level {
        tracing::info!("{direction} log level to {level}");
    }
}

/// What twemproxy says behind "received"; draining is ours.
fn tail(order: Order) -> &'static str {
    match order {
        Order::Drain => ", draining",
        Order::Exit => ", exiting",
        Order::Crash => ", core dumping",
        Order::Reopen | Order::Reload => ", reopening log file",
        Order::Louder => ", up logging level",
        Order::Quieter => ", down logging level",
        Order::Nothing => "",
    }
}

#[cfg(test)]
mod tests;
