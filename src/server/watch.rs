//! Watches files and says when their content has changed.
//!
//! The directories are watched, not the files: editors and Kubernetes replace files by renaming, and a
//! ConfigMap swaps a symbolic link beside them. Any event only schedules another reading; what decides is
//! the content. The system's events can be missing altogether (network mounts, no watches left), so the files are
//! also read now and then without one.

use std::collections::BTreeSet;
use std::fs::File;
use std::hash::Hasher;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::Mutex;
use siphasher::sip128::{Hasher128, SipHasher13};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// How long events are gathered before the files are read: a change is often several of them.
const DEBOUNCE: Duration = Duration::from_millis(250);
/// How often the files are read without an event.
const UNASKED: Duration = Duration::from_secs(30);
/// How much of a file counts as its content.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// What each file holds: a hash of its content, or nothing if it cannot be read.
type Contents = Vec<Option<(u64, u64)>>;

/// A running watch; dropping it ends it.
pub struct Watcher {
    watched: Arc<Watched>,
    changes: mpsc::Receiver<()>,
    task: JoinHandle<()>,
}

struct Watched {
    files: Mutex<Files>,
    /// An event of the file system, or another list of files.
    stirred: Notify,
}

struct Files {
    paths: Arc<[PathBuf]>,
    known: Contents,
}

impl Files {
    fn read(paths: Vec<PathBuf>) -> Self {
        let known = read_all(&paths);
        Self { paths: paths.into(), known }
    }
}

impl Watcher {
    /// Watches `files`, from the content that they have now. Files that do not exist yet may appear, if
    /// their directory exists. Needs the runtime; blocks on files.
    pub fn new(files: Vec<PathBuf>) -> Self {
        let watched = Arc::new(Watched { files: Mutex::new(Files::read(files)), stirred: Notify::new() });
        let (send, changes) = mpsc::channel(1);
        let mut directories = Directories::new(watched.clone());
        // Before the first event can be missed.
        directories.follow(&watched.files.lock().paths);
        let task = tokio::spawn(run(watched.clone(), directories, send));
        Self { watched, changes, task }
    }

    /// Waits until the content of a file has changed. Cancel safe; changes that come faster than they are
    /// asked for are one.
    pub async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            // The task has ended with the runtime: there will be no change.
            std::future::pending().await
        }
    }

    /// From now on a change is what differs from the content that the files have now. To be called
    /// before they are read for another reason than a change, so that nothing is missed in between.
    /// Blocks on files.
    pub fn look(&self) {
        let mut watched = self.watched.files.lock();
        *watched = Files::read(watched.paths.to_vec());
        drop(watched);
        self.watched.stirred.notify_one();
    }

    /// Watches these files instead: those that were watched before from the content that is known, since
    /// they may have changed while their user was busy with it, the others from the content that they
    /// have now. Blocks on files.
    pub fn set_files(&self, files: Vec<PathBuf>) {
        let mut watched = self.watched.files.lock();
        let mut next = Files::read(files);
        for (path, known) in next.paths.iter().zip(&mut next.known) {
            if let Some(place) = watched.paths.iter().position(|watched| watched == path) {
                *known = watched.known[place];
            }
        }
        *watched = next;
        drop(watched);
        self.watched.stirred.notify_one();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(watched: Arc<Watched>, mut directories: Directories, send: mpsc::Sender<()>) {
    loop {
        let paths = watched.files.lock().paths.clone();
        let look = paths.clone();
        let looked = tokio::task::spawn_blocking(move || {
            // After a symbolic link was swapped the files are in other directories than before.
            directories.follow(&look);
            let contents = read_all(&look);
            (directories, contents)
        });
        let Ok((back, contents)) = looked.await else { return };
        directories = back;
        let changed = {
            let mut files = watched.files.lock();
            // Another list of files has its own stir, which is still to come.
            let changed = Arc::ptr_eq(&files.paths, &paths) && files.known != contents;
            if changed {
                files.known = contents;
            }
            changed
        };
        if changed {
            // A full channel already holds the news.
            let _ = send.try_send(());
        }
        if timeout(UNASKED, watched.stirred.notified()).await.is_ok() {
            sleep(DEBOUNCE).await;
        }
    }
}

/// The directories under watch.
struct Directories {
    system: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl Directories {
    fn new(watched: Arc<Watched>) -> Self {
        let system = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // Reading the files must not be a reason to read them again.
            let only_read = event.as_ref().is_ok_and(|event| {
                event.kind.is_access()
                    && event.kind != EventKind::Access(AccessKind::Close(AccessMode::Write))
            });
            if !only_read {
                watched.stirred.notify_one();
            }
        });
        if let Err(error) = &system {
            tracing::warn!(%error, "no file events from the system; files are read now and then");
        }
        Self { system: system.ok(), watched: BTreeSet::new() }
    }

    /// Watches the directories of `files` and of what they link to, and no others.
    fn follow(&mut self, files: &[PathBuf]) {
        let Some(system) = &mut self.system else { return };
        let wanted = directories_of(files);
        for gone in self.watched.difference(&wanted) {
            // A directory that was deleted has no watch any more.
            let _ = system.unwatch(gone);
        }
        // Those already watched too: one that was deleted and made again has lost its watch. One that does
        // not exist is tried again at the next reading.
        self.watched = wanted
            .into_iter()
            .filter(|directory| system.watch(directory, RecursiveMode::NonRecursive).is_ok())
            .collect();
    }
}

fn directories_of(files: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut directories = BTreeSet::new();
    for file in files {
        directories.insert(parent(file));
        if let Ok(real) = file.canonicalize() {
            directories.insert(parent(&real));
        }
    }
    directories
}

fn parent(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn read_all(files: &[PathBuf]) -> Contents {
    files.iter().map(|file| hash(file).ok()).collect()
}

fn hash(file: &Path) -> std::io::Result<(u64, u64)> {
    let mut hasher = SipHasher13::new();
    let mut reader = File::open(file)?.take(MAX_FILE_BYTES);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hasher.finish128().as_u64()),
            length => hasher.write(&buffer[..length]),
        }
    }
}
