//! Follows a chunked body to its end without keeping any of it (RFC 9112 §7.1).
//!
//! Invariant: whatever both this and the HTTP library accept ends at the same byte. Where the grammar is
//! broken, this says so, and the connection ends.

/// Where in a chunked body the next byte belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunked {
    /// The first digit of a chunk's size.
    SizeStart,
    Size(u64),
    Extension(u64),
    SizeLineFeed(u64),
    Data(u64),
    DataReturn,
    DataLineFeed,
    /// The first byte of a trailer line, or the CR of the last empty line.
    LineStart,
    Trailer,
    TrailerLineFeed,
    LastLineFeed,
}

/// How far a piece of the body went.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All bytes belong to the body, and it goes on.
    More,
    /// The body ended after this many bytes.
    Ended(usize),
    /// The byte at this offset breaks the grammar.
    Broken(usize),
}

impl Chunked {
    pub(super) fn new() -> Self {
        Chunked::SizeStart
    }

    /// Moves over `bytes`.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Progress {
        let mut at = 0;
        while at < bytes.len() {
            if let Chunked::Data(left) = *self {
                let here = (bytes.len() - at) as u64;
                let taken = left.min(here);
                at += taken as usize;
                *self = if taken == left { Chunked::DataReturn } else { Chunked::Data(left - taken) };
                continue;
            }
            match self.step(bytes[at]) {
                Some(Some(next)) => *self = next,
                Some(None) => return Progress::Ended(at + 1),
                None => return Progress::Broken(at),
            }
            at += 1;
        }
        Progress::More
    }

    /// The state after `byte`; the inner `None` is the end, the outer one a violation.
    fn step(self, byte: u8) -> Option<Option<Self>> {
        let next = match (self, byte) {
            (Chunked::SizeStart, _) => Chunked::Size(hex(byte)?),
            (Chunked::Size(size), b';') => Chunked::Extension(size),
            (Chunked::Size(size) | Chunked::Extension(size), b'\r') => Chunked::SizeLineFeed(size),
            (Chunked::Size(size), _) => Chunked::Size(size.checked_mul(16)?.checked_add(hex(byte)?)?),
            (Chunked::Extension(size), _) if is_text(byte) => Chunked::Extension(size),
            (Chunked::SizeLineFeed(0), b'\n') => Chunked::LineStart,
            (Chunked::SizeLineFeed(size), b'\n') => Chunked::Data(size),
            (Chunked::DataReturn, b'\r') => Chunked::DataLineFeed,
            (Chunked::DataLineFeed, b'\n') => Chunked::SizeStart,
            (Chunked::LineStart, b'\r') => Chunked::LastLineFeed,
            (Chunked::LineStart, _) if is_text(byte) && byte != b' ' && byte != b'\t' => Chunked::Trailer,
            (Chunked::Trailer, b'\r') => Chunked::TrailerLineFeed,
            (Chunked::Trailer, _) if is_text(byte) => Chunked::Trailer,
            (Chunked::TrailerLineFeed, b'\n') => Chunked::LineStart,
            (Chunked::LastLineFeed, b'\n') => return Some(None),
            _ => return None,
        };
        Some(Some(next))
    }
}

fn hex(byte: u8) -> Option<u64> {
    (byte as char).to_digit(16).map(u64::from)
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}
