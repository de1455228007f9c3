//! What an engine shows of itself: topics, ranges, and every record.

use std::collections::BTreeMap;
use std::fmt::Display;

use duolog::ids::TopicId;
use duolog::{Engine, Error, Fetch, PartitionInfo, Start, StoredRecord, TopicOptions};

/// Rounds of fetches after which a reader is taken to be stuck.
const ROUNDS_MAX: usize = 100_000;

/// A topic as the engine shows it.
#[derive(Debug)]
pub(crate) struct SeenTopic {
    pub(crate) id: TopicId,
    pub(crate) options: TopicOptions,
    pub(crate) partitions: Vec<SeenPartition>,
}

/// A partition as the engine shows it.
#[derive(Debug)]
pub(crate) struct SeenPartition {
    pub(crate) info: PartitionInfo,
    pub(crate) records: Vec<StoredRecord>,
}

/// Everything that can be read.
///
/// # Errors
///
/// The first that a read gave.
pub(crate) fn observe(engine: &Engine) -> Result<BTreeMap<String, SeenTopic>, Error> {
    let mut topics = BTreeMap::new();
    for info in engine.topics() {
        let mut partitions = Vec::new();
        for number in 0..info.options.partitions {
            let records = read_all(engine, &info.name, number)?;
            partitions.push(SeenPartition {
                info: engine.topic(&info.name)?.partition(number)?,
                records,
            });
        }
        let seen = SeenTopic {
            id: info.id,
            options: info.options,
            partitions,
        };
        topics.insert(info.name, seen);
    }
    Ok(topics)
}

/// The records of a partition from the first that is kept.
///
/// # Errors
///
/// What the read says.
pub(crate) fn read_all(
    engine: &Engine,
    topic: &str,
    partition: u32,
) -> Result<Vec<StoredRecord>, Error> {
    let mut reader = engine.topic(topic)?.reader(partition, Start::Earliest)?;
    let mut records = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let at = reader.position();
        let fetched = reader.fetch(&Fetch::default())?;
        if fetched.is_empty() && reader.position() == at {
            return Ok(records);
        }
        records.extend(fetched.records()?);
    }
    panic!("a reader of {topic}/{partition} does not come to an end");
}

/// The same for callers to whom an error is the end of the test.
#[track_caller]
pub(crate) fn seen(engine: &Engine, at: &dyn Display) -> BTreeMap<String, SeenTopic> {
    match observe(engine) {
        Ok(seen) => seen,
        Err(error) => panic!("{at}: cannot read what is there: {error:?}"),
    }
}
