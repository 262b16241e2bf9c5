//! What a log says that it did not say before.

use std::collections::HashSet;

use crate::dialect::{LogLine, LogNews};

/// The lines that were read last.
#[derive(Default)]
pub(super) struct Log {
    known: Option<HashSet<String>>,
}

/// What is new.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LogSince {
    /// What the new lines say, the oldest first.
    Lines(Vec<LogNews>),
    /// The log has moved past what was known: lines may have come and gone unseen.
    Lost,
    /// It was never read before.
    Unknown,
}

impl Log {
    /// Whether `lines` show nothing of what was known, so that there may be lines in between.
    pub(super) fn has_moved_past(&self, lines: &[LogLine]) -> bool {
        let is_apart = |known: &HashSet<String>| {
            let is_still_empty = known.is_empty() && lines.is_empty();
            !is_still_empty && !lines.iter().any(|line| known.contains(&line.id))
        };
        self.known.as_ref().is_some_and(is_apart)
    }

    /// What `lines` say that is new.
    pub(super) fn since(&mut self, lines: Vec<LogLine>) -> LogSince {
        let has_moved = self.has_moved_past(&lines);
        let ids = lines.iter().map(|line| line.id.clone()).collect();
        match self.known.replace(ids) {
            None => LogSince::Unknown,
            Some(_) if has_moved => LogSince::Lost,
            Some(known) => {
                let new = lines.into_iter().filter(|line| !known.contains(&line.id));
                LogSince::Lines(new.map(|line| line.news).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Change;

    fn change(number: u32) -> LogNews {
        LogNews::Change(Change { kind: "qmconfig", object: number.to_string(), node: "a".into() })
    }

    fn lines(numbers: std::ops::Range<u32>) -> Vec<LogLine> {
        numbers.map(|number| LogLine { id: number.to_string(), news: change(number) }).collect()
    }

    #[test]
    fn lines_are_told_once_and_a_gap_is_noticed() {
        let mut log = Log::default();
        assert!(!log.has_moved_past(&lines(0..5)));
        assert_eq!(log.since(lines(0..5)), LogSince::Unknown);
        assert_eq!(log.since(lines(0..5)), LogSince::Lines(vec![]));
        assert_eq!(log.since(lines(4..7)), LogSince::Lines(vec![change(5), change(6)]));
        assert!(log.has_moved_past(&lines(7..9)));
        assert_eq!(log.since(lines(7..9)), LogSince::Lost);
        let mut empty = Log::default();
        empty.since(vec![]);
        assert_eq!(empty.since(vec![]), LogSince::Lines(vec![]));
        assert_eq!(empty.since(lines(0..1)), LogSince::Lost, "others may have come before");
    }
}
