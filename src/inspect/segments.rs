//! The segments that a snapshot lists, batch by batch, and the files that it
//! does not.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::sync::Arc;

use super::report::{VerifyReport, range};
use super::store::{Store, list, open_dir};
use super::verify::Progress;
use crate::error::{Error, Result};
use crate::format::Batch;
use crate::format::batch::{BatchHeader, check_records};
use crate::format::snapshot::{Garbage, PartitionState, Snapshot};
use crate::ids::{Offset, PartitionId, Position, Timestamp, to_u64};
use crate::io::{Directory, EntryKind};
use crate::options::ReadMode;
use crate::segment::{
    FileKind, Place, SegmentEnv, SegmentMeta, SegmentReader, log_name, parse_name,
};

/// What the batches of a segment add up to.
struct Sum {
    batches: u64,
    records: u64,
    max_timestamp: Timestamp,
    /// Damage was found, so that the sum is not the segment's.
    partial: bool,
}

/// The directory of a partition; `None` if there is none.
pub(super) fn partition_dir(store: &Store, id: PartitionId) -> Result<Option<Arc<dyn Directory>>> {
    let Some(topics) = store.dir("topics")? else {
        return Ok(None);
    };
    let topic = id.topic.to_string();
    let Some(topic) = open_dir(&*topics, &topic, &format!("topics/{topic}"))? else {
        return Ok(None);
    };
    let name = id.partition.to_string();
    open_dir(&*topic, &name, &format!("topics/{id}"))
}

/// The environment in which a snapshot's segments are read.
pub(super) fn env(
    store: &Store,
    snapshot: &Snapshot,
    id: PartitionId,
    dir: Arc<dyn Directory>,
) -> SegmentEnv {
    let topic = snapshot.topics.iter().find(|topic| topic.id == id.topic);
    SegmentEnv {
        dir,
        store: store.id,
        id,
        // Matters only for an index that is built in memory.
        index_interval_bytes: topic.map_or(4096, |topic| topic.options.index_interval_bytes),
        writable: false,
        direct: false,
        scratch: Arc::default(),
        reads: Arc::default(),
    }
}

/// Checks the segments of one partition.
pub(super) fn verify_partition(
    store: &Store,
    snapshot: &Snapshot,
    state: &PartitionState,
    report: &mut VerifyReport,
    progress: &mut Progress<'_>,
) {
    let dir_path = format!("topics/{}", state.id);
    let dir = match partition_dir(store, state.id) {
        Ok(Some(dir)) => dir,
        Ok(None) => {
            for meta in &state.segments {
                let lost = range(meta.base, meta.end);
                let path = format!("{dir_path}/{}", log_name(meta.base));
                report.problem(&path, 0, format!("the file is missing, with {lost}"));
            }
            return;
        }
        Err(error) => return report.problem(&dir_path, 0, error),
    };
    let env = env(store, snapshot, state.id, dir);
    for meta in &state.segments {
        verify_segment(&env, meta, report, progress);
    }
    if let Err(error) = note_others(&env, state, &snapshot.garbage, report) {
        report.problem(&dir_path, 0, error);
    }
}

fn note_others(
    env: &SegmentEnv,
    state: &PartitionState,
    garbage: &[Garbage],
    report: &mut VerifyReport,
) -> Result<()> {
    let known: BTreeSet<Offset> = state.segments.iter().map(|meta| meta.base).collect();
    for (name, kind) in list(&*env.dir, &format!("topics/{}", env.id))? {
        let path = env.path(&name);
        let parsed = parse_name(&name).filter(|_| kind == EntryKind::File);
        match parsed {
            None => report.note(format!("{path} is not of the store; left alone")),
            Some((base, FileKind::Log | FileKind::Index)) if known.contains(&base) => {}
            // Dropped, and to be removed.
            Some((base, _)) if base < state.start => {}
            Some((base, _)) if garbage.contains(&Garbage::Segment(env.id, base)) => {}
            Some((_, FileKind::Temporary)) => {
                report.note(format!("{path} is an index that was never finished"));
            }
            Some(_) => report.note(format!(
                "{path} is not in the snapshot: left by a checkpoint that was interrupted"
            )),
        }
    }
    Ok(())
}

