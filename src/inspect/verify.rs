//! Checks a store from its identity to the last frame of its log.
//!
//! The snapshot says which segments count and where the log goes on; the log
//! says which of them were dropped since. The log is read by what recovery
//! reads it with: damage is what opening would refuse, a torn tail what it
//! would cut.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;

use super::queues;
use super::report::{VerifyReport, range};
use super::segments;
use super::store::{SnapshotFile, Store, decode_error};
use super::strangers::{self, Topics};
use crate::error::{ErrorKind, Result};
use crate::format::batch::{self, check_records};
use crate::format::checksum::Seed;
use crate::format::entry::{self, Entry};
use crate::format::frame::{FrameHeader, FrameKind};
use crate::format::snapshot::{PartitionState, SegmentMeta, Snapshot};
use crate::format::{Batch, DecodeError};
use crate::ids::{Lsn, Offset, PartitionId, StoreId, TopicId, to_u64};
use crate::io::FileSystem;
use crate::wal::listing::{LiveFile, LogFile};
use crate::wal::recover::{Damage, From, Survey, survey};

/// Tells how far a verification is.
pub(super) struct Progress<'a> {
    done: u64,
    total: u64,
    tell: &'a mut dyn FnMut(u64, u64),
}

impl Progress<'_> {
    pub(super) fn add(&mut self, bytes: u64) {
        self.done = self.done.saturating_add(bytes).min(self.total);
        (self.tell)(self.done, self.total);
    }

    fn finish(&mut self) {
        self.add(self.total);
    }
}

pub(super) fn verify(
    fs: &dyn FileSystem,
    path: &Path,
    tell: &mut dyn FnMut(u64, u64),
) -> Result<VerifyReport> {
    let mut report = VerifyReport::default();
    let store = match Store::open(fs, path) {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            // Nothing can be checked without the identity: it is in all seeds.
            report.problem("store", 0, error);
            return Ok(report);
        }
        other => other?,
    };
    report.store = store.id.to_string();
    report.files += 1;
    let snapshots = store.snapshots()?;
    let files = store.log(&mut report.notes)?;
    let snapshot = newest_good(&snapshots, &mut report)?;
    let default = Snapshot::default();
    let state = snapshot.map_or(&default, |(_, state)| state);
    let mut progress = Progress {
        done: 0,
        total: total(&snapshots, state, &files),
        tell,
    };
    progress.add(snapshots.iter().map(|file| file.bytes).sum());
    let from = From {
        lsn: state.lsn,
        sequence: snapshot.map_or_else(|| first_sequence(&files), |_| state.wal_sequence),
        evidence: snapshots.first().map_or(Lsn::ZERO, |file| file.lsn),
        keep: Lsn::ZERO,
    };
    let mut checker = Checker {
        store: store.id,
        topics: state.next_topic,
        next: next_offsets(state),
        created: Vec::new(),
        dropped: Dropped::default(),
        report: &mut report,
        progress: &mut progress,
    };
    let found = survey(&files, store.id, from, &mut checker)?;
    let dropped = checker.dropped;
    let created = checker.created.into_iter();
    let topics = Topics {
        alive: created.chain(state.topics.iter().map(|it| it.id)).collect(),
        dead: dropped.topics.clone(),
    };
    report.files += to_u64(found.live.len());
    if let Some(torn) = found.torn {
        report.torn_bytes = torn.bytes;
        report.note(format!(
            "{} at byte {} (LSN {}): {} bytes of a write that a crash cut short, and that was \
             never acknowledged",
            torn.file, torn.position, torn.lsn, torn.bytes
        ));
    }
    if let Some((file, _)) = snapshot {
        queues::verify_sections(&file.path, state, &mut report);
    }
    queues::verify_timers(&store, state, &mut report, &mut progress)?;
    for alive in state.partitions.iter().filter_map(|it| dropped.alive(it)) {
        segments::verify_partition(&store, state, &alive, &mut report, &mut progress);
    }
    strangers::note(&store, state, &topics, &mut report)?;
    progress.finish();
    Ok(report)
}

