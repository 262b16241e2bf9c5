//! Follows a client's bytes from request to request and says how many of them may be handed on.
//!
//! Invariant: a head is handed on whole and unambiguous, or not at all. Pure: no sockets, no time.

use super::chunked::{Chunked, Progress};
use super::head::{self, Framing, Head, Inspection, Scan, Switch};
use crate::server::refusal::Refusal;

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// A request head.
    Head,
    /// The rest of a body of known length.
    Length(u64),
    /// A chunked body.
    Chunked(Chunked),
    /// Nobody knows yet: the answer to the last request decides whether this is still HTTP.
    Undecided,
    /// Another protocol; no byte is looked at.
    Open,
    /// A head was refused: nothing more is handed on.
    Refused(Refusal),
    /// A body was refused.
    Broken(Refusal),
}

/// The place in the stream of one connection.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) state: State,
    scan: Scan,
    max_head_bytes: usize,
    /// Heads handed on so far.
    pub(super) heads: u64,
    /// How the last head may leave HTTP, once its body has passed.
    pub(super) switch: Switch,
}

impl Follower {
    /// At the start of a connection that speaks HTTP/1.
    pub(super) fn new(max_head_bytes: usize) -> Self {
        let scan = Scan::default();
        Self { state: State::Head, scan, max_head_bytes, heads: 0, switch: Switch::Never }
    }

    /// How many of `bytes` may be handed on. The rest is an incomplete head or what follows an undecided
    /// switch, to be shown again from its start with more behind it; after a refusal it is worthless.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match &mut self.state {
                State::Head => match head::inspect(rest, &mut self.scan, self.max_head_bytes) {
                    Inspection::Whole(head) => {
                        at += head.length;
                        self.begin(head);
                    }
                    Inspection::Partial => return at,
                    Inspection::Refused(refusal) => self.state = State::Refused(refusal),
                },
                State::Length(left) => {
                    let taken = (*left).min(rest.len() as u64);
                    at += taken as usize;
                    *left -= taken;
                    if *left == 0 {
                        self.end_of_body();
                    }
                }
                State::Chunked(chunked) => match chunked.advance(rest) {
                    Progress::More => return bytes.len(),
                    Progress::Ended(length) => {
                        at += length;
                        self.end_of_body();
                    }
                    Progress::Broken(offset) => {
                        at += offset;
                        self.state = State::Broken(Refusal::Chunk);
                    }
                },
                State::Open => return bytes.len(),
                State::Undecided | State::Refused(_) | State::Broken(_) => return at,
            }
        }
        at
    }

    fn begin(&mut self, head: Head) {
        self.heads += 1;
        self.switch = head.switch;
        match head.framing {
            Framing::Length(0) => self.end_of_body(),
            Framing::Length(length) => self.state = State::Length(length),
            Framing::Chunked => self.state = State::Chunked(Chunked::new()),
        }
    }

    fn end_of_body(&mut self) {
        self.state = if self.switch == Switch::Never { State::Head } else { State::Undecided };
    }
}

#[cfg(test)]
mod tests;
