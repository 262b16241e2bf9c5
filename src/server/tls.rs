//! TLS towards clients: from files or the private CA to one immutable configuration.
//!
//! A reload builds a whole new configuration, session tickets included, and swaps it in; a file that
//! cannot be used leaves the old one in place.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::certs::{Issued, Minted};
use super::{Protocols, ServerError, TlsIn, certs};

/// The one cryptography provider of this module.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Reads what `tls` names and builds a configuration from it. Blocks on files.
pub fn configure(
    tls: &TlsIn,
    protocols: Protocols,
    listen: std::net::IpAddr,
) -> Result<Arc<ServerConfig>, ServerError> {
    let (chain, key, client_ca) = match tls {
        TlsIn::Auto { certs } => {
            let made = certs::make_or_load(certs, Some(listen))?;
            (made.certificate_chain, made.key, None)
        }
        TlsIn::Files { certificate, key, client_ca } => {
            (read_certificates(certificate)?, read_key(key)?, client_ca.as_deref())
        }
    };
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let unusable = |reason: String| ServerError::File { path: path.to_path_buf(), reason };
            let mut roots = RootCertStore::empty();
            for certificate in read_certificates(path)? {
                roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
                .build()
                .map_err(|error| unusable(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    finished(builder.with_single_cert(chain, key)?, protocols)
}

/// The configuration for a host whose certificate is minted.
pub fn minted(certificate: Arc<Minted>, protocols: Protocols) -> Result<Arc<ServerConfig>, ServerError> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    finished(builder.with_no_client_auth().with_cert_resolver(certificate), protocols)
}

/// The configuration for names with one certificate that is on no disk.
pub fn issued(certificate: Issued, protocols: Protocols) -> Result<Arc<ServerConfig>, ServerError> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let Issued { chain, key } = certificate;
    finished(builder.with_no_client_auth().with_single_cert(chain, key)?, protocols)
}

fn finished(mut config: ServerConfig, protocols: Protocols) -> Result<Arc<ServerConfig>, ServerError> {
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    // A client of an API resumes one connection with one ticket; the second of the default only costs, about
    // 3 % of a full handshake.
    config.send_tls13_tickets = 1;
    if protocols.http2 {
        config.alpn_protocols.push(b"h2".to_vec());
    }
    if protocols.http1 {
        config.alpn_protocols.push(b"http/1.1".to_vec());
    }
    Ok(Arc::new(config))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ServerError> {
    let unusable = |reason: String| ServerError::File { path: path.to_path_buf(), reason };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(error.to_string()))?;
    if certificates.is_empty() {
        return Err(unusable("there is no certificate in it".into()));
    }
    Ok(certificates)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, ServerError> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| ServerError::File { path: path.to_path_buf(), reason: error.to_string() })
}
