//! What a dump shows: one line each.

use std::fmt;

use super::report::range;
use crate::ids::{Lsn, Offset, PartitionId, Timestamp, TopicId};

/// One thing in a store. `Display` is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(tag = "item", rename_all = "snake_case"))]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names are those of docs/format.md")]
pub enum DumpItem {
    /// A file of the log. `base` is `None` for one that is not in use.
    WalFile {
        file: String,
        bytes: u64,
        base: Option<Lsn>,
        /// Why it is not in use, if it is not.
        state: String,
    },
    /// A commit, or the mark of an orderly close.
    Frame {
        file: String,
        position: u64,
        lsn: Lsn,
        durable: Lsn,
        bytes: u64,
        entries: u64,
        close: bool,
    },
    /// One entry of the commit at `lsn`.
    Entry { lsn: Lsn, change: String },
    /// The saved state.
    Snapshot {
        file: String,
        lsn: Lsn,
        wal_sequence: u64,
        topics: u64,
        partitions: u64,
        segments: u64,
    },
    /// A topic in a snapshot.
    Topic {
        topic: TopicId,
        name: String,
        partitions: u32,
    },
    /// A segment that the snapshot lists.
    Segment {
        file: String,
        base: Offset,
        end: Offset,
        records: u64,
        bytes: u64,
        sealed: Option<Timestamp>,
    },
    /// A batch in a segment, or in the log.
    Batch {
        file: String,
        position: u64,
        topic: TopicId,
        partition: u32,
        first: Offset,
        end: Offset,
        records: u64,
        bytes: u64,
        codec: String,
        max_timestamp: Timestamp,
    },
    /// A record. Bytes that are no printable ASCII are escaped.
    Record {
        topic: TopicId,
        partition: u32,
        offset: Offset,
        timestamp: Timestamp,
        key: Option<String>,
        value: Option<String>,
        headers: Vec<(String, String)>,
    },
    /// What does not check out.
    Damage {
        file: String,
        position: u64,
        message: String,
    },
}

impl fmt::Display for DumpItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WalFile {
                file,
                bytes,
                base: Some(base),
                ..
            } => write!(f, "{file}: {bytes} bytes, from LSN {base}"),
            Self::WalFile {
                file, bytes, state, ..
            } => write!(f, "{file}: {bytes} bytes, {state}"),
            Self::Snapshot {
                file,
                lsn,
                wal_sequence,
                topics,
                partitions,
                segments,
            } => write!(
                f,
                "{file}: LSN {lsn} in WAL file {wal_sequence}, {topics} topics, \
                 {partitions} partitions, {segments} segments"
            ),
            Self::Topic {
                topic,
                name,
                partitions,
            } => write!(f, "  topic {topic} {name:?}: {partitions} partitions"),
            Self::Damage {
                file,
                position,
                message,
            } => write!(f, "{file} at byte {position}: DAMAGE: {message}"),
            Self::Frame { .. } | Self::Entry { .. } => self.fmt_log(f),
            Self::Segment { .. } | Self::Batch { .. } | Self::Record { .. } => self.fmt_data(f),
        }
    }
}

impl DumpItem {
    fn fmt_log(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame {
                file,
                position,
                lsn,
                durable,
                bytes,
                entries,
                close,
            } => {
                write!(f, "{file} at byte {position}: LSN {lsn}, {bytes} bytes, ")?;
                match close {
                    true => write!(f, "close")?,
                    false => write!(f, "commit of {entries} entries")?,
                }
                write!(f, ", durable below {durable}")
            }
            Self::Entry { change, .. } => write!(f, "  {change}"),
            _ => Ok(()),
        }
    }

    fn fmt_data(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment {
                file,
                base,
                end,
                records,
                bytes,
                sealed,
            } => {
                let range = range(*base, *end);
                write!(f, "{file}: {range}, {records} records, {bytes} bytes, ")?;
                match sealed {
                    Some(time) => write!(f, "sealed at {time}"),
                    None => write!(f, "active"),
                }
            }
            Self::Batch {
                file,
                position,
                first,
                end,
                records,
                bytes,
                codec,
                max_timestamp,
                ..
            } => {
                let range = range(*first, *end);
                write!(f, "{file} at byte {position}: batch of {range}, ")?;
                write!(f, "{records} records, {bytes} bytes, codec {codec}, ")?;
                write!(f, "latest {max_timestamp}")
            }
            Self::Record {
                offset,
                timestamp,
                key,
                value,
                headers,
                ..
            } => {
                write!(f, "  {offset} at {timestamp}:")?;
                if let Some(key) = key {
                    write!(f, " key \"{key}\"")?;
                }
                for (name, value) in headers {
                    write!(f, " {name}=\"{value}\"")?;
                }
                match value {
                    Some(value) => write!(f, " \"{value}\""),
                    None => write!(f, " tombstone"),
                }
            }
            _ => Ok(()),
        }
    }

    /// Damage in `file` at `position`.
    pub(super) fn damage(file: &str, position: u64, message: impl fmt::Display) -> Self {
        Self::Damage {
            file: file.to_owned(),
            position,
            message: message.to_string(),
        }
    }

    /// The batch of partition `id` that lies at `position` of `file`.
    pub(super) fn batch(
        id: PartitionId,
        file: &str,
        position: u64,
        batch: &crate::format::Batch,
    ) -> Self {
        Self::Batch {
            file: file.to_owned(),
            position,
            topic: id.topic,
            partition: id.partition,
            first: batch.first_offset(),
            end: batch.end_offset(),
            records: super::segments::count(batch),
            bytes: crate::ids::to_u64(batch.raw().len()),
            codec: format!("{:?}", batch.codec()).to_lowercase(),
            max_timestamp: batch.max_timestamp(),
        }
    }

    /// A record of partition `id`.
    pub(super) fn record(id: PartitionId, record: &crate::format::RecordView<'_>) -> Self {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let headers = record.headers();
        Self::Record {
            topic: id.topic,
            partition: id.partition,
            offset: record.offset(),
            timestamp: record.timestamp(),
            key: record.key().map(text),
            value: (!record.is_tombstone()).then(|| text(record.value())),
            headers: headers
                .map(|(name, value)| (name.to_owned(), text(value)))
                .collect(),
        }
    }
}
