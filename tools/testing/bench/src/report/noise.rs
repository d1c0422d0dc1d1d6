// SPDX-License-Identifier: GPL-2.0
//! C against C: how different two halves of the same figures look, when they are treated like those
//! of two modules.

/// The middle one.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    match n {
        0 => f64::NAN,
        _ if n % 2 == 1 => sorted[n / 2],
        _ => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// A part of zero is zero where the figures are all the same, such as counts.
pub fn part(difference: f64, of: f64) -> f64 {
    if difference == 0.0 {
        0.0
    } else {
        difference / of
    }
}

/// More figures are not looked at: the number of ways to halve them grows fast.
const MOST: usize = 12;

/// How far the medians of two halves are apart, as a part of the median: over all ways to make
/// halves, the value that nine in ten do not exceed. A single figure says nothing of noise.
pub fn noise(values: &[f64]) -> f64 {
    let values = &values[..values.len().min(MOST)];
    if values.len() < 2 {
        return f64::NAN;
    }
    let half = values.len() as u32 / 2;
    let mut apart: Vec<f64> = (0u32..1 << values.len())
        .filter(|mask| mask.count_ones() == half)
        .map(|mask| {
            let (mut a, mut b) = (Vec::new(), Vec::new());
            for (number, value) in values.iter().enumerate() {
                if mask >> number & 1 == 1 {
                    a.push(*value);
                } else {
                    b.push(*value);
                }
            }
            (median(&a) - median(&b)).abs()
        })
        .collect();
    apart.sort_by(f64::total_cmp);
    part(apart[(apart.len() - 1) * 9 / 10], median(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_figures_have_none() {
        assert_eq!(noise(&[5.0; 6]), 0.0);
        assert_eq!(noise(&[0.0; 6]), 0.0);
        assert!(noise(&[5.0]).is_nan());
    }

    #[test]
    fn two_figures_differ_by_what_they_differ() {
        assert_eq!(noise(&[100.0, 120.0]), 20.0 / 110.0);
    }

    #[test]
    fn their_order_does_not_matter_and_one_stray_counts_for_little() {
        let (a, b) = (
            [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            [6.0, 1.0, 4.0, 3.0, 2.0, 5.0],
        );
        assert_eq!(noise(&a), noise(&b));
        assert!(noise(&[100.0, 100.0, 100.0, 100.0, 100.0, 900.0]) < 0.01);
    }
}