fn verify_segment(
    env: &SegmentEnv,
    meta: &SegmentMeta,
    report: &mut VerifyReport,
    progress: &mut Progress<'_>,
) {
    let path = env.path(&log_name(meta.base));
    report.files += 1;
    let reader = match SegmentReader::open(env.clone(), meta, ReadMode::Pread) {
        Ok(reader) => reader,
        Err(error) => return report.problem(&path, 0, brief(&error, &path)),
    };
    for note in reader.notes() {
        // Built in memory, for this run; on disk nothing was mended.
        report.note(note);
    }
    let sum = sum_up(&reader, &path, report, progress);
    report.batches += sum.batches;
    report.records += sum.records;
    report.bytes += meta.bytes;
    if sum.partial {
        return;
    }
    if sum.records != meta.records {
        let message = format!("{} records, expected {}", sum.records, meta.records);
        report.problem(&path, meta.bytes, message);
    }
    if sum.max_timestamp != meta.max_timestamp {
        let (found, expected) = (sum.max_timestamp, meta.max_timestamp);
        let message = format!("the latest event is of {found}, expected {expected}");
        report.problem(&path, meta.bytes, message);
    }
}

/// Goes through all batches. Behind damage it goes on where the index has the
/// next batch.
fn sum_up(
    reader: &SegmentReader,
    path: &str,
    report: &mut VerifyReport,
    progress: &mut Progress<'_>,
) -> Sum {
    let mut sum = Sum {
        batches: 0,
        records: 0,
        max_timestamp: Timestamp::MIN,
        partial: false,
    };
    let mut entries = reader.index_entries().peekable();
    let mut misled = false;
    let mut scan = reader.scan(Place::start(reader.meta().base));
    loop {
        match scan.next_batch() {
            Ok(Some((position, batch))) => {
                misled |= !index_agrees(&mut entries, position, &batch, &sum);
                add(&mut sum, position, &batch, path, report);
                progress.add(to_u64(batch.raw().len()));
            }
            Ok(None) => break,
            Err(error) => {
                let at = scan.position();
                report.problem(path, at.get(), brief(&error, path));
                sum.partial = true;
                let behind = entries.find(|(place, _)| place.position > at);
                let Some((place, _)) = behind else {
                    break;
                };
                scan = reader.scan(place);
            }
        }
    }
    if !sum.partial && (misled || entries.next().is_some()) {
        report.note(format!(
            "the index of {path} does not agree with it; reads will be slow"
        ));
    }
    sum
}

/// False if the entry for this place is not one for this batch.
fn index_agrees(
    entries: &mut Peekable<impl Iterator<Item = (Place, Timestamp)>>,
    position: Position,
    batch: &Batch,
    sum: &Sum,
) -> bool {
    let Some((place, before)) = entries.next_if(|(place, _)| place.position <= position) else {
        return true;
    };
    // Behind damage the latest event before is not known.
    let time_agrees = sum.partial || before == sum.max_timestamp;
    place.position == position && place.offset == batch.first_offset() && time_agrees
}

fn add(sum: &mut Sum, position: Position, batch: &Batch, path: &str, report: &mut VerifyReport) {
    let (first, end) = (batch.first_offset(), batch.end_offset());
    if let Err(error) = check_records(batch) {
        let message = format!("the batch of {}: {error}", range(first, end));
        report.problem(path, position.get(), message);
    }
    sum.batches += 1;
    sum.records += count(batch);
    sum.max_timestamp = sum.max_timestamp.max(batch.max_timestamp());
}

/// What `error` says, without the place: a problem names that itself.
pub(super) fn brief(error: &Error, path: &str) -> String {
    let text = error.to_string();
    let rest = text
        .strip_prefix(&format!("segment {path} "))
        .unwrap_or(&text);
    let place = rest
        .strip_prefix("at byte ")
        .and_then(|rest| rest.split_once(' '));
    place.map_or(rest, |(_, rest)| rest).to_owned()
}

/// Records in a batch, by its header.
pub(super) fn count(batch: &Batch) -> u64 {
    BatchHeader::decode(batch.raw()).map_or(0, |header| u64::from(header.count))
}
