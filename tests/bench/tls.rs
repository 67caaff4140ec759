//! TLS on both sides of a measurement: the certificate that servers show, and what clients know.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, SanType};
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::peers::{Failure, scratch};
use crate::wire::Target;

/// A certificate for 127.0.0.1 (ECDSA on P-256) in files, which go with it.
pub(crate) struct Certificate {
    /// The certificate alone.
    pub(crate) certificate: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
    /// Both in one file, as HAProxy wants them.
    pub(crate) both: PathBuf,
    client: Arc<ClientConfig>,
}

impl Certificate {
    /// Makes one.
    ///
    /// # Errors
    /// Those of the files.
    pub(crate) fn new() -> Result<Self, Failure> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))];
        let key = KeyPair::generate()?;
        let signed = params.self_signed(&key)?;
        let mut roots = RootCertStore::empty();
        roots.add(signed.der().clone())?;
        let mut client =
            ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        // Each connection makes a handshake of its own, the dear one.
        client.resumption = Resumption::disabled();
        let this = Self {
            certificate: scratch("pem"),
            key: scratch("key"),
            both: scratch("both.pem"),
            client: Arc::new(client),
        };
        fs::write(&this.certificate, signed.pem())?;
        fs::write(&this.key, key.serialize_pem())?;
        fs::write(&this.both, signed.pem() + &key.serialize_pem())?;
        Ok(this)
    }

    /// What shows it on `port`.
    pub(crate) fn at(&self, port: u16) -> Target {
        Target { port, tls: Some(Arc::clone(&self.client)) }
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        for file in [&self.certificate, &self.key, &self.both] {
            // Gone already is as well.
            _ = fs::remove_file(file);
        }
    }
}
