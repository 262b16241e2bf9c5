//! Which reads the API itself must answer, each for its own caller, and what besides path, query and
//! credential chooses among answers.

use http::{HeaderMap, Method};

use super::{Dialect, azure};

impl Dialect {
    /// Whether a read is answered by the API alone, whatever a rule says: what it shows belongs to one
    /// caller or one moment, or its fields ask for something else than what is kept. `path` is as
    /// [`Dialect::read_path`] gives it.
    pub fn passes(self, method: &Method, path: &str, query: Option<&str>, headers: &HeaderMap) -> bool {
        match self {
            Dialect::Azure => azure::passes(method, path, query, headers),
            Dialect::Proxmox | Dialect::Plain => false,
        }
    }

    /// The value of a field by which the API chooses among the answers to one request, if there is one.
    pub fn variant(self, headers: &HeaderMap) -> Option<&[u8]> {
        match self {
            Dialect::Azure => azure::variant(headers),
            Dialect::Proxmox | Dialect::Plain => None,
        }
    }
}
