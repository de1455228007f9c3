//! Checks a store from its identity to the last frame of its log.
//!
//! The snapshot says which segments count and where the log goes on; the log
//! says which of them were dropped since.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;

use super::log::{self, After, End, LogFile, Role, padded};
use super::report::{VerifyReport, range};
use super::segments;
use super::store::{SnapshotFile, Store, decode_error};
use crate::error::{ErrorKind, Result};
use crate::format::batch::{self, check_records};
use crate::format::checksum::Seed;
use crate::format::entry::{self, Entry};
use crate::format::frame::{FrameHeader, FrameKind};
use crate::format::snapshot::{PartitionState, Snapshot};
use crate::format::{Batch, DecodeError};
use crate::ids::{Lsn, Offset, PartitionId, StoreId, TopicId, to_u64};
use crate::io::FileSystem;

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

/// Where the log is expected to go on.
struct From {
    lsn: Lsn,
    sequence: u64,
    /// All below was durable: there is, or was, a snapshot of it.
    evidence: Lsn,
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
    let snapshots = store.snapshots(&mut report.notes)?;
    let files = log::files(&store, &mut report.notes)?;
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
    };
    let mut checker = Checker {
        store: store.id,
        report: &mut report,
        next: BTreeMap::new(),
        dropped: Dropped::default(),
    };
    checker.verify_log(&files, &from, &mut progress)?;
    let dropped = checker.dropped;
    for alive in state.partitions.iter().filter_map(|it| dropped.alive(it)) {
        segments::verify_partition(&store, state, &alive, &mut report, &mut progress);
    }
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
    let live = files.iter().find(|file| file.base().is_some());
    live.map_or(1, |file| file.sequence)
}

/// Checks the log.
struct Checker<'a> {
    store: StoreId,
    report: &'a mut VerifyReport,
    /// Next offset of each partition that the log appends to.
    next: BTreeMap<PartitionId, Offset>,
    dropped: Dropped,
}

/// What the log behind the snapshot says is no more. Its files may be gone.
#[derive(Debug, Default)]
struct Dropped {
    topics: BTreeSet<TopicId>,
    /// First offset that is kept.
    starts: BTreeMap<PartitionId, Offset>,
}

impl Dropped {
    fn take(&mut self, entry: &Entry<'_>) {
        match entry {
            Entry::DeleteTopic(topic) => drop(self.topics.insert(*topic)),
            Entry::Trim(id, start) => {
                let kept = self.starts.entry(*id).or_default();
                *kept = (*kept).max(*start);
            }
            Entry::Append(..) | Entry::CreateTopic(_) | Entry::AlterTopic(_) => {}
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
        alive.segments.retain(|meta| meta.end > start);
        Some(alive)
    }
}

impl Checker<'_> {
    fn verify_log(
        &mut self,
        files: &[LogFile],
        from: &From,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        let with_base = |file| -> Option<(&LogFile, Lsn)> {
            let file: &LogFile = file;
            Some((file, file.base()?))
        };
        let all = files.iter().filter_map(with_base);
        let later: Vec<_> = all
            .filter(|(file, _)| file.sequence >= from.sequence)
            .collect();
        // Of files that begin at or below the snapshot the last one will do:
        // those before it may have been used again.
        let first = later.iter().rposition(|(_, base)| *base <= from.lsn);
        let live = later.get(first.unwrap_or(0)..).unwrap_or_default();
        let from = From {
            sequence: match first.and_then(|n| later.get(n)) {
                Some((file, _)) => file.sequence,
                None => from.sequence,
            },
            ..*from
        };
        self.check_sequence(live, &from);
        let mut at = from.lsn;
        let mut last = None;
        for (n, &(file, base)) in live.iter().enumerate() {
            let stop = live.get(n + 1).map(|next| next.1);
            at = at.max(base);
            let end = self.verify_file(file, at, stop)?;
            progress.add(file.len);
            if let Some(stop) = stop.filter(|stop| padded(end.at) < *stop) {
                self.damage(file, base, &end, stop, "a later file starts after it");
            }
            at = stop.unwrap_or(end.at);
            last = Some((file, base, end));
        }
        let Some((file, base, end)) = last else {
            return Ok(());
        };
        let after = file.after(&end)?;
        let evidence = from.evidence.max(from.lsn).max(base).max(end.durable);
        let evidence = evidence.max(self.evidence(files, file.sequence, &after)?);
        if evidence > padded(end.at) {
            let why = "later bytes say that it was durable";
            self.damage(file, base, &end, evidence, why);
        } else {
            self.report.torn_bytes = after.torn_bytes;
            self.note_torn(file, base, &end, &after);
        }
        Ok(())
    }

