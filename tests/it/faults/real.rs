//! The same with a real file system that fails: an ext4 image that turns read-only under the process, one that is
//! frozen, and a directory that is read-only for the whole of a life. They mount, so they need root, and are named:
//! `cargo test --test it faults::real -- --ignored --nocapture`.

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use rustix::process::geteuid;

use super::*;
use crate::restart::start_mounted_by_root;

/// An image of a file system, and where it is mounted: in the namespace of each process that uses it.
struct Image {
    files: tempfile::TempDir,
    disk: tempfile::TempDir,
}

impl Image {
    fn new() -> Self {
        let directory = || tempfile::tempdir().expect("a directory");
        Self { files: directory(), disk: directory() }
    }

    fn start(&self, api: &Api, before: &str, after: &str) -> Option<Forebay> {
        if !geteuid().is_root() {
            eprintln!("NOT RUN: only root may mount an image");
            return None;
        }
        let (image, disk) = (self.files.path().join("image"), self.disk.path());
        let (image, shown) = (image.display(), disk.display());
        let script = format!(
            "i={image}; {before}; mount -o loop,errors=remount-ro {image} {shown} && cd {shown} && {after} cd \"$OLDPWD\""
        );
        let forebay = start_mounted_by_root(api, disk, LONG, &script);
        if forebay.is_none() {
            eprintln!("NOT RUN: nobody may mount anything here");
        }
        forebay
    }

    /// The first process on it.
    fn first(&self, api: &Api) -> Option<Forebay> {
        self.start(api, "truncate -s 64M $i && mkfs.ext4 -q -F $i", "")
    }

    /// The next one, after a repair, and after `and` was done in the directory.
    fn next(&self, api: &Api, and: &str) -> Forebay {
        let image = self.files.path().join("image");
        let users = || Command::new("losetup").arg("-j").arg(&image).output().expect("there is one").stdout;
        until("the last one has let it go", || users().is_empty());
        self.start(api, "e2fsck -fy $i > /dev/null 2>&1", and).expect("the first was started, too")
    }

    /// The directory as this process may see it.
    fn inside(&self, forebay: &Forebay) -> std::path::PathBuf {
        format!("/proc/{}/root{}", forebay.pid().as_raw_nonzero(), self.disk.path().display()).into()
    }

    /// The block device that it is mounted from, without the directory.
    fn device(&self, forebay: &Forebay) -> String {
        let mounts = format!("/proc/{}/mounts", forebay.pid().as_raw_nonzero());
        let mounts = fs::read_to_string(mounts).expect("Linux tells");
        let at = format!(" {} ext4 ", self.disk.path().display());
        let line = mounts.lines().find(|line| line.contains(&at)).expect("it is mounted");
        line.split(' ').next().and_then(|path| path.strip_prefix("/dev/")).expect("a device").to_owned()
    }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).status().is_ok_and(|status| status.success())
}

/// A frozen file system takes nothing until it is let go: whoever writes hangs in the kernel.
struct Frozen<'p>(&'p Path);

impl<'p> Frozen<'p> {
    fn new(path: &'p Path) -> Self {
        assert!(run("fsfreeze", &["-f", path.to_str().expect("text")]));
        Self(path)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        assert!(run("fsfreeze", &["-u", self.0.to_str().expect("text")]));
    }
}

#[test]
#[ignore = "needs root; CONTRIBUTING.md names it"]
fn a_file_system_that_turns_read_only_in_use_ends_the_store_and_not_the_process() {
    let (api, image) = (Api::start(), Image::new());
    let Some(mut forebay) = image.first(&api) else { return };
    PATHS.iter().for_each(|path| assert_eq!(get(&forebay, path, "watcher").status(), 200));
    settled(&forebay, 2);
    let switch = format!("/sys/fs/ext4/{}/trigger_fs_error", image.device(&forebay));
    fs::write(switch, "1").expect("the kernel has it for this");
    assert!(fs::write(image.inside(&forebay).join("probe"), "x").is_err(), "nothing can be written any more");
    serves(&mut forebay);
    let said = forebay.logs("the store is given up");
    assert!(said.contains("remove its files by hand"), "{said}");
    assert!(get(&forebay, PATHS[0], "watcher").cache().starts_with("hit"), "what is in memory stays");
    assert_eq!(ask(&forebay, "POST", PATHS[0], "one").status(), 200);
    kill(forebay);
    // As the log says: what was overtaken since could not be noted.
    api.set_down(true);
    let forebay = image.next(&api, "rm -r * &&");
    PATHS.iter().for_each(|path| assert_eq!(get(&forebay, path, "watcher").status(), 502, "{path}"));
    api.set_down(false);
    assert_eq!(get(&forebay, PATHS[0], "watcher").status(), 200);
    written(&forebay, 1);
    kill(forebay);
}

