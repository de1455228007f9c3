//! Topics and their partitions, for people and for scripts.

use std::time::Duration;

use duolog::{Codec, Durability, PartitionInfo, Topic, TopicOptions};
use serde::Serialize;

use crate::failure::{Done, Failure};
use crate::output::{self, Column, Stdout};
use crate::store::StoreArgs;
use crate::units;

/// A topic as JSON: the names are those of the options, the units are in them.
#[derive(Debug, Serialize)]
struct JsonTopic<'a> {
    name: &'a str,
    id: u32,
    records: u64,
    bytes: u64,
    partitions: u32,
    durability: Durability,
    codec: Codec,
    record_bytes_max: u32,
    batch_bytes_max: u32,
    segment_bytes_max: u64,
    segment_age_max_ms: u64,
    index_interval_bytes: u32,
    retention_age_ms: Option<u64>,
    retention_bytes: Option<u64>,
    retention_records: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_list: Option<&'a [PartitionInfo]>,
}

impl<'a> JsonTopic<'a> {
    fn new(topic: &'a Topic, partitions: &'a [PartitionInfo], with_list: bool) -> Self {
        let options = topic.options();
        let ms = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let (records, bytes) = totals(partitions);
        Self {
            name: topic.name(),
            id: topic.id().get(),
            records,
            bytes,
            partitions: options.partitions,
            durability: options.durability,
            codec: options.codec,
            record_bytes_max: options.record_bytes_max,
            batch_bytes_max: options.batch_bytes_max,
            segment_bytes_max: options.segment_bytes_max,
            segment_age_max_ms: ms(options.segment_age_max),
            index_interval_bytes: options.index_interval_bytes,
            retention_age_ms: options.retention.age.map(ms),
            retention_bytes: options.retention.bytes,
            retention_records: options.retention.records,
            partition_list: with_list.then_some(partitions),
        }
    }
}

/// Records and bytes over all partitions.
fn totals(partitions: &[PartitionInfo]) -> (u64, u64) {
    let records = partitions.iter().map(|one| one.end.since(one.start)).sum();
    let bytes = partitions
        .iter()
        .map(|one| one.segment_bytes.saturating_add(one.tail_bytes))
        .sum();
    (records, bytes)
}

fn partitions_of(topic: &Topic) -> Result<Vec<PartitionInfo>, Failure> {
    let partitions = 0..topic.options().partitions;
    let infos = partitions.map(|partition| topic.partition(partition).map_err(Failure::from));
    infos.collect()
}

/// Lists all topics.
pub(super) fn list(store: &StoreArgs, json: bool) -> Result<Done, Failure> {
    let engine = store.open_to_read()?;
    let mut out = Stdout::lock();
    let mut rows = Vec::new();
    for info in engine.topics() {
        let topic = engine.topic(&info.name)?;
        let partitions = partitions_of(&topic)?;
        if json {
            out.json(&JsonTopic::new(&topic, &partitions, false))?;
            continue;
        }
        let (records, bytes) = totals(&partitions);
        rows.push(vec![
            info.name.clone(),
            info.id.to_string(),
            info.options.partitions.to_string(),
            units::count(records),
            units::size(bytes),
            durability(info.options.durability).to_owned(),
            retention(&info.options),
        ]);
    }
    if !json {
        let columns = [
            Column::Left("NAME"),
            Column::Right("ID"),
            Column::Right("PARTITIONS"),
            Column::Right("RECORDS"),
            Column::Right("SIZE"),
            Column::Left("DURABILITY"),
            Column::Left("RETENTION"),
        ];
        out.text(&output::table(&columns, &rows))?;
    }
    out.flush()?;
    engine.close()?;
    Ok(Done::Well)
}

/// Shows one topic.
pub(super) fn describe(store: &StoreArgs, name: &str, json: bool) -> Result<Done, Failure> {
    let engine = store.open_to_read()?;
    let topic = engine.topic(name)?;
    let partitions = partitions_of(&topic)?;
    if json {
        output::print_json(&JsonTopic::new(&topic, &partitions, true))?;
    } else {
        let text = format!("{}\n{}", facts(&topic), partition_table(&partitions));
        output::print(&text)?;
    }
    engine.close()?;
    Ok(Done::Well)
}

fn facts(topic: &Topic) -> String {
    let options = topic.options();
    let size = |bytes: u32| units::size(u64::from(bytes));
    output::pairs(&[
        ("topic", topic.name().to_owned()),
        ("id", topic.id().to_string()),
        ("partitions", options.partitions.to_string()),
        ("durability", durability(options.durability).to_owned()),
        ("compress", codec(options.codec).to_owned()),
        ("record-bytes", size(options.record_bytes_max)),
        ("batch-bytes", size(options.batch_bytes_max)),
        ("segment-bytes", units::size(options.segment_bytes_max)),
        ("segment-age", units::duration(options.segment_age_max)),
        ("index-interval", size(options.index_interval_bytes)),
        ("retention", retention(&options)),
    ])
}

fn partition_table(partitions: &[PartitionInfo]) -> String {
    let columns = [
        Column::Right("PARTITION"),
        Column::Right("START"),
        Column::Right("DURABLE"),
        Column::Right("END"),
        Column::Right("SEGMENTS"),
        Column::Right("SEGMENT SIZE"),
        Column::Right("TAIL SIZE"),
    ];
    let row = |one: &PartitionInfo| {
        vec![
            one.partition.to_string(),
            one.start.to_string(),
            one.durable.to_string(),
            one.end.to_string(),
            one.segments.to_string(),
            units::size(one.segment_bytes),
            units::size(one.tail_bytes),
        ]
    };
    let rows: Vec<_> = partitions.iter().map(row).collect();
    output::table(&columns, &rows)
}

/// A level by the name that the flag has for it.
pub(crate) fn durability(level: Durability) -> &'static str {
    match level {
        Durability::Durable => "durable",
        Durability::Buffered => "buffered",
        Durability::Transient => "transient",
    }
}

/// A codec by the name that the flag has for it.
pub(crate) fn codec(codec: Codec) -> &'static str {
    match codec {
        Codec::None => "none",
        Codec::Lz4 => "lz4",
    }
}

/// What a topic keeps, in words.
fn retention(options: &TopicOptions) -> String {
    let retention = &options.retention;
    let limits = [
        retention.age.map(units::duration),
        retention.bytes.map(units::size),
        retention
            .records
            .map(|records| format!("{} records", units::count(records))),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    if limits.is_empty() {
        return "everything".to_owned();
    }
    limits.join(", ")
}
