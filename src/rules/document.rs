//! A YAML document that reports every mistake of its shape at once, each with its line and column.
//!
//! serde stops at the first mistake and a YAML value does not remember where it stood. So a document
//! is read in two ways. It is parsed once into a value; the typed form is deserialised from that, and
//! at each mistake the offending node is recorded, taken out and the deserialisation tried again. A
//! node is found in the text again by walking the parser to its path and failing there on purpose:
//! the parser then names the line and the column, in block and in flow style and through aliases.
//! The walk costs one parse of the text and is only made for mistakes; the places of list items,
//! which every rule wants to know, come from [`Document::items`], a scan of the lines.

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use serde_yaml::Value;

use super::diagnostic::{Diagnostic, Severity};
use walk::Aim;

mod walk;

/// Larger files are refused before they are parsed, in bytes.
pub const MAX_FILE: usize = 1 << 20;

/// After so many mistakes of shape the rest is not looked for.
const MAX_MISTAKES: usize = 200;

/// One step from a node to its child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The value of this key.
    Key(String),
    /// The item with this index.
    Item(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Step::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Step::Item(index)
    }
}

/// A path of steps from keys and indexes: `at!["reads", 3, "ttl"]`.
macro_rules! at {
    ($($step:expr),* $(,)?) => { [$($crate::rules::document::Step::from($step)),*] };
}

pub(crate) use at;

/// Where a node stands in its file, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

/// The text of a file and what was taken out of it because it was wrong.
pub struct Document {
    source: String,
    text: String,
    /// Paths in the text, in the order in which they were taken out.
    removed: Vec<Vec<Step>>,
}

impl Document {
    /// The typed form of `text` without its mistakes, and the mistakes. The form is absent when
    /// nothing useful is left of the document.
    pub fn parse<T: DeserializeOwned>(source: &str, text: &str) -> (Document, Option<T>, Vec<Diagnostic>) {
        let mut document = Document { source: source.to_owned(), text: text.to_owned(), removed: Vec::new() };
        if text.len() > MAX_FILE {
            let message = format!("larger than {} MiB", MAX_FILE >> 20);
            return (document, None, vec![Diagnostic::whole_file(source, message)]);
        }
        let mut value: Value = match serde_yaml::from_str(text) {
            Ok(Value::Null) => Value::Mapping(serde_yaml::Mapping::new()),
            Ok(value) => value,
            Err(error) => {
                let message = without_place(&error.to_string());
                let place = repeated(text, place_of(&error), &message).unwrap_or(place_of(&error));
                let diagnostics = vec![document.diagnostic(place, Severity::Error, message)];
                return (document, None, diagnostics);
            }
        };
        let mut diagnostics = Vec::new();
        let mut silent = false;
        while diagnostics.len() < MAX_MISTAKES {
            let error = match serde_path_to_error::deserialize::<_, T>(value.clone()) {
                Ok(typed) => return (document, Some(typed), diagnostics),
                Err(error) => error,
            };
            let message = error.inner().to_string();
            let here = steps(error.path());
            let missing = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
            // A required key that was taken out because its value was wrong has been reported.
            silent = missing.is_some_and(|key| {
                let mut child = document.original(&here);
                child.push(key.into());
                document.removed.contains(&child)
            });
            if !silent {
                let original = document.original(&here);
                let at_key = message.starts_with("unknown field") || message.starts_with("duplicate field");
                let place = if at_key { document.key_place(&original) } else { document.place(&original) };
                diagnostics.push(document.diagnostic(place, Severity::Error, message));
            }
            if here.is_empty() || !remove(&mut value, &here) {
                break;
            }
            let original = document.original(&here);
            document.removed.push(original);
        }
        debug_assert!(silent || !diagnostics.is_empty());
        (document, None, diagnostics)
    }

    /// An error about the value at `path`, a path in the typed form.
    pub fn error(&self, path: &[Step], message: impl Into<String>) -> Diagnostic {
        self.diagnostic(self.place(&self.original(path)), Severity::Error, message.into())
    }

    /// An error about the key at the end of `path`, a path in the typed form.
    pub fn key_error(&self, path: &[Step], message: impl Into<String>) -> Diagnostic {
        self.diagnostic(self.key_place(&self.original(path)), Severity::Error, message.into())
    }

    /// The places of the items of the list under the top-level key `key`, as they are in the typed form.
    pub fn items(&self, key: &str, count: usize) -> Vec<Place> {
        let mut places = scan_items(&self.text, key);
        let list = at![key];
        let gone = |index: usize| {
            let item = [list[0].clone(), Step::Item(index)];
            self.removed.iter().any(|removed| removed[..] == item[..])
        };
        let mut index = 0;
        places.retain(|_| {
            index += 1;
            !gone(index - 1)
        });
        if places.len() == count {
            return places;
        }
        // Not in block style: ask the parser for each.
        (0..count).map(|index| self.place(&self.original(&at![key, index]))).collect()
    }

