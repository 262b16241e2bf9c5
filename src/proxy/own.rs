//! The upstream's own credential: header lines that an operator gave for what forebay reads by itself.
//!
//! It is held in memory only and never shown; clients get nothing by it.

use std::fmt;
use std::path::PathBuf;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::dialect::{Credential, Dialect};

/// The most that a file of header lines may have, in bytes: as much as the head of a request to Proxmox.
pub const MAX_CREDENTIAL: usize = 8 * 1024;

/// A credential of forebay's own at one upstream.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnCredential {
    fields: HeaderMap,
    /// The file that it was read from.
    pub file: PathBuf,
    /// Whether everybody on this machine may read that file.
    pub is_exposed: bool,
}

/// What is wrong with the lines of a credential; nothing of what stands in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// A line that is no field of a header.
    #[error("not a header line (`Name: value`)")]
    NotAField {
        /// Which, from 1.
        line: u32,
    },
    /// Nothing but empty lines and comments.
    #[error("there is no header line in it")]
    Empty,
    /// The API would take none of the fields for a credential.
    #[error("none of its header lines is a credential of this API")]
    NotACredential,
    /// Which credential the API would take cannot be told.
    #[error("its header lines are more than one credential, or one that cannot be read for certain")]
    Ambiguous,
    /// It is longer than any credential.
    #[error("larger than {MAX_CREDENTIAL} bytes")]
    TooLarge,
}

impl OwnCredential {
    /// The credential in the header lines of `text`, which `file` holds. Empty lines and those that begin
    /// with `#` do not count. `dialect` is the API that must take it for one, where that is known; `extra`
    /// names more fields that are one there.
    pub fn parse(
        text: &[u8],
        file: PathBuf,
        is_exposed: bool,
        dialect: Option<Dialect>,
        extra: &[HeaderName],
    ) -> Result<Self, CredentialError> {
        if text.len() > MAX_CREDENTIAL {
            return Err(CredentialError::TooLarge);
        }
        let mut fields = HeaderMap::new();
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let (name, value) = field(line).ok_or(CredentialError::NotAField { line: number })?;
            fields.append(name, value);
        }
        if fields.is_empty() {
            return Err(CredentialError::Empty);
        }
        let wrong = match dialect.map(|dialect| dialect.credential(&fields, &[])) {
            // A field that only this upstream's settings call a credential cannot be read, but is one.
            Some(Credential::Absent) if !extra.iter().any(|name| fields.contains_key(name)) => {
                Some(CredentialError::NotACredential)
            }
            Some(Credential::Ambiguous) => Some(CredentialError::Ambiguous),
            _ => None,
        };
        wrong.map_or(Ok(Self { fields, file, is_exposed }), Err)
    }

    /// The fields of a request with this credential.
    pub fn fields(&self) -> &HeaderMap {
        &self.fields
    }
}

impl CredentialError {
    /// The line that it is about, from 1; `None` when it is about all of them.
    pub fn line(self) -> Option<u32> {
        match self {
            CredentialError::NotAField { line } => Some(line),
            _ => None,
        }
    }
}

fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    let mut value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
    value.set_sensitive(true);
    (!value.is_empty()).then_some((name, value))
}

impl fmt::Debug for OwnCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnCredential").field("file", &self.file).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<OwnCredential, CredentialError> {
        let extra = [HeaderName::from_static("x-gate")];
        OwnCredential::parse(text.as_bytes(), "f".into(), false, Some(Dialect::Proxmox), &extra)
    }

    #[test]
    fn header_lines_are_a_credential_or_a_mistake_at_its_line() {
        let long = format!("Authorization: PVEAPIToken=a@pve!b={}", "c".repeat(MAX_CREDENTIAL));
        let cases = [
            ("Authorization: PVEAPIToken=a@pve!b=c", None),
            ("# a token\r\n\r\nauthorization:PVEAPIToken=a@pve!b=c\r\n", None),
            ("X-Gate: c\nAuthorization: PVEAPIToken=a@pve!b=c\n", None),
            ("X-Gate: c\n", None),
            ("", Some(CredentialError::Empty)),
            ("\n# nothing\n", Some(CredentialError::Empty)),
            ("PVEAPIToken=a@pve!b=c", Some(CredentialError::NotAField { line: 1 })),
            ("X-Gate: c\na@pve!b: c", Some(CredentialError::NotAField { line: 2 })),
            ("Authorization:", Some(CredentialError::NotAField { line: 1 })),
            ("Authorization: a\u{1}b", Some(CredentialError::NotAField { line: 1 })),
            ("Accept: */*", Some(CredentialError::NotACredential)),
            (
                "Authorization: PVEAPIToken=a@pve!b=c\nAuthorization: PVEAPIToken=a@pve!b=d",
                Some(CredentialError::Ambiguous),
            ),
            (&long, Some(CredentialError::TooLarge)),
        ];
        for (text, wrong) in cases {
            assert_eq!(parse(text).err(), wrong, "{text:.60}");
        }
    }

    #[test]
    fn nothing_shows_it() {
        let credential = parse("Authorization: PVEAPIToken=a@pve!b=hidden").expect("a credential");
        assert!(!format!("{credential:?}").contains("hidden"));
        assert!(!format!("{:?}", credential.fields()).contains("hidden"));
    }
}
