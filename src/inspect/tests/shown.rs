//! What people get to read.

use super::*;

#[test]
fn a_report_reads_well() {
    let bench = Bench::new();
    bench.disk.flip_bit(WAL_2, 8192 + 40, 0);
    bench.disk.write_file("/store/wal/readme", b"?");
    let text = bench.verify().to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], format!("store {STORE}: corrupt"));
    assert_eq!(lines[2], "  12 batches, 36 records");
    assert_eq!(lines[3], "problems:");
    let start = "  wal/00000000000000000002.wal at byte 8192: LSNs 8192..12288 are damaged: ";
    assert!(lines[4].starts_with(start), "{text}");
    assert_eq!(lines[5], "notes:");
    assert_eq!(lines[6], "  wal/readme is no file of the log; left alone");
}

#[test]
fn a_dump_shows_every_layer_in_one_line_each() {
    let bench = Bench::new();
    Bench::log().close().write(&bench.disk, 0);
    let lines = bench.dump(&DumpOptions::default());
    let expected = [
        "snapshot/00000000000000008192.snap: LSN 8192 in WAL file 2, 1 topics, 1 partitions, \
         2 segments",
        "  topic 3 \"orders\": 1 partitions",
        "topics/3/0/00000000000000000000.log: offsets 0..24, 24 records, 1288 bytes, \
         sealed at 1",
        "topics/3/0/00000000000000000000.log at byte 64: batch of offsets 0..3, 3 records, \
         117 bytes, codec none, latest 2",
    ];
    for line in expected {
        let line = line.split(" bytes").next().unwrap();
        let start = line.rsplit_once(' ').map_or(line, |(start, _)| start);
        assert!(
            lines.iter().any(|found| found.starts_with(start)),
            "{start}\n{lines:#?}"
        );
    }
    assert!(
        lines.iter().any(|line| line.contains("close")),
        "{lines:#?}"
    );
    assert!(
        lines.iter().any(|line| line.contains("not in use")),
        "{lines:#?}"
    );
    assert!(lines.iter().all(|line| !line.contains('\n')));
}

#[test]
fn a_dump_shows_records_if_asked() {
    let bench = Bench::new();
    let options = DumpOptions::default()
        .wal(false)
        .snapshots(false)
        .records(true);
    let lines = bench.dump(&options);
    assert!(
        lines.contains(&"  7 at 7: key \"key\" \"value\"".to_owned()),
        "{lines:#?}"
    );
    let batches = lines.iter().filter(|line| line.contains("batch of"));
    assert_eq!(batches.count(), 12);
}

#[test]
fn a_dump_keeps_to_the_topic_it_was_asked_for() {
    let bench = Bench::new();
    let options = DumpOptions::default().topic(Some(TopicId::new(9)));
    let lines = bench.dump(&options);
    assert!(
        lines
            .iter()
            .all(|line| line.starts_with("wal/") || line.starts_with("snapshot/"))
    );
    let options = DumpOptions::default()
        .topic(Some(ID.topic))
        .partition(Some(0));
    assert!(bench.dump(&options).len() > lines.len() + 12);
}

#[test]
fn a_dump_shows_damage_and_goes_on() {
    let bench = Bench::new();
    bench.disk.flip_bit(LOG_0, 64 + 70, 0);
    bench.disk.flip_bit(WAL_2, 8192 + 40, 0);
    let lines = bench.dump(&DumpOptions::default());
    let damage = lines.iter().filter(|line| line.contains("DAMAGE"));
    assert_eq!(damage.count(), 2, "{lines:#?}");
    let last = "topics/3/0/00000000000000000024.log at byte 64: batch of offsets 24..27";
    assert!(
        lines.iter().any(|line| line.starts_with(last)),
        "{lines:#?}"
    );
}

#[test]
fn a_dump_ends_when_it_is_told_to() {
    let bench = Bench::new();
    let all = bench.dump(&DumpOptions::default().records(true)).len();
    for wanted in 1..=all {
        let mut seen = 0;
        let fs = Arc::new(bench.disk.clone());
        let options = DumpOptions::default().records(true);
        dump(fs, Path::new("/store"), &options, &mut |_| {
            seen += 1;
            if seen == wanted {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(seen, wanted);
    }
}
