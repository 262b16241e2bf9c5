//! The login authority: discovery documents and the token endpoint.
//!
//! It answers on the same address as the API, under the tenant's paths, which no path of the API resembles.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::answer::Reply;
use super::token::{Issuer, LIFETIME};
use super::{Principal, TENANT};

/// Names that stand for "the tenant of whoever logs in".
const ANY_TENANT: [&str; 4] = ["common", "organizations", "consumers", "adfs"];
const TENANT_DOMAIN: &str = "example.onmicrosoft.com";

/// Whether a path is the login authority's.
pub(super) fn owns(path: &[String]) -> bool {
    path.first().is_some_and(|first| {
        let first = first.to_ascii_lowercase();
        first == TENANT || first == TENANT_DOMAIN || ANY_TENANT.contains(&&*first)
    })
}

/// Answers a login path. `base` is the scheme and authority that the request named.
pub(super) fn answer(
    issuer: &mut Issuer,
    principals: &[Principal],
    path: &[String],
    body: &[u8],
    base: &str,
    now: u64,
) -> Reply {
    let path: Vec<_> = path.iter().map(|part| part.to_ascii_lowercase()).collect();
    let path: Vec<_> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        [_, "v2.0", ".well-known", "openid-configuration"] => Reply::ok(configuration(base, "/v2.0")),
        [_, ".well-known", "openid-configuration"] => Reply::ok(configuration(base, "")),
        [_, "discovery", "instance"] => Reply::ok(instances(base)),
        [_, "discovery", "keys"] | [_, "discovery", "v2.0", "keys"] => Reply::ok(issuer.keys()),
        [_, "oauth2", "v2.0", "token"] | [_, "oauth2", "token"] => token(issuer, principals, body, now),
        _ => refuse(404, "invalid_request", 90_002, "There is nothing here."),
    }
}

fn configuration(base: &str, version: &str) -> Value {
    let issuer = match version {
        "" => format!("https://sts.windows.net/{TENANT}/"),
        _ => format!("{base}/{TENANT}/v2.0"),
    };
    json!({
        "token_endpoint": format!("{base}/{TENANT}/oauth2{version}/token"),
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        "jwks_uri": format!("{base}/{TENANT}/discovery{version}/keys"),
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["EdDSA"],
        "response_types_supported": ["code", "id_token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": issuer,
        "authorization_endpoint": format!("{base}/{TENANT}/oauth2{version}/authorize"),
        "device_authorization_endpoint": format!("{base}/{TENANT}/oauth2{version}/devicecode"),
        "end_session_endpoint": format!("{base}/{TENANT}/oauth2{version}/logout"),
        "tenant_region_scope": "NA",
        "cloud_instance_name": "microsoftonline.com",
    })
}

fn instances(base: &str) -> Value {
    let host = base.split_once("://").map_or(base, |(_, host)| host);
    json!({
        "tenant_discovery_endpoint": format!("{base}/{TENANT}/v2.0/.well-known/openid-configuration"),
        "api-version": "1.1",
        "metadata": [{ "preferred_network": host, "preferred_cache": host, "aliases": [host] }],
    })
}

fn token(issuer: &mut Issuer, principals: &[Principal], body: &[u8], now: u64) -> Reply {
    let form = form(body);
    let get = |name: &str| form.get(name).map(String::as_str);
    if get("grant_type") != Some("client_credentials") {
        return refuse(400, "unsupported_grant_type", 70_003, "The app requested an unsupported grant type.");
    }
    let principal = principals.iter().find(|known| Some(&*known.client_id) == get("client_id"));
    let Some(principal) = principal else {
        return refuse(400, "unauthorized_client", 700_016, "Application was not found in the directory.");
    };
    if get("client_secret") != Some(&principal.secret) {
        return refuse(401, "invalid_client", 7_000_215, "Invalid client secret provided.");
    }
    // The resource is named by the first protocol; the second names a scope, which is the resource and "/.default".
    let audience =
        get("scope").and_then(|scope| scope.split(' ').find_map(|one| one.strip_suffix("/.default")));
    let Some(audience) = audience.or(get("resource")) else {
        return refuse(
            400,
            "invalid_scope",
            70_011,
            "The provided value for the input parameter 'scope' is not valid.",
        );
    };
    let access_token = issuer.issue(principal, audience, now, &Map::new());
    let lifetime = LIFETIME.as_secs();
    match get("resource") {
        // The first protocol writes numbers as text.
        Some(resource) => Reply::ok(json!({
            "token_type": "Bearer", "expires_in": lifetime.to_string(), "ext_expires_in": lifetime.to_string(),
            "expires_on": (now + lifetime).to_string(), "not_before": now.to_string(), "resource": resource,
            "access_token": access_token,
        })),
        None => Reply::ok(json!({
            "token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime,
            "access_token": access_token,
        })),
    }
}

fn refuse(status: u16, error: &str, code: u32, text: &str) -> Reply {
    Reply::json(
        status,
        json!({
            "error": error,
            "error_description": format!("AADSTS{code}: {text}"),
            "error_codes": [code],
        }),
    )
}

fn form(body: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(body);
    let decode = |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}
