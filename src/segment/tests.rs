//! What a segment promises: what was appended comes back, or an error does.

use std::path::Path;

use bytes::Bytes;

use super::*;
use crate::format::batch::BatchBuilder;
use crate::format::{Batch, Record};
use crate::ids::{Lsn, Timestamp, TopicId};
use crate::io::FileSystem;
use crate::io::sim::SimFs;
use crate::options::{Codec, ReadMode};

mod damage;
mod model;
mod reading;

const DIR: &str = "/store/topics/3/0";

/// A partition on a simulated disk.
struct Bench {
    disk: SimFs,
    env: SegmentEnv,
}

impl Bench {
    fn new() -> Self {
        Self::on(SimFs::new(1).with_maps(true))
    }

    fn on(disk: SimFs) -> Self {
        let dir = disk.open_root(Path::new(DIR), true).unwrap();
        let env = SegmentEnv {
            dir,
            store: StoreId::new([7; 16]),
            id: PartitionId {
                topic: TopicId::new(3),
                partition: 0,
            },
            index_interval_bytes: 256,
            writable: true,
            direct: true,
            scratch: Arc::default(),
            reads: Arc::default(),
        };
        Self { disk, env }
    }

    /// Batches of three records with 20 bytes each, from `base` on; record
    /// `n` has time `10 * n`.
    fn batches(&self, base: u64, count: u64) -> Vec<Bytes> {
        (0..count).map(|n| self.batch(base + 3 * n, 3)).collect()
    }

    fn batch(&self, base: u64, count: u64) -> Bytes {
        let mut builder = BatchBuilder::new();
        let time = |n: u64| Timestamp::from_millis(i64::try_from(10 * n).unwrap());
        builder.start(Offset::new(base), time(base), false);
        for n in base..base + count {
            builder.push(&Record::new(&[b'x'; 20]), time(n));
        }
        builder.seal(Codec::None, self.env.seed())
    }

    fn create(&self, base: u64) -> SegmentWriter {
        let now = Timestamp::from_millis(5);
        SegmentWriter::create(self.env.clone(), Offset::new(base), now).unwrap()
    }

    /// A sealed segment of `count` batches.
    fn sealed(&self, base: u64, count: u64) -> (SegmentMeta, Vec<Bytes>) {
        let batches = self.batches(base, count);
        let mut writer = self.create(base);
        writer.append(&batches).unwrap();
        writer
            .seal(Timestamp::from_millis(9), Lsn::new(77))
            .unwrap();
        self.env.dir.sync().unwrap();
        (writer.meta(), batches)
    }

    fn open(&self, meta: &SegmentMeta, mode: ReadMode) -> Result<SegmentReader> {
        SegmentReader::open(self.env.clone(), meta, mode)
    }

    fn log(base: u64) -> String {
        format!("{DIR}/{}", log_name(Offset::new(base)))
    }

    fn index(base: u64) -> String {
        format!("{DIR}/{}", index_name(Offset::new(base)))
    }
}

fn read(reader: &SegmentReader, meta: &SegmentMeta, from: u64, max: usize) -> Result<Vec<Bytes>> {
    let mut out = Vec::new();
    let most = Most {
        bytes: max,
        records: u64::MAX,
    };
    reader.read(Offset::new(from), meta.bytes, meta.end, most, &mut out)?;
    Ok(raw(&out))
}

const EVERYTHING: Most = Most {
    bytes: usize::MAX,
    records: u64::MAX,
};

fn raw(batches: &[Batch]) -> Vec<Bytes> {
    batches.iter().map(|batch| batch.raw().clone()).collect()
}

const MODES: [ReadMode; 2] = [ReadMode::Map, ReadMode::Pread];

