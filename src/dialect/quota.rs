//! Which of the API's buckets a call is charged to, and how its answers tell of them.

use http::Method;
use smallvec::SmallVec;

use super::{Credential, Dialect, azure};
use crate::semantics::quota::{Charges, QuotaReading};

/// A call, as far as it is charged for.
#[derive(Clone, Copy, Debug)]
pub struct Charged<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path as [`Dialect::read_path`] gives it.
    pub path: &'a str,
    /// The query as it is sent.
    pub query: Option<&'a str>,
    /// Who pays, an opaque number.
    pub payer: u128,
}

/// The name of whom the API charges.
pub type Payer = SmallVec<[u8; 80]>;

impl Dialect {
    /// How answers tell of the API's buckets; `None` where it has none that are known. Then
    /// [`Dialect::charges`] is never asked.
    pub fn quota_reading(self) -> Option<QuotaReading> {
        match self {
            Dialect::Azure => Some(azure::QUOTA_READING),
            Dialect::Proxmox | Dialect::Plain => None,
        }
    }

    /// The buckets that a call is charged to, in the order in which it reserves them: those of the caller
    /// alone first, since whoever waits holds what it has, and then each that more share than the last. `key` makes the number of a bucket from what it belongs to.
    pub fn charges(self, call: Charged<'_>, key: &dyn Fn(&[&[u8]]) -> u128) -> Charges {
        match self {
            Dialect::Azure => azure::charges(call, key),
            Dialect::Proxmox | Dialect::Plain => Charges::new(),
        }
    }

    /// Whether a read asks how an operation goes on: few do, and what is true hangs on the answer. `path` is
    /// as [`Dialect::read_path`] gives it.
    pub fn is_poll(self, path: &str) -> bool {
        match self {
            Dialect::Azure => azure::is_poll(path),
            Dialect::Proxmox | Dialect::Plain => false,
        }
    }

    /// Whom the API charges for calls with this credential, by what it claims: to be asked only about one
    /// that the API has accepted.
    pub fn payer(self, credential: &Credential<'_>) -> Option<Payer> {
        match (self, credential) {
            (Dialect::Azure, Credential::Present(parts)) => azure::payer(parts.last()?),
            _ => None,
        }
    }
}
