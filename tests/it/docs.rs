//! What the documents and the files under `deploy` say of the program holds: configurations are
//! accepted, metrics exist, links lead somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_yaml::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of the project with one of these endings, but for what is built or kept by tools.
fn files(endings: &[&str]) -> Vec<(PathBuf, String)> {
    fn walk(directory: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).expect("the project is readable") {
            let path = entry.expect("the project is readable").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && !["target", "node_modules"].contains(&&*name) {
                    walk(&path, endings, found);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(root(), endings, &mut found);
    found.sort();
    found.into_iter().map(|path| (path.clone(), fs::read_to_string(&path).expect("a text"))).collect()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The texts of the fenced blocks of `language` in a Markdown file.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(opened) = line.trim_start().strip_prefix("```") {
            let block: Vec<&str> =
                lines.by_ref().take_while(|line| !line.trim_start().starts_with("```")).collect();
            if opened.trim() == language {
                found.push(block.join("\n") + "\n");
            }
        }
    }
    found
}

/// Every configuration and rule pack in a YAML text: its documents, and texts inside them.
fn configurations(text: &str, found: &mut Vec<String>) {
    for document in serde_yaml::Deserializer::from_str(text) {
        // What is no YAML on its own is not meant as a file of ours (a fragment, a template).
        let Ok(value) = Value::deserialize(document) else { return };
        if is_ours(&value) {
            found.push(text.to_owned());
        } else {
            embedded(&value, found);
        }
    }
}

fn embedded(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Mapping(map) => map.iter().for_each(|(_, value)| embedded(value, found)),
        Value::Sequence(items) => items.iter().for_each(|value| embedded(value, found)),
        Value::String(text) if text.contains('\n') => match serde_yaml::from_str::<Value>(text) {
            Ok(value) if is_ours(&value) => found.push(text.clone()),
            _ => {}
        },
        _ => {}
    }
}

fn is_ours(value: &Value) -> bool {
    has(value, "upstreams") || (has(value, "api") && (has(value, "reads") || has(value, "writes")))
}

fn has(value: &Value, key: &str) -> bool {
    value.as_mapping().is_some_and(|map| map.contains_key(key))
}

/// A configuration with a pack in front of the built-in one for the same API.
fn with_a_pack(pack: &Value) -> String {
    let api = pack.get("api").and_then(Value::as_str).expect("a pack is for an API");
    format!("upstreams: {{lab: {{endpoints: [https://api.example:8006], rules: [mine.yaml, {api}]}}}}\n")
}

/// A certificate and its private key, as files have them.
fn pair() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["api.example".to_owned()]).expect("a name");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// Makes the files that a configuration names, so that only what it says is judged.
fn make_named_files(value: &Value, directory: &Path, pair: &(String, String)) {
    let content = |key: &str| match key {
        "ca" | "certificate" | "client_ca" | "client_certificate" => Some(&*pair.0),
        "key" | "client_key" => Some(&*pair.1),
        "token_file" | "credential_file" => Some("Authorization: PVEAPIToken=a@pve!b=c\n"),
        _ => None,
    };
    match value {
        Value::Mapping(map) => {
            for (key, value) in map {
                match (key.as_str().and_then(content), value.as_str()) {
                    (Some(text), Some(file)) => {
                        let path = directory.join(file);
                        assert!(path.starts_with(directory), "`{file}`: documents use relative paths");
                        fs::create_dir_all(path.parent().expect("below the directory")).expect("writable");
                        // What is a credential, is one that nobody else may read.
                        fs::write(&path, text).expect("writable");
                        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("our own file");
                    }
                    _ => make_named_files(value, directory, pair),
                }
            }
        }
        Value::Sequence(items) => items.iter().for_each(|value| make_named_files(value, directory, pair)),
        _ => {}
    }
}

