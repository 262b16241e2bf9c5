//! The short way through a head that is plainly good, as nearly all are.
//!
//! Invariant: what is accepted here, the long way accepts with the same result; whatever is unusual (a coded
//! body, an upgrade, an absolute target, HTTP/1.0) or wrong is left to it.

use memchr::memchr_iter;

use super::{Framing, Head, Switch, content_length};
use crate::server::refusal::MAX_FIELDS;

/// May stand in a method or a field name (RFC 9110 §5.6.2).
const TOKEN: u8 = 1;
/// May stand in a target, and no reader takes it amiss.
const TARGET: u8 = 2;
const CLASSES: [u8; 256] = classes();

/// The head at the start of `bytes`, if it is whole and plain.
pub(super) fn read(bytes: &[u8]) -> Option<Head> {
    let mut line_feeds = memchr_iter(b'\n', bytes);
    let mut end = line_feeds.next()?;
    read_request_line(bytes[..end].strip_suffix(b"\r")?)?;
    let mut length = None;
    for fields in 0..=MAX_FIELDS {
        let start = end + 1;
        end = line_feeds.next()?;
        let line = bytes[start..end].strip_suffix(b"\r")?;
        if line.is_empty() {
            // Every line has one CR and one LF. There must be no further control character.
            let head = &bytes[..=end];
            let plain = controls(head) == 2 * (fields + 2);
            let framing = Framing::Length(length.unwrap_or(0));
            return plain.then_some(Head { length: head.len(), framing, switch: Switch::Never });
        }
        let colon = line.iter().position(|byte| CLASSES[*byte as usize] & TOKEN == 0)?;
        if line[colon] != b':' {
            return None;
        }
        let name = &line[..colon];
        match colon {
            0 => return None,
            7 if name.eq_ignore_ascii_case(b"upgrade") => return None,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => return None,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let value = content_length(line[colon + 1..].trim_ascii())?;
                if length.replace(value).is_some() {
                    return None;
                }
            }
            _ => {}
        }
    }
    None
}

/// Whether a target is in origin form with usual bytes only.
pub(super) fn is_target(target: &[u8]) -> bool {
    target.first() == Some(&b'/') && target.iter().all(|byte| CLASSES[*byte as usize] & TARGET != 0)
}

fn read_request_line(line: &[u8]) -> Option<()> {
    let line = line.strip_suffix(b" HTTP/1.1")?;
    let space = line.iter().position(|byte| CLASSES[*byte as usize] & TOKEN == 0)?;
    let plain =
        space > 0 && line[space] == b' ' && &line[..space] != b"CONNECT" && is_target(&line[space + 1..]);
    plain.then_some(())
}

/// How many control characters there are, tabs aside. Counted in small pieces so that the count fits a byte
/// and the compiler can use wide registers.
fn controls(bytes: &[u8]) -> usize {
    bytes
        .chunks(128)
        .map(|piece| {
            let count = piece.iter().fold(0, |count: u8, byte| {
                count + u8::from((*byte < b' ' && *byte != b'\t') || *byte == 0x7f)
            });
            usize::from(count)
        })
        .sum()
}

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let alphanumeric = (byte as u8).is_ascii_alphanumeric();
        if alphanumeric || contains(b"!#$%&'*+-.^_`|~", byte as u8) {
            classes[byte] |= TOKEN;
        }
        if alphanumeric || contains(b"-._~!$&'()*+,;=:@/%?", byte as u8) {
            classes[byte] |= TARGET;
        }
        byte += 1;
    }
    classes
}

const fn contains(set: &[u8], byte: u8) -> bool {
    let mut at = 0;
    while at < set.len() {
        if set[at] == byte {
            return true;
        }
        at += 1;
    }
    false
}
