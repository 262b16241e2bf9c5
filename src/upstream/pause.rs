//! The pause that the API asked for: a 429, or a 503 with `Retry-After` (RFC 9110 §10.2.3).

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::time::Instant;

/// The longest pause that is believed.
const LONGEST: Duration = Duration::from_secs(60);
/// The pause after a 429 that names none.
const UNNAMED: Duration = Duration::from_secs(1);

/// When calls may go on.
#[derive(Default)]
pub(super) struct Pause(Mutex<Option<Instant>>);

impl Pause {
    /// The end of the pause, if one is on.
    pub(super) fn until(&self) -> Option<Instant> {
        let mut until = self.0.lock();
        if until.is_some_and(|end| Instant::now() >= end) {
            *until = None;
        }
        *until
    }

    /// Looks for the wish for a pause in an answer. A pause is never shortened by a later answer.
    pub(super) fn observe(&self, status: StatusCode, headers: &HeaderMap) {
        if let Some(length) = asked_for(status, headers, crate::clock::wall().into()) {
            let end = Instant::now() + length;
            let mut until = self.0.lock();
            *until = Some(until.map_or(end, |old| old.max(end)));
        }
    }
}

/// What `Retry-After` says, as seconds or as a date (RFC 9110 §10.2.3).
pub(super) fn named(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    // An IMF-fixdate is an RFC 2822 date with the zone spelt GMT.
    let date = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    Some(Duration::try_from(date - now).unwrap_or_default())
}

/// How long the API wants to be left alone, if an answer says so.
pub(super) fn asked_for(status: StatusCode, headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let named = named(headers, now);
    let length = match status {
        StatusCode::TOO_MANY_REQUESTS => named.unwrap_or(UNNAMED),
        StatusCode::SERVICE_UNAVAILABLE => named?,
        _ => return None,
    };
    (!length.is_zero()).then(|| length.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_read_as_asked_for() {
        let now = OffsetDateTime::parse("Sun, 06 Nov 1994 08:49:37 GMT", &Rfc2822).unwrap();
        let cases = [
            (429, None, Some(1)),
            (429, Some("7"), Some(7)),
            (429, Some("0"), None),
            (429, Some("3600"), Some(60)),
            (429, Some("soon"), Some(1)),
            (429, Some("Sun, 06 Nov 1994 08:49:49 GMT"), Some(12)),
            (429, Some("Sun, 06 Nov 1994 08:49:30 GMT"), None),
            (503, None, None),
            (503, Some("2"), Some(2)),
            (500, Some("2"), None),
            (200, Some("2"), None),
        ];
        for (status, field, expected) in cases {
            let mut headers = HeaderMap::new();
            if let Some(field) = field {
                headers.insert(RETRY_AFTER, field.parse().unwrap());
            }
            let status = StatusCode::from_u16(status).unwrap();
            let found = asked_for(status, &headers, now);
            assert_eq!(found, expected.map(Duration::from_secs), "{status} {field:?}");
        }
    }
}
