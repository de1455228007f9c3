//! Topics come, change and go.

use crate::store::{Store, text};

#[test]
fn a_topic_is_made_with_the_options_that_were_asked_for() {
    let store = Store::new();
    store.output(
        "topic create orders --partitions 12 --retention-age 7d --retention-bytes 10GiB \
         --segment-bytes 64MiB --durability buffered --compress lz4 --record-bytes 64KiB \
         --batch-bytes 32KiB --segment-age 1d --index-interval 8KiB --retention-records 1000",
    );
    let topics = store.json("topic describe orders --json");
    let [topic] = topics.as_slice() else {
        panic!("one object: {topics:?}");
    };
    for (field, value) in [
        ("name", serde_json::json!("orders")),
        ("partitions", serde_json::json!(12)),
        ("durability", serde_json::json!("buffered")),
        ("codec", serde_json::json!("lz4")),
        ("record_bytes_max", serde_json::json!(64 << 10)),
        ("batch_bytes_max", serde_json::json!(32 << 10)),
        ("segment_bytes_max", serde_json::json!(64 << 20)),
        ("segment_age_max_ms", serde_json::json!(86_400_000)),
        ("index_interval_bytes", serde_json::json!(8 << 10)),
        ("retention_age_ms", serde_json::json!(604_800_000)),
        ("retention_bytes", serde_json::json!(10_u64 << 30)),
        ("retention_records", serde_json::json!(1000)),
    ] {
        assert_eq!(topic[field], value, "{field}");
    }
    assert_eq!(topic["partition_list"].as_array().unwrap().len(), 12);
    let shown = text(&store.output("topic describe orders"));
    for part in ["64 MiB", "7d, 10 GiB, 1,000 records", "PARTITION"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn altering_changes_what_is_given_and_nothing_else() {
    let store = Store::new();
    store.output("topic create t --partitions 2 --retention-age 7d");
    let mut expected = store.json("topic describe t --json").remove(0);
    store.output("topic alter t --segment-bytes 64MiB --partitions 3 --retention-age none");
    let found = store.json("topic describe t --json").remove(0);
    expected["segment_bytes_max"] = serde_json::json!(64 << 20);
    expected["partitions"] = serde_json::json!(3);
    expected["retention_age_ms"] = serde_json::Value::Null;
    expected["partition_list"] = found["partition_list"].clone();
    assert_eq!(found, expected);
    store.refused("topic alter t --partitions 1", 3);
    let said = store.refused("topic alter t", 3);
    assert!(said.contains("at least one option"), "{said}");
}

#[test]
fn topics_are_listed_by_name_until_they_are_deleted() {
    let store = Store::with_lines(b"one\ntwo\n");
    store.output("topic create a --partitions 2");
    let names = || -> Vec<String> {
        let topics = store.json("topic list --json");
        let name = |topic: &serde_json::Value| topic["name"].as_str().unwrap().to_owned();
        topics.iter().map(name).collect()
    };
    assert_eq!(names(), ["a", "t"]);
    let topics = store.json("topic list --json");
    assert_eq!(topics[1]["records"], 2);
    let table = text(&store.output("topic list"));
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with("NAME"), "{table}");
    assert!(rows[2].contains("everything"), "{table}");
    store.output("topic delete t");
    assert_eq!(names(), ["a"]);
    store.refused("topic delete t", 3);
    store.refused("consume --topic t", 3);
}

#[test]
fn what_does_not_exist_is_named() {
    let store = Store::new();
    let dir = store.dir().display().to_string();
    for line in [
        "topic list",
        "topic delete t",
        "topic alter t --partitions 2",
        "consume --topic t",
        "produce --topic t --no-create",
        "verify",
        "dump",
    ] {
        let said = store.refused(line, 3);
        assert!(said.contains(&dir), "{line}: {said}");
        assert!(!store.dir().exists(), "{line} made a store");
    }
    store.output("topic create other");
    for line in [
        "topic describe orders",
        "consume --topic orders",
        "produce --topic orders --no-create",
    ] {
        let said = store.refused(line, 3);
        assert!(said.contains("orders"), "{line}: {said}");
    }
    assert_eq!(store.json("topic list --json").len(), 1);
}

#[test]
fn a_topic_is_made_once() {
    let store = Store::new();
    store.output("topic create t");
    let said = store.refused("topic create t", 3);
    assert!(said.contains("already"), "{said}");
    store.refused("topic create u --segment-bytes 1", 3);
}
