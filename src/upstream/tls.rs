//! Whom we trust and who we are, as client configurations of rustls.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::UpstreamError;
use super::config::{Alpn, TlsConfig, Trust};

mod pin;

/// TLS settings with their files read. Two of equal material make equal connections, so a reload
/// keeps its pools; changed files behind unchanged names are seen.
#[derive(Clone)]
pub(super) struct TlsSettings {
    material: Material,
    /// For connections that may speak what [`Alpn`] says.
    pub(super) any: Arc<ClientConfig>,
    /// For connections that must speak HTTP/1.1, as upgrades do.
    pub(super) http1: Arc<ClientConfig>,
}

#[derive(Clone, PartialEq, Eq)]
struct Material {
    alpn: Alpn,
    trust: TrustMaterial,
    client: Option<(Vec<CertificateDer<'static>>, Vec<u8>)>,
}

#[derive(Clone, PartialEq, Eq)]
enum TrustMaterial {
    System,
    Roots(Vec<CertificateDer<'static>>),
    Pins(Vec<[u8; 32]>),
}

impl PartialEq for TlsSettings {
    fn eq(&self, other: &Self) -> bool {
        self.material == other.material
    }
}

impl TlsSettings {
    /// Reads the files and builds the configurations.
    pub(super) fn load(config: &TlsConfig, alpn: Alpn) -> Result<Self, UpstreamError> {
        let material = Material {
            alpn,
            trust: match &config.trust {
                Trust::SystemRoots => TrustMaterial::System,
                Trust::CaFile(path) => TrustMaterial::Roots(certificates(path)?),
                Trust::Pins(pins) if pins.is_empty() => return Err(UpstreamError::NoPins),
                Trust::Pins(pins) => TrustMaterial::Pins(pins.clone()),
            },
            client: match &config.client {
                None => None,
                Some((chain, key)) => {
                    let bytes = std::fs::read(key).map_err(|source| unreadable(key, source))?;
                    Some((certificates(chain)?, bytes))
                }
            },
        };
        let key = match &config.client {
            None => None,
            Some((_, path)) => {
                let (_, bytes) = material.client.as_ref().expect("read above for the same setting");
                Some(PrivateKeyDer::from_pem_slice(bytes).map_err(|source| bad_pem(path, &source))?)
            }
        };
        let mut http1 = client_config(&material, key)?;
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut any = http1.clone();
        if alpn == Alpn::Http2Preferred {
            any.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        Ok(Self { material, any: Arc::new(any), http1: Arc::new(http1) })
    }
}

/// Reads the files that `config` names, and says what cannot be used of them.
pub fn check(config: &TlsConfig) -> Result<(), UpstreamError> {
    TlsSettings::load(config, Alpn::Http1Only).map(drop)
}

fn client_config(
    material: &Material,
    key: Option<PrivateKeyDer<'static>>,
) -> Result<ClientConfig, UpstreamError> {
    // Given explicitly, because another crate in the process may have installed another default.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(UpstreamError::Tls)?;
    let builder = match &material.trust {
        TrustMaterial::System => builder.with_root_certificates(system_roots()?),
        TrustMaterial::Roots(certificates) => builder.with_root_certificates(roots(certificates)?),
        TrustMaterial::Pins(pins) => {
            let verifier = pin::PinVerifier::new(pins.clone(), provider_with_sha256(provider)?);
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    match (&material.client, key) {
        (Some((chain, _)), Some(key)) => {
            builder.with_client_auth_cert(chain.clone(), key).map_err(UpstreamError::Tls)
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

type Sha256 = &'static dyn rustls::crypto::hash::Hash;

/// The provider with the SHA-256 that its TLS 1.3 suites use.
fn provider_with_sha256(
    provider: Arc<CryptoProvider>,
) -> Result<(Arc<CryptoProvider>, Sha256), UpstreamError> {
    let sha256 = provider
        .cipher_suites
        .iter()
        .filter_map(|suite| suite.tls13())
        .map(|suite| suite.common.hash_provider)
        .find(|hash| hash.algorithm() == rustls::crypto::hash::HashAlgorithm::SHA256)
        .ok_or_else(|| UpstreamError::Tls(rustls::Error::General("no SHA-256".into())))?;
    Ok((provider, sha256))
}

fn system_roots() -> Result<RootCertStore, UpstreamError> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    // Single odd certificates are common in system stores and harm nobody.
    store.add_parsable_certificates(found.certs);
    if store.is_empty() { Err(UpstreamError::NoSystemRoots) } else { Ok(store) }
}

fn roots(certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, UpstreamError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        store.add(certificate.clone()).map_err(UpstreamError::Tls)?;
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, UpstreamError> {
    let bytes = std::fs::read(path).map_err(|source| unreadable(path, source))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(list) if list.is_empty() => {
            Err(UpstreamError::Pem { path: path.into(), reason: "it holds no certificate".into() })
        }
        Ok(list) => Ok(list),
        Err(source) => Err(bad_pem(path, &source)),
    }
}

fn unreadable(path: &Path, source: std::io::Error) -> UpstreamError {
    UpstreamError::File { path: PathBuf::from(path), source }
}

fn bad_pem(path: &Path, source: &rustls_pki_types::pem::Error) -> UpstreamError {
    UpstreamError::Pem { path: PathBuf::from(path), reason: source.to_string() }
}
