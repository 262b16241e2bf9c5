//! The shape of the source tree, held by tests: ARCHITECTURE.md says why.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Top-level modules from the foundation up: a module imports only from those before it.
const ROWS: [&str; 16] = [
    "units",
    "clock",
    "net",
    "telemetry",
    "semantics",
    "rules",
    "dialect",
    "cache",
    "tier",
    "upstream",
    "proxy",
    "server",
    "admin",
    "sim",
    "config",
    "app",
];

/// The most lines a file may have before its tests: more than this needs a table of contents.
const LONGEST: usize = 400;

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(directory).expect("the source tree is readable") {
            let path = entry.expect("the source tree is readable").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).expect("sources are text");
                found.push((path, text));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.iter_mut().for_each(|(path, _)| *path = path.strip_prefix(&root).expect("below").to_path_buf());
    found
}

/// The top-level module that a file belongs to.
fn module(path: &Path) -> String {
    let first = path.components().next().expect("a file has a name").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

fn is_test(path: &Path) -> bool {
    path.components()
        .any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs" | "model" | "model.rs")))
}

/// The lines that are code and not tests, numbered from one.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end]
        .lines()
        .enumerate()
        .map(|(number, line)| (number + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[test]
fn imports_go_one_way() {
    let row = |module: &str| ROWS.iter().position(|row| *row == module);
    let mut wrong = BTreeSet::new();
    for (path, text) in sources() {
        let from = module(&path);
        let (true, Some(own)) = (from != "lib" && from != "main" && from != "cli", row(&from)) else {
            assert!(["lib", "main", "cli"].contains(&&*from), "`{from}` has no place among the rows");
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            for (_, rest) in line.match_indices("crate::").map(|(at, found)| (at, &line[at + found.len()..]))
            {
                let to: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if row(&to).is_some_and(|to| to > own) || to == "cli" {
                    wrong.insert(format!("{}:{}: `{from}` imports `{to}`", path.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Asserts that no code line of `modules` contains one of `words`.
fn absent(modules: &[&str], words: &[&str], why: &str) {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if !modules.contains(&&*module(&path)) || is_test(&path) {
            continue;
        }
        for (number, line) in code(&text) {
            let lower = line.to_lowercase();
            if words.iter().any(|word| lower.contains(word)) {
                wrong.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{why}: {wrong:#?}");
}

#[test]
fn the_core_does_no_input_and_output() {
    let io = ["tokio::net", "std::net::tcp", "std::fs", "tokio::fs", "hyper::client", "hyper::server"];
    absent(&["semantics", "rules", "dialect", "cache"], &io, "the core decides, it does not talk");
}

#[test]
fn only_the_dialect_names_an_api() {
    let names = ["proxmox", "pve", "azure"];
    let modules =
        ["units", "clock", "net", "telemetry", "semantics", "cache", "upstream", "proxy", "server", "admin"];
    absent(&modules, &names, "what is special to an API belongs into `dialect`");
}

#[test]
fn the_upstream_knows_no_cache() {
    absent(&["upstream"], &["crate::cache", "crate::rules", "crate::dialect"], "`upstream` only sends");
}

#[test]
fn only_the_clock_reads_time() {
    let readers = ["systemtime::now", "std::time::instant", "clock_gettime"];
    let modules: Vec<&str> = ROWS.into_iter().filter(|module| *module != "clock").collect();
    absent(&modules, &readers, "time is read by `clock`, deadlines by tokio");
}

#[test]
fn no_file_needs_a_table_of_contents() {
    let long: Vec<_> = sources()
        .iter()
        .filter(|(path, _)| !is_test(path))
        .map(|(path, text)| {
            (
                path.display().to_string(),
                text[..text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len())].lines().count(),
            )
        })
        .filter(|(_, lines)| *lines > LONGEST)
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}
