//! The figures of one load, as they are printed, charted and compared.

use duolog::Durability;
use serde::Serialize;

use super::fairness::Fairness;
use super::load::{Load, Measured};
use super::meter::quantile_us;
use super::raw::RawAppend;
use super::{float, ratio, rounded};
use crate::output;
use crate::topic::durability;
use crate::units;

/// Quantiles of the curve, closer to each other towards the end.
const QUANTILES: &[f64] = &[
    0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999, 1.0,
];

/// What was done: two results may be compared only where this is the same.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Work {
    pub(super) threads: u32,
    pub(super) size: u32,
    pub(super) batch: u32,
    pub(super) durability: Durability,
    pub(super) partitions: u32,
    pub(super) compress: bool,
    pub(super) nowait: Option<u32>,
    pub(super) linger_us: u64,
    /// Messages a second that were asked for; null for as many as go.
    pub(super) rate: Option<f64>,
}

impl Work {
    /// Of a load.
    pub(super) fn of(load: &Load) -> Self {
        Self {
            threads: load.threads,
            size: load.size,
            batch: load.batch,
            durability: load.durability,
            partitions: load.partitions,
            compress: load.compress,
            nowait: load.nowait,
            linger_us: u64::try_from(load.linger().as_micros()).unwrap_or(u64::MAX),
            rate: load.rate,
        }
    }
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    #[serde(flatten)]
    pub(super) work: Work,
    pub(super) back_end: String,
    pub(super) messages_per_second: f64,
    pub(super) bytes_per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p90_us: f64,
    pub(super) p99_us: f64,
    pub(super) p999_us: f64,
    pub(super) p9999_us: f64,
    pub(super) max_us: f64,
    /// Latencies that were taken; a percentile is worth what lies beyond it.
    pub(super) samples: u64,
    pub(super) messages: u64,
    pub(super) seconds: f64,
    pub(super) syncs: u64,
    pub(super) syncs_per_second: f64,
    pub(super) records_per_sync: f64,
    /// Bytes written to the log and to segments for each byte accepted.
    pub(super) write_amplification: f64,
    /// The same as the kernel counted it; null if it does not.
    pub(super) kernel_write_amplification: Option<f64>,
    pub(super) cpu_seconds: f64,
    pub(super) cpu_us_per_message: f64,
    pub(super) peak_memory_bytes: u64,
    #[serde(flatten)]
    pub(super) fairness: Fairness,
    pub(super) verified_messages: Option<u64>,
    /// What one step of the raw loop is.
    pub(super) raw: &'static str,
    pub(super) raw_messages_per_second: f64,
    pub(super) raw_p50_us: f64,
    pub(super) ratio_to_raw: f64,
    /// Pairs of a quantile and microseconds.
    pub(super) latency_curve_us: Vec<(f64, f64)>,
    /// The same of the raw loop.
    pub(super) raw_latency_curve_us: Vec<(f64, f64)>,
}