fn total(snapshots: &[SnapshotFile], state: &Snapshot, files: &[LogFile]) -> u64 {
    let segments = state.partitions.iter().flat_map(|state| &state.segments);
    let segments = segments.fold(0_u64, |sum, meta| sum.saturating_add(meta.bytes));
    let snapshots: u64 = snapshots.iter().map(|file| file.bytes).sum();
    let log: u64 = files.iter().map(|file| file.len).sum();
    segments.saturating_add(snapshots).saturating_add(log)
}

/// The newest snapshot that decodes. A bad one is a problem all the same: the
/// engine may find that the log of an older one is gone.
fn newest_good<'a>(
    snapshots: &'a [SnapshotFile],
    report: &mut VerifyReport,
) -> Result<Option<(&'a SnapshotFile, &'a Snapshot)>> {
    if snapshots.is_empty() {
        report.problem("snapshot", 0, "there is no snapshot: every store has one");
    }
    let mut newest = None;
    for file in snapshots {
        report.files += 1;
        report.bytes += file.bytes;
        match &file.content {
            Ok(snapshot) => newest = newest.or(Some((file, snapshot))),
            Err(error) if error.kind() == ErrorKind::Unsupported => return Err(error.clone()),
            Err(error) => report.problem(&file.path, 0, error),
        }
    }
    Ok(newest)
}

/// A log without a snapshot goes on in its first file.
fn first_sequence(files: &[LogFile]) -> u64 {
    let live = files.iter().find(|file| file.live().is_some());
    live.map_or(1, |file| file.sequence)
}

fn next_offsets(state: &Snapshot) -> BTreeMap<PartitionId, Offset> {
    let partitions = state.partitions.iter();
    partitions.map(|it| (it.id, it.flushed)).collect()
}

/// Checks the log, frame by frame.
struct Checker<'a, 'p> {
    store: StoreId,
    /// First id that no topic had yet.
    topics: TopicId,
    /// Next offset of each partition that the log may append to: what lies
    /// below is in segments.
    next: BTreeMap<PartitionId, Offset>,
    /// Topics that the log creates.
    created: Vec<TopicId>,
    dropped: Dropped,
    report: &'a mut VerifyReport,
    progress: &'a mut Progress<'p>,
}

/// What the log behind the snapshot says is no more. Its files may be gone.
#[derive(Debug, Default)]
struct Dropped {
    topics: BTreeSet<TopicId>,
    /// First offset that is kept.
    starts: BTreeMap<PartitionId, Offset>,
    /// Segments in between that are kept no longer.
    ranges: Vec<(PartitionId, Offset, Offset)>,
}

impl Dropped {
    fn take(&mut self, entry: &Entry<'_>) {
        match entry {
            Entry::DeleteTopic(topic) => drop(self.topics.insert(*topic)),
            Entry::Trim(id, start) => {
                let kept = self.starts.entry(*id).or_default();
                *kept = (*kept).max(*start);
            }
            Entry::Drop(id, base, end) => self.ranges.push((*id, *base, *end)),
            Entry::Append(..)
            | Entry::CreateTopic(_)
            | Entry::AlterTopic(_)
            | Entry::CreateQueue(_)
            | Entry::AlterQueue(_)
            | Entry::DeleteQueue(_)
            | Entry::Ledger(..)
            | Entry::Seen(_) => {}
        }
    }

    /// `state` without the segments that are no more; `None` without all.
    fn alive(&self, state: &PartitionState) -> Option<PartitionState> {
        if self.topics.contains(&state.id.topic) {
            return None;
        }
        let mut alive = state.clone();
        let trimmed = self.starts.get(&state.id).copied().unwrap_or_default();
        alive.start = alive.start.max(trimmed);
        let start = alive.start;
        let dropped = |meta: &SegmentMeta| {
            let mut dropped = self.ranges.iter();
            dropped.any(|(id, base, end)| *id == state.id && *base <= meta.base && meta.end <= *end)
        };
        alive
            .segments
            .retain(|meta| meta.end > start && !dropped(meta));
        Some(alive)
    }
}

