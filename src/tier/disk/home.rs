//! The directory of a store: whose it is, its secret, its files.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::error::DiskError;
use crate::cache::key::Secret;

/// A secret has so many bytes.
const SECRET: usize = 16;

/// A directory that nobody else uses while this lives.
pub(super) struct Home {
    path: PathBuf,
    /// The kernel gives the lock back when this is closed, however the process ends.
    lock: File,
}

impl Home {
    /// Makes the directory if it is not there, for us alone, and takes it for this process.
    pub fn take(path: &Path) -> Result<Self, DiskError> {
        if !path.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(DiskError::at(path))?;
        }
        let file = path.join("lock");
        let lock = private(&file, OpenOptions::new().write(true).create(true).truncate(false))
            .map_err(DiskError::at(&file))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            let held = "another process uses this directory";
            let source = match io::Error::from(error) {
                e if e.kind() == io::ErrorKind::WouldBlock => io::Error::new(e.kind(), held),
                e => e,
            };
            DiskError { path: file, source }
        })?;
        Ok(Self { path: path.to_path_buf(), lock })
    }

    /// Lets another process have it, though this value still lives.
    pub fn release(&self) {
        let _given_back_at_the_end_anyway = flock(&self.lock, FlockOperation::Unlock);
    }

    /// The secret of everything here, made when there is none, and whether it was there.
    pub fn secret(&self) -> Result<(Secret, bool), DiskError> {
        let path = self.file("secret");
        let at = DiskError::at(&path);
        match read(&path) {
            Ok(bytes) => {
                if let Ok(bytes) = <[u8; SECRET]>::try_from(&bytes[..]) {
                    // Whoever could read it so far may have; from here on nobody else can.
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(at)?;
                    return Ok((Secret::from_bytes(&bytes), true));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(error)),
        }
        let mut bytes = [0; SECRET];
        let filled = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
        assert_eq!(filled, Ok(SECRET), "the operating system gives random numbers");
        self.replace("secret", &bytes)?;
        Ok((Secret::from_bytes(&bytes), false))
    }

    /// A file of the store.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Puts `bytes` in place of the file `name`, as a whole.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<File, DiskError> {
        let (path, new) = (self.file(name), self.file(&format!("{name}.new")));
        let replaced = || {
            let _left_by_a_kill = fs::remove_file(&new);
            let mut file = private(&new, OpenOptions::new().read(true).write(true).create_new(true))?;
            file.write_all(bytes)?;
            fs::rename(&new, &path)?;
            Ok(file)
        };
        replaced().map_err(DiskError::at(&path))
    }

    /// The names of the segments, the oldest first.
    pub fn segments(&self) -> Result<Vec<(u32, PathBuf)>, DiskError> {
        let listed = || {
            let mut found = Vec::new();
            for entry in fs::read_dir(&self.path)? {
                let path = entry?.path();
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                if let Some(number) = name.strip_suffix(".segment").and_then(|number| number.parse().ok()) {
                    found.push((number, path));
                }
            }
            found.sort();
            Ok(found)
        };
        listed().map_err(DiskError::at(&self.path))
    }

    /// Puts what cannot be used aside, in place of what was put aside before.
    pub fn put_aside(&self, name: &str) -> io::Result<()> {
        match fs::rename(self.file(name), self.file("unusable")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Leaves nothing that a later process could take for the last known state.
    pub fn empty(&self) -> Result<(), DiskError> {
        // Without the table nothing else counts.
        self.put_aside("table").map_err(DiskError::at(&self.file("table")))?;
        for (_, path) in self.segments()? {
            fs::remove_file(&path).map_err(DiskError::at(&path))?;
        }
        Ok(())
    }
}

/// Opens a file that only we may read, if this makes it.
pub(super) fn private(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.mode(0o600).open(path)
}

/// The whole of a small file.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    /// More than any file of ours but the segments has.
    const MOST: u64 = 16 << 20;
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST).read_to_end(&mut bytes)?;
    Ok(bytes)
}
