//! Golden files: the format as it was released, in bytes that never change.
//!
//! Each file of tests/fixtures/v1 is decoded to the values below, and the
//! values are encoded to the bytes of the file. Whoever changes the format
//! sees it here. docs/format.md section 14 walks through one of them.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::DecodeError;
use super::batch::{self, Batch, BatchBuilder, Producer};
use super::checksum::Seed;
use super::cursor::{Cursor, patch_u32};
use super::entry::{self, Entry};
use super::frame::{self, FRAME_HEADER_LEN, Found, FrameKind};
use super::identity::Identity;
use super::index::{self, INDEX_ENTRY_LEN, INDEX_HEADER_LEN, IndexEntry};
use super::record::Record;
use super::segment::{SEGMENT_FOOTER_LEN, SEGMENT_HEADER_LEN, SegmentFooter, SegmentHeader};
use super::snapshot::{Garbage, PartitionState, SegmentMeta, Snapshot};
use super::topic::TopicMeta;
use super::walfile::{WalBlock, WalHeader};
use crate::ids::{Lsn, Offset, PartitionId, Position, StoreId, Timestamp, TopicId, to_u64};
use crate::options::{Codec, Durability, Retention, TopicOptions};
use queues::{changes, ledger, queue, seen, timers};

mod queues;

const STORE: StoreId = StoreId::new([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
const PARTITION: PartitionId = PartitionId {
    topic: TopicId::new(7),
    partition: 3,
};
const BASE: Offset = Offset::new(1000);
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const GENERATION: u64 = 9;
const GROUP: Lsn = Lsn::new(8192);

const IDENTITY: &[u8] = include_bytes!("../../tests/fixtures/v1/identity.bin");
const BATCH: &[u8] = include_bytes!("../../tests/fixtures/v1/batch.bin");
#[cfg(feature = "lz4")]
const BATCH_LZ4: &[u8] = include_bytes!("../../tests/fixtures/v1/batch-lz4.bin");
const ENTRIES: &[u8] = include_bytes!("../../tests/fixtures/v1/entries.bin");
const GROUP_BYTES: &[u8] = include_bytes!("../../tests/fixtures/v1/group.bin");
const WAL_HEADER: &[u8] = include_bytes!("../../tests/fixtures/v1/wal-header.bin");
const SEGMENT: &[u8] = include_bytes!("../../tests/fixtures/v1/segment.bin");
const INDEX: &[u8] = include_bytes!("../../tests/fixtures/v1/index.bin");
const TOPIC: &[u8] = include_bytes!("../../tests/fixtures/v1/topic.bin");
const SNAPSHOT: &[u8] = include_bytes!("../../tests/fixtures/v1/snapshot.bin");

fn seed() -> Seed {
    Seed::partition(STORE, PARTITION)
}

fn after(millis: i64) -> Timestamp {
    NOW.saturating_add(millis)
}

fn identity() -> Identity {
    Identity {
        compatible: 1 << 31,
        ..Identity::new(STORE, NOW)
    }
}

fn records() -> [Record<'static>; 3] {
    [
        Record::new("paid").key("order-7").header("trace", "a1b2"),
        Record::tombstone("order-6").timestamp(after(-5)),
        Record::new("").timestamp(after(250)),
    ]
}

fn batch() -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.start(BASE, NOW, false);
    for record in records() {
        builder.push(&record, NOW);
    }
    let producer = Producer {
        id: 0xabcd,
        epoch: 2,
        sequence: 40,
    };
    builder.seal_from(Codec::None, seed(), producer)
}

#[cfg(feature = "lz4")]
fn batch_lz4() -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.start(BASE, NOW, true);
    for _ in 0..10 {
        builder.push(&Record::new("again and again").key("same"), NOW);
    }
    builder.seal(Codec::Lz4, seed())
}

fn topic() -> TopicMeta {
    let retention = Retention::default()
        .age(Duration::from_secs(86_400))
        .records(5000);
    TopicMeta {
        id: PARTITION.topic,
        name: "orders".to_owned(),
        options: TopicOptions::default()
            .partitions(12)
            .durability(Durability::Buffered)
            .codec(Codec::Lz4)
            .retention(retention),
    }
}

