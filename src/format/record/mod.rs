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

use super::cursor::put_blob;
use super::{BATCH_LEN_MAX, HEADERS_MAX, varint};
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

/// A record to append: borrowed, encoded once into the log.
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

    /// Names of its headers, in order.
    pub(crate) fn header_names(&self) -> impl Iterator<Item = &'a str> {
        self.headers.iter().map(|(name, _)| *name)
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

    /// Upper bound of the bytes that a record with this payload takes in a
    /// batch: with [`Self::payload_len`], so that one look gives both.
    pub(crate) fn encoded_len_max(&self, payload_len: usize) -> usize {
        // Deltas may be of any size. Lengths are of parts of a batch, which is
        // below 2^28 bytes; a record that is not was refused before it is encoded.
        const FIXED: usize = 1 + 2 * varint::VARINT_LEN_MAX + 4 * LENGTH_LEN_MAX;
        FIXED + payload_len + 2 * LENGTH_LEN_MAX * self.headers.len()
    }

    /// Appends the record to a batch under construction.
    ///
    /// What is small goes through a head on the stack, so that the buffer is
    /// touched once for it and once for each of key and value.
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
        let mut head = Head::new();
        head.put(to_u64(length));
        head.put(0);
        head.put(offset_delta);
        head.put(time);
        head.put(self.key.map_or(0, |key| to_u64(key.len()) + 1));
        if let Some(key) = self.key {
            head.write_to(buf);
            buf.put_slice(key);
        }
        head.put(to_u64(self.headers.len()));
        if !self.headers.is_empty() {
            head.write_to(buf);
            for (name, value) in &self.headers {
                put_blob(buf, name.as_bytes());
                put_blob(buf, value);
            }
        }
        head.put(self.value.map_or(0, |value| to_u64(value.len()) + 1));
        head.write_to(buf);
        buf.put_slice(self.value.unwrap_or_default());
    }
}

/// Most bytes that the length of a part of a batch takes.
const LENGTH_LEN_MAX: usize = 4;

const _: () = assert!(varint::len(BATCH_LEN_MAX as u64 + 1) <= LENGTH_LEN_MAX);

/// Varints on their way into a buffer.
struct Head {
    bytes: [u8; HEAD_LEN_MAX],
    len: usize,
}

/// Room for the seven numbers that may stand in a row.
const HEAD_LEN_MAX: usize = 7 * varint::VARINT_LEN_MAX;

/// Bytes that are copied at once: a length that the compiler knows makes it one
/// move instead of a call. Most heads are shorter.
const HEAD_MOVE: usize = 16;

impl Head {
    fn new() -> Self {
        Self {
            bytes: [0; HEAD_LEN_MAX],
            len: 0,
        }
    }

    #[inline]
    fn put(&mut self, value: u64) {
        let [low, ..] = value.to_le_bytes();
        if value < 0x80
            && let Some(slot) = self.bytes.get_mut(self.len)
        {
            *slot = low;
            self.len += 1;
            return;
        }
        self.put_long(value);
    }

    #[inline]
    fn put_long(&mut self, mut rest: u64) {
        for slot in self.bytes.iter_mut().skip(self.len) {
            self.len += 1;
            let [low, ..] = rest.to_le_bytes();
            rest >>= 7;
            if rest == 0 {
                *slot = low;
                return;
            }
            *slot = low | 0x80;
        }
        unreachable!("there is room for seven numbers");
    }

    /// Appends what was put, and is empty again.
    #[inline]
    fn write_to(&mut self, buf: &mut BytesMut) {
        if self.len <= HEAD_MOVE
            && let Some(front) = self.bytes.first_chunk::<HEAD_MOVE>()
        {
            let end = buf.len() + self.len;
            buf.put_slice(front);
            buf.truncate(end);
        } else {
            buf.put_slice(self.bytes.get(..self.len).unwrap_or_default());
        }
        self.len = 0;
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
