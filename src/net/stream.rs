//! One connected socket, whatever its family, and its options.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Idle time before the kernel asks whether a server is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);

/// Time between its questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// How long the kernel waits for an acknowledgement before it gives a server connection up; on an
/// idle one it looks when it would ask again, so that a dead peer is noticed within 30 s (faults
/// F04).
const USER_TIMEOUT: Duration = Duration::from_secs(20);

/// A connected socket registered with the runtime of its thread.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// Sets what every server connection has: no delay, keepalive, a limit on silence.
    pub(crate) fn tune_server(&self) -> io::Result<()> {
        let Self::Tcp(tcp) = self else { return Ok(()) };
        tcp.set_nodelay(true)?;
        let socket = SockRef::from(tcp);
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        let keepalive = TcpKeepalive::new();
        let keepalive = keepalive.with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
        socket.set_tcp_keepalive(&keepalive)
    }

    /// The address of the other end, if it has one.
    pub fn peer(&self) -> Option<IpAddr> {
        let Self::Tcp(tcp) = self else { return None };
        tcp.peer_addr().ok().map(|address| address.ip())
    }

    /// Tells the peer that nothing more will come; what it sends can still be read.
    pub(crate) fn finish(&self) -> io::Result<()> {
        let socket = match self {
            Self::Tcp(s) => SockRef::from(s),
            Self::Unix(s) => SockRef::from(s),
        };
        socket.shutdown(std::net::Shutdown::Write)
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Self::Unix(s) => Pin::new(s).poll_read(cx, buf),
        }
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match (self, parts) {
            (Self::Tcp(s), [one]) => Pin::new(s).poll_write(cx, one),
            (Self::Tcp(s), _) => Pin::new(s).poll_write_vectored(cx, parts),
            (Self::Unix(s), [one]) => Pin::new(s).poll_write(cx, one),
            (Self::Unix(s), _) => Pin::new(s).poll_write_vectored(cx, parts),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Self::poll_read(self.get_mut(), cx, buf)
    }
}
