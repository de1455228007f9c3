//! `duolog bench matrix`: all axes at once, in one page to look at.
//!
//! Each cell has a new store, and the raw loop of the same bytes right before and
//! after it: disks drift in less time than a matrix takes.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use duolog::{Codec, Durability};
use indicatif::ProgressBar;
use serde::Serialize;

use super::compare::{self, REPORT_FORMAT};
use super::environment::Environment;
use super::figures::Figures;
use super::load::{Load, Work};
use super::payload::Payload;
use super::raw::RawAppend;
use super::scratch::Scratch;
use super::{EXAMPLES, Place, as_json, parse_length, parse_seconds};
use crate::failure::{Done, Failure};
use crate::output::{self, Column, Progress};
use crate::signals;
use crate::topic::{codec_parser, durability, durability_parser};
use crate::units;

mod chart;
mod charts;
mod file;
mod page;
mod plan;
mod words;

use file::ReportFile;
use plan::Axes;

/// The raw loop beside a cell runs for this part of its time, twice.
const RAW_PART: u32 = 6;

/// Measure every durability, batch, linger, threads, size and compression.
///
/// Every combination of the values is measured, or with --quick those of
/// durability, batch and threads, and then each other axis alone. --report
/// writes one HTML page with charts, and the same as JSON beside it.
///
/// Durable work is then measured with tickets, beside a disk that has several
/// writes under way. At last, parts of the highest rate are offered on a timetable, with the
/// latency from when each call was due.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// Few values and short runs: about a minute.
    #[arg(short, long)]
    quick: bool,
    /// Write an HTML page to FILE, and JSON to FILE with the ending .json.
    #[arg(short, long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Levels, such as durable,buffered.
    #[arg(long, value_name = "LEVELS", value_delimiter = ',')]
    #[arg(value_parser = durability_parser())]
    durability: Vec<Durability>,
    /// Records of an append, such as 1,100.
    #[arg(short, long, value_name = "NS", value_delimiter = ',')]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: Vec<u32>,
    /// Threads that append, such as 1,16.
    #[arg(short, long, value_name = "NS", value_delimiter = ',')]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Vec<u32>,
    /// Bytes of a value, such as 100,1KiB; the first is the base.
    #[arg(short, long, value_name = "SIZES", value_delimiter = ',')]
    #[arg(value_parser = units::parse_size_u32)]
    size: Vec<u32>,
    /// How long buffered records wait to be written, such as 1ms,10ms.
    #[arg(long, value_name = "TIMES", value_delimiter = ',')]
    #[arg(value_parser = units::parse_duration_ms)]
    linger: Vec<Duration>,
    /// Compression, such as none,lz4. Values are words if lz4 is among them.
    #[arg(long, value_name = "CODECS", value_delimiter = ',')]
    #[arg(value_parser = codec_parser())]
    codec: Vec<Codec>,
    /// Parts of the highest rate to offer, in percent.
    #[arg(
        long,
        value_name = "PERCENTS",
        value_delimiter = ',',
        default_value = "10,25,50,75,90"
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=200))]
    loads: Vec<u32>,
    /// Seconds to measure each cell [default: 3; quick: 0.45].
    #[arg(long, value_name = "S", value_parser = parse_length)]
    seconds: Option<Duration>,
    /// Seconds before that, which do not count [default: 1; quick: 0.1].
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    warmup: Option<Duration>,
    /// Read every cell back, and hold each record against what was appended.
    #[arg(long)]
    verify: bool,
    /// Print the JSON instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compare: compare::Flags,
}

impl Args {
    fn seconds(&self) -> Duration {
        let default = Duration::from_millis(if self.quick { 450 } else { 3000 });
        self.seconds.unwrap_or(default)
    }

    fn warmup(&self) -> Duration {
        let default = Duration::from_millis(if self.quick { 100 } else { 1000 });
        self.warmup.unwrap_or(default)
    }
}

/// A load that was measured.
#[derive(Debug, Serialize)]
struct Cell {
    name: String,
    #[serde(flatten)]
    figures: Figures,
}

/// A part of the highest rate, offered on a timetable.
#[derive(Debug, Serialize)]
struct Offer {
    percent: u32,
    #[serde(flatten)]
    figures: Figures,
}

