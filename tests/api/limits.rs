//! Limits of records and commits: refused before anything is written.

use duolog::limits::HEADERS_MAX;
use duolog::{AppendOptions, Engine, ErrorKind, OnLimit, Record, Topic, TopicOptions};

use crate::support::{Place, buffered, fails, manual, small, topic, transient, values};

/// Bytes written, records counted and the offset to come, before and after.
fn standing(engine: &Engine, topic: &Topic) -> (u64, u64, u64) {
    let stats = engine.stats();
    let end = topic.partition(0).unwrap().end.get();
    (stats.wal_bytes, stats.records_appended, end)
}

/// Tries an append in every way; all must fail alike and change nothing.
#[track_caller]
fn refused(engine: &Engine, topic: &Topic, records: &[Record<'_>], words: &[&str]) {
    let before = standing(engine, topic);
    for options in [AppendOptions::default(), buffered(), transient()] {
        let answer = topic.append_batch(records, &options);
        fails(answer, ErrorKind::Invalid, words);
        let answer = topic.append_nowait(records, &options);
        fails(answer, ErrorKind::Invalid, words);
        if let [record] = records {
            let answer = topic.append_with(record, &options);
            fails(answer, ErrorKind::Invalid, words);
        }
    }
    engine.sync().unwrap();
    assert_eq!(standing(engine, topic), before, "something was written");
}

#[test]
fn a_record_over_the_limit_is_refused_and_nothing_is_written() {
    let place = Place::new();
    let engine = place.open(manual());
    let options = TopicOptions::default().record_bytes_max(2000);
    let topic = engine.create_topic("t", options).unwrap();
    topic.append(&Record::new("first")).unwrap();
    let value = vec![0; 1990];
    let fits = Record::new(&value).key("key").header("n", "header");
    topic.append(&fits).unwrap();
    let over = fits.header("", "1");
    let words = &["2001", "record_bytes_max", "2000"];
    refused(&engine, &topic, std::slice::from_ref(&over), words);
    let good = Record::new("good");
    refused(&engine, &topic, &[good.clone(), over, good], words);
    assert_eq!(topic.partition(0).unwrap().end.get(), 2);
}

#[test]
fn more_headers_than_a_record_may_have_are_refused() {
    let place = Place::new();
    let engine = place.open(manual());
    let topic = topic(&engine, "t");
    let with = |n| (0..n).fold(Record::new(""), |record, _| record.header("h", "v"));
    topic.append(&with(HEADERS_MAX)).unwrap();
    let record = with(HEADERS_MAX + 1);
    refused(&engine, &topic, &[record], &["1025", "1024", "headers"]);
}

#[test]
fn a_commit_over_the_limit_is_refused_and_nothing_is_written() {
    let place = Place::new();
    let engine = place.open(manual());
    let options = TopicOptions::default().partitions(4);
    let topic = engine.create_topic("t", options).unwrap();
    topic.append(&Record::new("first")).unwrap();
    assert_eq!(engine.info().commit_bytes_max, 256 << 10);
    let value = vec![0; 100 << 10];
    let keys = ["a", "b", "c"];
    let keyed: Vec<_> = keys
        .iter()
        .map(|key| Record::new(&value).key(key))
        .collect();
    let words = &["262144", "wal_file_bytes", "split"];
    refused(&engine, &topic, &keyed, words);
    let plain: Vec<_> = keys.iter().map(|_| Record::new(&value)).collect();
    refused(&engine, &topic, &plain, words);
    topic
        .append_batch(&keyed[..2], &AppendOptions::default())
        .unwrap();
}

#[test]
fn a_record_of_almost_a_whole_commit_goes_through_in_every_way() {
    let place = Place::new();
    let engine = place.open(small());
    let topic = topic(&engine, "t");
    // Find the largest one that is taken; those below it must work too.
    let limit = usize::try_from(engine.info().commit_bytes_max).unwrap();
    let taken = (limit - 300..limit).filter(|len| {
        let value = vec![b'x'; *len];
        let answers = [AppendOptions::default(), buffered(), transient()]
            .map(|options| topic.append_with(&Record::new(&value), &options).is_ok());
        assert!(
            answers == [true; 3] || answers == [false; 3],
            "{len} bytes: {answers:?}"
        );
        answers[0]
    });
    let taken: Vec<usize> = taken.collect();
    assert!(taken.len() > 100, "{taken:?}");
    engine.sync().unwrap();
    assert_eq!(engine.stats().batches_unlogged, 0);
    engine.close().unwrap();
    let engine = place.open(small());
    let found = values(&engine.topic("t").unwrap(), 0).len();
    assert_eq!(found, 2 * taken.len());
}

#[test]
fn an_empty_batch_is_refused() {
    let place = Place::new();
    let engine = place.open(manual());
    let topic = topic(&engine, "t");
    refused(&engine, &topic, &[], &["at least one record"]);
}

#[test]
fn a_partition_that_is_not_there_is_named_with_those_that_are() {
    let place = Place::new();
    let engine = place.open(manual());
    let topic = topic(&engine, "orders");
    let words = &["orders", "partition 1", "0 to 0"];
    let there = AppendOptions::default().partition(1);
    let record = Record::new("x");
    fails(
        topic.append_with(&record, &there),
        ErrorKind::NotFound,
        words,
    );
    let answer = topic.append_batch(&[record], &there);
    fails(answer, ErrorKind::NotFound, words);
    fails(topic.partition(1), ErrorKind::NotFound, words);
    let answer = topic.reader(1, duolog::Start::Earliest);
    fails(answer, ErrorKind::NotFound, words);
    let answer = topic.trim(1, duolog::ids::Offset::ZERO);
    fails(answer, ErrorKind::NotFound, words);
}

#[test]
fn at_a_limit_an_append_that_must_not_wait_is_busy_and_changes_nothing() {
    let place = Place::new();
    let options = manual().tail_bytes_max(256 << 10).on_limit(OnLimit::Fail);
    let engine = place.open(options);
    let topic = topic(&engine, "t");
    let value = vec![b'v'; 10_000];
    let mut accepted = 0;
    let error = loop {
        match topic.append(&Record::new(&value)) {
            Ok(placed) => assert_eq!(placed.offset.get(), accepted),
            Err(error) => break error,
        }
        accepted += 1;
        assert!(accepted < 100, "there is no limit");
    };
    crate::support::says(&error, ErrorKind::Busy, &["tail_bytes_max"]);
    let before = standing(&engine, &topic);
    for options in [AppendOptions::default(), buffered(), transient()] {
        let answer = topic.append_with(&Record::new("x"), &options);
        fails(answer, ErrorKind::Busy, &["tail_bytes_max"]);
    }
    assert_eq!(standing(&engine, &topic), before);
    // An append that may wait does the work itself.
    let waits = AppendOptions::default().on_limit(OnLimit::Block);
    topic.append_with(&Record::new("waits"), &waits).unwrap();
    topic.append(&Record::new("goes on")).unwrap();
    assert_eq!(topic.partition(0).unwrap().end.get(), accepted + 2);
}

#[test]
fn a_full_log_is_busy_until_a_checkpoint() {
    let place = Place::new();
    let options = manual()
        .wal_file_bytes(64 << 10)
        .wal_bytes_max(256 << 10)
        .on_limit(OnLimit::Fail);
    let engine = place.open(options);
    let topic = topic(&engine, "t");
    let mut appended = 0;
    while let Ok(placed) = topic.append(&Record::new("4 KiB in the log")) {
        assert_eq!(placed.offset.get(), appended);
        appended += 1;
        assert!(appended < 1000, "there is no limit");
    }
    let answer = topic.append(&Record::new("x"));
    fails(answer, ErrorKind::Busy, &["wal_bytes_max"]);
    engine.checkpoint().unwrap();
    topic.append(&Record::new("x")).unwrap();
}

#[test]
fn appends_that_wait_at_a_limit_go_on_while_threads_make_room() {
    crate::support::watched("appends at a limit", || {
        let place = Place::new();
        let options = small()
            .tail_bytes_max(256 << 10)
            .wal_file_bytes(256 << 10)
            .wal_bytes_max(1 << 20);
        let engine = place.open(options);
        let topic = topic(&engine, "t");
        let value = vec![b'v'; 20_000];
        for n in 0..300 {
            let placed = topic.append_with(&Record::new(&value), &buffered());
            assert_eq!(placed.unwrap().offset.get(), n);
        }
        assert_eq!(values(&topic, 0).len(), 300);
        assert!(engine.stats().checkpoints > 0);
    });
}
