//! Entries: what a commit frame is made of. They take effect together.
//!
//! ```text
//!  +------+---//---+------+---//---+
//!  | kind |  body  | kind |  body  | ...
//!  +------+---//---+------+---//---+
//! ```
//!
//! docs/format.md section 7.1 has the bodies.

use bytes::BufMut;

use super::batch::BatchHeader;
use super::cursor::Cursor;
use super::dedup::SeenIds;
use super::ledger::{self, Change};
use super::queue::QueueMeta;
use super::topic::TopicMeta;
use super::{DecodeError, LEDGER_CHANGES_MAX};
use crate::ids::{Offset, PartitionId, TopicId, to_u64};

const APPEND: u8 = 1;
const CREATE_TOPIC: u8 = 2;
const ALTER_TOPIC: u8 = 3;
const DELETE_TOPIC: u8 = 4;
const TRIM: u8 = 5;
const CREATE_QUEUE: u8 = 6;
const ALTER_QUEUE: u8 = 7;
const DELETE_QUEUE: u8 = 8;
const LEDGER: u8 = 9;
const SEEN: u8 = 10;
const DROP: u8 = 11;

/// Bytes of an append entry before its batch.
pub(crate) const APPEND_ENTRY_LEN: usize = 12;

/// Bound of an entry without a batch or a name.
const OTHER_LEN_MAX: usize = 160;

/// One change of the store.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Entry<'a> {
    /// A batch, as it goes to the tail and the segment.
    Append(PartitionId, &'a [u8]),
    CreateTopic(TopicMeta),
    /// The new options, whole.
    AlterTopic(TopicMeta),
    DeleteTopic(TopicId),
    /// The first offset that is kept from now on.
    Trim(PartitionId, Offset),
    CreateQueue(Box<QueueMeta>),
    /// The new options, whole.
    AlterQueue(Box<QueueMeta>),
    DeleteQueue(TopicId),
    /// What changes in the ledger of a lane.
    Ledger(PartitionId, Vec<Change>),
    /// The records of a segment, from its base offset to its end, that are kept
    /// no longer.
    Drop(PartitionId, Offset, Offset),
    /// Deduplication ids of messages in this frame.
    Seen(SeenIds),
}

impl<'a> Entry<'a> {
    /// Upper bound of the bytes that the entry takes; exact for a batch.
    pub(crate) fn len_max(&self) -> usize {
        match self {
            Self::Append(_, batch) => APPEND_ENTRY_LEN + batch.len(),
            Self::CreateTopic(meta) | Self::AlterTopic(meta) => OTHER_LEN_MAX + meta.name.len(),
            Self::DeleteTopic(_) | Self::Trim(..) | Self::Drop(..) | Self::DeleteQueue(_) => {
                OTHER_LEN_MAX
            }
            Self::CreateQueue(meta) | Self::AlterQueue(meta) => 4 + meta.len_max(),
            Self::Seen(ids) => 4 + ids.len_max(),
            Self::Ledger(_, changes) => 12 + ledger::encoded_len_max(changes),
        }
    }

    /// True if no decoder takes it, since it is one too many of something.
    pub(crate) fn is_too_long(&self) -> bool {
        matches!(self, Self::Ledger(_, changes) if changes.len() > LEDGER_CHANGES_MAX)
    }

    /// Appends the entry to a frame.
    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        match self {
            Self::Append(id, batch) => {
                put_head(out, APPEND);
                put_partition(out, *id);
                out.put_slice(batch);
            }
            Self::CreateTopic(meta) => {
                put_head(out, CREATE_TOPIC);
                meta.encode(out);
            }
            Self::AlterTopic(meta) => {
                put_head(out, ALTER_TOPIC);
                meta.encode(out);
            }
            Self::DeleteTopic(id) => {
                put_head(out, DELETE_TOPIC);
                out.put_u32_le(id.get());
            }
            Self::Trim(id, start) => {
                put_head(out, TRIM);
                put_partition(out, *id);
                out.put_u64_le(start.get());
            }
            Self::CreateQueue(meta) => {
                put_head(out, CREATE_QUEUE);
                meta.encode(out);
            }
            Self::AlterQueue(meta) => {
                put_head(out, ALTER_QUEUE);
                meta.encode(out);
            }
            Self::DeleteQueue(id) => {
                put_head(out, DELETE_QUEUE);
                out.put_u32_le(id.get());
            }
            Self::Ledger(id, changes) => {
                put_head(out, LEDGER);
                put_partition(out, *id);
                ledger::encode(changes, out);
            }
            Self::Drop(id, base, end) => {
                put_head(out, DROP);
                put_partition(out, *id);
                out.put_u64_le(base.get());
                out.put_u64_le(end.get());
            }
            Self::Seen(ids) => {
                put_head(out, SEEN);
                ids.encode(out);
            }
        }
    }

    fn split_first(cursor: &mut Cursor<'a>) -> Result<Self, DecodeError> {
        let kind = cursor.u8("entry kind")?;
        cursor.zeros(3, "entry bytes 1 to 3")?;
        Ok(match kind {
            APPEND => {
                let id = split_partition(cursor)?;
                let header = BatchHeader::decode(cursor.rest())?;
                Self::Append(id, cursor.bytes(header.length, "batch")?)
            }
            CREATE_TOPIC => Self::CreateTopic(TopicMeta::decode(cursor)?),
            ALTER_TOPIC => Self::AlterTopic(TopicMeta::decode(cursor)?),
            DELETE_TOPIC => Self::DeleteTopic(TopicId::new(cursor.u32("topic id")?)),
            TRIM => Self::Trim(
                split_partition(cursor)?,
                Offset::new(cursor.u64("start offset")?),
            ),
            CREATE_QUEUE => Self::CreateQueue(Box::new(QueueMeta::decode(cursor)?)),
            ALTER_QUEUE => Self::AlterQueue(Box::new(QueueMeta::decode(cursor)?)),
            DELETE_QUEUE => Self::DeleteQueue(TopicId::new(cursor.u32("queue id")?)),
            LEDGER => Self::Ledger(split_partition(cursor)?, ledger::decode(cursor)?),
            SEEN => Self::Seen(SeenIds::decode(cursor)?),
            DROP => Self::Drop(
                split_partition(cursor)?,
                Offset::new(cursor.u64("base offset")?),
                Offset::new(cursor.u64("end offset")?),
            ),
            other => {
                return Err(DecodeError::Unsupported {
                    what: "entry kind",
                    found: u64::from(other),
                    supported: "1 to 11",
                });
            }
        })
    }
}

