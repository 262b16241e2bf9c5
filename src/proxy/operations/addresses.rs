//! Operations that the API names by addresses: several names for one, of which only keyed hashes are kept.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{MAX_OPEN, Name, News, Open, Operation, Operations};
use crate::cache::groups::Sequence;
use crate::dialect::OperationId;

/// How many names one operation has at most: the API gives it two or three, and may change them.
const MAX_NAMES: usize = 8;

impl Open {
    /// The name under which an operation that has this one is kept.
    pub(super) fn primary(&self, name: Name) -> Name {
        self.addresses.get(&name).cloned().unwrap_or(name)
    }

    fn learn(&mut self, primary: &Name, names: &[OperationId]) {
        for id in names {
            self.addresses.insert((primary.0, id.clone()), primary.clone());
        }
    }
}

impl Operation {
    /// Whether it shows in the state of a resource and nowhere else.
    pub(super) fn is_known_by_its_resource(&self) -> bool {
        !self.names.is_empty() && !self.has_address
    }
}

impl Operations {
    /// Forgets the names of an operation that is kept no more.
    pub(super) fn forget(&self, open: &mut Open, primary: &Name, operation: &Operation) {
        for id in &operation.names {
            let name = (primary.0, id.clone());
            if open.addresses.get(&name) == Some(primary) {
                open.addresses.remove(&name);
            }
        }
        self.count_names(open);
    }

    /// The operation `primary` can be told of by these names too. Of a resource the latest is told.
    pub(super) fn name(&self, open: &mut Open, primary: &Name, names: &[OperationId]) {
        if names.is_empty() {
            return;
        }
        open.learn(primary, names);
        self.count_names(open);
    }

    fn count_names(&self, open: &Open) {
        self.names.store(open.addresses.len(), Ordering::Release);
    }

    /// Whether any operation has a name that is an address. A look that costs nothing where none has.
    pub fn any_addresses(&self) -> bool {
        self.names.load(Ordering::Acquire) > 0
    }

    /// Whether an operation of `site` has this name.
    pub fn knows(&self, site: u32, id: &OperationId) -> bool {
        self.any_addresses() && self.open.lock().addresses.contains_key(&(site, id.clone()))
    }

    /// An answer said that an operation runs, and at which further addresses it can be asked after.
    pub fn runs(&self, site: u32, id: &OperationId, pace: Duration, further: &[OperationId]) {
        let now = self.clock.now();
        let mut open = self.open.lock();
        let primary = open.primary((site, id.clone()));
        let Some(operation) = open.named.get_mut(&primary) else { return };
        operation.watch.iter_mut().for_each(|watch| watch.heard_of(now, pace));
        let room = MAX_NAMES.saturating_sub(operation.names.len());
        let new = further.iter().filter(|id| !operation.names.contains(id)).take(room).cloned();
        let new: Vec<OperationId> = new.collect();
        operation.names.extend(new.iter().cloned());
        self.name(&mut open, &primary, &new);
    }

    /// An answer to a read that left at `left` says that nothing of what an operation changes moves any
    /// more, or that the API knows it no more. What it holds is let go; but its end may still be told, and
    /// overtakes even then.
    pub fn let_go(&self, site: u32, id: &OperationId, left: Sequence) -> News {
        let mut open = self.open.lock();
        let primary = open.primary((site, id.clone()));
        // What left before the write was answered may show the time before it.
        if open.named.get(&primary).is_none_or(|operation| left <= operation.known) {
            return News::Old;
        }
        let Some(mut operation) = open.named.remove(&primary) else { return News::Old };
        self.end(&operation);
        let origin = operation.origin;
        operation.watch = None;
        if operation.has_address && open.lapsed.len() < MAX_OPEN {
            open.lapsed.insert(primary, operation);
        } else {
            self.forget(&mut open, &primary, &operation);
        }
        News::Of(origin)
    }
}