impl Figures {
    /// Of a load that ran beside `raw`.
    pub(super) fn new(load: &Load, measured: &Measured, raw: &RawAppend) -> Self {
        let rate = ratio(float(measured.records), measured.seconds);
        let raw_rate = raw.rate() * f64::from(load.batch);
        let latency = &measured.latency;
        let us = |quantile| rounded(quantile_us(latency, quantile));
        let accepted = float(measured.whole.bytes_appended);
        let written = measured.whole.wal_bytes + measured.whole.segment_bytes;
        let by_kernel = measured.kernel_written_bytes;
        let cpu_us = measured.cpu_seconds * 1e6;
        let curve = |histogram| {
            let at = |quantile: &f64| (*quantile, rounded(quantile_us(histogram, *quantile)));
            QUANTILES.iter().map(at).collect()
        };
        Self {
            work: Work::of(load),
            back_end: measured.back_end.clone(),
            messages_per_second: rounded(rate),
            bytes_per_second: rounded(rate * f64::from(load.size)),
            p50_us: us(0.5),
            p90_us: us(0.9),
            p99_us: us(0.99),
            p999_us: us(0.999),
            p9999_us: us(0.9999),
            max_us: us(1.0),
            samples: latency.len(),
            messages: measured.records,
            seconds: rounded(measured.seconds),
            syncs: measured.syncs,
            syncs_per_second: rounded(ratio(float(measured.syncs), measured.seconds)),
            records_per_sync: rounded(ratio(float(measured.records), float(measured.syncs))),
            write_amplification: rounded(ratio(float(written), accepted)),
            kernel_write_amplification: by_kernel
                .map(|bytes| rounded(ratio(float(bytes), accepted))),
            cpu_seconds: rounded(measured.cpu_seconds),
            cpu_us_per_message: rounded(ratio(cpu_us, float(measured.records))),
            peak_memory_bytes: measured.peak_memory_bytes,
            fairness: Fairness::of(&measured.shares),
            verified_messages: measured.verified,
            raw: raw.step_name(),
            raw_messages_per_second: rounded(raw_rate),
            raw_p50_us: rounded(quantile_us(raw.latency(), 0.5)),
            ratio_to_raw: rounded(ratio(rate, raw_rate)),
            latency_curve_us: curve(latency),
            raw_latency_curve_us: curve(raw.latency()),
        }
    }

    /// As people read it.
    pub(super) fn text(&self) -> String {
        let rate = |rate: f64| format!("{rate:.0}/s");
        let us = |us: f64| format!("{us:.1} us");
        let fair = &self.fairness;
        let mut pairs = vec![
            ("durability", durability(self.work.durability).to_owned()),
            ("back end", self.back_end.clone()),
            ("messages", units::count(self.messages)),
            ("throughput", rate(self.messages_per_second)),
            (
                "payload",
                format!("{:.1} MiB/s", self.bytes_per_second / 1_048_576.0),
            ),
            ("p50", us(self.p50_us)),
            ("p90", us(self.p90_us)),
            ("p99", us(self.p99_us)),
            ("p99.9", us(self.p999_us)),
            ("p99.99", us(self.p9999_us)),
            ("max", us(self.max_us)),
            ("syncs", units::count(self.syncs)),
            ("syncs a second", rate(self.syncs_per_second)),
            ("records a sync", format!("{:.1}", self.records_per_sync)),
            (
                "write amplification",
                format!("{:.2} bytes for each accepted", self.write_amplification),
            ),
            (
                "processor",
                format!(
                    "{:.2} s, {:.2} us a message",
                    self.cpu_seconds, self.cpu_us_per_message
                ),
            ),
            ("peak memory", units::size(self.peak_memory_bytes)),
            (
                "fairness",
                format!(
                    "{:.2} ({} to {} messages a thread)",
                    fair.min_max_ratio,
                    units::count(fair.min_messages),
                    units::count(fair.max_messages)
                ),
            ),
            (
                "raw loop",
                format!("{} ({})", rate(self.raw_messages_per_second), self.raw),
            ),
            ("raw p50", us(self.raw_p50_us)),
            ("ratio to raw", format!("{:.2}", self.ratio_to_raw)),
        ];
        if let Some(records) = self.verified_messages {
            pairs.push(("read back", units::count(records)));
        }
        output::pairs(&pairs)
    }

    /// The part of the curve that has enough samples: ten beyond each point.
    pub(super) fn solid_curve(&self) -> Vec<(f64, f64)> {
        let enough = |quantile: f64| float(self.samples) * (1.0 - quantile) >= 10.0;
        let points = self.latency_curve_us.iter().copied();
        points.filter(|(quantile, _)| enough(*quantile)).collect()
    }
}

/// The bytes that one call appends, to write raw.
pub(super) fn call_len(load: &Load) -> u64 {
    u64::from(load.size) * u64::from(load.batch)
}
