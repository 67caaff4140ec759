//! Readiness: epoll, level-triggered, with waits of less than a millisecond.
//!
//! Tokens are the callers' own numbers. Shared by the load generator and the storage-less server.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

/// Events taken from the kernel in one call; more wait for the next.
const EVENTS: usize = 512;

/// One socket that has become ready.
#[derive(Clone, Copy)]
pub(crate) struct Ready {
    /// What the socket was added with.
    pub(crate) token: usize,
    /// It can be written to (only told to those that asked).
    pub(crate) writable: bool,
    /// There is something to read, an end or an error included.
    pub(crate) readable: bool,
}

/// An epoll instance.
pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poller {
    /// An empty one.
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, events: Vec::with_capacity(EVENTS) })
    }

    /// Tells from now on when `source` can be read; it leaves when it is closed.
    pub(crate) fn add(&self, source: impl AsFd, token: usize) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token as u64);
        Ok(epoll::add(&self.epoll, source, data, epoll::EventFlags::IN)?)
    }

    /// Whether `stream` is to be told when it can be written to as well.
    pub(crate) fn want_write(&self, stream: &TcpStream, token: usize, on: bool) -> io::Result<()> {
        let mut flags = epoll::EventFlags::IN;
        flags.set(epoll::EventFlags::OUT, on);
        let data = epoll::EventData::new_u64(token as u64);
        Ok(epoll::modify(&self.epoll, stream, data, flags)?)
    }

    /// Waits until something is ready or `limit` has passed (`None`: for ever); how many are ready.
    pub(crate) fn wait(&mut self, limit: Option<Duration>) -> io::Result<usize> {
        let limit = limit.and_then(|d| Timespec::try_from(d).ok());
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), limit.as_ref()) {
            Ok(count) => Ok(count),
            Err(rustix::io::Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// The `index`th of those ready at the last wait.
    pub(crate) fn ready(&self, index: usize) -> Ready {
        let epoll::Event { flags, data } = self.events[index];
        Ready {
            token: data.u64() as usize,
            writable: flags.contains(epoll::EventFlags::OUT),
            readable: flags.intersects(!epoll::EventFlags::OUT),
        }
    }
}