fn put_head(out: &mut impl BufMut, kind: u8) {
    out.put_u32_le(u32::from(kind));
}

fn put_partition(out: &mut impl BufMut, id: PartitionId) {
    out.put_u32_le(id.topic.get());
    out.put_u32_le(id.partition);
}

fn split_partition(cursor: &mut Cursor<'_>) -> Result<PartitionId, DecodeError> {
    Ok(PartitionId {
        topic: TopicId::new(cursor.u32("topic id")?),
        partition: cursor.u32("partition")?,
    })
}

/// Decodes all entries of a commit frame.
///
/// # Errors
///
/// If any of them is wrong: a frame takes effect whole or not at all.
pub(crate) fn decode(payload: &[u8]) -> Result<Vec<Entry<'_>>, DecodeError> {
    let mut cursor = Cursor::new(payload);
    let mut entries = Vec::with_capacity(1);
    while !cursor.is_empty() {
        entries.push(Entry::split_first(&mut cursor)?);
    }
    if entries.is_empty() {
        return Err(DecodeError::Value {
            what: "bytes of a commit frame",
            found: to_u64(payload.len()),
            expected: "at least one entry",
        });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::TopicOptions;
    use bytes::BytesMut;
    use proptest::prelude::*;

    fn encode(entries: &[Entry<'_>]) -> BytesMut {
        let mut out = BytesMut::new();
        for entry in entries {
            entry.encode(&mut out);
        }
        out
    }

    fn queue(id: u32) -> Box<QueueMeta> {
        Box::new(QueueMeta {
            id: TopicId::new(id),
            name: "q".to_owned(),
            options: crate::options::QueueOptions::default(),
            source: None,
        })
    }

    fn entry() -> impl Strategy<Value = Entry<'static>> {
        let id = || {
            (any::<u32>(), any::<u32>()).prop_map(|(topic, partition)| PartitionId {
                topic: TopicId::new(topic),
                partition,
            })
        };
        let meta =
            (any::<u32>(), ".{0,30}", 1..=100_000_u32).prop_map(|(id, name, count)| TopicMeta {
                id: TopicId::new(id),
                name,
                options: TopicOptions::default().partitions(count),
            });
        prop_oneof![
            (id(), any::<u64>()).prop_map(|(id, at)| Entry::Trim(id, Offset::new(at))),
            any::<u32>().prop_map(|id| Entry::DeleteTopic(TopicId::new(id))),
            meta.clone().prop_map(Entry::CreateTopic),
            meta.prop_map(Entry::AlterTopic),
            (id(), any::<u64>(), any::<u64>()).prop_map(|(id, base, end)| {
                Entry::Drop(id, Offset::new(base), Offset::new(end))
            }),
            any::<u32>().prop_map(|id| Entry::DeleteQueue(TopicId::new(id))),
            any::<u32>().prop_map(|id| Entry::CreateQueue(queue(id))),
            (id(), 0..u64::MAX - 1).prop_map(|(id, at)| {
                let (from, to) = (Offset::new(at), Offset::new(at + 1));
                Entry::Ledger(id, vec![Change::Done { from, to }])
            }),
        ]
    }

    proptest! {
        #[test]
        fn entries_come_back_in_order(
            entries in proptest::collection::vec(entry(), 1..9),
            cut: proptest::sample::Index,
        ) {
            let bytes = encode(&entries);
            prop_assert_eq!(decode(&bytes), Ok(entries.clone()));
            // A prefix is fewer entries, or none: never another one.
            let found = decode(&bytes[..cut.index(bytes.len())]).unwrap_or_default();
            prop_assert_eq!(&entries[..found.len()], found);
        }

        #[test]
        fn any_bytes_are_refused_or_mean_one_thing(bytes: Vec<u8>) {
            if let Ok(entries) = decode(&bytes) {
                prop_assert_eq!(encode(&entries), bytes);
            }
        }
    }

    #[test]
    fn a_kind_of_a_later_version_is_unsupported() {
        for kind in [0, 12, 255] {
            let bytes = [kind, 0, 0, 0, 1, 0, 0, 0];
            let found = decode(&bytes);
            assert!(
                matches!(found, Err(DecodeError::Unsupported { .. })),
                "{kind}"
            );
        }
    }

    #[test]
    fn a_frame_without_entries_is_refused() {
        assert!(decode(&[]).is_err());
    }
}
