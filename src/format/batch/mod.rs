//! Batches: records that are encoded, checked and compressed together.
//!
//! The same bytes lie in the WAL, in the tail, in segments, and in what a
//! reader fetches: encoded once, never again.
//!
//! ```text
//!  0      4       8            16      20     22       23   24
//!  +------+-------+------------+-------+------+--------+----+
//!  | crc  | length| base offset| count | flags| version| 0  |
//!  +------+-------+-----+------+-------+---+--+--------+----+
//!  | base timestamp (24)| max timestamp(32)| producer id(40)|
//!  +-----------+--------+---+--------------+----------------+
//!  | epoch (48)| zero (50)  | sequence (52)| raw length (56)|
//!  +-----------+------------+--------------+----------------+
//!  | end offset delta (60)  | payload: records, from byte 64
//!  +------------------------+---------- - - -
//! ```
//!
//! The checksum covers all from byte 4 on. docs/format.md section 4 has the
//! last word.

use bytes::Bytes;

use super::checksum::Seed;
use super::record::{self, Records};
use super::{DecodeError, compress};
use crate::ids::{Offset, Timestamp};
use crate::options::Codec;

mod build;
mod header;
#[cfg(test)]
mod tests;

pub(crate) use build::BatchBuilder;
use header::AT_LENGTH;
pub(crate) use header::BatchHeader;
#[cfg(test)]
pub(crate) use header::Producer;

/// Bytes before the records.
pub(crate) const BATCH_HEADER_LEN: usize = 64;

/// Splits the first batch off `bytes`, checked: its header and its length.
///
/// `Incomplete` if `bytes` ends inside it; whether that is a torn tail or lost
/// data is the caller's to say.
pub(crate) fn split_first(bytes: &[u8], seed: Seed) -> Result<BatchHeader, DecodeError> {
    let header = BatchHeader::decode(bytes)?;
    let Some(whole) = bytes.get(..header.length) else {
        return Err(DecodeError::Incomplete {
            what: "batch",
            needed: header.length,
            found: bytes.len(),
        });
    };
    verify(whole, &header, seed)?;
    Ok(header)
}

/// Checks the checksum of a whole batch.
pub(crate) fn verify(whole: &[u8], header: &BatchHeader, seed: Seed) -> Result<(), DecodeError> {
    let covered = whole.get(AT_LENGTH..).unwrap_or_default();
    seed.verify(covered, header.crc, "batch")
}

/// A batch as it was fetched: shares memory with the tail or the map, still
/// compressed if its producer compressed it.
///
/// # Examples
///
/// ```
/// use duolog::{Engine, Fetch, Options, Record, Start, TopicOptions};
///
/// let dir = tempfile::tempdir()?;
/// let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// let words = engine.create_topic("words", TopicOptions::default())?;
/// words.append(&Record::new("hello"))?;
///
/// let fetched = words.reader(0, Start::Earliest)?.fetch(&Fetch::default())?;
/// for batch in fetched.batches() {
///     for record in &batch.records()? {
///         assert_eq!(record?.value(), b"hello");
///     }
/// }
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Batch {
    bytes: Bytes,
    header: BatchHeader,
    /// Records outside `from..to` are in the bytes but were not asked for.
    from: Offset,
    to: Offset,
}

impl Batch {
    /// Wraps bytes whose checksum has been checked.
    pub(crate) fn new(bytes: Bytes, header: BatchHeader) -> Self {
        debug_assert_eq!(bytes.len(), header.length, "one batch, whole");
        Self {
            bytes,
            header,
            from: header.base_offset,
            to: header.end_offset(),
        }
    }

    /// The same batch without the records before `from`.
    pub(crate) fn starting_at(mut self, from: Offset) -> Self {
        self.from = self.from.max(from);
        self
    }

    /// The same batch without the records from `to` on.
    pub(crate) fn ending_at(mut self, to: Offset) -> Self {
        self.to = self.to.min(to);
        self
    }

    /// Offset of the first record that was asked for.
    #[must_use]
    pub fn first_offset(&self) -> Offset {
        self.from
    }

    /// Offset after the last record that was asked for.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        self.to
    }

    /// How many records were asked for.
    ///
    /// Exact unless records were compacted away; then an upper bound.
    #[must_use]
    pub fn record_count(&self) -> u64 {
        self.to.since(self.from)
    }

    /// Time of the latest event in the batch.
    #[must_use]
    pub fn max_timestamp(&self) -> Timestamp {
        self.header.max_timestamp
    }

    /// True if the records were never meant to survive a restart.
    pub(crate) fn is_transient(&self) -> bool {
        self.header.transient
    }

    /// How the records are compressed.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.header.codec
    }

    /// The whole batch as it lies in the log, described in docs/format.md:
    /// what a broker may hand to a client as it is.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.bytes
    }

    /// The records: borrowed where the batch is not compressed, decompressed
    /// here where it is.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Unsupported`] if this build lacks the codec;
    /// [`DecodeError::Value`] if the payload does not decompress, which a
    /// valid checksum makes a defect of the writer.
    pub fn records(&self) -> Result<Records, DecodeError> {
        let packed = self.bytes.slice(BATCH_HEADER_LEN..);
        let payload = match self.header.codec {
            Codec::None => packed,
            codec @ Codec::Lz4 => {
                compress::decompress(codec, &packed, self.header.raw_length)?.into()
            }
        };
        Ok(Records {
            payload,
            base_offset: self.header.base_offset,
            base_timestamp: self.header.base_timestamp,
            from: self.from,
            to: self.to,
        })
    }
}

/// Checks that the records of a batch decode and count up: what `verify` does
/// beyond the checksum.
pub(crate) fn check_records(batch: &Batch) -> Result<(), DecodeError> {
    let records = batch.records()?;
    let mut rest = &records.payload[..];
    let mut count = 0_u32;
    let mut next = batch.header.base_offset;
    while !rest.is_empty() {
        let (view, after) =
            record::split_first(rest, batch.header.base_offset, batch.header.base_timestamp)?;
        rest = after;
        count = count.saturating_add(1);
        if view.offset() < next || view.offset() >= batch.header.end_offset() {
            return Err(DecodeError::Value {
                what: "offset of a record",
                found: view.offset().get(),
                expected: "rising offsets within the batch",
            });
        }
        if view.timestamp() > batch.header.max_timestamp {
            return Err(DecodeError::Value {
                what: "milliseconds of a record beyond the maximum of its batch",
                found: view
                    .timestamp()
                    .millis()
                    .abs_diff(batch.header.max_timestamp.millis()),
                expected: "none",
            });
        }
        next = view.offset().saturating_add(1);
    }
    if count == batch.header.count {
        return Ok(());
    }
    Err(DecodeError::Value {
        what: "records in a batch",
        found: u64::from(count),
        expected: "the count in its header",
    })
}
