//! A load: what is appended, how, and for how long; and what it took to do it.
//!
//! `bench append` runs one load, `bench matrix` one for each of its cells. Each
//! has a store of its own, which is new.

use std::path::Path;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use duolog::{
    Codec, Durability, Engine, Options, Retention, Stats, Topic, TopicOptions, WriteMode,
};
use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};

use super::calls;
use super::meter::{Meter, histogram};
use super::payload::Payload;
use super::probe::{self, Probe, Way};
use super::usage::{self, PeakMemory};
use super::verify;
use crate::failure::Failure;
use crate::output;
use crate::signals;

/// What the topic may keep on disk: a long run must not fill the disk.
const KEPT_BYTES: u64 = 4 << 30;

/// Longest time that a call may go on after the end of a measurement. A thread
/// that takes longer waits for a wake-up that was lost, or for a dead disk.
const STALL_MAX: Duration = Duration::from_secs(60);

/// What is appended, and how: two results may be compared only where this is the
/// same. A report has it as it is.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Work {
    pub(super) threads: u32,
    pub(super) size: u32,
    pub(super) batch: u32,
    pub(super) durability: Durability,
    pub(super) partitions: u32,
    pub(super) compress: bool,
    /// Appends that a thread has under way; None if it waits for each.
    pub(super) nowait: Option<u32>,
    /// None for the engine's own default; zero in a report.
    #[serde(rename = "linger_us", serialize_with = "micros")]
    pub(super) linger: Option<Duration>,
    /// Messages a second of all threads together; None for as many as go.
    pub(super) rate: Option<f64>,
}

#[expect(clippy::ref_option, reason = "serde hands fields over like this")]
fn micros<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    let micros = time.unwrap_or_default().as_micros();
    serializer.serialize_u64(u64::try_from(micros).unwrap_or(u64::MAX))
}

impl Work {
    /// The bytes that one call appends, to write raw.
    pub(super) fn call_len(&self) -> u64 {
        u64::from(self.size) * u64::from(self.batch)
    }

    /// How long buffered records wait to be written; zero if the engine adapts it.
    pub(super) fn linger(&self) -> Duration {
        self.linger.unwrap_or_default()
    }
}

/// Work, and for how long.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) work: Work,
    pub(super) log: LogChoice,
    pub(super) warmup: Duration,
    pub(super) seconds: Duration,
    /// Read everything back afterwards.
    pub(super) verify: bool,
}

/// How the log is written; None for the engine's own defaults.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LogChoice {
    pub(super) in_flight: Option<u32>,
    pub(super) group_bytes: Option<u32>,
    /// Through the page cache.
    pub(super) cached: bool,
}

/// What all threads measured together.
#[derive(Debug)]
pub(super) struct Measured {
    /// Messages that each thread had done.
    pub(super) shares: Vec<u64>,
    pub(super) latency: Histogram<u64>,
    /// Seconds over which syncs, records and processor time were counted.
    pub(super) seconds: f64,
    pub(super) syncs: u64,
    /// Messages that the engine took: counted there, since a thread that starved
    /// knows only of the time in which it did not.
    pub(super) records: u64,
    pub(super) cpu_seconds: f64,
    pub(super) peak_memory: PeakMemory,
    /// Counts from open to the last checkpoint, warm-up included.
    pub(super) whole: Stats,
    pub(super) kernel_written_bytes: Option<u64>,
    /// Records that were read back and found to be what was appended.
    pub(super) verified: Option<u64>,
    pub(super) back_end: String,
    /// Writes of the log that it may have under way.
    pub(super) in_flight_max: u32,
}

/// What the engine and the process had used up at a moment.
struct Reading {
    at: Instant,
    stats: Stats,
    cpu_seconds: f64,
}

impl Reading {
    #[expect(clippy::disallowed_methods, reason = "it measures real time")]
    fn take(engine: &Engine) -> Self {
        Self {
            at: Instant::now(),
            stats: engine.stats(),
            cpu_seconds: usage::cpu_seconds(),
        }
    }
}

impl Load {
    /// Runs it on a new store at `path`; `progress` hears of time that passed.
    pub(super) fn run(
        &self,
        path: &Path,
        payload: &Payload,
        progress: &dyn Fn(Duration),
    ) -> Result<Measured, Failure> {
        let peak_memory = PeakMemory::begin();
        let written = usage::kernel_written_bytes();
        let engine = Engine::open(path, self.options())?;
        let topic = engine.create_topic("bench", self.topic_options())?;
        let (meters, [before, after]) = self.append(&engine, &topic, payload, progress)?;
        // What is still in memory belongs to what the accepted bytes cost.
        engine.checkpoint()?;
        let whole = engine.stats();
        let kernel_written_bytes = usage::kernel_written_bytes()
            .zip(written)
            .map(|(now, then)| now.saturating_sub(then));
        let peak_memory = peak_memory.look();
        let info = engine.info();
        let verified = self.finish(path, payload, &engine, &topic)?;

        let mut latency = histogram()?;
        for meter in &meters {
            latency
                .add(meter.latency())
                .map_err(|error| Failure::Refused(format!("cannot add histograms: {error}")))?;
        }
        let counted = |of: fn(&Stats) -> u64| of(&after.stats).saturating_sub(of(&before.stats));
        Ok(Measured {
            shares: meters.iter().map(Meter::messages).collect(),
            latency,
            seconds: after.at.duration_since(before.at).as_secs_f64(),
            syncs: counted(|stats| stats.wal_syncs),
            records: counted(|stats| stats.records_appended),
            cpu_seconds: after.cpu_seconds - before.cpu_seconds,
            peak_memory,
            whole,
            kernel_written_bytes,
            verified,
            back_end: info.back_end,
            in_flight_max: info.in_flight_max,
        })
    }

