//! Everything that is tested from outside, in one binary so that it links once.

mod cluster;
mod collapse;
mod conditional;
mod credentials;
mod edges;
mod freshness;
mod invalidation;
mod keys;
mod limits;
mod operations;
mod outage;
mod pack;
mod passing;
mod reload;
mod schema;
mod storing;
mod support;
mod uploads;
