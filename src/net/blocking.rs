//! A connection of somebody who has nothing else to do: each call waits for its answer.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice, Read, Write};
use std::net::ToSocketAddrs;
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, timeout};

use super::connect::{ConnectError, connect_found};
use super::stream::Stream;
use super::tls::Connector as TlsConnector;
use crate::config::Address;

/// A connection to a server.
pub struct Blocking {
    runtime: Runtime,
    stream: Stream,
    limit: Duration,
}

impl Blocking {
    /// Connects within `limit`, the look-up of a name not counted; as long may each read and write
    /// take.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn open(
        address: &Address,
        tls: Option<&TlsConnector>,
        limit: Duration,
    ) -> Result<Self, ConnectError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ConnectError::Connect)?;
        let found = match address {
            Address::Tcp { host, port } => {
                let found = (host.as_str(), *port).to_socket_addrs();
                found.map_err(ConnectError::Resolve)?.collect()
            }
            Address::Unix(_) => Vec::new(),
        };
        let opened = async {
            let until = Instant::now() + limit;
            connect_found((found, tls), address, (limit, until)).await
        };
        let stream = runtime.block_on(opened)?;
        Ok(Self { runtime, stream, limit })
    }
}

impl Read for Blocking {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut into = ReadBuf::new(into);
        let Self { runtime, stream, limit } = self;
        let read = async { timeout(*limit, poll_fn(|cx| stream.poll_read(cx, &mut into))).await };
        runtime.block_on(read)??;
        Ok(into.filled().len())
    }
}

impl Write for Blocking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let parts = [IoSlice::new(bytes)];
        let Self { runtime, stream, limit } = self;
        let write = async { timeout(*limit, poll_fn(|cx| stream.poll_write(cx, &parts))).await };
        runtime.block_on(write)?
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Blocking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocking").finish_non_exhaustive()
    }
}
