//! Whether all threads got their share: a mean hides one that starved.

use serde::Serialize;

use super::{float, ratio, rounded};

/// Messages of the thread with the fewest and of the one with the most.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Fairness {
    #[serde(rename = "fairness_min_messages")]
    pub(super) min_messages: u64,
    #[serde(rename = "fairness_max_messages")]
    pub(super) max_messages: u64,
    /// The fewest of the most: 1 is even, 0 is a thread that got nothing.
    #[serde(rename = "fairness_min_max_ratio")]
    pub(super) min_max_ratio: f64,
}

impl Fairness {
    /// Of the messages of each thread.
    pub(super) fn of(messages: &[u64]) -> Self {
        let min = messages.iter().copied().min().unwrap_or(0);
        let max = messages.iter().copied().max().unwrap_or(0);
        Self {
            min_messages: min,
            max_messages: max,
            min_max_ratio: rounded(ratio(float(min), float(max))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_starved_shows() {
        let share = |messages: &[u64]| Fairness::of(messages).min_max_ratio;
        assert!((share(&[10, 10]) - 1.0).abs() < 1e-9);
        assert!((share(&[5, 10, 8]) - 0.5).abs() < 1e-9);
        assert!(share(&[0, 10]).abs() < 1e-9);
        assert!(share(&[]).abs() < 1e-9);
    }
}
