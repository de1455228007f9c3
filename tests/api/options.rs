//! A wrong option is refused by its name, with its range, before anything is
//! made.

use std::time::Duration;

use duolog::{Engine, ErrorKind, Fetch, Options, Retention, Start, SyncPolicy, TopicOptions};

use crate::support::{Place, fails, small, topic};

const MS: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn every_engine_option_out_of_range_is_named_with_its_range() {
    const HOUR: &str = "3600000";
    const DAY_MS: &str = "86400000";
    let of = Options::default;
    let interval = |by| of().sync_policy(SyncPolicy::Interval(by));
    let wrong: Vec<(Options, &[&str])> = vec![
        (interval(MS / 2), &["sync_policy", "1", HOUR]),
        (interval(DAY), &["sync_policy", "1", HOUR]),
        (of().linger(MS * 10_001), &["linger", "0", "10000"]),
        (of().group_bytes_max(4095), &["group_bytes_max", "4096"]),
        (
            of().group_bytes_max((16 << 20) + 1),
            &["group_bytes_max", "16777216"],
        ),
        (of().wal_file_bytes(60 << 10), &["wal_file_bytes", "65536"]),
        (
            of().wal_file_bytes(2 << 30),
            &["wal_file_bytes", "1073741824"],
        ),
        (
            of().wal_file_bytes((64 << 10) + 512),
            &["wal_file_bytes", "4096"],
        ),
        (
            of().wal_bytes_max((256 << 20) - 1),
            &["wal_bytes_max", "268435456"],
        ),
        (of().tail_bytes_max(1), &["tail_bytes_max", "262144"]),
        (
            of().checkpoint_interval(MS * 9),
            &["checkpoint_interval", "10", DAY_MS],
        ),
        (
            of().checkpoint_interval(DAY * 2),
            &["checkpoint_interval", "10", DAY_MS],
        ),
        (
            of().retention_interval(MS * 9),
            &["retention_interval", "10", DAY_MS],
        ),
        (
            of().segments_open_max(3),
            &["segments_open_max", "4", "65536"],
        ),
        (
            of().segments_open_max(65_537),
            &["segments_open_max", "4", "65536"],
        ),
    ];
    let place = Place::new();
    for (options, words) in wrong {
        let result = Engine::open(place.path(), options);
        fails(result, ErrorKind::Invalid, words);
        assert!(!place.path().exists(), "{words:?}: something was made");
    }
}

#[test]
fn every_topic_option_out_of_range_is_named_with_its_range() {
    let of = TopicOptions::default;
    let wrong: Vec<(TopicOptions, &[&str])> = vec![
        (of().partitions(0), &["partitions", "1", "100000"]),
        (of().partitions(100_001), &["partitions", "1", "100000"]),
        (of().record_bytes_max(1023), &["record_bytes_max", "1024"]),
        (
            of().record_bytes_max((16 << 20) + 1),
            &["record_bytes_max", "16777216"],
        ),
        (of().batch_bytes_max(1023), &["batch_bytes_max", "1024"]),
        (
            of().batch_bytes_max((16 << 20) + 1),
            &["batch_bytes_max", "16777216"],
        ),
        (of().segment_bytes_max(4095), &["segment_bytes_max", "4096"]),
        (
            of().segment_bytes_max((2 << 30) + 1),
            &["segment_bytes_max", "2147483648"],
        ),
        (of().segment_age_max(MS / 2), &["segment_age_max", "1"]),
        (
            of().segment_age_max(DAY * 366 * 101),
            &["segment_age_max", "3162240000000"],
        ),
        (
            of().index_interval_bytes(511),
            &["index_interval_bytes", "512", "1048576"],
        ),
        (
            of().index_interval_bytes((1 << 20) + 1),
            &["index_interval_bytes", "512", "1048576"],
        ),
        (
            of().retention(Retention::default().age(MS / 2)),
            &["retention.age", "1"],
        ),
    ];
    let place = Place::new();
    let engine = place.open(small());
    topic(&engine, "t");
    for (options, words) in wrong {
        let created = engine.create_topic("wrong", options.clone());
        fails(created, ErrorKind::Invalid, words);
        fails(engine.alter_topic("t", options), ErrorKind::Invalid, words);
    }
    let names: Vec<_> = engine.topics().into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["t"]);
    let options = engine.topics().remove(0).options;
    assert_eq!(options, TopicOptions::default(), "nothing was altered");
}

#[test]
fn a_fetch_of_nothing_is_refused() {
    let place = Place::new();
    let engine = place.open(small());
    let mut reader = topic(&engine, "t").reader(0, Start::Earliest).unwrap();
    for fetch in [
        Fetch::default().max_bytes(0),
        Fetch::default().max_records(0),
    ] {
        fails(
            reader.fetch(&fetch),
            ErrorKind::Invalid,
            &["max_bytes", "max_records", "at least 1"],
        );
    }
}

#[test]
fn the_smallest_options_make_a_store_that_works() {
    let place = Place::new();
    let options = Options::default()
        .group_bytes_max(4 << 10)
        .wal_file_bytes(64 << 10)
        .wal_bytes_max(256 << 10)
        .tail_bytes_max(256 << 10)
        .checkpoint_interval(MS * 10)
        .retention_interval(MS * 10)
        .segments_open_max(4)
        .linger(Duration::ZERO);
    let topic_options = TopicOptions::default()
        .record_bytes_max(1 << 10)
        .batch_bytes_max(1 << 10)
        .segment_bytes_max(4 << 10)
        .index_interval_bytes(512);
    let engine = place.open(options.clone());
    let topic = engine.create_topic("t", topic_options).unwrap();
    let value = vec![7; 1000];
    for _ in 0..1000 {
        topic.append(&duolog::Record::new(&value)).unwrap();
    }
    engine.close().unwrap();
    let engine = place.open(options);
    let topic = engine.topic("t").unwrap();
    assert_eq!(crate::support::records(&topic, 0).len(), 1000);
}
