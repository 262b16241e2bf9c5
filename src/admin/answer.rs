//! Answers and errors of the admin address. Every error is `{"error": "..."}`.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::guard::Denied;
use super::orders::MAX_BODY;
use super::{Answer, ReloadError};

/// Why there is no answer.
pub(super) enum Problem {
    /// Not for this caller.
    Denied(Denied),
    /// No such path; what there is.
    Unknown(String),
    /// The path is asked for with this method.
    Method(Method),
    /// A parameter or the body says nothing that can be done.
    Request(String),
    /// No such upstream; those there are.
    Upstream(String),
    /// The body is too large.
    TooLarge,
    /// Not serving any more.
    Draining,
    /// The configuration was not reloaded.
    Reload(ReloadError),
    /// The work for the answer was lost.
    Internal,
}

impl Problem {
    pub(super) fn into_answer(self) -> Answer {
        match self {
            Problem::Denied(denied) => denied.into_answer(),
            Problem::Unknown(known) => {
                error(StatusCode::NOT_FOUND, &format!("there is nothing here; there is {known}"))
            }
            Problem::Method(method) => {
                let message = format!("this is asked for with {method}");
                let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, &message);
                let allow = if method == Method::GET { "GET, HEAD" } else { "POST" };
                answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
                answer
            }
            Problem::Request(message) => error(StatusCode::BAD_REQUEST, &message),
            Problem::Upstream(known) => {
                error(StatusCode::NOT_FOUND, &format!("no such upstream; there is {known}"))
            }
            Problem::TooLarge => {
                let message = format!("the body has more than {} KiB", MAX_BODY >> 10);
                error(StatusCode::PAYLOAD_TOO_LARGE, &message)
            }
            Problem::Draining => error(StatusCode::SERVICE_UNAVAILABLE, "draining"),
            Problem::Reload(failed) => reload(&failed),
            Problem::Internal => error(StatusCode::INTERNAL_SERVER_ERROR, "the answer was lost"),
        }
    }
}

fn reload(failed: &ReloadError) -> Answer {
    let message = failed.to_string();
    match failed {
        ReloadError::Refused(_) => error(StatusCode::UNPROCESSABLE_ENTITY, &message),
        ReloadError::Mistakes(diagnostics) => {
            let body = serde_json::json!({ "error": message, "diagnostics": diagnostics });
            with_status(StatusCode::UNPROCESSABLE_ENTITY, json(&body))
        }
    }
}

/// An error.
pub(super) fn error(status: StatusCode, message: &str) -> Answer {
    with_status(status, json(&serde_json::json!({ "error": message })))
}

/// An answer of the API.
pub(super) fn json(value: &impl Serialize) -> Answer {
    let mut body = serde_json::to_vec(value).expect("texts, numbers, lists and structs of them");
    body.push(b'\n');
    answer("application/json", body.into())
}

/// A text for people.
pub(super) fn text(text: impl Into<Bytes>) -> Answer {
    answer("text/plain; charset=utf-8", text.into())
}

/// The metrics, in the text format of Prometheus.
pub(super) fn exposition(text: String) -> Answer {
    answer("text/plain; version=0.0.4", text.into())
}

fn with_status(status: StatusCode, mut answer: Answer) -> Answer {
    *answer.status_mut() = status;
    answer
}

fn answer(kind: &'static str, body: Bytes) -> Answer {
    let mut answer = Answer::new(Full::from(body));
    let fields = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in fields {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// Runs what walks the whole store where it may take its time.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Problem::Internal)
}
