//! Path patterns: `{name}` is one segment, `*` one unnamed, `list*` one that begins so, `**` any number,
//! anywhere.
//!
//! A pattern is matched against a path as the API reads it: decoded, starting with `/`, without empty
//! segments. `{name}` and `*` never match an empty segment. Where `**` could match in several ways the
//! shortest is taken, from the left. Matching a path against many patterns at once is in `index`.

use std::fmt;

use smallvec::SmallVec;
use thiserror::Error;

/// One segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternSegment {
    /// These characters.
    Literal(String),
    /// These characters and any others behind them.
    Prefix(String),
    /// One segment, named or not.
    One(Option<String>),
    /// Any number of segments, zero too.
    Rest,
}

/// A parsed path pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    segments: Vec<PatternSegment>,
    /// Which segments are captured, where no `**` moves them.
    captured: Option<Vec<u8>>,
}

/// Why a pattern could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    /// It is not a path.
    #[error("a path pattern starts with `/`")]
    NotAbsolute,
    /// Two slashes in a row, or one at the end.
    #[error("a path pattern has no empty segments and no slash at its end")]
    EmptySegment,
    /// Something beside a placeholder in one segment, or a wrong name.
    #[error(
        "`{0}` is not a segment: a placeholder is a whole segment, `{{name}}`, `*` or `**`, and a star may end one, as in `list*`"
    )]
    BadSegment(String),
    /// The same name twice.
    #[error("`{{{0}}}` stands twice in one pattern")]
    Repeated(String),
    /// Too long.
    #[error("a path pattern has at most {MAX_SEGMENTS} segments")]
    TooLong,
}

/// A pattern with more segments is a mistake; the bound keeps the check for covered rules cheap.
const MAX_SEGMENTS: usize = 64;

/// Byte ranges into the matched path, parallel to the capture names of the pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captures(SmallVec<[(u32, u32); 6]>);

impl Captures {
    /// The text of the capture at `position` in `path`, the path that was matched; empty when there is
    /// no such capture.
    pub fn get<'p>(&self, path: &'p str, position: usize) -> &'p str {
        let range = self.0.get(position).and_then(|(start, end)| path.get(*start as usize..*end as usize));
        range.unwrap_or_default()
    }

    /// How many captures the pattern has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the pattern has no captures.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Where the segments of a path stand in it: none for `/`.
pub(super) struct Segments(SmallVec<[(u32, u32); 16]>);

impl Segments {
    pub(super) fn of(path: &str) -> Self {
        Self(segment_ranges(path).map(|(start, end)| (start as u32, end as u32)).collect())
    }

    /// Their texts, in order.
    pub(super) fn texts<'p>(&self, path: &'p str) -> impl Iterator<Item = &'p str> {
        self.0.iter().map(|(start, end)| &path[*start as usize..*end as usize])
    }
}

/// The byte ranges of the segments of `path`: none for `/`.
fn segment_ranges(path: &str) -> impl Iterator<Item = (usize, usize)> + Clone + '_ {
    let start = usize::from(path.starts_with('/'));
    let mut next = (path.len() > start).then_some(start);
    std::iter::from_fn(move || {
        let begin = next?;
        match path.as_bytes()[begin..].iter().position(|byte| *byte == b'/') {
            Some(length) => {
                next = Some(begin + length + 1);
                Some((begin, begin + length))
            }
            None => {
                next = None;
                Some((begin, path.len()))
            }
        }
    })
}

/// Whether a literal of a pattern equals a segment of a path.
pub(super) fn literal_matches(literal: &str, segment: &str, case_insensitive: bool) -> bool {
    if case_insensitive { literal.eq_ignore_ascii_case(segment) } else { literal == segment }
}

/// Whether a segment of a path begins as a pattern says.
pub(super) fn prefix_matches(prefix: &str, segment: &str, case_insensitive: bool) -> bool {
    let start = segment.as_bytes().get(..prefix.len());
    start.is_some_and(|start| match case_insensitive {
        true => prefix.as_bytes().eq_ignore_ascii_case(start),
        false => prefix.as_bytes() == start,
    })
}

