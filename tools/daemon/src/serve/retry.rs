// SPDX-License-Identifier: GPL-2.0
//! READs whose fetch failed, waiting for their next try. Nobody sleeps for them: a thread that
//! looks for work takes those that are due, so that one bad blob holds up nothing else.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cachefiles_protocol::Read;

/// A READ and how often it was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// The request.
    pub read: Read,
    /// Tries so far that failed.
    pub failures: u32,
}

/// Ordered by time first: the derived order compares the fields in turn.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Instant,
    msg_id: u32,
    object_id: u32,
    off: u64,
    len: u64,
    failures: u32,
}

/// The queue.
#[derive(Debug, Default)]
pub struct RetryQueue {
    waiting: Mutex<BinaryHeap<Reverse<Waiting>>>,
}

impl RetryQueue {
    /// Puts a READ back until `due`.
    pub fn push(&self, attempt: Attempt, due: Instant) {
        let Attempt {
            read:
                Read {
                    msg_id,
                    object_id,
                    off,
                    len,
                },
            failures,
        } = attempt;
        self.locked(|heap| {
            heap.push(Reverse(Waiting {
                due,
                msg_id,
                object_id,
                off,
                len,
                failures,
            }))
        });
    }

    /// Takes a READ that is due at `now`, the longest overdue first.
    pub fn take_due(&self, now: Instant) -> Option<Attempt> {
        let waiting = self.locked(|heap| match heap.peek() {
            Some(Reverse(first)) if first.due <= now => heap.pop(),
            _ => None,
        })?;
        let Reverse(Waiting {
            msg_id,
            object_id,
            off,
            len,
            failures,
            ..
        }) = waiting;
        Some(Attempt {
            read: Read {
                msg_id,
                object_id,
                off,
                len,
            },
            failures,
        })
    }

    /// How long until the next READ is due.
    pub fn time_to_next(&self, now: Instant) -> Option<Duration> {
        self.locked(|heap| {
            heap.peek()
                .map(|Reverse(first)| first.due.saturating_duration_since(now))
        })
    }

    fn locked<T>(&self, f: impl FnOnce(&mut BinaryHeap<Reverse<Waiting>>) -> T) -> T {
        // A panic inside leaves the heap as it was: its operations are the last step of each.
        f(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Time to wait after that many failures: doubles from `first` up to `most`.
pub fn delay(failures: u32, first: Duration, most: Duration) -> Duration {
    let factor = 1u32
        .checked_shl(failures.saturating_sub(1))
        .unwrap_or(u32::MAX);
    first
        .checked_mul(factor)
        .map_or(most, |delay| delay.min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(msg_id: u32) -> Attempt {
        Attempt {
            read: Read {
                msg_id,
                object_id: 1,
                off: 4096,
                len: 8192,
            },
            failures: 3,
        }
    }

    #[test]
    fn reads_come_back_when_due_and_in_order_of_time() {
        let (queue, now) = (RetryQueue::default(), Instant::now());
        let later = |ms| now + Duration::from_millis(ms);
        assert_eq!(queue.time_to_next(now), None);
        queue.push(attempt(1), later(20));
        queue.push(attempt(2), later(10));
        assert_eq!(queue.time_to_next(now), Some(Duration::from_millis(10)));
        assert_eq!(queue.take_due(later(9)), None);
        assert_eq!(queue.take_due(later(30)), Some(attempt(2)));
        assert_eq!(queue.time_to_next(later(30)), Some(Duration::ZERO));
        assert_eq!(queue.take_due(later(30)), Some(attempt(1)));
        assert_eq!(queue.take_due(later(30)), None);
    }

    #[test]
    fn delays_double_up_to_the_most() {
        let of = |failures| {
            delay(failures, Duration::from_millis(10), Duration::from_secs(1)).as_millis()
        };
        assert_eq!(
            [1, 2, 3, 7, 8, 32, 33, u32::MAX].map(of),
            [10, 20, 40, 640, 1000, 1000, 1000, 1000]
        );
    }
}
