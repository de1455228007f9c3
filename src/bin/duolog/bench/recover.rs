//! `duolog bench recover`: how long an open takes, after a close and after a kill.
//!
//! A child process fills the store, so that the kill is a real one (SIGKILL) and
//! nothing of what it had in memory helps the open. Files stay in the page cache;
//! a machine that was restarted reads them from the disk.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use duolog::{Engine, Options};
use serde::Serialize;

use super::compare::{self, REPORT_FORMAT};
use super::environment::Environment;
use super::fill;
use super::scratch::Scratch;
use super::{EXAMPLES, Place, as_json, float, ratio, rounded};
use crate::failure::{Done, Failure};
use crate::output::{self, Column, Progress};
use crate::signals;
use crate::units;

/// Measure opens by size of the store: after a close, and after kill -9.
///
/// A child process fills each store. Beside it runs what no open can do without:
/// a plain read of as much log as was replayed, and one write of 4 KiB with its
/// sync.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// Sizes of stores, in bytes of values.
    #[arg(
        long,
        value_name = "SIZES",
        value_delimiter = ',',
        default_value = "16MiB,64MiB,256MiB"
    )]
    #[arg(value_parser = units::parse_size)]
    stores: Vec<u64>,
    /// Bytes of a value.
    #[arg(short, long, value_name = "BYTES", default_value = "1KiB")]
    #[arg(value_parser = units::parse_size_u32)]
    size: u32,
    /// Bytes appended after the last close, before each kill.
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = units::parse_size)]
    tail: u64,
    /// Opens of each kind; the median counts.
    #[arg(long, value_name = "N", default_value = "3")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compare: compare::Flags,
}

/// What was done: only the same work is compared.
#[derive(Debug, Serialize)]
struct Work {
    size: u32,
    tail: u64,
    rounds: u32,
}

/// What came out.
#[derive(Debug, Serialize)]
struct Report {
    kind: &'static str,
    format: u64,
    #[serde(flatten)]
    work: Work,
    stores: Vec<Row>,
    environment: Environment,
}

/// One size of store; times are medians.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    store_bytes: u64,
    open_after_close_us: f64,
    open_after_kill_us: f64,
    /// Longest open after a kill.
    open_after_kill_max_us: f64,
    /// Log that the opens after kills had to read, in the mean.
    replayed_bytes: u64,
    replayed_frames: u64,
    /// The bare disk: reading that log, and one synced write.
    raw_us: f64,
    /// How much longer an open after a kill takes than the bare disk does.
    times_raw: f64,
    /// Acknowledged records that an open after a kill did not find: zero.
    lost_messages: u64,
}

/// Measures opens.
pub(super) fn run(args: &Args) -> Result<Done, Failure> {
    let work = Work {
        size: args.size.max(1),
        tail: args.tail,
        rounds: args.rounds,
    };
    let baseline = args.compare.load("recover", &as_json(&work)?)?;
    if let Some(baseline) = &baseline {
        let names: Vec<String> = args.stores.iter().copied().map(units::size).collect();
        baseline.expect_some(&names)?;
    }
    let scratch = Scratch::new(&args.place.dir)?;
    let environment = Environment::look(scratch.path())?;
    let total = super::to_u64(args.stores.len()) * u64::from(args.rounds + 1);
    let bar = output::progress(Progress::Items, total, "recover");
    let mut stores = Vec::new();
    for bytes in &args.stores {
        let store = scratch.join("store");
        stores.push(measure(args, &store, *bytes, &|| bar.inc(1))?);
        fs::remove_dir_all(&store)
            .map_err(|error| Failure::io(format!("remove {}", store.display()), error))?;
    }
    bar.finish_and_clear();
    let report = Report {
        kind: "recover",
        format: REPORT_FORMAT,
        work,
        stores,
        environment,
    };
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print(&report.table())?;
    }
    if let Some(row) = report.stores.iter().find(|row| row.lost_messages > 0) {
        return Err(Failure::Corrupt(format!(
            "{} acknowledged records are missing after a kill, store of {}",
            row.lost_messages, row.name
        )));
    }
    match baseline {
        Some(baseline) => baseline.judge(&as_json(&report)?, args.json),
        None => Ok(Done::Well),
    }
}

