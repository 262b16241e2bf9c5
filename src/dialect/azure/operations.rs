//! Operations of ARM: where the answer to a write says that they can be asked after, and what an answer
//! there says.
//!
//! Facts are from Azure/azure-resource-manager-rpc, async-api-reference.md, and from what clients do
//! (azure-core, azcore, go-azure-sdk).

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::decode;
use super::super::operation::{Address, AddressName, Heard, Pending, Progress};
use super::links;

/// The fields with an address, the one that tells most first: what is read there says how the operation
/// stands, at a `Location` only whether it has ended.
const ADDRESSES: [&str; 3] = ["azure-asyncoperation", "operation-location", "location"];

/// Those of them that only an operation has: with a 201 a `Location` may be the resource itself.
const POLLED: [&str; 2] = ["azure-asyncoperation", "operation-location"];
/// Where several requests are sent in one; the portal does that, and no document tells of it.
const BATCH: &str = "/batch";

/// The states in which nothing changes any more.
const TERMINAL: [&str; 4] = ["succeeded", "failed", "canceled", "cancelled"];

/// How long to wait between two questions where the answer does not say: what Terraform's provider waits,
/// the quickest of the clients (Python and Go wait 30 s).
const PACE: Duration = Duration::from_secs(10);

/// The longest pace that the contract allows.
const SLOWEST: Duration = Duration::from_secs(600);

/// When an operation that nobody can ask after counts as ended. Starting and stopping machines is what
/// answers so, which takes a minute or two.
const UNKNOWN_CAP: Duration = Duration::from_secs(300);

/// How long after a change ARM's own answers may lag. Its front doors replicate within seconds, and one
/// connection stays with one of them; lists of some types lag for minutes, which nobody can wait for: there
/// the lifetime bounds what is added to ARM's own lag.
pub(in crate::dialect) const SETTLE: Duration = Duration::from_secs(5);

/// What goes on behind the answer to a write to `path`; `None` if nothing does.
pub(in crate::dialect) fn pending(answer: &Heard<'_>, body: Option<&[u8]>) -> Option<Pending> {
    if !answer.status.is_success() {
        return None;
    }
    if answer.path == BATCH && body.is_some_and(goes_on_within) {
        // Each has an address of its own, in a body that clients read: whoever asks there is heard as well.
        return Some(Pending { addresses: Vec::new(), moves: false, pace: PACE, unknown_cap: UNKNOWN_CAP });
    }
    let state = body.and_then(read).and_then(|body| body.provisioning_state());
    let moves = state.as_deref().is_some_and(|state| !is_terminal(state));
    let addresses = addresses(answer);
    let is_accepted = answer.status == StatusCode::ACCEPTED;
    let polled =
        addresses.iter().any(|(field, _)| POLLED.contains(field)) || is_accepted && !addresses.is_empty();
    if !polled && !moves && !is_accepted {
        return None;
    }
    let addresses: Vec<Address> = match polled {
        true => addresses.into_iter().map(|(_, address)| address).collect(),
        false => Vec::new(),
    };
    Some(Pending { addresses, moves, pace: pace(answer.fields), unknown_cap: UNKNOWN_CAP })
}

/// Whether one of these fields is an operation's address.
pub(in crate::dialect) fn name_one(fields: &HeaderMap) -> bool {
    POLLED.iter().any(|name| fields.contains_key(*name))
}

/// Whether one of the answers in a batch's says that it goes on; one that cannot be read may.
fn goes_on_within(body: &[u8]) -> bool {
    let Ok(batch) = serde_json::from_slice::<Batch>(without_mark(body)) else { return true };
    batch.responses.into_iter().any(|Inner { status, headers, content }| {
        let polled = |name: &String| POLLED.iter().any(|known| name.eq_ignore_ascii_case(known));
        let state = content.and_then(|content| match content {
            Content::Known(body) => body.provisioning_state(),
            Content::Other(_) => None,
        });
        status == StatusCode::ACCEPTED.as_u16()
            || headers.is_some_and(|headers| headers.keys().any(polled))
            || state.is_some_and(|state| !is_terminal(&state))
    })
}

/// Further addresses of an operation that runs.
pub(in crate::dialect) fn addresses(answer: &Heard<'_>) -> Vec<(&'static str, Address)> {
    let address = |field: &'static str| {
        let value = answer.fields.get(field)?.to_str().ok()?;
        Some((field, address(value)?))
    };
    ADDRESSES.into_iter().filter_map(address).collect()
}

/// The path and query of an address, whatever its host: it is only ever asked for at the upstream.
fn address(value: &str) -> Option<Address> {
    let rest = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"))?;
    let (host, _) = rest.split_once('/')?;
    let target = &rest[host.len()..];
    let target = target.split('#').next().unwrap_or_default();
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let name = poll_name(&super::read_path(path).unwrap_or(path.into()), query);
    Some(Address { name, target: target.to_owned(), region: links::region_of(host).map(str::to_owned) })
}

/// The name of what a read of `path` asks after. At some providers one path is both addresses, and a
/// parameter says that it is the `Location`.
pub(in crate::dialect) fn poll_name(path: &str, query: Option<&str>) -> AddressName {
    let monitors = query.into_iter().flat_map(|query| query.split('&')).any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let is = |text: &str, known: &str| decode(text).is_some_and(|text| text.eq_ignore_ascii_case(known));
        is(name, "monitor") && is(value, "true")
    });
    AddressName(format!("{} {path}", if monitors { "monitor" } else { "poll" }))
}

