//! What end-to-end tests are made of: a scripted upstream, forebay in front of it in this process,
//! and clients on raw sockets, because clients read reason phrases and see where a body breaks.
//!
//! Nothing here sleeps to let things happen: gates hold answers, and conditions are awaited.

mod client;
mod gate;
mod origin;
mod rig;

pub use client::{Ask, Got, Opened};
pub use gate::{Gate, until, within};
pub use origin::{Call, Origin, Reply};
pub use rig::{Options, RULES, Rig};
