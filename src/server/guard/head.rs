//! Reads one request head and decides how long its body is, or why the head is refused.
//!
//! The HTTP library parses the same bytes afterwards with the same parser. What is stricter here is what
//! RFC 9112 §6.3 leaves to taste and what intermediaries have been split by: line endings, doubled lengths,
//! both kinds of length at once, codings other than `chunked`. Pure: no sockets, no state but [`Scan`].

mod plain;

use std::mem::MaybeUninit;

use memchr::memchr_iter;

use crate::server::refusal::{MAX_FIELDS, Refusal};

/// How the end of a request's body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
}

/// Whether the connection may leave HTTP with the answer to this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    Never,
    /// An `Upgrade` field: a 101 switches.
    Upgrade,
    /// `CONNECT`: a 2xx switches.
    Connect,
}

/// An accepted head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Its bytes, the empty line included.
    pub(super) length: usize,
    pub(super) framing: Framing,
    pub(super) switch: Switch,
}

/// How far a head that arrives in pieces has been searched for its end, so that a head sent byte by
/// byte costs linear time.
#[derive(Debug, Default)]
pub(super) struct Scan {
    searched: usize,
}

/// What the bytes so far are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inspection {
    Partial,
    Whole(Head),
    Refused(Refusal),
}

/// Inspects `bytes`, which start where a head starts and may go on beyond its end.
pub(super) fn inspect(bytes: &[u8], scan: &mut Scan, max_head_bytes: usize) -> Inspection {
    if scan.searched == 0
        && let Some(head) = plain::read(bytes)
        && head.length <= max_head_bytes
    {
        return Inspection::Whole(head);
    }
    let end = match find_end(bytes, scan) {
        Ok(Some(end)) => end,
        Ok(None) if bytes.len() >= max_head_bytes => return Inspection::Refused(Refusal::HeadTooLarge),
        Ok(None) => return Inspection::Partial,
        Err(refusal) => return Inspection::Refused(refusal),
    };
    *scan = Scan::default();
    if end > max_head_bytes {
        return Inspection::Refused(Refusal::HeadTooLarge);
    }
    match read(&bytes[..end]) {
        Ok(head) => Inspection::Whole(head),
        Err(refusal) => Inspection::Refused(refusal),
    }
}

/// The end of the empty line that closes the head. Empty lines before the request line are skipped
/// (RFC 9112 §2.2), as the parser does.
fn find_end(bytes: &[u8], scan: &mut Scan) -> Result<Option<usize>, Refusal> {
    let mut start = 0;
    while bytes[start..].starts_with(b"\r\n") {
        start += 2;
    }
    let from = scan.searched.max(start);
    for line_feed in memchr_iter(b'\n', &bytes[from..]).map(|offset| from + offset) {
        if line_feed == start || bytes[line_feed - 1] != b'\r' {
            return Err(Refusal::LineEnding);
        }
        if line_feed - start >= 3 && bytes[line_feed - 3..line_feed] == *b"\r\n\r" {
            return Ok(Some(line_feed + 1));
        }
    }
    scan.searched = bytes.len();
    Ok(None)
}

fn read(head: &[u8]) -> Result<Head, Refusal> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(Refusal::Malformed),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadTooLarge),
        Err(httparse::Error::Version) if names_another_version(head) => return Err(Refusal::Version),
        Err(httparse::Error::NewLine) => return Err(Refusal::LineEnding),
        Err(_) => return Err(Refusal::Malformed),
    }
    if !readable_target(request.path.unwrap_or_default()) {
        return Err(Refusal::Malformed);
    }
    let is_http_11 = request.version == Some(1);
    let mut length = None;
    let mut chunked = false;
    let mut switch = if request.method == Some("CONNECT") { Switch::Connect } else { Switch::Never };
    for field in request.headers.iter() {
        match field.name.len() {
            14 if field.name.eq_ignore_ascii_case("content-length") => {
                let value = content_length(field.value).ok_or(Refusal::ContentLength)?;
                if length.replace(value).is_some() {
                    return Err(Refusal::ContentLength);
                }
            }
            17 if field.name.eq_ignore_ascii_case("transfer-encoding") => {
                if chunked || !is_http_11 || !field.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::TransferEncoding);
                }
                chunked = true;
            }
            7 if is_http_11 && switch == Switch::Never && field.name.eq_ignore_ascii_case("upgrade") => {
                switch = Switch::Upgrade;
            }
            _ => {}
        }
    }
    let framing = match (length, chunked) {
        (Some(_), true) => return Err(Refusal::BothLengths),
        (None, true) => Framing::Chunked,
        (length, false) => Framing::Length(length.unwrap_or(0)),
    };
    Ok(Head { length: head.len(), framing, switch })
}

/// Whether the request line is in order but for its version; the parser also blames the version for a space
/// in the target.
fn names_another_version(head: &[u8]) -> bool {
    let line =
        head.split(|byte| *byte == b'\r').find(|line| !matches!(line, [] | [b'\n'])).unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(_), Some(_), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return false;
    };
    matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// 1*DIGIT and nothing else. Nineteen digits always fit; a longer number is no length of a body.
fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// Whether the HTTP library will be able to read the target. Its parser is asked only about targets with
/// unusual bytes, because it copies.
fn readable_target(target: &str) -> bool {
    plain::is_target(target.as_bytes()) || target.parse::<http::Uri>().is_ok()
}

#[cfg(test)]
mod tests;
