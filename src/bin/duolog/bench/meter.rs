//! What one thread measures: messages, time, and the latency of its calls.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::float;
use crate::failure::Failure;
use crate::signals;

/// Longest latency that is told apart, in nanoseconds: a minute.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// A histogram of nanoseconds, exact to three digits.
pub(super) fn histogram() -> Result<Histogram<u64>, Failure> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)
        .map_err(|error| Failure::Refused(format!("cannot make a histogram: {error}")))
}

/// Adds one latency.
pub(super) fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
    histogram.saturating_record(ns);
}

/// A quantile in microseconds; zero if nothing was measured.
pub(super) fn quantile_us(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    float(histogram.value_at_quantile(quantile)) / 1000.0
}

/// Counts what is done between a beginning and an end.
#[derive(Debug)]
pub(super) struct Meter {
    begin: Instant,
    end: Instant,
    /// True after the first tick after the beginning: from here on it counts.
    started: bool,
    messages: u64,
    latency: Histogram<u64>,
}

impl Meter {
    /// Counts from `begin` to `end`.
    pub(super) fn new(begin: Instant, end: Instant) -> Result<Self, Failure> {
        Ok(Self {
            begin,
            end,
            started: false,
            messages: 0,
            latency: histogram()?,
        })
    }

    /// Notes the latency of a call.
    pub(super) fn call(&mut self, latency: Duration) {
        if self.started {
            record(&mut self.latency, latency);
        }
    }

    /// Notes that `messages` are done since the last tick; false if it is over.
    pub(super) fn tick(&mut self, now: Instant, messages: u64) -> bool {
        if self.started {
            self.messages += messages;
        } else if now >= self.begin {
            self.started = true;
        }
        now < self.end && !signals::stopped()
    }

    /// When it is over.
    pub(super) fn end(&self) -> Instant {
        self.end
    }

    /// Messages that were counted.
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// The latencies of the calls.
    pub(super) fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn what_is_done_before_the_beginning_does_not_count() {
        let at = |seconds| Duration::from_secs(seconds);
        let zero = Instant::now();
        let mut meter = Meter::new(zero + at(10), zero + at(20)).unwrap();
        assert!(meter.tick(zero + at(1), 1000));
        meter.call(at(1));
        assert!(meter.tick(zero + at(11), 1000));
        meter.call(Duration::from_micros(5));
        assert!(meter.tick(zero + at(15), 30));
        assert!(!meter.tick(zero + at(21), 20));
        assert_eq!(meter.messages(), 50);
        assert_eq!(meter.latency().len(), 1);
        assert!((quantile_us(meter.latency(), 0.5) - 5.0).abs() < 0.01);
    }
}
