//! What the fuzz targets call: one function for each decoder, that holds it to
//! its promises. Not for use by anyone else.
//!
//! Bytes without a valid checksum get no further than that, so each function
//! takes its input as it is and once more with the checksum put right. Whatever
//! decodes is encoded again and must give the same bytes. A panic is a finding.
//! docs/format.md is the authority on the bytes.

use bytes::{Bytes, BytesMut};

use crate::format::batch::{self, Batch, BatchBuilder};
use crate::format::checksum::Seed;
use crate::format::cursor::{Cursor, patch_u32};
use crate::format::dedup::SeenIds;
use crate::format::entry;
use crate::format::frame::{self, Found};
use crate::format::identity::Identity;
use crate::format::index::{self, INDEX_ENTRY_LEN, INDEX_HEADER_LEN, IndexEntry};
use crate::format::ledger::{self as book, LedgerState};
use crate::format::queue::QueueMeta;
use crate::format::record::{Record, RecordView, split_first};
use crate::format::segment::{SEGMENT_FOOTER_LEN, SegmentFooter, SegmentHeader};
use crate::format::snapshot::{SNAPSHOT_HEADER_LEN, Snapshot};
use crate::format::timers::{self, RunHeader, TIMER_BLOCK_LEN, TimerState};
use crate::format::topic::TopicMeta;
use crate::format::walfile::{WAL_HEADER_LEN, WalBlock, WalHeader};
use crate::format::{compress as codec, varint as leb};
use crate::ids::{Offset, PartitionId, StoreId, Timestamp, TopicId, to_u64};
use crate::options::Codec;

// Those of the golden files, which are the first inputs.
const STORE: StoreId = StoreId::new([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
const PARTITION: PartitionId = PartitionId {
    topic: TopicId::new(7),
    partition: 3,
};
const GENERATION: u64 = 9;
const BLOCK: usize = 4096;

/// The first `len` bytes, or all if there are fewer.
fn front(data: &[u8], len: usize) -> &[u8] {
    data.get(..len).unwrap_or(data)
}

/// `data` with the checksum at `at` of all that follows it; `None` if it is too
/// short to have one.
fn repaired(data: &[u8], at: usize, seed: Seed) -> Option<Vec<u8>> {
    let mut out = data.to_vec();
    let crc = seed.checksum(out.get(at + 4..)?);
    patch_u32(&mut out, at, crc);
    Some(out)
}

/// `data` itself, and with its checksum put right.
fn both(data: &[u8], at: usize, seed: Seed) -> impl Iterator<Item = Vec<u8>> {
    [Some(data.to_vec()), repaired(data, at, seed)]
        .into_iter()
        .flatten()
}

/// Varints, one after the other.
pub fn varint(data: &[u8]) {
    let mut rest = data;
    while let Ok((value, after)) = leb::split(rest, "number") {
        let mut scratch = [0; leb::VARINT_LEN_MAX];
        let encoded = leb::encode(value, &mut scratch);
        assert_eq!(encoded.len(), leb::len(value));
        assert_eq!(Some(after), rest.strip_prefix(encoded));
        assert_eq!(leb::zigzag(leb::unzigzag(value)), value);
        rest = after;
    }
}

fn again<'a>(view: &RecordView<'a>) -> Record<'a> {
    let mut record = match (view.key(), view.is_tombstone()) {
        (None, true) => Record::default(),
        (None, false) => Record::new(view.value()),
        (Some(key), true) => Record::tombstone(key),
        (Some(key), false) => Record::new(view.value()).key(key),
    };
    for (name, value) in view.headers() {
        record = record.header(name, value);
    }
    record.timestamp(view.timestamp())
}

/// Records, one after the other.
pub fn record(data: &[u8]) {
    let base = Offset::new(1000);
    for time in [i64::MIN, 0, 1_700_000_000_000] {
        let mut rest = data;
        let mut encoded = BytesMut::new();
        while let Ok((view, after)) = split_first(rest, base, Timestamp::from_millis(time)) {
            let delta = view.timestamp().millis().wrapping_sub(time);
            assert_eq!(view.headers().count(), view.headers().len());
            let (record, at) = (again(&view), encoded.len());
            record.encode(view.offset().since(base), delta, &mut encoded);
            let max = record.encoded_len_max(record.payload_len());
            assert!(encoded.len() - at <= max);
            rest = after;
        }
        assert!(data.starts_with(&encoded));
        assert_eq!(encoded.len() + rest.len(), data.len());
    }
}

