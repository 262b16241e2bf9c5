//! What the guard of a connection and the service on it tell each other.
//!
//! Requests are numbered from one in the order of their heads: the guard reads ahead of the service where a
//! client pipelines, so every message names its request.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use http::StatusCode;

use super::head::Switch;
use crate::server::refusal::Refusal;

/// Whether an answer left HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switching {
    Stay,
    Leave,
}

const NEVER: u8 = 0;
const BY_UPGRADE: u8 = 1;
const BY_CONNECT: u8 = 2;
const STAYED: u8 = 3;
const LEFT: u8 = 4;

/// The messages of one connection. Guard and service run in one task, so the order of the atomics' accesses
/// is the program's; an upgraded stream that moved to another task has nothing more to tell.
#[derive(Default)]
pub(in crate::server) struct Link {
    refused: AtomicU64,
    broken: AtomicU64,
    refusal: AtomicU8,
    switching: AtomicU64,
    switch: AtomicU8,
    waker: AtomicWaker,
}

impl Link {
    /// The refusal that is the answer to request `number`.
    pub(in crate::server) fn refusal(&self, number: u64) -> Option<Refusal> {
        (self.refused.load(Ordering::Relaxed) == number)
            .then(|| Refusal::from_code(self.refusal.load(Ordering::Relaxed)))
    }

    /// The refusal of the body of request `number`, seen while it was being handled.
    pub(in crate::server) fn broken_body(&self, number: u64) -> Option<Refusal> {
        (self.broken.load(Ordering::Relaxed) == number)
            .then(|| Refusal::from_code(self.refusal.load(Ordering::Relaxed)))
    }

    /// Tells the guard the status that request `number` was answered with.
    pub(in crate::server) fn answered(&self, number: u64, status: StatusCode) {
        if self.switching.load(Ordering::Relaxed) != number {
            return;
        }
        let leaves = match self.switch.load(Ordering::Relaxed) {
            BY_UPGRADE => status == StatusCode::SWITCHING_PROTOCOLS,
            BY_CONNECT => status.is_success(),
            _ => false,
        };
        self.switch.store(if leaves { LEFT } else { STAYED }, Ordering::Release);
        self.waker.wake();
    }

    pub(super) fn refuse(&self, number: u64, refusal: Refusal) {
        self.refusal.store(refusal as u8, Ordering::Relaxed);
        self.refused.store(number, Ordering::Relaxed);
    }

    pub(super) fn break_body(&self, number: u64, refusal: Refusal) {
        self.refusal.store(refusal as u8, Ordering::Relaxed);
        self.broken.store(number, Ordering::Relaxed);
    }

    pub(super) fn await_switch(&self, number: u64, switch: Switch) {
        let how = match switch {
            Switch::Never => NEVER,
            Switch::Upgrade => BY_UPGRADE,
            Switch::Connect => BY_CONNECT,
        };
        if self.switching.load(Ordering::Relaxed) != number {
            self.switch.store(how, Ordering::Relaxed);
            self.switching.store(number, Ordering::Relaxed);
        }
    }

    pub(super) fn poll_switch(&self, cx: &mut Context<'_>) -> Poll<Switching> {
        self.waker.register(cx.waker());
        match self.switch.load(Ordering::Acquire) {
            LEFT => Poll::Ready(Switching::Leave),
            STAYED => Poll::Ready(Switching::Stay),
            _ => Poll::Pending,
        }
    }
}
