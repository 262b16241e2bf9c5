//! Resource Graph queries: the few words of its language that lists of machines are made with.

use serde_json::{Map, Value, json};

use super::answer::{Outcome, Reply};
use super::call::Call;
use super::estate::Estate;
use super::model::Resource;
use super::rights::Role;
use super::view::{self, Style};

/// POST /providers/Microsoft.ResourceGraph/resources.
pub(super) fn query(estate: &Estate, call: &Call) -> Outcome {
    let query = call.body["query"].as_str().unwrap_or_default();
    let steps: Vec<&str> = query.split('|').map(str::trim).collect();
    let mut rows: Vec<Value> = estate
        .resources
        .iter()
        .filter(|(key, resource)| {
            !resource.hidden
                && !resource.kind.starts_with("Microsoft.Resources/")
                && !resource.kind.starts_with("Microsoft.Authorization/")
                && estate.role(&call.who.object, key) >= Some(Role::Reader)
        })
        .map(|(key, resource)| row(estate, key, resource))
        .collect();
    for step in steps {
        let (word, rest) = step.split_once(' ').unwrap_or((step, ""));
        match word.to_ascii_lowercase().as_str() {
            "where" => rows.retain(|row| condition(row, rest)),
            "project" => rows = rows.iter().map(|row| project(row, rest)).collect(),
            "limit" | "take" => rows.truncate(rest.trim().parse().unwrap_or(usize::MAX)),
            "count" => rows = vec![json!({ "Count": rows.len() })],
            _ => {}
        }
    }
    let count = rows.len();
    let body = json!({
        "totalRecords": count, "count": count, "data": rows, "facets": [], "resultTruncated": "false",
    });
    Ok(Reply::ok(body).with("x-ms-resource-graph-request-duration", "0:00:00:00.0412345"))
}

fn row(estate: &Estate, key: &str, resource: &Resource) -> Value {
    let style = Style { group: None, in_list: true, instance_view: false, version: "2024-11-01" };
    let mut row = view::body(estate, key, resource, style);
    row["type"] = Value::from(resource.kind.to_ascii_lowercase());
    row["resourceGroup"] = Value::from(resource.group().to_ascii_lowercase());
    row["subscriptionId"] = Value::from(resource.subscription());
    if let Some(power) = resource.power {
        let (code, text) = power.words();
        row["properties"]["extended"] =
            json!({ "instanceView": { "powerState": { "code": code, "displayStatus": text } } });
    }
    row
}

fn column<'a>(row: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(row, |value, name| &value[name.trim()])
}

fn condition(row: &Value, text: &str) -> bool {
    text.split(" and ").all(|term| {
        let parts = ["=~", "=="].iter().find_map(|sign| term.split_once(sign));
        let Some((name, value)) = parts else { return true };
        let wanted = value.trim().trim_matches(['\'', '"']);
        column(row, name.trim()).as_str().is_some_and(|known| known.eq_ignore_ascii_case(wanted))
    })
}

fn project(row: &Value, columns: &str) -> Value {
    let mut picked = Map::new();
    for column_text in columns.split(',') {
        let (name, path) = match column_text.split_once('=') {
            Some((name, path)) => (name.trim().to_owned(), path.trim()),
            None => (column_text.trim().replace('.', "_"), column_text.trim()),
        };
        picked.insert(name, column(row, path).clone());
    }
    Value::Object(picked)
}
