// SPDX-License-Identifier: GPL-2.0
//! Things that are said once in a while, however often they happen.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the refusal of one blob is told.
pub const TOLD_EVERY: Duration = Duration::from_secs(60);

/// How many things are remembered at most; beyond that, all are forgotten.
const MOST: usize = 1024;

/// One thing, in the interval that began when it was said.
#[derive(Debug, Clone, Copy)]
struct Told {
    at: Instant,
    /// How often it happened since.
    unsaid: u64,
}

/// Remembers when each thing was said last, and counts what was not said.
#[derive(Debug)]
pub struct Seldom {
    interval: Duration,
    told: Mutex<HashMap<String, Told>>,
}

impl Seldom {
    /// Each thing is said once in every `interval`.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            told: Mutex::default(),
        }
    }

    /// Notes that it happens at `now`. True if it is to be said: it was not in the interval before.
    pub fn first(&self, what: &str, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = told.get_mut(what) {
            if now.saturating_duration_since(known.at) < self.interval {
                known.unsaid += 1;
                return false;
            }
        }
        if told.len() >= MOST {
            told.clear();
        }
        let first = Told { at: now, unsaid: 0 };
        told.insert(what.to_owned(), first);
        true
    }

    /// Forgets the things whose interval is over at `now`, and gives those that happened more often
    /// than they were said, with how much more often.
    pub fn take_over(&self, now: Instant) -> Vec<(String, u64)> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut over = Vec::new();
        told.retain(|what, known| {
            let is_over = now.saturating_duration_since(known.at) >= self.interval;
            if is_over && known.unsaid > 0 {
                over.push((what.clone(), known.unsaid));
            }
            !is_over
        });
        over.sort();
        over
    }

    /// Logs what [`Seldom::take_over`] gives.
    pub fn tell_over(&self, now: Instant) {
        for (what, count) in self.take_over(now) {
            tracing::warn!(
                "{what}: {count} more times in {} s",
                self.interval.as_secs()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_said_once_in_an_interval() {
        let (seldom, now) = (Seldom::new(Duration::from_secs(60)), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        assert!(seldom.first("a", now));
        assert!(!seldom.first("a", after(59)));
        assert!(seldom.first("b", after(59)));
        assert!(seldom.first("a", after(60)));
        for number in 0..5 * MOST {
            seldom.first(&number.to_string(), now);
        }
        assert!(seldom.told.lock().unwrap().len() <= MOST);
    }

    #[test]
    fn what_was_not_said_is_counted() {
        let (seldom, now) = (Seldom::new(Duration::from_secs(60)), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        for second in 0..9 {
            assert_eq!(seldom.first("a", after(second)), second == 0);
        }
        seldom.first("once", now);
        seldom.first("later", after(30));
        seldom.first("later", after(31));
        assert_eq!(seldom.take_over(after(59)), []);
        assert_eq!(seldom.take_over(after(60)), [("a".to_owned(), 8)]);
        assert_eq!(seldom.take_over(after(60)), []);
        assert_eq!(seldom.take_over(after(90)), [("later".to_owned(), 1)]);
        assert!(seldom.first("a", after(61)));
    }
}
