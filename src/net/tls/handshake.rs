//! Handshakes: each a task of its own, bounded in time.

use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::Connection;

use super::session::{Secured, Session};
use super::settings::{Acceptor, Connector};
use crate::config::Address;

/// Why a handshake came to nothing.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// It did not end in time.
    #[error("timed out")]
    Late,
    /// The peer broke it off, or said or showed what is not to be taken.
    #[error("{0}")]
    Failed(#[from] io::Error),
    /// Nothing says which name the server's certificate must have.
    #[error("no name to look for in the server's certificate, see server_tls: name")]
    Nameless,
}

impl Acceptor {
    /// Makes the handshake with a client; its socket belongs to no runtime afterwards.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub(in crate::net) async fn secure(
        &self,
        socket: std::net::TcpStream,
        limit: Duration,
    ) -> Result<Secured, HandshakeError> {
        let socket = TcpStream::from_std(socket)?;
        let made = timeout(limit, self.0.accept(socket)).await;
        let (socket, connection) = made.map_err(|_| HandshakeError::Late)??.into_inner();
        Ok(Secured {
            socket: socket.into_std()?,
            session: Session::new(Connection::Server(connection)),
        })
    }
}

impl Connector {
    /// Makes the handshake with a server; whoever calls it bounds its time.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub(in crate::net) async fn secure(
        &self,
        socket: TcpStream,
        address: &Address,
    ) -> Result<(TcpStream, Session), HandshakeError> {
        let name = self.name_for(address).ok_or(HandshakeError::Nameless)?;
        let (socket, connection) = self.tls.connect(name, socket).await?.into_inner();
        Ok((socket, Session::new(Connection::Client(connection))))
    }
}
