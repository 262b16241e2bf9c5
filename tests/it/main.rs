//! Everything that is tested from outside, in one binary so that it links once.

mod architecture;
mod demo;
mod pack;
mod schema;
