//! What power cuts, bit rot and administrators do to segments.

use super::*;
use crate::io::sim::{FaultRule, OpKind};

/// Reads all that can be read; asserts that it is what was written.
fn errors_or_returns_what_was_written(bench: &Bench, meta: &SegmentMeta, batches: &[Bytes]) {
    for mode in MODES {
        let Ok(reader) = bench.open(meta, mode) else {
            continue;
        };
        for (n, _) in batches.iter().enumerate() {
            let from = meta.base.get() + 3 * to_u64(n);
            if let Ok(found) = read(&reader, meta, from, usize::MAX) {
                assert_eq!(found, batches[n..], "{mode:?} from {from}");
            }
            if let Ok(found) = read(&reader, meta, from, 1) {
                assert_eq!(found, batches[n..=n], "{mode:?} one from {from}");
            }
            let time = Timestamp::from_millis(i64::try_from(10 * from).unwrap());
            if let Ok(found) = reader.find_time(time, meta.bytes, meta.end) {
                assert_eq!(found, Some(Offset::new(from)), "{mode:?} at {time}");
            }
        }
    }
}

#[test]
fn every_flipped_bit_of_a_log_is_an_error_or_harmless() {
    let bench = Bench::new();
    let (meta, batches) = bench.sealed(6, 8);
    let len = to_u64(bench.disk.read_file(Bench::log(6)).len());
    for bit in 0..8 * len {
        let (byte, bit) = (bit / 8, u8::try_from(bit % 8).unwrap());
        bench.disk.flip_bit(Bench::log(6), byte, bit);
        errors_or_returns_what_was_written(&bench, &meta, &batches);
        let whole = bench.open(&meta, ReadMode::Pread);
        let whole = whole.and_then(|reader| read(&reader, &meta, 6, usize::MAX));
        assert!(whole.is_err(), "bit {bit} of byte {byte} went unnoticed");
        bench.disk.flip_bit(Bench::log(6), byte, bit);
    }
}

#[test]
fn every_flipped_bit_of_an_index_is_mended() {
    let bench = Bench::new();
    let (meta, batches) = bench.sealed(6, 8);
    let good = bench.disk.read_file(Bench::index(6));
    for bit in 0..8 * to_u64(good.len()) {
        let (byte, bit) = (bit / 8, u8::try_from(bit % 8).unwrap());
        bench.disk.flip_bit(Bench::index(6), byte, bit);
        let reader = bench.open(&meta, ReadMode::Map).unwrap();
        assert_eq!(reader.notes().len(), 1, "bit {bit} of byte {byte}");
        assert_eq!(read(&reader, &meta, 6, usize::MAX).unwrap(), batches);
        let built = bench.disk.read_file(Bench::index(6));
        assert_eq!(built, good, "bit {bit} of byte {byte}");
    }
}

#[test]
fn an_index_cut_at_any_length_is_built_again_byte_for_byte() {
    let bench = Bench::new();
    let (meta, batches) = bench.sealed(6, 30);
    let good = bench.disk.read_file(Bench::index(6));
    for len in 0..good.len() {
        bench.disk.write_file(Bench::index(6), &good[..len]);
        let reader = bench.open(&meta, ReadMode::Pread).unwrap();
        assert_eq!(reader.notes().len(), 1, "cut to {len}");
        assert_eq!(read(&reader, &meta, 6, usize::MAX).unwrap(), batches);
        assert_eq!(bench.disk.read_file(Bench::index(6)), good, "cut to {len}");
    }
    bench.disk.remove(Bench::index(6));
    bench.open(&meta, ReadMode::Map).unwrap();
    assert_eq!(bench.disk.read_file(Bench::index(6)), good, "removed");
}

#[test]
fn a_read_only_environment_builds_an_index_in_memory() {
    let mut bench = Bench::new();
    let (meta, batches) = bench.sealed(6, 8);
    bench.env.writable = false;
    bench.disk.remove(Bench::index(6));
    let reader = bench.open(&meta, ReadMode::Pread).unwrap();
    assert!(
        reader.notes()[0].contains("in memory"),
        "{:?}",
        reader.notes()
    );
    assert_eq!(read(&reader, &meta, 6, usize::MAX).unwrap(), batches);
    assert_eq!(bench.disk.list_files().len(), 1);
}

