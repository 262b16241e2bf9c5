//! Simulated management APIs: stateful servers that the demo and the tests run forebay against.
//!
//! A simulation reproduces the observable behaviour of an API on the wire, traps included, so that a
//! real client cannot tell it from the real thing by anything forebay depends on.
//! Nothing here knows forebay's cache, rules or proxy: the row above only uses `units` and `clock`.

pub mod azure;
mod front;
pub mod proxmox;
mod watch;
