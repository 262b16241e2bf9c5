//! From `forebay.yaml` and rule packs to settings, with every mistake at its place.
//!
//! The lowest row: it knows all parts of the process and fills in what each defines. The file is read
//! in two steps, its shape ([`raw`]) and what its names mean (`resolve`); both go on after a mistake,
//! so that all are reported at once. Settings are only made from a file without one.

pub mod raw;
pub mod settings;

mod resolve;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

pub use settings::{
    AdminSettings, CacheSettings, ForwardSettings, Intercept, ListenerSettings, LogFormat, LogLevel,
    LogSettings, Settings, UpstreamSettings,
};

use crate::rules::document::MAX_FILE;
use crate::rules::{Diagnostic, RuleSet, Severity, builtin};
use resolve::coverage::{Scope, uncovered};
use resolve::packs;

/// The settings in the file at `path`, or all that is wrong with it. Warnings are left out; [`check`]
/// has them.
pub fn load(path: &Path) -> Result<Settings, Vec<Diagnostic>> {
    let source = path.display().to_string();
    let text = read(path).map_err(|error| vec![error])?;
    let (settings, diagnostics) = resolve::config(&source, &text, directory(path));
    let mut settings =
        settings.ok_or_else(|| diagnostics.into_iter().filter(Diagnostic::is_error).collect::<Vec<_>>())?;
    settings.file = Some(path.to_path_buf());
    Ok(settings)
}

/// All that is wrong with these files, errors and warnings, configurations and rule packs alike: a file
/// with `reads` or `writes` at its top is a pack.
pub fn check(files: &[PathBuf]) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    for path in files {
        let source = path.display().to_string();
        match read(path) {
            Err(error) => diagnostics.push(error),
            Ok(text) if is_pack(&text) => {
                let (rules, mistakes) = packs::parse(&source, &text);
                diagnostics.extend(mistakes);
                diagnostics.extend(rules.iter().flat_map(RuleSet::warnings));
                let missing = rules.as_ref().and_then(|rules| uncovered(rules, Scope::Pack));
                diagnostics.extend(missing.map(|message| Diagnostic {
                    severity: Severity::Warning,
                    ..Diagnostic::whole_file(&source, message)
                }));
            }
            Ok(text) => diagnostics.extend(resolve::config(&source, &text, directory(path)).1),
        }
    }
    diagnostics
}

/// The admin address that the file at `path` names, whatever else is right or wrong in it: a mistake in
/// an edit changes nothing for the process that is asked.
pub fn admin_address(path: &Path) -> Result<Option<std::net::SocketAddr>, Diagnostic> {
    let text = read(path)?;
    let file: serde_yaml::Value = serde_yaml::from_str(&text).unwrap_or_default();
    let address = file.get("admin").and_then(|admin| admin.get("address")).and_then(|a| a.as_str());
    Ok(address.and_then(|address| address.parse().ok()))
}

/// The rules that `name` stands for: a built-in pack, or a file.
pub fn rules(name: &str) -> Result<RuleSet, Vec<Diagnostic>> {
    let (rules, diagnostics) = match builtin(name) {
        Some(text) => packs::parse(name, text),
        None => packs::parse(name, &read(Path::new(name)).map_err(|error| vec![error])?),
    };
    rules.ok_or(diagnostics)
}

/// The text of a file that is small enough to be parsed.
fn read(path: &Path) -> Result<String, Diagnostic> {
    let wrong = |message: String| Diagnostic::whole_file(&path.display().to_string(), message);
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE as u64 + 1).read_to_string(&mut text));
    match read {
        Err(error) => Err(wrong(format!("cannot be read: {error}"))),
        Ok(length) if length > MAX_FILE => Err(wrong(format!("larger than {} MiB", MAX_FILE >> 20))),
        Ok(_) => Ok(text),
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn is_pack(text: &str) -> bool {
    let Ok(serde_yaml::Value::Mapping(top)) = serde_yaml::from_str(text) else { return false };
    top.contains_key("reads") || top.contains_key("writes")
}

#[cfg(test)]
mod tests;
