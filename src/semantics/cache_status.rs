//! The `Cache-Status` member that forebay adds to every response (RFC 9211), and `Age`.

use std::sync::LazyLock;

use http::{HeaderName, HeaderValue};

/// The field's name.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Why a request went, or did not go, upstream: the closed set of words behind `detail=`, the same
/// in logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Detail {
    /// Served past its freshness lifetime while a refresh runs (RFC 5861 §3).
    StaleWhileRevalidate,
    /// Served past its freshness lifetime because the upstream failed (RFC 5861 §4).
    StaleIfError,
    /// Kept a second at most, or not at all, because a write to its groups has not settled.
    Unsettled,
    /// The rule says `pass`.
    Pass,
    /// No rule matches.
    Unmatched,
    /// The client asked not to store.
    NoStore,
    /// The client asked for a fresh answer.
    NoCache,
    /// Two credentials, or one that cannot be read: only the API may judge.
    AmbiguousCredential,
    /// No answer of the API to this credential is recent enough to rely on.
    Unaccepted,
    /// The answer to this key was not storable a moment ago.
    Uncacheable,
    /// The method or the fields of the request keep it out of the cache.
    Request,
    /// A caller that must see the API itself, by a rule's `bypass`.
    Bypass,
    /// A write.
    Write,
    /// A write that was held, or in whose place a later one was sent, by a rule's `batch`.
    Batched,
    /// An upgraded connection.
    Tunnel,
    /// An error of forebay's own: the request could not be understood.
    BadRequest,
    /// An error of forebay's own: no endpoint of the upstream could be reached.
    Unreachable,
    /// An error of forebay's own: the upstream did not answer in time.
    Timeout,
    /// An error of forebay's own: the upstream's answer broke off or was not HTTP.
    Lost,
    /// An error of forebay's own: the queue for the upstream is full or too slow.
    Limited,
    /// An error of forebay's own: the upstream asked for a pause.
    Paused,
    /// A condition that names a validator of forebay's own does not hold.
    Precondition,
    /// `only-if-cached` and nothing usable in the store.
    OnlyIfCached,
    /// An error of forebay's own: something that must not happen did.
    Internal,
    /// Answered from a list that was read in place of this and others of its items.
    Promoted,
}

impl Detail {
    /// Every word, for the tests that keep the set closed and for resolving metric handles.
    pub const ALL: [Detail; 25] = [
        Detail::StaleWhileRevalidate,
        Detail::StaleIfError,
        Detail::Unsettled,
        Detail::Pass,
        Detail::Unmatched,
        Detail::NoStore,
        Detail::NoCache,
        Detail::AmbiguousCredential,
        Detail::Unaccepted,
        Detail::Uncacheable,
        Detail::Request,
        Detail::Bypass,
        Detail::Write,
        Detail::Batched,
        Detail::Tunnel,
        Detail::BadRequest,
        Detail::Unreachable,
        Detail::Timeout,
        Detail::Lost,
        Detail::Limited,
        Detail::Paused,
        Detail::Precondition,
        Detail::OnlyIfCached,
        Detail::Internal,
        Detail::Promoted,
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Detail::StaleWhileRevalidate => "stale-while-revalidate",
            Detail::StaleIfError => "stale-if-error",
            Detail::Unsettled => "unsettled",
            Detail::Pass => "pass",
            Detail::Unmatched => "unmatched",
            Detail::NoStore => "no-store",
            Detail::NoCache => "no-cache",
            Detail::AmbiguousCredential => "ambiguous-credential",
            Detail::Unaccepted => "unaccepted",
            Detail::Uncacheable => "uncacheable",
            Detail::Request => "request",
            Detail::Bypass => "bypass",
            Detail::Write => "write",
            Detail::Batched => "batched",
            Detail::Tunnel => "tunnel",
            Detail::BadRequest => "bad-request",
            Detail::Unreachable => "unreachable",
            Detail::Timeout => "timeout",
            Detail::Lost => "lost",
            Detail::Limited => "limited",
            Detail::Paused => "paused",
            Detail::Precondition => "precondition",
            Detail::OnlyIfCached => "only-if-cached",
            Detail::Internal => "internal",
            Detail::Promoted => "promoted",
        }
    }
}

/// Why a request was forwarded (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// `uri-miss`: nothing stored for the target URI.
    UriMiss,
    /// `stale`: what is stored has expired or was overtaken.
    Stale,
    /// `request`: the client's directives asked for it.
    Request,
    /// `method`: the method is not one that a cache answers.
    Method,
    /// `bypass`: the cache was told to keep out.
    Bypass,
}

impl Forward {
    const ALL: [Forward; 5] =
        [Forward::UriMiss, Forward::Stale, Forward::Request, Forward::Method, Forward::Bypass];

    fn as_str(self) -> &'static str {
        match self {
            Forward::UriMiss => "uri-miss",
            Forward::Stale => "stale",
            Forward::Request => "request",
            Forward::Method => "method",
            Forward::Bypass => "bypass",
        }
    }
}

/// What forebay did with one request, as RFC 9211 says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStatus {
    /// Answered from the store with `ttl` seconds of freshness left; negative when stale.
    Hit {
        /// Seconds of freshness left.
        ttl: i64,
        /// Why a stale answer was fine.
        detail: Option<Detail>,
    },
    /// Went upstream, alone or with others.
    Forwarded {
        /// Why.
        forward: Forward,
        /// The upstream's status when it differs from what the client gets.
        status: Option<u16>,
        /// Whether the answer is being kept.
        stored: bool,
        /// Whether this request joined another's call.
        collapsed: bool,
        /// More about why.
        detail: Option<Detail>,
    },
    /// An answer of forebay's own.
    Own(Detail),
}

