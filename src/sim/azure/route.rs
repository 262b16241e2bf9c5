//! From method and path to a handler.

use http::Method;
use serde_json::{Value, json};

use super::answer::{Body, Outcome, Reply};
use super::call::Call;
use super::estate::Estate;
use super::reads::{self, demand_subscription};
use super::rights::Role;
use super::target::Target;
use super::{Links, actions, deployments, graph, groups, lists, operations, published, scopes, writes};

/// Requests in one `/batch`, at most; the real limit.
const BATCH_LIMIT: usize = 20;

/// Carries out one call whose principal is known.
pub(super) fn dispatch(estate: &mut Estate, call: &Call) -> Outcome {
    let parts = call.parts();
    let kind = Target::parse(&call.folded).map_or_else(|| "resources".to_owned(), |target| target.kind());
    call.check_version(kind.rsplit('/').next().unwrap_or_default())?;
    demand_subscription(estate, call)?;
    if let Some(name) = operations::named(&call.folded).filter(|_| call.method == Method::GET) {
        // The name is matched without its case; the address is taken as it came.
        let name = call.path.last().map_or(name, String::as_str).to_owned();
        return operations::poll(estate, call, &name);
    }
    let read = call.reads();
    match parts.as_slice() {
        ["subscriptions"] if read => {
            let seen = |id: &&&str| estate.sees(&call.who.object, &format!("subscriptions/{id}"));
            let seen = estate.subscriptions.iter().filter(seen);
            let all: Vec<Value> = seen.map(|id| published::subscription(id)).collect();
            let count = all.len();
            Ok(Reply::ok(json!({ "value": all, "count": { "type": "Total", "value": count } })))
        }
        ["tenants"] if read => Ok(Reply::ok(published::tenants())),
        ["providers"] if read => published::providers(None),
        ["batch"] if call.method == Method::POST => batch(estate, call),
        ["subscriptions", _, ..] if read && !estate.sees(&call.who.object, &parts[..2].join("/")) => {
            estate.demand(
                call,
                &parts[..2].join("/"),
                Role::Reader,
                "Microsoft.Resources/subscriptions/read",
            )?;
            Ok(Reply::empty(204))
        }
        ["subscriptions", id] if read => Ok(Reply::ok(published::subscription(id))),
        ["subscriptions", id, "locations"] if read => Ok(Reply::ok(published::locations(id))),
        ["subscriptions", _, "providers"] if read => published::providers(None),
        ["subscriptions", _, "providers", namespace] if read => published::providers(Some(namespace)),
        ["subscriptions", _, "providers", namespace, "register" | "unregister"]
            if call.method == Method::POST =>
        {
            let subscription = parts[..2].join("/");
            estate.demand(call, &subscription, Role::Contributor, &format!("{namespace}/register/action"))?;
            published::providers(Some(namespace))
        }
        ["subscriptions", _, "resources"] | ["subscriptions", _, "resourcegroups", _, "resources"]
            if read =>
        {
            lists::resources(estate, call)
        }
        ["subscriptions", _, "resourcegroups"] if read => groups::list(estate, call),
        ["subscriptions", _, "resourcegroups", _] => match call.method {
            Method::GET | Method::HEAD => groups::get(estate, call),
            Method::PUT | Method::PATCH => groups::write(estate, call),
            Method::DELETE => groups::delete(estate, call),
            _ => Err(scopes::method_not_allowed()),
        },
        ["subscriptions", _, "resourcegroups", _, "moveresources"] if call.method == Method::POST => {
            groups::move_resources(estate, call)
        }
        ["subscriptions", _, "resourcegroups", _, "validatemoveresources"] => Ok(Reply::empty(204)),
        ["subscriptions", _, "resourcegroups", _, "exporttemplate"] => {
            Ok(Reply::ok(json!({ "template": {} })))
        }
        _ => match Target::parse(&call.folded) {
            Some(target) => of_provider(estate, call, &target),
            None => Err(Reply::gateway(404, "NotFound", "The requested path was not found.")),
        },
    }
}

