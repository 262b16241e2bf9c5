//! Upgraded connections: forwarded until the upstream answers 101, then bytes both ways.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

use super::Failure;
use super::admit::Caller;
use super::body::Body;
use super::counters::{Cause, Outcome};
use super::forward::{self, Accepts};
use super::respond::{self, Asked};
use super::route::Pass;
use super::site::Site;
use crate::clock::Timestamp;
use crate::semantics::cache_status::{CacheStatus, Detail};
use crate::upstream::{CallKind, EndpointChoice, Outgoing, OutgoingBody};

/// Forwards a request to switch protocols and, once it is granted, everything that follows.
pub(super) async fn tunnel(
    site: Arc<Site>,
    mut request: Request<Incoming>,
    client: SocketAddr,
    started: Timestamp,
    pass: Pass<'static>,
) -> Response<Body> {
    let mut asked = Asked::new(&site, pass.metrics(&site), &request, client, started);
    let wanted = request.headers().get(header::UPGRADE).cloned();
    let mut headers = forward::outgoing_fields(&site, request.headers());
    if let Some(wanted) = &wanted {
        headers.insert(header::UPGRADE, wanted.clone());
    }
    let opened = match pass.caller {
        Caller::One(caller) => {
            site.dialect().console(&pass.path).and_then(|owner| site.shared.console(site.id, caller, owner))
        }
        Caller::Ambiguous => None,
    };
    let limits = site.config.tunnels;
    let Some(place) = site.tunnels.enter(limits) else {
        return asked.fail(&pass.path, Failure::TooManyTunnels);
    };
    let account = pass.caller.account(&site, client);
    let outgoing = Outgoing {
        method: request.method().clone(),
        target: request.uri().path_and_query().expect("admitted with a path").clone(),
        headers,
        host: None,
        body: OutgoingBody::Empty,
        endpoint: opened.map_or(EndpointChoice::Any, EndpointChoice::Prefer),
        kind: CallKind::Read,
        principal: account.principal,
        captures: Vec::new(),
        counter: pass.metrics(&site).call(&site.shared.registry, Cause::Tunnel),
        upgrade: true,
    };
    let answer = match forward::send(&site, account.standing, outgoing).await {
        Ok(answer) => answer,
        Err(error) => {
            return asked.fail(&pass.path, Failure::from(&error));
        }
    };
    asked.upstream = Some(answer.waited + answer.took);
    let switches = answer.parts.status == StatusCode::SWITCHING_PROTOCOLS;
    let protocol = answer.parts.headers.get(header::UPGRADE).cloned();
    let mut head = forward::head_of(answer.parts);
    if !switches {
        forward::learn(&site, pass.caller, Accepts::Nobody, head.status);
    }
    let status = CacheStatus::Forwarded {
        forward: pass.forward,
        status: None,
        stored: false,
        collapsed: false,
        detail: Some(Detail::Tunnel),
    };
    let Some(upstream) = answer.upgraded.filter(|_| switches) else {
        let body = Body::upstream(answer.body);
        return asked.conclude(Outcome::Other(Detail::Tunnel), respond::forwarded(head, body, status));
    };
    head.fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol.or(wanted) {
        head.fields.insert(header::UPGRADE, protocol);
    }
    let downstream = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // One of them is missing when the client has gone before the 101 was written.
        let (Ok(downstream), Ok(upstream)) = tokio::join!(downstream, upstream) else { return };
        let ended = place.carry(TokioIo::new(downstream), TokioIo::new(upstream), limits.idle).await;
        tracing::debug!(?ended, "a tunnel ended");
    });
    asked.conclude(Outcome::Other(Detail::Tunnel), respond::forwarded(head, Body::empty(), status))
}
