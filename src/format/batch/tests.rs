//! Tests of batches and of the records in them.

use super::header::{AT_COUNT, AT_RAW, AT_SPAN};
use super::*;
use crate::format::BATCH_LEN_MAX;
use crate::format::cursor::{patch_u32, patch_u64};
use crate::format::record::Record;
use crate::format::record::RecordView;
use crate::ids::to_u64;
use crate::ids::{PartitionId, StoreId, TopicId};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Made {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
    time: Option<i64>,
}

impl Made {
    fn record(&self) -> Record<'_> {
        let mut record = Record::default();
        if let Some(key) = &self.key {
            record = Record::tombstone(key);
        }
        if let Some(value) = &self.value {
            record = Record::new(value);
            if let Some(key) = &self.key {
                record = record.key(key);
            }
        }
        for (name, value) in &self.headers {
            record = record.header(name, value);
        }
        match self.time {
            Some(millis) => record.timestamp(Timestamp::from_millis(millis)),
            None => record,
        }
    }
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(i64::MIN),
        Just(i64::MAX),
        Just(0),
        any::<i64>(),
        -9_i64..9
    ]
}

fn made() -> impl Strategy<Value = Made> {
    let bytes = || vec(any::<u8>(), 0..200);
    (
        proptest::option::of(bytes()),
        proptest::option::of(bytes()),
        vec((".{0,9}", bytes()), 0..4),
        proptest::option::of(time()),
    )
        .prop_map(|(key, value, headers, time)| Made {
            key,
            value,
            headers,
            time,
        })
}

fn seed() -> Seed {
    let id = PartitionId {
        topic: TopicId::new(1),
        partition: 2,
    };
    Seed::partition(StoreId::new([3; 16]), id)
}

fn build(builder: &mut BatchBuilder, base: u64, now: i64, made: &[Made], codec: Codec) -> Bytes {
    let now = Timestamp::from_millis(now);
    builder.start(Offset::new(base), now, false);
    for record in made {
        builder.push(&record.record(), now);
    }
    builder.seal(codec, seed())
}

fn open(bytes: &Bytes) -> Batch {
    let header = split_first(bytes, seed()).unwrap();
    Batch::new(bytes.clone(), header)
}

fn sample(codec: Codec, count: u64) -> Bytes {
    let made = Made {
        key: Some(b"key".to_vec()),
        value: Some(vec![7; 40]),
        headers: vec![("name".to_owned(), b"value".to_vec())],
        time: None,
    };
    let count = usize::try_from(count).unwrap();
    build(&mut BatchBuilder::new(), 100, 5, &vec![made; count], codec)
}

/// A batch whose checksum is right, whatever else is wrong with it.
fn with(field: impl FnOnce(&mut [u8])) -> Result<BatchHeader, DecodeError> {
    let mut bytes = sample(Codec::None, 3).to_vec();
    field(&mut bytes);
    let crc = seed().checksum(&bytes[4..]);
    patch_u32(&mut bytes, 0, crc);
    split_first(&bytes, seed())
}

proptest! {
    #[test]
    fn records_come_back_as_they_were(
        batches in vec(vec(made(), 1..9), 1..4),
        base in 0..u64::MAX - 99,
        now in time(),
        lz4: bool,
    ) {
        // One builder for all: what is left of a chunk is the next one's.
        let mut builder = BatchBuilder::new();
        let codec = if lz4 { Codec::Lz4 } else { Codec::None };
        let sealed: Vec<_> = batches
            .iter()
            .map(|made| build(&mut builder, base, now, made, codec))
            .collect();
        for (bytes, made) in sealed.iter().zip(&batches) {
            let batch = open(bytes);
            check_records(&batch).unwrap();
            let records = batch.records().unwrap();
            let views: Vec<_> = records.iter().map(Result::unwrap).collect();
            prop_assert_eq!(views.len(), made.len());
            for ((view, made), offset) in views.iter().zip(made).zip(base..) {
                prop_assert_eq!(view.offset(), Offset::new(offset));
                prop_assert_eq!(view.timestamp().millis(), made.time.unwrap_or(now));
                prop_assert_eq!(view.key(), made.key.as_deref());
                prop_assert_eq!(view.is_tombstone(), made.value.is_none());
                prop_assert_eq!(view.value(), made.value.as_deref().unwrap_or_default());
                let headers: Vec<_> = made
                    .headers
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_slice()))
                    .collect();
                prop_assert_eq!(view.headers().collect::<Vec<_>>(), headers);
            }
            let latest = views.iter().map(RecordView::timestamp).max();
            prop_assert_eq!(Some(batch.max_timestamp()), latest);
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read_without_a_panic(bytes: Vec<u8>) {
        if let Ok(header) = split_first(&bytes, seed()) {
            prop_assert!(header.length <= bytes.len());
        }
    }
}

#[test]
fn every_proper_prefix_of_a_batch_is_incomplete() {
    let whole = sample(Codec::None, 3);
    for cut in 0..whole.len() {
        let found = split_first(&whole[..cut], seed());
        let short = matches!(found, Err(DecodeError::Incomplete { .. }));
        assert!(short, "cut at {cut}: {found:?}");
    }
}

