//! Lists: by type at group, subscription and location level, `/resources`, and their pages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::answer::{Outcome, Reply};
use super::call::Call;
use super::estate::Estate;
use super::rights::Role;
use super::target::{self, Target};
use super::view::{self, Style};

/// Pages of providers that are not known for small ones.
const LARGE_PAGE: usize = 250;

/// The resources of one type.
pub(super) fn of_type(estate: &mut Estate, call: &Call, target: &Target) -> Outcome {
    let subscription = format!("subscriptions/{}", target.subscription());
    let (scope, location) = match target.scope.as_slice() {
        [_, _] => match target.rest.as_slice() {
            // virtualMachines of one location.
            [places, place, _] if places == "locations" => (subscription, Some(place.clone())),
            _ => (subscription, None),
        },
        [_, _, _, group] => {
            if estate.group_name(target.subscription(), group).is_none() {
                return Err(Reply::group_not_found(&call.path[3]));
            }
            let key = target.scope.join("/");
            estate.demand(call, &key, Role::Reader, &format!("{}/read", target::spelling(&target.kind())))?;
            (key, None)
        }
        _ => (target.scope.join("/"), None),
    };
    let kind = match &location {
        Some(_) => format!("{}/{}", target.namespace, target.name()),
        None => target.kind(),
    };
    let nested = target.rest.len() > 1 && location.is_none();
    let parent = call.folded[..call.folded.len() - 1].join("/");
    let keys: Vec<String> = estate
        .below(if nested { &parent } else { &scope })
        .into_iter()
        .filter(|key| {
            let resource = &estate.resources[key];
            resource.is(&kind)
                && !resource.hidden
                && location.as_ref().is_none_or(|place| resource.location().eq_ignore_ascii_case(place))
                && estate.role(&call.who.object, key).is_some()
        })
        .collect();
    let compute = target.namespace == "microsoft.compute";
    let capitals = compute && target.scope.len() == 2;
    let status_only = call.get("statusonly") == Some("true");
    let instance_view = call.get("$expand").is_some_and(|wanted| wanted.eq_ignore_ascii_case("instanceview"));
    let size = if compute { estate.page_size } else { estate.page_size.max(LARGE_PAGE) };
    let region = location.unwrap_or_else(|| "eastus".to_owned());
    let mut reply = page(estate, call, &keys, size, &region, |estate, key| {
        let resource = &estate.resources[key];
        let upper = resource.group().to_ascii_uppercase();
        let asked = call.path.get(3).map(String::as_str).filter(|_| compute && !capitals);
        let group = if capitals { Some(upper.as_str()) } else { asked };
        let style = Style { group, in_list: true, instance_view, version: call.version() };
        match status_only {
            true => view::status_only(resource, style),
            false => view::body(estate, key, resource, style),
        }
    });
    if capitals {
        // ARM asks every region for such a list.
        let ids = format!("[{},{}]", estate.guid(), estate.guid());
        reply = reply.with("x-ms-original-request-ids", ids);
    }
    Ok(reply)
}

/// `/resources` of the subscription or a group.
pub(super) fn resources(estate: &mut Estate, call: &Call) -> Outcome {
    let scope = call.folded[..call.folded.len() - 1].join("/");
    if let Some(group) = target::group_of(&call.folded) {
        if estate.group_name(&call.folded[1], group).is_none() {
            return Err(Reply::group_not_found(&call.path[3]));
        }
        estate.demand(
            call,
            &scope,
            Role::Reader,
            "Microsoft.Resources/subscriptions/resourceGroups/resources/read",
        )?;
    }
    let filter = Filter::parse(call.get("$filter").unwrap_or_default());
    let keys: Vec<String> = estate
        .below(&scope)
        .into_iter()
        .filter(|key| {
            let resource = &estate.resources[key];
            !resource.hidden
                && !resource.kind.starts_with("Microsoft.Resources/")
                && !resource.kind.starts_with("Microsoft.Authorization/")
                && filter.meets(resource)
                && estate.role(&call.who.object, key).is_some()
        })
        .collect();
    Ok(page(estate, call, &keys, LARGE_PAGE, "eastus", |estate, key| view::envelope(&estate.resources[key])))
}

/// The conditions of `$filter` that are known: `name eq 'value'`, joined by `and`.
struct Filter(Vec<(String, String)>);

impl Filter {
    fn parse(text: &str) -> Self {
        let terms = text.split(" and ").filter_map(|term| {
            let (name, value) = term.trim().split_once(" eq ")?;
            Some((name.trim().to_ascii_lowercase(), value.trim().trim_matches('\'').to_owned()))
        });
        Self(terms.collect())
    }

    fn meets(&self, resource: &super::model::Resource) -> bool {
        let tags = &resource.body["tags"];
        self.0.iter().all(|(name, value)| match name.as_str() {
            "resourcetype" => resource.is(value),
            "name" => resource.name.eq_ignore_ascii_case(value),
            "resourcegroup" => resource.group().eq_ignore_ascii_case(value),
            "location" => resource.location().eq_ignore_ascii_case(value),
            "tagname" => tags.get(value).is_some(),
            "tagvalue" => tags.as_object().is_some_and(|tags| tags.values().any(|known| known == value)),
            _ => true,
        })
    }
}

/// One page of `keys`, which are in order. The next page's address carries the place where it begins.
pub(super) fn page(
    estate: &mut Estate,
    call: &Call,
    keys: &[String],
    size: usize,
    region: &str,
    show: impl Fn(&Estate, &str) -> Value,
) -> Reply {
    let from = call.get("$skiptoken").and_then(|token| STANDARD.decode(token).ok());
    let from = from.and_then(|place| String::from_utf8(place).ok());
    let start = from.map_or(0, |place| keys.partition_point(|key| *key < place));
    let top = call.get("$top").and_then(|top| top.parse::<usize>().ok()).filter(|top| *top > 0);
    let end = keys.len().min(start + size.min(top.unwrap_or(usize::MAX)));
    let value: Vec<Value> = keys[start..end].iter().map(|key| show(estate, key)).collect();
    let mut body = json!({ "value": value });
    if let Some(next) = keys.get(end) {
        let token = STANDARD.encode(next).replace('+', "%2b").replace('/', "%2f").replace('=', "%3d");
        // Both casings are seen in the wild, the sign escaped or not.
        let name =
            if call.folded.contains(&"resourcegroups".to_owned()) { "$skipToken" } else { "%24skiptoken" };
        let is_token = |pair: &&String| {
            let name = pair.split('=').next().unwrap_or_default().to_ascii_lowercase();
            matches!(&*name, "$skiptoken" | "%24skiptoken")
        };
        let mut query: Vec<String> = call.raw_query.iter().filter(|pair| !is_token(pair)).cloned().collect();
        query.push(format!("{name}={token}"));
        let target = format!("{}?{}", call.raw_path, query.join("&"));
        body["nextLink"] = Value::from(estate.link(&call.base, region, &target));
    }
    Reply::ok(body)
}
