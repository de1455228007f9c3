//! `bench` prints what was promised, and leaves nothing behind.

use std::fs;

use crate::store::{Store, text};

fn measure(line: &str, fields: &[&str]) -> serde_json::Value {
    let store = Store::new();
    fs::create_dir(store.dir()).unwrap();
    let report = store.json(line).remove(0);
    for field in fields {
        let number = report[field].as_f64();
        let number = number.unwrap_or_else(|| panic!("{line}: no {field}: {report}"));
        assert!(number > 0.0, "{line}: {field}: {report}");
    }
    let left = fs::read_dir(store.dir()).unwrap().count();
    assert_eq!(left, 0, "{line} left something behind");
    report
}

const APPEND: &[&str] = &[
    "messages_per_second",
    "bytes_per_second",
    "p50_us",
    "p99_us",
    "p999_us",
    "max_us",
    "messages",
    "raw_messages_per_second",
    "raw_p50_us",
    "ratio_to_raw",
];

#[test]
fn appends_are_measured_with_every_kind_of_call() {
    for flags in [
        "",
        "--threads 4",
        "--batch 100",
        "--batch 100 --nowait 8",
        "--durability buffered --size 100",
        "--durability transient --size 100 --batch 1000",
        "--compress --batch 100 --partitions 3",
    ] {
        let line = format!("bench append --seconds 0.3 --warmup 0.1 --json {flags}");
        let report = measure(&line, APPEND);
        if report["durability"] == "durable" {
            assert!(report["syncs"].as_u64().unwrap() > 0, "{report}");
            assert!(report["records_per_sync"].as_f64().unwrap() > 0.0);
        }
    }
}

#[test]
fn scans_are_measured_in_both_modes() {
    for mode in ["map", "pread"] {
        let line = format!("bench scan --messages 20000 --size 100 --json --mode {mode}");
        let fields = [
            "messages_per_second",
            "bytes_per_second",
            "messages",
            "seconds",
            "raw_bytes_per_second",
            "ratio_to_raw",
        ];
        let report = measure(&line, &fields);
        assert_eq!(report["messages"], 20_000);
    }
}

#[test]
fn people_get_a_table() {
    let store = Store::new();
    fs::create_dir(store.dir()).unwrap();
    let table = text(&store.output("bench append --seconds 0.2 --warmup 0"));
    for row in ["throughput", "p99.9", "ratio to raw"] {
        assert!(table.contains(row), "{row}: {table}");
    }
}
