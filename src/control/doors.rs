//! What the admin thread opens before it runs: two listeners and the signals.
//!
//! Opened apart from [`run`](crate::control::run), so that a port in use is an error of the start.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use tokio::net::{TcpListener, TcpSocket};

use crate::config::Config;
use crate::control::signals::Signals;

/// listen(2) backlog of both doors.
const BACKLOG: u32 = 64;

/// The admin listener, the statistics listener, and the signals.
pub struct Doors {
    pub(crate) admin: Option<TcpListener>,
    pub(crate) stats: Option<TcpListener>,
    pub(crate) signals: Signals,
}

impl Doors {
    /// Opens what the configuration names. To be called within the runtime (`Runtime::enter`) that
    /// will run [`run`](crate::control::run); resolves host names on the spot.
    ///
    /// # Errors
    /// An address cannot be resolved or bound, the address being part of the message.
    pub fn open(config: &Config) -> io::Result<Self> {
        Ok(Self {
            admin: config.admin.as_deref().map(|it| listen(it, false)).transpose()?,
            // As twemproxy does it: several processes may share the port (nc_stats.c:700-760).
            stats: config.stats.as_deref().map(|it| listen(it, true)).transpose()?,
            signals: Signals::catch(config.compat)?,
        })
    }

    /// Where the admin listener listens.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.local_addr().ok()
    }

    /// Where the statistics listener listens.
    pub fn stats_addr(&self) -> Option<SocketAddr> {
        self.stats.as_ref()?.local_addr().ok()
    }
}

/// Listens on the first address of `host:port` that can be had.
fn listen(address: &str, shared: bool) -> io::Result<TcpListener> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("bind {address}: {error}"));
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "no address");
    for address in address.to_socket_addrs().map_err(named)? {
        match bind(address, shared) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(named(failed))
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(shared)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use crate::control::doors::listen;

    #[tokio::test]
    async fn a_port_in_use_is_named_in_the_error() {
        let taken = listen("127.0.0.1:0", false).unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let error = listen(&address, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&format!("bind {address}: ")), "{error}");
    }

    #[tokio::test]
    async fn two_processes_may_share_the_statistics_port() {
        let first = listen("127.0.0.1:0", true).unwrap();
        assert!(listen(&first.local_addr().unwrap().to_string(), true).is_ok());
    }

    #[tokio::test]
    async fn an_address_without_port_is_refused() {
        assert!(listen("127.0.0.1", false).is_err());
    }
}
