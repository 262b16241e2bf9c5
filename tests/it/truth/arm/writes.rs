//! What can be written, and which cells each write changes: by what the providers do, not by forebay's rules.

use super::cells::{Cell, GROUPS, Kind, LISTED, group_path, subscription_of, subscription_path};

/// A write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Write {
    /// A whole resource.
    Put(Cell),
    /// Part of a machine.
    Patch(usize),
    /// A resource that goes, and what goes with it.
    Delete(Cell),
    /// A machine starts.
    Start(usize),
    /// A machine gives back what it ran on; its disk is free then.
    Deallocate(usize),
    /// A site starts anew.
    Restart(usize),
    /// Resources by a template, in any group of the subscription.
    Deploy(usize),
    /// The same, asked of the subscription.
    DeployAll(usize),
    /// A group that goes with all in it.
    DeleteGroup(usize),
    /// What is in one group goes to another, perhaps of another subscription.
    Move(usize, usize),
    /// The tags of a resource, a group or a subscription.
    Tags(Cell),
    /// What a principal may see.
    Role(Cell),
    /// Several calls in one: a machine and a site.
    Batch(usize),
}

/// How a write is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// It is done when it is answered, with 200, 201 or 204.
    AtOnce,
    /// 200 or 201 with a `provisioningState` that is not terminal; what is wanted shows at once. There may be an
    /// address.
    Moving,
    /// 202 with an address; what is wanted shows later.
    Accepted,
}

/// Addresses at which an operation can be asked after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Address {
    /// `Azure-AsyncOperation`: always 200, the state is in the body.
    Async,
    /// `Operation-Location`: the same under another name.
    Operation,
    /// `Location`: 202 until it is done.
    Location,
    /// The same at the address of the first, with a parameter.
    Monitor,
    /// A `Location` that looks like a resource.
    Odd,
}

impl Write {
    /// Method and path, as the documentation writes it.
    pub fn request(self) -> (&'static str, String) {
        let machine = |at: usize| Cell { kind: Kind::Machine, at }.path();
        let tags = "/providers/Microsoft.Resources/tags/default";
        let deployment = "/providers/Microsoft.Resources/deployments/main";
        match self {
            Write::Put(cell) => ("PUT", cell.path()),
            Write::Patch(at) => ("PATCH", machine(at)),
            Write::Delete(cell) => ("DELETE", cell.path()),
            Write::Start(at) => ("POST", machine(at) + "/start"),
            Write::Deallocate(at) => ("POST", machine(at) + "/deallocate"),
            Write::Restart(at) => ("POST", Cell { kind: Kind::App, at }.path() + "/restart"),
            Write::Deploy(group) => ("PUT", group_path(group) + deployment),
            Write::DeployAll(s) => ("PUT", subscription_path(s) + deployment),
            Write::DeleteGroup(group) => ("DELETE", group_path(group)),
            Write::Move(from, _) => ("POST", group_path(from) + "/moveResources"),
            Write::Tags(cell) => ("PATCH", cell.path() + tags),
            Write::Role(cell) => ("PUT", cell.path()),
            Write::Batch(_) => ("POST", "/batch".into()),
        }
    }

    /// The resource that is written, where it is one.
    pub fn resource(self) -> Option<Cell> {
        match self {
            Write::Put(cell) | Write::Delete(cell) => Some(cell),
            Write::Patch(at) | Write::Start(at) | Write::Deallocate(at) => {
                Some(Cell { kind: Kind::Machine, at })
            }
            Write::Restart(at) => Some(Cell { kind: Kind::App, at }),
            Write::Deploy(at) => Some(Cell { kind: Kind::Deployment, at }),
            _ => None,
        }
    }

