//! `verify` and `dump` tell clean from torn, and torn from corrupt.

use std::fs;
use std::path::{Path, PathBuf};

use crate::store::{Store, text};

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn outcome(store: &Store) -> (Option<i32>, serde_json::Value) {
    let output = store.run("verify --json");
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
    (output.status.code(), report)
}

/// A store that was killed, so that its records are in the log alone.
fn killed(lines: u64) -> Store {
    let store = Store::new();
    let mut producer = store.producer("produce --topic t --batch 1");
    for n in 0..lines {
        producer.send(format!("line {n}\n").as_bytes());
        producer.wait_for(n + 1);
    }
    producer.kill();
    store
}

/// Position after the last block of `bytes` that is not all zeros.
fn used_len(bytes: &[u8]) -> usize {
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    (used + 1).next_multiple_of(4096)
}

/// The file of the log that was written last, and its content.
fn log(store: &Store) -> (PathBuf, Vec<u8>) {
    let newest = files(&store.dir(), "wal").into_iter().max_by_key(|path| {
        let bytes = fs::read(path).unwrap();
        used_len(&bytes)
    });
    let path = newest.unwrap();
    let bytes = fs::read(&path).unwrap();
    (path, bytes)
}

#[test]
fn a_store_that_was_closed_is_clean() {
    let store = Store::with_lines(b"one\ntwo\n");
    let (code, report) = outcome(&store);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["outcome"], "clean");
    assert_eq!(report["records"], 2, "{report}");
    assert_eq!(report["problems"], serde_json::json!([]));
    let shown = text(&store.output("verify"));
    assert!(shown.contains("clean"), "{shown}");
}

#[test]
fn a_torn_tail_is_reported_and_the_next_open_cuts_it() {
    let store = killed(3);
    let (path, mut bytes) = log(&store);
    let end = used_len(&bytes);
    // The beginning of a frame that did not get any further.
    let last = end - 4096;
    bytes.copy_within(last..last + 40, end);
    // It says that it is of this place, one block on; its checksum fails.
    let lsn: [u8; 8] = bytes[last + 8..last + 16].try_into().unwrap();
    let lsn = u64::from_le_bytes(lsn) + 4096;
    bytes[end + 8..end + 16].copy_from_slice(&lsn.to_le_bytes());
    fs::write(&path, &bytes).unwrap();

    let (code, report) = outcome(&store);
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(report["outcome"], "torn");
    let lines = b"line 0\nline 1\nline 2\n";
    assert_eq!(store.output("consume --topic t"), lines);

    store.run_with("produce --topic t", b"line 3\n");
    let (code, report) = outcome(&store);
    assert_eq!(code, Some(0), "{report}");
}

#[test]
fn a_log_that_changed_below_its_end_is_corrupt_and_nothing_is_cut() {
    let store = killed(3);
    let (path, mut bytes) = log(&store);
    let end = used_len(&bytes);
    bytes[end - 3 * 4096 + 60] ^= 1;
    fs::write(&path, &bytes).unwrap();

    let (code, report) = outcome(&store);
    assert_eq!(code, Some(2), "{report}");
    assert_eq!(report["outcome"], "corrupt");
    assert!(!report["problems"].as_array().unwrap().is_empty());
    let said = store.refused("consume --topic t", 2);
    assert!(said.contains(".wal"), "{said}");
    store.refused("produce --topic t", 2);
    assert!(fs::read(&path).unwrap() == bytes, "the log was changed");
    assert_eq!(store.run("dump").status.code(), Some(2));
}

#[test]
fn a_segment_that_changed_is_corrupt() {
    let store = Store::with_lines(&b"a line that is repeated\n".repeat(1000));
    let segments = files(&store.dir(), "log");
    let path = segments.first().expect("closing wrote a segment");
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(path, &bytes).unwrap();

    let (code, report) = outcome(&store);
    assert_eq!(code, Some(2), "{report}");
    let problem = &report["problems"][0];
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(
        problem["file"].as_str().unwrap().ends_with(name),
        "{report}"
    );
    let said = store.refused("consume --topic t", 2);
    assert!(said.contains(name), "{said}");
}

#[test]
fn a_dump_shows_files_batches_and_records() {
    let store = Store::with_lines(b"one\ntwo\n");
    let all = text(&store.output("dump --records"));
    assert!(all.lines().count() > 3, "{all}");
    for item in store.json("dump --records --json") {
        assert!(item.is_object() || item.is_string(), "{item}");
    }
    let snapshots = text(&store.output("dump --snapshots"));
    assert!(snapshots.lines().count() < all.lines().count());
    let other = text(&store.output("dump --segments --topic 999"));
    assert!(!other.contains("one"), "{other}");
}
