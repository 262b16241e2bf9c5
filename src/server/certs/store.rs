//! The files of the certificate directory.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustls_pki_types::PrivateKeyDer;

use super::CertError;
use super::authority::Issued;

const CA: &str = "ca.pem";
const CA_KEY: &str = "ca-key.pem";
const SERVER: &str = "server.pem";
const SERVER_KEY: &str = "server-key.pem";
const LOCK: &str = ".lock";
/// The line in `server.pem`, before the certificate, that tells which names it was made for.
const NAMES: &str = "Names: ";

pub(super) struct Store(PathBuf);

impl Store {
    pub(super) fn new(directory: &Path) -> Self {
        Self(directory.to_path_buf())
    }

    pub(super) fn authority_path(&self) -> PathBuf {
        self.0.join(CA)
    }

    /// Waits until no other process makes certificates here; the lock is released with the file.
    pub(super) fn lock(&self) -> Result<File, CertError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(failed(&self.0))?;
        let path = self.0.join(LOCK);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed(&path))?;
        flock(&file, FlockOperation::LockExclusive).map_err(|errno| failed(&path)(errno.into()))?;
        Ok(file)
    }

    /// The CA's certificate and key, or nothing if the certificate is missing.
    pub(super) fn read_authority(&self) -> Result<Option<(Vec<u8>, String)>, CertError> {
        let (certificate, key) = (self.0.join(CA), self.0.join(CA_KEY));
        let certificate = match fs::read(&certificate) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(failed(&certificate))?,
        };
        // The key is written first, so a certificate without one was not made by us.
        let key = fs::read_to_string(&key).map_err(failed(&key))?;
        Ok(Some((certificate, key)))
    }

    pub(super) fn write_authority(&self, certificate: &str, key: &str) -> Result<(), CertError> {
        self.write(CA_KEY, key.as_bytes(), 0o600)?;
        self.write(CA, certificate.as_bytes(), 0o644)
    }

    pub(super) fn read_server(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        Some((fs::read(self.0.join(SERVER)).ok()?, fs::read(self.0.join(SERVER_KEY)).ok()?))
    }

    /// A reader that meets the new key with the old certificate finds that they do not match, takes the
    /// lock and reads again.
    pub(super) fn write_server(&self, issued: &Issued, names: &[String]) -> Result<(), CertError> {
        let PrivateKeyDer::Pkcs8(key) = &issued.key else { return Ok(()) };
        let key = pem("PRIVATE KEY", key.secret_pkcs8_der());
        let certificates: String = issued.chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
        let certificate = format!("{NAMES}{}\n{certificates}", names.join(" "));
        self.write(SERVER_KEY, key.as_bytes(), 0o600)?;
        self.write(SERVER, certificate.as_bytes(), 0o644)
    }

    /// The names that the certificate on file was made for.
    pub(super) fn read_names(&self) -> Vec<String> {
        let text = fs::read_to_string(self.0.join(SERVER)).unwrap_or_default();
        let names = text.lines().find_map(|line| line.strip_prefix(NAMES)).unwrap_or_default();
        names.split_whitespace().map(str::to_owned).collect()
    }

    /// Writes a file that has its name only once it is complete and on disk.
    fn write(&self, name: &str, content: &[u8], mode: u32) -> Result<(), CertError> {
        let path = self.0.join(name);
        let temporary = self.0.join(format!(".{name}.{}", std::process::id()));
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
            // A file left behind by a crash keeps its own mode.
            file.set_permissions(Permissions::from_mode(mode))?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(failed(&path))
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> CertError {
    let path = path.to_path_buf();
    move |source| CertError::Io { path, source }
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
