//! `duolog bench append`: calls, latency and throughput of appends.
//!
//! The order of a run: a third of the time the raw loop, then the engine, then
//! the raw loop again, so that a disk that drifts does not flatter either.

use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant};

use duolog::{
    AppendOptions, Codec, Durability, Engine, Options, Record, Retention, Ticket, Topic,
    TopicOptions,
};
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use serde::Serialize;

use super::meter::{Meter, histogram, quantile_us};
use super::payload::Payload;
use super::raw::RawAppend;
use super::scratch::Scratch;
use super::{EXAMPLES, Place, float, ratio, rounded, to_u64};
use crate::failure::{Done, Failure};
use crate::output::{self, Progress};
use crate::signals;
use crate::topic::{durability, durability_parser};
use crate::units;

/// Calls between two looks at the clock where a call costs less than the look.
const SAMPLE_EVERY: usize = 64;

/// What the topic may keep on disk: a long run must not fill the disk.
const KEPT_BYTES: u64 = 4 << 30;

/// Append for some seconds, and measure calls and throughput.
///
/// Beside it runs a plain loop, before and after: the bytes of a batch over
/// blocks that were written before, rounded up to 4 KiB and synced if appends
/// are durable.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// Threads that append.
    #[arg(short, long, value_name = "N", default_value = "1")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
    /// Bytes of a value.
    #[arg(short, long, value_name = "BYTES", default_value = "1KiB")]
    #[arg(value_parser = units::parse_size_u32)]
    size: u32,
    /// Records of an append.
    #[arg(short, long, value_name = "N", default_value = "1")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: u32,
    /// What an append promises.
    #[arg(long, value_name = "LEVEL", default_value = "durable")]
    #[arg(value_parser = durability_parser())]
    durability: Durability,
    /// Seconds to measure.
    #[arg(long, value_name = "S", default_value = "5", value_parser = parse_seconds)]
    seconds: Duration,
    /// Seconds to append before that.
    #[arg(long, value_name = "S", default_value = "1", value_parser = parse_seconds)]
    warmup: Duration,
    /// Compress with lz4; the values are then words and not noise.
    #[arg(long)]
    compress: bool,
    /// Partitions of the topic.
    #[arg(long, value_name = "N", default_value = "1")]
    partitions: u32,
    /// Do not wait for each append: keep so many in flight.
    #[arg(long, value_name = "DEPTH")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=65_536))]
    nowait: Option<u32>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok();
    let seconds = seconds.filter(|seconds: &f64| (0.0..=86_400.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("{text:?} is not a number of seconds up to a day"))
}

/// What came out.
#[derive(Debug, Serialize)]
struct Report {
    threads: u32,
    size: u32,
    batch: u32,
    durability: Durability,
    partitions: u32,
    compress: bool,
    nowait: Option<u32>,
    back_end: String,
    messages_per_second: f64,
    bytes_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
    messages: u64,
    syncs: u64,
    records_per_sync: f64,
    /// What one step of the raw loop is.
    raw: &'static str,
    raw_messages_per_second: f64,
    raw_p50_us: f64,
    ratio_to_raw: f64,
}

/// Measures appends.
pub(super) fn run(args: &Args) -> Result<Done, Failure> {
    let scratch = Scratch::new(&args.place.dir)?;
    let size = usize::try_from(args.size).unwrap_or(usize::MAX);
    let payload = Payload::new(size, args.compress);
    let batch = payload.bytes(size * usize::try_from(args.batch).unwrap_or(1));
    let sync = args.durability == Durability::Durable;
    let bar = progress_in_time(args);

    let mut raw = RawAppend::prepare(&scratch.join("raw"), batch, sync)?;
    raw.run(args.seconds / 3)?;
    bar.inc(millis(args.seconds / 3));
    // Closed before the raw loop goes on: nothing else may write meanwhile.
    let measured = measure(args, &scratch, &payload, &bar)?;
    raw.run(args.seconds / 3)?;
    bar.finish_and_clear();
    signals::check()?;

    let report = measured.report(args, &raw);
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print(&report.text())?;
    }
    Ok(Done::Well)
}

