//! Everything that is tested from outside, in one binary so that it links once.

mod admin;
mod architecture;
mod binary;
mod collapse;
mod commands;
mod conditional;
mod credentials;
mod demo;
mod docs;
mod drain;
mod freshness;
mod invalidation;
mod keys;
mod limits;
mod operations;
mod outage;
mod pack;
mod passing;
mod reload;
mod requests;
mod schema;
mod storing;
mod support;
mod uploads;
mod upstreams;
