//! `duolog bench queue`: messages through one queue, while others are sent.
//!
//! The order of a run: the raw loop, then the queue is filled to its depth and a
//! checkpoint made, then it is measured, then the raw loop again, so that a disk
//! that drifts does not flatter either.

use std::time::Duration;

use duolog::Durability;
use serde::Serialize;

use super::compare::{self, REPORT_FORMAT};
use super::environment::Environment;
use super::fairness::Fairness;
use super::meter::quantile_us;
use super::payload::Payload;
use super::raw::RawAppend;
use super::scratch::Scratch;
use super::usage::PeakMemory;
use super::{Place, as_json, float, ratio, rounded};
use crate::failure::{Done, Failure};
use crate::output;
use crate::signals;
use crate::topic::durability_parser;
use crate::units;

mod work;

use work::{Load, Measured};

const EXAMPLES: &str = "\
Examples:
  duolog bench queue --dir /var/tmp --producers 4 --consumers 4 --batch 100
  duolog bench queue --dir /var/tmp --batch 100 --durability buffered --json
  duolog bench queue --dir /var/tmp --compare old.json --tolerance 20%

What a queue is made for: 300,000 durable and 1,500,000 buffered messages a second
through one queue in batches of 100, at any depth. On your disk, beside the raw
loop:
  for level in durable buffered; do for depth in 0 1M 10M; do
    duolog bench queue --dir /var/tmp --producers 4 --consumers 4 --batch 100 \\
      --size 100 --messages 2M --durability $level --depth $depth
  done; done
A depth of 10M at 100 bytes takes up to 2 GiB of disk.";

/// How long each of the two runs of the raw loop takes.
const RAW: Duration = Duration::from_millis(500);

/// Send, receive and acknowledge at the same time, and measure the whole cycle.
///
/// The queue is filled to its depth first, which does not count. Then producers
/// send, and consumers receive and acknowledge a batch in one commit, until so
/// many messages went in and so many went out.
///
/// p50 and p99 are those of a consumer's batch: from the call of receive until its
/// acknowledgement has returned, with the wait for messages where there were none.
/// Those of a call of send stand beside them, as `send_p50_us` and `send_p99_us`.
///
/// Beside it runs a plain loop, before and after: the bytes of a batch over blocks
/// that were written before, rounded up to 4 KiB and synced if sends are durable.
/// A message costs one such write and an acknowledgement.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// Threads that send.
    #[arg(short, long, value_name = "N", default_value = "1")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1024))]
    producers: u32,
    /// Threads that receive and acknowledge.
    #[arg(short, long, value_name = "N", default_value = "1")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1024))]
    consumers: u32,
    /// Messages of a send, and most messages of a receive.
    #[arg(short, long, value_name = "N", default_value = "100")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: u32,
    /// Bytes of a body.
    #[arg(short, long, value_name = "BYTES", default_value = "1KiB")]
    #[arg(value_parser = units::parse_size_u32)]
    size: u32,
    /// What sends and acknowledgements promise.
    #[arg(long, value_name = "LEVEL", default_value = "durable")]
    #[arg(value_parser = durability_parser())]
    durability: Durability,
    /// Messages that go through, such as 200000, 200k or 2M.
    #[arg(short, long, value_name = "N", default_value = "200k", value_parser = parse_messages)]
    messages: u64,
    /// Messages that are in the queue before, and after.
    #[arg(long, value_name = "N", default_value = "0", value_parser = parse_count)]
    depth: u64,
    /// Shards of the queue.
    #[arg(long, value_name = "N", default_value = "1")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=256))]
    shards: u32,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compare: compare::Flags,
}

/// Reads a number of messages: `200000`, `200k`, `2M`.
fn parse_count(text: &str) -> Result<u64, String> {
    let (number, scale) = match text.strip_suffix(['k', 'K']) {
        Some(number) => (number, 1000),
        None => text
            .strip_suffix('M')
            .map_or((text, 1), |number| (number, 1_000_000)),
    };
    let number: Option<u64> = number.parse().ok();
    let count = number.and_then(|number| number.checked_mul(scale));
    count
        .filter(|count| *count <= MESSAGES_MAX)
        .ok_or_else(|| format!("{text:?} is not a number of messages up to 10000M; write 200k"))
}

