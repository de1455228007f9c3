//! Records that are a function of a number, so that every byte that is read
//! back can be checked against what was appended.

use duolog::ids::{Offset, Timestamp};
use duolog::{Durability, Record, StoredRecord};

/// Header that some records carry.
const HEADER: &str = "n";

/// A record that was offered to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Number of the record in its run; none is used twice.
    pub(crate) id: u64,
    pub(crate) size: usize,
    pub(crate) keyed: bool,
    /// The time that it was given, if any.
    pub(crate) time: Option<i64>,
}

/// A record that was accepted at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) sent: Sent,
    pub(crate) offset: Offset,
    /// The time that it has, given or not.
    pub(crate) time: Timestamp,
    pub(crate) durability: Durability,
    /// The append that it came with: all of it survives, or nothing.
    pub(crate) append: u64,
}

/// The bytes of a record, for [`Record`] to borrow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) key: Option<String>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) header: Option<[u8; 8]>,
    time: Option<i64>,
}

impl Sent {
    /// What the record holds. The number comes first, so that a stray value
    /// tells where it is from.
    pub(crate) fn payload(&self) -> Payload {
        let id = self.id;
        let tombstone = self.keyed && id.is_multiple_of(11);
        // Half of it repeats: lz4 finds something, and not too much.
        let noise = |n: usize| {
            let n = u64::try_from(n).expect("small");
            let mixed = (id ^ (n / 2) << 20).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed.to_le_bytes()[if n % 2 == 0 { 7 } else { 0 }]
        };
        let mut value = id.to_le_bytes().to_vec();
        value.extend((0..self.size).map(|n| if n % 16 < 8 { 7 } else { noise(n) }));
        Payload {
            key: self.keyed.then(|| format!("key-{}", id % 13)),
            value: (!tombstone).then_some(value),
            header: (id.is_multiple_of(3)).then(|| id.to_le_bytes()),
            time: self.time,
        }
    }
}

impl Payload {
    pub(crate) fn record(&self) -> Record<'_> {
        let mut record = match (&self.value, &self.key) {
            (Some(value), None) => Record::new(value),
            (Some(value), Some(key)) => Record::new(value).key(key),
            (None, key) => Record::tombstone(key.as_deref().unwrap_or_default()),
        };
        if let Some(header) = &self.header {
            record = record.header(HEADER, header);
        }
        match self.time {
            Some(time) => record.timestamp(Timestamp::from_millis(time)),
            None => record,
        }
    }

    /// True if `stored` holds exactly these bytes. Its time is not looked at.
    pub(crate) fn is(&self, stored: &StoredRecord) -> bool {
        let headers = match (&self.header, stored.headers.as_slice()) {
            (None, []) => true,
            (Some(value), [(name, found)]) => name == HEADER && found[..] == value[..],
            _ => false,
        };
        headers
            && stored.key.as_deref() == self.key.as_ref().map(String::as_bytes)
            && stored.value.as_deref() == self.value.as_deref()
    }
}
