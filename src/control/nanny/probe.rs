//! One observer's look at one server, with hysteresis.

use std::time::{Duration, Instant};

/// How many looks make a judgement.
#[derive(Clone, Copy, Debug)]
pub struct ProbeRules {
    /// Failures in a row, at least.
    pub fail_limit: u32,
    /// From the first of them to the last, at least.
    pub fail_window: Duration,
    /// How long every look must have been good.
    pub flap_time: Duration,
}

impl Default for ProbeRules {
    fn default() -> Self {
        Self {
            fail_limit: 3,
            fail_window: Duration::from_secs(2),
            flap_time: Duration::from_secs(10),
        }
    }
}

/// What an observer holds of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It has been good for long enough.
    Well,
    /// It has failed for long enough.
    Failing,
    /// Neither.
    Unsure,
}

/// The looks at one server so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Probe {
    failures: u32,
    /// Since when all looks were good, or all were bad.
    since: Option<Instant>,
    last: Option<Instant>,
}

impl Probe {
    /// One look: whether the server answered as it should.
    pub fn look(&mut self, good: bool, now: Instant) {
        let turned = good == (self.failures > 0);
        if turned || self.since.is_none() {
            self.since = Some(now);
        }
        self.failures = if good { 0 } else { self.failures.saturating_add(1) };
        self.last = Some(now);
    }

    /// What the looks so far come to.
    pub fn judgement(&self, rules: &ProbeRules) -> Judgement {
        let (Some(since), Some(last)) = (self.since, self.last) else { return Judgement::Unsure };
        let lasted = last.saturating_duration_since(since);
        if self.failures == 0 && lasted >= rules.flap_time {
            Judgement::Well
        } else if self.failures >= rules.fail_limit.max(1) && lasted >= rules.fail_window {
            Judgement::Failing
        } else {
            Judgement::Unsure
        }
    }
}
