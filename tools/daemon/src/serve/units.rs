// SPDX-License-Identifier: GPL-2.0
//! What is fetched at once: units of a blob, each by one task at a time.
//!
//! Reads that miss beside each other ask for the same unit. The first one fetches it, and the
//! others wait and find it done; or that it could not be had, and then each fetches what it wants
//! alone, and not the same unit once more. What is known of a unit is forgotten as soon as nobody
//! is busy with it: the cache has its data then, and the kernel asks for none of it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// What became of a unit since somebody took it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Nothing yet.
    #[default]
    Missing,
    /// It is in the cache.
    Done,
    /// It could not be had. What somebody wants of it may be, alone.
    Failed,
}

/// A unit; who fetches it has the lock.
type Unit = AsyncMutex<State>;

/// The units of an object that somebody is busy with, by size and number.
#[derive(Debug, Default)]
pub struct Units(Mutex<HashMap<(u64, u64), Weak<Unit>>>);

/// Units that are taken: nobody else fetches them meanwhile.
#[derive(Debug)]
pub struct Claim {
    units: Vec<(u64, OwnedMutexGuard<State>)>,
    size: u64,
    /// What is missing where there are no units.
    alone: Range<u64>,
}

impl Units {
    /// Takes the units of `size` bytes that a range touches, from the first to the last, and waits
    /// for those that others have.
    pub async fn claim(&self, range: &Range<u64>, size: u64) -> Claim {
        self.forget_idle();
        let mut units = Vec::new();
        for number in range.start / size..range.end.div_ceil(size) {
            units.push((number, self.unit((size, number)).lock_owned().await));
        }
        Claim {
            units,
            size,
            alone: 0..0,
        }
    }

    fn forget_idle(&self) {
        let mut units = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        units.retain(|_, unit| unit.strong_count() > 0);
    }

    fn unit(&self, number: (u64, u64)) -> Arc<Unit> {
        let mut units = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(unit) = units.get(&number).and_then(Weak::upgrade) {
            return unit;
        }
        let unit = Arc::new(Unit::default());
        units.insert(number, Arc::downgrade(&unit));
        unit
    }
}

impl Claim {
    /// A range that is fetched as it is, whatever others fetch.
    pub fn alone(range: Range<u64>) -> Self {
        Self {
            units: Vec::new(),
            size: 1,
            alone: range,
        }
    }

    /// The bytes from the first to the last unit that nobody has fetched; empty if all are.
    pub fn missing(&self) -> Range<u64> {
        let mut missing = self.units.iter().filter(|(_, it)| **it != State::Done);
        let Some((first, _)) = missing.next() else {
            return self.alone.clone();
        };
        let last = missing.next_back().map_or(first, |(last, _)| last);
        first * self.size..(last + 1).saturating_mul(self.size)
    }

    /// Says to those who wait for these units that they are in the cache.
    pub fn done(&mut self) {
        self.set(State::Done);
    }

    /// Says to those who wait for these units that they could not be had as a whole.
    pub fn failed(&mut self) {
        self.set(State::Failed);
    }

    /// Whether one of these units could not be had by whoever had it before.
    pub fn has_failed(&self) -> bool {
        self.units.iter().any(|(_, it)| **it == State::Failed)
    }

    fn set(&mut self, state: State) {
        for (_, it) in &mut self.units {
            // What is in the cache is there, whatever has become of the units beside it.
            if **it != State::Done {
                **it = state;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_unit_is_fetched_by_one_and_found_done_by_those_who_waited() {
        let units = Units::default();
        let mut first = ready(units.claim(&(5000..9000), 4096)).unwrap();
        assert_eq!(first.missing(), 4096..12_288);
        let waiting = units.claim(&(8192..20_000), 4096);
        let mut waiting = Box::pin(waiting);
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        // Another unit is nobody's.
        assert_eq!(
            ready(units.claim(&(0..1), 4096)).unwrap().missing(),
            0..4096
        );
        first.done();
        drop(first);
        let Poll::Ready(second) = waiting.as_mut().poll(&mut context) else {
            panic!("what was put down is not taken");
        };
        assert_eq!(second.missing(), 12_288..20_480);
        let mut third = pin!(units.claim(&(8192..8193), 4096));
        assert!(third.as_mut().poll(&mut context).is_pending());
        drop(second);
        let Poll::Ready(third) = third.poll(&mut context) else {
            panic!("what was put down is not taken");
        };
        assert_eq!(third.missing(), 0..0);
        drop(third);
        // Nobody is busy with it: it may have been lost since.
        let later = ready(units.claim(&(8192..8193), 4096)).unwrap();
        assert_eq!(later.missing(), 8192..12_288);
    }

    #[test]
    fn those_who_waited_for_what_failed_know_of_it() {
        let units = Units::default();
        let mut first = ready(units.claim(&(0..8192), 4096)).unwrap();
        let mut second = pin!(units.claim(&(4096..4097), 4096));
        let mut context = Context::from_waker(Waker::noop());
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(!first.has_failed());
        first.failed();
        drop(first);
        let Poll::Ready(mut second) = second.poll(&mut context) else {
            panic!("what was put down is not taken");
        };
        assert!(second.has_failed());
        assert_eq!(second.missing(), 4096..8192);
        second.done();
        second.failed();
        assert!(!second.has_failed());
        drop(second);
        // Nobody has waited for it: the next one knows of nothing.
        let later = ready(units.claim(&(0..8192), 4096)).unwrap();
        assert!(!later.has_failed());
    }

    #[test]
    fn what_failed_is_fetched_by_the_next() {
        let units = Units::default();
        let first = ready(units.claim(&(0..4096), 4096)).unwrap();
        let mut second = pin!(units.claim(&(0..4096), 4096));
        let mut context = Context::from_waker(Waker::noop());
        assert!(second.as_mut().poll(&mut context).is_pending());
        drop(first);
        let Poll::Ready(second) = second.poll(&mut context) else {
            panic!("what was put down is not taken");
        };
        assert_eq!(second.missing(), 0..4096);
    }
}
