//! Reading: where it starts, what is visible when, what comes back.

use std::time::Duration;

#[cfg(feature = "lz4")]
use duolog::Codec;
use duolog::ids::{Offset, Timestamp};
use duolog::{AppendOptions, ErrorKind, Fetch, Reader, Record, Start, Topic};

use crate::support::{
    Place, buffered, fails, manual, records, small, topic, transient, values, watched,
};

fn numbered(topic: &Topic, count: i64) {
    for n in 0..count {
        let value = format!("{n}");
        let record = Record::new(&value).timestamp(Timestamp::from_millis(1000 + 10 * n));
        topic.append(&record).unwrap();
    }
}

fn next(reader: &mut Reader) -> Option<String> {
    let fetched = reader.fetch(&Fetch::default().max_records(1)).unwrap();
    let record = fetched.records().unwrap().into_iter().next()?;
    Some(String::from_utf8(record.value?.to_vec()).unwrap())
}

#[test]
fn an_offset_out_of_range_is_refused_with_the_range() {
    let place = Place::new();
    let engine = place.open(manual());
    let topic = topic(&engine, "t");
    numbered(&topic, 10);
    topic.trim(0, Offset::new(4)).unwrap();
    let mut reader = topic.reader(0, Start::Earliest).unwrap();
    assert_eq!(reader.position().get(), 4);
    for start in [
        Start::Offset(Offset::new(3)),
        Start::Offset(Offset::new(11)),
        Start::After(Offset::new(10)),
        Start::Offset(Offset::MAX),
        Start::After(Offset::MAX),
    ] {
        let kind = ErrorKind::OutOfRange;
        fails(topic.reader(0, start), kind, &["4 to 10"]);
        fails(reader.seek(start), kind, &["4 to 10"]);
        assert_eq!(reader.position().get(), 4, "a seek that failed moved it");
    }
    // What is trimmed under a reader is told the same way.
    topic.trim(0, Offset::new(8)).unwrap();
    fails(
        reader.fetch(&Fetch::default()),
        ErrorKind::OutOfRange,
        &["offset 4", "8 to 10", "Earliest"],
    );
    reader.seek(Start::Earliest).unwrap();
    assert_eq!(next(&mut reader).as_deref(), Some("8"));
    let beyond = topic.trim(0, Offset::new(11));
    fails(beyond, ErrorKind::OutOfRange, &["11", "up to 10"]);
    assert_eq!(topic.trim(0, Offset::new(2)).unwrap().get(), 8);
}

#[test]
fn a_durable_record_is_invisible_until_it_is_synced() {
    let place = Place::new();
    let engine = place.open(manual());
    let topic = topic(&engine, "t");
    let mut reader = topic.reader(0, Start::Earliest).unwrap();
    let durable = AppendOptions::default();
    let ticket = topic.append_nowait(&[Record::new("a")], &durable).unwrap();
    assert_eq!(ticket.appended()[0].offset.get(), 0);
    assert_eq!(next(&mut reader), None);
    let info = topic.partition(0).unwrap();
    assert_eq!((info.durable.get(), info.end.get()), (0, 1));
    assert_eq!(topic.reader(0, Start::Latest).unwrap().position().get(), 0);
    // What promises less waits behind it: offsets have an order.
    topic.append_with(&Record::new("b"), &buffered()).unwrap();
    topic.append_with(&Record::new("c"), &transient()).unwrap();
    assert_eq!(next(&mut reader), None);
    ticket.wait().unwrap();
    assert_eq!(next(&mut reader).as_deref(), Some("a"));
    assert_eq!(next(&mut reader).as_deref(), Some("b"));
    assert_eq!(next(&mut reader).as_deref(), Some("c"));
    assert_eq!(next(&mut reader), None);
}