fn progress_in_time(args: &Args) -> ProgressBar {
    let total = args.warmup + args.seconds + args.seconds / 3 * 2;
    output::progress(Progress::Milliseconds, millis(total), "append")
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What all threads measured together.
struct Measured {
    rate: f64,
    messages: u64,
    latency: Histogram<u64>,
    syncs: u64,
    records: u64,
    back_end: String,
}

#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn measure(
    args: &Args,
    scratch: &Scratch,
    payload: &Payload,
    bar: &ProgressBar,
) -> Result<Measured, Failure> {
    let engine = Engine::open(scratch.join("store"), Options::default())?;
    let topic = engine.create_topic("bench", topic_options(args))?;
    let begin = Instant::now() + args.warmup;
    let end = begin + args.seconds;
    let (meters, stats) = thread::scope(|scope| {
        let work = || append_until(args, &topic, payload, Meter::new(begin, end)?);
        let threads: Result<Vec<_>, _> = (0..args.threads)
            .map(|_| thread::Builder::new().spawn_scoped(scope, work))
            .collect();
        let threads = threads.map_err(|error| Failure::io("start a thread", error))?;
        sleep_until(begin, bar);
        let before = engine.stats();
        sleep_until(end, bar);
        let after = engine.stats();
        let meters: Result<Vec<Meter>, Failure> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(ended_early())))
            .collect();
        Ok::<_, Failure>((meters?, (before, after)))
    })?;
    let back_end = engine.info().back_end;
    engine.close()?;
    let mut latency = histogram()?;
    for meter in &meters {
        latency
            .add(meter.latency())
            .map_err(|error| Failure::Refused(format!("cannot add histograms: {error}")))?;
    }
    let (before, after) = stats;
    Ok(Measured {
        rate: meters.iter().map(Meter::rate).sum(),
        messages: meters.iter().map(Meter::messages).sum(),
        latency,
        syncs: after.wal_syncs.saturating_sub(before.wal_syncs),
        records: after
            .records_appended
            .saturating_sub(before.records_appended),
        back_end,
    })
}

fn ended_early() -> Failure {
    Failure::Refused("a thread that appended ended early".to_owned())
}

fn topic_options(args: &Args) -> TopicOptions {
    let defaults = TopicOptions::default();
    let codec = if args.compress {
        Codec::Lz4
    } else {
        Codec::None
    };
    // Room for the value and what a record has beside it.
    let record_bytes = args.size.saturating_add(1 << 10);
    let kept = KEPT_BYTES / u64::from(args.partitions.max(1));
    defaults
        .clone()
        .partitions(args.partitions)
        .durability(args.durability)
        .codec(codec)
        .record_bytes_max(record_bytes.max(defaults.record_bytes_max))
        .retention(Retention::default().bytes(kept))
}

#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn sleep_until(when: Instant, bar: &ProgressBar) {
    while let Some(left) = when.checked_duration_since(Instant::now()) {
        let nap = left.min(signals::LOOK_EVERY);
        if nap.is_zero() || signals::stopped() {
            return;
        }
        thread::sleep(nap);
        bar.inc(millis(nap));
    }
}

/// What one thread does.
fn append_until(
    args: &Args,
    topic: &Topic,
    payload: &Payload,
    meter: Meter,
) -> Result<Meter, Failure> {
    let batches = payload.batches(usize::try_from(args.batch).unwrap_or(1));
    match args.nowait {
        Some(depth) => pipelined(topic, &batches, depth, meter),
        None if args.batch == 1 && args.durability != Durability::Durable => {
            one_by_one_sampled(topic, &batches, meter)
        }
        None => one_call_at_a_time(topic, &batches, meter),
    }
}

#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn one_call_at_a_time(
    topic: &Topic,
    batches: &[Vec<Record<'_>>],
    mut meter: Meter,
) -> Result<Meter, Failure> {
    let options = AppendOptions::default();
    let mut before = Instant::now();
    for records in batches.iter().cycle() {
        if let [record] = records.as_slice() {
            topic.append(record)?;
        } else {
            topic.append_batch(records, &options)?;
        }
        let after = Instant::now();
        meter.call(after.duration_since(before));
        if !meter.tick(after, to_u64(records.len())) {
            break;
        }
        before = after;
    }
    Ok(meter)
}