#[test]
fn a_log_cut_at_any_length_is_refused() {
    let bench = Bench::new();
    let (meta, _) = bench.sealed(6, 8);
    let good = bench.disk.read_file(Bench::log(6));
    for len in 0..good.len() {
        bench.disk.write_file(Bench::log(6), &good[..len]);
        for mode in MODES {
            let error = bench.open(&meta, mode).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "cut to {len}: {error}");
        }
    }
}

#[test]
fn damage_is_reported_with_file_byte_and_offset() {
    let bench = Bench::new();
    let (meta, batches) = bench.sealed(6, 8);
    let second = DATA_START + to_u64(batches[0].len());
    bench.disk.flip_bit(Bench::log(6), second + 70, 3);
    let reader = bench.open(&meta, ReadMode::Pread).unwrap();
    let error = read(&reader, &meta, 9, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let expected = format!(
        "segment topics/3/0/00000000000000000006.log at byte {second} (offset 9): \
         checksum of batch does not match"
    );
    assert!(error.to_string().starts_with(&expected), "{error}");
    // What lies before and behind is served, if an index entry leads past it.
    assert_eq!(read(&reader, &meta, 6, 1).unwrap(), batches[..1]);
    assert_eq!(read(&reader, &meta, 27, 1).unwrap(), batches[7..]);
}

#[test]
fn a_missing_log_is_named_with_its_offsets() {
    let bench = Bench::new();
    let (meta, _) = bench.sealed(6, 8);
    bench.disk.remove(Bench::log(6));
    let error = bench.open(&meta, ReadMode::Map).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let text = error.to_string();
    assert!(
        text.contains("00000000000000000006.log is missing"),
        "{text}"
    );
    assert!(text.contains("offset 6 to 30"), "{text}");
}

#[test]
fn a_segment_under_another_name_or_store_is_refused() {
    let mut bench = Bench::new();
    let (meta, _) = bench.sealed(6, 8);
    bench.disk.rename(Bench::log(6), Bench::log(5));
    let renamed = SegmentMeta {
        base: Offset::new(5),
        ..meta
    };
    let error = bench.open(&renamed, ReadMode::Map).unwrap_err();
    assert!(error.to_string().contains("it was renamed"), "{error}");
    bench.disk.rename(Bench::log(5), Bench::log(6));
    bench.open(&meta, ReadMode::Map).unwrap();
    bench.env.store = StoreId::new([8; 16]);
    let error = bench.open(&meta, ReadMode::Map).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("is of store"), "{error}");
    bench.env.store = StoreId::new([7; 16]);
    bench.env.id.partition = 1;
    let error = bench.open(&meta, ReadMode::Map).unwrap_err();
    assert!(error.to_string().contains("is of partition 3/0"), "{error}");
}

#[test]
fn an_index_of_another_segment_is_not_believed() {
    let bench = Bench::new();
    let (meta, batches) = bench.sealed(6, 8);
    let other = Bench::new();
    other.sealed(0, 10);
    let bytes = other.disk.read_file(Bench::index(0));
    bench.disk.write_file(Bench::index(6), &bytes);
    let reader = bench.open(&meta, ReadMode::Map).unwrap();
    assert!(
        reader.notes()[0].contains("offset 0"),
        "{:?}",
        reader.notes()
    );
    assert_eq!(read(&reader, &meta, 6, usize::MAX).unwrap(), batches);
}

#[test]
fn an_index_that_checks_out_but_misleads_costs_time_and_nothing_else() {
    let bench = Bench::new();
    let (meta, batches) = bench.sealed(0, 20);
    // The same offsets in batches of another size.
    let other = Bench::new();
    let mut writer = other.create(0);
    let shifted: Vec<Bytes> = (0..15).map(|n| other.batch(4 * n, 4)).collect();
    writer.append(&shifted).unwrap();
    writer.seal(Timestamp::MIN, Lsn::ZERO).unwrap();
    let bytes = other.disk.read_file(Bench::index(0));
    bench.disk.write_file(Bench::index(0), &bytes);
    errors_or_returns_what_was_written(&bench, &meta, &batches);
    let reader = bench.open(&meta, ReadMode::Map).unwrap();
    assert_eq!(read(&reader, &meta, 55, 1).unwrap(), batches[18..19]);
}

