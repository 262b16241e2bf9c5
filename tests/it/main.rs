//! Everything that is tested from outside, in one binary so that it links once.

mod admin;
mod architecture;
mod collapse;
mod conditional;
mod credentials;
mod demo;
mod docs;
mod freshness;
mod invalidation;
mod keys;
mod limits;
mod operations;
mod outage;
mod pack;
mod passing;
mod schema;
mod storing;
mod support;
mod uploads;
