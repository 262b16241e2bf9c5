//! The writes of the published API, from the list that the built-in rules are tested against.

use crate::dialect::PublishedWrite;

/// Method and path of every call, and marks that only tests read.
const ENDPOINTS: &str = include_str!("../../../rules/proxmox.endpoints.txt");

/// The formats in which clients of the API and its own web interface write.
const FORMATS: [&str; 2] = ["json", "extjs"];

pub(in crate::dialect) fn published_writes() -> Vec<PublishedWrite> {
    let lines = ENDPOINTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(published).collect()
}

fn published(line: &str) -> Option<PublishedWrite> {
    let mut words = line.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    if method == "GET" {
        return None;
    }
    // A parameter's own name is a value that no rule writes out.
    let sample = path.replace(['{', '}'], "");
    Some(PublishedWrite {
        method: method.parse().ok()?,
        path: format!("/api2/{{format}}{path}"),
        samples: FORMATS.iter().map(|format| format!("/api2/{format}{sample}")).collect(),
    })
}