fn entry_values(batch: &[u8]) -> Vec<Entry<'_>> {
    vec![
        Entry::CreateTopic(topic()),
        Entry::Append(PARTITION, batch),
        Entry::AlterTopic(topic()),
        Entry::Trim(PARTITION, Offset::new(1002)),
        Entry::DeleteTopic(TopicId::new(6)),
        Entry::CreateQueue(Box::new(queue())),
        Entry::AlterQueue(Box::new(queue())),
        Entry::Ledger(PARTITION, changes()),
        Entry::Seen(seen()),
        Entry::Drop(PARTITION, Offset::new(900), Offset::new(950)),
        Entry::DeleteQueue(TopicId::new(6)),
    ]
}

fn entries() -> BytesMut {
    let mut out = BytesMut::new();
    for entry in entry_values(&batch()) {
        entry.encode(&mut out);
    }
    out
}

fn group() -> BytesMut {
    let mut out = BytesMut::new();
    let at = frame::start(&mut out, GROUP, 4096, FrameKind::Commit);
    Entry::Append(PARTITION, &batch()).encode(&mut out);
    frame::finish(&mut out, at);
    let len = out.len();
    let lsn = GROUP.saturating_add(to_u64(len));
    let previous = u32::try_from(len).unwrap();
    let at = frame::start(&mut out, lsn, previous, FrameKind::Close);
    frame::finish(&mut out, at);
    frame::seal_group(&mut out, Lsn::new(4096), Seed::wal(STORE, GENERATION));
    out
}

fn wal_header() -> WalHeader {
    WalHeader {
        store: STORE,
        sequence: GENERATION,
        base: Lsn::new(4096),
        blocks: 16_384,
    }
}

fn segment_header() -> SegmentHeader {
    SegmentHeader {
        store: STORE,
        partition: PARTITION,
        base: BASE,
        created: NOW,
    }
}

fn segment_footer() -> SegmentFooter {
    SegmentFooter {
        end: Offset::new(1003),
        data_end: Position::new(to_u64(SEGMENT_HEADER_LEN + batch().len())),
        records: 3,
        max_timestamp: after(250),
        sealed: after(1000),
        durable: GROUP,
    }
}

fn segment() -> BytesMut {
    let mut out = segment_header().encode();
    out.extend_from_slice(&batch());
    out.extend_from_slice(&segment_footer().encode(seed()));
    out
}

fn index_entries() -> [IndexEntry; 2] {
    [
        IndexEntry {
            offset_delta: 0,
            position: 64,
            max_timestamp_before: Timestamp::MIN,
        },
        IndexEntry {
            offset_delta: 90,
            position: 4200,
            max_timestamp_before: after(250),
        },
    ]
}

fn index() -> BytesMut {
    let mut out = index::encode_header(BASE, seed());
    for (entry, number) in index_entries().iter().zip(0..) {
        entry.encode(seed(), number, &mut out);
    }
    out
}

fn snapshot() -> Snapshot {
    let segment = SegmentMeta {
        base: BASE,
        end: Offset::new(1003),
        bytes: 179,
        records: 3,
        max_timestamp: after(250),
        created: NOW,
        sealed: Some(after(1000)),
    };
    let active = SegmentMeta {
        base: Offset::new(1003),
        end: Offset::new(1004),
        sealed: None,
        ..segment
    };
    Snapshot {
        lsn: GROUP,
        wal_sequence: GENERATION,
        next_topic: TopicId::new(8),
        trusted_time: after(2000),
        topics: vec![topic()],
        partitions: vec![PartitionState {
            id: PARTITION,
            start: Offset::new(1002),
            flushed: Offset::new(1004),
            next: Offset::new(1010),
            segments: vec![segment, active],
        }],
        garbage: vec![
            Garbage::Topic(TopicId::new(6)),
            Garbage::Segment(PARTITION, Offset::new(900)),
        ],
        queues: vec![queue()],
        ledgers: vec![ledger()],
        timers: timers(),
        seen: vec![seen()],
    }
}

