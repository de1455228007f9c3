//! The records of an append, as they come: side by side, or picked by key.
//!
//! They are looked at twice, whatever their number: once for their size, and
//! once to be encoded.

use crate::error::{Error, Result};
use crate::format::{HEADERS_MAX, Record};
use crate::ids::to_usize;

/// Records that go to one partition, in order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Picked<'a, 'r> {
    /// All that the caller has.
    All(&'a [Record<'r>]),
    /// Some of them.
    Some(&'a [&'a Record<'r>]),
}

/// How large records are together, and the largest of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// Upper bound of their bytes in a batch, without its header.
    pub(super) encoded_max: usize,
    /// Keys, values and headers.
    pub(super) payload: usize,
    payload_max: usize,
    headers_max: usize,
}

impl<'a, 'r> Picked<'a, 'r> {
    fn len(self) -> usize {
        match self {
            Self::All(records) => records.len(),
            Self::Some(records) => records.len(),
        }
    }

    /// How many there are.
    pub(super) fn count(self) -> u32 {
        u32::try_from(self.len()).expect("bounded by BATCH_LEN_MAX")
    }

    pub(super) fn first(self) -> Option<&'a Record<'r>> {
        match self {
            Self::All(records) => records.first(),
            Self::Some(records) => records.first().copied(),
        }
    }

    /// Goes through them in order: two loops, so that neither has to ask.
    #[inline]
    pub(super) fn each(self, mut see: impl FnMut(&'a Record<'r>)) {
        match self {
            Self::All(records) => records.iter().for_each(see),
            Self::Some(records) => records.iter().for_each(|record| see(record)),
        }
    }

    /// How large they are.
    #[inline]
    pub(super) fn size(self) -> Size {
        let mut size = Size::default();
        self.each(|record| {
            let payload = record.payload_len();
            size.encoded_max += record.encoded_len_max(payload);
            size.payload += payload;
            size.payload_max = size.payload_max.max(payload);
            size.headers_max = size.headers_max.max(record.header_count());
        });
        size
    }

    /// Refuses if one is over a limit; the first that is gets named.
    pub(super) fn check(self, size: &Size, record_bytes_max: u32) -> Result<()> {
        let limit = to_usize(u64::from(record_bytes_max));
        if size.payload_max <= limit && size.headers_max <= HEADERS_MAX {
            return Ok(());
        }
        let mut result = Ok(());
        self.each(|record| {
            if result.is_ok() {
                result = check_record(record, limit);
            }
        });
        result
    }
}

fn check_record(record: &Record<'_>, limit: usize) -> Result<()> {
    let bytes = record.payload_len();
    if bytes > limit {
        return Err(Error::invalid(format!(
            "record of {bytes} bytes (key, value and headers) is over the topic's \
             `record_bytes_max` of {limit}; split it, or alter the topic"
        )));
    }
    if record.header_count() > HEADERS_MAX {
        return Err(Error::invalid(format!(
            "record has {} headers; at most {HEADERS_MAX} are allowed",
            record.header_count()
        )));
    }
    Ok(())
}
