//! The ends that were seen, and the hints of ends, the latest of them.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::Name;

/// How many are remembered. Proxmox lists 25 tasks of each node in its feed, and a node's list is read in
/// pages of 50 or 500; an end that is forgotten and shown again overtakes again, which costs hits.
pub(super) const MAX_ENDED: usize = 16_384;

/// An end, or the hint of one by its number.
type Seen = (Name, Option<u64>);

/// An end may be told again, and before the answer that names its task has been read.
#[derive(Default)]
pub(super) struct Ended {
    names: HashSet<Arc<Seen>>,
    order: VecDeque<Arc<Seen>>,
}

impl Ended {
    pub(super) fn contains(&self, name: &Name, sign: Option<u64>) -> bool {
        self.names.contains(&(name.clone(), sign))
    }

    pub(super) fn insert(&mut self, name: Name, sign: Option<u64>) {
        let seen = Arc::new((name, sign));
        if self.names.insert(seen.clone()) {
            self.order.push_back(seen);
        }
        if self.order.len() > MAX_ENDED
            && let Some(oldest) = self.order.pop_front()
        {
            self.names.remove(&oldest);
        }
    }
}
