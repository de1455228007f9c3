//! Reads back what a measurement appended: fast and wrong is not fast.

use std::collections::HashSet;

use duolog::ids::Offset;
use duolog::{Fetch, Record, Start, Topic};

use super::payload::Payload;
use crate::failure::Failure;
use crate::signals;

/// Most bytes of a fetch.
const FETCH_BYTES: u32 = 1 << 20;

/// Where the partitions of `topic` end.
pub(super) fn ends(topic: &Topic, partitions: u32) -> Result<Vec<Offset>, Failure> {
    let end = |n| Ok(topic.partition(n)?.end);
    (0..partitions).map(end).collect()
}

/// Reads each partition from its start to its end, and holds every record
/// against what was appended; returns how many there were.
///
/// Where threads share a partition their order is not known, so a value must
/// be one of those that were appended, and offsets must leave no gap. What
/// retention removed at the start is not missed.
pub(super) fn read_back(
    topic: &Topic,
    ends: &[Offset],
    payload: &Payload,
    batch: usize,
) -> Result<u64, Failure> {
    let batches = payload.batches(batch);
    let values = batches.iter().flatten();
    let known: HashSet<&[u8]> = values.filter_map(Record::value_bytes).collect();
    let mut records = 0;
    for (partition, end) in (0..).zip(ends) {
        records += read_partition(topic, partition, *end, &known)?;
    }
    Ok(records)
}

fn read_partition(
    topic: &Topic,
    partition: u32,
    end: Offset,
    known: &HashSet<&[u8]>,
) -> Result<u64, Failure> {
    let wrong = |offset: u64, what: &str| {
        Failure::Corrupt(format!("record {offset} of partition {partition} {what}"))
    };
    let fetch = Fetch::default()
        .max_bytes(FETCH_BYTES)
        .max_records(u32::MAX);
    let mut reader = topic.reader(partition, Start::Earliest)?;
    let mut next = reader.position().get();
    let first = next;
    while next < end.get() {
        signals::check()?;
        let fetched = reader.fetch(&fetch)?;
        if fetched.is_empty() {
            let what = format!("is missing, and all up to {}", end.get());
            return Err(wrong(next, &what));
        }
        for batch in fetched.batches() {
            let base = next;
            let undecodable = |error| wrong(base, &format!("cannot be decoded: {error}"));
            for record in &batch.records().map_err(undecodable)? {
                let record = record.map_err(undecodable)?;
                if record.offset().get() != next {
                    return Err(wrong(next, "is missing"));
                }
                if !known.contains(record.value()) {
                    return Err(wrong(next, "is not what was appended"));
                }
                next += 1;
            }
        }
    }
    Ok(next - first)
}
