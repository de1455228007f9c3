//! What a read asks of the file, and what it does to the bytes: each of them
//! once, if it can be, and none before somebody wants it.

use std::io;
use std::sync::Mutex;

use super::*;
use crate::io::{Advice, File};
use crate::segment::scan::{PIECE_LEN_MAX, Source};

/// A file that notes what it is told of reads to come.
#[derive(Debug)]
struct Spy {
    file: Arc<dyn File>,
    advice: Arc<Mutex<Vec<(u64, u64, Advice)>>>,
}

impl File for Spy {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buf, position)
    }

    fn advise(&self, position: u64, len: u64, advice: Advice) {
        self.advice.lock().unwrap().push((position, len, advice));
    }

    fn write_all_at(&self, _buf: &[u8], _position: u64) -> io::Result<()> {
        unreachable!("a reader does not write")
    }

    fn write_all_vectored_at(&self, _bufs: &[&[u8]], _position: u64) -> io::Result<()> {
        unreachable!("a reader does not write")
    }

    fn sync_data(&self) -> io::Result<()> {
        unreachable!("a reader does not sync")
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        unreachable!("a reader does not cut")
    }

    fn allocate(&self, _len: u64) -> io::Result<()> {
        unreachable!("a reader does not allocate")
    }

    fn map(&self, len: u64) -> io::Result<Option<Bytes>> {
        self.file.map(len)
    }
}

/// A batch of one record with a value of `len` bytes.
fn long_batch(bench: &Bench, base: u64, len: usize, codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.start(Offset::new(base), Timestamp::MIN, false);
    let mut value = vec![0; len];
    for (n, byte) in value.iter_mut().enumerate() {
        let [low, ..] = (to_u64(n) ^ base).to_le_bytes();
        *byte = low;
    }
    builder.push(&Record::new(&value), Timestamp::from_millis(1));
    builder.seal(codec, bench.env.seed())
}

/// A sealed segment of `count` batches of 100 kB, written past the cache.
fn long_segment(count: u64) -> (Bench, SegmentMeta, Vec<Bytes>) {
    let bench = Bench::on(SimFs::new(1).with_queue(true));
    let batches: Vec<_> = (0..count)
        .map(|n| long_batch(&bench, n, 100_000, Codec::None))
        .collect();
    let mut writer = bench.create(0);
    writer.append(&batches).unwrap();
    writer.seal(Timestamp::MIN, Lsn::ZERO).unwrap();
    let meta = writer.meta();
    (bench, meta, batches)
}

/// Goes through a segment in reads of at most `most`; the batches.
fn go_through(reader: &SegmentReader, meta: &SegmentMeta, most: Most) -> Vec<Bytes> {
    let mut found = Vec::new();
    let mut from = meta.base;
    while from < meta.end {
        let mut out = Vec::new();
        reader
            .read(from, meta.bytes, meta.end, most, &mut out)
            .unwrap();
        from = out.last().expect("a read gets further").end_offset();
        found.extend(raw(&out));
    }
    found
}

#[test]
fn who_reads_long_stretches_asks_for_read_ahead_and_who_does_not_does_not() {
    let (bench, meta, batches) = long_segment(30);
    for (bytes, asks) in [(PIECE_LEN_MAX, true), (usize::MAX, true), (1000, false)] {
        let mut reader = bench.open(&meta, ReadMode::Pread).unwrap();
        let advice = Arc::default();
        if let Source::File(file) = reader.source {
            let advice = Arc::clone(&advice);
            reader.source = Source::File(Arc::new(Spy { file, advice }));
        } else {
            panic!("read with pread, but mapped");
        }
        let records = u64::MAX;
        let found = go_through(&reader, &meta, Most { bytes, records });
        assert_eq!(found, batches);
        let advice = advice.lock().unwrap();
        assert_eq!(!advice.is_empty(), asks, "reads of {bytes} bytes");
        // What was asked for is what was read, but for the batch in which a
        // read ends.
        let mut asked = DATA_START;
        for &(position, len, what) in advice.iter() {
            assert_eq!(what, Advice::Sequential);
            assert!(position <= asked + to_u64(batches[0].len()));
            assert!(position + len <= meta.bytes);
            asked = position + len;
        }
        assert_eq!(asked == meta.bytes, asks, "up to {asked}");
    }
}

