//! The watcher of files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::super::watch::Watcher;
use super::*;

async fn assert_changes(watcher: &mut Watcher, what: &str) {
    assert!(tokio::time::timeout(PATIENCE, watcher.changed()).await.is_ok(), "no event for {what}");
}

/// Waits twice the debounce: long enough for an event that should not come.
async fn assert_quiet(watcher: &mut Watcher, what: &str) {
    let quiet = tokio::time::timeout(Duration::from_millis(600), watcher.changed()).await.is_err();
    assert!(quiet, "an event for {what}");
}

fn replace(path: &Path, content: &str) {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, content).unwrap();
    fs::rename(temporary, path).unwrap();
}

#[tokio::test]
async fn writes_renames_and_deletions_are_changes_and_equal_content_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.yaml");
    fs::write(&file, "1").unwrap();
    let mut watcher = Watcher::new(vec![file.clone()]);
    fs::write(&file, "2").unwrap();
    assert_changes(&mut watcher, "a write").await;
    replace(&file, "3");
    assert_changes(&mut watcher, "a rename").await;
    replace(&file, "3");
    fs::write(directory.path().join("b.yaml"), "x").unwrap();
    assert_quiet(&mut watcher, "equal content and another file").await;
    fs::remove_file(&file).unwrap();
    assert_changes(&mut watcher, "a deletion").await;
    fs::write(&file, "4").unwrap();
    assert_changes(&mut watcher, "a return").await;
}

#[tokio::test]
async fn the_swap_of_a_link_beside_the_file_is_a_change() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    for (version, content) in [("..1", "one"), ("..2", "two"), ("..3", "three")] {
        fs::create_dir(root.join(version)).unwrap();
        fs::write(root.join(version).join("a.yaml"), content).unwrap();
    }
    symlink("..1", root.join("..data")).unwrap();
    symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
    let mut watcher = Watcher::new(vec![root.join("a.yaml")]);
    for version in ["..2", "..3"] {
        symlink(version, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        assert_changes(&mut watcher, version).await;
    }
    // The file that the link names is elsewhere; it is watched there.
    fs::write(root.join("..3/a.yaml"), "four").unwrap();
    assert_changes(&mut watcher, "a write behind the link").await;
}

#[tokio::test]
async fn another_list_of_files_is_watched_instead() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let (old, new) = (directory.path().join("old"), elsewhere.path().join("new"));
    let mut watcher = Watcher::new(vec![old.clone()]);
    watcher.set_files(vec![new.clone()]);
    assert_quiet(&mut watcher, "another list").await;
    fs::write(&old, "x").unwrap();
    assert_quiet(&mut watcher, "a file no longer watched").await;
    fs::write(&new, "x").unwrap();
    assert_changes(&mut watcher, "a file that appears").await;
}
