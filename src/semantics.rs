//! HTTP caching as pure functions (RFC 9110, 9111, 9211, 5861): no sockets, no clocks, no state.

pub mod authority;
pub mod cache_control;
pub mod cache_status;
pub mod conditional;
pub mod date;
pub mod encoding;
pub mod failure;
pub mod fields;
pub mod query;
pub mod quota;
pub mod secrets;
pub mod supersede;
