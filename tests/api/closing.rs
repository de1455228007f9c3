//! Closing: every handle says so, the last one to go does it.

use std::time::Duration;

use duolog::{Engine, ErrorKind, Fetch, Record, Start};

use crate::support::{Place, buffered, fails, manual, small, topic, values, watched};

#[test]
fn the_last_handle_that_is_dropped_closes_the_store() {
    let place = Place::new();
    for options in [small, manual] {
        let engine = place.open(options());
        let topic = engine.topic("t").unwrap_or_else(|_| topic(&engine, "t"));
        let reader = topic.reader(0, Start::Earliest).unwrap();
        let ticket = topic.append_nowait(&[Record::new("x")], &buffered());
        drop(engine);
        drop(topic);
        drop(ticket.unwrap());
        let locked = Engine::open(place.path(), options());
        fails(locked, ErrorKind::Locked, &["in use"]);
        drop(reader);
        let engine = place.open(options());
        assert!(engine.recovery().clean, "{:?}", engine.recovery());
    }
    let engine = place.open(small());
    assert_eq!(values(&engine.topic("t").unwrap(), 0).len(), 2);
}

#[test]
fn a_deletion_ends_long_polls() {
    watched("a deletion with long polls", || {
        let place = Place::new();
        let engine = place.open(small());
        let topic = topic(&engine, "t");
        let mut reader = topic.reader(0, Start::Latest).unwrap();
        let fetch = Fetch::default().max_wait(Duration::MAX);
        let poll = std::thread::spawn(move || reader.fetch(&fetch));
        std::thread::sleep(Duration::from_millis(20));
        engine.delete_topic("t").unwrap();
        fails(poll.join().unwrap(), ErrorKind::Closed, &["deleted"]);
    });
}

#[test]
fn a_closed_store_opens_clean_and_replays_nothing() {
    let place = Place::new();
    let engine = place.open(small());
    let topic = topic(&engine, "t");
    for _ in 0..100 {
        topic.append(&Record::new("x")).unwrap();
        topic.append_with(&Record::new("y"), &buffered()).unwrap();
    }
    engine.close().unwrap();
    let engine = place.open(small());
    let recovery = engine.recovery();
    assert!(recovery.clean);
    assert_eq!(recovery.records_replayed, 0, "{recovery:?}");
    assert!(
        recovery.frames_replayed <= 1,
        "the mark alone: {recovery:?}"
    );
    assert!(recovery.notes.is_empty(), "{recovery:?}");
    assert_eq!(values(&engine.topic("t").unwrap(), 0).len(), 200);
}
