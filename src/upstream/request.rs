//! The request as the codec gets it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING};
use http::uri::{Scheme, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::endpoint::EndpointState;
use super::message::{BoxError, Outgoing, OutgoingBody};
use crate::semantics::fields;

/// The request's content.
pub(super) struct SendBody(Content);

enum Content {
    Held(Option<Bytes>),
    Stream {
        body: UnsyncBoxBody<Bytes, BoxError>,
        /// What is still to come, if that is known.
        left: Option<u64>,
        progress: Arc<Streamed>,
    },
}

/// How far the content got, for the call that waits for the answer.
pub(super) struct Progress {
    began: Instant,
    /// Absent for a content that is held: it moves as fast as it is taken.
    streamed: Option<Arc<Streamed>>,
}

/// The same for a content that comes from elsewhere.
struct Streamed {
    /// When the codec last took some of the content.
    last: Mutex<Instant>,
    failed: AtomicBool,
    /// The codec wants more of the content than there is.
    starved: AtomicBool,
    complete: AtomicBool,
}

impl Progress {
    /// When the content last moved.
    pub(super) fn last(&self) -> Instant {
        self.streamed.as_ref().map_or(self.began, |streamed| *streamed.last.lock())
    }

    /// Whether the content itself broke off.
    pub(super) fn has_failed(&self) -> bool {
        self.is(|streamed| &streamed.failed)
    }

    /// Whether the silence is the client's, who still owes some of the content.
    pub(super) fn is_starved(&self) -> bool {
        self.is(|streamed| &streamed.starved)
    }

    /// Whether nothing of the content has still to come from elsewhere.
    pub(super) fn is_complete(&self) -> bool {
        self.streamed.is_none() || self.is(|streamed| &streamed.complete)
    }

    fn is(&self, flag: impl FnOnce(&Streamed) -> &AtomicBool) -> bool {
        self.streamed.as_ref().is_some_and(|streamed| flag(streamed).load(Ordering::Acquire))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the content is {0} than announced")]
struct WrongLength(&'static str);

impl Body for SendBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let (body, left, progress) = match &mut this.0 {
            Content::Held(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Stream { body, left, progress } => (body, left, progress),
        };
        loop {
            let polled = Pin::new(&mut *body).poll_frame(cx);
            progress.starved.store(polled.is_pending(), Ordering::Release);
            let failure: BoxError = match ready!(polled) {
                None if left.unwrap_or(0) == 0 => {
                    progress.complete.store(true, Ordering::Release);
                    return Poll::Ready(None);
                }
                None => WrongLength("shorter").into(),
                Some(Err(error)) => error,
                Some(Ok(frame)) => {
                    let data = match frame.into_data() {
                        Ok(data) => data,
                        // Trailers have no place in a sized HTTP/1.1 request.
                        Err(_) if left.is_some() => continue,
                        Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                    };
                    let rest = match *left {
                        Some(left) => left.checked_sub(data.len() as u64).map(Some),
                        None => Some(None),
                    };
                    match rest {
                        Some(rest) => {
                            *left = rest;
                            *progress.last.lock() = Instant::now();
                            progress.complete.store(rest == Some(0), Ordering::Release);
                            return Poll::Ready(Some(Ok(Frame::data(data))));
                        }
                        None => WrongLength("longer").into(),
                    }
                }
            };
            progress.failed.store(true, Ordering::Release);
            return Poll::Ready(Some(Err(failure)));
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Held(bytes) => bytes.is_none(),
            Content::Stream { left, .. } => *left == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Held(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Stream { left, .. } => left.map_or_else(SizeHint::new, SizeHint::with_exact),
        }
    }
}

/// A call taken apart, so that it can be put together once per attempt.
pub(super) struct Template {
    pub(super) method: Method,
    target: http::uri::PathAndQuery,
    /// Connection-specific fields included; `Host` only has its place.
    headers: HeaderMap,
    host: Option<HeaderValue>,
    body: OutgoingBody,
}

/// The protocol a request is put together for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

impl Template {
    /// Takes what belongs to the message out of `call`.
    pub(super) fn new(call: &mut Outgoing) -> Self {
        let mut headers = std::mem::take(&mut call.headers);
        let upgrade = call.upgrade;
        let trailers = headers.get(TE).is_some_and(|te| te == "trailers");
        fields::remove_where(&mut headers, |name| match name.as_str() {
            // The content is sent at once, so nothing is expected.
            "connection" | "content-length" | "expect" | "transfer-encoding" => true,
            "te" => !trailers,
            "upgrade" => !upgrade,
            _ => false,
        });
        // The first place is where it belongs (RFC 9110 §7.2); its value depends on the endpoint.
        if headers.keys().next() != Some(&HOST) {
            headers.remove(HOST);
            let others = std::mem::take(&mut headers);
            headers.reserve(others.len() + 1);
            headers.insert(HOST, HeaderValue::from_static(""));
            headers.extend(others);
        }
        let body = std::mem::replace(&mut call.body, OutgoingBody::Empty);
        let length = match &body {
            OutgoingBody::Empty if matches!(call.method, Method::POST | Method::PUT | Method::PATCH) => {
                Some(0)
            }
            OutgoingBody::Empty => None,
            OutgoingBody::Full(bytes) => Some(bytes.len() as u64),
            OutgoingBody::Stream { length, .. } => *length,
        };
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        if call.upgrade {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        } else if trailers {
            // A field of this connection is named by it (RFC 9110 §10.1.4).
            headers.insert(CONNECTION, HeaderValue::from_static("TE"));
        }
        Self {
            method: call.method.clone(),
            target: call.target.clone(),
            headers,
            host: call.host.take(),
            body,
        }
    }

    /// The lines and bytes of the head, `Host` included, for an endpoint of ordinary name length.
    pub(super) fn head_size(&self) -> (usize, usize) {
        let line = |name: usize, value: usize| name + value + ": \r\n".len();
        let host = self.host.as_ref().map_or(64, HeaderValue::len);
        let length = |(n, v): (&HeaderName, &HeaderValue)| if n == HOST { host } else { v.len() };
        let fields: usize = self.headers.iter().map(|f| line(f.0.as_str().len(), length(f))).sum();
        let start = self.method.as_str().len() + self.target.as_str().len() + "  HTTP/1.1\r\n".len();
        (self.headers.len(), start + fields + 2)
    }

    /// Whether the content can be had again after a request was taken apart by the codec.
    pub(super) fn is_repeatable(&self) -> bool {
        !matches!(self.body, OutgoingBody::Stream { .. })
    }

    /// The request for one attempt. A streamed content moves into it; see [`Template::take_back`].
    pub(super) fn request(
        &mut self,
        endpoint: &EndpointState,
        protocol: Protocol,
        now: Instant,
    ) -> (Request<SendBody>, Progress) {
        let mut streamed = None;
        let content = match &mut self.body {
            OutgoingBody::Empty => Content::Held(None),
            OutgoingBody::Full(bytes) => Content::Held(Some(bytes.clone()).filter(|b| !b.is_empty())),
            stream @ OutgoingBody::Stream { .. } => match std::mem::replace(stream, OutgoingBody::Empty) {
                OutgoingBody::Stream { body, length: left } => {
                    let progress = streamed.insert(Arc::new(Streamed {
                        last: Mutex::new(now),
                        failed: AtomicBool::new(false),
                        starved: AtomicBool::new(false),
                        complete: AtomicBool::new(left == Some(0)),
                    }));
                    Content::Stream { body, left, progress: Arc::clone(progress) }
                }
                _ => unreachable!("matched as a stream just above"),
            },
        };
        let chunked = matches!(content, Content::Stream { left: None, .. });
        let mut request = Request::new(SendBody(content));
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        match protocol {
            Protocol::Http1 => {
                let host = self.host.as_ref().unwrap_or(&endpoint.host_field);
                request.headers_mut().insert(HOST, host.clone());
                if chunked {
                    request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
                }
                *request.uri_mut() = Uri::from(self.target.clone());
            }
            Protocol::Http2 => {
                request.headers_mut().remove(HOST);
                request.headers_mut().remove(CONNECTION);
                let mut parts = http::uri::Parts::default();
                parts.scheme = Some(Scheme::HTTPS);
                let named = self.host.as_ref().and_then(|host| host.as_bytes().try_into().ok());
                parts.authority = Some(named.unwrap_or_else(|| endpoint.settings.endpoint().authority()));
                parts.path_and_query = Some(self.target.clone());
                *request.uri_mut() = Uri::from_parts(parts).expect("scheme, authority and path are all set");
                *request.version_mut() = http::Version::HTTP_2;
            }
        }
        (request, Progress { began: now, streamed })
    }

    /// Puts the content of a request that came back unsent into its place again.
    pub(super) fn take_back(&mut self, request: Request<SendBody>) {
        if let Content::Stream { body, left, .. } = request.into_body().0 {
            self.body = OutgoingBody::Stream { body, length: left };
        }
    }
}
