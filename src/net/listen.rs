//! Front listeners: TCP and unix sockets, opened once and accepted from in batches.
//!
//! A unix socket's file is taken over only if nobody answers on it, and has its mode before the
//! first client can connect (faults F62; CVE-2023-45145 is what happens otherwise).

use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Resource, getrlimit, nice};
use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;
use tokio::io::unix::AsyncFd;

use super::tls::{Acceptor as TlsAcceptor, HandshakeError, Secured};
use crate::config::{Listen, Pool};

/// An open listening socket.
#[derive(Debug)]
pub struct Listener {
    // Removed before the socket is closed, so that nobody finds a dead one.
    unix: Option<SocketFile>,
    socket: Socket,
}

/// The file of a unix socket that we made. Removed on drop, unless it is another's by then.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Why a listener could not be opened: the address and the system's answer.
#[derive(Debug, Error)]
#[error("bind {address}: {cause}")]
pub struct BindError {
    address: String,
    cause: io::Error,
}

/// How many descriptors the process may have, if there is a limit.
pub fn descriptor_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

impl Listener {
    /// Opens the listener of `pool`; it is not accepted from before [`Listener::register`].
    ///
    /// # Errors
    /// [`BindError`]: the address cannot be resolved or bound, somebody else listens there, or it
    /// is no socket at all.
    pub fn open(pool: &Pool) -> Result<Self, BindError> {
        let opened = match &pool.listen {
            Listen::Tcp { host, port } => open_tcp(host, *port, pool),
            Listen::Unix { path, mode } => open_unix(path, *mode, pool.backlog),
            Listen::Stdio => Err(io::ErrorKind::Unsupported.into()),
        };
        opened.map_err(|cause| BindError { address: pool.listen.to_string(), cause: plain(cause) })
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

/// A registered listener.
#[derive(Debug)]
pub struct Acceptor {
    unix: Option<SocketFile>,
    fd: AsyncFd<Socket>,
}

/// A client's socket, not yet registered with any runtime.
#[derive(Debug)]
pub enum Accepted {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// TCP, with TLS whose handshake is made.
    Secured(Box<Secured>),
}

impl Accepted {
    /// The number of its descriptor: the lowest that was free, so that at least as many are in
    /// use. 0 once its handshake is made: it has been let in.
    pub fn descriptor(&self) -> u64 {
        let fd = match self {
            Self::Tcp(socket) => socket.as_raw_fd(),
            Self::Unix(socket) => socket.as_raw_fd(),
            Self::Secured(_) => 0,
        };
        u64::try_from(fd).unwrap_or(0)
    }

    /// Makes the TLS handshake, within `limit`.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub async fn secure(self, tls: &TlsAcceptor, limit: Duration) -> Result<Self, HandshakeError> {
        match self {
            Self::Tcp(socket) => Ok(Self::Secured(Box::new(tls.secure(socket, limit).await?))),
            other => Ok(other),
        }
    }
}

impl Acceptor {
    /// Waits for clients and takes up to `most` of them into `into`; the first one whose descriptor
    /// is not below `bound` is the last.
    ///
    /// # Errors
    /// The operating system's, with whatever was accepted before it left in `into`.
    pub async fn accept(
        &self,
        most: usize,
        bound: u64,
        into: &mut Vec<Accepted>,
    ) -> io::Result<()> {
        let mut guard = self.fd.readable().await?;
        while into.len() < most && into.last().is_none_or(|it| it.descriptor() < bound) {
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

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_path_buf(), device: found.dev(), inode: found.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = |found: fs::Metadata| (found.dev(), found.ino()) == (self.device, self.inode);
        if fs::symlink_metadata(&self.path).is_ok_and(ours) {
            // Nobody is left to tell, and the next start clears a stale file itself.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Errors that concern a client which has gone again, not the listener; accept(2) passes on those
/// of the network.
fn is_of_one_client(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
    )
}

/// Listens on the first address of `host` that this machine has.
fn open_tcp(host: &str, port: u16, pool: &Pool) -> io::Result<Listener> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match listen_at(address, pool) {
            Ok(socket) => return Ok(Listener { unix: None, socket }),
            // Another address of the name would not be where clients look for us.
            Err(e) if is_taken(&e) => return Err(e),
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn is_taken(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}

fn listen_at(address: SocketAddr, pool: &Pool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if pool.reuseport {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    // What clients' sockets are to have: they inherit it, which costs nothing for each of them.
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(pool.tcp_keepalive)?;
    socket.listen(backlog_of(pool.backlog))?;
    Ok(socket)
}

fn open_unix(path: &Path, mode: Option<u32>, backlog: u32) -> io::Result<Listener> {
    clear_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let unix = Some(SocketFile::at(path)?);
    if let Some(mode) = mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    socket.set_nonblocking(true)?;
    socket.listen(backlog_of(backlog))?;
    Ok(Listener { unix, socket })
}

fn backlog_of(backlog: u32) -> i32 {
    i32::try_from(backlog).unwrap_or(i32::MAX)
}

/// Removes a socket file that nobody listens on any more: one that refuses, and only that.
fn clear_stale(path: &Path) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "exists and is not a socket"));
    }
    // Not blocking: whoever listens may have a full queue and never look at it.
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(e) if e.kind() != io::ErrorKind::WouldBlock => Err(e),
        _ => Err(io::Error::new(io::ErrorKind::AddrInUse, "Address already in use")),
    }
}

/// Drops Rust's `(os error N)` so that the line reads as operators know it.
fn plain(e: io::Error) -> io::Error {
    let text = e.to_string();
    match text.split_once(" (os error") {
        Some((plain, _)) => io::Error::new(e.kind(), plain.to_owned()),
        None => e,
    }
}

/// How much less of a core than others a thread of listeners may have: a quarter of one that a
/// worker wants as well, all of one that nobody wants.
const LISTENER_NICE: i32 = 5;

/// Has the calling thread, which accepts clients and shakes hands, stand back where a worker wants
/// its core: established clients come before new ones. (On Linux a thread has a priority of its own.)
pub fn stand_back() {
    if cfg!(target_os = "linux") {
        // Nobody may be refused a lower priority; if it is, all goes on as without.
        let _ = nice(LISTENER_NICE);
    }
}
