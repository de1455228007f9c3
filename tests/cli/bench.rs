//! `bench` prints what was promised, and leaves nothing behind.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::store::{Store, interrupt, text};

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
    "p90_us",
    "p99_us",
    "p999_us",
    "p9999_us",
    "max_us",
    "messages",
    "samples",
    "cpu_seconds",
    "peak_memory_bytes",
    "fairness_max_messages",
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
            assert!(report["syncs_per_second"].as_f64().unwrap() > 0.0);
            assert!(report["write_amplification"].as_f64().unwrap() > 0.0);
        }
    }
}

#[test]
fn durable_tickets_are_held_against_as_many_direct_writes_as_the_log_may_have() {
    let line = "bench append --seconds 0.3 --warmup 0.1 --batch 10 --json --in-flight 3";
    let report = measure(&format!("{line} --nowait 8"), APPEND);
    let deep = &report["deep_raw"];
    // Some file systems refuse direct writes: then the doctor says so, too.
    let direct = measure("doctor --seconds 0.01 --json", &[])["direct"] == true;
    assert_eq!(deep.is_object(), direct, "{report}");
    if direct {
        // One, where there is no queue.
        assert!([1, 3].contains(&deep["depth"].as_u64().unwrap()), "{deep}");
        let rate = |of: &serde_json::Value| of["messages_per_second"].as_f64().unwrap();
        let ratio = rate(&report) / rate(deep);
        let told = deep["ratio"].as_f64().unwrap();
        assert!((told / ratio - 1.0).abs() < 0.01, "{told}, not {ratio}");
        let (store, _) = place();
        let flags = "bench append --seconds 0.1 --warmup 0 --nowait 8";
        let table = text(&store.output(flags));
        assert!(table.contains("ratio to raw, deep"), "{table}");
    }
    for flags in ["", "--nowait 8 --durability buffered"] {
        let report = measure(&format!("{line} {flags}"), APPEND);
        assert!(report["deep_raw"].is_null(), "{flags}: {report}");
    }
}

