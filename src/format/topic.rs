//! What the log and the snapshot say of a topic: its id, name and options.
//! docs/format.md section 7.2.

use std::time::Duration;

use bytes::BufMut;

use super::cursor::{Cursor, put_blob, put_varint};
use super::{DecodeError, PARTITIONS_MAX, TOPIC_NAME_LEN_MAX};
use crate::ids::{TopicId, to_u64};
use crate::options::{Codec, Durability, TopicOptions};

/// A topic as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicMeta {
    pub(crate) id: TopicId,
    pub(crate) name: String,
    pub(crate) options: TopicOptions,
}

impl TopicMeta {
    /// # Panics
    ///
    /// With a name or a number of partitions that no decoder takes: whoever
    /// made the topic checked that.
    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        assert!(self.name.len() <= TOPIC_NAME_LEN_MAX, "refused before");
        assert!(
            (1..=PARTITIONS_MAX).contains(&self.options.partitions),
            "refused before"
        );
        let options = &self.options;
        put_varint(out, u64::from(self.id.get()));
        put_blob(out, self.name.as_bytes());
        put_varint(out, u64::from(options.partitions));
        out.put_u8(options.durability.code());
        out.put_u8(options.codec.code());
        put_varint(out, u64::from(options.record_bytes_max));
        put_varint(out, u64::from(options.batch_bytes_max));
        put_varint(out, options.segment_bytes_max);
        put_varint(out, millis(options.segment_age_max));
        put_varint(out, u64::from(options.index_interval_bytes));
        put_limit(out, options.retention.age.map(millis));
        put_limit(out, options.retention.bytes);
        put_limit(out, options.retention.records);
    }

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        let id = TopicId::new(narrow(cursor.varint("topic id")?, "topic id")?);
        let name = cursor.blob(TOPIC_NAME_LEN_MAX, "topic name")?;
        let name = std::str::from_utf8(name).map_err(|error| DecodeError::Value {
            what: "topic name: first byte that is not UTF-8",
            found: to_u64(error.valid_up_to()),
            expected: "UTF-8",
        })?;
        let partitions = narrow(cursor.varint("partitions")?, "partitions")?;
        if !(1..=PARTITIONS_MAX).contains(&partitions) {
            return Err(DecodeError::Value {
                what: "partitions",
                found: u64::from(partitions),
                expected: "between 1 and 100,000",
            });
        }
        let mut options = TopicOptions::default().partitions(partitions);
        let durability = cursor.u8("durability")?;
        options.durability = Durability::from_code(durability).ok_or(DecodeError::Value {
            what: "durability",
            found: u64::from(durability),
            expected: "0, 1 or 2",
        })?;
        let codec = cursor.u8("codec")?;
        options.codec = Codec::from_code(codec).ok_or(DecodeError::Value {
            what: "codec",
            found: u64::from(codec),
            expected: "0 or 1",
        })?;
        options.record_bytes_max = narrow(cursor.varint("record limit")?, "record limit")?;
        options.batch_bytes_max = narrow(cursor.varint("batch limit")?, "batch limit")?;
        options.segment_bytes_max = cursor.varint("segment limit")?;
        options.segment_age_max = Duration::from_millis(cursor.varint("segment age")?);
        options.index_interval_bytes = narrow(cursor.varint("interval")?, "index interval")?;
        options.retention.age = limit(cursor)?.map(Duration::from_millis);
        options.retention.bytes = limit(cursor)?;
        options.retention.records = limit(cursor)?;
        Ok(Self {
            id,
            name: name.to_owned(),
            options,
        })
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A number that is stored wider than it is.
pub(crate) fn narrow(value: u64, what: &'static str) -> Result<u32, DecodeError> {
    u32::try_from(value).map_err(|_| DecodeError::Value {
        what,
        found: value,
        expected: "at most 2^32 - 1",
    })
}

pub(crate) fn put_limit(out: &mut impl BufMut, limit: Option<u64>) {
    out.put_u8(u8::from(limit.is_some()));
    put_varint(out, limit.unwrap_or(0));
}

pub(crate) fn limit(cursor: &mut Cursor<'_>) -> Result<Option<u64>, DecodeError> {
    let there = cursor.u8("limit flag")?;
    let value = cursor.varint("limit")?;
    match there {
        0 if value == 0 => Ok(None),
        1 => Ok(Some(value)),
        other => Err(DecodeError::Value {
            what: "limit flag",
            found: u64::from(other),
            expected: "0 with a limit of 0, or 1",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;

    fn meta() -> impl Strategy<Value = TopicMeta> {
        let limit = || proptest::option::of(any::<u64>());
        let retention = (limit(), limit(), limit());
        let numbers = (1..=PARTITIONS_MAX, any::<u32>(), any::<u32>(), any::<u64>());
        let rest = (any::<u64>(), any::<u32>(), 0..3_u8, 0..2_u8);
        let named = (any::<u32>(), "[a-z.\u{e9}\u{1f600}]{0,60}");
        (named, numbers, rest, retention).prop_map(|(named, numbers, rest, retention)| {
            let mut options = TopicOptions::default().partitions(numbers.0);
            options.record_bytes_max = numbers.1;
            options.batch_bytes_max = numbers.2;
            options.segment_bytes_max = numbers.3;
            options.segment_age_max = Duration::from_millis(rest.0);
            options.index_interval_bytes = rest.1;
            options.durability = Durability::from_code(rest.2).unwrap();
            options.codec = Codec::from_code(rest.3).unwrap();
            options.retention.age = retention.0.map(Duration::from_millis);
            options.retention.bytes = retention.1;
            options.retention.records = retention.2;
            TopicMeta {
                id: TopicId::new(named.0),
                name: named.1,
                options,
            }
        })
    }

    fn encode(meta: &TopicMeta) -> BytesMut {
        let mut out = BytesMut::new();
        meta.encode(&mut out);
        out
    }

    proptest! {
        #[test]
        fn a_topic_comes_back_and_its_prefixes_do_not(meta in meta(), tail: Vec<u8>) {
            let mut bytes = encode(&meta).to_vec();
            for cut in 0..bytes.len() {
                prop_assert!(TopicMeta::decode(&mut Cursor::new(&bytes[..cut])).is_err());
            }
            bytes.extend_from_slice(&tail);
            let mut cursor = Cursor::new(&bytes);
            prop_assert_eq!(TopicMeta::decode(&mut cursor), Ok(meta));
            prop_assert_eq!(cursor.rest(), &tail[..]);
        }
    }

    #[test]
    fn a_topic_without_partitions_or_with_a_hidden_limit_is_refused() {
        let meta = TopicMeta {
            id: TopicId::new(1),
            name: "t".to_owned(),
            options: TopicOptions::default(),
        };
        let good = encode(&meta);
        assert_eq!(good[3], 1, "partitions");
        for (at, byte) in [(2, 0xff), (3, 0), (4, 3), (5, 2), (good.len() - 1, 1)] {
            let mut bad = good.clone();
            bad[at] = byte;
            let found = TopicMeta::decode(&mut Cursor::new(&bad));
            assert!(
                matches!(found, Err(DecodeError::Value { .. })),
                "{at}: {found:?}"
            );
        }
    }

    #[test]
    fn a_name_of_any_claimed_length_takes_no_memory() {
        let mut bytes = BytesMut::new();
        put_varint(&mut bytes, 1);
        put_varint(&mut bytes, u64::MAX);
        assert!(TopicMeta::decode(&mut Cursor::new(&bytes)).is_err());
    }
}
