//! What the log and the snapshot say of a queue: its id, name and options.
//! docs/format.md section 7.3.

use std::time::Duration;

use bytes::BufMut;

use super::cursor::{Cursor, put_blob, put_varint};
use super::topic::{limit, millis, narrow, put_limit};
use super::{DecodeError, TOPIC_NAME_LEN_MAX};
use crate::ids::{TopicId, to_u64, to_usize};
use crate::options::filter::{CONDITIONS_MAX, Condition, Filter, TEXT_LEN_MAX, Test};
use crate::options::{Backoff, Codec, Durability, Overflow, QueueOptions};

/// A queue as it is written down.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QueueMeta {
    /// That of the topic that has its messages; of a subscription, its own.
    pub(crate) id: TopicId,
    pub(crate) name: String,
    pub(crate) options: QueueOptions,
    /// The topic that a subscription is a view of.
    pub(crate) source: Option<Source>,
}

/// What a subscription takes its messages from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) topic: TopicId,
    pub(crate) filter: Filter,
}

impl QueueMeta {
    /// Upper bound of the bytes that it takes.
    pub(crate) fn len_max(&self) -> usize {
        let filter = self.source.iter().flat_map(|it| &it.filter.conditions);
        let texts: usize = filter
            .map(|condition| {
                let values: usize = match &condition.test {
                    Test::AnyOf(values) => values.iter().map(|value| value.len() + 10).sum(),
                    Test::Prefix(prefix) => prefix.len() + 10,
                    Test::Exists | Test::Absent => 0,
                };
                condition.header.len() + 20 + values
            })
            .sum();
        let dead_letter = self.options.dead_letter.as_ref().map_or(0, String::len);
        200 + self.name.len() + dead_letter + texts
    }

    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        let options = &self.options;
        put_varint(out, u64::from(self.id.get()));
        put_blob(out, self.name.as_bytes());
        put_varint(out, u64::from(options.shards));
        out.put_u8(options.priority_max);
        out.put_u8(options.durability.code());
        out.put_u8(options.codec.code());
        put_varint(out, u64::from(options.message_bytes_max));
        put_varint(out, millis(options.lease));
        put_limit(out, options.max_deliveries.map(u64::from));
        out.put_u8(u8::from(options.dead_letter.is_some()));
        put_blob(
            out,
            options
                .dead_letter
                .as_deref()
                .unwrap_or_default()
                .as_bytes(),
        );
        put_varint(out, millis(options.backoff.base));
        put_varint(out, millis(options.backoff.cap));
        out.put_u64_le(options.backoff.factor.to_bits());
        out.put_u64_le(options.backoff.jitter.to_bits());
        put_limit(out, options.ttl.map(millis));
        put_limit(out, options.length_max);
        out.put_u8(options.overflow.code());
        put_limit(out, options.dedup_window.map(millis));
        out.put_u8(u8::from(options.single_active));
        put_varint(out, options.segment_bytes_max);
        out.put_u8(u8::from(self.source.is_some()));
        if let Some(source) = &self.source {
            put_varint(out, u64::from(source.topic.get()));
            put_filter(out, &source.filter);
        }
    }

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        let id = TopicId::new(narrow(cursor.varint("queue id")?, "queue id")?);
        let name = text(cursor, TOPIC_NAME_LEN_MAX, "queue name")?;
        let mut options =
            QueueOptions::default().shards(narrow(cursor.varint("shards")?, "shards")?);
        options.priority_max = cursor.u8("highest priority")?;
        if !(1..=crate::options::SHARDS_MAX).contains(&options.shards) {
            return Err(DecodeError::Value {
                what: "shards",
                found: u64::from(options.shards),
                expected: "between 1 and 256",
            });
        }
        options.durability = code(cursor, "durability", Durability::from_code)?;
        options.codec = code(cursor, "codec", Codec::from_code)?;
        options.message_bytes_max = narrow(cursor.varint("message limit")?, "message limit")?;
        options.lease = duration(cursor, "lease")?;
        options.max_deliveries = limit(cursor)?
            .map(|most| narrow(most, "most deliveries"))
            .transpose()?;
        options.dead_letter = dead_letter(cursor)?;
        options.backoff = backoff(cursor)?;
        options.ttl = limit(cursor)?.map(Duration::from_millis);
        options.length_max = limit(cursor)?;
        options.overflow = code(cursor, "overflow", Overflow::from_code)?;
        options.dedup_window = limit(cursor)?.map(Duration::from_millis);
        options.single_active = flag(cursor, "single active")?;
        options.segment_bytes_max = cursor.varint("segment limit")?;
        let source = if flag(cursor, "subscription")? {
            Some(Source {
                topic: TopicId::new(narrow(cursor.varint("source topic")?, "source topic")?),
                filter: split_filter(cursor)?,
            })
        } else {
            None
        };
        Ok(Self {
            id,
            name,
            options,
            source,
        })
    }
}

