//! Opening a connection to a server: name look-up, then one address after the other, each with a
//! head start on the next.
//!
//! Runs as a task beside the worker's own; a host name is resolved on a helper thread of the
//! runtime, so that a slow resolver delays only this connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::stream::Stream;
use crate::config::Address;

/// How long an address is tried alone before the next one is tried beside it (RFC 8305).
pub(super) const HEAD_START: Duration = Duration::from_millis(250);

/// Addresses of one name that are tried.
const ADDRESSES: usize = 8;

/// Why a server could not be connected to.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("name look-up failed: {0}")]
    Resolve(io::Error),
    /// Every address refused or failed; the last answer.
    #[error("{0}")]
    Connect(io::Error),
    /// No answer in time.
    #[error("connection timed out")]
    Timeout,
}

/// Connects to `address` within `limit`.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(address: &Address, limit: Duration) -> Result<Stream, ConnectError> {
    timeout(limit, open(address, limit)).await.unwrap_or(Err(ConnectError::Timeout))
}

/// Connects as a task of its own on this thread's runtime and tells `done` how it went.
pub fn dial(
    address: Address,
    limit: Duration,
    done: impl FnOnce(Result<Stream, ConnectError>) + Send + 'static,
) {
    tokio::spawn(async move { done(connect(&address, limit).await) });
}

async fn open(address: &Address, limit: Duration) -> Result<Stream, ConnectError> {
    let stream = match address {
        Address::Tcp { host, port } => {
            let found = lookup_host((host.as_str(), *port)).await.map_err(ConnectError::Resolve)?;
            Stream::Tcp(open_tcp(found.take(ADDRESSES).collect(), limit).await?)
        }
        Address::Unix(path) => {
            Stream::Unix(UnixStream::connect(path).await.map_err(ConnectError::Connect)?)
        }
    };
    stream.tune_server().map_err(ConnectError::Connect)?;
    Ok(stream)
}

/// Connects to whichever of `addresses` answers first. They are begun in order: the next one once
/// the one before has failed, or has had its head start, which leaves time for all within `limit`.
pub(super) async fn open_tcp(
    addresses: Vec<SocketAddr>,
    limit: Duration,
) -> Result<TcpStream, ConnectError> {
    let head_start = HEAD_START.min(limit / (addresses.len().max(1) as u32));
    let mut attempts = JoinSet::new();
    let mut left = addresses.into_iter().peekable();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    if left.peek().is_none() {
        return Err(ConnectError::Resolve(last));
    }
    loop {
        if let Some(address) = left.next() {
            attempts.spawn(open_address(address));
        }
        let wait = if left.peek().is_some() { head_start } else { limit };
        match timeout(wait, attempts.join_next()).await {
            Ok(Some(Ok(Ok(stream)))) => return Ok(stream),
            Ok(Some(Ok(Err(e)))) => last = e,
            Ok(Some(Err(e))) => last = e.into(),
            Ok(None) => return Err(ConnectError::Connect(last)),
            Err(_) => {}
        }
    }
}

async fn open_address(address: SocketAddr) -> io::Result<TcpStream> {
    checked(TcpStream::connect(address).await?)
}

/// If nobody listens on a port of the range that clients get, the kernel may connect a socket to
/// itself (simultaneous open): it would answer each request with the request.
pub(super) fn checked(stream: TcpStream) -> io::Result<TcpStream> {
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}