    /// What it changes.
    pub fn cells(self) -> Vec<Cell> {
        let of = |kinds: &[Kind], at: usize| kinds.iter().map(|kind| Cell { kind: *kind, at }).collect();
        let join = |one: Vec<Cell>, other: Vec<Cell>| [one, other].concat();
        match self {
            Write::Put(Cell { kind, at }) => match kind {
                // With it come what the body names.
                Kind::Machine => {
                    join(of(&[Kind::Machine, Kind::Disk, Kind::Interface], at), of(&[Kind::Subnet], at / 2))
                }
                // Disks and machines name each other.
                Kind::Disk => of(&[Kind::Disk, Kind::Machine], at),
                // So do interfaces and whatever they lead to.
                Kind::Interface => join(
                    of(&[Kind::Interface, Kind::Machine], at),
                    of(&[Kind::Address, Kind::Subnet], at / 2),
                ),
                Kind::Address => join(of(&[Kind::Address], at), of(&[Kind::Interface], 2 * at)),
                Kind::Network => of(&[Kind::Network, Kind::Subnet], at),
                Kind::Config => of(&[Kind::Config, Kind::App], at),
                kind => of(&[kind], at),
            },
            Write::Patch(at) | Write::Start(at) => of(&[Kind::Machine], at),
            Write::Deallocate(at) => of(&[Kind::Machine, Kind::Disk], at),
            Write::Delete(Cell { kind: Kind::Machine, at }) => join(
                of(&[Kind::Machine, Kind::Extension, Kind::Disk, Kind::Interface], at),
                of(&[Kind::Address, Kind::Subnet], at / 2),
            ),
            Write::Delete(Cell { kind: Kind::App, at }) => of(&[Kind::App, Kind::Config], at),
            Write::Delete(cell) => vec![cell],
            Write::Restart(at) => of(&[Kind::App], at),
            // Its own group, and a machine and a network of the other one.
            Write::Deploy(group) => {
                let other = group ^ 1;
                let kinds = [Kind::Deployment, Kind::Account, Kind::App, Kind::Config, Kind::Address];
                let others = join(of(&[Kind::Machine, Kind::Disk], 2 * other), of(&[Kind::Network], other));
                join(join(of(&kinds, group), of(&[Kind::Machine, Kind::Interface], 2 * group)), others)
            }
            Write::DeployAll(s) => {
                let (one, other) = (2 * s, 2 * s + 1);
                let machine = of(&[Kind::Machine, Kind::Extension, Kind::Interface], 2 * one);
                join(join(machine, of(&[Kind::Group, Kind::Account], other)), of(&[Kind::App], one))
            }
            Write::DeleteGroup(group) => in_group(group),
            Write::Move(from, to) => {
                let kinds = [Kind::Account, Kind::App, Kind::Config];
                join(of(&kinds, from), of(&kinds, to))
            }
            Write::Tags(cell) | Write::Role(cell) => vec![cell],
            Write::Batch(group) => join(of(&[Kind::Machine], 2 * group), of(&[Kind::App], group)),
        }
    }

    /// What is there or no longer there by it.
    pub fn existence(self) -> Option<(Vec<Cell>, bool)> {
        match self {
            Write::Delete(Cell { kind: Kind::Machine, at }) => {
                let kinds = [Kind::Machine, Kind::Extension, Kind::Disk, Kind::Interface];
                Some((kinds.map(|kind| Cell { kind, at }).to_vec(), false))
            }
            Write::Delete(_) | Write::DeleteGroup(_) => Some((self.cells(), false)),
            Write::Put(Cell { kind: Kind::Machine, at }) => {
                let kinds = [Kind::Machine, Kind::Disk, Kind::Interface];
                Some((kinds.map(|kind| Cell { kind, at }).to_vec(), true))
            }
            Write::Put(cell) => Some((vec![cell], true)),
            Write::Deploy(_) | Write::DeployAll(_) => Some((self.cells(), true)),
            _ => None,
        }
    }

    /// The ways in which it may be done.
    pub fn shapes(self) -> &'static [Shape] {
        use Shape::{Accepted, AtOnce, Moving};
        match self {
            Write::Put(Cell { kind, .. }) => match kind {
                Kind::Machine | Kind::Extension | Kind::Subnet | Kind::Network => &[Moving],
                Kind::Disk => &[Accepted, Moving],
                Kind::Interface | Kind::Address | Kind::App => &[Moving, AtOnce],
                Kind::Account => &[Accepted, AtOnce],
                _ => &[AtOnce],
            },
            Write::Patch(_) => &[Moving, Accepted],
            Write::Restart(_) => &[AtOnce, Accepted],
            Write::Deploy(_) | Write::DeployAll(_) => &[Moving],
            Write::Delete(Cell { kind: Kind::Machine | Kind::Account, .. }) => &[Accepted],
            Write::Start(_) | Write::Deallocate(_) | Write::DeleteGroup(_) | Write::Move(..) => &[Accepted],
            _ => &[AtOnce],
        }
    }

    /// The addresses that its operation may have.
    pub fn addresses(self, shape: Shape) -> &'static [&'static [Address]] {
        use Address::{Async, Location, Monitor, Odd, Operation};
        match (self, shape) {
            // The resource alone tells.
            (Write::Put(Cell { kind: Kind::App, .. }), Shape::Moving) => &[&[], &[Operation]],
            (Write::Restart(_), _) => &[&[Odd], &[Operation]],
            (Write::DeleteGroup(_) | Write::Move(..), _) => &[&[Location]],
            (Write::Put(Cell { kind: Kind::Account, .. }) | Write::Delete(_), _) => {
                &[&[Location], &[Async, Location]]
            }
            (_, Shape::Moving) => &[&[Async], &[Async, Location]],
            _ => &[&[Async, Monitor], &[Async, Location], &[Location]],
        }
    }

    /// The subscription that its operation's addresses name.
    pub fn subscription(self) -> usize {
        match self {
            Write::DeployAll(s) => s,
            Write::Move(from, _) => subscription_of(from),
            _ => self.cells().first().map_or(0, |cell| cell.subscription()),
        }
    }
}

/// Everything in a group, and the group itself.
pub fn in_group(group: usize) -> Vec<Cell> {
    debug_assert!(group < GROUPS);
    let parts = [Kind::Extension, Kind::Subnet, Kind::Config, Kind::Deployment, Kind::Group];
    let cells = LISTED.into_iter().chain(parts).flat_map(Kind::cells);
    cells.filter(|cell| cell.group() == Some(group)).collect()
}
