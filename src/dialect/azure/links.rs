//! Addresses in ARM's answers.
//!
//! `nextLink` and `@odata.nextLink` in bodies and three fields name the public host, with or without its
//! port, or that of a region: recorded are `https://management.azure.com`, `https://management.azure.com:443`
//! and `https://eastus.management.azure.com`. Clients follow them as they are, with their token.

use http::{HeaderName, HeaderValue, header};

use super::super::links::{Inward, Turn};

/// The members of an answer's object that are an address.
pub(in crate::dialect) const MEMBERS: &[&str] = &["nextLink", "@odata.nextLink"];

/// The member of the description of the cloud that says where ARM is. `az cloud register` and Terraform's
/// `metadata_host` read it; what else stands there (audiences, the login) is about the cloud itself.
pub(in crate::dialect) const API_MEMBERS: &[&str] = &["resourceManager"];

/// Whether a body for `path` is that description: an object since 2022-09-01, a list of them before.
pub(in crate::dialect) fn describes_the_api(path: &str) -> bool {
    path.trim_end_matches('/').eq_ignore_ascii_case("/metadata/endpoints")
}

/// The fields that are one.
pub(in crate::dialect) static FIELDS: [HeaderName; 3] = [
    header::LOCATION,
    HeaderName::from_static("azure-asyncoperation"),
    HeaderName::from_static("operation-location"),
];

/// The public cloud's host, and the end of its regions' hosts.
const PUBLIC: &str = "management.azure.com";

/// The port that is written out at times.
const PORT: &str = ":443";

/// Behind this and before the next slash stands what the host of an address said. No path of ARM begins so.
const PREFIX: &str = "/~r/";

/// How long the name of a region may be: a label of a host (RFC 1035 §2.3.4).
const LONGEST_REGION: usize = 63;

/// How an address that begins with `head` changes. Slashes may be escaped, as JSON allows.
///
/// What is compared is everything before the third slash, as it stands, with the few texts that it may be:
/// so a name of a user, another port, an upper-case or encoded letter, a backslash or a host that only
/// begins like the right one is simply something else.
pub(in crate::dialect) fn turn(own: &[String], head: &[u8]) -> Option<Turn> {
    let mut origin = String::with_capacity(64);
    let (mut slashes, mut at) = (0, 0);
    while slashes < 3 {
        let escape = usize::from(head[at..].starts_with(b"\\/"));
        let byte = *head.get(at + escape)?;
        if byte == b'/' {
            slashes += 1;
        }
        if slashes < 3 {
            origin.push(char::from(byte));
            at += escape + 1;
        }
    }
    // One that reads like an address of forebay's own making could not be told from it.
    let behind = &head[at..];
    if behind.starts_with(PREFIX.as_bytes()) || behind.starts_with(b"\\/~r") {
        return None;
    }
    let prefix = prefix_of(own, &origin)?;
    Some(Turn { replaced: at, prefix })
}

/// What stands for a scheme and host in the path of an address that leads to forebay.
fn prefix_of(own: &[String], origin: &str) -> Option<String> {
    if own.iter().any(|own| own == origin) {
        return Some(String::new());
    }
    let (host, port) = match origin.strip_suffix(PORT) {
        Some(host) => (host, PORT),
        None => (origin, ""),
    };
    if !port.is_empty() && own.iter().any(|own| own == host) && host.starts_with("https://") {
        return Some(format!("{PREFIX}{PORT}"));
    }
    match host.strip_prefix("https://")?.strip_suffix(PUBLIC)? {
        "" if port.is_empty() => Some(String::new()),
        "" => Some(format!("{PREFIX}{PORT}")),
        region => {
            let region = region.strip_suffix('.').filter(|region| is_region(region))?;
            Some(format!("{PREFIX}{region}{port}"))
        }
    }
}

/// What the path of a request says of the host that the address had.
pub(in crate::dialect) fn inward(path: &str) -> Inward<'_> {
    let Some(rest) = path.strip_prefix(PREFIX) else { return Inward::Plain };
    let Some((host, _)) = rest.split_once('/') else { return Inward::Wrong };
    let prefix = PREFIX.len() + host.len();
    if rest[host.len()..].starts_with(PREFIX) {
        return Inward::Wrong;
    }
    match host.strip_suffix(PORT).unwrap_or(host) {
        "" if !host.is_empty() => Inward::Host { region: None, prefix },
        region if is_region(region) => Inward::Host { region: Some(region), prefix },
        _ => Inward::Wrong,
    }
}

/// The region that a host with its port names.
pub(in crate::dialect) fn region_of(host: &str) -> Option<&str> {
    let host = host.strip_suffix(PORT).unwrap_or(host);
    host.strip_suffix(PUBLIC)?.strip_suffix('.').filter(|region| is_region(region))
}

/// The host of a region, where the API is the public cloud.
pub(in crate::dialect) fn regional_host(region: &str, host: &str) -> Option<HeaderValue> {
    let is_public = host == PUBLIC && is_region(region);
    is_public.then(|| HeaderValue::from_str(&format!("{region}.{PUBLIC}")).ok()).flatten()
}

fn is_region(name: &str) -> bool {
    (1..=LONGEST_REGION).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}
