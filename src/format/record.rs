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

use bytes::{BufMut, Bytes, BytesMut};

use super::cursor::{Cursor, put_blob, put_varint};
use super::{DecodeError, HEADERS_MAX, varint};
use crate::ids::{Offset, Timestamp, to_u64};

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

/// A record as it was read: borrowed from the batch that it lies in.
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
/// let record = records.iter().next().expect("one record")?;
/// assert_eq!((record.offset().get(), record.value()), (0, &b"paid"[..]));
/// assert_eq!(record.header("trace"), Some(&b"a1"[..]));
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    offset: Offset,
    timestamp: Timestamp,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Headers<'a>,
}

impl<'a> RecordView<'a> {
    /// Its number in the partition.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The time of the event, or of the append if none was given.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The key, if it has one.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The value; empty for a tombstone (see [`Self::is_tombstone`]).
    #[must_use]
    pub fn value(&self) -> &'a [u8] {
        self.value.unwrap_or_default()
    }

    /// True if the record has no value: it deletes its key.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        self.value.is_none()
    }

    /// Its headers, in the order in which they were added.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        self.headers
    }

    /// The first header with this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers
            .into_iter()
            .find_map(|(found, value)| (found == name).then_some(value))
    }
}

/// The headers of a record: an iterator over names and values.
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
/// for record in &records {
///     let headers = record?.headers();
///     assert_eq!(headers.len(), 1);
///     assert_eq!(headers.collect::<Vec<_>>(), [("trace", &b"a1"[..])]);
/// }
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl Headers<'_> {
    /// How many are left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.left
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }
}

#[expect(
    clippy::copy_iterator,
    reason = "part of a view, which is handed out by value"
)]
impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let mut cursor = Cursor::new(self.bytes);
        // Checked when the record was decoded: see `split_headers`.
        let (name, value) = split_header(&mut cursor).ok()?;
        self.bytes = cursor.rest();
        Some((name, value))
    }
}

fn split_header<'a>(cursor: &mut Cursor<'a>) -> Result<(&'a str, &'a [u8]), DecodeError> {
    let name = cursor.blob(usize::MAX, "header name")?;
    let value = cursor.blob(usize::MAX, "header value")?;
    let name = std::str::from_utf8(name).map_err(|error| DecodeError::Value {
        what: "header name: first byte that is not UTF-8",
        found: to_u64(error.valid_up_to()),
        expected: "UTF-8",
    })?;
    Ok((name, value))
}

fn split_headers<'a>(cursor: &mut Cursor<'a>) -> Result<Headers<'a>, DecodeError> {
    let count = cursor.varint("header count")?;
    let left = usize::try_from(count)
        .ok()
        .filter(|count| *count <= HEADERS_MAX)
        .ok_or(DecodeError::Value {
            what: "header count",
            found: count,
            expected: "at most 1024",
        })?;
    let bytes = cursor.rest();
    for _ in 0..left {
        split_header(cursor)?;
    }
    Ok(Headers { bytes, left })
}

fn split_optional<'a>(
    cursor: &mut Cursor<'a>,
    what: &'static str,
) -> Result<Option<&'a [u8]>, DecodeError> {
    let Some(len) = cursor.varint(what)?.checked_sub(1) else {
        return Ok(None);
    };
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    cursor.bytes(len, what).map(Some)
}

/// Splits one record off the front of a batch's payload.
pub(crate) fn split_first(
    payload: &[u8],
    base_offset: Offset,
    base_timestamp: Timestamp,
) -> Result<(RecordView<'_>, &[u8]), DecodeError> {
    let mut outer = Cursor::new(payload);
    let body = outer.blob(payload.len(), "record")?;
    let mut cursor = Cursor::new(body);
    let attributes = cursor.u8("record attributes")?;
    if attributes != 0 {
        return Err(DecodeError::Unsupported {
            what: "record attributes",
            found: u64::from(attributes),
            supported: "0",
        });
    }
    let delta = cursor.varint("offset delta")?;
    let offset = base_offset.checked_add(delta).ok_or(DecodeError::Value {
        what: "offset delta",
        found: delta,
        expected: "an offset below 2^64",
    })?;
    // Wraps, as the difference did: times further apart than 2^63 ms come back.
    let time_delta = cursor.signed("time delta")?;
    let timestamp = Timestamp::from_millis(base_timestamp.millis().wrapping_add(time_delta));
    let key = split_optional(&mut cursor, "key")?;
    let headers = split_headers(&mut cursor)?;
    let value = split_optional(&mut cursor, "value")?;
    if !cursor.is_empty() {
        return Err(DecodeError::Value {
            what: "bytes after the value of a record",
            found: to_u64(cursor.rest().len()),
            expected: "none",
        });
    }
    let view = RecordView {
        offset,
        timestamp,
        key,
        value,
        headers,
    };
    Ok((view, outer.rest()))
}

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
                    if record.offset >= to {
                        break;
                    }
                    if record.offset >= from {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        assert!(whole.len() <= record.encoded_len_max());
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
}