/// One size of store: filled, closed, opened; then killed and opened.
fn measure(args: &Args, store: &Path, bytes: u64, done: &dyn Fn()) -> Result<Row, Failure> {
    let size = args.size.max(1);
    let mut acknowledged = Filler::start(store, bytes, size)?.close()?;
    done();
    let mut closed = Vec::new();
    for _ in 0..args.rounds {
        closed.push(Open::measure(store)?.elapsed);
    }
    let (mut opens, mut raws) = (Vec::new(), Vec::new());
    let mut lost = 0;
    for _ in 0..args.rounds {
        acknowledged += Filler::start(store, args.tail, size)?.kill()?;
        let open = Open::measure(store)?;
        lost += acknowledged.saturating_sub(open.records);
        // What was not acknowledged may be there nevertheless, and stays.
        acknowledged = acknowledged.max(open.records);
        raws.push(raw(store, open.replayed_bytes)?);
        opens.push(open);
        done();
    }
    let rounds = u64::from(args.rounds);
    let killed: Vec<Duration> = opens.iter().map(|open| open.elapsed).collect();
    let open_after_kill_us = median_us(killed.clone());
    let raw_us = median_us(raws);
    Ok(Row {
        name: units::size(bytes),
        store_bytes: bytes,
        open_after_close_us: median_us(closed),
        open_after_kill_us,
        open_after_kill_max_us: us(killed.into_iter().max().unwrap_or_default()),
        replayed_bytes: opens.iter().map(|open| open.replayed_bytes).sum::<u64>() / rounds,
        replayed_frames: opens.iter().map(|open| open.frames).sum::<u64>() / rounds,
        raw_us,
        times_raw: rounded(ratio(open_after_kill_us, raw_us)),
        lost_messages: lost,
    })
}

fn us(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1e6)
}

fn median_us(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    us(times.get(times.len() / 2).copied().unwrap_or_default())
}

/// An open, and what it found.
struct Open {
    elapsed: Duration,
    replayed_bytes: u64,
    frames: u64,
    /// Records in the store.
    records: u64,
}

impl Open {
    #[expect(clippy::disallowed_methods, reason = "it measures real time")]
    fn measure(store: &Path) -> Result<Self, Failure> {
        signals::check()?;
        let started = Instant::now();
        let engine = Engine::open(store, Options::default().create(false))?;
        let elapsed = started.elapsed();
        let found = engine.recovery();
        let replayed = found.end_lsn.get().saturating_sub(found.snapshot_lsn.get());
        let open = Self {
            elapsed,
            replayed_bytes: replayed,
            frames: found.frames_replayed,
            records: engine.topic(fill::TOPIC)?.partition(0)?.end.get(),
        };
        engine.close()?;
        Ok(open)
    }
}

/// Reads as much of the log, and syncs one write: what the bare disk takes.
#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn raw(store: &Path, bytes: u64) -> Result<Duration, Failure> {
    let path = store.with_extension("raw");
    let fail = |error| Failure::io(format!("measure reads with {}", path.display()), error);
    let block = [0_u8; 4096];
    fs::write(&path, block)
        .and_then(|()| fs::File::open(&path)?.sync_all())
        .map_err(fail)?;
    let started = Instant::now();
    read_log(store, bytes).map_err(fail)?;
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .map_err(fail)?;
    file.write_all_at(&block, 0).map_err(fail)?;
    file.sync_data().map_err(fail)?;
    let elapsed = started.elapsed();
    fs::remove_file(&path).map_err(fail)?;
    Ok(elapsed)
}

