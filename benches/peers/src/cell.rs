//! One measurement, in a process of its own: one work, one peer, once.
//!
//! Open, settle the disk, warm up for a fifth of the time, measure, close, open
//! again, read back and count. If the count is wrong, the measurement failed.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::combine::Combiner;
use crate::payload::Payload;
use crate::peers::{Call, Peer, Scanned, Setup, Sharing, Store, peer};
use crate::plan::{FILL_BATCH, Kind, Level, Work, work};
use crate::raw::{How, RawFile, RawScan};
use crate::{Failure, Result};

/// Name of the raw loop with `pwrite`, or with `pread`.
pub(crate) const RAW: &str = "raw";

/// Name of the raw loop with direct writes.
pub(crate) const RAW_DIRECT: &str = "raw-direct";

/// Threads of the direct loop where the work has one that could run ahead.
const DIRECT_DEPTH: usize = 4;

/// Calls between two looks at the clock where a call costs less than the look.
const SAMPLE_EVERY: usize = 64;

/// Longest latency that is told apart, in nanoseconds: a minute.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// Which measurement.
#[derive(Debug, clap::Args)]
pub(crate) struct CellArgs {
    /// Name of a peer or of a raw loop.
    #[arg(long)]
    pub(crate) peer: String,
    /// Name of a work.
    #[arg(long)]
    pub(crate) work: String,
    /// An empty directory.
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// Seconds to measure.
    #[arg(long)]
    pub(crate) seconds: f64,
}

/// What came out.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Messages a second.
    pub(crate) rate: f64,
    /// Messages that were appended, warming up included, or read.
    pub(crate) messages: u64,
    /// Latency of a call in microseconds; of a scan, there is none.
    pub(crate) p01_us: Option<f64>,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
}

/// Measures, and prints the result as one line of JSON.
pub(crate) fn run(args: &CellArgs) -> Result<()> {
    let work = work(&args.work)?;
    let length = Duration::from_secs_f64(args.seconds);
    let measured = match args.peer.as_str() {
        RAW => raw(&work, &args.dir, length, false)?,
        RAW_DIRECT => raw(&work, &args.dir, length, true)?,
        name => measure(peer(name)?, &work, &args.dir, length)?,
    };
    writeln!(io::stdout(), "{}", serde_json::to_string(&measured)?)?;
    Ok(())
}

fn measure(peer: &Peer, work: &Work, dir: &Path, length: Duration) -> Result<Measured> {
    let (level, threads, batch) = match work.kind {
        Kind::Append {
            level,
            threads,
            batch,
        } => (level, threads, batch),
        Kind::Scan { records } => return scan(peer, work, dir, records, length),
    };
    let setup = Setup {
        dir,
        level,
        one_by_one: threads == 1 && batch == 1,
    };
    let store = (peer.open)(&setup)?;
    settle(dir)?;
    let payload = Payload::new(work.size, batch);
    let batches = payload.batches();
    // A look at the clock costs as much as some calls.
    let sample = if level == Level::Buffered && batch == 1 {
        SAMPLE_EVERY
    } else {
        1
    };
    let clock = Clock::starting_now(length, sample);
    let loops = if threads == 1 {
        let mut writer = store.writer(&batches)?;
        let one = append_until(&clock, &batches, |call| writer.append(call))?;
        writer.finish()?;
        vec![one]
    } else if peer.sharing == Sharing::Own {
        on_threads(threads, || {
            let mut writer = store.writer(&batches)?;
            let one = append_until(&clock, &batches, |call| writer.append(call))?;
            writer.finish()?;
            Ok(one)
        })?
    } else {
        let combiner = Combiner::new(store.writer(&batches)?);
        on_threads(threads, || {
            append_until(&clock, &batches, |call| combiner.append(call.values))
        })?
    };
    store.close()?;
    let measured = together(&loops, work)?;
    let expected = Scanned {
        records: measured.messages,
        bytes: measured.messages * u64::try_from(work.size)?,
    };
    check((peer.open)(&setup)?.scan()?, expected)?;
    Ok(measured)
}

/// What is dirty in the page cache is not this peer's to write.
fn settle(dir: &Path) -> Result<()> {
    Ok(rustix::fs::syncfs(File::open(dir)?)?)
}

fn check(read: Scanned, expected: Scanned) -> Result<()> {
    if read == expected {
        return Ok(());
    }
    Err(format!("appended {expected:?}, read back {read:?}").into())
}

/// When a measurement begins and ends.
struct Clock {
    begin: Instant,
    end: Instant,
    sample: usize,
}

impl Clock {
    fn starting_now(length: Duration, sample: usize) -> Self {
        let begin = Instant::now() + length / 5;
        Self {
            begin,
            end: begin + length,
            sample,
        }
    }
}

/// What one thread did.
struct Loop {
    /// Messages, warming up included.
    appended: u64,
    /// Those that count, and how long they took.
    counted: u64,
    elapsed: Duration,
    latency: Histogram<u64>,
}