#[test]
fn every_flipped_bit_of_a_batch_is_detected() {
    for codec in [Codec::None, Codec::Lz4] {
        let whole = sample(codec, 3);
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(split_first(&damaged, seed()).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn a_batch_of_another_partition_does_not_pass() {
    let id = PartitionId {
        topic: TopicId::new(2),
        partition: 1,
    };
    let other = Seed::partition(StoreId::new([3; 16]), id);
    assert!(split_first(&sample(Codec::None, 1), other).is_err());
}

#[test]
fn what_a_later_version_wrote_is_unsupported() {
    let unsupported = |found| matches!(found, Err(DecodeError::Unsupported { .. }));
    assert!(with(|_| ()).is_ok());
    assert!(unsupported(with(|bytes| bytes[22] = 2)), "version");
    assert!(unsupported(with(|bytes| bytes[20] = 2)), "codec");
    assert!(unsupported(with(|bytes| bytes[20] = 1 << 4)), "flag");
    assert!(unsupported(with(|bytes| bytes[21] = 1)), "flag");
}

#[test]
fn fields_that_contradict_each_other_are_refused() {
    let refused = |found| matches!(found, Err(DecodeError::Value { .. }));
    assert!(refused(with(|bytes| patch_u32(bytes, AT_COUNT, 0))));
    assert!(refused(with(|bytes| patch_u32(bytes, AT_COUNT, u32::MAX))));
    assert!(refused(with(|bytes| patch_u32(bytes, AT_LENGTH, 63))));
    assert!(refused(with(|bytes| patch_u32(bytes, AT_LENGTH, u32::MAX))));
    assert!(refused(with(|bytes| patch_u32(bytes, AT_RAW, 1))));
    assert!(refused(with(|bytes| patch_u32(bytes, AT_SPAN, 2))));
    assert!(refused(with(|bytes| patch_u64(bytes, 8, u64::MAX - 2))));
    // Compressed, and yet not smaller.
    assert!(refused(with(|bytes| bytes[20] = 1)));
}

#[test]
fn the_records_of_a_batch_are_those_that_were_asked_for() {
    let whole = sample(Codec::None, 5);
    for from in 98..107 {
        for to in 98..107 {
            let batch = open(&whole)
                .starting_at(Offset::new(from))
                .ending_at(Offset::new(to));
            let records = batch.records().unwrap();
            let offsets: Vec<_> = records.iter().map(|r| r.unwrap().offset().get()).collect();
            let wanted: Vec<_> = (100..105).filter(|n| (from..to).contains(n)).collect();
            assert_eq!(offsets, wanted, "{from}..{to}");
            assert_eq!(batch.record_count(), to_u64(wanted.len()), "{from}..{to}");
        }
    }
}

#[test]
fn an_error_ends_the_iteration() {
    let mut records = open(&sample(Codec::None, 3)).records().unwrap();
    records.payload = records.payload.slice(..records.payload.len() - 1);
    let mut iter = records.iter();
    assert!(iter.next().unwrap().is_ok());
    assert!(iter.next().unwrap().is_ok());
    assert!(iter.next().unwrap().is_err());
    assert!(iter.next().is_none());
}

#[test]
fn counts_and_times_that_the_records_belie_are_found() {
    let check = |field: &dyn Fn(&mut BatchHeader)| {
        let mut batch = open(&sample(Codec::None, 3));
        field(&mut batch.header);
        check_records(&batch)
    };
    assert_eq!(check(&|_| ()), Ok(()));
    assert!(check(&|header| header.count = 2).is_err());
    assert!(check(&|header| header.span = 2).is_err());
    assert!(check(&|header| header.max_timestamp = Timestamp::MIN).is_err());
}

#[test]
fn a_payload_that_does_not_shrink_is_stored_plain() {
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_le_bytes()[7]
    });
    let value: Vec<u8> = noise.take(500).collect();
    let mut builder = BatchBuilder::new();
    builder.start(Offset::ZERO, Timestamp::MIN, false);
    builder.push(&Record::new(&value), Timestamp::MIN);
    let bytes = builder.seal(Codec::Lz4, seed());
    assert_eq!(open(&bytes).codec(), Codec::None);
}

#[cfg(feature = "lz4")]
#[test]
fn a_payload_that_shrinks_is_stored_compressed() {
    let (plain, packed) = (sample(Codec::None, 20), sample(Codec::Lz4, 20));
    assert_eq!(open(&packed).codec(), Codec::Lz4);
    assert!(packed.len() < plain.len() / 4);
    let both = [plain, packed].map(|bytes| open(&bytes).records().unwrap().payload);
    assert_eq!(both[0], both[1]);
}

#[test]
fn sealed_batches_outlive_the_builder_and_its_chunk() {
    let mut builder = BatchBuilder::new();
    let mut sealed = Vec::new();
    for n in 0..500_u64 {
        builder.start(Offset::new(n), Timestamp::MIN, false);
        let value = n.to_le_bytes().repeat(40);
        let record = Record::new(&value);
        let needed = record.encoded_len_max(record.payload_len());
        let (growth, before) = (builder.growth(needed), builder.chunk_bytes);
        builder.reserve(needed);
        builder.push(&record, Timestamp::MIN);
        assert_eq!(growth > 0, builder.chunk_bytes != before || n == 0, "{n}");
        sealed.push(builder.seal(Codec::None, seed()));
    }
    builder.release_chunk();
    drop(builder);
    for (bytes, n) in sealed.iter().zip(0_u64..) {
        let records = open(bytes).records().unwrap();
        let record = records.iter().next().unwrap().unwrap();
        assert_eq!(record.value(), n.to_le_bytes().repeat(40));
    }
}

#[test]
#[cfg_attr(miri, ignore = "copies 32 MiB byte by byte")]
#[should_panic(expected = "sealed before")]
fn a_batch_beyond_the_limit_is_not_built() {
    let half = vec![0; BATCH_LEN_MAX / 2];
    let mut builder = BatchBuilder::new();
    builder.start(Offset::ZERO, Timestamp::MIN, false);
    builder.push(&Record::new(&half), Timestamp::MIN);
    builder.push(&Record::new(&half), Timestamp::MIN);
}
