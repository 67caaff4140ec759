//! From files to what handshakes are made with.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use tokio_rustls::rustls::client::{ClientConfig, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::{ServerConfig, WebPkiClientVerifier};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, SupportedProtocolVersion};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::config::{Address, ClientCertificates, ListenTls, ServerTls, TlsVersion};

/// Why TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read, or does not hold what it should.
    #[error("{}: {why}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The files do not fit together.
    #[error("{0}")]
    Unfit(#[from] tokio_rustls::rustls::Error),
}

/// Makes handshakes with clients.
#[derive(Clone)]
pub struct Acceptor(pub(super) TlsAcceptor);

/// Makes handshakes with the servers of one pool.
#[derive(Clone)]
pub struct Connector {
    pub(super) tls: TlsConnector,
    /// The name in all servers' certificates, if it is not each one's own host.
    name: Option<ServerName<'static>>,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acceptor")
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Reads the files of a listener.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn new(settings: &ListenTls) -> Result<Self, TlsError> {
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions(settings.min_version))?;
        let builder = match (&settings.client_ca, settings.clients) {
            (Some(ca), clients) if clients != ClientCertificates::None => {
                let roots = Arc::new(roots(ca)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = match clients {
                    ClientCertificates::Optional => verifier.allow_unauthenticated(),
                    _ => verifier,
                };
                let unfit = |why: &dyn fmt::Display| file_error(ca, why);
                builder.with_client_cert_verifier(verifier.build().map_err(|why| unfit(&why))?)
            }
            _ => builder.with_no_client_auth(),
        };
        let chain = certificates(&settings.certificate)?;
        let mut config = builder.with_single_cert(chain, key(&settings.key)?)?;
        // Sessions are resumed by tickets, which cost the server no memory.
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

impl Connector {
    /// Reads the files of a pool's servers.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn new(settings: &ServerTls) -> Result<Self, TlsError> {
        let provider = provider();
        let roots = Arc::new(roots(&settings.ca)?);
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
        let verifier = verifier.map_err(|why| file_error(&settings.ca, &why))?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(settings.min_version))?
            .with_webpki_verifier(verifier);
        let config = match (&settings.certificate, &settings.key) {
            (Some(chain), Some(file)) => {
                builder.with_client_auth_cert(certificates(chain)?, key(file)?)?
            }
            _ => builder.with_no_client_auth(),
        };
        let name = settings.name.as_deref().and_then(|name| name_of(name).ok());
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), name })
    }

    /// The name that the certificate of the server at `address` must have; `None` if nothing says.
    pub(super) fn name_for(&self, address: &Address) -> Option<ServerName<'static>> {
        self.name.clone().or_else(|| match address {
            Address::Tcp { host, .. } => name_of(host).ok(),
            Address::Unix(_) => None,
        })
    }
}

fn name_of(name: &str) -> Result<ServerName<'static>, ()> {
    ServerName::try_from(name.to_owned()).map_err(|_| ())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn versions(least: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match least {
        TlsVersion::Tls12 => &VERSIONS,
        TlsVersion::Tls13 => &VERSIONS[..1],
    }
}

fn file_error(file: &Path, why: &dyn fmt::Display) -> TlsError {
    TlsError::File { file: file.to_path_buf(), why: why.to_string() }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(file).map_err(|why| file_error(file, &why))?.collect();
    let found = found.map_err(|why| file_error(file, &why))?;
    if found.is_empty() {
        return Err(file_error(file, &"holds no certificate"));
    }
    Ok(found)
}

fn key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(file).map_err(|why| file_error(file, &why))
}

fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|why| file_error(file, &why))?;
    }
    Ok(roots)
}
