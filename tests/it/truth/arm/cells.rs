//! What there is at the API: cells with a version each, and where they stand in the tree of scopes.

use std::fmt;

/// How many subscriptions there are.
pub const SUBSCRIPTIONS: usize = 2;
/// How many groups there are: two in each subscription.
pub const GROUPS: usize = 2 * SUBSCRIPTIONS;
/// How many machines there are: two in each group, each with what belongs to it.
pub const MACHINES: usize = 2 * GROUPS;
/// How many principals there are; the first may see everything.
pub const PRINCIPALS: usize = 5;

/// What a cell is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// A virtual machine, whose own read shows its extension too.
    Machine,
    /// A machine's extension.
    Extension,
    /// A machine's disk.
    Disk,
    /// A machine's network interface.
    Interface,
    /// A group's public address.
    Address,
    /// A group's virtual network, whose read shows its subnet too.
    Network,
    /// Its subnet.
    Subnet,
    /// A group's storage account.
    Account,
    /// A group's site, of a provider that no rule is about.
    App,
    /// The site's settings.
    Config,
    /// A group's deployment.
    Deployment,
    /// A group.
    Group,
    /// A subscription.
    Subscription,
    /// What a principal may see in a subscription; part of whatever is answered to it there.
    Rights,
}

/// Every kind, in the order of their cells.
const KINDS: [(Kind, usize); 14] = [
    (Kind::Machine, MACHINES),
    (Kind::Extension, MACHINES),
    (Kind::Disk, MACHINES),
    (Kind::Interface, MACHINES),
    (Kind::Address, GROUPS),
    (Kind::Network, GROUPS),
    (Kind::Subnet, GROUPS),
    (Kind::Account, GROUPS),
    (Kind::App, GROUPS),
    (Kind::Config, GROUPS),
    (Kind::Deployment, GROUPS),
    (Kind::Group, GROUPS),
    (Kind::Subscription, SUBSCRIPTIONS),
    (Kind::Rights, PRINCIPALS * SUBSCRIPTIONS),
];

/// The kinds that have lists of their own at a group and at its subscription, and that stand in `/resources`.
pub const LISTED: [Kind; 7] =
    [Kind::Machine, Kind::Disk, Kind::Interface, Kind::Address, Kind::Network, Kind::Account, Kind::App];

impl Kind {
    fn count(self) -> usize {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or(0, |(_, count)| *count)
    }

    /// Every cell of it.
    pub fn cells(self) -> impl Iterator<Item = Cell> {
        (0..self.count()).map(move |at| Cell { kind: self, at })
    }

    /// The provider and the type, as the provider writes them.
    pub fn names(self) -> [&'static str; 2] {
        match self {
            Kind::Machine | Kind::Extension => ["Microsoft.Compute", "virtualMachines"],
            Kind::Disk => ["Microsoft.Compute", "disks"],
            Kind::Interface => ["Microsoft.Network", "networkInterfaces"],
            Kind::Address => ["Microsoft.Network", "publicIPAddresses"],
            Kind::Network | Kind::Subnet => ["Microsoft.Network", "virtualNetworks"],
            Kind::Account => ["Microsoft.Storage", "storageAccounts"],
            Kind::App | Kind::Config => ["Microsoft.Web", "sites"],
            Kind::Deployment | Kind::Group | Kind::Subscription => ["Microsoft.Resources", "deployments"],
            Kind::Rights => ["Microsoft.Authorization", "roleAssignments"],
        }
    }
}

/// A thing with a version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Cell {
    /// What it is.
    pub kind: Kind,
    /// Which of that kind.
    pub at: usize,
}

impl Cell {
    /// What a principal may see in a subscription.
    pub fn rights(principal: usize, subscription: usize) -> Self {
        Cell { kind: Kind::Rights, at: principal * SUBSCRIPTIONS + subscription }
    }

    /// Every cell.
    pub fn all() -> impl Iterator<Item = Cell> {
        KINDS.into_iter().flat_map(|(kind, _)| kind.cells())
    }

    /// Its place among all cells.
    pub fn index(self) -> usize {
        let before = KINDS.iter().take_while(|(kind, _)| *kind != self.kind);
        before.map(|(_, count)| count).sum::<usize>() + self.at
    }

    /// The group that it is in.
    pub fn group(self) -> Option<usize> {
        match self.kind {
            Kind::Machine | Kind::Extension | Kind::Disk | Kind::Interface => Some(self.at / 2),
            Kind::Subscription | Kind::Rights => None,
            _ => Some(self.at),
        }
    }

    /// The subscription that it is in.
    pub fn subscription(self) -> usize {
        match (self.kind, self.group()) {
            (_, Some(group)) => subscription_of(group),
            (Kind::Subscription, None) => self.at,
            (_, None) => self.at % SUBSCRIPTIONS,
        }
    }

    /// The path of the resource, as its provider writes it.
    pub fn path(self) -> String {
        let group = || group_path(self.group().expect("it is in a group"));
        let of_machine = |name: &str| match name {
            "vm" => format!("vm-{}", self.at),
            name => format!("VM-{}_{name}", self.at),
        };
        let of = |kind: Kind, name: &str| {
            let [namespace, kind] = kind.names();
            format!("{}/providers/{namespace}/{kind}/{name}", group())
        };
        match self.kind {
            Kind::Machine => of(self.kind, &of_machine("vm")),
            Kind::Extension => of(self.kind, &of_machine("vm")) + "/extensions/Agent",
            Kind::Disk => of(self.kind, &of_machine("OsDisk")),
            Kind::Interface => of(self.kind, &of_machine("Nic")),
            Kind::Address => of(self.kind, "Public"),
            Kind::Network => of(self.kind, "vnet1"),
            Kind::Subnet => of(self.kind, "vnet1") + "/subnets/default",
            Kind::Account => of(self.kind, "account"),
            Kind::App => of(self.kind, "Shop"),
            Kind::Config => of(self.kind, "Shop") + "/config/web",
            Kind::Deployment => of(self.kind, "main"),
            Kind::Group => group(),
            Kind::Subscription => subscription_path(self.at),
            Kind::Rights => {
                let path = subscription_path(self.subscription());
                format!(
                    "{path}/providers/Microsoft.Authorization/roleAssignments/r{}",
                    self.at / SUBSCRIPTIONS
                )
            }
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}", self.kind, self.at)
    }
}

/// The path of a subscription.
pub fn subscription_path(subscription: usize) -> String {
    format!("/subscriptions/aaaaaaaa-0000-4000-8000-00000000000{}", subscription + 1)
}

/// The path of a group.
pub fn group_path(group: usize) -> String {
    let name = ["rg-Alpha", "rg-beta", "rg-Gamma", "rg-delta"][group];
    format!("{}/resourceGroups/{name}", subscription_path(subscription_of(group)))
}

/// The subscription of a group.
pub fn subscription_of(group: usize) -> usize {
    group / 2
}

/// A way of writing the letters of a path: names of groups, types and resources are the same in any.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Casing {
    /// As the provider writes it.
    Canonical,
    /// With the group in capitals, as lists of compute show it.
    UpperGroup,
    /// In small letters.
    Lower,
}

impl Casing {
    /// `path` written so.
    pub fn write(self, path: &str) -> String {
        match self {
            Casing::Canonical => path.to_owned(),
            Casing::Lower => path.to_ascii_lowercase(),
            Casing::UpperGroup => {
                let mut segments: Vec<String> = path.split('/').map(str::to_owned).collect();
                if let Some(name) = segments.get_mut(4) {
                    name.make_ascii_uppercase();
                }
                segments.join("/")
            }
        }
    }
}
