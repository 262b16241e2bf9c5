//! Addresses of the API in answers, so that who follows them comes back here.
//!
//! What is stored and shared keeps the API's own form. Every answer gets the form of its own client on its
//! way out: two listeners may have two names, and the `Host` of one client must never reach the answer of
//! another. Where a client means the API itself ([`Front::Direct`]) nothing is changed.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use http::uri::{PathAndQuery, Uri};
use http::{Extensions, HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body as _;

use super::body::{Body, Coding};
use super::{Failure, Site};
use crate::cache::entry::Entry;
use crate::dialect::{Addressed, Dialect, Inward, Links, Place};
use crate::upstream::{EndpointScheme, Upstream};

/// How clients come to a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Front {
    /// By forebay's own name: addresses in answers lead to this one, or to the one that the request has.
    Named {
        /// As configured.
        public_url: Option<PublicUrl>,
    },
    /// By the API's own name: what it says is right as it is.
    Direct,
}

/// One request's way in.
#[derive(Clone, Copy, Debug)]
pub struct Via<'l> {
    /// The client.
    pub client: SocketAddr,
    /// The address that it reached.
    pub local: SocketAddr,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// How clients come to this listener.
    pub front: &'l Front,
}

/// The beginning of addresses that lead to a listener, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(Arc<str>);

/// Why a text is no public URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicUrlError {
    /// It is no absolute URL of HTTP.
    #[error("write it as in https://forebay.example:8443")]
    NotAbsolute,
    /// It has parts that no address can begin with.
    #[error("it must not have a user name, a query or a fragment")]
    TooMuch,
    /// It has characters that could end an address where it stands.
    #[error("it may have letters, digits and `-._~:/[]` only")]
    Character,
}

impl FromStr for PublicUrl {
    type Err = PublicUrlError;

