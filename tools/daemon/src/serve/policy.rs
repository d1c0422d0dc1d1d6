// SPDX-License-Identifier: GPL-2.0
//! When a READ is tried again, and when it is given up.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::retry_after;

/// When to try again and when to give up.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// How often a READ is tried at most.
    pub tries: u32,
    /// How long a request may take, from when it was read from the device to its answer.
    pub deadline: Duration,
    /// Wait after the first failure; it doubles with each further one.
    pub first_delay: Duration,
    /// The longest wait.
    pub max_delay: Duration,
    /// How many fetches may be under way for one blob, and how many OPENs for all.
    pub turns: usize,
    /// How many bytes are fetched at once, a power of two: a READ is widened to that. 1: nothing
    /// but what is asked for.
    pub unit: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            tries: 8,
            deadline: Duration::from_secs(30),
            first_delay: Duration::from_millis(10),
            max_delay: Duration::from_secs(1),
            turns: 16,
            unit: 1,
        }
    }
}

impl Policy {
    /// For a source at the other end of a network: it is given the time that a restart takes, and
    /// is not asked the more often the worse it is.
    pub const REMOTE: Self = Self {
        tries: 8,
        deadline: Duration::from_secs(30),
        first_delay: Duration::from_millis(100),
        max_delay: Duration::from_secs(5),
        turns: 16,
        unit: 1 << 20,
    };

    /// Time to wait after that many failures: by chance between half of [`Policy::delay`] and all
    /// of it, so that what failed together is not tried together.
    pub fn wait(&self, failures: u32) -> Duration {
        let whole = self.delay(failures);
        // Each has keys of its own, which nobody can foretell: that is chance enough.
        let chance = RandomState::new().build_hasher().finish() % 1024;
        let chance = u32::try_from(chance).unwrap_or_default();
        whole / 2 + whole / 2 * chance / 1024
    }

    /// How long to wait after that many failures, of which this is the last.
    pub fn wait_before(&self, failures: u32, error: &io::Error, deadline: Instant) -> Duration {
        let left = deadline.saturating_duration_since(Instant::now());
        self.wait_after(failures, retry_after(error), left)
    }

    /// The same where the source has said for how long it is not to be asked, and so much of the
    /// request's time is `left`. Half of that is waited at most, which leaves as much for the
    /// answer: who says more gets fewer requests, and its readers an error when their time is over.
    fn wait_after(&self, failures: u32, retry_after: Option<Duration>, left: Duration) -> Duration {
        let own = self.wait(failures);
        let wanted =
            retry_after.map_or(own, |said| said.min(left / 2).saturating_add(self.wait(1)));
        own.max(wanted)
    }

    /// The longest time to wait after that many failures.
    pub fn delay(&self, failures: u32) -> Duration {
        let factor = 1u32
            .checked_shl(failures.saturating_sub(1))
            .unwrap_or(u32::MAX);
        self.first_delay
            .checked_mul(factor)
            .map_or(self.max_delay, |delay| delay.min(self.max_delay))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn delays_double_up_to_the_most() {
        let of = |failures| Policy::default().delay(failures).as_millis();
        assert_eq!(
            [1, 2, 3, 7, 8, 32, 33, u32::MAX].map(of),
            [10, 20, 40, 640, 1000, 1000, 1000, 1000]
        );
    }

    #[test]
    fn a_source_that_says_when_is_not_asked_before_within_half_of_what_is_left() {
        let seconds = Duration::from_secs;
        let policy = Policy::REMOTE;
        let of = |failures, said, left| policy.wait_after(failures, said, seconds(left));
        let exact = of(1, Some(seconds(9)), 30);
        assert!((seconds(9)..seconds(10)).contains(&exact), "{exact:?}");
        let bounded = of(1, Some(seconds(3600)), 20);
        assert!((seconds(10)..seconds(11)).contains(&bounded), "{bounded:?}");
        assert!(of(1, Some(Duration::MAX), 20) < seconds(11));
        // It never comes sooner than by itself.
        assert!(of(8, Some(seconds(0)), 30) >= policy.delay(8) / 2);
        assert!(of(8, None, 0) >= policy.delay(8) / 2);
    }

    #[test]
    fn waits_differ_and_are_at_least_half_the_delay() {
        let policy = Policy::REMOTE;
        for failures in [1, 3, 50] {
            let delay = policy.delay(failures);
            let waits: HashSet<_> = (0..64).map(|_| policy.wait(failures)).collect();
            assert!(waits.iter().all(|&wait| delay / 2 <= wait && wait <= delay));
            assert!(waits.len() > 8, "{waits:?}");
        }
    }
}