#[test]
fn what_was_appended_comes_back_from_every_offset() {
    let bench = Bench::new();
    let (meta, batches) = bench.sealed(4096, 40);
    for mode in MODES {
        let reader = bench.open(&meta, mode).unwrap();
        assert_eq!(reader.notes(), [""; 0]);
        for from in 0..120 {
            let expected = &batches[from / 3..];
            let from = 4096 + to_u64(from);
            let all = read(&reader, &meta, from, usize::MAX).unwrap();
            assert_eq!(all, expected, "{mode:?} from {from}");
            let one = read(&reader, &meta, from, 1).unwrap();
            assert_eq!(one, expected[..1], "{mode:?} one from {from}");
        }
        assert!(read(&reader, &meta, 4096 + 120, 1).unwrap().is_empty());
    }
}

#[test]
fn a_mapped_batch_is_a_part_of_the_map() {
    let bench = Bench::new();
    let (meta, _) = bench.sealed(0, 4);
    let reader = bench.open(&meta, ReadMode::Map).unwrap();
    let ends = |bytes: &Bytes| bytes.as_ptr().wrapping_add(bytes.len());
    let batches = read(&reader, &meta, 0, usize::MAX).unwrap();
    for pair in batches.windows(2) {
        assert_eq!(ends(&pair[0]), pair[1].as_ptr(), "copied");
    }
    let again = read(&reader, &meta, 0, usize::MAX).unwrap();
    assert_eq!(batches[0].as_ptr(), again[0].as_ptr(), "copied");
}

#[test]
fn a_batch_longer_than_any_piece_comes_back() {
    let bench = Bench::new();
    let mut builder = BatchBuilder::new();
    builder.start(Offset::new(1), Timestamp::MIN, false);
    builder.push(
        &Record::new(&vec![b'x'; 3 << 20]),
        Timestamp::from_millis(1),
    );
    let long = builder.seal(Codec::None, bench.env.seed());
    let batches = [bench.batch(0, 1), long, bench.batch(2, 1)];
    let mut writer = bench.create(0);
    writer.append(&batches).unwrap();
    writer.seal(Timestamp::MIN, Lsn::ZERO).unwrap();
    let meta = writer.meta();
    for mode in MODES {
        let reader = bench.open(&meta, mode).unwrap();
        assert_eq!(read(&reader, &meta, 1, 1).unwrap(), batches[1..2]);
        assert_eq!(read(&reader, &meta, 0, usize::MAX).unwrap(), batches);
    }
}

#[test]
fn an_active_segment_is_read_while_it_grows() {
    let bench = Bench::new();
    let mut writer = bench.create(0);
    let reader = bench.open(&writer.meta(), ReadMode::Map).unwrap();
    assert!(read(&reader, &writer.meta(), 0, 1).unwrap().is_empty());
    let batches = bench.batches(0, 30);
    for batch in &batches {
        writer.append(std::slice::from_ref(batch)).unwrap();
    }
    let meta = writer.meta();
    let place = writer.index().floor(Offset::new(80));
    assert!(!place.is_start(), "the index is of use");
    let mut out = Vec::new();
    let from = Offset::new(80);
    reader
        .read_at(place, from, meta.bytes, meta.end, EVERYTHING, &mut out)
        .unwrap();
    assert_eq!(raw(&out), batches[26..]);
}

/// Symptom: fetches of few records were slow. Cause: each read and checked all
/// batches within its bytes, and those beyond its records again the next time.
/// Fix: a read ends with its records, too.
#[test]
fn no_batch_is_checked_beyond_the_records_that_were_asked_for() {
    let bench = Bench::new();
    let mut writer = bench.create(0);
    let batches = bench.batches(0, 30);
    writer.append(&batches).unwrap();
    let meta = writer.meta();
    let reader = bench.open(&meta, ReadMode::Pread).unwrap();
    for (from, records, expected) in [(0, 1, 1), (0, 3, 1), (0, 4, 2), (1, 3, 2), (2, 1, 1)] {
        let mut out = Vec::new();
        let most = Most {
            records,
            ..EVERYTHING
        };
        let from = Offset::new(from);
        let read = reader.read(from, meta.bytes, meta.end, most, &mut out);
        read.unwrap();
        assert_eq!(out.len(), expected, "{records} records from {from}");
    }
}

