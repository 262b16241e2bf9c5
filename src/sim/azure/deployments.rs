//! Deployments: ARM itself writes the resources of a template, and nobody sees a PUT for them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::{Outcome, Reply};
use super::call::Call;
use super::estate::Estate;
use super::model::{Effect, Family, Resource};
use super::operations::{self, Start};
use super::reads::demand_group;
use super::rights::Role;
use super::target::Target;
use super::{backrefs, provide, target, writes};

const KIND: &str = "Microsoft.Resources/deployments";

/// PUT of a deployment: accepted at once, done later.
pub(super) fn put(estate: &mut Estate, call: &Call, target: &Target) -> Outcome {
    let key = call.key();
    estate.demand(call, &key, Role::Contributor, &format!("{KIND}/write"))?;
    demand_group(estate, call)?;
    let group =
        target.group().and_then(|group| estate.group_name(target.subscription(), group)).map(str::to_owned);
    let id = target::canonical_id(&call.path, group.as_deref());
    let scope = id.split("/providers/").next().unwrap_or_default().to_owned();
    let sent = &call.body["properties"];
    let resources = resources(sent, &scope);
    let location = estate.group_location(target.subscription(), group.as_deref().unwrap_or_default());
    let (correlation, timestamp) = (estate.guid(), estate.iso(call.now));
    let outputs: Vec<Value> = resources.iter().map(|(id, _)| json!({ "id": id })).collect();
    let body = json!({ "properties": {
        "templateHash": "1234567890", "parameters": {}, "mode": sent["mode"].as_str().unwrap_or("Incremental"),
        "provisioningState": "Accepted", "timestamp": timestamp, "duration": "PT0.5S",
        "correlationId": correlation,
        "providers": [{ "namespace": "Microsoft.Compute", "resourceTypes": [
            { "resourceType": "virtualMachines", "locations": [location] },
        ]}],
        "dependencies": [], "outputResources": outputs,
    }});
    let fresh = !estate.resources.contains_key(&key);
    let existing = estate.resources.get(&key).cloned();
    let resource = provide::made(estate, &id, body, existing);
    estate.put(key.clone(), resource);
    let accepted = writes::shown(estate, call, &key, if fresh { 201 } else { 200 });
    estate.edit(&key, |deployment| deployment.set_state("Running"));
    let effect = Effect::Deploy { key: key.clone(), resources };
    let start = Start { family: Family::Deployment, location, effect, shows: Some(key), output: None };
    let addresses = operations::start(estate, call, start);
    Ok(operations::announce(estate, accepted, &addresses, true, false))
}

/// POST validate, whatIf or cancel.
pub(super) fn post(estate: &mut Estate, call: &Call, target: &Target) -> Outcome {
    let key = call.folded[..call.folded.len() - 1].join("/");
    estate.demand(call, &key, Role::Contributor, &format!("{KIND}/{}/action", target.name()))?;
    demand_group(estate, call)?;
    match target.name() {
        "validate" => Ok(Reply::ok(json!({ "properties": {
            "mode": "Incremental", "provisioningState": "Succeeded", "validatedResources": [],
        }}))),
        "whatif" => Ok(Reply::ok(json!({ "status": "Succeeded", "properties": { "changes": [] } }))),
        "exporttemplate" => Ok(Reply::ok(json!({ "template": {} }))),
        "cancel" => Ok(Reply::empty(204)),
        _ => Err(Reply::gateway(404, "InvalidResourceType", "The resource type could not be found.")),
    }
}

/// The resources of a template, in order, each with its full id.
fn resources(sent: &Value, scope: &str) -> Vec<(String, Value)> {
    let template = &sent["template"];
    let parameters: BTreeMap<&str, &Value> = sent["parameters"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, given)| (name.as_str(), given.get("value").unwrap_or(given)))
        .collect();
    let all = template["resources"].as_array().into_iter().flatten();
    all.filter_map(|resource| {
        let mut body = resource.clone();
        resolve(&mut body, &parameters, scope);
        let kind = body["type"].as_str()?.to_owned();
        let name = body["name"].as_str()?.to_owned();
        let id = format!("{scope}/providers/{}", interleave(&kind, &name));
        let members = body.as_object_mut()?;
        for word in ["type", "name", "apiVersion", "dependsOn", "condition", "comments", "copy"] {
            members.remove(word);
        }
        Some((id, body))
    })
    .collect()
}

/// `Ns/a/b` and `x/y` become `Ns/a/x/b/y`.
fn interleave(kind: &str, name: &str) -> String {
    let (namespace, types) = kind.split_once('/').unwrap_or((kind, ""));
    let pairs = types.split('/').zip(name.split('/'));
    pairs.fold(namespace.to_owned(), |id, (kind, name)| format!("{id}/{kind}/{name}"))
}

/// Puts values in the place of the two expressions that generated templates use.
fn resolve(value: &mut Value, parameters: &BTreeMap<&str, &Value>, scope: &str) {
    match value {
        Value::String(text) => {
            let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            let Some(inner) = inner else { return };
            let arguments = |function: &str| {
                let list = inner.strip_prefix(function)?.strip_prefix('(')?.strip_suffix(')')?;
                Some(list.split(',').map(|one| one.trim().trim_matches('\'').to_owned()).collect::<Vec<_>>())
            };
            if let Some([name]) = arguments("parameters").as_deref() {
                *value = parameters.get(name.as_str()).map_or(Value::Null, |given| (*given).clone());
            } else if let Some([kind, names @ ..]) = arguments("resourceId").as_deref() {
                *value = Value::from(format!("{scope}/providers/{}", interleave(kind, &names.join("/"))));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| resolve(item, parameters, scope)),
        Value::Object(members) => members.values_mut().for_each(|member| resolve(member, parameters, scope)),
        _ => {}
    }
}

/// Makes one resource of a template, as done.
pub(super) fn create(estate: &mut Estate, id: &str, body: Value, at: Instant) {
    let path: Vec<String> = id.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let group = target::group_of(&path)
        .and_then(|group| estate.group_name(target::subscription_of(&path), group))
        .map(str::to_owned);
    let id = target::canonical_id(&path, group.as_deref());
    let key = id.trim_start_matches('/').to_ascii_lowercase();
    let existing = estate.resources.get(&key).cloned();
    let fresh = existing.is_none();
    let mut resource: Resource = provide::made(estate, &id, body, existing);
    if !resource.body["properties"].is_object() {
        resource.body["properties"] = json!({});
    }
    for list in ["subnets", "securityRules"] {
        let parts = resource.body["properties"].get_mut(list).and_then(Value::as_array_mut);
        parts
            .into_iter()
            .flatten()
            .for_each(|part| part["properties"]["provisioningState"] = Value::from("Succeeded"));
    }
    provide::complete(estate, &mut resource, fresh, at);
    resource.set_state("Succeeded");
    estate.resources.insert(key, resource);
    backrefs::derive(estate);
}
