//! Many threads at once: nothing is lost, doubled or reordered, and nobody
//! waits for ever.

use std::collections::HashMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use duolog::{AppendOptions, Durability, ErrorKind, Fetch, Record, Start, Topic, TopicOptions};

use crate::support::{Place, buffered, records, small, topic, watched};

/// A value that says who wrote it, and which of theirs it is.
fn value(thread: u32, number: u32) -> [u8; 8] {
    let mut value = [0; 8];
    value[..4].copy_from_slice(&thread.to_le_bytes());
    value[4..].copy_from_slice(&number.to_le_bytes());
    value
}

fn read(value: &[u8]) -> (u32, u32) {
    let number = |at: usize| u32::from_le_bytes(value[at..at + 4].try_into().unwrap());
    (number(0), number(4))
}

/// How many records each thread has in a partition: in order, without a gap.
#[track_caller]
fn counts(topic: &Topic, partition: u32) -> HashMap<u32, u32> {
    let mut counts = HashMap::new();
    for record in records(topic, partition) {
        let (thread, number) = read(&record.value.unwrap());
        let count = counts.entry(thread).or_insert(0);
        assert_eq!(number, *count, "thread {thread} at {}", record.offset);
        *count += 1;
    }
    counts
}

#[test]
fn sixteen_durable_producers_and_readers_that_follow_them() {
    const THREADS: u32 = 16;
    const EACH: u32 = 100;
    watched("sixteen producers", || {
        let place = Place::new();
        let engine = place.open(small());
        let topic = topic(&engine, "t");
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let topic = topic.clone();
                scope.spawn(move || {
                    for number in 0..EACH {
                        let value = value(thread, number);
                        let placed = topic.append(&Record::new(&value)).unwrap();
                        // Acknowledged is durable, and visible.
                        let info = topic.partition(0).unwrap();
                        assert!(info.durable > placed.offset, "{info:?}");
                        let start = Start::Offset(placed.offset);
                        let mut reader = topic.reader(0, start).unwrap();
                        let fetched = reader.fetch(&Fetch::default().max_records(1));
                        let record = fetched.unwrap().records().unwrap().remove(0);
                        assert_eq!(record.value.as_deref(), Some(&value[..]));
                    }
                });
            }
            for _ in 0..2 {
                let mut reader = topic.reader(0, Start::Earliest).unwrap();
                scope.spawn(move || {
                    let fetch = Fetch::default().max_wait(Duration::from_secs(60));
                    let mut next = 0;
                    while next < u64::from(THREADS * EACH) {
                        for record in reader.fetch(&fetch).unwrap().records().unwrap() {
                            assert_eq!(record.offset.get(), next);
                            next += 1;
                        }
                    }
                });
            }
        });
        let counts = counts(&topic, 0);
        assert_eq!(counts.len(), THREADS as usize);
        assert!(counts.values().all(|count| *count == EACH), "{counts:?}");
    });
}

#[test]
fn buffered_producers_on_two_hundred_partitions() {
    const PARTITIONS: u32 = 200;
    const EACH: u32 = 4_000;
    watched("two hundred partitions", || {
        let place = Place::new();
        let options = small()
            .tail_bytes_max(256 << 10)
            .segments_open_max(16)
            .checkpoint_interval(Duration::from_millis(10));
        let engine = place.open(options);
        let topic_options = TopicOptions::default()
            .partitions(PARTITIONS)
            .durability(Durability::Buffered)
            .segment_bytes_max(4096);
        let topic = engine.create_topic("t", topic_options).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let topic = &topic;
                scope.spawn(move || {
                    for n in 0..EACH {
                        let there = AppendOptions::default().partition(n % PARTITIONS);
                        let value = value(thread, n / PARTITIONS);
                        topic.append_with(&Record::new(&value), &there).unwrap();
                    }
                });
            }
        });
        engine.close().unwrap();
        let engine = place.open(small());
        let topic = engine.topic("t").unwrap();
        for partition in 0..PARTITIONS {
            let counts = counts(&topic, partition);
            let full = (0..4).all(|thread| counts[&thread] == EACH / PARTITIONS);
            assert!(full, "partition {partition}: {counts:?}");
        }
    });
}

/// Runs `work` again and again until `done`.
fn repeat(done: &AtomicBool, mut work: impl FnMut()) {
    while !done.load(Ordering::Relaxed) {
        work();
    }
}

