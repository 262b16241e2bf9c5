//! What can be read, and which cells each read shows.

use super::cells::{
    Cell, GROUPS, Kind, LISTED, MACHINES, SUBSCRIPTIONS, group_path, subscription_of, subscription_path,
};

/// The versions of the API that clients use: their answers differ.
pub const VERSIONS: [&str; 2] = ["2024-03-01", "2025-04-01"];

/// Items on a page of a list of one type, and of a list of everything.
const PAGE: usize = 3;
const LARGE_PAGE: usize = 7;

/// Where a list is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scope {
    /// A group.
    Group(usize),
    /// A subscription.
    Subscription(usize),
    /// One location of a subscription, at the provider of compute; everything is in one.
    Location(usize),
}

/// A read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Read {
    /// One resource, group or subscription, with the parts that live in its body.
    Item(Cell),
    /// A machine with its state of running.
    Expanded(usize),
    /// That state alone.
    InstanceView(usize),
    /// The resources of one type.
    List(Kind, Scope),
    /// The extensions of a machine, or the subnets of a network.
    Parts(Cell),
    /// The resources of all types.
    All(Scope),
    /// The groups of a subscription.
    Groups(usize),
    /// The deployments of a group.
    Deployments(usize),
    /// The subscriptions.
    Subscriptions,
    /// The role assignments of a subscription.
    Assignments(usize),
    /// Which addresses belong to the cloud; told to anybody.
    Metadata,
    /// The keys of an account, asked for by POST.
    Keys(usize),
    /// A query over all subscriptions, asked by POST.
    Graph,
    /// How an operation stands, at one of its addresses.
    Poll {
        /// Which operation.
        operation: usize,
        /// Which of its addresses.
        address: usize,
    },
}

impl Read {
    /// Every read that is always there and changes nothing.
    pub fn all() -> Vec<Read> {
        let mut all: Vec<Read> =
            Cell::all().filter(|cell| cell.kind != Kind::Rights).map(Read::Item).collect();
        all.extend((0..MACHINES).flat_map(|machine| [Read::Expanded(machine), Read::InstanceView(machine)]));
        let scopes = (0..GROUPS).map(Scope::Group).chain((0..SUBSCRIPTIONS).map(Scope::Subscription));
        let scopes: Vec<Scope> = scopes.collect();
        all.extend(
            LISTED.into_iter().flat_map(|kind| scopes.iter().map(move |scope| Read::List(kind, *scope))),
        );
        all.extend((0..SUBSCRIPTIONS).map(|s| Read::List(Kind::Machine, Scope::Location(s))));
        all.extend(Kind::Machine.cells().chain(Kind::Network.cells()).map(Read::Parts));
        all.extend(scopes.iter().map(|scope| Read::All(*scope)));
        all.extend((0..SUBSCRIPTIONS).flat_map(|s| [Read::Groups(s), Read::Assignments(s)]));
        all.extend((0..GROUPS).flat_map(|group| [Read::Deployments(group), Read::Keys(group)]));
        all.extend([Read::Subscriptions, Read::Metadata, Read::Graph]);
        all
    }

    /// The path, as the documentation writes it; that of an operation is its own.
    pub fn path(self) -> String {
        let scope_path = |scope: Scope| match scope {
            Scope::Group(group) => group_path(group),
            Scope::Subscription(s) | Scope::Location(s) => subscription_path(s),
        };
        match self {
            Read::Item(cell) => cell.path(),
            Read::Expanded(machine) => Cell { kind: Kind::Machine, at: machine }.path(),
            Read::InstanceView(machine) => Cell { kind: Kind::Machine, at: machine }.path() + "/instanceView",
            Read::List(kind, scope) => {
                let [namespace, name] = kind.names();
                let location = if matches!(scope, Scope::Location(_)) { "locations/westeurope/" } else { "" };
                format!("{}/providers/{namespace}/{location}{name}", scope_path(scope))
            }
            Read::Parts(cell) if cell.kind == Kind::Machine => cell.path() + "/extensions",
            Read::Parts(cell) => cell.path() + "/subnets",
            Read::All(scope) => scope_path(scope) + "/resources",
            Read::Groups(s) => subscription_path(s) + "/resourcegroups",
            Read::Deployments(group) => group_path(group) + "/providers/Microsoft.Resources/deployments",
            Read::Subscriptions => "/subscriptions".into(),
            Read::Assignments(s) => {
                subscription_path(s) + "/providers/Microsoft.Authorization/roleAssignments"
            }
            Read::Metadata => "/metadata/endpoints".into(),
            Read::Keys(group) => Cell { kind: Kind::Account, at: group }.path() + "/listKeys",
            Read::Graph => "/providers/Microsoft.ResourceGraph/resources".into(),
            Read::Poll { .. } => String::new(),
        }
    }