    /// The files must be there without a gap, from the snapshot's on.
    fn check_sequence(&mut self, live: &[(&LogFile, Lsn)], from: &From) {
        let mut expected = from.sequence;
        for (file, base) in live {
            while expected < file.sequence {
                let missing = format!("wal/{expected:020}.wal");
                let message = format!("no such file of the log: LSNs up to {base} are missing");
                self.report.problem(&missing, 0, message);
                // One problem names the gap; a sequence from a bad snapshot
                // must not make a list of billions.
                expected = file.sequence;
            }
            expected = file.sequence.saturating_add(1);
        }
        let path = format!("wal/{:020}.wal", from.sequence);
        let lsn = from.lsn;
        match live.first() {
            None => {
                let message = format!("no such file of the log, which goes on at LSN {lsn} in it");
                self.report.problem(&path, 0, message);
            }
            Some((file, base)) if *base > lsn && file.sequence == from.sequence => {
                let message = format!("the log begins at LSN {base}, the snapshot ends at {lsn}");
                self.report.problem(&path, 0, message);
            }
            Some(_) => {}
        }
    }

    /// Checks one file; entries and batches too.
    fn verify_file(&mut self, file: &LogFile, from: Lsn, stop: Option<Lsn>) -> Result<End> {
        self.report.files += 1;
        let whole = file.whole();
        if file.len < whole {
            let message = format!("the file ends here, expected {whole} bytes: its end is missing");
            self.report.problem(&file.path, file.len, message);
        }
        let mut bytes = 0;
        let end = file.walk(from, stop, &mut |position, header, payload| {
            bytes += to_u64(header.len());
            self.verify_frame(file, position, header, payload);
            ControlFlow::Continue(())
        })?;
        self.report.bytes += bytes;
        match &end.bad {
            // Whole, and of a later version: neither torn nor damaged.
            Some(error @ DecodeError::Unsupported { .. }) => {
                let place = format!("{} at LSN {}", file.path, end.at);
                Err(decode_error(&place, error.clone()))
            }
            _ => Ok(end),
        }
    }

    fn verify_frame(
        &mut self,
        file: &LogFile,
        position: u64,
        header: &FrameHeader,
        payload: &[u8],
    ) {
        if header.kind == FrameKind::Close {
            return;
        }
        // The checksum says that this is what was written: what does not decode
        // comes from another version or a defect.
        let wrong = |report: &mut VerifyReport, error: &dyn std::fmt::Display| {
            let message = format!("the frame at LSN {}: {error}", header.lsn);
            report.problem(&file.path, position, message);
        };
        let entries = match entry::decode(payload) {
            Ok(entries) => entries,
            Err(error) => return wrong(self.report, &error),
        };
        for entry in &entries {
            self.dropped.take(entry);
            if let Entry::Append(id, bytes) = entry
                && let Err(why) = self.verify_batch(*id, bytes)
            {
                wrong(self.report, &why);
            }
        }
    }

    fn verify_batch(&mut self, id: PartitionId, bytes: &[u8]) -> Result<(), String> {
        let seed = Seed::partition(self.store, id);
        let header = batch::split_first(bytes, seed)
            .map_err(|error| format!("a batch of partition {id}: {error}"))?;
        let (base, end) = (header.base_offset, header.end_offset());
        self.report.batches += 1;
        self.report.records += u64::from(header.count);
        let named = |why: String| format!("the batch of {id}, {}: {why}", range(base, end));
        check_records(&Batch::new(Bytes::copy_from_slice(bytes), header))
            .map_err(|error| named(error.to_string()))?;
        let next = self.next.insert(id, end);
        if let Some(next) = next.filter(|next| base < *next) {
            return Err(named(format!("expected it from offset {next} on")));
        }
        Ok(())
    }

    /// All below was durable, by what lies behind the end of the log.
    fn evidence(&mut self, files: &[LogFile], last: u64, after: &After) -> Result<Lsn> {
        let mut evidence = after.durable;
        for file in files {
            let Role::Headless(why) = &file.role else {
                continue;
            };
            let note = format!("{} has no valid header: {why}", file.path);
            self.report.note(note);
            // Its frames are there if only the header was lost.
            if Some(file.sequence) == last.checked_add(1) {
                evidence = evidence.max(file.durable_without_header()?);
            }
        }
        Ok(evidence)
    }

    fn damage(&mut self, file: &LogFile, base: Lsn, end: &End, durable: Lsn, why: &str) {
        let found = match &end.bad {
            Some(error) => error.to_string(),
            None => "no frame is there".to_owned(),
        };
        let at = end.at;
        let message = format!("LSNs {at}..{durable} are damaged: {found}; {why}");
        self.report
            .problem(&file.path, log::position(base, at), message);
    }

    fn note_torn(&mut self, file: &LogFile, base: Lsn, end: &End, after: &After) {
        if after.torn_bytes > 0 {
            let (path, bytes) = (&file.path, after.torn_bytes);
            let position = log::position(base, end.at);
            let note = format!(
                "{path} at byte {position} (LSN {}): {bytes} bytes of a write that a crash cut \
                 short, and that was never acknowledged",
                end.at
            );
            self.report.note(note);
        }
    }
}
