// SPDX-License-Identifier: GPL-2.0
//! Things that are said once in a while, however often they happen.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the refusal of one blob is told.
pub const TOLD_EVERY: Duration = Duration::from_secs(60);

/// How many things are remembered at most; beyond that, all are forgotten.
const MOST: usize = 1024;

/// Remembers when each thing happened last.
#[derive(Debug)]
pub struct Seldom {
    interval: Duration,
    last: Mutex<HashMap<String, Instant>>,
}

impl Seldom {
    /// Each thing counts once in every `interval`.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            last: Mutex::default(),
        }
    }

    /// Notes that it happens at `now`. True if it did not so in the interval before.
    pub fn first(&self, what: &str, now: Instant) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last
            .get(what)
            .is_some_and(|then| now.saturating_duration_since(*then) < self.interval)
        {
            return false;
        }
        if last.len() >= MOST {
            last.clear();
        }
        last.insert(what.to_owned(), now);
        true
    }

    /// Whether it happened in the interval before `now`.
    pub fn is_recent(&self, what: &str, now: Instant) -> bool {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(what)
            .is_some_and(|then| now.saturating_duration_since(*then) < self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_counts_once_in_an_interval() {
        let (seldom, now) = (Seldom::new(Duration::from_secs(60)), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        assert!(!seldom.is_recent("a", now));
        assert!(seldom.first("a", now));
        assert!(seldom.is_recent("a", after(59)));
        assert!(!seldom.first("a", after(59)));
        assert!(seldom.first("b", after(59)));
        assert!(!seldom.is_recent("a", after(60)));
        assert!(seldom.first("a", after(60)));
        for number in 0..5 * MOST {
            seldom.first(&number.to_string(), now);
        }
        assert!(seldom.last.lock().unwrap().len() <= MOST);
    }
}