    /// Whether it is asked by POST.
    pub fn is_posted(self) -> bool {
        matches!(self, Read::Keys(_) | Read::Graph)
    }

    /// The cells that it shows to who may see all of them, page after page, but for the rights of who asks.
    pub fn cells(self) -> Vec<Cell> {
        let of = |scope: Scope| {
            move |cell: &Cell| match scope {
                Scope::Group(group) => cell.group() == Some(group),
                Scope::Subscription(s) | Scope::Location(s) => cell.subscription() == s,
            }
        };
        let listed = || LISTED.into_iter().flat_map(Kind::cells);
        match self {
            Read::Item(Cell { kind: Kind::Machine, at }) | Read::Expanded(at) => {
                vec![Cell { kind: Kind::Machine, at }, Cell { kind: Kind::Extension, at }]
            }
            Read::Item(Cell { kind: Kind::Network, at }) => {
                vec![Cell { kind: Kind::Network, at }, Cell { kind: Kind::Subnet, at }]
            }
            Read::Item(cell) => vec![cell],
            Read::InstanceView(at) => vec![Cell { kind: Kind::Machine, at }],
            Read::List(kind, scope) => kind.cells().filter(of(scope)).collect(),
            Read::Parts(Cell { kind: Kind::Machine, at }) => vec![Cell { kind: Kind::Extension, at }],
            Read::Parts(Cell { at, .. }) => vec![Cell { kind: Kind::Subnet, at }],
            Read::All(scope) => listed().filter(of(scope)).collect(),
            Read::Groups(s) => Kind::Group.cells().filter(|cell| cell.subscription() == s).collect(),
            Read::Deployments(at) => vec![Cell { kind: Kind::Deployment, at }],
            Read::Subscriptions => Kind::Subscription.cells().collect(),
            Read::Assignments(s) => Kind::Rights.cells().filter(|cell| cell.subscription() == s).collect(),
            Read::Keys(at) => vec![Cell { kind: Kind::Account, at }],
            Read::Graph => listed().collect(),
            Read::Metadata | Read::Poll { .. } => Vec::new(),
        }
    }

    /// The subscriptions in which it looks.
    pub fn subscriptions(self) -> Vec<usize> {
        match self {
            Read::Subscriptions | Read::Graph => (0..SUBSCRIPTIONS).collect(),
            Read::Groups(s) | Read::Assignments(s) => vec![s],
            Read::Deployments(group) => vec![subscription_of(group)],
            _ => self.cells().first().map(|cell| cell.subscription()).into_iter().collect(),
        }
    }

    /// The group whose rights decide whether it is answered at all.
    pub fn group(self) -> Option<usize> {
        match self {
            Read::Item(cell) | Read::Parts(cell) => cell.group(),
            Read::Expanded(machine) | Read::InstanceView(machine) => Some(machine / 2),
            Read::List(_, Scope::Group(group)) | Read::All(Scope::Group(group)) => Some(group),
            Read::Deployments(group) | Read::Keys(group) => Some(group),
            _ => None,
        }
    }

    /// The one resource that it is about.
    pub fn item(self) -> Option<Cell> {
        match self {
            Read::Item(cell) | Read::Parts(cell) => Some(cell),
            Read::Expanded(at) | Read::InstanceView(at) => Some(Cell { kind: Kind::Machine, at }),
            Read::Keys(at) => Some(Cell { kind: Kind::Account, at }),
            _ => None,
        }
    }

    /// How many items are on a page, if there are pages.
    pub fn page(self) -> Option<usize> {
        match self {
            Read::List(..) => Some(PAGE),
            Read::All(_) => Some(LARGE_PAGE),
            _ => None,
        }
    }

    /// Whether who asks has no part in the answer.
    pub fn is_for_everyone(self) -> bool {
        self == Read::Metadata
    }
}
