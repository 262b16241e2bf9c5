//! Certificates for hosts that are not ours, for clients that trust our CA to speak for them.
//!
//! They are made when they are first needed and held in memory alone: a key that speaks for somebody else's
//! host has no place on a disk, and a restart costs its clients nothing, since it is the CA that they know.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use time::Duration;

use super::CertError;
use super::authority::Authority;
use crate::clock;
use crate::server::tls::provider;

/// How long one is valid. Nobody revokes them, so it is short, and so long that a client whose clock is days
/// off is served.
const LIFETIME: Duration = Duration::days(8);

/// How old one is when the next is made. What is left is for connections that have just begun.
const RENEW_AFTER: std::time::Duration = std::time::Duration::from_secs(3 * 24 * 3600);

/// The CA, and what it has minted.
pub struct Mint {
    authority: Authority,
    made: Mutex<HashMap<String, (SystemTime, Arc<CertifiedKey>)>>,
}

/// The certificate for one name, renewed by itself.
pub struct Minted {
    mint: Arc<Mint>,
    name: String,
}

impl Mint {
    /// The CA of `directory`, which is made if there is none. `before` goes on if that is still its CA.
    /// Blocks on files.
    pub fn load(directory: &Path, before: Option<&Arc<Mint>>) -> Result<Arc<Self>, CertError> {
        let authority = Authority::make_or_load(directory)?;
        Ok(match before {
            Some(before) if before.authority.certificate() == authority.certificate() => Arc::clone(before),
            _ => Arc::new(Self { authority, made: Mutex::default() }),
        })
    }

    /// The certificate for `name`: a host, an address, or `*.` and a domain.
    pub fn certificate(self: &Arc<Self>, name: &str) -> Result<Arc<Minted>, CertError> {
        self.current(name)?;
        Ok(Arc::new(Minted { mint: Arc::clone(self), name: name.to_owned() }))
    }

    /// The file that clients are told to trust.
    pub fn ca_path(&self) -> PathBuf {
        self.authority.path().to_path_buf()
    }

    /// The CA's SHA-256, in lower-case hexadecimal.
    pub fn ca_fingerprint_sha256(&self) -> String {
        self.authority.fingerprint_sha256()
    }

    fn current(&self, name: &str) -> Result<Arc<CertifiedKey>, CertError> {
        let now = clock::wall();
        let mut made = self.made.lock();
        // A clock that was set back makes an age that cannot be told: then there is a new one as well.
        if let Some((at, key)) = made.get(name)
            && now.duration_since(*at).is_ok_and(|age| age < RENEW_AFTER)
        {
            return Ok(Arc::clone(key));
        }
        let issued = self.authority.issue_for(&[name.to_owned()], LIFETIME)?;
        let key = Arc::new(CertifiedKey::from_der(issued.chain, issued.key, &provider())?);
        made.insert(name.to_owned(), (now, Arc::clone(&key)));
        Ok(key)
    }
}

impl ResolvesServerCert for Minted {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.mint.current(&self.name);
        current.inspect_err(|error| tracing::error!(%error, "cannot mint a certificate")).ok()
    }
}

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minted").field("name", &self.name).finish_non_exhaustive()
    }
}
