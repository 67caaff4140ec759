//! One connected socket, whatever its family, and its options.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::listen::Accepted;
use super::tls::{Secured, Session};

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
    /// TCP, with TLS.
    Tls(Box<(TcpStream, Session)>),
}

impl Stream {
    /// A client that has been accepted, registered with the runtime of this thread.
    ///
    /// # Errors
    /// The operating system's.
    pub fn of(accepted: Accepted) -> io::Result<Self> {
        Ok(match accepted {
            Accepted::Tcp(tcp) => Self::Tcp(TcpStream::from_std(tcp)?),
            Accepted::Unix(unix) => Self::Unix(UnixStream::from_std(unix)?),
            Accepted::Secured(secured) => {
                let Secured { socket, session } = *secured;
                Self::Tls(Box::new((TcpStream::from_std(socket)?, session)))
            }
        })
    }

    /// Sets what every server connection has: no delay, keepalive, a limit on silence.
    pub(crate) fn tune_server(&self) -> io::Result<()> {
        let Some(tcp) = self.tcp() else { return Ok(()) };
        tcp.set_nodelay(true)?;
        let socket = SockRef::from(tcp);
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        let keepalive = TcpKeepalive::new();
        let keepalive = keepalive.with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
        socket.set_tcp_keepalive(&keepalive)
    }

    /// The address of the other end, if it has one.
    pub fn peer(&self) -> Option<IpAddr> {
        self.tcp()?.peer_addr().ok().map(|address| address.ip())
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(tcp) => Some(tcp),
            Self::Tls(tls) => Some(&tls.0),
            Self::Unix(_) => None,
        }
    }

    /// Tells the peer that nothing more will come; what it sends can still be read.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if let Self::Tls(tls) = self {
            let (socket, session) = &mut **tls;
            session.finish(socket);
        }
        let socket = match &*self {
            Self::Tcp(s) => SockRef::from(s),
            Self::Unix(s) => SockRef::from(s),
            Self::Tls(s) => SockRef::from(&s.0),
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
            Self::Tls(tls) => {
                let (socket, session) = &mut **tls;
                session.poll_read(socket, cx, buf)
            }
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
            (Self::Tls(tls), _) => {
                let (socket, session) = &mut **tls;
                session.poll_write(socket, cx, parts)
            }
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
