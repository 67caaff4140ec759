//! A worker's driver, by the names that it knows sockets by and the mail that it gets.

use std::net::IpAddr;
use std::time::Duration;

use super::inflight::Ticket;
use crate::net::{
    Accepted, ConnectError, Driver, Inbox, Resolver, Stream, TlsConnector, dial, recheck,
};
use crate::topology::Address;

/// The sockets of one worker.
pub type Io = Driver<Owner, Letter>;

/// Whose socket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A client's; the session has the token's number.
    Client,
    /// A server's: the number of the connection.
    Server(u32),
}

/// What other threads and tasks tell a worker.
#[derive(Debug)]
pub enum Letter {
    /// A client of the pool with this number has been accepted.
    Client(u16, Accepted),
    /// Dialling has ended.
    Dialled {
        /// The number of the connection.
        connection: u32,
        /// Which attempt it was, of those of this connection.
        attempt: u32,
        /// The socket, or why there is none.
        result: Result<Stream, ConnectError>,
    },
    /// The name of a server has other addresses than the one that a connection goes to.
    Moved {
        /// The number of the connection.
        connection: u32,
        /// Which attempt had made it.
        attempt: u32,
    },
    /// There is something to tell the client of this ticket, which answers no request.
    Changed(Ticket),
    /// The phase of the process has changed.
    Phase,
    /// What another worker has asked for, and some of this one's requests wait for, is there, or will
    /// not come.
    Landed {
        /// The pool.
        pool: u16,
        /// The hash of what was asked for.
        hash: u64,
    },
    /// There is another configuration.
    Configuration,
}

/// Dials a server beside the worker's own work; the outcome comes as a letter.
pub fn dial_server(
    (inbox, resolver, tls): (&Inbox<Letter>, &Resolver, Option<&TlsConnector>),
    (connection, attempt): (u32, u32),
    address: &Address,
    limit: Duration,
) {
    let inbox = inbox.clone();
    dial((resolver.clone(), tls.cloned()), address.clone(), limit, move |result| {
        inbox.push(Letter::Dialled { connection, attempt, result });
    });
}

/// Looks up, beside the worker's own work, whether the server at `address` is still to be found
/// at `peer`; a letter comes if it is not.
pub fn recheck_server(
    (inbox, resolver): (&Inbox<Letter>, &Resolver),
    (connection, attempt): (u32, u32),
    (address, peer): (&Address, IpAddr),
    limit: Duration,
) {
    let inbox = inbox.clone();
    recheck(resolver.clone(), (address.clone(), peer), limit, move || {
        inbox.push(Letter::Moved { connection, attempt });
    });
}
