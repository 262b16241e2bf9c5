//! Which of many patterns matches a path first: a trie over segments.
//!
//! All patterns are walked at once, one segment of the path at a time, with the set of nodes that are
//! still possible. So the time is bounded by segments times possible nodes however many `**` the
//! patterns have and whatever path a client sends, and nothing is allocated while the set stays small and
//! the path has 16 segments or fewer, as those of the APIs have.
//! Captures are not gathered here; the winning pattern does that.

use smallvec::SmallVec;

use super::pattern::{Pattern, PatternSegment, Segments, literal_matches, prefix_matches};

/// The root is the first node.
const ROOT: u32 = 0;

/// So many possible nodes at once need no allocation; rule packs have one to four.
type Active = SmallVec<[u32; 16]>;

#[derive(Clone, Debug, Default)]
struct Node {
    /// Children by literal (folded when case does not matter), in the order of their keys.
    literals: Vec<Literal>,
    /// Children by how a segment begins (folded likewise).
    prefixes: Vec<(Box<str>, u32)>,
    /// The child for any one segment.
    one: Option<u32>,
    /// The child for any number of segments.
    rest: Option<u32>,
    /// Whether this node stands for `**`: it stays possible at every further segment.
    loops: bool,
    /// The rules that end here, in order.
    rules: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Literal {
    key: u64,
    text: Box<str>,
    child: u32,
}

/// The trie.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    nodes: Vec<Node>,
    case_insensitive: bool,
}

impl Index {
    /// An index of patterns with their places in the order, which grow.
    pub(super) fn new<'p>(
        patterns: impl IntoIterator<Item = (usize, &'p Pattern)>,
        case_insensitive: bool,
    ) -> Self {
        let mut index = Self { nodes: vec![Node::default()], case_insensitive };
        for (rule, pattern) in patterns {
            let end = pattern.segments().iter().fold(ROOT, |node, segment| index.child(node, segment));
            // A pack with more than four billion rules would exceed the size cap of its file.
            index.nodes[end as usize].rules.push(rule as u32);
        }
        index
    }

    /// The first rule in order whose pattern matches `path`, which has these `segments`, and that `accept`
    /// accepts.
    pub(super) fn first(
        &self,
        path: &str,
        segments: &Segments,
        accept: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        if self.nodes.is_empty() {
            return None;
        }
        let (mut active, mut next) = (Active::new(), Active::new());
        self.add(&mut active, ROOT);
        for segment in segments.texts(path) {
            let key = key(segment, self.case_insensitive);
            for number in &active {
                let node = &self.nodes[*number as usize];
                if node.loops {
                    self.add(&mut next, *number);
                }
                if let Some(child) = node.one.filter(|_| !segment.is_empty()) {
                    self.add(&mut next, child);
                }
                if let Some(child) = self.literal(node, key, segment) {
                    self.add(&mut next, child);
                }
                for (prefix, child) in &node.prefixes {
                    if prefix_matches(prefix, segment, self.case_insensitive) {
                        self.add(&mut next, *child);
                    }
                }
            }
            std::mem::swap(&mut active, &mut next);
            next.clear();
            if active.is_empty() {
                return None;
            }
        }
        let rules = active.iter().filter_map(|number| {
            self.nodes[*number as usize].rules.iter().map(|rule| *rule as usize).find(|rule| accept(*rule))
        });
        rules.min()
    }

    /// Adds a node and the `**` below it, which may match nothing.
    fn add(&self, active: &mut Active, number: u32) {
        let mut next = Some(number);
        while let Some(number) = next.filter(|number| !active.contains(number)) {
            active.push(number);
            next = self.nodes[number as usize].rest;
        }
    }

    fn literal(&self, node: &Node, key: u64, segment: &str) -> Option<u32> {
        let first = node.literals.partition_point(|literal| literal.key < key);
        node.literals[first..]
            .iter()
            .take_while(|literal| literal.key == key)
            .find(|literal| literal_matches(&literal.text, segment, self.case_insensitive))
            .map(|literal| literal.child)
    }

    fn child(&mut self, parent: u32, segment: &PatternSegment) -> u32 {
        // A pack with more than four billion nodes would exceed the size cap of its file.
        let new = self.nodes.len() as u32;
        let node = &mut self.nodes[parent as usize];
        let child = match segment {
            PatternSegment::One(_) => *node.one.get_or_insert(new),
            PatternSegment::Rest => *node.rest.get_or_insert(new),
            PatternSegment::Prefix(prefix) => {
                let prefix = folded(prefix, self.case_insensitive);
                match node.prefixes.iter().find(|(other, _)| **other == *prefix) {
                    Some((_, child)) => *child,
                    None => {
                        node.prefixes.push((prefix.into(), new));
                        new
                    }
                }
            }
            PatternSegment::Literal(literal) => {
                let text = folded(literal, self.case_insensitive);
                match node.literals.iter().find(|other| *other.text == *text) {
                    Some(other) => other.child,
                    None => {
                        let key = key(&text, false);
                        let place = node.literals.partition_point(|other| other.key < key);
                        node.literals.insert(place, Literal { key, text: text.into(), child: new });
                        new
                    }
                }
            }
        };
        if child == new {
            self.nodes.push(Node { loops: *segment == PatternSegment::Rest, ..Node::default() });
        }
        child
    }
}

/// The length and the last bytes of a segment as a number, which is compared sooner than text: names of an API
/// begin alike more often than they end so.
fn key(segment: &str, case_insensitive: bool) -> u64 {
    let mut last = [0; size_of::<u64>()];
    match segment.as_bytes().last_chunk() {
        Some(whole) => last = *whole,
        None => last[size_of::<u64>() - segment.len()..].copy_from_slice(segment.as_bytes()),
    }
    if case_insensitive {
        last.make_ascii_lowercase();
    }
    // A literal with as many more bytes is told apart by its text.
    last[0] = segment.len() as u8;
    u64::from_be_bytes(last)
}

fn folded(text: &str, case_insensitive: bool) -> String {
    if case_insensitive { text.to_ascii_lowercase() } else { text.to_owned() }
}
