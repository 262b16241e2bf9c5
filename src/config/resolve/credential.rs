//! The file with an upstream's own credential: read, never shown.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use http::HeaderName;

use super::Resolver;
use crate::dialect::Dialect;
use crate::proxy::{CredentialError, MAX_CREDENTIAL, OwnCredential};
use crate::rules::document::Step;
use crate::rules::{Diagnostic, Severity};

/// Read by everybody on the machine.
const FOR_OTHERS: u32 = 0o004;

impl Resolver<'_> {
    /// The credential in the file that the key at `here` names. What is wrong with the file is said at the
    /// key, what is wrong in it at its line, and never with a word of its content.
    pub(super) fn credential(
        &mut self,
        here: &[Step],
        file: &str,
        dialect: Option<Dialect>,
        extra: &[HeaderName],
    ) -> Option<OwnCredential> {
        let path = self.directory.join(file);
        let mut text = Vec::new();
        let read = File::open(&path).and_then(|opened| {
            let mode = opened.metadata()?.permissions().mode();
            opened.take(MAX_CREDENTIAL as u64 + 1).read_to_end(&mut text)?;
            Ok(mode)
        });
        let mode = match read {
            Ok(mode) => mode,
            Err(error) => {
                self.error(here, format!("`{file}` cannot be read: {error}"));
                return None;
            }
        };
        let is_exposed = mode & FOR_OTHERS != 0;
        if is_exposed {
            let message = format!("everybody on this machine may read `{file}`: chmod 600 {file}");
            let diagnostic = self.document.error(here, message);
            self.diagnostics.push(Diagnostic { severity: Severity::Warning, ..diagnostic });
        }
        match OwnCredential::parse(&text, path.clone(), is_exposed, dialect, extra) {
            Ok(credential) => Some(credential),
            Err(error) => {
                self.wrong_credential(&path.display().to_string(), error);
                None
            }
        }
    }

    fn wrong_credential(&mut self, source: &str, error: CredentialError) {
        let whole = Diagnostic::whole_file(source, error.to_string());
        self.diagnostics.push(match error.line() {
            Some(line) => Diagnostic { line, column: 1, ..whole },
            None => whole,
        });
    }
}
