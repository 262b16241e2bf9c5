//! Who shares an answer: the partition that a rule's `share` makes of a credential.
//!
//! What a credential claims decides only where its answers are looked for and kept; whether it may have
//! any is asked of the API (`cache::acceptance`), for each credential by itself.

use std::time::Duration;

use http::{HeaderMap, header};

use super::admit::{Admitted, Caller};
use super::{Site, rights};
use crate::cache::acceptance::Said;
use crate::cache::key::{CredentialId, Partition};
use crate::clock::Timestamp;
use crate::dialect::{Dialect, Principal};
use crate::rules::{ReadRule, Reuse, Sharing};
use crate::semantics::date;

/// How much later than the `Date` of an answer the API may have judged the credential: dates have whole
/// seconds.
const DATE_STEP: u64 = 1;

/// Who really shares what `rule` keeps. What is never kept crosses to nobody; where the API's
/// credentials name no principal, or none is ever confirmed, nothing can be a principal's.
pub(super) fn effective(rule: &ReadRule, dialect: Dialect) -> Sharing {
    match rule.share {
        _ if matches!(rule.reuse, Reuse::CollapseOnly | Reuse::Pass) => Sharing::Credential,
        // Where the API accepts nobody, a claimed principal is all there is.
        Sharing::Principal | Sharing::Rights if rule.anonymous || !dialect.names_principals() => {
            Sharing::Credential
        }
        Sharing::Rights if dialect.rights_read().is_none() => Sharing::Principal,
        share => share,
    }
}

/// The partition of whoever sent a request, under a rule whose answers `share` share, and who really
/// shares it.
pub(super) fn partition(
    site: &Site,
    rule: &ReadRule,
    share: Sharing,
    who: CredentialId,
    admitted: &Admitted<'_>,
    now: Timestamp,
) -> (Partition, Sharing) {
    if share == Sharing::Rights
        && let Some(equals) = rights::of(site, who, now)
    {
        return (equals, Sharing::Rights);
    }
    // Who has no credential can have none accepted: it shares what the API tells everybody, or nothing.
    let named = who != CredentialId::ANONYMOUS || rule.anonymous;
    let shared = match share {
        Sharing::Everyone if named => Some(Partition::EVERYONE),
        Sharing::Principal | Sharing::Rights => {
            let known = site.shared.acceptance.named(site.id, who);
            known.unwrap_or_else(|| principal(site, site.dialect().claims(&admitted.credential).principal))
        }
        _ => None,
    };
    // A principal's rights are certainly equal to its own.
    let share = if share == Sharing::Rights { Sharing::Principal } else { share };
    shared.map_or((Partition::of(who), Sharing::Credential), |shared| (shared, share))
}

/// The principal that a credential claims to be of which the API has not said so yet.
pub(super) fn claimed(site: &Site, admitted: &Admitted<'_>) -> Option<Partition> {
    match admitted.caller {
        Caller::One(who) if site.shared.acceptance.named(site.id, who).is_none() => {
            principal(site, site.dialect().claims(&admitted.credential).principal)
        }
        _ => None,
    }
}

fn principal(site: &Site, claimed: Option<Principal>) -> Option<Partition> {
    claimed.map(|p| site.shared.secret.principal(&[p.kind.as_bytes(), &p.name]))
}

/// Whether a credential had come to its own end at `at`, when it came with `headers`: such a one shares
/// nothing, not even with what it asked for itself before that. Of one that the API has not accepted only
/// its claim is known, which may take from it and never give.
pub(super) fn had_ended(site: &Site, who: CredentialId, headers: &HeaderMap, at: Timestamp) -> bool {
    if who == CredentialId::ANONYMOUS {
        return false;
    }
    site.shared.acceptance.had_ended(site.id, who, at).unwrap_or_else(|| {
        let claims = site.dialect().claims(&site.dialect().credential(headers, &site.config.credentials));
        claims.ends.is_some_and(|ends| ends <= site.shared.clock.wall_seconds())
    })
}

/// What the credential in `sent`, whose request left at `left`, says of itself. `answer` are the fields of
/// the success that it got.
pub(super) fn said(site: &Site, sent: &HeaderMap, answer: &HeaderMap, left: Timestamp) -> Said {
    let claims = site.dialect().claims(&site.dialect().credential(sent, &site.config.credentials));
    let ends = claims.ends.map(|ends| {
        // By the API's own clock, which is the one that ends it: ours may differ, and may be set.
        let there = date::field(answer, &header::DATE).and_then(|at| u64::try_from(at.unix_timestamp()).ok());
        let there = there.unwrap_or_else(|| wall_at(site, left)) + DATE_STEP;
        left.after(Duration::from_secs(ends.saturating_sub(there)))
    });
    Said { principal: principal(site, claims.principal), ends }
}

/// What our own wall clock showed at `then`, a moment ago, to a second.
fn wall_at(site: &Site, then: Timestamp) -> u64 {
    let clock = &site.shared.clock;
    clock.wall_seconds().saturating_sub(clock.now().since(then).as_secs())
}