#[test]
#[ignore = "needs root; CONTRIBUTING.md names it"]
fn a_kernel_call_that_hangs_is_waited_for_once_and_loses_no_mark() {
    let (api, image) = (Api::start(), Image::new());
    let Some(mut forebay) = image.first(&api) else { return };
    PATHS.iter().for_each(|path| assert_eq!(get(&forebay, path, "watcher").status(), 200));
    settled(&forebay, 2);
    let inside = image.inside(&forebay);
    let frozen = Frozen::new(&inside);
    let began = SystemTime::now();
    serves(&mut forebay);
    for _ in 0..20 {
        assert_eq!(ask(&forebay, "POST", PATHS[0], "one").status(), 200);
    }
    // A quarter of a second for the first write, and nothing for the others.
    let took = began.elapsed().expect("the clock goes on");
    assert!(took < std::time::Duration::from_secs(5), "{took:?}");
    until("the trouble is counted", || troubles(&forebay, "slow") > 0);
    drop(frozen);
    let thawed = SystemTime::now();
    let table = inside.join("table");
    until("it has caught up", || {
        fs::metadata(&table).and_then(|table| table.modified()).is_ok_and(|at| at > thawed)
    });
    // A write whose answer waited for its mark has those of all before it on the disk.
    std::thread::sleep(std::time::Duration::from_millis(1_200));
    serves(&mut forebay);
    assert_eq!(troubles(&forebay, "read-only") + troubles(&forebay, "failed"), 0);
    kill(forebay);
    api.set_down(true);
    let forebay = image.next(&api, "");
    assert_eq!(get(&forebay, PATHS[0], "watcher").status(), 502, "a write has overtaken it");
    let got = get(&forebay, PATHS[1], "watcher");
    assert_eq!((got.status(), got.cache()), (200, STALE));
    kill(forebay);
}

#[test]
#[ignore = "needs root; CONTRIBUTING.md names it"]
fn a_store_that_was_read_only_is_emptied_as_soon_as_it_can_be() {
    let (api, disk) = (Api::start(), tempfile::tempdir().expect("a directory"));
    let forebay = start(&api, disk.path(), LONG);
    PATHS.iter().for_each(|path| assert_eq!(get(&forebay, path, "watcher").status(), 200));
    settled(&forebay, 2);
    kill(forebay);
    let shown = disk.path().display();
    let mount = format!("mount --bind {shown} {shown} && mount -o remount,ro,bind {shown}");
    let root = geteuid().is_root();
    let started = root.then(|| start_mounted_by_root(&api, disk.path(), LONG, &mount)).flatten();
    let Some(mut forebay) = started else {
        return eprintln!("NOT RUN: nobody may mount anything here");
    };
    let said = forebay.logs("what is overtaken from now on is noted nowhere");
    assert!(said.contains("remove its files by hand"), "{said}");
    serves(&mut forebay);
    assert_eq!(ask(&forebay, "POST", PATHS[0], "one").status(), 200);
    assert!(disk.path().join("table").exists());
    let pid = forebay.pid().as_raw_nonzero().to_string();
    let path = disk.path().to_str().expect("text");
    assert!(run("nsenter", &["-t", &pid, "-m", "mount", "-o", "remount,rw,bind", path]));
    until("it is emptied", || !disk.path().join("table").exists());
    kill(forebay);
    api.set_down(true);
    let forebay = start(&api, disk.path(), LONG);
    PATHS.iter().for_each(|path| assert_eq!(get(&forebay, path, "watcher").status(), 502, "{path}"));
    kill(forebay);
}
