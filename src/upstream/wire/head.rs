//! Taking the stray `Connection: close` out of an answer's head.

use std::ops::Range;

use bytes::{Buf, BytesMut};
use tokio::io::ReadBuf;

use super::MAX_ANSWER_HEAD;

/// Holds back the head of an answer until it is complete, and lets everything else pass.
#[derive(Default)]
pub(super) struct HeadFilter {
    expecting: bool,
    head: BytesMut,
    /// Bytes on their way to the codec.
    ready: BytesMut,
}

impl HeadFilter {
    /// What comes next is a head.
    pub(super) fn expect_head(&mut self) {
        self.expecting = true;
    }

    pub(super) fn wants_head(&self) -> bool {
        self.expecting
    }

    /// Hands over what is ready; false if nothing is.
    pub(super) fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let length = self.ready.len().min(buf.remaining());
        buf.put_slice(&self.ready[..length]);
        self.ready.advance(length);
        length > 0
    }

    /// Lets bytes that hold a whole head through where they are, which is what nearly every answer
    /// comes as; the length of what is left of them, or `None` if they must be taken.
    pub(super) fn pass(&mut self, bytes: &mut [u8]) -> Option<usize> {
        let end = end_of_head(bytes).filter(|end| self.head.is_empty() && !is_interim(&bytes[..*end]))?;
        self.expecting = false;
        let Some(close) = stray_close(&bytes[..end]) else { return Some(bytes.len()) };
        bytes.copy_within(close.end.., close.start);
        Some(bytes.len() - close.len())
    }

    /// Takes bytes from the socket while a head is expected; none means that the stream has ended.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.head.extend_from_slice(bytes);
        while self.expecting {
            match end_of_head(&self.head) {
                Some(end) => {
                    let head = self.head.split_to(end);
                    // An interim answer (RFC 9110 §15.2) is followed by another head; a 101 is final.
                    self.expecting = is_interim(&head);
                    self.ready.unsplit(without_stray_close(head));
                }
                // Too long, or cut short: let the codec judge it.
                None if bytes.is_empty() || self.head.len() > MAX_ANSWER_HEAD => self.expecting = false,
                None => return,
            }
        }
        let rest = self.head.split();
        self.ready.unsplit(rest);
    }
}

/// The index after the empty line.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let mut line = 0;
    for index in memchr::memchr_iter(b'\n', bytes) {
        let length = index - line;
        if line > 0 && (length == 0 || (length == 1 && bytes[line] == b'\r')) {
            return Some(index + 1);
        }
        line = index + 1;
    }
    None
}

fn is_interim(head: &[u8]) -> bool {
    let status = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    status.len() >= 3 && status[0] == b'1' && &status[..3] != b"101"
}

fn without_stray_close(mut head: BytesMut) -> BytesMut {
    if let Some(close) = stray_close(&head) {
        let length = head.len() - close.len();
        head.copy_within(close.end.., close.start);
        head.truncate(length);
    }
    head
}

/// Where the line stands that says `close` although another says `keep-alive`.
fn stray_close(head: &[u8]) -> Option<Range<usize>> {
    let mut close = None;
    let mut keep_alive = false;
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', head) {
        match connection_option(&head[start..end]) {
            Some(option) if option.eq_ignore_ascii_case(b"close") => close = Some(start..end + 1),
            Some(option) if option.eq_ignore_ascii_case(b"keep-alive") => keep_alive = true,
            _ => {}
        }
        start = end + 1;
    }
    close.filter(|_| keep_alive)
}

fn connection_option(line: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"connection";
    let (name, value) = line.split_at_checked(NAME.len())?;
    let value = value.strip_prefix(b":")?;
    name.eq_ignore_ascii_case(NAME).then(|| value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in pieces of `size` and returns what comes out.
    fn filtered(input: &[u8], size: usize) -> Vec<u8> {
        let mut filter = HeadFilter::default();
        filter.expect_head();
        let mut out = Vec::new();
        let mut buffer = [0; 7];
        for piece in input.chunks(size).chain([&b""[..]]) {
            let mut piece = piece.to_vec();
            match filter.wants_head() {
                true => match filter.pass(&mut piece) {
                    Some(length) => out.extend_from_slice(&piece[..length]),
                    None => filter.take(&piece),
                },
                false => out.extend_from_slice(&piece),
            }
            loop {
                let mut buf = ReadBuf::new(&mut buffer);
                if !filter.give(&mut buf) {
                    break;
                }
                out.extend_from_slice(buf.filled());
            }
        }
        out
    }

    #[test]
    fn only_a_contradicted_close_goes() {
        let both = "HTTP/1.1 200 OK\r\nConnection: close\r\nA: b\r\nconnection:Keep-Alive\r\n\r\n";
        let kept = "HTTP/1.1 200 OK\r\nA: b\r\nconnection:Keep-Alive\r\n\r\n";
        let cases = [
            (
                format!("{both}body\r\nConnection: close\r\n\r\n"),
                format!("{kept}body\r\nConnection: close\r\n\r\n"),
            ),
            (
                format!("HTTP/1.1 100 Continue\r\n\r\n{both}b"),
                format!("HTTP/1.1 100 Continue\r\n\r\n{kept}b"),
            ),
            (
                "HTTP/1.1 500 x\r\nConnection: close\r\n\r\n".into(),
                "HTTP/1.1 500 x\r\nConnection: close\r\n\r\n".into(),
            ),
            (
                format!("HTTP/1.1 101 x\r\nA: b\r\n\r\n{both}"),
                format!("HTTP/1.1 101 x\r\nA: b\r\n\r\n{both}"),
            ),
            ("HTTP/1.1 200 OK\nA: b\n\nbody".into(), "HTTP/1.1 200 OK\nA: b\n\nbody".into()),
            ("HTTP/1.1 200 OK\r\nConnec".into(), "HTTP/1.1 200 OK\r\nConnec".into()),
            ("garbage".into(), "garbage".into()),
        ];
        for (input, expected) in cases {
            for size in [1, 2, 5, 1000] {
                assert_eq!(String::from_utf8(filtered(input.as_bytes(), size)).unwrap(), expected, "{size}");
            }
        }
    }
}
