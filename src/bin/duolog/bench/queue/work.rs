//! The work of `bench queue`: threads that send, threads that receive and
//! acknowledge, all on one queue.
//!
//! Both sides draw from a number of messages that is left to do, so that the same
//! number goes in and out, however many threads there are and whichever is
//! faster.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use duolog::{
    ConsumerOptions, Durability, Engine, Message, Options, Queue, QueueOptions, SendOptions,
};
use hdrhistogram::Histogram;
use indicatif::ProgressBar;

use crate::bench::meter::{histogram, record};
use crate::bench::payload::Payload;
use crate::bench::to_u64;
use crate::bench::usage::{self, PeakMemory};
use crate::failure::{CANNOT_RUN, Failure};
use crate::output::{self, Progress};
use crate::signals;

/// Messages of a send while the queue is filled.
const FILL_BATCH: usize = 1000;
/// And their bytes, about: far below the largest commit.
const FILL_BYTES: usize = 1 << 20;

/// Longest time that a consumer waits before it looks whether it is over.
const WAIT: Duration = Duration::from_millis(50);

/// Longest time without any progress: then a wake-up was lost, or the disk hangs.
const STALL_MAX: Duration = Duration::from_secs(60);

/// What is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) producers: u32,
    pub(super) consumers: u32,
    pub(super) batch: usize,
    pub(super) size: u32,
    pub(super) durability: Durability,
    pub(super) messages: u64,
    pub(super) depth: u64,
    pub(super) shards: u32,
}

/// What it took.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) back_end: String,
    pub(super) filling: Duration,
    /// Until the last message was acknowledged.
    pub(super) elapsed: Duration,
    /// Until the last was sent.
    pub(super) sending: Duration,
    /// From the first receive until the last acknowledgement.
    pub(super) receiving: Duration,
    /// Latencies of a receive and the acknowledgement of what it got.
    pub(super) cycle: Histogram<u64>,
    /// Latencies of sends.
    pub(super) send: Histogram<u64>,
    /// Messages of each consumer.
    pub(super) shares: Vec<u64>,
    pub(super) syncs: u64,
    pub(super) cpu_seconds: f64,
    pub(super) peak_memory: PeakMemory,
    pub(super) ledger_memory_bytes: u64,
}

/// What the threads have in common.
#[derive(Debug)]
struct Shared {
    to_send: AtomicU64,
    to_receive: AtomicU64,
    acknowledged: AtomicU64,
    /// Something went wrong elsewhere.
    stop: AtomicBool,
}

/// What one thread did.
#[derive(Debug)]
struct Part {
    began: Instant,
    ended: Instant,
    messages: u64,
    latency: Histogram<u64>,
}

impl Part {
    #[expect(clippy::disallowed_methods, reason = "it measures real time")]
    fn new() -> Result<Self, Failure> {
        let now = Instant::now();
        Ok(Self {
            began: now,
            ended: now,
            messages: 0,
            latency: histogram()?,
        })
    }
}

impl Shared {
    /// Takes up to `most` from what is left to do; none if it is over.
    fn claim(&self, left: &AtomicU64, most: usize) -> usize {
        if self.stop.load(Ordering::Relaxed) || signals::stopped() {
            return 0;
        }
        let most = to_u64(most);
        let take = |left: u64| Some(left.saturating_sub(most));
        let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        let claimed = before.unwrap_or(0).min(most);
        usize::try_from(claimed).unwrap_or(usize::MAX)
    }
}

