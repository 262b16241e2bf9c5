//! What hangs on a scope of any kind: role assignments, locks, and the tags of the scope itself.

use serde_json::{Value, json};

use super::SUBSCRIPTION;
use super::answer::{Outcome, Reply};
use super::call::Call;
use super::estate::Estate;
use super::reads::not_found;
use super::rights::{Assignment, Role, covers};
use super::target::Target;
use super::{provide, view, writes};

fn scope(target: &Target) -> String {
    target.scope.join("/")
}

fn shown(one: &Assignment) -> Value {
    let definition = format!(
        "/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{}",
        one.role.definition()
    );
    json!({
        "id": format!("/{}/providers/Microsoft.Authorization/roleAssignments/{}", one.scope, one.name),
        "name": one.name, "type": "Microsoft.Authorization/roleAssignments",
        "properties": {
            "roleDefinitionId": definition, "principalId": one.object, "principalType": "ServicePrincipal",
            "scope": format!("/{}", one.scope),
        },
    })
}

/// Role assignments.
pub(super) fn role_assignments(estate: &mut Estate, call: &Call, target: &Target) -> Outcome {
    let scope = scope(target);
    let word = if call.reads() { "read" } else { "write" };
    let role = if call.reads() { Role::Reader } else { Role::Owner };
    estate.demand(call, &scope, role, &format!("Microsoft.Authorization/roleAssignments/{word}"))?;
    if !target.is_resource() {
        let met = |one: &&Assignment| covers(&one.scope, &scope) || covers(&scope, &one.scope);
        let all: Vec<Value> = estate.assignments.iter().filter(met).map(shown).collect();
        return Ok(Reply::ok(json!({ "value": all })));
    }
    let name = target.name();
    let at =
        estate.assignments.iter().position(|one| one.scope == scope && one.name.eq_ignore_ascii_case(name));
    match (call.method.as_str(), at) {
        ("GET", Some(at)) => Ok(Reply::ok(shown(&estate.assignments[at]))),
        ("GET", None) => Err(not_found(call, target)),
        ("DELETE", Some(at)) => Ok(Reply::ok(shown(&estate.assignments.remove(at)))),
        ("DELETE", None) => Ok(Reply::empty(204)),
        ("PUT", Some(_)) => {
            Err(Reply::error(409, "RoleAssignmentExists", "The role assignment already exists."))
        }
        ("PUT", None) => {
            let properties = &call.body["properties"];
            let role = Role::of_definition(properties["roleDefinitionId"].as_str().unwrap_or_default());
            let (Some(role), Some(object)) = (role, properties["principalId"].as_str()) else {
                return Err(Reply::bad_request(
                    "InvalidRoleAssignment",
                    "Role and principal must be known ones.",
                ));
            };
            let one = Assignment { name: name.to_owned(), scope, object: object.to_owned(), role };
            let body = shown(&one);
            estate.assignments.push(one);
            Ok(Reply::json(201, body))
        }
        _ => Err(method_not_allowed()),
    }
}

/// Locks, which are resources of the provider of authorizations on any scope.
pub(super) fn locks(estate: &mut Estate, call: &Call, target: &Target) -> Outcome {
    let scope = scope(target);
    let role = if call.reads() { Role::Reader } else { Role::Owner };
    estate.demand(call, &scope, role, "Microsoft.Authorization/locks/read")?;
    let style = view::Style { group: None, in_list: true, instance_view: false, version: call.version() };
    if !target.is_resource() {
        let all = estate
            .resources
            .iter()
            .filter(|(key, lock)| lock.is("Microsoft.Authorization/locks") && covers(&scope, key));
        let all: Vec<Value> = all.map(|(key, lock)| view::body(estate, key, lock, style)).collect();
        return Ok(Reply::ok(json!({ "value": all })));
    }
    let key = call.key();
    let existing = estate.resources.get(&key).cloned();
    match (call.method.as_str(), existing) {
        ("GET", Some(lock)) => Ok(Reply::ok(view::body(estate, &key, &lock, style))),
        ("GET", None) => Err(not_found(call, target)),
        ("DELETE", None) => Ok(Reply::empty(204)),
        ("DELETE", Some(_)) => {
            estate.resources.remove(&key);
            Ok(Reply { status: 200, fields: Vec::new(), body: super::answer::Body::None })
        }
        ("PUT", existing) => {
            let status = if existing.is_some() { 200 } else { 201 };
            let id = super::target::canonical_id(
                &call.path,
                target.group().and_then(|group| estate.group_name(target.subscription(), group)),
            );
            let body = json!({ "properties": call.body["properties"] });
            let lock = provide::made(estate, &id, body, existing);
            let lock = super::model::Resource { kind: "Microsoft.Authorization/locks".to_owned(), ..lock };
            estate.put(key.clone(), lock);
            Ok(writes::shown(estate, call, &key, status))
        }
        _ => Err(method_not_allowed()),
    }
}

/// The tags of a scope as an object of their own.
pub(super) fn tags(estate: &mut Estate, call: &Call, target: &Target) -> Outcome {
    let scope = scope(target);
    let role = if call.reads() { Role::Reader } else { Role::Contributor };
    estate.demand(call, &scope, role, "Microsoft.Resources/tags/write")?;
    if !estate.resources.contains_key(&scope) {
        return Err(not_found(call, target));
    }
    let sent = call.body["properties"]["tags"].clone();
    match call.method.as_str() {
        "GET" => {}
        "PUT" => drop(estate.edit(&scope, |resource| resource.body["tags"] = sent)),
        "DELETE" => drop(estate.edit(&scope, |resource| resource.body["tags"] = json!({}))),
        "PATCH" => {
            let operation = call.body["operation"].as_str().unwrap_or("Merge").to_ascii_lowercase();
            estate.edit(&scope, |resource| {
                let tags = &mut resource.body["tags"];
                match operation.as_str() {
                    "replace" => *tags = sent,
                    "delete" => {
                        let names = sent.as_object().into_iter().flatten().map(|(name, _)| name);
                        if let Some(tags) = tags.as_object_mut() {
                            names.for_each(|name| drop(tags.remove(name)));
                        }
                    }
                    _ => writes::merge_patch(tags, &sent),
                }
            });
        }
        _ => return Err(method_not_allowed()),
    }
    if call.method == http::Method::DELETE {
        return Ok(Reply { status: 200, fields: Vec::new(), body: super::answer::Body::None });
    }
    let tags = estate.resources[&scope].body["tags"].clone();
    Ok(Reply::ok(json!({
        "id": format!("/{scope}/providers/Microsoft.Resources/tags/default"), "name": "default",
        "type": "Microsoft.Resources/tags", "properties": { "tags": tags },
    })))
}

/// The 405 for a method that something has not.
pub(super) fn method_not_allowed() -> Reply {
    Reply::gateway(405, "MethodNotAllowed", "The requested HTTP method is not allowed for this resource.")
}