/// A batch.
pub fn batch(data: &[u8]) {
    let seed = Seed::partition(STORE, PARTITION);
    open_batch(data, seed);
    let mut data = data.to_vec();
    if let (Ok(len), true) = (u32::try_from(data.len()), data.len() >= 8) {
        patch_u32(&mut data, 4, len);
    }
    if let Some(data) = repaired(&data, 0, seed) {
        open_batch(&data, seed);
    }
}

fn open_batch(data: &[u8], seed: Seed) {
    let Ok(header) = batch::split_first(data, seed) else {
        return;
    };
    let whole = Bytes::copy_from_slice(front(data, header.length));
    let batch = Batch::new(whole.clone(), header);
    let valid = batch::check_records(&batch).is_ok();
    let (first, end) = (batch.first_offset(), batch.end_offset());
    let part = batch.clone().starting_at(first.saturating_add(1));
    let part = part.ending_at(Offset::new(end.get().saturating_sub(1)));
    for one in part.records().iter().flatten().flatten() {
        assert!(one.offset() > first && one.offset().saturating_add(1) < end);
    }
    let Ok(records) = batch.records() else {
        assert!(!valid, "valid, and yet it does not decompress");
        return;
    };
    let views: Vec<_> = records.iter().flatten().collect();
    if !valid {
        return;
    }
    assert_eq!(to_u64(views.len()), u64::from(header.count));
    let offsets = views.iter().map(RecordView::offset);
    let dense = offsets
        .zip(first.get()..)
        .all(|(offset, n)| offset.get() == n);
    let latest = views.iter().map(RecordView::timestamp).max();
    let plain = header.codec == Codec::None && header.span == header.count;
    if dense && plain && latest == Some(header.max_timestamp) {
        let mut builder = BatchBuilder::new();
        builder.start(first, header.base_timestamp, header.transient);
        for view in &views {
            builder.push(&again(view), Timestamp::MIN);
        }
        let built = builder.seal_from(Codec::None, seed, header.producer);
        assert_eq!(built, whole);
    }
}

/// A payload: decompressed to a length that its first four bytes say, and
/// compressed.
pub fn compress(data: &[u8]) {
    let mut cursor = Cursor::new(data);
    let Ok(len) = cursor.u32("length") else {
        return;
    };
    let len = crate::ids::to_usize(u64::from(len));
    if let Ok(raw) = codec::decompress(Codec::Lz4, cursor.rest(), len) {
        assert_eq!(raw.len(), len);
    }
    if let Some(packed) = codec::compress(Codec::Lz4, cursor.rest()) {
        assert!(packed.len() < cursor.rest().len());
        let raw = codec::decompress(Codec::Lz4, &packed, cursor.rest().len());
        assert_eq!(raw.as_deref(), Ok(cursor.rest()));
    }
}

/// A file of the log, from its second block on.
pub fn frame(data: &[u8]) {
    let (old, new) = (Seed::wal(STORE, GENERATION), Seed::wal(STORE, 10));
    let mut data = data.to_vec();
    walk(&data, old);
    put_frames_right(&mut data, old);
    let found = walk(&data, old);
    let mut copy = data.clone();
    let end = frame::reseal(&mut copy, old, new, BLOCK);
    assert_eq!(copy.get(end..), data.get(end..));
    assert_eq!(walk(&copy, new), found);
    assert_eq!(frame::reseal(&mut copy, new, old, BLOCK), end);
    assert_eq!(copy, data);
}

/// Positions and payloads of the frames up to the first that fails.
fn walk(data: &[u8], seed: Seed) -> Vec<(usize, Vec<u8>)> {
    let (mut at, mut frames) = (0, Vec::new());
    while let Some(rest) = data.get(at..).filter(|rest| !rest.is_empty()) {
        let in_block = BLOCK - at % BLOCK;
        match frame::split_next(rest, in_block, seed) {
            Ok(Found::Frame(header, payload)) => {
                assert!(header.durable <= header.lsn);
                assert_eq!(header.payload_len, payload.len());
                frames.push((at, payload.to_vec()));
                at += header.len();
            }
            Ok(Found::Zeros) => at += in_block,
            Err(_) => break,
        }
    }
    frames
}

