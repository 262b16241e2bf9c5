//! Long-running operations: starting them, and the addresses at which they are asked for.
//!
//! The three patterns of ARM are all here: `Azure-AsyncOperation` (always 200, the state in the body),
//! `Location` (202 until the end, then the final answer), and `provisioningState` in the resource itself.
//! Addresses carry a signature as ARM's do; one that comes back changed is refused.

use serde_json::{Value, json};

use super::answer::{Body, Outcome, Reply};
use super::call::Call;
use super::estate::Estate;
use super::model::{Effect, Ending, Family, Operation};
use super::view::{self, Style};
use super::{SUBSCRIPTION, model, target};

/// A piece of certificate in every signed address, so that they are as long as real ones.
const CERTIFICATE: &str = "MIIHhzCCBm-gAwIBAgITfAlExampleExampleExampleExampleExampleExampleExampleExample";

/// An operation to be started.
pub(super) struct Start {
    pub(super) family: Family,
    pub(super) location: String,
    pub(super) effect: Effect,
    /// The resource whose body is the final answer at `Location`.
    pub(super) shows: Option<String>,
    pub(super) output: Option<Value>,
}

/// The addresses of an operation that was started.
pub(super) struct Addresses {
    pub(super) status: String,
    pub(super) result: String,
}

/// Starts an operation for `call`.
pub(super) fn start(estate: &mut Estate, call: &Call, start: Start) -> Addresses {
    let guid = estate.guid();
    let name = match start.family {
        Family::Deployment => format!("0858{:016}", estate.next()),
        // Addresses with a star are seen in the wild.
        Family::Storage => format!("{guid}*{:08X}", estate.rng.u32(..)),
        Family::Group => {
            use base64::Engine as _;
            let job =
                json!({ "jobId": format!("RESOURCEGROUPDELETIONJOB-{guid}"), "jobLocation": start.location });
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(job.to_string())
        }
        _ => guid,
    };
    let signature = format!("{:016x}{:016x}", estate.rng.u64(..), estate.rng.u64(..));
    let line = format!("{} /{}", call.method, call.path.join("/"));
    let ending = estate.planned_ending(&line);
    let started = estate.iso(call.now);
    let operation = Operation {
        name: name.clone(),
        family: start.family,
        started,
        ended: None,
        ending,
        effect: start.effect,
        shows: start.shows,
        output: start.output,
        signature: signature.clone(),
        object: call.who.object.clone(),
    };
    estate.begin(operation, call.now);
    let ticks = 621_355_968_000_000_000_u64 + estate.wall(call.now) * 10_000_000;
    let signed = format!(
        "api-version={}&t={ticks}&c={CERTIFICATE}&s={signature}&h={}",
        call.version(),
        signature.chars().rev().collect::<String>()
    );
    let subscription = subscription(call);
    let place = format!("/subscriptions/{subscription}/providers");
    let location = &start.location;
    let (status, result) = match start.family {
        Family::Compute => {
            let path = format!("{place}/Microsoft.Compute/locations/{location}/operations/{name}");
            let query = format!("p=f8cfeb74-5cf7-40e0-89b1-3d95a1060fe7&{signed}");
            (format!("{path}?{query}"), format!("{path}?{query}&monitor=true"))
        }
        Family::Disk => {
            let path = format!("{place}/Microsoft.Compute/locations/{location}/DiskOperations/{name}");
            let query = format!("p=f8cfeb74-5cf7-40e0-89b1-3d95a1060fe7&{signed}");
            (format!("{path}?{query}"), format!("{path}?{query}&monitor=true"))
        }
        Family::Network => {
            let path = format!("{place}/Microsoft.Network/locations/{location}");
            (format!("{path}/operations/{name}?{signed}"), format!("{path}/operationResults/{name}?{signed}"))
        }
        Family::Storage => {
            let path =
                format!("{place}/Microsoft.Storage/locations/{location}/asyncoperations/{name}?{signed}");
            (path.clone(), format!("{path}&monitor=true"))
        }
        Family::Group => {
            let path = format!("/subscriptions/{subscription}/operationresults/{name}?{signed}");
            (path.clone(), path)
        }
        Family::Deployment => {
            let path = format!("/{}/operationStatuses/{name}?{signed}", deployment_path(call));
            (path.clone(), path)
        }
    };
    Addresses {
        status: estate.link(&call.base, location, &status),
        result: estate.link(&call.base, location, &result),
    }
}

/// The subscription that a call is about.
fn subscription(call: &Call) -> &str {
    Some(target::subscription_of(&call.folded)).filter(|id| !id.is_empty()).unwrap_or(SUBSCRIPTION)
}

