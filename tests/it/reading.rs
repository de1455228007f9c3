//! What reading costs: which batches are checked, and how often.

use std::sync::Arc;

use duolog::clock::ManualClock;
use duolog::ids::Offset;
use duolog::io::sim::SimFs;
use duolog::{AppendOptions, Background, Engine, Fetch, Options, Record, Start, TopicOptions};

use crate::world::{EPOCH_MS, PATH};

/// Records of a batch.
const BATCH: usize = 10;

/// Batches that were moved to a segment.
const BATCHES: u64 = 20;

/// An engine with a topic `t`, whose batches each have an entry in the index.
fn engine() -> Engine {
    let clock = ManualClock::new(EPOCH_MS);
    let options = Options::default()
        .background(Background::Manual)
        .clock(Arc::new(clock));
    let engine = Engine::open_with(Arc::new(SimFs::new(1)), PATH, options).expect("open");
    let topic_options = TopicOptions::default().index_interval_bytes(4096);
    let topic = engine.create_topic("t", topic_options).expect("create");
    let value = vec![7; 500];
    let records = vec![Record::new(&value); BATCH];
    for _ in 0..BATCHES {
        topic
            .append_batch(&records, &AppendOptions::default())
            .expect("append");
    }
    engine.checkpoint().expect("checkpoint");
    engine
}

/// Reads from `from` on, at most `records` at a time, so many times: offsets that were read,
/// and batches that were checked for it.
fn read(engine: &Engine, from: u64, records: u32, times: usize) -> (Vec<u64>, u64) {
    let topic = engine.topic("t").expect("topic");
    let mut reader = topic
        .reader(0, Start::Offset(Offset::new(from)))
        .expect("reader");
    let before = engine.stats().batches_checked;
    let mut offsets = Vec::new();
    for _ in 0..times {
        let fetched = reader
            .fetch(&Fetch::default().max_records(records))
            .expect("fetch");
        let records = fetched.records().expect("records");
        offsets.extend(records.iter().map(|record| record.offset.get()));
    }
    (offsets, engine.stats().batches_checked - before)
}

#[test]
fn a_fetch_checks_each_batch_that_it_returns_once_and_no_other() {
    let engine = engine();
    for (records, fetches, checked) in [(10, 1, 1), (10, 20, 20), (30, 1, 3), (30, 4, 12)] {
        let (offsets, found) = read(&engine, 0, records, fetches);
        let expected = 0..u64::from(records) * fetches as u64;
        assert_eq!(offsets, expected.collect::<Vec<_>>());
        assert_eq!(found, checked, "{fetches} fetches of {records} records");
    }
}

#[test]
fn a_fetch_that_goes_on_inside_of_a_batch_checks_that_batch_and_no_earlier_one() {
    let engine = engine();
    let (offsets, checked) = read(&engine, 95, 10, 1);
    assert_eq!(offsets, (95..105).collect::<Vec<_>>());
    assert_eq!(checked, 2, "the one of 90, and the one of 100");
    // Four fetches for a batch of ten: it is checked by each of them.
    let (offsets, checked) = read(&engine, 0, 3, 4);
    assert_eq!(offsets, (0..12).collect::<Vec<_>>());
    assert_eq!(checked, 5, "the last one comes to the next batch");
}

#[test]
fn what_is_in_memory_is_not_checked() {
    let engine = engine();
    let topic = engine.topic("t").expect("topic");
    let appended = topic.append(&Record::new("x")).expect("append");
    let (offsets, checked) = read(&engine, appended.offset.get(), 10, 1);
    assert_eq!(offsets, [appended.offset.get()]);
    assert_eq!(checked, 0);
}
