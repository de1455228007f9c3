//! Records: one message each, packed with varints inside a batch.
//!
//! ```text
//!  length | attributes | offset delta | time delta | key | headers | value
//!  varint |     u8     |    varint    |   zigzag   | (1) |   (2)   |  (1)
//! ```
//!
//! (1) `length + 1` as a varint, then the bytes; 0 says that there is none.
//! (2) the count, then name and value of each, both with their length before
//! them. docs/format.md section 5 has the last word.

use bytes::{BufMut, BytesMut};

use super::cursor::{put_blob, put_varint};
use super::{HEADERS_MAX, varint};
use crate::ids::{Timestamp, to_u64};

mod iter;
#[cfg(test)]
mod tests;
mod view;

pub use iter::Records;
pub(crate) use view::split_first;
pub use view::{Headers, RecordView};

/// Fewest bytes that a record takes: bounds the count a batch may claim.
pub(crate) const RECORD_LEN_MIN: usize = 7;

/// A message to append: borrowed, encoded once into the log.
///
/// # Examples
///
/// ```
/// use duolog::Record;
///
/// let record = Record::new("paid").key("order-7").header("trace", "a1b2");
/// assert_eq!(record.value_bytes(), Some(&b"paid"[..]));
/// let tombstone = Record::tombstone("order-7");
/// assert_eq!(tombstone.value_bytes(), None);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Record<'a> {
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Vec<(&'a str, &'a [u8])>,
    timestamp: Option<Timestamp>,
}

impl<'a> Record<'a> {
    /// A record with this value, no key, no headers, and the time of its append.
    #[must_use]
    pub fn new<V: AsRef<[u8]> + ?Sized>(value: &'a V) -> Self {
        Self {
            value: Some(value.as_ref()),
            ..Self::default()
        }
    }

    /// A record without a value: it says that its key is gone. It is kept and read
    /// like any other; compaction by key is not in this release.
    #[must_use]
    pub fn tombstone<K: AsRef<[u8]> + ?Sized>(key: &'a K) -> Self {
        Self {
            key: Some(key.as_ref()),
            ..Self::default()
        }
    }

    /// Sets the key: records of equal keys go to one partition, in order.
    #[must_use]
    pub fn key<K: AsRef<[u8]> + ?Sized>(mut self, key: &'a K) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    /// Adds a header. At most [`HEADERS_MAX`](crate::limits::HEADERS_MAX), in the
    /// order in which they were added; names may repeat, and may be empty.
    #[must_use]
    pub fn header<V: AsRef<[u8]> + ?Sized>(mut self, name: &'a str, value: &'a V) -> Self {
        self.headers.push((name, value.as_ref()));
        self
    }

    /// Sets the time of the event; the time of the append by default.
    #[must_use]
    pub fn timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// The key, if there is one.
    #[must_use]
    pub fn key_bytes(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The value; `None` for a tombstone.
    #[must_use]
    pub fn value_bytes(&self) -> Option<&'a [u8]> {
        self.value
    }

    /// How many headers it has.
    #[must_use]
    pub fn header_count(&self) -> usize {
        self.headers.len()
    }

    /// The time of the event, if one was set.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        self.timestamp
    }

    /// Bytes of key, value and headers together: what limits count.
    pub(crate) fn payload_len(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        headers + self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len)
    }

    /// Upper bound of the bytes that this record takes in a batch.
    pub(crate) fn encoded_len_max(&self) -> usize {
        const FIXED: usize = 1 + 6 * varint::VARINT_LEN_MAX;
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len() + 2 * varint::VARINT_LEN_MAX)
            .sum();
        FIXED + headers + self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len)
    }

    /// Appends the record to a batch under construction.
    ///
    /// # Panics
    ///
    /// With more headers than a decoder takes: whoever accepted the record
    /// checked that.
    pub(crate) fn encode(&self, offset_delta: u64, time_delta: i64, buf: &mut BytesMut) {
        assert!(self.headers.len() <= HEADERS_MAX, "refused before");
        let time = varint::zigzag(time_delta);
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| blob_len(name.as_bytes()) + blob_len(value))
            .sum();
        let length = 1
            + varint::len(offset_delta)
            + varint::len(time)
            + optional_len(self.key)
            + varint::len(to_u64(self.headers.len()))
            + headers
            + optional_len(self.value);
        put_varint(buf, to_u64(length));
        buf.put_u8(0);
        put_varint(buf, offset_delta);
        put_varint(buf, time);
        put_optional(buf, self.key);
        put_varint(buf, to_u64(self.headers.len()));
        for (name, value) in &self.headers {
            put_blob(buf, name.as_bytes());
            put_blob(buf, value);
        }
        put_optional(buf, self.value);
    }
}

fn blob_len(bytes: &[u8]) -> usize {
    varint::len(to_u64(bytes.len())) + bytes.len()
}

fn optional_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| {
        varint::len(to_u64(bytes.len()) + 1) + bytes.len()
    })
}

fn put_optional(buf: &mut BytesMut, bytes: Option<&[u8]>) {
    match bytes {
        None => buf.put_u8(0),
        Some(bytes) => {
            put_varint(buf, to_u64(bytes.len()) + 1);
            buf.put_slice(bytes);
        }
    }
}