fn encode_topic() -> BytesMut {
    let mut out = BytesMut::new();
    topic().encode(&mut out);
    out
}

/// What each file should hold. Not the compressed batch: any valid block of
/// lz4 will do, and another version of the library may make another one.
fn all() -> Vec<(&'static str, &'static [u8], Vec<u8>)> {
    vec![
        ("identity", IDENTITY, identity().encode().to_vec()),
        ("batch", BATCH, batch().to_vec()),
        ("entries", ENTRIES, entries().to_vec()),
        ("group", GROUP_BYTES, group().to_vec()),
        ("wal-header", WAL_HEADER, wal_header().encode().to_vec()),
        ("segment", SEGMENT, segment().to_vec()),
        ("index", INDEX, index().to_vec()),
        ("topic", TOPIC, encode_topic().to_vec()),
        ("snapshot", SNAPSHOT, snapshot().encode(STORE).to_vec()),
    ]
}

#[test]
fn values_are_encoded_to_the_golden_bytes() {
    for (name, golden, encoded) in all() {
        assert_eq!(encoded, golden, "{name}.bin");
    }
}

#[test]
fn the_golden_identity_and_wal_header_are_read() {
    assert_eq!(Identity::decode(IDENTITY, true), Ok(identity()));
    let header = WalHeader::decode(WAL_HEADER);
    assert_eq!(header, Ok(WalBlock::Header(wal_header())));
}

#[test]
fn the_golden_batch_is_read() {
    let header = batch::split_first(BATCH, seed()).unwrap();
    assert_eq!((header.base_offset, header.count), (BASE, 3));
    assert_eq!(
        (header.base_timestamp, header.max_timestamp),
        (NOW, after(250))
    );
    let producer = header.producer;
    assert_eq!(
        (producer.id, producer.epoch, producer.sequence),
        (0xabcd, 2, 40)
    );
    let batch = Batch::new(Bytes::from_static(BATCH), header);
    let records = batch.records().unwrap();
    let views: Vec<_> = records.iter().map(Result::unwrap).collect();
    assert_eq!(views[0].value(), b"paid");
    assert_eq!(views[0].key(), Some(&b"order-7"[..]));
    assert_eq!(views[0].header("trace"), Some(&b"a1b2"[..]));
    assert_eq!((views[0].offset(), views[0].timestamp()), (BASE, NOW));
    assert!(views[1].is_tombstone());
    assert_eq!(views[1].timestamp(), after(-5));
    assert_eq!(
        (views[2].value(), views[2].is_tombstone()),
        (&b""[..], false)
    );
    assert_eq!(views[2].offset(), Offset::new(1002));
    assert_eq!(views.len(), 3);
}

#[cfg(feature = "lz4")]
#[test]
fn the_golden_compressed_batch_is_read() {
    let header = batch::split_first(BATCH_LZ4, seed()).unwrap();
    assert_eq!((header.codec, header.transient), (Codec::Lz4, true));
    let batch = Batch::new(Bytes::from_static(BATCH_LZ4), header);
    batch::check_records(&batch).unwrap();
    for record in &batch.records().unwrap() {
        assert_eq!(record.unwrap().value(), b"again and again");
    }
}

#[test]
fn the_golden_group_and_its_entries_are_read() {
    let seed = Seed::wal(STORE, GENERATION);
    let Ok(Found::Frame(commit, payload)) = frame::split_first(GROUP_BYTES, seed) else {
        panic!("no commit frame");
    };
    assert_eq!((commit.lsn, commit.durable), (GROUP, Lsn::new(4096)));
    assert_eq!((commit.previous, commit.kind), (4096, FrameKind::Commit));
    let append = Entry::Append(PARTITION, BATCH);
    assert_eq!(entry::decode(payload), Ok(vec![append]));
    let rest = &GROUP_BYTES[commit.len()..];
    let Ok(Found::Frame(close, payload)) = frame::split_first(rest, seed) else {
        panic!("no close frame");
    };
    assert_eq!((close.kind, payload), (FrameKind::Close, &b""[..]));
    assert_eq!(entry::decode(ENTRIES), Ok(entry_values(BATCH)));
    assert_eq!(TopicMeta::decode(&mut Cursor::new(TOPIC)), Ok(topic()));
}

