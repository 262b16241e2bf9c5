//! What the parts that every API's test shares need of a model: its address ([`super::server`]), the clock and
//! the course of a run ([`super::run`]), and clients on one field ([`super::field`]).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use forebay::clock::{Clock, Timestamp};
use parking_lot::Mutex;

use super::answering::{Answering, Coming};
use super::field::Field;
use super::weather::{Fate, Weather};

/// A request as the API reads it.
pub struct Request {
    /// The method.
    pub method: String,
    /// The target, with its query.
    pub target: String,
    /// The credential, if there is one that was ever given out.
    pub credential: Option<usize>,
    /// The number of a write.
    pub write: Option<usize>,
    /// When it came.
    pub came: Timestamp,
    /// Its number among all calls.
    pub number: Coming,
}

/// An answer on its way.
pub struct Reply {
    /// The number that the answer carries.
    pub id: u128,
    /// The status on the wire.
    pub status: u16,
    /// Further fields.
    pub fields: Vec<(&'static str, String)>,
    /// The content; `None`: no length either, as Proxmox refuses a credential.
    pub body: Option<Bytes>,
}

/// What becomes of a request, and for how many steps it is held before and after it takes effect.
pub struct Treatment {
    /// What becomes of it.
    pub fate: Fate,
    /// The steps before.
    pub before: u64,
    /// The steps after.
    pub after: u64,
}

/// A model of an API.
pub trait Model: Send + Sized + 'static {
    /// Forebay's clock.
    fn clock(&self) -> Clock;
    /// How many events there were.
    fn events(&self) -> u64;
    /// How many requests and ticks of the clock there have been.
    fn step(&self) -> u64;
    /// How far the next tick moves the clock.
    fn tick(&mut self) -> Duration;
    /// Everything happens that is due by now or by `until`.
    fn run_due(&mut self, until: Timestamp);
    /// One more request or tick.
    fn advance_step(&mut self);
    /// Notes an event for the report.
    fn note(&mut self, text: impl FnOnce() -> String);
    /// What happened lately.
    fn report(&self) -> String;

    /// The weather changes.
    fn set_weather(&mut self, weather: Weather);
    /// Other clients come, and turn to other things.
    fn look_elsewhere(&mut self);
    /// The clock has leapt.
    fn leapt(&mut self);
    /// The configuration has changed.
    fn reloaded(&mut self);
    /// Forebay was started anew.
    fn restarted(&mut self);
    /// Somebody's credential ends; it gets another.
    fn revoke_any(&mut self, rng: &mut Rng);

    /// The credential that a line of a request's head carries.
    fn credential(&self, line: &str) -> Option<usize>;
    /// A request has come.
    fn treat(&mut self, request: &Request) -> Treatment;
    /// What became of every call.
    fn answering(&mut self) -> &mut Answering;
    /// Carries a request out and forms its answer; `None` if there is none to send.
    fn answer(&mut self, request: &Request, fate: Fate) -> Option<Reply>;
    /// The last byte of an answer was written, or of the part of it that was sent; whether the connection ends.
    fn sent(&mut self, reply: &Reply, cut: bool) -> bool;

    /// A client of it, that runs until enough has been asked.
    fn client(field: Arc<Field<Self>>, seed: u64) -> impl Future<Output = ()> + Send + 'static;
}

/// A model as the API's connections and the clients share it.
pub type Shared<W> = Arc<Mutex<W>>;
