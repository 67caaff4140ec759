//! Opening a connection to a server: name look-up, then one address after the other.
//!
//! Runs as a task beside the worker's own; a host name is resolved on a helper thread of the
//! runtime, so that a slow resolver delays only this connection.

use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;

use super::stream::Stream;
use crate::config::Address;

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
    timeout(limit, open(address)).await.unwrap_or(Err(ConnectError::Timeout))
}

/// Connects as a task of its own on this thread's runtime and tells `done` how it went.
pub fn dial(
    address: Address,
    limit: Duration,
    done: impl FnOnce(Result<Stream, ConnectError>) + Send + 'static,
) {
    tokio::spawn(async move { done(connect(&address, limit).await) });
}

async fn open(address: &Address) -> Result<Stream, ConnectError> {
    let stream = match address {
        Address::Tcp { host, port } => Stream::Tcp(open_tcp(host, *port).await?),
        Address::Unix(path) => {
            Stream::Unix(UnixStream::connect(path).await.map_err(ConnectError::Connect)?)
        }
    };
    stream.tune_server().map_err(ConnectError::Connect)?;
    Ok(stream)
}

async fn open_tcp(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let addresses = lookup_host((host, port)).await.map_err(ConnectError::Resolve)?;
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(e) => last = Some(e),
        }
    }
    Err(last.map_or_else(
        || ConnectError::Resolve(io::Error::new(io::ErrorKind::NotFound, "no address")),
        ConnectError::Connect,
    ))
}
