//! What a failed call came to: whether it can be sent again, and what is known of its effect
//! (RFC 9110 §9.2.2 and §15, RFC 6585 §4).
//!
//! Every failure of an upstream is put into one of these classes, by the table of its dialect where it
//! answered and by what happened to the connection where it did not.

use http::StatusCode;

/// The class of a failure: a label of metrics, and what retries are configured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// No byte of the request can have reached the API: nobody could be connected to.
    NeverSent,
    /// The API, or a relay before it, could not answer now: a broken connection, a timeout, a gateway's
    /// error. The call changes nothing, so it may be sent again.
    Transient,
    /// The API wants fewer calls.
    Throttled,
    /// It would answer the same to the next try.
    Permanent,
    /// The call may have changed something although it failed: nobody sends it again.
    Unknown,
}

impl FailureClass {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::NeverSent, Self::Transient, Self::Throttled, Self::Permanent, Self::Unknown];

    /// The word for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NeverSent => "never-sent",
            Self::Transient => "transient",
            Self::Throttled => "throttled",
            Self::Permanent => "permanent",
            Self::Unknown => "unknown",
        }
    }
}

/// What a call can do to the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It only reads.
    None,
    /// It may change something.
    Possible,
}

/// What an API's statuses mean for the call that got them. Each list is a part of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureStatuses {
    /// The API, or a part of it, is down (RFC 5861 §4 and what the API's own relays say).
    pub transient: &'static [u16],
    /// A relay gave up on the call while it may still be running.
    pub gave_up: &'static [u16],
    /// A server that is well says it of another behind it.
    pub relayed: &'static [u16],
}

impl FailureStatuses {
    /// What every HTTP API means.
    pub const COMMON: Self = Self { transient: &[502, 503, 504], gave_up: &[502, 504], relayed: &[] };

    /// The class of an answer; `None` for one that is no failure. `says_when` tells whether it has
    /// `Retry-After`: with that a 503 is a wish for fewer calls (RFC 9110 §15.6.4).
    pub fn class(&self, status: StatusCode, says_when: bool, effect: Effect) -> Option<FailureClass> {
        match status.as_u16() {
            0..400 => None,
            429 => Some(FailureClass::Throttled),
            503 if says_when => Some(FailureClass::Throttled),
            _ if self.gave_up(status) && effect == Effect::Possible => Some(FailureClass::Unknown),
            code if self.transient.contains(&code) => Some(FailureClass::Transient),
            _ => Some(FailureClass::Permanent),
        }
    }

    /// Whether the last known state may stand in for an answer with this status.
    pub fn is_outage(&self, status: StatusCode) -> bool {
        status == StatusCode::TOO_MANY_REQUESTS || self.transient.contains(&status.as_u16())
    }

    /// Whether the call may still be running behind a relay.
    pub fn gave_up(&self, status: StatusCode) -> bool {
        self.gave_up.contains(&status.as_u16())
    }

    /// Whether it tells something about the very server that answered.
    pub fn blames_server(&self, status: StatusCode) -> bool {
        let code = status.as_u16();
        self.transient.contains(&code) && !self.relayed.contains(&code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_numbered_as_they_are_listed() {
        for (place, class) in FailureClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, place);
        }
    }

    #[test]
    fn a_status_has_one_class() {
        use FailureClass::{Permanent, Throttled, Transient, Unknown};
        let cases = [
            (200, false, None, None),
            (304, false, None, None),
            (400, false, Some(Permanent), Some(Permanent)),
            (429, false, Some(Throttled), Some(Throttled)),
            (500, true, Some(Permanent), Some(Permanent)),
            (502, false, Some(Transient), Some(Unknown)),
            (503, false, Some(Transient), Some(Transient)),
            (503, true, Some(Throttled), Some(Throttled)),
            (504, true, Some(Transient), Some(Unknown)),
            (596, false, Some(Permanent), Some(Permanent)),
        ];
        for (status, says_when, read, write) in cases {
            let status = StatusCode::from_u16(status).unwrap();
            let class = |effect| FailureStatuses::COMMON.class(status, says_when, effect);
            assert_eq!((class(Effect::None), class(Effect::Possible)), (read, write), "{status}");
        }
    }
}