#[test]
fn buffered_and_transient_records_are_visible_at_once() {
    let place = Place::new();
    let engine = place.open(manual());
    let topic = topic(&engine, "t");
    topic.append_with(&Record::new("b"), &buffered()).unwrap();
    topic.append_with(&Record::new("t"), &transient()).unwrap();
    assert_eq!(values(&topic, 0), ["b", "t"]);
    assert_eq!(topic.partition(0).unwrap().durable.get(), 0);
    engine.sync().unwrap();
    assert_eq!(topic.partition(0).unwrap().durable.get(), 2);
}

#[test]
fn transient_records_are_gone_after_a_restart_wherever_they_lay() {
    let place = Place::new();
    let engine = place.open(small());
    let topic = topic(&engine, "t");
    for round in 0..3 {
        topic.append_with(&Record::new("t"), &transient()).unwrap();
        topic.append(&Record::new("d")).unwrap();
        if round == 1 {
            engine.checkpoint().unwrap();
        }
    }
    topic.append_with(&Record::new("t"), &transient()).unwrap();
    assert_eq!(values(&topic, 0).len(), 7);
    engine.close().unwrap();
    for options in [small().read_only(true), small()] {
        let engine = place.open(options);
        let topic = engine.topic("t").unwrap();
        assert_eq!(values(&topic, 0), ["d", "d", "d"]);
        let offsets = records(&topic, 0).into_iter().map(|r| r.offset.get());
        assert_eq!(offsets.collect::<Vec<_>>(), [1, 3, 5]);
    }
    let engine = place.open(small());
    let topic = engine.topic("t").unwrap();
    let placed = topic.append(&Record::new("after")).unwrap();
    assert_eq!(placed.offset.get(), 7, "offsets go on, also over lost ones");
    assert_eq!(values(&topic, 0), ["d", "d", "d", "after"]);
}

#[test]
fn offsets_go_on_after_a_restart() {
    let place = Place::new();
    for n in 0..4 {
        let engine = place.open(small());
        let topic = engine.topic("t").unwrap_or_else(|_| topic(&engine, "t"));
        let value = n.to_string();
        let durability = if n % 2 == 0 {
            AppendOptions::default()
        } else {
            buffered()
        };
        let placed = topic.append_with(&Record::new(&value), &durability);
        assert_eq!(placed.unwrap().offset.get(), n);
    }
    let engine = place.open(small());
    let found = values(&engine.topic("t").unwrap(), 0);
    assert_eq!(found, ["0", "1", "2", "3"]);
}

#[test]
fn a_record_comes_back_whole() {
    let place = Place::new();
    let engine = place.open(small());
    let topic = topic(&engine, "t");
    let time = Timestamp::from_millis(-5);
    let full = Record::new("value")
        .key("key")
        .header("h", "1")
        .header("", "")
        .header("h", &[0xff, 0])
        .timestamp(time);
    topic.append(&full).unwrap();
    topic.append(&Record::new("").key("")).unwrap();
    topic.append(&Record::tombstone("dead")).unwrap();
    for _ in 0..2 {
        let found = records(&topic, 0);
        assert_eq!(found[0].timestamp, time);
        assert_eq!(found[0].key.as_deref(), Some(&b"key"[..]));
        assert_eq!(found[0].value.as_deref(), Some(&b"value"[..]));
        let headers: Vec<_> = found[0]
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), &value[..]))
            .collect();
        assert_eq!(headers, [("h", &b"1"[..]), ("", b""), ("h", &[0xff, 0])]);
        assert_eq!(found[1].key.as_deref(), Some(&b""[..]));
        assert_eq!(found[1].value.as_deref(), Some(&b""[..]));
        assert_eq!(found[2].key.as_deref(), Some(&b"dead"[..]));
        assert_eq!(found[2].value, None);
        engine.checkpoint().unwrap();
    }
}

