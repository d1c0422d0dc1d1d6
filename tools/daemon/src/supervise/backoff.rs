// SPDX-License-Identifier: GPL-2.0
//! How long to wait before the next start.

use std::time::Duration;

/// Doubles with each death, and starts over after a worker that lived a while.
#[derive(Debug)]
pub struct Backoff {
    least: Duration,
    most: Duration,
    reset_after: Duration,
    next: Duration,
}

impl Backoff {
    pub fn new(least: Duration, most: Duration, reset_after: Duration) -> Self {
        Self {
            least,
            most,
            reset_after,
            next: least,
        }
    }

    /// The wait after a worker that lived for `lived`.
    pub fn next(&mut self, lived: Duration) -> Duration {
        if lived >= self.reset_after {
            self.next = self.least;
        }
        let wait = self.next.min(self.most);
        self.next = self.next.saturating_mul(2).min(self.most);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_most_and_starts_over() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(5), ms(30), ms(1000));
        let waits = [0, 0, 0, 0, 999, 1000, 0].map(|lived| backoff.next(ms(lived)).as_millis());
        assert_eq!(waits, [5, 10, 20, 30, 30, 5, 10]);
    }
}