const MESSAGES_MAX: u64 = 10_000_000_000;

/// The same, but at least one.
fn parse_messages(text: &str) -> Result<u64, String> {
    match parse_count(text)? {
        0 => Err("0 messages are nothing to measure; write 200k".to_owned()),
        count => Ok(count),
    }
}

/// What was done: only the same work is compared.
#[derive(Debug, Serialize)]
struct Work {
    producers: u32,
    consumers: u32,
    batch: u32,
    size: u32,
    durability: Durability,
    messages: u64,
    depth: u64,
    shards: u32,
}

/// What came out.
#[derive(Debug, Serialize)]
struct Report {
    kind: &'static str,
    format: u64,
    #[serde(flatten)]
    work: Work,
    back_end: String,
    /// Messages that went in and out again, over the time until the last was
    /// acknowledged.
    messages_per_second: f64,
    /// The same until the last was sent.
    send_per_second: f64,
    /// The same until the last was acknowledged, from the first receive on.
    receive_per_second: f64,
    /// What the percentiles are of.
    latency: &'static str,
    p50_us: f64,
    p99_us: f64,
    send_p50_us: f64,
    send_p99_us: f64,
    /// Messages that a receive got on average.
    messages_per_receive: f64,
    seconds: f64,
    syncs: u64,
    messages_per_sync: f64,
    cpu_seconds: f64,
    cpu_us_per_message: f64,
    /// From before the queue was filled.
    #[serde(flatten)]
    peak_memory: PeakMemory,
    /// Of the ledger alone, at the end.
    ledger_memory_bytes: u64,
    /// Of the consumers.
    #[serde(flatten)]
    fairness: Fairness,
    fill_per_second: f64,
    raw: &'static str,
    raw_messages_per_second: f64,
    raw_p50_us: f64,
    ratio_to_raw: f64,
    environment: Environment,
}

/// Measures a queue.
pub(super) fn run(args: &Args) -> Result<Done, Failure> {
    let work = args.work();
    let baseline = args.compare.load("queue", &as_json(&work)?)?;
    let scratch = Scratch::new(&args.place.dir)?;
    let environment = Environment::look(scratch.path())?;
    let size = usize::try_from(args.size).unwrap_or(usize::MAX);
    let payload = Payload::new(size, false);
    let batch = u64::from(args.size) * u64::from(args.batch);
    let batch = payload.bytes(usize::try_from(batch).unwrap_or(usize::MAX));
    let sync = args.durability == Durability::Durable;

    let mut raw = RawAppend::prepare(&scratch.join("raw"), batch, sync)?;
    raw.run(RAW)?;
    // Closed before the raw loop goes on: nothing else may write meanwhile.
    let measured = args.load().run(&scratch.join("store"), &payload)?;
    raw.run(RAW)?;
    signals::check()?;

    let report = Report::new(work, &measured, &raw, environment);
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print(&report.text())?;
    }
    match baseline {
        Some(baseline) => baseline.judge(&as_json(&report)?, args.json),
        None => Ok(Done::Well),
    }
}

impl Args {
    fn work(&self) -> Work {
        Work {
            producers: self.producers,
            consumers: self.consumers,
            batch: self.batch,
            size: self.size,
            durability: self.durability,
            messages: self.messages,
            depth: self.depth,
            shards: self.shards,
        }
    }

    fn load(&self) -> Load {
        Load {
            producers: self.producers,
            consumers: self.consumers,
            batch: usize::try_from(self.batch).unwrap_or(usize::MAX),
            size: self.size,
            durability: self.durability,
            messages: self.messages,
            depth: self.depth,
            shards: self.shards,
        }
    }
}