impl Load {
    /// Runs it on a new store at `path`.
    #[expect(clippy::disallowed_methods, reason = "it measures real time")]
    pub(super) fn run(&self, path: &Path, payload: &Payload) -> Result<Measured, Failure> {
        let peak_memory = PeakMemory::begin();
        let engine = Engine::open(path, Options::default())?;
        let queue = engine.create_queue("bench", self.queue_options())?;
        let before = Instant::now();
        self.fill(&queue, payload)?;
        // What was filled in is not to be written while it is measured.
        engine.checkpoint()?;
        let filling = before.elapsed();

        let syncs = engine.stats().wal_syncs;
        let cpu_seconds = usage::cpu_seconds();
        let started = Instant::now();
        let (sent, received) = self.work(&queue, payload)?;
        signals::check()?;
        let cpu_seconds = usage::cpu_seconds() - cpu_seconds;
        let syncs = engine.stats().wal_syncs.saturating_sub(syncs);
        let peak_memory = peak_memory.look();
        let stats = queue.stats()?;
        let left = stats.ready + stats.in_flight + stats.delayed;
        let back_end = engine.info().back_end;
        engine.close()?;
        if left != self.depth {
            return Err(Failure::Corrupt(format!(
                "{} messages went in and out of a queue of {}, and {left} are left",
                self.messages, self.depth
            )));
        }
        let last = |parts: &[Part]| parts.iter().map(|part| part.ended).max();
        let until = |parts: &[Part], from: Instant| {
            let last = last(parts).unwrap_or(from);
            last.saturating_duration_since(from)
        };
        let first = received.iter().map(|part| part.began).min();
        Ok(Measured {
            back_end,
            filling,
            elapsed: until(&received, started).max(until(&sent, started)),
            sending: until(&sent, started),
            receiving: until(&received, first.unwrap_or(started)),
            cycle: all_of(&received)?,
            send: all_of(&sent)?,
            shares: received.iter().map(|part| part.messages).collect(),
            syncs,
            cpu_seconds,
            peak_memory,
            ledger_memory_bytes: stats.memory_bytes,
        })
    }

    fn queue_options(&self) -> QueueOptions {
        let defaults = QueueOptions::default();
        let room = self.size.saturating_add(1 << 10);
        let most = room.max(defaults.message_bytes_max);
        defaults
            .shards(self.shards)
            .durability(self.durability)
            .message_bytes_max(most)
    }

