//! What a rule says, in sentences.

use std::fmt::{self, Write as _};

use crate::rules::{Promote, ReadRule, Reuse, Sharing, StaleTo, WriteRule};
use crate::units::Span;

/// What the presence of a key says; its value stands among the keys that are written.
const SENTENCES: [(&str, &str); 7] = [
    ("bypass", "Callers that the rule's `bypass` tells always see the API itself."),
    ("disk", "It is never written to disk."),
    ("ignore_query", "Parameters that `ignore_query` names tell no answer from another."),
    ("only", "Only what is as `only` says is kept."),
    ("override", "Of the answer's own directives those in `override` do not count, all others do."),
    ("query", "It is for requests whose query has what `query` names."),
    ("unless", "An answer that `unless` is about is kept for a second at most."),
];

pub(super) fn of_read(rule: &ReadRule, share: Sharing) -> String {
    let mut reason = format!("{}:{} is the first rule whose path matches.", rule.source, rule.line);
    let mut add = |text: fmt::Arguments<'_>| {
        reason.push(' ');
        reason.write_fmt(text).expect("writing to a string does not fail");
    };
    match rule.reuse {
        Reuse::For(time) => add(format_args!("An answer is fresh for {}.", Span(time))),
        Reuse::CollapseOnly => {
            add(format_args!("Nothing is kept, but requests at the same time share one call."))
        }
        Reuse::Pass => add(format_args!("Every request is a call of its own and is never retried.")),
        Reuse::Origin => add(format_args!("The answer says itself for how long it is fresh (RFC 9111).")),
    }
    let whom = match rule.stale_to {
        StaleTo::Watchers => "whoever has not written lately",
        StaleTo::Everyone => "everyone",
    };
    if !rule.stale_while_revalidate.is_zero() {
        let time = Span(rule.stale_while_revalidate);
        add(format_args!("For {time} longer it serves {whom} while it is refreshed behind."));
    }
    if !rule.stale_if_error.is_zero() {
        add(format_args!("When the API is down it serves {whom} for {} longer.", Span(rule.stale_if_error)));
    }
    if rule.anonymous {
        add(format_args!("The API answers it without a credential."));
    }
    if let Some(sentence) = sharing(rule, share) {
        add(format_args!("{sentence}"));
    }
    if rule.per_endpoint {
        add(format_args!("Each endpoint has an answer of its own."));
    }
    if let Some(promote) = &rule.promote {
        add(format_args!("{}", promoted(promote)));
    }
    if let Some(warm) = &rule.keep_warm {
        let (every, within) = (Span(warm.every), Span(warm.while_used_within));
        add(format_args!(
            "What somebody used within {within} is fetched again in time, every {every} while it changes."
        ));
    }
    for key in rule.written.chosen().keys() {
        if let Some((_, sentence)) = SENTENCES.iter().find(|(about, _)| about == key) {
            add(format_args!("{sentence}"));
        }
    }
    reason
}

fn promoted(promote: &Promote) -> String {
    format!(
        "Where several of {list} are asked for, that list is read once in place of them, with the credential of whoever \
         asks; a complete list answers those that come after it.",
        list = promote.list(),
    )
}

/// Who shares an answer, and why it is not whom the rule names.
fn sharing(rule: &ReadRule, share: Sharing) -> Option<&'static str> {
    Some(match (share, rule.share) {
        _ if rule.reuse == Reuse::Pass => return None,
        (Sharing::Everyone, _) if rule.anonymous => "Whoever asks shares it.",
        (Sharing::Everyone, _) => "Every credential that the API has accepted lately shares it.",
        (Sharing::Principal, _) => {
            "Every credential of the same principal shares it that the API has accepted lately; an API token is a principal of its own."
        }
        (Sharing::Credential, Sharing::Credential) => "Each credential has an answer of its own.",
        (Sharing::Credential, _) if rule.reuse == Reuse::CollapseOnly => {
            "What is not kept crosses to no other credential, whatever the rule's `share`."
        }
        (Sharing::Credential, _) if rule.anonymous => {
            "Its answers accept nobody, so each credential has one of its own, whatever the rule's `share`."
        }
        (Sharing::Credential, _) => {
            "The credentials of this API name no principal, so each has an answer of its own, whatever the rule's `share`."
        }
        (Sharing::Rights, _) => {
            "Every credential shares it that the API has accepted lately and that has the same rights, by what the API itself says of each; until that is known, and for who is more than its rights, those of the same principal do."
        }
    })
}

pub(super) fn of_write(rule: &WriteRule) -> String {
    let mut reason = format!("{}:{} is the first rule whose method and path match.", rule.source, rule.line);
    let mut add = |text: String| {
        reason.push(' ');
        reason.push_str(&text);
    };
    match &rule.reason {
        Some(reason) if rule.invalidates.is_empty() => add(format!("It overtakes nothing: {reason}.")),
        Some(reason) => add(format!("{reason}.")),
        None => {}
    }
    if let Some(operation) = &rule.operation {
        add(format!(
            "The answer may name an operation ({operation}): the groups stay unsettled until it ends."
        ));
    }
    if !rule.invalidates.is_empty() && !rule.settle.is_zero() {
        add(format!("For {} afterwards nothing of its groups is kept over a second.", Span(rule.settle)));
    }
    if rule.meeting.collapse {
        add("Those of one credential that are the same and under way at the same time are one call."
            .to_owned());
    }
    if let Some(batch) = &rule.meeting.batch {
        let but = if batch.critical.is_empty() { "" } else { ", but for what is `critical`" };
        add(format!(
            "It is held for {}{but}: of those to one target that set the same the last alone is sent, and all get \
             its answer.",
            Span(batch.window)
        ));
    }
    reason
}
