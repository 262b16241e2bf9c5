//! The content of a request on its way to the upstream: passed on as it comes, or held where it must be
//! measured or read first.
//!
//! Invariant: what is held for all requests together is bounded.

mod pace;

use std::sync::Arc;

use bytes::Bytes;
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Failure;
use super::admit::CallerStanding;
use super::site::Site;
use crate::upstream::{BoxError, OutgoingBody};

/// How much of one request's content is held at most, to measure what came without a length and to read
/// the fields of a write. Proxmox itself takes 512 KiB.
const HOLD: usize = 1 << 20;

/// How much is held for all requests together: as much as an idle process with a small cache may use
/// besides. Ordinary writes have a few hundred bytes, so this is only reached by those who mean to.
const HOLD_ALL: usize = 64 << 20;

/// The room for what is held.
pub struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(HOLD_ALL)))
    }
}

/// Content with its place in the room, given back when the last that reads it is done.
struct Held {
    content: Vec<u8>,
    _place: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.content
    }
}

/// Takes the content as the upstream bears it. With `read` it is held, if it is not too large for that,
/// for a write whose rule reads it. Of a stranger's the beginning must be here before anything is sent.
pub(super) async fn take(
    site: &Site,
    mut body: Incoming,
    read: bool,
    caller: CallerStanding,
) -> Result<OutgoingBody, Failure> {
    let length = body.size_hint().exact();
    let chunked = site.dialect().server_limits().chunked_requests;
    let held = match (read, caller) {
        (true, _) => HOLD,
        (false, CallerStanding::Stranger) => pace::FIRST,
        (false, CallerStanding::Accepted) => 0,
    };
    let streams = match length {
        Some(0) => return Ok(OutgoingBody::Empty),
        Some(length) => length > held as u64,
        None => !read && chunked,
    };
    if streams {
        let body = match caller {
            CallerStanding::Accepted => body.map_err(Into::into).boxed_unsync(),
            CallerStanding::Stranger => pace::Paced::begun(body).await?.boxed_unsync(),
        };
        return Ok(OutgoingBody::Stream { body, length });
    }
    let mut held = Held { content: Vec::new(), _place: None };
    while let Some(frame) = body.frame().await {
        // Trailers are dropped with the chunks that they came behind.
        let Ok(piece) = frame.map_err(|_| Failure::RequestBody)?.into_data() else { continue };
        if held.content.len() + piece.len() > HOLD {
            return if chunked { Ok(resumed(held, piece, body)) } else { Err(Failure::BodyTooLarge) };
        }
        let place = u32::try_from(piece.len()).expect("a piece is not longer than HOLD");
        let place = site.shared.room.0.clone().try_acquire_many_owned(place);
        let place = place.map_err(|_| Failure::NoRoom)?;
        match &mut held._place {
            Some(held) => held.merge(place),
            none => *none = Some(place),
        }
        held.content.extend_from_slice(&piece);
    }
    Ok(match held.content.is_empty() {
        true => OutgoingBody::Empty,
        false => OutgoingBody::Full(Bytes::from_owner(held)),
    })
}

/// What turned out too large to be held, from its beginning.
fn resumed(held: Held, piece: Bytes, rest: Incoming) -> OutgoingBody {
    let before = [Bytes::from_owner(held), piece].map(|bytes| Ok::<_, BoxError>(Frame::data(bytes)));
    let rest = rest.map_err(BoxError::from).into_data_stream();
    let rest = futures_util::StreamExt::map(rest, |piece| piece.map(Frame::data));
    let body = StreamBody::new(futures_util::StreamExt::chain(futures_util::stream::iter(before), rest));
    OutgoingBody::Stream { body: BodyExt::boxed_unsync(body), length: None }
}