/// Gives whatever might be a frame a checksum that is right.
fn put_frames_right(data: &mut [u8], seed: Seed) {
    let mut at = 0;
    while let Some(rest) = data.get_mut(at..) {
        let Ok(len) = Cursor::new(rest.get(4..).unwrap_or_default()).u32("length") else {
            return;
        };
        let len = crate::ids::to_usize(u64::from(len)) + frame::FRAME_HEADER_LEN;
        let Some(covered) = rest.get(4..len) else {
            return;
        };
        if covered.iter().all(|byte| *byte == 0) {
            at = (at + 1).next_multiple_of(BLOCK);
            continue;
        }
        let crc = seed.checksum(covered);
        patch_u32(rest, 0, crc);
        at += len;
    }
}

/// The payload of a commit frame.
pub fn entry(data: &[u8]) {
    if let Ok(entries) = entry::decode(data) {
        let mut out = BytesMut::new();
        for entry in &entries {
            entry.encode(&mut out);
        }
        assert_eq!(out, data);
    }
}

/// The identity file.
pub fn identity(data: &[u8]) {
    for data in both(data, 8, Seed::NONE) {
        let to_write = Identity::decode(&data, true);
        let to_read = Identity::decode(&data, false);
        assert!(to_write.is_err() || to_write == to_read);
        if let Ok(identity) = to_read {
            assert_eq!(identity.encode(), data);
        }
    }
}

/// An index: header and entries.
pub fn index(data: &[u8]) {
    let seed = Seed::partition(STORE, PARTITION);
    let (header, entries) = data
        .split_at_checked(INDEX_HEADER_LEN)
        .unwrap_or((data, &[]));
    for header in both(header, 0, seed) {
        if let Ok(base) = index::decode_header(&header, seed) {
            assert_eq!(index::encode_header(base, seed), header);
        }
    }
    for (bytes, number) in entries.chunks(INDEX_ENTRY_LEN).zip(0..) {
        for bytes in both(bytes, 0, seed.and(number)) {
            if let Ok(entry) = IndexEntry::decode(&bytes, seed, number) {
                let mut out = BytesMut::new();
                entry.encode(seed, number, &mut out);
                assert_eq!(out, bytes);
                assert_eq!(entry.position().get(), u64::from(entry.position));
            }
        }
    }
}

/// Changes of a ledger, and a saved one, from the same bytes.
pub fn ledger(data: &[u8]) {
    let mut cursor = Cursor::new(data);
    if let Ok(changes) = book::decode(&mut cursor) {
        let mut out = BytesMut::new();
        book::encode(&changes, &mut out);
        assert!(out.len() <= book::encoded_len_max(&changes));
        assert_eq!(out.len() + cursor.rest().len(), data.len());
        assert!(data.starts_with(&out));
    }
    let mut cursor = Cursor::new(data);
    if let Ok(state) = LedgerState::decode(&mut cursor) {
        let mut out = BytesMut::new();
        state.encode(&mut out);
        assert_eq!(out.len() + cursor.rest().len(), data.len());
        assert!(data.starts_with(&out));
    }
}

/// Deduplication ids of queues, one list after the other.
pub fn dedup(data: &[u8]) {
    let mut cursor = Cursor::new(data);
    let mut out = BytesMut::new();
    while !cursor.is_empty() {
        let Ok(ids) = SeenIds::decode(&mut cursor) else {
            break;
        };
        let before = out.len();
        ids.encode(&mut out);
        assert!(out.len() - before <= ids.len_max());
    }
    assert!(data.starts_with(&out));
}

/// Metadata of queues, one after the other.
pub fn queue(data: &[u8]) {
    let mut cursor = Cursor::new(data);
    let mut out = BytesMut::new();
    while !cursor.is_empty() {
        let Ok(meta) = QueueMeta::decode(&mut cursor) else {
            break;
        };
        let before = out.len();
        meta.encode(&mut out);
        assert!(out.len() - before <= meta.len_max());
    }
    assert!(data.starts_with(&out));
}

