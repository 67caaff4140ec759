//! Records and bytes, once the handshake is made. Holds no socket: it is given one to poll.

use std::io::{self, BufRead, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::rustls::Connection;

/// A client whose handshake is made, and that belongs to no runtime.
#[derive(Debug)]
pub struct Secured {
    pub(in crate::net) socket: std::net::TcpStream,
    pub(in crate::net) session: Session,
}

/// One side of a TLS connection.
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    /// Bytes that were offered and are in records by now, of which the socket has not taken all.
    taken: usize,
}

impl Session {
    pub(super) const fn new(connection: Connection) -> Self {
        Self { connection, taken: 0 }
    }

    /// Appends what has come in to `into`; nothing if the peer has closed its side.
    pub(in crate::net) fn poll_read(
        &mut self,
        socket: &mut TcpStream,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.connection.reader().fill_buf() {
                Ok(bytes) => {
                    let count = bytes.len().min(into.remaining());
                    into.put_slice(&bytes[..count]);
                    self.connection.reader().consume(count);
                    return Poll::Ready(Ok(()));
                }
                // Requests and replies say how long they are: a missing goodbye cuts none short.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                Err(_) => {}
            }
            match self.connection.read_tls(&mut Polled { socket, cx }) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Tickets, new keys: what the protocol itself has to say.
                    return match self.poll_flush(socket, cx) {
                        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                        _ => Poll::Pending,
                    };
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
            if let Err(error) = self.connection.process_new_packets() {
                // The peer is told, if it listens.
                let _ = self.poll_flush(socket, cx);
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        }
    }

    /// Takes bytes from the front of `parts`, and says so only once the socket has taken all of
    /// their records. Until then the same bytes must be offered again, more may follow them.
    pub(in crate::net) fn poll_write(
        &mut self,
        socket: &mut TcpStream,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.taken == 0 {
            std::task::ready!(self.poll_flush(socket, cx))?;
            for part in parts {
                let count = self.connection.writer().write(part)?;
                self.taken += count;
                if count < part.len() {
                    break;
                }
            }
        }
        std::task::ready!(self.poll_flush(socket, cx))?;
        Poll::Ready(Ok(std::mem::take(&mut self.taken)))
    }

    /// Says goodbye, as far as the socket takes it.
    pub(in crate::net) fn finish(&mut self, socket: &mut TcpStream) {
        self.connection.send_close_notify();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let _ = self.poll_flush(socket, &mut cx);
    }

    fn poll_flush(&mut self, socket: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Polled { socket, cx }) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// A socket as rustls wants it: "not now" is an error.
struct Polled<'a, 'c> {
    socket: &'a mut TcpStream,
    cx: &'a mut Context<'c>,
}

fn now<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Read for Polled<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut into = ReadBuf::new(into);
        now(Pin::new(&mut *self.socket).poll_read(self.cx, &mut into))?;
        Ok(into.filled().len())
    }
}

impl Write for Polled<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        now(Pin::new(&mut *self.socket).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        now(Pin::new(&mut *self.socket).poll_write_vectored(self.cx, parts))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
