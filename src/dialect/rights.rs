//! What an API tells of a caller's rights, so that two callers with the same may share answers.

use super::{Dialect, Principal, proxmox};

impl Dialect {
    /// The path and query of the read that tells all rights of whoever asks, and of nobody else;
    /// `None` where there is none.
    pub fn rights_read(self) -> Option<&'static str> {
        match self {
            Dialect::Proxmox => Some(proxmox::rights::READ),
            Dialect::Azure | Dialect::Plain => None,
        }
    }

    /// What a success for [`Dialect::rights_read`] says, in one form for equal rights however the API
    /// orders it. `None` when it cannot be read for certain, or tells of no rights at all.
    pub fn rights_told(self, body: &[u8]) -> Option<Vec<u8>> {
        match self {
            Dialect::Proxmox => proxmox::rights::told(body),
            Dialect::Azure | Dialect::Plain => None,
        }
    }

    /// Whether the API asks for nothing but rights when it answers `principal`.
    pub fn is_judged_by_rights(self, principal: &Principal) -> bool {
        match self {
            Dialect::Proxmox => proxmox::rights::decide(principal),
            Dialect::Azure | Dialect::Plain => false,
        }
    }

    /// Templates of the reads whose answers depend on who asks beyond the rights, as
    /// [`Dialect::read_path`] gives their paths.
    pub fn beyond_rights(self) -> &'static [&'static str] {
        match self {
            Dialect::Proxmox => &proxmox::rights::BEYOND,
            Dialect::Azure | Dialect::Plain => &[],
        }
    }
}
