//! Opening: who may, what is refused, and what stays untouched.

use std::io::Write as _;
use std::process::Stdio;

use duolog::{Engine, ErrorKind, Options, Record, Start, TopicOptions};

use crate::support::{
    Place, fails, manual, other_process, picture, read_only, says, small, topic, values,
};

const HOLD: &str = "DUOLOG_TEST_HOLD";

#[test]
fn a_second_open_in_this_process_is_told_who_has_it() {
    let place = Place::new();
    let engine = place.open(small());
    let me = format!("process {}", std::process::id());
    for options in [small(), read_only()] {
        says(&place.refused(options), ErrorKind::Locked, &[&me, "close"]);
    }
    engine.close().unwrap();
    place.open(small());
}

#[test]
fn a_second_process_is_told_who_has_it() {
    let place = Place::new();
    let name = "opening::holds_a_store_until_told_to_end";
    let mut child = other_process(name, HOLD, &place.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let ready = place.path().with_extension("ready");
    while !ready.exists() {
        assert!(child.try_wait().unwrap().is_none(), "the child has ended");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let holder = format!("process {}", child.id());
    for options in [small(), read_only()] {
        let error = place.refused(options);
        says(&error, ErrorKind::Locked, &[&holder, "in use"]);
    }
    child.stdin.take().unwrap().write_all(b"end\n").unwrap();
    assert!(child.wait().unwrap().success());
    let engine = place.open(small());
    assert_eq!(values(&engine.topic("t").unwrap(), 0), ["from a child"]);
}

#[test]
#[ignore = "the other process of the test above"]
fn holds_a_store_until_told_to_end() {
    let Some(path) = std::env::var_os(HOLD) else {
        return;
    };
    let path = std::path::PathBuf::from(path);
    let engine = Engine::open(&path, small()).unwrap();
    topic(&engine, "t")
        .append(&Record::new("from a child"))
        .unwrap();
    std::fs::write(path.with_extension("ready"), "").unwrap();
    std::io::stdin().read_line(&mut String::new()).unwrap();
    engine.close().unwrap();
}

#[test]
fn any_number_of_readers_share_a_store_but_no_writer_joins_them() {
    let place = Place::new();
    place.open(small()).close().unwrap();
    let readers = [place.open(read_only()), place.open(read_only())];
    says(&place.refused(small()), ErrorKind::Locked, &["in use"]);
    drop(readers);
    place.open(small());
}

#[test]
fn a_store_that_lost_its_identity_is_not_made_anew() {
    let place = Place::new();
    let engine = place.open(small());
    topic(&engine, "t").append(&Record::new("x")).unwrap();
    engine.close().unwrap();
    std::fs::remove_file(place.path().join("store")).unwrap();
    let before = picture(&place.path().join("wal"));
    let error = place.refused(small());
    says(&error, ErrorKind::Invalid, &["`store`", "copy"]);
    assert_eq!(picture(&place.path().join("wal")), before);
}

#[test]
fn a_file_in_place_of_a_directory_is_refused() {
    let place = Place::new();
    std::fs::write(place.path(), "a file").unwrap();
    for options in [small(), small().create(false), read_only()] {
        let error = place.refused(options);
        says(&error, ErrorKind::Io, &["data", "irectory"]);
    }
    assert_eq!(std::fs::read(place.path()).unwrap(), b"a file");
}

/// Puts a field into the identity file, with a checksum that fits.
fn edit_identity(place: &Place, at: usize, byte: u8) {
    let path = place.path().join("store");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[at] = byte;
    let crc = crc32fast::hash(&bytes[12..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_later_version_or_feature_is_refused_by_name_and_nothing_is_changed() {
    const VERSION: usize = 12;
    const COMPATIBLE: usize = 40;
    const TO_WRITE: usize = 44;
    const TO_OPEN: usize = 48;
    let place = Place::new();
    place.open(small()).close().unwrap();
    let refused = |options: Options, word: &str| {
        let before = picture(&place.path().join("wal"));
        let error = place.refused(options);
        says(&error, ErrorKind::Unsupported, &["store", word]);
        assert_eq!(picture(&place.path().join("wal")), before);
    };
    edit_identity(&place, VERSION, 2);
    refused(small(), "version");
    refused(read_only(), "version");
    edit_identity(&place, VERSION, 1);
    edit_identity(&place, TO_OPEN, 4);
    refused(small(), "feature");
    refused(read_only(), "feature");
    edit_identity(&place, TO_OPEN, 0);
    edit_identity(&place, TO_WRITE, 1);
    refused(small(), "feature");
    place.open(read_only()).close().unwrap();
    edit_identity(&place, TO_WRITE, 0);
    edit_identity(&place, COMPATIBLE, 0xff);
    place.open(small()).close().unwrap();
}

#[test]
fn a_damaged_identity_is_corrupt_and_not_made_anew() {
    let place = Place::new();
    place.open(small()).close().unwrap();
    let path = place.path().join("store");
    let whole = std::fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[20] ^= 1;
    for bytes in [&flipped[..], &whole[..63], &[]] {
        std::fs::write(&path, bytes).unwrap();
        for options in [small(), read_only()] {
            says(&place.refused(options), ErrorKind::Corrupt, &["store"]);
        }
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
    std::fs::write(&path, whole).unwrap();
    place.open(small());
}

#[test]
fn a_read_only_store_reads_all_and_writes_nothing() {
    let place = Place::new();
    let engine = place.open(manual());
    let topic = topic(&engine, "t");
    topic.append(&Record::new("in a segment")).unwrap();
    engine.checkpoint().unwrap();
    topic.append(&Record::new("in the log")).unwrap();
    // A copy of a store that is open looks like one after a crash.
    let copy = Place::new();
    let status = std::process::Command::new("cp")
        .arg("-a")
        .args([place.path(), copy.path()])
        .status();
    assert!(status.unwrap().success());
    engine.close().unwrap();
    for place in [place, copy] {
        let before = picture(&place.path());
        let engine = place.open(read_only());
        assert!(engine.info().read_only);
        let topic = engine.topic("t").unwrap();
        assert_eq!(values(&topic, 0), ["in a segment", "in the log"]);
        assert!(!engine.run_pending().unwrap());
        let kind = ErrorKind::ReadOnly;
        let words = &["read-only"];
        fails(topic.append(&Record::new("x")), kind, words);
        let buffered = crate::support::buffered();
        fails(topic.append_with(&Record::new("x"), &buffered), kind, words);
        fails(
            topic.append_nowait(&[Record::new("x")], &buffered),
            kind,
            words,
        );
        fails(topic.trim(0, duolog::ids::Offset::new(1)), kind, words);
        let options = TopicOptions::default();
        fails(engine.create_topic("u", options.clone()), kind, words);
        fails(engine.alter_topic("t", options), kind, words);
        fails(engine.delete_topic("t"), kind, words);
        fails(engine.sync(), kind, words);
        fails(engine.checkpoint(), kind, words);
        fails(engine.enforce_retention(), kind, words);
        assert_eq!(values(&topic, 0).len(), 2);
        engine.close().unwrap();
        fails(
            topic.reader(0, Start::Earliest),
            ErrorKind::Closed,
            &["closed"],
        );
        assert_eq!(picture(&place.path()), before);
    }
}
