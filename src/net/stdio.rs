//! Standard input and output as one client, for pipes, inetd and scripts.
//!
//! ```text
//!  standard input ─▶ thread ─▶ socket pair ─▶ session
//!  standard output ◀─ thread ◀─ socket pair ◀─┘
//! ```
//! Both may be files, terminals, pipes or sockets, not all of which epoll takes; so two threads
//! copy them to and from a socket pair, whose other end is a client like any other.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use super::listen::Accepted;

/// The outer end of the pair.
#[derive(Debug)]
pub struct Stdio {
    input: UnixStream,
    output: UnixStream,
}

impl Stdio {
    /// The client, and what copies for it.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open() -> io::Result<(Accepted, Self)> {
        let (inner, outer) = UnixStream::pair()?;
        inner.set_nonblocking(true)?;
        let input = outer.try_clone()?;
        Ok((Accepted::Unix(inner), Self { input, output: outer }))
    }

    /// The two loops, each to be run on a thread of its own: the first copies what comes in until
    /// there is no more, the second what goes out until the session has ended.
    pub fn copiers(self) -> (impl FnOnce() + Send, impl FnOnce() + Send) {
        let Self { mut input, mut output } = self;
        let read = move || {
            // A failed copy is a client that has gone: the session sees the end either way.
            let _ = io::copy(&mut io::stdin().lock(), &mut input);
            let _ = input.shutdown(Shutdown::Write);
        };
        let write = move || {
            let _ = io::copy(&mut output, &mut io::stdout().lock());
            let _ = io::Write::flush(&mut io::stdout());
        };
        (read, write)
    }
}
