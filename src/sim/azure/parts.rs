//! Writes of what lives in the body of another resource: subnets, rules, peerings, routes.

use serde_json::{Map, Value};

use super::answer::{Outcome, Reply};
use super::call::Call;
use super::estate::Estate;
use super::model::{Effect, Family};
use super::operations::{self, Start};
use super::reads::{self, not_found};
use super::target::Target;

/// The key of the resource that the part lives in.
fn parent(call: &Call) -> String {
    call.folded[..call.folded.len() - 2].join("/")
}

fn position(all: &[Value], name: &str) -> Option<usize> {
    all.iter().position(|part| part["name"].as_str().is_some_and(|known| known.eq_ignore_ascii_case(name)))
}

fn list_of<'a>(body: &'a mut Value, list: &str) -> &'a mut Vec<Value> {
    let slot = &mut body["properties"][list];
    if !slot.is_array() {
        *slot = Value::Array(Vec::new());
    }
    slot.as_array_mut().expect("it was just made an array")
}

/// PUT of a part.
pub(super) fn put(estate: &mut Estate, call: &Call, target: &Target, list: &str) -> Outcome {
    let parent = parent(call);
    let Some(whole) = estate.resources.get(&parent) else { return Err(not_found(call, target)) };
    super::writes::demand_conditions(call, None)?;
    if whole.in_flux() {
        return Err(super::refusal::locked_network());
    }
    let location = whole.location().to_owned();
    let mut part = Map::new();
    part.insert("name".to_owned(), Value::from(call.path.last().map_or("", String::as_str)));
    let mut properties = call.body["properties"].clone();
    if !properties.is_object() {
        properties = Value::Object(Map::new());
    }
    properties["provisioningState"] = Value::from("Succeeded");
    part.insert("properties".to_owned(), properties);
    let mut fresh = true;
    estate.edit(&parent, |whole| {
        let all = list_of(&mut whole.body, list);
        match position(all, target.name()) {
            Some(at) => {
                fresh = false;
                all[at] = Value::Object(part);
            }
            None => all.push(Value::Object(part)),
        }
        whole.set_state("Updating");
    });
    let effect = Effect::Finish(call.key());
    let start = Start { family: Family::Network, location, effect, shows: None, output: None };
    let addresses = operations::start(estate, call, start);
    let mut reply = reads::part(estate, call, target, list)?;
    reply.status = if fresh { 201 } else { 200 };
    Ok(operations::announce(estate, reply, &addresses, true, false))
}

/// DELETE of a part.
pub(super) fn delete(estate: &mut Estate, call: &Call, target: &Target, list: &str) -> Outcome {
    let parent = parent(call);
    let Some(whole) = estate.resources.get(&parent) else { return Ok(Reply::empty(204)) };
    if whole.in_flux() {
        return Err(super::refusal::locked_network());
    }
    let location = whole.location().to_owned();
    let mut gone = false;
    estate.edit(&parent, |whole| {
        let all = list_of(&mut whole.body, list);
        if let Some(at) = position(all, target.name()) {
            all.remove(at);
            gone = true;
            whole.set_state("Updating");
        }
    });
    if !gone {
        return Ok(Reply::empty(204));
    }
    let effect = Effect::Finish(call.key());
    let start = Start { family: Family::Network, location, effect, shows: None, output: None };
    let addresses = operations::start(estate, call, start);
    Ok(operations::announce(estate, Reply::empty(202), &addresses, true, true))
}
