//! The store as a process uses it, started again and again on what was left.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::*;
use crate::cache::acceptance::{Acceptance, Evidence, Said};
use crate::cache::actors::{Actors, Name, Standing as Known};

mod trouble;
use crate::cache::entry::{Head, Lifetimes, Provenance};
use crate::cache::groups::{GroupId, GroupName, Groups};
use crate::cache::key::{CredentialId, KeyParts, Partition};
use crate::rules::Sharing;
use crate::semantics::query::Syntax;

const HOUR: Duration = Duration::from_secs(3600);

/// A process: the store and what it serves.
struct Process {
    disk: Disk,
    secret: Secret,
    groups: Arc<Groups>,
    acceptance: Acceptance,
    actors: Actors,
    clock: Clock,
    registry: Registry,
}

impl Process {
    fn start(path: &Path, clock: &Clock) -> Self {
        Self::start_sized(path, clock, LEAST_SIZE).expect("the directory is usable")
    }

    fn start_sized(path: &Path, clock: &Clock, size: u64) -> Result<Self, DiskError> {
        let registry = Registry::new();
        let config = DiskConfig { path: path.into(), size };
        let Opened { disk, secret, .. } = Disk::open(&config, clock, &registry)?;
        let groups = Arc::new(Groups::new(secret.clone()));
        let (acceptance, actors) = (Acceptance::new(groups.clone()), Actors::default());
        disk.attach(&groups, &acceptance, &actors, Beginning::First);
        disk.layout_is(&Layout { next_site: 1, ..Layout::default() });
        Ok(Self { disk, secret, groups, acceptance, actors, clock: clock.clone(), registry })
    }

    fn key(&self, n: usize) -> Key {
        self.secret.key(&KeyParts {
            site: 0,
            rule: 7,
            partition: Partition::EVERYONE,
            endpoint: None,
            path: &format!("/{n}"),
            query: None,
            syntax: Syntax::Plain,
            variant: None,
            ignored_query: &[],
        })
    }

    fn group(&self, n: usize) -> GroupId {
        self.groups.id(0, GroupName::Named(&format!("g{n}")))
    }

    /// An entry of `n` with this body, fetched now.
    fn entry(&self, n: usize, body: Vec<u8>) -> Arc<Entry> {
        let head = Head { status: StatusCode::OK, reason: None, fields: HeaderMap::new() };
        let about = Provenance {
            target: format!("/{n}"),
            rule: "/{n}".into(),
            share: Sharing::Everyone,
            site: 0,
            maker: CredentialId::ANONYMOUS,
            sequence: self.groups.next(),
            groups: [self.group(n)].into(),
            at: self.clock.now(),
            initial_age: Duration::ZERO,
            lifetimes: Lifetimes {
                fresh: HOUR,
                stale_while_revalidate: Duration::ZERO,
                stale_if_error: HOUR,
            },
        };
        Arc::new(Entry::assemble(&head, &[Bytes::from(body)], about, None))
    }

    fn keep(&self, n: usize, body: Vec<u8>) {
        self.disk.keep(self.key(n), &self.entry(n, body));
    }

    /// Writes everything, as the threads would in time, and ends as a killed process does.
    fn kill(self) {
        self.disk.stop();
    }

    fn read(&self, n: usize) -> Option<Vec<u8>> {
        Some(self.disk.writer.read(self.key(n))?.body().to_vec())
    }

    fn count(&self, kind: &str) -> u64 {
        let text = self.registry.render();
        let line = text.lines().find(|line| line.starts_with(&format!("forebay_disk_{kind}")));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
    }
}

fn size(path: &Path) -> u64 {
    let files = fs::read_dir(path).expect("readable");
    files.map(|file| file.expect("readable").metadata().expect("there").len()).sum()
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("a directory");
    for file in fs::read_dir(from).expect("readable") {
        let file = file.expect("readable").path();
        fs::copy(&file, to.path().join(file.file_name().expect("a name"))).expect("writable");
    }
    to
}

#[test]
fn what_was_kept_comes_back_and_what_was_overtaken_never() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, clock) = (directory.path().join("made/here"), Clock::manual());
    let first = Process::start(&path, &clock);
    let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join("secret")), mode(&path.join("table"))), (0o700, 0o600, 0o600));
    (0..5).for_each(|n| first.keep(n, vec![n as u8; 10]));
    first.groups.invalidate(&[first.group(1)]);
    first.groups.write_leaves(&[first.group(2)]);
    first.groups.write_leaves(&[first.group(3)]);
    first.groups.write_judged(&[first.group(3)]);
    first.disk.forget(first.key(4));
    first.kill();
    let second = Process::start(&path, &clock);
    let found: Vec<usize> = (0..5).filter(|n| second.read(*n).is_some()).collect();
    assert_eq!(found, [0, 3], "1 was overtaken, 2 was being written, 4 is gone");
    // Numbers go on: what is fetched now is newer than every mark, and what was fetched before is not.
    second.keep(1, vec![11]);
    second.kill();
    let third = Process::start(&path, &clock);
    assert_eq!(third.read(1), Some(vec![11]));
    third.groups.invalidate(&[third.group(1)]);
    third.kill();
    let fourth = Process::start(&path, &clock);
    assert_eq!((fourth.read(1), fourth.read(0)), (None, Some(vec![0; 10])));
    assert!(fourth.disk.has(fourth.key(0)));
    clock.advance(2 * HOUR);
    assert!(!fourth.disk.has(fourth.key(0)), "its time is over");
    fourth.kill();
    let fifth = Process::start(&path, &clock);
    assert_eq!((fifth.read(0), fifth.count("entries")), (None, 0));
}

