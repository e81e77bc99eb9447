//! Percentiles of durations.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long things took.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half took at most this long, in microseconds.
    pub p50_us: f64,
    /// All but one in a hundred took at most this long, in microseconds.
    pub p99_us: f64,
    /// How many were measured.
    pub count: usize,
}

impl Percentiles {
    /// Of some durations, in any order. Of none, all is 0.
    #[must_use]
    pub fn of(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        let at = |share: f64| {
            let last = durations.len().saturating_sub(1);
            // The position is between 0 and `last`.
            let position = (last as f64 * share).round() as usize;
            durations.get(position).map_or(0.0, |duration| duration.as_secs_f64() * 1e6)
        };
        Self { p50_us: at(0.5), p99_us: at(0.99), count: durations.len() }
    }
}

/// The middle of some figures; of an even number, the mean of the two in the middle. NaN of none.
#[must_use]
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_durations() {
        let percentiles = Percentiles::of((0..=100).rev().map(Duration::from_micros).collect());
        assert_eq!((percentiles.p50_us, percentiles.p99_us, percentiles.count), (50.0, 99.0, 101));
        assert_eq!(Percentiles::of(Vec::new()).p99_us, 0.0);
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_two_in_the_middle() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert!(median(&[]).is_nan());
    }
}
