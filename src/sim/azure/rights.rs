//! Who may do what: role assignments on scopes, inherited downwards.

use super::answer::Reply;
use super::call::Call;
use super::estate::Estate;

/// The three built-in roles that matter here, each with the rights of those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads.
    Reader,
    /// Reads and writes everything but role assignments and locks.
    Contributor,
    /// Everything.
    Owner,
}

impl Role {
    /// The last part of the built-in role's id.
    pub(super) fn definition(self) -> &'static str {
        match self {
            Self::Reader => "acdd72a7-3385-48ef-bd42-f606fba81ae7",
            Self::Contributor => "b24988ac-6180-42a0-ab88-20f7382dd24c",
            Self::Owner => "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
        }
    }

    pub(super) fn of_definition(id: &str) -> Option<Self> {
        let last = id.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        [Self::Reader, Self::Contributor, Self::Owner].into_iter().find(|role| role.definition() == last)
    }
}

/// A role given to a principal on a scope.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    pub(super) name: String,
    /// The scope in lower case without the first slash.
    pub(super) scope: String,
    pub(super) object: String,
    pub(super) role: Role,
}

/// Whether `key` is `scope` or lies below it.
pub(super) fn covers(scope: &str, key: &str) -> bool {
    key.strip_prefix(scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || scope.is_empty())
}

impl Estate {
    /// The best role that a principal has on `key`.
    pub(super) fn role(&self, object: &str, key: &str) -> Option<Role> {
        let of = self.assignments.iter().filter(|one| one.object == object && covers(&one.scope, key));
        of.map(|one| one.role).max()
    }

    /// Whether a principal has any role on or below `key`: it then sees that the scope is there.
    pub(super) fn sees(&self, object: &str, key: &str) -> bool {
        self.role(object, key).is_some()
            || self.assignments.iter().any(|one| one.object == object && covers(key, &one.scope))
    }

    /// Refuses a call whose principal has not at least `role` on `key`.
    pub(super) fn demand(&self, call: &Call, key: &str, role: Role, action: &str) -> Result<(), Reply> {
        if self.role(&call.who.object, key) >= Some(role) {
            return Ok(());
        }
        let (client, object) = (&call.who.application, &call.who.object);
        Err(Reply::gateway(
            403,
            "AuthorizationFailed",
            format!(
                "The client '{client}' with object id '{object}' does not have authorization to perform action \
                 '{action}' over scope '/{key}' or the scope is invalid. If access was recently granted, please \
                 refresh your credentials."
            ),
        ))
    }
}
