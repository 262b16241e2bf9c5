//! Operations of the API: begun by a write, they change something before they end, and have addresses at which
//! they can be asked after.

use super::super::history::{Cause, Stamp};
use super::cells::{Cell, subscription_path};
use super::world::{Due, Event, World};
use super::writes::{Address, Shape, Write};

/// An operation.
pub struct Operation {
    /// What it does.
    pub write: Write,
    /// Who began it.
    pub cause: Cause,
    /// Whether its resource shows that it moves, and what its write was answered with shows it too.
    pub moves: bool,
    /// Its addresses: what each is, and its path and query.
    pub addresses: Vec<(Address, String)>,
    /// When it ended.
    pub ended: Option<Stamp>,
    /// How it ended.
    pub state: &'static str,
    /// The versions in effect when it ended of all that it changed.
    pub left: Vec<(Cell, usize)>,
    /// Whether some client was told that it has ended.
    pub told_ended: bool,
}

impl World {
    /// Begins the operation of `write`, sent by a client or by somebody behind forebay's back.
    pub fn begin_operation(&mut self, write: Write, shape: Shape, by: Option<usize>) -> usize {
        let place = self.operations.len();
        let cause = by.map_or(Cause::BehindTask(place), Cause::Write);
        let ways = write.addresses(shape);
        let ways = ways[self.rng.usize(..ways.len())];
        let addresses: Vec<_> = ways.iter().map(|way| (*way, self.address(write, *way, place))).collect();
        for (address, target) in addresses.iter().enumerate() {
            let path = target.1.split('?').next().unwrap_or_default().to_ascii_lowercase();
            // One path may be two addresses: a parameter says which.
            let read = super::reads::Read::Poll { operation: place, address };
            self.reads.entry(path).or_insert(read);
        }
        // Some providers show that what they were asked for is under way, others nothing until it is done.
        let moves = shape == Shape::Moving || self.rng.bool();
        self.write_down(|| format!("operation {place} begins: {write:?}, moves {moves}, {addresses:?}"));
        self.operations.push(Operation {
            write,
            cause,
            moves,
            addresses,
            ended: None,
            state: "InProgress",
            left: Vec::new(),
            told_ended: false,
        });
        let (first, second) = (self.later(), self.later());
        if moves {
            if let Some(resource) = write.resource() {
                self.moving.insert(resource, place);
            }
            // What is wanted shows at once where the answer says so; elsewhere the state at least.
            match shape {
                Shape::Moving => self.carry_out(write, cause),
                _ => self.change(write.resource().as_slice(), cause),
            }
        }
        if shape != Shape::Moving {
            let what = Event::Change(write, cause);
            self.due.push(Due { step: first.0.min(second.0), at: first.1.min(second.1), what });
        }
        let what = Event::End(place);
        self.due.push(Due { step: first.0.max(second.0), at: first.1.max(second.1), what });
        place
    }

    /// A path and query as the providers make them.
    fn address(&mut self, write: Write, way: Address, place: usize) -> String {
        let subscription = subscription_path(write.subscription());
        let signature = self.rng.u64(..);
        let signed = format!("&t=638{place}&c=MIIH&s=x{signature:x}*-_&h=y");
        let provider = match write {
            Write::Deploy(_) | Write::DeployAll(_) => {
                let (_, path) = write.request();
                return format!("{path}/operationStatuses/{place:08}?api-version=2024-03-01{signed}");
            }
            Write::DeleteGroup(_) | Write::Move(..) => {
                return format!("{subscription}/operationresults/{place:08}?api-version=2024-03-01{signed}");
            }
            write => write.cells().first().map_or("Microsoft.Compute", |cell| cell.kind.names()[0]),
        };
        let location = format!("{subscription}/providers/{provider}/locations/westeurope");
        match way {
            Address::Async | Address::Operation => {
                format!("{location}/operations/{place:08}?p=1&api-version=2024-03-01{signed}")
            }
            Address::Monitor => {
                format!("{location}/operations/{place:08}?p=1&monitor=true&api-version=2024-03-01{signed}")
            }
            Address::Location => {
                format!("{location}/operationResults/{place:08}?p=1&api-version=2024-03-01{signed}")
            }
            Address::Odd => {
                let resource = write.resource().expect("it is a resource's").path();
                format!("{resource}/restarts/{place:08}?api-version=2024-03-01")
            }
        }
    }

    /// The operation ends now.
    pub fn end(&mut self, place: usize) {
        let (write, cause, moves) = {
            let operation = &self.operations[place];
            (operation.write, operation.cause, operation.moves)
        };
        if moves {
            // The state at least is another now.
            match self.rng.bool() {
                true => self.carry_out(write, cause),
                false => self.change(write.resource().as_slice(), cause),
            }
            if let Some(resource) = write.resource()
                && self.moving.get(&resource) == Some(&place)
            {
                self.moving.remove(&resource);
            }
        }
        let left = self.versions(&write.cells());
        let when = self.stamp();
        let state = if self.rng.u8(..6) == 0 { "Failed" } else { "Succeeded" };
        let operation = &mut self.operations[place];
        (operation.ended, operation.left, operation.state) = (Some(when), left, state);
        self.write_down(|| format!("operation {place} ends: {state}"));
    }
}
