//! Opening a connection to a server: name look-up, then one address after the other, each with a
//! head start on the next.
//!
//! Runs as a task beside the worker's own; a name is looked up on a thread of the [`Resolver`].

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use thiserror::Error;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::resolve::{Resolver, name_of};
use super::stream::Stream;
use super::tls::{Connector as TlsConnector, HandshakeError};
use crate::config::Address;

/// How long an address is tried alone before the next one is tried beside it (RFC 8305).
pub(super) const HEAD_START: Duration = Duration::from_millis(250);

/// Addresses of one name that are tried.
const ADDRESSES: usize = 8;

/// Why a server could not be connected to.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The name has no address, or none that is known.
    #[error("name look-up failed: {0}")]
    Resolve(io::Error),
    /// Every address refused or failed; the last answer.
    #[error("{0}")]
    Connect(io::Error),
    /// The TLS handshake came to nothing.
    #[error("TLS handshake failed: {0}")]
    Tls(HandshakeError),
    /// No answer in time.
    #[error("connection timed out")]
    Timeout,
}

/// Connects to `address` within `limit`, which the look-up of a name shares.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(
    (resolver, tls): (&Resolver, Option<&TlsConnector>),
    address: &Address,
    limit: Duration,
) -> Result<Stream, ConnectError> {
    let until = Instant::now() + limit;
    let found = match address {
        Address::Tcp { host, port } => {
            resolver.find((host, *port), limit).await.map_err(ConnectError::Resolve)?
        }
        Address::Unix(_) => Vec::new(),
    };
    connect_found((found, tls), address, (limit, until)).await
}

/// The same where the name has been looked up: `limit` is shared out among the addresses, and it ends
/// at `until`.
pub(super) async fn connect_found(
    (found, tls): (Vec<SocketAddr>, Option<&TlsConnector>),
    address: &Address,
    (limit, until): (Duration, Instant),
) -> Result<Stream, ConnectError> {
    let opened = async {
        let stream = open(address, found, limit).await?;
        match tls {
            Some(tls) => secure(stream, tls, address).await.map_err(ConnectError::Tls),
            None => Ok(stream),
        }
    };
    timeout_at(until, opened).await.unwrap_or(Err(ConnectError::Timeout))
}

/// Connects as a task of its own on this thread's runtime and tells `done` how it went.
pub fn dial(
    (resolver, tls): (Resolver, Option<TlsConnector>),
    address: Address,
    limit: Duration,
    done: impl FnOnce(Result<Stream, ConnectError>) + Send + 'static,
) {
    tokio::spawn(async move { done(connect((&resolver, tls.as_ref()), &address, limit).await) });
}

/// Looks the name of `address` up as a task of its own, and calls `moved` if `peer` is none of its
/// addresses any more.
pub fn recheck(
    resolver: Resolver,
    (address, peer): (Address, IpAddr),
    limit: Duration,
    moved: impl FnOnce() + Send + 'static,
) {
    tokio::spawn(async move {
        let Some(name) = name_of(&address) else { return };
        let found = resolver.find((name, 0), limit).await.unwrap_or_default();
        let same = |it: &SocketAddr| it.ip().to_canonical() == peer.to_canonical();
        if !found.is_empty() && !found.iter().any(same) {
            moved();
        }
    });
}

async fn secure(
    stream: Stream,
    tls: &TlsConnector,
    address: &Address,
) -> Result<Stream, HandshakeError> {
    match stream {
        Stream::Tcp(socket) => Ok(Stream::Tls(Box::new(tls.secure(socket, address).await?))),
        // The configuration has none where TLS is asked for.
        other => Ok(other),
    }
}

async fn open(
    address: &Address,
    mut found: Vec<SocketAddr>,
    limit: Duration,
) -> Result<Stream, ConnectError> {
    let stream = match address {
        Address::Tcp { .. } => {
            found.truncate(ADDRESSES);
            Stream::Tcp(open_tcp(found, limit).await?)
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