#[test]
fn credentials_and_actors_are_known_to_the_next_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, clock) = (directory.path(), Clock::manual());
    let first = Process::start(path, &clock);
    let who = |process: &Process, name: &str| process.secret.credential(&[name.as_bytes()]);
    let accept = |process: &Process, name: &str, ends| {
        let evidence = Evidence { sequence: process.groups.next(), left: clock.now() };
        let principal = Some(process.secret.principal(&[name.as_bytes()]));
        process.acceptance.accept(0, who(process, name), evidence, || Said { principal, ends });
    };
    accept(&first, "a", None);
    accept(&first, "b", Some(clock.now().after(Duration::from_secs(20))));
    accept(&first, "c", None);
    first.acceptance.refuse(0, who(&first, "c"));
    first.actors.wrote(0, Name(5), Known::Known, clock.now());
    first.actors.wrote(0, Name(6), Known::Admitted, clock.now());
    first.actors.wrote(0, Name(7), Known::Stranger, clock.now());
    first.disk.observe(&first.acceptance, &[]);
    first.kill();
    clock.advance(Duration::from_secs(10));
    let second = Process::start(path, &clock);
    let is_accepted = |process: &Process, name: &str, within| {
        process.acceptance.is_accepted(0, who(process, name), clock.now(), Duration::from_secs(within))
    };
    assert!(is_accepted(&second, "a", 11) && !is_accepted(&second, "a", 10));
    assert_eq!(
        second.acceptance.principal(0, who(&second, "a")),
        Some(second.secret.principal(&[b"a"])),
        "and whose it is"
    );
    assert!(is_accepted(&second, "b", 11) && !is_accepted(&second, "c", 11));
    let is_actor = |process: &Process, name, window| {
        process.actors.is_any(0, &[Name(name)], clock.now(), Duration::from_secs(window))
    };
    assert!(is_actor(&second, 5, 11) && is_actor(&second, 6, 11) && !is_actor(&second, 5, 9));
    assert!(!is_actor(&second, 7, 11), "anybody can invent any number of them");
    assert!(!is_actor(&second, 8, 3600) && !second.actors.is_any(1, &[Name(5)], clock.now(), HOUR));
    clock.advance(Duration::from_secs(10));
    second.kill();
    let third = Process::start(path, &clock);
    assert!(is_accepted(&third, "a", 21) && !is_accepted(&third, "b", 3600), "it ended by itself");
    assert!(is_actor(&third, 5, 21));
}

#[test]
fn it_stays_within_its_size_and_keeps_what_is_still_good() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, clock) = (directory.path(), Clock::manual());
    let process = Process::start(path, &clock);
    // Rare entries beside one that is fetched anew all the time.
    (0..20).for_each(|n| process.keep(n, vec![n as u8; 1000]));
    for round in 0..60u8 {
        process.disk.writer.write(&[(process.key(99), process.entry(99, vec![round; 1 << 20]))]);
        let waiting: Vec<_> = process.disk.writer.waiting();
        process.disk.writer.write(&waiting);
        assert!(size(path) <= LEAST_SIZE, "{} bytes after {round}", size(path));
    }
    process.kill();
    let next = Process::start(path, &clock);
    assert_eq!(next.read(99), Some(vec![59; 1 << 20]));
    (0..20).for_each(|n| assert_eq!(next.read(n), Some(vec![n as u8; 1000]), "{n}"));
    // More than fits: the oldest goes.
    for n in 100..160 {
        next.disk.writer.write(&[(next.key(n), next.entry(n, vec![n as u8; 1 << 20]))]);
    }
    assert!(size(path) <= LEAST_SIZE);
    assert_eq!(next.read(159), Some(vec![159; 1 << 20]));
    assert_eq!((next.read(0), next.read(100)), (None, None));
    // One that is larger than a segment is not kept.
    next.disk.writer.write(&[(next.key(200), next.entry(200, vec![1; 8 << 20]))]);
    assert_eq!((next.read(200), next.count("dropped_total{reason=\"large\"}")), (None, 1));
}