#[test]
fn a_storm_of_checkpoints_syncs_and_trims_loses_nothing() {
    const EACH: u32 = 1_500;
    watched("a storm", || {
        let place = Place::new();
        let options = small()
            .wal_file_bytes(64 << 10)
            .wal_bytes_max(256 << 10)
            .checkpoint_interval(Duration::from_millis(10));
        let engine = place.open(options);
        let small_segments = TopicOptions::default().segment_bytes_max(4096);
        let topic = engine.create_topic("t", small_segments.clone()).unwrap();
        let trimmed = engine.create_topic("trimmed", small_segments).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|thread| {
                    let (topic, trimmed) = (&topic, &trimmed);
                    scope.spawn(move || write_both(topic, trimmed, thread, EACH))
                })
                .collect();
            for _ in 0..2 {
                scope.spawn(|| repeat(&done, || engine.checkpoint().unwrap()));
            }
            scope.spawn(|| repeat(&done, || engine.sync().unwrap()));
            scope.spawn(|| {
                repeat(&done, || {
                    let durable = trimmed.partition(0).unwrap().durable;
                    trimmed.trim(0, durable).unwrap();
                });
            });
            scope.spawn(|| never_back(&topic, &done));
            for writer in writers {
                writer.join().unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        let whole = |topic: &Topic| {
            let counts = counts(topic, 0);
            assert!((0..4).all(|thread| counts[&thread] == EACH), "{counts:?}");
        };
        whole(&topic);
        engine.close().unwrap();
        whole(&place.open(small()).topic("t").unwrap());
    });
}

fn write_both(topic: &Topic, trimmed: &Topic, thread: u32, count: u32) {
    for number in 0..count {
        let value = value(thread, number);
        let how = if number % 10 == 0 {
            AppendOptions::default()
        } else {
            buffered()
        };
        topic.append_with(&Record::new(&value), &how).unwrap();
        let other = AppendOptions::default().durability(Durability::Buffered);
        trimmed.append_with(&Record::new(&value), &other).unwrap();
    }
}

/// What was durable stays so.
fn never_back(topic: &Topic, done: &AtomicBool) {
    let mut before = topic.partition(0).unwrap();
    repeat(done, || {
        let now = topic.partition(0).unwrap();
        assert!(now.durable >= before.durable, "{before:?} to {now:?}");
        assert!(now.end >= before.end, "{before:?} to {now:?}");
        before = now;
    });
}

#[test]
fn topics_that_grow_and_go_under_checkpoints_are_there_after_a_restart() {
    watched("a changing catalog", || {
        for round in 0..5 {
            let place = Place::new();
            let engine = place.open(small());
            let grows = topic(&engine, "grows");
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| repeat(&done, || engine.checkpoint().unwrap()));
                for partitions in 2..100_u32 {
                    let more = TopicOptions::default().partitions(partitions);
                    engine.alter_topic("grows", more).unwrap();
                    let there = AppendOptions::default().partition(partitions - 1);
                    grows.append_with(&Record::new("x"), &there).unwrap();
                    let name = format!("goes-{partitions}");
                    topic(&engine, &name).append(&Record::new("y")).unwrap();
                    if partitions % 2 == 0 {
                        engine.delete_topic(&name).unwrap();
                    }
                }
                done.store(true, Ordering::Relaxed);
            });
            engine.close().unwrap();
            let engine = place.open(small());
            assert_eq!(engine.topics().len(), 50, "round {round}");
            let grows = engine.topic("grows").unwrap();
            for partition in 1..99 {
                assert_eq!(records(&grows, partition).len(), 1, "round {round}");
            }
        }
    });
}

/// Appends until an error, which must be `Closed`; returns how many went well.
fn until_closed(topic: &Topic, thread: u32, how: &AppendOptions) -> u32 {
    for number in 0.. {
        let value = value(thread, number);
        match topic.append_with(&Record::new(&value), how) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Closed => return number,
            Err(error) => panic!("neither done nor closed: {error}"),
        }
    }
    unreachable!("a thread ends when the engine is closed")
}

/// Symptom: an append to a topic that had been deleted was acknowledged, again
/// and again, and its files came back. Cause: a partition that was first used
/// after the deletion was made anew, and knew nothing of it; and a deleted
/// topic's files were removed while a flush could still make more. Fix: the
/// topic knows that it was deleted, before its files go.
#[test]
fn a_topic_deleted_among_appends_is_gone_and_the_rest_unharmed() {
    watched("a deletion among appends", || {
        let place = Place::new();
        let options = small().checkpoint_interval(Duration::from_millis(10));
        let engine = place.open(options);
        let rest = topic(&engine, "rest");
        for round in 0..20 {
            let many = TopicOptions::default().partitions(4);
            let topic = engine.create_topic("t", many).unwrap();
            let start = Barrier::new(5);
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let (topic, start) = (&topic, &start);
                    let how = match thread % 2 {
                        0 => AppendOptions::default(),
                        _ => buffered(),
                    };
                    scope.spawn(move || {
                        start.wait();
                        until_closed(topic, thread, &how.partition(thread));
                    });
                }
                start.wait();
                std::thread::sleep(Duration::from_micros(500 * (round % 8)));
                let number = u32::try_from(round).unwrap();
                rest.append(&Record::new(&value(0, number))).unwrap();
                engine.delete_topic("t").unwrap();
            });
        }
        engine.close().unwrap();
        let engine = place.open(small());
        assert_eq!(engine.topics().len(), 1);
        let rest = engine.topic("rest").unwrap();
        assert_eq!(counts(&rest, 0)[&0], 20);
        let left = std::fs::read_dir(place.path().join("topics")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        let only = rest.id().to_string();
        assert!(left.iter().all(|name| name == only.as_str()), "{left:?}");
    });
}
