//! The TLS of all pools: files are read once, before anything is opened.

use std::sync::Arc;

use super::StartError;
use crate::config::{Config, Pool};
use crate::net::{TlsAcceptor, TlsConnector, TlsError};

/// Of each pool what handshakes with its clients are made with, if it has TLS.
pub(super) type Acceptors = Vec<Option<TlsAcceptor>>;

/// Of each pool what handshakes with its servers are made with, likewise.
pub(super) type Connectors = Arc<[Option<TlsConnector>]>;

/// Reads the files of all pools.
///
/// # Errors
/// [`StartError::Tls`] for the first that cannot be used.
pub(super) fn load(config: &Config) -> Result<(Acceptors, Connectors), StartError> {
    let of = |pool: &Pool, cause| StartError::Tls { pool: pool.name.clone(), cause };
    let mut acceptors = Vec::new();
    let mut connectors = Vec::new();
    for pool in &config.pools {
        let acceptor = pool.tls.as_ref().map(TlsAcceptor::new).transpose();
        acceptors.push(acceptor.map_err(|cause| of(pool, cause))?);
        let connector = pool.server_tls.as_ref().map(TlsConnector::new).transpose();
        connectors.push(connector.map_err(|cause| of(pool, cause))?);
    }
    Ok((acceptors, connectors.into()))
}

/// What is wrong with the files of a configuration, for whoever only wants it checked.
pub fn faults(config: &Config) -> Vec<(String, TlsError)> {
    let of = |pool: &Pool| {
        let listener = pool.tls.as_ref().map(TlsAcceptor::new).and_then(Result::err);
        let servers = pool.server_tls.as_ref().map(TlsConnector::new).and_then(Result::err);
        let name = pool.name.clone();
        listener.into_iter().chain(servers).map(move |why| (name.clone(), why)).collect::<Vec<_>>()
    };
    config.pools.iter().flat_map(of).collect()
}
