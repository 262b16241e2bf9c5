//! What is refused before a handler sees it: the closed set of reasons, their status and their counters.
//!
//! Invariant: every refusal is counted exactly once, in `forebay_refused_total{reason}`.

use http::StatusCode;
use metrics::Counter;

use crate::telemetry::Registry;

/// Why a request never reached its handler, or was taken from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// The head is not HTTP: a bad request line, a bad field name, a space before a colon, obsolete
    /// line folding, a control character (RFC 9112 §2.2, §3, §5).
    Malformed,
    /// A line of the head ends in a bare LF, or holds a bare CR (RFC 9112 §2.2).
    LineEnding,
    /// `Content-Length` and `Transfer-Encoding` together (RFC 9112 §6.3).
    BothLengths,
    /// More than one `Content-Length`, a list in one, or a value that is no decimal number.
    ContentLength,
    /// A `Transfer-Encoding` that is not exactly `chunked`, stands twice, or comes with HTTP/1.0.
    TransferEncoding,
    /// A chunk size, chunk end or trailer that breaks the grammar of RFC 9112 §7.1.
    Chunk,
    /// An HTTP version other than 1.0 and 1.1.
    Version,
    /// The head has more bytes than `max_head_bytes`, or more fields than [`MAX_FIELDS`].
    HeadTooLarge,
    /// The head was not complete within `header_timeout`; nothing is answered.
    HeadTimeout,
    /// The body stood still for `idle_timeout`; nothing is answered.
    BodyTimeout,
    /// The TLS handshake failed or took too long; nothing is answered.
    Handshake,
}

/// The most fields a request head may have.
pub const MAX_FIELDS: usize = 100;

impl Refusal {
    const ALL: [Refusal; 11] = [
        Refusal::Malformed,
        Refusal::LineEnding,
        Refusal::BothLengths,
        Refusal::ContentLength,
        Refusal::TransferEncoding,
        Refusal::Chunk,
        Refusal::Version,
        Refusal::HeadTooLarge,
        Refusal::HeadTimeout,
        Refusal::BodyTimeout,
        Refusal::Handshake,
    ];

    pub(super) fn from_code(code: u8) -> Self {
        Self::ALL.into_iter().find(|refusal| *refusal as u8 == code).unwrap_or(Refusal::Malformed)
    }

    /// The metric label and the word for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::Malformed => "malformed",
            Refusal::LineEnding => "line_ending",
            Refusal::BothLengths => "both_lengths",
            Refusal::ContentLength => "content_length",
            Refusal::TransferEncoding => "transfer_encoding",
            Refusal::Chunk => "chunk",
            Refusal::Version => "version",
            Refusal::HeadTooLarge => "head_too_large",
            Refusal::HeadTimeout => "head_timeout",
            Refusal::BodyTimeout => "body_timeout",
            Refusal::Handshake => "handshake",
        }
    }

    /// The status of the answer, where there is one.
    pub fn status(self) -> StatusCode {
        match self {
            Refusal::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Refusal::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Refusal::HeadTimeout | Refusal::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// A sentence for the person who reads the answer.
    pub fn message(self) -> &'static str {
        match self {
            Refusal::Malformed => "forebay: the request is not valid HTTP/1.1",
            Refusal::LineEnding => "forebay: a line of the request does not end in CR LF",
            Refusal::BothLengths => "forebay: the request has both Content-Length and Transfer-Encoding",
            Refusal::ContentLength => "forebay: the request's Content-Length is not one decimal number",
            Refusal::TransferEncoding => "forebay: the only supported Transfer-Encoding is chunked",
            Refusal::Chunk => "forebay: the chunked request body is malformed",
            Refusal::Version => "forebay: the HTTP version is not supported",
            Refusal::HeadTooLarge => "forebay: the request head is too large",
            Refusal::HeadTimeout => "forebay: the request head did not arrive in time",
            Refusal::BodyTimeout => "forebay: the request body did not arrive in time",
            Refusal::Handshake => "forebay: the TLS handshake failed",
        }
    }
}

/// One counter for each reason, resolved when the listener is built.
pub(super) struct RefusalCounters([Counter; Refusal::ALL.len()]);

impl RefusalCounters {
    pub(super) fn new(registry: &Registry) -> Self {
        registry.describe_counter(
            "forebay_refused_total",
            "Requests and connections refused before a handler saw them",
        );
        Self(
            Refusal::ALL
                .map(|refusal| registry.counter("forebay_refused_total", &[("reason", refusal.as_str())])),
        )
    }

    pub(super) fn count(&self, refusal: Refusal) {
        self.0[refusal as usize].increment(1);
    }
}
