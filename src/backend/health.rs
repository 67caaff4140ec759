//! Whether a server is held to be alive, and when it may be tried again.
//!
//! ```text
//!            failure × limit               retry time over: probe
//!  up ──────────────────────────▶ down ───────────────────────────▶ probing
//!   ▲ success                      ▲                                   │
//!   └──────────────────────────────┼────── answered ◀──────────────────┤
//!                                  └────── failed ◀────────────────────┘
//! ```
//! Below the limit a failed server is tried again after a short, growing, jittered pause. At the
//! limit it is down: its requests are not sent, and only a probe (a connection that answers the
//! greeting) brings it back.

use std::time::{Duration, Instant};

use super::failure::Failure;

/// Pauses between attempts to connect.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The first pause; zero for none at all.
    pub first: Duration,
    /// The longest.
    pub most: Duration,
    /// Failures in a row that make the server down; `None`: it never is.
    pub limit: Option<u32>,
    /// How long a down server rests before it is probed, if that is fixed; otherwise the pause.
    pub rest: Option<Duration>,
}

/// What a failure or success changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Same,
    /// The server is down from now on.
    Down,
    /// The server is up again.
    Up,
}

/// The health of one server as one worker sees it.
#[derive(Debug)]
pub struct Health {
    backoff: Backoff,
    failures: u32,
    down: bool,
    pause: Duration,
    not_before: Option<Instant>,
    last: Failure,
    jitter: u64,
}

impl Health {
    /// A server that is up; `seed` makes the jitter of this one differ from others'.
    pub fn new(backoff: Backoff, seed: u64) -> Self {
        Self {
            backoff,
            failures: 0,
            down: false,
            pause: backoff.first,
            not_before: None,
            last: Failure::Refused,
            jitter: seed | 1,
        }
    }

    /// The same of a server that is to be left alone: it is down, and nothing brings it back.
    pub fn marked_down(self) -> Self {
        Self { down: true, last: Failure::MarkedDown, ..self }
    }

    /// Holds to other pauses and limits from now on.
    pub fn adopt(&mut self, backoff: Backoff) {
        self.backoff = backoff;
        self.pause = self.pause.clamp(backoff.first, backoff.most);
    }

    /// True if requests may be sent to it.
    pub fn is_up(&self) -> bool {
        !self.down
    }

    /// True if a connection may be tried now.
    pub fn may_connect(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| now >= at)
    }

    /// Why it failed last.
    pub fn last_failure(&self) -> Failure {
        self.last
    }

    /// When a down server should be probed.
    pub fn probe_at(&self) -> Option<Instant> {
        self.not_before.filter(|_| self.down)
    }

    /// The server failed: a connection was refused, broke or went silent.
    pub fn failed(&mut self, now: Instant, why: Failure) -> Verdict {
        self.last = why;
        self.failures = self.failures.saturating_add(1);
        // A wrong password does not become right by being tried more often.
        let hopeless = why == Failure::Auth;
        let reached = |limit| hopeless || self.failures >= limit;
        let goes_down = !self.down && self.backoff.limit.is_some_and(reached);
        self.down |= goes_down;
        // A connection that served well and broke may be replaced at once.
        let broke = matches!(
            why,
            Failure::Reset | Failure::Closed | Failure::BadReply(_) | Failure::Trailing
        );
        let rest = match self.backoff.rest {
            Some(rest) if self.down => rest,
            _ if hopeless => self.longest_pause(),
            _ if broke && self.failures == 1 => Duration::ZERO,
            _ => self.next_pause(),
        };
        self.not_before = (!rest.is_zero()).then(|| now + rest);
        if goes_down { Verdict::Down } else { Verdict::Same }
    }

    /// The server answered.
    pub fn answered(&mut self) -> Verdict {
        self.failures = 0;
        self.pause = self.backoff.first;
        self.not_before = None;
        if std::mem::take(&mut self.down) { Verdict::Up } else { Verdict::Same }
    }

    /// The pause before the next attempt, 50 % to 150 % of a value that doubles each time.
    fn next_pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (self.pause * 2).min(self.backoff.most);
        pause * (50 + self.percent()) / 100
    }

    /// A pause of the longest nominal length, and up to a half more (faults F13).
    fn longest_pause(&mut self) -> Duration {
        self.pause = self.backoff.most;
        self.pause * (100 + self.percent() / 2) / 100
    }

    /// Any of 0 to 100.
    fn percent(&mut self) -> u32 {
        // xorshift64 (Marsaglia 2003): enough to keep proxies from knocking in step.
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        (self.jitter % 101) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(limit: Option<u32>, rest: Option<Duration>) -> Health {
        let (first, most) = (Duration::from_millis(50), Duration::from_secs(5));
        Health::new(Backoff { first, most, limit, rest }, 7)
    }

    #[test]
    fn a_server_goes_down_at_the_limit_and_comes_back_when_it_answers() {
        let now = Instant::now();
        let mut health = health(Some(3), None);
        assert_eq!(health.failed(now, Failure::Refused), Verdict::Same);
        assert_eq!(health.failed(now, Failure::Refused), Verdict::Same);
        assert_eq!(health.failed(now, Failure::Refused), Verdict::Down);
        assert!(!health.is_up());
        assert_eq!(health.failed(now, Failure::Refused), Verdict::Same, "it goes down once");
        assert_eq!(health.answered(), Verdict::Up);
        assert!(health.is_up() && health.may_connect(now));
    }

    #[test]
    fn pauses_grow_to_the_longest_with_jitter_of_a_half() {
        let now = Instant::now();
        let mut health = health(None, None);
        let mut nominal = Duration::from_millis(50);
        for _ in 0..12 {
            health.failed(now, Failure::Refused);
            assert!(!health.may_connect(now + nominal * 49 / 100));
            assert!(health.may_connect(now + nominal * 151 / 100));
            nominal = (nominal * 2).min(Duration::from_secs(5));
        }
        assert!(health.is_up(), "without a limit it is never down");
    }

    #[test]
    fn a_connection_that_broke_is_replaced_at_once_the_first_time() {
        let now = Instant::now();
        let mut health = health(None, None);
        health.failed(now, Failure::Closed);
        assert!(health.may_connect(now));
        health.failed(now, Failure::Closed);
        assert!(!health.may_connect(now));
    }

    #[test]
    fn a_refused_password_makes_a_server_down_at_once_and_for_long() {
        let now = Instant::now();
        let mut health = health(Some(3), None);
        assert_eq!(health.failed(now, Failure::Auth), Verdict::Down);
        assert!(!health.may_connect(now + Duration::from_millis(4999)));
        assert!(health.may_connect(now + Duration::from_millis(7500)));
    }

    #[test]
    fn a_down_server_rests_for_the_fixed_time() {
        let now = Instant::now();
        let rest = Duration::from_secs(30);
        let mut health = health(Some(1), Some(rest));
        assert_eq!(health.failed(now, Failure::Refused), Verdict::Down);
        assert_eq!(health.probe_at(), Some(now + rest));
    }
}