    #[expect(clippy::disallowed_methods, reason = "it measures real time")]
    fn append(
        &self,
        engine: &Engine,
        topic: &Topic,
        payload: &Payload,
        progress: &dyn Fn(Duration),
    ) -> Result<(Vec<Meter>, [Reading; 2]), Failure> {
        let begin = Instant::now() + self.warmup;
        let end = begin + self.seconds;
        thread::scope(|scope| {
            let work = |n| move || calls::until(self, n, topic, payload, Meter::new(begin, end)?);
            let threads: Result<Vec<_>, _> = (0..self.work.threads)
                .map(|n| thread::Builder::new().spawn_scoped(scope, work(n)))
                .collect();
            let threads = threads.map_err(|error| Failure::io("start a thread", error))?;
            sleep_until(begin, progress);
            let before = Reading::take(engine);
            sleep_until(end, progress);
            let after = Reading::take(engine);
            Ok((join(threads, end + STALL_MAX)?, [before, after]))
        })
    }

    /// Closes the engine, and reads everything back if that was asked for: from
    /// the disk, but for what does not survive a close.
    fn finish(
        &self,
        path: &Path,
        payload: &Payload,
        engine: &Engine,
        topic: &Topic,
    ) -> Result<Option<u64>, Failure> {
        let batch = usize::try_from(self.work.batch).unwrap_or(1);
        if !self.verify {
            engine.close()?;
            return Ok(None);
        }
        let ends = verify::ends(topic, self.work.partitions)?;
        if self.work.durability == Durability::Transient {
            let verified = verify::read_back(topic, &ends, payload, batch)?;
            engine.close()?;
            return Ok(Some(verified));
        }
        engine.close()?;
        let engine = Engine::open(path, self.options())?;
        let topic = engine.topic("bench")?;
        let verified = verify::read_back(&topic, &ends, payload, batch)?;
        engine.close()?;
        Ok(Some(verified))
    }

    /// True if the disk is to be measured with several writes under way, too:
    /// what appends with tickets are held against.
    pub(super) fn is_deep(&self) -> bool {
        self.work.nowait.is_some() && self.work.durability == Durability::Durable
    }

    /// Direct writes of the bytes of a call, as many under way as the log may
    /// have, as `doctor` measures them. None for other loads, and where the file
    /// system refuses them.
    pub(super) fn deep_raw(
        &self,
        path: &Path,
        measured: &Measured,
        length: Duration,
    ) -> Result<Option<probe::Figures>, Failure> {
        if !self.is_deep() {
            return Ok(None);
        }
        let len = usize::try_from(self.work.call_len()).unwrap_or(usize::MAX);
        Probe::new(Way::Direct, len, measured.in_flight_max).run(path, length)
    }

    fn options(&self) -> Options {
        let mut options = Options::default();
        if let Some(linger) = self.work.linger {
            options = options.linger(linger);
        }
        if let Some(groups) = self.log.in_flight {
            options = options.in_flight_max(groups);
        }
        if let Some(bytes) = self.log.group_bytes {
            options = options.group_bytes_max(bytes);
        }
        if self.log.cached {
            options = options.write_mode(WriteMode::Cached);
        }
        options
    }

    fn topic_options(&self) -> TopicOptions {
        let defaults = TopicOptions::default();
        let codec = if self.work.compress {
            Codec::Lz4
        } else {
            Codec::None
        };
        // Room for the value and what a record has beside it.
        let record_bytes = self.work.size.saturating_add(1 << 10);
        let kept = KEPT_BYTES / u64::from(self.work.partitions.max(1));
        defaults
            .clone()
            .partitions(self.work.partitions)
            .durability(self.work.durability)
            .codec(codec)
            .record_bytes_max(record_bytes.max(defaults.record_bytes_max))
            .retention(Retention::default().bytes(kept))
    }
}

/// Waits for all threads, and ends the process if one does not come back:
/// a scope cannot be left while a thread is in it.
#[expect(clippy::disallowed_methods, reason = "a bound on a wait")]
fn join(
    threads: Vec<ScopedJoinHandle<'_, Result<Meter, Failure>>>,
    latest: Instant,
) -> Result<Vec<Meter>, Failure> {
    while threads.iter().any(|thread| !thread.is_finished()) {
        if Instant::now() > latest {
            output::note(&format!(
                "an append has not returned for {} s: a wake-up was lost, or the disk hangs; \
                 the directory duolog-bench-* is left as it is",
                STALL_MAX.as_secs()
            ));
            std::process::exit(i32::from(crate::failure::CANNOT_RUN));
        }
        thread::sleep(Duration::from_millis(1));
    }
    let ended = || Failure::Refused("a thread that appended ended early".to_owned());
    threads
        .into_iter()
        .map(|thread| thread.join().unwrap_or_else(|_| Err(ended())))
        .collect()
}

#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn sleep_until(when: Instant, progress: &dyn Fn(Duration)) {
    while let Some(left) = when.checked_duration_since(Instant::now()) {
        let nap = left.min(signals::LOOK_EVERY);
        if nap.is_zero() || signals::stopped() {
            return;
        }
        thread::sleep(nap);
        progress(nap);
    }
}