#[cfg(feature = "lz4")]
#[test]
fn a_compressed_batch_stays_so_in_the_store_and_reads_as_it_was() {
    let place = Place::new();
    let engine = place.open(small());
    let topic = topic(&engine, "t");
    let value = "the same again and again, ".repeat(100);
    let batch: Vec<_> = (0..20).map(|_| Record::new(&value)).collect();
    let options = AppendOptions::default().codec(Codec::Lz4);
    topic.append_batch(&batch, &options).unwrap();
    for _ in 0..2 {
        let mut reader = topic.reader(0, Start::Earliest).unwrap();
        let fetched = reader.fetch(&Fetch::default()).unwrap();
        let raw = fetched.batches()[0].raw();
        assert_eq!(fetched.batches()[0].codec(), Codec::Lz4);
        assert!(raw.len() < 20 * value.len() / 10, "{} bytes", raw.len());
        assert_eq!(fetched.bytes(), raw.len() as u64);
        assert_eq!(values(&topic, 0), vec![value.clone(); 20]);
        engine.checkpoint().unwrap();
    }
    // Where it gains nothing it is not kept.
    let noise: Vec<u8> = (0..64_u8).collect();
    topic.append_with(&Record::new(&noise), &options).unwrap();
    let mut reader = topic.reader(0, Start::Offset(Offset::new(20))).unwrap();
    let fetched = reader.fetch(&Fetch::default()).unwrap();
    assert_eq!(fetched.batches()[0].codec(), Codec::None);
}

#[test]
fn a_fetch_gives_no_more_records_than_asked_for_and_goes_on_behind_them() {
    let place = Place::new();
    let engine = place.open(manual());
    let topic = topic(&engine, "t");
    let texts: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    let batch: Vec<_> = texts.iter().map(Record::new).collect();
    topic
        .append_batch(&batch, &AppendOptions::default())
        .unwrap();
    for _ in 0..2 {
        let mut reader = topic.reader(0, Start::Offset(Offset::new(3))).unwrap();
        let mut found = Vec::new();
        loop {
            let fetched = reader.fetch(&Fetch::default().max_records(7)).unwrap();
            if fetched.is_empty() {
                break;
            }
            assert!(fetched.record_count() <= 7);
            let records = fetched.records().unwrap();
            assert_eq!(records.len() as u64, fetched.record_count());
            found.extend(records.into_iter().map(|record| record.offset.get()));
        }
        assert_eq!(found, (3..50).collect::<Vec<_>>());
        engine.checkpoint().unwrap();
    }
}

#[test]
fn a_long_poll_ends_when_a_record_comes() {
    watched("a long poll", || {
        let place = Place::new();
        let engine = place.open(small());
        let topic = topic(&engine, "t");
        for options in [AppendOptions::default(), buffered(), transient()] {
            let mut reader = topic.reader(0, Start::Latest).unwrap();
            let waits = std::thread::spawn(move || {
                let started = std::time::Instant::now();
                let fetch = Fetch::default().max_wait(Duration::from_secs(60));
                let fetched = reader.fetch(&fetch).unwrap();
                (fetched.record_count(), started.elapsed())
            });
            std::thread::sleep(Duration::from_millis(20));
            topic.append_with(&Record::new("news"), &options).unwrap();
            let (count, took) = waits.join().unwrap();
            assert_eq!(count, 1);
            assert!(took < Duration::from_secs(5), "{took:?}");
        }
    });
}

#[test]
fn a_long_poll_waits_for_its_bytes_and_no_longer_than_asked() {
    let place = Place::new();
    let engine = place.open(small());
    let topic = topic(&engine, "t");
    topic.append(&Record::new("small")).unwrap();
    let mut reader = topic.reader(0, Start::Earliest).unwrap();
    let wait = Duration::from_millis(50);
    let fetch = Fetch::default().min_bytes(1 << 20).max_wait(wait);
    let started = std::time::Instant::now();
    let fetched = reader.fetch(&fetch).unwrap();
    assert!(started.elapsed() >= wait);
    assert_eq!(fetched.record_count(), 1, "what is there comes at the end");
}
