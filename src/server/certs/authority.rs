//! The private CA: loading it, making it, and issuing certificates with it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::{Duration, OffsetDateTime};

use super::CertError;
use super::store::Store;
use crate::clock;

const AUTHORITY_LIFETIME: Duration = Duration::days(3650);
/// The longest that all clients accept from a private CA.
const CERTIFICATE_LIFETIME: Duration = Duration::days(825);
/// Clients whose clock is behind must not reject what was made just now.
const BACKDATED: Duration = Duration::days(1);

/// The CA of one directory.
pub struct Authority {
    path: PathBuf,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that the CA has issued, with its key.
#[derive(Debug)]
pub struct Issued {
    /// The certificate; the CA itself is not in it.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its private key.
    pub key: PrivateKeyDer<'static>,
}

impl Authority {
    /// Loads the CA of `directory`, and makes it if there is none. Blocks on files.
    pub fn make_or_load(directory: &Path) -> Result<Self, CertError> {
        let store = Store::new(directory);
        if let Some(authority) = Self::load_from(&store)? {
            return Ok(authority);
        }
        let _lock = store.lock()?;
        Self::make_or_load_from(&store)
    }

    /// The CA in `store`; the caller holds its lock.
    pub(super) fn make_or_load_from(store: &Store) -> Result<Self, CertError> {
        if let Some(authority) = Self::load_from(store)? {
            return Ok(authority);
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = lifetime(AUTHORITY_LIFETIME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = rcgen::DistinguishedName::new();
        // A trust store may hold several of them: their names must differ.
        let name = format!("forebay private CA {:08x}", fastrand::u32(..));
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key)?;
        store.write_authority(&certificate.pem(), &key.serialize_pem())?;
        tracing::info!(path = %store.authority_path().display(), "made a private CA");
        let certificate = certificate.der().clone();
        Ok(Self { path: store.authority_path(), certificate, issuer: Issuer::new(params, key) })
    }

    pub(super) fn load_from(store: &Store) -> Result<Option<Self>, CertError> {
        let Some((certificate, key)) = store.read_authority()? else { return Ok(None) };
        let path = store.authority_path();
        let unusable = |reason: String| CertError::UnusableAuthority { path: path.clone(), reason };
        let certificate =
            CertificateDer::from_pem_slice(&certificate).map_err(|error| unusable(error.to_string()))?;
        let key = KeyPair::from_pem(&key).map_err(|error| unusable(error.to_string()))?;
        if !holds(&certificate, key.public_key_raw()) {
            return Err(unusable("the key is another certificate's".into()));
        }
        let issuer =
            Issuer::from_ca_cert_der(&certificate, key).map_err(|error| unusable(error.to_string()))?;
        Ok(Some(Self { path, certificate, issuer }))
    }

    /// A certificate for a server with these names and addresses, with a key of its own.
    pub fn issue(&self, names: &[String]) -> Result<Issued, CertError> {
        self.issue_for(names, CERTIFICATE_LIFETIME)
    }

    /// The same with a lifetime.
    pub(super) fn issue_for(&self, names: &[String], valid: Duration) -> Result<Issued, CertError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(names)?;
        (params.not_before, params.not_after) = lifetime(valid);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.distinguished_name = rcgen::DistinguishedName::new();
        // A common name has 64 characters at most; clients read the alternative names anyway.
        let name = names.iter().find(|name| name.len() <= 64).map_or("forebay", String::as_str);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        Ok(Issued { chain: vec![certificate.der().clone()], key })
    }

    /// The file that clients are told to trust.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The CA's certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The SHA-256 of the CA's certificate, in lower-case hexadecimal.
    pub fn fingerprint_sha256(&self) -> String {
        let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
        let suite = suite.tls13().expect("the constant is a TLS 1.3 suite");
        let digest = suite.common.hash_provider.hash(&self.certificate);
        digest.as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Whether a certificate carries this public key; its point is unique enough to be searched for.
fn holds(certificate: &[u8], public_key: &[u8]) -> bool {
    memchr::memmem::find(certificate, public_key).is_some()
}

fn lifetime(lifetime: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::from(clock::wall());
    // The day before counts: no client may see more than the lifetime.
    (now - BACKDATED, now - BACKDATED + lifetime)
}