fn text(cursor: &mut Cursor<'_>, max: usize, what: &'static str) -> Result<String, DecodeError> {
    let bytes = cursor.blob(max, what)?;
    let text = std::str::from_utf8(bytes).map_err(|error| DecodeError::Value {
        what,
        found: to_u64(error.valid_up_to()),
        expected: "UTF-8",
    })?;
    Ok(text.to_owned())
}

fn flag(cursor: &mut Cursor<'_>, what: &'static str) -> Result<bool, DecodeError> {
    match cursor.u8(what)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(DecodeError::Value {
            what,
            found: u64::from(other),
            expected: "0 or 1",
        }),
    }
}

fn code<T>(
    cursor: &mut Cursor<'_>,
    what: &'static str,
    from: impl Fn(u8) -> Option<T>,
) -> Result<T, DecodeError> {
    let found = cursor.u8(what)?;
    from(found).ok_or(DecodeError::Value {
        what,
        found: u64::from(found),
        expected: "one of the codes in docs/format.md",
    })
}

fn duration(cursor: &mut Cursor<'_>, what: &'static str) -> Result<Duration, DecodeError> {
    cursor.varint(what).map(Duration::from_millis)
}

fn dead_letter(cursor: &mut Cursor<'_>) -> Result<Option<String>, DecodeError> {
    let there = flag(cursor, "dead letter flag")?;
    let name = text(cursor, TOPIC_NAME_LEN_MAX, "name of the dead-letter queue")?;
    if there == name.is_empty() {
        return Err(DecodeError::Value {
            what: "length of the name of the dead-letter queue",
            found: to_u64(name.len()),
            expected: "none without one, and a name with one",
        });
    }
    Ok(there.then_some(name))
}

fn backoff(cursor: &mut Cursor<'_>) -> Result<Backoff, DecodeError> {
    let base = duration(cursor, "base of the backoff")?;
    let cap = duration(cursor, "cap of the backoff")?;
    let (factor, jitter) = (cursor.u64("backoff factor")?, cursor.u64("backoff jitter")?);
    let mut backoff = Backoff::exponential(base, f64::from_bits(factor)).cap(cap);
    backoff.jitter = f64::from_bits(jitter);
    if backoff.factor.is_finite() && backoff.jitter.is_finite() {
        return Ok(backoff);
    }
    Err(DecodeError::Value {
        what: "bits of the backoff factor",
        found: factor,
        expected: "finite numbers for factor and jitter",
    })
}

fn put_filter(out: &mut impl BufMut, filter: &Filter) {
    put_varint(out, to_u64(filter.conditions.len()));
    for condition in &filter.conditions {
        put_blob(out, condition.header.as_bytes());
        match &condition.test {
            Test::AnyOf(values) => {
                out.put_u8(1);
                put_varint(out, to_u64(values.len()));
                for value in values {
                    put_blob(out, value);
                }
            }
            Test::Prefix(prefix) => {
                out.put_u8(2);
                put_blob(out, prefix);
            }
            Test::Exists => out.put_u8(3),
            Test::Absent => out.put_u8(4),
        }
    }
}

/// A count of conditions or values.
fn count(cursor: &mut Cursor<'_>, what: &'static str) -> Result<usize, DecodeError> {
    let found = cursor.varint(what)?;
    if found > to_u64(CONDITIONS_MAX) {
        return Err(DecodeError::Value {
            what,
            found,
            expected: "at most 64",
        });
    }
    Ok(to_usize(found))
}

