//! The patches with which `tests/mutations/run` breaks forebay still fit the code that they break.
//!
//! What they break is only found by the long runs; that code moves away under them shows here at once.

use std::path::{Path, PathBuf};
use std::process::Command;

fn patches() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mutations");
    let files = std::fs::read_dir(folder).expect("the patches are beside the tests");
    let files = files.map(|file| file.expect("readable").path());
    let mut patches: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|end| end == "patch")).collect();
    patches.sort();
    patches
}

#[test]
fn every_patch_applies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let patches = patches();
    assert!(patches.len() > 30, "{patches:?}");
    let mut moved = Vec::new();
    for patch in &patches {
        // A folder within somebody else's repository is none of its parts.
        let above = root.parent().unwrap_or(root);
        let mut git = Command::new("git");
        git.args(["apply", "--check"]).arg(patch).current_dir(root).env("GIT_CEILING_DIRECTORIES", above);
        let Ok(checked) = git.output() else {
            println!("there is no git here: nothing was tried");
            return;
        };
        if !checked.status.success() {
            moved.push(format!("{}: {}", patch.display(), String::from_utf8_lossy(&checked.stderr)));
        }
    }
    assert!(moved.is_empty(), "what they break has moved; cut them anew:\n{}", moved.join("\n"));
}

/// What leads to a test in the first lines of a patch.
const KINDS: [&str; 4] = ["test: ", "it: ", "lib: ", "expect: "];

#[test]
fn every_patch_says_what_it_breaks_and_which_test_finds_it() {
    for patch in patches() {
        let text = std::fs::read_to_string(&patch).expect("a patch is text");
        let head: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("# ")).collect();
        let is_prose = |line: &&&str| !KINDS.iter().any(|kind| line.starts_with(kind));
        let last = head.iter().rfind(is_prose);
        assert!(last.is_some_and(|words| words.ends_with('.')), "{}: {head:?}", patch.display());
        for test in head.iter().filter_map(|line| line.strip_prefix("test: ")) {
            assert!(["truth::long", "truth::arm::long"].contains(&test), "{}: {test}", patch.display());
        }
    }
}
