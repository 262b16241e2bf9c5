//! What `promote:` of a read means.

use super::{Compiler, Here};
use crate::rules::document::at;
use crate::rules::pattern::{Pattern, PatternSegment};
use crate::rules::promote::Promote;
use crate::rules::raw::{RawRead, RawTtl, Sharing};

impl Compiler<'_> {
    pub(super) fn promote(&mut self, here: &Here, raw: &RawRead, pattern: &Pattern) -> Option<Promote> {
        let promote = raw.promote.as_ref()?;
        let is_kept = matches!(raw.ttl, RawTtl::For(span) if !span.0.is_zero());
        let unfit = [
            (!is_kept, "what a list tells is kept for this read's `ttl`, which has to be a time"),
            (!raw.methods.is_empty(), "only what is read by GET can be told by a list"),
            (raw.anonymous, "what needs no credential is not told by a list that somebody may read"),
            (
                raw.per_endpoint,
                "a list is of whichever endpoint answers, so this cannot go with `per_endpoint`",
            ),
            (raw.share == Sharing::Rights, "this cannot go with `share: rights`"),
        ];
        for (_, why) in unfit.iter().filter(|(is_so, _)| *is_so) {
            self.error(&here.path(&at!["promote"]), *why);
        }
        if !promote.items.is_empty() && !promote.items.starts_with('/') {
            let message = format!("`{}` is not a JSON pointer: it starts with `/`", promote.items);
            self.error(&here.path(&at!["promote", "items"]), message);
        }
        if promote.member.is_empty() {
            self.error(&here.path(&at!["promote", "match"]), "name a member of the items");
        }
        let place = here.path(&at!["promote", "list"]);
        let list = match Pattern::parse(&promote.list) {
            Ok(list) => list,
            Err(error) => {
                self.error(&place, error.to_string());
                return None;
            }
        };
        let (ours, theirs) = (pattern.segments(), list.segments());
        let is_plain =
            |segment: &PatternSegment| matches!(segment, PatternSegment::Literal(_) | PatternSegment::One(_));
        if !(ours.len() > theirs.len() && ours.starts_with(theirs) && ours.iter().all(is_plain)) {
            self.error(
                &place,
                "the list has to be the beginning of the rule's own path, written the same, and the path must \
                 have no `**` and no `x*`: otherwise which list is whose cannot be told",
            );
        }
        let (items, member) = (promote.items.clone(), promote.member.clone());
        Some(Promote { depth: theirs.len(), items, member, list })
    }
}