fn append_until(
    clock: &Clock,
    batches: &[Vec<&[u8]>],
    mut append: impl FnMut(&Call<'_>) -> Result<()>,
) -> Result<Loop> {
    let mut done = Loop {
        appended: 0,
        counted: 0,
        elapsed: Duration::ZERO,
        latency: Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)?,
    };
    let mut calls = batches.iter().enumerate().cycle();
    let mut first = None;
    loop {
        let before = Instant::now();
        let mut latency = Duration::ZERO;
        let mut messages = 0;
        for n in 0..clock.sample {
            let Some((index, values)) = calls.next() else {
                return Err("nothing to append".into());
            };
            append(&Call { index, values })?;
            messages += u64::try_from(values.len())?;
            if n == 0 {
                latency = before.elapsed();
            }
        }
        let after = Instant::now();
        done.appended += messages;
        if before >= clock.begin {
            let first = *first.get_or_insert(before);
            done.counted += messages;
            done.elapsed = after.duration_since(first);
            let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
            done.latency.saturating_record(ns);
        }
        // At least one call counts, however long it takes.
        if after >= clock.end && first.is_some() {
            return Ok(done);
        }
    }
}

fn on_threads(threads: usize, work: impl Fn() -> Result<Loop> + Sync) -> Result<Vec<Loop>> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        let joined = threads.into_iter().map(|thread| {
            let panicked = |_| Err(Failure::from("a thread that appended panicked"));
            thread.join().unwrap_or_else(panicked)
        });
        joined.collect()
    })
}

fn together(loops: &[Loop], work: &Work) -> Result<Measured> {
    let mut latency = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)?;
    let mut rate = 0.0;
    for one in loops {
        latency.add(&one.latency)?;
        rate += float(one.counted) / one.elapsed.as_secs_f64();
    }
    let us = |quantile| float(latency.value_at_quantile(quantile)) / 1000.0;
    let timed = matches!(work.kind, Kind::Append { .. });
    Ok(Measured {
        rate,
        messages: loops.iter().map(|one| one.appended).sum(),
        p01_us: timed.then(|| us(0.01)),
        p50_us: timed.then(|| us(0.5)),
        p99_us: timed.then(|| us(0.99)),
    })
}

fn scan(peer: &Peer, work: &Work, dir: &Path, records: u64, length: Duration) -> Result<Measured> {
    let store = (peer.open)(&replay(dir))?;
    fill(store.as_ref(), work, records)?;
    store.close()?;
    let expected = Scanned {
        records,
        bytes: records * u64::try_from(work.size)?,
    };
    passes(dir, length, || {
        let read = store_pass(peer, dir)?;
        check(read.1, expected)?;
        Ok((read.0, records))
    })
}

/// One pass over a store that was just opened, and the time of the pass alone.
fn store_pass(peer: &Peer, dir: &Path) -> Result<(Duration, Scanned)> {
    let store = (peer.open)(&replay(dir))?;
    let before = Instant::now();
    let scanned = store.scan()?;
    Ok((before.elapsed(), scanned))
}

fn replay(dir: &Path) -> Setup<'_> {
    Setup {
        dir,
        level: Level::Replay,
        one_by_one: false,
    }
}

fn fill(store: &dyn Store, work: &Work, records: u64) -> Result<()> {
    let payload = Payload::new(work.size, FILL_BATCH);
    let batches = payload.batches();
    let mut writer = store.writer(&batches)?;
    let calls = usize::try_from(records)?.div_ceil(FILL_BATCH);
    for (index, values) in batches.iter().enumerate().cycle().take(calls) {
        writer.append(&Call { index, values })?;
    }
    writer.finish()
}

/// Passes until the time is over; the first one warms up.
fn passes(
    dir: &Path,
    length: Duration,
    mut pass: impl FnMut() -> Result<(Duration, u64)>,
) -> Result<Measured> {
    settle(dir)?;
    pass()?;
    let mut elapsed = Duration::ZERO;
    let mut messages = 0;
    let started = Instant::now();
    while messages == 0 || started.elapsed() < length {
        let (time, read) = pass()?;
        elapsed += time;
        messages += read;
    }
    Ok(Measured {
        rate: float(messages) / elapsed.as_secs_f64(),
        messages,
        p01_us: None,
        p50_us: None,
        p99_us: None,
    })
}

fn raw(work: &Work, dir: &Path, length: Duration, direct: bool) -> Result<Measured> {
    let path = dir.join("raw");
    let (level, threads, batch) = match work.kind {
        Kind::Append {
            level,
            threads,
            batch,
        } => (level, threads, batch),
        Kind::Scan { records } => {
            let mut raw = RawScan::prepare(&path, records * u64::try_from(work.size)?)?;
            return passes(dir, length, || {
                let before = Instant::now();
                raw.pass()?;
                Ok((before.elapsed(), records))
            });
        }
    };
    let (how, threads) = match (level, direct) {
        (Level::Durable, true) if batch > 1 => (How::Direct, DIRECT_DEPTH),
        (Level::Durable, true) => (How::Direct, threads),
        (Level::Durable, false) => (How::Synced, 1),
        (Level::Buffered | Level::Replay, _) => (How::Buffered, 1),
    };
    let file = RawFile::prepare(&path, work.size * batch, how)?;
    settle(dir)?;
    let payload = Payload::new(work.size, batch);
    let batches = payload.batches();
    let clock = Clock::starting_now(length, 1);
    let loops = on_threads(threads, || {
        let writer = Arc::clone(&file).writer()?;
        append_until(&clock, &batches, |_| Ok(writer.step()?))
    })?;
    together(&loops, work)
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}
