//! What is wrong with a file, and where: one line per mistake, `file:line:column: message`.
//!
//! Shared by rule packs and the configuration. A diagnostic is for the operator's terminal; it never
//! carries a credential, only the names and values that stand in the file.

use std::fmt;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file can be used, but probably does not say what was meant.
    Warning,
    /// The file cannot be used.
    Error,
}

/// One mistake in one file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Diagnostic {
    /// The file as it was named, or the name of a built-in pack.
    pub source: String,
    /// The line, from 1; 0 when the mistake is about the file as a whole.
    pub line: u32,
    /// The column, from 1; 0 when the mistake is about the file as a whole.
    pub column: u32,
    /// Whether the file can still be used.
    pub severity: Severity,
    /// What is wrong, and what to write instead.
    pub message: String,
}

impl Diagnostic {
    /// A mistake about the file as a whole: it cannot be read, or is too large.
    pub fn whole_file(source: &str, message: impl Into<String>) -> Self {
        Self {
            source: source.to_owned(),
            line: 0,
            column: 0,
            severity: Severity::Error,
            message: message.into(),
        }
    }

    /// Whether the file cannot be used.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        let label = if self.is_error() { "" } else { "warning: " };
        write!(f, ": {label}{}", self.message)
    }
}

impl std::error::Error for Diagnostic {}
