//! Whom a client believes: the certificates of the system, those of a file besides, or, when that is asked for in so
//! many words, anybody.

use crate::DriverError;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore,
    SignatureScheme, WantsVerifier,
};
use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CA_HINT: &str =
    "a CA file holds one or more blocks that begin with -----BEGIN CERTIFICATE-----";
const ROOTS_HINT: &str = "install the package ca-certificates, or name a PEM file with the CA's certificate with --marathon-ca";

/// Whose certificates are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those that the system's roots vouch for.
    #[default]
    System,
    /// Those that the system's roots or the certificates in this PEM file vouch for.
    Also(PathBuf),
    /// Anybody's: whoever stands in between can read and change everything.
    Anybody,
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("verified by the system's CAs"),
            Self::Also(file) => {
                write!(f, "verified by the system's CAs and {}", file.display())
            }
            Self::Anybody => f.write_str("NOT verified, as asked for"),
        }
    }
}

impl Trust {
    /// Returns what a TLS connection is made with.
    ///
    /// # Errors
    /// [`DriverError::Unusable`] when there is no certificate to believe.
    pub(crate) fn config(&self) -> Result<ClientConfig, DriverError> {
        let provider = Arc::new(ring::default_provider());
        let builder = builder(&provider);
        let mut roots = RootCertStore::empty();
        let failures = match self {
            Self::Anybody => {
                let anybody = builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(Anybody(provider)));
                return Ok(anybody.with_no_client_auth());
            }
            Self::System => add_system(&mut roots),
            Self::Also(file) => {
                add_file(&mut roots, file)?;
                add_system(&mut roots)
            }
        };
        if roots.is_empty() {
            return Err(unusable(
                "https",
                &format!("this system has no certificates of CAs{failures}"),
                ROOTS_HINT,
            ));
        }
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

/// Returns what a client is made with that has no address with TLS: it believes no certificate at all.
pub(crate) fn believe_nobody() -> ClientConfig {
    builder(&Arc::new(ring::default_provider()))
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}

fn builder(provider: &Arc<CryptoProvider>) -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites for TLS 1.2 and 1.3")
}

/// Wraps what makes TCP connections.
pub(crate) fn connector(config: ClientConfig, tcp: HttpConnector) -> HttpsConnector<HttpConnector> {
    HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp)
}

/// Adds the system's roots, and returns what went wrong with some, for the case that there are none.
fn add_system(roots: &mut RootCertStore) -> String {
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    found
        .errors
        .first()
        .map(|error| format!(": {error}"))
        .unwrap_or_default()
}

fn add_file(roots: &mut RootCertStore, file: &Path) -> Result<(), DriverError> {
    let what = format!("the CA file {}", file.display());
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(&what, &error.to_string(), CA_HINT))?;
    if certificates.is_empty() {
        return Err(unusable(&what, "there is no certificate in it", CA_HINT));
    }
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|error| unusable(&what, &error.to_string(), CA_HINT))?;
    }
    Ok(())
}

/// Returns what is wrong with the certificate of a server, when that is why a connection failed.
pub(crate) fn distrust(error: &(dyn Error + 'static)) -> Option<String> {
    said(cause(error)?)
}

/// Tells whether a connection failed because something without TLS answers there.
pub(crate) fn speaks_no_tls(error: &(dyn Error + 'static)) -> bool {
    matches!(cause(error), Some(rustls::Error::InvalidMessage(_)))
}

fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(one) = cause {
        if let Some(error) = one.downcast_ref::<rustls::Error>() {
            return Some(error);
        }
        // An `io::Error` leaves out in `source` the error that it was made of.
        let inner = one
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        cause = match inner {
            Some(inner) => Some(inner),
            None => one.source(),
        };
    }
    None
}

fn said(error: &rustls::Error) -> Option<String> {
    let rustls::Error::InvalidCertificate(why) = error else {
        return None;
    };
    let known = SENTENCES.iter().find(|(is, _)| is(why));
    Some(known.map_or_else(
        || format!("its certificate is not valid: {why}"),
        |(_, sentence)| (*sentence).to_owned(),
    ))
}

type Is = fn(&CertificateError) -> bool;

/// What is wrong with a certificate, in words.
const SENTENCES: [(Is, &str); 5] = [
    (
        |why| matches!(why, CertificateError::UnknownIssuer),
        "its certificate was signed by a CA that is not known here",
    ),
    (
        |why| matches!(why, CertificateError::BadSignature),
        "its certificate was not signed by the CA that it names",
    ),
    (
        |why| {
            use CertificateError::{Expired, ExpiredContext};
            matches!(why, Expired | ExpiredContext { .. })
        },
        "its certificate has expired, or this machine's clock is wrong",
    ),
    (
        |why| {
            use CertificateError::{NotValidYet, NotValidYetContext};
            matches!(why, NotValidYet | NotValidYetContext { .. })
        },
        "its certificate is not valid yet, or this machine's clock is wrong",
    ),
    (
        |why| {
            use CertificateError::{NotValidForName, NotValidForNameContext};
            matches!(why, NotValidForName | NotValidForNameContext { .. })
        },
        "its certificate is for another name",
    ),
];

/// Believes every certificate, and still checks that the server has the key that goes with it.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn unusable(what: &str, reason: &str, hint: &'static str) -> DriverError {
    DriverError::Unusable {
        what: what.to_owned(),
        reason: reason.to_owned(),
        hint,
    }
}