impl Report {
    fn new(work: Work, measured: &Measured, raw: &RawAppend, environment: Environment) -> Self {
        let messages = float(work.messages);
        let rate = |time: Duration| ratio(messages, time.as_secs_f64());
        let us = |histogram, quantile| rounded(quantile_us(histogram, quantile));
        let whole = rate(measured.elapsed);
        let raw_rate = raw.rate() * f64::from(work.batch);
        let fill = ratio(float(work.depth), measured.filling.as_secs_f64());
        Self {
            kind: "queue",
            format: REPORT_FORMAT,
            back_end: measured.back_end.clone(),
            messages_per_second: rounded(whole),
            send_per_second: rounded(rate(measured.sending)),
            receive_per_second: rounded(rate(measured.receiving)),
            latency: "receive and acknowledge a batch, waits for messages included",
            p50_us: us(&measured.cycle, 0.5),
            p99_us: us(&measured.cycle, 0.99),
            send_p50_us: us(&measured.send, 0.5),
            send_p99_us: us(&measured.send, 0.99),
            messages_per_receive: rounded(ratio(messages, float(measured.cycle.len()))),
            seconds: rounded(measured.elapsed.as_secs_f64()),
            syncs: measured.syncs,
            messages_per_sync: rounded(ratio(messages, float(measured.syncs))),
            cpu_seconds: rounded(measured.cpu_seconds),
            cpu_us_per_message: rounded(ratio(measured.cpu_seconds * 1e6, messages)),
            peak_memory: measured.peak_memory,
            ledger_memory_bytes: measured.ledger_memory_bytes,
            fairness: Fairness::of(&measured.shares),
            fill_per_second: rounded(fill),
            raw: raw.step_name(),
            raw_messages_per_second: rounded(raw_rate),
            raw_p50_us: us(raw.latency(), 0.5),
            ratio_to_raw: rounded(ratio(whole, raw_rate)),
            environment,
            work,
        }
    }

    fn text(&self) -> String {
        let rate = |rate: f64| format!("{rate:.0}/s");
        let us = |us: f64| format!("{us:.1} us");
        let fair = &self.fairness;
        let mut pairs = vec![
            (
                "durability",
                crate::topic::durability(self.work.durability).to_owned(),
            ),
            ("back end", self.back_end.clone()),
            ("messages", units::count(self.work.messages)),
            ("depth", units::count(self.work.depth)),
            ("whole cycle", rate(self.messages_per_second)),
            ("send", rate(self.send_per_second)),
            ("receive and ack", rate(self.receive_per_second)),
            ("p50 of receive and ack", us(self.p50_us)),
            ("p99 of receive and ack", us(self.p99_us)),
            ("p50 of a send", us(self.send_p50_us)),
            ("p99 of a send", us(self.send_p99_us)),
            (
                "messages a receive",
                format!("{:.1}", self.messages_per_receive),
            ),
            ("syncs", units::count(self.syncs)),
            ("messages a sync", format!("{:.1}", self.messages_per_sync)),
            (
                "processor",
                format!(
                    "{:.2} s, {:.2} us a message",
                    self.cpu_seconds, self.cpu_us_per_message
                ),
            ),
            ("peak memory", self.peak_memory.text()),
            ("ledger in memory", units::size(self.ledger_memory_bytes)),
            (
                "fairness",
                format!(
                    "{:.2} ({} to {} messages a consumer)",
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
        if self.work.depth > 0 {
            pairs.push(("filling", rate(self.fill_per_second)));
        }
        output::pairs(&pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_messages_may_be_short() {
        assert_eq!(parse_count("0"), Ok(0));
        assert_eq!(parse_count("200k"), Ok(200_000));
        assert_eq!(parse_count("10M"), Ok(10_000_000));
        for text in ["", "-1", "1.5", "k", "10G", "99999999999M"] {
            let error = parse_count(text).unwrap_err();
            assert!(error.contains("200k"), "{text}: {error}");
        }
        assert!(parse_messages("0").is_err());
    }
}
