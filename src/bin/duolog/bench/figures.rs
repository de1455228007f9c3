//! The figures of one load, as they are printed, charted and compared.

use serde::Serialize;

use super::fairness::Fairness;
use super::load::{Load, Measured, Work};
use super::meter::quantile_us;
use super::probe;
use super::raw::RawAppend;
use super::usage::PeakMemory;
use super::{float, ratio, rounded};
use crate::output;
use crate::topic::durability;
use crate::units;

/// Quantiles of the curve, closer to each other towards the end.
const QUANTILES: &[f64] = &[
    0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999, 1.0,
];

/// What the disk does with several direct writes under way.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct DeepRaw {
    /// Writes under way: as many as the log may have.
    pub(super) depth: u32,
    pub(super) messages_per_second: f64,
    /// Throughput by that of these writes.
    pub(super) ratio: f64,
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
    #[serde(flatten)]
    pub(super) peak_memory: PeakMemory,
    #[serde(flatten)]
    pub(super) fairness: Fairness,
    pub(super) verified_messages: Option<u64>,
    /// What one step of the raw loop is.
    pub(super) raw: &'static str,
    pub(super) raw_messages_per_second: f64,
    pub(super) raw_p50_us: f64,
    pub(super) ratio_to_raw: f64,
    /// Beside durable appends with tickets; null for others, and where the file
    /// system refuses direct writes.
    pub(super) deep_raw: Option<DeepRaw>,
    /// Pairs of a quantile and microseconds.
    pub(super) latency_curve_us: Vec<(f64, f64)>,
    /// The same of the raw loop.
    pub(super) raw_latency_curve_us: Vec<(f64, f64)>,
}

impl DeepRaw {
    fn new(load: &Load, rate: f64, deep: &probe::Figures) -> Self {
        let raw_rate = deep.writes_per_second * f64::from(load.work.batch);
        Self {
            depth: deep.depth,
            messages_per_second: rounded(raw_rate),
            ratio: rounded(ratio(rate, raw_rate)),
        }
    }
}

impl Figures {
    /// Of a load that ran beside `raw`.
    pub(super) fn new(
        load: &Load,
        measured: &Measured,
        raw: &RawAppend,
        deep: Option<&probe::Figures>,
    ) -> Self {
        let rate = ratio(float(measured.records), measured.seconds);
        let raw_rate = raw.rate() * f64::from(load.work.batch);
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
            work: load.work.clone(),
            back_end: measured.back_end.clone(),
            messages_per_second: rounded(rate),
            bytes_per_second: rounded(rate * f64::from(load.work.size)),
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
            peak_memory: measured.peak_memory,
            fairness: Fairness::of(&measured.shares),
            verified_messages: measured.verified,
            raw: raw.step_name(),
            raw_messages_per_second: rounded(raw_rate),
            raw_p50_us: rounded(quantile_us(raw.latency(), 0.5)),
            ratio_to_raw: rounded(ratio(rate, raw_rate)),
            deep_raw: deep.map(|deep| DeepRaw::new(load, rate, deep)),
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
            ("peak memory", self.peak_memory.text()),
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
        if let Some(deep) = self.deep_raw {
            let under_way = format!("{} direct writes under way", deep.depth);
            let rate = rate(deep.messages_per_second);
            pairs.push(("raw, deep", format!("{rate} ({under_way})")));
            pairs.push(("ratio to raw, deep", format!("{:.2}", deep.ratio)));
        }
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
