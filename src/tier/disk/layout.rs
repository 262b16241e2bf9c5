//! What the numbers in keys mean: which upstream has which, and since when each meaning of a rule is in
//! force. A start takes them over as a reload does. They are taken away before they change and put there
//! anew afterwards; a store without them counts for nothing.

use serde::{Deserialize, Serialize};

use super::error::DiskError;
use super::home::{Home, read};
use crate::cache::key::Secret;

const FILE: &str = "layout";

/// The numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// No upstream ever had this number, or a higher one.
    pub next_site: u32,
    /// The upstreams that were served.
    pub sites: Vec<KnownSite>,
    /// No meaning of a rule came into force at this number, or a higher one.
    pub next_epoch: u64,
    /// The meanings in force: upstream, fingerprint, and the number at which it came into force.
    pub epochs: Vec<(u32, u64, u64)>,
}

/// An upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownSite {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: u32,
    /// Its endpoints.
    pub endpoints: Vec<u64>,
    /// What else tells one API from another: its dialect, its fields that are a credential.
    pub meaning: String,
}

impl Layout {
    pub(super) fn load(home: &Home, secret: &Secret) -> Option<Self> {
        let bytes = read(&home.file(FILE)).ok()?;
        let (seal, text) = bytes.split_at_checked(8)?;
        (seal == secret.seal(b'l', &[text]).to_le_bytes())
            .then(|| serde_json::from_slice(text).ok())
            .flatten()
    }

    pub(super) fn save(&self, home: &Home, secret: &Secret) -> Result<(), DiskError> {
        let text = serde_json::to_vec(self).expect("numbers and names, which JSON can hold");
        let bytes = [&secret.seal(b'l', &[&text]).to_le_bytes()[..], &text].concat();
        home.replace(FILE, &bytes).map(drop)
    }

    pub(super) fn remove(home: &Home) -> Result<(), DiskError> {
        let path = home.file(FILE);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(DiskError { path, source: error })
            }
            _ => Ok(()),
        }
    }
}
