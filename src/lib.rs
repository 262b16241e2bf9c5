//! forebay: a caching reverse proxy in front of infrastructure APIs.
//!
//! The modules stand in rows; each imports only from rows above its own (`tests/it/architecture.rs`
//! holds that). See ARCHITECTURE.md for the map and the reasons.

pub mod clock;
pub mod net;
pub mod telemetry;
pub mod units;

pub mod semantics;

pub mod rules;

pub mod dialect;

pub mod cache;

pub mod tier;
pub mod upstream;

pub mod proxy;

pub mod admin;
pub mod server;

pub mod sim;

pub mod config;

pub mod app;
pub mod cli;
