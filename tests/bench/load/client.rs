//! One client: a connection, the requests it has sent, and whose turn is next.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};

use socket2::{Domain, Protocol, Socket, Type};

use crate::load::exchange::{Pending, Recipe, Reply};
use crate::poller::Poller;
use crate::wire::{Target, Wire};

/// A connection to the proxy.
pub(crate) struct Client {
    wire: Wire,
    token: usize,
    pending: VecDeque<Pending>,
    blocked: bool,
}

impl Client {
    /// Starts to connect without waiting for it; `room` is the size of the input in bytes, at
    /// first.
    pub(crate) fn open(
        target: &Target,
        room: usize,
        poller: &Poller,
        token: usize,
    ) -> io::Result<Self> {
        let stream = connect(target.port)?;
        poller.add(&stream, token)?;
        let wire = Wire::new(stream, target.secure()?, room);
        Ok(Self { wire, token, pending: VecDeque::new(), blocked: false })
    }

    /// Whether it waits for no reply.
    pub(crate) fn is_free(&self) -> bool {
        self.pending.is_empty()
    }

    /// Sends `count` requests in one write; they were due at `due_ns`.
    pub(crate) fn ask(
        &mut self,
        recipe: &mut Recipe,
        count: usize,
        due_ns: u64,
        poller: &Poller,
    ) -> io::Result<()> {
        for _ in 0..count {
            let pending = recipe.draw(&mut self.wire.output, due_ns);
            self.pending.push_back(pending);
        }
        self.write(poller)
    }

    /// Writes what waits, and asks to be told when the rest can be written.
    pub(crate) fn write(&mut self, poller: &Poller) -> io::Result<()> {
        let blocked = !self.wire.flush()?;
        if blocked != self.blocked {
            self.blocked = blocked;
            poller.want_write(&self.wire.stream, self.token, blocked)?;
        }
        Ok(())
    }

    /// Reads once.
    pub(crate) fn read(&mut self) -> io::Result<bool> {
        self.wire.fill()
    }

    /// The next complete reply among what was read.
    ///
    /// # Errors
    /// `InvalidData` when there are bytes but no request waits for them.
    pub(crate) fn next_reply(&mut self, recipe: &Recipe) -> io::Result<Option<(Pending, Reply)>> {
        let Some(pending) = self.pending.front() else {
            let stray = !self.wire.unread().is_empty();
            return if stray { Err(io::ErrorKind::InvalidData.into()) } else { Ok(None) };
        };
        let Some(reply) = recipe.check(self.wire.unread(), pending) else { return Ok(None) };
        Ok(self.pending.pop_front().map(|pending| (pending, reply)))
    }

    /// Drops a reply that was looked at.
    pub(crate) fn consume(&mut self, reply: Reply) {
        self.wire.consume(reply.bytes);
    }

    /// The start of the unread input, for messages.
    pub(crate) fn excerpt(&self) -> String {
        let unread = self.wire.unread();
        String::from_utf8_lossy(&unread[..unread.len().min(80)]).escape_debug().to_string()
    }
}

/// A non-blocking connection that may not be established yet; its writes leave at once.
fn connect(port: u16) -> io::Result<TcpStream> {
    /// EINPROGRESS of Linux, which `io::ErrorKind` has no stable name for.
    const IN_PROGRESS: i32 = 115;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    let address = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(IN_PROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}
