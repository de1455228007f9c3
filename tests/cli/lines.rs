//! What `produce` reads, `consume` writes.

use crate::store::{Store, text};

/// Lines of every kind of byte, from splitmix64.
fn noise(lines: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z ^ (z >> 31)
    };
    let mut bytes = Vec::new();
    for _ in 0..lines {
        for _ in 0..next() % 20 {
            let word = next().to_le_bytes();
            bytes.extend(word.iter().filter(|byte| **byte != b'\n'));
        }
        bytes.push(b'\n');
    }
    bytes
}

#[test]
fn lines_of_any_bytes_come_back_as_they_were() {
    let mut input = noise(5000);
    input.extend_from_slice(b"\n\n\r\n\0\n\xff\xfe\r\r\nlast\n");
    for flags in [
        "",
        "--compress lz4",
        "--durability buffered --batch 1000",
        "--batch 1",
    ] {
        let store = Store::new();
        let output = store.run_with(&format!("produce --topic t {flags}"), &input);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let stderr = text(&output.stderr);
        assert!(stderr.contains("5,006 records acknowledged"), "{stderr}");
        assert!(store.output("consume --topic t") == input, "{flags}");
    }
}

#[test]
fn a_last_line_without_newline_is_a_record_too() {
    let store = Store::with_lines(b"one\ntwo");
    assert_eq!(store.output("consume --topic t"), b"one\ntwo\n");
}

#[test]
fn a_file_is_read_as_standard_input_is() {
    let store = Store::new();
    let input = noise(100);
    let path = store.temp.path().join("lines");
    std::fs::write(&path, &input).unwrap();
    let line = format!("produce --topic t {}", path.display());
    let output = store.run(&line);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(store.output("consume --topic t") == input);
}

#[test]
fn what_is_appended_twice_is_there_twice() {
    let store = Store::with_lines(b"one\n");
    store.run_with("produce --topic t --no-create", b"two\n");
    assert_eq!(store.output("consume --topic t"), b"one\ntwo\n");
}

#[test]
fn keys_are_what_stands_before_the_separator() {
    let store = Store::new();
    let input = b"a=1\nno key\nb=2=3\n=\n";
    store.run_with("produce --topic t --key-separator =", input);
    assert_eq!(store.output("consume --topic t"), b"1\nno key\n2=3\n\n");
    assert_eq!(store.output("consume --topic t --key-separator ="), input);
    let records = store.json("consume --topic t --json");
    let keys: Vec<_> = records.iter().map(|record| &record["key"]).collect();
    let expected = [
        serde_json::json!("a"),
        serde_json::Value::Null,
        serde_json::json!("b"),
        serde_json::json!(""),
    ];
    assert!(keys.into_iter().eq(&expected), "{records:?}");
}

#[test]
fn json_has_every_field_and_loses_no_byte() {
    let store = Store::with_lines(b"caf\xc3\xa9 \"x\"\n\xff\xfe\n");
    let records = store.json("consume --topic t --json");
    assert_eq!(records.len(), 2);
    for (n, record) in records.iter().enumerate() {
        assert_eq!(record["partition"], 0);
        assert_eq!(record["offset"], n);
        assert!(record["timestamp"].as_i64().unwrap() > 1_600_000_000_000);
        assert_eq!(record["headers"], serde_json::json!([]));
    }
    assert_eq!(records[0]["value"], "caf\u{e9} \"x\"");
    assert_eq!(records[1]["value_base64"], "//4=");
    assert!(records[1].get("value").is_none());
}

#[test]
fn a_start_and_a_limit_choose_what_is_printed() {
    let store = Store::with_lines(b"0\n1\n2\n3\n4\n");
    for (flags, expected) in [
        ("", "0\n1\n2\n3\n4\n"),
        ("--from earliest --limit 2", "0\n1\n"),
        ("--from offset:3", "3\n4\n"),
        ("--from after:3", "4\n"),
        ("--from latest", ""),
        ("--from time:0", "0\n1\n2\n3\n4\n"),
        ("--from time:2999-01-01T00:00:00Z", ""),
        ("--limit 0", ""),
        ("--partition 0 --from offset:1 --limit 1", "1\n"),
    ] {
        let output = store.output(&format!("consume --topic t {flags}"));
        assert_eq!(text(&output), expected, "{flags}");
    }
    store.refused("consume --topic t --from offset:99", 3);
    store.refused("consume --topic t --partition 1", 3);
}

#[test]
fn partitions_are_printed_one_after_the_other() {
    let store = Store::new();
    store.output("topic create t --partitions 3");
    for partition in [2, 0, 1] {
        let line = format!("produce --topic t --partition {partition}");
        store.run_with(&line, format!("{partition}a\n{partition}b\n").as_bytes());
    }
    let output = store.output("consume --topic t");
    assert_eq!(text(&output), "0a\n0b\n1a\n1b\n2a\n2b\n");
    let output = store.output("consume --topic t --limit 3");
    assert_eq!(text(&output), "0a\n0b\n1a\n");
}

#[test]
fn a_line_that_is_too_long_is_refused_by_its_number() {
    let store = Store::new();
    store.output("topic create t --record-bytes 1KiB");
    let input = format!("one\ntwo\n{}\nfour\n", "x".repeat(100_000));
    let output = store.run_with("produce --topic t", input.as_bytes());
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("line 3"), "{stderr}");
    assert!(stderr.contains("2 records acknowledged"), "{stderr}");
    assert_eq!(store.output("consume --topic t"), b"one\ntwo\n");
}