/// The deployment's own path, without an action behind it.
fn deployment_path(call: &Call) -> String {
    let end = call.folded.iter().position(|part| part == "deployments").map_or(call.path.len(), |at| at + 2);
    call.path[..end.min(call.path.len())].join("/")
}

/// Adds the addresses and the pace to an answer.
pub(super) fn announce(
    estate: &Estate,
    reply: Reply,
    addresses: &Addresses,
    status: bool,
    result: bool,
) -> Reply {
    let mut reply = reply;
    if status {
        reply = reply.with("Azure-AsyncOperation", addresses.status.as_str());
        reply = reply.with("Azure-AsyncNotification", "Enabled");
    }
    if result {
        reply = reply.with("Location", addresses.result.as_str());
    }
    reply.with("Retry-After", estate.retry_after.to_string())
}

/// Whether a folded path is one at which an operation is asked for, and its name.
pub(super) fn named(folded: &[String]) -> Option<&str> {
    let [.., word, name] = folded else { return None };
    let words = ["operations", "operationresults", "operationstatuses", "asyncoperations", "diskoperations"];
    let scoped = folded.len() > 3 && (folded.contains(&"locations".to_owned()) || word != "operations");
    (scoped && words.contains(&word.as_str())).then_some(name)
}

/// Answers a poll.
pub(super) fn poll(estate: &mut Estate, call: &Call, name: &str) -> Outcome {
    let unknown =
        || Reply::gateway(404, "OperationNotFound", format!("The operation '{name}' was not found."));
    let operation = estate.operations.get(&name.to_ascii_lowercase()).ok_or_else(unknown)?.clone();
    if operation.object != call.who.object
        && estate.role(&call.who.object, &format!("subscriptions/{}", subscription(call))).is_none()
    {
        return Err(unknown());
    }
    // The real front door checks its signature with the certificate; here both halves must be what was given.
    let given = (call.get("s"), call.get("h"));
    let reversed: String = operation.signature.chars().rev().collect();
    if given != (Some(operation.signature.as_str()), Some(reversed.as_str())) {
        return Err(Reply::gateway(
            403,
            "InvalidPollingSignature",
            "The signature of the polling address is not valid.",
        ));
    }
    let word = call.folded.iter().rev().nth(1).map_or("", String::as_str);
    let monitors = call.get("monitor") == Some("true") || word == "operationresults";
    match (&operation.ended, monitors) {
        (None, true) => {
            let target = format!("{}?{}", call.raw_path, call.raw_query.join("&"));
            let again = estate.link(&call.base, "eastus", &target);
            Ok(Reply::empty(202).with("Location", again).with("Retry-After", estate.retry_after.to_string()))
        }
        (Some((_, ending)), true) => finally(estate, call, &operation, ending),
        (ended, false) => {
            let mut reply = Reply::ok(status(&operation, ended.as_ref()));
            if ended.is_none() {
                reply = reply.with("Retry-After", estate.retry_after.to_string());
            }
            Ok(reply)
        }
    }
}

fn status(operation: &Operation, ended: Option<&(String, Ending)>) -> Value {
    let word = ended.map_or(operation.family.pending(), |(_, ending)| ending.word());
    let mut body = json!({ "status": word });
    if operation.family != Family::Deployment {
        body["name"] = Value::from(operation.name.as_str());
        body["startTime"] = Value::from(operation.started.as_str());
    }
    if let Some((at, ending)) = ended {
        if operation.family != Family::Deployment {
            body["endTime"] = Value::from(at.as_str());
        }
        if let Ending::Failed(code, message) = ending {
            body["error"] = json!({ "code": code, "message": message });
        }
        if let Some(output) = &operation.output {
            body["properties"] = json!({ "output": output });
        }
    }
    body
}

/// The final answer at `Location`.
fn finally(estate: &Estate, call: &Call, operation: &Operation, ending: &Ending) -> Outcome {
    match ending {
        Ending::Succeeded => {}
        Ending::Failed(code, message) => return Err(Reply::error(409, code, message.clone())),
        Ending::Canceled => {
            return Err(Reply::error(409, "OperationCanceled", "The operation was canceled."));
        }
    }
    if let Some(output) = &operation.output {
        return Ok(Reply::ok(output.clone()));
    }
    let shown = operation.shows.as_ref().and_then(|key| Some((key, estate.resources.get(key)?)));
    match (shown, &operation.effect) {
        (Some((key, resource)), _) => {
            let style = Style { group: None, in_list: false, instance_view: false, version: call.version() };
            Ok(Reply::ok(view::body(estate, key, resource, style)))
        }
        (None, model::Effect::Delete(_)) if operation.family == Family::Network => Ok(Reply::empty(204)),
        (None, _) => Ok(Reply { status: 200, fields: Vec::new(), body: Body::None }),
    }
}
