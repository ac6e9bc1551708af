//! The server's side of TLS: a certificate chain and its key, from PEM files.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Where the API's certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// A PEM file with the server's certificate and those that vouch for it, in this order.
    pub certificates: PathBuf,
    /// A PEM file with the key of the first certificate.
    pub key: PathBuf,
}

/// What cannot be used, and why.
#[derive(Debug)]
pub(crate) struct TlsError {
    pub(crate) file: PathBuf,
    pub(crate) reason: io::Error,
}

impl Tls {
    /// Returns what connections are accepted with.
    ///
    /// # Errors
    /// A file that cannot be read or has nothing in it that is asked for, or a key that does not
    /// belong to the certificate.
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let bad_certificates = |reason: &dyn fmt::Display| TlsError {
            file: self.certificates.clone(),
            reason: io::Error::other(reason.to_string()),
        };
        let bad_key = |reason: &dyn fmt::Display| TlsError {
            file: self.key.clone(),
            reason: io::Error::other(reason.to_string()),
        };
        let certificates = CertificateDer::pem_file_iter(&self.certificates)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| bad_certificates(&error))?;
        if certificates.is_empty() {
            return Err(bad_certificates(&"there is no certificate in it"));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| bad_key(&error))?;
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| bad_certificates(&error))?
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .map_err(|error| bad_key(&error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
