//! A private CA and a certificate for this machine, made once and kept in a directory.
//!
//! `ca.pem` is what clients are told to trust, so it is made once and never replaced: if its files cannot be
//! used that is an error. `server.pem` is ours to renew: it is made again when it is about to expire, lacks a
//! name, or does not belong to the CA and its key. Private keys are readable by their owner only.
//!
//! Invariant: every file is complete from the moment it has its name, and one process at a time makes them.

mod authority;
mod mint;
mod store;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::{RootCertStore, sign::CertifiedKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

pub use self::authority::{Authority, Issued};
pub use self::mint::{Mint, Minted};
use self::store::Store;
use super::tls::provider;
use crate::clock;

/// A certificate with less than this left is made again.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a listener needs to serve TLS with a certificate of its own.
pub struct AutoCertificate {
    /// The file that clients are told to trust.
    pub ca_path: PathBuf,
    /// The SHA-256 of the CA certificate, in lower-case hexadecimal.
    pub ca_fingerprint_sha256: String,
    /// The server certificate; the CA itself is not sent.
    pub certificate_chain: Vec<CertificateDer<'static>>,
    /// Its private key.
    pub key: PrivateKeyDer<'static>,
}

/// Why certificates could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// A file or the directory cannot be read or written.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The CA's files are there and cannot be used; they are never replaced.
    #[error("{} and its key are no usable CA: {reason}", path.display())]
    UnusableAuthority {
        /// The CA's certificate.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Making a certificate failed.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// What was made is of no use.
    #[error("cannot use a certificate that was made: {0}")]
    Use(#[from] rustls::Error),
}

/// Loads the CA and the server certificate from `directory`, and makes what is missing or due: for
/// `localhost`, the loopback addresses, the machine's name and `listen`. Blocks on files. A directory that
/// holds all of them may be read-only.
pub fn make_or_load(directory: &Path, listen: Option<IpAddr>) -> Result<AutoCertificate, CertError> {
    let names = names(listen);
    let store = Store::new(directory);
    if let Some(authority) = Authority::load_from(&store)?
        && let Some(issued) = load_server(&store, &authority, &names)
    {
        return Ok(served(authority, issued));
    }
    let _lock = store.lock()?;
    let authority = Authority::make_or_load_from(&store)?;
    // Another process may have made them before this one had the lock.
    if let Some(issued) = load_server(&store, &authority, &names) {
        return Ok(served(authority, issued));
    }
    // Names that another listener needed stay, or two listeners would replace each other's certificate.
    let mut wanted = names;
    for name in store.read_names() {
        if !wanted.contains(&name) {
            wanted.push(name);
        }
    }
    let issued = authority.issue(&wanted)?;
    store.write_server(&issued, &wanted)?;
    Ok(served(authority, issued))
}

fn served(authority: Authority, issued: Issued) -> AutoCertificate {
    AutoCertificate {
        ca_path: authority.path().to_path_buf(),
        ca_fingerprint_sha256: authority.fingerprint_sha256(),
        certificate_chain: issued.chain,
        key: issued.key,
    }
}

/// The server certificate on file, if it serves `names` for long enough.
fn load_server(store: &Store, authority: &Authority, names: &[String]) -> Option<Issued> {
    let (certificate, key) = store.read_server()?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&certificate).collect::<Result<_, _>>().ok()?;
    let key = PrivateKeyDer::from_pem_slice(&key).ok()?;
    let provider = provider();
    CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider).ok()?.keys_match().ok()?;
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone()).ok()?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()?;
    let since_epoch = clock::wall().duration_since(std::time::UNIX_EPOCH).ok()?;
    for now in [since_epoch, since_epoch + RENEW_BEFORE] {
        for name in names {
            let name = ServerName::try_from(name.as_str()).ok()?;
            verifier
                .verify_server_cert(chain.first()?, &[], &name, &[], UnixTime::since_unix_epoch(now))
                .ok()?;
        }
    }
    Some(Issued { chain, key })
}

/// The names that a certificate of this machine must have.
fn names(listen: Option<IpAddr>) -> Vec<String> {
    let mut names = vec![
        "localhost".to_owned(),
        IpAddr::from(Ipv4Addr::LOCALHOST).to_string(),
        IpAddr::from(Ipv6Addr::LOCALHOST).to_string(),
    ];
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim().to_ascii_lowercase();
    let listen = listen.filter(|address| !address.is_unspecified()).map(|address| address.to_string());
    for name in [Some(host), listen].into_iter().flatten() {
        // A machine may have a name that no certificate can carry.
        if ServerName::try_from(name.as_str()).is_ok() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