/// All that was measured.
#[derive(Debug, Serialize)]
struct Report {
    kind: &'static str,
    format: u64,
    quick: bool,
    environment: Environment,
    /// The values along the axes, in words.
    axes: Vec<(&'static str, String)>,
    seconds_each: f64,
    warmup_each: f64,
    verified: bool,
    cells: Vec<Cell>,
    /// Durable appends that are not waited for one by one.
    tickets: Vec<Cell>,
    offers: Vec<Offer>,
}

/// Measures a matrix.
pub(super) fn run(args: &Args) -> Result<Done, Failure> {
    // Whatever can be found to be wrong now should not be found in an hour.
    let baseline = args.compare.load("matrix", &serde_json::Value::Null)?;
    let axes = Axes::of(args);
    let loads = plan::cells(&axes, args);
    if let Some(baseline) = &baseline {
        let names: Vec<String> = loads.iter().map(|load| name(&load.work)).collect();
        baseline.expect_some(&names)?;
    }
    let file = args.report.as_deref().map(ReportFile::begin).transpose()?;
    let scratch = Scratch::new(&args.place.dir)?;
    let environment = Environment::look(scratch.path())?;
    let with_tickets = plan::tickets(&axes, args);
    let offers = axes.durability.len() * args.loads.len();
    let total = super::to_u64(loads.len() + with_tickets.len() + offers);
    let words = axes.codec.contains(&Codec::Lz4);
    let mut bench = Bench {
        scratch,
        words,
        raws: Vec::new(),
        bar: output::progress(Progress::Items, total, "matrix"),
    };
    bench.prepare(&loads)?;
    bench.prepare(&with_tickets)?;
    let cells = bench.cells(&loads)?;
    let tickets = bench.cells(&with_tickets)?;
    let offers = bench.offers(args, &axes, &cells)?;
    bench.bar.finish_and_clear();

    let report = Report {
        kind: "matrix",
        format: REPORT_FORMAT,
        quick: args.quick,
        environment,
        axes: axes.words(),
        seconds_each: args.seconds().as_secs_f64(),
        warmup_each: args.warmup().as_secs_f64(),
        verified: args.verify,
        cells,
        tickets,
        offers,
    };
    finish(args, &report, file)?;
    match baseline {
        Some(baseline) => baseline.judge(&as_json(&report)?, args.json),
        None => Ok(Done::Well),
    }
}

fn finish(args: &Args, report: &Report, file: Option<ReportFile>) -> Result<(), Failure> {
    if let Some(file) = file {
        let json = serde_json::to_string_pretty(report)
            .map_err(|error| Failure::Refused(format!("cannot make JSON: {error}")))?;
        let (page, beside) = file.finish(&page::write(report), &json)?;
        let both = format!("wrote {} and {}", page.display(), beside.display());
        output::note(&both);
    }
    if args.json {
        return output::print_json(report);
    }
    output::print(&report.table())
}

/// What a run has beside its plan.
struct Bench {
    scratch: Scratch,
    words: bool,
    raws: Vec<(u64, bool, RawAppend)>,
    bar: ProgressBar,
}

impl Bench {
    /// Writes the files of the raw loops, one for each size of an append.
    fn prepare(&mut self, loads: &[Load]) -> Result<(), Failure> {
        for load in loads {
            let (len, sync) = (
                load.work.call_len(),
                load.work.durability == Durability::Durable,
            );
            if self.raws.iter().any(|raw| (raw.0, raw.1) == (len, sync)) {
                continue;
            }
            let bytes = usize::try_from(len).unwrap_or(usize::MAX);
            let batch = Payload::new(bytes.min(1 << 20), self.words).bytes(bytes);
            let path = self.scratch.join(&format!("raw-{len}-{sync}"));
            self.raws
                .push((len, sync, RawAppend::prepare(&path, batch, sync)?));
            signals::check()?;
        }
        Ok(())
    }

    /// Measures loads, one after the other.
    fn cells(&mut self, loads: &[Load]) -> Result<Vec<Cell>, Failure> {
        let mut cells = Vec::new();
        for load in loads {
            let figures = self.cell(load)?;
            let name = name(&figures.work);
            cells.push(Cell { name, figures });
        }
        Ok(cells)
    }