    fn diagnostic(&self, place: Place, severity: Severity, message: String) -> Diagnostic {
        Diagnostic { source: self.source.clone(), line: place.line, column: place.column, severity, message }
    }

    /// The path in the text of a path in the typed form: items that were taken out shift the others.
    fn original(&self, path: &[Step]) -> Vec<Step> {
        let mut original: Vec<Step> = Vec::with_capacity(path.len() + 1);
        for step in path {
            let step = match step {
                Step::Key(key) => Step::Key(key.clone()),
                Step::Item(index) => {
                    let mut gone: Vec<usize> = self
                        .removed
                        .iter()
                        .filter(|removed| {
                            removed.len() == original.len() + 1 && removed.starts_with(&original)
                        })
                        .filter_map(|removed| match removed.last() {
                            Some(Step::Item(index)) => Some(*index),
                            _ => None,
                        })
                        .collect();
                    gone.sort_unstable();
                    Step::Item(
                        gone.into_iter().fold(*index, |index, gone| index + usize::from(gone <= index)),
                    )
                }
            };
            original.push(step);
        }
        original
    }

    fn place(&self, original: &[Step]) -> Place {
        self.walk(original, Aim::Value)
    }

    fn key_place(&self, original: &[Step]) -> Place {
        self.walk(original, Aim::Key)
    }

    fn walk(&self, original: &[Step], aim: Aim) -> Place {
        match walk::find(&self.text, original, aim) {
            Some(error) => place_of(&error),
            // The path does not lead to a node: the mistake is something absent, report its parent.
            None if !original.is_empty() => self.walk(&original[..original.len() - 1], Aim::Value),
            None => Place { line: 1, column: 1 },
        }
    }
}

fn steps(path: &serde_path_to_error::Path) -> Vec<Step> {
    path.iter()
        .map_while(|segment| match segment {
            Segment::Seq { index } => Some(Step::Item(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

/// Takes the node at `path` out; false when there is none.
fn remove(value: &mut Value, path: &[Step]) -> bool {
    let Some((last, parents)) = path.split_last() else { return false };
    let mut node = value;
    for step in parents {
        let child = match step {
            Step::Key(key) => node.get_mut(key.as_str()),
            Step::Item(index) => node.get_mut(*index),
        };
        match child {
            Some(child) => node = child,
            None => return false,
        }
    }
    match (last, node) {
        (Step::Key(key), Value::Mapping(map)) => map.shift_remove(key.as_str()).is_some(),
        (Step::Item(index), Value::Sequence(items)) if *index < items.len() => {
            items.remove(*index);
            true
        }
        _ => false,
    }
}

fn place_of(error: &serde_yaml::Error) -> Place {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    match error.location() {
        Some(location) => Place { line: number(location.line()), column: number(location.column()) },
        None => Place { line: 1, column: 1 },
    }
}

/// The parser's message without the place that it ends with, because the diagnostic names that.
fn without_place(message: &str) -> String {
    let end = message.find(" at line ").unwrap_or(message.len());
    message[..end].to_owned()
}

/// Where the key stands again that a message of the parser says is there twice, in a mapping in block style;
/// the parser names the place of the mapping.
fn repeated(text: &str, mapping: Place, message: &str) -> Option<Place> {
    let key = message.split_once("duplicate entry with key \"")?.1.strip_suffix('"')?;
    let (first, column) = (mapping.line as usize - 1, mapping.column as usize - 1);
    let within = |line: &&str| {
        let content = line.trim_start_matches(' ');
        content.is_empty() || content.starts_with('#') || line.len() - content.len() >= column
    };
    let is_key = |line: &str| {
        let rest = line.get(column..).and_then(|rest| rest.strip_prefix(key));
        rest.is_some_and(|rest| rest.starts_with(':'))
    };
    // The first line may begin with the dash of a list.
    let lines = (1u32..).zip(text.lines()).skip(first);
    let mut keys = lines
        .take_while(|(line, text)| *line == mapping.line || within(text))
        .filter(|(_, line)| is_key(line));
    keys.nth(1).map(|(line, _)| Place { line, column: mapping.column })
}

/// The places of the items of a block-style list under a key at the start of a line.
fn scan_items(text: &str, key: &str) -> Vec<Place> {
    let mut places = Vec::new();
    let mut indent = None;
    let mut inside = false;
    for (number, line) in (1u32..).zip(text.lines()) {
        let start = line.len() - line.trim_start_matches(' ').len();
        let content = &line[start..];
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let is_item = content == "-" || content.starts_with("- ");
        if start == 0 && !is_item {
            inside = content.strip_prefix(key).is_some_and(|rest| rest.starts_with(':'));
            indent = None;
        } else if inside && is_item && start == *indent.get_or_insert(start) {
            let after = content[1..].len() - content[1..].trim_start_matches(' ').len();
            let column = u32::try_from(start + 2 + after).unwrap_or(u32::MAX);
            places.push(Place { line: number, column });
        }
    }
    places
}

#[cfg(test)]
mod tests;
