// SPDX-License-Identifier: GPL-2.0
//! Random choices that are the same in every run with the same seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

/// Numbers at which something may change: sizes of pages and types, ends of ranges.
const ODD: &[i64] = &[
    0,
    1,
    -1,
    2,
    15,
    16,
    255,
    511,
    512,
    4095,
    4096,
    4097,
    8192,
    65535,
    65536,
    -4095,
    -4096,
    -4097,
    i32::MAX as i64,
    i32::MIN as i64,
    u32::MAX as i64,
    1 << 32,
    1 << 43,
    (1 << 44) - 4096,
    i64::MAX - 4095,
    i64::MAX,
    i64::MIN,
];

/// A source of choices.
pub struct Dice(StdRng);

impl Dice {
    /// The choices of one of many who share a seed: each has a number of its own.
    pub fn new(seed: u64, number: u64) -> Self {
        Self(StdRng::seed_from_u64(mix(seed ^ mix(number))))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 {
            return 0;
        }
        self.0.random_range(0..end)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..=high.max(low))
    }

    /// True in so many of 100 cases.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.0.random_range(0..100) < percent
    }

    /// One of several; they must not be empty.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// The place of one of several, each as likely as its weight says.
    pub fn weighted(&mut self, weights: impl Iterator<Item = u32> + Clone) -> usize {
        let sum: u32 = weights.clone().sum();
        let mut left = self.0.random_range(0..sum.max(1));
        for (place, weight) in weights.enumerate() {
            if left < weight {
                return place;
            }
            left -= weight;
        }
        0
    }

    /// A number that somebody may not have thought of.
    pub fn odd(&mut self) -> i64 {
        match self.below(4) {
            0 => self.number() as i64,
            1 => ODD[self.below(ODD.len())].wrapping_add(self.below(9) as i64 - 4),
            _ => ODD[self.below(ODD.len())],
        }
    }

    /// A time of up to so many milliseconds.
    pub fn pause(&mut self, most: u64) -> Duration {
        Duration::from_micros(self.between(0, most * 1000))
    }
}

/// The seed of round `round` of a run.
pub fn seed_of_round(seed: u64, round: u64) -> u64 {
    // Short enough to be typed.
    mix(seed ^ mix(round)) >> 32
}

/// SplitMix64's finish: near numbers give far ones.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_repeat_with_seed_and_number_and_differ_without() {
        let first = |seed, number| Dice::new(seed, number).number();
        assert_eq!(first(7, 1), first(7, 1));
        assert_ne!(first(7, 1), first(7, 2));
        assert_ne!(first(7, 1), first(8, 1));
        assert_ne!(seed_of_round(1, 0), seed_of_round(1, 1));
    }

    #[test]
    fn what_has_no_weight_is_never_chosen() {
        let mut dice = Dice::new(1, 1);
        assert!((0..1000).all(|_| dice.weighted([0, 3, 0, 1].into_iter()) % 2 == 1));
    }
}
