//! On which terms a write meets others: what it is the same as, and whether it may be held.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};

use super::super::super::admit::Caller;
use super::super::super::links;
use super::super::super::route;
use super::super::super::share;
use super::super::{Ready, Sending};
use super::slot::{Met, Place};
use super::table::Holding;
use crate::cache::groups::GroupId;
use crate::cache::key::CredentialId;
use crate::dialect::FieldOfWrite;
use crate::rules::Fields;
use crate::semantics::fields;
use crate::semantics::supersede::Content;
use crate::upstream::OutgoingBody;

/// The terms of one write.
pub(super) struct Terms {
    pub place: Place,
    pub groups: Arc<[GroupId]>,
    pub collapse: bool,
    pub holding: Holding,
    pub window: Duration,
    /// What it is compared by. `None`: it goes with no other.
    pub met: Option<Met<()>>,
}

impl Met<()> {
    /// The same with what is needed to send it.
    pub(super) fn with<P>(self, payload: P) -> Met<P> {
        Met { same: self.same, target: self.target, content: self.content, payload }
    }
}

/// Whether a request goes with no other, by its fields alone.
pub(super) fn stands_alone(headers: &HeaderMap) -> bool {
    let is_upload = headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes().get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/"))
    });
    is_upload || fields::stands_alone(headers)
}

/// The terms of a write whose content is here as far as it is ever held; `alone`: its fields said that it goes
/// with no other.
pub(super) fn of(sending: &Sending, ready: &Ready, alone: bool) -> Terms {
    let (site, write) = (&*sending.site, &sending.write);
    let rule = write.rule(site);
    let groups: Arc<[GroupId]> = write.groups(site, ready.fields.as_ref()).into();
    let none = Fields::default();
    let fields = ready.fields.as_ref().unwrap_or(&none);
    let named = rule.into_iter().flat_map(|rule| &rule.invalidates);
    let named = named.filter(|template| template.is_named() && template.is_specific());
    let path = write.path.as_deref();
    let rendered = named.filter_map(|template| template.render(path?, &write.captures, fields));
    let named = rendered.map(|group| route::named(site, &group)).collect();
    let place_path = path.map(|path| site.dialect().resource_of(path).trim_end_matches('/').to_owned());
    let place = Place { site: site.id, path: place_path, named };
    let off = |place, holding| Terms {
        place,
        groups: groups.clone(),
        collapse: false,
        holding,
        window: Duration::ZERO,
        met: None,
    };
    let Some(meeting) = rule.map(|rule| &rule.meeting).filter(|meeting| !meeting.is_off()) else {
        return off(place, Holding::Never);
    };
    let whole = match &ready.body {
        OutgoingBody::Empty => Some(Bytes::new()),
        OutgoingBody::Full(content) => Some(content.clone()),
        OutgoingBody::Stream { .. } => None,
    };
    let kinds =
        || fields.body.iter().chain(&fields.query).map(|(name, _)| site.dialect().field_of_write(name));
    let is_critical =
        meeting.batch.as_ref().is_some_and(|batch| batch.is_critical(&ready.parts.headers, fields));
    let holding = match is_critical {
        true => Holding::Urgent,
        false => Holding::Never,
    };
    let (Caller::One(credential), Some(content)) = (write.caller, whole) else { return off(place, holding) };
    if alone || fields.may_be_cut() || kinds().any(|kind| kind == FieldOfWrite::Condition) {
        return off(place, holding);
    }
    let is_command = kinds().any(|kind| kind == FieldOfWrite::Command);
    // Of a stranger nothing is held: there is room for so many, and it is for those that the API knows.
    let holding = match (&meeting.batch, holding) {
        (Some(_), Holding::Never) if !is_command && sending.is_known() => Holding::Window,
        (_, holding) => holding,
    };
    // What it sent before its end is not for what it sends after that.
    if share::had_ended(site, credential, &ready.parts.headers, site.shared.clock.now()) {
        return off(place, holding);
    }
    let kind = ready.parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    // What is coded is read by nobody here.
    let kind =
        kind.filter(|_| !ready.parts.headers.contains_key(header::CONTENT_ENCODING)).unwrap_or_default();
    let names = fields.body.iter().map(|(name, _)| name.as_str());
    let set = Content::of(&ready.parts.method, kind, &content, names);
    let target = target(sending, ready, credential, rule.map_or(0, |rule| rule.fingerprint));
    Terms {
        place,
        groups,
        collapse: meeting.collapse,
        holding,
        window: meeting.batch.as_ref().map_or(Duration::ZERO, |batch| batch.window),
        met: Some(Met {
            same: site.shared.secret.meeting(&[&target.to_le_bytes()[..], &content[..]]),
            target,
            content: set,
            payload: (),
        }),
    }
}

/// A number of everything of a write but its content: who sends it, by which rule, where to and with which
/// fields. Nothing of it is compared in clear.
fn target(sending: &Sending, ready: &Ready, credential: CredentialId, rule: u64) -> u128 {
    let site = &*sending.site;
    let (site_id, rule, caller) =
        (site.id.to_le_bytes(), rule.to_le_bytes(), credential.as_u128().to_le_bytes());
    // Who has no credential is told by where it comes from.
    let address = match credential {
        CredentialId::ANONYMOUS => sending.client.ip().to_string(),
        _ => String::new(),
    };
    let host = links::host(&ready.parts.extensions);
    let target = ready.parts.uri.path_and_query().map_or("", |target| target.as_str());
    let mut parts: Vec<&[u8]> = vec![
        &site_id[..],
        &rule[..],
        &caller[..],
        address.as_bytes(),
        ready.parts.method.as_str().as_bytes(),
        target.as_bytes(),
        host.as_ref().map_or(&b""[..], |host| host.as_bytes()),
    ];
    let is_of_one =
        |name: &HeaderName| fields::tells_requests_apart(name) || site.dialect().numbers_requests(name);
    let mut headers: Vec<_> = ready.headers.iter().filter(|(name, _)| !is_of_one(name)).collect();
    // Values of one field keep their order.
    headers.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    for (name, value) in headers {
        parts.extend([name.as_str().as_bytes(), value.as_bytes()]);
    }
    site.shared.secret.meeting(&parts)
}
