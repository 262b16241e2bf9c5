//! How an upstream deals with failures: what is sent again, and when an endpoint is left alone.

use std::time::Duration;

use crate::semantics::failure::FailureClass;
use crate::units::Share;

/// What is sent again. Reads are, and writes only where they provably never left.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryConfig {
    /// Retries as a share of all calls.
    pub budget: Share,
    /// For calls that nobody could be connected to for.
    pub never_sent: RetryPolicy,
    /// For broken connections, timeouts and a gateway's errors.
    pub transient: RetryPolicy,
    /// For calls that the API wants fewer of.
    pub throttled: RetryPolicy,
}

/// How often and after which pauses calls of one class are sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often a call is sent at most, the first time included; 1 for no retry.
    pub attempts: u32,
    /// The bound of the first pause, which is drawn from nothing to this.
    pub base: Duration,
    /// The bound of every pause. An API that asks for a longer one is not asked again for this call.
    pub cap: Duration,
    /// How the bound grows from one pause to the next.
    pub growth: Growth,
}

/// How the bound of pauses grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// It doubles.
    Exponential,
    /// By the base each time.
    Linear,
    /// It stays.
    Constant,
}

/// How many calls may be in flight at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pacing {
    /// As many as the configuration says.
    Fixed,
    /// As many as it bears, which is learnt from how long calls take.
    Adaptive,
}

/// When calls to an endpoint are held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// After so many failures in a row.
    pub failures: u32,
    /// For so long, unless the endpoint is found to answer before.
    pub open_for: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self { failures: 5, open_for: Duration::from_secs(10) }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 3,
            base: Duration::from_millis(100),
            cap: Duration::from_secs(5),
            growth: Growth::Exponential,
        }
    }
}

impl Default for RetryConfig {
    fn default() -> Self {
        let policy = RetryPolicy::default();
        Self {
            budget: Share(0.1),
            never_sent: policy,
            transient: policy,
            // An API that throttles is not asked more often than it must be.
            throttled: RetryPolicy { attempts: 2, ..policy },
        }
    }
}

impl RetryConfig {
    /// Nothing is sent again.
    pub fn none() -> Self {
        let policy = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
        Self { budget: Share(0.0), never_sent: policy, transient: policy, throttled: policy }
    }

    /// For one class; `None` for what is never sent again.
    pub fn policy(&self, class: FailureClass) -> Option<&RetryPolicy> {
        match class {
            FailureClass::NeverSent => Some(&self.never_sent),
            FailureClass::Transient => Some(&self.transient),
            FailureClass::Throttled => Some(&self.throttled),
            FailureClass::Permanent | FailureClass::Unknown => None,
        }
    }
}
