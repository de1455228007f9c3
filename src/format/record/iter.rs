//! The records of a batch, one after the other.

use bytes::Bytes;

use super::view::{RecordView, split_first};
use crate::format::DecodeError;
use crate::ids::{Offset, Timestamp};

/// The records of a batch, uncompressed: shares the batch's memory, or owns
/// what was decompressed.
///
/// # Examples
///
/// ```
/// use duolog::{Fetch, Record, Start, TopicOptions};
/// # use duolog::{Engine, Options};
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// let topic = engine.create_topic("t", TopicOptions::default())?;
/// topic.append(&Record::new("paid").key("order-7").header("trace", "a1"))?;
/// let fetched = topic.reader(0, Start::Earliest)?.fetch(&Fetch::default())?;
/// let records = fetched.batches()[0].records()?;
/// let shared = match records.iter().next() {
///     Some(record) => records.share(record?.value()),
///     None => unreachable!("there is one"),
/// };
/// drop(records);
/// assert_eq!(shared, "paid");
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Records {
    pub(crate) payload: Bytes,
    pub(crate) base_offset: Offset,
    pub(crate) base_timestamp: Timestamp,
    pub(crate) from: Offset,
    pub(crate) to: Offset,
}

impl Records {
    /// Goes through the records in order of their offsets.
    ///
    /// An item is an error only if a batch with a valid checksum holds records
    /// that no writer makes; then the iteration ends.
    #[must_use]
    pub fn iter(&self) -> RecordsIter<'_> {
        RecordsIter {
            rest: &self.payload,
            records: self,
        }
    }

    /// The part of `self` that `bytes` lies in, sharing memory: turns a
    /// borrowed key or value into one that outlives the batch.
    ///
    /// # Panics
    ///
    /// If `bytes` is not a part of these records.
    #[must_use]
    pub fn share(&self, bytes: &[u8]) -> Bytes {
        self.payload.slice_ref(bytes)
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = Result<RecordView<'a>, DecodeError>;
    type IntoIter = RecordsIter<'a>;

    fn into_iter(self) -> RecordsIter<'a> {
        self.iter()
    }
}

/// Iterator over [`Records`].
#[derive(Clone, Debug)]
pub struct RecordsIter<'a> {
    rest: &'a [u8],
    records: &'a Records,
}

impl<'a> Iterator for RecordsIter<'a> {
    type Item = Result<RecordView<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let Records {
                base_offset,
                base_timestamp,
                from,
                to,
                ..
            } = *self.records;
            match split_first(self.rest, base_offset, base_timestamp) {
                Ok((record, rest)) => {
                    self.rest = rest;
                    if record.offset() >= to {
                        break;
                    }
                    if record.offset() >= from {
                        return Some(Ok(record));
                    }
                }
                Err(error) => {
                    self.rest = &[];
                    return Some(Err(error));
                }
            }
        }
        self.rest = &[];
        None
    }
}
