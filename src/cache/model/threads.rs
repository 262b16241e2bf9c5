//! The same promise over real threads, where the insides of every call interleave too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::BodyExt as _;
use tokio::task::{JoinSet, yield_now};

use super::core::{Core, NoAnswer, entry, halves, head, version};
use crate::cache::flight::{Begin, Company, Crossing, Fill, Join, Keeping, Landing, Passenger};
use crate::cache::key::CredentialId;

const READERS: usize = 6;
const READS: usize = 1_000;
const WRITERS: usize = 2;
const WRITES: usize = 300;
/// Each object is in a group of its own and in one that both share.
const OBJECTS: [&[usize]; 2] = [&[0, 1], &[2, 1]];

struct Api {
    core: Core,
    versions: [AtomicU64; 2],
    delivered: [AtomicU64; 2],
    stored: [AtomicU64; 2],
    hits: AtomicUsize,
    joined: AtomicUsize,
    fetched: AtomicUsize,
}

impl Api {
    async fn fetch(self: Arc<Self>, object: usize, fill: Fill<NoAnswer>, dice: u8) {
        if dice & 1 == 0 {
            yield_now().await;
        }
        let version = self.versions[object].load(Ordering::SeqCst);
        self.fetched.fetch_add(1, Ordering::Relaxed);
        yield_now().await;
        let [first, second] = halves(version);
        match dice {
            0..8 => return drop(fill),
            8..16 => return fill.release(),
            16..24 => return fill.fail(NoAnswer),
            _ => fill.share(head(), Keeping::Kept, Crossing::Everybody),
        }
        let _ = fill.push(first);
        yield_now().await;
        if dice < 32 {
            return fill.break_off();
        }
        let _ = fill.push(second);
        let entry = entry(version, fill.sequence(), fill.groups().clone());
        fill.finish(|| {
            self.core.memory.insert(self.core.keys[object], entry);
            self.stored[object].fetch_add(1, Ordering::Relaxed);
        });
    }

    /// What a reader gets: a version, or none where the fetch failed.
    async fn read(self: &Arc<Self>, object: usize, join: Join, dice: u8) -> Option<u64> {
        let whole = |body: &[u8]| version(body).expect("a whole body");
        if join == Join::Allowed
            && let Some(entry) = self.core.usable(object)
        {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Some(whole(&entry.body()));
        }
        let begun = self.core.flights.begin(
            self.core.keys[object],
            &self.core.groups,
            Passenger { who: CredentialId::ANONYMOUS, company: Company::Shared, join, form: 0 },
            || self.core.groups_of(OBJECTS[object]),
            || self.core.usable(object),
        );
        let waiter = match begun {
            Begin::Stored(entry) => return Some(whole(&entry.body())),
            Begin::Joined(waiter) => {
                self.joined.fetch_add(1, Ordering::Relaxed);
                waiter
            }
            Begin::Leads(fill, waiter) => {
                tokio::spawn(self.clone().fetch(object, fill, dice));
                waiter
            }
            Begin::Full => panic!("{READERS} readers fill no flight"),
        };
        if dice == 255 {
            // A client that leaves.
            return None;
        }
        match waiter.landing().await {
            Landing::Shared(_, _, body) => body.collect().await.ok().map(|body| whole(&body.to_bytes())),
            Landing::Alone | Landing::Apart | Landing::Failed(NoAnswer) => None,
        }
    }

    async fn write(&self, objects: &[usize], groups: &[usize]) {
        let applied: Vec<_> =
            objects.iter().map(|o| (*o, self.versions[*o].fetch_add(1, Ordering::SeqCst) + 1)).collect();
        yield_now().await;
        self.core.groups.invalidate(&self.core.groups_of(groups));
        for (object, version) in applied {
            self.delivered[object].fetch_max(version, Ordering::SeqCst);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_keep_the_promise_too() {
    let api = Arc::new(Api {
        core: Core::new(),
        versions: Default::default(),
        delivered: Default::default(),
        stored: Default::default(),
        hits: AtomicUsize::new(0),
        joined: AtomicUsize::new(0),
        fetched: AtomicUsize::new(0),
    });
    let mut tasks = JoinSet::new();
    for reader in 0..READERS {
        let api = api.clone();
        tasks.spawn(async move {
            let mut random = fastrand::Rng::with_seed(reader as u64);
            for _ in 0..READS {
                let object = random.usize(..2);
                let join = if random.u8(..8) == 0 { Join::Refused } else { Join::Allowed };
                let floor = api.delivered[object].load(Ordering::SeqCst);
                if let Some(got) = api.read(object, join, random.u8(..)).await {
                    assert!(got >= floor, "object {object}: got {got}, older than {floor}");
                }
                if random.u8(..4) == 0 {
                    yield_now().await;
                }
            }
        });
    }
    for writer in 0..WRITERS {
        let api = api.clone();
        tasks.spawn(async move {
            let mut random = fastrand::Rng::with_seed(100 + writer as u64);
            for _ in 0..WRITES {
                let (objects, groups): (&[usize], &[usize]) = match random.u8(..3) {
                    0 => (&[0], &[0]),
                    1 => (&[1], &[2, 3]),
                    _ => (&[0, 1], &[1]),
                };
                api.write(objects, groups).await;
                for _ in 0..random.u8(..8) {
                    yield_now().await;
                }
            }
        });
    }
    let all = async {
        while let Some(done) = tasks.join_next().await {
            done.expect("no reader and no writer failed");
        }
        // A fetch whose reader left may be the last to end.
        while !api.core.flights.is_empty() {
            yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("nobody hangs");
    for object in 0..2 {
        let last = api.versions[object].load(Ordering::SeqCst);
        assert_eq!(api.delivered[object].load(Ordering::SeqCst), last);
        assert!(api.read(object, Join::Allowed, 254).await.is_none_or(|version| version == last));
        assert!(api.stored[object].load(Ordering::Relaxed) > 0);
    }
    let [hits, joined, fetched] = [&api.hits, &api.joined, &api.fetched].map(|n| n.load(Ordering::Relaxed));
    println!("{hits} hits, {joined} joined, {fetched} fetched");
    assert!(hits > 0 && joined > 0 && fetched > 0, "{hits} hits, {joined} joined, {fetched} fetched");
}