#[test]
fn gaps_between_batches_are_stepped_over() {
    let bench = Bench::new();
    let batches = [bench.batch(5, 3), bench.batch(100, 1), bench.batch(101, 2)];
    let mut writer = bench.create(0);
    writer.append(&batches).unwrap();
    writer.seal(Timestamp::MIN, Lsn::ZERO).unwrap();
    let meta = writer.meta();
    let reader = bench.open(&meta, ReadMode::Pread).unwrap();
    for (from, first) in [(0, 0), (7, 0), (8, 1), (99, 1), (101, 2), (102, 2)] {
        let found = read(&reader, &meta, from, usize::MAX).unwrap();
        assert_eq!(found, batches[first..], "from {from}");
    }
}

#[test]
fn offsets_that_do_not_rise_are_refused() {
    let bench = Bench::new();
    let mut writer = bench.create(10);
    writer.append(&[bench.batch(10, 3)]).unwrap();
    let before = writer.meta();
    for bad in [bench.batch(12, 1), bench.batch(9, 1)] {
        let error = writer.append(&[bench.batch(20, 1), bad]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(writer.meta(), before, "the call changed nothing");
    }
}

#[test]
fn the_first_record_at_a_time_is_found() {
    let bench = Bench::new();
    let (meta, _) = bench.sealed(300, 30);
    for mode in MODES {
        let reader = bench.open(&meta, mode).unwrap();
        let find = |time| {
            let time = Timestamp::from_millis(time);
            reader.find_time(time, meta.bytes, meta.end).unwrap()
        };
        assert_eq!(find(i64::MIN), Some(Offset::new(300)));
        assert_eq!(find(3000), Some(Offset::new(300)));
        assert_eq!(find(3001), Some(Offset::new(301)));
        assert_eq!(find(3890), Some(Offset::new(389)));
        assert_eq!(find(3891), None);
    }
}

#[test]
fn a_full_segment_says_so() {
    let bench = Bench::new();
    let mut writer = bench.create(10);
    assert!(!writer.is_full(100, 1000, Offset::new(20)), "empty");
    assert!(writer.is_full(100, 1000, Offset::new(11 + (1 << 32))));
    writer.append(&[bench.batch(10, 3)]).unwrap();
    let at = writer.meta().bytes;
    assert!(!writer.is_full(at + 100, 100, Offset::new(20)));
    assert!(writer.is_full(at + 100, 101, Offset::new(20)));
    assert!(writer.is_full(u64::MAX, (1 << 32) - at, Offset::new(20)));
}

#[test]
fn names_come_back_from_what_they_are_parsed_to() {
    let base = Offset::new(4711);
    assert_eq!(log_name(base), "00000000000000004711.log");
    for (name, kind) in [
        (log_name(base), FileKind::Log),
        (index_name(base), FileKind::Index),
        (temporary_name(base), FileKind::Temporary),
    ] {
        assert_eq!(parse_name(&name), Some((base, kind)));
    }
    for name in [
        "",
        "4711.log",
        "00000000000000004711.snap",
        "+0000000000000004711.log",
        "99999999999999999999.log",
        "0000000000000000471\u{e9}.log",
    ] {
        assert_eq!(parse_name(name), None, "{name}");
    }
}

#[test]
fn removal_takes_all_files_and_minds_none_missing() {
    let bench = Bench::new();
    bench.sealed(0, 2);
    remove(&bench.env, Offset::ZERO).unwrap();
    assert!(bench.disk.list_files().is_empty());
    remove(&bench.env, Offset::ZERO).unwrap();
}

#[test]
fn a_segment_begun_by_an_interrupted_checkpoint_is_begun_anew() {
    let bench = Bench::new();
    bench.create(0).append(&bench.batches(0, 9)).unwrap();
    let mut writer = bench.create(0);
    writer.append(&bench.batches(0, 1)).unwrap();
    writer.sync().unwrap();
    let meta = SegmentWriter::reopen(bench.env.clone(), &writer.meta()).unwrap();
    assert_eq!(meta.meta(), writer.meta());
    let len = to_u64(bench.disk.read_file(Bench::log(0)).len());
    assert_eq!(len, writer.meta().bytes);
}