/// How many values of `Age` and of a hit's `ttl` are prepared: an hour of seconds, the longest
/// lifetime that is common in a rule.
const PREPARED: usize = 3601;

/// Every value of a forwarded answer that is no failure, for the same reason as those of hits: by its
/// reason, whether it is stored, whether it is collapsed, and its detail.
static FORWARDED: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| {
    let details = || std::iter::once(None).chain(Detail::ALL.map(Some));
    let mut values = Vec::new();
    for forward in Forward::ALL {
        for (stored, collapsed) in [(false, false), (false, true), (true, false), (true, true)] {
            values.extend(details().map(|detail| {
                let status = CacheStatus::Forwarded { forward, status: None, stored, collapsed, detail };
                HeaderValue::from_static(Box::leak(status.to_string().into_boxed_str()))
            }));
        }
    }
    values
});

static HITS: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| prepared("forebay; hit; ttl="));
static AGES: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| prepared(""));

/// Values with static storage, so that a hit clones them without touching a shared counter.
fn prepared(prefix: &str) -> Vec<HeaderValue> {
    (0..PREPARED)
        .map(|n| HeaderValue::from_static(Box::leak(format!("{prefix}{n}").into_boxed_str())))
        .collect()
}

/// The `Age` field's value for an age in whole seconds.
pub fn age(seconds: u64) -> HeaderValue {
    match AGES.get(usize::try_from(seconds).unwrap_or(usize::MAX)) {
        Some(value) => value.clone(),
        None => HeaderValue::from(seconds),
    }
}

impl CacheStatus {
    /// The field's value.
    pub fn value(&self) -> HeaderValue {
        if let CacheStatus::Hit { ttl, detail: None } = self
            && let Some(value) = usize::try_from(*ttl).ok().and_then(|ttl| HITS.get(ttl))
        {
            return value.clone();
        }
        if let CacheStatus::Forwarded { forward, status: None, stored, collapsed, detail } = *self {
            let row = (forward as usize * 2 + usize::from(stored)) * 2 + usize::from(collapsed);
            let place = detail.map_or(0, |detail| 1 + detail as usize);
            return FORWARDED[row * (1 + Detail::ALL.len()) + place].clone();
        }
        let text = self.to_string();
        HeaderValue::from_str(&text).expect("tokens and integers are field content")
    }
}

impl std::fmt::Display for CacheStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("forebay")?;
        let detail = match *self {
            CacheStatus::Hit { ttl, detail } => {
                write!(f, "; hit; ttl={ttl}")?;
                detail
            }
            CacheStatus::Forwarded { forward, status, stored, collapsed, detail } => {
                write!(f, "; fwd={}", forward.as_str())?;
                if let Some(status) = status {
                    write!(f, "; fwd-status={status}")?;
                }
                if stored {
                    f.write_str("; stored")?;
                }
                if collapsed {
                    f.write_str("; collapsed")?;
                }
                detail
            }
            CacheStatus::Own(detail) => Some(detail),
        };
        match detail {
            Some(detail) => write!(f, "; detail={}", detail.as_str()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let forwarded = |forward, status, stored, collapsed, detail| CacheStatus::Forwarded {
            forward,
            status,
            stored,
            collapsed,
            detail,
        };
        let cases = [
            (CacheStatus::Hit { ttl: 3, detail: None }, "forebay; hit; ttl=3"),
            (CacheStatus::Hit { ttl: 86_400, detail: None }, "forebay; hit; ttl=86400"),
            (
                CacheStatus::Hit { ttl: -4, detail: Some(Detail::StaleWhileRevalidate) },
                "forebay; hit; ttl=-4; detail=stale-while-revalidate",
            ),
            (forwarded(Forward::UriMiss, None, true, true, None), "forebay; fwd=uri-miss; stored; collapsed"),
            (
                forwarded(Forward::Bypass, None, false, false, Some(Detail::Unsettled)),
                "forebay; fwd=bypass; detail=unsettled",
            ),
            (
                forwarded(Forward::Stale, Some(503), false, false, Some(Detail::StaleIfError)),
                "forebay; fwd=stale; fwd-status=503; detail=stale-if-error",
            ),
            (CacheStatus::Own(Detail::Limited), "forebay; detail=limited"),
        ];
        for (status, expected) in cases {
            assert_eq!(status.value(), expected);
        }
        assert_eq!(age(0), "0");
        assert_eq!(age(1_000_000), "1000000");
    }

    #[test]
    fn prepared_values_say_what_would_be_written() {
        for forward in Forward::ALL {
            for detail in std::iter::once(None).chain(Detail::ALL.map(Some)) {
                for (stored, collapsed) in [(false, false), (false, true), (true, false), (true, true)] {
                    let status = CacheStatus::Forwarded { forward, status: None, stored, collapsed, detail };
                    assert_eq!(status.value(), status.to_string());
                }
            }
        }
    }

    #[test]
    fn words_are_distinct() {
        let words: std::collections::BTreeSet<_> = Detail::ALL.iter().map(|d| d.as_str()).collect();
        assert_eq!(words.len(), Detail::ALL.len());
    }
}
