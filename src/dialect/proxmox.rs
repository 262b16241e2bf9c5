//! Proxmox VE: `/api2/{format}/...` behind pveproxy.
//!
//! Facts are from the sources of pve-http-server, pve-common, pve-access-control and pve-manager;
//! each one that surprises is named where it is used.

mod claims;
pub(super) mod feed;
mod published;
pub(super) mod rights;
pub(super) mod tasks;

use std::borrow::Cow;
use std::time::Duration;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use smallvec::smallvec;

use super::{Credential, ErrorForm, FieldOfWrite, ServerLimits, decode};

pub(super) use claims::claims;
pub(super) use published::published_writes;

pub(super) const SERVER_LIMITS: ServerLimits = ServerLimits {
    // pveproxy speaks HTTP/1 only, and clients read its reason phrases, which HTTP/2 has not.
    http2: false,
    // It closes an idle connection after 5 s.
    pool_idle: Duration::from_secs(4),
    // What it relays gets 30 s of silence.
    first_byte: Duration::from_secs(60),
    // It answers 501.
    chunked_requests: false,
    // It closes with the 100th request.
    requests_per_connection: Some(90),
    // From 64 field lines or 8 KiB on it drops the connection without a word.
    header_lines: Some(60),
    header_bytes: Some(7 * 1024 + 512),
    // What pvedaemon answers is relayed with its `close` beside the server's own `Keep-Alive`.
    stray_close: true,
};

/// Fields by which the cluster's own nodes talk to each other.
pub(super) static INTERNAL_FIELDS: [HeaderName; 2] =
    [HeaderName::from_static("pvedisableproxy"), HeaderName::from_static("pveclientip")];

const COOKIE_NAME: &str = "PVEAuthCookie";
const TOKEN_NAME: &str = "PVEAPIToken";

/// The first part of a credential: a ticket in a cookie, one in `Authorization`, or an API token.
const TICKET: &[u8] = b"ticket";
const TICKET_FIELD: &[u8] = b"ticket-field";
const TOKEN: &[u8] = b"token";

/// The whole path is decoded once, then split at runs of slashes: an encoded slash separates.
pub(super) fn read_path(raw: &str) -> Option<Cow<'_, str>> {
    let decoded = decode(raw)?;
    if !decoded.contains("//") && (decoded.len() == 1 || !decoded.ends_with('/')) {
        return Some(decoded);
    }
    let mut path = String::with_capacity(decoded.len());
    for segment in decoded.split('/').filter(|s| !s.is_empty()) {
        path.push('/');
        path.push_str(segment);
    }
    if path.is_empty() {
        path.push('/');
    }
    Some(Cow::Owned(path))
}

/// Behind `/api2/{format}`; other paths (the web interface) have no format.
pub(super) fn resource_offset(path: &str) -> usize {
    let Some(rest) = path.strip_prefix("/api2/") else { return 0 };
    rest.find('/').map_or(path.len(), |slash| "/api2/".len() + slash)
}

/// pveproxy looks for a ticket in `Cookie`, then in `Authorization: PVEAuthCookie=...`, then for an
/// API token in `Authorization: PVEAPIToken=...`. Where that order would decide between two, or the
/// fields could be read in two ways, the answer belongs to nobody's entry.
pub(super) fn credential<'r>(headers: &'r HeaderMap, extra: &[HeaderName]) -> Credential<'r> {
    if extra.iter().any(|name| headers.contains_key(name)) {
        return Credential::Ambiguous;
    }
    let authorization = match one_line(headers, &header::AUTHORIZATION) {
        Line::None => None,
        Line::One(line) => match read_authorization(line) {
            Some(credential) => Some(credential),
            None => return Credential::Ambiguous,
        },
        Line::Several => return Credential::Ambiguous,
    };
    let cookie = match one_line(headers, &header::COOKIE) {
        Line::None => None,
        Line::One(line) => match read_cookie(line) {
            Cookie::Without => None,
            Cookie::Ticket(ticket) => Some(ticket),
            Cookie::Unclear => return Credential::Ambiguous,
        },
        Line::Several => return Credential::Ambiguous,
    };
    match (cookie, authorization) {
        (None, None) => Credential::Absent,
        (Some(ticket), None) => Credential::Present(smallvec![TICKET, ticket]),
        (None, Some((kind, value))) => Credential::Present(smallvec![kind, value]),
        (Some(_), Some(_)) => Credential::Ambiguous,
    }
}

enum Line<'r> {
    None,
    One(&'r [u8]),
    Several,
}

