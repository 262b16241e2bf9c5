//! An explanation as lines of text.

use std::fmt;

use serde_json::Value;

use super::Explanation;

/// Keys of a rule whose values stand in lines of their own, some of them for this very request.
const TOLD: [&str; 6] = ["path", "ttl", "share", "groups", "invalidates", "moving"];

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: &str| writeln!(f, "{name:<12} {value}");
        line("rule", self.rule.as_deref().unwrap_or("none"))?;
        line("api", &self.api)?;
        let optional = [("key", &self.key), ("ttl", &self.ttl), ("share", &self.share)];
        for (name, value) in optional {
            if let Some(value) = value {
                line(name, value)?;
            }
        }
        let others = self.chosen.iter().filter(|(key, _)| !TOLD.contains(&key.as_str()));
        let others: Vec<String> = others.map(|(key, value)| written(key, value)).collect();
        // Of a read these are writes, of a write groups.
        let heading = if self.ttl.is_some() { "overtaken by" } else { "overtakes" };
        let lists = [
            ("groups", &self.groups),
            (heading, &self.invalidates),
            ("or by tasks", &self.tasks),
            ("moving", &self.moving),
            ("written", &others),
        ];
        for (name, list) in lists {
            for (index, item) in list.iter().enumerate() {
                line(if index == 0 { name } else { "" }, item)?;
            }
        }
        line("why", &self.reason)
    }
}

/// A key as a pack could have it.
fn written(key: &str, value: &Value) -> String {
    match value {
        Value::String(text) => format!("{key}: {text}"),
        other => format!("{key}: {other}"),
    }
}