fn read_log(store: &Path, bytes: u64) -> io::Result<()> {
    let mut left = bytes;
    let mut buffer = vec![0; 1 << 20];
    for entry in fs::read_dir(store.join("wal"))? {
        let path = entry?.path();
        let file = fs::OpenOptions::new().read(true).open(path)?;
        let mut at = 0;
        while left > 0 {
            let read = super::to_u64(file.read_at(&mut buffer, at)?);
            if read == 0 {
                break;
            }
            at += read;
            left = left.saturating_sub(read);
        }
    }
    Ok(())
}

/// A child that fills a store, and then waits to be told how to end.
///
/// It ends by itself when its standard input does: it does not outlive us.
struct Filler {
    child: Child,
}

impl Filler {
    fn start(store: &Path, bytes: u64, size: u32) -> Result<Self, Failure> {
        let fail = |error| Failure::io("start a child to fill the store", error);
        let tool = std::env::current_exe().map_err(fail)?;
        let mut command = Command::new(tool);
        command.args(["bench", "fill", "--bytes", &bytes.to_string()]);
        command
            .args(["--size", &size.to_string(), "--dir"])
            .arg(store);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = command.spawn().map_err(fail)?;
        Ok(Self { child })
    }

    /// Waits until all is acknowledged; returns how many records that were.
    fn acknowledged(&mut self) -> Result<u64, Failure> {
        let gone = || Failure::Refused("the child that fills the store ended early".to_owned());
        let stdout = self.child.stdout.take().ok_or_else(gone)?;
        let (said, heard) = mpsc::channel();
        // A thread of its own: a pipe cannot be waited on with a bound, and a
        // signal must not have to wait for the child.
        thread::Builder::new()
            .spawn(move || {
                let mut line = String::new();
                let result = BufReader::new(stdout).read_line(&mut line);
                said.send(result.map(|_| line)).unwrap_or_default();
            })
            .map_err(|error| Failure::io("start a thread", error))?;
        loop {
            signals::check()?;
            match heard.recv_timeout(signals::LOOK_EVERY) {
                Ok(Ok(line)) => return line.trim().parse().map_err(|_| gone()),
                Ok(Err(error)) => return Err(Failure::io("read from a child", error)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
            }
        }
    }

    /// Lets it close the store in order.
    fn close(mut self) -> Result<u64, Failure> {
        let records = self.acknowledged()?;
        drop(self.child.stdin.take());
        let status = self.child.wait();
        let status = status.map_err(|error| Failure::io("wait for a child", error))?;
        if !status.success() {
            let why = format!("the child that fills the store ended with {status}");
            return Err(Failure::Refused(why));
        }
        Ok(records)
    }

    /// Kills it where it stands.
    fn kill(mut self) -> Result<u64, Failure> {
        let records = self.acknowledged()?;
        let fail = |error| Failure::io("kill a child", error);
        self.child.kill().map_err(fail)?;
        self.child.wait().map_err(fail)?;
        Ok(records)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // Has ended, unless something went wrong on the way here.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

impl Report {
    fn table(&self) -> String {
        let columns = [
            Column::Left("STORE"),
            Column::Right("AFTER CLOSE"),
            Column::Right("AFTER KILL"),
            Column::Right("LONGEST"),
            Column::Right("REPLAYED"),
            Column::Right("FRAMES"),
            Column::Right("RAW"),
            Column::Right("TIMES RAW"),
            Column::Right("LOST"),
        ];
        let ms = |us: f64| format!("{:.2} ms", us / 1000.0);
        let row = |row: &Row| {
            vec![
                row.name.clone(),
                ms(row.open_after_close_us),
                ms(row.open_after_kill_us),
                ms(row.open_after_kill_max_us),
                units::size(row.replayed_bytes),
                units::count(row.replayed_frames),
                ms(row.raw_us),
                format!("{:.1}", row.times_raw),
                units::count(row.lost_messages),
            ]
        };
        let rows: Vec<_> = self.stores.iter().map(row).collect();
        let replay = float(self.stores.iter().map(|row| row.replayed_bytes).sum());
        let note = "An open reads the log since the last snapshot, not the store.\n";
        let table = output::table(&columns, &rows);
        if replay > 0.0 {
            format!("{table}{note}")
        } else {
            table
        }
    }
}