impl Pattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let rest = text.strip_prefix('/').ok_or(PatternError::NotAbsolute)?;
        let mut segments = Vec::new();
        for part in rest.split('/').filter(|_| !rest.is_empty()) {
            segments.push(parse_segment(part)?);
        }
        if segments.len() > MAX_SEGMENTS {
            return Err(PatternError::TooLong);
        }
        let moves = segments.contains(&PatternSegment::Rest);
        let named = (0..).zip(&segments).filter(|(_, each)| matches!(each, PatternSegment::One(Some(_))));
        let captured = (!moves).then(|| named.map(|(position, _)| position).collect());
        let pattern = Pattern { segments, captured };
        let names = pattern.captures();
        match names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
            Some((_, name)) => Err(PatternError::Repeated(name.clone())),
            None => Ok(pattern),
        }
    }

    /// The segments, in order.
    pub fn segments(&self) -> &[PatternSegment] {
        &self.segments
    }

    /// The names of the captures, in order of position.
    pub fn captures(&self) -> Vec<String> {
        let name = |segment: &PatternSegment| match segment {
            PatternSegment::One(name) => name.clone(),
            _ => None,
        };
        self.segments.iter().filter_map(name).collect()
    }

    /// The captures of `path`, or `None` when the pattern does not match it.
    pub fn matches(&self, path: &str, case_insensitive: bool) -> Option<Captures> {
        // The classic wildcard walk: at a mismatch only the last `**` takes one segment more, which is
        // enough because an earlier one has already found the leftmost place for what follows it.
        let mut captures = Captures::default();
        let mut ranges = segment_ranges(path);
        let mut position = 0;
        let mut retry = None;
        loop {
            if let Some(PatternSegment::Rest) = self.segments.get(position) {
                position += 1;
                retry = Some((position, ranges.clone(), captures.0.len()));
                continue;
            }
            let matched = match (ranges.next(), self.segments.get(position)) {
                (None, None) => return Some(captures),
                (None, Some(_)) => return None,
                (Some((start, end)), Some(PatternSegment::Literal(literal))) => {
                    literal_matches(literal, &path[start..end], case_insensitive)
                }
                (Some((start, end)), Some(PatternSegment::Prefix(prefix))) => {
                    prefix_matches(prefix, &path[start..end], case_insensitive)
                }
                (Some((start, end)), Some(PatternSegment::One(name))) => {
                    if name.is_some() && end > start {
                        captures.0.push((start as u32, end as u32));
                    }
                    end > start
                }
                (Some(_), _) => false,
            };
            if matched {
                position += 1;
                continue;
            }
            let (resume, resumed, kept) = retry.as_mut()?;
            resumed.next()?;
            position = *resume;
            ranges = resumed.clone();
            captures.0.truncate(*kept);
        }
    }

    /// The captures of `path`, which is known to match and has these `segments`.
    pub(super) fn captures_of(&self, path: &str, segments: &Segments, case_insensitive: bool) -> Captures {
        let captures = match &self.captured {
            Some(captured) => {
                Some(Captures(captured.iter().map(|at| segments.0[usize::from(*at)]).collect()))
            }
            None => self.matches(path, case_insensitive),
        };
        captures.expect("a pattern that the path matches")
    }

    /// Whether every path that `other` matches is matched by this pattern too. May say no where the
    /// answer is yes in contrived cases, never yes where it is no.
    pub fn covers(&self, other: &Pattern, case_insensitive: bool) -> bool {
        let (ours, theirs) = (normal(&self.segments), normal(&other.segments));
        let width = theirs.len() + 1;
        // covered[i * width + j]: ours[i..] covers theirs[j..].
        let mut covered = vec![false; (ours.len() + 1) * width];
        for i in (0..=ours.len()).rev() {
            for j in (0..width).rev() {
                covered[i * width + j] = match (ours.get(i), theirs.get(j)) {
                    (None, None) => true,
                    (None, Some(_)) => false,
                    (Some(PatternSegment::Rest), their) => {
                        covered[(i + 1) * width + j] || their.is_some() && covered[i * width + j + 1]
                    }
                    (
                        Some(PatternSegment::One(_)),
                        Some(PatternSegment::Literal(_) | PatternSegment::Prefix(_) | PatternSegment::One(_)),
                    ) => covered[(i + 1) * width + j + 1],
                    (
                        Some(PatternSegment::Prefix(our)),
                        Some(PatternSegment::Literal(their) | PatternSegment::Prefix(their)),
                    ) => prefix_matches(our, their, case_insensitive) && covered[(i + 1) * width + j + 1],
                    (Some(PatternSegment::Literal(our)), Some(PatternSegment::Literal(their))) => {
                        literal_matches(our, their, case_insensitive) && covered[(i + 1) * width + j + 1]
                    }
                    _ => false,
                };
            }
        }
        covered[0]
    }
}