    fn from_str(text: &str) -> Result<Self, PublicUrlError> {
        if text.contains(['@', '?', '#']) {
            return Err(PublicUrlError::TooMuch);
        }
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/[]".contains(&byte)) {
            return Err(PublicUrlError::Character);
        }
        let uri: Uri = text.parse().map_err(|_| PublicUrlError::NotAbsolute)?;
        let is_absolute = matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && !uri.path().contains("//");
        if !is_absolute {
            return Err(PublicUrlError::NotAbsolute);
        }
        Ok(Self(text.trim_end_matches('/').into()))
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The addresses of the API that `upstream` reaches.
pub(super) fn of(dialect: Dialect, upstream: &Upstream) -> Option<Links> {
    let endpoints = upstream.config().endpoints.iter();
    dialect.links(endpoints.map(|endpoint| (endpoint.scheme().as_str(), endpoint.host(), endpoint.port())))
}

impl Site {
    /// The host of a part of the API, if this upstream is the API itself and no stand-in for it.
    pub(super) fn regional_host(&self, region: &str) -> Option<HeaderValue> {
        match self.upstream.config().endpoints.as_slice() {
            [only] if only.scheme() == EndpointScheme::Https => {
                self.dialect().regional_host(region, only.host())
            }
            _ => None,
        }
    }
}

/// What is known of a request whose answer may have addresses: it goes with the request.
#[derive(Clone)]
pub(super) struct Arrived {
    /// What addresses in the answer begin with.
    base: PublicUrl,
    /// Whether the address that the client followed named a part of the API.
    regional: bool,
    /// The host that it named, if it is to be named to the API.
    host: Option<HeaderValue>,
    /// What of the answer's body is an address.
    addressed: Addressed,
}

/// What is known of a request that came by the API's own name, where that is the name of a part of it: only
/// that part's answer will do.
#[derive(Clone)]
struct ToPart(HeaderValue);

impl Arrived {
    pub(super) fn of(extensions: &Extensions) -> Option<&Arrived> {
        extensions.get()
    }
}

/// Takes what an address of forebay's own making says out of a request's path, and notes what addresses in
/// the answer begin with.
pub(super) fn arrive<B>(
    site: &Site,
    links: &Links,
    via: Via<'_>,
    request: &mut Request<B>,
) -> Result<(), Failure> {
    let Front::Named { public_url } = via.front else {
        if let Some(host) = part_of(site, request) {
            request.extensions_mut().insert(ToPart(host));
        }
        return Ok(());
    };
    let base = public_url.clone().unwrap_or_else(|| base_of(via, request));
    let addressed = links.addressed(request.uri().path());
    let mut arrived = Arrived { base, regional: false, host: None, addressed };
    let target = request.uri().path_and_query();
    match target.map_or(Inward::Plain, |target| links.inward(target.path())) {
        Inward::Plain => {}
        Inward::Wrong => return Err(Failure::BadRequest("forebay: no host of the API is named so")),
        Inward::Host { region, prefix } => {
            arrived.regional = region.is_some();
            arrived.host = region.and_then(|region| site.regional_host(region));
            let target = target.expect("it has a path that begins so").as_str()[prefix..].to_owned();
            let wrong = Failure::BadRequest("forebay: the request target is not a path");
            let target: PathAndQuery = target.parse().map_err(|_| wrong)?;
            let mut parts = std::mem::take(request.uri_mut()).into_parts();
            parts.path_and_query = Some(target);
            *request.uri_mut() = Uri::from_parts(parts).map_err(|_| wrong)?;
        }
    }
    request.extensions_mut().insert(arrived);
    Ok(())
}

/// The host of the part of the API that a request names, which came by the API's own name.
fn part_of<B>(site: &Site, request: &Request<B>) -> Option<HeaderValue> {
    let field = || request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = request.uri().authority().map(|authority| authority.as_str()).or_else(field)?;
    let host = authority.split(':').next()?.to_ascii_lowercase();
    site.regional_host(site.dialect().region_of(&host)?)
}

/// The scheme and the authority that the client itself used; what cannot be an authority gives way to the
/// address that was reached.
fn base_of<B>(via: Via<'_>, request: &Request<B>) -> PublicUrl {
    let scheme = if via.tls { "https" } else { "http" };
    let field = || request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = request.uri().authority().map(|authority| authority.as_str()).or_else(field);
    let named = authority.filter(|authority| !authority.contains('/'));
    let named = named.and_then(|authority| format!("{scheme}://{authority}").parse().ok());
    named.unwrap_or_else(|| PublicUrl(format!("{scheme}://{}", via.local).into()))
}

/// Whether an address that the client followed named a part of the API: only that part's answer will do.
pub(super) fn is_regional<B>(request: &Request<B>) -> bool {
    let extensions = request.extensions();
    Arrived::of(extensions).is_some_and(|arrived| arrived.regional) || extensions.get::<ToPart>().is_some()
}

/// The host that a request goes to by name.
pub(super) fn host(extensions: &Extensions) -> Option<HeaderValue> {
    match Arrived::of(extensions) {
        Some(arrived) => arrived.host.clone(),
        None => extensions.get().map(|ToPart(host)| host.clone()),
    }
}

/// Leaves the coding of the answer to nobody where it is read on its way to the client.
pub(super) fn ask_for_plain(extensions: &Extensions, headers: &mut HeaderMap) {
    if Arrived::of(extensions).is_some() {
        headers.remove(header::ACCEPT_ENCODING);
    }
}

/// A stored answer's addresses, and what they begin with for this client.
#[derive(Clone, Copy)]
pub(super) struct Placed<'r> {
    base: &'r PublicUrl,
    places: &'r [Place],
}

impl<'r> Placed<'r> {
    /// Those of `entry`; `None` if it has none, or none is changed.
    pub(super) fn of(site: &Site, extensions: &'r Extensions, entry: &'r Entry) -> Option<Self> {
        let links = site.links.as_ref()?;
        let Arrived { base, addressed, .. } = Arrived::of(extensions)?;
        // One entry is for one path, so what is found is the same for all.
        let places = entry.places(|body| links.places(*addressed, body));
        (!places.is_empty()).then_some(Self { base, places })
    }

    /// What tells this client's form of the entry from others'.
    pub(super) fn text(self) -> Bytes {
        Bytes::copy_from_slice(self.base.0.as_bytes())
    }

    /// `body` as this client gets it; nothing of it is copied.
    pub(super) fn pieces(self, body: &Bytes) -> Vec<Bytes> {
        let mut pieces = Vec::with_capacity(self.places.len() * 2 + 1);
        let mut from = 0;
        for Place { range, prefix } in self.places {
            pieces.push(body.slice(from..range.start));
            pieces.push([&*self.base.0, prefix].concat().into());
            from = range.end;
        }
        pieces.push(body.slice(from..));
        pieces
    }
}

/// Whether the body of an answer is still to be looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// It is.
    Unread,
    /// It has the form that its client needs.
    Settled,
}

