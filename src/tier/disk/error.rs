//! What can be wrong with a store, and how it is counted.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use metrics::Counter;
use parking_lot::Mutex;
use thiserror::Error;

use crate::clock::{Clock, Timestamp};
use crate::telemetry::Registry;

/// The same trouble is logged once in so long; it is counted each time.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// What an operator has to do where a store knows nothing of what was overtaken.
pub(super) const BY_HAND: &str =
    "it could not be emptied: unless it can before this process ends, remove its files by hand";

/// What is wrong: the labels of `forebay_disk_errors_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Another process has it.
    Locked,
    /// We may not use it.
    Denied,
    /// Nothing can be written there.
    ReadOnly,
    /// No room is left.
    Full,
    /// It is not there.
    Missing,
    /// A checksum does not fit.
    Corrupt,
    /// It does not answer in time.
    Slow,
    /// Anything else.
    Failed,
}

impl Trouble {
    const ALL: [Trouble; 8] = [
        Trouble::Locked,
        Trouble::Denied,
        Trouble::ReadOnly,
        Trouble::Full,
        Trouble::Missing,
        Trouble::Corrupt,
        Trouble::Slow,
        Trouble::Failed,
    ];

    /// The word of the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Trouble::Locked => "locked",
            Trouble::Denied => "denied",
            Trouble::ReadOnly => "read-only",
            Trouble::Full => "full",
            Trouble::Missing => "missing",
            Trouble::Corrupt => "corrupt",
            Trouble::Slow => "slow",
            Trouble::Failed => "failed",
        }
    }

    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Trouble::Denied,
            io::ErrorKind::ReadOnlyFilesystem => Trouble::ReadOnly,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Trouble::Full
            }
            io::ErrorKind::NotFound => Trouble::Missing,
            io::ErrorKind::WouldBlock => Trouble::Locked,
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Trouble::Corrupt,
            io::ErrorKind::TimedOut => Trouble::Slow,
            _ => Trouble::Failed,
        }
    }
}

/// A store cannot be used.
#[derive(Debug, Error)]
#[error("{path}: {source}")]
pub struct DiskError {
    /// What of it.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl DiskError {
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { path: path.to_path_buf(), source }
    }

    /// What is wrong.
    pub fn trouble(&self) -> Trouble {
        Trouble::of(&self.source)
    }
}

/// Counts and logs trouble.
pub(super) struct Troubles {
    counters: [Counter; Trouble::ALL.len()],
    logged: Mutex<[Option<Timestamp>; Trouble::ALL.len()]>,
    clock: Clock,
}

impl Troubles {
    pub fn new(registry: &Registry, clock: Clock) -> Self {
        let counters = Trouble::ALL
            .map(|trouble| registry.counter("forebay_disk_errors_total", &[("kind", trouble.as_str())]));
        Self { counters, logged: Mutex::default(), clock }
    }

    /// Counts `trouble`, and logs what it `costs` unless that was said a moment ago.
    pub fn note(&self, trouble: Trouble, what: &dyn std::fmt::Display, costs: &str) {
        let place = trouble as usize;
        self.counters[place].increment(1);
        let now = self.clock.now();
        let mut logged = self.logged.lock();
        if logged[place].is_none_or(|at| now.since(at) >= LOG_EVERY) {
            logged[place] = Some(now);
            tracing::warn!(kind = trouble.as_str(), "cache.disk: {what}; {costs}");
        }
    }

    pub fn note_error(&self, error: &DiskError, costs: &str) {
        self.note(error.trouble(), error, costs);
    }
}
