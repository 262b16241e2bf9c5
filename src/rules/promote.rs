//! Single reads that a list answers, because its items are of equal shape.

use super::pattern::{Captures, Pattern};
use super::{ReadRule, RuleSet};

/// What `promote:` of a read says.
#[derive(Clone, Debug)]
pub struct Promote {
    /// How many segments of a read's path are the list's.
    pub depth: usize,
    /// Where the items stand in the list's body: a JSON pointer (RFC 6901).
    pub items: String,
    /// The member of an item that says where it is read alone.
    pub member: String,
    pub(super) list: Pattern,
}

impl Promote {
    /// The list's path template.
    pub fn list(&self) -> &Pattern {
        &self.list
    }

    /// The path of the list of what `path` reads, one without empty segments.
    pub fn list_of<'p>(&self, path: &'p str) -> &'p str {
        let end = path.match_indices('/').nth(self.depth).map_or(path.len(), |(at, _)| at);
        &path[..end]
    }
}

impl RuleSet {
    /// Whether any read is answered from a list.
    pub fn promotes(&self) -> bool {
        !self.promoting.is_empty()
    }

    /// The reads that a list at `path` answers.
    pub fn promoted_by<'s>(&'s self, path: &'s str) -> impl Iterator<Item = (usize, &'s Promote)> {
        self.promotions()
            .filter(|(_, _, promote)| promote.list.matches(path, self.case_insensitive).is_some())
            .map(|(index, _, promote)| (index, promote))
    }

    /// The reads that could be that of `path`, with the list that answers them.
    pub fn promotes_read<'s>(&'s self, path: &'s str) -> impl Iterator<Item = &'s Promote> {
        self.promotions()
            .filter(|(_, rule, _)| rule.pattern.matches(path, self.case_insensitive).is_some())
            .map(|(_, _, promote)| promote)
    }

    /// The captures of `path` if the read at `index` is the one that answers it.
    pub fn is_read_by(&self, index: usize, path: &str, query: Option<&str>) -> Option<Captures> {
        self.read(path, query).filter(|found| found.index == index).map(|found| found.captures)
    }

    fn promotions(&self) -> impl Iterator<Item = (usize, &ReadRule, &Promote)> {
        self.promoting.iter().filter_map(|index| {
            let rule = &self.reads[*index];
            Some((*index, rule, rule.promote.as_ref()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACK: &str = "\
api: any
match: {case_insensitive: true}
reads:
  - path: '/s/{s}/Nics/{nic}'
    ttl: 1s
    promote: {list: '/s/{s}/Nics', items: /value, match: id}
  - {path: '/s/{s}/**', ttl: 1s}
";

    #[test]
    fn a_list_and_what_it_answers_are_told_by_their_paths() {
        let rules = RuleSet::parse("p", PACK).expect("a pack");
        assert!(rules.promotes());
        let promotes = |path: &str| rules.promoted_by(path).map(|(index, _)| index).collect::<Vec<_>>();
        assert_eq!(promotes("/s/1/nics"), [0]);
        for other in ["/s/1/nics/a", "/s/1", "/s/1/disks", "/"] {
            assert!(promotes(other).is_empty(), "{other}");
        }
        let promote = rules.promotes_read("/s/1/nics/a").next().expect("an item");
        assert_eq!(promote.list_of("/s/1/nics/a"), "/s/1/nics");
        assert_eq!(promote.list_of("/s/1/nics"), "/s/1/nics");
        assert!(rules.promotes_read("/s/1/nics/a/b").next().is_none());
        assert!(rules.is_read_by(0, "/s/1/nics/a", None).is_some());
        assert!(rules.is_read_by(1, "/s/1/nics/a", None).is_none(), "another rule comes first");
    }

    #[test]
    fn what_cannot_be_promoted_is_told() {
        let promote = "promote: {list: /a, items: '', match: id}";
        for (rule, wrong) in [
            (format!("{{path: '/a/{{b}}', ttl: 1s, {promote}}}"), None),
            (format!("{{path: '/a/{{b}}', ttl: 0s, {promote}}}"), Some("which has to be a time")),
            (format!("{{path: '/a/{{b}}', ttl: origin, {promote}}}"), Some("which has to be a time")),
            (format!("{{path: '/a/{{b}}', ttl: pass, methods: [POST], {promote}}}"), Some("by GET")),
            (format!("{{path: '/a/{{b}}', ttl: 1s, anonymous: true, {promote}}}"), Some("no credential")),
            (
                format!("{{path: '/a/{{b}}', ttl: 1s, per_endpoint: true, {promote}}}"),
                Some("whichever endpoint"),
            ),
            (format!("{{path: '/a/{{b}}', ttl: 1s, share: rights, {promote}}}"), Some("`share: rights`")),
            (format!("{{path: '/a/**', ttl: 1s, {promote}}}"), Some("beginning of the rule's own path")),
            (format!("{{path: '/b/{{b}}', ttl: 1s, {promote}}}"), Some("beginning of the rule's own path")),
            (format!("{{path: '/a', ttl: 1s, {promote}}}"), Some("beginning of the rule's own path")),
            (
                "{path: '/a/{b}', ttl: 1s, promote: {list: a, items: '', match: x}}".to_owned(),
                Some("starts with `/`"),
            ),
        ] {
            let found = RuleSet::parse("p", &format!("api: any\nreads:\n  - {rule}\n"));
            let said: Vec<String> = found.err().unwrap_or_default().iter().map(ToString::to_string).collect();
            match wrong {
                None => assert!(said.is_empty(), "{said:?}"),
                Some(wrong) => assert!(said.iter().any(|said| said.contains(wrong)), "{rule}: {said:?}"),
            }
        }
    }

    #[test]
    fn one_pack_folds_the_keys_of_all_and_what_was_kept_before_is_not_found() {
        let pack = |text: &str| RuleSet::parse("p", text).expect("a pack");
        let folds = pack("api: any\nmatch: {case_insensitive: true, fold_case: true}");
        let alone = RuleSet::join(vec![pack(PACK)]).expect("joined");
        let both = RuleSet::join(vec![folds, pack(PACK)]).expect("joined");
        assert!(!alone.fold_case && both.fold_case);
        assert!(alone.reads.iter().zip(&both.reads).all(|(one, other)| one.fingerprint != other.fingerprint));
        assert!(both.promotes());
        let without =
            pack(&PACK.replace("    promote: {list: '/s/{s}/Nics', items: /value, match: id}\n", ""));
        assert_ne!(without.reads[0].fingerprint, alone.reads[0].fingerprint);
        assert_eq!(without.reads[1].fingerprint, alone.reads[1].fingerprint);
    }
}