fn of_provider(estate: &mut Estate, call: &Call, target: &Target) -> Outcome {
    let types: Vec<&str> = target.rest.iter().step_by(2).map(String::as_str).collect();
    match (target.namespace.as_str(), types.as_slice()) {
        ("microsoft.authorization", ["roleassignments"]) => {
            return scopes::role_assignments(estate, call, target);
        }
        ("microsoft.authorization", ["locks"]) => return scopes::locks(estate, call, target),
        ("microsoft.resources", ["tags"]) => return scopes::tags(estate, call, target),
        ("microsoft.resourcegraph", ["resources"]) if call.method == Method::POST => {
            return graph::query(estate, call);
        }
        ("microsoft.resources", ["deployments"]) if call.method == Method::PUT => {
            return deployments::put(estate, call, target);
        }
        ("microsoft.resources", ["deployments", _]) if call.method == Method::POST => {
            return deployments::post(estate, call, target);
        }
        ("microsoft.compute", ["virtualmachines", "instanceview"]) if call.reads() => {
            return reads::instance_view(estate, call, target);
        }
        ("microsoft.compute", _) => {
            if let Some(reply) = published::compute(call, &target.rest) {
                return Ok(reply);
            }
        }
        _ => {}
    }
    match (&call.method, target.is_resource()) {
        (&Method::GET, true) => reads::resource(estate, call, target),
        (&Method::HEAD, true) => match reads::resource(estate, call, target) {
            Ok(_) => Ok(Reply::empty(204)),
            Err(refused) => Err(Reply { body: Body::None, ..refused }),
        },
        (&Method::GET, false) => match reads::part_list(target) {
            Some(list) => parts_list(estate, call, target, list),
            None => lists::of_type(estate, call, target),
        },
        (&Method::PUT, true) => writes::put(estate, call, target),
        (&Method::PATCH, true) => writes::patch(estate, call, target),
        (&Method::DELETE, true) => writes::delete(estate, call, target),
        (&Method::POST, _) => actions::post(estate, call, target),
        _ => Err(scopes::method_not_allowed()),
    }
}

fn parts_list(estate: &Estate, call: &Call, target: &Target, list: &str) -> Outcome {
    reads::demand_group(estate, call)?;
    reads::part(estate, call, target, list)
}

/// Several calls in one: each is carried out on its own.
fn batch(estate: &mut Estate, call: &Call) -> Outcome {
    let requests = call.body["requests"].as_array().cloned().unwrap_or_default();
    if requests.len() > BATCH_LIMIT {
        return Err(Reply::bad_request(
            "BatchRequestLimitExceeded",
            "There are too many requests in the batch.",
        ));
    }
    let mut responses = Vec::with_capacity(requests.len());
    for request in requests {
        let method = request["httpMethod"].as_str().unwrap_or("GET").parse().unwrap_or(Method::GET);
        let url = request["url"].as_str().unwrap_or_default();
        let target =
            url.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..])).unwrap_or(url);
        let mut inner = Call::new(method, target, call.who.clone(), &call.base, call.now);
        inner.body = request["content"].clone();
        let nested = inner.folded.first().is_some_and(|first| first == "batch");
        let reply = match nested {
            true => scopes::method_not_allowed(),
            false => dispatch(estate, &inner).unwrap_or_else(|refused| refused),
        };
        let headers: serde_json::Map<String, Value> = reply
            .fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())))
            .collect();
        let content = match reply.body {
            Body::Json(value) => value,
            Body::None | Body::Text(_) => Value::Null,
        };
        responses.push(json!({
            "name": request["name"], "httpStatusCode": reply.status, "headers": headers, "content": content,
        }));
    }
    Ok(Reply::ok(json!({ "responses": responses })))
}

/// What needs no token: `None` for everything else.
pub(super) fn anonymous(estate: &Estate, call: &Call) -> Option<Outcome> {
    let ["metadata", "endpoints"] = call.parts()[..] else { return None };
    if !call.reads() {
        return None;
    }
    if let Err(refused) = call.check_version("endpoints") {
        return Some(Err(refused));
    }
    let base = match &estate.links {
        Links::AsAsked => Some(call.base.as_str()),
        Links::At(base) => Some(base.trim_end_matches('/')),
        Links::Public | Links::Mixed => None,
    };
    Some(Ok(Reply::ok(published::endpoints(call.version(), base))))
}