impl Pattern {
    /// Whether some path is matched by both patterns.
    pub fn overlaps(&self, other: &Pattern, case_insensitive: bool) -> bool {
        let (ours, theirs) = (&self.segments, &other.segments);
        let width = theirs.len() + 1;
        // overlap[i * width + j]: some path is matched by ours[i..] and by theirs[j..].
        let mut overlap = vec![false; (ours.len() + 1) * width];
        for i in (0..=ours.len()).rev() {
            for j in (0..width).rev() {
                let at = |i: usize, j: usize| overlap[i * width + j];
                overlap[i * width + j] = match (ours.get(i), theirs.get(j)) {
                    (None, None) => true,
                    (Some(PatternSegment::Rest), their) => at(i + 1, j) || their.is_some() && at(i, j + 1),
                    (our, Some(PatternSegment::Rest)) => at(i, j + 1) || our.is_some() && at(i + 1, j),
                    (Some(PatternSegment::Literal(our)), Some(PatternSegment::Literal(their))) => {
                        literal_matches(our, their, case_insensitive) && at(i + 1, j + 1)
                    }
                    (Some(_), Some(_)) => at(i + 1, j + 1),
                    _ => false,
                };
            }
        }
        overlap[0]
    }
}

/// The same language with every run of `*` and `**` written as `*`s and then at most one `**`.
fn normal(segments: &[PatternSegment]) -> Vec<PatternSegment> {
    let mut normal = Vec::with_capacity(segments.len());
    for segment in segments {
        match (segment, normal.last()) {
            (PatternSegment::Rest, Some(PatternSegment::Rest)) => {}
            (PatternSegment::One(_), Some(PatternSegment::Rest)) => {
                normal.insert(normal.len() - 1, segment.clone());
            }
            _ => normal.push(segment.clone()),
        }
    }
    normal
}

fn parse_segment(part: &str) -> Result<PatternSegment, PatternError> {
    match part {
        "" => Err(PatternError::EmptySegment),
        "**" => Ok(PatternSegment::Rest),
        "*" => Ok(PatternSegment::One(None)),
        _ => match part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) if is_name(name) => Ok(PatternSegment::One(Some(name.to_owned()))),
            None if !part.contains(['{', '}', '*']) => Ok(PatternSegment::Literal(part.to_owned())),
            None => match part.strip_suffix('*') {
                Some(prefix) if !prefix.contains(['{', '}', '*']) => {
                    Ok(PatternSegment::Prefix(prefix.to_owned()))
                }
                _ => Err(PatternError::BadSegment(part.to_owned())),
            },
            Some(_) => Err(PatternError::BadSegment(part.to_owned())),
        },
    }
}

/// A name of a capture: letters, digits and `_`, not starting with a digit.
fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                PatternSegment::Literal(literal) => write!(f, "/{literal}")?,
                PatternSegment::Prefix(prefix) => write!(f, "/{prefix}*")?,
                PatternSegment::One(Some(name)) => write!(f, "/{{{name}}}")?,
                PatternSegment::One(None) => f.write_str("/*")?,
                PatternSegment::Rest => f.write_str("/**")?,
            }
        }
        if self.segments.is_empty() { f.write_str("/") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
