//! `duolog bench scan`: reading a topic from front to back, nothing skipped.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use duolog::{
    AppendOptions, Durability, Engine, Fetch, Options, ReadMode, Start, Topic, TopicOptions,
};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::compare::{self, REPORT_FORMAT};
use super::environment::Environment;
use super::meter::{histogram, quantile_us, record};
use super::payload::Payload;
use super::raw::RawScan;
use super::scratch::Scratch;
use super::usage::{self, PeakMemory};
use super::{EXAMPLES, Place, as_json, float, ratio, rounded, to_u64};
use crate::failure::{Done, Failure};
use crate::output::{self, Progress};
use crate::signals;
use crate::units;

/// Most bytes of a fetch.
const FETCH_BYTES: u32 = 1 << 20;

/// Fill a topic and read all of it, every batch checked.
///
/// Segments are written past the page cache. They are read once, so that they are
/// in it if there is room for them, and then it is measured. Beside it runs a plain
/// read of the same files in pieces of 1 MiB, before and after.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// Bytes of a value.
    #[arg(short, long, value_name = "BYTES", default_value = "1KiB")]
    #[arg(value_parser = units::parse_size_u32)]
    size: u32,
    /// Records to read.
    #[arg(short, long, value_name = "N", default_value = "1000000")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=10_000_000_000))]
    messages: u64,
    /// Records of an append, while the topic is filled.
    #[arg(short, long, value_name = "N", default_value = "1000")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: u32,
    /// How segments are read.
    #[arg(long, value_enum, default_value = "map")]
    mode: Mode,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compare: compare::Flags,
}

/// How segments are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// Through a read-only map.
    Map,
    /// Through pread.
    Pread,
}

/// What was done: only the same work is compared.
#[derive(Debug, Serialize)]
struct Work {
    size: u32,
    batch: u32,
    mode: Mode,
    messages: u64,
}

/// What came out.
#[derive(Debug, Serialize)]
struct Report {
    kind: &'static str,
    format: u64,
    #[serde(flatten)]
    work: Work,
    messages_per_second: f64,
    bytes_per_second: f64,
    /// Latencies of fetches, of at most 1 MiB each.
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
    seconds: f64,
    cpu_seconds: f64,
    cpu_us_per_message: f64,
    #[serde(flatten)]
    peak_memory: PeakMemory,
    raw_bytes_per_second: f64,
    ratio_to_raw: f64,
    environment: Environment,
}

/// Measures a scan.
pub(super) fn run(args: &Args) -> Result<Done, Failure> {
    let work = args.work();
    let baseline = args.compare.load("scan", &as_json(&work)?)?;
    let scratch = Scratch::new(&args.place.dir)?;
    let environment = Environment::look(scratch.path())?;
    let store = scratch.join("store");
    let read_mode = match args.mode {
        Mode::Map => ReadMode::Map,
        Mode::Pread => ReadMode::Pread,
    };
    let engine = Engine::open(&store, Options::default().read_mode(read_mode))?;
    let record_bytes = args.size.saturating_add(1 << 10).max(1 << 20);
    let options = TopicOptions::default()
        .durability(Durability::Buffered)
        .record_bytes_max(record_bytes);
    let topic = engine.create_topic("bench", options)?;
    fill(args, &topic)?;
    engine.checkpoint()?;

    let mut files = Vec::new();
    segments_in(&store, &mut files)
        .map_err(|error| Failure::io(format!("list {}", store.display()), error))?;
    RawScan::default().run(&files)?;
    let mut raw = RawScan::default();
    raw.run(&files)?;
    let scanned = scan(args, &topic)?;
    raw.run(&files)?;
    engine.close()?;

    let report = scanned.report(work, &raw, environment);
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
            size: self.size,
            batch: self.batch,
            mode: self.mode,
            messages: self.messages,
        }
    }
}

