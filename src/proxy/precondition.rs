//! Conditions of writes that name a validator of forebay's own.
//!
//! The API cannot know such a validator: forwarded it would always be refused, and left out silently the
//! write would not be guarded although its client asked for that. So forebay asks the API what it would
//! answer now and compares. Between this and the write somebody else may change the resource: only the
//! API could compare and write in one step, and this one gives no validators to do so with.

use std::net::SocketAddr;

use http::request::Parts;
use http::{StatusCode, header};
use http_body_util::{BodyExt, Limited};

use super::Failure;
use super::admit::Caller;
use super::counters::{Cause, RuleMetrics};
use super::forward::{self, LARGEST_READ};
use super::respond;
use super::site::Site;
use crate::dialect::ListOrder;
use crate::semantics::conditional;
use crate::upstream::{Outgoing, Terms, Urgency};

/// Judges what a write's conditions say with validators of forebay's own, and takes out of them what has
/// been met. What is left of forebay's own never leaves ([`forward::outgoing_fields`]).
pub(super) async fn judge(
    site: &Site,
    caller: Caller,
    client: SocketAddr,
    metrics: &RuleMetrics,
    parts: &mut Parts,
) -> Result<(), Failure> {
    let must = conditional::own_tags(&parts.headers, &header::IF_MATCH);
    let must_not = conditional::own_tags(&parts.headers, &header::IF_NONE_MATCH);
    // Where equal answers differ in their bytes from call to call nothing can be compared; Proxmox looks at
    // no condition either, its guard is the parameter `digest`.
    if must.is_empty() && must_not.is_empty() || site.dialect().list_order() == ListOrder::Random {
        return Ok(());
    }
    let now = current(site, caller, client, metrics, parts).await?;
    // A weak comparison for one and a strong one for the other (RFC 9110 §13.1.1, §13.1.2).
    if must_not.iter().any(|tag| now.iter().any(|now| now == tag.strip_prefix("W/").unwrap_or(tag))) {
        return Err(Failure::Precondition);
    }
    if must.iter().any(|tag| now.contains(tag)) {
        parts.headers.remove(header::IF_MATCH);
    } else if !must.is_empty() && !conditional::names_others(&parts.headers, &header::IF_MATCH) {
        return Err(Failure::Precondition);
    }
    Ok(())
}

/// The validators that a stored answer to a GET of the same target would have now, in each of its forms.
async fn current(
    site: &Site,
    caller: Caller,
    client: SocketAddr,
    metrics: &RuleMetrics,
    parts: &Parts,
) -> Result<Vec<String>, Failure> {
    let mut headers = forward::fill_fields(site, &parts.headers);
    for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::TRAILER] {
        headers.remove(name);
    }
    let account = caller.account(site, client);
    let target = parts.uri.path_and_query().expect("admitted with a path").clone();
    let counter = metrics.call(&site.shared.registry, Cause::Revalidate);
    let outgoing = Outgoing::get(target, headers, account.principal, counter);
    // A write waits for it.
    let terms = Terms { urgency: Some(Urgency::Change), ..Terms::default() };
    let answer = forward::send_on(site, account.standing, outgoing, terms).await;
    let answer = answer.map_err(|error| Failure::from(&error))?;
    match answer.parts.status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(Vec::new()),
        _ => return Err(Failure::Unconfirmed),
    }
    if let Some(theirs) = answer.parts.headers.get(header::ETAG) {
        return Ok(theirs.to_str().map(str::to_owned).into_iter().collect());
    }
    let Ok(whole) = Limited::new(answer.body, LARGEST_READ).collect().await else {
        return Err(Failure::Unconfirmed);
    };
    let (whole, secret) = (whole.to_bytes(), site.shared.secret.clone());
    let both = tokio::task::spawn_blocking(move || {
        let coded = respond::gzip(&whole);
        vec![respond::etag(&secret, &[whole]), respond::etag(&secret, &[coded])]
    });
    both.await.map_err(|_| Failure::LeaderLost)
}
