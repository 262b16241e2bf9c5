//! A storage account's blobs, as far as Terraform keeps its state in one: content, metadata and a lease.
//!
//! They are no part of Resource Manager and are counted nowhere. Statuses and fields are those of the Blob
//! service's reference ("Put Blob", "Lease Blob", "Set Blob Metadata", "List Blobs"); signatures are taken as
//! they come.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};

use super::call::Call;
use super::exchange::AnswerBody;

/// What the names of accounts end with.
const HOSTS: &str = ".blob.core.windows.net";
/// What the fields of metadata begin with.
const METADATA: &str = "x-ms-meta-";
const LEASE: HeaderName = HeaderName::from_static("x-ms-lease-id");

/// All blobs by account and path.
#[derive(Default)]
pub(super) struct Blobs(BTreeMap<String, Blob>);

#[derive(Default)]
struct Blob {
    content: Bytes,
    metadata: Vec<(HeaderName, HeaderValue)>,
    lease: Option<HeaderValue>,
}

/// Whether a request's host is a storage account.
pub(super) fn owns(host: &str) -> bool {
    host.split(':').next().is_some_and(|host| host.ends_with(HOSTS))
}

impl Blobs {
    /// Answers a request to `host`; `call` has its path and query.
    pub(super) fn answer(
        &mut self,
        host: &str,
        call: &Call,
        head: &Parts,
        content: Bytes,
    ) -> Response<AnswerBody> {
        let name = format!("{host}/{}", call.path.join("/"));
        let (status, fields, body) = match (&head.method, call.get("comp")) {
            (&Method::GET, Some("list")) => self.list(&name, call.get("prefix").unwrap_or_default()),
            (&Method::GET | &Method::HEAD, None) => self.show(&name),
            (&Method::PUT, None) => self.put(name, head, content),
            (&Method::PUT, Some("lease")) => self.lease(&name, head),
            (&Method::PUT, Some("metadata")) => self.describe(&name, head),
            _ => refused(StatusCode::BAD_REQUEST, "UnsupportedHttpVerb"),
        };
        let length = HeaderValue::from(body.len());
        let body = if head.method == Method::HEAD { Bytes::new() } else { body };
        let body = Full::new(body).map_err(|never| -> io::Error { match never {} }).boxed();
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = fields;
        response.headers_mut().insert(header::CONTENT_LENGTH, length);
        response.headers_mut().insert("x-ms-version", HeaderValue::from_static("2023-11-03"));
        response
    }

    fn list(&self, container: &str, prefix: &str) -> Answer {
        let known = self.0.keys().filter_map(|name| name.strip_prefix(container)?.strip_prefix('/'));
        let blobs: String = known
            .filter(|name| name.starts_with(prefix))
            .map(|name| format!("<Blob><Name>{name}</Name><Properties/></Blob>"))
            .collect();
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Blobs>{blobs}</Blobs><NextMarker/>\
             </EnumerationResults>"
        );
        (StatusCode::OK, xml(), text.into())
    }

    fn show(&self, name: &str) -> Answer {
        let Some(blob) = self.0.get(name) else { return refused(StatusCode::NOT_FOUND, "BlobNotFound") };
        let mut fields = HeaderMap::new();
        let (status, state) =
            if blob.lease.is_some() { ("locked", "leased") } else { ("unlocked", "available") };
        for (field, value) in [
            ("content-type", "application/json"),
            ("etag", "\"0x8D0000000000001\""),
            ("last-modified", "Thu, 12 Jun 2025 09:15:00 GMT"),
            ("x-ms-blob-type", "BlockBlob"),
            ("x-ms-lease-status", status),
            ("x-ms-lease-state", state),
        ] {
            fields.insert(field, HeaderValue::from_static(value));
        }
        fields.extend(blob.metadata.iter().cloned());
        (StatusCode::OK, fields, blob.content.clone())
    }

    fn put(&mut self, name: String, head: &Parts, content: Bytes) -> Answer {
        if let Some(refused) = self.leased(&name, head) {
            return refused;
        }
        let blob = self.0.entry(name).or_default();
        blob.content = content;
        blob.metadata = metadata(head);
        done(StatusCode::CREATED)
    }

    fn lease(&mut self, name: &str, head: &Parts) -> Answer {
        let action = head.headers.get("x-ms-lease-action").map_or(&b""[..], HeaderValue::as_bytes);
        let refusal = self.leased(name, head);
        let Some(blob) = self.0.get_mut(name) else { return refused(StatusCode::NOT_FOUND, "BlobNotFound") };
        match (action, head.headers.get("x-ms-proposed-lease-id"), refusal) {
            (_, _, Some(refused)) => refused,
            (b"acquire", Some(proposed), None) => {
                blob.lease = Some(proposed.clone());
                let (status, mut fields, body) = done(StatusCode::CREATED);
                fields.insert(LEASE, proposed.clone());
                (status, fields, body)
            }
            (b"release", _, None) => {
                blob.lease = None;
                done(StatusCode::OK)
            }
            _ => refused(StatusCode::BAD_REQUEST, "InvalidHeaderValue"),
        }
    }

    fn describe(&mut self, name: &str, head: &Parts) -> Answer {
        if let Some(refused) = self.leased(name, head) {
            return refused;
        }
        let Some(blob) = self.0.get_mut(name) else { return refused(StatusCode::NOT_FOUND, "BlobNotFound") };
        blob.metadata = metadata(head);
        done(StatusCode::OK)
    }

    /// The refusal of a write to what somebody else has leased.
    fn leased(&self, name: &str, head: &Parts) -> Option<Answer> {
        let lease = self.0.get(name)?.lease.as_ref()?;
        (head.headers.get(LEASE) != Some(lease)).then(|| refused(StatusCode::CONFLICT, "LeaseAlreadyPresent"))
    }
}

type Answer = (StatusCode, HeaderMap, Bytes);

fn metadata(head: &Parts) -> Vec<(HeaderName, HeaderValue)> {
    let fields = head.headers.iter().filter(|(name, _)| name.as_str().starts_with(METADATA));
    fields.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn xml() -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"))])
}

fn done(status: StatusCode) -> Answer {
    (status, HeaderMap::new(), Bytes::new())
}

fn refused(status: StatusCode, code: &'static str) -> Answer {
    let mut fields = xml();
    fields.insert("x-ms-error-code", HeaderValue::from_static(code));
    let text = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code></Error>");
    (status, fields, text.into())
}