fn fill(args: &Args, topic: &Topic) -> Result<(), Failure> {
    let payload = Payload::new(usize::try_from(args.size).unwrap_or(usize::MAX), false);
    let batches = payload.batches(usize::try_from(args.batch).unwrap_or(1));
    let options = AppendOptions::default();
    let bar = output::progress(Progress::Items, args.messages, "fill");
    let mut left = args.messages;
    for records in batches.iter().cycle() {
        signals::check()?;
        let take = records
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let records = records.get(..take).unwrap_or_default();
        topic.append_batch(records, &options)?;
        bar.inc(to_u64(take));
        left -= to_u64(take);
        if left == 0 {
            break;
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// What a scan came across, and what it took.
struct Scanned {
    records: u64,
    bytes: u64,
    elapsed: Duration,
    latency: Histogram<u64>,
    cpu_seconds: f64,
    peak_memory: PeakMemory,
}

impl Scanned {
    fn report(&self, work: Work, raw: &RawScan, environment: Environment) -> Report {
        let seconds = self.elapsed.as_secs_f64();
        let bytes_per_second = ratio(float(self.bytes), seconds);
        let us = |quantile| rounded(quantile_us(&self.latency, quantile));
        let cpu_us = self.cpu_seconds * 1e6;
        Report {
            kind: "scan",
            format: REPORT_FORMAT,
            work,
            messages_per_second: rounded(ratio(float(self.records), seconds)),
            bytes_per_second: rounded(bytes_per_second),
            p50_us: us(0.5),
            p99_us: us(0.99),
            max_us: us(1.0),
            seconds: rounded(seconds),
            cpu_seconds: rounded(self.cpu_seconds),
            cpu_us_per_message: rounded(ratio(cpu_us, float(self.records))),
            peak_memory: self.peak_memory,
            raw_bytes_per_second: rounded(raw.rate()),
            ratio_to_raw: rounded(ratio(bytes_per_second, raw.rate())),
            environment,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn scan(args: &Args, topic: &Topic) -> Result<Scanned, Failure> {
    let fetch = Fetch::default()
        .max_bytes(FETCH_BYTES)
        .max_records(u32::MAX);
    let unreadable = |error| Failure::Corrupt(format!("cannot decode a batch: {error}"));
    let mut scanned = Scanned {
        records: 0,
        bytes: 0,
        elapsed: Duration::ZERO,
        latency: histogram()?,
        cpu_seconds: 0.0,
        peak_memory: PeakMemory::begin(),
    };
    let cpu_before = usage::cpu_seconds();
    let started = Instant::now();
    let mut reader = topic.reader(0, Start::Earliest)?;
    loop {
        signals::check()?;
        let called = Instant::now();
        let fetched = reader.fetch(&fetch)?;
        if fetched.is_empty() {
            break;
        }
        record(&mut scanned.latency, called.elapsed());
        for batch in fetched.batches() {
            for view in &batch.records().map_err(unreadable)? {
                scanned.records += 1;
                scanned.bytes += to_u64(view.map_err(unreadable)?.value().len());
            }
        }
    }
    scanned.elapsed = started.elapsed();
    scanned.cpu_seconds = usage::cpu_seconds() - cpu_before;
    scanned.peak_memory = scanned.peak_memory.look();
    let expected = (args.messages, args.messages * u64::from(args.size));
    if (scanned.records, scanned.bytes) != expected {
        return Err(Failure::Corrupt(format!(
            "appended {} records of {} bytes, read {} records of {} bytes in all",
            args.messages, args.size, scanned.records, scanned.bytes
        )));
    }
    Ok(scanned)
}

/// The segments of the store: what a scan has to read.
fn segments_in(dir: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            segments_in(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "log") {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}

impl Report {
    fn text(&self) -> String {
        let mode = match self.work.mode {
            Mode::Map => "map",
            Mode::Pread => "pread",
        };
        let mib = |rate: f64| format!("{:.1} MiB/s", rate / 1_048_576.0);
        output::pairs(&[
            ("mode", mode.to_owned()),
            ("messages", units::count(self.work.messages)),
            ("seconds", format!("{:.3}", self.seconds)),
            ("throughput", format!("{:.0}/s", self.messages_per_second)),
            ("payload", mib(self.bytes_per_second)),
            ("p50 of a fetch", format!("{:.1} us", self.p50_us)),
            ("p99 of a fetch", format!("{:.1} us", self.p99_us)),
            ("processor", format!("{:.2} s", self.cpu_seconds)),
            ("peak memory", self.peak_memory.text()),
            ("raw read", mib(self.raw_bytes_per_second)),
            ("ratio to raw", format!("{:.2}", self.ratio_to_raw)),
        ])
    }
}