impl Survey for Checker<'_, '_> {
    fn frame(&mut self, file: &LiveFile, header: &FrameHeader, payload: &[u8]) -> Result<()> {
        let bytes = to_u64(header.len());
        self.report.bytes += bytes;
        self.progress.add(bytes);
        if header.kind == FrameKind::Close {
            return Ok(());
        }
        // The checksum says that this is what was written: what does not decode
        // comes from another version or a defect.
        let (path, position) = (file.path(), file.position(header.lsn));
        let wrong = |report: &mut VerifyReport, error: &dyn std::fmt::Display| {
            let message = format!("the frame at LSN {}: {error}", header.lsn);
            report.problem(&path, position, message);
        };
        let entries = match entry::decode(payload) {
            Ok(entries) => entries,
            Err(error @ DecodeError::Unsupported { .. }) => {
                let place = format!("{path} at LSN {}", header.lsn);
                return Err(decode_error(&place, error));
            }
            Err(error) => {
                wrong(self.report, &error);
                return Ok(());
            }
        };
        for entry in &entries {
            self.dropped.take(entry);
            if let Err(why) = self.verify_entry(entry) {
                wrong(self.report, &why);
            }
        }
        Ok(())
    }

    fn damage(&mut self, damage: Damage) -> Result<()> {
        let Damage {
            file,
            position,
            message,
        } = damage;
        self.report.problem(&file, position, message);
        Ok(())
    }
}

impl Checker<'_, '_> {
    fn verify_entry(&mut self, entry: &Entry<'_>) -> Result<(), String> {
        match entry {
            Entry::Append(id, bytes) => self.verify_batch(*id, bytes),
            Entry::CreateTopic(meta) => {
                let next = TopicId::new(meta.id.get().saturating_add(1));
                self.topics = self.topics.max(next);
                self.created.push(meta.id);
                Ok(())
            }
            Entry::CreateQueue(meta) => {
                if let Some(source) = &meta.source {
                    self.verify_known("subscription to topic", source.topic)?;
                    let next = TopicId::new(meta.id.get().saturating_add(1));
                    self.topics = self.topics.max(next);
                }
                Ok(())
            }
            Entry::Ledger(id, _) => self.verify_known("ledger of queue", id.topic),
            Entry::Seen(ids) => self.verify_known("list of ids of queue", ids.queue),
            Entry::AlterTopic(_)
            | Entry::DeleteTopic(_)
            | Entry::Trim(..)
            | Entry::Drop(..)
            | Entry::AlterQueue(_)
            | Entry::DeleteQueue(_) => Ok(()),
        }
    }

    fn verify_known(&self, what: &str, id: TopicId) -> Result<(), String> {
        if id < self.topics {
            return Ok(());
        }
        Err(format!("a {what} {id}: there was never such a one"))
    }

    fn verify_batch(&mut self, id: PartitionId, bytes: &[u8]) -> Result<(), String> {
        let seed = Seed::partition(self.store, id);
        let header = batch::split_first(bytes, seed)
            .map_err(|error| format!("a batch of partition {id}: {error}"))?;
        let (base, end) = (header.base_offset, header.end_offset());
        let named = |why: String| format!("the batch of {id}, {}: {why}", range(base, end));
        if id.topic >= self.topics {
            return Err(named("there was never such a topic".to_owned()));
        }
        check_records(&Batch::new(Bytes::copy_from_slice(bytes), header))
            .map_err(|error| named(error.to_string()))?;
        let next = self.next.entry(id).or_default();
        if end <= *next {
            // A segment has it; replay skips it.
            return Ok(());
        }
        let expected = std::mem::replace(next, end);
        self.report.batches += 1;
        self.report.records += u64::from(header.count);
        if base < expected {
            return Err(named(format!("expected it from offset {expected} on")));
        }
        Ok(())
    }
}
