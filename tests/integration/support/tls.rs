//! Certificates made for a test, and a client that speaks TLS.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::TLS12;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
};

use super::ports::Scratch;
use super::wait::LONG;

/// Signs certificates, which are files as operators have them.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    scratch: Scratch,
}

/// The files of a certificate.
#[derive(Clone)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a root");
        let scratch = Scratch::new();
        scratch.file("ca.pem", &issuer.pem());
        Self { issuer, scratch }
    }

    /// The file of its own certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.scratch.path().join("ca.pem")
    }

    /// A certificate for these names.
    pub(crate) fn sign(&self, file: &str, names: &[&str]) -> Files {
        self.sign_until(file, names, 4000)
    }

    /// One whose time ended with the beginning of `year`.
    pub(crate) fn sign_until(&self, file: &str, names: &[&str], year: i32) -> Files {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Files {
            certificate: self.scratch.file(&format!("{file}.pem"), &certificate.pem()),
            key: self.scratch.file(&format!("{file}.key"), &key.serialize_pem()),
        }
    }
}

impl Files {
    /// As `tls:` and `server_tls:` have them.
    pub(crate) fn setting(&self) -> String {
        format!("certificate: {}, key: {}", self.certificate.display(), self.key.display())
    }
}

/// What clients of one kind share, tickets among it.
pub(crate) struct TlsClient(Arc<ClientConfig>);

/// A connection.
pub(crate) struct TlsConnection(StreamOwned<ClientConnection, TcpStream>);

impl TlsClient {
    /// Trusts `authority`, and shows a certificate if it has one.
    pub(crate) fn new(authority: &Authority, own: Option<&Files>, only_1_2: bool) -> Self {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(authority.ca()).expect("a certificate");
        roots.add(ca).expect("a root");
        let builder = if only_1_2 {
            ClientConfig::builder_with_protocol_versions(&[&TLS12])
        } else {
            ClientConfig::builder()
        };
        let builder = builder.with_root_certificates(roots);
        let config = match own {
            Some(own) => {
                let certificate = CertificateDer::from_pem_file(&own.certificate).expect("one");
                let key = PrivateKeyDer::from_pem_file(&own.key).expect("a key");
                builder.with_client_auth_cert(vec![certificate], key).expect("they fit")
            }
            None => builder.with_no_client_auth(),
        };
        Self(Arc::new(config))
    }

    /// Connects; the handshake comes with the first bytes.
    pub(crate) fn connect(&self, port: u16) -> TlsConnection {
        let name = ServerName::from(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST));
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("somebody listens");
        socket.set_read_timeout(Some(LONG)).expect("a timeout");
        let connection = ClientConnection::new(Arc::clone(&self.0), name).expect("a client");
        TlsConnection(StreamOwned::new(connection, socket))
    }
}

impl TlsConnection {
    /// Sends a request and reads as many bytes as `reply` has, which they must be.
    pub(crate) fn ask(&mut self, request: &str, reply: &str) -> io::Result<()> {
        self.0.write_all(request.as_bytes())?;
        let mut got = vec![0; reply.len()];
        self.0.read_exact(&mut got)?;
        assert_eq!(String::from_utf8_lossy(&got), reply);
        Ok(())
    }

    /// Sends without a look at any reply.
    pub(crate) fn send(&mut self, request: &str) -> io::Result<()> {
        self.0.write_all(request.as_bytes())
    }

    /// Reads to the goodbye; an error if there is none.
    pub(crate) fn read_to_goodbye(&mut self) -> io::Result<String> {
        let mut text = String::new();
        self.0.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Whether an earlier session was taken up again.
    pub(crate) fn is_resumed(&self) -> bool {
        self.0.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}
