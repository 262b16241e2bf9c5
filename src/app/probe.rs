//! Which API an upstream without named rules is: asked by one call that needs no credential.

use http::{HeaderMap, Method, StatusCode};

use super::AppError;
use crate::config::{self, Settings};
use crate::telemetry::Registry;
use crate::upstream::{CallCounter, CallKind, EndpointChoice, Outgoing, OutgoingBody, Upstream};

/// The read that tells each API that has a built-in pack, which answers it without a credential, and the
/// field by which its server tells itself from others, with how its value begins.
const SIGNS: [(&str, &str, &str, &str); 2] = [
    ("proxmox", "/api2/json/access/domains", "server", "pve-api-daemon"),
    ("azure", "/metadata/endpoints?api-version=2022-09-01", "x-ms-correlation-request-id", ""),
];

/// Names the rules of every upstream that has none.
pub(super) async fn choose_rules(settings: &mut Settings, registry: &Registry) -> Result<(), AppError> {
    let unnamed: Vec<_> = settings.upstreams.iter().filter(|u| u.rules.is_none()).cloned().collect();
    for upstream in unnamed {
        let name = upstream.name.clone();
        let client = Upstream::new(upstream.upstream, registry)
            .map_err(|source| AppError::Upstream { name: name.clone(), source })?;
        let mut reason = String::from("it is none that forebay has rules for");
        for (pack, target, field, sign) in SIGNS {
            match client.send(question(registry, &name, target)).await {
                Ok(answer)
                    if answer.parts.status == StatusCode::OK
                        && calls_itself(&answer.parts.headers, field, sign) =>
                {
                    let rules = config::rules(pack).expect("the built-in packs are checked by a test");
                    settings.choose(&name, rules);
                }
                Ok(_) => {}
                Err(error) => reason = error.to_string(),
            }
        }
        if settings.upstream(&name).is_some_and(|upstream| upstream.rules.is_none()) {
            return Err(AppError::Unknown { name, reason });
        }
        tracing::info!(upstream = %name, "chose the rules by asking the API");
    }
    Ok(())
}

fn calls_itself(headers: &HeaderMap, field: &str, sign: &str) -> bool {
    headers.get(field).is_some_and(|value| value.as_bytes().starts_with(sign.as_bytes()))
}

fn question(registry: &Registry, upstream: &str, target: &'static str) -> Outgoing {
    Outgoing {
        method: Method::GET,
        target: http::uri::PathAndQuery::from_static(target),
        headers: HeaderMap::new(),
        host: None,
        body: OutgoingBody::Empty,
        endpoint: EndpointChoice::Any,
        kind: CallKind::Read,
        principal: 0,
        captures: Vec::new(),
        counter: CallCounter::new(registry, upstream, "none", "probe"),
        upgrade: false,
    }
}
