//! Who may ask for what is not for everybody.
//!
//! With a token: whoever shows it. Without one: callers on this machine, and of those only programs and
//! pages of this address itself, because a browser on this machine runs pages of anybody. Such a page
//! gives itself away by a name of its own in `Host` (DNS rebinding), or by its `Origin` or a form's
//! content type (CSRF). A token that cannot be read lets nobody in.

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use http::header::{self, HeaderValue};
use http::uri::Authority;
use http::{HeaderMap, Request, StatusCode};
use http_body::Body;
use subtle::ConstantTimeEq;

use super::Answer;
use super::answer::error;
use crate::server::Peer;

/// The longest token, in bytes.
const MAX_TOKEN: u64 = 4096;

/// The operator's token. It is never shown.
pub struct Token(Vec<u8>);

/// Why a token cannot be used. For the operator: the path is named, the content never.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("cannot read the admin token {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds nothing, or more than a token.
    #[error("the admin token {} must have from 1 to {MAX_TOKEN} bytes", path.display())]
    Length {
        /// Which.
        path: PathBuf,
    },
}

impl Token {
    /// Reads the file at `path`; a line end after the token does not belong to it. Blocks.
    pub fn read(path: &Path) -> Result<Token, TokenError> {
        let mut text = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_TOKEN + 1).read_to_end(&mut text));
        read.map_err(|source| TokenError::File { path: path.to_owned(), source })?;
        let length = text.trim_ascii_end().len();
        if length == 0 || text.len() as u64 > MAX_TOKEN {
            return Err(TokenError::Length { path: path.to_owned() });
        }
        text.truncate(length);
        Ok(Token(text))
    }

    /// Whether the request shows exactly this token (RFC 6750 §2.1).
    fn is_shown(&self, headers: &HeaderMap) -> bool {
        let mut fields = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(field), None) = (fields.next(), fields.next()) else { return false };
        let Some((scheme, shown)) = field.as_bytes().split_at_checked(7) else { return false };
        scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(shown.trim_ascii_start().ct_eq(&self.0))
    }
}

/// Why a caller is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// No token, or another one.
    Token,
    /// There is a token, but it cannot be read.
    TokenUnreadable,
    /// Not from this machine.
    Remote,
    /// `Host` is a name that is not this machine's.
    Host,
    /// A page of another origin asks.
    Origin,
    /// The content is not JSON.
    ContentType,
}

impl Denied {
    pub(super) fn into_answer(self) -> Answer {
        let (status, message) = match self {
            Denied::Token => (
                StatusCode::UNAUTHORIZED,
                "asks for `Authorization: Bearer TOKEN` with the token of admin.token_file",
            ),
            Denied::TokenUnreadable => {
                (StatusCode::SERVICE_UNAVAILABLE, "admin.token_file cannot be read; see the log")
            }
            Denied::Remote => (
                StatusCode::FORBIDDEN,
                "for callers on this machine only, because no admin.token_file is named",
            ),
            Denied::Host => (StatusCode::FORBIDDEN, "Host is not a name or an address of this machine"),
            Denied::Origin => (StatusCode::FORBIDDEN, "not for pages of another origin"),
            Denied::ContentType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "the content must be application/json")
            }
        };
        let mut answer = error(status, message);
        if status == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

/// Whether the request is the operator's. The token is read anew for each, so that a new one counts at
/// once.
pub(super) async fn admit<B: Body>(
    request: &Request<B>,
    peer: &Peer,
    token_file: Option<PathBuf>,
) -> Result<(), Denied> {
    let Some(path) = token_file else { return local(request, peer) };
    let token = tokio::task::spawn_blocking(move || Token::read(&path)).await;
    match token {
        Ok(Ok(token)) if token.is_shown(request.headers()) => Ok(()),
        Ok(Ok(_)) => Err(Denied::Token),
        Ok(Err(error)) => {
            tracing::error!(%error, "the admin API lets nobody in");
            Err(Denied::TokenUnreadable)
        }
        Err(_) => Err(Denied::TokenUnreadable),
    }
}

fn local<B: Body>(request: &Request<B>, peer: &Peer) -> Result<(), Denied> {
    if !peer.address.ip().to_canonical().is_loopback() {
        return Err(Denied::Remote);
    }
    let headers = request.headers();
    let own = peer.local.ip().to_canonical();
    let is_own = |host: &str| host.parse::<Authority>().is_ok_and(|host| names_us(&host, own));
    let mut hosts: Vec<&str> = request.uri().authority().map(Authority::as_str).into_iter().collect();
    hosts.extend(headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or_default()));
    if hosts.is_empty() || !hosts.iter().all(|host| is_own(host)) {
        return Err(Denied::Host);
    }
    let is_ours = |origin: &HeaderValue| {
        let origin = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
        origin.is_some_and(|origin| hosts.iter().all(|host| host.eq_ignore_ascii_case(origin)))
    };
    let fetched_elsewhere =
        headers.get("sec-fetch-site").is_some_and(|site| !["same-origin", "none"].iter().any(|s| site == s));
    if fetched_elsewhere || !headers.get_all(header::ORIGIN).iter().all(is_ours) {
        return Err(Denied::Origin);
    }
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or_default());
    let is_json = |kind: &str| {
        let kind = kind.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case("application/json")
    };
    // Content without a type is something that a page can send elsewhere unasked, too.
    let wrong = if request.body().is_end_stream() {
        kind.is_some_and(|k| !is_json(k))
    } else {
        !kind.is_some_and(is_json)
    };
    if wrong { Err(Denied::ContentType) } else { Ok(()) }
}

/// Whether a host that a client named is this machine as seen from itself.
fn names_us(host: &Authority, own: IpAddr) -> bool {
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback() || address.to_canonical() == own,
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests;