#[test]
fn the_golden_segment_and_its_index_are_read() {
    assert_eq!(SegmentHeader::decode(SEGMENT), Ok(segment_header()));
    let (_, footer) = SEGMENT.split_at(SEGMENT.len() - SEGMENT_FOOTER_LEN);
    assert_eq!(SegmentFooter::decode(footer, seed()), Ok(segment_footer()));
    assert_eq!(index::decode_header(INDEX, seed()), Ok(BASE));
    let entries = INDEX[INDEX_HEADER_LEN..].chunks(INDEX_ENTRY_LEN).zip(0..);
    let entries: Vec<_> = entries
        .map(|(bytes, number)| IndexEntry::decode(bytes, seed(), number).unwrap())
        .collect();
    assert_eq!(entries, index_entries());
}

#[test]
fn the_golden_snapshot_is_read() {
    assert_eq!(Snapshot::decode(SNAPSHOT, STORE), Ok(snapshot()));
}

type Decoder = fn(&[u8]) -> Result<(), DecodeError>;

/// Structures with a checksum, each with its decoder.
fn checked() -> Vec<(&'static str, &'static [u8], Decoder)> {
    let footer = &SEGMENT[SEGMENT.len() - SEGMENT_FOOTER_LEN..];
    let frame = &GROUP_BYTES[..GROUP_BYTES.len() - FRAME_HEADER_LEN];
    let entry = &INDEX[INDEX_HEADER_LEN..][..INDEX_ENTRY_LEN];
    vec![
        ("identity", IDENTITY, |b| {
            Identity::decode(b, true).map(drop)
        }),
        ("batch", BATCH, |b| batch::split_first(b, seed()).map(drop)),
        ("WAL header", WAL_HEADER, |b| match WalHeader::decode(b)? {
            WalBlock::Header(_) => Ok(()),
            WalBlock::Zeros => Err(no_value()),
        }),
        ("frame", frame, |b| {
            match frame::split_first(b, Seed::wal(STORE, GENERATION))? {
                Found::Frame(..) => Ok(()),
                Found::Zeros => Err(no_value()),
            }
        }),
        ("segment header", &SEGMENT[..SEGMENT_HEADER_LEN], |b| {
            SegmentHeader::decode(b).map(drop)
        }),
        ("segment footer", footer, |b| {
            SegmentFooter::decode(b, seed()).map(drop)
        }),
        ("index header", &INDEX[..INDEX_HEADER_LEN], |b| {
            index::decode_header(b, seed()).map(drop)
        }),
        ("index entry", entry, |b| {
            IndexEntry::decode(b, seed(), 0).map(drop)
        }),
        ("snapshot", SNAPSHOT, |b| {
            Snapshot::decode(b, STORE).map(drop)
        }),
    ]
}

fn no_value() -> DecodeError {
    DecodeError::Value {
        what: "the whole",
        found: 0,
        expected: "not zeros",
    }
}

#[test]
fn every_flipped_bit_of_a_checked_structure_is_detected() {
    for (name, golden, decode) in checked() {
        decode(golden).unwrap();
        for bit in 0..golden.len() * 8 {
            let mut damaged = golden.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged).is_err(), "{name}, bit {bit}");
        }
    }
}

#[test]
fn every_proper_prefix_of_a_checked_structure_is_refused() {
    for (name, golden, decode) in checked() {
        for cut in 0..golden.len() {
            assert!(decode(&golden[..cut]).is_err(), "{name}, cut at {cut}");
        }
    }
}

