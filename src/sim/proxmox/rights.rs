//! Roles, access control entries and what they come to: PVE's rules for inheritance, groups, pools and
//! separated tokens, kept small.

use std::collections::{BTreeMap, BTreeSet};

use super::answer::Failure;
use super::call::Principal;
use super::state::Cluster;

/// Every privilege, which is what Administrator has.
pub(super) const ALL_PRIVILEGES: &str = "Datastore.Allocate,Datastore.AllocateSpace,Datastore.AllocateTemplate,Datastore.Audit,Group.Allocate,Mapping.Audit,Mapping.Modify,Mapping.Use,Permissions.Modify,Pool.Allocate,Pool.Audit,Realm.Allocate,Realm.AllocateUser,SDN.Allocate,SDN.Audit,SDN.Use,Sys.AccessNetwork,Sys.Audit,Sys.Console,Sys.Incoming,Sys.Modify,Sys.PowerMgmt,Sys.Syslog,User.Modify,VM.Allocate,VM.Audit,VM.Backup,VM.Clone,VM.Config.CDROM,VM.Config.CPU,VM.Config.Cloudinit,VM.Config.Disk,VM.Config.HWType,VM.Config.Memory,VM.Config.Network,VM.Config.Options,VM.Console,VM.GuestAgent.Audit,VM.GuestAgent.FileRead,VM.GuestAgent.FileSystemMgmt,VM.GuestAgent.FileWrite,VM.GuestAgent.Unrestricted,VM.Migrate,VM.PowerMgmt,VM.Replicate,VM.Snapshot,VM.Snapshot.Rollback";

/// The roles that come with PVE, as far as the simulation knows them.
pub(super) const ROLES: [(&str, &str); 6] = [
    ("Administrator", ALL_PRIVILEGES),
    ("NoAccess", ""),
    (
        "PVEAuditor",
        "Datastore.Audit,Mapping.Audit,Pool.Audit,SDN.Audit,Sys.Audit,VM.Audit,VM.GuestAgent.Audit",
    ),
    (
        "PVEVMUser",
        "VM.Audit,VM.Backup,VM.Config.CDROM,VM.Config.Cloudinit,VM.Console,VM.GuestAgent.Audit,VM.PowerMgmt",
    ),
    ("PVEPoolUser", "Pool.Audit"),
    ("PVEDatastoreUser", "Datastore.AllocateSpace,Datastore.Audit"),
];

/// Whom an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    User,
    Group,
    Token,
}

impl Subject {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
            Self::Token => "token",
        }
    }
}

/// One access control entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) subject: Subject,
    pub(super) id: String,
    pub(super) role: String,
    pub(super) propagate: bool,
}

/// Roles and access control entries.
#[derive(Debug, Default)]
pub(super) struct Access {
    pub(super) roles: BTreeMap<String, BTreeSet<String>>,
    pub(super) entries: Vec<Entry>,
}

/// Privileges on one path, each with whether it reaches further down.
pub(super) type Privileges = BTreeMap<String, bool>;

impl Access {
    fn privileges_of(&self, roles: &BTreeMap<&str, bool>) -> Privileges {
        let mut privileges = Privileges::new();
        if roles.contains_key("NoAccess") {
            return privileges;
        }
        for (role, propagate) in roles {
            for privilege in self.roles.get(*role).into_iter().flatten() {
                *privileges.entry(privilege.clone()).or_default() |= *propagate;
            }
        }
        privileges
    }

    /// The roles of a subject on a path: each level's entries replace those inherited from above, and
    /// entries about the user itself go before those about its groups.
    fn roles_on(&self, path: &str, own: (Subject, &str), groups: &[String]) -> BTreeMap<&str, bool> {
        let mut roles = BTreeMap::new();
        for level in levels(path) {
            let last = level == path;
            let here = self.entries.iter().filter(|entry| entry.path == level && (entry.propagate || last));
            let mut direct = BTreeMap::new();
            let mut grouped = BTreeMap::new();
            for entry in here {
                if entry.subject == own.0 && entry.id == own.1 {
                    direct.insert(entry.role.as_str(), entry.propagate);
                } else if entry.subject == Subject::Group && groups.contains(&entry.id) {
                    grouped.insert(entry.role.as_str(), entry.propagate);
                }
            }
            if !direct.is_empty() {
                roles = direct;
            } else if !grouped.is_empty() {
                roles = grouped;
            }
        }
        roles
    }
}

/// The path and everything above it, from the top.
fn levels(path: &str) -> impl Iterator<Item = &str> {
    let inner = path.match_indices('/').skip(1).map(move |(at, _)| &path[..at]);
    let whole = (path != "/").then_some(path);
    std::iter::once("/").chain(inner).chain(whole)
}

impl Cluster {
    /// The privileges of a principal on one path.
    pub(super) fn privileges(&self, who: &Principal, path: &str) -> Privileges {
        let user = self.privileges_of_user(&who.user, path);
        let Some(token) = &who.token else { return user };
        let known = self.accounts.users.get(&who.user).and_then(|user| user.tokens.get(token));
        if known.is_some_and(|known| !known.separated) {
            return user;
        }
        let own = self.privileges_of((Subject::Token, &who.name()), &[], path);
        own.into_iter().filter(|(name, _)| user.contains_key(name)).collect()
    }

    fn privileges_of_user(&self, user: &str, path: &str) -> Privileges {
        if user == super::ROOT_USER {
            return ALL_PRIVILEGES.split(',').map(|name| (name.to_owned(), true)).collect();
        }
        let groups = self.accounts.users.get(user).map(|user| user.groups.as_slice()).unwrap_or_default();
        self.privileges_of((Subject::User, user), groups, path)
    }

    fn privileges_of(&self, own: (Subject, &str), groups: &[String], path: &str) -> Privileges {
        let access = &self.accounts.access;
        let mut privileges = access.privileges_of(&access.roles_on(path, own, groups));
        if let Some(pool) = self.pool_of_path(path) {
            // What a pool grants on its members does not reach further down.
            let roles = access.roles_on(&format!("/pool/{pool}"), own, groups);
            for name in access.privileges_of(&roles).into_keys() {
                privileges.entry(name).or_insert(false);
            }
        }
        privileges
    }

    fn pool_of_path(&self, path: &str) -> Option<&str> {
        if let Some(vmid) = path.strip_prefix("/vms/") {
            return self.guests.get(&vmid.parse().ok()?)?.pool.as_deref();
        }
        let storage = path.strip_prefix("/storage/")?;
        let holds = |pool: &&super::model::Pool| pool.storages.contains(storage);
        self.pools.values().find(holds).map(|pool| pool.name.as_str())
    }

    /// Whether a principal has at least one of some privileges on a path.
    pub(super) fn allowed(&self, who: &Principal, path: &str, any_of: &[&str]) -> bool {
        if who.user == super::ROOT_USER && who.token.is_none() {
            return true;
        }
        let privileges = self.privileges(who, path);
        any_of.iter().any(|name| privileges.contains_key(*name))
    }

    /// Fails with 403 unless a principal has at least one of some privileges on a path.
    pub(super) fn check(&self, who: &Principal, path: &str, any_of: &[&str]) -> Result<(), Failure> {
        if self.allowed(who, path, any_of) { Ok(()) } else { Err(Failure::forbidden(path, any_of)) }
    }
}