#[test]
fn peak_memory_says_if_it_is_that_of_the_measurement() {
    // Resets the peak of this process, as the tool does with its own.
    let offered = fs::write("/proc/self/clear_refs", "5").is_ok();
    for line in [
        "bench append --seconds 0.1 --warmup 0 --json",
        "bench scan --messages 1000 --json",
    ] {
        let report = measure(line, &["peak_memory_bytes"]);
        assert_eq!(report["peak_memory_since_start"], !offered, "{report}");
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
fn queues_are_measured_at_a_depth() {
    for flags in [
        "",
        "--producers 3 --consumers 2 --depth 1k",
        "--durability buffered --size 100 --shards 2",
        "--batch 7 --size 0 --depth 10 --durability transient",
    ] {
        let line = format!("bench queue --messages 2k --json {flags}");
        let fields = [
            "messages_per_second",
            "send_per_second",
            "receive_per_second",
            "p50_us",
            "p99_us",
            "send_p50_us",
            "messages_per_receive",
            "cpu_seconds",
            "peak_memory_bytes",
            "fairness_max_messages",
            "raw_messages_per_second",
            "ratio_to_raw",
        ];
        let report = measure(&line, &fields);
        assert_eq!(report["messages"], 2000);
        if report["durability"] == "durable" {
            assert!(report["syncs"].as_u64().unwrap() > 0, "{report}");
        }
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
    let table = text(&store.output("bench queue --messages 500 --depth 10"));
    for row in ["whole cycle", "p99 of a send", "filling", "ratio to raw"] {
        assert!(table.contains(row), "{row}: {table}");
    }
}

/// A directory to measure in, and the names of files beside it.
fn place() -> (Store, impl Fn(&str) -> String) {
    let store = Store::new();
    fs::create_dir(store.dir()).unwrap();
    let beside = store.temp.path().to_owned();
    let name = move |name: &str| beside.join(name).display().to_string();
    (store, name)
}

#[test]
fn a_report_says_where_it_was_made_but_not_on_which_machine() {
    let (store, _) = place();
    let report = store
        .json("bench append --seconds 0.1 --warmup 0 --json")
        .remove(0);
    let environment = report["environment"].as_object().unwrap();
    for field in [
        "cpu",
        "cores",
        "kernel",
        "file_system",
        "sync_overwrite_us",
        "time",
    ] {
        assert!(environment.contains_key(field), "{field}: {environment:?}");
    }
    let dir = store.dir().display().to_string();
    assert!(!report.to_string().contains(&dir), "{report}");
}

#[test]
fn a_rate_that_is_asked_for_is_kept_and_shared_evenly() {
    let (store, _) = place();
    let line = "bench append --durability buffered --threads 4 --rate 2k --seconds 1 --json";
    let report = store.json(line).remove(0);
    let rate = report["messages_per_second"].as_f64().unwrap();
    // Wide bounds: other tests run beside this one.
    assert!((1000.0..2500.0).contains(&rate), "{report}");
    assert!(report["fairness_min_max_ratio"].as_f64().unwrap() > 0.2);
}

#[test]
fn what_was_appended_is_read_back() {
    for flags in ["durable --threads 2", "buffered --batch 10", "transient"] {
        let (store, _) = place();
        let line = format!(
            "bench append --seconds 0.1 --warmup 0 --partitions 2 --verify --json \
             --durability {flags}"
        );
        let report = store.json(&line).remove(0);
        let verified = report["verified_messages"].as_u64().unwrap();
        assert!(verified >= report["messages"].as_u64().unwrap(), "{report}");
    }
}

const MATRIX: &str = "bench matrix --quick --seconds 0.03 --warmup 0 --durability \
     durable,buffered --batch 1,10 --threads 1,2 --size 100 --codec none --linger 1ms --loads 50";

#[test]
fn a_matrix_is_one_page_that_needs_nothing_else() {
    let (store, name) = place();
    let line = format!("{MATRIX} --report {}", name("report.html"));
    store.output(&line);
    let page = fs::read_to_string(name("report.html")).unwrap();
    for outside in [
        "http:", "https:", "src=", "href=", "<script", "@import", "url(",
    ] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.matches("<svg ").count() >= 6);
    for part in ["NaN", "inf\"", "Some(", "None"] {
        assert!(!page.contains(part), "{part}");
    }
    well_formed(&page);
    let json = fs::read(name("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(report["kind"], "matrix");
    assert_eq!(report["cells"].as_array().unwrap().len(), 8);
    assert_eq!(report["offers"].as_array().unwrap().len(), 2);
    // One for each batch, and durable.
    let tickets = report["tickets"].as_array().unwrap();
    assert_eq!(tickets.len(), 2);
    for row in tickets {
        assert!(row["messages_per_second"].as_f64().unwrap() > 0.0, "{row}");
        assert!(page.contains(row["name"].as_str().unwrap()), "{row}");
        assert!(row["deep_raw"].is_null() || row["deep_raw"]["ratio"].as_f64().unwrap() > 0.0);
    }
    assert!(page.contains("With tickets"));
    let left = fs::read_dir(store.temp.path()).unwrap().count();
    assert_eq!(left, 3, "the directory, the page and the JSON");
}

/// Every element that is opened is closed, in order.
fn well_formed(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    for tag in page.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("a tag ends");
        let name = tag.split([' ', '/', '\n']).next().unwrap();
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "in {tag}");
        } else if !(tag.ends_with('/') || ["!DOCTYPE", "meta"].contains(&name)) {
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}

#[test]
fn a_comparison_has_an_exit_code() {
    let (store, name) = place();
    let line = "bench append --seconds 0.1 --warmup 0 --durability transient";
    let report = store.output(&format!("{line} --json"));
    let measured: serde_json::Value = serde_json::from_slice(&report).unwrap();
    // What no run can be: ten thousand times as fast, and as slow.
    let judged = [
        "p50_us",
        "p90_us",
        "p99_us",
        "cpu_us_per_message",
        "peak_memory_bytes",
        "write_amplification",
    ];
    for (factor, code) in [(1e-4, 4), (1e4, 0)] {
        let mut report = measured.clone();
        for field in judged {
            // A busy machine may make much of what was nothing.
            let value = report[field].as_f64().unwrap().max(1.0);
            report[field] = (value * factor).into();
        }
        report["messages_per_second"] = (1e6 / factor).into();
        report["ratio_to_raw"] = (1.0 / factor).into();
        fs::write(name("old.json"), report.to_string()).unwrap();
        let line = format!("{line} --tolerance 50% --compare {}", name("old.json"));
        let output = store.run(&line);
        let table = text(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{table}");
        assert!(table.contains("messages_per_second"), "{table}");
    }
}

#[test]
fn only_the_same_work_is_compared() {
    let (store, name) = place();
    let old = name("old.json");
    let line = format!("bench scan --messages 1000 --compare {old}");
    let said = store.refused(&line, 3);
    assert!(said.contains("No such file"), "{said}");
    for (report, part) in [
        ("{", "not JSON"),
        ("{\"messages\": 1}", "no report"),
        ("{\"kind\": \"append\", \"format\": 1}", "bench append"),
        (
            "{\"kind\": \"scan\", \"format\": 1, \"size\": 7}",
            "same flags",
        ),
    ] {
        fs::write(&old, report).unwrap();
        let said = store.refused(&line, 3);
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn opens_are_measured_after_a_close_and_after_a_kill() {
    let fields: &[&str] = &[];
    let line = "bench recover --stores 64KiB,256KiB --tail 64KiB --rounds 2 --json";
    let report = measure(line, fields);
    for (row, name) in report["stores"]
        .as_array()
        .unwrap()
        .iter()
        .zip(["64 KiB", "256 KiB"])
    {
        assert_eq!(row["name"], name);
        assert_eq!(row["lost_messages"], 0);
        for field in [
            "open_after_close_us",
            "open_after_kill_us",
            "raw_us",
            "replayed_bytes",
        ] {
            assert!(row[field].as_f64().unwrap() > 0.0, "{field}: {row}");
        }
    }
}

#[test]
fn the_doctor_measures_and_recommends() {
    let report = measure(
        "doctor --seconds 0.01 --json",
        &["sync_grow_us", "sync_overwrite_us"],
    );
    let advice = &report["advice"];
    for field in ["linger_us", "group_bytes_max", "in_flight_max"] {
        assert!(advice[field].as_u64().unwrap() > 0, "{field}: {advice}");
    }
    assert_eq!(
        report["direct"].as_bool().unwrap(),
        !report["sync_direct_us"].is_null()
    );
    let (store, _) = place();
    let said = text(&store.output("doctor --seconds 0.01"));
    for part in ["linger", "group_bytes_max", "sync, overwriting"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn what_cannot_be_measured_is_refused_before_the_run() {
    let (store, name) = place();
    for flags in [
        "append --threads 0",
        "append --batch 0",
        "append --rate 0",
        "append --seconds 0",
        "append --rate 5 --nowait 5",
        "append --tolerance much",
        "queue --messages 0",
        "queue --depth deep",
        "queue --producers 0",
        "matrix --durability eternal",
        "matrix --loads 0",
        "recover --rounds 0",
    ] {
        let output = store.run(&format!("bench {flags}"));
        assert_eq!(output.status.code(), Some(3), "{flags}");
        assert!(output.stdout.is_empty(), "{flags}");
    }
    let nowhere = name("nowhere/report.html");
    let said = store.refused(&format!("bench matrix --report {nowhere}"), 3);
    assert!(said.contains("make it first"), "{said}");
    let said = store.refused(&format!("bench matrix --report {}", name("r.json")), 3);
    assert!(said.contains(".html"), "{said}");
    assert_eq!(fs::read_dir(store.dir()).unwrap().count(), 0);
}

#[test]
fn rows_that_are_not_measured_are_no_comparison() {
    let (store, name) = place();
    for (kind, rows) in [("matrix", "cells"), ("recover", "stores")] {
        let old = format!(
            "{{\"kind\": \"{kind}\", \"format\": 1, \"size\": 1024, \
             \"tail\": 16777216, \"rounds\": 3, \"{rows}\": [{{\"name\": \"other\"}}]}}"
        );
        fs::write(name("old.json"), old).unwrap();
        let line = format!("bench {kind} --compare {}", name("old.json"));
        let said = store.refused(&line, 3);
        assert!(said.contains("nothing in it"), "{kind}: {said}");
    }
}

/// How many names are in a directory.
fn names(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[test]
fn a_signal_ends_a_measurement_and_leaves_nothing() {
    for what in [
        "append --seconds 60",
        "matrix --report",
        "recover --stores 4GiB",
        "queue --messages 10000M",
        "queue --depth 10000M",
    ] {
        let (store, name) = place();
        let mut line = format!("bench {what}");
        if what.ends_with("report") {
            line = format!("{line} {}", name("report.html"));
        }
        let mut command = store.command(&line);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        while names(&store.dir()) == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        // Anywhere in it; a child of its own has time to start.
        thread::sleep(Duration::from_millis(300));
        interrupt(&child);
        assert_eq!(child.wait().unwrap().code(), Some(130), "{line}");
        assert_eq!(names(&store.dir()), 0, "{line}");
        assert_eq!(names(store.temp.path()), 1, "{line}");
    }
}
