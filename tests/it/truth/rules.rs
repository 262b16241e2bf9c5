//! What the configurations that may be in force let forebay do: the rules themselves are asked.

use std::collections::HashMap;
use std::time::Duration;

use forebay::rules::{Reuse, RuleSet, Sharing};

/// For how long after a write that no rule names the API's nodes may disagree.
const UNKNOWN: Duration = Duration::from_secs(3);

/// What the configurations that may be in force let forebay do.
pub struct Rules {
    /// The rules of each.
    pub sets: Vec<RuleSet>,
    accept_for: Duration,
    known: HashMap<String, Allowed>,
}

/// What the rules allow for one read.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// How long an answer may be shown.
    pub kept: Duration,
    /// How long it may be shown in place of an error, after that.
    pub in_outage: Duration,
    /// Who shares it.
    pub share: Sharing,
    /// Whether it says nothing of the credential.
    pub anonymous: bool,
    /// For how long the API's acceptance of a credential counts.
    pub accept_for: Duration,
}

impl Rules {
    /// What `sets` allow.
    pub fn new(sets: Vec<RuleSet>, accept_for: Duration) -> Self {
        Self { sets, accept_for, known: HashMap::new() }
    }

    /// What the rules allow for `path` with `query`, where that counts: the most that any of the
    /// configurations does.
    pub fn of(&mut self, path: &str, query: Option<&str>) -> Allowed {
        let name = format!("{path}?{}", query.unwrap_or_default());
        if let Some(allowed) = self.known.get(&name) {
            return *allowed;
        }
        let nothing = Allowed { anonymous: true, ..self.nothing() };
        let rules = self.sets.iter().filter_map(|set| Some(set.read(path, query)?.rule));
        let allowed = rules.fold(nothing, |most, rule| {
            let (fresh, kept) = match rule.reuse {
                Reuse::For(ttl) => (ttl, true),
                _ => (Duration::ZERO, false),
            };
            let or_none = |span| if kept { span } else { Duration::ZERO };
            Allowed {
                kept: most.kept.max(fresh + or_none(rule.stale_while_revalidate)),
                in_outage: most.in_outage.max(fresh + or_none(rule.stale_if_error)),
                share: rule.share,
                anonymous: rule.anonymous,
                ..most
            }
        });
        self.known.insert(name, allowed);
        allowed
    }
}

impl Rules {
    /// What is allowed for what no rule keeps: nothing.
    pub fn nothing(&self) -> Allowed {
        Allowed {
            kept: Duration::ZERO,
            in_outage: Duration::ZERO,
            share: Sharing::Credential,
            anonymous: false,
            accept_for: self.accept_for,
        }
    }

    /// For how long after `method` on `path` the API's nodes may disagree, by all of the configurations.
    pub fn settle(&self, method: &str, path: &str) -> Duration {
        let method = method.parse().expect("a method");
        let settles = self.sets.iter().map(|set| set.write(&method, path).map_or(UNKNOWN, |m| m.rule.settle));
        settles.min().unwrap_or_default()
    }
}

const WARM: &str = "keep_warm: {every: 1s, while_used_within: 1m}";

/// `pack` where all that is kept is kept warm as well.
pub fn kept_warm(pack: &str) -> String {
    let set = RuleSet::parse("rules.yaml", pack).expect("the pack is good");
    let mut lines: Vec<String> = pack.lines().map(|line| format!("{line}\n")).collect();
    for rule in set.reads.iter().filter(|rule| matches!(rule.reuse, Reuse::For(_))) {
        let line = &mut lines[rule.line as usize - 1];
        // Where a rule is written on lines of its own, the key is one more of them.
        let warm = line.replacen("- {path:", &format!("- {{{WARM}, path:"), 1);
        let warm = warm.replacen("- path:", &format!("- {WARM}\n    path:"), 1);
        assert_ne!(*line, warm, "the rule begins with its path");
        *line = warm;
    }
    lines.concat()
}
