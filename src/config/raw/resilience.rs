//! The shape of what an upstream does about failures.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::units::{Share, Span};

/// What is sent again when the API fails: reads, and writes only where they provably never left. The
/// first keys are for every class, the classes may differ from them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawRetry {
    /// Retries as a share of all calls; 0% for none. Default: 10%.
    pub budget: Option<Share>,
    /// How often a call is sent at most, the first time included, from 1 to 10. Default: 3, and 2 for
    /// what was throttled.
    pub attempts: Option<u32>,
    /// The bound of the first pause; each is drawn from nothing to its bound. Default: 100ms.
    pub base: Option<Span>,
    /// The bound of every pause; an API that asks for a longer one is not asked again for that call.
    /// Default: 5s.
    pub cap: Option<Span>,
    /// How the bound grows from one pause to the next. Default: exponential.
    pub growth: Option<RawGrowth>,
    /// For calls that nobody could be connected to for.
    pub never_sent: Option<RawRetryPolicy>,
    /// For broken connections, timeouts and a gateway's errors.
    pub transient: Option<RawRetryPolicy>,
    /// For 429, and 503 with `Retry-After`.
    pub throttled: Option<RawRetryPolicy>,
}

/// What is sent again of one class of failures.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawRetryPolicy {
    /// How often a call is sent at most, the first time included, from 1 to 10.
    pub attempts: Option<u32>,
    /// The bound of the first pause.
    pub base: Option<Span>,
    /// The bound of every pause.
    pub cap: Option<Span>,
    /// How the bound grows from one pause to the next.
    pub growth: Option<RawGrowth>,
}

/// How the bound of pauses grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawGrowth {
    /// It doubles.
    Exponential,
    /// By the base each time.
    Linear,
    /// It stays.
    Constant,
}

/// When calls to an endpoint are held back: after failures in a row, until it is found to answer.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawBreaker {
    /// So many failures in a row, from 1 to 1000. Default: 5.
    pub failures: Option<u32>,
    /// For so long at most; a cheap call of forebay's own, made every second, ends it earlier. Default: 10s.
    pub open_for: Option<Span>,
    /// An endpoint that has answered no call for so long gets such a cheap call, to know of its death before
    /// a client does; from 1s to 1h, 0s for never. Default: 10s where there are several endpoints, else never.
    pub probe_every: Option<Span>,
}