/// `golden` with `bytes` at `at`, and the checksum at `crc` of all after it.
fn altered(golden: &[u8], at: usize, bytes: &[u8], crc: usize, seed: Seed) -> Vec<u8> {
    let mut out = golden.to_vec();
    out[at..at + bytes.len()].copy_from_slice(bytes);
    let sum = seed.checksum(&out[crc + 4..]);
    patch_u32(&mut out, crc, sum);
    out
}

#[test]
fn later_versions_are_unsupported() {
    let unsupported = |found: Result<(), DecodeError>, name| {
        let right = matches!(found, Err(DecodeError::Unsupported { .. }));
        assert!(right, "{name}: {found:?}");
    };
    let two = 2_u16.to_le_bytes();
    for (name, golden, decode) in checked() {
        let (at, crc, seed) = match name {
            "identity" => (12, 8, Seed::NONE),
            "segment header" | "index header" => (8, 0, seed()),
            "WAL header" | "snapshot" => (8, 0, Seed::store(STORE)),
            _ => continue,
        };
        unsupported(decode(&altered(golden, at, &two, crc, seed)), name);
    }
    let frame = checked().remove(3);
    let seed = Seed::wal(STORE, GENERATION);
    for (at, byte) in [(28, 3), (28, 255), (29, 1), (31, 128)] {
        unsupported((frame.2)(&altered(frame.1, at, &[byte], 0, seed)), "frame");
    }
    let kind = [0_u8];
    assert!((frame.2)(&altered(frame.1, 28, &kind, 0, seed)).is_err());
}

#[test]
fn unknown_features_are_refused_as_far_as_they_ask_for_it() {
    let with = |at: usize| altered(IDENTITY, at, &[4], 8, Seed::NONE);
    assert!(Identity::decode(&with(40), true).is_ok(), "compatible");
    assert!(Identity::decode(&with(44), false).is_ok(), "read only");
    assert!(Identity::decode(&with(44), true).is_err(), "read only");
    assert!(Identity::decode(&with(48), false).is_err(), "incompatible");
}

#[test]
fn what_is_of_another_store_or_place_does_not_pass() {
    let other = StoreId::new([9; 16]);
    assert!(Snapshot::decode(SNAPSHOT, other).is_err());
    let other = Seed::partition(other, PARTITION);
    let (_, footer) = SEGMENT.split_at(SEGMENT.len() - SEGMENT_FOOTER_LEN);
    assert!(SegmentFooter::decode(footer, other).is_err());
    assert!(index::decode_header(INDEX, other).is_err());
    let entry = &INDEX[INDEX_HEADER_LEN..];
    assert!(IndexEntry::decode(entry, seed(), 1).is_err());
    assert!(IndexEntry::decode(entry, other, 0).is_err());
}

#[test]
fn a_block_of_zeros_is_no_header_yet() {
    assert_eq!(WalHeader::decode(&[0; 4096]), Ok(WalBlock::Zeros));
}

#[test]
fn the_example_in_the_document_is_the_golden_batch() {
    let document = include_str!("../../docs/format.md");
    let (_, rest) = document.split_once("<!-- golden: batch.bin -->").unwrap();
    let block = rest.split("```").nth(1).unwrap();
    let mut bytes = Vec::new();
    for line in block.lines().skip(1) {
        let columns = line.split_whitespace().skip(1);
        let hex = columns.take_while(|column| *column != "|");
        bytes.extend(hex.map(|byte| u8::from_str_radix(byte, 16).unwrap()));
    }
    assert_eq!(bytes, BATCH);
}

#[cfg(test)]
#[test]
#[ignore = "overwrites tests/fixtures/v1: only before the format is released"]
#[expect(
    clippy::disallowed_methods,
    reason = "writes into the source tree, not a store"
)]
fn make_the_golden_files_anew() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1");
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(root.join(format!("{name}.bin")), bytes).unwrap();
    };
    for (name, _, encoded) in all() {
        write(name, &encoded);
    }
    #[cfg(feature = "lz4")]
    write("batch-lz4", &batch_lz4());
}