/// Symptom: a scan with `pread` read everything twice. Cause: the piece in
/// which a read ends was as long as all others, and most of it was dropped.
/// Fix: a piece is no longer than what is still wanted.
#[test]
fn a_scan_reads_little_more_than_there_is() {
    let (bench, meta, batches) = long_segment(60);
    let reader = bench.open(&meta, ReadMode::Pread).unwrap();
    for bytes in [PIECE_LEN_MAX, 4 * PIECE_LEN_MAX, usize::MAX] {
        let before = bench.disk.counts().bytes_read();
        let records = u64::MAX;
        assert_eq!(go_through(&reader, &meta, Most { bytes, records }), batches);
        let read = bench.disk.counts().bytes_read() - before;
        assert!(
            read < meta.bytes + meta.bytes / 4,
            "read {read} bytes to return {}, {bytes} at a time",
            meta.bytes
        );
    }
}

#[test]
fn a_read_of_few_records_reads_few_bytes() {
    let bench = Bench::new();
    let (meta, batches) = bench.sealed(0, 20_000);
    let reader = bench.open(&meta, ReadMode::Pread).unwrap();
    let before = bench.disk.counts().bytes_read();
    let most = Most {
        bytes: PIECE_LEN_MAX,
        records: 300,
    };
    let mut out = Vec::new();
    reader
        .read(Offset::ZERO, meta.bytes, meta.end, most, &mut out)
        .unwrap();
    assert_eq!(raw(&out), batches[..100]);
    let read = bench.disk.counts().bytes_read() - before;
    assert!(read <= 64 << 10, "read {read} bytes for 300 records");
}

#[test]
fn each_batch_is_checked_once_however_long_the_reads_are() {
    let mut bench = Bench::new();
    // An entry for each batch: no other is looked at to find it.
    bench.env.index_interval_bytes = 1;
    let (meta, batches) = bench.sealed(0, 40);
    for mode in MODES {
        let reader = bench.open(&meta, mode).unwrap();
        for records in [1, 3, 6, 21, u64::MAX] {
            let before = bench.env.reads.batches_checked();
            let bytes = usize::MAX;
            let found = go_through(&reader, &meta, Most { bytes, records });
            assert_eq!(found, batches);
            let checked = bench.env.reads.batches_checked() - before;
            assert_eq!(checked, 40, "{mode:?}, {records} records a read");
        }
    }
}

#[test]
fn a_batch_that_is_kept_is_not_written_over_by_later_reads() {
    let (bench, meta, batches) = long_segment(60);
    let reader = bench.open(&meta, ReadMode::Pread).unwrap();
    let most = Most {
        bytes: PIECE_LEN_MAX,
        records: u64::MAX,
    };
    // Every third is kept, so that pieces become free around those in use.
    let mut kept = Vec::new();
    for round in 0..3 {
        let found = go_through(&reader, &meta, most);
        assert_eq!(found, batches, "round {round}");
        let third = found.into_iter().enumerate();
        kept.extend(third.filter(|(n, _)| n % 3 == round));
    }
    for (n, batch) in kept {
        assert_eq!(batch, batches[n], "batch {n}");
    }
}

#[test]
#[cfg(feature = "lz4")]
fn a_batch_is_not_decompressed_before_its_records_are_asked_for() {
    const PAYLOAD: usize = crate::format::batch::BATCH_HEADER_LEN;
    let bench = Bench::new();
    let good = long_batch(&bench, 0, 5000, Codec::Lz4);
    assert!(good.len() < 5000, "it was compressed");
    // A payload that no lz4 is, with a checksum that says it was written so.
    let mut bad = long_batch(&bench, 1, 5000, Codec::Lz4).to_vec();
    bad[PAYLOAD..].fill(0xff);
    let crc = bench.env.seed().checksum(&bad[4..]);
    bad[..4].copy_from_slice(&crc.to_le_bytes());
    let batches = [good, Bytes::from(bad)];
    let mut writer = bench.create(0);
    writer.append(&batches).unwrap();
    writer.seal(Timestamp::MIN, Lsn::ZERO).unwrap();
    let meta = writer.meta();
    for mode in MODES {
        let reader = bench.open(&meta, mode).unwrap();
        let mut out = Vec::new();
        reader
            .read(Offset::ZERO, meta.bytes, meta.end, EVERYTHING, &mut out)
            .unwrap();
        assert_eq!(raw(&out), batches, "{mode:?}");
        assert!(out[0].records().is_ok());
        assert!(out[1].records().is_err(), "{mode:?}: what did it decode?");
    }
}
