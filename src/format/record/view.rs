//! Views: a record as it lies in a batch, checked once and then borrowed.
//!
//! What is inlined here and in `Cursor` is so for a reason: results of this size
//! returned through memory cost more than the decoding itself.
//!
//! docs/format.md section 5 has the last word.

use crate::format::cursor::Cursor;
use crate::format::{DecodeError, HEADERS_MAX};
use crate::ids::{Offset, Timestamp, to_u64};

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

#[inline]
fn split_headers<'a>(cursor: &mut Cursor<'a>) -> Result<Headers<'a>, DecodeError> {
    let count = cursor.varint("header count")?;
    if count == 0 {
        return Ok(Headers::default());
    }
    check_headers(cursor, count)
}

/// Apart, so that records without headers do not carry it along.
#[inline(never)]
fn check_headers<'a>(cursor: &mut Cursor<'a>, count: u64) -> Result<Headers<'a>, DecodeError> {
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

#[inline]
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
#[inline]
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