    /// Brings the queue to its depth.
    fn fill(&self, queue: &Queue, payload: &Payload) -> Result<(), Failure> {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX).max(1);
        let batches = messages(payload, (FILL_BYTES / size).clamp(1, FILL_BATCH));
        // The disk does not have to answer for each: a checkpoint comes behind.
        let level = self.durability.min(Durability::Buffered);
        let options = SendOptions::default().durability(level);
        let bar = output::progress(Progress::Items, self.depth, "fill");
        let mut left = usize::try_from(self.depth).unwrap_or(usize::MAX);
        for batch in batches.iter().cycle() {
            signals::check()?;
            let some = batch.get(..batch.len().min(left)).unwrap_or_default();
            if some.is_empty() {
                break;
            }
            queue.send_batch(some, &options)?;
            left -= some.len();
            bar.inc(to_u64(some.len()));
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Runs all threads, and returns what those that send did, and the others.
    fn work(&self, queue: &Queue, payload: &Payload) -> Result<(Vec<Part>, Vec<Part>), Failure> {
        let shared = Shared {
            to_send: AtomicU64::new(self.messages),
            to_receive: AtomicU64::new(self.messages),
            acknowledged: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        };
        let batches = messages(payload, self.batch);
        let bar = output::progress(Progress::Items, self.messages, "through");
        let parts = thread::scope(|scope| {
            let send = || stopping(&shared, self.send(queue, &shared, &batches));
            let receive = || stopping(&shared, self.receive(queue, &shared));
            let sending: Vec<_> = (0..self.producers)
                .map(|_| thread::Builder::new().spawn_scoped(scope, send))
                .collect();
            let receiving: Vec<_> = (0..self.consumers)
                .map(|_| thread::Builder::new().spawn_scoped(scope, receive))
                .collect();
            let count = sending.len();
            let all: Result<Vec<_>, _> = sending.into_iter().chain(receiving).collect();
            let all = all.map_err(|error| {
                shared.stop.store(true, Ordering::Relaxed);
                Failure::io("start a thread", error)
            })?;
            watch(&all, &shared, &bar);
            let ended = || Failure::Refused("a thread ended early".to_owned());
            let join =
                |thread: ScopedJoinHandle<'_, _>| thread.join().unwrap_or_else(|_| Err(ended()));
            let parts: Result<Vec<Part>, Failure> = all.into_iter().map(join).collect();
            parts.map(|mut parts| {
                let received = parts.split_off(count);
                (parts, received)
            })
        });
        bar.finish_and_clear();
        parts
    }

    #[expect(clippy::disallowed_methods, reason = "it measures real time")]
    fn send(
        &self,
        queue: &Queue,
        shared: &Shared,
        batches: &[Vec<Message<'_>>],
    ) -> Result<Part, Failure> {
        let mut part = Part::new()?;
        let options = SendOptions::default();
        for batch in batches.iter().cycle() {
            let claimed = shared.claim(&shared.to_send, self.batch);
            let some = batch.get(..claimed).unwrap_or_default();
            if some.is_empty() {
                break;
            }
            let called = Instant::now();
            queue.send_batch(some, &options)?;
            part.ended = Instant::now();
            record(&mut part.latency, part.ended.duration_since(called));
            part.messages += to_u64(claimed);
        }
        Ok(part)
    }

    #[expect(clippy::disallowed_methods, reason = "it measures real time")]
    fn receive(&self, queue: &Queue, shared: &Shared) -> Result<Part, Failure> {
        let prefetch = u32::try_from(self.batch).unwrap_or(u32::MAX);
        let consumer = queue.consumer(ConsumerOptions::default().prefetch(prefetch))?;
        let mut part = Part::new()?;
        let mut called = Instant::now();
        loop {
            let claimed = shared.claim(&shared.to_receive, self.batch);
            if claimed == 0 {
                return Ok(part);
            }
            let deliveries = consumer.receive(claimed, WAIT)?;
            // What others may yet receive.
            let unused = to_u64(claimed - deliveries.len());
            shared.to_receive.fetch_add(unused, Ordering::Relaxed);
            if deliveries.is_empty() {
                continue;
            }
            for result in consumer.ack_all(&deliveries)? {
                result?;
            }
            let count = to_u64(deliveries.len());
            part.ended = Instant::now();
            record(&mut part.latency, part.ended.duration_since(called));
            called = part.ended;
            part.messages += count;
            shared.acknowledged.fetch_add(count, Ordering::Relaxed);
        }
    }
}

/// Batches of messages with the values of `payload`.
fn messages(payload: &Payload, batch: usize) -> Vec<Vec<Message<'_>>> {
    let values = payload.values(batch);
    values
        .into_iter()
        .map(|values| values.into_iter().map(Message::new).collect())
        .collect()
}

/// Lets all threads stop if one failed.
fn stopping(shared: &Shared, part: Result<Part, Failure>) -> Result<Part, Failure> {
    if part.is_err() {
        shared.stop.store(true, Ordering::Relaxed);
    }
    part
}

/// Waits for all threads, and ends the process if nothing moves any more: a scope
/// cannot be left while a thread is in it.
#[expect(clippy::disallowed_methods, reason = "a bound on a wait")]
fn watch(
    threads: &[ScopedJoinHandle<'_, Result<Part, Failure>>],
    shared: &Shared,
    bar: &ProgressBar,
) {
    let mut moved = (Instant::now(), u64::MAX);
    while threads.iter().any(|thread| !thread.is_finished()) {
        let acknowledged = shared.acknowledged.load(Ordering::Relaxed);
        bar.set_position(acknowledged);
        if acknowledged != moved.1 {
            moved = (Instant::now(), acknowledged);
        }
        if moved.0.elapsed() > STALL_MAX {
            output::note(&format!(
                "no message was acknowledged for {} s: a wake-up was lost, or the disk hangs; \
                 the directory duolog-bench-* is left as it is",
                STALL_MAX.as_secs()
            ));
            std::process::exit(i32::from(CANNOT_RUN));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The latencies of all threads in one histogram.
fn all_of(parts: &[Part]) -> Result<Histogram<u64>, Failure> {
    let mut all = histogram()?;
    for part in parts {
        all.add(&part.latency)
            .map_err(|error| Failure::Refused(format!("cannot add histograms: {error}")))?;
    }
    Ok(all)
}
