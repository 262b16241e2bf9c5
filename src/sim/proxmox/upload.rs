//! Uploads: multipart bodies of any size, of which only the fields in front of the file are kept.

use std::collections::BTreeMap;

use tokio::io::{AsyncRead, AsyncWrite};

use super::answer::{Body, Failure};
use super::wire::Connection;

/// The most that fields in front of the file may take.
const FIELDS_LIMIT: usize = 64 * 1024;

/// Reads a multipart body of `length` bytes to its end. Gives its fields, the file's name as `filename`
/// and its size as `size`. `None` is a connection that broke off.
pub(super) async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    length: u64,
    content_type: &str,
) -> Option<Result<BTreeMap<String, String>, Failure>> {
    let Some(boundary) = boundary(content_type) else {
        let message = format!("upload 'Content-Type '{content_type}' not implemented");
        return Some(Err(Failure::bare(506, message, Body::Text)));
    };
    let limit = usize::try_from(length).unwrap_or(usize::MAX).min(FIELDS_LIMIT);
    let fields = loop {
        if let Some(found) = front(&connection.buffer[..connection.buffer.len().min(limit)], &boundary) {
            break Some(found);
        }
        if connection.buffer.len() >= limit {
            break None;
        }
        connection.fill().await?;
    };
    let front_length = fields.as_ref().map_or(0, |(_, length)| *length as u64);
    let mut left = length;
    while left > 0 {
        if connection.buffer.is_empty() {
            connection.fill().await?;
        }
        let taken = (connection.buffer.len() as u64).min(left);
        let _ = connection.buffer.split_to(usize::try_from(taken).expect("no more than the buffer holds"));
        left -= taken;
    }
    let Some((mut fields, _)) = fields else {
        return Some(Err(Failure::new(500, "upload without a file")));
    };
    // Behind the file stand a line end, the closing boundary with its four dashes, and a line end.
    let end = boundary.len() as u64 + 8;
    fields.insert("size".to_owned(), length.saturating_sub(front_length + end).to_string());
    Some(Ok(fields))
}

fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    let value = parameters.split(';').find_map(|part| part.trim().strip_prefix("boundary="))?;
    kind.trim().eq_ignore_ascii_case("multipart/form-data").then(|| value.trim_matches('"').to_owned())
}

/// The fields in front of the file and the number of bytes up to the file's first, once that is there.
fn front(bytes: &[u8], boundary: &str) -> Option<(BTreeMap<String, String>, usize)> {
    let mut fields = BTreeMap::new();
    let mut at = 0;
    let delimiter = format!("--{boundary}\r\n");
    loop {
        let start = at + find(&bytes[at..], delimiter.as_bytes())? + delimiter.len();
        let head_length = find(&bytes[start..], b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[start..start + head_length]);
        let body = start + head_length + 4;
        let name = parameter(&head, "name")?;
        if let Some(file) = parameter(&head, "filename") {
            fields.insert("filename".to_owned(), file);
            return Some((fields, body));
        }
        let end = find(&bytes[body..], format!("\r\n--{boundary}").as_bytes())?;
        fields.insert(name, String::from_utf8_lossy(&bytes[body..body + end]).into_owned());
        at = body + end + 2;
    }
}

fn parameter(head: &str, name: &str) -> Option<String> {
    let parts = head.split([';', '\r', '\n']);
    let value = parts.filter_map(|part| part.trim().split_once('=')).find(|(key, _)| *key == name)?.1;
    Some(value.trim_matches('"').to_owned())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