/// The name of a resource as something that shows its own state.
pub(in crate::dialect) fn resource_name(path: &str) -> AddressName {
    AddressName(format!("resource {path}"))
}

/// Whether a path has the form of an operation's address: `.../operations/{id}`, `operationStatuses`,
/// `operationResults`, `DiskOperations`, `azureAsyncOperations` and more.
pub(in crate::dialect) fn has_form(path: &str) -> bool {
    let mut segments = path.rsplit('/');
    let mut next = || segments.next().unwrap_or_default();
    let (id, kind, before) = (next(), next(), next());
    !id.is_empty() && is_kind(before, kind) && path.starts_with("/subscriptions/")
}

/// Whether a segment behind `before` says that operations follow. The name of a group or of a provider, such
/// as `Microsoft.OperationalInsights`, says nothing.
fn is_kind(before: &str, segment: &str) -> bool {
    segment.contains("operation") && !["providers", "resourcegroups"].contains(&before)
}

/// Where in a path that which names an operation begins, if it has one: behind the first segment that says so
/// comes nothing else, whatever a provider puts there.
pub(in crate::dialect) fn name_in(path: &str) -> Option<usize> {
    let (mut at, mut before) = (0, "");
    path.split('/').find_map(|segment| {
        at += segment.len() + 1;
        let before = std::mem::replace(&mut before, segment);
        (is_kind(before, segment) && at < path.len()).then_some(at)
    })
}

/// What an operation that nothing is known of may have changed: its path names the subscription and, at
/// most, a place.
pub(in crate::dialect) fn reach(path: &str) -> &str {
    let mut slashes = path.match_indices('/').map(|(at, _)| at);
    match (path.starts_with("/subscriptions/"), slashes.nth(2)) {
        (true, Some(end)) => &path[..end],
        _ => "",
    }
}

/// Whether an answer with this status may say how an operation stands. Others are about the credential, or
/// about ARM being slow or down.
pub(in crate::dialect) fn may_say(status: StatusCode) -> bool {
    !matches!(status.as_u16(), 401 | 403 | 408 | 429 | 502..=504)
}

/// What the answer at an operation's address says.
pub(in crate::dialect) fn progress(answer: &Heard<'_>, body: &[u8]) -> Progress {
    match answer.status.as_u16() {
        _ if !may_say(answer.status) => Progress::Unsaid,
        202 => Progress::Runs(pace(answer.fields)),
        200..=299 if poll_name(answer.path, answer.query).0.starts_with("monitor") => Progress::Ended,
        200..=299 => match read(body).map(|body| body.status) {
            None if !body.is_empty() => Progress::Perhaps,
            // At a `Location` this would be the answer itself, with a state of its own.
            Some(Some(state)) if !is_terminal(&state) => Progress::RunsPerhaps(pace(answer.fields)),
            // None given is Succeeded, by the contract.
            _ => Progress::Ended,
        },
        // The API has forgotten it, or never showed it to this caller.
        404 | 410 => Progress::Forgotten,
        // At a `Location` a failure is the answer; it may also be one of the question.
        _ => Progress::Perhaps,
    }
}

/// What the answer for a resource says of an operation on it.
pub(in crate::dialect) fn resource_progress(answer: &Heard<'_>, body: &[u8]) -> Progress {
    if answer.status != StatusCode::OK {
        return Progress::Unsaid;
    }
    match read(body).map(Body::provisioning_state) {
        Some(Some(state)) if is_terminal(&state) => Progress::Ended,
        Some(Some(_)) => Progress::Runs(pace(answer.fields)),
        Some(None) => Progress::Unsaid,
        // Whoever can read it may know.
        None => Progress::Perhaps,
    }
}

/// `Retry-After` in whole seconds, the one form that the contract has.
fn pace(fields: &HeaderMap) -> Duration {
    let named = fields.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    named.map_or(PACE, Duration::from_secs).min(SLOWEST)
}

fn is_terminal(state: &str) -> bool {
    TERMINAL.iter().any(|terminal| state.eq_ignore_ascii_case(terminal))
}

#[derive(Deserialize)]
struct Body {
    #[serde(default, deserialize_with = "text")]
    status: Option<String>,
    #[serde(default)]
    properties: Option<Properties>,
}

/// The answer to a batch.
#[derive(Deserialize)]
struct Batch {
    responses: Vec<Inner>,
}

/// One of the answers in it.
#[derive(Deserialize)]
struct Inner {
    #[serde(rename = "httpStatusCode")]
    status: u16,
    #[serde(default)]
    headers: Option<BTreeMap<String, IgnoredAny>>,
    #[serde(default)]
    content: Option<Content>,
}

/// What shows a resource, or anything else.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Known(Body),
    Other(IgnoredAny),
}

/// An object with a state, or anything else.
#[derive(Deserialize)]
#[serde(untagged)]
enum Properties {
    Known {
        #[serde(rename = "provisioningState")]
        provisioning_state: String,
    },
    Other(IgnoredAny),
}

impl Body {
    fn provisioning_state(self) -> Option<String> {
        match self.properties? {
            Properties::Known { provisioning_state } => Some(provisioning_state),
            Properties::Other(_) => None,
        }
    }
}

/// A string; other types are as good as none.
fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(serde_json::Value::deserialize(deserializer)?.as_str().map(str::to_owned))
}

fn read(body: &[u8]) -> Option<Body> {
    serde_json::from_slice(without_mark(body)).ok()
}

fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

#[cfg(test)]
mod tests;