    /// Measures a load, with the raw loop of the same bytes before and after.
    fn cell(&mut self, load: &Load) -> Result<Figures, Failure> {
        let (len, sync) = (
            load.work.call_len(),
            load.work.durability == Durability::Durable,
        );
        let mut raws = self.raws.iter_mut();
        let raw = raws.find(|raw| (raw.0, raw.1) == (len, sync));
        let (_, _, raw) = raw.expect("prepare made one for each cell, and offers are cells");
        let store = self.scratch.join("store");
        let size = usize::try_from(load.work.size).unwrap_or(usize::MAX);
        let payload = Payload::new(size, self.words);
        raw.reset();
        raw.run(load.seconds / RAW_PART)?;
        let measured = load.run(&store, &payload, &|_| {})?;
        let deep = self.scratch.join("deep");
        let deep = load.deep_raw(&deep, &measured, load.seconds / RAW_PART)?;
        raw.run(load.seconds / RAW_PART)?;
        signals::check()?;
        self.bar.inc(1);
        // Hundreds of cells would fill the disk.
        fs::remove_dir_all(&store)
            .map_err(|error| Failure::io(format!("remove {}", store.display()), error))?;
        Ok(Figures::new(load, &measured, raw, deep.as_ref()))
    }

    /// Offers parts of the highest rate that each durability had.
    fn offers(&mut self, args: &Args, axes: &Axes, cells: &[Cell]) -> Result<Vec<Offer>, Failure> {
        let mut offers = Vec::new();
        for level in &axes.durability {
            let load = axes.offered(*level, args);
            let of = |work: &Work| (work.threads, work.batch, work.size, work.compress);
            let mut same = cells.iter().filter(|cell| {
                let work = &cell.figures.work;
                work.durability == *level && of(work) == of(&load.work)
            });
            let highest = same
                .next()
                .map_or(0.0, |cell| cell.figures.messages_per_second);
            for percent in &args.loads {
                let rate = highest * f64::from(*percent) / 100.0;
                if rate > 0.0 {
                    let mut load = load.clone();
                    load.work.rate = Some(rate);
                    let figures = self.cell(&load)?;
                    offers.push(Offer {
                        percent: *percent,
                        figures,
                    });
                }
            }
        }
        Ok(offers)
    }
}

/// A name that tells a cell from every other.
fn name(work: &Work) -> String {
    let threads = if work.threads == 1 {
        "thread"
    } else {
        "threads"
    };
    let linger = if work.durability == Durability::Buffered {
        format!(", linger {}", units::duration(work.linger()))
    } else {
        String::new()
    };
    let tickets = work
        .nowait
        .map_or(String::new(), |n| format!(", {n} tickets"));
    format!(
        "{}, {}, batch {}, {} {threads}{linger}{tickets}{}",
        durability(work.durability),
        units::size(u64::from(work.size)),
        work.batch,
        work.threads,
        if work.compress { ", lz4" } else { "" }
    )
}

impl Report {
    fn table(&self) -> String {
        let columns = [
            Column::Left("WORK"),
            Column::Right("MESSAGES/S"),
            Column::Right("MIB/S"),
            Column::Right("P50 US"),
            Column::Right("P99 US"),
            Column::Right("A SYNC"),
            Column::Right("FAIR"),
            Column::Right("TO RAW"),
            Column::Right("TO DEEP RAW"),
        ];
        let row = |cell: &Cell| {
            let figures = &cell.figures;
            let deep = figures.deep_raw.as_ref();
            vec![
                cell.name.clone(),
                format!("{:.0}", figures.messages_per_second),
                format!("{:.1}", figures.bytes_per_second / 1_048_576.0),
                format!("{:.1}", figures.p50_us),
                format!("{:.1}", figures.p99_us),
                format!("{:.1}", figures.records_per_sync),
                format!("{:.2}", figures.fairness.min_max_ratio),
                format!("{:.2}", figures.ratio_to_raw),
                deep.map_or(String::new(), |deep| format!("{:.2}", deep.ratio)),
            ]
        };
        let rows: Vec<_> = self.cells.iter().chain(&self.tickets).map(row).collect();
        output::table(&columns, &rows)
    }
}
