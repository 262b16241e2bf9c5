//! Firewall options and rules of guests and of the cluster.

use serde_json::{Value, json};

use super::answer::{Failure, Outcome, Reply};
use super::call::{Call, Method};
use super::cluster::index;
use super::model::{Guest, Object};
use super::state::Cluster;

/// Reads below `/nodes/{node}/{kind}/{vmid}/firewall`.
pub(super) fn read_guest(guest: &Guest, call: &Call, rest: &[&str]) -> Outcome {
    match rest {
        [] => Ok(index(&["options", "rules", "aliases", "ipset", "log", "refs"])),
        ["options"] => {
            let mut options = guest.firewall_options.clone();
            options.entry("enable").or_insert_with(|| 0.into());
            options.insert("digest".to_owned(), guest.firewall_digest().into());
            Ok(Reply::data(options))
        }
        ["rules"] => {
            Ok(Reply::data((0..guest.firewall_rules.len()).map(|at| rule(guest, at)).collect::<Value>()))
        }
        ["rules", at] => {
            let at = at.parse().ok().filter(|at| *at < guest.firewall_rules.len());
            Ok(Reply::data(rule(guest, at.ok_or_else(|| Failure::die("no rule at this position"))?)))
        }
        ["aliases" | "ipset" | "log" | "refs"] => Ok(Reply::list(Vec::new())),
        _ => Err(Failure::not_implemented(call.method.name(), &call.path)),
    }
}

fn rule(guest: &Guest, at: usize) -> Value {
    let mut rule = guest.firewall_rules[at].clone();
    rule.insert("pos".to_owned(), at.into());
    rule.insert("digest".to_owned(), guest.firewall_digest().into());
    rule.into()
}

/// Writes below `/nodes/{node}/{kind}/{vmid}/firewall`.
pub(super) fn write_guest(cluster: &mut Cluster, call: &Call, vmid: u32, rest: &[&str]) -> Outcome {
    let known = cluster.guests[&vmid].firewall_rules.len();
    let position = |text: &str| {
        let at = text.parse::<usize>().ok().filter(|at| *at < known);
        at.ok_or_else(|| Failure::die("no rule at this position"))
    };
    match (call.method, rest) {
        (Method::Put, ["options"]) => {
            let changes = settings(call);
            cluster.edit_guest(vmid, call.now, |guest| {
                super::effects::merge(&mut guest.firewall_options, changes);
            });
        }
        (Method::Post, ["rules"]) => {
            call.need("action")?;
            call.need("type")?;
            let new = settings(call);
            cluster.edit_guest(vmid, call.now, |guest| guest.firewall_rules.insert(0, new));
        }
        (Method::Put, ["rules", at]) => {
            let (at, changes) = (position(at)?, settings(call));
            cluster.edit_guest(vmid, call.now, |guest| {
                super::effects::merge(&mut guest.firewall_rules[at], changes);
            });
        }
        (Method::Delete, ["rules", at]) => {
            let at = position(at)?;
            cluster.edit_guest(vmid, call.now, |guest| guest.firewall_rules.remove(at));
        }
        _ => return Err(Failure::not_implemented(call.method.name(), &call.path)),
    }
    Ok(Reply::null())
}

/// `/cluster/firewall` and below.
pub(super) fn of_cluster(cluster: &mut Cluster, call: &Call, rest: &[&str]) -> Outcome {
    let needed = if call.method == Method::Get { "Sys.Audit" } else { "Sys.Modify" };
    cluster.check(&call.who, "/", &[needed])?;
    match (call.method, rest) {
        (Method::Get, []) => Ok(index(&["aliases", "groups", "ipset", "macros", "options", "refs", "rules"])),
        (Method::Get, ["options"]) => {
            let mut options = cluster.firewall_options.clone();
            options.entry("enable").or_insert_with(|| json!(0));
            Ok(Reply::data(options))
        }
        (Method::Put, ["options"]) => {
            super::effects::merge(&mut cluster.firewall_options, settings(call));
            Ok(Reply::null())
        }
        (Method::Get, ["rules" | "groups" | "aliases" | "ipset" | "refs"]) => Ok(Reply::list(Vec::new())),
        _ => Err(Failure::not_implemented(call.method.name(), &call.path)),
    }
}

/// The parameters as settings: numbers where they are, null for what `delete` names.
pub(super) fn settings(call: &Call) -> Object {
    let mut settings = Object::new();
    for (key, text) in
        call.params.iter().filter(|(key, _)| !matches!(key.as_str(), "delete" | "digest" | "pos"))
    {
        let number = text.parse::<u64>().ok().filter(|_| matches!(key.as_str(), "enable" | "dhcp" | "ndp"));
        settings.insert(key.clone(), number.map_or_else(|| text.as_str().into(), Value::from));
    }
    for key in call.get("delete").unwrap_or_default().split(',').filter(|key| !key.is_empty()) {
        settings.insert(key.to_owned(), Value::Null);
    }
    settings
}