fn one_line<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Line<'r> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Line::None,
        (Some(line), None) => Line::One(line.as_bytes()),
        _ => Line::Several,
    }
}

/// `PVEAPIToken=USER@REALM!ID=SECRET`, where a space may stand for the first equals sign, or
/// `PVEAuthCookie=TICKET`.
fn read_authorization(line: &[u8]) -> Option<(&'static [u8], &[u8])> {
    let line = line.trim_ascii();
    if let Some(ticket) = line.strip_prefix(COOKIE_NAME.as_bytes()) {
        let ticket = ticket.strip_prefix(b"=")?;
        return (!ticket.is_empty()).then_some((TICKET_FIELD, ticket));
    }
    let token = line.strip_prefix(TOKEN_NAME.as_bytes())?;
    let token = token.strip_prefix(b"=").or_else(|| token.strip_prefix(b" "))?;
    (!token.is_empty()).then_some((TOKEN, token))
}

enum Cookie<'r> {
    Without,
    Ticket(&'r [u8]),
    Unclear,
}

/// pveproxy finds the name at the start of the field or behind white space, not behind a bare
/// semicolon: a name that stands anywhere else is read differently by others, so it is unclear.
fn read_cookie(line: &[u8]) -> Cookie<'_> {
    let Ok(line) = std::str::from_utf8(line) else { return Cookie::Unclear };
    let mut found = line.match_indices(COOKIE_NAME);
    let Some((at, _)) = found.next() else { return Cookie::Without };
    if found.next().is_some() {
        return Cookie::Unclear;
    }
    let starts = at == 0 || line.as_bytes()[at - 1].is_ascii_whitespace();
    let Some(value) = line[at + COOKIE_NAME.len()..].strip_prefix('=') else { return Cookie::Unclear };
    let ticket = value.split(';').next().unwrap_or("");
    if !starts || ticket.is_empty() { Cookie::Unclear } else { Cookie::Ticket(ticket.as_bytes()) }
}

/// `/api2/extjs` answers 200 with the real status in the body.
pub(super) fn outcome_in_body(path: &str) -> bool {
    path.starts_with("/api2/extjs/")
}

/// The status of an extjs body: `success` tells, `status` says which.
pub(super) fn status_in_body(body: &[u8]) -> Option<StatusCode> {
    #[derive(Deserialize)]
    struct Extjs {
        success: Value,
        status: Option<u16>,
    }
    let body: Extjs = serde_json::from_slice(body).ok()?;
    let success = match body.success {
        Value::Bool(success) => success,
        Value::Number(n) => n.as_i64() == Some(1),
        Value::String(s) => s == "1",
        _ => false,
    };
    match (success, body.status) {
        (true, _) => Some(StatusCode::OK),
        (false, Some(status)) if status >= 400 => StatusCode::from_u16(status).ok(),
        (false, _) => Some(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// Every call that changes a configuration takes these beside the values (`PVE::API2::Qemu`, `::LXC`, ...): names
/// of values to be taken away or taken back, which a later list does not include, and the checksum of the
/// configuration that the caller has seen.
pub(super) fn field_of_write(name: &str) -> FieldOfWrite {
    match name {
        "digest" => FieldOfWrite::Condition,
        "delete" | "revert" => FieldOfWrite::Command,
        _ => FieldOfWrite::State,
    }
}

/// The node or guest whose console a path opens. The port of a console lives on the node that
/// answered its POST, whatever node the path names, so its websocket must go there too.
pub(super) fn console(path: &str) -> Option<&str> {
    let resource = path.get(resource_offset(path)..)?;
    let (owner, last) = resource.rsplit_once('/')?;
    let opens = matches!(
        last,
        "vncproxy"
            | "termproxy"
            | "vncshell"
            | "vncwebsocket"
            | "mtunnel"
            | "mtunnelwebsocket"
            | "spiceproxy"
    );
    (opens && owner.starts_with("/nodes/")).then_some(owner)
}

/// pveproxy's own error body; its clients read the message in the reason phrase first.
pub(super) fn error(path: &str, status: StatusCode, message: &str) -> ErrorForm {
    let text = format!("{message}\n");
    let body = if outcome_in_body(path) {
        serde_json::json!({ "data": null, "success": 0, "status": status.as_u16(), "message": text })
    } else {
        serde_json::json!({ "data": null, "message": text })
    };
    ErrorForm {
        body: body.to_string().into(),
        content_type: HeaderValue::from_static("application/json;charset=UTF-8"),
        reason: Some(message.lines().next().unwrap_or_default().to_owned()),
    }
}

#[cfg(test)]
mod tests;
