//! Each kind of damage is found, named with its place, and told from a crash.

use super::*;

#[test]
fn a_whole_store_is_clean() {
    let bench = Bench::new();
    let report = bench.verify();
    assert_eq!(report.outcome(), Outcome::Clean, "{report}");
    assert_eq!(report.notes, [""; 0]);
    assert_eq!((report.batches, report.records), (15, 45));
    assert_eq!(report.files, 5, "identity, snapshot, two segments, log");
    assert_eq!(report.store, STORE.to_string());
}

#[test]
fn a_closed_store_is_clean() {
    let bench = Bench::new();
    Bench::log().close().write(&bench.disk, 0);
    assert_eq!(bench.verify().outcome(), Outcome::Clean);
}

#[test]
fn progress_ends_where_it_said_it_would() {
    let bench = Bench::new();
    let mut told = Vec::new();
    let fs = Arc::new(bench.disk.clone());
    verify_with(fs, Path::new("/store"), &mut |done, total| {
        told.push((done, total));
    })
    .unwrap();
    assert!(
        told.windows(2).all(|pair| pair[0].0 <= pair[1].0),
        "{told:?}"
    );
    let (done, total) = told[told.len() - 1];
    assert!(done == total && total > 0, "{told:?}");
}

#[test]
fn a_store_in_use_is_locked() {
    let bench = Bench::new();
    let root = bench.disk.open_root(Path::new("/store"), false).unwrap();
    let held = root.lock("LOCK", true, "pid 42").unwrap().unwrap();
    let error = bench.try_verify().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains("pid 42"), "{error}");
    drop(held);
    bench.disk.remove("/store/LOCK");
    assert_eq!(
        bench.verify().outcome(),
        Outcome::Clean,
        "a copy without it"
    );
}

