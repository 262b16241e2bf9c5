//! How a test makes a request fail.

/// How a request is made to fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers this status with this reason phrase, no body, and closes.
    Status(u16, String),
    /// Closes the connection without an answer.
    Close,
    /// Announces a body, sends half of it and closes.
    Truncate,
    /// Never answers; ends when the client closes or the simulation stops.
    Stall,
}
