//! Disks that fail, and stores that are damaged.

use super::*;

#[test]
fn damage_anywhere_costs_entries_and_never_brings_back_what_is_wrong() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, clock) = (directory.path(), Clock::manual());
    let first = Process::start(path, &clock);
    (0..4).for_each(|n| first.keep(n, vec![n as u8; 300]));
    first.groups.invalidate(&[first.group(1)]);
    first.disk.forget(first.key(2));
    first.kill();
    let judge = |damaged: &Path, what: &str| {
        let process = Process::start(damaged, &clock);
        for n in 0..4 {
            match (n, process.read(n)) {
                (1 | 2, found) => assert_eq!(found, None, "{what}: {n} came back"),
                (_, found) => assert!(found.is_none_or(|body| body == vec![n as u8; 300]), "{what}: torn"),
            }
        }
        process.keep(7, vec![7]);
        process.kill();
        assert_eq!(Process::start(damaged, &clock).read(7), Some(vec![7]), "{what}: it goes on");
    };
    let files: Vec<_> =
        fs::read_dir(path).expect("readable").map(|file| file.expect("readable").path()).collect();
    assert_eq!(files.len(), 5, "{files:?}");
    let mut random = fastrand::Rng::with_seed(7);
    for file in &files {
        let (name, bytes) = (file.file_name().expect("a name"), fs::read(file).expect("readable"));
        let shown = name.to_string_lossy();
        for round in 0..4 {
            if bytes.is_empty() {
                continue;
            }
            let at = random.usize(..bytes.len());
            let damaged = copy(path);
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << random.u8(..8);
            fs::write(damaged.path().join(name), &flipped).expect("writable");
            judge(damaged.path(), &format!("{shown}, a bit at {at}"));
            let cut = copy(path);
            let length = if round == 0 { 0 } else { at };
            fs::write(cut.path().join(name), &bytes[..length]).expect("writable");
            judge(cut.path(), &format!("{shown}, cut to {length}"));
        }
        let missing = copy(path);
        fs::remove_file(missing.path().join(name)).expect("there");
        judge(missing.path(), &format!("{shown} missing"));
    }
}

#[test]
fn another_process_keeps_its_store_and_an_unusable_place_is_an_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, clock) = (directory.path(), Clock::manual());
    let first = Process::start(path, &clock);
    let error = Process::start_sized(path, &clock, LEAST_SIZE).err().expect("it is in use");
    assert_eq!(error.trouble(), Trouble::Locked);
    assert!(Disk::discard(path).is_err(), "nor may anybody empty it");
    first.keep(1, vec![1]);
    first.kill();
    assert_eq!(Process::start(path, &clock).read(1), Some(vec![1]));
    Disk::discard(path).expect("nobody uses it now");
    assert_eq!(Process::start(path, &clock).read(1), None);
    for (path, trouble) in [("/proc/forebay", Trouble::Missing), ("/dev/null/x", Trouble::Failed)] {
        let error = Process::start_sized(Path::new(path), &clock, LEAST_SIZE).err().expect("no directory");
        assert_eq!(error.trouble(), trouble, "{error}");
    }
}

#[test]
fn a_disk_that_takes_no_mark_is_given_up_and_emptied() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, clock) = (directory.path(), Clock::manual());
    let process = Process::start(path, &clock);
    process.keep(1, vec![1]);
    let layout = path.join("layout");
    fs::remove_file(&layout).expect("there");
    fs::create_dir(&layout).expect("writable");
    // The numbers in keys cannot be taken away, so nothing may rely on them.
    process.disk.layout_changes();
    assert!(
        !process.disk.has(process.key(1))
            && process.disk.is_forgotten(process.key(1), &process.entry(1, vec![]))
    );
    process.groups.invalidate(&[process.group(1)]);
    assert!(process.count("errors_total") <= 1);
    process.kill();
    assert!(!path.join("table").exists() && path.join("unusable").exists());
    fs::remove_dir(&layout).expect("empty");
    assert_eq!(Process::start(path, &clock).read(1), None);
}

#[test]
fn a_directory_that_vanishes_costs_entries() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, clock) = (directory.path().join("store"), Clock::manual());
    let process = Process::start(&path, &clock);
    fs::remove_dir_all(&path).expect("ours");
    process.keep(1, vec![1]);
    process.groups.invalidate(&[process.group(2)]);
    process.disk.stop();
    assert_eq!(process.read(1), None);
    assert_eq!(process.count("errors_total{kind=\"missing\"}"), 1);
    drop(process);
    assert_eq!(Process::start(&path, &clock).read(1), None);
}

