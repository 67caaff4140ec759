//! Why a request got no reply from its server, and the words in which its client hears of it.

use std::io;

use crate::metrics::ServerMetric;
use crate::protocol::Malformed;

/// What went wrong between us and a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody listens there, or the connection could not be made for another reason.
    Refused,
    /// The server's name has no address.
    Unresolved,
    /// The TLS handshake with the server failed.
    Tls,
    /// The connection broke.
    Reset,
    /// The server closed the connection in good order while a reply was due.
    Closed,
    /// Nothing came in time.
    TimedOut,
    /// What came is no reply to what was asked.
    BadReply(Malformed),
    /// A reply came that nobody waits for.
    Trailing,
    /// The server refused the password or the database.
    Auth,
    /// The server did not answer the first question on a new connection properly.
    Unfit,
    /// Too many requests wait for this server already.
    QueueFull,
    /// No server of the pool is alive.
    NoServer,
    /// The topology says that the server is down.
    MarkedDown,
    /// The server does not speak RESP3.
    NoResp3,
    /// Too many sessions have a connection to this server for themselves.
    NoConnection,
    /// The keys that it is about go to another server just now.
    Fenced,
    /// The keys that it is about move, and nobody knows how far the other proxies are.
    OutOfSight,
}

/// What is said of a key that moves while the topology's source is out of sight.
pub const OUT_OF_SIGHT: &str = "the key moves, and ZooKeeper is out of sight: try again";

impl Failure {
    /// The failure that a socket's error stands for.
    pub fn of(kind: io::ErrorKind) -> Self {
        match kind {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Reset,
        }
    }

    /// What the client is told, without the protocol's prefix. Texts are twemproxy's where it has
    /// one (nc_message.c:330-361 on glibc's strerror).
    pub fn text(self, compat: bool) -> &'static str {
        match self {
            Self::Refused | Self::NoServer => "Connection refused",
            Self::Unresolved => "Host is down",
            Self::Tls => "backend TLS handshake failed",
            Self::Closed if compat => "unknown",
            Self::BadReply(_) | Self::Trailing | Self::Unfit if compat => "Invalid argument",
            Self::Reset | Self::Closed | Self::Trailing => "Connection reset by peer",
            Self::TimedOut => "Connection timed out",
            Self::BadReply(Malformed::Oversize) => "object too large",
            Self::BadReply(_) | Self::Unfit => "bad backend response",
            Self::Auth => "backend authentication failed",
            Self::QueueFull => "backend queue full",
            Self::MarkedDown => "the server is marked down",
            Self::NoResp3 => "the server does not speak RESP3",
            Self::NoConnection => "too many dedicated connections",
            Self::Fenced => "the pool changes its servers, try again",
            Self::OutOfSight => OUT_OF_SIGHT,
        }
    }

    /// The counter of this failure.
    pub fn metric(self) -> ServerMetric {
        match self {
            Self::Refused
            | Self::Unresolved
            | Self::NoServer
            | Self::MarkedDown
            | Self::QueueFull
            | Self::NoConnection
            | Self::Fenced
            | Self::OutOfSight
            | Self::NoResp3 => ServerMetric::FailRefused,
            Self::Reset => ServerMetric::FailReset,
            Self::Closed => ServerMetric::FailEof,
            Self::TimedOut => ServerMetric::FailTimeout,
            Self::BadReply(Malformed::Syntax) => ServerMetric::FailParsing,
            Self::BadReply(Malformed::Unexpected) => ServerMetric::FailUnhandled,
            Self::BadReply(Malformed::Oversize) => ServerMetric::FailOversize,
            Self::Trailing => ServerMetric::FailTrailingData,
            Self::Auth => ServerMetric::FailAuth,
            Self::Tls => ServerMetric::FailTls,
            Self::Unfit => ServerMetric::FailBadValidate,
        }
    }

    /// What was wrong with what the server sent, in the words of its counter.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BadReply(Malformed::Syntax) => "parsing",
            Self::BadReply(Malformed::Unexpected) => "unhandled",
            Self::BadReply(Malformed::Oversize) => "oversize",
            Self::Trailing => "trailingdata",
            Self::Auth => "auth",
            _ => "badvalidate",
        }
    }

    /// The counter of the connection that it closed, as twemproxy counts them.
    pub fn close_metric(self) -> ServerMetric {
        match self {
            Self::Closed => ServerMetric::Eof,
            Self::TimedOut => ServerMetric::TimedOut,
            _ => ServerMetric::Err,
        }
    }

    /// True if the connection was closed because a reply could not be attributed.
    pub fn is_desync(self) -> bool {
        matches!(self, Self::BadReply(_) | Self::Trailing)
    }
}
