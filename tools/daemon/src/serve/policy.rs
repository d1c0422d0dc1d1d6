// SPDX-License-Identifier: GPL-2.0
//! When a READ is tried again, and when it is given up.

use std::time::Duration;

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
    /// How many fetches may be under way for one blob.
    pub turns: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            tries: 8,
            deadline: Duration::from_secs(30),
            first_delay: Duration::from_millis(10),
            max_delay: Duration::from_secs(1),
            turns: 16,
        }
    }
}

impl Policy {
    /// Time to wait after that many failures.
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
    use super::*;

    #[test]
    fn delays_double_up_to_the_most() {
        let of = |failures| Policy::default().delay(failures).as_millis();
        assert_eq!(
            [1, 2, 3, 7, 8, 32, 33, u32::MAX].map(of),
            [10, 20, 40, 640, 1000, 1000, 1000, 1000]
        );
    }
}