/// Makes the addresses in an answer lead to where its client came from.
pub(super) fn depart(site: &Site, arrived: &Arrived, content: Content, response: &mut Response<Body>) {
    let Some(links) = &site.links else { return };
    for name in links.fields() {
        let header::Entry::Occupied(mut field) = response.headers_mut().entry(name) else { continue };
        for value in field.iter_mut() {
            let Some(turn) = links.turn_field(value.as_bytes()) else { continue };
            let rest = &value.as_bytes()[turn.replaced..];
            let text = [arrived.base.0.as_bytes(), turn.prefix.as_bytes(), rest].concat();
            if let Ok(changed) = HeaderValue::from_bytes(&text) {
                *value = changed;
            }
        }
    }
    // Part of a body is read from nowhere in particular.
    if content == Content::Settled
        || response.body().is_end_stream()
        || response.status() == StatusCode::PARTIAL_CONTENT
        || !is_json(response.headers())
    {
        return;
    }
    let coding = match response.headers().get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Coding::Identity,
        Some(b"gzip" | b"x-gzip") => Coding::Gzip,
        Some(_) => return,
    };
    if let (Body::Full(Some(whole)), Coding::Identity) = (response.body(), coding) {
        let places = links.places(arrived.addressed, whole);
        if !places.is_empty() {
            let pieces = Placed { base: &arrived.base, places: &places }.pieces(whole);
            response.headers_mut().remove(header::CONTENT_LENGTH);
            *response.body_mut() = Body::pieces(pieces);
        }
        return;
    }
    if coding == Coding::Gzip {
        response.headers_mut().remove(header::CONTENT_ENCODING);
    }
    // How long it will be shows at its end.
    response.headers_mut().remove(header::CONTENT_LENGTH);
    let body = std::mem::replace(response.body_mut(), Body::empty());
    *response.body_mut() = Body::linked(body, links.rewriter(arrived.addressed, &arrived.base.0), coding);
}

fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        kind.eq_ignore_ascii_case(b"application/json")
            || kind.len() >= 5 && kind[kind.len() - 5..].eq_ignore_ascii_case(b"+json")
            || kind.eq_ignore_ascii_case(b"text/json")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn via(tls: bool) -> Via<'static> {
        let local = SocketAddr::from(([127, 0, 0, 1], 8443));
        Via { client: local, local, tls, front: &Front::Direct }
    }

    #[test]
    fn a_public_url_begins_addresses_and_nothing_more() {
        for (text, shown) in [
            ("https://lab.example", "https://lab.example"),
            ("https://lab.example/", "https://lab.example"),
            ("http://[::1]:8443", "http://[::1]:8443"),
            ("https://lab.example:8443/arm/", "https://lab.example:8443/arm"),
        ] {
            assert_eq!(text.parse::<PublicUrl>().map(|url| url.to_string()), Ok(shown.to_owned()));
        }
        for (text, error) in [
            ("", PublicUrlError::NotAbsolute),
            ("lab.example", PublicUrlError::NotAbsolute),
            ("/arm", PublicUrlError::NotAbsolute),
            ("ftp://lab.example", PublicUrlError::NotAbsolute),
            ("https://", PublicUrlError::NotAbsolute),
            ("https://lab.example//", PublicUrlError::NotAbsolute),
            ("https://me@lab.example", PublicUrlError::TooMuch),
            ("https://lab.example/?a", PublicUrlError::TooMuch),
            ("https://lab.example#", PublicUrlError::TooMuch),
            ("https://lab.example/\"", PublicUrlError::Character),
            ("https://lab.example\\", PublicUrlError::Character),
        ] {
            assert_eq!(text.parse::<PublicUrl>(), Err(error), "{text}");
        }
    }

    #[test]
    fn the_base_is_what_the_client_itself_used() {
        let base = |tls, host: &str| {
            let request = Request::get("/").header("host", host).body(()).expect("a request");
            base_of(via(tls), &request).to_string()
        };
        assert_eq!(base(true, "lab.example:8443"), "https://lab.example:8443");
        assert_eq!(base(false, "[::1]:80"), "http://[::1]:80");
        for host in ["", "a\"b", "user@lab.example", "lab.example/x", "a b", "a\\b", "a?b", "a#b", ":80"] {
            assert_eq!(base(false, host), "http://127.0.0.1:8443", "{host}");
        }
        let request = Request::get("http://lab.example/x").body(()).expect("a request");
        assert_eq!(base_of(via(true), &request).to_string(), "https://lab.example");
    }
}