fn split_filter(cursor: &mut Cursor<'_>) -> Result<Filter, DecodeError> {
    let mut filter = Filter::default();
    for _ in 0..count(cursor, "conditions of a filter")? {
        let header = text(cursor, TEXT_LEN_MAX, "header of a filter")?;
        let test = match cursor.u8("kind of a condition")? {
            1 => {
                let count = count(cursor, "values of a condition")?;
                let value = |_| Ok(cursor.blob(TEXT_LEN_MAX, "value of a filter")?.to_vec());
                Test::AnyOf((0..count).map(value).collect::<Result<_, DecodeError>>()?)
            }
            2 => Test::Prefix(cursor.blob(TEXT_LEN_MAX, "prefix of a filter")?.to_vec()),
            3 => Test::Exists,
            4 => Test::Absent,
            other => {
                return Err(DecodeError::Unsupported {
                    what: "kind of a condition",
                    found: u64::from(other),
                    supported: "1 to 4",
                });
            }
        };
        filter.conditions.push(Condition { header, test });
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;

    fn filter() -> impl Strategy<Value = Filter> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..9);
        let test = prop_oneof![
            proptest::collection::vec(bytes(), 0..4).prop_map(Test::AnyOf),
            bytes().prop_map(Test::Prefix),
            Just(Test::Exists),
            Just(Test::Absent),
        ];
        let condition = ("[a-z]{0,9}", test).prop_map(|(header, test)| Condition { header, test });
        proptest::collection::vec(condition, 0..4).prop_map(|conditions| Filter { conditions })
    }

    fn meta() -> impl Strategy<Value = QueueMeta> {
        let limit = || proptest::option::of(any::<u64>());
        let numbers = (
            1..=256_u32,
            any::<u8>(),
            any::<u32>(),
            any::<u64>(),
            any::<u64>(),
        );
        let codes = (0..3_u8, 0..2_u8, 0..3_u8, any::<bool>());
        let backoff = (any::<u64>(), any::<u64>(), 0.0..9.0_f64, 0.0..1.0_f64);
        let limits = (
            proptest::option::of(any::<u32>()),
            limit(),
            limit(),
            limit(),
        );
        let source = proptest::option::of((any::<u32>(), filter()));
        let named = (
            any::<u32>(),
            "[a-z.\u{e9}]{0,40}",
            proptest::option::of("[a-z]{1,20}"),
        );
        (named, numbers, codes, backoff, limits, source).prop_map(
            |(named, numbers, codes, backoff, limits, source)| {
                let mut options = QueueOptions::default().shards(numbers.0);
                options.priority_max = numbers.1;
                options.message_bytes_max = numbers.2;
                options.lease = Duration::from_millis(numbers.3);
                options.segment_bytes_max = numbers.4;
                options.durability = Durability::from_code(codes.0).unwrap();
                options.codec = Codec::from_code(codes.1).unwrap();
                options.overflow = Overflow::from_code(codes.2).unwrap();
                options.single_active = codes.3;
                options.backoff = Backoff::exponential(Duration::from_millis(backoff.0), backoff.2)
                    .cap(Duration::from_millis(backoff.1))
                    .jitter(backoff.3);
                options.max_deliveries = limits.0;
                options.ttl = limits.1.map(Duration::from_millis);
                options.length_max = limits.2;
                options.dedup_window = limits.3.map(Duration::from_millis);
                options.dead_letter = named.2;
                QueueMeta {
                    id: TopicId::new(named.0),
                    name: named.1,
                    options,
                    source: source.map(|(topic, filter)| Source {
                        topic: TopicId::new(topic),
                        filter,
                    }),
                }
            },
        )
    }

    proptest! {
        #[test]
        fn a_queue_comes_back_and_its_prefixes_do_not(meta in meta()) {
            let mut bytes = BytesMut::new();
            meta.encode(&mut bytes);
            prop_assert!(bytes.len() <= meta.len_max());
            for cut in 0..bytes.len() {
                prop_assert!(QueueMeta::decode(&mut Cursor::new(&bytes[..cut])).is_err());
            }
            let mut cursor = Cursor::new(&bytes);
            prop_assert_eq!(QueueMeta::decode(&mut cursor), Ok(meta));
            prop_assert!(cursor.is_empty());
        }

        #[test]
        fn any_bytes_are_refused_or_mean_one_thing(bytes: Vec<u8>) {
            let mut cursor = Cursor::new(&bytes);
            if let Ok(meta) = QueueMeta::decode(&mut cursor) {
                let mut again = BytesMut::new();
                meta.encode(&mut again);
                prop_assert_eq!(&again[..], &bytes[..bytes.len() - cursor.rest().len()]);
            }
        }
    }
}
