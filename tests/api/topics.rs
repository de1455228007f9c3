//! Topics: names, listing, growth, deletion.

use duolog::limits::TOPIC_NAME_LEN_MAX;
use duolog::{AppendOptions, Engine, ErrorKind, Record, Start, TopicOptions};

use crate::support::{Place, fails, manual, small, topic, values};

fn names(engine: &Engine) -> Vec<String> {
    engine.topics().into_iter().map(|info| info.name).collect()
}

#[test]
fn a_name_that_could_harm_is_refused_with_what_is_allowed() {
    let place = Place::new();
    let engine = place.open(manual());
    let long = "n".repeat(TOPIC_NAME_LEN_MAX + 1);
    // Bytes count, not letters.
    let wide = "\u{e9}".repeat(TOPIC_NAME_LEN_MAX / 2 + 1);
    let wrong = [
        ("", "is empty"),
        ("/", "`/`"),
        ("a/b", "`/`"),
        ("../x", "`/`"),
        ("nul\0", "control"),
        ("line\n", "control"),
        ("del\u{7f}", "control"),
        ("c1\u{85}", "control"),
        (".", "reserved"),
        ("..", "reserved"),
        (&long, "too long"),
        (&wide, "too long"),
    ];
    for (name, word) in wrong {
        let answer = engine.create_topic(name, TopicOptions::default());
        fails(answer, ErrorKind::Invalid, &[word, "1 to 249 bytes"]);
    }
    assert!(names(&engine).is_empty());
}

#[test]
fn names_at_the_edge_are_kept_and_never_become_paths() {
    let place = Place::new();
    let long = "n".repeat(TOPIC_NAME_LEN_MAX);
    let good = ["...", "-", " ", "\u{1f30a}", "a\\b", "LOCK", &long];
    let engine = place.open(small());
    for name in good {
        let topic = topic(&engine, name);
        topic.append(&Record::new(name)).unwrap();
    }
    engine.close().unwrap();
    let engine = place.open(small());
    let mut sorted = good.map(str::to_owned);
    sorted.sort();
    assert_eq!(names(&engine), sorted);
    for name in good {
        assert_eq!(values(&engine.topic(name).unwrap(), 0), [name]);
    }
    for entry in std::fs::read_dir(place.path().join("topics")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name.bytes().all(|byte| byte.is_ascii_digit()), "{name}");
    }
}

#[test]
fn a_topic_that_exists_and_one_that_does_not_are_told_apart() {
    let place = Place::new();
    let engine = place.open(manual());
    topic(&engine, "t");
    let again = engine.create_topic("t", TopicOptions::default());
    fails(again, ErrorKind::Exists, &["\"t\""]);
    fails(engine.topic("u"), ErrorKind::NotFound, &["\"u\"", "create"]);
    fails(engine.delete_topic("u"), ErrorKind::NotFound, &["\"u\""]);
    let altered = engine.alter_topic("u", TopicOptions::default());
    fails(altered, ErrorKind::NotFound, &["\"u\""]);
}

#[test]
fn partitions_can_be_added_but_not_removed_and_survive_a_restart() {
    let place = Place::new();
    let engine = place.open(small());
    let two = TopicOptions::default().partitions(2);
    let topic = engine.create_topic("t", two.clone()).unwrap();
    let fewer = engine.alter_topic("t", TopicOptions::default());
    fails(fewer, ErrorKind::Invalid, &["2 partitions", "to 1"]);
    let five = two.partitions(5).batch_bytes_max(2048);
    engine.alter_topic("t", five.clone()).unwrap();
    let there = AppendOptions::default().partition(4);
    // The handle from before knows.
    topic.append_with(&Record::new("new"), &there).unwrap();
    assert_eq!(topic.options(), five);
    for close in [true, false] {
        if close {
            engine.close().unwrap();
        }
        let engine = place.open(small().read_only(!close));
        let topic = engine.topic("t").unwrap();
        assert_eq!(topic.options(), five);
        assert_eq!(values(&topic, 4), ["new"]);
    }
}

#[test]
fn a_topic_deleted_and_made_again_is_another_one_and_empty() {
    let place = Place::new();
    let engine = place.open(small());
    let old = topic(&engine, "t");
    for _ in 0..10 {
        old.append(&Record::new("old")).unwrap();
    }
    engine.checkpoint().unwrap();
    let mut reader = old.reader(0, Start::Earliest).unwrap();
    engine.delete_topic("t").unwrap();
    let new = topic(&engine, "t");
    assert!(new.id() > old.id());
    assert_eq!(values(&new, 0), Vec::<String>::new());
    let closed = &["was deleted"];
    fails(old.append(&Record::new("x")), ErrorKind::Closed, closed);
    fails(
        reader.fetch(&duolog::Fetch::default()),
        ErrorKind::Closed,
        closed,
    );
    new.append(&Record::new("new")).unwrap();
    let gone = place.path().join(format!("topics/{}", old.id()));
    assert!(!gone.exists(), "files of the deleted topic are there");
    engine.close().unwrap();
    let engine = place.open(small());
    let again = engine.topic("t").unwrap();
    assert_eq!(again.id(), new.id());
    assert_eq!(values(&again, 0), ["new"]);
}

#[test]
fn every_partition_of_a_deleted_topic_is_closed_used_or_not() {
    let place = Place::new();
    let engine = place.open(small());
    let options = TopicOptions::default().partitions(2);
    let topic = engine.create_topic("t", options).unwrap();
    let there = |partition| AppendOptions::default().partition(partition);
    topic.append_with(&Record::new("x"), &there(0)).unwrap();
    engine.delete_topic("t").unwrap();
    for partition in 0..2 {
        let kind = ErrorKind::Closed;
        let words = &["\"t\" was deleted"];
        let record = Record::new("y");
        fails(topic.append_with(&record, &there(partition)), kind, words);
        fails(topic.reader(partition, Start::Earliest), kind, words);
        fails(topic.partition(partition), kind, words);
        let nothing = duolog::ids::Offset::ZERO;
        fails(topic.trim(partition, nothing), kind, words);
    }
}

#[test]
fn a_deleted_topic_stays_deleted_and_its_id_is_not_used_again() {
    let place = Place::new();
    let engine = place.open(small());
    let id = topic(&engine, "t").id();
    engine.delete_topic("t").unwrap();
    engine.close().unwrap();
    let engine = place.open(small());
    assert!(names(&engine).is_empty());
    assert!(topic(&engine, "u").id() > id);
}

/// The memory of this process in KiB.
fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn a_hundred_thousand_partitions_cost_little() {
    let place = Place::new();
    let engine = place.open(small());
    let many = TopicOptions::default().partitions(100_000);
    let before = resident_kib();
    let topic = engine.create_topic("t", many).unwrap();
    let after = resident_kib();
    // Other tests run in this process: no tighter bound than this.
    if let (Some(before), Some(after)) = (before, after) {
        assert!(after < before + 64 * 1024, "{before} to {after} KiB");
    }
    for partition in (0..100_000).step_by(9_999) {
        let there = AppendOptions::default().partition(partition);
        topic.append_with(&Record::new("x"), &there).unwrap();
    }
    engine.close().unwrap();
    let started = std::time::Instant::now();
    let engine = place.open(small());
    let took = started.elapsed();
    assert!(took.as_secs() < 5, "opening took {took:?}");
    let topic = engine.topic("t").unwrap();
    assert_eq!(values(&topic, 99_990), ["x"]);
    assert_eq!(values(&topic, 1), Vec::<String>::new());
}
