//! A body whose addresses change as it comes.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use flate2::write::MultiGzDecoder;
use http_body::{Body as _, Frame};

use super::{Body, BodyError};
use crate::dialect::Rewriter;

/// How much of a compressed body is decoded at once: gzip makes at most a thousand times as much of it.
const DECODED_AT_ONCE: usize = 2 * 1024;

/// How a body is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Not at all.
    Identity,
    /// With gzip; the client gets it decoded.
    Gzip,
}

/// A body on its way through a [`Rewriter`].
pub struct Linked {
    body: Body,
    rewriter: Rewriter,
    decoder: Option<Box<MultiGzDecoder<Vec<u8>>>>,
    /// What has come and is not decoded yet.
    coded: Bytes,
    out: VecDeque<Bytes>,
    trailers: Option<Frame<Bytes>>,
    over: bool,
}

impl Linked {
    pub(super) fn new(body: Body, rewriter: Rewriter, coding: Coding) -> Self {
        let decoder = (coding == Coding::Gzip).then(|| Box::new(MultiGzDecoder::new(Vec::new())));
        let (coded, out) = (Bytes::new(), VecDeque::new());
        Self { body, rewriter, decoder, coded, out, trailers: None, over: false }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.over && self.out.is_empty() && self.trailers.is_none()
    }

    pub(super) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if let Some(piece) = self.out.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if !self.coded.is_empty() {
                self.decode()?;
                continue;
            }
            if self.over {
                return Poll::Ready(self.trailers.take().map(Ok));
            }
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None => self.finish()?,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) if self.decoder.is_some() => self.coded = piece,
                    Ok(piece) => self.rewriter.push(&piece, |piece| self.out.push_back(piece)),
                    Err(trailers) => self.trailers = Some(trailers),
                },
            }
        }
    }

    fn decode(&mut self) -> io::Result<()> {
        let Some(decoder) = &mut self.decoder else { return Ok(()) };
        let length = self.coded.len().min(DECODED_AT_ONCE);
        decoder.write_all(&self.coded[..length])?;
        self.coded.advance(length);
        let decoded = Bytes::from(std::mem::take(decoder.get_mut()));
        self.rewriter.push(&decoded, |piece| self.out.push_back(piece));
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.over = true;
        if let Some(decoder) = &mut self.decoder {
            decoder.try_finish()?;
            let decoded = Bytes::from(std::mem::take(decoder.get_mut()));
            self.rewriter.push(&decoded, |piece| self.out.push_back(piece));
        }
        let rest = self.rewriter.finish();
        if !rest.is_empty() {
            self.out.push_back(rest);
        }
        Ok(())
    }
}
