//! `duolog bench append`: calls, latency and throughput of appends.
//!
//! The order of a run: a third of the time the raw loop, then the engine, then
//! the raw loop again, so that a disk that drifts does not flatter either.

use std::time::Duration;

use duolog::Durability;
use serde::Serialize;

use super::compare::{self, REPORT_FORMAT};
use super::environment::Environment;
use super::figures::Figures;
use super::load::{Load, LogChoice, Work};
use super::payload::Payload;
use super::raw::RawAppend;
use super::scratch::Scratch;
use super::{EXAMPLES, Place, as_json, millis, parse_length, parse_rate, parse_seconds};
use crate::failure::{Done, Failure};
use crate::output::{self, Progress};
use crate::signals;
use crate::topic::durability_parser;
use crate::units;

/// Append for some seconds, and measure calls and throughput.
///
/// Beside it runs a plain loop, before and after: the bytes of a batch over
/// blocks that were written before, rounded up to 4 KiB and synced if appends
/// are durable. Beside durable appends with --nowait, direct writes of the same
/// bytes run as well, as many under way as the log may have.
///
/// Without --rate each thread calls again when its call has returned. With it
/// calls have a timetable, and a latency counts from when the call was due.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags of a command, each on its own"
)]
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
    #[arg(long, value_name = "S", default_value = "5", value_parser = parse_length)]
    seconds: Duration,
    /// Seconds to append before that, which do not count.
    #[arg(long, value_name = "S", default_value = "1", value_parser = parse_seconds)]
    warmup: Duration,
    /// Messages a second of all threads together, on a timetable.
    #[arg(long, value_name = "N", value_parser = parse_rate, conflicts_with = "nowait")]
    rate: Option<f64>,
    /// How long buffered records wait to be written [default: the engine's].
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration_ms)]
    linger: Option<Duration>,
    /// Groups of the log that may be under way at once [default: the engine's].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    in_flight: Option<u32>,
    /// Size at which a group of the log is full [default: the engine's].
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size_u32)]
    group_bytes: Option<u32>,
    /// Write the log through the page cache, one group at a time.
    #[arg(long)]
    cached: bool,
    /// Compress with lz4; the values are then words and not noise.
    #[arg(long)]
    compress: bool,
    /// Partitions of the topic.
    #[arg(long, value_name = "N", default_value = "1")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    partitions: u32,
    /// Do not wait for each append: keep so many in flight.
    #[arg(long, value_name = "DEPTH")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=65_536))]
    nowait: Option<u32>,
    /// Read everything back afterwards, from the disk where it is there.
    #[arg(long)]
    verify: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compare: compare::Flags,
}

/// What came out, and where.
#[derive(Debug, Serialize)]
struct Report {
    kind: &'static str,
    format: u64,
    #[serde(flatten)]
    figures: Figures,
    environment: Environment,
}

/// Measures appends.
pub(super) fn run(args: &Args) -> Result<Done, Failure> {
    let load = args.load();
    let baseline = args.compare.load("append", &as_json(&load.work)?)?;
    let scratch = Scratch::new(&args.place.dir)?;
    let environment = Environment::look(scratch.path())?;
    let payload = Payload::new(
        usize::try_from(load.work.size).unwrap_or(usize::MAX),
        load.work.compress,
    );
    let batch = payload.bytes(usize::try_from(load.work.call_len()).unwrap_or(usize::MAX));
    let sync = load.work.durability == Durability::Durable;
    let aside = load.seconds / 3;
    let asides = if load.is_deep() { 3 } else { 2 };
    let total = load.warmup + load.seconds + aside * asides;
    let bar = output::progress(Progress::Milliseconds, millis(total), "append");

    let mut raw = RawAppend::prepare(&scratch.join("raw"), batch, sync)?;
    raw.run(aside)?;
    bar.inc(millis(aside));
    // Closed before the raw loop goes on: nothing else may write meanwhile.
    let store = scratch.join("store");
    let measured = load.run(&store, &payload, &|passed| bar.inc(millis(passed)))?;
    let deep = load.deep_raw(&scratch.join("deep"), &measured, aside)?;
    raw.run(aside)?;
    bar.finish_and_clear();
    signals::check()?;

    let report = Report {
        kind: "append",
        format: REPORT_FORMAT,
        figures: Figures::new(&load, &measured, &raw, deep.as_ref()),
        environment,
    };
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print(&report.figures.text())?;
    }
    match baseline {
        Some(baseline) => baseline.judge(&as_json(&report)?, args.json),
        None => Ok(Done::Well),
    }
}

impl Args {
    fn load(&self) -> Load {
        Load {
            work: Work {
                threads: self.threads,
                size: self.size,
                batch: self.batch,
                durability: self.durability,
                partitions: self.partitions,
                compress: self.compress,
                nowait: self.nowait,
                linger: self.linger,
                rate: self.rate,
            },
            log: LogChoice {
                in_flight: self.in_flight,
                group_bytes: self.group_bytes,
                cached: self.cached,
            },
            warmup: self.warmup,
            seconds: self.seconds,
            verify: self.verify,
        }
    }
}
