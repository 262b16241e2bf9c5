//! The request as the codec gets it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Scheme, Uri};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::config::Endpoint;
use super::message::{BoxError, Outgoing, OutgoingBody};

/// The request's content, watched.
pub(super) struct SendBody {
    content: Content,
    progress: Arc<Progress>,
}

enum Content {
    Held(Option<Bytes>),
    Stream { body: UnsyncBoxBody<Bytes, BoxError>, left: u64 },
}

/// How far the content got; shared with the call that waits for the answer.
pub(super) struct Progress {
    /// When the codec last took some of the content.
    last: Mutex<Instant>,
    failed: AtomicBool,
    /// The codec wants more of the content than there is.
    starved: AtomicBool,
}

impl Progress {
    pub(super) fn last(&self) -> Instant {
        *self.last.lock()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Whether the silence is the client's, who still owes some of the content.
    pub(super) fn is_starved(&self) -> bool {
        self.starved.load(Ordering::Acquire)
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
        let (body, left) = match &mut this.content {
            Content::Held(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Stream { body, left } => (body, left),
        };
        loop {
            let polled = Pin::new(&mut *body).poll_frame(cx);
            this.progress.starved.store(polled.is_pending(), Ordering::Release);
            let failure: BoxError = match ready!(polled) {
                None if *left == 0 => return Poll::Ready(None),
                None => WrongLength("shorter").into(),
                Some(Err(error)) => error,
                Some(Ok(frame)) => {
                    // Trailers have no place in a sized HTTP/1.1 request.
                    let Ok(data) = frame.into_data() else { continue };
                    match left.checked_sub(data.len() as u64) {
                        Some(rest) => {
                            *left = rest;
                            *this.progress.last.lock() = Instant::now();
                            return Poll::Ready(Some(Ok(Frame::data(data))));
                        }
                        None => WrongLength("longer").into(),
                    }
                }
            };
            this.progress.failed.store(true, Ordering::Release);
            return Poll::Ready(Some(Err(failure)));
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Held(bytes) => bytes.is_none(),
            Content::Stream { left, .. } => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.content {
            Content::Held(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Content::Stream { left, .. } => *left,
        })
    }
}

/// A call taken apart, so that it can be put together once per attempt.
pub(super) struct Template {
    pub(super) method: Method,
    target: http::uri::PathAndQuery,
    /// Everything but `Host`, connection-specific fields included.
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
        // The content is sent at once, so nothing is expected.
        for name in [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, TE, EXPECT] {
            headers.remove(name);
        }
        if !call.upgrade {
            headers.remove(UPGRADE);
        }
        let body = std::mem::replace(&mut call.body, OutgoingBody::Empty);
        let length = match &body {
            OutgoingBody::Empty if matches!(call.method, Method::POST | Method::PUT | Method::PATCH) => {
                Some(0)
            }
            OutgoingBody::Empty => None,
            OutgoingBody::Full(bytes) => Some(bytes.len() as u64),
            OutgoingBody::Stream { length, .. } => Some(*length),
        };
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        if call.upgrade {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
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
        let fields: usize = self.headers.iter().map(|(n, v)| line(n.as_str().len(), v.len())).sum();
        let start = self.method.as_str().len() + self.target.as_str().len() + "  HTTP/1.1\r\n".len();
        (self.headers.len() + 1, start + fields + line(4, host) + 2)
    }

    /// Whether the content can be had again after a request was taken apart by the codec.
    pub(super) fn is_repeatable(&self) -> bool {
        !matches!(self.body, OutgoingBody::Stream { .. })
    }

    /// The request for one attempt. A streamed content moves into it; see [`Template::take_back`].
    pub(super) fn request(
        &mut self,
        endpoint: &Endpoint,
        protocol: Protocol,
    ) -> (Request<SendBody>, Arc<Progress>) {
        let progress = Arc::new(Progress {
            last: Mutex::new(Instant::now()),
            failed: AtomicBool::new(false),
            starved: AtomicBool::new(false),
        });
        let content = match &mut self.body {
            OutgoingBody::Empty => Content::Held(None),
            OutgoingBody::Full(bytes) => Content::Held(Some(bytes.clone()).filter(|b| !b.is_empty())),
            stream @ OutgoingBody::Stream { .. } => match std::mem::replace(stream, OutgoingBody::Empty) {
                OutgoingBody::Stream { body, length } => Content::Stream { body, left: length },
                _ => unreachable!("matched as a stream just above"),
            },
        };
        let mut request = Request::new(SendBody { content, progress: Arc::clone(&progress) });
        *request.method_mut() = self.method.clone();
        let headers = request.headers_mut();
        headers.reserve(self.headers.len() + 1);
        match protocol {
            Protocol::Http1 => {
                headers.insert(HOST, self.host.clone().unwrap_or_else(|| endpoint.host_field()));
                *request.uri_mut() = Uri::from(self.target.clone());
            }
            Protocol::Http2 => {
                let mut parts = http::uri::Parts::default();
                parts.scheme = Some(Scheme::HTTPS);
                let named = self.host.as_ref().and_then(|host| host.as_bytes().try_into().ok());
                parts.authority = Some(named.unwrap_or_else(|| endpoint.authority()));
                parts.path_and_query = Some(self.target.clone());
                *request.uri_mut() = Uri::from_parts(parts).expect("scheme, authority and path are all set");
                *request.version_mut() = http::Version::HTTP_2;
            }
        }
        request.headers_mut().extend(self.headers.iter().map(|(n, v)| (n.clone(), v.clone())));
        (request, progress)
    }

    /// Puts the content of a request that came back unsent into its place again.
    pub(super) fn take_back(&mut self, request: Request<SendBody>) {
        if let Content::Stream { body, left } = request.into_body().content {
            self.body = OutgoingBody::Stream { body, length: left };
        }
    }
}
