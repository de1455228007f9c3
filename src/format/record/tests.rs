//! Tests of records by themselves; those in batches are beside batches.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::format::DecodeError;
use crate::format::cursor::put_varint;
use crate::ids::Offset;

fn encode(record: &Record<'_>) -> BytesMut {
    let mut out = BytesMut::new();
    record.encode(3, -4, &mut out);
    out
}

fn split(bytes: &[u8]) -> Result<(RecordView<'_>, &[u8]), DecodeError> {
    split_first(bytes, Offset::ZERO, Timestamp::default())
}

#[test]
fn the_least_record_has_the_least_length() {
    assert_eq!(encode(&Record::default()).len(), RECORD_LEN_MIN);
}

#[test]
fn every_proper_prefix_of_a_record_is_refused() {
    let record = Record::new("value").key("key").header("name", "");
    let whole = encode(&record);
    assert!(whole.len() <= record.encoded_len_max(record.payload_len()));
    for cut in 0..whole.len() {
        assert!(split(&whole[..cut]).is_err(), "cut at {cut}");
    }
    // The same within the length that it claims.
    for cut in 1..whole.len() {
        let mut short = whole[..cut].to_vec();
        short[0] = u8::try_from(cut - 1).unwrap();
        assert!(split(&short).is_err(), "cut at {cut}");
    }
}

#[test]
fn hostile_lengths_and_counts_are_refused() {
    let mut huge = BytesMut::new();
    put_varint(&mut huge, u64::MAX);
    let record = |parts: &[&[u8]]| {
        let body = parts.concat();
        let mut out = BytesMut::new();
        put_blob(&mut out, &body);
        out
    };
    assert!(split(&huge).is_err(), "length");
    assert!(split(&record(&[&[0, 0, 0], &huge])).is_err(), "key");
    assert!(
        split(&record(&[&[0, 0, 0, 0], &huge, &[0]])).is_err(),
        "headers"
    );
    assert!(split(&record(&[&[0, 0, 0, 0, 1], &huge])).is_err(), "name");
    assert!(
        split(&record(&[&[0, 0, 0, 0, 1, 0], &huge])).is_err(),
        "header"
    );
    assert!(split(&record(&[&[0, 0, 0, 0, 0], &huge])).is_err(), "value");
    assert!(split(&record(&[&[0, 0, 0, 0, 0, 0, 0]])).is_err(), "after");
    assert!(
        split(&record(&[&[0, 0, 0, 0, 1, 1, 0xff, 0, 0]])).is_err(),
        "UTF-8"
    );
    let late = record(&[&[0], &huge, &[0, 0, 0, 0]]);
    let found = split_first(&late, Offset::new(1), Timestamp::MIN);
    assert!(found.is_err(), "offset");
    let later = record(&[&[1, 0, 0, 0, 0, 0]]);
    let found = split(&later);
    assert!(
        matches!(found, Err(DecodeError::Unsupported { .. })),
        "attributes"
    );
}

#[test]
#[should_panic(expected = "refused before")]
fn more_headers_than_a_decoder_takes_are_not_written() {
    let headers = (0..=HEADERS_MAX).fold(Record::default(), |r, _| r.header("", ""));
    encode(&headers);
}

#[test]
fn a_shared_value_outlives_its_records() {
    let payload = Bytes::from(encode(&Record::new("value")).to_vec());
    let records = Records {
        payload,
        base_offset: Offset::ZERO,
        base_timestamp: Timestamp::MIN,
        from: Offset::ZERO,
        to: Offset::MAX,
    };
    let value = records.share(records.iter().next().unwrap().unwrap().value());
    drop(records);
    assert_eq!(value, "value");
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_mean_one_thing(
        body in proptest::collection::vec(prop_oneof![0..4_u8, any::<u8>()], 0..40),
    ) {
        let mut bytes = BytesMut::new();
        put_blob(&mut bytes, &body);
        if let Ok((view, rest)) = split(&bytes) {
            prop_assert_eq!(view.headers().count(), view.headers().len());
            prop_assert!(rest.is_empty());
        }
    }
}
