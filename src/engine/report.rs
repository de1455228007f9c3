//! What an engine says of itself: back end and limits, counts, recovery.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Engine;
use crate::format::FORMAT_VERSION;
use crate::ids::Lsn;

/// What the engine runs on, and its limits; from [`Engine::info`].
///
/// # Examples
///
/// ```
/// # use duolog::{Engine, Options};
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// let info = engine.info();
/// assert!(!info.read_only);
/// println!("store {} on {}, {} us a sync", info.store, info.back_end, info.sync_us);
/// if let Some(why) = &info.one_at_a_time {
///     println!("the log is written one group at a time: {why}");
/// }
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Info {
    /// What writes the log: `io_uring` if several groups are under way at once,
    /// else the name of the file system's back end: `blocking`, `sim`, ...
    pub back_end: String,
    /// True if the log is written past the page cache.
    pub direct: bool,
    /// Groups of the log that may be under way at once.
    pub in_flight_max: u32,
    /// Why that is one although more were asked for; `None` if it is not.
    pub one_at_a_time: Option<String>,
    /// How segments are read: `map` or `pread`.
    pub read_mode: String,
    /// Version of everything on disk.
    pub format_version: u16,
    /// The id of the store, in hexadecimal.
    pub store: String,
    /// True if nothing can be written.
    pub read_only: bool,
    /// Largest append, in bytes: a quarter of a file of the log, at most 64 MiB.
    /// Each record counts up to some 60 bytes more than it has, each header 20.
    pub commit_bytes_max: u64,
    /// Mean cost of a sync of the log so far, in microseconds; 0 before the first.
    pub sync_us: u64,
}

/// Counts since the store was opened, and sizes now; from [`Engine::stats`].
///
/// # Examples
///
/// ```
/// use duolog::{Record, TopicOptions};
/// # use duolog::{Engine, Options};
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// let topic = engine.create_topic("t", TopicOptions::default())?;
/// topic.append(&Record::new("12345").key("k"))?;
///
/// let stats = engine.stats();
/// assert_eq!((stats.records_appended, stats.bytes_appended), (1, 6));
/// assert!(stats.wal_syncs >= 1);
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Stats {
    /// Records accepted.
    pub records_appended: u64,
    /// Bytes of their keys, values and headers.
    pub bytes_appended: u64,
    /// Batches they went into.
    pub batches_appended: u64,
    /// Buffered batches that the log did not take, for want of space or because
    /// they were larger than a commit may be, and that waited in memory for a
    /// checkpoint. Until then a crash loses them.
    pub batches_unlogged: u64,
    /// Records fetched.
    pub records_fetched: u64,
    /// Bytes of the batches fetched.
    pub bytes_fetched: u64,
    /// Batches of segments whose checksum was computed to find or to fetch
    /// records: each of those that are fetched, and those between an entry of
    /// the index and the first of them.
    pub batches_checked: u64,
    /// Commits written to the log.
    pub wal_frames: u64,
    /// Writes to the log: groups.
    pub wal_groups: u64,
    /// Syncs of the log.
    pub wal_syncs: u64,
    /// Bytes written to the log, padding included.
    pub wal_bytes: u64,
    /// Bytes of the log that no snapshot has: what an open would read.
    pub wal_live_bytes: u64,
    /// Bytes of batches written to segments.
    pub segment_bytes: u64,
    /// Syncs of segments.
    pub segment_syncs: u64,
    /// Checkpoints made.
    pub checkpoints: u64,
    /// Memory of batches that are not in segments, 128 bytes for each counted
    /// in; held against [`tail_bytes_max`](crate::Options::tail_bytes_max).
    pub tail_bytes: u64,
    /// Delayed and expiring messages that wait for their time, in memory or on
    /// disk.
    pub timers: u64,
    /// Memory that those take, about.
    pub timer_bytes: u64,
}

/// What opening found; from [`Engine::recovery`].
///
/// # Examples
///
/// ```
/// use duolog::{Record, TopicOptions};
/// # use duolog::{Engine, Options};
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// let topic = engine.create_topic("t", TopicOptions::default())?;
/// topic.append(&Record::new("x"))?;
/// engine.close()?;
///
/// let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// let report = engine.recovery();
/// assert!(report.clean, "it was closed in order");
/// assert_eq!(report.torn_bytes, 0);
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RecoveryReport {
    /// LSN of the snapshot that was used.
    pub snapshot_lsn: Lsn,
    /// LSN at which the log ended.
    pub end_lsn: Lsn,
    /// Frames that were read from the log: commits, and the mark of an orderly
    /// close.
    pub frames_replayed: u64,
    /// Records in them that were in no segment, and went to memory.
    pub records_replayed: u64,
    /// Bytes of a torn tail that were cut, or left out of a read-only store: as
    /// far as anything says, never acknowledged.
    pub torn_bytes: u64,
    /// True if the store had been closed in order.
    pub clean: bool,
    /// What was found and mended, or left alone, in words.
    pub notes: Vec<String>,
}

impl Engine {
    /// What the engine runs on, and its limits.
    #[must_use]
    pub fn info(&self) -> Info {
        let shared = self.shared();
        let wal = shared.env.wal.get();
        let syncs = wal.map_or(0, |wal| read(&wal.counters.syncs));
        let sync_us = wal.map_or(0, |wal| read(&wal.counters.sync_us));
        let map = shared.options.read_mode == crate::options::ReadMode::Map;
        let map = map && cfg!(feature = "mmap");
        let back_end = &shared.back_end;
        let queued = back_end.is_queued();
        let ring = queued && back_end.name == "blocking";
        Info {
            back_end: if ring { "io_uring" } else { back_end.name }.to_owned(),
            direct: back_end.direct,
            in_flight_max: if queued {
                shared.options.in_flight_max
            } else {
                1
            },
            one_at_a_time: back_end.note.clone(),
            read_mode: if map { "map" } else { "pread" }.to_owned(),
            format_version: FORMAT_VERSION,
            store: shared.identity.store.to_string(),
            read_only: shared.options.read_only,
            commit_bytes_max: shared.options.commit_bytes_max(),
            sync_us: sync_us.checked_div(syncs).unwrap_or(0),
        }
    }

    /// Counts since the store was opened, and sizes now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let shared = self.shared();
        let counters = &shared.env.counters;
        let mut stats = Stats {
            records_appended: read(&counters.records_appended),
            bytes_appended: read(&counters.bytes_appended),
            batches_appended: read(&counters.batches_appended),
            batches_unlogged: read(&counters.batches_unlogged),
            records_fetched: read(&counters.records_fetched),
            bytes_fetched: read(&counters.bytes_fetched),
            batches_checked: shared.env.reads.batches_checked(),
            segment_bytes: read(&counters.segment_bytes),
            segment_syncs: read(&counters.segment_syncs),
            checkpoints: read(&shared.checkpoints),
            tail_bytes: shared.env.memory.used(),
            ..Stats::default()
        };
        {
            let timers = crate::signal::lock(&shared.queues.timers);
            (stats.timers, stats.timer_bytes) = (timers.len(), timers.memory_bytes());
        }
        if let Some(wal) = shared.env.wal.get() {
            stats.wal_frames = read(&wal.counters.frames);
            stats.wal_groups = read(&wal.counters.groups);
            stats.wal_syncs = read(&wal.counters.syncs);
            stats.wal_bytes = read(&wal.counters.bytes);
            stats.wal_live_bytes = shared.env.log_bytes();
        }
        stats
    }

    /// What opening found.
    #[must_use]
    pub fn recovery(&self) -> &RecoveryReport {
        &self.shared().recovery
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
