//! What an engine says of itself: back end and limits, counts, recovery.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Engine;
use crate::format::FORMAT_VERSION;
use crate::ids::Lsn;

/// What the engine runs on, and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Info {
    /// The back end that writes: `blocking`, `sim`, ...
    pub back_end: String,
    /// How segments are read: `map` or `pread`.
    pub read_mode: String,
    /// Version of everything on disk.
    pub format_version: u16,
    /// The id of the store, in hexadecimal.
    pub store: String,
    /// True if nothing can be written.
    pub read_only: bool,
    /// Largest append, in bytes: a quarter of a file of the log.
    pub commit_bytes_max: u64,
    /// Mean cost of a sync of the log so far, in microseconds; 0 before the first.
    pub sync_us: u64,
}

/// Counts since the store was opened, and sizes now.
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
    /// Buffered batches that found no space in the log and waited in memory
    /// for a checkpoint.
    pub batches_unlogged: u64,
    /// Records fetched.
    pub records_fetched: u64,
    /// Bytes of the batches fetched.
    pub bytes_fetched: u64,
    /// Commits written to the log.
    pub wal_frames: u64,
    /// Writes to the log: groups.
    pub wal_groups: u64,
    /// Syncs of the log.
    pub wal_syncs: u64,
    /// Bytes written to the log, padding included.
    pub wal_bytes: u64,
    /// Bytes of the log that no snapshot has.
    pub wal_live_bytes: u64,
    /// Bytes of batches written to segments.
    pub segment_bytes: u64,
    /// Syncs of segments.
    pub segment_syncs: u64,
    /// Checkpoints made.
    pub checkpoints: u64,
    /// Memory of records that are not in segments.
    pub tail_bytes: u64,
}

/// What opening found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RecoveryReport {
    /// LSN of the snapshot that was used.
    pub snapshot_lsn: Lsn,
    /// LSN at which the log ended.
    pub end_lsn: Lsn,
    /// Commits that were read from the log.
    pub frames_replayed: u64,
    /// Batches of them that were in no segment.
    pub records_replayed: u64,
    /// Bytes of a torn tail that were cut: never acknowledged.
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
        Info {
            back_end: shared.back_end.to_owned(),
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
            segment_bytes: read(&counters.segment_bytes),
            segment_syncs: read(&counters.segment_syncs),
            checkpoints: read(&shared.checkpoints),
            tail_bytes: shared.env.memory.used(),
            ..Stats::default()
        };
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
