//! Where in the tree of scopes, providers, types and names a path points.

/// What a path below `/providers/` names, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The segments before `providers`: nothing, a subscription, a group or a resource.
    pub(super) scope: Vec<String>,
    /// The namespace, for example `microsoft.compute`.
    pub(super) namespace: String,
    /// Types and names in turn; an odd number ends with a type (a list) or an action.
    pub(super) rest: Vec<String>,
}

/// Namespaces and types as their providers write them.
const SPELLINGS: &[&str] = &[
    "Microsoft.Compute/virtualMachines",
    "Microsoft.Compute/virtualMachines/extensions",
    "Microsoft.Compute/disks",
    "Microsoft.Compute/snapshots",
    "Microsoft.Compute/images",
    "Microsoft.Compute/availabilitySets",
    "Microsoft.Network/networkInterfaces",
    "Microsoft.Network/publicIPAddresses",
    "Microsoft.Network/networkSecurityGroups",
    "Microsoft.Network/networkSecurityGroups/securityRules",
    "Microsoft.Network/virtualNetworks",
    "Microsoft.Network/virtualNetworks/subnets",
    "Microsoft.Network/virtualNetworks/virtualNetworkPeerings",
    "Microsoft.Network/loadBalancers",
    "Microsoft.Network/loadBalancers/backendAddressPools",
    "Microsoft.Network/routeTables",
    "Microsoft.Network/routeTables/routes",
    "Microsoft.Storage/storageAccounts",
    "Microsoft.KeyVault/vaults",
    "Microsoft.Resources/deployments",
    "Microsoft.Resources/tags",
    "Microsoft.Authorization/roleAssignments",
    "Microsoft.Authorization/roleDefinitions",
    "Microsoft.Authorization/locks",
];

impl Target {
    /// Reads a folded path; `None` when nothing of a provider is named.
    pub(super) fn parse(folded: &[String]) -> Option<Self> {
        let at = folded.iter().rposition(|part| part == "providers")?;
        let namespace = folded.get(at + 1)?;
        if folded.len() < at + 3 {
            return None;
        }
        Some(Self {
            scope: folded[..at].to_vec(),
            namespace: namespace.clone(),
            rest: folded[at + 2..].to_vec(),
        })
    }

    /// The type in lower case, `microsoft.compute/virtualmachines`; an action at the end does not count.
    pub(super) fn kind(&self) -> String {
        let types: Vec<_> = self.rest.iter().step_by(2).map(String::as_str).collect();
        format!("{}/{}", self.namespace, types.join("/"))
    }

    /// Whether types and names are complete: one resource, not a list and no action.
    pub(super) fn is_resource(&self) -> bool {
        self.rest.len().is_multiple_of(2)
    }

    /// The name of the last part.
    pub(super) fn name(&self) -> &str {
        self.rest.last().map_or("", String::as_str)
    }

    /// The subscription that the scope lies in.
    pub(super) fn subscription(&self) -> &str {
        subscription_of(&self.scope)
    }

    /// The group that the scope lies in.
    pub(super) fn group(&self) -> Option<&str> {
        group_of(&self.scope)
    }
}

/// The subscription in a path of segments; empty where there is none.
pub(super) fn subscription_of(segments: &[String]) -> &str {
    match segments {
        [first, id, ..] if first.eq_ignore_ascii_case("subscriptions") => id,
        _ => "",
    }
}

/// The name of the group in a path of segments, folded or not.
pub(super) fn group_of(segments: &[String]) -> Option<&str> {
    match segments {
        [first, _, second, name, ..]
            if first.eq_ignore_ascii_case("subscriptions")
                && second.eq_ignore_ascii_case("resourcegroups") =>
        {
            Some(name)
        }
        _ => None,
    }
}

/// A type as its provider writes it, for one in any casing.
pub(super) fn spelling(kind: &str) -> String {
    SPELLINGS
        .iter()
        .find(|known| known.eq_ignore_ascii_case(kind))
        .map_or_else(|| kind.to_owned(), |known| (*known).to_owned())
}

/// A full id with canonical spellings of everything but the names, which are as the caller wrote them;
/// `group` is the group's own spelling.
pub(super) fn canonical_id(path: &[String], group: Option<&str>) -> String {
    let mut parts = Vec::with_capacity(path.len());
    let providers = path.iter().rposition(|part| part.eq_ignore_ascii_case("providers"));
    for (at, part) in path.iter().enumerate() {
        let lower = part.to_ascii_lowercase();
        parts.push(match (at, &*lower) {
            (0, "subscriptions") => lower,
            (2, "resourcegroups") => "resourceGroups".to_owned(),
            (3, _) if group.is_some() => group.unwrap_or_default().to_owned(),
            (_, "providers") => lower,
            _ => part.clone(),
        });
    }
    if let Some(providers) = providers {
        let types: Vec<_> = path[providers + 1..].iter().enumerate().collect();
        let kind: Vec<_> =
            types.iter().filter(|(at, _)| *at == 0 || at % 2 == 1).map(|(_, part)| part.as_str()).collect();
        let spelled = spelling(&kind.join("/"));
        let mut spelled = spelled.split('/');
        for (at, _) in types.iter().filter(|(at, _)| *at == 0 || at % 2 == 1) {
            if let Some(word) = spelled.next() {
                parts[providers + 1 + at] = word.to_owned();
            }
        }
    }
    format!("/{}", parts.join("/"))
}
