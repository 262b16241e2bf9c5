//! What of an answer may be kept, and for how long (RFC 9111 §3, §4.2, and the rule).

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};

use super::entry::{Head, Lifetimes};
use crate::rules::{Condition, ReadRule, Reuse};
use crate::semantics::cache_control::ResponseDirectives;
use crate::semantics::date;

mod pointer;

/// How long what is in transition may be kept: a body that shows a lock, a group that has not
/// settled.
pub const SHORTLY: Duration = Duration::from_secs(1);

/// What the head of an answer allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadVerdict {
    /// For everybody who waits, and for the store if the body is as the rule wants it.
    Keep(Lifetimes),
    /// For everybody who waits, not for the store: a failure, or a rule that only collapses.
    ShareOnly,
    /// For the one that caused the fetch: the upstream keeps it out of shared hands.
    Alone,
}

/// What the whole body allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyVerdict {
    /// Keep it for the lifetimes.
    Keep,
    /// Keep it for [`SHORTLY`]: it shows something in transition.
    KeepShortly,
    /// It is not what the rule allows.
    Refuse,
}

/// Judges a head. `length` is the body's length where the head announces it; `largest` is the most
/// that one body may have.
pub fn judge_head(rule: &ReadRule, head: &Head, length: Option<u64>, largest: u64) -> HeadVerdict {
    let allowed = rule.only.iter().all(|condition| match condition {
        Condition::Statuses(statuses) => statuses.contains(&head.status.as_u16()),
        _ => true,
    });
    if !allowed || head.status == StatusCode::PARTIAL_CONTENT {
        // A failure is the same for everybody with this credential; part of an answer is not.
        return if head.status == StatusCode::PARTIAL_CONTENT {
            HeadVerdict::Alone
        } else {
            HeadVerdict::ShareOnly
        };
    }
    let said = ResponseDirectives::of(&head.fields);
    let kept_out = said.no_store && !rule.overrides.no_store || said.private && !rule.overrides.private;
    if kept_out
        || head.fields.contains_key(header::SET_COOKIE)
        || head.fields.contains_key(header::CONTENT_ENCODING)
        || varies_unknowably(&head.fields)
        || length.is_some_and(|length| length > largest)
    {
        return HeadVerdict::Alone;
    }
    match fresh_for(rule, &said, &head.fields) {
        Some(fresh) => {
            let stale = !said.must_revalidate || rule.overrides.must_revalidate;
            let or_none = |span: Duration| if stale { span } else { Duration::ZERO };
            HeadVerdict::Keep(Lifetimes {
                fresh,
                stale_while_revalidate: or_none(
                    rule.stale_while_revalidate.max(origin_only(rule, said.stale_while_revalidate)),
                ),
                stale_if_error: or_none(rule.stale_if_error.max(origin_only(rule, said.stale_if_error))),
            })
        }
        None => HeadVerdict::ShareOnly,
    }
}

/// Where the rule follows the origin, the origin's own stale directives count too.
fn origin_only(rule: &ReadRule, said: Option<Duration>) -> Duration {
    if rule.reuse == Reuse::Origin { said.unwrap_or_default() } else { Duration::ZERO }
}

/// The freshness lifetime; `None` when the answer must not be reused.
fn fresh_for(rule: &ReadRule, said: &ResponseDirectives, fields: &HeaderMap) -> Option<Duration> {
    let by_origin = || said.s_maxage.or(said.max_age).or_else(|| expires_in(fields));
    let fresh = match rule.reuse {
        Reuse::CollapseOnly | Reuse::Pass => return None,
        Reuse::Origin => by_origin().filter(|_| !said.no_cache)?,
        Reuse::For(_) if said.no_cache && !rule.overrides.no_cache => return None,
        Reuse::For(ttl) if rule.overrides.max_age => ttl,
        Reuse::For(ttl) => by_origin().map_or(ttl, |origin| origin.min(ttl)),
    };
    (!fresh.is_zero()).then_some(fresh)
}

/// `Expires` less `Date` (RFC 9111 §4.2.1); an unreadable `Expires` is in the past.
fn expires_in(fields: &HeaderMap) -> Option<Duration> {
    fields.get(header::EXPIRES)?;
    Some(match (date::field(fields, &header::EXPIRES), date::field(fields, &header::DATE)) {
        (Some(expires), Some(date)) => Duration::try_from(expires - date).unwrap_or_default(),
        _ => Duration::ZERO,
    })
}

/// Whether the answer depends on request fields that are not part of the key. The key holds the
/// credential and the coding.
fn varies_unknowably(fields: &HeaderMap) -> bool {
    fields.get_all(header::VARY).iter().any(|line| {
        line.to_str().map_or(true, |line| {
            line.split(',').map(str::trim).filter(|name| !name.is_empty()).any(|name| {
                !["accept-encoding", "authorization", "cookie"].iter().any(|k| name.eq_ignore_ascii_case(k))
            })
        })
    })
}

/// Whether only the body tells that an answer is not to be kept at all.
pub fn needs_body(rule: &ReadRule) -> bool {
    rule.only.iter().any(|condition| !matches!(condition, Condition::Statuses(_)))
}

/// Whether the rule looks into bodies at all.
pub fn looks_into_body(rule: &ReadRule) -> bool {
    rule.only.iter().chain(&rule.unless).any(|condition| !matches!(condition, Condition::Statuses(_)))
}

/// Judges a whole body by the rule's conditions on its content.
pub fn judge_body(rule: &ReadRule, body: &[u8]) -> BodyVerdict {
    let on_body = |c: &&Condition| !matches!(c, Condition::Statuses(_));
    if !looks_into_body(rule) {
        return BodyVerdict::Keep;
    }
    let mut verdict = BodyVerdict::Keep;
    for condition in rule.only.iter().filter(on_body) {
        match holds(condition, body) {
            Ok(true) => {}
            Ok(false) | Err(_) => return BodyVerdict::Refuse,
        }
    }
    for condition in rule.unless.iter().filter(on_body) {
        match holds(condition, body) {
            Ok(true) => verdict = BodyVerdict::KeepShortly,
            Ok(false) => {}
            Err(_) => return BodyVerdict::Refuse,
        }
    }
    verdict
}

/// Whether a condition on the content holds; an error if the body is no JSON.
fn holds(condition: &Condition, body: &[u8]) -> Result<bool, serde_json::Error> {
    Ok(match condition {
        Condition::Statuses(_) => true,
        Condition::Json { pointer, equals } => pointer::find(body, pointer)?.as_ref() == Some(equals),
        Condition::JsonPresent { pointer, present } => {
            pointer::find(body, pointer)?.is_some_and(|found| !found.is_null()) == *present
        }
        Condition::Texts(texts) => texts.hold(body)?,
    })
}

#[cfg(test)]
mod tests;
