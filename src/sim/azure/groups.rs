//! Resource groups, and moving resources between them.

use serde_json::{Value, json};

use super::answer::{Outcome, Reply};
use super::call::Call;
use super::estate::Estate;
use super::model::{Effect, Family, Resource};
use super::operations::{self, Start};
use super::rights::Role;
use super::view::{self, Style};
use super::{backrefs, lists, writes};

const KIND: &str = "Microsoft.Resources/resourceGroups";

fn style(call: &Call) -> Style<'_> {
    Style { group: None, in_list: false, instance_view: false, version: call.version() }
}

fn key(call: &Call) -> String {
    call.folded[..4].join("/")
}

/// All groups that the caller sees something of.
pub(super) fn list(estate: &mut Estate, call: &Call) -> Outcome {
    let all = estate.below(&call.folded.join("/"));
    let seen = |key: &String| estate.resources[key].is(KIND) && estate.sees(&call.who.object, key);
    let keys: Vec<String> = all.into_iter().filter(seen).collect();
    Ok(lists::page(estate, call, &keys, 1000, "eastus", |estate, key| {
        view::body(estate, key, &estate.resources[key], style(call))
    }))
}

/// GET or HEAD of a group; HEAD says 204 or 404.
pub(super) fn get(estate: &Estate, call: &Call) -> Outcome {
    let key = key(call);
    let Some(group) = estate.resources.get(&key) else {
        return Err(match call.method {
            http::Method::HEAD => Reply::empty(404),
            _ => Reply::group_not_found(&call.path[3]),
        });
    };
    estate.demand(call, &key, Role::Reader, "Microsoft.Resources/subscriptions/resourceGroups/read")?;
    match call.method {
        http::Method::HEAD => Ok(Reply::empty(204)),
        _ => Ok(Reply::ok(view::body(estate, &key, group, style(call)))),
    }
}

/// PUT and PATCH of a group: done at once.
pub(super) fn write(estate: &mut Estate, call: &Call) -> Outcome {
    let key = key(call);
    estate.demand(call, &key, Role::Contributor, "Microsoft.Resources/subscriptions/resourceGroups/write")?;
    let existing = estate.resources.get(&key).cloned();
    let status = if existing.is_some() { 200 } else { 201 };
    let mut group = match (existing, call.method == http::Method::PATCH) {
        (None, true) => return Err(Reply::group_not_found(&call.path[3])),
        (Some(group), _) => group,
        (None, false) => Resource {
            id: format!("/subscriptions/{}/resourceGroups/{}", call.folded[1], call.path[3]),
            kind: KIND.to_owned(),
            name: call.path[3].clone(),
            body: json!({ "location": call.body["location"].as_str().unwrap_or("eastus"), "tags": {} }),
            revision: 0,
            power: None,
            hidden: false,
            address: None,
        },
    };
    if group.state() == "Deleting" {
        let message = format!(
            "The resource group '{}' is in deprovisioning state and cannot perform this operation.",
            group.name
        );
        return Err(Reply::gateway(409, "ResourceGroupBeingDeleted", message));
    }
    if let Some(tags) = call.body.get("tags").filter(|tags| tags.is_object()) {
        group.body["tags"] = tags.clone();
    }
    group.body["properties"] = json!({ "provisioningState": "Succeeded" });
    group.revision += 1;
    estate.put(key.clone(), group);
    Ok(writes::shown(estate, call, &key, status))
}

/// DELETE of a group, with all that is in it.
pub(super) fn delete(estate: &mut Estate, call: &Call) -> Outcome {
    let key = key(call);
    estate.demand(
        call,
        &key,
        Role::Contributor,
        "Microsoft.Resources/subscriptions/resourceGroups/delete",
    )?;
    let Some(group) = estate.resources.get(&key) else { return Err(Reply::group_not_found(&call.path[3])) };
    let location = group.location().to_owned();
    writes::demand_unlocked(estate, &key, true)?;
    for child in estate.below(&key) {
        writes::demand_unlocked(estate, &child, true)?;
    }
    estate.edit(&key, |group| group.set_state("Deleting"));
    let effect = Effect::DeleteGroup(key);
    let start = Start { family: Family::Group, location, effect, shows: None, output: None };
    let addresses = operations::start(estate, call, start);
    Ok(operations::announce(estate, Reply::empty(202), &addresses, false, true))
}

/// POST moveResources: the ids change at the end.
pub(super) fn move_resources(estate: &mut Estate, call: &Call) -> Outcome {
    let key = key(call);
    estate.demand(
        call,
        &key,
        Role::Contributor,
        "Microsoft.Resources/subscriptions/resourceGroups/moveResources/action",
    )?;
    let to = call.body["targetResourceGroup"].as_str().unwrap_or_default().to_owned();
    let group = to.rsplit('/').next().unwrap_or_default().to_owned();
    let Some(group) = estate.group_name(&call.folded[1], &group).map(str::to_owned) else {
        return Err(Reply::group_not_found(&group));
    };
    let ids = call.body["resources"].as_array().cloned().unwrap_or_default();
    let keys: Vec<String> = ids
        .iter()
        .filter_map(Value::as_str)
        .map(|id| id.trim_start_matches('/').to_ascii_lowercase())
        .collect();
    if let Some(missing) = keys.iter().find(|key| !estate.resources.contains_key(*key)) {
        return Err(Reply::gateway(
            404,
            "ResourceNotFound",
            format!("The Resource '/{missing}' was not found."),
        ));
    }
    let location = estate.group_location(&call.folded[1], &call.folded[3]);
    let effect = Effect::Move { keys, group };
    let start = Start { family: Family::Group, location, effect, shows: None, output: None };
    let addresses = operations::start(estate, call, start);
    Ok(operations::announce(estate, Reply::empty(202), &addresses, false, true))
}

/// Gives resources and their children the ids that they have in another group.
pub(super) fn moved(estate: &mut Estate, keys: &[String], group: &str) {
    let mut ids: Vec<(String, String)> = Vec::new();
    for key in
        keys.iter().flat_map(|key| std::iter::once(key.clone()).chain(estate.below(key))).collect::<Vec<_>>()
    {
        let Some(mut resource) = estate.resources.remove(&key) else { continue };
        let old = resource.id.clone();
        let own = format!("/resourceGroups/{}/", resource.group());
        resource.id = old.replacen(&own, &format!("/resourceGroups/{group}/"), 1);
        resource.revision += 1;
        ids.push((old, resource.id.clone()));
        estate.resources.insert(resource.id.trim_start_matches('/').to_ascii_lowercase(), resource);
    }
    for resource in estate.resources.values_mut() {
        ids.iter().for_each(|(old, new)| rename(&mut resource.body, old, new));
    }
    backrefs::derive(estate);
}

/// Replaces an id wherever it stands alone.
fn rename(value: &mut Value, old: &str, new: &str) {
    match value {
        Value::String(text) if text.eq_ignore_ascii_case(old) => *text = new.to_owned(),
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, old, new)),
        Value::Object(members) => members.values_mut().for_each(|member| rename(member, old, new)),
        _ => {}
    }
}

impl Estate {
    /// Where a group is.
    pub(super) fn group_location(&self, subscription: &str, group: &str) -> String {
        let key = format!("subscriptions/{subscription}/resourcegroups/{group}").to_ascii_lowercase();
        self.resources.get(&key).map_or("eastus", Resource::location).to_owned()
    }
}