/// Looks at the clock once in [`SAMPLE_EVERY`] calls.
#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn one_by_one_sampled(
    topic: &Topic,
    batches: &[Vec<Record<'_>>],
    mut meter: Meter,
) -> Result<Meter, Failure> {
    let mut records = batches.iter().flatten().cycle();
    loop {
        let before = Instant::now();
        for record in records.by_ref().take(1) {
            topic.append(record)?;
        }
        meter.call(before.elapsed());
        for record in records.by_ref().take(SAMPLE_EVERY - 1) {
            topic.append(record)?;
        }
        if !meter.tick(Instant::now(), to_u64(SAMPLE_EVERY)) {
            return Ok(meter);
        }
    }
}

/// Keeps `depth` appends in flight; a latency is from call to acknowledgement.
#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn pipelined(
    topic: &Topic,
    batches: &[Vec<Record<'_>>],
    depth: u32,
    mut meter: Meter,
) -> Result<Meter, Failure> {
    let depth = usize::try_from(depth).unwrap_or(usize::MAX);
    let options = AppendOptions::default();
    let mut in_flight: VecDeque<(Ticket, Instant, u64)> = VecDeque::with_capacity(depth);
    for records in batches.iter().cycle() {
        if in_flight.len() >= depth
            && let Some((ticket, called, messages)) = in_flight.pop_front()
        {
            ticket.wait()?;
            let now = Instant::now();
            meter.call(now.duration_since(called));
            if !meter.tick(now, messages) {
                break;
            }
        }
        let called = Instant::now();
        let ticket = topic.append_nowait(records, &options)?;
        in_flight.push_back((ticket, called, to_u64(records.len())));
    }
    // After the end: acknowledged, but not counted.
    for (ticket, _, _) in in_flight {
        ticket.wait()?;
    }
    Ok(meter)
}

impl Measured {
    fn report(self, args: &Args, raw: &RawAppend) -> Report {
        let raw_rate = raw.rate() * f64::from(args.batch);
        let us = |quantile| rounded(quantile_us(&self.latency, quantile));
        let synced = args.durability == Durability::Durable;
        Report {
            threads: args.threads,
            size: args.size,
            batch: args.batch,
            durability: args.durability,
            partitions: args.partitions,
            compress: args.compress,
            nowait: args.nowait,
            messages_per_second: rounded(self.rate),
            bytes_per_second: rounded(self.rate * f64::from(args.size)),
            p50_us: us(0.5),
            p99_us: us(0.99),
            p999_us: us(0.999),
            max_us: us(1.0),
            messages: self.messages,
            syncs: self.syncs,
            records_per_sync: rounded(ratio(float(self.records), float(self.syncs))),
            raw: if synced { "pwrite+fdatasync" } else { "pwrite" },
            raw_messages_per_second: rounded(raw_rate),
            raw_p50_us: rounded(quantile_us(raw.latency(), 0.5)),
            ratio_to_raw: rounded(ratio(self.rate, raw_rate)),
            back_end: self.back_end,
        }
    }
}

impl Report {
    fn text(&self) -> String {
        let rate = |rate: f64| format!("{rate:.0}/s");
        let us = |us: f64| format!("{us:.1} us");
        output::pairs(&[
            ("durability", durability(self.durability).to_owned()),
            ("back end", self.back_end.clone()),
            ("messages", units::count(self.messages)),
            ("throughput", rate(self.messages_per_second)),
            (
                "payload",
                format!("{:.1} MiB/s", self.bytes_per_second / 1_048_576.0),
            ),
            ("p50", us(self.p50_us)),
            ("p99", us(self.p99_us)),
            ("p99.9", us(self.p999_us)),
            ("max", us(self.max_us)),
            ("syncs", units::count(self.syncs)),
            ("records a sync", format!("{:.1}", self.records_per_sync)),
            (
                "raw loop",
                format!("{} ({})", rate(self.raw_messages_per_second), self.raw),
            ),
            ("raw p50", us(self.raw_p50_us)),
            ("ratio to raw", format!("{:.2}", self.ratio_to_raw)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_have_a_fraction_and_a_bound() {
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["", "-1", "1e9", "NaN", "inf", "s"] {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
    }
}