#[test]
fn damage_done_while_it_is_in_use_costs_the_entry_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, clock) = (directory.path(), Clock::manual());
    let process = Process::start(path, &clock);
    for n in 0..3 {
        process.disk.writer.write(&[(process.key(n), process.entry(n, vec![n as u8; 400]))]);
    }
    let (spot, segment) = process.disk.writer.index.lock().get(process.key(1)).expect("it was written");
    let file = fs::OpenOptions::new().write(true).open(&segment.path).expect("there");
    std::os::unix::fs::FileExt::write_all_at(&file, b"other", spot.at + 200).expect("writable");
    assert_eq!((process.read(1), process.count("errors_total{kind=\"corrupt\"}")), (None, 1));
    assert_eq!(process.read(1), None);
    assert_eq!(process.count("errors_total{kind=\"corrupt\"}"), 1, "it is not read again");
    assert_eq!((process.read(0), process.read(2)), (Some(vec![0; 400]), Some(vec![2; 400])));
    // And one that was cut off under the process.
    file.set_len(10).expect("writable");
    assert_eq!((process.read(0), process.read(2)), (None, None));
    process.kill();
    let next = Process::start(path, &clock);
    (0..3).for_each(|n| assert_eq!(next.read(n), None));
}

#[test]
fn attempts_on_a_disk_that_takes_nothing_leave_nothing_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, clock) = (directory.path(), Clock::manual());
    let process = Process::start(path, &clock);
    process.disk.writer.write(&[(process.key(0), process.entry(0, vec![0; 10]))]);
    for attempt in 0..200 {
        // One that is there, but cannot be written to.
        let file = path.join(format!("{:010}.segment", 1_000 + attempt));
        fs::write(&file, "").expect("writable");
        let segment = Arc::new(segment::Segment::open(1_000 + attempt, &file).expect("there"));
        process.disk.writer.index.lock().has_segment(index::Held { segment: segment.clone(), size: 0 });
        process.disk.writer.open.lock().current = Some((segment, 0));
        process.disk.writer.write(&[(process.key(1), process.entry(1, vec![1; 10]))]);
        assert!(!file.exists(), "{attempt}");
        // Nothing is tried for a while.
        process.disk.writer.write(&[(process.key(1), process.entry(1, vec![1; 10]))]);
        clock.advance(Duration::from_secs(11));
    }
    assert_eq!(process.count("errors_total{kind=\"failed\"}"), 200);
    // What was there before is there yet, and when the disk takes something again it is written.
    process.disk.writer.write(&[(process.key(1), process.entry(1, vec![1; 10]))]);
    assert_eq!((process.read(0), process.read(1)), (Some(vec![0; 10]), Some(vec![1; 10])));
}

#[tokio::test]
async fn reads_that_hang_are_given_up_and_take_no_more_than_their_threads() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, clock) = (directory.path(), Clock::manual());
    let process = Process::start(path, &clock);
    process.disk.writer.write(&[(process.key(1), process.entry(1, vec![1; 10]))]);
    // As if the call that reads did not return.
    let writer = process.disk.writer.clone();
    let (let_go, held) = std::sync::mpsc::channel::<()>();
    let (told, holds) = std::sync::mpsc::channel();
    let holder = std::thread::spawn(move || {
        let _index = writer.index.lock();
        told.send(()).expect("somebody waits");
        let _until = held.recv();
    });
    holds.recv().expect("it holds");
    let loads = (0..LOADS + 3).map(|_| process.disk.load(process.key(1)));
    let found = futures_util::future::join_all(loads).await;
    assert!(found.iter().all(Option::is_none));
    assert_eq!(process.count("loads_total{result=\"late\"}"), LOADS as u64 + 3);
    assert_eq!(process.count("errors_total{kind=\"slow\"}"), LOADS as u64, "the others were not even begun");
    drop(let_go);
    holder.join().expect("it ends");
    // The reads that hung end when their threads are next at work, and until then they take all places.
    let found = loop {
        match process.disk.load(process.key(1)).await {
            Some(entry) => break entry,
            None => tokio::task::yield_now().await,
        }
    };
    assert_eq!(found.body(), vec![1; 10]);
}
