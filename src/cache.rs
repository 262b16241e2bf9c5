//! The cache itself: keys, entries, the logical clock of groups, flights, the store in memory, and
//! which credentials the API has accepted. No sockets, no requests: everything here is decided from
//! values, so that it can be tested without a network.

pub mod acceptance;
pub mod actors;
pub mod compare;
pub mod entry;
pub mod flight;
pub mod groups;
pub mod items;
pub mod key;
pub mod memory;
#[cfg(test)]
mod model;
pub mod pace;
pub mod storable;