#[test]
fn what_is_no_store_is_not_found() {
    let bench = Bench::new();
    bench.disk.remove("/store/store");
    assert_eq!(bench.try_verify().unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_damaged_identity_is_a_problem() {
    let bench = Bench::new();
    bench.disk.flip_bit("/store/store", 20, 0);
    assert_eq!(only_problem(&bench).file, "store");
}

#[test]
fn every_flipped_bit_of_what_counts_is_a_problem() {
    let bench = Bench::new();
    let whole = to_u64(Bench::log().bytes.len());
    for path in [LOG_0, SNAPSHOT, "/store/store"] {
        let len = to_u64(bench.disk.read_file(path).len());
        for byte in 0..len {
            let bit = u8::try_from(byte % 8).unwrap();
            bench.disk.flip_bit(path, byte, bit);
            let sound = bench
                .try_verify()
                .is_ok_and(|report| report.outcome() == Outcome::Clean);
            assert!(!sound, "{path}: byte {byte} went unnoticed");
            bench.disk.flip_bit(path, byte, bit);
        }
    }
    // Padding is not read, and the last group is torn rather than damaged.
    let frame = 32 + to_u64(append(36).len());
    let groups = [8192, whole - 4096].map(|at| at..at + frame);
    for byte in groups.into_iter().flatten().chain(0..48) {
        bench.disk.flip_bit(WAL_2, byte, 1);
        // A flipped bit of a version makes it one that nobody knows.
        let sound = bench
            .try_verify()
            .is_ok_and(|report| report.outcome() == Outcome::Clean);
        assert!(!sound, "byte {byte} of the log");
        bench.disk.flip_bit(WAL_2, byte, 1);
    }
}

#[test]
fn a_bad_batch_does_not_hide_a_later_one() {
    let bench = Bench::new();
    let len = to_u64(batch(0).len());
    bench.disk.flip_bit(LOG_0, 64 + len + 70, 0);
    bench.disk.flip_bit(LOG_0, 64 + 6 * len + 70, 0);
    let report = bench.verify();
    let places: Vec<_> = report.problems.iter().map(|p| p.position).collect();
    assert_eq!(places, [64 + len, 64 + 6 * len], "{report}");
    let text = report.problems[0].to_string();
    let expected = format!(
        "topics/3/0/00000000000000000000.log at byte {}: (offset 3): checksum of batch",
        64 + len
    );
    assert!(text.starts_with(&expected), "{text}");
}

#[test]
fn a_missing_segment_is_a_problem() {
    let bench = Bench::new();
    bench.disk.remove(LOG_0);
    let problem = only_problem(&bench);
    assert!(problem.message.contains("missing"), "{problem}");
    assert!(problem.message.contains("offset 0 to 24"), "{problem}");
}

#[test]
fn a_bad_index_is_a_note() {
    let bench = Bench::new();
    bench.disk.flip_bit(INDEX_0, 40, 0);
    let report = bench.verify();
    assert_eq!(report.outcome(), Outcome::Clean, "{report}");
    assert!(report.notes[0].contains("does not check out"), "{report}");
    bench.disk.remove(INDEX_0);
    assert_eq!(bench.verify().notes.len(), 1);
}

#[test]
fn unknown_files_are_noted() {
    let bench = Bench::new();
    for path in [
        "/store/topics/3/0/00000000000000000099.log",
        "/store/topics/3/0/core",
        "/store/wal/readme",
        "/store/snapshot/00000000000000009999.snap.tmp",
    ] {
        bench.disk.write_file(path, b"?");
    }
    let report = bench.verify();
    assert_eq!(report.outcome(), Outcome::Clean, "{report}");
    assert_eq!(report.notes.len(), 4, "{report}");
}

#[test]
fn a_bad_snapshot_is_a_problem_and_an_older_one_goes_on() {
    let bench = Bench::new();
    bench
        .disk
        .write_file("/store/snapshot/00000000000000012288.snap", b"?");
    let problem = only_problem(&bench);
    assert_eq!(problem.file, "snapshot/00000000000000012288.snap");
    assert_eq!(bench.verify().records, 45);
}

#[test]
fn a_torn_tail_is_no_damage() {
    let bench = Bench::new();
    let log = Bench::log();
    let len = log.bytes.len();
    for cut in (len - 4096..len).step_by(100) {
        let mut bytes = log.bytes.to_vec();
        bytes.truncate(cut);
        bytes.resize(len + 4096, 0);
        bench.disk.write_file(WAL_2, &bytes);
        let report = bench.verify();
        assert_ne!(report.outcome(), Outcome::Corrupt, "cut at {cut}: {report}");
        let first_frame = 32 + append(39).len();
        if cut - (len - 4096) > 32 && cut - (len - 4096) < first_frame {
            let torn = 32 + append(39).len();
            assert_eq!(report.torn_bytes, to_u64(torn), "cut at {cut}");
        }
    }
}

#[test]
fn bytes_of_an_earlier_use_of_the_file_are_no_torn_tail() {
    let bench = Bench::new();
    let log = Bench::log();
    let mut bytes = log.bytes.to_vec();
    let old = Log::new(1, 0).group(&[append(0)], 0);
    bytes.extend_from_slice(&old.bytes[4096..]);
    bench.disk.write_file(WAL_2, &bytes);
    assert_eq!(bench.verify().outcome(), Outcome::Clean);
}

#[test]
fn a_bad_frame_that_a_later_one_calls_durable_is_damage() {
    let bench = Bench::new();
    // The third group says that the second was durable.
    bench.disk.flip_bit(WAL_2, 8192 + 40, 0);
    let problem = only_problem(&bench);
    assert_eq!(problem.position, 8192);
    assert!(problem.message.contains("LSNs 8192..12288"), "{problem}");
}

#[test]
fn a_bad_frame_that_a_later_one_does_not_call_durable_is_torn() {
    let bench = Bench::new();
    let log = Log::new(2, 4096)
        .group(&[append(33)], 4096)
        .group(&[append(36)], 8192)
        .group(&[append(39)], 8192);
    log.write(&bench.disk, 4);
    bench.disk.flip_bit(WAL_2, 8192 + 40, 0);
    let report = bench.verify();
    assert_eq!(report.outcome(), Outcome::Torn, "{report}");
    // Both groups go, and what is between them.
    assert_eq!(report.torn_bytes, 4096 + to_u64(32 + append(39).len()));
}

#[test]
fn a_lost_group_between_two_others_is_noticed() {
    let bench = Bench::new();
    let log = Bench::log();
    let mut bytes = log.bytes.to_vec();
    bytes[8192..12288].fill(0);
    bench.disk.write_file(WAL_2, &bytes);
    let problem = only_problem(&bench);
    assert_eq!(problem.position, 8192);
}

#[test]
fn a_bad_frame_before_a_later_file_is_damage() {
    let bench = Bench::new();
    let log = Bench::log();
    let next = Log::new(3, log.lsn().get()).group(&[append(45)], log.lsn().get());
    next.write(&bench.disk, 0);
    assert_eq!(bench.verify().outcome(), Outcome::Clean);
    bench.disk.flip_bit(WAL_2, 12288 + 40, 0);
    let problem = only_problem(&bench);
    assert!(problem.message.contains("a later file"), "{problem}");
    assert_eq!(
        bench.verify().records,
        36 + 3 + 3,
        "the later file was read"
    );
}

#[test]
fn frames_that_a_later_file_supersedes_do_not_count() {
    let bench = Bench::new();
    // Recovery cut the third group, which was not proven durable.
    Log::new(3, 12288)
        .group(&[append(39)], 12288)
        .write(&bench.disk, 0);
    bench.disk.flip_bit(WAL_2, 12288 + 40, 0);
    let report = bench.verify();
    assert_eq!(report.outcome(), Outcome::Clean, "{report}");
    assert_eq!(report.records, 36 + 3 + 3);
}

#[test]
fn a_closed_file_before_a_later_one_is_whole() {
    let bench = Bench::new();
    Bench::log().close().write(&bench.disk, 0);
    // The log ends before the mark, and goes on there.
    let end = Bench::log().lsn().get();
    let next = Log::new(3, end).group(&[append(45)], end);
    next.write(&bench.disk, 0);
    let report = bench.verify();
    assert_eq!(report.outcome(), Outcome::Clean, "{report}");
}

#[test]
fn a_missing_file_of_the_log_is_a_problem() {
    let bench = Bench::new();
    bench.disk.remove(WAL_2);
    let problem = only_problem(&bench);
    assert_eq!(problem.file, "wal/00000000000000000002.wal");
    Log::new(4, 20480).write(&bench.disk, 1);
    let problem = only_problem(&bench);
    assert_eq!(problem.file, "wal/00000000000000000002.wal");
}

#[test]
fn a_file_that_lost_its_header_speaks_for_the_one_before() {
    let bench = Bench::new();
    let log = Bench::log();
    let next = Log::new(3, log.lsn().get()).group(&[append(45)], log.lsn().get());
    // The group after it says that the first group of file 3 was durable.
    let durable = next.lsn().get();
    next.group(&[append(48)], durable).write(&bench.disk, 0);
    bench.disk.flip_bit(WAL_3, 20, 0);
    let problem = only_problem(&bench);
    assert!(problem.message.contains("durable"), "{problem}");
}

#[test]
fn a_batch_of_another_partition_in_the_log_is_a_problem() {
    let bench = Bench::new();
    let mut payload = BytesMut::new();
    let other = PartitionId { partition: 1, ..ID };
    Entry::Append(other, &batch(36)).encode(&mut payload);
    let log = Log::new(2, 8192).group(&[payload], 8192);
    log.write(&bench.disk, 1);
    let problem = only_problem(&bench);
    assert!(problem.message.contains("partition 3/1"), "{problem}");
}

#[test]
fn a_log_cut_anywhere_never_panics() {
    let bench = Bench::new();
    let bytes = Bench::log().bytes.to_vec();
    for len in (0..bytes.len()).step_by(61) {
        bench.disk.write_file(WAL_2, &bytes[..len]);
        let report = bench.verify();
        if to_usize(8192) >= len {
            assert_ne!(report.outcome(), Outcome::Torn, "cut to {len}: {report}");
        }
    }
}