/// The header and the footer of a segment, from the same bytes.
pub fn segment(data: &[u8]) {
    let seed = Seed::partition(STORE, PARTITION);
    let footer = data.len().saturating_sub(SEGMENT_FOOTER_LEN);
    let footer = data.get(footer..).unwrap_or_default();
    for bytes in both(footer, 0, seed) {
        if let Ok(footer) = SegmentFooter::decode(&bytes, seed) {
            assert_eq!(footer.encode(seed), bytes);
        }
    }
    // The seed of a header is in the header.
    let header = front(data, SEGMENT_FOOTER_LEN);
    let mut cursor = Cursor::new(header.get(16..).unwrap_or_default());
    let (Ok(store), Ok(topic), Ok(partition)) =
        (cursor.id("store"), cursor.u32("topic"), cursor.u32("n"))
    else {
        return;
    };
    let id = PartitionId {
        topic: TopicId::new(topic),
        partition,
    };
    for bytes in both(header, 0, Seed::partition(StoreId::new(store), id)) {
        if let Ok(header) = SegmentHeader::decode(&bytes) {
            assert_eq!(header.encode(), bytes);
        }
    }
}

/// A snapshot.
pub fn snapshot(data: &[u8]) {
    let open = |data: &[u8]| {
        if let Ok(snapshot) = Snapshot::decode(data, STORE) {
            assert_eq!(snapshot.encode(STORE), data);
        }
    };
    open(data);
    let Some(payload) = data.get(SNAPSHOT_HEADER_LEN..) else {
        return;
    };
    let seed = Seed::store(STORE);
    let (payload_crc, len) = (seed.checksum(payload), payload.len());
    let mut data = data.to_vec();
    patch_u32(&mut data, 48, u32::try_from(len).unwrap_or(u32::MAX));
    patch_u32(&mut data, 52, payload_crc);
    let crc = seed.checksum(data.get(4..SNAPSHOT_HEADER_LEN).unwrap_or_default());
    patch_u32(&mut data, 0, crc);
    open(&data);
}

/// A run of timers: header and blocks, which need not be whole; and a state.
pub fn timers(data: &[u8]) {
    let run = timers::run_seed(STORE, GENERATION);
    let mut found = Vec::new();
    for (bytes, number) in data.chunks(TIMER_BLOCK_LEN).zip(0..) {
        let mut bytes = bytes.to_vec();
        bytes.resize(TIMER_BLOCK_LEN, 0);
        for bytes in both(&bytes, 0, run.and(number)) {
            if let Ok(header) = RunHeader::decode(&bytes) {
                assert_eq!(header.encode(), bytes);
            }
            if let Ok(first) = timers::decode_block(&bytes, run, number, &mut found) {
                let mut out = BytesMut::new();
                let count = timers::encode_block(&found, first, run, number, &mut out);
                assert_eq!((count, &*out), (found.len(), &*bytes));
            }
        }
    }
    let mut cursor = Cursor::new(data);
    if let Ok(state) = TimerState::decode(&mut cursor) {
        let mut out = BytesMut::new();
        state.encode(&mut out);
        out.extend_from_slice(cursor.rest());
        assert_eq!(out, data);
    }
}

/// Metadata of topics, one after the other.
pub fn topic(data: &[u8]) {
    let mut cursor = Cursor::new(data);
    let mut out = BytesMut::new();
    while !cursor.is_empty() {
        let Ok(meta) = TopicMeta::decode(&mut cursor) else {
            break;
        };
        meta.encode(&mut out);
    }
    assert!(data.starts_with(&out));
}

/// The first block of a file of the log.
pub fn walfile(data: &[u8]) {
    let Some(header) = data.get(..WAL_HEADER_LEN) else {
        assert!(!matches!(WalHeader::decode(data), Ok(WalBlock::Header(_))));
        return;
    };
    let store = Cursor::new(header.get(12..).unwrap_or_default()).id("store");
    let store = StoreId::new(store.unwrap_or_default());
    for header in both(header, 0, Seed::store(store)) {
        match WalHeader::decode(&header) {
            Ok(WalBlock::Header(found)) => assert_eq!(&found.encode()[..], header),
            Ok(WalBlock::Zeros) => assert!(header.iter().all(|byte| *byte == 0)),
            Err(_) => {}
        }
    }
}
