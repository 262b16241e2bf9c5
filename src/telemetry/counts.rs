//! What the counters stand at, read back from the text exposition: the exporter gives no other way,
//! and a second count beside it would cost every request an addition.

/// What every counter stood at, at one moment.
pub struct Counts(String);

/// One counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// What it stood at.
    pub value: u64,
}

impl Count {
    /// The value of a label; empty when there is no such label.
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| label == name).map_or("", |(_, value)| value)
    }
}

impl Counts {
    pub(super) fn new(exposition: String) -> Self {
        Self(exposition)
    }

    /// The counters of one name.
    pub fn of(&self, name: &str) -> Vec<Count> {
        self.0.lines().filter_map(|line| count(line.strip_prefix(name)?)).collect()
    }
}

/// Reads `{label="value",...} 7`, or ` 7`; `None` for anything else.
fn count(line: &str) -> Option<Count> {
    let mut labels = Vec::new();
    let mut rest = line;
    if let Some(inside) = line.strip_prefix('{') {
        rest = inside;
        while let Some((name, behind)) = rest.split_once("=\"") {
            let (value, behind) = quoted(behind)?;
            labels.push((name.to_owned(), value));
            match behind.strip_prefix(',') {
                Some(more) => rest = more,
                None => {
                    rest = behind.strip_prefix('}')?;
                    break;
                }
            }
        }
    }
    let value = rest.strip_prefix(' ')?.parse().ok()?;
    Some(Count { labels, value })
}

/// A label's value up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Registry;

    #[test]
    fn counters_are_read_back_with_their_labels() {
        let registry = Registry::new();
        let odd = r#"/a/{b}/"c",d} 9"#;
        registry.counter("a_total", &[("rule", odd), ("outcome", "hit")]).increment(3);
        registry.counter("a_total_more", &[]).increment(5);
        registry.gauge("b", &[]).set(1.5);
        let counts = registry.counts();
        let found = counts.of("a_total");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].label("rule"), found[0].label("outcome"), found[0].value), (odd, "hit", 3));
        assert_eq!(found[0].label("none"), "");
        assert_eq!(counts.of("a_total_more"), [Count { labels: Vec::new(), value: 5 }]);
    }
}
