//! POST: what machines do, keys and other secrets, questions that change nothing.

use serde_json::{Value, json};

use super::answer::{Body, Outcome, Reply};
use super::call::Call;
use super::estate::Estate;
use super::model::{Effect, Family, Power};
use super::operations::{self, Start};
use super::reads::demand_group;
use super::rights::Role;
use super::target::{self, Target};
use super::writes::demand_unlocked;

/// An action on something of a provider.
pub(super) fn post(estate: &mut Estate, call: &Call, target: &Target) -> Outcome {
    let action = target.name().to_owned();
    let reads = reads_only(&action);
    let role = if reads && !action.starts_with("list") { Role::Reader } else { Role::Contributor };
    let key = call.folded[..call.folded.len() - 1].join("/");
    let spelled = format!(
        "{}/{}/action",
        target::spelling(&types(target)),
        call.path.last().map_or("", String::as_str)
    );
    estate.demand(call, &key, role, &spelled)?;
    demand_group(estate, call)?;
    if action == "checknameavailability" {
        return Ok(Reply::ok(json!({ "nameAvailable": true })));
    }
    if target.is_resource() || target.rest.len() < 3 {
        return Err(Reply::gateway(404, "InvalidResourceType", "The resource type could not be found."));
    }
    let Some(resource) = estate.resources.get(&key).filter(|known| !known.hidden).cloned() else {
        let name = call.path.get(call.path.len() - 2).map_or("", String::as_str);
        let kind = target::spelling(&types(target));
        return Err(Reply::resource_not_found(&kind, name, target.group().unwrap_or_default()));
    };
    let location = resource.location().to_owned();
    let kind = resource.kind.to_ascii_lowercase();
    match (kind.as_str(), action.as_str()) {
        ("microsoft.compute/virtualmachines", _) => {
            demand_unlocked(estate, &key, false)?;
            machine(estate, call, &key, &action, resource.power.unwrap_or(Power::Running), location)
        }
        ("microsoft.compute/disks", "begingetaccess") => {
            let output = json!({ "accessSAS": format!("https://md-example.blob.storage.azure.net/{}?sig=EXAMPLE", resource.name) });
            accepted(estate, call, Family::Disk, location, Effect::Nothing, Some(output))
        }
        ("microsoft.compute/disks", "endgetaccess") => {
            accepted(estate, call, Family::Disk, location, Effect::Nothing, None)
        }
        ("microsoft.storage/storageaccounts", "listkeys") => Ok(Reply::ok(json!({ "keys": [{
            "creationTime": "2025-06-01T10:00:00.0000000Z", "keyName": "key1",
            "value": "RVhBTVBMRS1OT1QtQS1LRVk=", "permissions": "FULL",
        }]}))),
        _ if action.starts_with("list") => Ok(Reply::ok(json!({ "value": [] }))),
        _ => Ok(Reply::ok(json!({}))),
    }
}

/// The type that an action belongs to.
fn types(target: &Target) -> String {
    let types: Vec<_> = target.rest[..target.rest.len() - 1].iter().step_by(2).map(String::as_str).collect();
    format!("{}/{}", target.namespace, types.join("/"))
}

/// Whether an action changes nothing.
fn reads_only(action: &str) -> bool {
    action.starts_with("list")
        || matches!(
            action,
            "checknameavailability"
                | "validate"
                | "whatif"
                | "retrievebootdiagnosticsdata"
                | "exporttemplate"
        )
}

/// What a machine does. The power moves at once to what it is on its way to, and at the end it is there;
/// `provisioningState` does not tell of it.
fn machine(
    estate: &mut Estate,
    call: &Call,
    key: &str,
    action: &str,
    from: Power,
    location: String,
) -> Outcome {
    let (through, to) = match action {
        "start" => (Power::Starting, Power::Running),
        "restart" | "redeploy" | "reimage" => (Power::Starting, Power::Running),
        "poweroff" => (Power::Stopping, Power::Stopped),
        "deallocate" => (Power::Deallocating, Power::Deallocated),
        "reapply" | "performmaintenance" | "assesspatches" | "installpatches" => {
            estate.edit(key, |machine| machine.set_state("Updating"));
            return accepted(estate, call, Family::Compute, location, Effect::Finish(key.to_owned()), None);
        }
        "runcommand" => {
            estate.edit(key, |machine| machine.set_state("Updating"));
            let output = json!({ "value": [{
                "code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Provisioning succeeded",
                "message": "Enable succeeded: \n[stdout]\nsimulated\n\n[stderr]\n",
            }]});
            return accepted(
                estate,
                call,
                Family::Compute,
                location,
                Effect::Finish(key.to_owned()),
                Some(output),
            );
        }
        "generalize" => return Ok(Reply { status: 200, fields: Vec::new(), body: Body::None }),
        "retrievebootdiagnosticsdata" => {
            return Ok(Reply::ok(json!({
                "consoleScreenshotBlobUri": "https://example.blob.core.windows.net/screenshot?sig=EXAMPLE",
                "serialConsoleLogBlobUri": "https://example.blob.core.windows.net/serial?sig=EXAMPLE",
            })));
        }
        _ => return Err(Reply::gateway(404, "InvalidResourceType", "The resource type could not be found.")),
    };
    // What it was before counts if the operation fails; on its way somewhere it stays where it was going.
    let back = match from {
        Power::Starting => Power::Running,
        Power::Stopping => Power::Stopped,
        Power::Deallocating => Power::Deallocated,
        resting => resting,
    };
    if through != to && from != to {
        estate.edit(key, |machine| machine.power = Some(through));
    }
    let effect = Effect::Power { key: key.to_owned(), to, from: back };
    accepted(estate, call, Family::Compute, location, effect, None)
}

fn accepted(
    estate: &mut Estate,
    call: &Call,
    family: Family,
    location: String,
    effect: Effect,
    output: Option<Value>,
) -> Outcome {
    let start = Start { family, location, effect, shows: None, output };
    let addresses = operations::start(estate, call, start);
    Ok(operations::announce(estate, Reply::empty(202), &addresses, true, true))
}