#[test]
fn what_an_interrupted_checkpoint_left_is_cut() {
    let bench = Bench::new();
    let batches = bench.batches(0, 30);
    let mut writer = bench.create(0);
    writer.append(&batches[..10]).unwrap();
    writer.sync().unwrap();
    let meta = writer.meta();
    let log = bench.disk.read_file(Bench::log(0));
    let index = bench.disk.read_file(Bench::index(0));
    writer.append(&batches[10..]).unwrap();
    writer.seal(Timestamp::MIN, Lsn::ZERO).unwrap();
    let writer = SegmentWriter::reopen(bench.env.clone(), &meta).unwrap();
    assert_eq!(writer.meta(), meta);
    assert_eq!(bench.disk.read_file(Bench::log(0)), log);
    assert_eq!(bench.disk.read_file(Bench::index(0)), index);
}

#[test]
fn a_reopened_segment_ends_up_as_if_it_had_never_been_closed() {
    let bench = Bench::new();
    let (_, batches) = bench.sealed(0, 30);
    let log = bench.disk.read_file(Bench::log(0));
    let index = bench.disk.read_file(Bench::index(0));
    for cut in 0..index.len() {
        let mut writer = bench.create(0);
        writer.append(&batches[..20]).unwrap();
        writer.sync().unwrap();
        let mut there = bench.disk.read_file(Bench::index(0));
        there.truncate(cut);
        bench.disk.write_file(Bench::index(0), &there);
        let mut writer = SegmentWriter::reopen(bench.env.clone(), &writer.meta()).unwrap();
        writer.append(&batches[20..]).unwrap();
        writer
            .seal(Timestamp::from_millis(9), Lsn::new(77))
            .unwrap();
        assert_eq!(bench.disk.read_file(Bench::log(0)), log, "cut {cut}");
        assert_eq!(bench.disk.read_file(Bench::index(0)), index, "cut {cut}");
    }
}

#[test]
fn an_active_log_shorter_than_what_was_durable_is_refused() {
    let bench = Bench::new();
    let mut writer = bench.create(0);
    writer.append(&bench.batches(0, 5)).unwrap();
    writer.sync().unwrap();
    let bytes = bench.disk.read_file(Bench::log(0));
    for len in 0..bytes.len() {
        bench.disk.write_file(Bench::log(0), &bytes[..len]);
        let error = SegmentWriter::reopen(bench.env.clone(), &writer.meta()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "cut to {len}");
        let expected = format!("ends at byte {len}, {} bytes were durable", bytes.len());
        assert!(error.to_string().contains(&expected), "{error}");
        assert_eq!(bench.disk.read_file(Bench::log(0)).len(), len);
    }
}

#[test]
fn after_a_failed_sync_nothing_is_written() {
    let bench = Bench::new();
    let mut writer = bench.create(0);
    writer.append(&bench.batches(0, 2)).unwrap();
    bench.disk.fail(FaultRule::new(OpKind::Sync, 5));
    assert_eq!(writer.sync().unwrap_err().kind(), ErrorKind::Poisoned);
    bench.disk.clear_faults();
    let steps = bench.disk.steps();
    assert_eq!(writer.sync().unwrap_err().kind(), ErrorKind::Poisoned);
    let result = writer.append(&bench.batches(6, 1));
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Poisoned);
    let result = writer.seal(Timestamp::MIN, Lsn::ZERO);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(bench.disk.steps(), steps, "the disk was touched");
}

#[test]
fn an_append_that_found_the_disk_full_can_be_tried_again() {
    let bench = Bench::new();
    let mut writer = bench.create(0);
    let batches = bench.batches(0, 200);
    writer.append(&batches[..2]).unwrap();
    bench.disk.set_capacity(Some(3 * 4096));
    let error = writer.append(&batches[2..]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    bench.disk.set_capacity(None);
    writer.append(&batches[2..3]).unwrap();
    writer.seal(Timestamp::MIN, Lsn::ZERO).unwrap();
    let meta = writer.meta();
    let reader = bench.open(&meta, ReadMode::Map).unwrap();
    assert_eq!(reader.notes(), [""; 0]);
    assert_eq!(read(&reader, &meta, 0, usize::MAX).unwrap(), batches[..3]);
}
