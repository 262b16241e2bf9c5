use std::collections::BTreeMap;

use super::*;
use crate::units::Span;

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Item {
    name: String,
    #[serde(default)]
    wait: Span,
    #[serde(default)]
    numbers: Vec<u16>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct File {
    #[serde(default)]
    items: Vec<Item>,
    #[serde(default)]
    map: BTreeMap<String, Item>,
}

fn mistakes(text: &str) -> Vec<String> {
    let (_, _, diagnostics) = Document::parse::<File>("f.yaml", text);
    diagnostics.iter().map(ToString::to_string).collect()
}

#[test]
fn every_mistake_of_shape_is_reported_where_it_stands() {
    let text = "\
items:
  - name: one
    wait: 5
  - naem: two
    name: two
  # a comment
  - wait: 5m
  - name: four
    numbers: [1, x, 3, 99999]
map:
  five: {name: [], wait: soon}
other: 1
";
    let mut found = mistakes(text);
    found.sort();
    let expected = [
        "f.yaml:11:16: invalid type: sequence, expected a string",
        "f.yaml:11:26: `soon` is not a duration: write a whole number and a unit (ms, s, m, h or d), as in 5s",
        "f.yaml:12:1: unknown field `other`, expected `items` or `map`",
        "f.yaml:3:11: `5` is not a duration: write a whole number and a unit (ms, s, m, h or d), as in 5s",
        "f.yaml:4:5: unknown field `naem`, expected one of `name`, `wait`, `numbers`",
        "f.yaml:7:5: missing field `name`",
        "f.yaml:9:18: invalid type: string \"x\", expected u16",
        "f.yaml:9:24: invalid value: integer `99999`, expected u16",
    ];
    assert_eq!(found, expected);
}

#[test]
fn what_is_left_keeps_its_places() {
    let text = "items:\n- {name: 1}\n- name: two\n- {name: 3}\n-   name: four\n    numbers: [x, 1]\n";
    let (document, file, diagnostics) = Document::parse::<File>("f", text);
    let file = file.unwrap();
    assert_eq!((file.items.len(), diagnostics.len()), (2, 3), "{diagnostics:?}");
    let place = |line, column| Place { line, column };
    assert_eq!(document.items("items", 2), [place(3, 3), place(5, 5)]);
    let at = |path: &[Step]| document.error(path, "m").to_string();
    assert_eq!(at(&at!["items", 1, "name"]), "f:5:11: m");
    assert_eq!(at(&at!["items", 1, "numbers", 0]), "f:6:18: m");
    // Of something absent the parent is named.
    assert_eq!(at(&at!["items", 0, "wait"]), "f:3:3: m");
    assert_eq!(document.key_error(&at!["items", 1, "numbers"], "m").to_string(), "f:6:5: m");
}

#[test]
fn flow_style_and_aliases_have_places_too() {
    let text = r#"{"items": [{"name": "a"}, {"name": "b", "wait": 1}]}"#;
    assert_eq!(mistakes(text).len(), 1);
    assert!(mistakes(text)[0].starts_with("f.yaml:1:49: `1` is not"), "{:?}", mistakes(text));
    let (document, file, _) = Document::parse::<File>("f", text);
    assert_eq!(document.items("items", file.unwrap().items.len())[1], Place { line: 1, column: 27 });
    let alias = "items:\n- &a {name: x, wait: 1}\n- *a\n";
    assert_eq!(mistakes(alias).len(), 2);
}

#[test]
fn what_is_no_yaml_is_reported_once() {
    assert_eq!(mistakes("items: [").len(), 1);
    assert_eq!(mistakes("a: 1\na: 2").len(), 1);
    assert_eq!(mistakes("- 1").len(), 1);
    assert!(mistakes("items:\n\t- a")[0].starts_with("f.yaml:2:"), "{:?}", mistakes("items:\n\t- a"));
    assert_eq!(mistakes(""), [""; 0]);
    assert_eq!(mistakes(&" ".repeat(MAX_FILE + 1)), ["f.yaml: larger than 1 MiB"]);
}

#[test]
fn a_key_that_stands_twice_is_told_of_where_it_stands_again() {
    let place = |text: &str| {
        let (_, _, diagnostics) = Document::parse::<Value>("d", text);
        diagnostics.iter().map(|diagnostic| (diagnostic.line, diagnostic.column)).collect::<Vec<_>>()
    };
    assert_eq!(place("a: 1\nb:\n  a: 1\n# a: 2\n\na: 2\n"), [(6, 1)]);
    assert_eq!(place("l:\n  - a: 1\n    ab: 2\n    a: 3\n  - a: 1\n"), [(4, 5)]);
    assert_eq!(place("l:\n  - c: 1\n    a: 2\n    a: 3\n"), [(4, 5)]);
    // In flow style it is the mapping.
    assert_eq!(place("x: 1\nl: {a: 1, a: 2}\n"), [(2, 4)]);
}
