//! Front listeners: TCP and unix sockets, opened once and accepted from in batches.
//!
//! A unix socket's file is taken over only if nobody answers on it, and has its mode before the
//! first client can connect (faults F62; CVE-2023-45145 is what happens otherwise).

use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;
use tokio::io::unix::AsyncFd;

use crate::config::{Listen, Pool};

/// An open listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    unix: Option<PathBuf>,
}

/// Why a listener could not be opened: the address and the system's answer.
#[derive(Debug, Error)]
#[error("bind {address}: {cause}")]
pub struct BindError {
    address: String,
    cause: io::Error,
}

impl Listener {
    /// Opens the listener of `pool`; it is not accepted from before [`Listener::register`].
    ///
    /// # Errors
    /// [`BindError`]: the address cannot be resolved or bound, or somebody else listens there.
    pub fn open(pool: &Pool) -> Result<Self, BindError> {
        let (address, opened) = match &pool.listen {
            Listen::Tcp { host, port } => {
                (format!("{host}:{port}"), open_tcp(host, *port, pool))
            }
            Listen::Unix { path, mode } => {
                (path.display().to_string(), open_unix(path, *mode, pool.backlog))
            }
        };
        opened.map_err(|cause| BindError { address, cause: plain(cause) })
    }

    /// Registers with the runtime of this thread.
    ///
    /// # Errors
    /// The operating system's.
    #[expect(deprecated, reason = "its successor is unsafe; a Socket does own its descriptor")]
    pub fn register(self) -> io::Result<Acceptor> {
        Ok(Acceptor { fd: AsyncFd::new(self.socket)?, unix: self.unix })
    }

    /// Where it listens, for a TCP listener on port 0.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()?.as_socket()
    }
}

/// A registered listener. A unix socket's file is removed when it is dropped.
#[derive(Debug)]
pub struct Acceptor {
    fd: AsyncFd<Socket>,
    unix: Option<PathBuf>,
}

/// A client's socket, not yet registered with any runtime.
#[derive(Debug)]
pub enum Accepted {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

impl Acceptor {
    /// Waits for clients and takes up to `most` of them into `into`.
    ///
    /// # Errors
    /// The operating system's, with whatever was accepted before it left in `into`.
    pub async fn accept(&self, most: usize, into: &mut Vec<Accepted>) -> io::Result<()> {
        let mut guard = self.fd.readable().await?;
        while into.len() < most {
            match guard.try_io(|fd| fd.get_ref().accept()) {
                Ok(Ok((socket, _))) => into.push(self.accepted(socket)?),
                Ok(Err(e)) if is_of_one_client(&e) => {}
                Ok(Err(e)) => return Err(e),
                Err(_would_block) => break,
            }
        }
        Ok(())
    }

    fn accepted(&self, socket: Socket) -> io::Result<Accepted> {
        socket.set_nonblocking(true)?;
        let fd = OwnedFd::from(socket);
        Ok(match self.unix {
            Some(_) => Accepted::Unix(fd.into()),
            None => Accepted::Tcp(fd.into()),
        })
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        if let Some(path) = &self.unix {
            // Nobody is left to tell, and the next start clears a stale file itself.
            let _ = fs::remove_file(path);
        }
    }
}

/// Errors that concern a client which has gone again, not the listener.
fn is_of_one_client(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

fn open_tcp(host: &str, port: u16, pool: &Pool) -> io::Result<Listener> {
    let address = (host, port)
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if pool.reuseport {
        socket.set_reuse_port(true)?;
    }
    listen(socket, &address.into(), pool.backlog, None)
}

fn open_unix(path: &Path, mode: Option<u32>, backlog: u32) -> io::Result<Listener> {
    clear_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    if let Some(mode) = mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    socket.set_nonblocking(true)?;
    socket.listen(backlog_of(backlog))?;
    Ok(Listener { socket, unix: Some(path.to_path_buf()) })
}

fn listen(
    socket: Socket,
    address: &SockAddr,
    backlog: u32,
    unix: Option<PathBuf>,
) -> io::Result<Listener> {
    socket.bind(address)?;
    socket.set_nonblocking(true)?;
    socket.listen(backlog_of(backlog))?;
    Ok(Listener { socket, unix })
}

fn backlog_of(backlog: u32) -> i32 {
    i32::try_from(backlog).unwrap_or(i32::MAX)
}

/// Removes a socket file that nobody listens on any more.
fn clear_stale(path: &Path) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "exists and is not a socket"));
    }
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "Address already in use"));
    }
    fs::remove_file(path)
}

/// Drops Rust's `(os error N)` so that the line reads as operators know it.
fn plain(e: io::Error) -> io::Error {
    let text = e.to_string();
    match text.split_once(" (os error") {
        Some((plain, _)) => io::Error::new(e.kind(), plain.to_owned()),
        None => e,
    }
}
