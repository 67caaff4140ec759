//! SIGSEGV sent by somebody, which twemproxy logs before it dies of it (nc_signal.c:73-81).
//!
//! ```text
//!  hold: blocked in every thread ─▶ read from a descriptor (signalfd(2)) ─▶ logged ─▶ die
//! ```
//! So no handler is needed, which could do next to nothing safely. A real fault is not held back:
//! the kernel ends a process that faults while the signal is blocked.

use std::io;
use std::task::{Context, Poll, ready};

use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::unix::AsyncFd;

/// Holds the signal back in this thread and in those that it will start.
///
/// # Errors
/// The kernel refuses.
pub fn hold_faults() -> io::Result<()> {
    Ok(set().thread_block()?)
}

/// Dies of the signal, once whatever had to be done has been done.
pub fn die_of_fault() {
    // An error leaves the process alive, and the caller with an exit code to end it.
    let _ = set().thread_unblock();
    // The language's own handler, which finds overflown stacks, takes the first one and steps
    // aside; the second one finds the default.
    let _ = raise(Signal::SIGSEGV);
    let _ = raise(Signal::SIGSEGV);
}

/// The signals that have been held back.
#[derive(Debug)]
pub(super) struct Faults(AsyncFd<SignalFd>);

impl Faults {
    /// To be called within the runtime that will wait for them.
    #[expect(deprecated, reason = "its successor is unsafe; this descriptor is never replaced")]
    pub(super) fn open() -> io::Result<Self> {
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        AsyncFd::new(SignalFd::with_flags(&set(), flags)?).map(Self)
    }

    /// Ready when one has come.
    pub(super) fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let Ok(mut readable) = ready!(self.0.poll_read_ready(context)) else {
                // Without a reactor nothing else works either.
                return Poll::Pending;
            };
            if let Ok(Some(_)) = self.0.get_ref().read_signal() {
                return Poll::Ready(());
            }
            readable.clear_ready();
        }
    }
}

fn set() -> SigSet {
    SigSet::from(Signal::SIGSEGV)
}