#[test]
fn configurations_are_accepted() {
    let (mut wrong, mut checked, pair) = (Vec::new(), BTreeSet::new(), pair());
    for (path, text) in files(&[".md", ".yaml", ".yml"]) {
        let from = shown(&path);
        if from.starts_with("tests") || from.starts_with("rules") || from == "forebay.yaml" {
            continue;
        }
        let mut found = Vec::new();
        if from.ends_with(".md") {
            blocks(&text, "yaml").iter().for_each(|block| configurations(block, &mut found));
        } else {
            configurations(&text, &mut found);
        }
        for configuration in found {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let value = serde_yaml::from_str(&configuration).expect("parsed before");
            make_named_files(&value, directory.path(), &pair);
            let file = directory.path().join("forebay.yaml");
            if has(&value, "upstreams") {
                fs::write(&file, &configuration).expect("writable");
            } else {
                // A pack is shown as an addition to the built-in one.
                fs::write(directory.path().join("mine.yaml"), &configuration).expect("writable");
                fs::write(&file, with_a_pack(&value)).expect("writable");
            }
            let diagnostics = forebay::config::check(&[file]);
            wrong
                .extend(diagnostics.iter().map(|d| format!("{from}: {}:{} {}", d.line, d.column, d.message)));
            checked.insert(from.clone());
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for expected in ["README.md", "CONTRIBUTING.md", "forebay.example.yaml", "deploy/kubernetes.yaml"] {
        assert!(checked.contains(expected), "no configuration was found in {expected}");
    }
}

/// The words in `text` that start with `forebay_` and could be a metric.
fn metrics(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("forebay_").filter_map(|(at, _)| {
        let before = text[..at].chars().next_back();
        let rest = &text[at..];
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(rest.len());
        (!before.is_some_and(|c| c.is_alphanumeric() || c == '_')).then(|| rest[..end].trim_end_matches('_'))
    })
}

#[test]
fn metrics_exist() {
    let made = |name: &str, sources: &str| {
        ["counter", "gauge", "histogram"].iter().any(|kind| sources.contains(&format!("{kind}(\"{name}\"")))
    };
    let sources: String = files(&[".rs"])
        .into_iter()
        .filter(|(path, _)| path.starts_with(root().join("src")))
        .flat_map(|(_, text)| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let (mut absent, mut named) = (BTreeSet::new(), BTreeSet::new());
    for (path, text) in files(&[".md", ".yaml", ".json"]) {
        for metric in metrics(&text) {
            let series = ["_bucket", "_sum", "_count"].iter().find_map(|end| metric.strip_suffix(end));
            if !made(metric, &sources) && !series.is_some_and(|name| made(name, &sources)) {
                absent.insert(format!("{}: {metric}", shown(&path)));
            }
            named.insert(metric.to_owned());
        }
    }
    assert!(absent.is_empty(), "{absent:#?}");
    assert!(named.contains("forebay_upstream_requests_total"), "the search finds nothing");
}

/// Whoever adds a metric decides where an operator sees it.
#[test]
fn the_dashboard_shows_every_metric() {
    let explained = std::fs::read_to_string(root().join("src/admin/metrics.rs")).expect("there");
    let dashboard = std::fs::read_to_string(root().join("deploy/grafana-dashboard.json")).expect("there");
    let shown: BTreeSet<&str> = metrics(&dashboard).collect();
    let is_shown = |name: &str| {
        ["", "_bucket", "_sum", "_count"].iter().any(|end| shown.contains(format!("{name}{end}").as_str()))
    };
    let unseen: BTreeSet<&str> = metrics(&explained).filter(|name| !is_shown(name)).collect();
    assert!(metrics(&explained).count() > 30, "the search finds nothing");
    assert!(unseen.is_empty(), "no panel shows {unseen:?}");
}

/// The targets of the links in a Markdown text, without those in code blocks.
fn links(text: &str) -> Vec<&str> {
    let mut code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        code ^= line.trim_start().starts_with("```");
        if !code {
            found.extend(
                line.match_indices("](").filter_map(|(at, open)| line[at + open.len()..].split(')').next()),
            );
        }
    }
    found
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let (mut broken, mut followed) = (Vec::new(), 0);
    for (path, text) in files(&[".md"]) {
        for link in links(&text).into_iter().filter(|link| !link.contains("://")) {
            let (file, fragment) = link.split_once('#').map_or((link, None), |(file, at)| (file, Some(at)));
            let target = match file {
                "" => path.clone(),
                file => path.parent().expect("a file has a folder").join(file),
            };
            let reached = target.exists()
                && fragment.is_none_or(|fragment| {
                    let text = fs::read_to_string(&target).unwrap_or_default();
                    text.lines()
                        .any(|line| line.starts_with('#') && anchor(line.trim_start_matches('#')) == fragment)
                });
            if !reached {
                broken.push(format!("{}: {link}", shown(&path)));
            }
            followed += 1;
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(followed > 5, "the search finds nothing");
}

/// The rows of the map in ARCHITECTURE.md name every module there is, and no other.
#[test]
fn the_map_is_complete() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the document is there");
    let mut absent = BTreeSet::new();
    for entry in fs::read_dir(root().join("src")).expect("the sources are readable") {
        let name = entry.expect("the sources are readable").file_name().to_string_lossy().into_owned();
        let module = name.trim_end_matches(".rs").to_owned();
        if !["lib", "main"].contains(&&*module) && !text.contains(&format!("`{module}`")) {
            absent.insert(module);
        }
    }
    assert!(absent.is_empty(), "not in the map: {absent:?}");
}
