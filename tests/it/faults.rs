//! A disk that fails costs hits and a line in the log, never an answer: with the faults of real file systems as
//! far as any user may cause them.

mod real;

use std::fs;
use std::io::Write;
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

use crate::binary::{Forebay, until};
use crate::restart::{Api, LONG, STALE, ask, get, kill, settled, start, start_mounted, written};
use crate::support::{Options, Rig};

const PATHS: [&str; 2] = ["/api2/json/kept/1", "/api2/json/kept/2"];

/// Asserts that it answers, keeps and overtakes as if there were no disk.
fn serves(forebay: &mut Forebay) {
    for path in ["/api2/json/kept/7", "/api2/json/kept/8"] {
        let first = get(forebay, path, "one");
        assert_eq!(first.status(), 200, "{}", first.head);
        let again = get(forebay, path, "one");
        assert!(again.cache().starts_with("hit") && again.text() == first.text(), "{}", again.head);
        assert_eq!(ask(forebay, "POST", path, "one").status(), 200);
        let after = get(forebay, path, "one");
        assert!(after.status() == 200 && after.text() != first.text(), "{}", after.head);
    }
    assert!(forebay.runs());
}

fn troubles(forebay: &Forebay, kind: &str) -> u64 {
    forebay.count("forebay_disk_errors_total", &format!("kind=\"{kind}\""))
}

#[test]
fn a_file_that_may_not_grow_ends_the_store_and_not_the_process() {
    let (api, disk) = (Api::start(), tempfile::tempdir().expect("a directory"));
    let mut forebay = start(&api, disk.path(), LONG);
    PATHS.iter().for_each(|path| assert_eq!(get(&forebay, path, "watcher").status(), 200));
    settled(&forebay, 2);
    let none = Rlimit { current: Some(0), ..getrlimit(Resource::Fsize) };
    let before = prlimit(Some(forebay.pid()), Resource::Fsize, none).expect("it is our child");
    serves(&mut forebay);
    // The mark of a write could not be noted, so nothing of the store may come back.
    until("the trouble is counted", || troubles(&forebay, "full") > 0);
    assert!(forebay.logs("the store is given up").contains("cache.disk"));
    assert!(get(&forebay, PATHS[0], "watcher").cache().starts_with("hit"), "what is in memory stays");
    prlimit(Some(forebay.pid()), Resource::Fsize, before).expect("it is our child");
    serves(&mut forebay);
    kill(forebay);
    api.set_down(true);
    let forebay = start(&api, disk.path(), LONG);
    for path in PATHS {
        assert_eq!(get(&forebay, path, "watcher").status(), 502, "{path}");
    }
    kill(forebay);
}

#[test]
fn a_full_disk_costs_what_is_new_and_keeps_its_marks() {
    let (api, disk) =
        (Api::answering(|_, n| format!("{{\"data\":\"{n}{}\"}}", "x".repeat(100_000))), tempfile::tempdir());
    let disk = disk.expect("a directory");
    let mount = format!("mount -t tmpfs -o size=8m none {}", disk.path().display());
    let Some(mut forebay) = start_mounted(&api, disk.path(), LONG, &mount) else {
        return eprintln!("not tried: nobody may mount anything here");
    };
    PATHS.iter().for_each(|path| assert_eq!(get(&forebay, path, "watcher").status(), 200));
    settled(&forebay, 2);
    let inside = format!("/proc/{}/root{}", forebay.pid().as_raw_nonzero(), disk.path().display());
    let inside = Path::new(&inside);
    let mut filler = fs::File::create(inside.join("filler")).expect("there is room yet");
    while filler.write_all(&[0; 4096]).is_ok() {}
    serves(&mut forebay);
    until("the trouble is counted", || troubles(&forebay, "full") > 0);
    assert!(forebay.logs("kind=\"full\"").contains("entries of this time will be missing"));
    let segments = || fs::read_dir(inside).expect("readable").count();
    let files = segments();
    assert_eq!(ask(&forebay, "POST", PATHS[0], "one").status(), 200);
    serves(&mut forebay);
    assert!(segments() <= files, "attempts leave nothing behind");
    // What a kill leaves now: the disk that ends with the process is copied before.
    let next = tempfile::tempdir().expect("a directory");
    for entry in fs::read_dir(inside).expect("readable") {
        let path = entry.expect("readable").path();
        fs::copy(&path, next.path().join(path.file_name().expect("a name"))).expect("writable");
    }
    kill(forebay);
    api.set_down(true);
    let forebay = start(&api, next.path(), LONG);
    let got = get(&forebay, PATHS[1], "watcher");
    assert_eq!((got.status(), got.cache()), (200, STALE));
    assert_eq!(get(&forebay, PATHS[0], "watcher").status(), 502, "a write has overtaken it");
    kill(forebay);
}

#[test]
fn a_disk_that_is_read_only_is_done_without() {
    let (api, disk) = (Api::start(), tempfile::tempdir().expect("a directory"));
    let forebay = start(&api, disk.path(), LONG);
    assert_eq!(get(&forebay, PATHS[0], "watcher").status(), 200);
    settled(&forebay, 1);
    kill(forebay);
    let shown = disk.path().display();
    let mount = format!("mount --bind {shown} {shown} && mount -o remount,ro,bind {shown}");
    let Some(mut forebay) = start_mounted(&api, disk.path(), LONG, &mount) else {
        return eprintln!("not tried: nobody may mount anything here");
    };
    assert!(forebay.logs("kind=\"read-only\"").contains("this process serves without it"));
    assert!(forebay.logs("noted nowhere").contains("remove its files by hand"));
    api.set_down(true);
    assert_eq!(get(&forebay, PATHS[0], "watcher").status(), 502, "nothing of it is shown");
    api.set_down(false);
    serves(&mut forebay);
    assert_eq!(troubles(&forebay, "read-only"), 1);
    kill(forebay);
}

/// The other end of a pipe that nobody opens: whoever opens this one hangs, as on a server that does not answer.
#[tokio::test]
async fn a_disk_that_hangs_is_waited_for_once() {
    let disk = tempfile::tempdir().expect("a directory");
    let lock = disk.path().join("lock");
    let made = std::process::Command::new("mkfifo").arg(&lock).status().expect("every system has it");
    assert!(made.success());
    let time = async {
        for _ in 0..12 {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            tokio::time::pause();
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
            tokio::time::resume();
        }
    };
    let options = Options { disk: Some(disk.path().into()), ..Options::default() };
    let (rig, ()) = tokio::join!(Rig::with(options), time);
    rig.warm("/api2/json/item/1").await;
    assert_eq!(rig.ask("POST", "/api2/json/item/1").send().await.status, 200);
    assert_eq!(rig.counter_of("forebay_disk_errors_total", "kind=\"slow\""), 1);
    rig.finish().await;
    // The thread that hangs is let go, or the runtime would wait for it.
    let both = fs::OpenOptions::new().read(true).write(true).open(&lock).expect("a pipe");
    drop(both);
}
