//! The real parts under test, and the versions that go through them as bodies.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::cache::entry::{Entry, Head, Lifetimes, Provenance};
use crate::cache::flight::{Flights, LeaderLost};
use crate::cache::groups::{GroupId, GroupName, Groups, Sequence};
use crate::cache::key::{CredentialId, Key, KeyParts, Partition, Secret};
use crate::cache::memory::Memory;
use crate::clock::Timestamp;
use crate::rules::Sharing;
use crate::semantics::query::Syntax;

/// How many objects and groups a plan may name.
pub const OBJECTS: usize = 3;
const GROUPS: usize = 4;

/// Why a fetch of the model gives no answer.
#[derive(Clone, Copy, Debug)]
pub struct NoAnswer;

impl From<LeaderLost> for NoAnswer {
    fn from(_: LeaderLost) -> Self {
        NoAnswer
    }
}

/// The real parts under test. One serves many schedules: what earlier ones left in the table of marks
/// is older than every number that a later one takes.
pub struct Core {
    pub flights: Arc<Flights<NoAnswer>>,
    pub groups: Groups,
    pub memory: Memory,
    pub keys: [Key; OBJECTS],
    pub ids: [GroupId; GROUPS],
}

impl Core {
    pub fn new() -> Self {
        loop {
            let secret = Secret::random();
            let groups = Groups::new(secret.clone());
            let ids = ["a", "b", "c", "d"].map(|name| groups.id(0, GroupName::Named(name)));
            // Two groups in one place would hide a forgotten invalidation.
            let mut places = ids.to_vec();
            places.sort();
            places.dedup();
            if places.len() == GROUPS {
                let keys = ["/0", "/1", "/2"].map(|path| secret.key(&parts(path)));
                return Self {
                    flights: Arc::default(),
                    groups,
                    memory: Memory::new(1 << 20, 1 << 10),
                    keys,
                    ids,
                };
            }
        }
    }

    /// What the store has for a new reader, looked up as the proxy does it.
    pub fn usable(&self, object: usize) -> Option<Arc<Entry>> {
        let current = |entry: &Arc<Entry>| self.groups.is_current(entry.sequence(), entry.groups());
        self.memory.get(self.keys[object]).filter(current)
    }

    pub fn groups_of(&self, numbers: &[usize]) -> Arc<[GroupId]> {
        numbers.iter().map(|number| self.ids[*number]).collect()
    }
}

fn parts(path: &str) -> KeyParts<'_> {
    KeyParts {
        site: 0,
        rule: 0,
        partition: Partition::EVERYONE,
        endpoint: None,
        path,
        query: None,
        syntax: Syntax::Plain,
        ignored_query: &[],
        variant: None,
    }
}

pub fn head() -> Arc<Head> {
    Arc::new(Head { status: StatusCode::OK, reason: None, fields: HeaderMap::new() })
}

/// The entry that the fetch with `sequence` stores.
pub fn entry(version: u64, sequence: Sequence, groups: Arc<[GroupId]>) -> Arc<Entry> {
    let lifetimes = Lifetimes {
        fresh: Duration::MAX,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
    };
    let about = Provenance {
        target: String::new(),
        rule: "model".into(),
        share: Sharing::Everyone,
        maker: CredentialId::ANONYMOUS,
        site: 0,
        sequence,
        groups,
        at: Timestamp::from_nanos(1),
        initial_age: Duration::ZERO,
        lifetimes,
    };
    Arc::new(Entry::assemble(&head(), &halves(version), about, None))
}

/// A version as a body of two pieces, so that half a body can be told from a whole one.
pub fn halves(version: u64) -> [Bytes; 2] {
    let bytes = version.to_le_bytes();
    [Bytes::copy_from_slice(&bytes[..4]), Bytes::copy_from_slice(&bytes[4..])]
}

pub fn version(body: &[u8]) -> Option<u64> {
    body.try_into().ok().map(u64::from_le_bytes)
}
