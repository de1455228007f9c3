//! Reading a store after a crash: what it holds, every byte compared with what
//! was meant to be written.

use duolog::{Engine, Fetch, Start, Topic};

use crate::check::{Found, Held};
use crate::work::{Content, Id, PARTITIONS};

/// Reads all that a store holds.
///
/// # Errors
///
/// What is wrong with it, in words.
pub(crate) fn read(engine: &Engine) -> Result<Found, String> {
    let mut found = Found::default();
    // A child that was killed at once has made no topics.
    for (name, partitions) in [("main", PARTITIONS), ("aux", 1)] {
        let topic = engine.topic(name).ok();
        for partition in 0..partitions {
            let held = topic.as_ref().map(|topic| held(topic, partition));
            found.partitions.push(held.transpose()?.unwrap_or_default());
        }
    }
    found.topics = engine.topics().into_iter().map(|info| info.name).collect();
    Ok(found)
}

fn held(topic: &Topic, partition: u32) -> Result<Held, String> {
    let wrong = |error: duolog::Error| format!("{} {partition}: {error}", topic.name());
    let info = topic.partition(partition).map_err(wrong)?;
    let mut held = Held {
        start: info.start.get(),
        end: info.end.get(),
        records: Vec::new(),
    };
    let mut reader = topic.reader(partition, Start::Earliest).map_err(wrong)?;
    loop {
        let fetched = reader.fetch(&Fetch::default()).map_err(wrong)?;
        if fetched.is_empty() {
            return Ok(held);
        }
        for record in fetched.records().map_err(wrong)? {
            let content = Content {
                key: record.key.map(|key| key.to_vec()),
                value: record.value.unwrap_or_default().to_vec(),
                headers: record
                    .headers
                    .into_iter()
                    .map(|(name, value)| (name, value.to_vec()))
                    .collect(),
            };
            let id = Id::of_value(&content.value).filter(|id| id.content() == content);
            let Some(id) = id else {
                return Err(format!(
                    "offset {} of {} {partition} holds what nobody wrote: {content:?}",
                    record.offset,
                    topic.name()
                ));
            };
            held.records.push((record.offset.get(), id));
        }
    }
}
